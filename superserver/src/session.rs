//! One connection from its first message to its last: handshake, login, then calls.

use crate::application::{Body, Connection, Exchange, Request, RequestError, Stop};
use crate::audit::Peer;
use crate::class_test;
use crate::instance::{Instance, Offer};
use crate::link::{AskError, Link, LinkError, PIECE, Stream};
use crate::login::{Granted, Reason};
use crate::security::{Server, ServiceName};
use crate::tls::TlsFacts;
use sclera::wire::element::{Element, Value};
use sclera::wire::frame::{Code, Message};
use sclera::wire::login::{APPLICATION_NAME, LOGIN_MESSAGE_LIMIT};
use sclera::wire::message::{
    Call, Connect, ConnectAnswer, Handshake, HandshakeAnswer, PROTOCOL_VERSION, REDIRECT_OUTPUT, STATUS_REFUSED,
    UNICODE_SERVER,
};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

/// Most bytes of a message on a gateway's connection: the head of a request and a body of 32 KiB.
const GATEWAY_MESSAGE_LIMIT: usize = 1024 * 1024;

/// Most bytes of a message on any other connection: several of the longest strings that an instance can hold.
const BINDINGS_MESSAGE_LIMIT: usize = 16 * 1024 * 1024;

/// Most characters of a user name. Of a longer one that is offered one character more is kept: then it is nobody's.
const LONGEST_USER_NAME: usize = 160;

/// The status of a failed call. Which ones an instance uses is not known; 5002 is its general error.
const CALL_FAILED: u16 = 5002;

/// The version text of the login answer.
pub const VERSION: &str = concat!("Sclera superserver ", env!("CARGO_PKG_VERSION"));

/// A connection whose transport is ready and that nobody has logged in on yet.
pub struct Arrival {
    /// The bytes.
    pub stream: Stream,
    /// What TLS agreed upon.
    pub tls: Option<TlsFacts>,
    /// The other end.
    pub address: SocketAddr,
    /// The superserver that took it.
    pub server: Server,
    /// The port it listens on.
    pub port: u16,
    /// The process number it has got.
    pub process: u32,
    /// When handshake and login must have arrived.
    pub deadline: Instant,
}

/// A logged-in client.
struct Session<'i> {
    instance: &'i Instance,
    link: Link,
    connection: Connection,
    service: ServiceName,
    /// The client takes redirected output.
    redirects: bool,
    /// Proxies made of the client's objects.
    proxies: u32,
}

/// Serves a connection until it ends.
pub async fn serve(instance: &Arc<Instance>, arrival: Arrival) {
    let Some((session, peer)) = log_in(instance, arrival).await else { return };
    let process = session.connection.process;
    let (service, login) = (session.service.to_string(), session.connection.login.clone());
    if let Err(error) = session.run().await {
        instance.log(&format!("process {process}: {error}"));
    }
    let instance = instance.clone();
    let _ = tokio::task::spawn_blocking(move || instance.note("Logout", &service, &login, &peer)).await;
}

/// Handshake and login; `None` if the client did not get in, which is then audited.
async fn log_in(instance: &Arc<Instance>, arrival: Arrival) -> Option<(Session<'_>, Peer)> {
    let Arrival { stream, tls, address, server, port, process, deadline } = arrival;
    let mut link = Link::new(stream, LOGIN_MESSAGE_LIMIT);
    let mut peer = Peer { process, port, address: address.ip().to_canonical().to_string(), ..Peer::default() };
    let message = match timeout_at(deadline, introductions(&mut link)).await {
        Ok(Ok(Some(message))) => message,
        Ok(Ok(None)) => return None,
        Ok(Err(error)) => {
            refuse_silently(instance, unrecognized(&error), peer).await;
            return None;
        }
        Err(_) => {
            refuse_silently(instance, header_missing("within timeout"), peer).await;
            return None;
        }
    };
    let connect = match Connect::read(&message.payload) {
        Ok(connect) => connect,
        Err(error) => {
            refuse_silently(instance, unrecognized(&error.into()), peer).await;
            return None;
        }
    };
    let application = told(&connect.application);
    peer.executable.clone_from(&application);
    peer.os_user = told(&connect.os_user);
    // Drivers that would rather use shared memory ask for it in place of their address.
    peer.told_address = Some(told(&connect.address)).filter(|told| !told.starts_with("SHM|")).unwrap_or_default();
    let service = if application == APPLICATION_NAME { ServiceName::WebGateway } else { ServiceName::Bindings };
    let offer = Offer {
        service,
        served_here: match service {
            ServiceName::WebGateway => server.enable_csp,
            ServiceName::Bindings => server.enable_clients,
        },
        address: address.ip(),
        user: Zeroizing::new(String::from_utf16_lossy(&connect.username).chars().take(LONGEST_USER_NAME + 1).collect()),
        password: Zeroizing::new(String::from_utf16_lossy(&connect.password)),
        common_names: tls.as_ref().and_then(|tls| tls.client.as_ref()).map(|client| client.common_names.clone()),
    };
    let options = connect.options.to_integer().unwrap_or(0) & REDIRECT_OUTPUT;
    let namespace = told(&connect.namespace);
    let judge = instance.clone();
    let judged = tokio::task::spawn_blocking(move || (judge.admit(&offer, &peer), peer)).await;
    let (outcome, peer) = judged.ok()?;
    match outcome {
        Ok(login) => {
            let limit = match service {
                ServiceName::WebGateway => GATEWAY_MESSAGE_LIMIT,
                ServiceName::Bindings => BINDINGS_MESSAGE_LIMIT,
            };
            link.set_limit(limit);
            let answer = ConnectAnswer { server_version: VERSION.to_owned(), process: process.to_string(), options };
            link.queue(message.sequence, Code::OK, |out| answer.write(out));
            link.flush().await.ok()?;
            let connection = Connection { process, login, tls, peer: address, namespace };
            Some((Session { instance, link, connection, service, redirects: options != 0, proxies: 0 }, peer))
        }
        Err(refused) => {
            let text = Value::text(refused.told_to_peer());
            link.queue(message.sequence, Code::status(STATUS_REFUSED), |out| text.write(out));
            let _ = link.flush().await;
            link.close().await;
            None
        }
    }
}

/// Answers the handshake and waits for the connect message; `None` if the client left without a word.
async fn introductions(link: &mut Link) -> Result<Option<Message>, LinkError> {
    let Some(message) = link.next_request().await? else { return Ok(None) };
    expect(&message, Code::HANDSHAKE, "a handshake")?;
    let version = Handshake::read(&message.payload)?.version.min(PROTOCOL_VERSION);
    let answer = HandshakeAnswer { version, features: UNICODE_SERVER, locale: "UNICODE".to_owned() };
    link.queue(message.sequence, Code::OK, |out| answer.write(out));
    link.flush().await?;
    let Some(message) = link.next_request().await? else { return Ok(None) };
    expect(&message, Code::CONNECT, "a connect message")?;
    Ok(Some(message))
}

fn expect(message: &Message, code: Code, expected: &'static str) -> Result<(), LinkError> {
    match message.code == code {
        true => Ok(()),
        false => Err(sclera::wire::WireError::Unexpected { expected, got: format!("{:?}", message.code) }.into()),
    }
}

/// Why a connection without a proper beginning is refused.
fn unrecognized(error: &LinkError) -> Reason {
    match error {
        LinkError::Io(error) => header_missing(&format!("({error})")),
        LinkError::Wire(error) => Reason { number: 948, text: format!("Unrecognized connection message: {error}") },
    }
}

fn header_missing(how: &str) -> Reason {
    Reason { number: 949, text: format!("Unable to get full header of message {how}") }
}

/// Audits a refusal that the peer learns of only by the end of its connection.
pub async fn refuse_silently(instance: &Arc<Instance>, reason: Reason, peer: Peer) {
    let instance = instance.clone();
    let work = move || instance.refuse("%Service_SuperServer", "", None, &reason, &peer);
    let _ = tokio::task::spawn_blocking(work).await;
}

/// Text that a client tells about itself; drivers end some of it with a zero byte.
fn told(value: &Value<'_>) -> String {
    value.to_text().trim_end_matches('\0').to_owned()
}

/// How a call ended.
pub enum Answer {
    /// With this value.
    Value(Value<'static>),
    /// With a value, and one for each by-reference argument.
    WithReferences(Value<'static>, Vec<Value<'static>>),
    /// With an error of this text.
    Error(String),
}

/// The connection is to be closed now, without a word.
struct Broken;

impl Session<'_> {
    async fn run(mut self) -> Result<(), LinkError> {
        while let Some(message) = self.link.next_request().await? {
            let sequence = message.sequence;
            match message.code {
                Code::DISCONNECT => break,
                Code::CALL_VALUE | Code::CALL_VOID => match self.call(&message).await? {
                    Ok(answer) => self.answer(sequence, message.code == Code::CALL_VALUE, &answer),
                    Err(Broken) => return Ok(()),
                },
                Code::MAKE_PROXY => {
                    self.proxies += 1;
                    let handle = Value::Handle(Cow::Owned(format!("{}@%Net.Remote.Object", self.proxies).into_bytes()));
                    self.link.queue(sequence, Code::MAKE_PROXY, |out| handle.write(out));
                }
                Code::PING => self.link.queue(sequence, Code::PING, |out| Value::bytes(&[]).write(out)),
                other => self.answer_other(sequence, other),
            }
            self.link.flush().await?;
        }
        self.link.close().await;
        Ok(())
    }

    fn answer(&mut self, sequence: u32, wants_value: bool, answer: &Answer) {
        let success = Code::native_status(0);
        match answer {
            Answer::Value(value) => self.link.queue(sequence, success, |out| {
                if wants_value {
                    value.write(out);
                }
            }),
            Answer::WithReferences(value, references) => self.link.queue(sequence, success, |out| {
                if wants_value {
                    value.write(out);
                }
                references.iter().for_each(|reference| reference.write(out));
            }),
            Answer::Error(text) => {
                let code = Code::native_status(CALL_FAILED);
                self.link.queue(sequence, code, |out| Value::text(text).write(out));
            }
        }
    }

    /// Answers what this server does not do.
    fn answer_other(&mut self, sequence: u32, code: Code) {
        match &code.0 {
            // Settings of SQL that no client waits on.
            b"AF" | b"AN" | b"RC" | b"RU" | b"CC" | b"CU" | b"CS" | b"RN" => {}
            b"OE" => {
                let text = Value::text("this superserver has no SQL");
                self.link.queue(sequence, Code::OK, |out| text.write(out));
            }
            [_, 0xc2] => {
                self.answer(sequence, true, &Answer::Error("<UNIMPLEMENTED> only class methods are served".into()))
            }
            _ => self.link.queue(sequence, Code::status(400), |_| {}),
        }
    }

    /// Runs one class method. The outer error ends the connection loudly, `Broken` silently.
    async fn call(&mut self, message: &Message) -> Result<Result<Answer, Broken>, LinkError> {
        let call = match Call::read(&message.payload) {
            Ok(call) => call,
            Err(error) => return Ok(Ok(Answer::Error(format!("<SYNTAX> the call cannot be read: {error}")))),
        };
        match (&*call.class, &*call.method, self.service) {
            (b"Sclera.Gateway", b"Request", ServiceName::WebGateway) => self.web_request(&call).await,
            (b"%SYSTEM.Process", b"UserName", _) => Ok(Ok(Answer::Value(Value::text(&self.connection.login.username)))),
            (b"%Net.Remote.Gateway", b"%ReleaseObjects", _) => Ok(Ok(Answer::Value(Value::Undefined))),
            (class_test::NAME, method, ServiceName::Bindings) if self.instance.class_test => {
                let link = self.redirects.then_some(&mut self.link);
                match class_test::call(method, &call.arguments, link).await {
                    Ok(answer) => Ok(Ok(answer)),
                    Err(AskError::Refused(text)) => Ok(Ok(Answer::Error(text))),
                    Err(AskError::Link(error)) => Err(error),
                }
            }
            (class, method, service) => Ok(Ok(Answer::Error(missing(class, method, service)))),
        }
    }

    async fn web_request(&mut self, call: &Call<'_>) -> Result<Result<Answer, Broken>, LinkError> {
        let Session { instance, link, connection, .. } = self;
        let (request, body) = match web_call(&call.arguments, connection) {
            Ok(parts) => parts,
            Err(text) => return Ok(Ok(Answer::Error(text))),
        };
        instance.counters.requests.fetch_add(1, Ordering::Relaxed);
        let mut exchange = Exchange::new(link, body);
        let outcome = match instance.routes.find(request.path()) {
            Some(application) => application.handle(&request, &mut exchange).await,
            None => exchange.respond(404, "text/plain", b"No application is mounted at this path.\n").await,
        };
        match outcome {
            Ok(()) => {
                let rest = exchange.into_rest();
                Ok(Ok(Answer::Value(rest.map_or(Value::Undefined, |rest| Value::Bytes(Cow::Owned(rest))))))
            }
            Err(Stop::Error(text) | Stop::Refused(text)) => {
                instance.log(&format!("process {}: application error: {text}", connection.process));
                Ok(Ok(Answer::Error(text)))
            }
            Err(Stop::Break) => Ok(Err(Broken)),
            Err(Stop::Lost(error)) => Err(error),
        }
    }
}

/// The parts of a web call: the request, and where its body is.
fn web_call<'a>(arguments: &'a [Element<'a>], connection: &'a Connection) -> Result<(Request<'a>, Body<'a>), String> {
    let value = |at: usize| arguments.get(at).map(|argument| &argument.value);
    let Some(Value::Bytes(head)) = value(0) else {
        return Err("<PARAMETER> the first argument must be the request's head, a nested list".to_owned());
    };
    let request = Request::read(head, connection).map_err(|error| match error {
        RequestError::Version(version) => {
            format!("<PARAMETER> web call convention version {version:?} is not understood, only version 1")
        }
        RequestError::Shape(what) => format!("<PARAMETER> the request's head cannot be read: {what}"),
    })?;
    let body = match (value(1), value(2)) {
        (Some(Value::Bytes(body)), _) if body.len() <= PIECE => Body::Here(body),
        (Some(Value::Bytes(body)), _) => {
            return Err(format!("<PARAMETER> an inline body has at most {PIECE} bytes, not {}", body.len()));
        }
        (None | Some(Value::Undefined), Some(Value::Handle(handle) | Value::Bytes(handle))) if !handle.is_empty() => {
            Body::AtGateway(Cow::Borrowed(sclera::wire::conversation::handle_number(handle)))
        }
        (None | Some(Value::Undefined), None | Some(Value::Undefined)) => Body::Here(&[]),
        _ => return Err("<PARAMETER> the body must be bytes, or undefined with the gateway object after it".to_owned()),
    };
    Ok((request, body))
}

fn missing(class: &[u8], method: &[u8], service: ServiceName) -> String {
    let (class_name, method) = (String::from_utf8_lossy(class), String::from_utf8_lossy(method));
    match class {
        b"Sclera.Gateway" if service == ServiceName::Bindings => {
            format!("<PROTECT> *Sclera.Gateway is for connections of {}", ServiceName::WebGateway)
        }
        b"Sclera.Gateway" | b"%SYSTEM.Process" | b"%Net.Remote.Gateway" => {
            format!("<METHOD DOES NOT EXIST> *{method},{class_name}")
        }
        _ => format!("<CLASS DOES NOT EXIST> *{class_name}"),
    }
}

/// Who somebody is, in the words of pages: `gateway (mutual TLS)`.
pub fn identity(login: &Granted) -> String {
    use crate::login::Mechanism;
    let how = match login.mechanism {
        Mechanism::Password => "password",
        Mechanism::MutualTls => "mutual TLS",
        Mechanism::Unauthenticated => "unauthenticated",
    };
    format!("{} ({how})", login.username)
}
