//! `sclera identity`: the gateway's certificates, shown, checked and replaced.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};
use sclera::identity::{Facts, Identity, credential};
use sclera::profile::{Environment, Profile, Security, Server};
use sclera::terminal::wrapped;
use sclera::trial;
use serde_json::json;

use crate::{Config, Outcome, complain};

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
    let mut profile = match Profile::load(&path, &Environment::of_process()) {
        Ok(loaded) => loaded.profile,
        Err(findings) => return complain(err, findings),
    };
    let Some(position) = profile.server(name) else {
        return complain(err, [format!("{} has no server {name}", path.display())]);
    };
    profile.run_commands_of(position);
    let server = profile.servers.swap_remove(position);
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
    let (Some(certificate), Some(key)) = (&server.tls.certificate_file, &server.tls.key_file) else {
        return complain(err, ["the profile names no certificate and key to replace; use sclera setup mtls"]);
    };
    let mut replacements = vec![(options.certificate.clone(), certificate.value.clone())];
    replacements.extend(options.key.clone().map(|file| (file, key.value.clone())));
    match (&options.ca, &server.tls.ca_file) {
        (Some(file), Some(ca)) => replacements.push((file.clone(), ca.value.clone())),
        (Some(_), None) => return complain(err, ["the profile names no CA file to replace"]),
        (None, _) => {}
    }
    let staged = with_files(&server, options);
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
    for (new, place) in &replacements {
        if let Err(error) = replace(new, place) {
            return complain(
                err,
                [format!("cannot put {} in the place of {}: {error}", new.display(), place.display())],
            );
        }
        writeln!(out, "{} replaced; the old one is {}", place.display(), old_name(place).display())?;
    }
    writeln!(out, "Running web servers take the new files over within seconds.")?;
    Ok(if report.failure.is_some() { Outcome::Warned } else { Outcome::Well })
}

/// The server as it will be.
fn with_files(server: &Server, options: &Stage) -> Server {
    let mut staged = server.clone();
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let tls = &mut staged.tls;
    for (setting, file) in [
        (&mut tls.certificate_file, Some(&options.certificate)),
        (&mut tls.key_file, options.key.as_ref()),
        (&mut tls.ca_file, options.ca.as_ref()),
    ] {
        if let (Some(setting), Some(file)) = (setting, file) {
            setting.value = absolute(file);
        }
    }
    staged
}

/// A file in the place of another, with the other's owner and mode; the other keeps its content as `.old`.
fn replace(new: &Path, place: &Path) -> io::Result<()> {
    // Where the place is a link, what it leads to is replaced.
    let place = place.canonicalize()?;
    let before = fs::metadata(&place)?;
    let content = zeroize::Zeroizing::new(fs::read(new)?);
    let directory = place.parent().unwrap_or(Path::new("/"));
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let fresh = directory.join(format!(".{name}.{}", std::process::id()));
    let written = crate::pki::write_new(&fresh, std::str::from_utf8(&content).map_err(io::Error::other)?, 0o600, true)
        .and_then(|()| match rustix::process::geteuid().is_root() {
            true => chown(&fresh, Some(before.uid()), Some(before.gid())),
            false => Ok(()),
        })
        .and_then(|()| fs::set_permissions(&fresh, fs::Permissions::from_mode(before.mode() & 0o7777)))
        .and_then(|()| {
            let old = old_name(&place);
            let _ = fs::remove_file(&old);
            fs::hard_link(&place, old)
        })
        .and_then(|()| fs::rename(&fresh, &place));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn old_name(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    place.with_file_name(format!("{name}.old"))
}
