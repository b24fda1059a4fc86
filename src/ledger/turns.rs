//! The turns of sessions: rights to use one more connection, which processes share without a lock. `models/` proves it with
//! loom.
//!
//! A turn is one word: free, or whose it is, a worker's and a session's. Each session has a window of words that begins
//! where its number says and overlaps with the windows of others. Whoever has taken a word looks through the whole window
//! afterwards, and gives the word back if its session now has too many: of two who take the last turn at the same moment,
//! at least one sees the other.

use super::atomic::{AtomicU64, Ordering, fence};
use super::seats::Holder;

const FREE: u64 = 0;
/// So many words a window has beyond the session's turns, for words that other sessions have in it.
const SPARE: usize = 32;

/// What taking a turn gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The session may go on; the number has to be given back.
    Taken(u32),
    /// It may go on, and nothing is to be given back: other sessions have every word of its window, which takes thousands
    /// of requests under way.
    Free,
    /// It has all its turns.
    Wait,
}

/// Takes a turn for a session that has `most` of them.
pub fn take(turns: &[AtomicU64], holder: Holder, session: u64, most: u32) -> Turn {
    let mine = word(holder, session);
    let window = || places(turns.len(), session, most);
    let taken = || window().filter(|&place| is_of_session(turns[place].load(Ordering::Relaxed), mine)).count();
    if taken() >= most as usize {
        return Turn::Wait;
    }
    let is_free = |&place: &usize| turns[place].load(Ordering::Relaxed) == FREE;
    let take = |place: &usize| turns[*place].compare_exchange(FREE, mine, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let Some(place) = window().filter(is_free).find(take) else { return Turn::Free };
    // Between taking and looking, so that not both of two miss the other.
    fence(Ordering::SeqCst);
    if taken() > most as usize {
        end(turns, place as u32, holder);
        return Turn::Wait;
    }
    Turn::Taken(place as u32)
}

/// Gives a turn of this holder back.
pub fn end(turns: &[AtomicU64], turn: u32, holder: Holder) {
    let turn = &turns[turn as usize];
    let found = turn.load(Ordering::Relaxed);
    // One that is not the holder's has been taken away because the holder was thought dead.
    if found >> 32 == word(holder, 0) >> 32 {
        let _ = turn.compare_exchange(found, FREE, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Frees all that a dead worker had.
pub fn take_away(turns: &[AtomicU64], holder: Holder) {
    (0..turns.len()).for_each(|turn| end(turns, turn as u32, holder));
}

/// The worker in the upper half, which is never 0, and the session in the lower.
fn word(holder: Holder, session: u64) -> u64 {
    (holder.row() as u64 + 1) << 32 | (session & 0xffff_ffff)
}

fn is_of_session(word: u64, mine: u64) -> bool {
    word != FREE && word as u32 == mine as u32
}

fn places(words: usize, session: u64, most: u32) -> impl Iterator<Item = usize> {
    let first = (session.rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
    let length = (most as usize).saturating_add(SPARE).min(words);
    (0..length).map(move |number| (first + number) % words)
}
