//! Message frames: a 14-byte header, then the payload; long messages may come in fragments (protocol reference,
//! section 3).

use super::WireError;

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload in this frame.
    pub length: u32,
    /// Odd for a client's request and its answer, even for what a server starts; 0 for messages without an answer.
    pub sequence: u32,
    /// The SQL statement it belongs to, else 0.
    pub statement: u32,
    /// Another frame of the same message follows.
    pub more: bool,
    pub code: Code,
}

/// Bytes 12 and 13: what a message is, or in a server's answer its status.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub [u8; 2]);

/// A whole message, its fragments joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub sequence: u32,
    pub statement: u32,
    pub code: Code,
    pub payload: Vec<u8>,
}

const CONTINUED: u32 = 0x8000_0000;

/// Status words of native answers count from here (protocol reference, section 10).
const NATIVE_STATUS_BASE: u16 = 0xca00;

impl Code {
    pub const HANDSHAKE: Code = Code(*b"HS");
    pub const CONNECT: Code = Code(*b"CN");
    pub const DISCONNECT: Code = Code(*b"DC");
    /// Native call 11: a class method that returns a value.
    pub const CALL_VALUE: Code = Code([0x40 + 11, 0xc2]);
    /// Native call 12: a class method without a value.
    pub const CALL_VOID: Code = Code([0x40 + 12, 0xc2]);
    /// The server calls a method on the client's side; also the client's answer.
    pub const INVOKE: Code = Code(*b"YU");
    /// The server asks whether the client is alive; also the answer.
    pub const PING: Code = Code(*b"YQ");
    /// The server ends the connection; also the answer.
    pub const SERVER_DISCONNECT: Code = Code(*b"Y4");
    /// The client's refusal of something that the server asked for.
    pub const EXCEPTION: Code = Code(*b"Y5");
    /// The client asks for a proxy of one of its objects; also the answer.
    pub const MAKE_PROXY: Code = Code(*b"Y9");
    /// Success of anything but a native call.
    pub const OK: Code = Code([0, 0]);

    /// The code of a native answer with this status; 0 is success.
    pub fn native_status(status: u16) -> Code {
        Code(NATIVE_STATUS_BASE.wrapping_add(status).to_le_bytes())
    }

    /// The code of any other answer with this status.
    pub fn status(status: u16) -> Code {
        Code(status.to_le_bytes())
    }

    /// Both bytes as a number: the status of an answer that is not native.
    pub fn word(self) -> u16 {
        u16::from_le_bytes(self.0)
    }

    /// The status of a native answer.
    pub fn to_native_status(self) -> u16 {
        self.word().wrapping_sub(NATIVE_STATUS_BASE)
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [a, b] if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric() => {
                write!(f, "{}{}", char::from(a), char::from(b))
            }
            _ => write!(f, "{:#06x}", self.word()),
        }
    }
}

impl Header {
    /// Bytes of a header.
    pub const LENGTH: usize = 14;

    pub fn parse(bytes: &[u8; Header::LENGTH]) -> Header {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Header {
            length: word(0),
            sequence: word(4),
            statement: word(8) & !CONTINUED,
            more: word(8) & CONTINUED != 0,
            code: Code([bytes[12], bytes[13]]),
        }
    }

    pub fn to_bytes(self) -> [u8; Header::LENGTH] {
        let mut bytes = [0; Header::LENGTH];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        let statement = self.statement & !CONTINUED | if self.more { CONTINUED } else { 0 };
        bytes[8..12].copy_from_slice(&statement.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.code.0);
        bytes
    }

    /// Whether `next` goes on with the message that this frame left open.
    pub fn continues_with(&self, next: &Header) -> bool {
        self.more && self.sequence == next.sequence && self.code == next.code && self.statement == next.statement
    }
}

/// Appends one message as one frame; `payload` writes what stands in it.
pub fn write_message(out: &mut Vec<u8>, sequence: u32, statement: u32, code: Code, payload: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; Header::LENGTH]);
    payload(out);
    // Nothing we build comes near 4 GiB; should it ever, the peer sees a length that it refuses.
    let length = u32::try_from(out.len() - at - Header::LENGTH).unwrap_or(u32::MAX);
    let header = Header { length, sequence, statement, more: false, code };
    out[at..at + Header::LENGTH].copy_from_slice(&header.to_bytes());
}

impl Message {
    /// Appends the message as one frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_message(out, self.sequence, self.statement, self.code, |out| out.extend_from_slice(&self.payload));
    }
}

/// Joins received bytes to whole messages of at most `limit` bytes of payload.
///
/// Memory grows with what has arrived, never with what a header announces.
#[derive(Debug)]
pub struct Assembler {
    limit: usize,
    header: [u8; Header::LENGTH],
    header_have: usize,
    /// The frame being read, once its header is complete.
    frame: Option<Header>,
    frame_left: usize,
    payload: Vec<u8>,
}

impl Assembler {
    /// `limit`: the most payload bytes a message may have, all its fragments together.
    pub fn new(limit: usize) -> Assembler {
        Assembler {
            limit,
            header: [0; Header::LENGTH],
            header_have: 0,
            frame: None,
            frame_left: 0,
            payload: Vec::new(),
        }
    }

    /// Changes the limit for messages whose header has not arrived yet.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether the last message is complete and no byte of another has been taken.
    pub fn is_at_rest(&self) -> bool {
        self.header_have == 0 && self.frame.is_none()
    }

    /// Takes bytes from `input`, up to the end of one message. Gives how many were taken, and the message if it is
    /// complete; call again with the rest.
    pub fn push(&mut self, input: &[u8]) -> Result<(usize, Option<Message>), WireError> {
        let mut used = 0;
        loop {
            if self.header_have < Header::LENGTH {
                let taken = (Header::LENGTH - self.header_have).min(input.len() - used);
                self.header[self.header_have..self.header_have + taken].copy_from_slice(&input[used..used + taken]);
                self.header_have += taken;
                used += taken;
                if self.header_have < Header::LENGTH {
                    return Ok((used, None));
                }
                self.start_frame()?;
            }
            let taken = self.frame_left.min(input.len() - used);
            self.payload.extend_from_slice(&input[used..used + taken]);
            self.frame_left -= taken;
            used += taken;
            if self.frame_left > 0 {
                return Ok((used, None));
            }
            self.header_have = 0;
            if let Some(frame) = self.frame.filter(|frame| !frame.more) {
                self.frame = None;
                let payload = std::mem::take(&mut self.payload);
                let Header { sequence, statement, code, .. } = frame;
                return Ok((used, Some(Message { sequence, statement, code, payload })));
            }
        }
    }

    fn start_frame(&mut self) -> Result<(), WireError> {
        let next = Header::parse(&self.header);
        if self.frame.is_some_and(|open| !open.continues_with(&next)) {
            return Err(WireError::Unexpected { expected: "the next fragment", got: format!("{:?}", next.code) });
        }
        let length = self.payload.len() as u64 + u64::from(next.length);
        if length > self.limit as u64 {
            return Err(WireError::TooLong { what: "message", length, limit: self.limit as u64 });
        }
        self.frame_left = next.length as usize;
        self.frame = Some(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(payload: &[u8]) -> Message {
        Message { sequence: 5, statement: 0, code: Code::CALL_VALUE, payload: payload.to_vec() }
    }

    #[test]
    fn an_announced_length_beyond_the_limit_is_refused_before_anything_is_allocated() {
        let header = Header { length: u32::MAX, sequence: 1, statement: 0, more: false, code: Code::OK };
        let mut assembler = Assembler::new(100);
        let error = assembler.push(&header.to_bytes()).unwrap_err();
        assert_eq!(error, WireError::TooLong { what: "message", length: u32::MAX.into(), limit: 100 });
        assert_eq!(assembler.payload.capacity(), 0);
    }

    #[test]
    fn fragments_count_together_against_the_limit() {
        let mut bytes = Vec::new();
        for _ in 0..3 {
            let header = Header { length: 40, sequence: 1, statement: 0, more: true, code: Code::OK };
            bytes.extend_from_slice(&header.to_bytes());
            bytes.extend_from_slice(&[0; 40]);
        }
        assert!(matches!(Assembler::new(100).push(&bytes), Err(WireError::TooLong { length: 120, .. })));
    }

    #[test]
    fn a_fragment_of_another_message_is_refused() {
        let mut bytes = Vec::new();
        for sequence in [1, 3] {
            let header = Header { length: 0, sequence, statement: 0, more: true, code: Code::OK };
            bytes.extend_from_slice(&header.to_bytes());
        }
        assert!(matches!(Assembler::new(100).push(&bytes), Err(WireError::Unexpected { .. })));
    }

    proptest! {
        #[test]
        fn messages_arrive_whole_however_they_are_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..5),
            cut in 1usize..40,
        ) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                message(payload).write(&mut bytes);
            }
            let mut assembler = Assembler::new(100);
            let mut seen = Vec::new();
            for piece in bytes.chunks(cut) {
                let mut rest = piece;
                while !rest.is_empty() {
                    let (used, message) = assembler.push(rest).unwrap();
                    rest = &rest[used..];
                    seen.extend(message.map(|message| message.payload));
                }
            }
            prop_assert!(assembler.is_at_rest());
            prop_assert_eq!(seen, payloads);
        }
    }
}
