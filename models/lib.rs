//! The ledger's protocols of seats and turns, `src/ledger/seats.rs` and `src/ledger/turns.rs`, in every order of events that
//! memory allows: tried by loom in place of the processor. What uses the protocol, `src/ledger/member.rs` and `src/pool/mod.rs`, is told here in a few lines each.

#![cfg(test)]

#[allow(dead_code)]
#[path = "../src/ledger/seats.rs"]
mod seats;
#[allow(dead_code)]
#[path = "../src/ledger/turns.rs"]
mod turns;

/// Takes the place of `src/ledger/atomic.rs`.
mod atomic {
    pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
}

use std::sync::Arc;
use std::sync::atomic::AtomicU32 as Plain;

use atomic::{AtomicU32, AtomicU64, Ordering};
use loom::thread;
use seats::{Holder, bits, claim, collect, grant, holder, release, take_away};
use turns::Turn;

const ONE: Holder = Holder::of_row(0);
const TWO: Holder = Holder::of_row(1);
const THREE: Holder = Holder::of_row(2);

/// What the workers share.
struct Shared {
    seats: Vec<AtomicU32>,
    waiting: [AtomicU64; 1],
    /// Whether each worker was rung for. Ringing orders nothing here that the seats have to order.
    rung: [Plain; 3],
    /// Not 0: something was passed on to this worker.
    granted: [AtomicU32; 3],
    /// What a connection's row says of it: [`IDLE`] or [`BUSY`].
    state: AtomicU32,
    /// Who thinks to have a seat now: a witness that orders nothing.
    held: Plain,
}

const BUSY: u32 = 3;
const IDLE: u32 = 2;
const RELAXED: std::sync::atomic::Ordering = std::sync::atomic::Ordering::Relaxed;

impl Shared {
    fn new(seats: usize) -> Arc<Shared> {
        Arc::new(Shared {
            seats: (0..seats).map(|_| AtomicU32::new(0)).collect(),
            waiting: [AtomicU64::new(0)],
            rung: [const { Plain::new(0) }; 3],
            granted: [0; 3].map(AtomicU32::new),
            state: AtomicU32::new(BUSY),
            held: Plain::new(0),
        })
    }

    fn claim(&self, who: Holder) -> Option<usize> {
        claim(&self.seats, who, 0).inspect(|_| self.took())
    }

    fn collect(&self, who: Holder) -> Option<usize> {
        collect(&self.seats, who).inspect(|_| self.took())
    }

    fn took(&self) {
        assert!(self.held.fetch_add(1, RELAXED) < self.seats.len() as u32, "more holders than seats");
    }

    /// `Member::release`.
    fn release(&self, seat: usize, who: Holder) {
        self.held.fetch_sub(1, RELAXED);
        release(&self.seats, seat, who);
        if let Some(first) = bits::waiting(&self.waiting).next() {
            self.ring(first);
        }
    }

    /// `Pool::pass_on` and `Member::pass`: to whoever waits, or free.
    fn pass_on(&self, seat: usize, who: Holder) {
        match bits::waiting(&self.waiting).next() {
            Some(first) => self.pass(seat, who, first),
            None => self.release(seat, who),
        }
    }

    fn pass(&self, seat: usize, who: Holder, to: Holder) {
        self.held.fetch_sub(1, RELAXED);
        assert!(grant(&self.seats, seat, who, to));
        self.granted[to.row()].swap(1, Ordering::AcqRel);
        self.ring(to);
    }

    fn ring(&self, who: Holder) {
        self.rung[who.row()].store(1, RELAXED);
    }

    /// `Member::return_grants`.
    fn return_grants(&self, who: Holder) {
        while let Some(seat) = self.collect(who) {
            self.release(seat, who);
        }
    }

    /// The caretaker of a worker for which nobody waits, whenever it is rung for.
    fn heed(&self, who: Holder) {
        if self.granted[who.row()].swap(0, Ordering::AcqRel) != 0 {
            self.return_grants(who);
        }
    }

    fn all_are_free(&self) -> bool {
        self.seats.iter().all(|seat| holder(seat).is_none())
    }

    fn has(&self, who: Holder) -> bool {
        self.seats.iter().any(|seat| holder(seat) == Some(who))
    }
}

/// Tries every order with at most three switches from a thread that could go on: what is missing without that limit takes
/// hours.
fn try_all(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn there_are_never_more_holders_than_seats_and_a_seat_has_one() {
    try_all(|| {
        let shared = Shared::new(2);
        let threads = [ONE, TWO].map(|who| {
            let shared = shared.clone();
            thread::spawn(move || {
                if let Some(seat) = shared.claim(who) {
                    shared.release(seat, who);
                }
            })
        });
        let seats: Vec<usize> = [shared.claim(THREE), shared.claim(THREE)].into_iter().flatten().collect();
        seats.into_iter().for_each(|seat| shared.release(seat, THREE));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(shared.all_are_free());
    });
}

#[test]
fn passing_on_neither_loses_a_seat_nor_makes_two_of_one() {
    try_all(|| {
        let shared = Shared::new(1);
        let seat = shared.claim(ONE).unwrap();
        let two = shared.clone();
        let two = thread::spawn(move || two.collect(TWO).map(|seat| two.release(seat, TWO)));
        let three = shared.clone();
        let three = thread::spawn(move || three.claim(THREE).map(|seat| three.release(seat, THREE)));
        shared.pass(seat, ONE, TWO);
        let served = two.join().unwrap().is_some();
        three.join().unwrap();
        assert_eq!(shared.has(TWO), !served);
        shared.heed(TWO);
        assert!(shared.all_are_free());
    });
}

#[test]
fn whoever_waits_gets_what_becomes_free_or_is_rung_for() {
    for is_passed in [false, true] {
        try_all(move || {
            let shared = Shared::new(1);
            let seat = shared.claim(ONE).unwrap();
            let waiter = shared.clone();
            // `Pool::checkout`: tries, says that it waits, and tries once more.
            let waiter = thread::spawn(move || {
                waiter.claim(TWO).or_else(|| {
                    bits::set(&waiter.waiting, TWO);
                    waiter.collect(TWO).or_else(|| waiter.claim(TWO))
                })
            });
            match is_passed {
                true => shared.pass_on(seat, ONE),
                false => shared.release(seat, ONE),
            }
            let got = waiter.join().unwrap();
            assert!(got.is_some() || shared.rung[TWO.row()].load(RELAXED) == 1, "it sleeps, and nobody knows");
            // The bell makes it look again.
            let got = got.or_else(|| shared.collect(TWO)).or_else(|| shared.claim(TWO));
            shared.release(got.expect("the only seat is for it"), TWO);
            bits::clear(&shared.waiting, TWO);
            shared.heed(TWO);
            assert!(shared.all_are_free());
        });
    }
}

#[test]
fn an_idle_connection_is_seen_by_whoever_begins_to_wait_or_its_worker_sees_who_waits() {
    try_all(|| {
        let shared = Shared::new(1);
        let waiter = shared.clone();
        // `Member::ask_for_idle`, after saying that it waits.
        let waiter = thread::spawn(move || {
            bits::set(&waiter.waiting, TWO);
            waiter.state.load(Ordering::Acquire) == IDLE
        });
        // `Pool::pass_on` with a connection that is put back.
        shared.state.store(IDLE, Ordering::Release);
        let sees = bits::waiting(&shared.waiting).next() == Some(TWO);
        assert!(waiter.join().unwrap() || sees);
    });
}

#[test]
fn of_two_who_wait_one_is_served_and_then_the_other() {
    try_all(|| {
        let shared = Shared::new(1);
        let seat = shared.claim(ONE).unwrap();
        let waiters = [TWO, THREE].map(|who| {
            let shared = shared.clone();
            thread::spawn(move || {
                bits::set(&shared.waiting, who);
                let got = shared.collect(who).or_else(|| shared.claim(who));
                if let Some(seat) = got {
                    bits::clear(&shared.waiting, who);
                    shared.pass_on(seat, who);
                }
                got.is_some()
            })
        });
        shared.pass_on(seat, ONE);
        let mut served = waiters.map(|waiter| waiter.join().unwrap());
        // Bells that have rung are answered, until all are served.
        for _ in 0..2 {
            for (who, served) in [TWO, THREE].into_iter().zip(&mut served) {
                if !*served
                    && shared.rung[who.row()].load(RELAXED) == 1
                    && let Some(seat) = shared.collect(who).or_else(|| shared.claim(who))
                {
                    bits::clear(&shared.waiting, who);
                    shared.pass_on(seat, who);
                    *served = true;
                }
            }
        }
        assert_eq!(served, [true; 2]);
        [TWO, THREE].into_iter().for_each(|who| shared.heed(who));
        assert!(shared.all_are_free());
    });
}

#[test]
fn what_is_passed_to_a_worker_that_stops_waiting_comes_back() {
    try_all(|| {
        let shared = Shared::new(1);
        let seat = shared.claim(ONE).unwrap();
        bits::set(&shared.waiting, TWO);
        let leaver = shared.clone();
        let leaver = thread::spawn(move || {
            bits::clear(&leaver.waiting, TWO);
            leaver.return_grants(TWO);
            leaver.heed(TWO);
        });
        shared.pass_on(seat, ONE);
        leaver.join().unwrap();
        // The bell that may still be unanswered.
        shared.heed(TWO);
        assert!(shared.all_are_free());
    });
}

/// What a worker does, up to the step at which it is killed.
fn live(shared: &Shared, steps: usize) {
    let mut left = steps;
    let mut dies = move || {
        left = left.saturating_sub(1);
        left == 0
    };
    bits::set(&shared.waiting, ONE);
    if dies() {
        return;
    }
    let Some(seat) = collect(&shared.seats, ONE).or_else(|| claim(&shared.seats, ONE, 0)) else { return };
    if dies() {
        return;
    }
    bits::clear(&shared.waiting, ONE);
    if dies() {
        return;
    }
    // Whoever waits is looked up, and may be gone when it is passed on.
    let first = bits::waiting(&shared.waiting).next();
    if dies() {
        return;
    }
    match first {
        Some(first) => drop(grant(&shared.seats, seat, ONE, first)),
        None => release(&shared.seats, seat, ONE),
    }
}

#[test]
fn a_worker_that_is_killed_at_any_step_leaves_no_seat_behind() {
    for steps in 1..=5 {
        try_all(move || {
            let shared = Shared::new(1);
            let seat = claim(&shared.seats, TWO, 0).unwrap();
            let victim = shared.clone();
            let victim = thread::spawn(move || live(&victim, steps));
            let reclaimer = shared.clone();
            // The kernel frees the record lock after the last instruction of the process.
            let reclaimer = thread::spawn(move || {
                victim.join().unwrap();
                take_away(&reclaimer.seats, ONE);
                bits::clear(&reclaimer.waiting, ONE);
            });
            // Meanwhile another passes its seat on, to the dead worker too.
            match bits::waiting(&shared.waiting).next() {
                Some(first) => drop(grant(&shared.seats, seat, TWO, first)),
                None => release(&shared.seats, seat, TWO),
            }
            reclaimer.join().unwrap();
            // The next round finds what was passed on to the worker after it had been reclaimed.
            if shared.has(ONE) {
                take_away(&shared.seats, ONE);
            }
            assert!(shared.all_are_free());
            assert_eq!(bits::waiting(&shared.waiting).next(), None);
        });
    }
}

#[test]
fn whoever_takes_a_dead_workers_row_keeps_what_it_claims_there() {
    try_all(|| {
        let shared = Shared::new(1);
        // The dead worker's.
        claim(&shared.seats, ONE, 0).unwrap();
        // Its row's record lock, and its process number.
        let row = Arc::new((AtomicU32::new(0), AtomicU32::new(7)));
        let lock = |row: &AtomicU32| row.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire).is_ok();
        let (others, others_row) = (shared.clone(), row.clone());
        // `Member::reclaim`, by a third worker.
        let reclaimer = thread::spawn(move || {
            let (locked, process) = &*others_row;
            let left = process.load(Ordering::Acquire) == 0;
            if left && !others.has(ONE) || !lock(locked) {
                return;
            }
            take_away(&others.seats, ONE);
            process.swap(0, Ordering::AcqRel);
            locked.store(0, Ordering::Release);
        });
        // `Member::join`; the lock is kept.
        let (locked, process) = &*row;
        let joined = lock(locked);
        let seat = joined.then(|| {
            process.store(8, Ordering::Release);
            take_away(&shared.seats, ONE);
            claim(&shared.seats, ONE, 0).expect("the only seat is free")
        });
        reclaimer.join().unwrap();
        match seat {
            Some(seat) => assert_eq!(holder(&shared.seats[seat]), Some(ONE)),
            None => assert!(shared.all_are_free()),
        }
    });
}

/// The others' words come and go, so that two workers take words of one session in different places.
#[test]
fn a_session_never_has_more_than_its_turns() {
    try_all(|| {
        let words: Arc<Vec<AtomicU64>> = Arc::new((0..3).map(|_| AtomicU64::new(0)).collect());
        let Turn::Taken(of_another) = turns::take(&words, THREE, 8, 1) else { panic!("a free word") };
        let threads = [ONE, TWO].map(|who| {
            let words = words.clone();
            thread::spawn(move || turns::take(&words, who, 7, 1))
        });
        turns::end(&words, of_another, THREE);
        let taken = threads.map(|thread| thread.join().unwrap());
        assert!(!taken.contains(&Turn::Free), "there are words enough");
        assert!(taken.contains(&Turn::Wait), "two have the only turn");
    });
}

#[test]
fn without_the_fence_a_wake_up_is_lost_so_these_models_can_find_that() {
    let found = std::panic::catch_unwind(|| {
        try_all(|| {
            let (word, bit) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
            let (other_word, other_bit) = (word.clone(), bit.clone());
            let waiter = thread::spawn(move || {
                other_bit.store(1, Ordering::Release);
                other_word.load(Ordering::Acquire)
            });
            word.store(1, Ordering::Release);
            let seen = bit.load(Ordering::Acquire);
            assert!(waiter.join().unwrap() + seen > 0);
        });
    });
    assert!(found.is_err());
}
