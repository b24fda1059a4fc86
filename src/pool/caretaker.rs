//! The one lasting thread of a worker: it closes connections that idle too long, has names looked up again, and notices a
//! changed configuration and changed certificates. What may take long it leaves to others.
//!
//! It is started after the fork with all signals blocked, so that it never takes one from the web server, and joined at
//! stop. It sleeps on the worker's doorbell in the ledger, which other workers ring too: for what they pass on, and for
//! connections that they or an administrator want closed.

use std::io;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex, RwLock};

use super::Pool;
use super::configuration::Watch;
use super::errand::Errands;
use super::names::Names;
use super::probe;
use super::rotation::{self, Rotation};
use super::upkeep::Upkeep;
use super::view::View;
use crate::event_log::Log;
use crate::ledger::{HOLD, Member, now_ms};
use crate::threads::{unharmed, with_signals_blocked};

/// The running caretaker.
#[derive(Debug)]
pub struct Caretaker {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Where work is left for the thread.
#[derive(Debug)]
struct Desk {
    work: Mutex<Work>,
    /// Told when the thread has ended.
    ended: Condvar,
    member: Arc<Member>,
}

#[derive(Debug, Default)]
struct Work {
    stopping: bool,
    ended: bool,
}

/// How long a stop waits for a duty that hangs: a file system or a command that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

impl Caretaker {
    /// Starts the thread for this view, which it replaces when what `watch` looks at changes.
    pub fn start(
        view: Arc<RwLock<Arc<View>>>,
        names: Arc<Names>,
        errands: Arc<Errands>,
        watch: Option<Watch>,
        member: Arc<Member>,
        log: Log,
    ) -> io::Result<Caretaker> {
        let desk = Arc::new(Desk { work: Mutex::default(), ended: Condvar::new(), member });
        let shared = desk.clone();
        let body = move || {
            let (rotation, next_look, retired) = (Rotation::default(), Instant::now(), Vec::new());
            let upkeep = Upkeep::new(view.clone(), watch, shared.member.clone(), log.clone());
            let mut duties = Duties { view, names, errands, upkeep, log, rotation, next_look, retired };
            shared.attend(&mut duties);
            shared.work.lock().ended = true;
            shared.ended.notify_all();
        };
        let thread = with_signals_blocked(|| std::thread::Builder::new().name("sclera".to_owned()).spawn(body))?;
        Ok(Caretaker { desk, thread: Some(thread) })
    }

    /// Ends the thread and waits for it. A thread that hangs is left behind.
    pub fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let mut work = self.desk.work.lock();
        work.stopping = true;
        self.desk.member.ring();
        let until = Instant::now() + PATIENCE;
        while !work.ended {
            if self.desk.ended.wait_until(&mut work, until).timed_out() {
                return;
            }
        }
        drop(work);
        let _ = thread.join();
    }
}

impl Drop for Caretaker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What is done from time to time.
struct Duties {
    view: Arc<RwLock<Arc<View>>>,
    names: Arc<Names>,
    errands: Arc<Errands>,
    upkeep: Arc<Upkeep>,
    log: Log,
    rotation: Rotation,
    /// When to look at certificates again.
    next_look: Instant,
    /// Pools of views that have gone, as long as requests may wait in them.
    retired: Vec<Weak<Pool>>,
}

/// How often the files are looked at. Since they have to look the same twice, a change is in force after two looks.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is looked for workers that were killed, and for what nobody rang for.
const ROUND: Duration = Duration::from_secs(2);
/// How long the rights of a worker that was killed are kept, in milliseconds: its connections may still be closing.
const GRACE: u64 = 250;
/// How often it is looked while requests wait for a connection.
const ROUND_OF_WAITING: Duration = Duration::from_millis(100);
/// How often other workers are asked for idle connections meanwhile.
const LOOK_FOR_IDLE: Duration = Duration::from_millis(HOLD);
/// The same while a server is out of use that is to be tried again.
const ROUND_OF_CHECKS: Duration = Duration::from_millis(250);

impl Desk {
    fn attend(&self, duties: &mut Duties) {
        let mut next_round = Instant::now() + duties.period();
        loop {
            // Asked before looking, so that what comes while looking ends the sleep.
            let rung = self.member.rung();
            if self.work.lock().stopping {
                return;
            }
            unharmed(|| duties.heed(&self.member));
            let now = Instant::now();
            if now >= next_round {
                duties.round(now, &self.member);
            }
            next_round = next_round.min(now + duties.period()).max(now);
            if now >= next_round {
                next_round = now + duties.period();
            }
            let most = next_round.saturating_duration_since(Instant::now());
            let waiting = duties.pools().iter().any(|pool| pool.has_waiting());
            self.member.sleep(rung, Some(if waiting { most.min(LOOK_FOR_IDLE) } else { most }));
        }
    }
}

impl Duties {
    /// How long until the next round.
    fn period(&self) -> Duration {
        let view = self.view.read().clone();
        let idle = view.pools().iter().filter_map(|pool| pool.idle_period());
        let certificates = view.uses_certificates().then(|| self.next_look.saturating_duration_since(Instant::now()));
        let names = self.names.period(view.pools());
        let waiting = self.pools().iter().any(|pool| pool.has_waiting()).then_some(ROUND_OF_WAITING);
        let checks = view.checked().any(|pool| pool.is_ejected()).then_some(ROUND_OF_CHECKS);
        let periods = idle
            .chain(checks)
            .chain(self.upkeep.watches().then_some(LOOK))
            .chain(certificates)
            .chain(names)
            .chain(waiting);
        periods.min().unwrap_or(ROUND).min(ROUND)
    }

    /// The pools in use, and those that have gone but still have to do.
    fn pools(&self) -> Vec<Arc<Pool>> {
        let view = self.view.read().clone();
        view.pools().iter().cloned().chain(self.retired.iter().filter_map(Weak::upgrade)).collect()
    }

    /// Does what somebody may have rung for.
    fn heed(&mut self, member: &Member) {
        self.retired.extend(self.upkeep.take_gone());
        let wishes = member.takes_wishes();
        let granted = member.takes_granted();
        let mut pools = self.pools();
        // What was passed to this worker goes to whoever of all its pools has waited longest.
        pools.sort_by_key(|pool| pool.waits_since().unwrap_or(u64::MAX));
        for pool in pools {
            pool.serve_waiting();
            pool.ask_for_idle();
            if wishes {
                pool.interrupt();
                pool.close_idle();
            }
        }
        if granted {
            member.return_grants();
        }
    }

    fn round(&mut self, now: Instant, member: &Member) {
        let view = self.view.read().clone();
        unharmed(|| {
            member.reclaim(GRACE);
            member.return_grants();
        });
        self.retired.retain(|pool| pool.strong_count() > 0);
        unharmed(|| self.names.round(view.pools(), now, &self.log));
        for pool in self.pools() {
            // Not at every ring: whoever is woken and waits again rings.
            pool.serve_sessions();
            unharmed(|| pool.close_idle());
        }
        view.checked().for_each(|pool| unharmed(|| self.check(pool)));
        self.log.tick();
        unharmed(|| self.upkeep.look_at_configuration());
        if now >= self.next_look {
            self.next_look = rotation::next_look(&view, now, SystemTime::now());
            unharmed(|| {
                let changed = self.rotation.look(&view, &self.log, SystemTime::now());
                self.upkeep.files_have_changed(changed);
            });
        }
        unharmed(|| self.upkeep.begin(&self.errands));
    }
}

impl Duties {
    /// Has a server checked, if it is time and no other worker does it.
    fn check(&self, pool: &Arc<Pool>) {
        if pool.is_due_for_check() {
            let (pool, names) = (pool.clone(), self.names.clone());
            let begun = now_ms();
            let checked = pool.clone();
            if self.errands.submit(Box::new(move || probe::check(&checked, &names))).is_err() {
                // No thread is to be had: the next round tries again, here or in another worker.
                pool.tell(super::health::Event::CheckFailed { begun, code: crate::failure::Code::ManagementBusy });
            }
        }
    }
}
