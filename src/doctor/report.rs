//! The doctor's findings, for people and for programs.

use std::fmt;

use serde_json::{Value, json};

use super::{Check, Verdict};
use crate::terminal::wrapped;

/// All checks, in the order in which they were made.
#[derive(Clone, Debug)]
pub struct Findings(pub Vec<Check>);

impl Findings {
    /// The worst verdict.
    pub fn worst(&self) -> Verdict {
        self.0.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Good)
    }

    /// For programs: an array of objects.
    pub fn to_json(&self) -> Value {
        let object = |check: &Check| {
            json!({
                "server": check.server, "name": check.name, "subject": check.subject,
                "verdict": check.verdict.word().to_lowercase(), "evidence": check.evidence, "remedy": check.remedy,
                "code": check.code.map(|code| code.to_string()),
            })
        };
        Value::Array(self.0.iter().map(object).collect())
    }
}

impl Verdict {
    /// One word; those that ask for something are in capitals.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Note => "note",
            Verdict::Unknown => "unknown",
            Verdict::Warning => "WARNING",
            Verdict::Bad => "BAD",
        }
    }
}

impl fmt::Display for Findings {
    /// For people: grouped by server, at most 80 columns except for words that are longer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut group = None;
        for check in &self.0 {
            if group != Some(&check.server) {
                let blank = if group.is_some() { "\n" } else { "" };
                match &check.server {
                    None => writeln!(f, "{blank}This machine")?,
                    Some(server) => writeln!(f, "{blank}Server {server}")?,
                }
                group = Some(&check.server);
            }
            let code = check.code.map(|code| format!("{code} ")).unwrap_or_default();
            let line =
                format!("  {:<8} {}: {code}{}: {}", check.verdict.word(), check.name, check.subject, check.evidence);
            writeln!(f, "{}", wrapped(&line, "           "))?;
            if !check.remedy.is_empty() {
                writeln!(f, "{}", wrapped(&format!("           what to do: {}", check.remedy), "             "))?;
            }
        }
        let count = |verdict| self.0.iter().filter(|check| check.verdict == verdict).count();
        let (bad, warnings) = (count(Verdict::Bad), count(Verdict::Warning));
        writeln!(f)?;
        writeln!(f, "{} checks: {bad} bad, {warnings} warnings, {} not seen.", self.0.len(), count(Verdict::Unknown))?;
        match self.0.iter().find(|check| check.verdict == Verdict::Bad) {
            Some(first) => writeln!(f, "{}", wrapped(&format!("Begin with: {}", first.remedy), "  ")),
            None => Ok(()),
        }
    }
}
