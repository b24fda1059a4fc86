//! The one rustls configuration that all connections of an identity share, and how far it trusts the server.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion, version,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::files::Files;
use crate::failure::{Code, Failure};
use crate::profile::parameter::SSLCC_CIPHER_SUITES;
use crate::profile::{Server, Setting, TlsRange};

/// Sessions kept for resumption, per identity.
const SESSIONS: usize = 256;

/// What a TLS connection to the server is made with.
#[derive(Debug)]
pub struct Tls {
    /// The shared configuration; cloning the `Arc` is all a connection does with it.
    pub config: Arc<ClientConfig>,
    /// The name for SNI and for verification, from `Ip_Address`.
    pub server_name: ServerName<'static>,
    pub(super) standing: Arc<Standing>,
}

/// The cryptography of this release, always passed on explicitly: no process-wide default is installed or used.
pub(super) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

impl Tls {
    /// Builds the configuration from a server's settings and files. Adds to `notices` what an administrator should know.
    pub(super) fn new(server: &Server, files: &Files, notices: &mut Vec<String>) -> Result<Tls, Failure> {
        let address = &server.address;
        let server_name = ServerName::try_from(address.value.clone()).map_err(|_| {
            let detail =
                format!("{}={} is neither a DNS name nor an IP address", address.place("Ip_Address"), address.value);
            Failure::new(Code::AddressMissing, detail)
        })?;
        let standing = Arc::new(Standing::default());
        let provider = Arc::new(restricted_provider(server, notices));
        let verifier = Verifier::new(server, files.roots.clone(), &provider, standing.clone())?;
        let no_suite = |error: Error| {
            let detail = format!(
                "{}={} leaves no cipher suite for the protocol range: {error}",
                server.tls.cipher_suites_1_3.place("SSLCC_Cipher_Suites_1_3"),
                server.tls.cipher_suites_1_3.value
            );
            Failure::new(Code::TlsCipher, detail)
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(server))
            .map_err(no_suite)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &files.certified_key {
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone()))),
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = true;
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Tls { config: Arc::new(config), server_name, standing })
    }
}

/// What verification let pass, as of the latest full handshake.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    current: Option<String>,
    reported: HashSet<String>,
}

impl Standing {
    pub(super) fn current(&self) -> Option<String> {
        self.0.lock().current.clone()
    }

    /// The current warning, if this text was not taken before.
    pub(super) fn take_new(&self) -> Option<String> {
        /// A server that changes its certificate all the time must not make this grow.
        const MOST_TEXTS: usize = 64;
        let mut state = self.0.lock();
        let current = state.current.clone()?;
        let new = state.reported.len() < MOST_TEXTS && state.reported.insert(current.clone());
        new.then_some(current)
    }

    fn set(&self, warning: Option<String>) {
        self.0.lock().current = warning;
    }
}

/// What happens when a check of the server's certificate fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFailure {
    Refuse,
    Warn,
    Ignore,
}

/// Runs rustls' own checks of chain and name, and decides what follows from them. The signature of the handshake is never
/// relaxed: whoever answers holds the key of the certificate that was judged.
#[derive(Debug)]
struct Verifier {
    /// `None` if there is no CA to check against, which is possible only if the peer need not be verified.
    checks: Option<Arc<WebPkiServerVerifier>>,
    chain: OnFailure,
    name: OnFailure,
    algorithms: WebPkiSupportedAlgorithms,
    standing: Arc<Standing>,
    /// The server and what to set, for the warning.
    server: String,
}

impl Verifier {
    fn new(
        server: &Server,
        roots: Option<Arc<RootCertStore>>,
        provider: &Arc<CryptoProvider>,
        standing: Arc<Standing>,
    ) -> Result<Verifier, Failure> {
        let checks = match roots {
            None => None,
            Some(roots) => Some(
                WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                    .build()
                    .map_err(|error| Failure::new(Code::CaNotPem, format!("server {}: {error}", server.name)))?,
            ),
        };
        let chain = if server.tls.verify_peer.value { OnFailure::Refuse } else { OnFailure::Warn };
        if chain == OnFailure::Refuse && checks.is_none() {
            let detail = format!("server {}: SSLCC_Verify_Peer=1 without a CA", server.name);
            return Err(Failure::new(Code::CaMissing, detail));
        }
        let name = if server.tls.verify_name.value { chain } else { OnFailure::Ignore };
        let algorithms = provider.signature_verification_algorithms;
        Ok(Verifier { checks, chain, name, algorithms, standing, server: server.name.clone() })
    }

    /// Applies the decision to one check's result; what is to be warned of is added to `warnings`.
    fn decide(on_failure: OnFailure, result: Result<(), Error>, warnings: &mut Vec<String>) -> Result<(), Error> {
        match (result, on_failure) {
            (Ok(()), _) | (Err(_), OnFailure::Ignore) => Ok(()),
            (Err(error), OnFailure::Warn) => {
                warnings.push(error.to_string());
                Ok(())
            }
            (Err(error), OnFailure::Refuse) => Err(error),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut warnings = Vec::new();
        match &self.checks {
            None => {
                warnings.push("SSLCC_CA_Certificate_File is not set, so there is nothing to check it against".into())
            }
            Some(checks) => {
                let whole = checks.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
                // rustls checks the name last: a wrong name means that everything else was right.
                let chain = match whole {
                    Ok(_) => Ok(()),
                    Err(error) if is_name_error(&error) => Ok(()),
                    Err(error) => Err(error),
                };
                Self::decide(self.chain, chain, &mut warnings)?;
                let name = ParsedCertificate::try_from(end_entity)
                    .and_then(|certificate| verify_server_name(&certificate, server_name));
                Self::decide(self.name, name, &mut warnings)?;
            }
        }
        self.standing.set((!warnings.is_empty()).then(|| {
            let server = &self.server;
            let reasons = warnings.join("; ");
            format!("server {server}: the superserver's certificate is accepted unverified: {reasons}; set SSLCC_Verify_Peer=1")
        }));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn is_name_error(error: &Error) -> bool {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    matches!(error, Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
}

fn versions(server: &Server) -> &'static [&'static SupportedProtocolVersion] {
    static TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];
    static TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];
    static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    match server.tls.range.value {
        Some(TlsRange::Tls12) => TLS12,
        Some(TlsRange::Tls13) => TLS13,
        Some(TlsRange::Tls12And13) => BOTH,
        // Such a server is unusable, and no identity is made for it.
        None => &[],
    }
}

/// The provider with the TLS 1.3 suites that the profile lists, in its order.
fn restricted_provider(server: &Server, notices: &mut Vec<String>) -> CryptoProvider {
    let mut provider = provider();
    let tls12 = &server.tls.cipher_suites;
    if tls12.value != SSLCC_CIPHER_SUITES.default {
        notices.push(format!(
            "{}={} has no effect in this release: TLS 1.2 uses ECDHE with AES-GCM or ChaCha20 only",
            tls12.place(SSLCC_CIPHER_SUITES.key),
            tls12.value
        ));
    }
    let setting = &server.tls.cipher_suites_1_3;
    let (tls13, others): (Vec<SupportedCipherSuite>, Vec<SupportedCipherSuite>) =
        provider.cipher_suites.iter().copied().partition(|suite| suite.tls13().is_some());
    let mut suites: Vec<SupportedCipherSuite> = Vec::new();
    for name in setting.value.split(':').map(str::trim).filter(|name| !name.is_empty()) {
        match tls13.iter().copied().find(|suite| tls13_name(suite.suite()) == name) {
            Some(suite) if !suites.contains(&suite) => suites.push(suite),
            Some(_) => {}
            None => notices.push(unknown_suite(setting, name)),
        }
    }
    suites.extend(others);
    provider.cipher_suites = suites;
    provider
}

fn unknown_suite(setting: &Setting<String>, name: &str) -> String {
    format!("{}: {name} is not a TLS 1.3 suite that Sclera has", setting.place("SSLCC_Cipher_Suites_1_3"))
}

/// The standard's name of a TLS 1.3 suite.
fn tls13_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        _ => "",
    }
}
