//! The one lasting thread of a worker: it closes connections that idle too long, has names looked up again, and puts a
//! changed configuration and changed certificates into force.
//!
//! It is started after the fork with all signals blocked, so that it never takes one from the web server, and joined at
//! stop.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex, RwLock};

use super::configuration::Watch;
use super::names::Names;
use super::rotation::{self, After, Rotation};
use super::view::View;
use crate::event_log::{Level, Log};

/// The running caretaker.
#[derive(Debug)]
pub struct Caretaker {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Where work is left for the thread.
#[derive(Debug, Default)]
struct Desk {
    work: Mutex<Work>,
    something: Condvar,
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
        watch: Option<Watch>,
        log: Log,
    ) -> io::Result<Caretaker> {
        let desk = Arc::new(Desk::default());
        let shared = desk.clone();
        let body = move || {
            let mut duties =
                Duties { view, names, watch, log, rotation: Rotation::default(), next_look: Instant::now() };
            shared.attend(&mut duties);
            shared.work.lock().ended = true;
            shared.something.notify_all();
        };
        let thread = with_signals_blocked(|| std::thread::Builder::new().name("sclera".to_owned()).spawn(body))?;
        Ok(Caretaker { desk, thread: Some(thread) })
    }

    /// Ends the thread and waits for it. A thread that hangs is left behind.
    pub fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let mut work = self.desk.work.lock();
        work.stopping = true;
        self.desk.something.notify_all();
        let until = Instant::now() + PATIENCE;
        while !work.ended {
            if self.desk.something.wait_until(&mut work, until).timed_out() {
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
    watch: Option<Watch>,
    log: Log,
    rotation: Rotation,
    /// When to look at certificates again.
    next_look: Instant,
}

/// How often the files are looked at. Since they have to look the same twice, a change is in force after two looks.
const LOOK: Duration = Duration::from_millis(500);

impl Desk {
    fn attend(&self, duties: &mut Duties) {
        let mut next_round = duties.period().map(|period| Instant::now() + period);
        loop {
            let mut work = self.work.lock();
            if work.stopping {
                return;
            }
            match next_round {
                None => self.something.wait(&mut work),
                Some(at) => {
                    self.something.wait_until(&mut work, at);
                }
            }
            drop(work);
            let now = Instant::now();
            if next_round.is_some_and(|at| now >= at) {
                duties.round(now);
                next_round = duties.period().map(|period| now + period);
            }
        }
    }
}

impl Duties {
    /// How long until the next round; `None` if there is nothing to do from time to time.
    fn period(&self) -> Option<Duration> {
        let view = self.view.read().clone();
        let idle = view.pools().iter().filter_map(|pool| pool.idle_period());
        let certificates = view.uses_certificates().then_some(rotation::LOOK);
        let names = self.names.period(view.pools());
        idle.chain(self.watch.as_ref().map(|_| LOOK)).chain(certificates).chain(names).min()
    }

    fn round(&mut self, now: Instant) {
        let view = self.view.read().clone();
        unharmed(|| self.names.round(view.pools(), now, &self.log));
        view.pools().iter().for_each(|pool| unharmed(|| pool.close_idle(now)));
        let mut read_again = self.watch.as_mut().is_some_and(Watch::is_due);
        if now >= self.next_look {
            self.next_look = now + rotation::LOOK;
            unharmed(|| {
                let after = self.rotation.look(&view, &self.log, SystemTime::now());
                read_again |= after == After::ReadConfiguration;
            });
        }
        if let Some(watch) = self.watch.as_mut().filter(|_| read_again) {
            unharmed(|| reload(&self.view, watch, &self.log));
        }
    }
}

/// Puts the changed configuration into force as a whole, or leaves everything as it is.
fn reload(view: &RwLock<Arc<View>>, watch: &mut Watch, log: &Log) {
    let old = view.read().clone();
    let loaded = watch.load(log).map_err(|failure| vec![failure]);
    let path = watch.path().display();
    match loaded.and_then(|profile| old.next(Arc::new(profile), log)) {
        Ok(new) => {
            let new = Arc::new(new);
            *view.write() = new.clone();
            new.succeeds(&old);
            log.write(Level::Notice, &format!("{path} has changed and is in force"));
        }
        Err(failures) => {
            failures.iter().for_each(|failure| log.write(Level::Error, &failure.to_string()));
            let message = format!("{path} has changed, but the configuration read before stays in force: see above");
            log.write(Level::Error, &message);
        }
    }
}

/// A panic is a fault of ours; it must not end the thread that everybody needs.
fn unharmed(job: impl FnOnce()) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
}

/// Runs `start` with all signals blocked; a thread that it starts inherits that.
pub(super) fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset and pthread_sigmask write to sets on this stack frame and read nothing else; `before` is
    // initialised by pthread_sigmask, which cannot fail with these arguments.
    let before = unsafe {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    };
    let result = start();
    // SAFETY: restores the mask that this thread had; the set is initialised.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    result
}
