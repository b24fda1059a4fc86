//! A logged-in client between two calls.

use super::call::{AnswerMode, InCall};
use super::element::{Value, write_bytes};
use super::frame::{Code, write_message};
use super::message::{Call, call_code};

/// A connection that is logged in and at rest: the only state that a pool may keep.
#[derive(Debug)]
pub struct Conversation {
    next_sequence: u32,
    /// Protocol version in use.
    pub version: u16,
    /// Product and version as the server names itself.
    pub server_version: String,
    /// The server process that this connection is.
    pub process: String,
}

impl Conversation {
    pub(super) fn new(version: u16, server_version: String, process: String) -> Conversation {
        // 1 was the handshake, 3 the login.
        Conversation { next_sequence: 5, version, server_version, process }
    }

    /// Appends a class method call to `out`; its answer is collected whole, up to `limit` bytes.
    pub fn call(self, call: &Call, wants_value: bool, limit: usize, out: &mut Vec<u8>) -> InCall {
        let code = call_code(wants_value);
        self.send(code, AnswerMode::Whole { limit }, Vec::new(), out, |out| call.write(out))
    }

    /// Appends a class method call to `out` whose output and return value are streamed; `payload` writes the call, and
    /// the server may call `Read` of the object `own_object` meanwhile.
    pub fn call_streamed(self, own_object: Vec<u8>, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) -> InCall {
        self.send(Code::CALL_VALUE, AnswerMode::Stream, own_object, out, payload)
    }

    /// Appends the request for a proxy of our gateway object; the answer is a handle such as `3@%Net.Remote.Object`
    /// (protocol reference, section 9).
    pub fn make_proxy(self, out: &mut Vec<u8>) -> InCall {
        self.send(Code::MAKE_PROXY, AnswerMode::Whole { limit: 1024 }, Vec::new(), out, |out| {
            Value::Integer(1).write(out);
            write_bytes(b"%Net.Remote.Object", out);
        })
    }

    /// Appends the farewell; nothing answers it.
    pub fn disconnect(self, out: &mut Vec<u8>) {
        write_message(out, 0, 0, Code::DISCONNECT, |_| {});
    }

    fn send(
        mut self,
        code: Code,
        answer: AnswerMode,
        own_object: Vec<u8>,
        out: &mut Vec<u8>,
        payload: impl FnOnce(&mut Vec<u8>),
    ) -> InCall {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(2);
        write_message(out, sequence, 0, code, payload);
        InCall::new(self, sequence, code, answer, own_object)
    }
}

/// The handle text by which we pass our own object to a call: the number before the `@` (protocol reference, section 7).
pub fn handle_number(handle: &[u8]) -> &[u8] {
    handle.split(|&byte| byte == b'@').next().unwrap_or_default()
}
