//! The client protocol without a socket: bytes in, bytes out. It is for hosts that own their connections and their TLS, and
//! still want CSP.ini, the precedence of credentials and our failures to hold.

use std::sync::Arc;

use rustls::AlertDescription;
use zeroize::Zeroizing;

use super::diagnosis::{self, Stage};
use super::link::LinkError;
use super::opening::{describe_server, login_request};
use super::{MOST_EMPTY, MOST_UNSENT};
use crate::failure::{Code, Failure};
use crate::identity::credential;
use crate::profile::{Security, Server};
use crate::wire::WireError;
use crate::wire::call::{Event, InCall};
use crate::wire::conversation::Conversation;
use crate::wire::frame::{Assembler, Message};
use crate::wire::login::{self, ExpectConnectAnswer, ExpectHandshakeAnswer, HandshakeError, Login};
use crate::wire::message::Call;

/// One conversation with a superserver.
pub struct Dialogue {
    server: Arc<Server>,
    assembler: Assembler,
    /// What the host has to send.
    out: Zeroizing<Vec<u8>>,
    /// The superserver has said something.
    heard: bool,
    state: State,
}

enum State {
    Handshake(ExpectHandshakeAnswer),
    Login(ExpectConnectAnswer),
    Ready(Conversation),
    Calling {
        call: InCall,
        output: Vec<u8>,
        empty: usize,
    },
    /// How a call ended, until it is taken. An error of the method leaves the conversation usable.
    Answered {
        conversation: Conversation,
        outcome: Result<Outcome, Failure>,
    },
    Failed(Failure),
}

/// Payload and output of a call.
pub type Outcome = (Vec<u8>, Vec<u8>);

/// Where a dialogue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// More bytes of the superserver are needed.
    NeedsInput,
    /// Logged in and at rest: a call may begin.
    Ready,
    /// The answer of a call is there.
    Answered,
    Failed,
}

/// The most bytes of an answer, and of the output of one call.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// How a TLS server answers a client that speaks without TLS: the start of an alert record.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];

impl Dialogue {
    /// Begins the login as the profile says.
    ///
    /// # Errors
    ///
    /// [`Server::unusable`], or a password that cannot be used.
    pub fn begin(server: Arc<Server>) -> Result<Dialogue, Failure> {
        if let Some(failure) = server.unusable() {
            return Err(failure);
        }
        let request = login_request(&server).ok_or_else(|| {
            Failure::new(Code::PasswordUnusable, format!("server {}: its password cannot be used", server.name))
        })?;
        // The login may hold a password; growing would leave copies behind.
        let mut out = Zeroizing::new(Vec::with_capacity(8192));
        let state = State::Handshake(login::start(request, &mut out));
        Ok(Dialogue { server, assembler: Assembler::new(login::LOGIN_MESSAGE_LIMIT), out, heard: false, state })
    }

    /// The bytes to send now.
    pub fn unsent(&self) -> &[u8] {
        &self.out
    }

    /// The first `count` bytes of [`Dialogue::unsent`] have been sent.
    pub fn mark_sent(&mut self, count: usize) {
        let count = count.min(self.out.len());
        self.out.drain(..count);
    }

    pub fn standing(&self) -> Standing {
        match self.state {
            State::Handshake(_) | State::Login(_) | State::Calling { .. } => Standing::NeedsInput,
            State::Ready(_) => Standing::Ready,
            State::Answered { .. } => Standing::Answered,
            State::Failed(_) => Standing::Failed,
        }
    }

    pub fn failure(&self) -> Option<&Failure> {
        match &self.state {
            State::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// Takes bytes of the superserver.
    pub fn receive(&mut self, mut input: &[u8]) {
        let is_tls = self.server.security.value == Security::Tls;
        if !self.heard && !is_tls && input.starts_with(&TLS_ALERT) {
            let failure = self.failed(Code::TlsRequired, "it answered in TLS, the profile speaks without");
            self.state = State::Failed(failure);
        }
        self.heard |= !input.is_empty();
        while !input.is_empty() {
            let state = std::mem::replace(&mut self.state, State::Failed(Failure::new(Code::Internal, "a fault")));
            let (state, used) = match state {
                State::Calling { call, output, empty } => self.receive_answer(call, output, empty, input),
                State::Handshake(_) | State::Login(_) => self.receive_message(state, input),
                State::Failed(failure) => {
                    self.state = State::Failed(failure);
                    return;
                }
                // Nobody asked for anything.
                _ => (State::Failed(self.failed(Code::ProtocolViolation, "it spoke unasked")), input.len()),
            };
            self.state = state;
            input = &input[used.min(input.len())..];
        }
    }

    fn receive_message(&mut self, state: State, input: &[u8]) -> (State, usize) {
        let first = matches!(state, State::Handshake(_));
        match self.assembler.push(input) {
            Err(error) => (State::Failed(self.misspoken(&error, first)), input.len()),
            Ok((used, None)) => (state, used),
            Ok((used, Some(message))) => {
                let next = match state {
                    State::Handshake(next) => self.answer_handshake(next, &message),
                    State::Login(next) => self.answer_login(next, &message),
                    other => Ok(other),
                };
                (next.unwrap_or_else(State::Failed), used)
            }
        }
    }

    fn answer_handshake(&mut self, next: ExpectHandshakeAnswer, message: &Message) -> Result<State, Failure> {
        let next = next.handle(message, &mut self.out).map_err(|error| match error {
            HandshakeError::Wire(error) => self.misspoken(&error, true),
            HandshakeError::VersionTooOld(version) => {
                self.failed(Code::ProtocolVersion, &format!("it speaks version {}", version.0))
            }
        })?;
        Ok(State::Login(next))
    }

    fn answer_login(&mut self, next: ExpectConnectAnswer, message: &Message) -> Result<State, Failure> {
        match next.handle(message).map_err(|error| self.misspoken(&error, false))? {
            Login::Granted(conversation) => {
                // The old bytes, which may hold a password, are wiped as they go.
                self.out = Zeroizing::default();
                Ok(State::Ready(conversation))
            }
            Login::Refused { status, reason } => {
                let credential = credential(&self.server);
                // Only the host's TLS knows whether a certificate was asked for.
                let code = diagnosis::code_of_refusal(&credential, true, &reason);
                let how = credential.name();
                Err(self.failed(code, &format!("login by {how} was refused with status {status}: {reason:?}")))
            }
        }
    }

    fn receive_answer(&mut self, mut call: InCall, mut output: Vec<u8>, empty: usize, input: &[u8]) -> (State, usize) {
        let mut replies = Vec::new();
        let (used, event) = match call.receive(input, &mut replies) {
            Ok(received) => received,
            Err(error) => return (State::Failed(self.misspoken(&error, false)), input.len()),
        };
        let piece: &[u8] = match &event {
            Event::Data(data) => data,
            Event::Text(text) => text.as_bytes(),
            _ => &[],
        };
        if output.len() + piece.len() > ANSWER_LIMIT {
            return (State::Failed(self.failed(Code::MessageTooLarge, "the method writes more than 16 MiB")), used);
        }
        output.extend_from_slice(piece);
        self.out.extend_from_slice(&replies);
        let empty = if matches!(event, Event::Busy) { empty + 1 } else { empty };
        if empty > MOST_EMPTY || self.out.len() > MOST_UNSENT {
            return (
                State::Failed(self.failed(Code::ProtocolViolation, "it asks without end, and listens to nothing")),
                used,
            );
        }
        let state = match event {
            Event::NeedsInput | Event::Busy | Event::Data(_) | Event::Text(_) => State::Calling { call, output, empty },
            Event::Finished(payload) => {
                State::Answered { conversation: call.into_conversation(), outcome: Ok((payload, output)) }
            }
            Event::Read { .. } => {
                State::Failed(self.failed(Code::ProtocolViolation, "it reads a body that there is not"))
            }
            Event::Disconnected => State::Failed(self.failed(Code::ServerDisconnected, "it asked to disconnect")),
            Event::Failed { status, text } => {
                let failure = self.failed(Code::ApplicationError, &format!("status {status}, {text:?}"));
                State::Answered { conversation: call.into_conversation(), outcome: Err(failure) }
            }
        };
        (state, used)
    }

    /// Begins a call; false if the dialogue is not at rest.
    pub fn call(&mut self, call: &Call) -> bool {
        match std::mem::replace(&mut self.state, State::Failed(Failure::new(Code::Internal, "a fault"))) {
            State::Ready(conversation) => {
                let call = conversation.call(call, true, ANSWER_LIMIT, &mut self.out);
                self.state = State::Calling { call, output: Vec::new(), empty: 0 };
                true
            }
            other => {
                self.state = other;
                false
            }
        }
    }

    /// Takes how the call has ended; the dialogue is at rest again.
    pub fn take_answer(&mut self) -> Option<Result<Outcome, Failure>> {
        match std::mem::replace(&mut self.state, State::Failed(Failure::new(Code::Internal, "a fault"))) {
            State::Answered { conversation, outcome } => {
                self.state = State::Ready(conversation);
                Some(outcome)
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// The host's link has broken: by this TLS alert of the superserver's, or without one; `shaking_hands` before TLS was
    /// done. Gives the failure that it is, which depends on how far things had come.
    pub fn broken(&mut self, shaking_hands: bool, alert: Option<u8>) {
        if matches!(self.state, State::Failed(_)) {
            return;
        }
        let error = match alert {
            Some(alert) => LinkError::Tls(rustls::Error::AlertReceived(AlertDescription::from(alert))),
            None => LinkError::Closed,
        };
        let stage = match self.state {
            State::Calling { .. } => Stage::AwaitAnswer,
            _ if shaking_hands => Stage::Tls { heard: alert.is_some() },
            _ => Stage::Login,
        };
        let is_tls = self.server.security.value == Security::Tls;
        let has_certificate = is_tls && self.server.tls.certificate_file.is_some();
        let code = diagnosis::code_of(&error, stage, has_certificate);
        self.state = State::Failed(self.failed(code, &diagnosis::describe(&error)));
    }

    fn misspoken(&self, error: &WireError, before_handshake_answer: bool) -> Failure {
        self.failed(diagnosis::code_of_wire(error, Stage::Login, before_handshake_answer), &error.to_string())
    }

    fn failed(&self, code: Code, what: &str) -> Failure {
        Failure::new(code, format!("{}: {what}", describe_server(&self.server, None)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::profile::Profile;
    use crate::wire::element::Value;
    use crate::wire::frame::{self, write_message};
    use crate::wire::message::{ConnectAnswer, HandshakeAnswer};

    fn dialogue(lines: &str) -> Dialogue {
        let text = format!("[SYSTEM_INDEX]\nA=Enabled\n[A]\nIp_Address=db\n{lines}\n");
        let loaded = Profile::parse(Path::new("CSP.ini"), text.as_bytes()).unwrap();
        Dialogue::begin(Arc::new(loaded.profile.servers[0].clone())).unwrap()
    }

    fn message(sequence: u32, code: frame::Code, payload: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_message(&mut bytes, sequence, 0, code, payload);
        bytes
    }

    fn greeting() -> Vec<u8> {
        let answer = HandshakeAnswer { version: 69, features: 1, locale: "UNICODE".to_owned() };
        message(1, frame::Code::OK, |out| answer.write(out))
    }

    #[test]
    fn a_login_byte_by_byte_ends_ready_and_a_call_gives_its_answer() {
        let mut it = dialogue("Username=joe\nPassword=secret");
        let sent = it.unsent().len();
        assert!(sent > 0);
        it.mark_sent(sent);
        greeting().iter().for_each(|byte| it.receive(&[*byte]));
        assert!(!it.unsent().is_empty() && it.standing() == Standing::NeedsInput);
        let granted = ConnectAnswer { server_version: "x".into(), process: "1".into(), options: 0 };
        it.receive(&message(3, frame::Code::OK, |out| granted.write(out)));
        assert_eq!(it.standing(), Standing::Ready);
        let call = Call {
            class: b"%SYSTEM.Process".as_slice().into(),
            method: b"UserName".as_slice().into(),
            arguments: Vec::new(),
        };
        assert!(it.call(&call) && !it.call(&call));
        it.receive(&message(5, frame::Code::native_status(0), |out| Value::text("joe").write(out)));
        assert_eq!(it.standing(), Standing::Answered);
        assert!(it.take_answer().is_some_and(|outcome| outcome.is_ok()) && it.standing() == Standing::Ready);
        assert!(it.call(&call));
        it.receive(&message(7, frame::Code::native_status(5001), |out| Value::text("<DIVIDE>").write(out)));
        let failed = it.take_answer().unwrap().unwrap_err();
        assert_eq!((failed.code, it.standing()), (Code::ApplicationError, Standing::Ready), "the link stays usable");
        it.receive(b"unasked");
        assert_eq!(it.failure().unwrap().code, Code::ProtocolViolation);
    }

    #[test]
    fn alerts_refusals_and_nonsense_become_the_failures_of_the_table() {
        let certificate = "Connection_Security_Level=10\nSSLCC_Certificate_File=a\nSSLCC_Certificate_Key_File=a";
        for (alert, code) in [
            (Some(48), Code::ClientCertificateUnknownCa),
            (Some(116), Code::ClientCertificateRequired),
            (None, Code::LoginConnectionLost),
        ] {
            let mut it = dialogue(certificate);
            it.broken(false, alert);
            assert_eq!(it.failure().unwrap().code, code, "{alert:?}");
        }
        let mut it = dialogue(certificate);
        it.broken(true, None);
        assert_eq!(it.failure().unwrap().code, Code::TlsNotSpoken);
        let mut it = dialogue("");
        it.receive(&[21, 3, 3, 0, 2, 2, 70]);
        assert_eq!(it.failure().unwrap().code, Code::TlsRequired);
        let mut it = dialogue(certificate);
        it.receive(&greeting());
        it.receive(&message(3, frame::Code::status(417), |out| Value::text("Access Denied").write(out)));
        assert_eq!(it.failure().unwrap().code, Code::LoginRefused);
        let mut it = dialogue("");
        it.receive(b"HTTP/1.1 400 Bad Request\r\n");
        assert_eq!(it.failure().unwrap().code, Code::NotASuperserver);
    }
}
