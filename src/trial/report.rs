//! What a trial found, for people and for programs. Neither form holds a secret.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::identity::{Facts, credential};
use crate::profile::{PinnedKey, Server};
use crate::terminal::wrapped;

/// The stages, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageName {
    /// The files that the profile names are read and checked.
    Settings,
    Resolve,
    Connect,
    Tls,
    Login,
    /// A class method is called.
    Call,
}

/// One stage that was tried.
#[derive(Clone, Debug)]
pub struct Stage {
    pub name: StageName,
    pub took: Duration,
    /// What it found; empty for the one that failed.
    pub found: String,
}

/// A certificate of one of the two chains.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub facts: Facts,
    /// Whole days until it ends; negative once it has.
    pub days_left: i64,
    /// What `Sclera_Pinned_Key` would be; for the superserver's.
    pub key: Option<PinnedKey>,
}

/// The result of a trial.
#[derive(Clone, Debug)]
pub struct Report {
    /// The server's name in CSP.ini.
    pub server: String,
    /// Configured name or address, with port.
    pub target: String,
    /// How the gateway logs in: `mutual TLS`, `password`, `unauthenticated`.
    pub credential: &'static str,
    /// The stages tried, in their order; the last one is the one that failed, if one has.
    pub stages: Vec<Stage>,
    /// TLS version, suite and group.
    pub negotiated: Option<[String; 3]>,
    /// What the superserver showed, its own certificate first; also what was refused.
    pub superserver: Vec<Certificate>,
    /// What the gateway would show.
    pub gateway: Vec<Certificate>,
    /// Whether the superserver asked for the gateway's certificate; `None` without TLS.
    pub asked: Option<bool>,
    /// Whom the superserver takes the gateway for, and how it was let in.
    pub user: Option<(String, &'static str)>,
    /// What works, but should not stay so; a sentence each.
    pub warnings: Vec<String>,
    /// Why it ended; `None` if all is well.
    pub failure: Option<Failure>,
}

impl Certificate {
    pub(super) fn new(facts: Facts, key: Option<PinnedKey>, now: SystemTime) -> Certificate {
        Certificate { days_left: facts.days_left(now), facts, key }
    }

    fn to_json(&self) -> Value {
        let Facts { subject, issuer, serial, common_name, alternative_names, not_after, .. } = &self.facts;
        json!({
            "subject": subject, "issuer": issuer, "serial": serial, "common_name": common_name,
            "names": alternative_names, "not_after": not_after, "days_left": self.days_left,
            "public_key": self.key.map(|key| key.to_string()),
        })
    }
}

impl Report {
    pub(super) fn new(server: &Server) -> Report {
        Report {
            server: server.name.clone(),
            target: format!("{}:{}", server.address.value, server.port.value),
            credential: credential(server).name(),
            stages: Vec::new(),
            negotiated: None,
            superserver: Vec::new(),
            gateway: Vec::new(),
            asked: None,
            user: None,
            warnings: Vec::new(),
            failure: None,
        }
    }

    pub(super) fn passed(&mut self, name: StageName, took: Duration, found: impl Into<String>) {
        self.stages.push(Stage { name, took, found: found.into() });
    }

    pub(super) fn failed(mut self, name: StageName, took: Duration, failure: Failure) -> Report {
        self.stages.push(Stage { name, took, found: String::new() });
        self.failure = Some(failure);
        self
    }

    /// For programs: one object.
    pub fn to_json(&self) -> Value {
        let last = self.stages.len().saturating_sub(1);
        let stage = |(position, stage): (usize, &Stage)| {
            let ok = position < last || self.failure.is_none();
            json!({
                "stage": stage.name.to_string(),
                "ok": ok,
                "milliseconds": (stage.took.as_secs_f64() * 1e6).round() / 1e3,
                "found": stage.found,
            })
        };
        json!({
            "server": self.server,
            "target": self.target,
            "credential": self.credential,
            "ok": self.failure.is_none(),
            "stages": self.stages.iter().enumerate().map(stage).collect::<Vec<_>>(),
            "tls": self.negotiated.as_ref().map(|[version, suite, group]| {
                json!({ "version": version, "suite": suite, "group": group })
            }),
            "superserver": self.superserver.iter().map(Certificate::to_json).collect::<Vec<_>>(),
            "gateway": self.gateway.iter().map(Certificate::to_json).collect::<Vec<_>>(),
            "certificate_requested": self.asked,
            "user": self.user.as_ref().map(|(user, _)| user),
            "mechanism": self.user.as_ref().map(|(_, mechanism)| mechanism),
            "warnings": self.warnings,
            "failure": self.failure.as_ref().map(|failure| {
                json!({
                    "code": failure.code.to_string(),
                    "name": failure.code.name(),
                    "fault": failure.code.fault().word(),
                    "status": failure.code.http_status(),
                    "detail": failure.detail,
                    "remedy": failure.code.remedy(),
                })
            }),
        })
    }
}

impl fmt::Display for Report {
    /// For people: at most 80 columns, except for words that are longer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", wrapped(&format!("Server {} at {}, by {}", self.server, self.target, self.credential), ""))?;
        for (position, stage) in self.stages.iter().enumerate() {
            let failed = self.failure.is_some() && position + 1 == self.stages.len();
            let verdict = if failed { "FAILED" } else { "ok" };
            let milliseconds = stage.took.as_secs_f64() * 1e3;
            let line = format!("  {:<9} {verdict:<6} {milliseconds:>8.1} ms  {}", stage.name, stage.found);
            writeln!(f, "{}", wrapped(line.trim_end(), "                              "))?;
            if stage.name == StageName::Tls {
                self.write_certificates(f)?;
            }
        }
        for warning in &self.warnings {
            writeln!(f, "{}", wrapped(&format!("WARNING: {warning}"), "  "))?;
        }
        match &self.failure {
            None => {
                let total: Duration = self.stages.iter().map(|stage| stage.took).sum();
                let verdict = if self.warnings.is_empty() { "All is well" } else { "It works, with warnings" };
                writeln!(f, "{verdict} ({:.1} ms).", total.as_secs_f64() * 1e3)
            }
            Some(failure) => {
                let told = format!("{} {}: {}", failure.code, failure.code.name(), failure.detail);
                writeln!(f, "{}", wrapped(&told, "  "))?;
                writeln!(f, "{}", wrapped(&format!("What to do: {}", failure.code.remedy()), "  "))
            }
        }
    }
}

impl Report {
    fn write_certificates(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (whose, chain) in [("superserver", &self.superserver), ("gateway", &self.gateway)] {
            for (position, certificate) in chain.iter().enumerate() {
                let facts = &certificate.facts;
                let whose = if position == 0 { whose } else { "  then" };
                let mut line = format!("    {whose}: {}", facts.subject);
                if !facts.alternative_names.is_empty() {
                    let _ = write!(line, "; names {}", facts.alternative_names.join(", "));
                }
                let _ = write!(line, "; {}", days(certificate.days_left));
                let _ = write!(line, "; issued by {}", facts.issuer);
                if let (0, Some(key)) = (position, &certificate.key) {
                    let _ = write!(line, "; key {key}");
                }
                writeln!(f, "{}", wrapped(&line, "      "))?;
            }
        }
        match self.asked {
            Some(true) => writeln!(f, "    the superserver asked for the gateway's certificate"),
            Some(false) if !self.gateway.is_empty() => {
                writeln!(f, "    the superserver did not ask for the gateway's certificate")
            }
            _ => Ok(()),
        }
    }
}

fn days(left: i64) -> String {
    match left {
        ..0 => "expired".to_owned(),
        0 => "0 days left".to_owned(),
        1 => "1 day left".to_owned(),
        days => format!("{days} days left"),
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            StageName::Settings => "settings",
            StageName::Resolve => "resolve",
            StageName::Connect => "connect",
            StageName::Tls => "tls",
            StageName::Login => "login",
            StageName::Call => "call",
        })
    }
}
