//! What strict verification refuses, by its own name: certificates of private PKIs often have one of these flaws, and
//! "invalid certificate" helps nobody.

use std::fmt;
use std::sync::Arc;

use rustls::{CertificateError, Error, OtherError};

use super::inspect::Facts;

/// Why a superserver's certificate was refused, where rustls has no word for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It has no subject alternative name, so there is nothing to compare a name with but the common name.
    NameInCommonName,
    /// X.509 version 1.
    Version1,
    /// It says that it is a CA's.
    IsAuthority,
    /// It is signed with SHA-1.
    Sha1,
    /// An RSA key below 2048 bits.
    WeakKey {
        /// Its length.
        bits: usize,
    },
    /// Extended key usage without serverAuth.
    NotForServers,
    /// `Sclera_Verification=key` expects another one.
    PinnedKeyDiffers {
        /// The key that it has, as `Sclera_Pinned_Key` writes it.
        found: String,
    },
}

impl Flaw {
    /// The flaw that an error stands for.
    pub fn of(error: &CertificateError) -> Option<&Flaw> {
        match error {
            CertificateError::Other(OtherError(inner)) => inner.downcast_ref(),
            _ => None,
        }
    }
}

/// The error, with the flaw in its place if the certificate has one that explains it.
pub(super) fn named(error: Error, facts: Option<&Facts>) -> Error {
    match facts.and_then(|facts| explains(&error, facts)) {
        Some(flaw) => flaw.into(),
        None => error,
    }
}

/// Only an error without a cause of its own is explained by a flaw: an unknown issuer or an expired certificate is that
/// first.
fn explains(error: &Error, facts: &Facts) -> Option<Flaw> {
    if is_of_name(error) {
        return facts.alternative_names.is_empty().then_some(Flaw::NameInCommonName);
    }
    let Error::InvalidCertificate(error) = error else { return None };
    match error {
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Some(Flaw::NotForServers),
        CertificateError::Other(_) if facts.version == 1 => Some(Flaw::Version1),
        CertificateError::Other(_) if facts.is_authority => Some(Flaw::IsAuthority),
        CertificateError::Other(_) => None,
        _ if is_of_signature(error) && facts.signed_with_sha1 => Some(Flaw::Sha1),
        _ if is_of_signature(error) => match facts.rsa_bits {
            Some(bits) if bits < 2048 => Some(Flaw::WeakKey { bits }),
            _ => None,
        },
        _ => None,
    }
}

#[allow(deprecated)] // rustls still gives the variants without context in places.
fn is_of_signature(error: &CertificateError) -> bool {
    matches!(
        error,
        CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithm
            | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
    )
}

pub(super) fn is_of_name(error: &Error) -> bool {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    matches!(error, Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
}

/// One phrase for a log line.
pub fn describe(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate leads to no CA that is trusted here".to_owned()
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            "a signature of the certificate chain or the handshake is wrong".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Revoked) => "the certificate is revoked".to_owned(),
        Error::InvalidCertificate(inner) => match Flaw::of(inner) {
            Some(flaw) => flaw.to_string(),
            None => error.to_string(),
        },
        _ => error.to_string(),
    }
}

impl From<Flaw> for Error {
    fn from(flaw: Flaw) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(flaw))))
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::NameInCommonName => f.write_str("the certificate has its name in the CN only"),
            Flaw::Version1 => f.write_str("the certificate is X.509 version 1"),
            Flaw::IsAuthority => f.write_str("the certificate is a CA's"),
            Flaw::Sha1 => f.write_str("the certificate is signed with SHA-1"),
            Flaw::WeakKey { bits } => write!(f, "the certificate has an RSA key of {bits} bits only"),
            Flaw::NotForServers => f.write_str("the certificate's extended key usage does not hold serverAuth"),
            Flaw::PinnedKeyDiffers { found } => write!(f, "the public key is not the pinned one; it is {found}"),
        }
    }
}

impl std::error::Error for Flaw {}
