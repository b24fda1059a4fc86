//! Secrets taken out of what is recorded: the one place that knows what a secret looks like.
//!
//! Two ways, which complete each other. By structure: a header, cookie, field of a query, form, JSON, XML or multipart
//! body whose name says that its value is a secret. By value: what was found so in a request is also taken out of
//! whatever else belongs to that request, such as a response that echoes it.

use std::borrow::Cow;
use std::ops::Range;

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

/// What stands in place of a secret.
pub const MASK: &[u8] = b"********";

/// Whether the value of a header, variable or field of this name is a secret.
pub fn is_secret_name(name: &[u8]) -> bool {
    let name = decoded(name).to_ascii_lowercase();
    let name: Vec<u8> = name.into_iter().filter(|byte| !b"-_. ".contains(byte)).collect();
    let holds = |word: &&[u8]| name.windows(word.len()).any(|window| window == *word);
    WORDS.iter().any(holds) || NAMES.contains(&name.as_slice())
}

/// Words that make a name a secret's wherever they stand in it; without hyphens and underscores.
const WORDS: [&[u8]; 16] = [
    b"password",
    b"passwd",
    b"passphrase",
    b"pwd",
    b"secret",
    b"token",
    b"credential",
    b"apikey",
    b"accesskey",
    b"privatekey",
    b"authorization",
    b"sessionid",
    b"cookie",
    b"cspchd",
    b"jsessionid",
    b"signature",
];

/// Names of secrets as a whole.
const NAMES: [&[u8]; 8] = [b"pass", b"pin", b"otp", b"totp", b"sid", b"auth", b"xauthkey", b"cspsharekey"];

/// Shorter ones are taken out by structure only: as values they would take half a page with them.
const SHORTEST: usize = 4;
const SHORTEST_COOKIE: usize = 8;
/// The most values that are remembered of one request, and the longest.
const MOST_VALUES: usize = 64;
const LONGEST: usize = 8 * 1024;

/// The value of a header, fit to be recorded.
pub fn header<'a>(name: &[u8], value: &'a [u8]) -> Cow<'a, [u8]> {
    let mut found = Vec::new();
    in_header(name, value, &mut found);
    without(value, &found)
}

/// Path and query, fit to be recorded.
pub fn target(target: &[u8]) -> Cow<'_, [u8]> {
    let mut found = Vec::new();
    in_target(target, &mut found);
    without(target, &found)
}

/// A text of ours that may quote a URL or a field.
pub fn text(text: &str) -> Cow<'_, str> {
    let mut found = Vec::new();
    in_text(text.as_bytes(), &mut found);
    match found.is_empty() {
        true => Cow::Borrowed(text),
        false => Cow::Owned(String::from_utf8_lossy(&without(text.as_bytes(), &found)).into_owned()),
    }
}

/// A token told so that it can be recognised but not used.
pub fn fingerprint(token: &[u8]) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(token);
    digest[..4].iter().fold("#".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// The session tokens of a `Cookie` or `Set-Cookie` header: names and values.
pub fn session_cookies(value: &[u8]) -> Vec<(&[u8], &[u8])> {
    let is_session = |name: &[u8]| {
        let name = name.to_ascii_lowercase();
        name.starts_with(b"cspsessionid") || name.starts_with(b"cspchd")
    };
    let pairs = value.split(|&byte| byte == b';').filter_map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|&byte| byte == b'=')?;
        Some((&pair[..at], &pair[at + 1..]))
    });
    pairs.filter(|(name, _)| is_session(name)).collect()
}

/// The values of secrets of one request.
#[derive(Default)]
pub struct Secrets(Vec<Zeroizing<Vec<u8>>>);

impl Secrets {
    /// A secret that the web server has told.
    pub fn note(&mut self, value: &[u8]) {
        self.note_value(value, SHORTEST);
    }

    /// What is secret in a header.
    pub fn note_header(&mut self, name: &[u8], value: &[u8]) {
        let mut found = Vec::new();
        in_header(name, value, &mut found);
        let least = if name.eq_ignore_ascii_case(b"cookie") { SHORTEST_COOKIE } else { SHORTEST };
        self.note_ranges(value, &found, least);
        if value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic ")) {
            self.note_basic(&value[6..]);
        }
    }

    /// What is secret in path and query.
    pub fn note_target(&mut self, target: &[u8]) {
        let mut found = Vec::new();
        in_target(target, &mut found);
        self.note_ranges(target, &found, SHORTEST);
    }

    /// What is secret in a body.
    pub fn note_body(&mut self, content_type: &[u8], body: &[u8]) {
        let mut found = Vec::new();
        in_body(content_type, body, &mut found);
        self.note_ranges(body, &found, SHORTEST);
    }

    /// A body without what is secret by its structure or by its value. `cut`: more follows than `body` holds.
    pub fn mask_body(&self, content_type: &[u8], body: &[u8], cut: bool) -> Vec<u8> {
        let mut found = Vec::new();
        in_body(content_type, body, &mut found);
        self.mask(&without(body, &found), cut)
    }

    /// Bytes without the values. `cut`: more follows than `bytes` holds, so that a value may begin at their end.
    pub fn mask(&self, bytes: &[u8], cut: bool) -> Vec<u8> {
        let mut found = Vec::new();
        for value in &self.0 {
            let mut from = 0;
            while let Some(at) = position(&bytes[from..], value) {
                found.push(from + at..from + at + value.len());
                from += at + value.len();
            }
            let beginnings = (SHORTEST..value.len()).rev();
            if cut && let Some(length) = beginnings.into_iter().find(|&length| bytes.ends_with(&value[..length])) {
                found.push(bytes.len() - length..bytes.len());
            }
        }
        without(bytes, &found).into_owned()
    }

    fn note_ranges(&mut self, bytes: &[u8], ranges: &[Range<usize>], least: usize) {
        for range in ranges {
            let value = &bytes[range.clone()];
            self.note_value(value, least);
            if value.len() <= 3 * LONGEST && value.iter().any(|byte| b"%+".contains(byte)) {
                self.note_value(&decoded(value), least);
            }
        }
    }

    fn note_basic(&mut self, encoded: &[u8]) {
        let encoded = encoded.trim_ascii();
        let Ok(text) = std::str::from_utf8(encoded) else { return };
        let Ok(decoded) = Base64::decode_vec(text).map(Zeroizing::new) else { return };
        self.note(&decoded);
        if let Some(colon) = decoded.iter().position(|&byte| byte == b':') {
            self.note(&decoded[colon + 1..]);
        }
    }

    fn note_value(&mut self, value: &[u8], least: usize) {
        let fits = (least..=LONGEST).contains(&value.len()) && self.0.len() < MOST_VALUES;
        if fits && !self.0.iter().any(|known| known.as_slice() == value) {
            self.0.push(Zeroizing::new(value.to_vec()));
        }
    }
}

/// `bytes` with a mask in place of each range.
fn without<'a>(bytes: &'a [u8], ranges: &[Range<usize>]) -> Cow<'a, [u8]> {
    let mut ranges: Vec<&Range<usize>> = ranges.iter().filter(|range| !range.is_empty()).collect();
    if ranges.is_empty() {
        return Cow::Borrowed(bytes);
    }
    ranges.sort_by_key(|range| range.start);
    let mut masked = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for range in ranges {
        if range.start >= at {
            masked.extend_from_slice(&bytes[at..range.start]);
            masked.extend_from_slice(MASK);
        }
        at = at.max(range.end);
    }
    masked.extend_from_slice(&bytes[at.min(bytes.len())..]);
    Cow::Owned(masked)
}

fn in_header(name: &[u8], value: &[u8], found: &mut Vec<Range<usize>>) {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    if is(b"cookie") || is(b"set-cookie") {
        return in_cookies(value, is(b"set-cookie"), found);
    }
    if is(b"authorization") || is(b"proxy-authorization") {
        // The scheme is worth knowing.
        let space = value.iter().position(|&byte| byte == b' ').map_or(0, |at| at + 1);
        return found.push(space..value.len());
    }
    if is_secret_name(name) {
        return found.push(0..value.len());
    }
    in_text(value, found);
}

/// Values of cookies; of a `Set-Cookie` only the first pair is a cookie, the others are attributes.
fn in_cookies(value: &[u8], set: bool, found: &mut Vec<Range<usize>>) {
    let mut at = 0;
    for pair in value.split(|&byte| byte == b';') {
        let start = match pair.iter().position(|&byte| byte == b'=') {
            Some(equals) => at + equals + 1,
            // A name alone may be a value whose name was left out.
            None => at + (pair.len() - pair.trim_ascii_start().len()),
        };
        found.push(start..at + pair.len());
        at += pair.len() + 1;
        if set {
            return;
        }
    }
}

fn in_target(target: &[u8], found: &mut Vec<Range<usize>>) {
    if let Some(at) = target.iter().position(|&byte| byte == b'?') {
        in_pairs(target, at + 1, found);
    }
    // Path parameters, such as ;jsessionid=.
    in_text(target, found);
}

/// Pairs joined by `&` or `;`, from `from` on: a query or a form.
fn in_pairs(bytes: &[u8], from: usize, found: &mut Vec<Range<usize>>) {
    let mut begin = from;
    for part in bytes.get(from..).unwrap_or_default().split(|&byte| byte == b'&') {
        let mut at = begin;
        for pair in part.split(|&byte| byte == b';') {
            if let Some(equals) = pair.iter().position(|&byte| byte == b'=')
                && is_secret_name(&pair[..equals])
            {
                // Up to the next `&`: a `;` may belong to a value that was not encoded. No byte is looked at twice.
                found.push(at + equals + 1..begin + part.len());
                break;
            }
            at += pair.len() + 1;
        }
        begin += part.len() + 1;
    }
}

fn in_body(content_type: &[u8], body: &[u8], found: &mut Vec<Range<usize>>) {
    let lower = content_type.to_ascii_lowercase();
    if lower.starts_with(b"application/x-www-form-urlencoded") {
        in_pairs(body, 0, found);
    }
    if let Some(boundary) = boundary(content_type).filter(|_| lower.starts_with(b"multipart/")) {
        in_parts(boundary, body, found);
    }
    in_text(body, found);
}

fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    let at = position(&content_type.to_ascii_lowercase(), b"boundary=")? + b"boundary=".len();
    let value = content_type[at..].split(|&byte| byte == b';').next()?.trim_ascii();
    let value = value.strip_prefix(b"\"").map_or(value, |value| value.strip_suffix(b"\"").unwrap_or(value));
    (!value.is_empty()).then_some(value)
}

/// Parts of a multipart body whose name is a secret's.
fn in_parts(boundary: &[u8], body: &[u8], found: &mut Vec<Range<usize>>) {
    let separator = [b"--", boundary].concat();
    let mut at = 0;
    while let Some(start) = position(&body[at..], &separator).map(|start| at + start + separator.len()) {
        let end = position(&body[start..], &separator).map_or(body.len(), |end| start + end);
        let part = &body[start..end];
        if let Some(blank) = position(part, b"\r\n\r\n") {
            let head = part[..blank].to_ascii_lowercase();
            let name = position(&head, b"name=").map(|at| &part[at + 5..blank]).unwrap_or_default();
            let name = name.strip_prefix(b"\"").unwrap_or(name);
            let name = name.split(|byte| b"\"\r\n;".contains(byte)).next().unwrap_or_default();
            if is_secret_name(name) {
                let value = &part[blank + 4..];
                let length = value.strip_suffix(b"\r\n").unwrap_or(value).len();
                found.push(start + blank + 4..start + blank + 4 + length);
            }
        }
        at = start;
    }
}

/// Names followed by a value, however the text is written: `name=value`, `"name": "value"`, `<name>value</name>`,
/// `name="Password" value="..."`.
fn in_text(bytes: &[u8], found: &mut Vec<Range<usize>>) {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.%".contains(byte);
    let mut at = 0;
    while at < bytes.len() {
        if !is_part(&bytes[at]) {
            at += 1;
            continue;
        }
        let length = bytes[at..].iter().position(|byte| !is_part(byte)).unwrap_or(bytes.len() - at);
        let name = &bytes[at..at + length];
        at += length;
        // Longer than any name: data.
        if length > 128 || !is_secret_name(name) {
            continue;
        }
        let in_tag = {
            let before = &bytes[..at - length];
            let before = before.strip_suffix(b":").map_or(before, |before| {
                let prefix = before.iter().rev().take_while(|byte| is_part(byte)).count();
                &before[..before.len() - prefix]
            });
            before.ends_with(b"<")
        };
        if let Some(value) = value_after(bytes, at, in_tag) {
            at = value.end;
            found.push(value);
        }
    }
}

/// Where the value of a name that ends at `at` stands.
fn value_after(bytes: &[u8], at: usize, in_tag: bool) -> Option<Range<usize>> {
    if in_tag {
        let start = at + bytes[at..].iter().take(1024).position(|&byte| byte == b'>')? + 1;
        let end = bytes[start..].iter().position(|&byte| byte == b'<').map_or(bytes.len(), |end| start + end);
        return Some(start..end);
    }
    let mut at = after(bytes, at, |byte| b"\"'\\]".contains(&byte));
    let separated = after(bytes, at, |byte| b" \t\r\n,".contains(&byte));
    let word = after(bytes, separated, |byte| b"\"'\\".contains(&byte));
    if separated > at && bytes[word..].get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"value")) {
        at = after(bytes, word + 5, |byte| b"\"'\\".contains(&byte));
    }
    let separator = after(bytes, at, |byte| b" \t".contains(&byte));
    let sign = *bytes.get(separator)?;
    if !b"=:".contains(&sign) {
        return None;
    }
    let start = after(bytes, separator + 1, |byte| b" \t".contains(&byte));
    let first = *bytes.get(start)?;
    let end_at = |start: usize, ends: &[u8]| {
        bytes[start..].iter().position(|byte| ends.contains(byte)).map_or(bytes.len(), |end| start + end)
    };
    Some(match first {
        b'"' | b'\'' => start + 1..end_of_quoted(bytes, start + 1, first),
        b'\\' if matches!(bytes.get(start + 1), Some(b'"' | b'\'')) => {
            // A text within a text: its quotes are escaped once more.
            start + 2..end_at(start + 2, b"\\\"'")
        }
        // Something nested: nobody knows where the secret ends.
        b'{' | b'[' => start..bytes.len(),
        _ if sign == b':' => start..end_at(start, b"\r\n\"<"),
        _ => start..end_at(start, b"& \t\r\n\"'<>"),
    })
}

fn after(bytes: &[u8], at: usize, skip: impl Fn(u8) -> bool) -> usize {
    at + bytes[at..].iter().take_while(|&&byte| skip(byte)).count()
}

fn end_of_quoted(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Percent-encoding and plus signs undone.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16)).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high << 4 | low);
                at += 3;
            }
            (b'+', ..) => {
                decoded.push(b' ');
                at += 1;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|&byte| byte == first)?;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn names_of_secrets_are_known_in_every_spelling() {
        for name in [
            "IRISPassword",
            "CSPPWD",
            "password",
            "Pass%77ord",
            "new_password",
            "AUTH_PASSWORD",
            "HTTP_AUTHORIZATION",
            "Cookie",
            "HTTP_COOKIE",
            "CSPSESSIONID-SP-80-UP-csp-",
            "CSPCHD",
            "CSPToken",
            "X-Api-Key",
            "access-token",
            "PIN",
            "client_secret",
        ] {
            assert!(is_secret_name(name.as_bytes()), "{name}");
        }
        for name in ["IRISUsername", "Username", "path", "pinned", "author", "Content-Type", "passenger", "Host"] {
            assert!(!is_secret_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn headers_lose_their_secrets_and_keep_the_rest() {
        for (name, value, expected) in [
            ("Authorization", "Basic am9lOnB3", "Basic ********"),
            ("authorization", "opaque", "********"),
            ("Cookie", "a=1; CSPSESSIONID=xyz;naked", "a=********; CSPSESSIONID=********;********"),
            ("Set-Cookie", "s=1; path=/; HttpOnly", "s=********; path=/; HttpOnly"),
            ("X-Auth-Token", "abc", "********"),
            ("Referer", "https://h/x?a=1&IRISPassword=pw&b=2", "https://h/x?a=1&IRISPassword=********&b=2"),
            ("Accept", "text/html; q=0.5", "text/html; q=0.5"),
        ] {
            assert_eq!(shown(&header(name.as_bytes(), value.as_bytes())), expected, "{name}: {value}");
        }
    }

    #[test]
    fn targets_lose_their_secrets() {
        for (given, expected) in [
            ("/csp/a?x=1&IRISPassword=pw;1&y=2", "/csp/a?x=1&IRISPassword=********&y=2"),
            ("/csp/a?Pass%57ord=pw", "/csp/a?Pass%57ord=********"),
            ("/csp/a;jsessionid=12/b", "/csp/a;jsessionid=********"),
            ("/csp/a?CSPCHD=0001&c=d", "/csp/a?CSPCHD=********&c=d"),
            ("/csp/a?q=word", "/csp/a?q=word"),
        ] {
            assert_eq!(shown(&target(given.as_bytes())), expected, "{given}");
        }
    }

    #[test]
    fn a_field_that_hides_another_is_hidden_once_so_that_no_byte_is_looked_at_twice() {
        let hostile = format!("a=1&{}&b=2", "password=x;".repeat(20_000));
        let mut found = Vec::new();
        in_pairs(hostile.as_bytes(), 0, &mut found);
        let value = "a=1&password=".len()..hostile.len() - "&b=2".len();
        assert_eq!(found, std::slice::from_ref(&value));
        found.clear();
        in_pairs(b"x=1;y=2&u=3;token=4;v=5&pwd=6", 0, &mut found);
        assert_eq!(found, [18..23, 28..29]);
    }

    #[test]
    fn bodies_lose_their_secrets_whatever_they_are_written_in() {
        let multipart = "--b\r\nContent-Disposition: form-data; name=\"IRISPassword\"\r\n\r\nHIDE me\r\nHIDE\r\n--b\r\n\
            Content-Disposition: form-data; name=\"user\"\r\n\r\njoe\r\n--b--\r\n";
        for (kind, body) in [
            ("application/x-www-form-urlencoded", "IRISUsername=joe&IRISPassword=HIDE%21&x=1"),
            ("application/x-www-form-urlencoded; charset=utf-8", "user=joe&CSPPW%44=HIDE"),
            ("application/json", r#"{"user":"joe","password" : "HI\"HIDE", "n": 1}"#),
            ("application/json", r#"{"user":"joe","token":{"deep":["HIDE"]}}"#),
            ("application/json", r#"{"user":"joe","fields":[{"name":"Password","value":"HIDE"}]}"#),
            ("text/plain", r#"user joe: "{\"password\":\"HIDE\"}""#),
            ("text/xml", "<user>joe</user><wsse:Password Type=\"text\">HIDE</wsse:Password>"),
            ("text/html", "joe <input name=\"IRISPassword\" value='HIDE'>"),
            ("text/plain", "joe\r\nAuthorization: Basic HIDE\r\n"),
            ("multipart/form-data; boundary=b", multipart),
            ("multipart/form-data; boundary=\"b\"", multipart),
            ("", "user=joe&password=HIDE"),
        ] {
            let masked = shown(&Secrets::default().mask_body(kind.as_bytes(), body.as_bytes(), false));
            assert!(!masked.contains("HIDE") && masked.contains("joe"), "{kind}: {masked}");
        }
    }

    #[test]
    fn a_secret_that_a_response_echoes_is_known_by_its_value() {
        let mut secrets = Secrets::default();
        secrets.note_header(b"Authorization", b"Basic am9lOmh1bnRlcjI=");
        secrets.note_header(b"Cookie", b"theme=dark; CSPSESSIONID=0123456789abcdef");
        secrets.note_target(b"/x?IRISPassword=a%20b%21c");
        secrets.note(b"told-by-host");
        let echo = b"am9lOmh1bnRlcjI= hunter2 dark 0123456789abcdef [a b!c] a%20b%21c told-by-host";
        let masked = shown(&secrets.mask(echo, false));
        assert_eq!(masked, "******** ******** dark ******** [********] ******** ********");
        assert_eq!(shown(&secrets.mask(b"cut in the middle: told-by", true)), "cut in the middle: ********");
    }

    #[test]
    fn a_token_has_a_fingerprint_that_tells_it_from_others_and_nothing_else() {
        assert_eq!(fingerprint(b"abc"), "#ba7816bf");
        assert_eq!(
            session_cookies(b"a=1; CSPSESSIONID-SP=x; cspchd=y"),
            [(&b"CSPSESSIONID-SP"[..], &b"x"[..]), (b"cspchd", b"y"),]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_masked_without_panic(kind: Vec<u8>, bytes: Vec<u8>, cut: bool) {
            let mut secrets = Secrets::default();
            secrets.note_body(&kind, &bytes);
            secrets.note_header(&kind, &bytes);
            let _ = secrets.mask_body(&kind, &bytes, cut);
            let _ = (header(&kind, &bytes), target(&bytes));
        }

        #[test]
        fn no_likely_text_lets_a_secret_through(
            before in "[a-z0-9 &=:;,\"'<>{}\\\\/]{0,30}",
            name in "(IRIS|csp|new_)?(password|Passwd|PWD|token)",
            sign in "(=|: ?|\" ?: ?\"|='|>)",
            after in "[a-z0-9 &=:;,\"'<>{}\\\\/]{0,30}",
        ) {
            let open = if sign == ">" { "<" } else { "\n" };
            let text = format!("{before}{open}{name}{sign}CANARY{after}");
            let masked = shown(&Secrets::default().mask_body(b"text/plain", text.as_bytes(), false));
            prop_assert!(!masked.contains("CANARY"), "{} became {}", text, masked);
        }

        #[test]
        fn a_known_value_is_gone_wherever_it_stands(before: Vec<u8>, value in "[!-~]{4,40}", after: Vec<u8>) {
            let mut secrets = Secrets::default();
            secrets.note(value.as_bytes());
            let masked = secrets.mask(&[before, value.clone().into_bytes(), after].concat(), false);
            let left = position(&masked, value.as_bytes());
            prop_assert!(left.is_none() || value.bytes().all(|byte| byte == b'*'));
        }
    }
}
