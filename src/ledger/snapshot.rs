//! What the ledger holds at one moment, as plain data: for `sclera status`, the pages and the metrics.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::counters::{BOUNDS, Counter, Tally};
use super::seats;
use super::{ConnectionState, Ledger, now_ms};

/// Everything. Other workers go on meanwhile, so numbers of different tables may differ by what happened in between.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Where the ledger is; `None` if it has no name.
    pub ledger: Option<PathBuf>,
    /// When the ledger was made, in seconds since 1970.
    pub made: u64,
    pub workers: Vec<WorkerNow>,
    pub connections: Vec<ConnectionNow>,
    pub servers: Vec<ServerNow>,
    pub paths: Vec<PathNow>,
    pub answers: Vec<Series>,
    /// Number of the failure, and how often it happened.
    pub failures: Vec<(u16, u64)>,
    pub tallies: Vec<(Tally, u64)>,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerNow {
    pub row: usize,
    pub pid: u32,
    /// In seconds since 1970.
    pub started: u64,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionNow {
    pub seat: u32,
    pub worker: u32,
    pub server: usize,
    pub state: ConnectionState,
    /// Process number on the server; 0 if it did not say.
    pub process: u64,
    /// Since when it is in its state, in milliseconds.
    pub since_ms: u64,
    pub age_ms: u64,
    pub calls: u64,
    pub generation: u64,
    pub mark: Mark,
}

/// Tells a connection from others that have its number before or after it, and its request from the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    opened: u64,
    calls: u64,
}

impl Mark {
    /// Whether both are of one connection.
    pub fn is_same_connection(self, other: Mark) -> bool {
        self.opened == other.opened
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.opened, self.calls)
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> Result<Mark, ()> {
        let (opened, calls) = text.split_once('.').ok_or(())?;
        let number = |text| u64::from_str_radix(text, 16).map_err(drop);
        Ok(Mark { opened: number(opened)?, calls: number(calls)? })
    }
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerNow {
    pub row: usize,
    pub name: String,
    pub wish: u32,
    /// See [`crate::pool::health`].
    pub health: u64,
    pub open: usize,
    pub busy: usize,
    pub queued: u32,
    pub counters: Vec<(Counter, u64)>,
    /// Answers up to each of [`BOUNDS`], and slower ones.
    pub latency: [u64; BOUNDS.len() + 1],
    /// Sum of all latencies in microseconds.
    pub latency_sum: u64,
    /// Requests answered.
    pub requests: u64,
}

impl ServerNow {
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters.iter().find(|(other, _)| *other == counter).map_or(0, |(_, count)| *count)
    }
}

/// An application path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathNow {
    pub row: usize,
    pub path: String,
    pub requests: u64,
}

/// How many requests were answered by a server, of a path, with a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub server: Option<usize>,
    pub path: Option<usize>,
    pub status: u16,
    pub count: u64,
}

impl Ledger {
    /// Reads everything.
    pub fn snapshot(&self) -> Snapshot {
        let layout = self.layout();
        let now = now_ms();
        let workers: Vec<WorkerNow> = (0..self.workers_used())
            .map(|row| WorkerNow { row, pid: layout.workers[row].pid(), started: layout.workers[row].started() })
            .filter(|worker| worker.pid != 0)
            .collect();
        let connections: Vec<ConnectionNow> = (0..self.connections_used())
            .filter_map(|seat| {
                let row = &layout.connections[seat];
                let holder = seats::holder(&layout.seats[seat])?;
                let state = row.state();
                (state != ConnectionState::None).then(|| ConnectionNow {
                    seat: seat as u32,
                    worker: layout.workers[holder.row()].pid(),
                    server: row.server(),
                    state,
                    process: row.process(),
                    since_ms: now.saturating_sub(row.since()),
                    age_ms: now.saturating_sub(row.opened_at()),
                    calls: row.calls(),
                    generation: row.generation(),
                    mark: Mark { opened: row.opened_at(), calls: row.calls() },
                })
            })
            .collect();
        let answers: Vec<Series> = layout
            .counters
            .answers()
            .into_iter()
            .map(|(server, path, status, count)| Series { server, path, status, count })
            .collect();
        let total =
            |is_it: &dyn Fn(&Series) -> bool| answers.iter().filter(|one| is_it(one)).map(|one| one.count).sum();
        let servers = layout.servers.iter().enumerate().take_while(|(_, row)| row.is_used()).map(|(row, server)| {
            let mine = || connections.iter().filter(|connection| connection.server == row);
            let (latency, latency_sum) = layout.counters.latency_of(row);
            ServerNow {
                row,
                name: server.name(),
                wish: server.wish.load(super::Ordering::Relaxed),
                health: server.health.load(super::Ordering::Relaxed),
                open: mine().count(),
                busy: mine().filter(|connection| connection.state == ConnectionState::Busy).count(),
                queued: workers.iter().map(|worker| layout.workers[worker.row].waiting(row)).sum(),
                counters: Counter::ALL.map(|counter| (counter, layout.counters.of_server(row, counter))).to_vec(),
                latency,
                latency_sum,
                requests: total(&|one| one.server == Some(row)),
            }
        });
        let servers = servers.collect();
        let paths = layout.paths.iter().enumerate();
        let paths = paths
            .take_while(|(_, path)| path.key.load(super::Ordering::Acquire) != 0)
            .map(|(row, path)| PathNow { row, path: path.name.get(), requests: total(&|one| one.path == Some(row)) });
        Snapshot {
            ledger: self.path().map(Into::into),
            made: layout.made.load(super::Ordering::Relaxed),
            paths: paths.collect(),
            servers,
            failures: layout.counters.failures(),
            tallies: Tally::ALL.map(|tally| (tally, layout.counters.tally_of(tally))).to_vec(),
            workers,
            connections,
            answers,
        }
    }
}
