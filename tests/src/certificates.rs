//! Certificates of every kind that a test needs, made on the spot.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// A certificate authority of its own.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub file: PathBuf,
    directory: PathBuf,
}

/// A certificate and its key, as PEM files.
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What a certificate says.
pub struct Leaf<'a> {
    pub cn: &'a str,
    /// Subject alternative names.
    pub names: &'a [&'a str],
    pub usage: ExtendedKeyUsagePurpose,
    /// Days from today at which it begins and ends to be valid.
    pub valid: (i64, i64),
}

impl Leaf<'_> {
    /// A server's certificate for the loopback addresses.
    pub fn server() -> Leaf<'static> {
        Leaf {
            cn: "superserver",
            names: &["127.0.0.1", "localhost"],
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            valid: (-1, 30),
        }
    }

    /// A gateway's certificate for a user.
    pub fn gateway(cn: &str) -> Leaf<'_> {
        Leaf { cn, names: &[], usage: ExtendedKeyUsagePurpose::ClientAuth, valid: (-1, 30) }
    }
}

impl Ca {
    /// A new authority whose files stand in `directory` under `name`.
    pub fn new(directory: &Path, name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let file = directory.join(format!("{name}.pem"));
        fs::write(&file, params.self_signed(&key).expect("a CA").pem()).expect("writing the CA");
        Ca { issuer: Issuer::new(params, key), file, directory: directory.to_owned() }
    }

    /// An authority below this one.
    pub fn below(&self, name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let file = self.directory.join(format!("{name}.pem"));
        fs::write(&file, params.signed_by(&key, &self.issuer).expect("a CA").pem()).expect("writing the CA");
        Ca { issuer: Issuer::new(params, key), file, directory: self.directory.clone() }
    }

    /// The authority whose files `sclera pki init` wrote.
    pub fn of(directory: &Path) -> Ca {
        let file = directory.join("ca.pem");
        let read = |path: &Path| fs::read_to_string(path).expect("a file of the authority");
        let key = KeyPair::from_pem(&read(&directory.join("ca.key"))).expect("its key");
        let issuer = Issuer::from_ca_cert_pem(&read(&file), key).expect("its certificate");
        Ca { issuer, file, directory: directory.to_owned() }
    }

    /// What signs for it.
    pub fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Issues a certificate; its files are named after `name`.
    pub fn issue(&self, name: &str, leaf: &Leaf) -> Pair {
        self.issue_with(name, leaf, |_| {})
    }

    /// The same, with an end to the second.
    pub fn issue_until(&self, name: &str, leaf: &Leaf, end: OffsetDateTime) -> Pair {
        self.issue_with(name, leaf, |params| params.not_after = end)
    }

    /// The same, after a change.
    pub fn issue_with(&self, name: &str, leaf: &Leaf, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let names: Vec<String> = leaf.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, leaf.cn);
        params.extended_key_usages.push(leaf.usage.clone());
        let now = OffsetDateTime::now_utc();
        params.not_before = now + Duration::days(leaf.valid.0);
        params.not_after = now + Duration::days(leaf.valid.1);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let pair = Pair {
            certificate: self.directory.join(format!("{name}.pem")),
            key: self.directory.join(format!("{name}.key")),
        };
        fs::write(&pair.certificate, certificate.pem()).expect("writing the certificate");
        fs::write(&pair.key, key.serialize_pem()).expect("writing the key");
        pair
    }
}
