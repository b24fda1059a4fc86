//! The response head: what an application sends before the body, made fit for the web server.

use crate::failure::{Code, Failure};

/// A response head, without headers that belong to one hop and without Content-Length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    pub status: u16,
    /// The application's words for it; may be empty.
    pub reason: String,
    /// In the application's order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Bytes of the body, if the application said so.
    pub length: Option<u64>,
}

/// The most bytes of a response head.
pub const HEAD_LIMIT: usize = 32 * 1024;
/// The most headers of a response.
const MOST_HEADERS: usize = 128;

/// Headers that belong to one hop, and directives that the application addresses to the gateway (web gateway reference,
/// section 9.2).
const CONSUMED: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "csp-nph",
    "csp-gzip",
];

impl ResponseHead {
    /// Reads a head from the start of `bytes`; gives its length too. `None` if the empty line has not come yet.
    ///
    /// # Errors
    ///
    /// [`Code::ResponseHeadInvalid`] or [`Code::ResponseLengthConflict`], with what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Option<(ResponseHead, usize)>, Failure> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() < HEAD_LIMIT => return Ok(None),
            Ok(httparse::Status::Partial) => return Err(invalid(format!("no end within {HEAD_LIMIT} bytes"))),
            Err(error) => return Err(invalid(error.to_string())),
        };
        let status = response.code.unwrap_or(0);
        // 1xx would need a second head; 101 belongs to WebSockets, which come later.
        if !(200..=599).contains(&status) {
            return Err(invalid(format!("status {status} cannot be passed on")));
        }
        let body_length = body_length(response.headers)?;
        let connection = response.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("connection"));
        let named: Vec<&str> = connection
            .filter_map(|header| std::str::from_utf8(header.value).ok())
            .flat_map(|value| value.split(',').map(str::trim))
            .collect();
        let is_consumed =
            |name: &str| CONSUMED.iter().chain(&named).any(|consumed| consumed.eq_ignore_ascii_case(name));
        let kept = response.headers.iter().filter(|header| !is_consumed(header.name));
        let head = ResponseHead {
            status,
            reason: response.reason.unwrap_or_default().to_owned(),
            headers: kept.map(|header| (header.name.to_owned(), header.value.to_vec())).collect(),
            length: body_length,
        };
        Ok(Some((head, length)))
    }

    /// Whether a response of this status never has a body.
    pub fn is_bodyless(&self) -> bool {
        matches!(self.status, 204 | 304)
    }
}

fn body_length(headers: &[httparse::Header]) -> Result<Option<u64>, Failure> {
    let all = |name: &'static str| headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    let conflict = |what: &str| Err(Failure::new(Code::ResponseLengthConflict, what));
    let mut lengths = all("content-length");
    let Some(first) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() {
        return conflict("the response head has two Content-Length headers");
    }
    if all("transfer-encoding").next().is_some() {
        return conflict("the response head has both Content-Length and Transfer-Encoding");
    }
    let digits = first.value;
    match std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).map(str::parse)
    {
        Some(Ok(length)) => Ok(Some(length)),
        _ => conflict("the Content-Length of the response head is no number"),
    }
}

fn invalid(what: String) -> Failure {
    Failure::new(Code::ResponseHeadInvalid, format!("the response head is invalid: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_head_is_read_and_what_belongs_to_one_hop_is_taken_out() {
        let bytes = b"HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
            Keep-Alive: 5\r\nCSP-nph: false\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 4\r\n\r\nbody";
        let (head, length) = ResponseHead::parse(bytes).unwrap().unwrap();
        assert_eq!((head.status, head.reason.as_str(), head.length), (201, "Created", Some(4)));
        assert_eq!(&bytes[length..], b"body");
        let names: Vec<&str> = head.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Content-Type", "Set-Cookie", "Set-Cookie"]);
    }

    #[test]
    fn a_head_that_has_not_ended_is_waited_for_up_to_the_limit() {
        assert_eq!(ResponseHead::parse(b"HTTP/1.1 200 OK\r\nA: b\r\n").unwrap(), None);
        let mut long = b"HTTP/1.1 200 OK\r\nA: ".to_vec();
        long.resize(HEAD_LIMIT, b'x');
        assert_eq!(ResponseHead::parse(&long).unwrap_err().code, Code::ResponseHeadInvalid);
    }

    #[test]
    fn malformed_heads_are_refused() {
        for (bytes, code) in [
            (&b"HTTP/1.1 200 OK\r\nA: b\x01c\r\n\r\n"[..], Code::ResponseHeadInvalid),
            (b"HTTP/1.1 200 OK\r\nA b\r\n\r\n", Code::ResponseHeadInvalid),
            (b"Content-Type: text/plain\r\n\r\n", Code::ResponseHeadInvalid),
            (b"HTTP/1.1 101 Switching\r\n\r\n", Code::ResponseHeadInvalid),
            (b"HTTP/1.1 999 ?\r\n\r\n", Code::ResponseHeadInvalid),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Code::ResponseLengthConflict),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", Code::ResponseLengthConflict),
            (b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", Code::ResponseLengthConflict),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Code::ResponseLengthConflict,
            ),
        ] {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(ResponseHead::parse(bytes).unwrap_err().code, code, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes: Vec<u8>) {
            let _ = ResponseHead::parse(&bytes);
        }
    }
}
