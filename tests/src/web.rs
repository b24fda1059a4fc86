//! A browser's side: requests written byte by byte, answers taken apart, and whether an answer was complete.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// Whether the body came to the end that the head announced.
    pub complete: bool,
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// `GET` of a target, on a connection of its own.
pub fn get(port: u16, target: &str) -> Answer {
    send(port, &format!("GET {target}"), "", b"")
}

/// Sends a request whose first line begins with `start` (method and target), with more header lines and a body.
pub fn send(port: u16, start: &str, headers: &str, body: &[u8]) -> Answer {
    let head = format!("{start} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    raw(port, &[head.as_bytes(), body].concat(), start.starts_with("HEAD "))
}

/// Sends bytes as they are and reads until the server closes.
pub fn raw(port: u16, request: &[u8], head_only: bool) -> Answer {
    let mut stream = connect(port);
    stream.write_all(request).expect("sending the request");
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        // A server that refuses a body may reset the connection after its answer.
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("reading the answer: {error}"),
        _ => {}
    }
    parse(&received, head_only)
}

pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connecting to the web server");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("setting a timeout");
    stream
}

fn parse(received: &[u8], head_only: bool) -> Answer {
    let split = received.windows(4).position(|window| window == b"\r\n\r\n");
    let split = split.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(received)));
    let head = String::from_utf8_lossy(&received[..split]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let mut answer = Answer { status, head, body: received[split + 4..].to_vec(), complete: true };
    if head_only || status == 204 || status == 304 {
        assert!(answer.body.is_empty(), "a body where none may be: {answer:?}");
    } else if answer.header("Transfer-Encoding") == Some("chunked") {
        (answer.body, answer.complete) = dechunk(&answer.body);
    } else if let Some(length) = answer.header("Content-Length") {
        answer.complete = length.parse() == Ok(answer.body.len());
    }
    answer
}

/// The content, and whether the last chunk was there.
fn dechunk(mut chunked: &[u8]) -> (Vec<u8>, bool) {
    let mut content = Vec::new();
    loop {
        let Some(end) = chunked.windows(2).position(|window| window == b"\r\n") else { return (content, false) };
        let size = std::str::from_utf8(&chunked[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("the size of a chunk");
        chunked = &chunked[end + 2..];
        if size == 0 {
            return (content, true);
        }
        if chunked.len() < size + 2 {
            content.extend_from_slice(chunked);
            return (content, false);
        }
        content.extend_from_slice(&chunked[..size]);
        chunked = &chunked[size + 2..];
    }
}
