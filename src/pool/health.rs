//! Whether a server is fit to get requests, as all workers know it together: one word that each of them may change by
//! compare-and-swap, and pure functions from that word, an event and the time to the next word.
//!
//! A server serves until failures that are its own fault come in a row; then it is ejected, which means left out. After a
//! back-off one trial is made by an active check, while everything else keeps away. A trial that
//! succeeds brings the server back, with a share of the load that grows over the slow start; one that fails doubles the
//! back-off. Events tell when what they report of had begun, because what began before the last change belongs to a
//! state that has passed: a hundred requests that break together are one ejection.
//!
//! Times are milliseconds of `CLOCK_MONOTONIC`, which is the same for all processes of a machine.

use std::time::Duration;

use crate::failure::{Code, Fault, Stage};
use crate::profile::Server;

/// Health of one server. The default, packed as 0, is a server of which nothing bad is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    state: State,
    /// Failures in a row while serving.
    failures: u8,
    /// How often it has been ejected without having served well in between: the exponent of the back-off.
    step: u8,
    /// When the state began; 0 if it has always been so. At most 46 bits, which is 2,000 years.
    since: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It gets requests.
    #[default]
    Serving,
    /// It gets none until its back-off is over, and then one trial.
    Ejected,
    /// Somebody is making the trial.
    OnTrial,
}

/// What happened to a server. `begun` is when the request, the attempt to connect or the check had begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has begun to answer a request: the response head has been read. A login alone does not count, because a
    /// server that lets one in may still never answer.
    Answered {
        /// Milliseconds.
        begun: u64,
    },
    /// A request, or the attempt to connect for one, failed.
    Failed {
        /// Milliseconds.
        begun: u64,
        /// As what.
        code: Code,
    },
    /// An active check logged in and got an answer to its ping.
    CheckPassed {
        /// Milliseconds.
        begun: u64,
    },
    /// An active check failed.
    CheckFailed {
        /// Milliseconds.
        begun: u64,
        /// As what.
        code: Code,
    },
    /// An administrator says that it is well.
    MarkedOnline,
}

/// The settings that health follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Failures in a row before ejection; from 1 (`Sclera_Eject_After`).
    pub eject_after: u32,
    /// Milliseconds of slow start (`Sclera_Slow_Start`).
    pub slow_start: u64,
    /// Milliseconds after which a trial whose end nobody has told is given up: its worker may have been killed.
    pub trial: u64,
    /// What the jitter follows, so that servers that failed together are not tried together.
    pub key: u64,
}

/// Whether a server may get a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Like any other.
    Normal,
    /// A part of its weight, from 1 to [`FULL_SHARE`] - 1: it has come back not long ago.
    Ramp(u8),
    /// Whoever claims the trial ([`Health::claim`]) may make one check; requests keep away.
    Trial,
    /// No.
    No,
}

/// What an administrator wants of a server. Kept beside its health, in a word of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Wish {
    /// It serves.
    #[default]
    Enabled = 0,
    /// It gets no new sessions; those that it has stay.
    Draining = 1,
    /// It gets nothing.
    Disabled = 2,
}

/// How much a failure says against the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// It will be the same for the next request: the server is ejected at once.
    AtOnce,
    /// It may be an accident: `Sclera_Eject_After` of them in a row eject.
    Counts,
    /// It is not the server's fault, or no reason to prefer another.
    None,
}

/// The share of a server that has its full weight.
pub const FULL_SHARE: u8 = 16;

/// The first back-off, in milliseconds; each further one is twice as long.
const BACK_OFF: u64 = 1_000;
/// The longest back-off, in milliseconds.
const LONGEST_BACK_OFF: u64 = 60_000;
/// The step at which the back-off is the longest.
const LAST_STEP: u8 = 6;
/// A server that has served for so many milliseconds after its slow start begins with the first back-off again.
const FORGIVEN: u64 = 120_000;

const SINCE_BITS: u32 = 46;

impl Health {
    /// The word that is kept.
    pub fn pack(self) -> u64 {
        let state = match self.state {
            State::Serving => 0,
            State::Ejected => 1,
            State::OnTrial => 2,
        };
        state << 62 | u64::from(self.failures) << 54 | u64::from(self.step) << 46 | self.since
    }

    /// The health that a word holds. Any word is one.
    pub fn unpack(word: u64) -> Health {
        Health {
            state: match word >> 62 {
                0 => State::Serving,
                1 => State::Ejected,
                _ => State::OnTrial,
            },
            failures: (word >> 54) as u8,
            step: (word >> 46) as u8,
            since: word & ((1 << SINCE_BITS) - 1),
        }
    }

    /// The health after an event. The same as before if nothing has changed, so that most requests write nothing.
    pub fn after(self, event: Event, now: u64, policy: &Policy) -> Health {
        match event {
            Event::Answered { begun } => self.after_success(begun, now, true),
            Event::CheckPassed { begun } => self.after_success(begun, now, false),
            Event::Failed { begun, code } | Event::CheckFailed { begun, code } => {
                match (Blame::of(code), code.fault()) {
                    // The server has shown that it is there.
                    (Blame::None, Fault::Application) if self.state == State::OnTrial => {
                        self.after_success(begun, now, true)
                    }
                    (Blame::None, _) => self.without_trial(begun, policy),
                    (blame, _) => self.after_failure(begun, now, blame, policy),
                }
            }
            Event::MarkedOnline => Health::default(),
        }
    }

    fn after_success(self, begun: u64, now: u64, answered: bool) -> Health {
        let back = Health { state: State::Serving, failures: 0, since: time(now), ..self };
        match self.state {
            // A check tells nothing about requests that run into their timeout one after the other.
            State::Serving if answered => Health { failures: 0, ..self },
            State::Serving => self,
            // It was asked although it is ejected: all servers were, or an administrator tried it.
            State::Ejected if begun >= self.since && answered => back,
            State::Ejected => self,
            // Whoever made the trial, perhaps one that was given up as too slow.
            State::OnTrial => back,
        }
    }

    fn after_failure(self, begun: u64, now: u64, blame: Blame, policy: &Policy) -> Health {
        if begun < self.since {
            return self;
        }
        match self.state {
            State::Serving => {
                let failures = self.failures.saturating_add(1);
                match blame == Blame::AtOnce || u32::from(failures) >= policy.eject_after {
                    true => self.ejected(now, policy),
                    false => Health { failures, ..self },
                }
            }
            State::Ejected => self,
            State::OnTrial => self.ejected(now, policy),
        }
    }

    /// A trial that told nothing, such as one for which this worker had no thread: another one may be made at once.
    fn without_trial(self, begun: u64, policy: &Policy) -> Health {
        match self.state {
            State::OnTrial if begun >= self.since => {
                Health { since: time(self.since.saturating_sub(policy.trial)), ..self }
            }
            _ => self,
        }
    }

    fn ejected(self, now: u64, policy: &Policy) -> Health {
        let served = if self.state == State::Serving { now.saturating_sub(self.since) } else { 0 };
        let step = match self.since == 0 || served >= FORGIVEN + policy.slow_start {
            true => 0,
            false => self.step.saturating_add(1).min(LAST_STEP),
        };
        Health { state: State::Ejected, failures: 0, step, since: time(now) }
    }

    /// Whether it may get a request now.
    pub fn admits(self, now: u64, policy: &Policy) -> Admission {
        let age = now.saturating_sub(self.since);
        match self.state {
            State::Serving if self.since == 0 || age >= policy.slow_start => Admission::Normal,
            State::Serving => {
                let share = (age * u64::from(FULL_SHARE) / policy.slow_start) as u8;
                Admission::Ramp(share.clamp(1, FULL_SHARE - 1))
            }
            State::Ejected if age >= self.back_off(policy) => Admission::Trial,
            State::OnTrial if age >= policy.trial => Admission::Trial,
            State::Ejected | State::OnTrial => Admission::No,
        }
    }

    /// The health that claims the trial; `None` if there is none to be had. Of several who try, the one whose
    /// compare-and-swap succeeds has it.
    pub fn claim(self, now: u64, policy: &Policy) -> Option<Health> {
        let is_due = self.admits(now, policy) == Admission::Trial;
        is_due.then_some(Health { state: State::OnTrial, since: time(now), ..self })
    }

    /// When the next trial may be made, in milliseconds; `None` while it serves.
    pub fn next_trial(self, policy: &Policy) -> Option<u64> {
        match self.state {
            State::Serving => None,
            State::Ejected => Some(self.since + self.back_off(policy)),
            State::OnTrial => Some(self.since + policy.trial),
        }
    }

    /// What it is now, in words for an administrator.
    pub fn word(self, now: u64, policy: &Policy) -> &'static str {
        match (self.state, self.admits(now, policy)) {
            (State::Serving, Admission::Normal) => "up",
            (State::Serving, _) => "slow start",
            (State::Ejected, _) => "ejected",
            (State::OnTrial, _) => "on trial",
        }
    }

    /// Whether it gets requests like any other, or a growing share of them.
    pub fn is_in_use(self) -> bool {
        self.state == State::Serving
    }

    /// Failures in a row that have not ejected it yet.
    pub fn failures(self) -> u8 {
        self.failures
    }

    /// When its state began, in milliseconds; 0 if it has always been so.
    pub fn since(self) -> u64 {
        self.since
    }

    /// Milliseconds from the ejection to the trial: up to a quarter less than the doubled ones, by chance that every
    /// worker computes alike.
    fn back_off(self, policy: &Policy) -> u64 {
        let whole = (BACK_OFF << self.step.min(LAST_STEP)).min(LONGEST_BACK_OFF);
        whole - whole * (mix(policy.key ^ self.since ^ u64::from(self.step)) % 256) / 1024
    }
}

/// 0 means that a state has always been so, and is no time.
fn time(now: u64) -> u64 {
    now.clamp(1, (1 << SINCE_BITS) - 1)
}

/// Spreads the bits of a number (the finaliser of SplitMix64).
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

impl Policy {
    /// What a server's profile says.
    pub fn of(server: &Server) -> Policy {
        let milliseconds = |duration: Duration| duration.as_millis().try_into().unwrap_or(u64::MAX);
        Policy {
            eject_after: server.eject_after,
            slow_start: milliseconds(server.slow_start),
            // Time to connect, and some for an answer.
            trial: milliseconds(server.connect_timeout).saturating_add(5_000),
            key: server.mark.number().into(),
        }
    }
}

impl Blame {
    /// How much a failure of this code says against the server. `health.golden.txt` lists all of them.
    pub fn of(code: Code) -> Blame {
        match (code, code.stage(), code.fault()) {
            // Nothing about any one server, or nothing that another one would do better.
            (
                Code::ConfigurationUnreadable
                | Code::ConfigurationInvalid
                | Code::NoServerForPath
                | Code::ServerDisabled
                | Code::ApplicationDisabled
                | Code::ManagementAbsent,
                ..,
            )
            | (_, _, Fault::Application | Fault::Client | Fault::Capacity | Fault::Sclera) => Blame::None,
            // It may be different a moment later: a name server, a route or a licence that is missing just now, and a
            // server that is going down or coming up.
            (
                Code::NameNotResolved
                | Code::ConnectFailed
                | Code::TlsNotSpoken
                | Code::TlsFailed
                | Code::NoLicence
                | Code::LoginTimeout
                | Code::LoginConnectionLost
                | Code::ProtocolViolation
                | Code::MessageTooLarge,
                ..,
            ) => Blame::Counts,
            // One answer that was lost or slow may be that request's own doing.
            (_, Stage::Answer, _) => Blame::Counts,
            // Nothing listens, nothing answers for the whole of the time to connect, certificates, logins and
            // settings that do not fit, another protocol: the next request would meet the same.
            (_, Stage::Configuration | Stage::Connect | Stage::Tls | Stage::Login | Stage::Protocol, _) => {
                Blame::AtOnce
            }
            (_, Stage::Queue | Stage::Request | Stage::Internal, _) => Blame::None,
        }
    }
}

impl From<u32> for Wish {
    /// An unknown number is [`Wish::Enabled`].
    fn from(number: u32) -> Wish {
        match number {
            1 => Wish::Draining,
            2 => Wish::Disabled,
            _ => Wish::Enabled,
        }
    }
}

impl From<Wish> for u32 {
    fn from(wish: Wish) -> u32 {
        wish as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy { eject_after: 3, slow_start: 10_000, trial: 15_000, key: 7 };

    /// Health after events at their times; each event began when it is told.
    fn after(events: &[(u64, Code)]) -> Health {
        events.iter().fold(Health::default(), |health, &(now, code)| health.failed(now, code))
    }

    impl Health {
        fn failed(self, now: u64, code: Code) -> Health {
            self.after(Event::Failed { begun: now, code }, now, &POLICY)
        }

        fn answered(self, now: u64) -> Health {
            self.after(Event::Answered { begun: now }, now, &POLICY)
        }
    }

    #[test]
    fn failures_in_a_row_eject_and_an_answer_in_between_forgives_them() {
        let slow = Code::ResponseTimeout;
        assert_eq!(after(&[(10, slow), (11, slow)]).admits(12, &POLICY), Admission::Normal);
        assert_eq!(after(&[(10, slow), (11, slow), (12, slow)]).admits(13, &POLICY), Admission::No);
        let forgiven = after(&[(10, slow), (11, slow)]).answered(12).failed(13, slow).failed(14, slow);
        assert_eq!(forgiven.admits(15, &POLICY), Admission::Normal);
        assert_eq!(forgiven.word(15, &POLICY), "up");
    }

    #[test]
    fn what_cannot_be_different_for_the_next_request_ejects_at_once() {
        for code in [Code::ConnectRefused, Code::LoginRefused, Code::ServerCertificateExpired, Code::KeyMismatch] {
            assert_eq!(after(&[(10, code)]).admits(11, &POLICY), Admission::No, "{code}");
        }
    }

    #[test]
    fn what_is_not_the_servers_fault_never_ejects() {
        for &code in Code::ALL.iter().filter(|&&code| Blame::of(code) == Blame::None) {
            let often = vec![(10, code); 1000];
            assert_eq!(after(&often), Health::default(), "{code}");
        }
        for code in [Code::QueueTimeout, Code::ClientAborted, Code::RequestInvalid, Code::ApplicationError] {
            assert_eq!(Blame::of(code), Blame::None, "{code}");
        }
    }

    #[test]
    fn the_back_off_doubles_up_to_a_minute_and_one_trial_ends_it() {
        let mut health = after(&[(1_000_000, Code::ConnectRefused)]);
        let mut now;
        for longest in [1, 2, 4, 8, 16, 32, 60, 60].map(|seconds| seconds * 1000) {
            let due = health.next_trial(&POLICY).unwrap();
            let back_off = due - health.since();
            assert!((longest * 3 / 4..=longest).contains(&back_off), "{back_off} of {longest}");
            assert_eq!(health.admits(due - 1, &POLICY), Admission::No);
            assert_eq!(health.claim(due - 1, &POLICY), None);
            now = due;
            let claimed = health.claim(now, &POLICY).unwrap();
            assert_eq!(claimed.admits(now, &POLICY), Admission::No, "only one makes the trial");
            assert_eq!(claimed.word(now, &POLICY), "on trial");
            health = claimed.failed(now, Code::ConnectTimeout);
        }
        now = health.next_trial(&POLICY).unwrap();
        let back = health.claim(now, &POLICY).unwrap().after(Event::CheckPassed { begun: now }, now + 5, &POLICY);
        assert_eq!(back.word(now + 5, &POLICY), "slow start");
        assert_eq!(back.admits(now + 5, &POLICY), Admission::Ramp(1));
        assert_eq!(back.admits(now + 5 + 5_000, &POLICY), Admission::Ramp(8));
        assert_eq!(back.admits(now + 5 + 10_000, &POLICY), Admission::Normal);
        let soon = back.failed(now + 60_000, Code::ConnectRefused);
        assert!(soon.next_trial(&POLICY).unwrap() - soon.since() > 40_000, "it has not been well for long enough");
        let late = back.failed(now + 140_000, Code::ConnectRefused);
        assert!(late.next_trial(&POLICY).unwrap() - late.since() <= 1_000);
    }

    #[test]
    fn what_had_begun_before_the_last_change_is_no_news() {
        let ejected = after(&[(100, Code::ConnectionLost); 3]);
        let late = Event::Failed { begun: 90, code: Code::ConnectionLost };
        assert_eq!(ejected.after(late, 200, &POLICY), ejected);
        assert_eq!(ejected.after(Event::Answered { begun: 90 }, 200, &POLICY), ejected);
        let trial = ejected.claim(5_000, &POLICY).unwrap();
        assert_eq!(trial.after(late, 5_001, &POLICY), trial, "a request of before fails during the trial");
        let back = trial.answered(5_010);
        let timeout = Event::Failed { begun: 95, code: Code::ResponseTimeout };
        assert_eq!((0..9).fold(back, |health, _| health.after(timeout, 5_020, &POLICY)), back);
    }

    #[test]
    fn a_trial_that_nobody_ends_is_given_up() {
        let trial = after(&[(100, Code::ConnectRefused)]).claim(5_000, &POLICY).unwrap();
        assert_eq!(trial.admits(19_999, &POLICY), Admission::No);
        assert_eq!(trial.admits(20_000, &POLICY), Admission::Trial);
        let second = trial.claim(20_000, &POLICY).unwrap();
        assert_eq!(
            second.after(Event::Answered { begun: 5_000 }, 21_000, &POLICY).word(21_000, &POLICY),
            "slow start",
            "the first trial was only slow"
        );
    }

    #[test]
    fn a_trial_that_tells_nothing_of_the_server_is_followed_by_another() {
        let trial = after(&[(100_000, Code::ConnectRefused)]).claim(105_000, &POLICY).unwrap();
        assert_eq!(trial.failed(105_010, Code::ClientAborted).admits(105_010, &POLICY), Admission::Trial);
        assert_eq!(trial.failed(105_010, Code::ApplicationError).word(105_010, &POLICY), "slow start");
        assert_eq!(trial.failed(104_000, Code::ClientAborted), trial, "that was another request");
    }

    #[test]
    fn an_ejected_server_that_answers_when_all_are_ejected_is_back_and_a_check_waits_for_its_turn() {
        let ejected = after(&[(100, Code::ConnectRefused)]);
        assert_eq!(ejected.answered(150).word(150, &POLICY), "slow start");
        assert_eq!(ejected.after(Event::CheckPassed { begun: 150 }, 160, &POLICY), ejected);
        assert_eq!(ejected.after(Event::MarkedOnline, 160, &POLICY).word(160, &POLICY), "up");
    }

    #[test]
    fn a_check_that_passes_does_not_forgive_requests_that_are_never_answered() {
        let health = after(&[(10, Code::ResponseTimeout), (20, Code::ResponseTimeout)]);
        let checked = health.after(Event::CheckPassed { begun: 25 }, 26, &POLICY);
        assert_eq!(checked.failed(30, Code::ResponseTimeout).admits(31, &POLICY), Admission::No);
    }

    #[test]
    fn without_slow_start_a_server_has_its_full_weight_at_once() {
        let policy = Policy { slow_start: 0, ..POLICY };
        let back = after(&[(100, Code::ConnectRefused)]).answered(150);
        assert_eq!(back.admits(150, &policy), Admission::Normal);
    }

    #[test]
    fn a_wish_survives_its_number() {
        for wish in [Wish::Enabled, Wish::Draining, Wish::Disabled] {
            assert_eq!(Wish::from(u32::from(wish)), wish);
        }
        assert_eq!(Wish::from(77), Wish::Enabled);
    }

    /// Every code and what it means for health. `make docs` writes it anew.
    #[test]
    fn each_failure_weighs_against_the_server_what_it_did_before() {
        let table = Code::ALL.iter().map(|&code| format!("{code} {}: {:?}\n", code.name(), Blame::of(code)));
        crate::profile::reference::compare("src/pool/health.golden.txt", &table.collect::<String>());
    }

    fn events() -> impl Strategy<Value = Vec<(u64, u64, u8, usize)>> {
        prop::collection::vec((0..5_000u64, 0..20_000u64, 0..6u8, 0..Code::ALL.len()), 0..60)
    }

    proptest! {
        #[test]
        fn any_health_is_the_same_after_packing(state in 0..3u64, failures: u8, step: u8, since in 0..1u64 << 46) {
            let word = state << 62 | u64::from(failures) << 54 | u64::from(step) << 46 | since;
            prop_assert_eq!(Health::unpack(word).pack(), word);
        }

        #[test]
        fn any_word_can_be_asked(word: u64, now: u64, slow_start: u64) {
            let policy = Policy { slow_start, ..POLICY };
            let health = Health::unpack(word);
            let _ = (health.admits(now >> 18, &policy), health.claim(now >> 18, &policy), health.next_trial(&policy));
        }

        /// Whatever happens, a server that is ejected gets a trial within a minute, and one trial at a time.
        #[test]
        fn no_history_keeps_a_server_out_for_longer_than_a_minute(history in events()) {
            let mut health = Health::default();
            let mut now = 1;
            for (pause, age, kind, code) in history {
                now += pause;
                let begun = now.saturating_sub(age);
                let code = Code::ALL[code];
                health = match kind {
                    0 => health.after(Event::Answered { begun }, now, &POLICY),
                    1 => health.after(Event::CheckPassed { begun }, now, &POLICY),
                    2 => health.after(Event::CheckFailed { begun, code }, now, &POLICY),
                    3 => health.claim(now, &POLICY).unwrap_or(health),
                    _ => health.after(Event::Failed { begun, code }, now, &POLICY),
                };
                prop_assert_eq!(Health::unpack(health.pack()), health);
                prop_assert!(health.since() <= now);
                prop_assert!(u32::from(health.failures()) < POLICY.eject_after);
                let later = now + LONGEST_BACK_OFF;
                prop_assert_ne!(health.admits(later, &POLICY), Admission::No);
                if let Some(claimed) = health.claim(later, &POLICY) {
                    prop_assert_eq!(claimed.claim(later, &POLICY), None);
                }
            }
        }
    }
}
