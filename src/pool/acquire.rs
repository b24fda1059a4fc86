//! The way to a lease: out of the pool, through the queue, or by making a connection.

use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use super::{Checkout, Lease, Permit, Pool, Ticket, rotation};
use crate::connection::resolve::Resolver;
use crate::connection::{Opening, Wants};
use crate::failure::{Code, Failure};
use crate::ledger::Counter;
use std::sync::Arc;

/// A connection that is being obtained.
pub struct Acquire {
    pool: Arc<Pool>,
    started: Instant,
    state: State,
}

enum State {
    Start,
    Queued {
        ticket: Ticket,
        until: Instant,
    },
    /// Dropped in this order: the socket is closed before another worker may use the right to it.
    Opening {
        opening: Box<Opening>,
        permit: Permit,
    },
    Over,
}

impl Acquire {
    /// Asks the pool. Nothing happens before the first drive.
    pub fn start(pool: Arc<Pool>, now: Instant) -> Acquire {
        Acquire { pool, started: now, state: State::Start }
    }

    /// Makes a new connection with a permit that is already held: the way on after a stale connection.
    pub fn reopen(permit: Permit, resolver: &dyn Resolver, waker: &Waker, now: Instant) -> Result<Acquire, Failure> {
        let pool = permit.pool().clone();
        let state = open(&pool, permit, resolver, waker, now)?;
        Ok(Acquire { pool, started: now, state })
    }

    /// Goes on as far as possible. `None`: see [`Acquire::wants`]. `waker` is woken for what no descriptor tells.
    ///
    /// # Errors
    ///
    /// Why the server cannot be used, or that the queue's time ran out.
    pub fn drive(&mut self, resolver: &dyn Resolver, waker: &Waker, now: Instant) -> Result<Option<Lease>, Failure> {
        loop {
            let mut has_waited = false;
            let checkout = match std::mem::replace(&mut self.state, State::Over) {
                State::Start => self.pool.checkout(waker),
                State::Queued { ticket, until } => match ticket.take() {
                    Some(checkout) => {
                        has_waited = true;
                        checkout
                    }
                    None if now >= until => return Err(self.queue_timed_out()),
                    None => {
                        self.state = State::Queued { ticket, until };
                        return Ok(None);
                    }
                },
                State::Opening { permit, mut opening } => match opening.drive(now) {
                    Ok(Some(connection)) => {
                        opening.report(resolver);
                        self.pool.note_success(&connection, &permit);
                        return Ok(Some(Lease { connection, permit, reused: false }));
                    }
                    Ok(None) => {
                        self.state = State::Opening { permit, opening };
                        return Ok(None);
                    }
                    Err(failure) => {
                        opening.report(resolver);
                        self.pool.note_failure(&failure);
                        return Err(failure);
                    }
                },
                State::Over => return Err(Failure::new(Code::Internal, "a connection was asked for twice")),
            };
            self.state = match checkout {
                Checkout::Idle(mut lease) => match lease.connection.is_usable() {
                    true => return Ok(Some(*lease)),
                    // The server has given it up. The next idle one may do; but whoever has waited has a right now, which
                    // others would get first.
                    false => {
                        self.pool.member.count(self.pool.row, Counter::Stale);
                        let Lease { connection, permit, .. } = *lease;
                        drop(connection);
                        if has_waited { open(&self.pool, permit, resolver, waker, now)? } else { State::Start }
                    }
                },
                Checkout::Open(permit) => open(&self.pool, permit, resolver, waker, now)?,
                Checkout::Wait(ticket) => State::Queued { ticket, until: now + self.pool.server().queue_timeout },
                Checkout::Full => return Err(self.queue_is_full()),
            };
        }
    }

    /// Whose connection it is to be.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// What has to happen before driving makes sense.
    pub fn wants(&self) -> Wants {
        match &self.state {
            State::Start | State::Over => Wants::until(Some(self.started)),
            State::Queued { until, .. } => Wants::until(Some(*until)),
            State::Opening { opening, .. } => opening.wants(),
        }
    }

    fn queue_is_full(&self) -> Failure {
        let server = self.pool.server();
        let waiting = self.pool.counts().waiting;
        let detail =
            format!("server {}: {waiting} requests of this worker wait already (Sclera_Queue_Limit)", server.name);
        Failure::new(Code::QueueFull, detail)
    }

    fn queue_timed_out(&self) -> Failure {
        let server = self.pool.server();
        let counts = self.pool.counts();
        let last = match self.pool.last_failure() {
            Some(failure) => {
                format!("; the last attempt to connect ended with {} {}", failure.code, failure.code.name())
            }
            None => String::new(),
        };
        let waited = seconds(server.queue_timeout);
        let detail = format!(
            "server {}: no connection became free within {waited} (Queued_Request_Timeout); {} are open{last}",
            server.name, counts.open
        );
        Failure::new(Code::QueueTimeout, detail)
    }
}

fn open(
    pool: &Arc<Pool>,
    permit: Permit,
    resolver: &dyn Resolver,
    waker: &Waker,
    now: Instant,
) -> Result<State, Failure> {
    let identity = pool.identity()?;
    if identity.has_ended(SystemTime::now()) {
        return Err(rotation::ended(&pool.server()));
    }
    let opening = Box::new(Opening::start(pool.server(), identity, resolver, waker, now));
    Ok(State::Opening { opening, permit })
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}
