//! 3xx: from the first byte of TLS to the superserver's verdict about the gateway's certificate.

use std::io::{Read, Write};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, ExtendedKeyUsagePurpose,
    IsCa, KeyIdMethod, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use sclera::failure::Code;
use sclera_tests::certificates::{Ca, Leaf};
use sclera_tests::scene::USER;
use sclera_tests::{openssl, peer};

use crate::trouble::{Case, Trouble, case};

pub fn cases() -> Vec<Case> {
    vec![
        case(Code::TlsNotSpoken, "the superserver's SSLSupportLevel is 0", |it| {
            it.merge("ModifyServer:Port=51773,BindAddress=127.0.0.1,SSLSupportLevel=0");
        })
        .audited(996),
        case(Code::TlsNotSpoken, "the superserver's TLS configuration is disabled", |it| it.merge_tls("Enabled=0"))
            .audited(987),
        case(Code::TlsNotSpoken, "the superserver's TLS configuration is not there", |it| {
            it.merge("ModifyServer:Port=51773,BindAddress=127.0.0.1,SSLConfig=Gone");
        })
        .audited(979),
        case(Code::TlsNotSpoken, "the superserver has no certificate", |it| it.merge_tls("CertificateFile=\"\""))
            .audited(1501),
        case(Code::TlsNotSpoken, "the superserver is to verify, but has no CA", |it| it.merge_tls("CAFile=\"\""))
            .audited(986),
        case(Code::TlsNotSpoken, "the superserver cannot read its key", |it| it.merge_tls("PrivateKeyFile=gone.key"))
            .audited(980),
        case(Code::TlsVersion, "TLS 1.3 against 1.2", |it| {
            it.set("SSLCC_Protocol_Min", "32");
            it.merge_tls("TLSMaxVersion=16");
        }),
        case(Code::TlsCipher, "OpenSSL without a common suite", |it| {
            it.openssl(&["-tls1_2", "-cipher", "AES128-SHA"]);
        }),
        case(Code::ServerCertificateUntrusted, "a CA that the gateway does not know", |it| {
            let stranger = Ca::new(it.scene.directory(), "stranger");
            it.superserver_pair(&stranger.issue("foreign", &Leaf::server()));
        }),
        case(Code::ServerCertificateUntrusted, "a superserver that does not send its intermediate", |it| {
            let root = Ca::new(it.scene.directory(), "root");
            it.superserver_pair(&root.below("middle").issue("below", &Leaf::server()));
            it.set("SSLCC_CA_Certificate_File", "root.pem");
        }),
        case(Code::ServerCertificateExpired, "an expired superserver", |it| {
            it.superserver(&Leaf { valid: (-10, -1), ..Leaf::server() });
        }),
        case(Code::ServerCertificateNotYetValid, "a superserver of tomorrow", |it| {
            it.superserver(&Leaf { valid: (1, 10), ..Leaf::server() });
        }),
        case(Code::ServerCertificateName, "a superserver of another name", |it| {
            it.superserver(&Leaf { names: &["elsewhere.example"], ..Leaf::server() });
        }),
        case(Code::ServerCertificateInvalid, "a critical extension that nobody knows", |it| {
            // The embedded superserver refuses to start with it.
            it.ca().issue_with("odd", &Leaf::server(), |params| {
                let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
                extension.set_criticality(true);
                params.custom_extensions.push(extension);
            });
            it.openssl(&["-cert", "odd.pem", "-key", "odd.key"]);
        }),
        case(Code::ClientCertificateRequired, "Require, and the gateway has none (TLS 1.3)", without_certificate),
        case(Code::ClientCertificateRequired, "the same in TLS 1.2", |it| {
            without_certificate(it);
            it.merge_tls("TLSMaxVersion=16");
        }),
        case(Code::ClientCertificateUnknownCa, "a gateway of another CA", |it| {
            let stranger = Ca::new(it.scene.directory(), "stranger");
            it.gateway_pair(&stranger.issue("foreign", &Leaf::gateway(USER)));
        }),
        case(Code::ClientCertificateUnknownCa, "a gateway that does not send its intermediate", |it| {
            let root = Ca::new(it.scene.directory(), "root");
            it.merge_tls("CAFile=root.pem");
            it.gateway_pair(&root.below("middle").issue("below", &Leaf::gateway(USER)));
        }),
        case(Code::ClientCertificateUnknownCa, "a gateway of another CA, judged by OpenSSL in TLS 1.2", |it| {
            let stranger = Ca::new(it.scene.directory(), "stranger");
            it.gateway_pair(&stranger.issue("foreign", &Leaf::gateway(USER)));
            it.openssl(&[&JUDGING[..], &["-tls1_2"]].concat());
        }),
        case(Code::ClientCertificateUnknownCa, "a gateway of another CA, judged by OpenSSL after TLS 1.3", |it| {
            let stranger = Ca::new(it.scene.directory(), "stranger");
            it.gateway_pair(&stranger.issue("foreign", &Leaf::gateway(USER)));
            it.openssl(&[&JUDGING[..], &["-tls1_3"]].concat());
        }),
        // Only the superserver's clock can tell: an expired certificate is not even sent.
        case(Code::ClientCertificateExpired, "expired by OpenSSL's clock", |it| {
            it.openssl(&[&JUDGING[..], &["-attime", "4000000000"]].concat());
        }),
        case(Code::ClientCertificateRefused, "a certificate that is not for signatures", |it| {
            it.gateway_pair(&it.ca().issue_with("encipher", &Leaf::gateway(USER), |params| {
                params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
            }));
            it.openssl(&JUDGING);
        }),
        case(Code::TlsFailed, "an alert that says nothing", |it| it.port(alerting::<80>())),
        case(Code::ClientCertificateRevoked, "revoked in OpenSSL's list", |it| {
            let pair = it.ca().issue_with("revoked", &Leaf::gateway(USER), numbered);
            it.gateway_pair(&pair);
            list(it, &it.ca(), "crl.pem", true);
            it.openssl(&[&JUDGING[..], &["-crl_check", "-CRL", "crl.pem"]].concat());
        }),
        case(Code::ClientCertificateRevoked, "revoked in the superserver's list", |it| {
            let pair = it.ca().issue_with("revoked", &Leaf::gateway(USER), numbered);
            it.gateway_pair(&pair);
            list(it, &it.ca(), "crl.pem", true);
            it.merge_tls("CRLFile=crl.pem");
        }),
        case(Code::ServerCertificateRevoked, "a superserver that the list has", |it| {
            server_with(it, numbered);
            list(it, &it.ca(), "crl.pem", true);
            it.set("Sclera_CRL_File", "crl.pem");
        }),
        case(Code::RevocationUnknown, "a list of another CA", |it| {
            let stranger = Ca::new(it.scene.directory(), "stranger");
            list(it, &stranger, "crl.pem", false);
            it.set("Sclera_CRL_File", "crl.pem");
        }),
        case(Code::ServerNameUnknown, "an alert about the name", |it| it.port(alerting::<112>())),
        case(Code::ServerCertificateNameInCn, "a name in the CN only", |it| {
            it.superserver(&Leaf { cn: "127.0.0.1", names: &[], ..Leaf::server() });
        }),
        case(Code::ServerCertificateVersion1, "X.509 version 1", |it| by_openssl(it, &["rsa:2048"], &["-sha256"])),
        case(Code::ServerCertificateIsCa, "a CA as superserver", |it| {
            server_with(it, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        }),
        case(Code::ServerCertificateSha1, "a signature with SHA-1", |it| {
            it.write("ext", "subjectAltName=IP:127.0.0.1");
            by_openssl(it, &["rsa:2048"], &["-sha1", "-extfile", "ext"]);
        }),
        case(Code::ServerCertificateWeakKey, "RSA with 1024 bits", |it| {
            it.write("ext", "subjectAltName=IP:127.0.0.1");
            by_openssl(it, &["rsa:1024"], &["-sha256", "-extfile", "ext"]);
        }),
        case(Code::ServerCertificateNotForServers, "a client's certificate as superserver", |it| {
            it.superserver(&Leaf { usage: ExtendedKeyUsagePurpose::ClientAuth, ..Leaf::server() });
        }),
        case(Code::PinnedKeyDiffers, "another key than the pinned one", |it| {
            it.set("Sclera_Verification", "key");
            it.set("Sclera_Pinned_Key", "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        }),
    ]
}

/// OpenSSL's server that wants a certificate of our CA.
const JUDGING: [&str; 5] = ["-Verify", "1", "-verify_return_error", "-CAfile", "ca.pem"];

fn without_certificate(it: &mut Trouble) {
    it.set("SSLCC_Certificate_File", "");
    it.set("SSLCC_Certificate_Key_File", "");
}

fn server_with(it: &Trouble, change: impl FnOnce(&mut CertificateParams)) {
    it.superserver_pair(&it.ca().issue_with("changed", &Leaf::server(), change));
}

const NUMBER: u64 = 4711;

fn numbered(params: &mut CertificateParams) {
    params.serial_number = Some(SerialNumber::from(NUMBER));
}

/// Writes a revocation list of `issuer`, with or without [`NUMBER`].
fn list(it: &Trouble, issuer: &Ca, name: &str, revokes: bool) {
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(NUMBER),
        revocation_time: rcgen::date_time_ymd(2025, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2025, 1, 1),
        next_update: rcgen::date_time_ymd(2099, 1, 1),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: revokes.then_some(revoked).into_iter().collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    it.write(name, list.signed_by(issuer.issuer()).unwrap().pem().unwrap());
}

/// A superserver of OpenSSL's with a certificate of OpenSSL's making: `key` after `-newkey`, `signing` after `x509 -req`.
fn by_openssl(it: &mut Trouble, key: &[&str], signing: &[&str]) {
    let request =
        ["req", "-new", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", "odd.key", "-out", "odd.csr", "-newkey"];
    openssl::run(it.scene.directory(), &[&request[..], key].concat());
    let sign = ["x509", "-req", "-in", "odd.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "9"];
    openssl::run(it.scene.directory(), &[&sign[..], &["-out", "odd.pem"], signing].concat());
    // What is refused here, OpenSSL itself refuses to use at its usual level.
    it.openssl(&["-cert", "odd.pem", "-key", "odd.key", "-cipher", "ALL:@SECLEVEL=0"]);
}

/// A server that answers the first bytes of TLS with a fatal alert.
fn alerting<const ALERT: u8>() -> u16 {
    peer::listen(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, ALERT]);
        let _ = stream.read(&mut [0; 4096]);
    })
}
