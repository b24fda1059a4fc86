//! The figures of a round, and what speaks against it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::causes::Causes;
use crate::counting::{Manners, Tally};
use crate::load::{Exception, Outcome, Report, audit};

/// See the module. Those of several rounds can be added up.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub requests: u64,
    pub answered: u64,
    /// By number.
    pub failed: BTreeMap<u16, u64>,
    pub cut: u64,
    /// Not taken: the web server was closing that connection.
    pub untaken: u64,
    /// Without an answer, by a cause that is known.
    pub killed_or_broken: u64,
    pub executions: u64,
    /// GETs that were run again.
    pub repeated: u64,
    pub client_connections: u64,
    pub gateway_connections: u64,
    /// Connections of the gateway at once.
    pub most: usize,
    pub events: usize,
    pub killed: usize,
    pub reloads: usize,
    pub strikes: usize,
    pub crossed: u64,
    pub doubled: u64,
    pub lost: u64,
    pub time: Duration,
    /// What must not be.
    pub violations: Vec<String>,
}

/// So many violations of a kind are told one by one.
const TOLD: usize = 8;

impl Figures {
    pub(super) fn of(report: &Report, tally: &Tally, seed: u64, manners: Manners) -> Figures {
        let (invented, doubled, executions, repeated) = audit(report, tally, seed, manners);
        let mut figures = Figures {
            requests: report.began,
            answered: report.answered,
            executions,
            repeated,
            client_connections: report.connections,
            crossed: tally.mixed(),
            doubled: doubled.len() as u64,
            ..Figures::default()
        };
        for exception in &report.exceptions {
            match exception.outcome {
                Outcome::Answered => figures.answered += 1,
                Outcome::Failed(code) => *figures.failed.entry(code).or_default() += 1,
                Outcome::Refused(status) => *figures.failed.entry(status).or_default() += 1,
                Outcome::Cut => figures.cut += 1,
                Outcome::Untaken => figures.untaken += 1,
                Outcome::Lost | Outcome::Silent => figures.killed_or_broken += 1,
                Outcome::Crossed | Outcome::Malformed => figures.crossed += 1,
            }
        }
        let mut object = |what: &str, count: usize| {
            if count > 0 {
                figures.violations.push(format!("{what}: {count}"));
            }
        };
        object("requests whose parts belong to different ones", tally.mixed() as usize);
        object("answers to requests that were never run", invented.len());
        if let (0, Some(why)) = (report.answered, &report.refused.1) {
            figures.violations.push(format!("no client could connect: {why}"));
        }
        for tag in doubled.iter().take(TOLD) {
            figures.violations.push(format!("POST {tag:x} was run {} times", tally.executions(*tag).count));
        }
        figures
    }

    /// A request's outcome has no explanation.
    pub(super) fn object(&mut self, exception: &Exception, objection: &str, causes: &Causes) {
        let told = self.violations.iter().filter(|text| text.contains(objection)).count();
        if matches!(exception.outcome, Outcome::Lost | Outcome::Silent | Outcome::Untaken) {
            self.lost += 1;
            self.killed_or_broken = self.killed_or_broken.saturating_sub(1);
        }
        if told < TOLD {
            let Exception { tag, outcome, port, connected, began, ended, received } = exception;
            let before_end = |then: std::time::Instant| ended.duration_since(then).as_millis();
            let near = causes.killings.iter().filter(|killing| killing.gone >= *began && killing.at <= *ended);
            let near: Vec<_> = near.map(|killing| before_end(killing.at.min(*ended))).collect();
            self.violations.push(format!(
                "request {tag:x}: {outcome:?}, {objection} (client port {port}, {received} bytes came; connected {} ms \
                 and begun {} ms before; workers killed {near:?} ms before)",
                before_end(*connected),
                before_end(*began),
            ));
        }
    }

    /// Whether nothing speaks against it.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.lost + self.crossed + self.doubled == 0
    }

    /// Adds those of another round.
    pub fn add(&mut self, other: &Figures) {
        for (sum, one) in [
            (&mut self.requests, other.requests),
            (&mut self.answered, other.answered),
            (&mut self.cut, other.cut),
            (&mut self.untaken, other.untaken),
            (&mut self.killed_or_broken, other.killed_or_broken),
            (&mut self.executions, other.executions),
            (&mut self.repeated, other.repeated),
            (&mut self.client_connections, other.client_connections),
            (&mut self.gateway_connections, other.gateway_connections),
            (&mut self.crossed, other.crossed),
            (&mut self.doubled, other.doubled),
            (&mut self.lost, other.lost),
        ] {
            *sum += one;
        }
        for (code, count) in &other.failed {
            *self.failed.entry(*code).or_default() += count;
        }
        self.most = self.most.max(other.most);
        self.events += other.events;
        self.killed += other.killed;
        self.reloads += other.reloads;
        self.strikes += other.strikes;
        self.time += other.time;
        self.violations.extend(other.violations.iter().cloned());
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.requests as f64 / self.time.as_secs_f64().max(0.001);
        let failed: u64 = self.failed.values().sum();
        let kinds: Vec<_> = self.failed.iter().map(|(code, count)| format!("{code}: {count}")).collect();
        writeln!(f, "  {} requests in {:.0} s, {rate:.0} a second", self.requests, self.time.as_secs_f64())?;
        writeln!(f, "  answered {}, failed {failed} ({})", self.answered, kinds.join(", "))?;
        writeln!(
            f,
            "  without an answer: {} left by clients, {} of killed workers or cut connections, {} not taken",
            self.cut, self.killed_or_broken, self.untaken
        )?;
        writeln!(
            f,
            "  done to them: {} events, {} workers killed, {} reloads, {} connections struck",
            self.events, self.killed, self.reloads, self.strikes
        )?;
        writeln!(f, "  run {} times, {} of them again (GET)", self.executions, self.repeated)?;
        writeln!(
            f,
            "  connections: {} of clients, {} of the gateway, at most {} at once",
            self.client_connections, self.gateway_connections, self.most
        )?;
        writeln!(f, "  lost {}, crossed {}, doubled {}", self.lost, self.crossed, self.doubled)?;
        for violation in &self.violations {
            writeln!(f, "  WRONG: {violation}")?;
        }
        Ok(())
    }
}
