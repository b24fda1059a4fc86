//! `sclera set`, `unset`, `add-server` and `add-path`: changes to a CSP.ini that touch no other line.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use sclera::profile::edit::{Change, Document, EditError};
use sclera::profile::parameter::{Kind, Parameter, SectionKind, Verdict};
use sclera::profile::{Environment, effective, listed, more_than_an_address, store, to_store};

use crate::{Config, Outcome, complain, one_line};

/// A value to set.
#[derive(Debug, Args)]
#[command(override_usage = "sclera set FILE SECTION KEY VALUE\n       sclera set --config FILE SECTION KEY VALUE")]
pub struct Set {
    /// CSP.ini, instead of the first argument.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set a value that the table of settings calls wrong.
    #[arg(long)]
    pub force: bool,
    /// The file, the section without brackets, the key, and the value; `-` reads the value from standard input. A
    /// password is stored encoded, the one of the management pages as a hash.
    #[arg(value_name = "FILE SECTION KEY VALUE", num_args = 3..=4, required = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// A key or section to remove.
#[derive(Debug, Args)]
#[command(override_usage = "sclera unset FILE SECTION [KEY]\n       sclera unset --config FILE SECTION [KEY]")]
pub struct Unset {
    /// CSP.ini, instead of the first argument.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The file, the section without brackets, and the key; without a key the whole section is removed.
    #[arg(value_name = "FILE SECTION [KEY]", num_args = 1..=3, required = true)]
    pub words: Vec<String>,
}

/// A server to add.
#[derive(Debug, Args)]
pub struct AddServer {
    #[command(flatten)]
    pub config: Config,
    /// The server's name in the file.
    pub name: String,
    /// Name or address of the superserver.
    #[arg(long)]
    pub address: String,
    /// The superserver's port.
    #[arg(long, default_value_t = 1972)]
    pub port: u16,
    /// CAs that may have signed the superserver's certificate: the link is protected by TLS.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The gateway's certificate, for mutual TLS.
    #[arg(long, value_name = "FILE", requires = "key", requires = "ca")]
    pub certificate: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// User name of a password login; set the password with `sclera set FILE NAME Password -`.
    #[arg(long)]
    pub user: Option<String>,
}

/// An application path to add.
#[derive(Debug, Args)]
pub struct AddPath {
    #[command(flatten)]
    pub config: Config,
    /// The path, such as /csp/app, or //host/csp/app for one host.
    pub path: String,
    /// The server that answers.
    #[arg(long)]
    pub server: String,
}

/// Sets a value.
pub fn set(options: &Set, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let Some((file, [section, key, value])) = split::<3>(&options.config, &options.words) else {
        return complain(err, ["name FILE SECTION KEY VALUE, or --config FILE and SECTION KEY VALUE"]);
    };
    let mut given = String::new();
    if value == "-" {
        io::stdin().lock().take(64 * 1024).read_to_string(&mut given)?;
    }
    let value = if value == "-" { given.trim_end_matches(['\r', '\n']) } else { value };
    set_value(&file, section, key, value, options.force, out, err)
}

/// What `set` does, once its words are told apart.
pub(crate) fn set_value(
    file: &Path,
    section: &str,
    key: &str,
    value: &str,
    force: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Outcome> {
    let kind = SectionKind::of(section);
    let row = Parameter::find(kind, key);
    let mut outcome = Outcome::Well;
    let is_index = matches!(kind, SectionKind::ServerIndex | SectionKind::ApplicationIndex);
    match row.map(|row| (row, row.check(value))) {
        None if is_index && listed(value).is_none() && !force => {
            return complain(
                err,
                [format!("{key}: the value is neither Enabled nor Disabled; write one of them, or add --force")],
            );
        }
        None if !is_index => {
            writeln!(err, "sclera: {key} is not a known setting of [{section}]; it is set, and has no effect")?;
            outcome = Outcome::Warned;
        }
        Some((row, Verdict::Wrong(reason))) if !force => {
            return complain(err, [format!("{key}: the value {reason}; {}, or add --force", row.expected())]);
        }
        Some((_, Verdict::Adjusted(reason))) => {
            writeln!(err, "sclera: {key}: the value {reason}")?;
            outcome = Outcome::Warned;
        }
        Some((_, Verdict::Refused(code))) => {
            writeln!(err, "sclera: {key}: a server with this value is not used: {code} {}", code.remedy())?;
            outcome = Outcome::Warned;
        }
        _ => {}
    }
    let stored = to_store(kind, key, value);
    let stored = stored.as_ref().map_or(value, |stored| stored.as_str());
    let key = row.filter(|row| !row.key.ends_with("<n>")).map_or(key, |row| row.key);
    let secret = row.is_some_and(|row| row.kind == Kind::Secret);
    let shown = if secret { "(hidden)" } else { value };
    let saved = save(
        file,
        |document| document.set(section, key, stored),
        &format!("[{section}] {key}={shown}"),
        out,
        &mut *err,
    )?;
    if saved == Outcome::Well && has_no_effect(file, section, key, err)? {
        outcome = outcome.max(Outcome::Warned);
    }
    Ok(saved.max(outcome))
}

/// Says why a line of CSP.ini that was just set does not count, if it does not.
fn has_no_effect(file: &Path, section: &str, key: &str, err: &mut dyn Write) -> io::Result<bool> {
    // What keeps the file from being read is told by `sclera check`.
    let Ok(settings) = effective(file, &Environment::of_process()) else { return Ok(false) };
    let is = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
    let in_force = settings.iter().find(|it| is(&it.section, section) && is(&it.key, key));
    if let Some(origin) = in_force.and_then(|it| it.origin.as_ref()).filter(|origin| *origin.file != *file) {
        let place = one_line(&origin.to_string());
        writeln!(err, "sclera: {place} counts instead; change or remove it there")?;
        return Ok(true);
    }
    let (index, name) = match SectionKind::of(section) {
        SectionKind::Server => ("SYSTEM_INDEX", section),
        SectionKind::Application => ("APP_PATH_INDEX", section.split_once(':').map_or(section, |(_, path)| path)),
        _ => return Ok(false),
    };
    if !settings.iter().any(|it| is(&it.section, index) && is(&it.key, name)) {
        // No warning: whoever makes a server writes one line after the other.
        writeln!(err, "sclera: [{section}] is not used before [{index}] has a line {name}=Enabled")?;
    }
    Ok(false)
}

/// Removes a key or a section.
pub fn unset(options: &Unset, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    if let Some((file, [section, key])) = split::<2>(&options.config, &options.words) {
        return save(&file, |document| document.unset(section, key), &format!("[{section}] {key}"), out, err);
    }
    match split::<1>(&options.config, &options.words) {
        Some((file, [section])) => {
            save(&file, |document| document.remove_section(section), &format!("[{section}]"), out, err)
        }
        None => complain(err, ["name FILE SECTION [KEY], or --config FILE and SECTION [KEY]"]),
    }
}

/// Adds a server, enabled.
pub fn add_server(options: &AddServer, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let name = &options.name;
    if SectionKind::of(name) != SectionKind::Server {
        return complain(err, [format!("{name} is the name of a section of another kind; choose another")]);
    }
    let path = |path: &PathBuf| path.display().to_string();
    let mut lines = vec![("Ip_Address", options.address.clone()), ("TCP_Port", options.port.to_string())];
    if let Some(ca) = &options.ca {
        lines.push(("Connection_Security_Level", "10".into()));
        lines.push(("SSLCC_Verify_Peer", "1".into()));
        lines.push(("SSLCC_CA_Certificate_File", path(ca)));
    }
    lines.extend(options.certificate.as_ref().map(|file| ("SSLCC_Certificate_File", path(file))));
    lines.extend(options.key.as_ref().map(|file| ("SSLCC_Certificate_Key_File", path(file))));
    lines.extend(options.user.as_ref().map(|user| ("Username", user.clone())));
    if let Some(what) = more_than_an_address(&options.address) {
        return complain(err, [format!("{} {what}; give the name or address alone, and --port", options.address)]);
    }
    for (key, value) in &lines {
        let Some(row) = Parameter::find(SectionKind::Server, key) else { continue };
        if let Verdict::Wrong(reason) = row.check(value) {
            return complain(err, [format!("{key}={value} {reason}; {}", row.expected())]);
        }
    }
    add(&options.config.path(), name, ("SYSTEM_INDEX", name), &lines, out, err)
}

/// Adds an application path, enabled.
pub fn add_path(options: &AddPath, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    if !options.path.starts_with('/') {
        return complain(err, [format!("{} is not a path; begin it with /", options.path)]);
    }
    let file = options.config.path();
    let known = effective(&file, &Environment::of_process()).unwrap_or_default();
    if !known.iter().any(|it| it.section.eq_ignore_ascii_case(&options.server)) {
        let message = format!(
            "there is no server {} in {}; add it first, with `sclera add-server`",
            options.server,
            file.display()
        );
        return complain(err, [message]);
    }
    let section = format!("APP_PATH:{}", options.path);
    let lines = [("Default_Server", options.server.clone())];
    add(&file, &section, ("APP_PATH_INDEX", &options.path), &lines, out, err)
}

fn add(
    file: &Path,
    section: &str,
    (index, name): (&str, &str),
    lines: &[(&str, String)],
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Outcome> {
    let mut exists = false;
    let outcome = save(
        file,
        |document| {
            let any = document.entries_of_all();
            exists = document.get(index, name).is_some() || any.iter().any(|it| it.0.eq_ignore_ascii_case(section));
            if exists {
                return Ok(Change::Nothing);
            }
            document.set(index, name, "Enabled")?;
            for (key, value) in lines {
                document.set(section, key, value)?;
            }
            Ok(Change::Added)
        },
        &format!("[{section}]"),
        out,
        &mut *err,
    )?;
    if exists { complain(err, [format!("{name} is in {} already", file.display())]) } else { Ok(outcome) }
}

/// Changes the file and says what was done.
fn save(
    file: &Path,
    edit: impl FnOnce(&mut Document) -> Result<Change, EditError>,
    what: &str,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Outcome> {
    match store::change(file, edit) {
        Ok((change, _)) => {
            let done = match change {
                Change::Nothing => "nothing to change",
                Change::Replaced => "changed",
                Change::Added => "added",
                Change::Removed => "removed",
            };
            writeln!(out, "{}: {what}: {done}", file.display())?;
            Ok(Outcome::Well)
        }
        Err(error) => complain(err, [error]),
    }
}

/// The file and the other words: the file is an option, or the first word.
fn split<'a, const N: usize>(config: &Option<PathBuf>, words: &'a [String]) -> Option<(PathBuf, [&'a str; N])> {
    let (file, rest) = match config {
        Some(file) => (file.clone(), words),
        None => (PathBuf::from(words.first()?), &words[1..]),
    };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    Some((file, rest.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::ExitCode;

    const FILE: &str =
        "# of the bank\r\n[SYSTEM]\r\n\r\n[SYSTEM_INDEX]\r\nLOCAL=Enabled\r\n[LOCAL]\r\nIp_Address = a\r\nPassword=x";

    /// Runs commands on a file one after the other; the file in the end, and the last command's output and exit code.
    fn run(commands: &[&[&str]]) -> (String, String, ExitCode) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("CSP.ini");
        std::fs::write(&file, FILE).unwrap();
        let mut last = (Vec::new(), ExitCode::SUCCESS);
        for command in commands {
            let words = command.iter().map(|word| word.replace("FILE", file.to_str().unwrap()));
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = crate::run(std::iter::once("sclera".to_owned()).chain(words), &mut out, &mut err);
            out.extend(err);
            last = (out, code);
        }
        let (out, code) = last;
        (std::fs::read_to_string(&file).unwrap(), String::from_utf8(out).unwrap(), code)
    }

    #[test]
    fn a_value_is_set_in_its_line_alone_and_a_password_is_encoded_and_not_shown() {
        let (file, out, code) = run(&[&["set", "FILE", "local", "ip_address", "b"]]);
        assert_eq!(file, FILE.replace("Ip_Address = a", "Ip_Address = b"), "{out}");
        assert_eq!(code, ExitCode::SUCCESS);
        let (file, out, _) = run(&[&["set", "--config", "FILE", "LOCAL", "Password", "SYS"]]);
        assert_eq!(file, FILE.replace("Password=x", "Password=]]]U1lT"));
        assert!(out.ends_with("[LOCAL] Password=(hidden): changed\n"), "{out}");
        let (file, _, _) = run(&[&["set", "FILE", "SYSTEM", "Password", "SYS"]]);
        assert!(file.contains("Password=$argon2id$"), "{file}");
    }

    #[test]
    fn wrong_values_are_refused_and_unknown_keys_are_not() {
        for (words, changed, expected, says) in [
            (["TCP_Port", "x"], false, 2, "TCP_Port: the value is not a TCP port; write a TCP port from 1 to 65535"),
            (["Connection_Security_Level", "2"], true, 1, "a server with this value is not used: SCLERA-"),
            (["Server_Response_Timeout", "1"], true, 1, "is out of range; 5 is used"),
            (["TCP_Prot", "1"], true, 1, "TCP_Prot is not a known setting of [LOCAL]"),
            (["Username", "a\nb"], false, 2, "the value cannot be written"),
        ] {
            let (file, out, code) = run(&[&["set", "FILE", "LOCAL", words[0], words[1]]]);
            assert_eq!(file != FILE, changed, "{out}");
            assert_eq!(code, ExitCode::from(expected), "{out}");
            assert!(out.contains(says), "{out}");
        }
    }

    #[test]
    fn what_would_make_the_file_unusable_is_not_written() {
        for (command, says) in [
            (&["set", "FILE", "SYSTEM_INDEX", "LOCAL", "Yes"][..], "neither Enabled nor Disabled"),
            (
                &["add-server", "--config", "FILE", "NEW", "--address", "db", "--port", "0"],
                "TCP_Port=0 is not a TCP port",
            ),
            (&["add-server", "--config", "FILE", "NEW", "--address", "a b"], "is neither a name nor an address"),
            (&["add-server", "--config", "FILE", "NEW", "--address", "db:1972"], "db:1972 has a port"),
            (&["add-path", "--config", "FILE", "/x", "--server", "GHOST"], "there is no server GHOST in "),
        ] {
            let (file, out, code) = run(&[command]);
            assert_eq!((file.as_str(), code), (FILE, ExitCode::from(2)), "{out}");
            assert!(out.contains(says), "{out}");
        }
    }

    #[test]
    fn whoever_sets_what_does_not_count_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("CSP.ini");
        std::fs::write(&file, FILE).unwrap();
        std::fs::create_dir(directory.path().join("CSP.ini.d")).unwrap();
        std::fs::write(directory.path().join("CSP.ini.d/10.ini"), "[LOCAL]\nTCP_Port=4444\n").unwrap();
        let set = |section: &str, key: &str, value: &str| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let words = ["sclera", "set", file.to_str().unwrap(), section, key, value].map(str::to_owned);
            let code = crate::run(words, &mut out, &mut err);
            (code, String::from_utf8(err).unwrap())
        };
        let (code, told) = set("LOCAL", "TCP_Port", "5555");
        assert!(code == ExitCode::from(1) && told.contains("10.ini:2 [LOCAL] TCP_Port counts instead"), "{told}");
        let (code, told) = set("LOCL", "TCP_Port", "1972");
        assert!(code == ExitCode::SUCCESS && told.contains("[SYSTEM_INDEX] has a line LOCL=Enabled"), "{told}");
        assert_eq!(set("LOCAL", "Ip_Address", "b"), (ExitCode::SUCCESS, String::new()));
    }

    #[test]
    fn servers_and_paths_are_added_once_and_removed() {
        let server = ["add-server", "--config", "FILE", "NEW", "--address", "db", "--port", "7", "--ca", "/ca.pem"];
        let path = ["add-path", "--config", "FILE", "/new", "--server", "NEW"];
        let (file, _, code) = run(&[&server, &path]);
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(file.contains("LOCAL=Enabled\r\nNEW=Enabled\r\n[LOCAL]"), "{file}");
        assert!(
            file.contains("\r\n[NEW]\r\nIp_Address=db\r\nTCP_Port=7\r\nConnection_Security_Level=10\r\n"),
            "{file}"
        );
        assert!(file.contains("[APP_PATH:/new]\r\nDefault_Server=NEW\r\n"), "{file}");
        let (_, out, code) = run(&[&server, &server]);
        assert!(code == ExitCode::from(2) && out.contains("NEW is in "), "{out}");
        let (_, out, _) = run(&[&server, &path, &["explain", "--config", "FILE", "/new/x?y"]]);
        assert!(out.contains("answers, at db:7.\n"), "{out}");
        let (file, _, _) = run(&[&["unset", "FILE", "LOCAL"], &["unset", "FILE", "SYSTEM_INDEX", "LOCAL"]]);
        assert_eq!(file, "# of the bank\r\n[SYSTEM]\r\n\r\n[SYSTEM_INDEX]\r\n");
    }

    #[test]
    fn the_originals_programs_are_understood() {
        let (file, _, code) = run(&[&["cvtcfg", "setparameter", "FILE", "[LOCAL]", "TCP_Port", "7"]]);
        assert!(code == ExitCode::SUCCESS && file.ends_with("Password=x\r\nTCP_Port=7"), "{file}");
        let words = crate::legacy::renamed(["/opt/bin/CSPpwd", "lib.so", "2", "SYS"].map(Into::into).into());
        assert_eq!(words, ["sclera", "csppwd", "lib.so", "2", "SYS"]);
        let (_, out, _) = run(&[&["csppwd", "lib.so", "2", "SYS"]]);
        assert_eq!(out, "]]]U1lT\n");
    }

    #[test]
    fn nothing_of_a_file_commands_the_terminal() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("CSP.ini");
        // An escape character makes it no text at all; this one does the same in some terminals.
        let hostile = "a\u{9b}2Jx";
        let content = format!("{FILE}\r\nUsername={hostile}\r\nTCP_Port={hostile}\r\n{hostile}=1\r\n[{hostile}]\r\n");
        std::fs::write(&file, content).unwrap();
        let file = file.to_str().unwrap();
        for command in [&["show", "--origin"][..], &["check"], &["set", file, "LOCAL", "Ip_Address", "b"]] {
            let config = if command[0] == "set" { &[][..] } else { &["--config", file] };
            let words = ["sclera"].iter().chain(command).chain(config).map(|&word| word.to_owned());
            let (mut out, mut err) = (Vec::new(), Vec::new());
            crate::run(words, &mut out, &mut err);
            out.extend(err);
            let out = String::from_utf8(out).unwrap();
            assert!(out.contains("CSP.ini") && !out.contains('\u{9b}'), "{command:?}: {out:?}");
        }
    }

    #[test]
    fn what_is_shown_has_its_place_and_no_password() {
        let (_, out, _) = run(&[&["show", "--config", "FILE", "--origin", "LOCAL"]]);
        assert!(out.contains("Ip_Address=a ") && out.contains("CSP.ini:7\n"), "{out}");
        assert!(out.contains("Password=(set)") && out.contains("# default"), "{out}");
        let (_, out, code) = run(&[&["show", "--config", "FILE", "NOWHERE"]]);
        assert!(code == ExitCode::from(2) && out.contains("has no section [NOWHERE]"), "{out}");
    }
}
