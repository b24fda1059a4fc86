//! A worker process's connections to one server: checkout, limit, queue, idle closing.
//!
//! The right to have a connection is a value, the [`Permit`]: there are never more of them than the limit, and whoever
//! holds one gives it back by dropping it. A permit with a connection is a [`Lease`]. Nothing slow happens under the lock.

mod acquire;
pub mod caretaker;
pub mod choice;
pub mod configuration;
mod fresh;
pub mod health;
pub mod names;
pub mod rotation;
pub mod session;
pub mod view;
pub mod wake;
mod watch;
pub mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

pub use acquire::Acquire;
use fresh::{Fresh, Named};
use parking_lot::{Mutex, RwLock};
use rotation::Loaded;
use watch::{Stamps, Watched};

use crate::connection::Connection;
use crate::event_log::{Level, Log};
use crate::failure::Failure;
use crate::identity::Identity;
use crate::profile::Server;

/// The pool of one server.
#[derive(Debug)]
pub struct Pool {
    /// Replaced only by one that is served alike: its lines in the file may have moved.
    server: RwLock<Arc<Server>>,
    /// The identity that new connections are made with, or why there is none. Connections of another generation are
    /// closed when they come back.
    identity: RwLock<Result<Arc<Identity>, Failure>>,
    /// Of the latest identity, and of those that could not be used.
    generation: AtomicU64,
    /// The files that identities are read from.
    files: Mutex<Watched>,
    /// Most connections at once, idle ones included.
    maximum: usize,
    fresh: Fresh,
    log: Log,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last one was used last: it is the first to be used again, so that the others can age.
    idle: Vec<Idle>,
    /// Connections and the permits for those being made.
    open: usize,
    /// First come, first served.
    waiting: VecDeque<Arc<Waiting>>,
    /// Why the last connection could not be made, for whoever waits in vain.
    last_failure: Option<Failure>,
    /// The configuration has moved on: connections that come back are closed.
    retired: bool,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// The right to one connection of a pool.
#[derive(Debug)]
pub struct Permit {
    pool: Arc<Pool>,
    /// The connection went back into the pool and is counted there.
    handed_on: bool,
}

/// A connection taken out of the pool.
#[derive(Debug)]
pub struct Lease {
    pub connection: Connection,
    pub permit: Permit,
    /// It has served before, so the server may have given it up since.
    pub reused: bool,
}

/// What a checkout gives.
#[derive(Debug)]
pub enum Checkout {
    Idle(Box<Lease>),
    /// Make a connection.
    Open(Permit),
    /// Every connection is in use; the ticket tells when one is free.
    Wait(Ticket),
}

/// A place in the queue. Dropping it gives the place up.
#[derive(Debug)]
pub struct Ticket {
    pool: Arc<Pool>,
    waiting: Arc<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    turn: Mutex<Turn>,
    waker: Waker,
}

#[derive(Debug)]
enum Turn {
    Waiting,
    /// It may look for a connection again: one was returned for it, or it may make one.
    Granted(Grant),
    Taken,
}

#[derive(Debug)]
enum Grant {
    Connection(Box<Connection>),
    Permit,
}

/// Numbers of a pool at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub idle: usize,
    pub open: usize,
    pub waiting: usize,
}

impl Pool {
    /// An empty pool. `limit` is the limit for all servers together, which holds where the server has none of its own.
    pub fn new(server: Arc<Server>, loaded: Loaded, limit: u32, log: Log) -> Arc<Pool> {
        let maximum = server.maximum_connections.unwrap_or(limit).max(1) as usize;
        let fresh = Fresh::new(server.maximum_age);
        let generation = loaded.identity.as_ref().map_or(0, |identity| identity.generation);
        Arc::new(Pool {
            server: RwLock::new(server),
            identity: RwLock::new(loaded.identity),
            generation: AtomicU64::new(generation),
            files: Mutex::new(loaded.files),
            maximum,
            fresh,
            log,
            state: Mutex::default(),
        })
    }

    /// The server's profile.
    pub fn server(&self) -> Arc<Server> {
        self.server.read().clone()
    }

    /// Replaces the profile by one that is served alike.
    pub(super) fn set_server(&self, server: Arc<Server>) {
        *self.server.write() = server;
    }

    /// Whether connections of this pool can go on serving a server with this profile and identity.
    pub(super) fn serves_like(&self, server: &Server, identity: &Result<Arc<Identity>, Failure>) -> bool {
        let same_identity = match (&self.identity(), identity) {
            (Ok(one), Ok(other)) => one.fingerprint == other.fingerprint,
            (Err(one), Err(other)) => one.code == other.code,
            _ => false,
        };
        same_identity && self.server().serves_like(server)
    }

    /// Closes idle connections now and the others when they come back. Whoever waits in the queue is still served.
    pub(super) fn retire(&self) {
        self.state.lock().retired = true;
        self.close_all();
    }

    /// The identity that new connections are made with, or why there is none.
    pub fn identity(&self) -> Result<Arc<Identity>, Failure> {
        self.identity.read().clone()
    }

    /// The number for an identity that is about to be loaded.
    pub(super) fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether the files of the identity, which look like this now, have changed and come to rest.
    fn files_are_due(&self, now: Stamps) -> bool {
        self.files.lock().is_due(now)
    }

    /// Goes over to another identity, or to having none: new connections are made with it, idle ones made with the old
    /// one are closed now, the others when they come back. Places in the queue stay.
    pub(super) fn rotate(&self, identity: Result<Arc<Identity>, Failure>) {
        *self.identity.write() = identity;
        self.close_all();
    }

    /// Whether a connection was made with the identity in force, to an address that the server still has, not too long
    /// ago.
    fn is_current(&self, connection: &Connection) -> bool {
        self.identity.read().as_ref().is_ok_and(|identity| identity.generation == connection.facts().generation)
            && self.fresh.admits(connection)
    }

    /// The addresses that the server's name has now: connections to others serve no further request.
    fn set_named(&self, named: Named) {
        self.fresh.set_named(named);
    }

    /// Closes idle connections that may not serve any more, whatever the minimum.
    fn close_outdated(&self) {
        let mut state = self.state.lock();
        let (idle, closing): (Vec<Idle>, Vec<Idle>) =
            std::mem::take(&mut state.idle).into_iter().partition(|idle| self.is_current(&idle.connection));
        state.idle = idle;
        state.open -= closing.len();
        drop(state);
        closing.into_iter().for_each(|idle| idle.connection.close());
    }

    /// Takes a connection, the right to make one, or a place in the queue. `waker` is woken when the place's turn comes.
    pub fn checkout(self: &Arc<Pool>, waker: &Waker) -> Checkout {
        let mut state = self.state.lock();
        if let Some(idle) = state.idle.pop() {
            drop(state);
            let permit = Permit::of(self);
            return Checkout::Idle(Box::new(Lease { connection: idle.connection, permit, reused: true }));
        }
        if state.open < self.maximum {
            state.open += 1;
            return Checkout::Open(Permit::of(self));
        }
        let waiting = Arc::new(Waiting { turn: Mutex::new(Turn::Waiting), waker: waker.clone() });
        state.waiting.push_back(waiting.clone());
        Checkout::Wait(Ticket { pool: self.clone(), waiting })
    }

    /// Remembers why no connection could be made.
    pub fn note_failure(&self, failure: &Failure) {
        self.state.lock().last_failure = Some(failure.clone());
    }

    /// A connection has been made: forgets the last failure, and reports what verification found but let pass.
    pub fn note_success(&self) {
        self.state.lock().last_failure = None;
        if let Some(warning) = self.identity().ok().and_then(|identity| identity.new_standing_warning()) {
            self.log.write(Level::Warning, &warning);
        }
    }

    /// Why the last attempt to connect failed, if none has succeeded since.
    pub fn last_failure(&self) -> Option<Failure> {
        self.state.lock().last_failure.clone()
    }

    /// Closes idle connections that may not serve any more, and those that have idled too long, except of the latter as
    /// many as the minimum asks to keep.
    pub fn close_idle(&self, now: Instant) {
        self.close_outdated();
        let server = self.server();
        let Some(timeout) = server.idle_timeout else { return };
        let mut state = self.state.lock();
        let spare = state.open.saturating_sub(server.minimum_connections as usize);
        let old = state.idle.iter().take_while(|idle| now.saturating_duration_since(idle.since) >= timeout).count();
        let closing: Vec<Idle> = state.idle.drain(..old.min(spare)).collect();
        state.open -= closing.len();
        drop(state);
        closing.into_iter().for_each(|idle| idle.connection.close());
    }

    /// Closes every idle connection; the others are closed when they come back, because the pool goes away.
    pub fn close_all(&self) {
        let mut state = self.state.lock();
        let closing = std::mem::take(&mut state.idle);
        state.open -= closing.len();
        drop(state);
        closing.into_iter().for_each(|idle| idle.connection.close());
    }

    pub fn counts(&self) -> Counts {
        let state = self.state.lock();
        Counts { idle: state.idle.len(), open: state.open, waiting: state.waiting.len() }
    }

    /// How often idle connections are to be looked at.
    pub fn idle_period(&self) -> Option<Duration> {
        let periods = self.server().idle_timeout.map(|timeout| timeout / 4).into_iter().chain(self.fresh.period());
        Some(periods.min()?.clamp(Duration::from_millis(250), Duration::from_secs(60)))
    }

    /// Gives what has become free to the first in the queue that still waits.
    fn pass_on(&self, mut grant: Grant) {
        loop {
            let mut state = self.state.lock();
            // Looked at under the lock, which a rotation takes after it has set the identity.
            if let Grant::Connection(connection) = grant {
                if !self.is_current(&connection) {
                    drop(state);
                    connection.close();
                    grant = Grant::Permit;
                    continue;
                }
                grant = Grant::Connection(connection);
            }
            let Some(next) = state.waiting.pop_front() else {
                match grant {
                    Grant::Connection(connection) if state.retired => {
                        state.open -= 1;
                        drop(state);
                        connection.close();
                    }
                    Grant::Connection(connection) => {
                        state.idle.push(Idle { connection: *connection, since: Instant::now() });
                    }
                    Grant::Permit => state.open -= 1,
                }
                return;
            };
            drop(state);
            grant = match next.accept(grant) {
                None => return,
                Some(grant) => grant,
            };
        }
    }
}

impl Waiting {
    /// Takes the grant and wakes the waiter; gives the grant back if the waiter has left.
    fn accept(&self, grant: Grant) -> Option<Grant> {
        let mut turn = self.turn.lock();
        match *turn {
            Turn::Waiting => *turn = Turn::Granted(grant),
            Turn::Granted(_) | Turn::Taken => return Some(grant),
        }
        drop(turn);
        self.waker.wake_by_ref();
        None
    }
}

impl Ticket {
    /// What this place has got; `None` while it waits.
    pub fn take(&self) -> Option<Checkout> {
        let mut turn = self.waiting.turn.lock();
        match std::mem::replace(&mut *turn, Turn::Taken) {
            Turn::Waiting => {
                *turn = Turn::Waiting;
                None
            }
            Turn::Taken => None,
            Turn::Granted(grant) => {
                let permit = Permit::of(&self.pool);
                Some(match grant {
                    Grant::Permit => Checkout::Open(permit),
                    Grant::Connection(connection) => {
                        Checkout::Idle(Box::new(Lease { connection: *connection, permit, reused: true }))
                    }
                })
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let turn = std::mem::replace(&mut *self.waiting.turn.lock(), Turn::Taken);
        match turn {
            Turn::Granted(grant) => self.pool.pass_on(grant),
            Turn::Waiting => self.pool.state.lock().waiting.retain(|other| !Arc::ptr_eq(other, &self.waiting)),
            Turn::Taken => {}
        }
    }
}

impl Permit {
    fn of(pool: &Arc<Pool>) -> Permit {
        Permit { pool: pool.clone(), handed_on: false }
    }

    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Gives the connection back for the next request; one that is not settled is closed.
    pub fn put_back(mut self, mut connection: Connection) {
        if !connection.is_settled() {
            return;
        }
        connection.rest();
        self.handed_on = true;
        self.pool.pass_on(Grant::Connection(Box::new(connection)));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.handed_on {
            self.pool.pass_on(Grant::Permit);
        }
    }
}
