//! The level string (`Env_Parameters`): which letters ask for what to be recorded. Pure: from the text to a value.
//!
//! Letters combine and stand in any order (web gateway reference, section 8.3). What the string asks for and Sclera does
//! not do is told as a notice, and the rest is heeded: a level string never keeps a gateway from starting.

use std::time::Duration;

/// What is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// `e`: failures of requests and connections.
    pub errors: bool,
    /// `v`: the dialogue.
    pub verbose: Verbose,
    /// `s`: session tokens, as fingerprints.
    pub sessions: bool,
    /// `c`: what TLS agreed on for each new connection.
    pub tls: bool,
    /// `t` and `T`: buffers.
    pub raw: Raw,
    /// `p` and `pp`: how long the stages of a request took.
    pub timing: Option<Timing>,
}

/// How much of the dialogue is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verbose {
    /// 0 for nothing, 1 to 9 as the reference counts.
    pub number: u8,
    /// `v9r`: responses as well as requests.
    pub responses: bool,
    /// `v9m`: the parts of a multipart body too.
    pub multipart: bool,
}

/// Which buffers are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    /// Between gateway and superserver.
    pub server: Side,
    /// Between gateway and browser.
    pub client: Side,
    /// `T`: all of a buffer, up to `Maximum_Logged_Request_Size`, instead of its first 256 bytes.
    pub whole: bool,
}

/// Which direction of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    pub request: bool,
    pub response: bool,
}

/// When the times of a request are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Only of requests that took longer.
    pub longer_than: Duration,
    /// `pp`: with the stages before and after.
    pub finer: bool,
    /// What else is recorded of those requests, and of no others.
    pub verbose: Verbose,
}

/// A level string, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    pub levels: Levels,
    /// What of it has no effect, and why: each the end of a sentence about the string.
    pub notices: Vec<String>,
}

/// From this number on bodies are recorded.
const BODIES: u8 = 6;
/// From this number on headers are recorded; also what is left of a number that records bodies when it expires.
const HEADERS: u8 = 3;

impl Levels {
    /// Reads a level string. Blank and `0` record nothing but what concerns the gateway as a whole.
    pub fn parse(text: &str) -> Parsed {
        let mut reader = Reader { rest: text.trim(), parsed: Parsed::default() };
        while !reader.rest.is_empty() {
            reader.token();
        }
        reader.parsed
    }

    /// The levels for a server whose section has the string `own`: its own, except that `v9` and `s` are a matter of
    /// `[SYSTEM]` (section 8.4).
    pub fn for_server(self, own: Levels) -> Levels {
        let verbose = match self.verbose.number {
            9 => self.verbose,
            _ => own.verbose.at_most(7),
        };
        Levels { verbose, sessions: self.sessions, ..own }
    }

    /// Whether bodies or buffers may be recorded, which should not go on unnoticed.
    pub fn is_dangerous(self) -> bool {
        self != self.safe()
    }

    /// What is left when the dangerous part has expired.
    pub fn safe(self) -> Levels {
        let timing = self.timing.map(|timing| Timing { verbose: timing.verbose.safe(), ..timing });
        Levels { verbose: self.verbose.safe(), raw: Raw::default(), timing, ..self }
    }

    /// Whether anything is recorded of a request that goes well.
    pub fn watch_requests(self) -> bool {
        self.verbose.number > 0 || self.sessions || self.raw != Raw::default() || self.timing.is_some()
    }
}

impl Verbose {
    fn new(number: u8) -> Verbose {
        Verbose { number, ..Verbose::default() }
    }

    fn at_most(self, number: u8) -> Verbose {
        if self.number <= number { self } else { Verbose::new(number) }
    }

    fn safe(self) -> Verbose {
        if self.number < BODIES { self } else { Verbose::new(HEADERS) }
    }

    /// `v2`: connections' starts and ends, and browsers that went away.
    pub fn connections(self) -> bool {
        self.number >= 2
    }

    /// `v3`: headers of requests and responses.
    pub fn headers(self) -> bool {
        self.number >= HEADERS
    }

    /// `v6`: request data. Of a multipart body only with `v9`.
    pub fn request_data(self) -> bool {
        self.number >= BODIES
    }

    /// `v7`, `v9r`: response data.
    pub fn response_data(self) -> bool {
        matches!(self.number, 7 | 8) || self.responses
    }
}

impl Side {
    /// 0 none, 1 request, 2 response, 3 both.
    fn of(digit: u8) -> Side {
        Side { request: digit & 1 != 0, response: digit & 2 != 0 }
    }

    const BOTH: Side = Side { request: true, response: true };
}

struct Reader<'a> {
    rest: &'a str,
    parsed: Parsed,
}

impl Reader<'_> {
    fn token(&mut self) {
        let Some(letter) = self.rest.chars().next() else { return };
        self.rest = &self.rest[letter.len_utf8()..];
        let levels = &mut self.parsed.levels;
        match letter {
            'e' | 'E' => levels.errors = true,
            'v' | 'V' => {
                let verbose = self.verbose();
                self.parsed.levels.verbose = verbose;
            }
            's' | 'S' => levels.sessions = true,
            'c' | 'C' => {
                levels.tls = true;
                self.link(letter);
            }
            't' | 'T' => self.raw(letter == 'T'),
            'p' | 'P' => self.timing(),
            'w' | 'W' => self.notice(format!("{letter} asks for core dumps, which the system makes, not this gateway")),
            '0' | ' ' | ',' => {}
            other => self.notice(format!("{other:?} is not a letter of the level string")),
        }
    }

    /// What follows `v`.
    fn verbose(&mut self) -> Verbose {
        let mut verbose = Verbose::new(self.digit('0'..='9').unwrap_or(1));
        match verbose.number {
            4 => self.notice("v4 asks for state-aware sessions, which do not exist here; it records what v3 does"),
            5 => self.notice("v5 asks for WebSocket data, which is not recorded; it records what v3 does"),
            9 => self.whole_requests(&mut verbose),
            _ => {}
        }
        verbose
    }

    fn whole_requests(&mut self, verbose: &mut Verbose) {
        while let Some(letter) = self.rest.chars().next() {
            match letter {
                'r' | 'R' => verbose.responses = true,
                'm' | 'M' => {
                    verbose.multipart = true;
                    self.notice("v9m writes no files: parts of a multipart body stand in the event log");
                }
                'a' | 'A' => self.notice("v9a writes no http.log: requests stand in the event log"),
                'b' | 'B' => self.notice("v9b writes no file for each session: requests stand in the event log"),
                _ => return,
            }
            self.rest = &self.rest[1..];
        }
    }

    /// What follows `c` or `C`.
    fn link(&mut self, letter: char) {
        if letter == 'C' {
            self.notice("C records what c does: buffers within TLS are not recorded");
        }
        if let Some(digit) = self.digit('1'..='6') {
            self.notice(format!("{letter}{digit} asks for a trace of a library that is not used here"));
        }
    }

    /// What follows `t` or `T`.
    fn raw(&mut self, whole: bool) {
        let server = self.digit('0'..='3');
        let client = server.and_then(|_| self.digit('0'..='3'));
        self.parsed.levels.raw = match server {
            None => Raw { server: Side::BOTH, client: Side::BOTH, whole },
            Some(server) => Raw { server: Side::of(server), client: Side::of(client.unwrap_or(0)), whole },
        };
    }

    /// What follows `p`.
    fn timing(&mut self) {
        let finer = self.rest.starts_with(['p', 'P']);
        if finer {
            self.rest = &self.rest[1..];
        }
        let end = self.rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        let seconds = if digits.is_empty() { 0 } else { digits.parse::<u32>().unwrap_or(u32::MAX) };
        let mut timing = Timing { longer_than: Duration::from_secs(seconds.into()), finer, ..Timing::default() };
        let bracketed = self.rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        if let Some((inside, rest)) = bracketed {
            self.rest = inside;
            match self.rest.strip_prefix(['v', 'V']) {
                Some(after) => {
                    self.rest = after;
                    timing.verbose = self.verbose();
                }
                None => self.notice(format!("({inside}) is not a verbose level")),
            }
            self.rest = rest;
        }
        self.parsed.levels.timing = Some(timing);
    }

    fn digit(&mut self, range: std::ops::RangeInclusive<char>) -> Option<u8> {
        let digit = self.rest.chars().next().filter(|digit| range.contains(digit))?;
        self.rest = &self.rest[1..];
        digit.to_digit(10).and_then(|digit| u8::try_from(digit).ok())
    }

    /// At most as many as a reader would read.
    fn notice(&mut self, text: impl Into<String>) {
        if self.parsed.notices.len() < 10 {
            self.parsed.notices.push(text.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn timing(seconds: u64, finer: bool, verbose: Verbose) -> Option<Timing> {
        Some(Timing { longer_than: Duration::from_secs(seconds), finer, verbose })
    }

    #[test]
    fn each_letter_asks_for_what_the_reference_says() {
        let none = Levels::default();
        let v = |number| Levels { verbose: Verbose::new(number), ..none };
        let raw = |server, client, whole| Levels {
            raw: Raw { server: Side::of(server), client: Side::of(client), whole },
            ..none
        };
        let whole = |responses, multipart| Verbose { number: 9, responses, multipart };
        for (text, expected, notices) in [
            ("", none, 0),
            ("0", none, 0),
            ("v0", none, 0),
            ("e", Levels { errors: true, ..none }, 0),
            ("E", Levels { errors: true, ..none }, 0),
            ("v", v(1), 0),
            ("V2", v(2), 0),
            ("v3", v(3), 0),
            ("v4", v(4), 1),
            ("v5", v(5), 1),
            ("v6", v(6), 0),
            ("v7", v(7), 0),
            ("v9", v(9), 0),
            ("v9r", Levels { verbose: whole(true, false), ..none }, 0),
            ("v9ramb", Levels { verbose: whole(true, true), ..none }, 3),
            ("ev", Levels { errors: true, ..v(1) }, 0),
            ("ev2s", Levels { errors: true, sessions: true, ..v(2) }, 0),
            ("s", Levels { sessions: true, ..none }, 0),
            ("c", Levels { tls: true, ..none }, 0),
            ("C", Levels { tls: true, ..none }, 1),
            ("c6", Levels { tls: true, ..none }, 1),
            ("t", raw(3, 3, false), 0),
            ("T", raw(3, 3, true), 0),
            ("t3", raw(3, 0, false), 0),
            ("t01", raw(0, 1, false), 0),
            ("T23e", Levels { errors: true, ..raw(2, 3, true) }, 0),
            ("p", Levels { timing: timing(0, false, Verbose::default()), ..none }, 0),
            ("ep5", Levels { errors: true, timing: timing(5, false, Verbose::default()), ..none }, 0),
            ("pp12e", Levels { errors: true, timing: timing(12, true, Verbose::default()), ..none }, 0),
            ("ep5(v9)", Levels { errors: true, timing: timing(5, false, Verbose::new(9)), ..none }, 0),
            ("p5(v9r)s", Levels { sessions: true, timing: timing(5, false, whole(true, false)), ..none }, 0),
            ("p(e)", Levels { timing: timing(0, false, Verbose::default()), ..none }, 1),
            ("W", none, 1),
            ("ex", Levels { errors: true, ..none }, 1),
        ] {
            let parsed = Levels::parse(text);
            assert_eq!(parsed.levels, expected, "{text}");
            assert_eq!(parsed.notices.len(), notices, "{text}: {:?}", parsed.notices);
        }
    }

    #[test]
    fn what_records_bodies_is_dangerous_and_has_a_safe_part() {
        for (text, safe) in [
            ("e", None),
            ("ev3sc", None),
            ("p5", None),
            ("ev9r", Some("ev3")),
            ("v6", Some("v3")),
            ("v7s", Some("v3s")),
            ("T33e", Some("e")),
            ("ep5(v9)", Some("ep5(v3)")),
        ] {
            let levels = Levels::parse(text).levels;
            assert_eq!(levels.is_dangerous(), safe.is_some(), "{text}");
            assert_eq!(levels.safe(), Levels::parse(safe.unwrap_or(text)).levels, "{text}");
        }
    }

    #[test]
    fn a_server_has_its_own_string_except_for_v9_and_s() {
        for (system, own, expected) in [
            ("e", "v3", "v3"),
            ("es", "v3", "v3s"),
            ("v9r", "e", "ev9r"),
            ("e", "v9r", "v7"),
            ("e", "s", "0"),
            ("ev2", "0", "0"),
        ] {
            let of = |text| Levels::parse(text).levels;
            assert_eq!(of(system).for_server(of(own)), of(expected), "{system:?} {own:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,40}|[evsctTpPw0-9()rabm]{0,40}") {
            let parsed = Levels::parse(&text);
            prop_assert!(parsed.notices.len() <= 10);
            prop_assert!(!parsed.levels.safe().is_dangerous());
        }
    }
}
