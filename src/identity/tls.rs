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
        let verifier = Verifier::new(server, files, &provider, standing.clone())?;
        let no_suite = |error: Error| {
            let detail = format!(
                "{}={} leaves no cipher suite for the protocol range: {error}",
                server.tls.cipher_suites_1_3.place("SSLCC_Cipher_Suites_1_3"),
                server.tls.cipher_suites_1_3.value
            );
            Failure::new(Code::CiphersEmpty, detail)
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(server))
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
            config.key_log = Arc::new(KeyLogFile::new(&file.value));
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
