//! What a certificate says about itself, for checks and pages. Nothing here decides about trust; rustls does.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::der_parser::oid;
use x509_parser::extensions::{BasicConstraints, ExtendedKeyUsage, GeneralName, SubjectAlternativeName};
use x509_parser::nom::Parser;
use x509_parser::oid_registry::{
    OID_PKCS1_SHA1WITHRSA, OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_SUBJECT_ALT_NAME, Oid,
};
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificateParser};
use x509_parser::public_key::PublicKey;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

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
    /// The same for a server's.
    pub for_servers: bool,
    /// The subject, as text.
    pub subject: String,
    /// The issuer's subject, as text.
    pub issuer: String,
    /// Serial number in upper-case hexadecimal, two digits a byte.
    pub serial: String,
    /// X.509 version: 1 or 3.
    pub version: u32,
    /// Whether its basic constraints say CA.
    pub is_authority: bool,
    /// Whether it is signed with SHA-1.
    pub signed_with_sha1: bool,
    /// The length of its RSA key; `None` for other keys.
    pub rsa_bits: Option<usize>,
    /// DNS names and IP addresses that it is issued to.
    pub alternative_names: Vec<String>,
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
        let (for_clients, for_servers) = match certificate.get_extension_unique(&OID_X509_EXT_EXTENDED_KEY_USAGE) {
            Ok(Some(extension)) => match ExtendedKeyUsage::from_der(extension.value) {
                Ok((_, usage)) => (usage.any || usage.client_auth, usage.any || usage.server_auth),
                Err(_) => (false, false),
            },
            Ok(None) => (true, true),
            Err(_) => (false, false),
        };
        let is_authority = extension(&certificate, &OID_X509_EXT_BASIC_CONSTRAINTS)
            .is_some_and(|value| BasicConstraints::from_der(value).is_ok_and(|(_, constraints)| constraints.ca));
        let rsa_bits = match certificate.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => Some(key.key_size()),
            _ => None,
        };
        Some(Facts {
            common_name,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            for_clients,
            for_servers,
            subject: name_text(certificate.subject()),
            issuer: name_text(certificate.issuer()),
            serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02X}")).collect(),
            version: certificate.version().0 + 1,
            is_authority,
            signed_with_sha1: SHA1_SIGNATURES.contains(&certificate.signature_algorithm.algorithm),
            rsa_bits,
            alternative_names: alternative_names(&certificate),
        })
    }

    /// The common name, as text for people.
    pub fn user(&self) -> &str {
        self.common_name.as_deref().unwrap_or("(not exactly one)")
    }

    /// Whole days until it expires; negative once it has.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        self.seconds_left(now).div_euclid(86_400)
    }

    /// Seconds until it expires; negative once it has.
    pub fn seconds_left(&self, now: SystemTime) -> i64 {
        self.not_after - unix_seconds(now)
    }
}

/// Why a CN cannot be the name of an IRIS user, as "it ...": the rules for user names (security reference, sections 4.1
/// and 4.3) and of X.509.
pub fn implausible_user(cn: &str) -> Option<&'static str> {
    const RESERVED: [&str; 3] = ["UnknownUser", "_PUBLIC", "%System"];
    if cn.trim().is_empty() {
        return Some("is empty");
    }
    if cn.trim() != cn {
        return Some("begins or ends with a space");
    }
    if cn.chars().count() > 64 {
        return Some("is longer than 64 characters");
    }
    if cn.chars().any(|it| it.is_control() || it == '@' || it == '*') {
        return Some("holds @, * or a control character");
    }
    RESERVED.iter().any(|name| name.eq_ignore_ascii_case(cn)).then_some("is a name that IRIS reserves")
}

/// Whether a certificate is issued to this public key, given as its SubjectPublicKeyInfo in DER.
pub(super) fn holds_public_key(der: &[u8], key: &[u8]) -> bool {
    public_key(der) == Some(key)
}

/// The SubjectPublicKeyInfo of a certificate, in DER.
pub(super) fn public_key(der: &[u8]) -> Option<&[u8]> {
    Some(parse(der)?.tbs_certificate.subject_pki.raw)
}

/// The subject of a certificate, in DER.
pub(super) fn subject_name(der: &[u8]) -> Option<&[u8]> {
    Some(parse(der)?.subject.as_raw())
}

/// The subject of a certificate's issuer, in DER.
pub(super) fn issuer_name(der: &[u8]) -> Option<&[u8]> {
    Some(parse(der)?.issuer.as_raw())
}

/// A name as people write it. The parser's own form would keep a table of every known attribute for the life of the
/// process.
fn name_text(name: &X509Name<'_>) -> String {
    let short = |oid: &Oid<'_>| match oid.to_id_string().as_str() {
        "2.5.4.3" => "CN".to_owned(),
        "2.5.4.6" => "C".to_owned(),
        "2.5.4.7" => "L".to_owned(),
        "2.5.4.8" => "ST".to_owned(),
        "2.5.4.10" => "O".to_owned(),
        "2.5.4.11" => "OU".to_owned(),
        "1.2.840.113549.1.9.1" => "emailAddress".to_owned(),
        "0.9.2342.19200300.100.1.25" => "DC".to_owned(),
        other => other.to_owned(),
    };
    let attribute = |it: &AttributeTypeAndValue<'_>| {
        let value = it.as_str().map_or_else(|_| String::from_utf8_lossy(it.as_slice()).into_owned(), str::to_owned);
        format!("{}={value}", short(it.attr_type()))
    };
    name.iter_attributes().map(attribute).collect::<Vec<_>>().join(", ")
}

/// sha1WithRSAEncryption, ecdsa-with-SHA1 and dsa-with-SHA1.
const SHA1_SIGNATURES: [Oid<'static>; 3] = [OID_PKCS1_SHA1WITHRSA, oid!(1.2.840.10045.4.1), oid!(1.2.840.10040.4.3)];

fn extension<'a>(certificate: &X509Certificate<'a>, oid: &Oid<'static>) -> Option<&'a [u8]> {
    certificate.get_extension_unique(oid).ok().flatten().map(|extension| extension.value)
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Some(value) = extension(certificate, &OID_X509_EXT_SUBJECT_ALT_NAME) else { return Vec::new() };
    let Ok((_, names)) = SubjectAlternativeName::from_der(value) else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress([a, b, c, d]) => Some(Ipv4Addr::new(*a, *b, *c, *d).to_string()),
        GeneralName::IPAddress(bytes) => {
            <[u8; 16]>::try_from(*bytes).ok().map(|bytes| Ipv6Addr::from(bytes).to_string())
        }
        _ => None,
    };
    names.general_names.iter().filter_map(name).collect()
}

/// When a revocation list is to be replaced, in seconds since 1970.
pub(super) fn next_update(der: &[u8]) -> Option<i64> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    list.next_update().map(|time| time.timestamp())
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
