//! The users of the management pages beyond the one of `[SYSTEM]`: the file that `Sclera_Manage_Users` names, with a line
//! `name:role:hash` for each.

use std::fmt;
use std::path::{Path, PathBuf};

use super::ManagementPassword;
use super::file::{ReadError, read_bounded};
use super::finding::{Finding, Origin, Setting, Severity};
use super::management::Role;

/// A user of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUser {
    pub name: String,
    pub role: Role,
    pub password: ManagementPassword,
}

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsersFile {
    pub users: Vec<FileUser>,
    /// Lines that are nobody's, by number from 1, and why.
    pub flaws: Vec<(usize, &'static str)>,
}

/// Why there are no users: there is no file, or it cannot be read.
#[derive(Debug)]
pub struct Unreadable(ReadError);

impl Unreadable {
    /// Whether there is no such file.
    pub fn is_absent(&self) -> bool {
        matches!(&self.0, ReadError::Io(error) if error.kind() == std::io::ErrorKind::NotFound)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl UsersFile {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no regular file, or is larger than 1 MiB.
    pub fn read(path: &Path) -> Result<UsersFile, Unreadable> {
        const LARGEST: u64 = 1024 * 1024;
        let bytes = read_bounded(path, LARGEST).map_err(Unreadable)?;
        Ok(UsersFile::parse(&String::from_utf8_lossy(&bytes)))
    }

    fn parse(text: &str) -> UsersFile {
        let mut file = UsersFile::default();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            match user_of(line) {
                Ok(user) => file.users.push(user),
                Err(why) => file.flaws.push((number + 1, why)),
            }
        }
        file
    }
}

fn user_of(line: &str) -> Result<FileUser, &'static str> {
    let mut fields = line.trim().splitn(3, ':');
    let (Some(name), Some(role), Some(hash)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("is not of the form name:role:hash");
    };
    let role = Role::of(role).ok_or("names a role that is none of view, operate and edit")?;
    let password = ManagementPassword::from_stored(hash);
    match password {
        _ if name.is_empty() => Err("has no name"),
        ManagementPassword::Hashed(_) => Ok(FileUser { name: name.to_owned(), role, password }),
        _ => Err("has no Argon2id hash"),
    }
}

/// So many wrong lines are told one by one: it may be another file altogether.
const MOST_TOLD: usize = 3;

/// What is wrong with the file that the setting names. Nobody of a line that is wrong can log in.
pub(super) fn report(setting: &Setting<PathBuf>) -> Vec<Finding> {
    let Some(origin) = &setting.origin else { return Vec::new() };
    let path = setting.value.display();
    let warning = |message: String, remedy: String| Finding::at(Severity::Warning, None, origin, message, remedy);
    match UsersFile::read(&setting.value) {
        Ok(file) => {
            let remedy = || "remove the line; sclera passwd --user NAME --role ROLE writes it anew".to_owned();
            let told = file.flaws.iter().take(MOST_TOLD).map(|(line, why)| {
                warning(format!("line {line} of {path} {why}, so that nobody can log in by it"), remedy())
            });
            let more = file.flaws.len().saturating_sub(MOST_TOLD);
            let more = (more > 0).then(|| warning(format!("{more} more lines of {path} are wrong"), remedy()));
            told.chain(more).collect()
        }
        Err(error) => {
            vec![warning(format!("{path} {error}, so that nobody of it can log in"), remedy_for(&error, origin))]
        }
    }
}

fn remedy_for(error: &Unreadable, origin: &Origin) -> String {
    match error.is_absent() {
        true => format!("run: sclera passwd --config {} --user NAME --role ROLE", origin.file.display()),
        false => "let the user of the web server's workers read it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Profile};
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2NsZXJhLW5vYm9keQ$Wm9ndqg1E2cWyy0dRYtpzW8y3l5Bt9YqQ2YJkB8pC5I";

    #[test]
    fn each_line_is_a_user_or_a_flaw() {
        for (line, expected) in [
            (format!("looker:view:{HASH}"), Ok(("looker", Role::View))),
            (format!("  editor:EDIT:{HASH} "), Ok(("editor", Role::Edit))),
            ("looker".to_owned(), Err("is not of the form name:role:hash")),
            (format!("looker:{HASH}"), Err("is not of the form name:role:hash")),
            (format!("looker:root:{HASH}"), Err("names a role that is none of view, operate and edit")),
            (format!(":view:{HASH}"), Err("has no name")),
            ("looker:view:secret".to_owned(), Err("has no Argon2id hash")),
            ("looker:view:".to_owned(), Err("has no Argon2id hash")),
        ] {
            let file = UsersFile::parse(&format!("# users\n\n{line}\n"));
            match expected {
                Ok(user) => {
                    let found: Vec<_> = file.users.iter().map(|user| (user.name.as_str(), user.role)).collect();
                    assert_eq!((found, file.flaws), (vec![user], vec![]), "{line}");
                }
                Err(why) => assert_eq!((file.users, file.flaws), (vec![], vec![(3, why)]), "{line}"),
            }
        }
    }

    #[test]
    fn loading_tells_of_a_users_file_by_which_somebody_cannot_log_in() {
        let directory = tempfile::tempdir().unwrap();
        let (csp_ini, users) = (directory.path().join("CSP.ini"), directory.path().join("CSP.users"));
        std::fs::write(&csp_ini, "[SYSTEM]\nSclera_Manage_Users=CSP.users\n").unwrap();
        let told = || -> Vec<String> {
            let notices = Profile::load(&csp_ini, &Environment::none()).unwrap().notices;
            let told = notices.iter().filter(|it| it.key.as_deref() == Some("Sclera_Manage_Users"));
            told.map(ToString::to_string).collect()
        };
        let absent = told();
        assert!(absent.len() == 1 && absent[0].contains("CSP.users cannot be read"), "{absent:?}");
        assert!(absent[0].contains("CSP.ini:2") && absent[0].contains("run: sclera passwd --config"), "{absent:?}");
        std::fs::write(&users, format!("a:view:{HASH}\nb:view:secret\n")).unwrap();
        let wrong = told();
        assert!(wrong.len() == 1 && wrong[0].contains("line 2 of"), "{wrong:?}");
        assert!(!wrong[0].contains("secret"), "what stands there may be a password: {wrong:?}");
        std::fs::write(&users, "x\n".repeat(100_000)).unwrap();
        let many = told();
        assert!(many.len() == 4 && many[3].contains("99997 more lines"), "{many:?}");
        std::fs::write(&users, format!("a:view:{HASH}\n")).unwrap();
        assert_eq!(told(), Vec::<String>::new());
    }
}
