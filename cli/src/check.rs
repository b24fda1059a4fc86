//! `sclera check`: what is wrong with a CSP.ini and the files it names.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use sclera::identity::{Identity, credential};
use sclera::profile::{Environment, Profile, Severity};

use crate::Outcome;

/// What to check.
#[derive(Debug, Args)]
pub struct Options {
    /// The file to check.
    #[arg(long, value_name = "CSP.ini")]
    pub config: PathBuf,
}

/// Prints every finding, one a line, and sums them up.
pub fn run(options: &Options, out: &mut dyn Write) -> io::Result<Outcome> {
    let (profile, findings) = match Profile::load(&options.config, &Environment::of_process()) {
        Ok(loaded) => (Some(loaded.profile), loaded.notices),
        Err(findings) => (None, findings),
    };
    let mut outcome = Outcome::Well;
    for finding in &findings {
        writeln!(out, "{}: {finding}", finding.severity)?;
        outcome = outcome.max(match finding.severity {
            Severity::Notice => Outcome::Well,
            Severity::Warning => Outcome::Warned,
            Severity::Error => Outcome::Failed,
        });
    }
    for notice in profile.iter().flat_map(Profile::commands_not_run) {
        writeln!(out, "notice: {notice}")?;
    }
    for server in profile.iter().flat_map(|profile| &profile.servers).filter(|server| server.enabled) {
        if let Some(warning) = credential(server).warning() {
            writeln!(out, "warning: {warning}")?;
            outcome = outcome.max(Outcome::Warned);
        }
        // Already a finding of its own.
        if server.unusable().is_some() {
            continue;
        }
        let checked = Identity::check(server);
        for failure in &checked.errors {
            writeln!(out, "error: {failure}")?;
            outcome = Outcome::Failed;
        }
        for failure in &checked.warnings {
            writeln!(out, "warning: {failure}")?;
            outcome = outcome.max(Outcome::Warned);
        }
        for notice in &checked.notices {
            writeln!(out, "notice: {notice}")?;
        }
        writeln!(out, "server {}: logs in by {}", server.name, credential(server).name())?;
    }
    let path = options.config.display();
    match outcome {
        Outcome::Well => writeln!(out, "{path}: good")?,
        Outcome::Warned => writeln!(out, "{path}: usable, with warnings")?,
        Outcome::Failed => writeln!(out, "{path}: has errors")?,
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_the_outcome() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("CSP.ini");
        let server = "[SYSTEM_INDEX]\nA=Enabled\n[A]\nIp_Address=a\n";
        for (content, expected, says) in [
            (server.to_owned(), Outcome::Well, "server A: logs in by unauthenticated"),
            (format!("{server}TCP_Port=1\nTCP_Port=2\n"), Outcome::Warned, "warning: "),
            (format!("{server}TCP_Port=x\n"), Outcome::Failed, "error: "),
            (
                format!("{server}Connection_Security_Level=10\nSSLCC_CA_Certificate_File=none\n"),
                Outcome::Failed,
                "error: SCLERA-121",
            ),
        ] {
            std::fs::write(&config, content).unwrap();
            let mut out = Vec::new();
            let outcome = run(&Options { config: config.clone() }, &mut out).unwrap();
            let out = String::from_utf8(out).unwrap();
            assert_eq!(outcome, expected, "{out}");
            assert!(out.contains(says), "{out}");
        }
    }
}
