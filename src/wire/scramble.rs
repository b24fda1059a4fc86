//! The disguise of user name and password in the connect message (protocol reference, section 6). It is not encryption:
//! anyone who reads the connection can undo it, so only TLS protects a password.

use zeroize::Zeroizing;

/// Scrambles UTF-16 units. The result has the order reversed and the high byte of each unit kept.
pub fn scramble(units: &[u16]) -> Zeroizing<Vec<u16>> {
    let out = units.iter().rev().enumerate().map(|(place, unit)| {
        let low = ((unit ^ 0xa7) as u8).wrapping_add(place as u8);
        (unit & 0xff00) | u16::from(low.rotate_left(5))
    });
    Zeroizing::new(out.collect())
}

/// Undoes [`scramble`].
pub fn unscramble(units: &[u16]) -> Zeroizing<Vec<u16>> {
    let out = units.iter().enumerate().rev().map(|(place, unit)| {
        let low = (*unit as u8).rotate_right(5).wrapping_sub(place as u8) ^ 0xa7;
        (unit & 0xff00) | u16::from(low)
    });
    Zeroizing::new(out.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scrambling_gives_the_bytes_that_the_reference_lists() {
        for (text, scrambled) in [
            ("alice", &[0x58, 0xb8, 0x1a, 0xd9, 0x59][..]),
            ("secret", &[0x7a, 0x78, 0xfa, 0xf8, 0xd8, 0x3b]),
            ("A", &[0xdc]),
            ("AB", &[0xbc, 0xfc]),
            ("é", &[0xc9]),
            ("abłc", &[0x0098, 0x01dc, 0x00f8, 0x0039]),
        ] {
            let units: Vec<u16> = text.encode_utf16().collect();
            assert_eq!(scramble(&units).as_slice(), scrambled, "{text}");
            assert_eq!(unscramble(scrambled).as_slice(), units, "{text}");
        }
    }

    proptest! {
        #[test]
        fn unscrambling_undoes_scrambling(units: Vec<u16>) {
            let restored = unscramble(&scramble(&units));
            prop_assert_eq!(restored.as_slice(), units);
        }
    }
}
