//! Whether a request that failed may be sent again, to the same server or to the next: only if that cannot run anything
//! twice, can help, and does not add a storm of repetitions to whatever made it fail.

use crate::failure::{Code, Fault};
use crate::pool::health::Blame;

/// How far a request had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Not one byte of its call has left.
    Nothing,
    /// Some of it has, so that the application may have run.
    Something,
    /// The answer's head has been read.
    HeadSeen,
}

/// Whether the request's body is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none, or it is at hand, or nothing has been asked of the browser yet.
    Replayable,
    /// Some of it has been passed on and is gone.
    Gone,
}

/// Whether a request may be sent again. `sent_again`: how often it has been already; `most`: `Sclera_Retries`. If it may, a
/// [`Budget::spent`] must be had too.
///
/// After a response timeout it never is: the application is still at work on it, and the browser has waited long
/// enough. After a timeout in the queue it is not either, nor after anything that another try would not change.
pub fn may_retry(method: &[u8], sent: Sent, body: Body, code: Code, sent_again: u32, most: u32) -> bool {
    let harmless = match sent {
        Sent::Nothing => true,
        Sent::Something => is_idempotent(method),
        Sent::HeadSeen => false,
    };
    harmless && body == Body::Replayable && sent_again < most && may_help(code)
}

/// Methods that do the same when they are done twice (RFC 9110, section 9.2.2).
fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

/// Whether another try can end better.
fn may_help(code: Code) -> bool {
    code != Code::ResponseTimeout && code.fault() != Fault::Application && Blame::of(code) != Blame::None
}

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

    const METHODS: [&str; 8] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH"];

    /// Whether each failure may be followed by another try of a GET and of a POST. `make docs` writes it anew.
    #[test]
    fn each_failure_may_be_followed_by_another_try_as_before() {
        let mut table = String::new();
        for &code in Code::ALL {
            let may = |method: &str, sent| match may_retry(method.as_bytes(), sent, Body::Replayable, code, 0, 1) {
                true => "again",
                false => "-",
            };
            let row = [Sent::Nothing, Sent::Something].map(|sent| METHODS.map(|method| may(method, sent)));
            assert!(row[0].iter().all(|it| *it == row[0][0]), "{code}: before anything is sent methods are alike");
            table += &format!("{code} {}: nothing sent {}", code.name(), row[0][0]);
            table += &format!(
                ", something sent GET {} POST {}\n",
                may("GET", Sent::Something),
                may("POST", Sent::Something)
            );
        }
        crate::profile::reference::compare("src/exchange/retry.golden.txt", &table);
    }

    #[test]
    fn nothing_runs_twice_and_nothing_follows_what_the_browser_has_seen() {
        for &code in Code::ALL {
            for method in ["POST", "PATCH", "get", "CONNECT", "", "PROPFIND"] {
                assert!(
                    !may_retry(method.as_bytes(), Sent::Something, Body::Replayable, code, 0, 5),
                    "{code} {method}"
                );
            }
            for method in METHODS {
                let may =
                    |sent, body, sent_again, most| may_retry(method.as_bytes(), sent, body, code, sent_again, most);
                assert!(!may(Sent::HeadSeen, Body::Replayable, 0, 5), "{code} {method}");
                assert!(!may(Sent::Nothing, Body::Gone, 0, 5), "{code} {method}");
                assert!(!may(Sent::Nothing, Body::Replayable, 0, 0), "{code} {method}");
                assert!(!may(Sent::Nothing, Body::Replayable, 5, 5), "{code} {method}");
            }
        }
        for code in [Code::ResponseTimeout, Code::QueueTimeout, Code::ClientAborted, Code::ApplicationError] {
            assert!(!may_retry(b"GET", Sent::Nothing, Body::Replayable, code, 0, 5), "{code}");
        }
        for code in [Code::ConnectRefused, Code::LoginTimeout, Code::ConnectionLost, Code::ServerDisconnected] {
            assert!(may_retry(b"POST", Sent::Nothing, Body::Replayable, code, 1, 2), "{code}");
        }
        assert!(may_retry(b"GET", Sent::Something, Body::Replayable, Code::ConnectionLost, 1, 2));
    }

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
