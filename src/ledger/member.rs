//! A worker's part in the ledger: its row, the rights it takes, passes on and gives back, and its doorbell.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rustix::thread::futex;

use super::atomic::{AtomicU32, AtomicU64, Ordering};
use super::connection::{ConnectionRow, ConnectionState};
use super::counters::{Counter, Tally};
use super::seats::{self, Holder, bits};
use super::server::ServerRow;
use super::turns::{self, Turn};
use super::{CONNECTIONS, Layout, Ledger, PLACES, SERVERS, WORKERS, now_ms};

/// One worker.
#[repr(C)]
pub(super) struct WorkerRow {
    /// Its process; 0 if the row is free. That a process is alive is told by its lock on the byte of the row's number.
    pid: AtomicU32,
    /// Counts how often its caretaker was rung for.
    doorbell: AtomicU32,
    /// Not 0: somebody wants connections of this worker closed.
    wishes: AtomicU32,
    /// Not 0: something was passed on to this worker.
    granted: AtomicU32,
    /// When it started, in seconds since 1970.
    started: AtomicU64,
    /// When somebody first noticed that its process has ended; 0 while it lives.
    noticed: AtomicU64,
    /// What it waits for at each server, and at the gateway as a whole.
    queues: [QueueRow; SERVERS + 1],
}

/// What a worker has at one server.
#[repr(C)]
struct QueueRow {
    /// Since when its oldest request waits.
    oldest: AtomicU64,
    waiting: AtomicU32,
    /// Requests that are being answered.
    busy: AtomicU32,
}

impl WorkerRow {
    pub(super) fn ring(&self) {
        self.doorbell.fetch_add(1, Ordering::SeqCst);
        // Nobody sleeping is no error.
        let _ = futex::wake(&self.doorbell, futex::Flags::empty(), u32::MAX);
    }

    /// Somebody wants a connection of this worker closed.
    pub(super) fn wish(&self) {
        self.wishes.store(1, Ordering::Release);
        self.ring();
    }

    /// Something was passed on to this worker.
    fn grant(&self) {
        self.granted.swap(1, Ordering::AcqRel);
        self.ring();
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Acquire)
    }

    pub(super) fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self, server: usize) -> u32 {
        self.queues[server].waiting.load(Ordering::Relaxed)
    }

    pub(super) fn busy(&self, server: usize) -> u32 {
        self.queues[server].busy.load(Ordering::Relaxed)
    }

    fn clear(&self) {
        for queue in &self.queues {
            // Untouched pages of the memory stay untouched.
            if queue.waiting.load(Ordering::Relaxed) != 0 {
                queue.waiting.store(0, Ordering::Relaxed);
            }
            if queue.busy.load(Ordering::Relaxed) != 0 {
                queue.busy.store(0, Ordering::Relaxed);
            }
        }
    }
}

/// A worker that is in the ledger. Dropping it leaves the ledger.
#[derive(Debug)]
pub struct Member {
    ledger: Arc<Ledger>,
    me: Holder,
    /// Where the last seat was found: the next one is probably there again.
    hint: AtomicU32,
    lines: AtomicU64,
    /// Who of this worker waits, for what: several pools share its bit and its numbers in a queue.
    waits: Mutex<HashMap<Line, Wait>>,
}

/// Those of a worker who wait together: the requests of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line(u64);

#[derive(Clone, Copy, Debug)]
struct Wait {
    server: usize,
    lacking: Lacking,
    count: u32,
    oldest: u64,
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To the server (`Maximum_Server_Connections`); `None` leaves it to the limit of all.
    pub server: Option<u32>,
    /// To all servers (`MAX_CONNECTIONS`).
    pub all: u32,
}

/// The right to one connection. It has to be given back or passed on.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "rights that are dropped are lost until the worker ends"]
pub struct Rights {
    seat: u32,
    place: Option<u32>,
}

impl Rights {
    /// The number of the connection.
    pub fn seat(&self) -> u32 {
        self.seat
    }
}

/// Which limit is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    Server,
    All,
}

impl Lacking {
    fn queue(self, server: usize) -> usize {
        match self {
            Lacking::Server => server,
            Lacking::All => SERVERS,
        }
    }
}

/// What a pool would do with rights that it has, unless somebody comes before that. Passing a connection to another
/// process means to close it, and to make a new one there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsteadOf {
    /// Give them back.
    Nothing,
    /// Keep an idle connection for the next request.
    Idling,
    /// Serve its own request, which waits since then.
    Mine(u64),
}

/// A request of another worker goes first only if it has waited so much longer, in milliseconds.
const PATIENCE: u64 = 100;
/// An idle connection is kept in its worker so long, in milliseconds, also while another worker's request waits: with many
/// requests the next one comes sooner than that, and a new connection for each would cost more than it gains.
pub const HOLD: u64 = 20;

impl Member {
    /// Takes a row for this process.
    ///
    /// # Errors
    ///
    /// If there are too many workers already.
    pub fn join(ledger: &Arc<Ledger>) -> io::Result<Member> {
        let layout = ledger.layout();
        let mut own = ledger.own_rows();
        // A row whose worker has just been killed is the last to be taken: its sockets may still be closing.
        let is_left = |row: &usize| layout.workers[*row].pid() == 0;
        let rows = (0..WORKERS).filter(is_left).chain((0..WORKERS).filter(|row| !is_left(row)));
        let row = rows.into_iter().find(|row| !own.rows.contains(row) && ledger.mapping.lock(*row));
        let Some(row) = row else {
            return Err(io::Error::other(format!("there are {WORKERS} workers already, more than the ledger holds")));
        };
        own.rows.push(row);
        layout.workers_used.fetch_max(row as u32 + 1, Ordering::AcqRel);
        let before = layout.workers[row].pid.swap(own.process, Ordering::AcqRel);
        let me = Holder::of_row(row);
        // What the row's last worker left, if it was killed.
        ledger.take_away(me);
        drop(own);
        let (hint, lines, waits) = (AtomicU32::new(0), AtomicU64::new(0), Mutex::default());
        let member = Member { ledger: ledger.clone(), me, hint, lines, waits };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        layout.workers[row].started.store(now, Ordering::Relaxed);
        layout.workers[row].noticed.store(0, Ordering::Relaxed);
        member.tally(Tally::WorkersStarted);
        if before != 0 {
            member.tally(Tally::WorkersLost);
        }
        Ok(member)
    }

    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The number of its row.
    pub fn row(&self) -> usize {
        self.me.row()
    }

    fn layout(&self) -> &Layout {
        self.ledger.layout()
    }

    /// Takes the right to a connection to a server.
    ///
    /// # Errors
    ///
    /// Which limit is reached.
    pub fn claim(&self, server: usize, limits: Limits) -> Result<Rights, Lacking> {
        let layout = self.layout();
        let place = match limits.server {
            None => None,
            Some(limit) => {
                Some(seats::claim(self.ledger.places(server, limit), self.me, 0).ok_or(Lacking::Server)? as u32)
            }
        };
        let all = &layout.seats[..(limits.all as usize).min(CONNECTIONS)];
        let Some(seat) = seats::claim(all, self.me, self.hint.load(Ordering::Relaxed) as usize) else {
            if let Some(place) = place {
                self.free_place(server, place as usize);
            }
            return Err(Lacking::All);
        };
        self.hint.store(seat as u32, Ordering::Relaxed);
        layout.connections_used.fetch_max(seat as u32 + 1, Ordering::AcqRel);
        Ok(self.begin(server, Rights { seat: seat as u32, place }))
    }

    fn begin(&self, server: usize, rights: Rights) -> Rights {
        self.ledger.connection(rights.seat).begin(server, now_ms());
        rights
    }

    /// Gives rights back. If a worker waits, it is told.
    pub fn release(&self, server: usize, rights: Rights) {
        let layout = self.layout();
        self.ledger.connection(rights.seat).end();
        if let Some(place) = rights.place {
            seats::release(&layout.places[server], place as usize, self.me);
        }
        seats::release(&layout.seats, rights.seat as usize, self.me);
        if let Some(first) = self.next_in_turn(server, InsteadOf::Nothing) {
            self.ledger.ring(first.row());
        }
    }

    /// The worker whose request has waited longest, at this server or for a connection to any, if it comes before what
    /// this pool would do with its rights.
    pub fn next_in_turn(&self, server: usize, instead_of: InsteadOf) -> Option<Holder> {
        let (patience, until) = match instead_of {
            InsteadOf::Nothing => (0, u64::MAX),
            InsteadOf::Idling => (HOLD, now_ms()),
            InsteadOf::Mine(since) => (PATIENCE, since),
        };
        // Those who wait for this server and those who wait for any: neither may starve the others. It may be this worker
        // itself, for another of its pools.
        let both = [self.oldest(server, |_| true), self.oldest(SERVERS, |_| true)];
        let (since, first) = both.into_iter().flatten().min_by_key(|(since, _)| *since)?;
        (since + patience < until).then_some(first)
    }

    /// Whose oldest request in a queue waits longest, and since when.
    fn oldest(&self, queue: usize, is_meant: impl Fn(Holder) -> bool) -> Option<(u64, Holder)> {
        let layout = self.layout();
        let used = self.ledger.workers_used().div_ceil(64);
        let since = |holder: Holder| layout.workers[holder.row()].queues[queue].oldest.load(Ordering::Relaxed);
        let waiting = bits::waiting(&self.ledger.bits(queue)[..used]).filter(|&holder| is_meant(holder));
        waiting.map(|holder| (since(holder), holder)).min_by_key(|(since, _)| *since)
    }

    /// Passes rights on to another worker's waiting request. The connection behind them must have been closed.
    pub fn pass(&self, server: usize, rights: Rights, to: Holder) {
        let layout = self.layout();
        self.ledger.connection(rights.seat).end();
        seats::grant(&layout.seats, rights.seat as usize, self.me, to);
        if let Some(place) = rights.place {
            // A worker that waits for a connection to any server has no use for a place at this one.
            match layout.workers[to.row()].queues[server].waiting.load(Ordering::Relaxed) {
                0 => self.free_place(server, place as usize),
                _ => drop(seats::grant(&layout.places[server], place as usize, self.me, to)),
            }
        }
        self.count(server, Counter::GivenUp);
        layout.workers[to.row()].grant();
    }

    /// Takes rights for a request that waits at this server: such as were passed on to this worker, or free ones.
    ///
    /// # Errors
    ///
    /// Which limit is in the way. It may be another one than before.
    pub fn collect(&self, server: usize, limits: Limits) -> Result<Rights, Lacking> {
        let layout = self.layout();
        let all = &layout.seats[..(limits.all as usize).min(CONNECTIONS)];
        let seat = seats::collect(all, self.me);
        let place = match limits.server {
            None => None,
            Some(limit) => {
                let places = self.ledger.places(server, limit);
                let place = seats::collect(places, self.me).or_else(|| seats::claim(places, self.me, 0));
                let Some(place) = place else {
                    seat.into_iter().for_each(|seat| self.free_seat(seat));
                    return Err(Lacking::Server);
                };
                Some(place as u32)
            }
        };
        let Some(seat) = seat.or_else(|| seats::claim(all, self.me, self.hint.load(Ordering::Relaxed) as usize)) else {
            if let Some(place) = place {
                self.free_place(server, place as usize);
            }
            return Err(Lacking::All);
        };
        layout.connections_used.fetch_max(seat as u32 + 1, Ordering::AcqRel);
        Ok(self.begin(server, Rights { seat: seat as u32, place }))
    }

    fn free_seat(&self, seat: usize) {
        seats::release(&self.layout().seats, seat, self.me);
        self.ring_oldest(SERVERS);
    }

    fn free_place(&self, server: usize, place: usize) {
        seats::release(&self.layout().places[server], place, self.me);
        self.ring_oldest(server);
    }

    /// This worker has just tried; what is free is for another.
    fn ring_oldest(&self, queue: usize) {
        if let Some((_, first)) = self.oldest(queue, |holder| holder != self.me) {
            self.ledger.ring(first.row());
        }
    }

    /// Whether something was passed on to this worker since it was asked last.
    pub fn takes_granted(&self) -> bool {
        self.layout().workers[self.row()].granted.swap(0, Ordering::AcqRel) != 0
    }

    /// Gives back what was passed on to this worker and nobody of it waits for any more: whoever passed it on may have
    /// looked before the last one left.
    pub fn return_grants(&self) {
        let layout = self.layout();
        // Nobody begins to wait meanwhile.
        let waits = self.waits.lock();
        for (server, row) in layout.servers.iter().enumerate().take_while(|(_, row)| row.is_used()) {
            if !waits.values().any(|wait| wait.server == server) {
                while let Some(place) = seats::collect(&layout.places[server][..row.places_used()], self.me) {
                    self.free_place(server, place);
                }
            }
        }
        if waits.is_empty() {
            while let Some(seat) = seats::collect(&layout.seats[..self.ledger.connections_used()], self.me) {
                self.free_seat(seat);
            }
        }
    }

    /// A line of this worker's own, for [`Member::wait`].
    pub fn new_line(&self) -> Line {
        Line(self.lines.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether no other request of this worker, of another pool, has waited longer than since then for what one at this
    /// server needs.
    pub fn comes_first(&self, server: usize, since: u64) -> bool {
        let competes = |wait: &Wait| wait.lacking == Lacking::All || wait.server == server;
        !self.waits.lock().values().any(|wait| competes(wait) && wait.oldest < since)
    }

    /// Says how many requests of a line wait at a server for what is lacking, and since when the oldest does. After
    /// beginning to wait, try [`Member::collect`] once more: something may have become free in between.
    pub fn wait(&self, line: Line, server: usize, lacking: Lacking, waiting: usize, oldest: u64) {
        let mut waits = self.waits.lock();
        waits.insert(line, Wait { server, lacking, count: waiting as u32, oldest });
        self.show(server, &waits);
    }

    /// Nobody of a line waits at a server any more.
    pub fn stop_waiting(&self, line: Line, server: usize) {
        let mut waits = self.waits.lock();
        if waits.remove(&line).is_some() {
            self.show(server, &waits);
        }
    }

    /// Shows the others who of this worker waits at a server, and for a connection to any.
    fn show(&self, server: usize, waits: &HashMap<Line, Wait>) {
        for queue in [server, SERVERS] {
            let row = &self.layout().workers[self.me.row()].queues[queue];
            // A server's queue shows also those who wait for the limit of all.
            let here =
                waits.values().filter(|wait| queue == SERVERS && wait.lacking == Lacking::All || wait.server == queue);
            row.waiting.store(here.map(|wait| wait.count).sum(), Ordering::Relaxed);
            let lacking = waits.values().filter(|wait| wait.lacking.queue(wait.server) == queue);
            match lacking.map(|wait| wait.oldest).min() {
                Some(oldest) => {
                    row.oldest.store(oldest, Ordering::Relaxed);
                    bits::set(self.ledger.bits(queue), self.me);
                }
                None => bits::clear(self.ledger.bits(queue), self.me),
            }
        }
    }

    /// Asks for the connection of another worker that has idled longest to be given up, if it has done so for [`HOLD`].
    pub fn ask_for_idle(&self, server: usize, lacking: Lacking) {
        let layout = self.layout();
        let now = now_ms();
        let idle_longest = || {
            let rows = layout.connections[..self.ledger.connections_used()].iter().enumerate();
            let idle = rows.filter(|(_, row)| {
                row.state() == ConnectionState::Idle
                    && !row.is_to_close()
                    && row.since() + HOLD <= now
                    && (lacking == Lacking::All || row.server() == server)
            });
            idle.min_by_key(|(_, row)| row.since())
        };
        // Others ask too, and connections are taken into use: not for ever.
        for (seat, row) in std::iter::from_fn(idle_longest).take(8) {
            if row.ask_if_idle() {
                if let Some(holder) = seats::holder(&layout.seats[seat]) {
                    layout.workers[holder.row()].wish();
                }
                return;
            }
        }
    }

    /// How many connections of this server have seats before this one: with it the workers agree on which to keep.
    pub fn rank(&self, server: usize, seat: u32) -> usize {
        let before = &self.layout().connections[..seat as usize];
        before.iter().filter(|row| row.state() != ConnectionState::None && row.server() == server).count()
    }

    /// Takes one of the turns of a session, of which it has `most`, over all workers.
    pub fn take_turn(&self, session: u64, most: u32) -> Turn {
        turns::take(&self.layout().turns, Holder::of_row(self.row()), session, most)
    }

    /// Gives a turn back.
    pub fn end_turn(&self, turn: u32) {
        turns::end(&self.layout().turns, turn, Holder::of_row(self.row()));
    }

    /// The row of the connection behind rights.
    pub fn connection(&self, rights: &Rights) -> &ConnectionRow {
        self.ledger.connection(rights.seat)
    }

    pub fn server_row(&self, server: usize) -> &ServerRow {
        self.ledger.server_row(server)
    }

    /// A request is being answered by this server.
    pub fn begin_request(&self, server: usize) {
        self.layout().workers[self.row()].queues[server].busy.fetch_add(1, Ordering::Relaxed);
    }

    pub fn end_request(&self, server: usize) {
        self.layout().workers[self.row()].queues[server].busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests that a server is answering now, of all workers.
    pub fn busy(&self, server: usize) -> u32 {
        let workers = &self.layout().workers[..self.ledger.workers_used()];
        workers.iter().filter(|worker| worker.pid() != 0).map(|worker| worker.busy(server)).sum()
    }

    pub fn count(&self, server: usize, counter: Counter) {
        self.layout().counters.count(self.row(), server, counter);
    }

    pub fn tally(&self, tally: Tally) {
        self.layout().counters.tally(self.row(), tally);
    }

    pub fn count_failure(&self, code: u16) {
        self.layout().counters.failure(self.row(), code);
    }

    /// A request has been answered with this status, after so many microseconds.
    pub fn count_answer(&self, server: Option<usize>, path: Option<usize>, status: u16, micros: u64) {
        let counters = &self.layout().counters;
        counters.answer(self.row(), server, path, status);
        if let Some(server) = server {
            counters.latency(self.row(), server, micros);
        }
    }

    /// Wakes this worker's own caretaker.
    pub fn ring(&self) {
        self.ledger.ring(self.row());
    }

    /// How often it was rung so far; to be asked before looking for work.
    pub fn rung(&self) -> u32 {
        self.layout().workers[self.row()].doorbell.load(Ordering::SeqCst)
    }

    /// Sleeps until somebody rings after `rung` was asked, or the time is over.
    pub fn sleep(&self, rung: u32, most: Option<Duration>) {
        let bell = &self.layout().workers[self.row()].doorbell;
        let timeout = most.and_then(|most| futex::Timespec::try_from(most).ok());
        // Ringing in between, a signal and the end of the time mean the same: look again.
        let _ = futex::wait(bell, futex::Flags::empty(), rung, timeout.as_ref());
    }

    /// Whether somebody wants connections of this worker closed, since it was asked last.
    pub fn takes_wishes(&self) -> bool {
        self.layout().workers[self.row()].wishes.swap(0, Ordering::AcqRel) != 0
    }

    /// Frees what workers had that ended without leaving, `grace` milliseconds after the first who noticed: a process that is
    /// killed gives up its lock before the superserver has heard of all its connections. And frees what was passed on to
    /// such a worker since. Gives how many there were.
    pub fn reclaim(&self, grace: u64) -> usize {
        let layout = self.layout();
        // Record locks are the process's: no other thread of it joins or leaves meanwhile.
        let own = self.ledger.own_rows();
        let holders = self.ledger.holders();
        let (mut found, mut freed) = (0, 0);
        for row in 0..self.ledger.workers_used() {
            let left = layout.workers[row].pid() == 0;
            if own.rows.contains(&row) || left && !holders.contains(&row) || !self.ledger.mapping.lock(row) {
                continue;
            }
            let noticed = &layout.workers[row].noticed;
            let since = match noticed.load(Ordering::Relaxed) {
                0 => {
                    noticed.store(now_ms(), Ordering::Relaxed);
                    if self.ledger.silence(Holder::of_row(row)) > 0 {
                        self.ledger.ring_all();
                    }
                    now_ms()
                }
                since => since,
            };
            if now_ms() < since + grace {
                self.ledger.mapping.unlock(row);
                continue;
            }
            // Nobody else clears it now; if we are killed meanwhile, the row is found again.
            noticed.store(0, Ordering::Relaxed);
            freed += self.ledger.take_away(Holder::of_row(row));
            if layout.workers[row].pid.swap(0, Ordering::AcqRel) != 0 {
                self.tally(Tally::WorkersLost);
                found += 1;
            }
            self.ledger.mapping.unlock(row);
        }
        drop(own);
        if found + freed > 0 {
            self.ledger.ring_all();
        }
        found
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut own = self.ledger.own_rows();
        // A process that was forked off has a copy of this value, and not the row.
        if !own.rows.contains(&self.row()) {
            return;
        }
        let freed = self.ledger.take_away(self.me);
        self.layout().workers[self.row()].pid.store(0, Ordering::Release);
        self.ledger.mapping.unlock(self.row());
        own.rows.retain(|&row| row != self.me.row());
        drop(own);
        if freed > 0 {
            self.ledger.ring_all();
        }
    }
}

/// The rows that members of this process have. Who joins, leaves or reclaims has it locked.
#[derive(Debug, Default)]
pub(super) struct OwnRows {
    process: u32,
    rows: Vec<usize>,
}

impl OwnRows {
    /// Whether this process has had a row.
    pub(super) fn is_of(&self, process: u32) -> bool {
        self.process == process
    }
}

impl Ledger {
    fn own_rows(&self) -> MutexGuard<'_, OwnRows> {
        let mut own = self.own_rows.lock();
        let process = std::process::id();
        if own.process != process {
            // Forked since: the rows are the parent's.
            *own = OwnRows { process, rows: Vec::new() };
        }
        own
    }

    /// Who waits in a queue.
    fn bits(&self, queue: usize) -> &[AtomicU64] {
        match queue {
            SERVERS => &self.layout().waiting,
            server => &self.layout().servers[server].waiting,
        }
    }

    /// The places of a server with this maximum.
    fn places(&self, server: usize, limit: u32) -> &[AtomicU32] {
        let limit = (limit as usize).min(PLACES);
        // Said before one of them is taken, so that none is overlooked if its holder is killed.
        self.layout().servers[server].use_places(limit as u32);
        &self.layout().places[server][..limit]
    }

    /// The rows of workers that hold something, or that something was passed on to.
    fn holders(&self) -> HashSet<usize> {
        let layout = self.layout();
        let servers = layout.servers.iter().zip(&layout.places).take_while(|(row, _)| row.is_used());
        let places = servers.flat_map(|(row, places)| &places[..row.places_used()]);
        places.chain(&layout.seats).filter_map(seats::holder).map(Holder::row).collect()
    }

    /// Lets nobody pass anything more to a worker that cannot act any more, and frees what was passed to it: it never had
    /// a connection with that. Gives how much that was.
    fn silence(&self, holder: Holder) -> usize {
        let layout = self.layout();
        bits::clear(&layout.waiting, holder);
        let mut freed = seats::take_granted(&layout.seats, holder);
        for (server, row) in layout.servers.iter().enumerate().take_while(|(_, row)| row.is_used()) {
            bits::clear(&row.waiting, holder);
            freed += seats::take_granted(&layout.places[server][..row.places_used()], holder);
        }
        freed
    }

    /// Frees all that a worker has which cannot act any more. Gives how many seats and places that were.
    fn take_away(&self, holder: Holder) -> usize {
        let layout = self.layout();
        for (seat, row) in layout.seats.iter().zip(&layout.connections) {
            if seats::holder(seat) == Some(holder) {
                row.end();
            }
        }
        let mut freed = seats::take_away(&layout.seats, holder);
        bits::clear(&layout.waiting, holder);
        for (server, row) in layout.servers.iter().enumerate().take_while(|(_, row)| row.is_used()) {
            freed += seats::take_away(&layout.places[server][..row.places_used()], holder);
            bits::clear(&row.waiting, holder);
        }
        turns::take_away(&layout.turns, holder);
        layout.workers[holder.row()].clear();
        freed
    }
}
