//! The seat protocol: rights that processes share without a lock. `models/` proves it with loom.
//!
//! A seat is one word: free, or whose it is. Whoever holds a seat may have one connection. Nothing is counted, so nothing
//! can be counted wrongly when a process is killed: what a dead holder had is found by its name and freed.
//!
//! A holder passes a seat on by writing the next holder's name into it, marked as granted; the next holder collects it.
//! Who waits for a seat sets its bit first and then tries once more; who frees a seat does so first and then looks at the
//! bits. One of the two therefore sees the other.

use super::atomic::{AtomicU32, AtomicU64, Ordering, fence};

const FREE: u32 = 0;
/// Set in a seat that has been passed on and not been collected yet.
const GRANTED: u32 = 1 << 31;

/// Who holds seats: a worker, by its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(u32);

impl Holder {
    /// The worker of this row.
    pub const fn of_row(row: usize) -> Holder {
        Holder(row as u32 + 1)
    }

    /// Its row.
    pub const fn row(self) -> usize {
        self.0 as usize - 1
    }
}

/// Takes a free seat; looks from `start` on, so that a worker finds the one it had before at once.
pub fn claim(seats: &[AtomicU32], holder: Holder, start: usize) -> Option<usize> {
    let count = seats.len();
    let start = if start < count { start } else { 0 };
    let order = (start..count).chain(0..start);
    order.into_iter().find(|&seat| {
        seats[seat].load(Ordering::Relaxed) == FREE
            && seats[seat].compare_exchange(FREE, holder.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    })
}

/// Frees a seat of this holder.
pub fn release(seats: &[AtomicU32], seat: usize, holder: Holder) {
    // A seat that is not the holder's has been taken away because the holder was thought dead; it is not ours to free.
    let _ = seats[seat].compare_exchange(holder.0, FREE, Ordering::SeqCst, Ordering::Relaxed);
}

/// Passes a seat on; the next holder has to [`collect`] it. `false` if it was not this holder's any more.
pub fn grant(seats: &[AtomicU32], seat: usize, from: Holder, to: Holder) -> bool {
    seats[seat].compare_exchange(from.0, to.0 | GRANTED, Ordering::SeqCst, Ordering::Relaxed).is_ok()
}

/// Takes one seat that was passed on to this holder.
pub fn collect(seats: &[AtomicU32], holder: Holder) -> Option<usize> {
    let granted = holder.0 | GRANTED;
    seats.iter().position(|seat| {
        seat.load(Ordering::Relaxed) == granted
            && seat.compare_exchange(granted, holder.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    })
}

/// Frees what a holder has, collected or not. Only for one that cannot act any more. Gives how many that were.
pub fn take_away(seats: &[AtomicU32], holder: Holder) -> usize {
    let is_freed = |seat: &&AtomicU32| {
        let now = seat.load(Ordering::Relaxed);
        now & !GRANTED == holder.0 && seat.compare_exchange(now, FREE, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    };
    seats.iter().filter(is_freed).count()
}

/// Frees what was passed on to a holder and has not been collected. Only for one that cannot act any more. Gives how many
/// that were.
pub fn take_granted(seats: &[AtomicU32], holder: Holder) -> usize {
    let granted = holder.0 | GRANTED;
    let is_freed = |seat: &&AtomicU32| {
        seat.load(Ordering::Relaxed) == granted
            && seat.compare_exchange(granted, FREE, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    };
    seats.iter().filter(is_freed).count()
}

/// Who holds a seat.
pub fn holder(seat: &AtomicU32) -> Option<Holder> {
    let word = seat.load(Ordering::Relaxed) & !GRANTED;
    (word != FREE).then_some(Holder(word))
}

/// Marks of the workers that wait: one bit each, set and cleared by the worker itself.
pub mod bits {
    use super::{AtomicU64, Holder, Ordering, fence};

    /// Says that a worker waits. What it does next, trying once more, comes after this in every processor's eyes.
    pub fn set(bits: &[AtomicU64], holder: Holder) {
        bits[holder.row() / 64].fetch_or(1 << (holder.row() % 64), Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Says that it does not wait any more.
    pub fn clear(bits: &[AtomicU64], holder: Holder) {
        bits[holder.row() / 64].fetch_and(!(1 << (holder.row() % 64)), Ordering::SeqCst);
    }

    /// Who waits. What the caller did before, freeing a seat, came before this in every processor's eyes.
    pub fn waiting(bits: &[AtomicU64]) -> impl Iterator<Item = Holder> + '_ {
        fence(Ordering::SeqCst);
        bits.iter().enumerate().flat_map(|(word, bits)| {
            let mut left = bits.load(Ordering::SeqCst);
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.wrapping_sub(1);
                (bit < 64).then(|| Holder::of_row(word * 64 + bit))
            })
        })
    }
}
