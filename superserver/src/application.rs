//! What an application is: a program that answers web requests.
//!
//! ```
//! use sclera_superserver::application::{Application, Exchange, Handling, Request};
//!
//! struct Greeting;
//!
//! impl Application for Greeting {
//!     fn handle<'a>(&'a self, request: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
//!         Box::pin(async move {
//!             let user = &request.connection.login.username;
//!             exchange.respond(200, "text/plain", format!("Hello {user}\n").as_bytes()).await
//!         })
//!     }
//! }
//! ```
//!
//! An application pulls the request's body when and as far as it wants it, and writes the response as it goes along:
//! first the HTTP head, then the body. A response of at most 32 KiB that is not flushed travels in one message together
//! with the end of the call.

use crate::link::{AskError, Link, LinkError, PIECE};
use crate::login::Granted;
use crate::tls::TlsFacts;
use sclera::wire::WireError;
use sclera::wire::element::{Element, Value};
use std::borrow::Cow;
use std::fmt::Write;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

/// Answers the web requests of the paths that it is mounted at.
pub trait Application: Send + Sync + 'static {
    /// Answers one request. Several run at once, on different connections.
    fn handle<'a>(&'a self, request: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a>;
}

/// A request being answered.
pub type Handling<'a> = Pin<Box<dyn Future<Output = Result<(), Stop>> + Send + 'a>>;

/// Why an application ends before its response is complete.
#[derive(Debug)]
pub enum Stop {
    /// The application failed; the text goes to the gateway's log, and the connection stays usable.
    Error(String),
    /// The gateway refused output or body with this text, mostly because the browser has left.
    Refused(String),
    /// The application wants the connection broken: what was flushed arrives, then nothing more.
    Break,
    /// The connection is lost.
    Lost(LinkError),
}

/// What is known about the connection that a request came on.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The server process that the connection is; unique while the server runs.
    pub process: u32,
    /// Who logged in, and how.
    pub login: Granted,
    /// What TLS agreed upon; `None` on a plain connection.
    pub tls: Option<TlsFacts>,
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// The namespace asked for at login.
    pub namespace: String,
}

/// One web request without its body. Names and values are bytes, as the browser and the web server gave them.
pub struct Request<'a> {
    /// `GET`, `POST` ...
    pub method: Cow<'a, [u8]>,
    /// The raw request target, with query string.
    pub target: Cow<'a, [u8]>,
    /// `HTTP/1.1`
    pub protocol: Cow<'a, [u8]>,
    /// CGI variables, in the order of the gateway; a name may stand twice.
    pub variables: Pairs<'a>,
    /// Values of the gateway itself.
    pub system: Pairs<'a>,
    /// The connection it came on.
    pub connection: &'a Connection,
}

/// Names and their values.
pub type Pairs<'a> = Vec<(Cow<'a, [u8]>, Cow<'a, [u8]>)>;

/// Why a call's arguments are no web request.
#[derive(Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The gateway uses another version of the convention.
    Version(String),
    /// An element is missing or of the wrong type.
    Shape(String),
}

/// The version of the web call convention that is understood.
const CONVENTION: i64 = 1;

impl<'a> Request<'a> {
    /// Reads the head of a web call: a nested list of version, method, target, protocol, variables, system values.
    pub fn read(head: &'a [u8], connection: &'a Connection) -> Result<Request<'a>, RequestError> {
        let mut elements = Element::read_all(head)?.into_iter().map(|element| element.value);
        match elements.next().unwrap_or(Value::Undefined) {
            version if version.to_integer() == Some(CONVENTION) => {}
            other => return Err(RequestError::Version(other.to_text())),
        }
        let mut next = |what: &str| elements.next().map(into_bytes).ok_or_else(|| missing(what));
        Ok(Request {
            method: next("method")?,
            target: next("request target")?,
            protocol: next("protocol")?,
            variables: pairs(next("variables")?, "variables")?,
            system: pairs(next("system values")?, "system values")?,
            connection,
        })
    }

    /// The target without its query string.
    pub fn path(&self) -> &[u8] {
        self.target.split(|&byte| byte == b'?').next().unwrap_or_default()
    }

    /// The number in the query string's `name=number`; `None` if it is not there or no number.
    pub fn number(&self, name: &str) -> Option<u64> {
        let query = self.target.splitn(2, |&byte| byte == b'?').nth(1)?;
        let value = query
            .split(|&byte| byte == b'&')
            .find_map(|pair| pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")))?;
        std::str::from_utf8(value).ok()?.parse().ok()
    }

    /// The first variable of this name.
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        self.variables.iter().find(|(known, _)| **known == *name.as_bytes()).map(|(_, value)| &**value)
    }
}

fn pairs<'a>(list: Cow<'a, [u8]>, what: &str) -> Result<Pairs<'a>, RequestError> {
    let values: Vec<Cow<'a, [u8]>> = match list {
        Cow::Borrowed(list) => Element::read_all(list)?.into_iter().map(|element| into_bytes(element.value)).collect(),
        Cow::Owned(list) => Element::read_all(&list)?
            .into_iter()
            .map(|element| Cow::Owned(into_bytes(element.value).into_owned()))
            .collect(),
    };
    if !values.len().is_multiple_of(2) {
        return Err(missing(&format!("value of the last of the {what}")));
    }
    let mut pairs = Vec::with_capacity(values.len() / 2);
    let mut values = values.into_iter();
    while let (Some(name), Some(value)) = (values.next(), values.next()) {
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn into_bytes(value: Value<'_>) -> Cow<'_, [u8]> {
    match value {
        Value::Bytes(bytes) => bytes,
        other => Cow::Owned(other.to_text().into_bytes()),
    }
}

fn missing(what: &str) -> RequestError {
    RequestError::Shape(format!("the {what} is missing"))
}

/// The body of a request and the way back: what an application reads from and writes to.
pub struct Exchange<'c> {
    link: &'c mut Link,
    body: Body<'c>,
    /// Written and not yet on its way, at most [`PIECE`] bytes.
    pending: Vec<u8>,
    /// Something of the response has left already.
    redirected: bool,
}

/// Where the rest of a request's body is.
pub enum Body<'c> {
    /// Here: it came with the call.
    Here(&'c [u8]),
    /// With the gateway; this object of it is asked.
    AtGateway(Cow<'c, [u8]>),
}

impl<'c> Exchange<'c> {
    /// An exchange whose response has not begun.
    pub(crate) fn new(link: &'c mut Link, body: Body<'c>) -> Exchange<'c> {
        Exchange { link, body, pending: Vec::new(), redirected: false }
    }

    /// The next piece of the request's body, at most 32 KiB; empty at its end.
    pub async fn read(&mut self) -> Result<Cow<'c, [u8]>, Stop> {
        match &mut self.body {
            Body::Here(rest) => Ok(Cow::Borrowed(std::mem::take(rest))),
            Body::AtGateway(handle) => {
                let piece = self.link.read_body(handle, PIECE).await?;
                if piece.is_empty() {
                    self.body = Body::Here(&[]);
                }
                Ok(Cow::Owned(piece))
            }
        }
    }

    /// Writes the head of the response. Header names and values must hold no line breaks.
    pub async fn head(&mut self, status: u16, headers: &[(&str, &str)]) -> Result<(), Stop> {
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status));
        for (name, value) in headers {
            if name.contains(['\r', '\n']) || value.contains(['\r', '\n']) {
                return Err(Stop::Error(format!("the response header {name:?} holds a line break")));
            }
            write!(head, "{name}: {value}\r\n").expect("a string takes text");
        }
        head.push_str("\r\n");
        self.write(head.as_bytes()).await
    }

    /// Writes a whole response.
    pub async fn respond(&mut self, status: u16, content_type: &str, body: &[u8]) -> Result<(), Stop> {
        let length = body.len().to_string();
        self.head(status, &[("Content-Type", content_type), ("Content-Length", &length)]).await?;
        self.write(body).await
    }

    /// Writes bytes of the response. They go out when 32 KiB have come together, at [`Exchange::flush`], or at the end.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        while self.pending.len() + bytes.len() > PIECE {
            self.redirected = true;
            let (piece, rest) = bytes.split_at(PIECE - self.pending.len());
            self.link.redirect(&self.pending, piece).await?;
            self.pending.clear();
            bytes = rest;
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends what was written on its way to the browser.
    pub async fn flush(&mut self) -> Result<(), Stop> {
        if !self.pending.is_empty() {
            self.redirected = true;
            self.link.redirect(&self.pending, &[]).await?;
            self.pending.clear();
        }
        Ok(self.link.flush().await?)
    }

    /// What is left to be sent with the end of the call; `None` if all of the response has been redirected.
    pub(crate) fn into_rest(self) -> Option<Vec<u8>> {
        (!self.pending.is_empty() || !self.redirected).then_some(self.pending)
    }
}

/// The phrase that usually goes with a status.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        418 => "I'm a teapot",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

impl From<AskError> for Stop {
    fn from(error: AskError) -> Stop {
        match error {
            AskError::Link(error) => Stop::Lost(error),
            AskError::Refused(text) => Stop::Refused(text),
        }
    }
}

impl From<LinkError> for Stop {
    fn from(error: LinkError) -> Stop {
        Stop::Lost(error)
    }
}

impl From<WireError> for RequestError {
    fn from(error: WireError) -> RequestError {
        RequestError::Shape(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::Mechanism;
    use proptest::prelude::*;
    use sclera::wire::element::write_bytes;

    fn connection() -> Connection {
        Connection {
            process: 1,
            login: Granted { username: "x".into(), mechanism: Mechanism::Password },
            tls: None,
            peer: "127.0.0.1:1".parse().unwrap(),
            namespace: "USER".into(),
        }
    }

    fn head(version: i64, target: &[u8], variables: &[&[u8]]) -> Vec<u8> {
        let list = |items: &[&[u8]]| {
            let mut list = Vec::new();
            items.iter().for_each(|item| write_bytes(item, &mut list));
            list
        };
        let mut head = Vec::new();
        Value::Integer(version).write(&mut head);
        for item in [b"GET", target, b"HTTP/1.1", &list(variables), &list(&[])] {
            write_bytes(item, &mut head);
        }
        head
    }

    #[test]
    fn a_head_gives_target_variables_and_query_numbers() {
        let connection = connection();
        let head = head(1, b"/csp/demo/big?bytes=12&x=y&n=a", &[b"A", b"1", b"B", b"\xff"]);
        let request = Request::read(&head, &connection).unwrap();
        assert_eq!(request.path(), b"/csp/demo/big");
        assert_eq!((request.number("bytes"), request.number("n"), request.number("by")), (Some(12), None, None));
        assert_eq!(request.variable("B"), Some(&b"\xff"[..]));
        assert!(request.system.is_empty());
    }

    #[test]
    fn another_version_and_a_name_without_value_are_refused() {
        let connection = connection();
        let other = Request::read(&head(2, b"/", &[]), &connection).err();
        assert_eq!(other, Some(RequestError::Version("2".into())));
        let odd = Request::read(&head(1, b"/", &[b"A"]), &connection).err();
        assert!(matches!(odd, Some(RequestError::Shape(_))));
    }

    proptest! {
        #[test]
        fn no_head_makes_the_reader_panic(mut head in proptest::collection::vec(any::<u8>(), 0..60)) {
            let connection = connection();
            let _ = Request::read(&head, &connection);
            head.splice(0..0, [3, 4, 1]);
            let _ = Request::read(&head, &connection);
        }
    }
}
