//! `sclera passwd`: users of the management pages and their passwords, also for those who are locked out.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use clap::Args;
use sclera::pool::configuration;
use sclera::privileges::{Hands, User};
use sclera::profile::merge::Places;
use sclera::profile::store::{self, StoreError};
use sclera::profile::{Environment, ManagementPassword, Profile, Role, UsersFile};
use zeroize::Zeroizing;

use crate::{Config, Outcome, complain};

/// Whose password.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub config: Config,
    /// The user; without a role, the one of [SYSTEM], who may do everything, gets this name.
    #[arg(long, default_value = "admin")]
    pub user: String,
    /// A user of the file that Sclera_Manage_Users names, with this role: view, operate or edit.
    #[arg(long)]
    pub role: Option<String>,
}

/// Asks for a password, or reads it from standard input, and stores its Argon2id hash.
pub fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let stdin = io::stdin();
    let password = if stdin.is_terminal() {
        let first = Zeroizing::new(rpassword::prompt_password(format!("Password of {}: ", options.user))?);
        let again = Zeroizing::new(rpassword::prompt_password("The same again: ")?);
        if first != again {
            return complain(err, ["the two differ; nothing was changed"]);
        }
        first
    } else {
        let mut line = Zeroizing::new(String::new());
        stdin.lock().read_line(&mut line)?;
        Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    set(options, &password, out, err)
}

/// What `passwd` does, once the password is known.
pub fn set(options: &Options, password: &str, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let (path, user) = (options.config.path(), options.user.as_str());
    if user.trim() != user || user.is_empty() || user.len() > 32 || user.chars().any(|it| it == ':' || it.is_control())
    {
        return complain(
            err,
            ["a user's name has from 1 to 32 bytes, and no colon, no control character and no space at an end"],
        );
    }
    let hash = match ManagementPassword::hash(password) {
        Ok(hash) => hash,
        Err(reason) => return complain(err, [reason]),
    };
    let Some(role) = &options.role else {
        return match set_in_system(&path, user, &hash) {
            Ok(()) => {
                writeln!(out, "{}: {user} can log in to the management pages, within two seconds", path.display())?;
                Ok(Outcome::Well)
            }
            Err(error) => complain(err, [error]),
        };
    };
    let Some(role) = Role::of(role) else {
        return complain(err, [format!("{role} is no role; choose view, operate or edit")]);
    };
    let profile = match Profile::load(&path, &Environment::of_process()) {
        Ok(loaded) => loaded.profile,
        Err(findings) => return complain(err, findings),
    };
    let Some(file) = profile.system.management.users_file else {
        let say = format!(
            "{} names no file of users: run `sclera set {} SYSTEM Sclera_Manage_Users CSP.users` first",
            path.display(),
            path.display()
        );
        return complain(err, [say]);
    };
    match set_in_file(&path, &file.value, user, role, &hash) {
        Ok(()) => {
            writeln!(out, "{}: {user} can log in to the management pages, as {}", file.value.display(), role.word())?;
            Ok(Outcome::Well)
        }
        Err(error) => complain(err, [format!("{} is as it was: {error}", file.value.display())]),
    }
}

fn set_in_system(path: &Path, user: &str, hash: &str) -> Result<(), StoreError> {
    let mut opened = store::open(path)?;
    let edited = opened.document.set("SYSTEM", "Username", user);
    let edited = edited.and_then(|_| opened.document.set("SYSTEM", "Password", hash));
    edited.map_err(|error| StoreError::Edit(path.to_owned(), error))?;
    opened.save().map(drop)
}

/// Who may write CSP.ini says which file that is, and may want root to replace another one. So unless root alone can write
/// it, or the file has its usual name beside it, this is done as CSP.ini's owner.
fn set_in_file(csp_ini: &Path, path: &Path, user: &str, role: Role, hash: &str) -> io::Result<()> {
    let found = fs::metadata(csp_ini)?;
    let owner = User { uid: found.uid(), gid: found.gid(), groups: Vec::new() };
    let places = Places::of(|name| std::env::var_os(name));
    let hands = configuration::hands_for(csp_ini, &Environment::of_process(), &places, Some(owner));
    let hands = match path == csp_ini.with_file_name("CSP.users") {
        true => configuration::readers(&hands, csp_ini, &places),
        false => hands,
    };
    match &hands {
        Hands::Workers(owner) if owner.uid == 0 => Err(io::Error::other(format!(
            "{} is root's, but others can write it or a directory above it; correct that first",
            csp_ini.display()
        ))),
        Hands::Workers(owner) => hands.work(|| replace_line(csp_ini, path, user, role, hash))?.map_err(|error| {
            let why = "this is done as the owner of CSP.ini, which others than root can write";
            io::Error::other(format!("{error} ({why}: user {}; CSP.users beside it is the usual place)", owner.uid))
        }),
        _ => replace_line(csp_ini, path, user, role, hash),
    }
}

/// Replaces or adds the user's line. The file belongs to whom CSP.ini belongs to, since the same workers read it.
fn replace_line(csp_ini: &Path, path: &Path, user: &str, role: Role, hash: &str) -> io::Result<()> {
    // It may be a device or a huge file, which this refuses.
    let before = match UsersFile::read(path) {
        Ok(file) => match file.flaws.first() {
            None => fs::read_to_string(path)?,
            Some((line, why)) => {
                let say = format!("its line {line} {why}: is it a file of users? Correct that line first");
                return Err(io::Error::other(say));
            }
        },
        Err(error) if error.is_absent() => String::new(),
        Err(error) => return Err(io::Error::other(error.to_string())),
    };
    let is_other = |line: &&str| line.split(':').next().is_none_or(|name| !name.trim().eq_ignore_ascii_case(user));
    let mut lines: Vec<String> = before.lines().filter(is_other).map(str::to_owned).collect();
    lines.push(format!("{user}:{}:{hash}", role.word()));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let staged = path.with_file_name(format!(".{name}.sclera-new"));
    let _ = fs::remove_file(&staged);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
    file.write_all((lines.join("\n") + "\n").as_bytes())?;
    let (own, model) = (file.metadata()?, fs::metadata(csp_ini)?);
    if (own.uid(), own.gid()) != (model.uid(), model.gid()) {
        fchown(&file, Some(model.uid()), Some(model.gid()))?;
    }
    file.sync_all()?;
    fs::rename(&staged, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_the_system_and_users_of_the_file_get_hashes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("CSP.ini");
        fs::write(&file, "[SYSTEM]\nSclera_Manage_Users=CSP.users\nPassword=PBKDF2|old\n").unwrap();
        let run = |user: &str, role: Option<&str>, password: &str| {
            let config = Config { config: file.clone() };
            let options = Options { config, user: user.to_owned(), role: role.map(str::to_owned) };
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let outcome = set(&options, password, &mut out, &mut err).unwrap();
            out.extend(err);
            (outcome, String::from_utf8(out).unwrap())
        };
        assert_eq!(run("admin", None, "secret").0, Outcome::Well);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("Username=admin\n") && text.contains("Password=$argon2id$"), "{text}");
        for (user, role) in [("looker", "view"), ("doer", "operate"), ("Looker", "edit")] {
            assert_eq!(run(user, Some(role), "secret").0, Outcome::Well);
        }
        let users = fs::read_to_string(directory.path().join("CSP.users")).unwrap();
        let names: Vec<&str> = users.lines().map(|line| line.split(":$").next().unwrap()).collect();
        assert_eq!(names, ["doer:operate", "Looker:edit"]);
        for (user, role, password, says) in [
            ("a:b", None, "secret", "no colon"),
            ("a", Some("root"), "secret", "root is no role"),
            ("a", None, "", "from 1 to 512 bytes"),
        ] {
            let (outcome, out) = run(user, role, password);
            assert!(outcome == Outcome::Failed && out.contains(says), "{out}");
        }
    }
}
