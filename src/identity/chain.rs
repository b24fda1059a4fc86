//! `Sclera_Verification=chain`: signatures that lead to a CA of the CA file, and dates. Version, purpose, CA flag and
//! names are not looked at.
//!
//! It is for private PKIs whose certificates the rules of the web refuse. What protects is that the CA file holds only
//! CAs that issue for the superserver. The algorithms are the provider's: SHA-1 and short RSA keys stay out.

use pkcs8::der::{Decode, Encode, Header, Reader, SliceReader, Tag};
use pkcs8::spki::SubjectPublicKeyInfoRef;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{CertificateError, Error};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::flaw::Flaw;
use super::inspect::Facts;

/// The CAs to end at.
#[derive(Debug)]
pub(super) struct Anchors {
    certificates: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The most certificates of a chain; a hostile server must not make us verify more signatures than that.
const LONGEST: usize = 8;

impl Anchors {
    pub(super) fn new(certificates: &[CertificateDer<'static>], algorithms: WebPkiSupportedAlgorithms) -> Anchors {
        Anchors { certificates: certificates.to_vec(), algorithms }
    }

    /// Follows the chain in the order in which the server sent it; after each certificate an anchor may end it.
    pub(super) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut current = end_entity;
        for next in intermediates.iter().map(Some).chain([None]).take(LONGEST) {
            check_dates(current, now)?;
            if self.certificates.iter().any(|anchor| anchor == current) {
                return Ok(());
            }
            let mut last = CertificateError::UnknownIssuer.into();
            for anchor in &self.certificates {
                match self.is_signed_by(current, anchor) {
                    Ok(true) => return check_dates(anchor, now),
                    Ok(false) => {}
                    Err(error) => last = error,
                }
            }
            match next {
                Some(next) if self.is_signed_by(current, next)? => current = next,
                _ => return Err(last),
            }
        }
        Err(CertificateError::UnknownIssuer.into())
    }

    /// Whether `issuer` has signed `certificate`. An error: it should have, but the signature is wrong or of a kind that
    /// is not accepted.
    fn is_signed_by(&self, certificate: &[u8], issuer: &[u8]) -> Result<bool, Error> {
        let bad = || Error::from(CertificateError::BadEncoding);
        let signed = Signed::read(certificate).ok_or_else(bad)?;
        let names = (super::inspect::issuer_name(certificate), super::inspect::subject_name(issuer));
        if !matches!(names, (Some(issuer), Some(subject)) if issuer == subject) {
            return Ok(false);
        }
        let spki = super::inspect::public_key(issuer).ok_or_else(bad)?;
        let key = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| bad())?;
        let key_algorithm = key.algorithm.to_der().map_err(|_| bad())?;
        let key_algorithm = content(&key_algorithm).ok_or_else(bad)?;
        let bits = key.subject_public_key.as_bytes().ok_or_else(bad)?;
        let fitting = self.algorithms.all.iter().filter(|algorithm| {
            algorithm.signature_alg_id().as_ref() == signed.algorithm
                && algorithm.public_key_alg_id().as_ref() == key_algorithm
        });
        let mut tried = false;
        for algorithm in fitting {
            tried = true;
            if algorithm.verify_signature(bits, signed.content, signed.signature).is_ok() {
                return Ok(true);
            }
        }
        match Facts::of(certificate) {
            Some(facts) if !tried && facts.signed_with_sha1 => Err(Flaw::Sha1.into()),
            _ => Err(CertificateError::BadSignature.into()),
        }
    }
}

fn check_dates(certificate: &[u8], now: UnixTime) -> Result<(), Error> {
    let facts = Facts::of(certificate).ok_or(CertificateError::BadEncoding)?;
    let now = now.as_secs() as i64;
    if now > facts.not_after {
        return Err(CertificateError::Expired.into());
    }
    if now < facts.not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(())
}

/// The three parts of a certificate (RFC 5280, section 4.1).
struct Signed<'a> {
    /// What is signed, with its tag.
    content: &'a [u8],
    /// The content of the AlgorithmIdentifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn read(certificate: &'a [u8]) -> Option<Signed<'a>> {
        let mut reader = SliceReader::new(content(certificate)?).ok()?;
        let signed = reader.tlv_bytes().ok()?;
        let algorithm = content(reader.tlv_bytes().ok()?)?;
        // A bit string starts with the number of its unused bits, which is 0 for signatures.
        let signature = content(reader.tlv_bytes().ok()?)?.strip_prefix(&[0])?;
        Some(Signed { content: signed, algorithm, signature })
    }
}

/// What a DER element holds.
fn content(element: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(element).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    matches!(header.tag(), Tag::Sequence | Tag::BitString).then_some(())?;
    reader.read_slice(header.length()).ok()
}
