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
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
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
        let provider = Arc::new(tls::provider());
        let key = PrivateKeyDer::from_pem_slice(self.server.1.serialize_pem().as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.server.0.der().clone()], key)
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
    assert!(notices.iter().any(|notice| notice.contains("can be read by everyone; run: chmod o= /")), "{notices:?}");
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
        ("SSLCC_Protocol_Min=32\nSSLCC_Cipher_Suites_1_3=NONE".into(), Code::TlsCipher, "=NONE leaves no cipher suite"),
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
        ("localhost", [foreign, off, ""], true, Some("invalid peer certificate")),
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
fn suites_of_tls_1_3_are_restricted_and_ordered_and_strangers_are_noticed() {
    let pki = Pki::new();
    let lines = "Ip_Address=localhost\nSSLCC_Cipher_Suites=HIGH\n\
                 SSLCC_Cipher_Suites_1_3=TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256:TLS_AES_128_GCM_SHA256";
    let identity = Identity::load(&pki.server(lines), 0).unwrap();
    let suites = &identity.tls.as_ref().unwrap().config.crypto_provider().cipher_suites;
    let names: Vec<String> =
        suites.iter().filter(|it| it.tls13().is_some()).map(|it| format!("{:?}", it.suite())).collect();
    assert_eq!(names, ["TLS13_CHACHA20_POLY1305_SHA256", "TLS13_AES_128_GCM_SHA256"]);
    assert_eq!(identity.notices.len(), 2, "{:?}", identity.notices);
    assert!(identity.notices[0].contains("SSLCC_Cipher_Suites=HIGH"));
    assert!(identity.notices[1].contains("TLS_AES_128_CCM_SHA256"));
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
