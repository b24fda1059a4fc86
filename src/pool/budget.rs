//! What there is for sending requests again, so that repetitions do not become a storm.

/// What there is for sending again, for all requests together: a fifth for each request, and ten a second in any case, up
/// to [`Budget::MOST`]. Kept in one word that all workers share and change by compare-and-swap; 0 is a full one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What is missing to a full one, in fifths.
    missing: u16,
    /// Milliseconds up to which time has been counted, in 48 bits; without meaning in a full one.
    at: u64,
}

impl Budget {
    /// The most that can be saved up: about as many requests as may be under way when a server is lost.
    pub const MOST: u32 = 500;
    const WHOLE: u16 = 5 * Budget::MOST as u16;
    /// Milliseconds that are worth a fifth.
    const STEP: u64 = 20;
    /// The last time that there is room for, in 9,000 years.
    const LAST: u64 = (1 << 48) - 1;

    /// The budget that a word holds. Any word is one.
    pub fn unpack(word: u64) -> Budget {
        Budget { missing: ((word >> 48) as u16).min(Budget::WHOLE), at: word & Budget::LAST }
    }

    /// The word that is kept.
    pub fn pack(self) -> u64 {
        u64::from(self.missing) << 48 | self.at
    }

    /// After a request that is sent for the first time. The same as before if it is full, so that nothing is written as long
    /// as nothing fails. `now`: milliseconds of `CLOCK_MONOTONIC`.
    pub fn earned(self, now: u64) -> Budget {
        let budget = self.with_time(now);
        Budget { missing: budget.missing.saturating_sub(1), ..budget }
    }

    /// After a request has been sent again; `None` if there is nothing left for it.
    pub fn spent(self, now: u64) -> Option<Budget> {
        let budget = self.with_time(now);
        let missing = budget.missing + 5;
        let at = if budget.missing == 0 { now.min(Budget::LAST) } else { budget.at };
        (missing <= Budget::WHOLE).then_some(Budget { missing, at })
    }

    /// With what time has added since.
    fn with_time(self, now: u64) -> Budget {
        let steps = now.min(Budget::LAST).saturating_sub(self.at) / Budget::STEP;
        match u64::from(self.missing).checked_sub(steps) {
            None | Some(0) => Budget { missing: 0, ..self },
            Some(missing) => Budget { missing: missing as u16, at: self.at + steps * Budget::STEP },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many tries a budget gives at this moment.
    fn tries(word: u64, now: u64) -> u32 {
        let mut budget = Some(Budget::unpack(word));
        std::iter::from_fn(|| {
            budget = budget?.spent(now);
            budget
        })
        .count() as u32
    }

    #[test]
    fn the_budget_is_a_fifth_of_the_requests_and_ten_a_second() {
        let start = 1 << 40;
        assert_eq!(tries(0, start), Budget::MOST);
        let empty = Budget { missing: Budget::WHOLE, at: start };
        assert_eq!(tries(empty.pack(), start), 0);
        assert_eq!(tries(empty.pack(), start + 1000), 10);
        let busy = (0..100).fold(empty, |budget, _| budget.earned(start));
        assert_eq!(tries(busy.pack(), start), 20);
        let slow =
            (0..1000).fold(empty, |budget, millisecond| Budget::unpack(budget.earned(start + millisecond).pack()));
        assert_eq!(tries(slow.pack(), start + 1000), 210, "no part of a second is lost");
        assert_eq!(tries(empty.pack(), start + 3_600_000), Budget::MOST);
        assert_eq!(tries(empty.pack(), start - 5), 0, "a clock read earlier adds nothing");
        let full = Budget::unpack(0);
        assert_eq!(full.earned(start), full, "nothing is written as long as nothing fails");
    }

    proptest! {
        #[test]
        fn any_word_is_a_budget_and_none_gives_more_than_the_most(word: u64, now: u64) {
            prop_assert!(tries(word, now) <= Budget::MOST);
            let earned = Budget::unpack(word).earned(now);
            prop_assert_eq!(Budget::unpack(earned.pack()), earned);
        }
    }
}
