//! What all workers know of one connection. It stands behind the seat that its worker holds for it.

use super::atomic::{AtomicU32, AtomicU64, Ordering};

/// One connection.
#[repr(C)]
pub struct ConnectionRow {
    state: AtomicU32,
    /// The server's row.
    server: AtomicU32,
    wish: AtomicU32,
    spare: AtomicU32,
    opened: AtomicU64,
    /// Since when it is in its state.
    since: AtomicU64,
    /// Calls that it has completed.
    calls: AtomicU64,
    /// Process number on the server, as it named it; 0 if it did not.
    process: AtomicU64,
    generation: AtomicU64,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// There is none.
    None,
    /// It is being made.
    Opening,
    /// It waits for a request.
    Idle,
    /// It has a request.
    Busy,
}

const NOTHING: u32 = 0;
const CLOSE: u32 = 1;
const INTERRUPT: u32 = 2;

impl ConnectionRow {
    /// A connection is about to be made.
    pub(super) fn begin(&self, server: usize, now: u64) {
        self.server.store(server as u32, Ordering::Relaxed);
        self.wish.store(NOTHING, Ordering::Relaxed);
        self.calls.store(0, Ordering::Relaxed);
        self.process.store(0, Ordering::Relaxed);
        self.since.store(now, Ordering::Relaxed);
        self.opened.store(now, Ordering::Relaxed);
        self.state.store(1, Ordering::Release);
    }

    /// It has been made, and has a request at once.
    pub fn opened(&self, process: u64, generation: u64, now: u64) {
        self.process.store(process, Ordering::Relaxed);
        self.generation.store(generation, Ordering::Relaxed);
        self.opened.store(now, Ordering::Relaxed);
        self.busy(now);
    }

    /// It has a request.
    pub fn busy(&self, now: u64) {
        self.since.store(now, Ordering::Relaxed);
        self.state.store(3, Ordering::Release);
    }

    /// It waits for the next request.
    pub fn idle(&self, calls: u64, now: u64) {
        self.calls.store(calls, Ordering::Relaxed);
        self.since.store(now, Ordering::Relaxed);
        self.state.store(2, Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.state.store(0, Ordering::Release);
    }

    pub(super) fn ask(&self, interrupt: bool) {
        let wish = if interrupt { INTERRUPT } else { CLOSE };
        self.wish.fetch_max(wish, Ordering::AcqRel);
    }

    /// Asks for it to be given up if it idles and nobody has asked yet.
    pub(super) fn ask_if_idle(&self) -> bool {
        self.state() == ConnectionState::Idle
            && self.wish.compare_exchange(NOTHING, CLOSE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether somebody wants it closed.
    pub fn is_to_close(&self) -> bool {
        self.wish.load(Ordering::Acquire) != NOTHING
    }

    /// Whether somebody wants it closed in the middle of its request.
    pub fn is_to_interrupt(&self) -> bool {
        self.wish.load(Ordering::Acquire) == INTERRUPT
    }

    pub fn state(&self) -> ConnectionState {
        match self.state.load(Ordering::Acquire) {
            1 => ConnectionState::Opening,
            2 => ConnectionState::Idle,
            3 => ConnectionState::Busy,
            _ => ConnectionState::None,
        }
    }

    pub fn server(&self) -> usize {
        self.server.load(Ordering::Relaxed) as usize
    }

    /// When it was opened.
    pub fn opened_at(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub fn process(&self) -> u64 {
        self.process.load(Ordering::Relaxed)
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
}
