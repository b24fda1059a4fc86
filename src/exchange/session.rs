//! Which session a request belongs to, and which server that session: what of cookies, query and form the gateway looks
//! at. It only looks; the application gets all of it as it was sent, and decides by itself what a session is.
//!
//! How a session finds its server again, in this order:
//!
//! 1. The table that all workers share ([`crate::ledger::sticky`]), which has learned the session from the answer that set its
//!    cookie. It is right as long as the web server runs and the row has not made way for another.
//! 2. The mark of the server in our own cookie `CSPWSERVERID`, which outlives a restart and a full table. It is one cookie
//!    for all applications of a host, so it may name another application's server; then it is no candidate, and is not
//!    heeded.
//! 3. The same choice by all workers for the same session ([`crate::pool::choice::Session::Forgotten`]).
//!
//! Only a request with a session heeds the mark: a browser that comes back without one begins anew, on any server.

use std::hash::{DefaultHasher, Hasher};
use std::num::NonZeroU64;

use super::request::Request;
use super::response::ResponseHead;
use crate::profile::Mark;

/// A session, by the hash of its token. It is the same in all workers of one build of Sclera, and never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey(pub NonZeroU64);

/// The value of `CSPWSERVERID`: the gateway's mark and the server's, eight letters and digits as in the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebServerId {
    /// Tells gateways behind one balancer from each other.
    pub gateway: Mark,
    /// The server that answered.
    pub server: Mark,
}

/// What a request says about its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Its session, by cookie or query.
    pub session: Option<SessionKey>,
    /// Our own cookie.
    pub web_server_id: Option<WebServerId>,
}

const SESSION_COOKIE: &[u8] = b"CSPSESSIONID";
const SESSION_FIELD: &[u8] = b"CSPCHD";
const SERVER_COOKIE: &[u8] = b"CSPWSERVERID";
/// Tokens that are longer are not heeded; real ones have some 40 characters.
const LONGEST_TOKEN: usize = 512;

/// The session of a request and what our cookie says, without looking at its body. Allocates nothing.
///
/// The browser may send several session cookies, `CSPSESSIONID-SP-<port>-UP-<path>-` each: the one of the longest path that
/// the request's begins with counts, behind an instance's name or not, and of those alike the one of the request's port.
/// Without a cookie the URL's `CSPCHD` counts.
pub fn claims(request: &Request) -> Claims {
    let mut claims = Claims::default();
    let mut best = 0;
    for (name, value) in
        request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"cookie")).flat_map(cookies)
    {
        if name == SERVER_COOKIE {
            claims.web_server_id = claims.web_server_id.or_else(|| WebServerId::parse(value));
        } else if let Some(rank) = rank(name, request).filter(|&rank| rank > best)
            && let Some(key) = key_of(value)
        {
            (claims.session, best) = (Some(key), rank);
        }
    }
    let query = request.target.get(request.path().len() + 1..).unwrap_or_default();
    claims.session = claims.session.or_else(|| field(query));
    claims
}

/// Whether a request's body is a form, which may name the session of a request that has none by [`claims`].
pub fn is_form(request: &Request) -> bool {
    let is_type = |(name, _): &&(&[u8], &[u8])| name.eq_ignore_ascii_case(b"content-type");
    let media_type =
        request.headers.iter().find(is_type).and_then(|(_, value)| value.split(|&byte| byte == b';').next());
    media_type.is_some_and(|it| it.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded"))
}

/// The session that a form names. `body` is the whole of a body that is short enough to be sent with the call; of longer
/// ones the server is chosen before they have been read.
pub fn session_in_form(body: &[u8]) -> Option<SessionKey> {
    field(body)
}

/// The session that an answer begins, or goes on with under a new token.
pub fn learned(head: &ResponseHead) -> Option<SessionKey> {
    let set = head.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    set.filter_map(|(_, value)| {
        let (name, value) = pair(value.split(|&byte| byte == b';').next()?)?;
        is_session_cookie(name).then(|| key_of(value))?
    })
    .next_back()
}

/// Whether an answer is to set `CSPWSERVERID` to `ours`: with the session's cookie, and when the session has moved. Answers
/// without a session, such as static files, stay without it, so that caches may keep them.
pub fn sets_web_server_id(claims: &Claims, learned: Option<SessionKey>, ours: WebServerId) -> bool {
    let has_moved = claims.session.is_some() && claims.web_server_id.is_some();
    (learned.is_some() || has_moved) && claims.web_server_id != Some(ours)
}

impl WebServerId {
    /// Reads the cookie's value; `None` if it is not of our form, such as that of another gateway in front of us.
    pub fn parse(value: &[u8]) -> Option<WebServerId> {
        let (gateway, server) = value.split_at_checked(Mark::LENGTH)?;
        Some(WebServerId { gateway: Mark::parse(gateway)?, server: Mark::parse(server)? })
    }

    /// The value of the header `Set-Cookie`.
    pub fn to_set_cookie(self) -> Vec<u8> {
        let mut cookie = SERVER_COOKIE.to_vec();
        cookie.push(b'=');
        cookie.extend_from_slice(&self.gateway.bytes());
        cookie.extend_from_slice(&self.server.bytes());
        cookie.extend_from_slice(b"; path=/; httpOnly");
        cookie
    }
}

/// The cookies of one header.
fn cookies<'a>((_, value): &(&'a [u8], &'a [u8])) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    value.split(|&byte| byte == b';').filter_map(pair)
}

/// Name and value, without the spaces and quotes around them.
fn pair(cookie: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = cookie.iter().position(|&byte| byte == b'=')?;
    let value = cookie[equals + 1..].trim_ascii();
    let bare = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    Some((cookie[..equals].trim_ascii(), bare))
}

fn is_session_cookie(name: &[u8]) -> bool {
    name.strip_prefix(SESSION_COOKIE).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"))
}

/// How well a session cookie's name fits the request, from 1; `None` for another cookie.
fn rank(name: &[u8], request: &Request) -> Option<usize> {
    let rest = name.strip_prefix(SESSION_COOKIE).filter(|_| is_session_cookie(name))?;
    let Some((port, path)) = rest.strip_prefix(b"-SP-").and_then(|rest| {
        let end = rest.windows(4).position(|four| four == b"-UP-")?;
        Some((&rest[..end], &rest[end + 4..]))
    }) else {
        // The older name, for all paths.
        return Some(3);
    };
    let own_port = usize::from(parse_port(port) == Some(request.server_port));
    let path = trim_dashes(path);
    let whole = request.path().strip_prefix(b"/").unwrap_or(request.path());
    let behind_instance = whole.iter().position(|&byte| byte == b'/').map(|slash| &whole[slash + 1..]);
    let fits = [Some(whole), behind_instance].into_iter().flatten().any(|own| begins_with(own, path));
    // A cookie whose path does not fit has been sent all the same, perhaps through a proxy that changes paths.
    Some(if fits { 4 + 2 * path.len() + own_port } else { 1 + own_port })
}

/// Whether a path begins with a cookie's, in which dashes stand for slashes, by whole segments.
fn begins_with(path: &[u8], dashed: &[u8]) -> bool {
    let alike = |(own, theirs): (&u8, &u8)| own.eq_ignore_ascii_case(theirs) || (*own == b'/' && *theirs == b'-');
    let ends = |next: Option<&u8>| dashed.is_empty() || next.is_none_or(|&byte| byte == b'/');
    path.len() >= dashed.len() && path.iter().zip(dashed).all(alike) && ends(path.get(dashed.len()))
}

fn trim_dashes(mut path: &[u8]) -> &[u8] {
    while let Some(rest) = path.strip_prefix(b"-").or_else(|| path.strip_suffix(b"-")) {
        path = rest;
    }
    path
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The session of `CSPCHD` among the fields of a query or a form.
fn field(fields: &[u8]) -> Option<SessionKey> {
    fields.split(|&byte| byte == b'&').find_map(|field| {
        let value = field.strip_prefix(SESSION_FIELD)?.strip_prefix(b"=")?;
        key_of(value)
    })
}

/// The key of a token, which is decoded, so that it is the same wherever it stands. `None` for none, or one too long.
fn key_of(token: &[u8]) -> Option<SessionKey> {
    if token.is_empty() || token.len() > LONGEST_TOKEN {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    let mut rest = token;
    while let [first, after @ ..] = rest {
        let hex = |at: usize| after.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        let (byte, taken) = match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => ((high << 4 | low) as u8, 2),
            _ => (*first, 0),
        };
        hasher.write_u8(byte);
        rest = &after[taken..];
    }
    Some(SessionKey(NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::path::Path;

    use super::*;
    use crate::profile::gateway_mark;

    fn key(token: &str) -> Option<SessionKey> {
        key_of(token.as_bytes())
    }

    fn claims_of(target: &str, cookies: &[&str]) -> Claims {
        let headers: Vec<(&[u8], &[u8])> = cookies.iter().map(|value| (&b"Cookie"[..], value.as_bytes())).collect();
        claims(&Request { target: target.as_bytes(), headers: &headers, server_port: 443, ..Request::default() })
    }

    #[test]
    fn the_session_is_the_one_of_the_longest_path_that_fits() {
        for (target, cookies, token) in [
            ("/csp/samples/a.csp", &["CSPSESSIONID-SP-443-UP-csp-samples-=one"][..], "one"),
            ("/csp/samples", &["CSPSESSIONID-SP-443-UP-csp-samples-=one"], "one"),
            (
                "/CSP/Samples/a",
                &["a=b; CSPSESSIONID-SP-443-UP-csp-=no; CSPSESSIONID-SP-443-UP-csp-samples-=one"],
                "one",
            ),
            ("/csp/x", &["CSPSESSIONID-SP-443-UP-csp-samples-=no; CSPSESSIONID-SP-443-UP-csp-=one"], "one"),
            ("/csp/samples2/x", &["CSPSESSIONID-SP-443-UP-csp-samples-=no", "CSPSESSIONID-SP-443-UP-csp-=one"], "one"),
            ("/iris/csp/user/x", &["CSPSESSIONID-SP-443-UP-csp-user-=one; CSPSESSIONID=no"], "one"),
            ("/csp/x", &["CSPSESSIONID-SP-80-UP-csp-=no; CSPSESSIONID-SP-443-UP-csp-=one"], "one"),
            ("/csp/x", &["CSPSESSIONID-SP-80-UP-csp-=one; CSPSESSIONID-SP-81-UP-csp-=no"], "one"),
            ("/api/x", &["CSPSESSIONID-SP-443-UP-csp-=no; CSPSESSIONID=one"], "one"),
            ("/x", &["CSPSESSIONID-SP-443-UP--=one; CSPSESSIONID=no"], "one"),
            ("/renamed/x", &["CSPSESSIONID-SP-443-UP-csp-=one"], "one"),
            ("/x", &["CSPSESSIONID=\"o%6Ee\"", "CSPSESSIONID=no"], "one"),
            ("/x?a=1&CSPCHD=o%6ee&CSPCHD=no", &["other=1"], "one"),
            ("/x?CSPCHD=no", &["CSPSESSIONID=one"], "one"),
            ("/x?CSPCHD=one", &["CSPSESSIONID="], "one"),
        ] {
            assert_eq!(claims_of(target, cookies).session, key(token), "{target} {cookies:?}");
        }
    }

    #[test]
    fn what_is_no_session_is_taken_for_none() {
        let long = format!("CSPSESSIONID={}", "x".repeat(LONGEST_TOKEN + 1));
        for (target, cookie) in [
            ("/x", "CSPSESSIONIDX=1; xCSPSESSIONID=1; cspsessionid=1; CSPBrowserId=1"),
            ("/CSPCHD=1", "CSPSESSIONID"),
            ("/x?xCSPCHD=1&CSPCHD&CSPCHD=&cspchd=1", ""),
            ("/x", long.as_str()),
            ("", ";;=;"),
        ] {
            assert_eq!(claims_of(target, &[cookie]).session, None, "{target} {cookie}");
        }
    }

    #[test]
    fn a_form_tells_the_session_too() {
        for (media_type, body, expected) in [
            ("application/x-www-form-urlencoded", "a=1&CSPCHD=one", key("one")),
            ("Application/X-WWW-Form-Urlencoded; charset=utf-8", "CSPCHD=one&b=2", key("one")),
            ("application/x-www-form-urlencoded", "a=CSPCHD=one", None),
            ("application/json", "CSPCHD=one", None),
        ] {
            let headers: [(&[u8], &[u8]); 1] = [(b"content-type", media_type.as_bytes())];
            let request = Request { headers: &headers, ..Request::default() };
            let found = is_form(&request).then(|| session_in_form(body.as_bytes())).flatten();
            assert_eq!(found, expected, "{media_type} {body}");
        }
        assert!(!is_form(&Request::default()));
    }

    fn answer(cookies: &[&str]) -> ResponseHead {
        let headers = cookies.iter().map(|value| ("Set-Cookie".to_owned(), value.as_bytes().to_vec()));
        ResponseHead { status: 200, reason: String::new(), headers: headers.collect(), length: None }
    }

    #[test]
    fn an_answer_that_sets_a_session_cookie_begins_a_session() {
        let set = "CSPSESSIONID-SP-443-UP-csp-=one; path=/csp/; httpOnly";
        assert_eq!(
            learned(&answer(&["a=b; path=/", set])),
            claims_of("/csp/x", &["CSPSESSIONID-SP-443-UP-csp-=one"]).session
        );
        assert_eq!(learned(&answer(&["a=CSPSESSIONID=1", "CSPBrowserId=2; path=/"])), None);
        assert_eq!(learned(&answer(&["CSPSESSIONID=; expires=Thu, 01-Jan-1970 00:00:00 GMT"])), None);
        assert_eq!(learned(&answer(&[])), None);
    }

    #[test]
    fn our_own_cookie_is_set_with_a_session_and_when_it_moves_and_not_else() {
        let gateway = gateway_mark("web1", Path::new("/etc/CSP.ini"));
        let [one, two] = ["ONE", "TWO"].map(|server| WebServerId { gateway, server: Mark::of(server) });
        let cookie = String::from_utf8(one.to_set_cookie()).unwrap();
        let value =
            cookie.strip_prefix("CSPWSERVERID=").and_then(|rest| rest.strip_suffix("; path=/; httpOnly")).unwrap();
        assert!(value.len() == 8 && value.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{value}");
        let of = |cookies: String| claims_of("/", &[&cookies]);
        let (new, known) = (of(String::new()), of(format!("CSPSESSIONID=s; CSPWSERVERID={value}")));
        assert_eq!(known.web_server_id, Some(one));
        assert!(sets_web_server_id(&new, key("s"), one));
        assert!(!sets_web_server_id(&new, None, one), "a static file");
        assert!(!sets_web_server_id(&known, key("s"), one), "it has it");
        assert!(!sets_web_server_id(&known, None, one));
        assert!(sets_web_server_id(&known, None, two), "another server answered");
        let old = of(format!("CSPSESSIONID=s; CSPWSERVERID={}", "a1".repeat(20)));
        assert_eq!(old.web_server_id, None, "of an old gateway");
        assert_ne!(gateway, gateway_mark("web2", Path::new("/etc/CSP.ini")));
    }

    proptest! {
        #[test]
        fn any_request_and_answer_is_looked_at_without_panic(
            target: Vec<u8>, cookies: Vec<Vec<u8>>, path in "[-a-z/]{0,12}", body: Vec<u8>,
        ) {
            let named = format!("CSPSESSIONID-SP-1-UP-{path}=x%");
            let mut headers: Vec<(&[u8], &[u8])> = cookies.iter().map(|it| (&b"cookie"[..], it.as_slice())).collect();
            headers.push((b"cookie", named.as_bytes()));
            let request = Request { target: &target, headers: &headers, ..Request::default() };
            prop_assert!(claims(&request).session.is_some());
            let _ = (is_form(&request), session_in_form(&body));
            let headers = cookies.into_iter().map(|value| ("set-cookie".to_owned(), value)).collect();
            let _ = learned(&ResponseHead { status: 200, reason: String::new(), headers, length: None });
        }
    }
}
