//! Why a request has no answer, or a failure for one: what was done to its worker, its connection and its superserver.

use std::time::{Duration, Instant};

use crate::counting::Executions;
use crate::fault::{Fault, Strike};
use crate::load::{Exception, Outcome};

/// Everything that was done during a round.
#[derive(Debug, Default)]
pub struct Causes {
    pub killings: Vec<Killing>,
    pub strikes: Vec<Strike>,
    /// When nothing passed.
    pub stalls: Vec<Span>,
    /// When no superserver could be reached.
    pub cuts: Vec<Span>,
    /// Ends of the superserver, by incarnation.
    pub stops: Vec<(u64, Span)>,
    pub reloads: usize,
    pub events: usize,
    /// From here on nothing was done any more, and nothing may fail.
    pub calm_from: Option<Instant>,
    /// What went wrong beside the requests.
    pub problems: Vec<String>,
}

/// The end of a worker.
#[derive(Debug)]
pub struct Killing {
    pub at: Instant,
    pub gone: Instant,
    /// Ports of the clients it had connections with.
    pub ports: Vec<u16>,
}

/// A while.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub from: Instant,
    pub to: Instant,
}

impl Span {
    /// From then to now.
    pub fn since(from: Instant) -> Span {
        Span { from, to: Instant::now() }
    }

    fn meets(&self, other: &Span) -> bool {
        self.from <= other.to && other.from <= self.to
    }

    fn wider(self, by: Duration) -> Span {
        Span { from: self.from.checked_sub(by).unwrap_or(self.from), to: self.to + by }
    }
}

/// How long after a disturbance a request may still meet it: the gateway waits at most so long for an answer, for a
/// connection, and for a place in the queue.
const AFTERMATH: Duration = Duration::from_secs(28);

/// A strike is noted just after it has happened, and its effect may have been seen by then.
const SLACK: Duration = Duration::from_millis(100);

/// Failures that no disturbance of ours explains: of configuration, protocol, application and browser, and our own.
fn is_wrong(code: u16) -> bool {
    matches!(code, 100..=199 | 501..=503 | 603..=605 | 800..=899 | 900)
}

impl Causes {
    /// Whether the outcome is explained; if not, the objection.
    pub fn explain(&self, exception: &Exception, executions: Executions) -> Result<(), String> {
        let span = Span { from: exception.began, to: exception.ended };
        if self.calm_from.is_some_and(|calm| exception.began > calm)
            && !matches!(exception.outcome, Outcome::Cut | Outcome::Untaken)
        {
            return Err("although nothing was done any more".to_owned());
        }
        match exception.outcome {
            Outcome::Answered | Outcome::Cut => Ok(()),
            Outcome::Untaken if executions.count == 0 => Ok(()),
            Outcome::Crossed => Err("the answer belongs to another request".to_owned()),
            Outcome::Malformed => Err("the answer is no HTTP".to_owned()),
            // Nginx answers itself if nothing has left when the superserver's answer breaks off.
            Outcome::Refused(502 | 504) if self.broken(&span, executions) => Ok(()),
            Outcome::Refused(_) => Err("the answer is not of the gateway".to_owned()),
            Outcome::Failed(code) if is_wrong(code) => Err("no disturbance leads to this failure".to_owned()),
            Outcome::Failed(_) if self.disturbed(&span) => Ok(()),
            Outcome::Failed(_) => Err("nothing was done that leads to a failure".to_owned()),
            // Whatever happens, it is to be told within the gateway's own time limits.
            Outcome::Silent => Err("no answer, and no end of the connection".to_owned()),
            _ if self.killed(exception) => Ok(()),
            // Before an answer begins there is a page to say what failed.
            Outcome::Lost if exception.received > 0 && self.broken(&span, executions) => Ok(()),
            Outcome::Lost | Outcome::Untaken => Err("its worker was not killed, and its answer not cut".to_owned()),
        }
    }

    /// Whether a worker was being killed, or had just been. No excuse for anything, but a hint where to look: the system
    /// drops the locks of a dying process before its sockets.
    pub fn is_just_after_death(&self, at: Instant) -> bool {
        let moment = Duration::from_millis(250);
        self.killings.iter().any(|killing| killing.at <= at && at <= killing.gone + moment)
    }

    /// The worker that served the client was killed.
    fn killed(&self, exception: &Exception) -> bool {
        let span = Span { from: exception.connected, to: exception.ended };
        self.killings.iter().any(|killing| {
            let while_it_ended = Span { from: killing.at, to: killing.gone };
            let taken = killing.ports.contains(&exception.port) && span.meets(&while_it_ended);
            let taken_at_the_end = while_it_ended.from <= exception.connected && exception.connected <= killing.gone;
            taken || taken_at_the_end
        })
    }

    /// The connection that the application was called on was struck, or its superserver ended.
    fn broken(&self, span: &Span, executions: Executions) -> bool {
        let struck = |strike: &Strike| {
            let until = strike.until.unwrap_or(span.to);
            strike.port == executions.port && Span { from: strike.at, to: until }.wider(SLACK).meets(span)
        };
        let ended = |(incarnation, stop): &(u64, Span)| *incarnation == executions.incarnation && stop.meets(span);
        executions.count > 0 && (self.strikes.iter().any(struck) || self.stops.iter().any(ended))
    }

    /// Something happened at that time that may make a request fail.
    fn disturbed(&self, span: &Span) -> bool {
        let span = Span { from: span.from.checked_sub(AFTERMATH).unwrap_or(span.from), to: span.to };
        let strikes = self.strikes.iter().filter(|strike| !matches!(strike.fault, Some(Fault::Delay(_))));
        let mut strikes = strikes.map(|strike| Span { from: strike.at, to: strike.until.unwrap_or(span.to) });
        strikes.any(|strike| strike.meets(&span)) || self.stalls.iter().chain(&self.cuts).any(|cut| cut.meets(&span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Executions = Executions { count: 0, incarnation: 0, port: 0 };
    const ONCE: Executions = Executions { count: 1, incarnation: 0, port: 7000 };

    fn exception(start: Instant, outcome: Outcome, received: usize) -> Exception {
        let at = |seconds| start + Duration::from_secs(seconds);
        Exception { tag: 1, outcome, port: 4000, connected: at(100), began: at(101), ended: at(103), received }
    }

    #[test]
    fn a_lost_request_is_explained_by_its_own_worker_connection_or_superserver_alone() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let killing = |ports: &[u16]| Killing { at: at(102), gone: at(103), ports: ports.to_vec() };
        let strike =
            |port| Strike { connection: 1, port, fault: Some(Fault::Reset), at: at(102), until: Some(at(102)) };
        let span = Span { from: at(102), to: at(103) };
        let killed = |ports| Causes { killings: vec![killing(ports)], ..Causes::default() };
        let struck = |port| Causes { strikes: vec![strike(port)], ..Causes::default() };
        let stopped = |incarnation| Causes { stops: vec![(incarnation, span)], ..Causes::default() };
        for (causes, outcome, received, executions, explained) in [
            (Causes::default(), Outcome::Lost, 10, ONCE, false),
            (killed(&[4000]), Outcome::Lost, 0, ONCE, true),
            (killed(&[4001]), Outcome::Lost, 0, ONCE, false),
            (killed(&[4000]), Outcome::Lost, 0, NONE, true),
            (killed(&[4000]), Outcome::Silent, 0, NONE, false),
            (struck(7000), Outcome::Lost, 10, ONCE, true),
            (struck(7000), Outcome::Lost, 0, ONCE, false),
            (struck(7001), Outcome::Lost, 10, ONCE, false),
            (struck(7000), Outcome::Lost, 10, NONE, false),
            (stopped(0), Outcome::Lost, 10, ONCE, true),
            (stopped(1), Outcome::Lost, 10, ONCE, false),
            (Causes::default(), Outcome::Untaken, 0, NONE, true),
            (Causes::default(), Outcome::Untaken, 0, ONCE, false),
            (struck(7000), Outcome::Refused(502), 300, ONCE, true),
            (struck(7001), Outcome::Refused(502), 300, ONCE, false),
            (struck(7000), Outcome::Refused(500), 300, ONCE, false),
            (struck(1), Outcome::Failed(600), 500, ONCE, true),
            (struck(1), Outcome::Failed(900), 500, ONCE, false),
            (Causes::default(), Outcome::Failed(600), 500, ONCE, false),
            (struck(7000), Outcome::Crossed, 500, ONCE, false),
        ] {
            let told = causes.explain(&exception(start, outcome, received), executions);
            assert_eq!(told.is_ok(), explained, "{outcome:?}, {received} bytes: {told:?}");
        }
        let calm = Causes { calm_from: Some(at(100)), ..struck(1) };
        assert!(calm.explain(&exception(start, Outcome::Failed(600), 500), ONCE).is_err());
        assert!(calm.explain(&exception(start, Outcome::Cut, 500), ONCE).is_ok());
    }
}
