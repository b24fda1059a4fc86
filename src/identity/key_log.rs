//! The TLS key log that `Sclera_Key_Log_File` asks for: the NSS format, which capture tools read. It is the one place that
//! writes secrets, only when asked to, and the log says so at each load.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustls::KeyLog;

/// Appends to a file that only its owner can read. It is opened when there is something to write, so that checking a
/// configuration makes no file; what cannot be written is given up, since traffic must not depend on it.
#[derive(Debug)]
pub(super) struct KeyLogFile {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl KeyLogFile {
    pub(super) fn new(path: &Path) -> KeyLogFile {
        KeyLogFile { path: path.to_owned(), file: Mutex::new(None) }
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut file = self.file.lock();
        if file.is_none() {
            *file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path).ok();
        }
        if let Some(file) = &mut *file {
            // One write, so that lines of several workers do not mix.
            let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
            let _ = file.write_all(line.as_bytes());
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
