//! What binds a form to the browser that asked for it: a signature of its cookie. Another site can make a browser send the
//! cookie, but neither read it nor sign it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The signature of some text for some purpose, in hexadecimal.
pub fn sign(key: &[u8; 32], purpose: &str, text: &[u8]) -> String {
    let mac = mac(key, purpose, text).finalize().into_bytes();
    mac.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether it is that signature; takes the same time wherever they differ.
pub fn is_signed(key: &[u8; 32], purpose: &str, text: &[u8], signature: &str) -> bool {
    let digits: Option<Vec<u8>> = (signature.len() == 64 && signature.is_ascii())
        .then(|| {
            let byte = |at: usize| u8::from_str_radix(&signature[at..at + 2], 16);
            (0..64).step_by(2).map(byte).collect::<Result<_, _>>().ok()
        })
        .flatten();
    digits.is_some_and(|digits| mac(key, purpose, text).verify_slice(&digits).is_ok())
}

fn mac(key: &[u8; 32], purpose: &str, text: &[u8]) -> Hmac<Sha256> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { unreachable!("any length of key is good") };
    mac.update(purpose.as_bytes());
    mac.update(&[0]);
    mac.update(text);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_its_text_its_purpose_and_its_key_alone() {
        let signature = sign(&[1; 32], "form", b"cookie");
        for (key, purpose, text, given, expected) in [
            (1, "form", "cookie", signature.as_str(), true),
            (2, "form", "cookie", signature.as_str(), false),
            (1, "other", "cookie", signature.as_str(), false),
            (1, "form", "cookies", signature.as_str(), false),
            (1, "form", "cookie", &signature[1..], false),
            (1, "form", "cookie", "", false),
            (1, "form", "cookie", "\u{fc}".repeat(32).as_str(), false),
            (1, "form", "cookie", "+1".repeat(32).as_str(), false),
        ] {
            assert_eq!(
                is_signed(&[key; 32], purpose, text.as_bytes(), given),
                expected,
                "{key} {purpose} {text} {given}"
            );
        }
    }
}
