//! What has changed and is to be put into force: the configuration as a whole, or the certificates of servers.
//!
//! Reading them may take long: a command that gives a password, a key that is protected by a slow derivation, a hardware
//! module. So the caretaker only says what is to be read, and an errand reads it: one at a time, since what a worker has
//! in force has one author.

use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::Pool;
use super::configuration::Watch;
use super::errand::Errands;
use super::rotation::{self, After};
use super::view::View;
use crate::event_log::{Event, Level, Log, kinds};
use crate::ledger::{Member, Tally};
use crate::threads::unharmed;

/// What the caretaker and the errand share.
#[derive(Debug)]
pub struct Upkeep {
    view: Arc<RwLock<Arc<View>>>,
    /// The errand has it locked while it reads the configuration.
    watch: Mutex<Option<Watch>>,
    member: Arc<Member>,
    log: Log,
    desk: Mutex<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    todo: Todo,
    /// There is an errand, which may still wait for a thread.
    is_under_way: bool,
    /// Pools that have gone out of use since the caretaker asked.
    gone: Vec<Weak<Pool>>,
}

#[derive(Debug, Default)]
struct Todo {
    configuration: bool,
    /// Servers whose files have changed.
    identities: Vec<Weak<Pool>>,
}

impl Todo {
    fn is_empty(&self) -> bool {
        !self.configuration && self.identities.is_empty()
    }
}

impl Upkeep {
    /// For this view, which is replaced when what `watch` looks at changes.
    pub fn new(view: Arc<RwLock<Arc<View>>>, watch: Option<Watch>, member: Arc<Member>, log: Log) -> Arc<Upkeep> {
        Arc::new(Upkeep { view, watch: Mutex::new(watch), member, log, desk: Mutex::default() })
    }

    /// Whether there are files to look at from time to time.
    pub fn watches(&self) -> bool {
        self.watch.try_lock().is_none_or(|watch| watch.is_some())
    }

    /// Looks whether the configuration has changed, unless it is being read.
    pub fn look_at_configuration(&self) {
        if self.desk.lock().is_under_way {
            return;
        }
        let is_due = self.watch.try_lock().is_some_and(|mut watch| watch.as_mut().is_some_and(Watch::is_due));
        self.desk.lock().todo.configuration |= is_due;
    }

    /// The files of these servers have changed.
    pub fn files_have_changed(&self, pools: Vec<Weak<Pool>>) {
        self.desk.lock().todo.identities.extend(pools);
    }

    /// Sees to it that what has changed is read. If no thread is to be had, it is read after a later call.
    pub fn begin(self: &Arc<Upkeep>, errands: &Errands) {
        {
            let mut desk = self.desk.lock();
            if desk.is_under_way || desk.todo.is_empty() {
                return;
            }
            desk.is_under_way = true;
        }
        let work = UnderWay(self.clone());
        let _ = errands.submit(Box::new(move || work.0.work()));
    }

    /// The pools that have gone out of use since this was asked last.
    pub fn take_gone(&self) -> Vec<Weak<Pool>> {
        std::mem::take(&mut self.desk.lock().gone)
    }

    fn work(&self) {
        let todo = std::mem::take(&mut self.desk.lock().todo);
        // First, since a new key may come with its new password.
        if todo.configuration {
            self.read_configuration();
        }
        let view = self.view.read().clone();
        let mut read_again = false;
        for pool in todo.identities.iter().filter_map(Weak::upgrade) {
            // A pool that the new configuration has replaced has nothing to renew.
            if view.pools().iter().any(|used| Arc::ptr_eq(used, &pool)) {
                unharmed(|| read_again |= rotation::renew(&pool, &self.log) == After::ReadConfiguration);
            }
        }
        if read_again {
            self.read_configuration();
        }
    }

    fn read_configuration(&self) {
        unharmed(|| {
            let mut watch = self.watch.lock();
            if let Some(watch) = watch.as_mut() {
                let gone = self.reload(watch);
                self.desk.lock().gone.extend(gone);
            }
        });
    }

    /// Puts the changed configuration into force as a whole, or leaves everything as it is. Gives the pools that are not
    /// used any more.
    fn reload(&self, watch: &mut Watch) -> Vec<Weak<Pool>> {
        let Upkeep { view, member, log, .. } = self;
        let old = view.read().clone();
        let loaded = watch.load(log).map_err(|failure| vec![failure]);
        let path = watch.path().display();
        match loaded.and_then(|profile| old.next(Arc::new(profile), log)) {
            Ok(new) => {
                new.configure(log);
                let new = Arc::new(new);
                *view.write() = new.clone();
                let gone = new.succeeds(&old);
                member.tally(Tally::Reloads);
                let message = format!("{path} has changed and is in force");
                log.tell(Event::new(Level::Notice, kinds::CONFIGURATION, RELOADED).details(&message));
                gone.iter().map(Arc::downgrade).collect()
            }
            Err(failures) => {
                failures.iter().for_each(|failure| log.fail(kinds::CONFIGURATION, "", failure));
                let message =
                    format!("{path} has changed, but the configuration read before stays in force: see above");
                log.tell(Event::new(Level::Error, kinds::CONFIGURATION, "Gateway Management").details(&message));
                member.tally(Tally::ReloadFailures);
                Vec::new()
            }
        }
    }
}

/// What the original says when it has read its configuration again.
const RELOADED: &str = "Gateway Configuration Reloaded and Reactivated";

/// An errand, until it has ended in whatever way: done, refused, or by a panic.
struct UnderWay(Arc<Upkeep>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.desk.lock().is_under_way = false;
        // The caretaker takes over what has gone out of use.
        self.0.member.ring();
    }
}
