//! The one rustls configuration that all connections of an identity share, and how far it trusts the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, ClientConfig, Error, SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion, version,
};
use rustls_pki_types::ServerName;

use super::cipher_string;
use super::files::Files;
use super::key_log::KeyLogFile;
use super::verification::{Standing, Verifier};
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
    /// The name for SNI and for verification, from `Sclera_Server_Name` or `Ip_Address`.
    pub server_name: ServerName<'static>,
    pub(super) standing: Arc<Standing>,
    asked: Arc<AtomicBool>,
}

/// The cryptography of this release, always passed on explicitly: no process-wide default is installed or used.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider { kx_groups: GROUPS.to_vec(), ..aws_lc_rs::default_provider() }
}

impl Tls {
    /// Builds the configuration from a server's settings and files. Adds to `notices` what an administrator should know.
    pub(super) fn new(server: &Server, files: &Files, notices: &mut Vec<String>) -> Result<Tls, Failure> {
        let server_name = server_name(server)?;
        let standing = Arc::new(Standing::default());
        let asked = Arc::new(AtomicBool::new(false));
        let provider = Arc::new(restricted_provider(server, notices));
        let versions = versions(server, &provider);
        let verifier = Verifier::new(server, files, &provider, standing.clone())?;
        let no_suite = |error: Error| {
            let (older, newer) = (&server.tls.cipher_suites, &server.tls.cipher_suites_1_3);
            let detail = format!(
                "{}={} and {}={} leave no cipher suite for the protocol range: {error}",
                older.place(SSLCC_CIPHER_SUITES.key),
                older.value,
                newer.place("SSLCC_Cipher_Suites_1_3"),
                newer.value
            );
            Failure::new(Code::CiphersEmpty, detail)
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(no_suite)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &files.certified_key {
            Some(pair) => {
                builder.with_client_cert_resolver(Arc::new(OnRequest { pair: pair.clone(), asked: asked.clone() }))
            }
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = true;
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        if let Some(file) = &server.tls.key_log_file {
            config.key_log = Arc::new(KeyLogFile::new(&file.value, server.debug_until));
        }
        Ok(Tls { config: Arc::new(config), server_name, standing, asked })
    }

    /// Whether the superserver has asked for a certificate in any handshake so far.
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

fn server_name(server: &Server) -> Result<ServerName<'static>, Failure> {
    let (setting, key, code) = match &server.tls.server_name {
        Some(name) => (name, "Sclera_Server_Name", Code::ServerNameInvalid),
        None => (&server.address, "Ip_Address", Code::AddressMissing),
    };
    ServerName::try_from(setting.value.clone()).map_err(|_| {
        let detail = format!("{}={} is neither a DNS name nor an IP address", setting.place(key), setting.value);
        Failure::new(code, detail)
    })
}

/// Gives the certificate when the superserver asks for one, and remembers that it did: a superserver that never asks
/// cannot know the gateway by its certificate.
#[derive(Debug)]
struct OnRequest {
    pair: Arc<CertifiedKey>,
    asked: Arc<AtomicBool>,
}

impl ResolvesClientCert for OnRequest {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        Some(self.pair.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The hybrid with a post-quantum key exchange first: a server without it takes the next one that both have.
const GROUPS: [&dyn SupportedKxGroup; 4] =
    [kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

/// The versions that the profile allows, as far as it leaves suites for them.
fn versions(server: &Server, provider: &CryptoProvider) -> Vec<&'static SupportedProtocolVersion> {
    let (newer, older) = match server.tls.range.value {
        Some(TlsRange::Tls12) => (false, true),
        Some(TlsRange::Tls13) => (true, false),
        Some(TlsRange::Tls12And13) => (true, true),
        // Such a server is unusable, and no identity is made for it.
        None => (false, false),
    };
    let has = |newer: bool| provider.cipher_suites.iter().any(|suite| suite.tls13().is_some() == newer);
    let newer = (newer && has(true)).then_some(&version::TLS13);
    newer.into_iter().chain((older && has(false)).then_some(&version::TLS12)).collect()
}

/// The provider with the suites that the profile names, in its order.
fn restricted_provider(server: &Server, notices: &mut Vec<String>) -> CryptoProvider {
    let mut provider = provider();
    let has = |wanted: CipherSuite| provider.cipher_suites.iter().copied().find(|it| it.suite() == wanted);
    let mut suites: Vec<SupportedCipherSuite> = Vec::new();
    let setting = &server.tls.cipher_suites_1_3;
    for name in setting.value.split(':').map(str::trim).filter(|name| !name.is_empty()) {
        match provider.cipher_suites.iter().copied().find(|it| tls13_name(it.suite()) == name) {
            Some(suite) if !suites.contains(&suite) => suites.push(suite),
            Some(_) => {}
            None => notices.push(unknown_suite(setting, name)),
        }
    }
    let setting = &server.tls.cipher_suites;
    let selection = cipher_string::select(&setting.value);
    let place = setting.place(SSLCC_CIPHER_SUITES.key);
    if !selection.in_vain.is_empty() {
        let words = selection.in_vain.join(", ");
        notices.push(format!(
            "{place}: {words}: TLS 1.2 uses ECDHE with AES-GCM or ChaCha20 only, which is not among these"
        ));
    }
    if !selection.unknown.is_empty() {
        notices.push(format!("{place}: {}: not a word of a cipher string", selection.unknown.join(", ")));
    }
    suites.extend(selection.suites.into_iter().filter_map(has));
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
