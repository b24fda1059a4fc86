//! `sclera identity`: the gateway's certificates, shown, checked and replaced.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};
use sclera::doctor::ready;
use sclera::identity::{Facts, Identity, credential};
use sclera::profile::store::write_like;
use sclera::profile::{Environment, Origin, Profile, Security, Server};
use sclera::terminal::wrapped;
use sclera::trial;
use serde_json::json;

use crate::{Config, Outcome, complain, errors_of};

/// The commands below `sclera identity`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the certificates of a server's profile: for whom, by whom, how long.
    Show(Options),
    /// Check that the files of a server's profile can be used together.
    Check(Options),
    /// Try out new files against the superserver, then put them in the place of the old.
    Stage(Stage),
}

/// Whose identity.
#[derive(Clone, Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub config: Config,
    /// The server, as [SYSTEM_INDEX] names it.
    pub server: String,
    /// Print an object.
    #[arg(long)]
    pub json: bool,
}

/// What to put in the place of what.
#[derive(Clone, Debug, Args)]
pub struct Stage {
    #[command(flatten)]
    pub config: Config,
    /// The server, as [SYSTEM_INDEX] names it.
    pub server: String,
    /// New certificate, with its intermediates behind it.
    #[arg(long, value_name = "FILE")]
    pub certificate: PathBuf,
    /// Its key; without it the present key stays.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// New CA certificates.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Put them in place even if the superserver refuses them now, or cannot be reached.
    #[arg(long)]
    pub untested: bool,
    /// The new certificate may name another user.
    #[arg(long)]
    pub new_user: bool,
}

/// Runs one of the commands.
pub fn run(command: &Command, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    match command {
        Command::Show(options) => {
            with_server(&options.config, &options.server, err, |server, _| show(&server, options, out))
        }
        Command::Check(options) => {
            with_server(&options.config, &options.server, err, |server, err| check(&server, options, out, err))
        }
        Command::Stage(options) => {
            with_server(&options.config, &options.server, err, |server, err| stage(server, options, out, err))
        }
    }
}

fn with_server(
    config: &Config,
    name: &str,
    err: &mut dyn Write,
    work: impl FnOnce(Server, &mut dyn Write) -> io::Result<Outcome>,
) -> io::Result<Outcome> {
    let path = config.path();
    let profile = match Profile::load(&path, &Environment::of_process()) {
        Ok(loaded) => loaded.profile,
        Err(findings) => return complain(err, errors_of(&findings)),
    };
    let Some(position) = profile.server(name) else {
        return complain(err, [format!("{} has no server {name}", path.display())]);
    };
    let server = ready::server_for_any_worker(&profile, position);
    if server.security.value != Security::Tls {
        let place = server.security.place("Connection_Security_Level");
        return complain(err, [format!("{place}: server {name} does not use TLS, and so has no certificates")]);
    }
    work(server, err)
}

fn show(server: &Server, options: &Options, out: &mut dyn Write) -> io::Result<Outcome> {
    let now = SystemTime::now();
    let (identity, _) = Identity::inspect(server, now);
    let own: Vec<&Facts> = identity.facts.iter().chain(&identity.intermediates).collect();
    if options.json {
        let object = |facts: &Facts| {
            json!({
                "subject": facts.subject, "common_name": facts.common_name, "issuer": facts.issuer,
                "serial": facts.serial, "not_before": facts.not_before, "not_after": facts.not_after,
                "days_left": facts.days_left(now),
            })
        };
        let all = json!({
            "server": server.name,
            "credential": credential(server).name(),
            "gateway": own.iter().map(|facts| object(facts)).collect::<Vec<_>>(),
            "authorities": identity.authorities.iter().map(object).collect::<Vec<_>>(),
        });
        writeln!(out, "{all:#}")?;
        return Ok(Outcome::Well);
    }
    writeln!(out, "Server {} logs in by {}", server.name, credential(server).name())?;
    for (title, all) in [("gateway", own), ("CA", identity.authorities.iter().collect())] {
        for facts in all {
            let line = format!(
                "  {title}: {}; serial {}; issued by {}; {} days left",
                facts.subject,
                facts.serial,
                facts.issuer,
                facts.days_left(now)
            );
            writeln!(out, "{}", wrapped(&line, "    "))?;
        }
    }
    Ok(Outcome::Well)
}

fn check(server: &Server, options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let checked = Identity::check(server);
    let failures: Vec<_> = checked.errors.iter().chain(&checked.warnings).collect();
    if options.json {
        let all: Vec<_> = failures
            .iter()
            .map(|it| json!({ "code": it.code.to_string(), "detail": it.detail, "remedy": it.code.remedy() }))
            .collect();
        let all =
            json!({ "server": server.name, "failures": all, "alarms": checked.alarms, "notices": checked.notices });
        writeln!(out, "{all:#}")?;
    } else {
        for told in checked.alarms.iter().chain(&checked.notices) {
            writeln!(out, "{}", wrapped(told, "  "))?;
        }
    }
    match (failures.is_empty(), options.json) {
        (false, false) => complain(err, failures),
        (false, true) => Ok(Outcome::Failed),
        (true, json) => {
            if !json {
                writeln!(out, "server {}: the files can be used together", server.name)?;
            }
            Ok(if checked.alarms.is_empty() { Outcome::Well } else { Outcome::Warned })
        }
    }
}

/// Checks the new files as a set, logs in with them, and only then replaces the old ones, which stay beside them as
/// `.old`. Workers take a set over when it is whole, so the order of the replacements does not matter.
fn stage(server: Server, options: &Stage, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let replacements = match replacements(&server, options) {
        Ok(replacements) => replacements,
        Err(reason) => return complain(err, [reason]),
    };
    let staged = with_files(&server, &replacements);
    let new = match Identity::load(&staged, 0) {
        Ok(identity) => identity,
        Err(failure) => return complain(err, [failure]),
    };
    let old = Identity::inspect(&server, SystemTime::now()).0.facts.and_then(|facts| facts.common_name);
    let user = new.facts.and_then(|facts| facts.common_name);
    if old.is_some() && old != user && !options.new_user {
        let names = [old, user].map(|name| name.unwrap_or_else(|| "(none)".to_owned()));
        let reason = format!(
            "the new certificate names the user {}, the old one {}; is that meant? --new-user",
            names[1], names[0]
        );
        return complain(err, [reason]);
    }
    let report = trial::run(staged);
    write!(out, "{report}")?;
    if report.failure.is_some() && !options.untested {
        return complain(
            err,
            ["nothing was replaced, since the superserver was not reached or refused; --untested does it all the same"],
        );
    }
    for (done, Replacement { new, place, .. }) in replacements.iter().enumerate() {
        if let Err(reason) = replace(new, place) {
            // A mixed set would not survive the next restart of the web server.
            let undone = replacements[..done].iter().all(|it| put_back(&it.place).is_ok());
            let left = if undone { "everything is as it was" } else { "put the .old files back yourself" };
            let (new, place) = (new.display(), place.display());
            return complain(err, [format!("cannot put {new} in the place of {place}: {reason}; {left}")]);
        }
    }
    for Replacement { place, .. } in &replacements {
        writeln!(out, "{} replaced; the old one is {}", place.display(), old_name(place).display())?;
    }
    writeln!(out, "Running web servers take the new files over within seconds.")?;
    Ok(if report.failure.is_some() { Outcome::Warned } else { Outcome::Well })
}

/// A new file, and the one that it takes the place of.
struct Replacement {
    /// The option that names it.
    option: &'static str,
    new: PathBuf,
    /// Where the setting's path leads to.
    place: PathBuf,
}

/// What takes the place of what, or why that cannot be said.
fn replacements(server: &Server, options: &Stage) -> Result<Vec<Replacement>, String> {
    let tls = &server.tls;
    let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) else {
        return Err("the profile names no certificate and key to replace; use sclera setup mtls".to_owned());
    };
    let one = |option, new: &Path, place: &Path| match (std::path::absolute(new), place.canonicalize()) {
        (Ok(new), Ok(place)) => Ok(Replacement { option, new, place }),
        (_, Err(error)) => Err(format!("{} cannot be replaced: {error}", place.display())),
        (Err(error), _) => Err(format!("{}: {error}", new.display())),
    };
    let mut all = vec![one("--certificate", &options.certificate, &certificate.value)?];
    let together = key.value.canonicalize().is_ok_and(|key| key == all[0].place);
    match &options.key {
        Some(_) if together => {
            let file = all[0].place.display();
            return Err(format!(
                "{file} holds certificate and key; give one file with both as --certificate, no --key"
            ));
        }
        Some(file) => all.push(one("--key", file, &key.value)?),
        None => {}
    }
    match (&options.ca, &tls.ca_file) {
        (Some(file), Some(ca)) => all.push(one("--ca", file, &ca.value)?),
        (Some(_), None) => return Err("the profile names no CA file to replace".to_owned()),
        (None, _) => {}
    }
    Ok(all)
}

/// The server as it will be.
fn with_files(server: &Server, replacements: &[Replacement]) -> Server {
    let mut staged = server.clone();
    let tls = &mut staged.tls;
    for setting in [&mut tls.certificate_file, &mut tls.key_file, &mut tls.ca_file].into_iter().flatten() {
        let place = setting.value.canonicalize();
        let replacement = replacements.iter().find(|it| place.as_ref().is_ok_and(|place| *place == it.place));
        if let Some(replacement) = replacement {
            setting.value = replacement.new.clone();
            // It is not CSP.ini's line that names this file.
            setting.origin = setting.origin.take().map(|origin| Origin {
                file: Path::new(replacement.option).into(),
                line: None,
                ..origin
            });
        }
    }
    staged
}

/// A file in the place of another, with the other's owner, mode, access list and label; the other keeps its content as
/// `.old`.
fn replace(new: &Path, place: &Path) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    let content = zeroize::Zeroizing::new(fs::read(new).map_err(told)?);
    // CSP.ini names it, and whoever may write that could want another file gone.
    let before = fs::File::open(place).map_err(told)?;
    let mut held = zeroize::Zeroizing::new(Vec::new());
    (&before).take(LARGEST).read_to_end(&mut held).map_err(told)?;
    if !held.windows(PEM.len()).any(|bytes| bytes == PEM) {
        return Err("what is there now holds no PEM, so it is neither a certificate nor a key".to_owned());
    }
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let fresh = place.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = match write_like(&before, &fresh, &content) {
        Ok(true) => {
            let old = old_name(place);
            let _ = fs::remove_file(&old);
            fs::hard_link(place, old).and_then(|()| fs::rename(&fresh, place)).map_err(told)
        }
        Ok(false) => Err("its owner, access list or label cannot be given to the new file".to_owned()),
        Err((step, error)) => Err(format!("{step}: {error}")),
    };
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// What every file begins with that can be replaced.
const PEM: &[u8] = b"-----BEGIN ";
/// How much of it is looked at, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// Undoes a replacement.
fn put_back(place: &Path) -> io::Result<()> {
    fs::rename(old_name(place), place)
}

fn old_name(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    place.with_file_name(format!("{name}.old"))
}
