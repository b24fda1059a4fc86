//! The TLS key log that `Sclera_Key_Log_File` asks for: the NSS format, which capture tools read. It is the one place that
//! writes secrets, only when asked to and only for a time (`Sclera_Debug_Expiry`), and the log says so at each load.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustls::KeyLog;

/// Appends to a file that only its owner can read. It is opened when there is something to write, so that checking a
/// configuration makes no file; what cannot be written is given up, since traffic must not depend on it.
#[derive(Debug)]
pub(super) struct KeyLogFile {
    path: PathBuf,
    /// From then on nothing is written; `None` for never.
    until: Option<SystemTime>,
    file: Mutex<Option<File>>,
}

impl KeyLogFile {
    pub(super) fn new(path: &Path, until: Option<SystemTime>) -> KeyLogFile {
        KeyLogFile { path: path.to_owned(), until, file: Mutex::new(None) }
    }
}

impl KeyLog for KeyLogFile {
    fn will_log(&self, _label: &str) -> bool {
        self.until.is_none_or(|until| SystemTime::now() < until)
    }

    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        if !self.will_log(label) {
            return;
        }
        let mut file = self.file.lock();
        if file.is_none() {
            *file = open(&self.path).ok();
        }
        if let Some(file) = &mut *file {
            // One write, so that lines of several workers do not mix.
            let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
            let _ = file.write_all(line.as_bytes());
        }
    }
}

/// A file of our own that nobody else reads, also if it was there before; no link that somebody laid, and nothing that
/// could hold us up.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn secrets_go_to_a_file_of_our_own_that_nobody_else_reads_and_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        KeyLogFile::new(&path, None).log("LABEL", &[1], &[0xab]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "LABEL 01 ab\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        KeyLogFile::new(&link, None).log("LABEL", &[2], &[2]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "LABEL 01 ab\n");
    }
}
