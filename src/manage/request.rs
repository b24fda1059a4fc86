//! A request for a management page, complete.

use std::fmt;
use std::net::IpAddr;

/// See the module. Nothing in it may be trusted but `client` and `https`, which are the web server's.
#[derive(Clone, Default)]
pub struct Request {
    pub method: String,
    /// The path of the pages as the browser named it: the reserved path, behind an instance's name or not.
    pub base: String,
    /// What of the path follows it: empty, or from a slash on.
    pub place: String,
    /// Not decoded.
    pub query: String,
    pub headers: Vec<(String, String)>,
    /// The client, as the web server's own trusted-proxy setting resolves it; `None` if that is no IP address.
    pub client: Option<IpAddr>,
    pub https: bool,
    pub body: Vec<u8>,
    /// The request's id, for the log.
    pub id: String,
}

impl Request {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All headers of this name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first value of this name in the query, decoded.
    pub fn query_value(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    /// A cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let pairs = self.all("cookie").flat_map(|header| header.split(';'));
        pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Whether it asks for a change.
    pub fn is_write(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

impl fmt::Debug for Request {
    /// Leaves out what may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("place", &self.place).finish_non_exhaustive()
    }
}
