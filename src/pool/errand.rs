//! Errands: work of a worker process that may block, such as hashing a password, trying a connection out, or writing a
//! file, done away from the web server's threads and event loop.
//!
//! A few threads for each worker do them in the order in which they came, so that one which takes long, such as a
//! connection to a server that does not answer, holds up no page and no check of another server. A thread is started when
//! there is something to do and all others are at work, with all signals blocked; it ends when nothing has come for a
//! while, and is joined when the worker stops.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::threads::{unharmed, with_signals_blocked};

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
    /// Also of threads that have ended by themselves.
    threads: Vec<JoinHandle<()>>,
    /// Threads that do an errand or look for one.
    running: usize,
    /// Those of them that look for one.
    looking: usize,
    stopping: bool,
}

/// The most threads of a worker.
const MOST_THREADS: usize = 4;
/// The most errands that wait.
const MOST_WAITING: usize = 64;
/// How long a thread stays without work.
const IDLE: Duration = Duration::from_secs(10);
/// How long a stop waits for the errands that are being done.
const PATIENCE: Duration = Duration::from_secs(2);

impl Errands {
    /// Leaves an errand for a thread.
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
        if work.waiting.len() >= work.looking && work.running < MOST_THREADS {
            let desk = self.desk.clone();
            let start = || std::thread::Builder::new().name("sclera-errand".to_owned()).spawn(move || desk.attend());
            match with_signals_blocked(start) {
                Ok(thread) => {
                    work.threads.retain(|thread| !thread.is_finished());
                    work.threads.push(thread);
                    work.running += 1;
                    work.looking += 1;
                }
                // The others come to it later.
                Err(_) if work.running > 0 => {}
                Err(_) => return Err(Refused::NoThread),
            }
        }
        work.waiting.push_back(errand);
        self.desk.something.notify_all();
        Ok(())
    }

    /// Drops what waits, and waits for the threads. One that hangs in its errand is left behind: an errand holds nothing
    /// of the worker but what it was given.
    pub fn stop(&self) {
        let mut work = self.desk.work.lock();
        work.stopping = true;
        let dropped = std::mem::take(&mut work.waiting);
        self.desk.something.notify_all();
        let until = Instant::now() + PATIENCE;
        while work.running > 0 {
            if self.desk.something.wait_until(&mut work, until).timed_out() {
                return;
            }
        }
        let threads = std::mem::take(&mut work.threads);
        drop(work);
        drop(dropped);
        threads.into_iter().for_each(|thread| drop(thread.join()));
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
            work.looking -= 1;
            drop(work);
            unharmed(errand);
            work = self.work.lock();
            work.looking += 1;
        }
        work.looking -= 1;
        work.running -= 1;
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

    /// An errand for each thread, which lasts until the sender is dropped. Returns when all are under way.
    fn occupy(errands: &Errands) -> (mpsc::Sender<()>, mpsc::Receiver<()>) {
        let (begun, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let may_go_on = Arc::new(Mutex::new(may_go_on));
        let (done, told) = mpsc::channel();
        for _ in 0..MOST_THREADS {
            let (begun, may_go_on, done) = (begun.clone(), may_go_on.clone(), done.clone());
            let errand = move || {
                begun.send(()).unwrap();
                let _ = may_go_on.lock().recv();
                let _ = done.send(());
            };
            errands.submit(Box::new(errand)).unwrap();
        }
        (0..MOST_THREADS).for_each(|_| has_begun.recv().unwrap());
        (go_on, told)
    }

    #[test]
    fn every_errand_is_done_and_a_panic_ends_only_its_own() {
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
        let mut all: Vec<_> = told.iter().collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 3, 4]);
    }

    #[test]
    fn an_errand_that_takes_long_holds_up_no_other_one() {
        let errands = Errands::default();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let long = move || {
            let _ = may_go_on.recv();
        };
        errands.submit(Box::new(long)).unwrap();
        for number in 0..20 {
            let (done, told) = mpsc::channel();
            errands.submit(Box::new(move || done.send(number).unwrap())).unwrap();
            assert_eq!(told.recv(), Ok(number), "while the first is still under way");
        }
        drop(go_on);
    }

    #[test]
    fn a_stop_waits_for_the_errands_under_way_and_drops_the_others() {
        let errands = Errands::default();
        let (go_on, told) = occupy(&errands);
        let (done, later) = mpsc::channel();
        errands.submit(Box::new(move || done.send(()).unwrap())).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| errands.stop());
            while errands.submit(Box::new(|| ())) != Err(Refused::Stopping) {
                std::thread::yield_now();
            }
            drop(go_on);
        });
        assert_eq!(told.iter().count(), MOST_THREADS);
        assert!(later.recv().is_err(), "it was never begun");
        assert_eq!(errands.submit(Box::new(|| ())), Err(Refused::Stopping));
    }

    #[test]
    fn a_queue_that_is_full_takes_no_more() {
        let errands = Errands::default();
        let (go_on, _told) = occupy(&errands);
        let taken = (0..=MOST_WAITING).take_while(|_| errands.submit(Box::new(|| ())).is_ok()).count();
        assert_eq!(taken, MOST_WAITING);
        assert_eq!(errands.submit(Box::new(|| ())), Err(Refused::Full));
        drop(go_on);
    }
}
