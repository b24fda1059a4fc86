//! The one thread of a worker: it resolves names and closes connections that idle too long.
//!
//! It is started after the fork with all signals blocked, so that it never takes one from the web server, and joined at
//! stop.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Pool;
use crate::connection::resolve::{Lookup, Resolver};

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
    lookups: VecDeque<Arc<Lookup>>,
    stopping: bool,
    ended: bool,
}

/// How long a stop waits for a look-up that the system's resolver does not give back.
const PATIENCE: Duration = Duration::from_secs(2);

impl Caretaker {
    /// Starts the thread for these pools.
    pub fn start(pools: Vec<Arc<Pool>>) -> io::Result<Caretaker> {
        let desk = Arc::new(Desk::default());
        let shared = desk.clone();
        let body = move || {
            shared.attend(&pools);
            shared.work.lock().ended = true;
            shared.something.notify_all();
        };
        let thread = with_signals_blocked(|| std::thread::Builder::new().name("sclera".to_owned()).spawn(body))?;
        Ok(Caretaker { desk, thread: Some(thread) })
    }

    /// Ends the thread and waits for it. A thread that hangs in the system's resolver is left behind: it holds nothing
    /// but what it looks up.
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

impl Resolver for Caretaker {
    fn submit(&self, lookup: Arc<Lookup>) {
        self.desk.work.lock().lookups.push_back(lookup);
        self.desk.something.notify_all();
    }
}

impl Desk {
    fn attend(&self, pools: &[Arc<Pool>]) {
        let period = pools.iter().filter_map(|pool| pool.idle_period()).min();
        let mut next_round = period.map(|period| Instant::now() + period);
        loop {
            let lookup = {
                let mut work = self.work.lock();
                if work.stopping {
                    return;
                }
                if work.lookups.is_empty() {
                    match next_round {
                        None => self.something.wait(&mut work),
                        Some(at) => {
                            self.something.wait_until(&mut work, at);
                        }
                    }
                }
                work.lookups.pop_front()
            };
            // Nobody waits for a look-up that is in no other hands.
            if let Some(lookup) = lookup.filter(|lookup| Arc::strong_count(lookup) > 1) {
                unharmed(|| lookup.run());
            }
            let now = Instant::now();
            if let (Some(at), Some(period)) = (next_round, period)
                && now >= at
            {
                pools.iter().for_each(|pool| unharmed(|| pool.close_idle(now)));
                next_round = Some(now + period);
            }
        }
    }
}

/// A panic is a fault of ours; it must not end the thread that everybody needs.
fn unharmed(job: impl FnOnce()) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
}

/// Runs `start` with all signals blocked; a thread that it starts inherits that.
fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
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
