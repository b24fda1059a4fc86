//! What the doctor sees of a machine.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Owner and mode of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub uid: u32,
    pub gid: u32,
    /// With the type bits.
    pub mode: u32,
}

/// A view of a machine.
pub trait Machine {
    /// Owner and mode of what a path leads to; links are followed.
    fn stat(&self, path: &Path) -> io::Result<Stat>;

    /// The path without links.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// An extended attribute; `None` if there is none, or it cannot be read.
    fn attribute(&self, path: &Path, name: &str) -> Option<Vec<u8>>;

    /// The text of a small system file.
    fn read(&self, path: &Path) -> Option<String>;

    /// The names in a directory.
    fn list(&self, path: &Path) -> Vec<String>;

    /// What a system program prints, if it is there and succeeds.
    fn ask(&self, program: &str, arguments: &[&str]) -> Option<String>;
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let data = std::fs::metadata(path)?;
        Ok(Stat { uid: data.uid(), gid: data.gid(), mode: data.mode() })
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        path.canonicalize()
    }

    fn attribute(&self, path: &Path, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 4096];
        let length = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
        value.truncate(length);
        Some(value)
    }

    fn read(&self, path: &Path) -> Option<String> {
        let bytes = crate::profile::file::read_bounded(path, 1024 * 1024).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn list(&self, path: &Path) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let output = Command::new(program).args(arguments).stdin(std::process::Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A machine as it was written down: for tests.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    pub files: HashMap<PathBuf, Stat>,
    pub attributes: HashMap<(PathBuf, String), Vec<u8>>,
    pub texts: HashMap<PathBuf, String>,
    pub answers: HashMap<String, String>,
}

impl Recorded {
    /// Adds a file or directory.
    pub fn file(&mut self, path: &str, uid: u32, gid: u32, mode: u32) {
        self.files.insert(path.into(), Stat { uid, gid, mode });
    }

    /// Labels a file, as the kernel stores it.
    pub fn label(&mut self, path: &str, context: &str) {
        let value = format!("{context}\0").into_bytes();
        self.attributes.insert((path.into(), "security.selinux".to_owned()), value);
    }
}

impl Machine for Recorded {
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.files.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn attribute(&self, path: &Path, name: &str) -> Option<Vec<u8>> {
        self.attributes.get(&(path.to_owned(), name.to_owned())).cloned()
    }

    fn read(&self, path: &Path) -> Option<String> {
        self.texts.get(path).cloned()
    }

    fn list(&self, path: &Path) -> Vec<String> {
        let children = self.texts.keys().filter_map(|file| file.strip_prefix(path).ok()?.iter().next()?.to_str());
        children.map(str::to_owned).collect()
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> Option<String> {
        self.answers.get(&[&[program], arguments].concat().join(" ")).cloned()
    }
}
