//! What a certificate says about itself, for checks and pages. Nothing here decides about trust; rustls does.

use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::extensions::ExtendedKeyUsage;
use x509_parser::nom::Parser;
use x509_parser::oid_registry::OID_X509_EXT_EXTENDED_KEY_USAGE;
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificateParser};

/// The facts of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The subject's common name; with mutual TLS, the user at the superserver. `None` unless there is exactly one.
    pub common_name: Option<String>,
    /// Begin of validity, in seconds since 1970.
    pub not_before: i64,
    /// End of validity, in seconds since 1970.
    pub not_after: i64,
    /// Whether it may be used as a client's certificate: it has no extended key usage, or one that includes this.
    pub for_clients: bool,
}

impl Facts {
    /// The facts of a certificate in DER; `None` if it is no X.509 certificate.
    pub fn of(der: &[u8]) -> Option<Facts> {
        let certificate = parse(der)?;
        let mut names = certificate.subject().iter_common_name();
        let common_name = match (names.next(), names.next()) {
            (Some(name), None) => name.as_str().ok().map(str::to_owned),
            _ => None,
        };
        let for_clients = match certificate.get_extension_unique(&OID_X509_EXT_EXTENDED_KEY_USAGE) {
            Ok(Some(extension)) => {
                ExtendedKeyUsage::from_der(extension.value).is_ok_and(|(_, usage)| usage.any || usage.client_auth)
            }
            Ok(None) => true,
            Err(_) => false,
        };
        Some(Facts {
            common_name,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            for_clients,
        })
    }

    /// Whole days until it expires; negative once it has.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        (self.not_after - unix_seconds(now)).div_euclid(86_400)
    }
}

/// Whether a certificate is issued to this public key, given as its SubjectPublicKeyInfo in DER.
pub(super) fn holds_public_key(der: &[u8], public_key: &[u8]) -> bool {
    parse(der).is_some_and(|certificate| certificate.public_key().raw == public_key)
}

/// Leaves extensions as bytes: the parser's table of all of them would stay allocated for the life of the process.
fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    let (_, certificate) = X509CertificateParser::new().with_deep_parse_extensions(false).parse(der).ok()?;
    Some(certificate)
}

/// Seconds since 1970.
pub(super) fn unix_seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs() as i64,
        Err(before) => -(before.duration().as_secs() as i64),
    }
}
