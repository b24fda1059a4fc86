//! Sessions and lock-outs of the management pages, as all workers share them: tables of a fixed size, made of atomics
//! alone, which are valid when zeroed.
//!
//! A session's id is in the browser only; here stands its SHA-256 digest. A row is written under its stamp, which is odd
//! meanwhile, and ends with a check word over everything that must belong together, so that a writer that was killed or
//! overtaken leaves no row that anybody could take for a session.
//!
//! Times are milliseconds of the ledger's clock, [`super::now_ms`]; never 0, which means free.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

/// Everything that the management pages share. Valid when zeroed.
#[repr(C)]
pub struct SessionTable {
    /// Random: what tokens are signed with. A word of 0 has not been set yet.
    key: [AtomicU64; 4],
    sessions: [Row; SESSIONS],
    addresses: [Lock; ADDRESSES],
    users: [Lock; USERS],
}

/// One session.
#[repr(C)]
struct Row {
    /// Odd while the row is being written.
    stamp: AtomicU64,
    id: [AtomicU64; 4],
    user: [AtomicU64; 4],
    role: AtomicU64,
    mark: AtomicU64,
    begun: AtomicU64,
    check: AtomicU64,
    /// Not under the check: it changes with each request. 0: the row is free.
    last_use: AtomicU64,
}

/// How often somebody has failed to log in.
#[repr(C)]
struct Lock {
    /// Whom it is about; 0: the row is free.
    key: AtomicU64,
    failures: AtomicU64,
    /// No attempt is looked at before.
    until: AtomicU64,
    last: AtomicU64,
}

/// A session as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose, as far as 32 bytes go.
    pub user: String,
    /// A number that the management pages give a meaning.
    pub role: u8,
    /// Of the credential that was used: a changed password ends the session.
    pub mark: u64,
    /// When it began.
    pub begun: u64,
    /// When it was used last, before now.
    pub last_use: u64,
}

/// Whose attempts are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A client address.
    Address,
    /// A user name, from whatever address. Locked out for a short time only, so that nobody can keep the owner out.
    User,
}

/// The most sessions at once; the one that was used least recently gives way.
pub const SESSIONS: usize = 256;
const ADDRESSES: usize = 512;
const USERS: usize = 128;

/// The attempts that cost nothing.
const FREE_ATTEMPTS: u64 = 3;
/// Failures are forgotten after this time without another.
const FORGOTTEN_AFTER: u64 = 3_600_000;
/// A writer that has not finished after this time has been killed.
const WRITER_IS_DEAD: u64 = 10_000;

impl Whose {
    fn longest_delay(self) -> u64 {
        match self {
            Whose::Address => 900_000,
            Whose::User => 30_000,
        }
    }
}

impl SessionTable {
    /// A table of this process alone, for tests and for hosts with one process.
    pub fn alone() -> Box<SessionTable> {
        Box::new(SessionTable {
            key: [const { AtomicU64::new(0) }; 4],
            sessions: [const { Row::free() }; SESSIONS],
            addresses: [const { Lock::free() }; ADDRESSES],
            users: [const { Lock::free() }; USERS],
        })
    }

    /// The key that tokens are signed with: random, the same in all workers, gone with the memory.
    pub fn key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        for ((word, bytes), chance) in self.key.iter().zip(key.chunks_exact_mut(8)).zip(random().chunks_exact(8)) {
            // The first one to come sets a word; whoever is killed meanwhile leaves the others to the next.
            let _ = word.compare_exchange(0, first_word(chance) | 1, Ordering::AcqRel, Ordering::Acquire);
            bytes.copy_from_slice(&word.load(Ordering::Acquire).to_ne_bytes());
        }
        key
    }

    /// Begins a session for whoever has logged in; gives its id, which goes to the browser and nowhere else.
    pub fn begin(&self, user: &str, role: u8, mark: u64, now: u64) -> String {
        let id: String = random().iter().map(|byte| format!("{byte:02x}")).collect();
        loop {
            let Some((row, stamp)) = self.row_to_use(now) else {
                std::thread::yield_now();
                continue;
            };
            row.last_use.store(now.max(1), Ordering::Relaxed);
            store(&row.id, &digest(&id));
            store(&row.user, &packed(user));
            row.role.store(u64::from(role), Ordering::Relaxed);
            row.mark.store(mark, Ordering::Relaxed);
            row.begun.store(now, Ordering::Relaxed);
            row.check.store(row.checksum(), Ordering::Relaxed);
            if row.stamp.compare_exchange(stamp, stamp + 1, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return id;
            }
        }
    }

    /// The session of this id, if there is one that was used within `idle` and begun within `longest` milliseconds. It
    /// counts as used.
    pub fn find(&self, id: &str, now: u64, idle: u64, longest: u64) -> Option<Session> {
        let row = self.row_of(id)?;
        let session = row.read(&digest(id))?;
        if now.saturating_sub(session.last_use) > idle || now.saturating_sub(session.begun) > longest {
            self.end(id);
            return None;
        }
        row.last_use.store(now.max(1), Ordering::Relaxed);
        Some(session)
    }

    /// Ends a session.
    pub fn end(&self, id: &str) {
        if let Some(row) = self.row_of(id) {
            row.clear();
        }
    }

    /// The milliseconds to wait before an attempt to log in is looked at; 0 for none. Counts nothing.
    pub fn wait(&self, whose: Whose, who: &str, now: u64) -> u64 {
        self.lock_of(whose, who, now).until.load(Ordering::Acquire).saturating_sub(now)
    }

    /// Counts an attempt to log in before it is looked at, so that attempts at the same time do not slip through.
    ///
    /// # Errors
    ///
    /// The milliseconds to wait; the attempt must not be looked at.
    pub fn attempt(&self, whose: Whose, who: &str, now: u64) -> Result<(), u64> {
        let lock = self.lock_of(whose, who, now);
        if now.saturating_sub(lock.last.load(Ordering::Acquire)) > FORGOTTEN_AFTER {
            lock.failures.store(0, Ordering::Release);
        }
        let until = lock.until.load(Ordering::Acquire);
        if until > now {
            return Err(until - now);
        }
        lock.last.store(now, Ordering::Release);
        let failures = lock.failures.fetch_add(1, Ordering::AcqRel) + 1;
        if failures >= FREE_ATTEMPTS {
            let doublings = (failures - FREE_ATTEMPTS).min(20);
            let until = now + (1000 << doublings).min(whose.longest_delay());
            lock.until.store(until, Ordering::Release);
        }
        Ok(())
    }

    /// The attempt succeeded: what was counted before is forgotten.
    pub fn succeeded(&self, whose: Whose, who: &str, now: u64) {
        let lock = self.lock_of(whose, who, now);
        lock.failures.store(0, Ordering::Release);
        lock.until.store(0, Ordering::Release);
    }

    fn row_of(&self, id: &str) -> Option<&Row> {
        let id = digest(id);
        self.sessions.iter().find(|row| row.read(&id).is_some())
    }

    /// A row that nobody uses, or the one used least recently, with its stamp while it is being written.
    fn row_to_use(&self, now: u64) -> Option<(&Row, u64)> {
        let seen = self.sessions.iter().map(|row| (row, row.stamp.load(Ordering::Acquire), row.last_use()));
        let is_usable =
            |stamp: u64, last_use: u64| stamp.is_multiple_of(2) || now.saturating_sub(last_use) > WRITER_IS_DEAD;
        let usable = seen.filter(|(_, stamp, last_use)| is_usable(*stamp, *last_use));
        let (row, stamp, _) = usable.min_by_key(|(.., last_use)| *last_use)?;
        // The stamp as it was looked at: somebody else may have begun a session in the row since.
        let odd = stamp + 1 + stamp % 2;
        row.stamp.compare_exchange(stamp, odd, Ordering::AcqRel, Ordering::Acquire).ok()?;
        Some((row, odd))
    }

    /// The row of somebody; if there is none, that of whoever matters least.
    fn lock_of(&self, whose: Whose, who: &str, now: u64) -> &Lock {
        let rows: &[Lock] = match whose {
            Whose::Address => &self.addresses,
            Whose::User => &self.users,
        };
        let words = digest(who);
        let key = words[0] | 1;
        if let Some(row) = rows.iter().find(|row| row.key.load(Ordering::Acquire) == key) {
            return row;
        }
        loop {
            let matters = |row: &&Lock| {
                let free = row.key.load(Ordering::Acquire) == 0;
                let old = now.saturating_sub(row.last.load(Ordering::Relaxed)) > FORGOTTEN_AFTER;
                let failures = row.failures.load(Ordering::Relaxed);
                (!free, !old, failures, row.last.load(Ordering::Relaxed))
            };
            let Some(row) = rows.iter().min_by_key(matters) else { unreachable!("the tables have rows") };
            let before = row.key.load(Ordering::Acquire);
            if row.key.compare_exchange(before, key, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                row.failures.store(0, Ordering::Release);
                row.until.store(0, Ordering::Release);
                row.last.store(now, Ordering::Release);
                return row;
            }
        }
    }
}

impl Row {
    const fn free() -> Row {
        Row {
            stamp: AtomicU64::new(0),
            id: [const { AtomicU64::new(0) }; 4],
            user: [const { AtomicU64::new(0) }; 4],
            role: AtomicU64::new(0),
            mark: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            check: AtomicU64::new(0),
            last_use: AtomicU64::new(0),
        }
    }

    /// The session, if the row is whole and has this digest.
    fn read(&self, id: &[u64; 4]) -> Option<Session> {
        let stamp = self.stamp.load(Ordering::Acquire);
        let last_use = self.last_use.load(Ordering::Relaxed);
        if last_use == 0 || !stamp.is_multiple_of(2) || load(&self.id) != *id {
            return None;
        }
        let session = Session {
            user: unpacked(&load(&self.user)),
            role: u8::try_from(self.role.load(Ordering::Relaxed)).ok()?,
            mark: self.mark.load(Ordering::Relaxed),
            begun: self.begun.load(Ordering::Relaxed),
            last_use,
        };
        let whole = self.check.load(Ordering::Relaxed) == self.checksum();
        std::sync::atomic::fence(Ordering::Acquire);
        (whole && self.stamp.load(Ordering::Relaxed) == stamp && load(&self.id) == *id).then_some(session)
    }

    fn last_use(&self) -> u64 {
        self.last_use.load(Ordering::Relaxed)
    }

    fn clear(&self) {
        let stamp = self.stamp.load(Ordering::Acquire);
        let even = stamp.is_multiple_of(2);
        if even && self.stamp.compare_exchange(stamp, stamp + 1, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            store(&self.id, &[0; 4]);
            self.check.store(0, Ordering::Relaxed);
            self.last_use.store(0, Ordering::Relaxed);
            self.stamp.store(stamp + 2, Ordering::Release);
        }
    }

    fn checksum(&self) -> u64 {
        let mut hash = Sha256::new();
        for word in self.id.iter().chain(&self.user).chain([&self.role, &self.mark, &self.begun]) {
            hash.update(word.load(Ordering::Relaxed).to_le_bytes());
        }
        first_word(&hash.finalize())
    }
}

impl Lock {
    const fn free() -> Lock {
        Lock { key: AtomicU64::new(0), failures: AtomicU64::new(0), until: AtomicU64::new(0), last: AtomicU64::new(0) }
    }
}

impl fmt::Debug for SessionTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionTable")
    }
}

/// 32 bytes that nobody can guess.
pub fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < bytes.len() {
        // Without flags it waits until the kernel has gathered enough, and then gives all of it.
        match rustix::rand::getrandom(&mut bytes[at..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => at += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("the kernel gives no random bytes: {error}"),
        }
    }
    bytes
}

fn digest(text: &str) -> [u64; 4] {
    let hash = Sha256::digest(text.as_bytes());
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(hash.chunks_exact(8)) {
        *word = first_word(bytes);
    }
    words
}

fn first_word(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// What a session remembers of a name: its first 32 bytes, cut between letters.
pub fn name_of_session(name: &str) -> &str {
    let end = (0..=name.len().min(32)).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    &name[..end]
}

fn packed(name: &str) -> [u64; 4] {
    let name = name_of_session(name);
    let mut bytes = [0; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = first_word(bytes);
    }
    words
}

fn unpacked(words: &[u64; 4]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn load(words: &[AtomicU64; 4]) -> [u64; 4] {
    [0, 1, 2, 3].map(|index| words[index].load(Ordering::Relaxed))
}

fn store(words: &[AtomicU64; 4], values: &[u64; 4]) {
    words.iter().zip(values).for_each(|(word, value)| word.store(*value, Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_session_is_found_by_its_id_alone_until_it_idles_too_long_or_is_ended() {
        let table = SessionTable::alone();
        let id = table.begin("administrateur-m\u{fc}ller-with-a-long-name", 2, 7, 1000);
        assert_eq!(id.len(), 64);
        let found = table.find(&id, 1500, 1000, HOUR).unwrap();
        assert_eq!((found.role, found.mark, found.begun, found.last_use), (2, 7, 1000, 1000));
        assert_eq!(found.user, "administrateur-m\u{fc}ller-with-a-lo");
        assert!(table.find(&id, 2400, 1000, HOUR).is_some(), "it was used at 1500");
        assert!(table.find("", 2400, 1000, HOUR).is_none() && table.find(&id[1..], 2400, 1000, HOUR).is_none());
        assert!(table.find(&id, 3401, 1000, HOUR).is_none(), "it idled too long");
        assert!(table.find(&id, 3401, HOUR, HOUR).is_none(), "and is gone for good");
        let id = table.begin("a", 0, 0, 5000);
        assert!(table.find(&id, 6000, HOUR, 500).is_none(), "it lasted too long");
        let id = table.begin("a", 0, 0, 5000);
        table.end(&id);
        assert!(table.find(&id, 5000, HOUR, HOUR).is_none());
    }

    #[test]
    fn the_session_used_least_recently_gives_way() {
        let table = SessionTable::alone();
        let ids: Vec<String> = (0..SESSIONS as u64).map(|number| table.begin("a", 0, number, 1000 + number)).collect();
        assert!(table.find(&ids[0], 9000, HOUR, HOUR).is_some());
        table.begin("new", 0, 0, 9001);
        assert!(table.find(&ids[0], 9002, HOUR, HOUR).is_some());
        assert!(table.find(&ids[1], 9002, HOUR, HOUR).is_none());
        assert!(table.find(&ids[2], 9002, HOUR, HOUR).is_some());
    }

    #[test]
    fn of_a_row_that_a_killed_writer_left_nobody_gets_a_session() {
        let table = SessionTable::alone();
        let id = table.begin("a", 0, 0, 1000);
        let row = table.row_of(&id).unwrap();
        row.role.store(2, Ordering::Relaxed);
        assert!(table.find(&id, 1001, HOUR, HOUR).is_none(), "the check word does not fit");
        for row in &table.sessions {
            row.stamp.store(1, Ordering::Relaxed);
            row.last_use.store(1000, Ordering::Relaxed);
        }
        let id = table.begin("b", 1, 0, 1000 + WRITER_IS_DEAD + 1);
        assert_eq!(table.find(&id, 1000 + WRITER_IS_DEAD + 1, HOUR, HOUR).unwrap().role, 1);
    }

    #[test]
    fn many_begin_and_end_sessions_at_once_and_each_gets_its_own() {
        let table = SessionTable::alone();
        std::thread::scope(|scope| {
            for number in 0..4u64 {
                let table = &table;
                scope.spawn(move || {
                    for round in 0..200 {
                        let id = table.begin(&format!("user{number}"), number as u8, round, 1000 + round);
                        let session = table.find(&id, 1000 + round, HOUR, HOUR).expect("it has just begun");
                        assert_eq!((session.role, session.mark), (number as u8, round));
                        table.end(&id);
                    }
                });
            }
        });
    }

    #[test]
    fn the_delay_grows_with_each_failure_and_ends_with_a_success() {
        let table = SessionTable::alone();
        let mut now = 10_000;
        let mut waits = Vec::new();
        for _ in 0..16 {
            match table.attempt(Whose::Address, "10.0.0.1", now) {
                Ok(()) => waits.push(0),
                Err(wait) => {
                    waits.push(wait);
                    now += wait;
                }
            }
        }
        assert_eq!(waits, [0, 0, 0, 1000, 0, 2000, 0, 4000, 0, 8000, 0, 16_000, 0, 32_000, 0, 64_000]);
        assert!(table.attempt(Whose::Address, "10.0.0.2", now).is_ok(), "another address is not concerned");
        now += 1000;
        table.succeeded(Whose::Address, "10.0.0.1", now);
        assert!(table.attempt(Whose::Address, "10.0.0.1", now).is_ok());
    }

    #[test]
    fn nobody_can_keep_a_user_out_for_long_and_failures_are_forgotten() {
        let table = SessionTable::alone();
        let mut now = 10_000;
        for _ in 0..40 {
            if let Err(wait) = table.attempt(Whose::User, "admin", now) {
                assert!(wait <= 30_000);
                now += wait;
            }
        }
        now += FORGOTTEN_AFTER + 1;
        for _ in 0..3 {
            assert!(table.attempt(Whose::User, "admin", now).is_ok());
        }
        assert!(table.attempt(Whose::User, "admin", now).is_err());
        // A flood of other names does not push it out.
        for number in 0..10 * USERS {
            let _ = table.attempt(Whose::User, &format!("name{number}"), now);
        }
        assert!(table.attempt(Whose::User, "admin", now).is_err());
    }

    #[test]
    fn the_key_is_made_once() {
        let table = SessionTable::alone();
        let keys = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| table.key())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(keys.iter().all(|key| *key == keys[0] && *key != [0; 32]));
        assert_ne!(SessionTable::alone().key(), keys[0]);
    }
}
