//! Which of an application's servers a request is sent to, and which next if that one cannot be reached: one pure
//! function from what is known of the servers to an ordered list of attempts. It allocates nothing and asks nothing.
//!
//! - A request of a session goes to the session's server as long as that one is there, and else to the next in order.
//! - Without a session, FailOver takes the first server that is well; LoadBalancing takes turns by weight, or takes the
//!   least busy one.
//! - A server that is drained keeps its sessions and gets no new ones; one that is disabled gets nothing.
//! - A server that is ejected gets nothing, unless all are: then all are tried, because a server that may be down is
//!   better than an answer that certainly is an error.

use super::health::{Admission, FULL_SHARE, Wish, mix};
use crate::profile::{Alternatives, Balance, Candidates, MOST_CANDIDATES, Mark};

/// One server of an application, as it is at this moment. The slice that [`choose`] takes has them in the order of
/// [`Candidates::servers`].
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// What sessions remember it by.
    pub mark: Mark,
    /// What an administrator wants of it.
    pub wish: Wish,
    /// What its health says.
    pub admission: Admission,
    /// `Sclera_Weight`; from 1 to 1000.
    pub weight: u32,
    /// Requests under way in all workers.
    pub busy: u32,
}

/// How a server is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The first is the only one.
    Single,
    /// The first that is well.
    FailOver,
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest requests for its weight.
    LeastBusy,
}

/// What is known of the request's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// It has none: whichever server answers may begin one.
    New,
    /// It has one, of which nobody knows the server any more. All workers choose the same one for the same session.
    Forgotten(u64),
    /// It belongs to this server.
    On(Mark),
}

/// The servers to try, in this order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    list: [usize; MOST_CANDIDATES],
    count: usize,
}

impl Mode {
    /// What a path's profile says.
    pub fn of(candidates: &Candidates) -> Mode {
        match (candidates.mode, candidates.balance) {
            (Alternatives::Disabled, _) => Mode::Single,
            (Alternatives::FailOver, _) => Mode::FailOver,
            (Alternatives::LoadBalancing, Balance::RoundRobin) => Mode::RoundRobin,
            (Alternatives::LoadBalancing, Balance::LeastBusy) => Mode::LeastBusy,
        }
    }
}

/// The servers to try, best first; none if an administrator wants it so. At most [`MOST_CANDIDATES`] candidates are
/// looked at.
///
/// `turn`: how many requests of this application have taken a turn before this one ([`takes_turn`]). Every application needs a counter
/// of its own, because of two that share one each might see only every other number.
pub fn choose(candidates: &[Candidate], mode: Mode, session: Session, turn: u64) -> Attempts {
    let considered = if mode == Mode::Single { 1 } else { MOST_CANDIDATES };
    let candidates = &candidates[..candidates.len().min(considered)];
    let home = home(candidates, mode, session);
    let is_open = |at: usize| candidates[at].wish == Wish::Enabled || Some(at) == home;
    let is_well = |at: usize| is_open(at) && matches!(candidates[at].admission, Admission::Normal | Admission::Ramp(_));
    let all = 0..candidates.len();
    let mut attempts = Attempts::none();
    if mode == Mode::Single || !all.clone().any(is_well) {
        let start = start(candidates, mode, home, turn, is_open);
        ring(candidates.len(), start).filter(|&at| is_open(at)).for_each(|at| attempts.push(at));
        return attempts;
    }
    let start = start(candidates, mode, home, turn, is_well);
    match mode {
        Mode::FailOver if home.is_none() => {
            attempts.push(start);
            all.filter(|&at| at != start && is_well(at)).for_each(|at| attempts.push(at));
        }
        _ => ring(candidates.len(), start).filter(|&at| is_well(at)).for_each(|at| attempts.push(at)),
    }
    attempts
}

/// Whether the request's place in turn counts, because no server is its own. Only then is a turn to be taken: if each new
/// session is followed by one request of a session that has its server, new ones would see every other turn only.
pub fn takes_turn(candidates: &[Candidate], mode: Mode, session: Session) -> bool {
    mode != Mode::Single && home(candidates, mode, session).is_none()
}

/// The position of the session's server, if it may serve the session.
fn home(candidates: &[Candidate], mode: Mode, session: Session) -> Option<usize> {
    match session {
        Session::New => None,
        // Where else, whatever is known of it: one that the vendor's gateway has begun too.
        _ if mode == Mode::Single => (0..candidates.len()).find(|&at| candidates[at].wish != Wish::Disabled),
        Session::On(mark) => candidates.iter().position(|it| it.mark == mark && it.wish != Wish::Disabled),
        // Rendezvous hashing: when a server leaves, only its own sessions move.
        Session::Forgotten(session) => {
            let open = candidates.iter().enumerate().filter(|(_, it)| it.wish == Wish::Enabled);
            open.max_by_key(|(_, it)| mix(session ^ mix(it.mark.number().into()))).map(|(at, _)| at)
        }
    }
}

/// Where to begin among the candidates that are fit.
fn start(
    candidates: &[Candidate],
    mode: Mode,
    home: Option<usize>,
    turn: u64,
    is_fit: impl Fn(usize) -> bool,
) -> usize {
    if let Some(home) = home {
        return ring(candidates.len(), home).find(|&at| is_fit(at)).unwrap_or(home);
    }
    let mut weights = [0; MOST_CANDIDATES];
    for (at, weight) in weights.iter_mut().enumerate().take(candidates.len()).filter(|(at, _)| is_fit(*at)) {
        *weight = candidates[at].weight_now();
    }
    let weights = &weights[..candidates.len()];
    let fit = || (0..candidates.len()).filter(|&at| weights[at] > 0);
    match mode {
        Mode::Single => 0,
        Mode::FailOver => {
            // Of so many turns one that has come back gets its share, and whoever is next the others.
            let place = turn.wrapping_mul(7) % u64::from(FULL_SHARE);
            let takes = |&at: &usize| place < u64::from(candidates[at].share());
            fit().find(takes).or_else(|| fit().next()).unwrap_or(0)
        }
        Mode::RoundRobin => in_turn(weights, turn),
        Mode::LeastBusy => {
            let load = |at: usize| u64::from(candidates[at].busy) + 1;
            let is_less = |one: usize, other: usize| load(one) * weights[other] < load(other) * weights[one];
            let ring = ring(candidates.len(), in_turn(weights, turn)).filter(|&at| weights[at] > 0);
            ring.reduce(|best, at| if is_less(at, best) { at } else { best }).unwrap_or(0)
        }
    }
}

/// All positions, beginning with `start`.
fn ring(count: usize, start: usize) -> impl Iterator<Item = usize> {
    (start..count).chain(0..start.min(count))
}

/// The position whose turn it is. Of as many turns in a row as the weights add up to, after they have been divided by what
/// all have in common, each position gets exactly as many as its weight, and they are spread rather than in blocks.
fn in_turn(weights: &[u64], turn: u64) -> usize {
    let common = weights.iter().fold(0, |common, &weight| divisor(common, weight)).max(1);
    let total = weights.iter().sum::<u64>() / common;
    if total == 0 {
        return 0;
    }
    // Steps of the golden section that meet every place once before they meet one twice.
    let all_alike = weights.iter().all(|&weight| weight == 0 || weight == common);
    let stride = match all_alike {
        true => 1,
        false => (total * 618 / 1000..).find(|&stride| divisor(stride, total) == 1).unwrap_or(1),
    };
    let mut place = turn % total * stride % total;
    for (at, weight) in weights.iter().map(|weight| weight / common).enumerate() {
        match place.checked_sub(weight) {
            Some(rest) => place = rest,
            None => return at,
        }
    }
    0
}

/// The greatest common divisor.
fn divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { divisor(other, one % other) }
}

impl Candidate {
    /// Sixteenths of its weight that it gets now.
    fn share(&self) -> u8 {
        match self.admission {
            Admission::Ramp(share) => share.clamp(1, FULL_SHARE),
            Admission::Normal | Admission::Trial | Admission::No => FULL_SHARE,
        }
    }

    /// Never 0, and at most 16,000.
    fn weight_now(&self) -> u64 {
        u64::from(self.weight.clamp(1, 1000)) * u64::from(self.share())
    }
}

impl Candidate {
    /// Fills places that no server has.
    pub(super) const ABSENT: Candidate =
        Candidate { mark: Mark::NONE, wish: Wish::Disabled, admission: Admission::No, weight: 1, busy: 0 };
}

impl Attempts {
    fn none() -> Attempts {
        Attempts { list: [0; MOST_CANDIDATES], count: 0 }
    }

    /// Appends a server, unless it stands there already.
    fn push(&mut self, candidate: usize) {
        if self.count < MOST_CANDIDATES && !self.as_slice().contains(&candidate) {
            self.list[self.count] = candidate;
            self.count += 1;
        }
    }

    /// Positions among the candidates, in order.
    pub fn as_slice(&self) -> &[usize] {
        &self.list[..self.count]
    }
}

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 4] = ["A", "B", "C", "D"];

    /// Candidates from a letter each: `n`ormal, `1`..`9` in slow start with that share, `t`rial due, `x` ejected,
    /// `d`raining, `D`raining and ejected, `o`ff.
    fn candidates(states: &str) -> Vec<Candidate> {
        let candidate = |(letter, name): (char, &&str)| Candidate {
            mark: Mark::of(name),
            wish: match letter {
                'd' | 'D' => Wish::Draining,
                'o' => Wish::Disabled,
                _ => Wish::Enabled,
            },
            admission: match letter {
                't' => Admission::Trial,
                'x' | 'D' => Admission::No,
                digit @ '1'..='9' => Admission::Ramp(digit as u8 - b'0'),
                _ => Admission::Normal,
            },
            weight: 1,
            busy: 0,
        };
        states.chars().zip(&NAMES).map(candidate).collect()
    }

    /// The attempts by the names of the servers.
    fn told(attempts: &Attempts) -> String {
        attempts.as_slice().iter().map(|&at| NAMES[at]).collect::<Vec<_>>().join(" ")
    }

    fn on(name: &str) -> Session {
        Session::On(Mark::of(name))
    }

    #[test]
    fn each_situation_has_its_order_of_attempts() {
        use Mode::{FailOver, RoundRobin, Single};
        for (states, mode, session, turn, expected) in [
            ("nnn", Single, Session::New, 0, "A"),
            ("xnn", Single, Session::New, 0, "A"),
            ("tnn", Single, on("B"), 0, "A"),
            ("dnn", Single, Session::New, 0, ""),
            ("dnn", Single, on("A"), 0, "A"),
            ("dnn", Single, on("elsewhere"), 0, "A"),
            ("dnn", Single, Session::Forgotten(1), 0, "A"),
            ("onn", Single, on("A"), 0, ""),
            ("onn", Single, Session::Forgotten(1), 0, ""),
            ("nnn", FailOver, Session::New, 5, "A B C"),
            ("xnn", FailOver, Session::New, 5, "B C"),
            ("nxn", FailOver, Session::New, 5, "A C"),
            ("tnn", FailOver, Session::New, 5, "B C"),
            ("tnn", FailOver, on("A"), 5, "B C"),
            ("nnn", FailOver, on("B"), 5, "B C A"),
            ("nxn", FailOver, on("B"), 5, "C A"),
            ("nnx", FailOver, on("C"), 5, "A B"),
            ("dnn", FailOver, Session::New, 5, "B C"),
            ("dnn", FailOver, on("A"), 5, "A B C"),
            ("Dnn", FailOver, on("A"), 5, "B C"),
            ("onn", FailOver, on("A"), 5, "B C"),
            ("nnn", FailOver, on("elsewhere"), 5, "A B C"),
            // All are ejected: all are tried, but nobody's wish is overruled.
            ("xxx", FailOver, Session::New, 5, "A B C"),
            ("xtx", FailOver, Session::New, 5, "A B C"),
            ("xxx", RoundRobin, Session::New, 1, "B C A"),
            ("xxx", FailOver, on("B"), 5, "B C A"),
            ("xdo", FailOver, Session::New, 5, "A"),
            ("dod", FailOver, Session::New, 5, ""),
            ("dod", RoundRobin, Session::New, 5, ""),
            ("nnn", RoundRobin, Session::New, 0, "A B C"),
            ("nnn", RoundRobin, Session::New, 1, "B C A"),
            ("nnn", RoundRobin, Session::New, 2, "C A B"),
            ("nnn", RoundRobin, Session::New, u64::MAX, "A B C"),
            ("nxn", RoundRobin, Session::New, 1, "C A"),
            ("ntn", RoundRobin, Session::New, 1, "C A"),
            ("nnn", RoundRobin, on("C"), 1, "C A B"),
            ("", RoundRobin, Session::New, 1, ""),
        ] {
            let attempts = choose(&candidates(states), mode, session, turn);
            assert_eq!(told(&attempts), expected, "{states} {mode:?} {session:?} {turn}");
        }
    }

    #[test]
    fn only_a_request_without_a_server_of_its_own_takes_a_turn() {
        for (states, session, expected) in [
            ("nn", Session::New, true),
            ("nn", on("B"), false),
            ("nx", on("B"), false),
            ("nd", on("B"), false),
            ("no", on("B"), true),
            ("nn", on("elsewhere"), true),
            ("nn", Session::Forgotten(1), false),
        ] {
            assert_eq!(takes_turn(&candidates(states), Mode::FailOver, session), expected, "{states} {session:?}");
        }
    }

    /// How often each server is the first in so many turns.
    fn firsts(candidates: &[Candidate], mode: Mode, turns: std::ops::Range<u64>) -> Vec<usize> {
        let mut counts = vec![0; candidates.len()];
        for turn in turns {
            counts[choose(candidates, mode, Session::New, turn).as_slice()[0]] += 1;
        }
        counts
    }

    #[test]
    fn weights_are_met_exactly_and_not_in_blocks() {
        let mut three = candidates("nnn");
        for (candidate, weight) in three.iter_mut().zip([50, 30, 20]) {
            candidate.weight = weight;
        }
        assert_eq!(firsts(&three, Mode::RoundRobin, 0..10), [5, 3, 2]);
        assert_eq!(firsts(&three, Mode::RoundRobin, 1_000_003..1_000_013), [5, 3, 2]);
        let first = |turn| choose(&three, Mode::RoundRobin, Session::New, turn).as_slice()[0];
        let longest_block =
            (0..100).collect::<Vec<u64>>().chunk_by(|&one, &next| first(one) == first(next)).map(<[u64]>::len).max();
        assert_eq!(longest_block, Some(2));
    }

    #[test]
    fn a_server_in_slow_start_gets_its_share() {
        assert_eq!(firsts(&candidates("4n"), Mode::FailOver, 0..16), [4, 12]);
        assert_eq!(firsts(&candidates("4x"), Mode::FailOver, 0..16), [16, 0]);
        assert_eq!(firsts(&candidates("4nn"), Mode::RoundRobin, 0..9), [1, 4, 4]);
        assert_eq!(firsts(&candidates("1n"), Mode::RoundRobin, 0..17), [1, 16]);
        assert_eq!(told(&choose(&candidates("1nn"), Mode::FailOver, on("A"), 9)), "A B C", "its sessions stay");
    }

    #[test]
    fn the_least_busy_for_its_weight_is_taken_and_those_alike_take_turns() {
        let mut three = candidates("nnn");
        for (candidate, busy) in three.iter_mut().zip([7, 2, 5]) {
            candidate.busy = busy;
        }
        assert_eq!(firsts(&three, Mode::LeastBusy, 0..9), [0, 9, 0]);
        three[0].weight = 3;
        assert_eq!(firsts(&three, Mode::LeastBusy, 0..9), [9, 0, 0], "8 of 3 is less than 3 of 1");
        assert_eq!(firsts(&candidates("nnn"), Mode::LeastBusy, 0..9), [3, 3, 3]);
        assert_eq!(firsts(&candidates("nxn"), Mode::LeastBusy, 0..8), [4, 0, 4]);
    }

    #[test]
    fn forgotten_sessions_are_spread_alike_by_all_and_only_those_of_a_lost_server_move() {
        let first = |states: &str, session| {
            let attempts = choose(&candidates(states), Mode::RoundRobin, Session::Forgotten(session), session);
            attempts.as_slice()[0]
        };
        let mut counts = [0; 3];
        for session in (0..3000).map(mix) {
            let chosen = first("nnn", session);
            counts[chosen] += 1;
            if chosen != 1 {
                assert_eq!(first("non", session), chosen);
            }
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        let admission = prop_oneof![
            Just(Admission::Normal),
            (0..=255u8).prop_map(Admission::Ramp),
            Just(Admission::Trial),
            Just(Admission::No)
        ];
        (any::<[u8; 4]>(), 0..3u32, admission, any::<u32>(), any::<u32>()).prop_map(
            |(mark, wish, admission, weight, busy)| Candidate {
                mark: Mark::of(&format!("{mark:?}")),
                wish: Wish::from(wish),
                admission,
                weight,
                busy,
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_the_servers_are_each_is_tried_once_and_somebody_is_if_anybody_may(
            candidates in prop::collection::vec(any_candidate(), 0..20),
            mode in prop::sample::select(vec![Mode::Single, Mode::FailOver, Mode::RoundRobin, Mode::LeastBusy]),
            home in prop::option::of(0..20usize),
            turn: u64,
        ) {
            let home = home.filter(|&home| home < candidates.len());
            let session = home.map_or(Session::New, |home| Session::On(candidates[home].mark));
            let attempts = choose(&candidates, mode, session, turn);
            let attempts = attempts.as_slice();
            let mut seen = std::collections::HashSet::new();
            for &attempt in attempts {
                prop_assert!(seen.insert(attempt));
                let is_home = Some(attempt) == home || mode == Mode::Single && home.is_some();
                let wish = candidates[attempt].wish;
                prop_assert!(wish == Wish::Enabled || wish == Wish::Draining && is_home);
            }
            let looked_at = candidates.iter().take(if mode == Mode::Single { 1 } else { MOST_CANDIDATES });
            let anybody = looked_at.clone().any(|it| it.wish == Wish::Enabled);
            prop_assert!(!anybody || !attempts.is_empty(), "never all ejected");
        }

        #[test]
        fn any_weights_are_met_exactly(weights in prop::collection::vec(1..40u64, 1..8), from in 0..1_000_000u64) {
            let total: u64 = weights.iter().sum();
            let mut counts = vec![0; weights.len()];
            (from..from + total).for_each(|turn| counts[in_turn(&weights, turn)] += 1);
            let common = weights.iter().fold(0, |common, &weight| divisor(common, weight));
            prop_assert_eq!(counts, weights.clone(), "in whole rounds of {}", total / common);
        }
    }
}
