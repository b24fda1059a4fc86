//! The names that a worker's servers are reached by, and their addresses.
//!
//! The first look-up of a name is waited for; from then on there are addresses at once, and they are looked up again in the
//! background. A look-up that fails leaves the addresses as they were. Each look-up has a thread of its own, with all
//! signals blocked, for as long as it lasts: the system's resolver may hang for half a minute, and a name whose server is
//! down must hold up neither another name nor the caretaker.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Pool;
use super::fresh::Named;
use crate::connection::resolve::{self, Addresses, Lookup, Resolver, to_addresses};
use crate::event_log::{Level, Log};
use crate::profile::Server;
use crate::threads::with_signals_blocked;

/// The names of a worker.
pub struct Names {
    shared: Arc<Shared>,
}

/// What the look-ups' threads hold; it outlives a worker whose resolver hangs.
struct Shared {
    look_up: Box<LookUp>,
    entries: Mutex<HashMap<String, Entry>>,
    /// Look-ups under way.
    running: Mutex<usize>,
    ended: Condvar,
}

/// How a name is looked up: [`resolve::look_up`], except in tests.
type LookUp = dyn Fn(&str) -> Result<Vec<SocketAddr>, String> + Send + Sync;

/// How often it is seen to whether something is to be looked up, told or closed.
const LOOK: Duration = Duration::from_millis(500);
/// A failed look-up, or one of addresses that do not answer, is not repeated sooner.
const RETRY: Duration = Duration::from_secs(1);
/// How long a stop waits for look-ups that the system's resolver does not give back.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of one name.
#[derive(Debug, Default)]
struct Entry {
    /// What was found last.
    good: Option<Named>,
    under_way: Option<Arc<Lookup>>,
    /// How the last look-up ended, and when.
    last: Option<(Instant, Result<(), String>)>,
    /// None of the addresses answers.
    doubted: bool,
    /// The addresses that the log knows of.
    told: Option<Addresses>,
    /// The log knows that the name cannot be looked up.
    told_failure: bool,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("entries", &self.shared.entries).finish_non_exhaustive()
    }
}

impl Names {
    /// No names yet; they are looked up by `look_up`, each in a thread of its own.
    pub fn new(look_up: impl Fn(&str) -> Result<Vec<SocketAddr>, String> + Send + Sync + 'static) -> Names {
        let look_up = Box::new(look_up);
        let shared = Shared { look_up, entries: Mutex::default(), running: Mutex::default(), ended: Condvar::new() };
        Names { shared: Arc::new(shared) }
    }

    /// How often [`Names::round`] is due; `None` if no server has a name.
    pub fn period(&self, pools: &[Arc<Pool>]) -> Option<Duration> {
        pools.iter().any(|pool| name_of(&pool.server()).is_some()).then_some(LOOK)
    }

    /// The caretaker's part: starts look-ups that are due, tells what has changed, lets the pools know the addresses that
    /// their names have now, and forgets names that no server has.
    pub fn round(&self, pools: &[Arc<Pool>], now: Instant, log: &Log) {
        let servers: Vec<(&Arc<Pool>, Arc<Server>)> = pools.iter().map(|pool| (pool, pool.server())).collect();
        let mut intervals: HashMap<&str, Duration> = HashMap::new();
        for (_, server) in &servers {
            if let Some(name) = name_of(server) {
                let interval = intervals.entry(name).or_insert(server.resolve_interval);
                *interval = shorter(*interval, server.resolve_interval);
            }
        }
        let mut news = Vec::new();
        let mut entries = self.shared.entries.lock();
        entries.retain(|name, _| intervals.contains_key(name.as_str()));
        for (name, entry) in entries.iter_mut() {
            news.extend(entry.news(name));
            if entry.is_due(intervals[name.as_str()], now) {
                self.start(name, entry);
            }
        }
        let good_of = |server: &Server| entries.get(server.address.value.as_str())?.good.clone();
        for (pool, server) in &servers {
            if let Some(good) = good_of(server) {
                pool.set_named(good);
            }
        }
        drop(entries);
        news.iter().for_each(|(level, text)| log.write(*level, text));
    }

    /// Waits for the look-ups under way; those that hang in the system's resolver are left behind: they hold nothing but
    /// what they look up.
    pub fn stop(&self) {
        let until = Instant::now() + PATIENCE;
        let mut running = self.shared.running.lock();
        while *running > 0 && !self.shared.ended.wait_until(&mut running, until).timed_out() {}
    }

    /// Starts a look-up. The thread waits for the entries' lock before it writes to them.
    fn start(&self, name: &str, entry: &mut Entry) -> Arc<Lookup> {
        let lookup = Lookup::pending();
        entry.under_way = Some(lookup.clone());
        let job = Job { shared: self.shared.clone(), name: name.to_owned(), lookup: lookup.clone() };
        *self.shared.running.lock() += 1;
        let thread = std::thread::Builder::new().name("sclera-names".to_owned());
        if let Err(error) = with_signals_blocked(|| thread.spawn(move || job.run())) {
            *self.shared.running.lock() -= 1;
            lookup.finish(entry.end(Err(format!("no thread can be started: {error}")), Instant::now()));
        }
        lookup
    }
}

impl Resolver for Names {
    fn resolve(&self, host: &str, interval: Duration, waker: &Waker) -> Arc<Lookup> {
        let mut entries = self.shared.entries.lock();
        let entry = entries.entry(host.to_owned()).or_default();
        match entry.known(interval, Instant::now()) {
            Some(known) => Lookup::done(known),
            None => {
                let lookup = entry.under_way.clone().unwrap_or_else(|| self.start(host, entry));
                lookup.join(waker);
                lookup
            }
        }
    }

    fn note_silent(&self, host: &str, silent: &[SocketAddr]) {
        if let Some(entry) = self.shared.entries.lock().get_mut(host) {
            entry.note_silent(silent);
        }
    }
}

/// One look-up.
struct Job {
    shared: Arc<Shared>,
    name: String,
    lookup: Arc<Lookup>,
}

impl Job {
    fn run(self) {
        let look_up = std::panic::AssertUnwindSafe(|| (self.shared.look_up)(&self.name));
        let found = std::panic::catch_unwind(look_up).unwrap_or_else(|_| Err("the look-up panicked".to_owned()));
        let found = to_addresses(found);
        let mut entries = self.shared.entries.lock();
        let mine = |entry: &&mut Entry| entry.under_way.as_ref().is_some_and(|it| Arc::ptr_eq(it, &self.lookup));
        let result = match entries.get_mut(&self.name).filter(mine) {
            Some(entry) => entry.end(found, Instant::now()),
            // Forgotten meanwhile; whoever waits is served still.
            None => found,
        };
        drop(entries);
        self.lookup.finish(result);
        *self.shared.running.lock() -= 1;
        self.shared.ended.notify_all();
    }
}

impl Entry {
    /// What can be said without a look-up.
    fn known(&self, interval: Duration, now: Instant) -> Option<Result<Addresses, String>> {
        match (&self.good, &self.last) {
            (Some(good), _) if !interval.is_zero() => Some(Ok(good.addresses.clone())),
            (None, Some((at, Err(reason)))) if now.saturating_duration_since(*at) < RETRY => Some(Err(reason.clone())),
            _ => None,
        }
    }

    /// Whether it is to be looked up in the background.
    fn is_due(&self, interval: Duration, now: Instant) -> bool {
        let Some((at, _)) = self.last.as_ref().filter(|_| self.under_way.is_none()) else { return false };
        let age = now.saturating_duration_since(*at);
        (self.doubted && age >= RETRY) || (!interval.is_zero() && age >= interval)
    }

    /// A look-up has ended; gives what it is for those who wait for it: after a failure the addresses that were good before.
    fn end(&mut self, found: Result<Addresses, String>, now: Instant) -> Result<Addresses, String> {
        self.under_way = None;
        self.doubted = false;
        self.last = Some((now, found.as_ref().map(drop).map_err(String::clone)));
        match found {
            Ok(addresses) => {
                self.good = Some(Named { since: now, addresses: addresses.clone() });
                Ok(addresses)
            }
            Err(reason) => self.good.as_ref().map(|good| good.addresses.clone()).ok_or(reason),
        }
    }

    /// Puts addresses that do not answer behind the others until the next look-up, which is soon if none answers.
    fn note_silent(&mut self, silent: &[SocketAddr]) {
        let Some(good) = &mut self.good else { return };
        let (last, first): (Vec<SocketAddr>, Vec<SocketAddr>) =
            good.addresses.iter().partition(|address| silent.contains(address));
        self.doubted |= first.is_empty();
        if !first.is_empty() && !last.is_empty() {
            good.addresses = [first, last].concat().into();
        }
    }

    /// What has changed since this was asked last, for the log.
    fn news(&mut self, name: &str) -> Vec<(Level, String)> {
        let mut news = Vec::new();
        let Some(good) = &self.good else { return news };
        match &self.last {
            Some((_, Err(reason))) if !self.told_failure => {
                self.told_failure = true;
                let stay = list(&good.addresses);
                let text =
                    format!("{name} cannot be looked up any more ({reason}); its last addresses stay in use: {stay}");
                news.push((Level::Warning, text));
            }
            Some((_, Ok(()))) if self.told_failure => {
                self.told_failure = false;
                news.push((Level::Notice, format!("{name} can be looked up again")));
            }
            _ => {}
        }
        let changed = self.told.as_ref().filter(|told| set(told) != set(&good.addresses));
        if let Some(old) = changed {
            let (old, new) = (list(old), list(&good.addresses));
            let text =
                format!("{name} has other addresses: {new}; before: {old}; connections to those it lost are closed");
            news.push((Level::Notice, text));
        }
        self.told = Some(good.addresses.clone());
        news
    }
}

/// What a server's address is looked up by; `None` for a literal one.
fn name_of(server: &Server) -> Option<&str> {
    let name = server.address.value.as_str();
    (!name.is_empty() && resolve::literal(name, 0).is_none()).then_some(name)
}

/// The shorter interval of two, of which 0 means none.
fn shorter(one: Duration, other: Duration) -> Duration {
    match (one.is_zero(), other.is_zero()) {
        (false, false) => one.min(other),
        _ => one.max(other),
    }
}

/// The addresses whatever their order.
fn set(addresses: &Addresses) -> BTreeSet<SocketAddr> {
    addresses.iter().copied().collect()
}

fn list(addresses: &Addresses) -> String {
    set(addresses).iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(hosts: &[u8]) -> Addresses {
        hosts.iter().map(|host| SocketAddr::from(([10, 0, 0, *host], 0))).collect()
    }

    fn texts(news: Vec<(Level, String)>) -> Vec<String> {
        news.into_iter().map(|(_, text)| text).collect()
    }

    const INTERVAL: Duration = Duration::from_secs(30);

    #[test]
    fn addresses_are_used_however_old_and_looked_up_again_in_time() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut entry = Entry::default();
        assert_eq!((entry.known(INTERVAL, start), entry.is_due(INTERVAL, start)), (None, false), "nobody has asked");
        assert_eq!(entry.end(Ok(addresses(&[1])), start), Ok(addresses(&[1])));
        for (seconds, interval, known, due) in [
            (0, 30, true, false),
            (29, 30, true, false),
            (30, 30, true, true),
            (100_000, 30, true, true),
            (100_000, 0, false, false),
        ] {
            let interval = Duration::from_secs(interval);
            assert_eq!(entry.known(interval, after(seconds)).is_some(), known, "{seconds} {interval:?}");
            assert_eq!(entry.is_due(interval, after(seconds)), due, "{seconds} {interval:?}");
        }
        entry.under_way = Some(Lookup::pending());
        assert!(!entry.is_due(INTERVAL, after(100)), "one look-up at a time");
    }

    #[test]
    fn a_failed_look_up_leaves_the_addresses_and_is_told_once_like_its_recovery() {
        let now = Instant::now();
        let mut entry = Entry::default();
        assert_eq!(entry.end(Err("no such name".into()), now), Err("no such name".into()));
        assert_eq!(entry.known(INTERVAL, now), Some(Err("no such name".into())), "those who ask next are told at once");
        assert_eq!(entry.known(INTERVAL, now + RETRY), None, "a moment later it is tried again");
        assert_eq!(texts(entry.news("iris")), [""; 0], "requests tell that themselves");
        assert_eq!(entry.end(Ok(addresses(&[1, 2])), now), Ok(addresses(&[1, 2])));
        assert_eq!(texts(entry.news("iris")), [""; 0]);
        for _ in 0..2 {
            assert_eq!(entry.end(Err("timed out".into()), now), Ok(addresses(&[1, 2])));
        }
        let text = "iris cannot be looked up any more (timed out); its last addresses stay in use: 10.0.0.1, 10.0.0.2";
        assert_eq!(texts(entry.news("iris")), [text]);
        assert_eq!(entry.end(Err("timed out".into()), now), Ok(addresses(&[1, 2])));
        assert_eq!(texts(entry.news("iris")), [""; 0]);
        let _ = entry.end(Ok(addresses(&[2, 1])), now);
        assert_eq!(texts(entry.news("iris")), ["iris can be looked up again"], "another order is no change");
        let _ = entry.end(Ok(addresses(&[2, 3])), now);
        let text = "iris has other addresses: 10.0.0.2, 10.0.0.3; before: 10.0.0.1, 10.0.0.2; connections to those it \
            lost are closed";
        assert_eq!(texts(entry.news("iris")), [text]);
        assert_eq!(texts(entry.news("iris")), [""; 0]);
    }

    #[test]
    fn silent_addresses_go_last_and_if_all_are_silent_they_are_looked_up_soon() {
        let now = Instant::now();
        let mut entry = Entry::default();
        let _ = entry.end(Ok(addresses(&[1, 2, 3])), now);
        entry.note_silent(&addresses(&[1, 2]));
        assert_eq!(entry.good.as_ref().unwrap().addresses, addresses(&[3, 1, 2]));
        assert!(!entry.is_due(INTERVAL, now + RETRY));
        entry.note_silent(&addresses(&[1, 2, 3]));
        assert_eq!(entry.good.as_ref().unwrap().addresses, addresses(&[3, 1, 2]));
        assert!(!entry.is_due(INTERVAL, now) && entry.is_due(INTERVAL, now + RETRY));
        let _ = entry.end(Ok(addresses(&[1, 2, 3])), now + RETRY);
        assert!(!entry.is_due(INTERVAL, now + RETRY * 2), "doubt ends with the look-up");
    }

    #[test]
    fn of_two_servers_with_one_name_the_shorter_interval_counts_and_0_is_none() {
        for (one, other, expected) in [(30, 10, 10), (10, 30, 10), (0, 30, 30), (30, 0, 30), (0, 0, 0)] {
            let [one, other, expected] = [one, other, expected].map(Duration::from_secs);
            assert_eq!(shorter(one, other), expected);
        }
    }

    #[test]
    fn a_look_up_that_panics_is_a_failure_and_those_who_wait_are_woken() {
        let names = Names::new(|_| panic!("a fault"));
        let lookup = names.resolve("iris", INTERVAL, Waker::noop());
        names.stop();
        assert_eq!(lookup.result(), Some(Err("the look-up panicked".to_owned())));
    }
}
