//! The client's states from the first byte to the login answer. Each state is named after what it waits for and is
//! consumed by its transition; after an error no state is left.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::WireError;
use super::conversation::Conversation;
use super::element::{Value, write_bytes};
use super::frame::{Code, Message, write_message};
use super::message::{self, Connect, ConnectAnswer, Handshake, HandshakeAnswer};

/// What the client says about itself when it logs in.
#[derive(Clone)]
pub struct LoginRequest {
    pub namespace: String,
    /// Empty for mutual TLS and for an unauthenticated login.
    pub username: Zeroizing<String>,
    pub password: Zeroizing<String>,
    pub host_name: String,
}

/// The application name that asks a Sclera superserver for `%Service_WebGateway` (DESIGN section 7).
pub const APPLICATION_NAME: &str = "Sclera Web Gateway";

/// The most payload bytes of the handshake and login answers.
pub const LOGIN_MESSAGE_LIMIT: usize = 64 * 1024;

/// The handshake is sent; its answer is awaited.
pub struct ExpectHandshakeAnswer {
    request: LoginRequest,
}

/// The connect message is sent; its answer is awaited.
pub struct ExpectConnectAnswer {
    version: u16,
}

/// How a login attempt ended that was answered.
#[derive(Debug)]
pub enum Login {
    Granted(Conversation),
    /// The server refused; `reason` is its own text, meant for a log.
    Refused {
        status: u16,
        reason: String,
    },
}

/// The server speaks a version that we do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionTooOld(pub u16);

/// What can go wrong at the handshake.
#[derive(Debug, PartialEq, Eq)]
pub enum HandshakeError {
    Wire(WireError),
    VersionTooOld(VersionTooOld),
}

/// Starts a login: appends the handshake to `out`.
pub fn start(request: LoginRequest, out: &mut Vec<u8>) -> ExpectHandshakeAnswer {
    write_message(out, 1, 0, Code::HANDSHAKE, |out| Handshake { version: message::PROTOCOL_VERSION }.write(out));
    ExpectHandshakeAnswer { request }
}

impl ExpectHandshakeAnswer {
    /// Takes the answer to the handshake and appends the connect message to `out`.
    pub fn handle(self, answer: &Message, out: &mut Vec<u8>) -> Result<ExpectConnectAnswer, HandshakeError> {
        expect_sequence(answer, 1, "the answer to the handshake").map_err(HandshakeError::Wire)?;
        let HandshakeAnswer { version, .. } = HandshakeAnswer::read(&answer.payload).map_err(HandshakeError::Wire)?;
        if version < message::OLDEST_VERSION {
            return Err(HandshakeError::VersionTooOld(VersionTooOld(version)));
        }
        write_message(out, 3, 0, Code::CONNECT, |out| self.request.to_connect().write(out));
        Ok(ExpectConnectAnswer { version })
    }
}

impl ExpectConnectAnswer {
    /// Takes the answer to the connect message.
    pub fn handle(self, answer: &Message) -> Result<Login, WireError> {
        expect_sequence(answer, 3, "the answer to the login")?;
        match answer.code {
            Code::OK => {
                let ConnectAnswer { server_version, process, .. } = ConnectAnswer::read(&answer.payload)?;
                Ok(Login::Granted(Conversation::new(self.version, server_version, process)))
            }
            refused => Ok(Login::Refused { status: refused.word(), reason: message::reason(&answer.payload) }),
        }
    }
}

impl LoginRequest {
    fn to_connect(&self) -> Connect<'static> {
        let mut client = Vec::new();
        for text in ["Sclera", env!("CARGO_PKG_VERSION")] {
            write_bytes(text.as_bytes(), &mut client);
        }
        Connect {
            namespace: Value::text(&self.namespace),
            username: Zeroizing::new(self.username.encode_utf16().collect()),
            password: Zeroizing::new(self.password.encode_utf16().collect()),
            os_user: Value::text("sclera"),
            host_name: Value::text(&self.host_name),
            application: Value::text(APPLICATION_NAME),
            client: Value::Bytes(Cow::Owned(client)),
            address: Value::text(""),
            event_class: Value::text(""),
            autocommit: Value::Integer(1),
            isolation: Value::Integer(0),
            options: Value::Integer(message::REDIRECT_OUTPUT),
        }
    }
}

fn expect_sequence(answer: &Message, sequence: u32, expected: &'static str) -> Result<(), WireError> {
    match answer.sequence == sequence {
        true => Ok(()),
        false => Err(WireError::Unexpected { expected, got: format!("message number {}", answer.sequence) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> LoginRequest {
        LoginRequest {
            namespace: "USER".to_owned(),
            username: Zeroizing::default(),
            password: Zeroizing::default(),
            host_name: "host".to_owned(),
        }
    }

    fn answer(sequence: u32, code: Code, payload: impl FnOnce(&mut Vec<u8>)) -> Message {
        let mut bytes = Vec::new();
        payload(&mut bytes);
        Message { sequence, statement: 0, code, payload: bytes }
    }

    fn handshake_answer(version: u16) -> Message {
        let answer_of = HandshakeAnswer { version, features: 1, locale: "UNICODE".to_owned() };
        answer(1, Code::OK, |out| answer_of.write(out))
    }

    #[test]
    fn a_login_by_certificate_offers_neither_user_nor_password() {
        let mut out = Vec::new();
        let state = start(request(), &mut out);
        out.clear();
        state.handle(&handshake_answer(69), &mut out).unwrap();
        let connect = Connect::read(&out[14..]).unwrap();
        assert!(connect.username.is_empty() && connect.password.is_empty());
        assert_eq!(connect.application, Value::text(APPLICATION_NAME));
    }

    #[test]
    fn a_version_below_61_is_refused_by_us() {
        let state = start(request(), &mut Vec::new());
        let error = state.handle(&handshake_answer(60), &mut Vec::new()).err();
        assert_eq!(error, Some(HandshakeError::VersionTooOld(VersionTooOld(60))));
    }

    #[test]
    fn a_refusal_gives_the_servers_reason() {
        let state = start(request(), &mut Vec::new()).handle(&handshake_answer(69), &mut Vec::new()).unwrap();
        let refusal = answer(3, Code::status(417), |out| Value::text("Access Denied").write(out));
        let Login::Refused { status, reason } = state.handle(&refusal).unwrap() else { panic!("granted") };
        assert_eq!((status, reason.as_str()), (417, "Access Denied"));
    }

    #[test]
    fn an_answer_with_a_foreign_number_is_refused() {
        let state = start(request(), &mut Vec::new());
        let foreign = Message { sequence: 3, ..handshake_answer(69) };
        assert!(matches!(state.handle(&foreign, &mut Vec::new()), Err(HandshakeError::Wire(_))));
    }
}
