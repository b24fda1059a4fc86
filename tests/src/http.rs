//! A raw HTTP/1.1 client: it sends what it is told, byte for byte, and says exactly what came back.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::process::PATIENCE;

/// A connection to a web server.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Received and not read yet.
    unread: Vec<u8>,
}

/// Status and headers of an answer.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub status: u16,
    pub reason: String,
    /// In their order, repeated ones repeated.
    pub headers: Vec<(String, String)>,
}

/// An answer with its body.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body came to the end that its framing announced.
    pub complete: bool,
}

/// How a body ends.
enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Client {
    pub fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the web server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket has timeouts");
        stream.set_nodelay(true).expect("a TCP socket");
        Client { stream, unread: Vec::new() }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.stream.write_all(bytes.as_ref()).expect("the web server takes the request");
        self
    }

    /// Sends a request without a body.
    pub fn request(&mut self, method: &str, target: &str) -> &mut Client {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))
    }

    /// Sends a POST with a body.
    pub fn post(&mut self, target: &str, body: &[u8]) -> &mut Client {
        let length = body.len();
        self.send(format!("POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n")).send(body)
    }

    /// Sends a POST whose body goes in these chunks.
    pub fn post_chunked<'a>(&mut self, target: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> &mut Client {
        self.send(format!("POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"));
        for piece in pieces {
            self.send(format!("{:x}\r\n", piece.len())).send(piece).send("\r\n");
        }
        self.send("0\r\n\r\n")
    }

    /// Reads an answer to any request but HEAD.
    pub fn answer(&mut self) -> Answer {
        let head = self.head();
        let mut body = Vec::new();
        let complete = self.body(&head, |piece| body.extend_from_slice(piece));
        Answer { status: head.status, reason: head.reason, headers: head.headers, body, complete }
    }

    /// Reads an answer's head.
    pub fn head(&mut self) -> Head {
        loop {
            let end = self.unread.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                let text = String::from_utf8_lossy(&self.unread[..end]).into_owned();
                self.unread.drain(..end + 4);
                let head = Head::parse(&text);
                if head.status != 100 {
                    return head;
                }
            } else if !self.fill() {
                panic!("no answer, but {:?}", String::from_utf8_lossy(&self.unread));
            }
        }
    }

    /// Reads the body that belongs to `head`, piece by piece; tells whether it came to its end.
    pub fn body(&mut self, head: &Head, mut take: impl FnMut(&[u8])) -> bool {
        match head.framing() {
            Framing::None => true,
            Framing::Length(length) => self.exactly(length, &mut take),
            Framing::UntilClose => {
                while self.fill() {}
                take(&std::mem::take(&mut self.unread));
                true
            }
            Framing::Chunked => loop {
                let Some(line) = self.line() else { return false };
                let length = u64::from_str_radix(line.trim(), 16).expect("a chunk begins with its length");
                if !self.exactly(length, &mut take) || self.line().is_none() {
                    return false;
                }
                if length == 0 {
                    return true;
                }
            },
        }
    }

    /// Some bytes of what comes, as they come.
    pub fn some(&mut self) -> Vec<u8> {
        assert!(!self.unread.is_empty() || self.fill(), "the web server has closed");
        std::mem::take(&mut self.unread)
    }

    /// Whether the web server has closed the connection and nothing is left to read.
    pub fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !self.fill()
    }

    fn exactly(&mut self, length: u64, take: &mut impl FnMut(&[u8])) -> bool {
        let mut left = length;
        while left > 0 {
            if self.unread.is_empty() && !self.fill() {
                return false;
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.unread.len());
            take(&self.unread[..count]);
            self.unread.drain(..count);
            left -= count as u64;
        }
        true
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|window| window == b"\r\n") {
                let line = String::from_utf8_lossy(&self.unread[..end]).into_owned();
                self.unread.drain(..end + 2);
                return Some(line);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Receives; `false` once the web server has closed.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("the web server sends nothing more: {error}"),
        }
    }
}

impl Head {
    fn parse(text: &str) -> Head {
        let mut lines = text.split("\r\n");
        let mut status_line = lines.next().unwrap_or_default().splitn(3, ' ').skip(1);
        let status = status_line.next().and_then(|status| status.parse().ok());
        // chromedriver writes no space after the colon.
        let headers = lines.map(|line| line.split_once(':').unwrap_or((line, "")));
        let headers = headers.map(|(name, value)| (name, value.strip_prefix(' ').unwrap_or(value)));
        Head {
            status: status.unwrap_or_else(|| panic!("no HTTP answer: {text:?}")),
            reason: status_line.next().unwrap_or_default().to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    fn framing(&self) -> Framing {
        if matches!(self.status, 204 | 304) {
            return Framing::None;
        }
        if self.header("Transfer-Encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked;
        }
        match self.header("Content-Length") {
            Some(length) => Framing::Length(length.parse().expect("Content-Length is a number")),
            None => Framing::UntilClose,
        }
    }
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// All headers of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let matching = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        matching.map(|(_, value)| value.as_str()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}
