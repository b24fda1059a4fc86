//! What all workers know of one server.

use sha2::{Digest, Sha256};

use super::atomic::{AtomicU32, AtomicU64, Ordering};
use super::{PLACES, WORKERS};

/// One server, by its name.
#[repr(C)]
pub struct ServerRow {
    key: AtomicU64,
    name: Name<8>,
    /// What an administrator wants of it; see [`crate::pool`].
    pub wish: AtomicU32,
    /// Places from here on have never been used.
    places_used: AtomicU32,
    /// Connections that were open at this time are not used again: the server has probably been restarted.
    restarted: AtomicU64,
    /// How it does; see [`crate::pool`].
    pub health: AtomicU64,
    /// Until when somebody is trying it out.
    pub probe: AtomicU64,
    /// What is left for retries.
    pub retries: AtomicU64,
    /// Who waits for a place.
    pub(super) waiting: [AtomicU64; WORKERS / 64],
}

impl ServerRow {
    pub(super) fn key(&self) -> &AtomicU64 {
        &self.key
    }

    pub(super) fn set_name(&self, name: &str) {
        self.name.set(name);
    }

    /// The name, of at most 64 bytes.
    pub fn name(&self) -> String {
        self.name.get()
    }

    pub(super) fn places_used(&self) -> usize {
        (self.places_used.load(Ordering::Acquire) as usize).min(PLACES)
    }

    /// Places up to this one may be used from now on.
    pub(super) fn use_places(&self, count: u32) {
        if self.places_used.load(Ordering::Relaxed) < count {
            self.places_used.fetch_max(count, Ordering::SeqCst);
        }
    }

    pub(super) fn is_used(&self) -> bool {
        self.key.load(Ordering::Acquire) != 0
    }

    /// Something went wrong that smells of a restart: connections from before are not used again, in no worker.
    pub fn note_restart(&self, now: u64) {
        self.restarted.fetch_max(now, Ordering::Release);
    }

    /// When something last smelled of a restart; 0 for never.
    pub fn restarted(&self) -> u64 {
        self.restarted.load(Ordering::Acquire)
    }

    /// Whether a connection that was opened at this time is from before the last restart.
    pub fn is_from_before_restart(&self, opened: u64) -> bool {
        opened <= self.restarted.load(Ordering::Acquire)
    }

    /// Takes the right to try the server out, for `span` milliseconds, unless somebody has it.
    pub fn claim_probe(&self, now: u64, span: u64) -> bool {
        let until = self.probe.load(Ordering::Acquire);
        now >= until && self.probe.compare_exchange(until, now + span, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Gives that right back.
    pub fn end_probe(&self) {
        self.probe.store(0, Ordering::Release);
    }
}

/// A short text, readable at any time. All who write it write the same.
#[repr(C)]
pub(super) struct Name<const WORDS: usize>([AtomicU64; WORDS]);

impl<const WORDS: usize> Name<WORDS> {
    /// Stores as much as there is room for.
    pub(super) fn set(&self, text: &str) {
        for (word, bytes) in self.0.iter().zip(text.as_bytes().chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }
}

/// What a name is found by; never 0.
pub(super) fn key_of(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    let mut key = [0; 8];
    key.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(key) | 1
}

/// The row with this key, or a free one that has it from now on. Rows are never given up.
pub(super) fn find_or_claim<T>(
    rows: &[T],
    key: u64,
    key_in: impl Fn(&T) -> &AtomicU64,
    name: impl Fn(&T),
) -> Option<usize> {
    let position = rows.iter().position(|row| {
        let found = match key_in(row).load(Ordering::Acquire) {
            0 => match key_in(row).compare_exchange(0, key, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => key,
                Err(other) => other,
            },
            found => found,
        };
        found == key
    })?;
    name(&rows[position]);
    Some(position)
}
