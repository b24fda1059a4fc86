//! What is counted. Every worker counts at the same places, in one of a few shards so that processors do not wait for each
//! other: nothing is lost when a worker is killed, and nothing has to be folded.

use super::SERVERS;
use super::atomic::{AtomicU64, Ordering};

/// Copies of every counter.
const SHARDS: usize = 8;
/// Different answers: server, path and status.
const SERIES: usize = 4096;
/// Numbers of failures are below this.
const CODES: usize = 1024;
/// Upper bounds of the latency histogram, in milliseconds; a last bucket has no bound.
pub const BOUNDS: [u64; 15] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000];
const BUCKETS: usize = BOUNDS.len() + 1;

/// What is counted for each server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Connections that logged in.
    Opened,
    /// Attempts to connect that failed.
    NotOpened,
    /// Connections that ended, for whatever reason.
    Closed,
    /// TLS handshakes with a certificate.
    Handshakes,
    /// TLS handshakes that resumed a session.
    Resumptions,
    /// Requests that had to wait for a connection.
    Queued,
    /// Idle connections that turned out to be dead before use.
    Stale,
    /// Requests that were sent again.
    Retries,
    /// Connections passed to another worker's waiting request by closing them.
    GivenUp,
    /// Times that the server was taken out of use.
    Ejections,
}

const COUNTERS: usize = Counter::ALL.len();

impl Counter {
    pub const ALL: [Counter; 10] = [
        Counter::Opened,
        Counter::NotOpened,
        Counter::Closed,
        Counter::Handshakes,
        Counter::Resumptions,
        Counter::Queued,
        Counter::Stale,
        Counter::Retries,
        Counter::GivenUp,
        Counter::Ejections,
    ];
}

/// What is counted for the gateway as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Tally {
    /// Workers that started.
    WorkersStarted,
    /// Workers that ended without saying so.
    WorkersLost,
    /// Changed configurations that came into force, in each worker.
    Reloads,
    /// Changed configurations that could not be used, in each worker.
    ReloadFailures,
    /// Requests answered by the management pages.
    Management,
}

impl Tally {
    pub const ALL: [Tally; 5] =
        [Tally::WorkersStarted, Tally::WorkersLost, Tally::Reloads, Tally::ReloadFailures, Tally::Management];
}

#[repr(C)]
pub(super) struct Counters {
    /// Which server, path and status stands at each place; see [`pack`].
    series: [AtomicU64; SERIES],
    shards: [Shard; SHARDS],
}

#[repr(C, align(64))]
struct Shard {
    answers: [AtomicU64; SERIES],
    servers: [[AtomicU64; COUNTERS]; SERVERS],
    latency: [[AtomicU64; BUCKETS]; SERVERS],
    /// Sum of the latencies, in microseconds.
    latency_sum: [AtomicU64; SERVERS],
    failures: [AtomicU64; CODES],
    tallies: [AtomicU64; Tally::ALL.len()],
}

/// Where a request's answer is counted if no server or path is known.
const NOBODY: u64 = 0xffff;

fn pack(server: Option<usize>, path: Option<usize>, status: u16) -> u64 {
    let part = |index: Option<usize>| index.map_or(NOBODY, |index| index as u64);
    1 << 63 | part(server) << 32 | part(path) << 16 | u64::from(status)
}

impl Counters {
    fn shard(&self, worker: usize) -> &Shard {
        &self.shards[worker % SHARDS]
    }

    /// An answer to a request. If there are more kinds of them than places, what is left is counted without a path.
    pub(super) fn answer(&self, worker: usize, server: Option<usize>, path: Option<usize>, status: u16) {
        let place = self.place(pack(server, path, status)).or_else(|| self.place(pack(server, None, status)));
        let last = SERIES - 1;
        self.shard(worker).answers[place.unwrap_or(last)].fetch_add(1, Ordering::Relaxed);
    }

    fn place(&self, key: u64) -> Option<usize> {
        // Fibonacci hashing: the keys differ in few, low bits.
        let start = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize % SERIES;
        (0..SERIES / 8).map(|step| (start + step) % SERIES).find(|&place| {
            let mut found = self.series[place].load(Ordering::Acquire);
            if found == 0 {
                found = match self.series[place].compare_exchange(0, key, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => key,
                    Err(other) => other,
                };
            }
            found == key
        })
    }

    pub(super) fn count(&self, worker: usize, server: usize, counter: Counter) {
        self.shard(worker).servers[server][counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn latency(&self, worker: usize, server: usize, micros: u64) {
        let bucket = BOUNDS.iter().position(|&bound| micros <= bound * 1000).unwrap_or(BOUNDS.len());
        let shard = self.shard(worker);
        shard.latency[server][bucket].fetch_add(1, Ordering::Relaxed);
        shard.latency_sum[server].fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn failure(&self, worker: usize, code: u16) {
        self.shard(worker).failures[usize::from(code) % CODES].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn tally(&self, worker: usize, tally: Tally) {
        self.shard(worker).tallies[tally as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn sum(&self, of: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum()
    }

    /// Every kind of answer that was counted: server, path, status, how many.
    pub(super) fn answers(&self) -> Vec<(Option<usize>, Option<usize>, u16, u64)> {
        let part = |key: u64| Some(key & 0xffff).filter(|&part| part != NOBODY).map(|part| part as usize);
        let keys = self.series.iter().enumerate().map(|(place, key)| (place, key.load(Ordering::Acquire)));
        keys.filter(|&(_, key)| key != 0)
            .map(|(place, key)| (part(key >> 32), part(key >> 16), key as u16, self.sum(|shard| &shard.answers[place])))
            .collect()
    }

    pub(super) fn of_server(&self, server: usize, counter: Counter) -> u64 {
        self.sum(|shard| &shard.servers[server][counter as usize])
    }

    /// Answers in each bucket, and the sum of their times in microseconds.
    pub(super) fn latency_of(&self, server: usize) -> ([u64; BUCKETS], u64) {
        let buckets = std::array::from_fn(|bucket| self.sum(|shard| &shard.latency[server][bucket]));
        (buckets, self.sum(|shard| &shard.latency_sum[server]))
    }

    /// Failures that happened: code and how often.
    pub(super) fn failures(&self) -> Vec<(u16, u64)> {
        let all = (0..CODES as u16).map(|code| (code, self.sum(|shard| &shard.failures[usize::from(code)])));
        all.filter(|&(_, count)| count > 0).collect()
    }

    pub(super) fn tally_of(&self, tally: Tally) -> u64 {
        self.sum(|shard| &shard.tallies[tally as usize])
    }
}
