//! Private keys that are protected by a password: PKCS#8 (`ENCRYPTED PRIVATE KEY`), and the older form of OpenSSL
//! (`DEK-Info`).

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use base64ct::{Base64, Encoding};
use md5::{Digest, Md5};
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

/// Why a protected key could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockedKey {
    /// The password is not the one.
    WrongPassword,
    /// It is protected in a way that is not supported; which.
    Unsupported(String),
    /// It is not what it says it is.
    Damaged,
}

/// The most rounds of PBKDF2: about a second. OpenSSL writes 2,048, careful people 1,000,000.
const MOST_ROUNDS: u32 = 5_000_000;
/// The most memory for scrypt, in bytes. OpenSSL asks for 16 MiB.
const MOST_MEMORY: u64 = 256 * 1024 * 1024;

const PKCS8: &str = "ENCRYPTED PRIVATE KEY";
const OLDER: [&str; 3] = ["RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY"];

/// A protected key in a PEM file.
pub enum Locked<'a> {
    /// The base64 of a PKCS#8 key.
    Pkcs8(&'a str),
    /// The label, the header lines and the base64 of an older one.
    Older { label: &'static str, dek: &'a str, body: &'a str },
}

impl Locked<'_> {
    /// The first protected key of a PEM file, if its first private key is one.
    pub fn find(pem: &[u8]) -> Option<Locked<'_>> {
        let text = std::str::from_utf8(pem).ok()?;
        if let Some(body) = block(text, PKCS8) {
            return Some(Locked::Pkcs8(body));
        }
        OLDER.into_iter().find_map(|label| {
            let body = block(text, label)?;
            let dek = body.lines().find_map(|line| line.trim().strip_prefix("DEK-Info:"))?;
            let after = body.find("DEK-Info:")?;
            let body = body[after..].split_once('\n')?.1;
            Some(Locked::Older { label, dek: dek.trim(), body })
        })
    }

    /// Opens it. May take a second: not for an event loop.
    pub fn open(&self, password: &str) -> Result<PrivateKeyDer<'static>, LockedKey> {
        match self {
            Locked::Pkcs8(body) => open_pkcs8(&decode(body)?, password),
            Locked::Older { label, dek, body } => open_older(label, dek, decode(body)?, password),
        }
    }
}

/// What stands between the lines of a PEM block.
fn block<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    rest.split_once(&format!("-----END {label}-----")).map(|(body, _)| body)
}

fn decode(body: &str) -> Result<Zeroizing<Vec<u8>>, LockedKey> {
    let compact: String = body.chars().filter(|it| !it.is_whitespace()).collect();
    Base64::decode_vec(&compact).map(Zeroizing::new).map_err(|_| LockedKey::Damaged)
}

fn open_pkcs8(der: &[u8], password: &str) -> Result<PrivateKeyDer<'static>, LockedKey> {
    let unsupported = |what: String| Err(LockedKey::Unsupported(what));
    let info = match EncryptedPrivateKeyInfoRef::try_from(der) {
        Ok(info) => info,
        // A whole block whose parameters are not known, or no such block.
        Err(_) if der.first() == Some(&0x30) => return unsupported("an algorithm that is not known".into()),
        Err(_) => return Err(LockedKey::Damaged),
    };
    match &info.encryption_algorithm {
        EncryptionScheme::Pbes2(parameters) => match &parameters.kdf {
            Kdf::Pbkdf2(kdf) if kdf.iteration_count > MOST_ROUNDS => {
                return unsupported(format!("PBKDF2 with {} rounds, more than {MOST_ROUNDS}", kdf.iteration_count));
            }
            Kdf::Scrypt(kdf) => {
                let memory = kdf.cost_parameter.saturating_mul(128 * u64::from(kdf.block_size));
                if memory > MOST_MEMORY || kdf.parallelization > 16 {
                    return unsupported(format!("scrypt that needs {memory} bytes, more than {MOST_MEMORY}"));
                }
            }
            _ => {}
        },
        _ => return unsupported("PBES1, which is not safe".into()),
    }
    let opened = info.decrypt(password).map_err(|_| LockedKey::WrongPassword)?;
    Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())
}

/// The older form: the key is MD5 of password and salt, over and over, and the cipher is in CBC mode.
fn open_older(
    label: &str,
    dek: &str,
    mut data: Zeroizing<Vec<u8>>,
    password: &str,
) -> Result<PrivateKeyDer<'static>, LockedKey> {
    let (cipher, iv) = dek.split_once(',').ok_or(LockedKey::Damaged)?;
    let iv = unhex(iv.trim()).ok_or(LockedKey::Damaged)?;
    let salt = iv.get(..8).ok_or(LockedKey::Damaged)?;
    macro_rules! decrypt {
        ($cipher:ty, $key_length:literal) => {{
            let key = older_key(password, salt, $key_length);
            let decryptor = cbc::Decryptor::<$cipher>::new_from_slices(&key, &iv).map_err(|_| LockedKey::Damaged)?;
            decryptor.decrypt_padded::<Pkcs7>(&mut data).map_err(|_| LockedKey::WrongPassword)?.len()
        }};
    }
    let length = match cipher.trim() {
        "AES-128-CBC" => decrypt!(aes::Aes128, 16),
        "AES-192-CBC" => decrypt!(aes::Aes192, 24),
        "AES-256-CBC" => decrypt!(aes::Aes256, 32),
        "DES-EDE3-CBC" => decrypt!(des::TdesEde3, 24),
        other => return Err(LockedKey::Unsupported(other.to_owned())),
    };
    // The padding of a wrong password is right once in 256 times; what it opens is hardly ever a sequence of this length.
    if !is_sequence(&data[..length]) {
        return Err(LockedKey::WrongPassword);
    }
    let der = data[..length].to_vec();
    Ok(match label {
        "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(der).into(),
        "EC PRIVATE KEY" => PrivateSec1KeyDer::from(der).into(),
        _ => PrivatePkcs8KeyDer::from(der).into(),
    })
}

fn older_key(password: &str, salt: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    while key.len() < length {
        let mut hash = Md5::new();
        let last = key.len().saturating_sub(16);
        hash.update(&key[last..]);
        hash.update(password.as_bytes());
        hash.update(salt);
        key.extend_from_slice(&hash.finalize());
    }
    key.truncate(length);
    key
}

/// Whether these bytes are one whole ASN.1 sequence.
fn is_sequence(der: &[u8]) -> bool {
    let content = match der {
        [0x30, length @ 0..=0x7f, ..] => Some((2, usize::from(*length))),
        [0x30, 0x81, length, ..] => Some((3, usize::from(*length))),
        [0x30, 0x82, high, low, ..] => Some((4, usize::from(*high) << 8 | usize::from(*low))),
        _ => None,
    };
    content.is_some_and(|(head, length)| head + length == der.len())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// A key that openssl makes with these commands, joined by pipes.
    fn openssl(commands: &str) -> Vec<u8> {
        let output = Command::new("/bin/sh").args(["-c", commands]).stderr(Stdio::null()).output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{commands}");
        output.stdout
    }

    #[test]
    fn keys_that_openssl_protects_are_opened_with_their_password_and_no_other() {
        let rsa = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048";
        let ec = "openssl ecparam -name prime256v1 -genkey -noout";
        let ed = "openssl genpkey -algorithm ED25519";
        for commands in [
            format!("{rsa} | openssl pkcs8 -topk8 -passout pass:secret"),
            format!("{ec} | openssl pkcs8 -topk8 -passout pass:secret -v2 aes-128-cbc -v2prf hmacWithSHA512"),
            format!("{ec} | openssl pkcs8 -topk8 -passout pass:secret -v2 des3 -v2prf hmacWithSHA1"),
            format!("{ed} | openssl pkcs8 -topk8 -passout pass:secret -scrypt"),
            format!("{rsa} | openssl rsa -traditional -aes256 -passout pass:secret"),
            format!("{rsa} | openssl rsa -traditional -des3 -passout pass:secret"),
            format!("{ec} | openssl ec -aes192 -passout pass:secret"),
            format!("{ec} | openssl ec -aes128 -passout pass:secret"),
        ] {
            let pem = openssl(&commands);
            let locked = Locked::find(&pem).unwrap_or_else(|| panic!("{commands}"));
            let key = locked.open("secret").unwrap_or_else(|error| panic!("{commands}: {error:?}"));
            super::super::tls::provider().key_provider.load_private_key(key).unwrap_or_else(|_| panic!("{commands}"));
            for wrong in ["Secret", "", "secret "] {
                assert_eq!(locked.open(wrong).err(), Some(LockedKey::WrongPassword), "{commands}");
            }
        }
    }

    #[test]
    fn what_is_not_supported_is_told_from_what_is_damaged() {
        let rsa = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048";
        let slow = openssl(&format!("{rsa} | openssl pkcs8 -topk8 -passout pass:secret -iter 5000001"));
        let told = Locked::find(&slow).unwrap().open("secret").unwrap_err();
        assert_eq!(told, LockedKey::Unsupported("PBKDF2 with 5000001 rounds, more than 5000000".into()));
        for (pem, expected) in [
            (
                "Proc-Type: 4,ENCRYPTED\nDEK-Info: CAMELLIA-128-CBC,0011223344556677\n\nAAAA",
                LockedKey::Unsupported("CAMELLIA-128-CBC".into()),
            ),
            ("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA", LockedKey::Damaged),
            ("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC\n\nAAAA", LockedKey::Damaged),
            ("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899aabbccddeeff\n\n!", LockedKey::Damaged),
            (
                "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899aabbccddeeff\n\nAAAA",
                LockedKey::WrongPassword,
            ),
        ] {
            let pem = format!("-----BEGIN RSA PRIVATE KEY-----\n{pem}\n-----END RSA PRIVATE KEY-----\n");
            assert_eq!(Locked::find(pem.as_bytes()).unwrap().open("x").unwrap_err(), expected, "{pem}");
        }
        let clear = openssl(rsa);
        assert!(Locked::find(&clear).is_none() && Locked::find(b"\xff").is_none());
    }
}
