//! Judging the superserver's certificate: what is checked, and what follows from it.
//!
//! The checks are rustls' own; [`super::chain`] replaces them where the profile asks for less. The signature of the
//! handshake is never relaxed: whoever answers holds the key of the certificate that was judged.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};

use super::chain::Anchors;
use super::files::Files;
use super::flaw::{self, Flaw};
use super::inspect::Facts;
use crate::failure::{Code, Failure};
use crate::profile::{PinnedKey, Server, Verification};

/// What verification let pass and whom it saw, as of the latest full handshake.
#[derive(Debug)]
pub(super) struct Standing(Mutex<State>);

#[derive(Debug)]
struct State {
    current: Option<String>,
    reported: HashSet<String>,
    /// The certificates that the superserver showed, its own first; also those that were refused.
    chain: Arc<[CertificateDer<'static>]>,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing(Mutex::new(State { current: None, reported: HashSet::new(), chain: Arc::new([]) }))
    }
}

impl Standing {
    pub(super) fn current(&self) -> Option<String> {
        self.0.lock().current.clone()
    }

    pub(super) fn chain(&self) -> Arc<[CertificateDer<'static>]> {
        self.0.lock().chain.clone()
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

    fn saw(&self, end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) {
        let chain = std::iter::once(end_entity).chain(intermediates);
        self.0.lock().chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
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

/// What a certificate is checked against.
#[derive(Debug)]
enum Checks {
    /// All that the web asks for; the name apart, as the profile says.
    Full(Arc<WebPkiServerVerifier>),
    /// Signatures and dates.
    Chain(Anchors),
    /// The public key.
    Key(PinnedKey),
    /// There is no CA, which is possible only if the peer need not be verified.
    Nothing,
}

/// The verifier of one server.
#[derive(Debug)]
pub(super) struct Verifier {
    checks: Checks,
    certificate: OnFailure,
    name: OnFailure,
    algorithms: WebPkiSupportedAlgorithms,
    standing: Arc<Standing>,
    /// The server, for the warning.
    server: String,
}

impl Verifier {
    pub(super) fn new(
        server: &Server,
        files: &Files,
        provider: &Arc<CryptoProvider>,
        standing: Arc<Standing>,
    ) -> Result<Verifier, Failure> {
        let certificate = if server.tls.verify_peer.value { OnFailure::Refuse } else { OnFailure::Warn };
        let name = match server.tls.verify_name.value && server.tls.verification.value == Verification::Full {
            true => certificate,
            false => OnFailure::Ignore,
        };
        let checks = checks(server, files, provider)?;
        let algorithms = provider.signature_verification_algorithms;
        Ok(Verifier { checks, certificate, name, algorithms, standing, server: server.name.clone() })
    }

    /// Applies the decision to one check's result; what is to be warned of is added to `warnings`.
    fn decide(on_failure: OnFailure, result: Result<(), Error>, warnings: &mut Vec<String>) -> Result<(), Error> {
        match (result, on_failure) {
            (Ok(()), _) | (Err(_), OnFailure::Ignore) => Ok(()),
            (Err(error), OnFailure::Warn) => {
                warnings.push(flaw::describe(&error));
                Ok(())
            }
            (Err(error), OnFailure::Refuse) => Err(error),
        }
    }
}

fn checks(server: &Server, files: &Files, provider: &Arc<CryptoProvider>) -> Result<Checks, Failure> {
    let place = server.tls.verification.place("Sclera_Verification");
    match (server.tls.verification.value, &files.roots) {
        (Verification::Key, _) => match &server.tls.pinned_key {
            Some(key) => Ok(Checks::Key(key.value)),
            None => Err(Failure::new(Code::PinnedKeyMissing, format!("{place}=key, but Sclera_Pinned_Key is not set"))),
        },
        // A missing CA where the peer must be verified was found when the files were read.
        (_, None) => Ok(Checks::Nothing),
        (Verification::Chain, Some(_)) => {
            Ok(Checks::Chain(Anchors::new(&files.ca_certificates, provider.signature_verification_algorithms)))
        }
        (Verification::Full, Some(roots)) => {
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
                .with_crls(files.revocations.clone())
                .build()
                .map(Checks::Full)
                .map_err(|error| {
                    let code = match error {
                        VerifierBuilderError::InvalidCrl(_) => Code::CrlNotPem,
                        _ => Code::CaNotPem,
                    };
                    Failure::new(code, format!("server {}: {error}", server.name))
                })
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
        let facts = Facts::of(end_entity);
        self.standing.saw(end_entity, intermediates);
        let certificate = match &self.checks {
            Checks::Nothing => {
                warnings.push("SSLCC_CA_Certificate_File is not set, so there is nothing to check it against".into());
                Ok(())
            }
            Checks::Full(checks) => {
                match checks.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                    Ok(_) => Ok(()),
                    // rustls checks the name last: a wrong name means that everything else was right.
                    Err(error) if flaw::is_of_name(&error) => Ok(()),
                    Err(error) => Err(flaw::named(error, facts.as_ref())),
                }
            }
            Checks::Chain(anchors) => anchors.verify(end_entity, intermediates, now),
            Checks::Key(expected) => match public_key_digest(end_entity) {
                Some(found) if found == *expected => Ok(()),
                Some(found) => Err(Flaw::PinnedKeyDiffers { found: found.to_string() }.into()),
                None => Err(CertificateError::BadEncoding.into()),
            },
        };
        Self::decide(self.certificate, certificate, &mut warnings)?;
        if matches!(self.checks, Checks::Full(_)) {
            let name = ParsedCertificate::try_from(end_entity)
                .and_then(|certificate| verify_server_name(&certificate, server_name))
                .map_err(|error| flaw::named(error, facts.as_ref()));
            Self::decide(self.name, name, &mut warnings)?;
        }
        let warning = (!warnings.is_empty()).then(|| {
            let (server, reasons) = (&self.server, warnings.join("; "));
            format!("server {server}: the superserver's certificate is accepted unverified: {reasons}; set SSLCC_Verify_Peer=1")
        });
        self.standing.set(warning);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
            .map_err(|error| flaw::named(error, Facts::of(cert).as_ref()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
            .map_err(|error| flaw::named(error, Facts::of(cert).as_ref()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The digest that `Sclera_Pinned_Key` is compared with; `None` if it is no certificate.
pub fn public_key_digest(der: &[u8]) -> Option<PinnedKey> {
    let spki = super::inspect::public_key(der)?;
    Some(PinnedKey(Sha256::digest(spki).into()))
}
