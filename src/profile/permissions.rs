//! Whether a file's mode suits what it holds.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::finding::{Finding, Severity};
use super::parameter::{Kind, Parameter, SectionKind};
use super::text::Text;

/// What is wrong with the mode of a file of this text: everybody may write it, or read the passwords in it.
pub(super) fn report(text: &Text) -> Option<Finding> {
    let mode = std::fs::metadata(text.file()).ok()?.mode();
    let message = format!("{} (mode {:04o})", judge(mode, holds_secrets(text))?, mode & 0o7777);
    Some(Finding::about_file(Severity::Warning, None, text.file(), message, remedy(text.file())))
}

/// Whether everybody may read the file at `path`; for private keys.
pub(crate) fn is_public(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
}

/// What takes a file from everyone, and not from the workers: the group root is not theirs.
pub(crate) fn remedy(path: &Path) -> String {
    let file = path.display();
    match std::fs::metadata(path).is_ok_and(|metadata| metadata.gid() == 0) {
        true => format!("run: chgrp GROUP {file} && chmod g+r,o= {file}; GROUP is that of the web server's workers"),
        false => format!("run: chmod o= {file}"),
    }
}

fn judge(mode: u32, holds_secrets: bool) -> Option<&'static str> {
    match (mode & 0o002 != 0, mode & 0o004 != 0) {
        (true, _) => Some("can be changed by everyone"),
        (false, true) if holds_secrets => Some("can be read by everyone, though it holds passwords"),
        _ => None,
    }
}

fn holds_secrets(text: &Text) -> bool {
    text.sections().iter().any(|section| {
        let kind = SectionKind::of(&section.name);
        section.entries.iter().any(|entry| {
            let is_secret = Parameter::find(kind, &entry.key).is_some_and(|row| row.kind == Kind::Secret);
            is_secret && !text.value(entry).is_empty()
        })
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::{Environment, Profile};

    #[test]
    fn a_file_that_everybody_may_read_is_reported_if_it_holds_a_password_and_one_they_may_write_always() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.ini");
        let server = "[SYSTEM_INDEX]\nA=Enabled\n[A]\nIp_Address=a\n";
        for (content, mode, expected) in [
            (server.to_owned(), 0o644, None),
            (format!("{server}Password=\n"), 0o644, None),
            (format!("{server}Password=]]]U1lT\n"), 0o640, None),
            (
                format!("{server}Password=]]]U1lT\n"),
                0o644,
                Some("can be read by everyone, though it holds passwords (mode 0644)"),
            ),
            (format!("{server}SSLCC_Private_Key_Password=]]]U1lT\n"), 0o604, Some("can be read by everyone")),
            (format!("[SYSTEM]\nPassword=x\n{server}"), 0o644, Some("can be read by everyone")),
            (server.to_owned(), 0o646, Some("can be changed by everyone (mode 0646)")),
        ] {
            std::fs::write(&path, &content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let notices = Profile::load(&path, &Environment::none()).unwrap().notices;
            let found = notices.iter().map(ToString::to_string).find(|notice| notice.contains("everyone"));
            match expected {
                None => assert_eq!(found, None, "{content} {mode:o}"),
                Some(expected) => assert!(found.as_ref().is_some_and(|it| it.contains(expected)), "{found:?}"),
            }
        }
    }

    #[test]
    fn what_takes_a_file_from_everyone_leaves_it_to_the_group_of_the_workers() {
        let file = tempfile::NamedTempFile::new().unwrap();
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for (group, begins) in [(0, "run: chgrp GROUP /"), (33, "run: chmod o= /")] {
            std::os::unix::fs::chown(file.path(), None, Some(group)).unwrap();
            let remedy = super::remedy(file.path());
            assert!(remedy.starts_with(begins), "{remedy}");
        }
    }
}
