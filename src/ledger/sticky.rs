//! Which server a session belongs to, as all workers remember it: a table of fixed size, in which each row is one word
//! that is replaced as a whole. No worker waits for another, and one that is killed leaves nothing half done.
//!
//! A row holds 24 bits of the session's key, the server's mark, and when it was used last. The key's other bits choose the
//! set of eight rows, one line of the processor's cache, in which it may stand; when all eight are taken the one that
//! was not used for the longest time makes way. A session that the table has not got is taken for another one with a
//! probability of one in two million, which sends it to that one's server: as good a guess as any.

use super::atomic::{AtomicU64, Ordering};
use crate::profile::Mark;

/// Sessions and their servers. All zeros is an empty table.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct StickyTable {
    sets: [Set; SETS],
}

#[repr(C, align(64))]
#[derive(Debug)]
struct Set {
    rows: [AtomicU64; WAYS],
}

/// What a row's word holds. An empty row is 0.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Row(u64);

/// The most sessions that are remembered.
pub const MOST_SESSIONS: usize = SETS * WAYS;

const SETS: usize = 4096;
const WAYS: usize = 8;
/// Milliseconds in one step of a row's clock, whose 16 bits come round in six days.
const STEP: u64 = 8_192;

impl StickyTable {
    /// An empty table.
    pub const fn new() -> StickyTable {
        StickyTable { sets: [const { Set { rows: [const { AtomicU64::new(0) }; WAYS] } }; SETS] }
    }

    /// The server of a session; marks it as used. `now`: milliseconds of `CLOCK_MONOTONIC`.
    pub fn find(&self, session: u64, now: u64) -> Option<Mark> {
        self.rows_of(session).iter().find_map(|cell| {
            let row = Row(cell.load(Ordering::Relaxed));
            let mark = row.mark_of(session)?;
            let used = Row::new(session, mark, now);
            if used != row {
                // If another worker is quicker, it says the same or something newer.
                let _ = cell.compare_exchange(row.0, used.0, Ordering::Relaxed, Ordering::Relaxed);
            }
            Some(mark)
        })
    }

    /// Remembers the server of a session, in place of what was known of it.
    pub fn learn(&self, session: u64, server: Mark, now: u64) {
        let rows = self.rows_of(session);
        let new = Row::new(session, server, now);
        // Each failure means that another worker has changed this set; after some it is not worth the time.
        for _ in 0..WAYS {
            let place = rows.iter().position(|cell| Row(cell.load(Ordering::Relaxed)).is_of(session));
            let place = place.unwrap_or_else(|| least_recent(rows, now));
            let old = Row(rows[place].load(Ordering::Relaxed));
            if old == new {
                return;
            }
            if rows[place].compare_exchange(old.0, new.0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return remove(&rows[place + 1..], session);
            }
        }
    }

    /// Forgets a session.
    pub fn forget(&self, session: u64) {
        remove(self.rows_of(session), session);
    }

    fn rows_of(&self, session: u64) -> &[AtomicU64] {
        &self.sets[session as usize % SETS].rows
    }
}

impl Default for StickyTable {
    fn default() -> StickyTable {
        StickyTable::new()
    }
}

/// The row to give up: the first empty one, or the one not used for the longest time.
fn least_recent(rows: &[AtomicU64], now: u64) -> usize {
    let age = |cell: &AtomicU64| match Row(cell.load(Ordering::Relaxed)) {
        Row(0) => u16::MAX.into(),
        row => u32::from(step(now).wrapping_sub(row.step())),
    };
    // Of several the first, so that workers agree.
    let oldest = rows.iter().enumerate().max_by_key(|(place, cell)| (age(cell), std::cmp::Reverse(*place)));
    oldest.map_or(0, |(place, _)| place)
}

/// Removes rows of a session that two workers have put into one set at once.
fn remove(rows: &[AtomicU64], session: u64) {
    for cell in rows {
        let row = Row(cell.load(Ordering::Relaxed));
        if row.is_of(session) {
            let _ = cell.compare_exchange(row.0, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Row {
    fn new(session: u64, server: Mark, now: u64) -> Row {
        Row(session >> 40 << 40 | u64::from(server.number()) << 16 | u64::from(step(now)))
    }

    fn is_of(self, session: u64) -> bool {
        self.0 != 0 && self.0 >> 40 == session >> 40
    }

    fn mark_of(self, session: u64) -> Option<Mark> {
        let number = (self.0 >> 16) as u32 & 0xff_ffff;
        Mark::from_number(number).filter(|_| self.is_of(session))
    }

    fn step(self) -> u16 {
        self.0 as u16
    }
}

/// The row clock at a time.
fn step(now: u64) -> u16 {
    (now / STEP) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The n-th of the sessions that share a set.
    fn session(n: u64) -> u64 {
        (n + 1) << 40 | 5
    }

    fn mark(name: &str) -> Mark {
        Mark::of(name)
    }

    #[test]
    fn what_was_learned_is_found_until_something_else_is_learned_or_it_is_forgotten() {
        let table = Box::new(StickyTable::new());
        assert_eq!(table.find(session(0), 0), None);
        table.learn(session(0), mark("A"), 0);
        table.learn(session(1), mark("B"), 0);
        assert_eq!(table.find(session(0), 9), Some(mark("A")));
        table.learn(session(0), mark("B"), 9);
        assert_eq!(table.find(session(0), 9), Some(mark("B")));
        table.forget(session(0));
        assert_eq!(table.find(session(0), 9), None);
        assert_eq!(table.find(session(1), 9), Some(mark("B")));
    }

    #[test]
    fn the_session_not_used_for_the_longest_time_makes_way() {
        let table = Box::new(StickyTable::new());
        (0..8).for_each(|n| table.learn(session(n), mark("A"), n * STEP));
        assert!(table.find(session(0), 8 * STEP).is_some());
        table.learn(session(8), mark("A"), 9 * STEP);
        let kept: Vec<u64> = (0..9).filter(|&n| table.find(session(n), 10 * STEP).is_some()).collect();
        assert_eq!(kept, [0, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn the_row_clock_may_come_round() {
        let table = Box::new(StickyTable::new());
        let end = STEP << 16;
        (0..8).for_each(|n| table.learn(session(n), mark("A"), end - (8 - n) * STEP));
        table.learn(session(8), mark("A"), end + STEP);
        assert_eq!(table.find(session(0), end + STEP), None);
        assert!((1..9).all(|n| table.find(session(n), end + STEP).is_some()));
    }

    #[test]
    fn any_zeroed_memory_is_an_empty_table_of_a_quarter_of_a_megabyte() {
        assert_eq!(size_of::<StickyTable>(), 256 * 1024);
        assert_eq!(size_of::<Set>(), 64);
        assert_eq!(MOST_SESSIONS, 32_768);
    }

    #[test]
    fn workers_at_once_lose_no_session_that_has_room_and_never_tell_a_wrong_server() {
        let table = Box::new(StickyTable::new());
        let server_of = |n: u64| mark(if n.is_multiple_of(2) { "A" } else { "B" });
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let table = &table;
                scope.spawn(move || {
                    for round in 0..2_000 {
                        // Ten sessions for eight rows: there is always one too many.
                        let n = (round + worker * 3) % 10;
                        table.learn(session(n), server_of(n), round * STEP);
                        for other in 0..10 {
                            let found = table.find(session(other), round * STEP);
                            assert!(found.is_none_or(|found| found == server_of(other)));
                        }
                    }
                });
            }
        });
        let rows: Vec<u64> = table.rows_of(session(0)).iter().map(|cell| cell.load(Ordering::Relaxed) >> 40).collect();
        assert!(rows.iter().all(|&row| row != 0), "all rows are in use");
    }

    proptest! {
        #[test]
        fn a_row_holds_what_it_was_made_of(key in 1u64 << 40.., name: String, now: u64) {
            let row = Row::new(key, mark(&name), now);
            prop_assert_eq!(row.mark_of(key), Some(mark(&name)));
            prop_assert_eq!(row.step(), step(now));
            prop_assert_eq!(row.mark_of(key ^ 1 << 40), None);
        }

        #[test]
        fn any_words_in_the_memory_are_survived(words: [u64; 8], key: u64, now: u64) {
            let table = Box::new(StickyTable::new());
            table.rows_of(key).iter().zip(words).for_each(|(cell, word)| cell.store(word, Ordering::Relaxed));
            let _ = table.find(key, now);
            table.learn(key, mark("A"), now);
            let found = table.find(key, now);
            prop_assert!(found == Some(mark("A")) || key >> 40 == 0);
            table.forget(key);
            prop_assert_eq!(table.find(key, now), None);
        }
    }
}
