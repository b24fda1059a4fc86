//! How an exchange is woken when something becomes ready that has no descriptor of its own: a freed connection, a
//! resolved name. Hosts with an event loop watch one descriptor per worker; hosts with threads sleep.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use rustix::event::{EventfdFlags, eventfd};

/// The exchanges that are ready to be driven, and the descriptor that says that there are some.
#[derive(Debug)]
pub struct ReadyList {
    ready: Mutex<Vec<Arc<Sleeper>>>,
    wake: OwnedFd,
}

/// One exchange's end of a wake-up.
#[derive(Debug)]
pub struct Sleeper {
    /// What the host calls the exchange by; `None` for a host that sleeps.
    userdata: Option<usize>,
    list: Arc<ReadyList>,
    woken: Mutex<bool>,
    condition: Condvar,
    /// The exchange has been freed: its userdata may dangle.
    gone: AtomicBool,
}

impl ReadyList {
    pub fn new() -> io::Result<Arc<ReadyList>> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Arc::new(ReadyList { ready: Mutex::default(), wake }))
    }

    pub fn raw_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    /// Takes up to `most` exchanges off the list. The descriptor stays readable while some are left.
    pub fn take(&self, most: usize) -> Vec<usize> {
        let mut ready = self.ready.lock();
        ready.retain(|sleeper| !sleeper.gone.load(Ordering::Acquire));
        let count = ready.len().min(most);
        let taken = ready.drain(..count).filter_map(|sleeper| sleeper.userdata).collect();
        if ready.is_empty() {
            // Not readable any more; an empty counter gives an error that means the same.
            let _ = rustix::io::read(self.wake.as_fd(), &mut [0u8; 8][..]);
        }
        taken
    }

    fn push(&self, sleeper: Arc<Sleeper>) {
        self.ready.lock().push(sleeper);
        // The counter cannot overflow: each reading resets it.
        let _ = rustix::io::write(self.wake.as_fd(), &1u64.to_ne_bytes());
    }
}

impl Sleeper {
    /// `userdata`: what [`ReadyList::take`] lists; `None` if the host calls [`Sleeper::sleep`] instead.
    pub fn new(list: Arc<ReadyList>, userdata: Option<usize>) -> Arc<Sleeper> {
        Arc::new(Sleeper {
            userdata,
            list,
            woken: Mutex::new(false),
            condition: Condvar::new(),
            gone: AtomicBool::new(false),
        })
    }

    pub fn waker(self: &Arc<Sleeper>) -> Waker {
        Waker::from(self.clone())
    }

    /// Sleeps until woken, or until the time has come.
    pub fn sleep(&self, until: Option<Instant>) {
        let mut woken = self.woken.lock();
        while !*woken {
            match until {
                None => self.condition.wait(&mut woken),
                Some(until) if self.condition.wait_until(&mut woken, until).timed_out() => break,
                Some(_) => {}
            }
        }
        *woken = false;
    }

    /// The exchange ends: it will not be listed any more.
    pub fn retire(&self) {
        self.gone.store(true, Ordering::Release);
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        match self.userdata {
            Some(_) => self.list.clone().push(self),
            None => {
                *self.woken.lock() = true;
                self.condition.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_readable(list: &ReadyList) -> bool {
        let mut fds = [PollFd::new(&list.wake, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn the_descriptor_is_readable_exactly_while_exchanges_are_listed() {
        let list = ReadyList::new().unwrap();
        for userdata in 1..=3 {
            Sleeper::new(list.clone(), Some(userdata)).waker().wake();
        }
        assert!(is_readable(&list));
        assert_eq!(list.take(2), [1, 2]);
        assert!(is_readable(&list));
        assert_eq!(list.take(2), [3]);
        assert!(!is_readable(&list));
    }

    #[test]
    fn a_freed_exchange_is_not_listed() {
        let list = ReadyList::new().unwrap();
        let sleeper = Sleeper::new(list.clone(), Some(1));
        sleeper.waker().wake();
        sleeper.retire();
        assert!(list.take(10).is_empty());
    }

    #[test]
    fn a_sleeper_that_was_woken_before_it_sleeps_does_not_sleep() {
        let sleeper = Sleeper::new(ReadyList::new().unwrap(), None);
        sleeper.waker().wake();
        sleeper.sleep(None);
    }
}
