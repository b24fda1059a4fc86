//! Errands: work of a worker process that may block, such as hashing a password, trying a connection out, or writing a
//! file, done away from the web server's threads and event loop.
//!
//! One thread for each worker does them one after the other. It is started when there is something to do, with all
//! signals blocked, ends when nothing has come for a while, and is joined when the worker stops.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::caretaker::{unharmed, with_signals_blocked};

/// One errand. It may block; a panic in it ends it alone.
pub type Errand = Box<dyn FnOnce() + Send>;

/// The errands of one worker.
#[derive(Debug, Default)]
pub struct Errands {
    desk: Arc<Desk>,
}

/// Why an errand was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many wait already.
    Full,
    /// The worker is about to end.
    Stopping,
    /// The system gives no thread.
    NoThread,
}

#[derive(Default)]
struct Desk {
    work: Mutex<Work>,
    something: Condvar,
}

#[derive(Default)]
struct Work {
    waiting: VecDeque<Errand>,
    /// The thread, which ends by itself when it has had nothing to do: `running` says whether it still looks.
    thread: Option<JoinHandle<()>>,
    running: bool,
    stopping: bool,
}

/// The most errands that wait.
const MOST_WAITING: usize = 64;
/// How long the thread stays without work.
const IDLE: Duration = Duration::from_secs(10);
/// How long a stop waits for the errand that is being done.
const PATIENCE: Duration = Duration::from_secs(2);

impl Errands {
    /// Leaves an errand for the thread.
    ///
    /// # Errors
    ///
    /// Why it was not taken; it has not been begun then.
    pub fn submit(&self, errand: Errand) -> Result<(), Refused> {
        let mut work = self.desk.work.lock();
        if work.stopping {
            return Err(Refused::Stopping);
        }
        if work.waiting.len() >= MOST_WAITING {
            return Err(Refused::Full);
        }
        if !work.running {
            // The one before has ended already, or is about to: it does not look again.
            let before = work.thread.take();
            let desk = self.desk.clone();
            let start = || std::thread::Builder::new().name("sclera-errand".to_owned()).spawn(move || desk.attend());
            work.thread = Some(with_signals_blocked(start).map_err(|_| Refused::NoThread)?);
            work.running = true;
            drop(before);
        }
        work.waiting.push_back(errand);
        self.desk.something.notify_all();
        Ok(())
    }

    /// Drops what waits, and waits for the thread. One that hangs in its errand is left behind: an errand holds nothing
    /// of the worker but what it was given.
    pub fn stop(&self) {
        let mut work = self.desk.work.lock();
        work.stopping = true;
        let dropped = std::mem::take(&mut work.waiting);
        self.desk.something.notify_all();
        let until = Instant::now() + PATIENCE;
        while work.running {
            if self.desk.something.wait_until(&mut work, until).timed_out() {
                return;
            }
        }
        let thread = work.thread.take();
        drop(work);
        drop(dropped);
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Errands {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Desk {
    fn attend(&self) {
        let mut work = self.work.lock();
        loop {
            if work.stopping {
                break;
            }
            let Some(errand) = work.waiting.pop_front() else {
                let nothing_came = self.something.wait_for(&mut work, IDLE).timed_out() && work.waiting.is_empty();
                if nothing_came {
                    break;
                }
                continue;
            };
            drop(work);
            unharmed(errand);
            work = self.work.lock();
        }
        work.running = false;
        self.something.notify_all();
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn errands_are_done_one_after_the_other_and_a_panic_ends_only_its_own() {
        let errands = Errands::default();
        let (done, told) = mpsc::channel();
        for number in 0..5 {
            let done = done.clone();
            let errand = move || {
                assert_ne!(number, 2, "this one is meant to panic");
                done.send(number).unwrap();
            };
            errands.submit(Box::new(errand)).unwrap();
        }
        drop(done);
        assert_eq!(told.iter().collect::<Vec<_>>(), [0, 1, 3, 4]);
    }

    #[test]
    fn a_stop_waits_for_the_errand_under_way_and_drops_the_others() {
        let errands = Errands::default();
        let (begun, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let (done, told) = mpsc::channel();
        let under_way = done.clone();
        let first = move || {
            begun.send(()).unwrap();
            may_go_on.recv().unwrap();
            under_way.send("first").unwrap();
        };
        errands.submit(Box::new(first)).unwrap();
        errands.submit(Box::new(move || done.send("second").unwrap())).unwrap();
        has_begun.recv().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| errands.stop());
            while errands.submit(Box::new(|| ())) != Err(Refused::Stopping) {
                std::thread::yield_now();
            }
            go_on.send(()).unwrap();
        });
        assert_eq!(told.iter().collect::<Vec<_>>(), ["first"]);
        assert_eq!(errands.submit(Box::new(|| ())), Err(Refused::Stopping));
    }

    #[test]
    fn a_queue_that_is_full_takes_no_more() {
        let errands = Errands::default();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let first = move || {
            let _ = may_go_on.recv();
        };
        errands.submit(Box::new(first)).unwrap();
        let refused = (0..=MOST_WAITING + 1).find_map(|_| errands.submit(Box::new(|| ())).err());
        assert_eq!(refused, Some(Refused::Full));
        drop(go_on);
    }
}
