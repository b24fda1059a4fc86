//! Passwords as they are kept: a salted PBKDF2 hash, never the text.

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use aws_lc_rs::rand;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// Rounds of a new hash, as an instance has them by default. Every login of a gateway connection pays for them once.
const ROUNDS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

/// The largest number of rounds that a stored hash may ask for.
const MOST_ROUNDS: u32 = 10_000_000;

const SALT_LENGTH: usize = 16;
const HASH_LENGTH: usize = 32;

/// The hash of one password, with its salt and the number of rounds.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    rounds: NonZeroU32,
    salt: [u8; SALT_LENGTH],
    hash: [u8; HASH_LENGTH],
}

impl PasswordHash {
    /// Hashes a password with a fresh salt. Fails only where the system has no random numbers.
    pub fn of(password: &str) -> Result<PasswordHash, String> {
        Self::with_rounds(password, ROUNDS)
    }

    /// A hash that is quick to make and to check, for tests.
    #[cfg(test)]
    pub fn quick(password: &str) -> PasswordHash {
        Self::with_rounds(password, NonZeroU32::MIN).expect("random numbers")
    }

    fn with_rounds(password: &str, rounds: NonZeroU32) -> Result<PasswordHash, String> {
        let mut salt = [0; SALT_LENGTH];
        rand::fill(&mut salt).map_err(|_| "the system gives no random numbers for a salt".to_owned())?;
        let mut hash = [0; HASH_LENGTH];
        pbkdf2::derive(PBKDF2_HMAC_SHA512, rounds, &salt, password.as_bytes(), &mut hash);
        Ok(PasswordHash { rounds, salt, hash })
    }

    /// Whether `password` is the one; takes the same time for each wrong one.
    pub fn matches(&self, password: &str) -> bool {
        pbkdf2::verify(PBKDF2_HMAC_SHA512, self.rounds, &self.salt, password.as_bytes(), &self.hash).is_ok()
    }
}

impl fmt::Display for PasswordHash {
    /// The stored form: `pbkdf2-sha512$rounds$salt$hash`, in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pbkdf2-sha512${}${}${}", self.rounds, hex(&self.salt), hex(&self.hash))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

impl FromStr for PasswordHash {
    type Err = ();

    fn from_str(text: &str) -> Result<PasswordHash, ()> {
        let mut parts = text.strip_prefix("pbkdf2-sha512$").ok_or(())?.split('$');
        let mut part = || parts.next().ok_or(());
        let rounds: NonZeroU32 = part()?.parse().map_err(|_| ())?;
        if rounds.get() > MOST_ROUNDS {
            return Err(());
        }
        Ok(PasswordHash { rounds, salt: unhex(part()?)?, hash: unhex(part()?)? })
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Result<[u8; N], ()> {
    if text.len() != 2 * N || !text.is_ascii() {
        return Err(());
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| ())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| ())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_after_being_stored_and_no_other() {
        let stored = PasswordHash::quick("sécret").to_string();
        let hash: PasswordHash = stored.parse().unwrap();
        assert!(hash.matches("sécret"));
        assert!(!hash.matches("secret"));
        assert!(!hash.matches(""));
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        assert_ne!(PasswordHash::quick("x").to_string(), PasswordHash::quick("x").to_string());
    }

    #[test]
    fn damaged_hashes_are_refused() {
        for bad in ["", "pbkdf2-sha512$0$00$00", "pbkdf2-sha512$1$é$00", "secret", "pbkdf2-sha512$99999999999$$"] {
            assert!(bad.parse::<PasswordHash>().is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_output_holds_nothing_of_the_hash() {
        assert_eq!(format!("{:?}", PasswordHash::quick("x")), "PasswordHash(..)");
    }
}
