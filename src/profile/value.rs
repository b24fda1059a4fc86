//! The values that a CSP.ini may hold, one function for each kind: from the text to the type, or why not.

use std::time::Duration;

use super::application::{Alternatives, Balance};
use super::parameter::{Kind, Parameter, Verdict};
use super::secret::{Secret, Unusable};
use super::server::{KeyType, PinnedKey, Security, Verification};
use super::{Clients, ManagementPassword, Role, routing_path};
use crate::failure::Code;

/// A value read: as it should be, brought into its range (and why), or wrong (and why).
pub(super) enum Read<T> {
    Good(T),
    Adjusted(T, String),
    Wrong(String),
}

/// Reads a value as its row says, and tells only how it went.
pub(super) fn verdict(value: &str, row: &Parameter) -> Verdict {
    match row.kind {
        Kind::Text | Kind::File => Verdict::Good,
        Kind::Secret => match Secret::from_stored(value).reveal() {
            Err(Unusable::NotBase64) => Verdict::Refused(Code::PasswordUnusable),
            _ => Verdict::Good,
        },
        Kind::Address => address(value, row).verdict(),
        Kind::Status => status(value, row).verdict(),
        Kind::Switch => switch(value, row).verdict(),
        Kind::Flag => flag(value, row).verdict(),
        Kind::Number { .. } | Kind::Seconds { .. } => number(value, row).verdict(),
        Kind::Bytes { .. } => bytes(value, row).verdict(),
        Kind::Port => port(value, row).verdict(),
        Kind::SecurityLevel => match security(value, row) {
            Read::Good(Security::Kerberos(_)) => Verdict::Refused(Code::SecurityLevelUnsupported),
            other => other.verdict(),
        },
        Kind::TlsVersion => tls_version(value, row).verdict(),
        Kind::TlsVersions => match tls_versions(value, row) {
            Read::Good(sum) if sum & (16 | 32) == 0 => Verdict::Refused(Code::TlsRangeUnsupported),
            other => other.verdict(),
        },
        Kind::KeyType => key_type(value, row).verdict(),
        Kind::Alternative => alternative(value, row).verdict(),
        Kind::PinnedKey => pinned_key(value, row).verdict(),
        Kind::Clients => clients(value, row).verdict(),
        Kind::UrlPath => url_path(value, row).verdict(),
        Kind::Word(_) => word(value, row).verdict(),
    }
}

impl<T> Read<T> {
    fn verdict(self) -> Verdict {
        match self {
            Read::Good(_) => Verdict::Good,
            Read::Adjusted(_, reason) => Verdict::Adjusted(reason),
            Read::Wrong(reason) => Verdict::Wrong(reason),
        }
    }
}

/// What a line of an index section says of its name: enabled or not; `None` if it says neither.
pub fn listed(value: &str) -> Option<bool> {
    let is = |word: &str| value.eq_ignore_ascii_case(word);
    if is("Enabled") || is("1") || is("") {
        Some(true)
    } else if is("Disabled") || is("0") {
        Some(false)
    } else {
        None
    }
}

pub(super) fn text_value(value: &str, _: &Parameter) -> Read<String> {
    Read::Good(value.to_owned())
}

/// Words in small letters, separated by commas or spaces.
pub(super) fn words(value: &str, _: &Parameter) -> Read<Vec<String>> {
    let words = value.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    Read::Good(words.map(str::to_ascii_lowercase).collect())
}

pub(super) fn secret(value: &str, _: &Parameter) -> Read<Secret> {
    Read::Good(Secret::from_stored(value))
}

pub(super) fn management_password(value: &str, _: &Parameter) -> Read<ManagementPassword> {
    Read::Good(ManagementPassword::from_stored(value))
}

/// A name or address; the brackets that some write around IPv6 addresses are taken off.
pub(super) fn address(value: &str, _: &Parameter) -> Read<String> {
    let bare = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value);
    if bare.chars().any(|character| character.is_whitespace() || character.is_control()) {
        return Read::Wrong("is neither a name nor an address".into());
    }
    Read::Good(bare.to_owned())
}

/// What an address holds that belongs elsewhere; a look-up of such a name fails.
pub fn more_than_an_address(value: &str) -> Option<&'static str> {
    let holds_port = || value.split_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if value.contains('/') {
        Some("is a URL and not an address")
    } else if value.contains(['"', '\'']) {
        Some("has quotation marks, which belong to the value")
    } else if holds_port() {
        Some("has a port, which belongs into TCP_Port")
    } else {
        None
    }
}

pub(super) fn port(value: &str, _: &Parameter) -> Read<u16> {
    match value.parse() {
        Ok(port) if port > 0 => Read::Good(port),
        _ => Read::Wrong("is not a TCP port".into()),
    }
}

pub(super) fn security(value: &str, _: &Parameter) -> Read<Security> {
    match value {
        "0" => Read::Good(Security::Password),
        "1" => Read::Good(Security::Kerberos(1)),
        "2" => Read::Good(Security::Kerberos(2)),
        "3" => Read::Good(Security::Kerberos(3)),
        "4" | "10" => Read::Good(Security::Tls),
        _ => Read::Wrong("is not a security level".into()),
    }
}

pub(super) fn verification(value: &str, row: &Parameter) -> Read<Verification> {
    match word(value, row) {
        Read::Wrong(reason) => Read::Wrong(reason),
        _ if value.eq_ignore_ascii_case("chain") => Read::Good(Verification::Chain),
        _ if value.eq_ignore_ascii_case("key") => Read::Good(Verification::Key),
        _ => Read::Good(Verification::Full),
    }
}

/// Addresses of clients. What is no address names nobody.
pub(super) fn clients(value: &str, _: &Parameter) -> Read<Clients> {
    let (clients, wrong) = Clients::parse(value);
    match wrong.is_empty() {
        true => Read::Good(clients),
        false => {
            Read::Adjusted(clients, format!("holds what is no address, and admits nobody by it: {}", wrong.join(", ")))
        }
    }
}

/// A path as requests are matched by it, so that no spelling misses it.
pub(super) fn url_path(value: &str, _: &Parameter) -> Read<String> {
    let path = routing_path(value.as_bytes());
    let is_whole = value.len() > 1 && value.starts_with('/') && !value.starts_with("//") && !value.ends_with('/');
    match is_whole && path == value.as_bytes() && !value.contains(['?', '#']) {
        true => Read::Good(value.to_owned()),
        false => Read::Wrong("is no path of its own".into()),
    }
}

pub(super) fn role(value: &str, row: &Parameter) -> Read<Role> {
    match (word(value, row), Role::of(value)) {
        (Read::Wrong(reason), _) => Read::Wrong(reason),
        (_, role) => Read::Good(role.unwrap_or(Role::View)),
    }
}

pub(super) fn pinned_key(value: &str, _: &Parameter) -> Read<PinnedKey> {
    match PinnedKey::parse(value) {
        Some(key) => Read::Good(key),
        None => Read::Wrong("is no pinned key".into()),
    }
}

pub(super) fn flag(value: &str, _: &Parameter) -> Read<bool> {
    match value {
        "1" => Read::Good(true),
        "0" => Read::Good(false),
        _ => Read::Wrong("is neither 1 nor 0".into()),
    }
}

pub(super) fn number(value: &str, row: &Parameter) -> Read<u32> {
    let (Kind::Number { from, to } | Kind::Seconds { from, to }) = row.kind else {
        return Read::Wrong("is not a number".into());
    };
    let digits = value.strip_prefix('-').unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Read::Wrong("is not a whole number".into());
    }
    let number = if digits.len() < value.len() { 0 } else { digits.parse::<u32>().unwrap_or(u32::MAX) };
    let nearest = number.clamp(from, to);
    if nearest == number && digits.len() == value.len() {
        Read::Good(number)
    } else {
        Read::Adjusted(nearest, format!("is out of range; {nearest} is used"))
    }
}

pub(super) fn seconds(value: &str, row: &Parameter) -> Read<Duration> {
    match number(value, row) {
        Read::Good(seconds) => Read::Good(Duration::from_secs(seconds.into())),
        Read::Adjusted(seconds, reason) => Read::Adjusted(Duration::from_secs(seconds.into()), reason),
        Read::Wrong(reason) => Read::Wrong(reason),
    }
}

pub(super) fn tls_version(value: &str, _: &Parameter) -> Read<u32> {
    match value.parse() {
        Ok(version @ (2 | 4 | 8 | 16 | 32)) => Read::Good(version),
        _ => Read::Wrong("is not a TLS version".into()),
    }
}

/// The sum of versions; real files have a stray character behind it (`48@`).
pub(super) fn tls_versions(value: &str, _: &Parameter) -> Read<u32> {
    let end = value.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    match value[..end].parse() {
        Ok(sum) => Read::Good(sum),
        Err(_) => Read::Wrong("is not a sum of TLS versions".into()),
    }
}

pub(super) fn key_type(value: &str, _: &Parameter) -> Read<KeyType> {
    match value {
        "1" => Read::Good(KeyType::Dsa),
        "2" => Read::Good(KeyType::Rsa),
        "3" => Read::Good(KeyType::Ecdsa),
        _ => Read::Wrong("is not a key type".into()),
    }
}

pub(super) fn word(value: &str, row: &Parameter) -> Read<()> {
    let Kind::Word(words) = row.kind else { return Read::Good(()) };
    if words.iter().any(|word| word.eq_ignore_ascii_case(value)) {
        Read::Good(())
    } else {
        Read::Wrong("is not a known word here".into())
    }
}

/// `Enabled` or `Disabled`, in any case.
pub(super) fn status(value: &str, _: &Parameter) -> Read<bool> {
    match value.to_ascii_lowercase().as_str() {
        "enabled" => Read::Good(true),
        "disabled" => Read::Good(false),
        _ => Read::Wrong("is neither Enabled nor Disabled".into()),
    }
}

/// `Enabled` or `1`, `Disabled` or `0`.
pub(super) fn switch(value: &str, row: &Parameter) -> Read<bool> {
    match flag(value, row) {
        Read::Wrong(_) => status(value, row),
        read => read,
    }
}

/// Bytes, `nK` or `nM`.
pub(super) fn bytes(value: &str, row: &Parameter) -> Read<u64> {
    let Kind::Bytes { from } = row.kind else { return Read::Wrong("is not a size".into()) };
    let (digits, unit) = match value.as_bytes().last() {
        Some(b'K' | b'k') => (&value[..value.len() - 1], 1024),
        Some(b'M' | b'm') => (&value[..value.len() - 1], 1024 * 1024),
        _ => (value, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Read::Wrong("is not a size in bytes".into());
    }
    match digits.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(unit) {
        size if size < from => Read::Adjusted(from, format!("is less than the least; {}K is used", from / 1024)),
        size => Read::Good(size),
    }
}

/// Whether the alternative server is enabled, and its name.
pub(super) fn alternative(value: &str, _: &Parameter) -> Read<(bool, String)> {
    let enabled = match value.as_bytes().first() {
        Some(b'1') => true,
        Some(b'0') => false,
        _ => return Read::Wrong("does not begin with 1 or 0".into()),
    };
    let name = value[1..].trim_start_matches('~').trim();
    if !value[1..].starts_with('~') || name.is_empty() {
        return Read::Wrong("names no server".into());
    }
    Read::Good((enabled, name.to_owned()))
}

pub(super) fn balance(value: &str, row: &Parameter) -> Read<Balance> {
    match word(value, row) {
        Read::Wrong(reason) => Read::Wrong(reason),
        _ if value.eq_ignore_ascii_case("least-busy") => Read::Good(Balance::LeastBusy),
        _ => Read::Good(Balance::RoundRobin),
    }
}

pub(super) fn alternatives_for(value: &str, _: &Parameter) -> Read<Alternatives> {
    match value.to_ascii_lowercase().as_str() {
        "disabled" => Read::Good(Alternatives::Disabled),
        "failover" => Read::Good(Alternatives::FailOver),
        "loadbalancing" => Read::Good(Alternatives::LoadBalancing),
        _ => Read::Adjusted(Alternatives::Disabled, "is not a known word here; Disabled is used".into()),
    }
}
