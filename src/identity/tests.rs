//! Whole identities: certificates made on the spot, files in a temporary directory, handshakes in memory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::server::NoClientAuth;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::*;
use crate::failure::Code;
use crate::profile::Profile;

/// A directory with a CA, a gateway certificate and its key, and the superserver's certificate for `localhost`.
struct Pki {
    directory: tempfile::TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
    server: (rcgen::Certificate, KeyPair),
}

impl Pki {
    fn new() -> Pki {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let server = (params.signed_by(&key, &ca).unwrap(), key);
        let pki = Pki { directory: tempfile::tempdir().unwrap(), ca, server };
        pki.write("ca.pem", pki.ca.pem());
        pki.gateway("gateway", |_| {});
        pki
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn gateway(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> KeyPair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "gwuser");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        self.write(&format!("{name}.pem"), params.signed_by(&key, &self.ca).unwrap().pem());
        self.write(&format!("{name}.key"), key.serialize_pem());
        key
    }

    /// The server of a profile in this directory with these lines.
    fn server(&self, lines: &str) -> Server {
        let content = format!("[SYSTEM_INDEX]\nA=Enabled\n[A]\nConnection_Security_Level=10\n{lines}\n");
        let path = self.directory.path().join("CSP.ini");
        Profile::parse(&path, content.as_bytes()).unwrap().profile.servers.remove(0)
    }

    /// Hands an identity to a superserver in memory; the error is the first that either side has.
    fn handshake(&self, identity: &Identity) -> Result<(), rustls::Error> {
        self.handshake_with(identity, Arc::new(NoClientAuth))
    }

    /// The same with a superserver that judges the gateway's certificate like this.
    fn handshake_with(&self, identity: &Identity, judge: Arc<dyn ClientCertVerifier>) -> Result<(), rustls::Error> {
        let key = PrivateKeyDer::from_pem_slice(self.server.1.serialize_pem().as_bytes()).unwrap();
        exchange(identity, self.server.0.der(), key, judge)
    }
}

/// A handshake in memory with a superserver of this certificate.
fn exchange(
    identity: &Identity,
    certificate: &CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    judge: Arc<dyn ClientCertVerifier>,
) -> Result<(), rustls::Error> {
    let config = ServerConfig::builder_with_provider(Arc::new(tls::provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(judge)
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let tls = identity.tls.as_ref().unwrap();
    let mut client = ClientConnection::new(tls.config.clone(), tls.server_name.clone())?;
    let mut server = ServerConnection::new(Arc::new(config))?;
    for _ in 0..6 {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &bytes[..]).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking());
    Ok(())
}

const PAIR: &str = "SSLCC_Certificate_File=gateway.pem\nSSLCC_Certificate_Key_File=gateway.key\n";
const VERIFIED: &str = "SSLCC_Verify_Peer=1\nSSLCC_CA_Certificate_File=ca.pem\n";

#[test]
fn a_good_set_loads_and_tells_its_user_and_its_days() {
    let pki = Pki::new();
    let server = pki.server(&format!("Ip_Address=localhost\n{PAIR}{VERIFIED}"));
    let identity = Identity::load(&server, 7).unwrap();
    assert_eq!(identity.generation, 7);
    let facts = identity.facts.as_ref().unwrap();
    assert_eq!(facts.common_name.as_deref(), Some("gwuser"));
    assert!(facts.days_left(SystemTime::now()) > 300);
    assert!(identity.notices.is_empty(), "{:?}", identity.notices);
    pki.handshake(&identity).unwrap();
    assert_eq!(identity.standing_warning(), None);
}

#[test]
fn a_private_key_that_everybody_may_read_is_reported() {
    let pki = Pki::new();
    let server = pki.server(&format!("Ip_Address=localhost\n{PAIR}{VERIFIED}"));
    let key = &server.tls.key_file.as_ref().unwrap().value;
    fs::set_permissions(key, fs::Permissions::from_mode(0o604)).unwrap();
    let notices = Identity::check(&server).notices;
    assert!(notices.iter().any(|notice| notice.contains("can be read by everyone; run: ch")), "{notices:?}");
}

#[test]
fn each_problem_has_its_code_and_names_path_and_setting() {
    let pki = Pki::new();
    let day = Duration::from_secs(86_400);
    let now = SystemTime::now();
    pki.gateway("other", |_| {});
    pki.gateway("expired", |params| {
        params.not_before = (now - day * 20).into();
        params.not_after = (now - day * 10).into();
    });
    pki.gateway("early", |params| params.not_before = (now + day).into());
    pki.gateway("forservers", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    pki.write("text.pem", "no certificate");
    pki.write("damaged.pem", "-----BEGIN CERTIFICATE-----\n***\n-----END CERTIFICATE-----\n");
    pki.write("empty.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    pki.write("locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    pki.write(
        "old.key",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    );
    pki.write("dsa.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    pki.write("huge.pem", vec![b'x'; 2 << 20]);
    let pair = |certificate: &str, key: &str| {
        format!("SSLCC_Certificate_File={certificate}\nSSLCC_Certificate_Key_File={key}")
    };
    for (lines, code, names) in [
        (pair("absent.pem", "gateway.key"), Code::CertificateUnreadable, "SSLCC_Certificate_File="),
        (pair("huge.pem", "gateway.key"), Code::CertificateUnreadable, "huge.pem is larger than"),
        (pair("text.pem", "gateway.key"), Code::CertificateNotPem, "text.pem"),
        (pair("damaged.pem", "gateway.key"), Code::CertificateNotPem, "damaged.pem"),
        (pair("empty.pem", "gateway.key"), Code::CertificateNotPem, "empty.pem"),
        (pair("gateway.pem", "absent.key"), Code::KeyUnreadable, "SSLCC_Certificate_Key_File="),
        (pair("gateway.pem", "text.pem"), Code::KeyNotPem, "text.pem"),
        (pair("gateway.pem", "gateway.pem"), Code::KeyNotPem, "gateway.pem holds no PEM private key"),
        (pair("gateway.pem", "dsa.key"), Code::KeyNotPem, "dsa.key"),
        (pair("gateway.pem", "locked.key"), Code::KeyEncrypted, "locked.key"),
        (pair("gateway.pem", "old.key"), Code::KeyEncrypted, "old.key"),
        (pair("gateway.pem", "other.key"), Code::KeyMismatch, "other.key"),
        (pair("expired.pem", "expired.key"), Code::CertificateExpired, "expired 10 days ago"),
        (pair("early.pem", "early.key"), Code::CertificateNotYetValid, "early.pem"),
        (pair("forservers.pem", "forservers.key"), Code::CertificateNotForClients, "forservers.pem"),
        (pair("gateway.pem", ""), Code::KeyMissing, "SSLCC_Certificate_Key_File is not"),
        (pair("", "gateway.key"), Code::KeyMissing, "SSLCC_Certificate_File is not"),
        ("SSLCC_Verify_Peer=1".into(), Code::CaMissing, "CSP.ini:6 [A] SSLCC_Verify_Peer=1"),
        ("SSLCC_CA_Certificate_File=absent.pem".into(), Code::CaUnreadable, "CSP.ini:6 [A] SSLCC_CA_Certificate_File="),
        ("SSLCC_CA_Certificate_File=.".into(), Code::CaUnreadable, "is not a regular file"),
        ("SSLCC_CA_Certificate_File=text.pem".into(), Code::CaNotPem, "text.pem"),
        ("SSLCC_CA_Certificate_File=damaged.pem".into(), Code::CaNotPem, "damaged.pem"),
        ("SSLCC_CA_Certificate_File=empty.pem".into(), Code::CaNotPem, "empty.pem"),
        (
            "SSLCC_Protocol_Min=32\nSSLCC_Cipher_Suites_1_3=NONE".into(),
            Code::CiphersEmpty,
            "=NONE leave no cipher suite",
        ),
    ] {
        let server = pki.server(&format!("Ip_Address=localhost\n{lines}"));
        let failure = Identity::load(&server, 0).unwrap_err();
        assert_eq!(failure.code, code, "{lines}: {failure}");
        assert!(failure.detail.contains(names), "{failure}");
        assert!(failure.detail.contains("CSP.ini:"), "{failure}");
        let checked = Identity::check(&server);
        let timely = matches!(code, Code::CertificateExpired | Code::CertificateNotYetValid);
        assert_eq!((checked.errors.len(), checked.warnings.len()), if timely { (0, 1) } else { (1, 0) }, "{lines}");
    }
}

#[test]
fn all_problems_of_a_set_are_found_together() {
    let pki = Pki::new();
    let server =
        pki.server("Ip_Address=a\nSSLCC_Certificate_File=a\nSSLCC_Certificate_Key_File=b\nSSLCC_CA_Certificate_File=c");
    let codes: Vec<Code> = Identity::check(&server).errors.into_iter().map(|failure| failure.code).collect();
    assert_eq!(codes, [Code::CertificateUnreadable, Code::KeyUnreadable, Code::CaUnreadable]);
}

#[test]
fn without_tls_no_file_is_looked_at() {
    let pki = Pki::new();
    let server = pki.server("Ip_Address=a\nConnection_Security_Level=0\nSSLCC_Certificate_File=absent");
    assert!(Identity::load(&server, 0).unwrap().tls.is_none());
}

#[test]
fn every_form_of_private_key_is_read() {
    let Ok(version) = std::process::Command::new("openssl").arg("version").output() else {
        eprintln!("skipped: needs the openssl command");
        return;
    };
    assert!(version.status.success());
    let pki = Pki::new();
    let path = |name: &str| pki.directory.path().join(name).display().to_string();
    for (name, generate) in [
        ("sec1", &["ecparam", "-genkey", "-name", "prime256v1", "-noout"][..]),
        ("pkcs1", &["genrsa", "-traditional", "2048"]),
        ("pkcs8", &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        ("ed25519", &["genpkey", "-algorithm", "ED25519"]),
    ] {
        let (key, certificate) = (path(&format!("{name}.key")), path(&format!("{name}.pem")));
        let run = |arguments: &[&str]| {
            let output = std::process::Command::new("openssl").args(arguments).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        fs::write(&key, run(generate)).unwrap();
        let subject = ["req", "-x509", "-new", "-key", &key, "-out", &certificate, "-subj", "/CN=gwuser", "-days", "2"];
        run(&subject);
        let lines =
            format!("Ip_Address=localhost\nSSLCC_Certificate_File={name}.pem\nSSLCC_Certificate_Key_File={name}.key");
        let identity = Identity::load(&pki.server(&lines), 0).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(identity.facts.unwrap().common_name.as_deref(), Some("gwuser"));
    }
}

#[test]
fn a_protected_key_needs_its_password() {
    let pki = Pki::new();
    let path = |name: &str| pki.directory.path().join(name).display().to_string();
    let arguments = ["pkcs8", "-topk8", "-in", &path("gateway.key"), "-out", &path("safe.key"), "-passout", "pass:SYS"];
    let made = std::process::Command::new("openssl").args(arguments).output();
    if !made.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: needs the openssl command");
        return;
    }
    let lines = |password: &str| {
        format!(
            "Ip_Address=localhost\nSSLCC_Certificate_File=gateway.pem\nSSLCC_Certificate_Key_File=safe.key\n\
             SSLCC_Private_Key_Password={password}\n{VERIFIED}"
        )
    };
    for (password, expected) in [
        ("SYS", None),
        ("]]]U1lT", None),
        ("", Some((Code::KeyEncrypted, "SSLCC_Private_Key_Password is not set"))),
        ("wrong", Some((Code::KeyPasswordWrong, "safe.key is not opened by the password of"))),
        ("{printf SYS}", Some((Code::KeyEncrypted, "does not give yet"))),
    ] {
        let server = pki.server(&lines(password));
        match (Identity::load(&server, 0), expected) {
            (Ok(identity), None) => pki.handshake(&identity).unwrap(),
            (Err(failure), Some((code, says))) => {
                assert_eq!(failure.code, code, "{failure}");
                assert!(failure.detail.contains(says) && !failure.to_string().contains("SYS"), "{failure}");
            }
            (outcome, _) => panic!("{password}: {outcome:?}"),
        }
    }
    let checked = Identity::check(&pki.server(&lines("{printf SYS}")));
    assert!(checked.errors.is_empty() && checked.warnings.len() == 1, "a command is not run by a check: {checked:?}");
}

#[test]
fn chain_and_name_are_enforced_relaxed_or_only_warned_of() {
    let pki = Pki::new();
    let stranger = Pki::new();
    pki.write("stranger.pem", stranger.ca.pem());
    let (trusted, foreign) = ("SSLCC_CA_Certificate_File=ca.pem", "SSLCC_CA_Certificate_File=stranger.pem");
    let (on, off, no_name) = ("SSLCC_Verify_Peer=1", "SSLCC_Verify_Peer=0", "Sclera_Verify_Name=0");
    for (address, lines, connects, warning) in [
        ("localhost", [trusted, on, ""], true, None),
        ("elsewhere", [trusted, on, ""], false, None),
        ("127.0.0.1", [trusted, on, ""], false, None),
        ("elsewhere", [trusted, on, no_name], true, None),
        ("localhost", [foreign, on, ""], false, None),
        ("localhost", [foreign, on, no_name], false, None),
        ("localhost", [trusted, off, ""], true, None),
        ("elsewhere", [trusted, off, ""], true, Some("elsewhere")),
        ("elsewhere", [trusted, off, no_name], true, None),
        ("localhost", [foreign, off, ""], true, Some("signature of the certificate chain")),
        ("elsewhere", [foreign, off, ""], true, Some("elsewhere")),
        ("localhost", ["", off, ""], true, Some("nothing to check it against")),
        ("localhost", ["", "", ""], true, Some("nothing to check it against")),
    ] {
        for range in ["SSLCC_Protocol_Min=32", "SSLCC_Protocol_Max=16"] {
            let row = format!("{address} {lines:?} {range}");
            let server = pki.server(&format!("Ip_Address={address}\n{}\n{range}", lines.join("\n")));
            let identity = Identity::load(&server, 0).unwrap();
            let result = pki.handshake(&identity);
            assert_eq!(result.is_ok(), connects, "{row}: {result:?}");
            let standing = identity.standing_warning();
            assert_eq!(standing.is_some(), warning.is_some(), "{row}: {standing:?}");
            if let Some(expected) = warning {
                assert!(standing.unwrap().contains(expected), "{row}");
                assert!(identity.new_standing_warning().is_some(), "{row}");
                assert_eq!(identity.new_standing_warning(), None, "{row}: told once");
            }
        }
    }
}

#[test]
fn suites_are_restricted_and_ordered_and_strangers_are_noticed() {
    let pki = Pki::new();
    let lines = "Ip_Address=localhost\nSSLCC_Cipher_Suites=AES128-SHA:AES256:AES265\n\
                 SSLCC_Cipher_Suites_1_3=TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256:TLS_AES_128_GCM_SHA256";
    let identity = Identity::load(&pki.server(lines), 0).unwrap();
    let suites = &identity.tls.as_ref().unwrap().config.crypto_provider().cipher_suites;
    let names: Vec<String> =
        suites.iter().filter(|it| it.tls13().is_some()).map(|it| format!("{:?}", it.suite())).collect();
    assert_eq!(names, ["TLS13_CHACHA20_POLY1305_SHA256", "TLS13_AES_128_GCM_SHA256"]);
    let older: Vec<String> =
        suites.iter().filter(|it| it.tls13().is_none()).map(|it| format!("{:?}", it.suite())).collect();
    assert_eq!(older, ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]);
    assert_eq!(identity.notices.len(), 3, "{:?}", identity.notices);
    assert!(identity.notices[0].contains("TLS_AES_128_CCM_SHA256"));
    assert!(identity.notices[1].contains("AES128-SHA: TLS 1.2 uses ECDHE"), "{:?}", identity.notices);
    assert!(identity.notices[2].contains("AES265: not a word of a cipher string"), "{:?}", identity.notices);
}

#[test]
fn an_address_that_is_no_name_is_refused() {
    let pki = Pki::new();
    let failure = Identity::load(&pki.server("Ip_Address=a..b!"), 0).unwrap_err();
    assert!(failure.detail.contains("Ip_Address=a..b!"), "{failure}");
}

#[test]
fn an_identity_prints_no_key() {
    let pki = Pki::new();
    let key = fs::read_to_string(Path::new(pki.directory.path()).join("gateway.key")).unwrap();
    let identity = Identity::load(&pki.server(&format!("Ip_Address=localhost\n{PAIR}")), 0).unwrap();
    let printed = format!("{identity:?}");
    let line = key.lines().nth(1).unwrap();
    assert!(!printed.contains(line));
}

/// The superserver shows another certificate, issued by the same CA after this change.
fn with_server(change: impl FnOnce(&mut CertificateParams)) -> Pki {
    let mut pki = Pki::new();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    pki.server = (params.signed_by(&key, &pki.ca).unwrap(), key);
    pki
}

#[test]
fn what_strict_rules_refuse_is_named_and_each_leniency_accepts_what_it_says() {
    use ExtendedKeyUsagePurpose::ClientAuth;
    type Change = fn(&mut CertificateParams);
    let cases: [(Change, Option<Flaw>, bool, bool); 5] = [
        // change, refused as, accepted without name, accepted by its chain
        (|_| {}, None, true, true),
        (|params| params.subject_alt_names.clear(), Some(Flaw::NameInCommonName), true, true),
        (|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), Some(Flaw::IsAuthority), false, true),
        (|params| params.extended_key_usages = vec![ClientAuth], Some(Flaw::NotForServers), false, true),
        (|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1), None, false, false),
    ];
    for (position, (change, flaw, without_name, by_chain)) in cases.into_iter().enumerate() {
        let pki = with_server(change);
        let digest = public_key_digest(pki.server.0.der()).unwrap();
        let attempt = |lines: &str| {
            let lines = format!("Ip_Address=localhost\nSSLCC_Verify_Peer=1\n{lines}");
            pki.handshake(&Identity::load(&pki.server(&lines), 0).unwrap())
        };
        let ca = "SSLCC_CA_Certificate_File=ca.pem\n";
        let refused_as = match attempt(ca) {
            Err(rustls::Error::InvalidCertificate(error)) => Flaw::of(&error).cloned(),
            other => other.map(|()| None).unwrap(),
        };
        assert_eq!(refused_as, flaw, "{position}");
        assert_eq!(attempt(&format!("{ca}Sclera_Verify_Name=0")).is_ok(), without_name, "{position}");
        assert_eq!(attempt(&format!("{ca}Sclera_Verification=chain")).is_ok(), by_chain, "{position}");
        attempt(&format!("Sclera_Verification=key\nSclera_Pinned_Key={digest}")).unwrap();
    }
}

#[test]
fn a_chain_must_lead_to_a_ca_of_the_file_also_without_strict_rules() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    pki.write("stranger.pem", stranger.ca.pem());
    let lines = "Ip_Address=localhost\nSSLCC_Verify_Peer=1\nSclera_Verification=chain\n";
    let load =
        |file: &str| Identity::load(&pki.server(&format!("{lines}SSLCC_CA_Certificate_File={file}")), 0).unwrap();
    pki.handshake(&load("ca.pem")).unwrap();
    // The stranger has the same name, but another key.
    let error = pki.handshake(&load("stranger.pem")).unwrap_err();
    assert_eq!(error, rustls::CertificateError::BadSignature.into());
}

#[test]
fn another_key_than_the_pinned_one_is_refused_and_shown() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let pinned = public_key_digest(stranger.server.0.der()).unwrap();
    let lines =
        format!("Ip_Address=localhost\nSSLCC_Verify_Peer=1\nSclera_Verification=key\nSclera_Pinned_Key={pinned}");
    let error = pki.handshake(&Identity::load(&pki.server(&lines), 0).unwrap()).unwrap_err();
    assert!(describe(&error).contains(&public_key_digest(pki.server.0.der()).unwrap().to_string()), "{error}");

    let without = pki.server("Ip_Address=localhost\nSSLCC_Verify_Peer=1\nSclera_Verification=key");
    assert_eq!(Identity::load(&without, 0).unwrap_err().code, Code::PinnedKeyMissing);
}

#[test]
fn a_revoked_server_is_refused_and_so_is_one_that_no_list_speaks_of() {
    let serial = rcgen::SerialNumber::from(4711u64);
    let pki = with_server(|params| params.serial_number = Some(rcgen::SerialNumber::from(4711u64)));
    let stranger = Pki::new();
    let list = |issuer: &Pki, serials: &[rcgen::SerialNumber], next: i32| {
        let revoked = serials.iter().map(|serial| rcgen::RevokedCertParams {
            serial_number: serial.clone(),
            revocation_time: rcgen::date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2025, 1, 1),
            next_update: rcgen::date_time_ymd(next, 1, 1),
            crl_number: rcgen::SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        }
        .signed_by(&issuer.ca)
        .unwrap()
        .pem()
        .unwrap()
    };
    let revoked = rustls::Error::from(rustls::CertificateError::Revoked);
    let foreign = rustls::Error::from(rustls::CertRevocationListError::BadSignature);
    for (name, text, refusal, outdated) in [
        ("clean.pem", list(&pki, &[], 2099), None, false),
        ("old.pem", list(&pki, &[], 2026), None, true),
        ("revoked.pem", list(&pki, std::slice::from_ref(&serial), 2099), Some(revoked), false),
        ("foreign.pem", list(&stranger, &[], 2099), Some(foreign), false),
    ] {
        pki.write(name, text);
        let lines = format!("Ip_Address=localhost\n{VERIFIED}Sclera_CRL_File={name}");
        let identity = Identity::load(&pki.server(&lines), 0).unwrap();
        assert_eq!(!identity.alarms.is_empty(), outdated, "{name}: {:?}", identity.alarms);
        assert_eq!(pki.handshake(&identity).err(), refusal, "{name}");
    }
    for (name, content, code) in [("none", "", Code::CrlNotPem), ("absent", "-", Code::CrlUnreadable)] {
        if content.is_empty() {
            pki.write(name, content);
        }
        let lines = format!("Ip_Address=localhost\n{VERIFIED}Sclera_CRL_File={name}");
        assert_eq!(Identity::load(&pki.server(&lines), 0).unwrap_err().code, code);
    }
}

#[test]
fn the_expected_name_stands_in_for_the_address() {
    let pki = Pki::new();
    let server = pki.server(&format!("Ip_Address=10.0.0.1\nSclera_Server_Name=localhost\n{VERIFIED}"));
    pki.handshake(&Identity::load(&server, 0).unwrap()).unwrap();
    let server = pki.server(&format!("Ip_Address=10.0.0.1\nSclera_Server_Name=a..b\n{VERIFIED}"));
    assert_eq!(Identity::load(&server, 0).unwrap_err().code, Code::ServerNameInvalid);
}

#[test]
fn the_key_log_is_written_only_when_asked_for_to_a_file_of_its_owner_and_loudly() {
    let pki = Pki::new();
    let server = pki.server(&format!("Ip_Address=localhost\n{VERIFIED}Sclera_Key_Log_File=keys.log"));
    let identity = Identity::load(&server, 0).unwrap();
    assert!(identity.alarms[0].contains("keys.log") && identity.alarms[0].contains("all traffic"));
    let file = pki.directory.path().join("keys.log");
    assert!(!file.exists(), "loading writes nothing");
    pki.handshake(&identity).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.lines().any(|line| line.starts_with("CLIENT_TRAFFIC_SECRET_0 ")), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_hybrid_with_post_quantum_key_exchange_is_preferred() {
    let pki = Pki::new();
    let identity = Identity::load(&pki.server(&format!("Ip_Address=localhost\n{VERIFIED}")), 0).unwrap();
    let groups = &identity.tls.as_ref().unwrap().config.crypto_provider().kx_groups;
    assert_eq!(groups[0].name(), rustls::NamedGroup::X25519MLKEM768);
    assert!(groups.len() > 1, "servers without it find another one");
}

#[test]
fn certificates_about_to_end_are_told_once_at_each_warning() {
    let pki = with_server(|params| params.not_after = rcgen::date_time_ymd(2099, 1, 1));
    let now = SystemTime::now();
    let end = time::OffsetDateTime::now_utc() + time::Duration::days(20) - time::Duration::hours(1);
    pki.gateway("gateway", |params| params.not_after = end);
    let identity = Identity::load(&pki.server(&format!("Ip_Address=localhost\n{PAIR}{VERIFIED}")), 0).unwrap();
    pki.handshake(&identity).unwrap();
    let mut reminder = expiry::Reminder::default();
    let day = Duration::from_secs(86_400);
    let mut told = |days: u32| reminder.due("A", &identity, now + day * days);
    let first = told(0);
    assert!(first.len() == 1 && first[0].contains("(CN=gwuser) expires in 19 days; renew SSLCC_Cert"), "{first:?}");
    assert_eq!(told(1), [""; 0]);
    assert_eq!((told(7).len(), told(8).len(), told(14).len(), told(19).len(), told(20).len()), (1, 0, 1, 1, 0));
    assert_eq!(identity.server_facts().unwrap().alternative_names, ["localhost"]);
}

/// Keys in SoftHSM. The module reads its place from the environment, so the trial itself runs in a process of its own.
#[cfg(feature = "pkcs11")]
mod in_hardware {
    use std::process::Command;

    use rustls::RootCertStore;
    use rustls::server::WebPkiClientVerifier;

    use super::*;

    const DIRECTORY: &str = "SCLERA_TEST_TOKEN";
    const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

    fn softhsm(directory: &Path, arguments: &[&str]) {
        let output = Command::new("softhsm2-util")
            .env("SOFTHSM2_CONF", directory.join("softhsm2.conf"))
            .args(arguments)
            .output()
            .expect("softhsm2-util runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn openssl(directory: &Path, arguments: &[&str]) {
        let output = Command::new("openssl").current_dir(directory).args(arguments).output().expect("openssl runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn keys_that_never_leave_their_token_sign_the_handshake() {
        let pki = Pki::new();
        let directory = pki.directory.path();
        pki.write("ca.key", pki.ca.key().serialize_pem());
        pki.write("ext", "extendedKeyUsage=clientAuth");
        fs::create_dir(directory.join("tokens")).unwrap();
        pki.write(
            "softhsm2.conf",
            format!("directories.tokendir = {}/tokens\nlog.level = ERROR\n", directory.display()),
        );
        softhsm(directory, &["--init-token", "--free", "--label", "clinic", "--so-pin", "1234", "--pin", "canary-pin"]);
        for (name, id, algorithm) in [
            ("rsa", "01", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..]),
            ("p256", "02", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
            ("p384", "03", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ] {
            let (key, csr, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
            openssl(directory, &[&["genpkey", "-out", &key], algorithm].concat());
            openssl(directory, &["req", "-new", "-key", &key, "-subj", "/CN=gwuser", "-out", &csr]);
            openssl(
                directory,
                &[
                    "x509",
                    "-req",
                    "-in",
                    &csr,
                    "-CA",
                    "ca.pem",
                    "-CAkey",
                    "ca.key",
                    "-CAcreateserial",
                    "-extfile",
                    "ext",
                    "-out",
                    &pem,
                ],
            );
            let path = directory.join(&key).display().to_string();
            softhsm(
                directory,
                &["--import", &path, "--token", "clinic", "--label", name, "--id", id, "--pin", "canary-pin"],
            );
            fs::remove_file(directory.join(&key)).unwrap();
        }
        pki.write("server.pem", pki.server.0.pem());
        pki.write("server.key", pki.server.1.serialize_pem());
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["identity::tests::in_hardware::with_the_token_in_place", "--exact", "--ignored", "--nocapture"])
            .env("SOFTHSM2_CONF", directory.join("softhsm2.conf"))
            .env(DIRECTORY, directory)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }

    #[test]
    #[ignore = "run by the test above, with a token"]
    fn with_the_token_in_place() {
        let Some(directory) = std::env::var_os(DIRECTORY) else { return };
        let directory = Path::new(&directory);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(directory.join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(tls::provider());
        let judge = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let chain = CertificateDer::from_pem_file(directory.join("server.pem")).unwrap();
        let load = |object: &str, certificate: &str, pin: &str, range: &str| {
            let content = format!(
                "[SYSTEM_INDEX]\nA=Enabled\n[A]\nConnection_Security_Level=10\nIp_Address=localhost\n{VERIFIED}{range}\n\
                 SSLCC_Certificate_File={certificate}.pem\nSSLCC_Private_Key_Password={pin}\n\
                 SSLCC_Certificate_Key_File=pkcs11:token=clinic;object={object}?module-path={MODULE}\n"
            );
            let path = directory.join("CSP.ini");
            Identity::load(&Profile::parse(&path, content.as_bytes()).unwrap().profile.servers[0], 0)
        };
        for range in ["SSLCC_Protocol_Max=16", "SSLCC_Protocol_Min=32"] {
            for name in ["rsa", "p256", "p384"] {
                let identity = load(name, name, "canary-pin", range).unwrap_or_else(|failure| panic!("{failure}"));
                super::shake_hands(&identity, &chain, directory, judge.clone())
                    .unwrap_or_else(|error| panic!("{name} {range}: {error}"));
            }
            // The wrong key signs what the certificate does not confirm.
            let mixed = load("rsa", "p256", "canary-pin", range);
            assert!(mixed.is_err() || super::shake_hands(&mixed.unwrap(), &chain, directory, judge.clone()).is_err());
        }
        let absent = load("absent", "rsa", "canary-pin", "").unwrap_err();
        assert_eq!(absent.code, Code::Pkcs11Unusable, "{absent}");
    }
}

#[cfg(feature = "pkcs11")]
fn shake_hands(
    identity: &Identity,
    chain: &CertificateDer<'static>,
    directory: &Path,
    judge: Arc<dyn ClientCertVerifier>,
) -> Result<(), rustls::Error> {
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).unwrap();
    exchange(identity, chain, key, judge)
}
