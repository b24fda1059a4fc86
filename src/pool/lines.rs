//! Requests that wait because their session has all the connections that it may have: those of each session in the order
//! of their coming, within this worker. Whoever is the first of its line asks for a turn, and nobody else does, so that a
//! turn that ends wakes one request however many there are.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

/// The lines of a pool.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// Never an empty one.
    of: HashMap<u64, VecDeque<(u64, Waker)>>,
    count: usize,
    /// The number of whoever comes next.
    next: u64,
}

/// A request's place in its session's line. Dropping it leaves the line; the next may be the first then.
#[derive(Debug)]
pub struct PlaceInLine {
    lines: Arc<Lines>,
    session: u64,
    number: u64,
}

impl Lines {
    /// Takes the last place of a session's line; `None` if `most` wait here already.
    pub fn join(self: &Arc<Lines>, session: u64, waker: &Waker, most: Option<u32>) -> Option<PlaceInLine> {
        let mut waiting = self.0.lock();
        if most.is_some_and(|most| waiting.count >= most as usize) {
            return None;
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.count += 1;
        waiting.of.entry(session).or_default().push_back((number, waker.clone()));
        Some(PlaceInLine { lines: self.clone(), session, number })
    }

    /// Whether nobody waits for this session.
    pub fn is_free(&self, session: u64) -> bool {
        !self.0.lock().of.contains_key(&session)
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().count == 0
    }

    /// A turn of this session may be had.
    pub fn wake(&self, session: u64) {
        let first = self.0.lock().of.get(&session).and_then(|line| line.front()).map(|(_, waker)| waker.clone());
        first.into_iter().for_each(Waker::wake);
    }

    /// Turns of any session may be had.
    pub fn wake_all(&self) {
        let waiting = self.0.lock();
        let first: Vec<Waker> = waiting.of.values().filter_map(|line| line.front()).map(|it| it.1.clone()).collect();
        drop(waiting);
        first.into_iter().for_each(Waker::wake);
    }
}

impl PlaceInLine {
    /// Whether nobody of its session has come before and still waits.
    pub fn is_first(&self) -> bool {
        let waiting = self.lines.0.lock();
        waiting.of.get(&self.session).and_then(|line| line.front()).is_some_and(|first| first.0 == self.number)
    }
}

impl Drop for PlaceInLine {
    fn drop(&mut self) {
        let mut waiting = self.lines.0.lock();
        let Some(line) = waiting.of.get_mut(&self.session) else { return };
        // By its number: they are in order.
        let Ok(at) = line.binary_search_by_key(&self.number, |(number, _)| *number) else { return };
        line.remove(at);
        let next = if at == 0 { line.front().map(|(_, waker)| waker.clone()) } else { None };
        if line.is_empty() {
            waiting.of.remove(&self.session);
        }
        waiting.count -= 1;
        drop(waiting);
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_the_first_of_a_line_is_woken_and_whoever_leaves_makes_way() {
        let lines = Arc::new(Lines::default());
        let woken: [Arc<Woken>; 4] = Default::default();
        let counts = || woken.each_ref().map(|it| it.0.load(Ordering::Relaxed));
        let join = |session, at: usize| lines.join(session, &woken[at].clone().into(), Some(4)).unwrap();
        let (first, second, third, other) = (join(1, 0), join(1, 1), join(1, 2), join(2, 3));
        assert!(lines.join(3, &woken[0].clone().into(), Some(4)).is_none(), "four wait already");
        assert!(first.is_first() && !second.is_first() && other.is_first());
        lines.wake(1);
        assert_eq!(counts(), [1, 0, 0, 0]);
        drop(second);
        assert_eq!(counts(), [1, 0, 0, 0], "it was not its turn");
        drop(first);
        assert_eq!(counts(), [1, 0, 1, 0]);
        assert!(third.is_first() && !lines.is_free(1));
        lines.wake_all();
        assert_eq!(counts(), [1, 0, 2, 1]);
        drop((third, other));
        assert!(lines.is_empty() && lines.is_free(1));
    }
}
