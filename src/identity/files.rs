//! The PEM files of a server, read and checked as one set.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::{Zeroize, Zeroizing};

use super::encrypted::{Locked, LockedKey};
use super::inspect::{Facts, holds_public_key, next_update, unix_seconds};
use super::pkcs11;
use crate::failure::{Code, Failure};
use crate::profile::file::read_bounded;
use crate::profile::permissions;
use crate::profile::{PKCS11_SCHEME, Secret, Server, Setting, Unusable, Verification};

/// The largest file that is read, in bytes. The CA bundle of an operating system has about 250,000.
const LARGEST_FILE: u64 = 1024 * 1024;

/// What the files hold, as far as it could be read, and everything that is wrong with them.
#[derive(Default)]
pub(super) struct Files {
    /// Certificate chain and key, if both could be read and belong together.
    pub(super) certified_key: Option<Arc<CertifiedKey>>,
    /// The facts of the gateway's own certificate.
    pub(super) facts: Option<Facts>,
    /// The trusted CAs; `None` if no file is named.
    pub(super) roots: Option<Arc<RootCertStore>>,
    /// The same as certificates.
    pub(super) ca_certificates: Vec<CertificateDer<'static>>,
    /// The revocation lists.
    pub(super) revocations: Vec<CertificateRevocationListDer<'static>>,
    /// What keeps the set from being used, but for `expiry`.
    pub(super) errors: Vec<Failure>,
    /// Certificates outside their time, and keys whose password's command has not been run:
    /// they keep the set from being used, but not a configuration from passing a check.
    pub(super) expiry: Vec<Failure>,
    /// What an administrator should know.
    pub(super) notices: Vec<String>,
    /// What an administrator should look at soon.
    pub(super) alarms: Vec<String>,
}

impl Files {
    /// Reads what the `SSLCC_*` settings of a server name.
    pub(super) fn read(server: &Server, provider: &CryptoProvider, now: SystemTime) -> Files {
        let mut files = Files::default();
        files.read_pair(server, provider, now);
        files.read_roots(server, now);
        files.read_revocations(server, now);
        files
    }

    /// The same for the same certificates and CAs. The key needs no part in it, since it belongs to the certificate.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for certificate in self.certified_key.iter().flat_map(|pair| &pair.cert) {
            certificate.hash(&mut hasher);
        }
        self.ca_certificates.hash(&mut hasher);
        self.revocations.iter().for_each(|list| list.as_ref().hash(&mut hasher));
        hasher.finish()
    }

    /// The facts of the certificates behind the gateway's own.
    pub(super) fn intermediates(&self) -> Vec<Facts> {
        let behind = self.certified_key.iter().flat_map(|pair| pair.cert.iter().skip(1));
        behind.filter_map(|certificate| Facts::of(certificate)).collect()
    }

    fn read_pair(&mut self, server: &Server, provider: &CryptoProvider, now: SystemTime) {
        let (certificate_file, key_file) = match (&server.tls.certificate_file, &server.tls.key_file) {
            (None, None) => return,
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(certificate), None) => {
                let detail = format!("{} is set, but SSLCC_Certificate_Key_File is not", named(certificate));
                return self.errors.push(Failure::new(Code::KeyMissing, detail));
            }
            (None, Some(key)) => {
                let detail = format!("{} is set, but SSLCC_Certificate_File is not", named(key));
                return self.errors.push(Failure::new(Code::KeyMissing, detail));
            }
        };
        let chain = self.keep(read_chain(certificate_file));
        if let Some(chain) = &chain {
            self.judge_certificate(certificate_file, &chain[0], now);
        }
        let chain = chain.filter(|_| self.facts.is_some());
        let key = match read_key(key_file, server.tls.key_password.as_ref(), provider) {
            Ok(key) => Some(key),
            Err(failure) if waits_for_command(server, &failure) => {
                self.expiry.push(failure);
                None
            }
            Err(failure) => {
                self.errors.push(failure);
                None
            }
        };
        if permissions::is_public(&key_file.value) {
            let remedy = permissions::remedy(&key_file.value);
            self.notices.push(format!("{} can be read by everyone; {remedy}", named(key_file)));
        }
        if let (Some(chain), Some(key)) = (chain, key) {
            // A key that cannot tell its public half is believed; the handshake will show.
            let belongs = key.public_key().is_none_or(|public| holds_public_key(&chain[0], &public));
            if belongs {
                self.certified_key = Some(Arc::new(CertifiedKey::new(chain, key)));
            } else {
                let detail = format!("the key of {} is not the one of {}", named(key_file), named(certificate_file));
                self.errors.push(Failure::new(Code::KeyMismatch, detail));
            }
        }
    }

    /// Use and validity of the gateway's own certificate.
    fn judge_certificate(&mut self, file: &Setting<PathBuf>, der: &CertificateDer<'_>, now: SystemTime) {
        let Some(facts) = Facts::of(der) else {
            let detail = format!("{} holds a PEM block that is not an X.509 certificate", named(file));
            return self.errors.push(Failure::new(Code::CertificateNotPem, detail));
        };
        if !facts.for_clients {
            let detail = format!("{} has an extended key usage without clientAuth", named(file));
            self.errors.push(Failure::new(Code::CertificateNotForClients, detail));
        }
        if facts.not_after < unix_seconds(now) {
            let days = (unix_seconds(now) - facts.not_after) / 86_400;
            let detail = format!("{} expired {days} days ago", named(file));
            self.expiry.push(Failure::new(Code::CertificateExpired, detail));
        } else if facts.not_before > unix_seconds(now) {
            let seconds = facts.not_before - unix_seconds(now);
            let detail = format!("{} becomes valid in {seconds} seconds only", named(file));
            self.expiry.push(Failure::new(Code::CertificateNotYetValid, detail));
        }
        self.facts = Some(facts);
    }

    fn read_roots(&mut self, server: &Server, now: SystemTime) {
        let Some(file) = &server.tls.ca_file else {
            if server.tls.verify_peer.value && server.tls.verification.value != Verification::Key {
                let place = server.tls.verify_peer.place("SSLCC_Verify_Peer");
                let detail = format!("{place}=1 needs SSLCC_CA_Certificate_File, which is not set");
                self.errors.push(Failure::new(Code::CaMissing, detail));
            }
            return;
        };
        let Some(content) = self.keep(read_file(file, Code::CaUnreadable)) else { return };
        let not_pem = |reason: &str| Failure::new(Code::CaNotPem, format!("{} {reason}", named(file)));
        let mut roots = RootCertStore::empty();
        let mut position = 0;
        for certificate in CertificateDer::pem_slice_iter(&sections(&content, CERTIFICATE)) {
            position += 1;
            let Ok(certificate) = certificate else {
                return self.errors.push(not_pem(&format!("is damaged at its PEM block {position}")));
            };
            let expired = Facts::of(&certificate).is_some_and(|facts| facts.not_after < unix_seconds(now));
            if expired {
                self.notices.push(format!("{}: CA certificate {position} has expired", named(file)));
            }
            match roots.add(certificate.clone()) {
                Ok(()) => self.ca_certificates.push(certificate),
                Err(_) => {
                    let notice = format!("{}: CA certificate {position} cannot be used and is left out", named(file));
                    self.notices.push(notice);
                }
            }
        }
        match (position, roots.is_empty()) {
            (0, _) => self.errors.push(not_pem("holds no PEM certificate")),
            (_, true) => self.errors.push(not_pem("holds no certificate that can be used")),
            (_, false) => self.roots = Some(Arc::new(roots)),
        }
    }

    fn read_revocations(&mut self, server: &Server, now: SystemTime) {
        let Some(file) = &server.tls.crl_file else { return };
        let Some(content) = self.keep(read_file(file, Code::CrlUnreadable)) else { return };
        let not_pem = |reason: &str| Failure::new(Code::CrlNotPem, format!("{} {reason}", named(file)));
        let lists: Result<Vec<_>, _> =
            CertificateRevocationListDer::pem_slice_iter(&sections(&content, REVOCATION_LIST)).collect();
        match lists {
            Ok(lists) if lists.is_empty() => self.errors.push(not_pem("holds no PEM revocation list")),
            Ok(lists) => self.revocations = lists,
            Err(_) => self.errors.push(not_pem("is damaged PEM")),
        }
        for (position, list) in self.revocations.iter().enumerate() {
            // An outdated list is still the last that is known: it is used, and complained of.
            if next_update(list).is_some_and(|next| next < unix_seconds(now)) {
                self.alarms.push(format!("{}: list {} should have been replaced by now", named(file), position + 1));
            }
        }
    }

    fn keep<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|failure| self.errors.push(failure)).ok()
    }
}

/// The lines of a file's PEM sections of this label. The parser fails at what it does not know, and a file may hold a
/// key in an old form, or text, beside its certificates.
fn sections(content: &[u8], label: &str) -> Vec<u8> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut inside = false;
    let mut kept = Vec::new();
    for line in content.split_inclusive(|&byte| byte == b'\n') {
        let bare = line.trim_ascii();
        inside |= bare == begin.as_bytes();
        if inside {
            kept.extend_from_slice(line);
        }
        inside &= bare != end.as_bytes();
    }
    kept
}

const CERTIFICATE: &str = "CERTIFICATE";
const REVOCATION_LIST: &str = "X509 CRL";

/// The certificates of a file in their order, at least one.
fn read_chain(file: &Setting<PathBuf>) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let content = read_file(file, Code::CertificateUnreadable)?;
    let not_pem = |reason: &str| Failure::new(Code::CertificateNotPem, format!("{} {reason}", named(file)));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&sections(&content, CERTIFICATE)).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(not_pem("holds no PEM certificate")),
        Ok(chain) => Ok(chain),
        Err(_) => Err(not_pem("is damaged PEM")),
    }
}

/// Whether a key could not be opened only because its password's command has not been run, as in a check.
fn waits_for_command(server: &Server, failure: &Failure) -> bool {
    let password = server.tls.key_password.as_ref().map(|password| password.value.reveal());
    failure.code == Code::KeyEncrypted && matches!(password, Some(Err(Unusable::Command)))
}

/// The first private key of a file, in any of the three forms, with or without a password.
fn read_key(
    file: &Setting<PathBuf>,
    password: Option<&Setting<Secret>>,
    provider: &CryptoProvider,
) -> Result<Arc<dyn SigningKey>, Failure> {
    if let Some(uri) = file.value.to_str().filter(|path| path.starts_with(PKCS11_SCHEME)) {
        let pin = password.map(|password| password.value.reveal().unwrap_or_default());
        return pkcs11::load(uri, pin)
            .map_err(|reason| Failure::new(Code::Pkcs11Unusable, format!("{}: {reason}", named(file))));
    }
    let content = read_file(file, Code::KeyUnreadable)?;
    let not_pem = |reason: &str| Failure::new(Code::KeyNotPem, format!("{} {reason}", named(file)));
    let mut key = match Locked::find(&content) {
        Some(locked) => unlock(&locked, file, password)?,
        None => match PrivateKeyDer::from_pem_slice(&content) {
            Ok(key) => key,
            Err(rustls_pki_types::pem::Error::NoItemsFound) => return Err(not_pem("holds no PEM private key")),
            Err(_) => return Err(not_pem("is damaged PEM")),
        },
    };
    let signing = provider.key_provider.load_private_key(key.clone_key());
    key.zeroize();
    signing.map_err(|_| not_pem("holds a private key of a kind that is not supported (RSA, ECDSA and Ed25519 are)"))
}

fn unlock(
    locked: &Locked,
    file: &Setting<PathBuf>,
    password: Option<&Setting<Secret>>,
) -> Result<PrivateKeyDer<'static>, Failure> {
    let named = named(file);
    let Some(password) = password else {
        let detail = format!("{named} is protected by a password, and SSLCC_Private_Key_Password is not set");
        return Err(Failure::new(Code::KeyEncrypted, detail));
    };
    let place = password.place("SSLCC_Private_Key_Password");
    let clear = password.value.reveal().map_err(|_| {
        let detail = format!("{named} is protected by a password, which {place} does not give yet");
        Failure::new(Code::KeyEncrypted, detail)
    })?;
    locked.open(clear).map_err(|reason| match reason {
        LockedKey::WrongPassword => {
            Failure::new(Code::KeyPasswordWrong, format!("{named} is not opened by the password of {place}"))
        }
        LockedKey::Unsupported(how) => {
            Failure::new(Code::KeyEncryptionUnsupported, format!("{named} is protected by {how}"))
        }
        LockedKey::Damaged => Failure::new(Code::KeyNotPem, format!("{named} holds a damaged protected key")),
    })
}

fn read_file(file: &Setting<PathBuf>, unreadable: Code) -> Result<Zeroizing<Vec<u8>>, Failure> {
    read_bounded(&file.value, LARGEST_FILE)
        .map_err(|error| Failure::new(unreadable, format!("{} {error}", named(file))))
}

/// The setting and its path, such as `/etc/CSP.ini:12 [LOCAL] SSLCC_Certificate_File=/etc/gateway.pem`.
fn named(file: &Setting<PathBuf>) -> String {
    format!("{}={}", file.place("file"), file.value.display())
}
