//! The client protocol of the superserver: bytes in, bytes out, no socket and no clock.
//!
//! Facts come from the protocol reference (`docs/protocol.md` lists what was taken as known and what was decided). The
//! modules from the bottom up:
//!
//! - [`reader`]: a cursor that cannot overrun what it was given;
//! - [`element`]: one list element, the unit of every payload;
//! - [`frame`]: the 14-byte header, fragments, and whole messages of bounded size;
//! - [`scramble`]: the disguise of user name and password;
//! - [`message`]: what the messages hold, for both ends;
//! - [`login`]: the client's states from the first byte to the login answer;
//! - [`call`]: the client's state during a call whose answer is streamed;
//! - [`conversation`]: one logged-in client that is between two calls.
//!
//! Every length that a peer sends is compared with a limit before anything is allocated for it.

pub mod call;
pub mod conversation;
pub mod element;
pub mod frame;
pub mod login;
pub mod message;
pub mod reader;
pub mod scramble;
#[cfg(test)]
mod vectors;

use std::fmt;

/// Why bytes of a peer could not be understood. The peer broke the protocol, or speaks another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The bytes end inside `what`.
    Truncated { what: &'static str },
    /// `what` announces a length beyond our limit (both in bytes).
    TooLong { what: &'static str, length: u64, limit: u64 },
    /// `what` holds a value that it cannot have.
    Invalid { what: &'static str, value: u64 },
    /// Bytes are left after the last field of `what`.
    Trailing { what: &'static str, count: usize },
    /// A message that has no place here.
    Unexpected { expected: &'static str, got: String },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Truncated { what } => write!(f, "{what} ends too early"),
            WireError::TooLong { what, length, limit } => {
                write!(f, "{what} announces {length} bytes, the limit is {limit}")
            }
            WireError::Invalid { what, value } => write!(f, "{what} has the impossible value {value:#x}"),
            WireError::Trailing { what, count } => write!(f, "{count} bytes follow the end of {what}"),
            WireError::Unexpected { expected, got } => write!(f, "expected {expected}, got {got}"),
        }
    }
}

impl std::error::Error for WireError {}
