//! `sclera doctor`: everything that can be wrong with a gateway's set-up, looked at.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use sclera::doctor::machine::ThisMachine;
use sclera::doctor::ready;
use sclera::doctor::{self, Findings, Patient, Verdict, workers};
use sclera::profile::{Environment, Profile};
use sclera::trial;

use crate::{Config, Outcome, complain};

/// What to examine.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub config: Config,
    /// Only this server.
    pub server: Option<String>,
    /// Do not connect.
    #[arg(long)]
    pub offline: bool,
    /// Whose access to the files is looked at [default: the web servers' workers].
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Installation directory of an instance on this machine: its side is looked at too.
    #[arg(long, value_name = "DIR")]
    pub iris_dir: Option<PathBuf>,
    /// Print an array of objects: server, name, subject, verdict, evidence, remedy, code.
    #[arg(long)]
    pub json: bool,
}

/// Prints every check, good ones too, and what to begin with.
pub fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let path = options.config.path();
    let mut loaded = match Profile::load(&path, &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(findings) => return tell(&Findings(doctor::of_findings(&findings)), options, out),
    };
    if let Some(name) = &options.server {
        if loaded.profile.server(name).is_none() {
            return complain(err, [format!("{} has no server {name}", path.display())]);
        }
        loaded.profile.servers.retain(|server| server.name.eq_ignore_ascii_case(name));
    }
    let machine = ThisMachine;
    let workers = match &options.user {
        Some(user) => match workers::named(&machine, user) {
            Some(worker) => vec![worker],
            None => return complain(err, [format!("--user {user}: there is no such user in /etc/passwd")]),
        },
        None => workers::find(&machine),
    };
    let mut checks = doctor::examine(&Patient {
        profile: &loaded.profile,
        findings: &loaded.notices,
        machine: &machine,
        workers: &workers,
        iris: options.iris_dir.as_deref(),
        now: SystemTime::now(),
    });
    if !options.offline {
        let names: Vec<String> =
            loaded.profile.servers.iter().filter(|it| it.enabled).map(|it| it.name.clone()).collect();
        for name in names {
            let Some(position) = loaded.profile.server(&name) else { continue };
            let report = trial::run(ready::server(&loaded.profile, position, &workers));
            let place = checks.iter().rposition(|check| check.server.as_deref() == Some(name.as_str()));
            let place = place.map_or(checks.len(), |place| place + 1);
            checks.splice(place..place, doctor::connection(&name, &report));
        }
    }
    tell(&Findings(checks), options, out)
}

fn tell(findings: &Findings, options: &Options, out: &mut dyn Write) -> io::Result<Outcome> {
    match options.json {
        true => writeln!(out, "{:#}", findings.to_json())?,
        false => write!(out, "{findings}")?,
    }
    Ok(match findings.worst() {
        Verdict::Bad => Outcome::Failed,
        Verdict::Warning => Outcome::Warned,
        Verdict::Good | Verdict::Note | Verdict::Unknown => Outcome::Well,
    })
}
