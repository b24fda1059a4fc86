//! `sclera check`: what is wrong with a CSP.ini and the files it names.

use std::io::{self, Write};

use clap::Args;
use sclera::doctor::machine::ThisMachine;
use sclera::doctor::workers::{self, Worker};
use sclera::failure::{Code, Failure};
use sclera::identity::{Identity, credential};
use sclera::privileges::Hands;
use sclera::profile::{Environment, Finding, Profile, Quotes, Severity};
use serde_json::json;

use crate::{Config, Outcome, one_line};

/// What to check.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub config: Config,
    /// Print an array of objects: severity, code, file, line, column, section, key, text, message, remedy.
    #[arg(long)]
    pub json: bool,
}

/// One thing to tell.
struct Told {
    severity: Severity,
    code: Option<Code>,
    finding: Option<Finding>,
    message: String,
    remedy: String,
}

/// Prints every finding with its line, and sums them up. As root, the TLS files are read as the workers' user.
pub fn run(options: &Options, out: &mut dyn Write) -> io::Result<Outcome> {
    let workers = workers::find(&ThisMachine);
    run_for(workers.first().filter(|_| rustix::process::geteuid().is_root()), options, out)
}

fn run_for(reader: Option<&Worker>, options: &Options, out: &mut dyn Write) -> io::Result<Outcome> {
    let hands = reader.map_or(Hands::Own, |reader| Hands::Workers(reader.account()));
    let read_as = reader.map(|reader| format!(", read as {}", reader.user)).unwrap_or_default();
    let path = options.config.path();
    let (profile, findings) = match Profile::load(&path, &Environment::of_process()) {
        Ok(loaded) => (Some(loaded.profile), loaded.notices),
        Err(findings) => (None, findings),
    };
    let mut told: Vec<Told> = findings.into_iter().map(Told::of_finding).collect();
    let mut logins = Vec::new();
    if let Some(profile) = &profile {
        told.extend(profile.commands_not_run().into_iter().map(|it| Told::plain(Severity::Notice, it)));
        for server in profile.servers.iter().filter(|server| server.enabled) {
            told.extend(credential(server).warning().map(|it| Told::plain(Severity::Warning, it)));
            // What makes a server unusable is a finding of its own already.
            if server.unusable().is_none() {
                let checked = match hands.work(|| Identity::check(server)) {
                    Ok(checked) => checked,
                    Err(error) => {
                        let message = format!("the TLS files cannot be looked at as the workers' user: {error}");
                        told.push(Told::plain(Severity::Warning, message));
                        continue;
                    }
                };
                // The web server's `-t` judges them; the file itself may be right, and made for another machine.
                told.extend(checked.errors.iter().chain(&checked.warnings).map(Told::of_failure));
                told.extend(checked.alarms.into_iter().map(|it| Told::plain(Severity::Warning, it)));
                told.extend(checked.notices.into_iter().map(|it| Told::plain(Severity::Notice, it)));
                logins.push(match checked.errors.first() {
                    None => format!("server {}: logs in by {}", server.name, credential(server).name()),
                    Some(first) => {
                        format!("server {}: answers 503 {} with these files{read_as}", server.name, first.code)
                    }
                });
            }
        }
    }
    if profile.as_ref().is_some_and(|profile| !profile.servers.iter().any(|server| server.enabled)) {
        let message = "no server is enabled: every request is answered with 503";
        told.push(Told::plain(Severity::Warning, message.to_owned()));
    }
    let outcome = match told.iter().map(|it| it.severity).max() {
        None | Some(Severity::Notice) => Outcome::Well,
        Some(Severity::Warning) => Outcome::Warned,
        Some(Severity::Error) => Outcome::Failed,
    };
    let mut quotes = Quotes::default();
    if options.json {
        let all: Vec<_> = told.iter().map(|it| it.to_json(&mut quotes)).collect();
        serde_json::to_writer_pretty(&mut *out, &all)?;
        writeln!(out)?;
        return Ok(outcome);
    }
    for it in &told {
        it.print(&mut quotes, out)?;
    }
    for login in logins {
        writeln!(out, "{}", one_line(&login))?;
    }
    let path = path.display();
    match outcome {
        Outcome::Well => writeln!(out, "{path}: good")?,
        Outcome::Warned => writeln!(out, "{path}: usable, with warnings")?,
        Outcome::Failed => writeln!(out, "{path}: has errors")?,
    }
    Ok(outcome)
}

impl Told {
    fn of_finding(finding: Finding) -> Told {
        Told {
            severity: finding.severity,
            code: finding.code,
            message: finding.what_is_wrong(),
            remedy: finding.remedy.clone(),
            finding: Some(finding),
        }
    }

    fn of_failure(failure: &Failure) -> Told {
        let remedy = failure.code.remedy().trim_end_matches('.').to_owned();
        let message = failure.detail.clone();
        Told { severity: Severity::Warning, code: Some(failure.code), finding: None, message, remedy }
    }

    fn plain(severity: Severity, message: String) -> Told {
        Told { severity, code: None, finding: None, message, remedy: String::new() }
    }

    /// `file:line:column: severity: message`, then the line with a mark below the column, then the remedy.
    fn print(&self, quotes: &mut Quotes, out: &mut dyn Write) -> io::Result<()> {
        let quote = self.finding.as_ref().and_then(|finding| quotes.of(finding));
        if let Some(finding) = &self.finding {
            write!(out, "{}:", finding.file.display())?;
            if let Some(line) = finding.line {
                write!(out, "{line}:")?;
            }
            if let Some(quote) = &quote {
                write!(out, "{}:", quote.column)?;
            }
            write!(out, " ")?;
        }
        write!(out, "{}: ", self.severity)?;
        if let Some(code) = self.code {
            write!(out, "{code} {}: ", code.name())?;
        }
        writeln!(out, "{}", one_line(&self.message))?;
        if let Some(quote) = &quote {
            let (line, column) = window(&quote.line, quote.column);
            writeln!(out, "    {line}\n    {}^", " ".repeat(column - 1))?;
        }
        if self.remedy.is_empty() { Ok(()) } else { writeln!(out, "    what to do: {}", one_line(&self.remedy)) }
    }

    fn to_json(&self, quotes: &mut Quotes) -> serde_json::Value {
        let finding = self.finding.as_ref();
        let quote = finding.and_then(|finding| quotes.of(finding));
        json!({
            "severity": self.severity.to_string(),
            "code": self.code.map(|code| code.to_string()),
            "file": finding.map(|it| it.file.display().to_string()),
            "line": finding.and_then(|it| it.line),
            "column": quote.as_ref().map(|quote| quote.column),
            "section": finding.and_then(|it| it.section.clone()),
            "key": finding.and_then(|it| it.key.clone()),
            "text": quote.map(|quote| quote.line),
            "message": self.message,
            "remedy": self.remedy,
        })
    }
}

/// At most 160 characters of a line around a column, and the column in them.
fn window(line: &str, column: usize) -> (String, usize) {
    const LONGEST: usize = 160;
    let start = column.saturating_sub(LONGEST / 2);
    (line.chars().skip(start).take(LONGEST).collect(), column - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "[SYSTEM_INDEX]\nA=Enabled\n[A]\nIp_Address=a\n";

    fn check(content: &str, json: bool) -> (Outcome, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.ini");
        std::fs::write(&path, content).unwrap();
        let mut out = Vec::new();
        let outcome = run_for(None, &Options { config: Config { config: path }, json }, &mut out).unwrap();
        (outcome, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_worst_finding_decides_the_outcome() {
        for (content, expected, says) in [
            (SERVER.to_owned(), Outcome::Well, "server A: logs in by unauthenticated"),
            (
                format!("{SERVER}TCP_Port=1\nTCP_Port=2\n"),
                Outcome::Warned,
                "CSP.ini:6:1: warning: [A] TCP_Port: replaces",
            ),
            (
                format!("{SERVER}TCP_Port=x\n"),
                Outcome::Failed,
                "CSP.ini:5:10: error: SCLERA-101 configuration-invalid: ",
            ),
            (
                format!("{SERVER}Connection_Security_Level=10\nSSLCC_CA_Certificate_File=none\n"),
                Outcome::Warned,
                "warning: SCLERA-121",
            ),
            (
                format!("{SERVER}Connection_Security_Level=10\nSSLCC_CA_Certificate_File=none\n"),
                Outcome::Warned,
                "server A: answers 503 SCLERA-121 with these files",
            ),
            (SERVER.replace("Enabled", "Disabled"), Outcome::Warned, "no server is enabled"),
            ("[SYSTEM_INDEX]\nA=Enabled\n[A]\n".to_owned(), Outcome::Warned, "answers 503"),
            (format!("[SYSTEM]\nDefault_Server=B\n{SERVER}"), Outcome::Warned, "no section of that name"),
        ] {
            let (outcome, out) = check(&content, false);
            assert_eq!(outcome, expected, "{out}");
            assert!(out.contains(says), "{out}");
        }
    }

    #[test]
    fn a_finding_shows_its_line_marks_the_place_and_says_what_to_do() {
        let (_, out) = check(&format!("{SERVER}  TCP_Port = x\n"), false);
        assert!(out.contains("\n      TCP_Port = x\n                 ^\n    what to do: write a TCP port"), "{out}");
    }

    #[test]
    fn json_has_the_same_and_no_password() {
        let (outcome, out) = check(&format!("{SERVER}Password=hunter2\nPassword=hunter3\n"), true);
        assert_eq!(outcome, Outcome::Warned);
        let all: serde_json::Value = serde_json::from_str(&out).unwrap();
        let doubled =
            &all.as_array().unwrap().iter().find(|it| it["line"] == 6 && it["severity"] == "warning").unwrap();
        assert_eq!(doubled["column"], 1, "{out}");
        assert_eq!(doubled["text"], "Password=(hidden)");
        assert!(!out.contains("hunter"), "{out}");
    }

    #[test]
    fn every_published_configuration_is_accepted() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let places =
            ["../../shared/fixtures/csp-ini", "../../../shared/fixtures/csp-ini"].map(|place| root.join(place));
        let Some(directory) = places.iter().find(|place| place.is_dir()) else {
            eprintln!("skipped: no published configurations beside the repository");
            return;
        };
        for file in std::fs::read_dir(directory).unwrap() {
            let config = Config { config: file.unwrap().path() };
            let mut out = Vec::new();
            let outcome = run_for(None, &Options { config, json: false }, &mut out).unwrap();
            assert!(outcome < Outcome::Failed, "{}", String::from_utf8_lossy(&out));
        }
    }
}
