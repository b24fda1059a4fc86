//! The request as the application sees it: the head of the web call (`docs/web-call.md`), and the rules by which headers
//! become variables.

use std::borrow::Cow;
use std::fmt;

use crate::profile::routing_path;
use crate::wire::element::{Value, write_bytes, write_bytes_head};

/// Version of the web call convention that we speak.
pub const CONVENTION: i64 = 1;
/// Class and method of the web call.
const CLASS: &[u8] = b"Sclera.Gateway";
const METHOD: &[u8] = b"Request";

/// A request as the web server tells it. Everything is as the browser sent it, unless a field says otherwise.
#[derive(Clone, Default)]
pub struct Request<'a> {
    pub method: &'a [u8],
    /// Path and query, not decoded.
    pub target: &'a [u8],
    pub protocol: &'a [u8],
    pub headers: &'a [(&'a [u8], &'a [u8])],
    pub length: BodyLength,
    /// Of the browser, as the web server's own trusted-proxy setting resolves it.
    pub remote_address: &'a [u8],
    pub remote_port: u16,
    pub server_name: &'a [u8],
    pub server_port: u16,
    pub https: bool,
    /// Whom the web server has authenticated; empty for nobody.
    pub remote_user: &'a [u8],
    pub auth_type: &'a [u8],
    /// Of `remote_user`, where the web server leaves it to the application to check it; empty anywhere else.
    pub auth_password: &'a [u8],
}

impl fmt::Debug for Request<'_> {
    /// Leaves out what may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes);
        let mut shown = f.debug_struct("Request");
        shown.field("method", &text(self.method)).field("path", &text(self.path())).finish_non_exhaustive()
    }
}

/// How long the request body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLength {
    Known(u64),
    #[default]
    Unknown,
}

/// Headers that belong to one hop, or that would let a browser set what is not its to set: `Proxy` would become
/// `HTTP_PROXY`, which many programs obey.
const NOT_PASSED_ON: [&[u8]; 9] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"proxy",
    b"expect",
];

impl Request<'_> {
    /// What keeps the request from being passed on; `None` if nothing does.
    pub fn objection(&self) -> Option<&'static str> {
        let is_token = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_graphic());
        if !is_token(self.method) || self.method.len() > 64 {
            return Some("the method is no token");
        }
        if self.target.is_empty() || self.target.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
            return Some("the request target holds a control character or a space");
        }
        let breaks_lines = |value: &[u8]| value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        match self.headers.iter().any(|(_, value)| breaks_lines(value)) {
            true => Some("a header value holds a line break"),
            false => None,
        }
    }

    /// The path of the target, without the query.
    pub fn path(&self) -> &[u8] {
        self.target.split(|&byte| byte == b'?').next().unwrap_or_default()
    }

    /// The path by which the server is chosen: as an application that decodes would read it, so that no spelling of a
    /// path steps around its profile. The application itself gets the target as it was sent.
    pub fn routing_path(&self) -> Cow<'_, [u8]> {
        routing_path(self.path())
    }

    /// The host that the browser asked for, without port: what `//host/path` profiles are chosen by.
    pub fn host(&self) -> Option<&str> {
        let header = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"host")).map(|(_, value)| *value);
        let host = std::str::from_utf8(header.unwrap_or(self.server_name)).ok()?;
        // The colons of an IPv6 address stand in brackets.
        let end = host.rfind(':').filter(|&colon| !host[colon..].contains(']')).unwrap_or(host.len());
        Some(&host[..end]).filter(|host| !host.is_empty())
    }

    /// The head argument of the web call, as the bytes of a list.
    pub fn to_head(&self, software: &str, request_id: &str) -> Vec<u8> {
        let mut variables = Vec::with_capacity(1024);
        self.write_variables(software, &mut variables);
        let mut system = Vec::with_capacity(64);
        write_pair(b"REQUEST_ID", request_id.as_bytes(), &mut system);
        write_pair(b"GATEWAY", concat!("Sclera/", env!("CARGO_PKG_VERSION")).as_bytes(), &mut system);
        let mut head = Vec::with_capacity(variables.len() + self.target.len() + 128);
        Value::Integer(CONVENTION).write(&mut head);
        for part in [self.method, self.target, self.protocol, &variables, &system] {
            write_bytes(part, &mut head);
        }
        head
    }

    fn write_variables(&self, software: &str, out: &mut Vec<u8>) {
        let path = self.path();
        let query = self.target.get(path.len() + 1..).unwrap_or_default();
        write_pair(b"GATEWAY_INTERFACE", b"CGI/1.1", out);
        write_pair(b"REQUEST_METHOD", self.method, out);
        write_pair(b"REQUEST_URI", self.target, out);
        write_pair(b"SCRIPT_NAME", path, out);
        write_pair(b"QUERY_STRING", query, out);
        write_pair(b"SERVER_PROTOCOL", self.protocol, out);
        write_pair(b"SERVER_SOFTWARE", software.as_bytes(), out);
        write_pair(b"SERVER_NAME", self.server_name, out);
        write_pair(b"SERVER_PORT", self.server_port.to_string().as_bytes(), out);
        write_pair(b"SERVER_PORT_SECURE", if self.https { b"1" } else { b"0" }, out);
        write_pair(b"HTTPS", if self.https { b"On" } else { b"Off" }, out);
        write_pair(b"REMOTE_ADDR", self.remote_address, out);
        write_pair(b"REMOTE_PORT", self.remote_port.to_string().as_bytes(), out);
        if !self.remote_user.is_empty() {
            write_pair(b"REMOTE_USER", self.remote_user, out);
        }
        if !self.auth_type.is_empty() {
            write_pair(b"AUTH_TYPE", self.auth_type, out);
        }
        if !self.auth_password.is_empty() {
            write_pair(b"AUTH_PASSWORD", self.auth_password, out);
        }
        if let BodyLength::Known(length @ 1..) = self.length {
            write_pair(b"CONTENT_LENGTH", length.to_string().as_bytes(), out);
        }
        for (place, (name, value)) in self.headers.iter().enumerate() {
            self.write_header(place, name, value, out);
        }
    }

    /// One header becomes one variable; repeated ones are joined at their first place.
    fn write_header(&self, place: usize, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let same = |other: &[u8]| other.eq_ignore_ascii_case(name);
        // An underscore would let `X_Name` pose as `X-Name`, of which the variable would be the same.
        if name.contains(&b'_') || same(b"content-length") || NOT_PASSED_ON.iter().any(|other| same(other)) {
            return;
        }
        if self.headers[..place].iter().any(|(earlier, _)| same(earlier)) {
            return;
        }
        let prefix: &[u8] = if same(b"content-type") { b"" } else { b"HTTP_" };
        write_bytes_head(prefix.len() + name.len(), out);
        out.extend_from_slice(prefix);
        out.extend(name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
        let mut later =
            self.headers[place + 1..].iter().filter(|(other, _)| same(other)).map(|(_, value)| *value).peekable();
        if later.peek().is_none() {
            return write_bytes(value, out);
        }
        let separator: &[u8] = if same(b"cookie") { b"; " } else { b", " };
        let joined = later.fold(value.to_vec(), |mut joined, value| {
            joined.extend_from_slice(separator);
            joined.extend_from_slice(value);
            joined
        });
        write_bytes(&joined, out);
    }
}

/// Appends the arguments of the web call. `body`: the whole body, or `None` if the application is to pull it.
pub fn write_call(head: &[u8], body: Option<&[u8]>, gateway_object: &[u8], out: &mut Vec<u8>) {
    write_bytes(CLASS, out);
    write_bytes(METHOD, out);
    Value::Integer(3).write(out);
    write_bytes(head, out);
    match body {
        Some(body) => write_bytes(body, out),
        None => Value::Undefined.write(out),
    }
    Value::Handle(gateway_object.into()).write(out);
}

fn write_pair(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    write_bytes(name, out);
    write_bytes(value, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::element::Element;
    use std::collections::BTreeMap;

    fn variables(request: &Request) -> BTreeMap<String, String> {
        let mut bytes = Vec::new();
        request.write_variables("test/1", &mut bytes);
        let texts: Vec<String> =
            Element::read_all(&bytes).unwrap().iter().map(|element| element.value.to_text()).collect();
        texts.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }

    fn request<'a>(headers: &'a [(&'a [u8], &'a [u8])]) -> Request<'a> {
        Request { method: b"GET", target: b"/csp/a%2Fb?x=1", protocol: b"HTTP/1.1", headers, ..Request::default() }
    }

    #[test]
    fn headers_become_variables_and_repeated_ones_are_joined() {
        let variables = variables(&request(&[
            (b"Accept", b"a"),
            (b"cookie", b"one=1"),
            (b"Content-Type", b"text/plain"),
            (b"ACCEPT", b"b"),
            (b"Cookie", b"two=2"),
            (b"X-Own", b"y"),
        ]));
        for (name, value) in [
            ("HTTP_ACCEPT", "a, b"),
            ("HTTP_COOKIE", "one=1; two=2"),
            ("CONTENT_TYPE", "text/plain"),
            ("HTTP_X_OWN", "y"),
            ("REQUEST_URI", "/csp/a%2Fb?x=1"),
            ("SCRIPT_NAME", "/csp/a%2Fb"),
            ("QUERY_STRING", "x=1"),
        ] {
            assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn what_a_browser_must_not_set_does_not_become_a_variable() {
        let variables = variables(&request(&[
            (b"Proxy", b"http://evil"),
            (b"Connection", b"close"),
            (b"Transfer-Encoding", b"chunked"),
            (b"X_Own", b"spoofed"),
        ]));
        for name in ["HTTP_PROXY", "HTTP_CONNECTION", "HTTP_TRANSFER_ENCODING", "HTTP_X_OWN"] {
            assert_eq!(variables.get(name), None, "{name}");
        }
    }

    #[test]
    fn a_password_is_a_variable_only_where_it_was_given_and_is_never_printed() {
        let mut request = request(&[(b"Authorization", b"Basic am9lOnB3")]);
        assert_eq!(variables(&request).get("AUTH_PASSWORD"), None);
        (request.remote_user, request.auth_type, request.auth_password) = (b"joe", b"Basic", b"pw");
        assert_eq!(variables(&request).get("AUTH_PASSWORD").map(String::as_str), Some("pw"));
        assert_eq!(format!("{request:?}"), r#"Request { method: "GET", path: "/csp/a%2Fb", .. }"#);
    }

    #[test]
    fn no_spelling_of_a_path_steps_around_its_profile() {
        for (target, path) in [
            ("/csp/a?x=/../y", "/csp/a"),
            ("/csp/%73ecret/x", "/csp/secret/x"),
            ("/csp/a/../secret/x", "/csp/secret/x"),
            ("/csp//secret/", "/csp/secret/"),
            ("/csp/./%2e%2e/secret", "/secret"),
            ("/csp%2Fsecret", "/csp/secret"),
            ("/../..", "/"),
            ("/100%", "/100%"),
        ] {
            let request = Request { target: target.as_bytes(), ..Request::default() };
            assert_eq!(String::from_utf8_lossy(&request.routing_path()), path, "{target}");
        }
    }

    #[test]
    fn the_head_is_a_list_of_six_with_the_convention_first() {
        let head = request(&[]).to_head("test/1", "id");
        let elements = Element::read_all(&head).unwrap();
        assert_eq!(elements.len(), 6);
        assert_eq!(elements[0].value, Value::Integer(CONVENTION));
        assert_eq!(elements[2].value, Value::bytes(b"/csp/a%2Fb?x=1"));
    }

    #[test]
    fn a_request_that_could_smuggle_lines_is_refused() {
        let mut bad = request(&[(b"X", b"a\nb")]);
        assert!(bad.objection().is_some());
        bad.headers = &[];
        assert_eq!(bad.objection(), None);
        bad.target = b"/a b";
        assert!(bad.objection().is_some());
        bad.target = b"/a";
        bad.method = b"GE T";
        assert!(bad.objection().is_some());
    }
}
