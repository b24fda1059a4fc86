//! The ledger: the memory that all worker processes share. Who works, which connections there are and whose they are, how
//! the servers do, what was counted, and what an administrator wants done.
//!
//! It is a mapped file in the runtime directory, or an anonymous memory file where that cannot be written; made before the
//! fork, so that every worker has it whatever its user may open. It holds atomics and no lock: a worker that is killed at
//! any instruction leaves nothing that others wait for. What it held is found by its name and freed by whoever looks first
//! ([`Member::reclaim`]); what it counted stands where every worker counts, and stays.
//!
//! Two generations of a web server's workers, before and after a reload, use the same ledger; so do two web servers with
//! the same CSP.ini. `sclera status` reads it from outside.
//!
//! All zeros is an empty ledger. Times are milliseconds of CLOCK_MONOTONIC, which every process of the machine shares.

mod atomic;
mod connection;
mod counters;
mod mapping;
mod member;
mod seats;
mod server;
pub mod session;
mod snapshot;
pub mod sticky;
mod turns;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atomic::{AtomicU32, AtomicU64, Ordering};
pub use connection::{ConnectionRow, ConnectionState};
use counters::Counters;
pub use counters::{BOUNDS, Counter, Tally};
use mapping::{Mapping, Shared};
pub use member::{HOLD, InsteadOf, Lacking, Limits, Line, Member, Rights};
use member::{OwnRows, WorkerRow};
use parking_lot::Mutex;
pub use seats::Holder;
pub use server::ServerRow;
use server::{Name, find_or_claim, key_of};
use session::SessionTable;
pub use snapshot::{ConnectionNow, Mark, PathNow, Series, ServerNow, Snapshot, WorkerNow};
use sticky::StickyTable;
pub use turns::Turn;

use crate::profile::parameter::{MOST_CONNECTIONS, MOST_SERVER_CONNECTIONS, MOST_SERVERS};

/// The most workers at once, of all generations and web servers.
pub const WORKERS: usize = 2048;
/// The most servers that one ledger ever hears of.
pub const SERVERS: usize = MOST_SERVERS;
/// The most application paths that one ledger ever hears of.
pub const PATHS: usize = 512;
/// The most connections of all workers to all servers: the ceiling of `MAX_CONNECTIONS`.
pub const CONNECTIONS: usize = MOST_CONNECTIONS as usize;
/// The ceiling of `Maximum_Server_Connections`; a server without a maximum has that of all.
pub const PLACES: usize = MOST_SERVER_CONNECTIONS as usize;
/// The most requests of sessions that are counted at once; there may be far more sessions. See [`Turn::Free`].
const TURNS: usize = 16 * 1024;

/// What the memory holds.
#[repr(C)]
pub struct Layout {
    /// Tells a ledger of this form from anything else; see [`MAGIC`].
    magic: AtomicU64,
    /// When it was made, in seconds since 1970.
    made: AtomicU64,
    /// Rows from here on have never been used: nobody has to look at them.
    workers_used: AtomicU32,
    connections_used: AtomicU32,
    /// Who waits for a seat among all servers' connections.
    waiting: [AtomicU64; WORKERS / 64],
    workers: [WorkerRow; WORKERS],
    servers: [ServerRow; SERVERS],
    paths: [PathRow; PATHS],
    /// The right to one connection of any server: at most `MAX_CONNECTIONS` of them are used.
    seats: [AtomicU32; CONNECTIONS],
    /// The right to one connection of a server that has a maximum.
    places: [[AtomicU32; PLACES]; SERVERS],
    /// The right of a session to one more connection.
    turns: [AtomicU64; TURNS],
    /// What is known of the connection behind each seat.
    connections: [ConnectionRow; CONNECTIONS],
    counters: Counters,
    sessions: SessionTable,
    sticky: StickyTable,
}

// SAFETY: atomics alone, and arrays and structs of them.
unsafe impl Shared for Layout {}

/// An application path, for its counters.
#[repr(C)]
struct PathRow {
    key: AtomicU64,
    name: Name<16>,
    /// How many new sessions have been given to a server by turns.
    turn: AtomicU64,
}

/// The form of [`Layout`] in this release. Another form gets another number and so another file.
const MAGIC: u64 = u64::from_be_bytes(*b"Sclera\0\x01") ^ size_of::<Layout>() as u64;

/// The shared memory, in this process.
#[derive(Debug)]
pub struct Ledger {
    mapping: Mapping<Layout>,
    /// `None` if it has no name.
    path: Option<PathBuf>,
    own_rows: Mutex<OwnRows>,
    /// The process that began to take part in it; `None` for whoever only looks or commands.
    opener: Option<u32>,
}

/// Ledgers that this process takes part in. A reload opens the gateway again, before it frees the old one, and has to find
/// the same memory; also an anonymous one.
static OPENED: Mutex<Vec<(PathBuf, Weak<Ledger>)>> = Mutex::new(Vec::new());

impl Ledger {
    /// The ledger of a CSP.ini, in a runtime directory. It is the one that a living web server or worker has, if there is
    /// any; otherwise it is made, empty. If it cannot be, it has no name, and the reason is told.
    ///
    /// # Errors
    ///
    /// If the system has no memory to share.
    pub fn of(csp_ini: &Path, directory: &Path) -> io::Result<(Arc<Ledger>, Option<io::Error>)> {
        let path = path_of(csp_ini, directory);
        let mut opened = OPENED.lock();
        if let Some(ledger) = opened.iter().find(|(other, _)| *other == path).and_then(|(_, it)| it.upgrade()) {
            return Ok((ledger, None));
        }
        opened.retain(|(_, ledger)| ledger.strong_count() > 0);
        let (mapping, why) = match Mapping::take_part(&path, has_form, prepare) {
            Ok(mapping) => (mapping, None),
            Err(error) => (new_anonymous()?, Some(error)),
        };
        let named = why.is_none().then(|| path.clone());
        let ledger = Arc::new(Ledger::new(mapping, named, Some(std::process::id())));
        opened.push((path, Arc::downgrade(&ledger)));
        Ok((ledger, why))
    }

    /// A ledger without a name, for this process and those it forks.
    pub fn anonymous() -> io::Result<Arc<Ledger>> {
        Ok(Arc::new(Ledger::new(new_anonymous()?, None, Some(std::process::id()))))
    }

    fn new(mapping: Mapping<Layout>, path: Option<PathBuf>, opener: Option<u32>) -> Ledger {
        Ledger { mapping, path, own_rows: Mutex::default(), opener }
    }

    /// When it was made, to the second: when the first of the processes that share it started.
    pub fn made_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.layout().made.load(Ordering::Relaxed))
    }

    /// The servers that sessions belong to.
    pub fn sticky(&self) -> &StickyTable {
        &self.layout().sticky
    }

    /// The sessions and lock-outs of the management pages.
    pub fn sessions(&self) -> &SessionTable {
        &self.mapping.get().sessions
    }

    /// What the ledger of a CSP.ini holds now, looked at from outside. It is all that may be done with a ledger that is
    /// mapped for reading.
    ///
    /// # Errors
    ///
    /// If there is none, if this user may not read it, or if another release made it.
    pub fn look(csp_ini: &Path, directory: &Path) -> io::Result<Snapshot> {
        let path = path_of(csp_ini, directory);
        Ok(Ledger::checked(Mapping::open_to_read(&path)?, path)?.snapshot())
    }

    /// The ledger of a CSP.ini, to say from outside what is to be done.
    ///
    /// # Errors
    ///
    /// As [`Ledger::look`], and if this user may not write it.
    pub fn command(csp_ini: &Path, directory: &Path) -> io::Result<Ledger> {
        let path = path_of(csp_ini, directory);
        Ledger::checked(Mapping::open(&path)?, path)
    }

    fn checked(mapping: Mapping<Layout>, path: PathBuf) -> io::Result<Ledger> {
        match has_form(mapping.get()) {
            true => Ok(Ledger::new(mapping, Some(path), None)),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "another release made it")),
        }
    }

    /// Where it is; `None` if it has no name.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn layout(&self) -> &Layout {
        self.mapping.get()
    }

    /// The number of a server's row; `None` if the ledger has no room for another name.
    pub fn server(&self, name: &str) -> Option<usize> {
        let rows = &self.layout().servers;
        find_or_claim(rows, key_of(&name.to_ascii_uppercase()), |row| row.key(), |row| row.set_name(name))
    }

    /// The row of a server.
    pub fn server_row(&self, server: usize) -> &ServerRow {
        &self.layout().servers[server]
    }

    /// The number of an application path's row; `None` if the ledger has no room for another path.
    pub fn path_row(&self, path: &str) -> Option<usize> {
        find_or_claim(&self.layout().paths, key_of(path), |row| &row.key, |row| row.name.set(path))
    }

    /// The next number of an application path's count of new sessions, from 0.
    pub fn next_turn(&self, path: usize) -> u64 {
        self.layout().paths[path].turn.fetch_add(1, Ordering::Relaxed)
    }

    /// The row of the connection behind a seat.
    pub fn connection(&self, seat: u32) -> &ConnectionRow {
        &self.layout().connections[seat as usize]
    }

    /// Asks the worker of a connection to close it: at once if it idles, after its request if not.
    pub fn ask_to_close(&self, seat: u32, interrupt: bool) {
        let row = self.connection(seat);
        row.ask(interrupt);
        if let Some(holder) = seats::holder(&self.layout().seats[seat as usize]) {
            self.layout().workers[holder.row()].wish();
        }
    }

    /// Wakes the caretaker of a worker.
    fn ring(&self, row: usize) {
        self.layout().workers[row].ring();
    }

    /// Wakes every caretaker.
    pub fn ring_all(&self) {
        (0..self.workers_used()).for_each(|row| self.ring(row));
    }

    fn workers_used(&self) -> usize {
        (self.layout().workers_used.load(Ordering::Acquire) as usize).min(WORKERS)
    }

    fn connections_used(&self) -> usize {
        (self.layout().connections_used.load(Ordering::Acquire) as usize).min(CONNECTIONS)
    }
}

impl Drop for Ledger {
    /// Whoever leaves last takes the file along. A web server's workers have their parent's ledger, and leave it to it; one
    /// that has become a daemon is no worker, though it is not the process that opened it.
    fn drop(&mut self) {
        let (Some(path), Some(opener)) = (&self.path, self.opener) else { return };
        let process = std::process::id();
        let is_worker = opener != process && self.own_rows.get_mut().is_of(process);
        if !is_worker && (0..self.workers_used()).all(|row| self.mapping.lock(row)) {
            self.mapping.remove(path);
        }
    }
}

fn new_anonymous() -> io::Result<Mapping<Layout>> {
    let mapping = Mapping::anonymous()?;
    prepare(mapping.get());
    Ok(mapping)
}

/// Whether this release made it.
fn has_form(layout: &Layout) -> bool {
    layout.magic.load(Ordering::Acquire) == MAGIC
}

fn prepare(layout: &Layout) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    layout.made.store(now, Ordering::Relaxed);
    layout.magic.store(MAGIC, Ordering::Release);
}

/// The file of the ledger of a CSP.ini: its path with dashes, so that an administrator recognises it; a dash of its own is
/// written `%2d`, so that no two files have one ledger.
pub fn path_of(csp_ini: &Path, directory: &Path) -> PathBuf {
    let whole = std::fs::canonicalize(csp_ini).unwrap_or_else(|_| csp_ini.to_owned());
    let whole = whole.to_string_lossy();
    let name = whole.trim_start_matches('/').replace('%', "%25").replace('-', "%2d").replace('/', "-");
    let name = match name.len() {
        ..=180 => name,
        _ => format!("{:016x}", key_of(&whole)),
    };
    directory.join(format!("{name}.ledger"))
}

/// Milliseconds of the clock that all processes share; it is a few milliseconds coarse.
pub fn now_ms() -> u64 {
    let now = coarse(libc::CLOCK_MONOTONIC_COARSE);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// The time of day; it is a few milliseconds late, and costs a quarter of [`SystemTime::now`].
pub fn wall_clock() -> SystemTime {
    let now = coarse(libc::CLOCK_REALTIME_COARSE);
    UNIX_EPOCH + Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), now.tv_nsec as u32)
}

fn coarse(clock: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place on this stack frame. The C library's function, because rustix reads the kernel's vDSO itself, which
    // ends a process under valgrind.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now
}

/// A time span in the ledger's unit.
pub fn in_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
