//! 1xx: CSP.ini, and the files that it names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::ExtendedKeyUsagePurpose;
use sclera::failure::Code;
use sclera_tests::certificates::Leaf;
use sclera_tests::openssl;
use sclera_tests::scene::{USER, worker_user};

use crate::trouble::{CANARY, Case, Trouble, case};

const CERTIFICATE: &str = "SSLCC_Certificate_File";
const KEY: &str = "SSLCC_Certificate_Key_File";
const CA: &str = "SSLCC_CA_Certificate_File";

pub fn cases() -> Vec<Case> {
    vec![
        case(Code::ConfigurationUnreadable, "CSP.ini is a directory", |it| {
            fs::remove_file(it.scene.csp_ini()).unwrap();
            fs::create_dir(it.scene.csp_ini()).unwrap();
            // The command takes a directory for where CSP.ini is.
        })
        .for_requests_only(),
        case(Code::ConfigurationInvalid, "a port that is none", |it| it.set("TCP_Port", "x")),
        case(Code::NoServerForPath, "the path's server does not exist", |it| {
            it.set_in("APP_PATH:/csp", "Default_Server", "GONE");
        })
        .for_requests_only(),
        case(Code::ServerDisabled, "the server is disabled", |it| it.set_in("SYSTEM_INDEX", "LOCAL", "Disabled"))
            .for_requests_only(),
        case(Code::ApplicationDisabled, "the path is disabled", |it| {
            it.set_in("APP_PATH_INDEX", "/csp", "Disabled");
        })
        .for_requests_only(),
        case(Code::SecurityLevelUnsupported, "Kerberos", |it| it.set("Connection_Security_Level", "2")),
        case(Code::TlsRangeUnsupported, "TLS 1.1 at most", |it| {
            it.set("SSLCC_Protocol_Min", "4");
            it.set("SSLCC_Protocol_Max", "8");
        }),
        case(Code::AddressMissing, "no address", |it| it.set("Ip_Address", "")),
        case(Code::CertificateUnreadable, "no such certificate", |it| it.set(CERTIFICATE, "/absent/gateway.pem")),
        case(Code::CertificateNotPem, "an empty certificate file", |it| {
            it.write("empty.pem", "");
            it.set(CERTIFICATE, "empty.pem");
        }),
        case(Code::CertificateNotPem, "a certificate in DER", |it| {
            openssl::run(
                it.scene.directory(),
                &["x509", "-in", "gateway.pem", "-outform", "der", "-out", "gateway.der"],
            );
            it.hand_over(&it.path("gateway.der"));
            it.set(CERTIFICATE, "gateway.der");
        }),
        case(Code::CertificateExpired, "an expired certificate", |it| {
            it.gateway(&Leaf { valid: (-10, -1), ..Leaf::gateway(USER) });
        }),
        case(Code::CertificateNotYetValid, "a certificate of tomorrow", |it| {
            it.gateway(&Leaf { valid: (1, 10), ..Leaf::gateway(USER) });
        }),
        case(Code::CertificateNotForClients, "a server's certificate", |it| {
            it.gateway(&Leaf { usage: ExtendedKeyUsagePurpose::ServerAuth, ..Leaf::gateway(USER) });
        }),
        case(Code::KeyUnreadable, "no such key", |it| it.set(KEY, "/absent/gateway.key")),
        unreadable(Code::KeyUnreadable, "a key that the workers may not read", |it| {
            forbid(&it.path("gateway.key"), 0o600)
        }),
        unreadable(Code::CertificateUnreadable, "a directory that the workers may not pass through", |it| {
            let closed = it.path("closed");
            fs::create_dir(&closed).unwrap();
            fs::rename(it.path("gateway.pem"), closed.join("gateway.pem")).unwrap();
            it.set(CERTIFICATE, "closed/gateway.pem");
            forbid(&closed, 0o700);
        }),
        case(Code::KeyNotPem, "the certificate named as key", |it| it.set(KEY, "gateway.pem")),
        case(Code::KeyEncrypted, "a key with a password, and none is given", |it| encrypt(it, &["-v2", "aes-256-cbc"])),
        case(Code::KeyMismatch, "the key of another certificate", |it| {
            let other = it.ca().issue("other", &Leaf::gateway(USER));
            it.hand_over(&other.key);
            it.set(KEY, "other.key");
        }),
        case(Code::KeyMissing, "a certificate without a key", |it| it.set(KEY, "")),
        case(Code::CaMissing, "verification without a CA", |it| it.set(CA, "")),
        case(Code::CaUnreadable, "no such CA", |it| it.set(CA, "/absent/ca.pem")),
        case(Code::CaNotPem, "a key named as CA", |it| it.set(CA, "gateway.key")),
        case(Code::PasswordUnusable, "a command that fails", |it| it.set("Password", "{exit 3}")),
        case(Code::PasswordUnusable, "a key password whose command fails", |it| {
            encrypt(it, &["-v2", "aes-256-cbc"]);
            it.set("SSLCC_Private_Key_Password", "{exit 3}");
        }),
        case(Code::PasswordUnusable, "an encoded password that is none", |it| it.set("Password", "]]]***")),
        case(Code::ManagementAbsent, "management pages switched off", |it| it.set_in("SYSTEM", "SM_Forms", "Disabled"))
            .target("/csp/bin/Systems/Module.cxw")
            .for_requests_only(),
        case(Code::KeyPasswordWrong, "a wrong password for the key", |it| {
            encrypt(it, &["-v2", "aes-256-cbc"]);
            it.set("SSLCC_Private_Key_Password", "canary-wrong");
        }),
        case(Code::KeyEncryptionUnsupported, "an encryption that nobody should use", |it| {
            encrypt(it, &["-v1", "PBE-SHA1-3DES"]);
            it.set("SSLCC_Private_Key_Password", CANARY);
        }),
        case(Code::PinnedKeyMissing, "a pinned key is asked for and not given", |it| {
            it.set("Sclera_Verification", "key");
        }),
        case(Code::CrlUnreadable, "no such revocation list", |it| it.set("Sclera_CRL_File", "/absent/crl.pem")),
        case(Code::CrlNotPem, "a certificate named as revocation list", |it| it.set("Sclera_CRL_File", "ca.pem")),
        case(Code::Pkcs11Unusable, "a key in hardware, and a build without it", |it| {
            it.set(KEY, "pkcs11:token=clinic;object=gateway?module-path=/usr/lib/softhsm/libsofthsm2.so");
        }),
        case(Code::ServerNameInvalid, "an expected name that is none", |it| it.set("Sclera_Server_Name", "a..b")),
        case(Code::CiphersEmpty, "suites that nobody has", |it| {
            it.set("SSLCC_Protocol_Min", "32");
            it.set("SSLCC_Cipher_Suites_1_3", "TLS_SECRET_ROT13");
        }),
    ]
}

/// What the workers alone cannot read. Root, who tests for them, can, and only the doctor knows; anybody else cannot either.
fn unreadable(code: Code, what: &'static str, make: fn(&mut Trouble)) -> Case {
    match worker_user() {
        Some(_) => case(code, what, make).for_requests_and_doctor(),
        None => case(code, what, make),
    }
}

/// Leaves a file or directory to root alone; without root, to nobody.
fn forbid(path: &Path, mode: u32) {
    let mode = if worker_user().is_some() { mode } else { 0 };
    if worker_user().is_some() {
        std::os::unix::fs::chown(path, Some(0), Some(0)).unwrap();
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Protects the gateway's key with the canary as password.
fn encrypt(it: &mut Trouble, how: &[&str]) {
    let password = format!("pass:{CANARY}");
    let mut arguments = vec!["pkcs8", "-topk8", "-in", "gateway.key", "-out", "locked.key", "-passout", &password];
    arguments.extend(how);
    openssl::run(it.scene.directory(), &arguments);
    it.hand_over(&it.path("locked.key"));
    it.set(KEY, "locked.key");
}
