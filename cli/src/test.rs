//! `sclera test`: a connection to a server, stage by stage.

use std::io::{self, Read, Write};
use std::path::Path;

use clap::Args;
use sclera::doctor::ready;
use sclera::profile::parameter::{Kind, Parameter, SectionKind};
use sclera::profile::{Environment, Profile};
use sclera::trial;
use zeroize::Zeroizing;

use crate::{Config, Outcome, complain, errors_of};

/// What to test.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub config: Config,
    /// Test with this value instead of the file's, which stays as it is; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// The same with a value that is read from a file, or from standard input (-); for passwords.
    #[arg(long = "set-from", value_name = "KEY=FILE")]
    pub secrets: Vec<String>,
    /// Print one object: stages with times, TLS, both chains, user, warnings, failure.
    #[arg(long)]
    pub json: bool,
    /// The server, as [SYSTEM_INDEX] names it.
    pub server: String,
}

/// Connects, logs in, makes one call, and prints what each stage found. Fails unless all of it succeeded.
pub fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let environment = match environment(options) {
        Ok(environment) => environment,
        Err(reason) => return complain(err, [reason]),
    };
    let path = options.config.path();
    let profile = match Profile::load(&path, &environment) {
        Ok(loaded) => loaded.profile,
        Err(findings) => return complain(err, errors_of(&findings)),
    };
    let Some(position) = profile.server(&options.server) else {
        let names: Vec<&str> = profile.servers.iter().map(|server| server.name.as_str()).collect();
        let reason = format!("{} has no server {}; it has: {}", path.display(), options.server, names.join(", "));
        return complain(err, [reason]);
    };
    let server = ready::server_for_any_worker(&profile, position);
    let disabled = (!server.enabled).then(|| {
        format!("server {} is not enabled in [SYSTEM_INDEX]: requests for it get 503 until it is", server.name)
    });
    let mut report = trial::run(server);
    report.warnings.extend(disabled);
    match options.json {
        true => writeln!(out, "{:#}", report.to_json())?,
        false => write!(out, "{report}")?,
    }
    Ok(match report.failure {
        Some(_) => Outcome::Failed,
        // Only success is 0, and a warning is no failure.
        None => Outcome::Well,
    })
}

/// The process's environment with the settings of the command line over it.
fn environment(options: &Options) -> Result<Environment, String> {
    let mut environment = Environment::of_process();
    for setting in &options.settings {
        let (key, value) = split("--set", setting)?;
        if is_secret(key) {
            return Err(format!(
                "--set {key}=...: other users can see a command line; give the value with --set-from {key}=FILE"
            ));
        }
        environment = environment.with("--set", &options.server, key, value);
    }
    for setting in &options.secrets {
        let (key, file) = split("--set-from", setting)?;
        let value = read(file).map_err(|error| format!("--set-from {key}={file}: {error}"))?;
        environment = environment.with("--set-from", &options.server, key, value.trim_end_matches(['\r', '\n']));
    }
    Ok(environment)
}

fn split<'a>(option: &str, setting: &'a str) -> Result<(&'a str, &'a str), String> {
    let (key, value) = setting.split_once('=').ok_or_else(|| format!("{option} {setting}: write KEY=VALUE"))?;
    match Parameter::find(SectionKind::Server, key) {
        Some(_) => Ok((key, value)),
        None => Err(format!("{option} {key}=...: a server has no setting {key}")),
    }
}

fn is_secret(key: &str) -> bool {
    Parameter::find(SectionKind::Server, key).is_some_and(|row| row.kind == Kind::Secret)
}

fn read(file: &str) -> io::Result<Zeroizing<String>> {
    const LONGEST: u64 = 64 * 1024;
    let mut text = Zeroizing::new(String::new());
    match file {
        "-" => io::stdin().take(LONGEST).read_to_string(&mut text)?,
        file => std::fs::File::open(Path::new(file))?.take(LONGEST).read_to_string(&mut text)?,
    };
    Ok(text)
}
