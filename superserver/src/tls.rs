//! TLS on the superserver's side: from a TLS configuration to what rustls works with, and from a finished handshake to
//! the facts about it.

use crate::password::hex;
use crate::security::{ClientVerification, KeyPassword, SslConfig, TlsVersion};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    DigitallySignedStruct, DistinguishedName, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion,
};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use sclera::identity::cipher_string;
use sclera::identity::encrypted::{Locked, LockedKey};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What became of a connection's TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite by its IANA name.
    pub suite: String,
    /// The client's certificate, if it sent one; then it was verified.
    pub client: Option<ClientCertificate>,
}

/// What is told of a verified client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// All common names of the subject, in their order; a login needs exactly one.
    pub common_names: Vec<String>,
    /// Serial number in upper-case hexadecimal, two digits a byte.
    pub serial: String,
    /// The last second of validity, as seconds since 1970.
    pub not_after: i64,
}

impl TlsFacts {
    /// The facts of a finished handshake. An error means that the connection must not be used.
    pub fn of(connection: &ServerConnection, now: SystemTime) -> Result<TlsFacts, String> {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let suite =
            connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
        let client = match connection.peer_certificates() {
            Some([leaf, ..]) => Some(ClientCertificate::read(leaf)?),
            _ => None,
        };
        // A resumed session was verified when it began; the certificate may have expired since.
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let expired =
            client.as_ref().is_some_and(|client| i64::try_from(seconds).is_ok_and(|now| now > client.not_after));
        if expired && connection.handshake_kind() == Some(HandshakeKind::Resumed) {
            return Err("the client certificate of a resumed session has expired".to_owned());
        }
        Ok(TlsFacts { version, suite: suite.replacen("TLS13_", "TLS_", 1), client })
    }
}

impl ClientCertificate {
    fn read(der: &CertificateDer<'_>) -> Result<ClientCertificate, String> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| format!("the client certificate was verified but cannot be read: {error}"))?;
        // An attribute that is no text still counts as a common name, one that nobody has.
        let names = certificate.subject().iter_common_name().map(|name| name.as_str().unwrap_or_default().to_owned());
        Ok(ClientCertificate {
            common_names: names.collect(),
            serial: hex(certificate.raw_serial()).to_uppercase(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}

/// Builds what rustls needs from a TLS configuration; all that is wrong with it comes together, each sentence with the
/// setting and its file.
pub fn server_config(config: &SslConfig) -> Result<ServerConfig, Vec<String>> {
    let mut problems = Vec::new();
    if !config.enabled {
        problems.push("Enabled=0: the configuration is disabled (#987)".to_owned());
    }
    if !config.for_servers {
        problems.push("Type=0 is a client's configuration; a superserver needs Type=1".to_owned());
    }
    let versions = versions(config);
    if versions.is_empty() {
        problems.push("TLSMinVersion and TLSMaxVersion hold neither 16 (TLS 1.2) nor 32 (TLS 1.3)".to_owned());
    }
    let provider = Arc::new(restricted_provider(config));
    let chain = needed(&mut problems, "CertificateFile", &config.certificate_file)
        .and_then(|file| noted(&mut problems, certificates("CertificateFile", file)));
    let key = needed(&mut problems, "PrivateKeyFile", &config.private_key_file)
        .and_then(|file| noted(&mut problems, private_key(file, &config.key_password)));
    let verifier = noted(&mut problems, client_verifier(config, &provider));
    let (Some(chain), Some(key), Some(verifier), true) = (chain, key, verifier, problems.is_empty()) else {
        return Err(problems);
    };
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| {
            vec![format!("TLSMinVersion, TLSMaxVersion, CipherList, Ciphersuites leave nothing: {error}")]
        })?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| vec![pair_problem(config, &error)])?;
    server.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| vec![format!("no session tickets: {error}")])?;
    Ok(server)
}

fn versions(config: &SslConfig) -> Vec<&'static SupportedProtocolVersion> {
    let range = config.oldest..=config.newest;
    [(TlsVersion::Tls13, &TLS13), (TlsVersion::Tls12, &TLS12)]
        .into_iter()
        .filter(|(version, _)| range.contains(version))
        .map(|(_, version)| version)
        .collect()
}

/// The suites that CipherList and Ciphersuites name, in their order.
fn restricted_provider(config: &SslConfig) -> CryptoProvider {
    let all = aws_lc_rs::default_provider();
    let of_1_3 = config.cipher_suites.split(':').filter_map(|name| {
        let named = |suite: &&SupportedCipherSuite| {
            suite.tls13().is_some() && format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1) == name.trim()
        };
        all.cipher_suites.iter().find(named).copied()
    });
    let older = cipher_string::select(&config.cipher_list).suites;
    let older =
        older.into_iter().filter_map(|wanted| all.cipher_suites.iter().find(|it| it.suite() == wanted).copied());
    let cipher_suites = of_1_3.chain(older).collect();
    CryptoProvider { cipher_suites, ..all }
}

fn client_verifier(config: &SslConfig, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    if config.verification == ClientVerification::None {
        return Ok(Arc::new(NoClientAuth));
    }
    let mut files: Vec<(&str, PathBuf)> = config.ca_file.iter().map(|file| ("CAFile", file.clone())).collect();
    if let Some(directory) = &config.ca_path {
        files.extend(pem_files(directory)?.into_iter().map(|file| ("CAPath", file)));
    }
    if files.is_empty() {
        return Err("CAFile is missing; VerifyPeer needs it, or CAPath (#986)".to_owned());
    }
    let mut roots = RootCertStore::empty();
    for (setting, file) in &files {
        for authority in certificates(setting, file)? {
            roots.add(authority).map_err(|error| {
                format!("{setting}={} holds a certificate that is no CA's: {error} (#743)", file.display())
            })?;
        }
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder = match &config.crl_file {
        Some(file) => builder.with_crls(revocations(file)?),
        None => builder,
    };
    let builder = match config.verification {
        ClientVerification::Request => builder.allow_unauthenticated(),
        _ => builder,
    };
    let inner = builder.build().map_err(|error| format!("CAFile, CAPath or CRLFile cannot be used: {error}"))?;
    Ok(Arc::new(NotTooDeep { inner, most: config.depth as usize }))
}

/// VerifyDepth: a client's chain may hold only so many CAs, the root at its end included.
#[derive(Debug)]
struct NotTooDeep {
    inner: Arc<dyn ClientCertVerifier>,
    most: usize,
}

impl ClientCertVerifier for NotTooDeep {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if intermediates.len() + 1 > self.most {
            return Err(rustls::CertificateError::ApplicationVerificationFailure.into());
        }
        self.inner.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The PEM files of a directory, by name.
fn pem_files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let problem = |error: std::io::Error| format!("CAPath={} cannot be read: {error}", directory.display());
    let entries: Vec<_> = std::fs::read_dir(directory).map_err(problem)?.collect::<Result<_, _>>().map_err(problem)?;
    let is_pem = |path: &PathBuf| path.extension().is_some_and(|it| ["pem", "crt", "cer"].iter().any(|pem| it == *pem));
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(is_pem).collect();
    files.sort();
    Ok(files)
}

fn revocations(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let problem = |error: pem::Error| file_problem("CRLFile", file, &error, "revocation list");
    let lists: Vec<_> = CertificateRevocationListDer::pem_file_iter(file)
        .map_err(problem)?
        .collect::<Result<_, _>>()
        .map_err(problem)?;
    if lists.is_empty() { Err(problem(pem::Error::NoItemsFound)) } else { Ok(lists) }
}

fn certificates(setting: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let problem = |error: pem::Error| file_problem(setting, file, &error, "certificate");
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(file).map_err(problem)?.collect::<Result<_, _>>().map_err(problem)?;
    if certificates.is_empty() {
        return Err(problem(pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn private_key(file: &Path, password: &KeyPassword) -> Result<PrivateKeyDer<'static>, String> {
    let content =
        std::fs::read(file).map_err(|error| file_problem("PrivateKeyFile", file, &pem::Error::Io(error), ""))?;
    let name = file.display();
    let Some(locked) = Locked::find(&content) else {
        return PrivateKeyDer::from_pem_slice(&content)
            .map_err(|error| file_problem("PrivateKeyFile", file, &error, "private key"));
    };
    if password.0.is_empty() {
        return Err(format!("PrivateKeyFile={name} is encrypted, and PrivateKeyPassword is empty (#732)"));
    }
    locked.open(&password.0).map_err(|reason| match reason {
        LockedKey::WrongPassword => format!("PrivateKeyFile={name} is not opened by PrivateKeyPassword (#732)"),
        LockedKey::Unsupported(how) => format!("PrivateKeyFile={name} is protected by {how}, which is not supported"),
        LockedKey::Damaged => format!("PrivateKeyFile={name} is no good PEM file"),
    })
}

fn file_problem(setting: &str, file: &Path, error: &pem::Error, content: &str) -> String {
    let file = file.display();
    match error {
        pem::Error::Io(error) => format!("{setting}={file} cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("{setting}={file} holds no {content} in PEM form"),
        error => format!("{setting}={file} is no good PEM file: {error}"),
    }
}

fn pair_problem(config: &SslConfig, error: &rustls::Error) -> String {
    let name = |file: &Option<PathBuf>| file.as_deref().unwrap_or(Path::new("")).display().to_string();
    let (certificate, key) = (name(&config.certificate_file), name(&config.private_key_file));
    match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("PrivateKeyFile={key} does not belong to CertificateFile={certificate} (#733)")
        }
        error => format!("CertificateFile={certificate} with PrivateKeyFile={key} cannot be used: {error}"),
    }
}

fn needed<'a>(problems: &mut Vec<String>, setting: &str, file: &'a Option<PathBuf>) -> Option<&'a PathBuf> {
    if file.is_none() {
        problems.push(format!("{setting} is missing; a superserver needs certificate and key (#1501)"));
    }
    file.as_ref()
}

fn noted<T>(problems: &mut Vec<String>, result: Result<T, String>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

/// Keeps the rustls configuration that belongs to the current TLS configuration and its files. Every new connection
/// asks; building happens only when something changed.
#[derive(Default)]
pub struct TlsKeeper {
    current: Mutex<Option<(Stamp, Arc<ServerConfig>)>>,
}

/// What a rustls configuration was built from.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    config: SslConfig,
    files: [Option<(SystemTime, u64)>; 5],
}

/// The rustls configuration for a new connection, and what there is to complain about.
pub type Kept = Result<(Arc<ServerConfig>, Option<Vec<String>>), Vec<String>>;

impl TlsKeeper {
    /// The configuration to use now. If only files changed and the new ones are not usable (half of a rotation), the
    /// old ones go on, with the problems beside them; if the configuration itself is not usable, that is an error.
    pub fn current(&self, config: &SslConfig) -> Kept {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(config);
        if let Some((known, server)) = &*current
            && *known == stamp
        {
            return Ok((server.clone(), None));
        }
        match (server_config(config), &*current) {
            (Ok(server), _) => {
                let server = Arc::new(server);
                *current = Some((stamp, server.clone()));
                Ok((server, None))
            }
            (Err(problems), Some((known, server))) if known.config == *config => Ok((server.clone(), Some(problems))),
            (Err(problems), _) => Err(problems),
        }
    }
}

impl Stamp {
    fn of(config: &SslConfig) -> Stamp {
        let SslConfig { ca_file, certificate_file, private_key_file, ca_path, crl_file, .. } = config;
        let files = [ca_file, certificate_file, private_key_file, ca_path, crl_file].map(|file| {
            let data = std::fs::metadata(file.as_ref()?).ok()?;
            Some((data.modified().ok()?, data.len()))
        });
        Stamp { config: config.clone(), files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn good(directory: &TempDir) -> SslConfig {
        let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let file = |name: &str, text: String| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            Some(path)
        };
        SslConfig {
            name: "GW".into(),
            enabled: true,
            for_servers: true,
            verification: ClientVerification::Require,
            ca_file: file("ca.pem", issued.cert.pem()),
            certificate_file: file("server.pem", issued.cert.pem()),
            private_key_file: file("server.key", issued.signing_key.serialize_pem()),
            key_password: KeyPassword::default(),
            ca_path: None,
            crl_file: None,
            depth: 9,
            cipher_list: "ALL".to_owned(),
            cipher_suites: "TLS_AES_256_GCM_SHA384".to_owned(),
            oldest: TlsVersion::Tls12,
            newest: TlsVersion::Tls13,
        }
    }

    #[test]
    fn a_complete_configuration_can_be_used() {
        let directory = tempfile::tempdir().unwrap();
        assert!(server_config(&good(&directory)).is_ok());
    }

    #[test]
    fn each_mistake_is_told_with_its_setting_and_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let other = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
        fs::write(path("other.key"), other.signing_key.serialize_pem()).unwrap();
        fs::write(path("text.pem"), "no pem").unwrap();
        fs::write(
            path("locked.key"),
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----",
        )
        .unwrap();
        type Change<'a> = &'a dyn Fn(&mut SslConfig);
        let cases: [(Change<'_>, &str); 10] = [
            (&|config| config.enabled = false, "#987"),
            (&|config| config.for_servers = false, "Type=0"),
            (&|config| (config.oldest, config.newest) = (TlsVersion::Older, TlsVersion::Older), "TLSMinVersion"),
            (&|config| config.ca_file = None, "CAFile is missing"),
            (&|config| config.certificate_file = None, "CertificateFile is missing"),
            (&|config| config.certificate_file = Some(path("absent.pem")), "absent.pem cannot be read"),
            (&|config| config.certificate_file = Some(path("text.pem")), "text.pem holds no certificate"),
            (&|config| config.ca_file = Some(path("text.pem")), "CAFile="),
            (&|config| config.private_key_file = Some(path("other.key")), "does not belong to CertificateFile"),
            (
                &|config| config.private_key_file = Some(path("locked.key")),
                "is encrypted, and PrivateKeyPassword is empty",
            ),
        ];
        for (change, expected) in cases {
            let mut config = good(&directory);
            change(&mut config);
            let problems = server_config(&config).expect_err(expected);
            assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?} should hold {expected:?}");
        }
    }

    #[test]
    fn without_verification_no_ca_file_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = good(&directory);
        config.verification = ClientVerification::None;
        config.ca_file = None;
        assert!(server_config(&config).is_ok());
    }

    #[test]
    fn new_files_are_taken_up_and_unusable_ones_leave_the_old_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let config = good(&directory);
        let keeper = TlsKeeper::default();
        let (first, _) = keeper.current(&config).ok().unwrap();
        let (again, _) = keeper.current(&config).ok().unwrap();
        assert!(Arc::ptr_eq(&first, &again));

        fs::write(config.certificate_file.as_ref().unwrap(), "half a").unwrap();
        let (kept, problems) = keeper.current(&config).ok().unwrap();
        assert!(Arc::ptr_eq(&first, &kept) && problems.is_some());

        good(&directory);
        let (renewed, problems) = keeper.current(&config).ok().unwrap();
        assert!(!Arc::ptr_eq(&first, &renewed) && problems.is_none());

        let disabled = SslConfig { enabled: false, ..config };
        assert!(keeper.current(&disabled).is_err());
    }
}
