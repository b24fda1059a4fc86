//! Names to addresses without blocking: literals at once, names through whoever runs the look-ups (the caretaker).

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

/// A name whose addresses are wanted, and later the addresses.
#[derive(Debug)]
pub struct Lookup {
    host: String,
    port: u16,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Who is to be woken when the addresses are known.
    Pending(Waker),
    Done(Result<Vec<SocketAddr>, String>),
}

/// Runs look-ups somewhere else than on the caller's thread.
pub trait Resolver: Send + Sync {
    /// Takes a look-up over; [`Lookup::run`] has to be called for it soon.
    fn submit(&self, lookup: Arc<Lookup>);
}

/// The address, if `host` is a literal IPv4 or IPv6 address (without brackets).
pub fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, port))
}

impl Lookup {
    /// A look-up that wakes `waker` when it is done.
    pub fn new(host: &str, port: u16, waker: Waker) -> Arc<Lookup> {
        Arc::new(Lookup { host: host.to_owned(), port, state: Mutex::new(State::Pending(waker)) })
    }

    /// Asks the system's resolver, which may take long, and wakes whoever waits.
    pub fn run(&self) {
        let found: io::Result<Vec<SocketAddr>> =
            (self.host.as_str(), self.port).to_socket_addrs().map(Iterator::collect);
        let done = State::Done(found.map_err(|error| error.to_string()));
        let before = std::mem::replace(&mut *self.state.lock(), done);
        if let State::Pending(waker) = before {
            waker.wake();
        }
    }

    /// The addresses, or why there are none; `None` while the look-up runs.
    pub fn result(&self) -> Option<Result<Vec<SocketAddr>, String>> {
        match &*self.state.lock() {
            State::Pending(_) => None,
            State::Done(result) => Some(result.clone()),
        }
    }
}
