//! A short mark of a server's name: what shared memory and cookies tell servers by, so that they agree over workers,
//! reloads and restarts, wherever the server stands in the file.

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Four letters and digits that stand for a server's name. It tells nothing that a browser should not know, and two
/// servers share one in fourteen million.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark([u8; Mark::LENGTH]);

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Mark {
    /// Of no server.
    pub const NONE: Mark = Mark([0; Mark::LENGTH]);

    /// Bytes of a mark.
    pub const LENGTH: usize = 4;

    /// The mark of a name, of which the case does not count.
    pub fn of(name: &str) -> Mark {
        let mut digest = Sha256::new_with_prefix(b"sclera mark\0");
        digest.update(name.to_ascii_lowercase());
        let digest = digest.finalize();
        Mark(std::array::from_fn(|at| {
            let pair = u16::from_be_bytes([digest[2 * at], digest[2 * at + 1]]);
            ALPHABET[usize::from(pair) % ALPHABET.len()]
        }))
    }

    /// Reads a mark; `None` if the bytes cannot be one.
    pub fn parse(bytes: &[u8]) -> Option<Mark> {
        let mark = <[u8; Mark::LENGTH]>::try_from(bytes).ok()?;
        mark.iter().all(u8::is_ascii_alphanumeric).then_some(Mark(mark))
    }

    /// The mark as a number of at most 24 bits.
    pub fn number(self) -> u32 {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            _ => byte.wrapping_sub(b'a') + 36,
        };
        self.0.iter().fold(0, |number, &byte| number * 62 + u32::from(digit(byte)))
    }

    /// The mark of a [`Mark::number`]; `None` for a number that is of no mark.
    pub fn from_number(number: u32) -> Option<Mark> {
        let digit = |power: u32| ALPHABET[(number / 62u32.pow(power)) as usize % ALPHABET.len()];
        (number < 62u32.pow(4)).then(|| Mark([digit(3), digit(2), digit(1), digit(0)]))
    }

    /// The mark as it stands in a cookie.
    pub fn bytes(self) -> [u8; Mark::LENGTH] {
        self.0
    }
}

/// The mark of a gateway: of the machine it runs on and the file that it reads, so that it outlives a restart.
pub fn gateway_mark(machine: &str, configuration: &Path) -> Mark {
    Mark::of(&format!("{machine}\0{}", configuration.display()))
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mark({})", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_the_name_alone_and_survives_its_forms() {
        let mark = Mark::of("IRIS1");
        assert_eq!(mark, Mark::of("iris1"));
        assert_ne!(mark, Mark::of("IRIS2"));
        assert_eq!(Mark::parse(&mark.bytes()), Some(mark));
        assert_eq!(Mark::from_number(mark.number()), Some(mark));
        assert_eq!(Mark::of("LOCAL").bytes(), *b"MDyx", "cookies outlive a release");
        for bytes in [&b""[..], b"abc", b"abcde", b"ab;c", b"ab\xffc"] {
            assert_eq!(Mark::parse(bytes), None);
        }
        for number in [0, 61, 62, 62u32.pow(3), 62u32.pow(4) - 1] {
            assert_eq!(Mark::from_number(number).map(Mark::number), Some(number));
        }
        assert_eq!(Mark::from_number(62u32.pow(4)), None);
        assert_eq!(Mark::from_number(u32::MAX), None);
    }
}
