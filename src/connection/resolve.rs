//! Names to addresses without blocking: literals at once, names through a [`Resolver`], which remembers them or has them
//! looked up elsewhere.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;

/// The addresses of a name, in the order in which they are to be tried; their port is 0. At least one.
pub type Addresses = Arc<[SocketAddr]>;

/// Where the addresses of names come from.
pub trait Resolver: Send + Sync {
    /// The addresses of `host`, at once if they are known; `waker` is woken when a look-up that is under way has ended.
    /// `interval`: after this time addresses are looked up again, in the background; with 0 at each call.
    fn resolve(&self, host: &str, interval: Duration, waker: &Waker) -> Arc<Lookup>;

    /// No connection came about to these addresses of `host`, or another one was faster.
    fn note_silent(&self, _host: &str, _silent: &[SocketAddr]) {}
}

/// A name whose addresses are wanted, and later the addresses.
#[derive(Debug)]
pub struct Lookup(Mutex<State>);

#[derive(Debug)]
enum State {
    /// Who is to be woken when the addresses are known.
    Pending(Vec<Waker>),
    Done(Result<Addresses, String>),
}

/// The most addresses of a name that are kept; a name server may send thousands.
const MOST_ADDRESSES: usize = 16;

/// The address, if `host` is a literal IPv4 or IPv6 address (without brackets).
pub fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, port))
}

/// Asks the system's resolver, which may take long: it heeds `/etc/hosts`, the order of preference of RFC 6724, and
/// everything else that `nsswitch.conf` names. It does not tell how long its answer holds.
///
/// # Errors
///
/// Why there are no addresses, in the resolver's words.
pub fn look_up(host: &str) -> Result<Vec<SocketAddr>, String> {
    (host, 0).to_socket_addrs().map(Iterator::collect).map_err(|error| error.to_string())
}

/// The order of RFC 8305, section 4: the families take turns, and the one that the resolver prefers begins; within a
/// family the resolver's order stays.
pub fn take_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first = addresses.first().map(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|it| Some(it.is_ipv6()) == first);
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    let mut ordered = Vec::with_capacity(addresses.len());
    while ordered.len() < addresses.len() {
        ordered.extend(preferred.next());
        ordered.extend(others.next());
    }
    ordered
}

impl Lookup {
    /// A look-up that is under way.
    pub fn pending() -> Arc<Lookup> {
        Arc::new(Lookup(Mutex::new(State::Pending(Vec::new()))))
    }

    /// A look-up that has ended.
    pub fn done(result: Result<Addresses, String>) -> Arc<Lookup> {
        Arc::new(Lookup(Mutex::new(State::Done(result))))
    }

    /// Has `waker` woken at the end.
    pub fn join(&self, waker: &Waker) {
        if let State::Pending(wakers) = &mut *self.0.lock() {
            wakers.push(waker.clone());
        }
    }

    /// Ends it, and wakes whoever waits.
    pub fn finish(&self, result: Result<Addresses, String>) {
        let before = std::mem::replace(&mut *self.0.lock(), State::Done(result));
        if let State::Pending(wakers) = before {
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// The addresses, or why there are none; `None` while the look-up is under way.
    pub fn result(&self) -> Option<Result<Addresses, String>> {
        match &*self.0.lock() {
            State::Pending(_) => None,
            State::Done(result) => Some(result.clone()),
        }
    }
}

/// What a look-up gave, in the order in which the addresses are to be tried.
///
/// # Errors
///
/// Why there is no address.
pub fn to_addresses(found: Result<Vec<SocketAddr>, String>) -> Result<Addresses, String> {
    let mut ordered = take_turns(&found?);
    let mut seen = std::collections::HashSet::new();
    ordered.retain(|address| seen.insert(*address));
    ordered.truncate(MOST_ADDRESSES);
    if ordered.is_empty() { Err("the name has no address".to_owned()) } else { Ok(ordered.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<SocketAddr> {
        text.split_whitespace().map(|host| literal(host, 0).expect(host)).collect()
    }

    #[test]
    fn the_families_take_turns_and_the_preferred_one_begins() {
        for (found, ordered) in [
            ("", ""),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.2 10.0.0.1", "10.0.0.2 10.0.0.1"),
            ("::1 ::2 10.0.0.1 10.0.0.2", "::1 10.0.0.1 ::2 10.0.0.2"),
            ("10.0.0.1 10.0.0.2 10.0.0.3 ::1", "10.0.0.1 ::1 10.0.0.2 10.0.0.3"),
            ("::1 10.0.0.1 10.0.0.2 10.0.0.3 ::2", "::1 10.0.0.1 ::2 10.0.0.2 10.0.0.3"),
        ] {
            assert_eq!(take_turns(&addresses(found)), addresses(ordered), "{found}");
        }
    }

    #[test]
    fn an_answer_of_any_length_becomes_a_few_different_addresses() {
        let many: Vec<SocketAddr> =
            (0..5000).map(|n| SocketAddr::from(([10, 0, (n / 200) as u8, n as u8], 0))).collect();
        assert_eq!(to_addresses(Ok(many)).unwrap().len(), MOST_ADDRESSES);
        assert_eq!(*to_addresses(Ok(addresses("::1 ::1 10.0.0.1"))).unwrap(), addresses("::1 10.0.0.1"));
        assert_eq!(to_addresses(Ok(Vec::new())), Err("the name has no address".to_owned()));
    }
}
