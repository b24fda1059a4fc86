//! A worker process's connections to one server: checkout, limits, queue, idle closing.
//!
//! The right to have a connection is a value, the [`Permit`]. It stands for rights in the ledger, of which all workers
//! together have no more than the limits allow, and whoever holds one gives it back by dropping it. A permit with a
//! connection is a [`Lease`]. Nothing slow happens under the lock.
//!
//! What becomes free goes to whoever has waited longest: first in this pool's queue, unless a request of another worker
//! has waited clearly longer. A connection cannot change its process; it is closed, and its right passed on. A pool whose
//! requests wait also asks for idle connections of other workers.

mod acquire;
mod budget;
pub mod caretaker;
pub mod choice;
pub mod configuration;
pub mod errand;
mod fresh;
pub mod health;
mod lines;
pub mod names;
pub mod plan;
mod probe;
pub mod rotation;
pub mod session;
mod upkeep;
pub mod view;
pub mod wake;
mod watch;
pub mod worker;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

pub use acquire::Acquire;
pub use budget::Budget;
use choice::{Candidate, Mode};
use fresh::{Fresh, Named};
use health::{Admission, Event, Health, Policy, Wish};
use lines::Lines;
pub use lines::PlaceInLine;
use parking_lot::{Mutex, RwLock};
use rotation::Loaded;
use rustls::HandshakeKind;
use watch::{Stamps, Watched};

use crate::connection::diagnosis::{self, Stage};
use crate::connection::opening::describe_server;
use crate::connection::{Connection, TalkError};
use crate::event_log::{Event as LogEvent, Level, Log, kinds};
use crate::failure::{Code, Failure};
use crate::identity::Identity;
use crate::ledger::{
    self, Counter, InsteadOf, Lacking, Limits, Line, Member, Rights, ServerRow, Turn, now_ms, wall_clock,
};
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
    /// Those of the profile that it was made with: whatever is served alike has the same.
    limits: Limits,
    member: Arc<Member>,
    /// The server's row in the ledger.
    row: usize,
    /// Whether a path has other servers besides this one, so that it can be left out.
    has_alternatives: AtomicBool,
    /// Its queue, among those of this worker.
    line: Line,
    fresh: Fresh,
    log: Log,
    state: Mutex<State>,
    /// Requests that wait because their session has all the connections that it may have.
    sessions: Arc<Lines>,
}

#[derive(Debug, Default)]
struct State {
    /// The last one was used last: it is the first to be used again, so that the others can age.
    idle: Vec<Idle>,
    /// Connections and the permits for those being made.
    open: usize,
    /// First come, first served.
    waiting: VecDeque<Arc<Waiting>>,
    /// Which limit those who wait have met.
    lacking: Option<Lacking>,
    /// The sockets of connections, for the caretaker to interrupt them.
    sockets: Vec<(u32, Weak<OwnedFd>)>,
    /// Why the last connection could not be made, for whoever waits in vain.
    last_failure: Option<Failure>,
    /// The configuration has moved on: connections that come back are closed.
    retired: bool,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    rights: Rights,
}

/// The right to one connection of a pool.
#[derive(Debug)]
pub struct Permit {
    pool: Arc<Pool>,
    /// `None` once they have gone back into the pool.
    rights: Option<Rights>,
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
    /// As many requests wait already as may.
    Full,
}

/// A place in the queue. Dropping it gives the place up.
#[derive(Debug)]
pub struct Ticket {
    pool: Arc<Pool>,
    waiting: Arc<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    place: Mutex<Place>,
    waker: Waker,
    /// Since when, in the ledger's time.
    since: u64,
}

#[derive(Debug)]
enum Place {
    Waiting,
    /// It may look for a connection again: one was returned for it, or it may make one.
    Granted(Grant),
    Left,
}

#[derive(Debug)]
enum Grant {
    Connection(Box<Connection>, Rights),
    Permit(Rights),
}

/// A request that a server is answering, or is to answer as soon as there is a connection. Dropping it ends it.
#[derive(Debug)]
pub struct Serving {
    pool: Arc<Pool>,
}

/// One of the connections that a session may use at once. Dropping it gives it back.
#[derive(Debug)]
pub struct SessionTurn {
    pool: Arc<Pool>,
    session: u64,
    /// `None` if there is nothing to give back.
    number: Option<u32>,
}

/// What asking for a turn gives.
#[derive(Debug)]
pub enum Asked {
    Taken(SessionTurn),
    /// The session's turns are all taken, and this is the place in its line. `waker` is woken when it is worth asking again.
    Wait(PlaceInLine),
    /// More requests wait than may.
    Full,
}

/// Numbers of a pool at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub idle: usize,
    pub open: usize,
    pub waiting: usize,
}

impl Pool {
    /// An empty pool. `limit` is the limit for all servers together.
    ///
    /// # Errors
    ///
    /// If the ledger has no row for another server.
    pub fn new(
        server: Arc<Server>,
        loaded: Loaded,
        limit: u32,
        member: &Arc<Member>,
        log: Log,
    ) -> Result<Arc<Pool>, Failure> {
        let generation = loaded.identity.as_ref().map_or(0, |identity| identity.generation);
        let Some(row) = member.ledger().server(&server.name) else {
            let what =
                format!("server {}: the gateway has heard of {} servers since its start", server.name, ledger::SERVERS);
            return Err(Failure::new(Code::ConfigurationInvalid, format!("{what}, which is the most; restart it")));
        };
        let fresh = Fresh::new(server.maximum_age);
        let limits = Limits { server: server.maximum_connections, all: limit };
        Ok(Arc::new(Pool {
            server: RwLock::new(server),
            identity: RwLock::new(loaded.identity),
            generation: AtomicU64::new(generation),
            files: Mutex::new(loaded.files),
            limits,
            member: member.clone(),
            row,
            has_alternatives: AtomicBool::new(false),
            line: member.new_line(),
            fresh,
            log,
            state: Mutex::default(),
            sessions: Arc::default(),
        }))
    }

    /// This worker's part in the ledger.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// The number of the server's row in the ledger.
    pub fn row(&self) -> usize {
        self.row
    }

    fn server_row(&self) -> &ServerRow {
        self.member.server_row(self.row)
    }

    /// The server's profile.
    pub fn server(&self) -> Arc<Server> {
        self.server.read().clone()
    }

    /// Replaces the profile by one that is served alike.
    pub(super) fn set_server(&self, server: Arc<Server>) {
        *self.server.write() = server;
    }

    fn set_alternatives(&self, has_alternatives: bool) {
        self.has_alternatives.store(has_alternatives, Ordering::Relaxed);
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

    /// Goes over to having no identity, unless it is another one now. Whether it was this one.
    pub(super) fn end_identity(&self, identity: &Arc<Identity>, why: &Failure) -> bool {
        let mut current = self.identity.write();
        if !current.as_ref().is_ok_and(|current| Arc::ptr_eq(current, identity)) {
            return false;
        }
        *current = Err(why.clone());
        drop(current);
        self.close_all();
        true
    }

    /// Whether a connection was made with the identity in force, which has not ended (the caretaker, who ends it, may be
    /// late), to an address that the server still has, not too long ago.
    fn is_current(&self, connection: &Connection) -> bool {
        let current = |identity: &Arc<Identity>| {
            identity.generation == connection.facts().generation && !identity.has_ended(wall_clock())
        };
        self.identity.read().as_ref().is_ok_and(current) && self.fresh.admits(connection)
    }

    /// The addresses that the server's name has now: connections to others serve no further request.
    fn set_named(&self, named: Named) {
        self.fresh.set_named(named);
    }

    /// Whether a connection may serve another request.
    fn may_serve(&self, connection: &Connection, rights: &Rights) -> bool {
        let row = self.member.connection(rights);
        self.is_current(connection) && !row.is_to_close() && !self.server_row().is_from_before_restart(row.opened_at())
    }

    /// Takes a connection, the right to make one, or a place in the queue. `waker` is woken when the place's turn comes.
    pub fn checkout(self: &Arc<Pool>, waker: &Waker) -> Checkout {
        loop {
            let mut state = self.state.lock();
            if let Some(Idle { connection, rights, .. }) = state.idle.pop() {
                drop(state);
                if !self.may_serve(&connection, &rights) {
                    connection.close();
                    self.pass_on(Grant::Permit(rights));
                    continue;
                }
                self.member.connection(&rights).busy(now_ms());
                let permit = self.permit(rights);
                return Checkout::Idle(Box::new(Lease { connection: *connection, permit, reused: true }));
            }
            let mut lacking = state.lacking.unwrap_or(Lacking::Server);
            if state.waiting.is_empty() {
                match self.member.claim(self.row, self.limits) {
                    Ok(rights) => {
                        state.open += 1;
                        return Checkout::Open(self.permit(rights));
                    }
                    Err(reason) => lacking = reason,
                }
            }
            let server = self.server();
            if server.queue_limit.is_some_and(|most| state.waiting.len() >= most as usize) {
                return Checkout::Full;
            }
            let place = Mutex::new(Place::Waiting);
            let waiting = Arc::new(Waiting { place, waker: waker.clone(), since: now_ms() });
            state.waiting.push_back(waiting.clone());
            state.lacking = Some(lacking);
            self.announce(&state);
            drop(state);
            self.member.count(self.row, Counter::Queued);
            // What became free before others could see that somebody waits here.
            self.serve_waiting();
            self.member.ask_for_idle(self.row, lacking);
            // While requests wait, the caretaker looks more often.
            self.member.ring();
            return Checkout::Wait(Ticket { pool: self.clone(), waiting });
        }
    }

    /// The right to make a connection that no request has asked for, such as a check's; `None` if there is none to spare.
    pub fn spare_permit(self: &Arc<Pool>) -> Option<Permit> {
        let mut state = self.state.lock();
        if !state.waiting.is_empty() {
            return None;
        }
        let rights = self.member.claim(self.row, self.limits).ok()?;
        state.open += 1;
        Some(self.permit(rights))
    }

    fn permit(self: &Arc<Pool>, rights: Rights) -> Permit {
        Permit { pool: self.clone(), rights: Some(rights) }
    }

    /// Tells the other workers how many wait here, and since when.
    fn announce(&self, state: &State) {
        match (state.waiting.front(), state.lacking) {
            (Some(first), Some(lacking)) => {
                self.member.wait(self.line, self.row, lacking, state.waiting.len(), first.since);
            }
            _ => self.member.stop_waiting(self.line, self.row),
        }
    }

    /// Gives those who wait what other workers have passed on or freed. Done by the caretaker too, from time to time,
    /// because a worker that was killed rings nobody.
    pub fn serve_waiting(&self) {
        loop {
            let mut state = self.state.lock();
            if state.waiting.is_empty() {
                if state.lacking.take().is_some() {
                    self.member.stop_waiting(self.line, self.row);
                    self.member.return_grants();
                }
                return;
            }
            self.announce(&state);
            let since = state.waiting.front().map_or(0, |first| first.since);
            if !self.member.comes_first(self.row, since) {
                // What was passed to this worker is another pool's. The caretaker serves all of them in their turn.
                return;
            }
            let rights = match self.member.collect(self.row, self.limits) {
                Ok(rights) => rights,
                Err(lacking) if state.lacking == Some(lacking) => return,
                Err(lacking) => {
                    // What was lacking is there, and something else is not: other workers have to know.
                    state.lacking = Some(lacking);
                    self.announce(&state);
                    drop(state);
                    self.member.ask_for_idle(self.row, lacking);
                    continue;
                }
            };
            state.open += 1;
            let next = state.waiting.pop_front();
            drop(state);
            if let Some(grant) = next.and_then(|next| next.accept(Grant::Permit(rights))) {
                self.pass_on(grant);
            }
        }
    }

    /// While requests wait, asks other workers again and again for connections that have begun to idle.
    fn ask_for_idle(&self) {
        let lacking = self.state.lock().lacking;
        lacking.into_iter().for_each(|lacking| self.member.ask_for_idle(self.row, lacking));
    }

    /// Lets the first of each session try again who wait for their own session: a turn may have ended in another worker.
    pub fn serve_sessions(&self) {
        self.sessions.wake_all();
    }

    /// Takes one of the turns of a session; see [`Maximum_Session_Connections`](Server::maximum_session_connections).
    /// `place` is what asking before has given.
    pub fn take_turn(self: &Arc<Pool>, session: u64, waker: &Waker, place: Option<PlaceInLine>) -> Asked {
        let server = self.server();
        let session = session ^ (self.row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let take = || {
            let number = match self.member.take_turn(session, server.maximum_session_connections) {
                Turn::Taken(number) => Some(number),
                Turn::Free => None,
                Turn::Wait => return None,
            };
            Some(SessionTurn { pool: self.clone(), session, number })
        };
        let place = match place {
            Some(place) => place,
            None if self.sessions.is_free(session)
                && let Some(turn) = take() =>
            {
                return Asked::Taken(turn);
            }
            None => match self.sessions.join(session, waker, server.queue_limit) {
                Some(place) => place,
                None => return Asked::Full,
            },
        };
        // Also just after joining: the turn that ended before that has woken nobody.
        if place.is_first()
            && let Some(turn) = take()
        {
            return Asked::Taken(turn);
        }
        // While requests wait, the caretaker looks more often.
        self.member.ring();
        Asked::Wait(place)
    }

    /// Since when the oldest request waits here.
    fn waits_since(&self) -> Option<u64> {
        self.state.lock().waiting.front().map(|first| first.since)
    }

    /// Whether requests wait here.
    pub fn has_waiting(&self) -> bool {
        self.state.lock().lacking.is_some() || !self.sessions.is_empty()
    }

    /// Remembers why no connection could be made.
    pub fn note_failure(&self, failure: &Failure) {
        self.member.count(self.row, Counter::NotOpened);
        self.state.lock().last_failure = Some(failure.clone());
    }

    /// A connection has been made: forgets the last failure, and reports what verification found but let pass.
    pub fn note_success(&self, connection: &Connection, permit: &Permit) {
        if let Some(rights) = &permit.rights {
            let process = connection.conversation().process.parse().unwrap_or(0);
            let row = self.member.connection(rights);
            // Its login was answered after whatever smelled of a restart, also within one tick of the clock.
            let opened = now_ms().max(self.server_row().restarted() + 1);
            row.opened(process, connection.facts().generation, opened);
            let mut state = self.state.lock();
            state.last_failure = None;
            if state.sockets.len() > 2 * state.open {
                state.sockets.retain(|(_, socket)| socket.strong_count() > 0);
            }
            state.sockets.push((rights.seat(), connection.socket()));
        }
        self.member.count(self.row, Counter::Opened);
        match connection.handshake() {
            Some(HandshakeKind::Resumed) => self.member.count(self.row, Counter::Resumptions),
            Some(_) => self.member.count(self.row, Counter::Handshakes),
            None => {}
        }
        if let Some(warning) = self.identity().ok().and_then(|identity| identity.new_standing_warning()) {
            let server = self.server();
            let event = LogEvent::new(Level::Warning, kinds::CERTIFICATE, "Verification").details(&warning);
            self.log.tell(event.server(&server.name));
        }
    }

    /// Why the last attempt to connect failed, if none has succeeded since.
    pub fn last_failure(&self) -> Option<Failure> {
        self.state.lock().last_failure.clone()
    }

    /// Closes connections that have idled too long, except as many over all workers as the minimum asks to keep, and
    /// those that are not to be used again.
    pub fn close_idle(&self) {
        let server = self.server();
        let minimum = if server.timeout_all_connections { 0 } else { server.minimum_connections as usize };
        let now = now_ms();
        let idles_for = |idle: &Idle| now.saturating_sub(self.member.connection(&idle.rights).since());
        let is_old = |idle: &Idle| server.idle_timeout.is_some_and(|timeout| idles_for(idle) >= ledger::in_ms(timeout));
        let is_spare = |idle: &Idle| minimum == 0 || self.member.rank(self.row, idle.rights.seat()) >= minimum;
        let mut closing = Vec::new();
        let mut state = self.state.lock();
        for at in (0..state.idle.len()).rev() {
            let idle = &state.idle[at];
            if !self.may_serve(&idle.connection, &idle.rights) || is_old(idle) && is_spare(idle) {
                closing.push(state.idle.remove(at));
            }
        }
        drop(state);
        self.tell_closing(closing.len(), "idle for No_Activity_Timeout, or not to be used again");
        self.close(closing);
    }

    /// Cuts the connections that somebody wants to be interrupted in the middle of their request.
    pub fn interrupt(&self) {
        let mut state = self.state.lock();
        state.sockets.retain(|(_, socket)| socket.strong_count() > 0);
        for (seat, socket) in &state.sockets {
            if self.member.ledger().connection(*seat).is_to_interrupt()
                && let Some(socket) = socket.upgrade()
            {
                // Whoever has the connection finds it closed.
                let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Both);
            }
        }
    }

    /// Closes every idle connection; the others are closed when they come back, because the pool goes away.
    pub fn close_all(&self) {
        let closing = std::mem::take(&mut self.state.lock().idle);
        self.tell_closing(closing.len(), "the pool gives all of them up");
        self.close(closing);
    }

    fn close(&self, connections: Vec<Idle>) {
        for Idle { connection, rights, .. } in connections {
            connection.close();
            self.pass_on(Grant::Permit(rights));
        }
    }

    /// What is known of the server now, for choosing among several.
    pub(crate) fn candidate(&self, mode: Mode, now: u64) -> Candidate {
        let server = self.server.read();
        let row = self.server_row();
        Candidate {
            mark: server.mark,
            wish: Wish::from(row.wish.load(Ordering::Relaxed)),
            admission: match mode {
                Mode::Single => Admission::Normal,
                _ => Health::unpack(row.health.load(Ordering::Acquire)).admits(now, &Policy::of(&server)),
            },
            weight: server.weight,
            busy: if mode == Mode::LeastBusy { self.member.busy(self.row) } else { 0 },
        }
    }

    /// Claims the trial of an ejected server for one check; `false` if somebody else has it, or it is not time.
    fn claim_trial(&self) -> bool {
        let policy = Policy::of(&self.server());
        let word = &self.server_row().health;
        let now = word.load(Ordering::Acquire);
        Health::unpack(now).claim(ledger::now_ms(), &policy).is_some_and(|claimed| {
            word.compare_exchange(now, claimed.pack(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// Whether it is this worker's turn to check the server: an ejected one when its trial is due, another one each
    /// `Sclera_Health_Interval`, if there is one. Whoever gets `true` has to check it.
    fn is_due_for_check(&self) -> bool {
        let row = self.server_row();
        match (Wish::from(row.wish.load(Ordering::Relaxed)), self.is_ejected()) {
            (Wish::Disabled, _) => false,
            (_, true) => self.claim_trial(),
            (_, false) => {
                let interval = self.server().health_interval;
                interval.is_some_and(|interval| row.claim_probe(now_ms(), ledger::in_ms(interval)))
            }
        }
    }

    /// Tells all workers what happened to the server.
    pub fn tell(&self, event: Event) {
        let server = self.server();
        let policy = Policy::of(&server);
        let word = &self.server_row().health;
        let mut before = word.load(Ordering::Acquire);
        let after = loop {
            let after = Health::unpack(before).after(event, now_ms(), &policy);
            if after.pack() == before {
                return;
            }
            match word.compare_exchange_weak(before, after.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break after,
                Err(other) => before = other,
            }
        };
        let now = now_ms();
        // A server without alternatives is asked all the same; the requests themselves tell how it does.
        if !self.has_alternatives.load(Ordering::Relaxed) {
            return;
        }
        match (Health::unpack(before).is_in_use(), after.is_in_use(), event) {
            (true, false, Event::Failed { code, .. } | Event::CheckFailed { code, .. }) => {
                self.member.count(self.row, Counter::Ejections);
                let text = format!("server {}: out of use for a while after {code} {}", server.name, code.name());
                let event = LogEvent::new(Level::Warning, kinds::SERVER, "Server out of use").details(&text);
                self.log.tell(event.server(&server.name).code(code));
            }
            (false, true, _) => {
                let text = format!("server {}: in use again ({})", server.name, after.word(now, &policy));
                let event = LogEvent::new(Level::Notice, kinds::SERVER, "Server in use").details(&text);
                self.log.tell(event.server(&server.name));
            }
            _ => {}
        }
    }

    /// What a broken conversation with the server means.
    pub fn broken(&self, error: &TalkError, stage: Stage) -> Failure {
        let has_certificate = self.server.read().tls.certificate_file.is_some();
        match error {
            TalkError::Link(error) => {
                self.failure(diagnosis::code_of(error, stage, has_certificate), &diagnosis::describe(error))
            }
            TalkError::Wire(error) => self.failure(diagnosis::code_of_wire(error, stage, false), &error.to_string()),
        }
    }

    /// A failure that names the server.
    pub fn failure(&self, code: Code, what: &str) -> Failure {
        Failure::new(code, format!("{}: {what}", describe_server(&self.server.read(), None)))
    }

    /// Whether the server is ejected, as far as its health says.
    pub fn is_ejected(&self) -> bool {
        !Health::unpack(self.server_row().health.load(Ordering::Acquire)).is_in_use()
    }

    /// Takes one from what there is for sending requests to this server again; `false` if there is nothing left.
    pub fn spend_retry(&self) -> bool {
        let word = &self.server_row().retries;
        let spend = |now: u64| Budget::unpack(now).spent(now_ms()).map(Budget::pack);
        word.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend).is_ok()
    }

    /// A request is sent for the first time, which earns a part of a retry.
    pub fn earn_retry(&self) {
        let word = &self.server_row().retries;
        let now = word.load(Ordering::Relaxed);
        let earned = Budget::unpack(now).earned(now_ms()).pack();
        if earned != now {
            // Whoever is quicker has earned for both.
            let _ = word.compare_exchange(now, earned, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Something went wrong that smells of a restart of the server: no worker uses connections of before again.
    pub fn note_restart(&self) {
        self.server_row().note_restart(now_ms());
    }

    fn tell_closing(&self, count: usize, why: &str) {
        let server = self.server();
        if count > 0 && self.log.levels_for(server.log_levels).verbose.connections() {
            let plural = if count == 1 { "" } else { "s" };
            let details = format!("{count} connection{plural}: {why}");
            let event = LogEvent::new(Level::Info, kinds::CONNECTION, "Connection closed").details(&details);
            self.log.record(event.server(&server.name));
        }
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

    /// Gives what has become free to whoever has waited longest, here or in another worker.
    fn pass_on(&self, mut grant: Grant) {
        loop {
            let mut state = self.state.lock();
            let retired = state.retired;
            // Looked at under the lock, which a rotation takes after it has set the identity.
            grant = match grant {
                Grant::Connection(connection, rights) if retired || !self.may_serve(&connection, &rights) => {
                    drop(state);
                    connection.close();
                    grant = Grant::Permit(rights);
                    continue;
                }
                grant => grant,
            };
            let instead_of = match (state.waiting.front(), &grant) {
                (Some(first), _) => InsteadOf::Mine(first.since),
                (None, Grant::Permit(_)) => InsteadOf::Nothing,
                (None, Grant::Connection(connection, rights)) => {
                    // Said before it is looked who waits: whoever begins to wait just now sees it, or is seen.
                    self.member.connection(rights).idle(connection.facts().calls, now_ms());
                    InsteadOf::Idling
                }
            };
            if let Some(other) = self.member.next_in_turn(self.row, instead_of) {
                state.open -= 1;
                drop(state);
                let rights = match grant {
                    Grant::Connection(connection, rights) => {
                        connection.close();
                        rights
                    }
                    Grant::Permit(rights) => rights,
                };
                self.member.count(self.row, Counter::Closed);
                self.member.pass(self.row, rights, other);
                return;
            }
            let Some(next) = state.waiting.pop_front() else {
                match grant {
                    Grant::Permit(rights) => {
                        state.open -= 1;
                        drop(state);
                        self.member.count(self.row, Counter::Closed);
                        self.member.release(self.row, rights);
                    }
                    Grant::Connection(connection, rights) => {
                        state.idle.push(Idle { connection, rights });
                    }
                }
                return;
            };
            self.announce(&state);
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
        let mut place = self.place.lock();
        match *place {
            Place::Waiting => *place = Place::Granted(grant),
            Place::Granted(_) | Place::Left => return Some(grant),
        }
        drop(place);
        self.waker.wake_by_ref();
        None
    }
}

impl Ticket {
    /// What this place has got; `None` while it waits.
    pub fn take(&self) -> Option<Checkout> {
        let mut place = self.waiting.place.lock();
        match std::mem::replace(&mut *place, Place::Left) {
            Place::Waiting => {
                *place = Place::Waiting;
                None
            }
            Place::Left => None,
            Place::Granted(grant) => Some(match grant {
                Grant::Permit(rights) => Checkout::Open(self.pool.permit(rights)),
                Grant::Connection(connection, rights) => {
                    self.pool.member.connection(&rights).busy(now_ms());
                    let permit = self.pool.permit(rights);
                    Checkout::Idle(Box::new(Lease { connection: *connection, permit, reused: true }))
                }
            }),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let place = std::mem::replace(&mut *self.waiting.place.lock(), Place::Left);
        match place {
            Place::Granted(grant) => self.pool.pass_on(grant),
            Place::Waiting => {
                let mut state = self.pool.state.lock();
                state.waiting.retain(|other| !Arc::ptr_eq(other, &self.waiting));
                self.pool.announce(&state);
            }
            Place::Left => {}
        }
    }
}

impl Serving {
    /// A request goes to this server.
    pub fn begin(pool: &Arc<Pool>) -> Serving {
        pool.member.begin_request(pool.row);
        Serving { pool: pool.clone() }
    }

    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.pool.member.end_request(self.pool.row);
    }
}

impl Drop for SessionTurn {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.pool.member.end_turn(number);
            self.pool.sessions.wake(self.session);
        }
    }
}

impl Permit {
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// What a conversation that broke on its connection means.
    pub fn broken(&self, error: &TalkError, stage: Stage) -> Failure {
        match self.is_interrupted() {
            true => self.pool.failure(Code::Interrupted, "an administrator had the connection closed in the middle"),
            false => self.pool.broken(error, stage),
        }
    }

    /// Whether somebody wants its connection closed in the middle of the request.
    pub fn is_interrupted(&self) -> bool {
        self.rights.as_ref().is_some_and(|rights| self.pool.member.connection(rights).is_to_interrupt())
    }

    /// Gives the connection back for the next request; one that is not settled is closed.
    pub fn put_back(mut self, mut connection: Connection) {
        if !connection.is_settled() {
            return;
        }
        connection.rest();
        if let Some(rights) = self.rights.take() {
            self.pool.pass_on(Grant::Connection(Box::new(connection), rights));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(rights) = self.rights.take() {
            self.pool.pass_on(Grant::Permit(rights));
        }
    }
}
