//! The file that all worker processes write: whole lines, rotation, and what happens when it cannot be written.
//!
//! Each process has the file open for appending and writes a line with one system call, so lines of several processes never
//! mix. Before each line it looks whether the path still leads to the file that it has open; so whoever renames the file, a
//! process of ours or logrotate, is followed by all the others at their next line, without a signal. A line that went into a
//! file which has been deleted meanwhile is written again.
//!
//! Nothing here waits: a lock that another process holds, a pipe that is full, a disk that is full cost lines, which are
//! counted, and never a request.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::clock::Local;
use crate::privileges::{Hands, User};

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `CSP.log` in CSP.ini's directory, this one.
    Usual(PathBuf),
    /// A file, or the directory in which `CSP.log` is.
    File(PathBuf),
    /// The standard output of the process that opened the gateway, as containers want it.
    StandardOutput,
    /// Its standard error.
    StandardError,
}

/// How a log file is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    pub place: Place,
    /// The size in bytes at which the file is set aside.
    pub rotation: u64,
    /// Whether every file set aside is kept.
    pub retain: bool,
}

/// One process's hold on the file.
#[derive(Debug)]
pub struct LogFile {
    keeping: Keeping,
    /// As whom files of CSP.ini's choice are opened.
    given: Hands,
    /// As whom this one is opened, made and rotated.
    hands: Hands,
    open: Option<Open>,
    /// The path that was opened last.
    current: Option<PathBuf>,
    /// Lines that could not be written since the last one that could.
    lost: u64,
    /// Nothing is tried before.
    retry: Option<Instant>,
    /// No rotation is tried before.
    rotate_again: Option<Instant>,
    /// The last line may have been written in part, so the next begins on a line of its own.
    ragged: bool,
    /// A standing complaint that has been told.
    told: Option<String>,
    /// What the administrator should read in the host's log.
    pub news: Vec<News>,
}

/// Something about the log itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It cannot be kept as it should; told once until it can.
    Trouble(String),
    /// Lines can be written again; so many were lost.
    Recovered(u64),
}

#[derive(Debug)]
struct Open {
    file: OwnedFd,
    /// Device and number, which tell it from other files.
    identity: (u64, u64),
    /// A file that can be rotated, and takes lines of any length whole.
    regular: bool,
}

/// How long nothing is tried after something failed.
const PAUSE: Duration = Duration::from_secs(1);
const ROTATION_PAUSE: Duration = Duration::from_secs(60);
/// A pipe takes so many bytes as a whole, or none.
const PIPE_LINE: usize = 4096;

impl LogFile {
    /// Nothing is opened before [`LogFile::open`] or the first line.
    pub fn new(keeping: Keeping, given: Hands) -> LogFile {
        let hands = match &keeping.place {
            Place::Usual(directory) => given.at_usual_place(directory),
            _ => given.clone(),
        };
        LogFile {
            keeping,
            given,
            hands,
            open: None,
            current: None,
            lost: 0,
            retry: None,
            rotate_again: None,
            ragged: false,
            told: None,
            news: Vec::new(),
        }
    }

    /// Where it is, if it is a file.
    pub fn path(&self) -> Option<PathBuf> {
        self.current.clone().or_else(|| self.keeping.place.path())
    }

    pub fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    /// As whom another file is to be opened in its place.
    pub fn given_hands(&self) -> &Hands {
        &self.given
    }

    /// Opens it now. The process that starts the web server does, while it may create files where workers may not.
    pub fn open(&mut self) {
        if let Err(error) = self.reopen() {
            let as_whom = match &self.hands {
                Hands::Own | Hands::Roots { .. } => String::new(),
                Hands::Workers(user) => format!(
                    " as user {}, who opens it because others than root can write CSP.ini or a directory above it",
                    user.uid
                ),
            };
            self.trouble(format!("{} cannot be opened{as_whom}: {error}", self.keeping.place));
        }
    }

    /// Writes one line, which ends with its line break. Whether it was written.
    pub fn append(&mut self, line: &[u8], now: (Instant, SystemTime)) -> bool {
        if self.retry.is_some_and(|at| now.0 < at) {
            self.lost += 1;
            return false;
        }
        match self.try_append(line, now) {
            Ok(()) => {
                self.retry = None;
                if self.lost > 0 {
                    self.news.push(News::Recovered(std::mem::take(&mut self.lost)));
                    self.told = None;
                }
                true
            }
            Err(error) => {
                self.lost += 1;
                self.retry = Some(now.0 + PAUSE);
                self.trouble(format!(
                    "{} cannot be written: {error}; its lines are lost until it can",
                    self.keeping.place
                ));
                false
            }
        }
    }

    fn try_append(&mut self, line: &[u8], now: (Instant, SystemTime)) -> io::Result<()> {
        self.follow(line.len() as u64, now)?;
        self.write(line)?;
        // Set aside and then overwritten by another process while this one was about to write.
        let gone = self
            .open
            .as_ref()
            .is_some_and(|open| open.regular && rustix::fs::fstat(&open.file).is_ok_and(|stat| stat.st_nlink == 0));
        if gone {
            self.reopen()?;
            self.write(line)?;
        }
        Ok(())
    }

    /// Sees to it that the open file is the one that the path names, and that `more` bytes find room in it.
    fn follow(&mut self, more: u64, now: (Instant, SystemTime)) -> io::Result<()> {
        let Some(path) = self.path() else {
            return if self.open.is_some() { Ok(()) } else { self.reopen() };
        };
        let stat = rustix::fs::stat(&path);
        let same =
            self.open.as_ref().zip(stat.as_ref().ok()).is_some_and(|(open, stat)| open.identity == identity(stat));
        if !same && let Err(error) = self.reopen() {
            // A file that was renamed is better than none.
            if self.open.is_none() {
                return Err(error);
            }
            self.trouble(format!("{} cannot be opened anew: {error}; lines go on to the file it was", path.display()));
            return Ok(());
        }
        let room = self.keeping.rotation.saturating_sub(more);
        let size = if same { stat.map_or(0, |stat| stat.st_size as u64) } else { self.size() };
        let regular = self.open.as_ref().is_some_and(|open| open.regular);
        if size > room && regular && self.rotate_again.is_none_or(|at| now.0 >= at) {
            let rotated = self.hands.work(|| self.rotate(&path, room, now.1)).and_then(|rotated| rotated);
            match rotated {
                Ok(true) => self.reopen()?,
                Ok(false) => {}
                Err(error) => {
                    self.rotate_again = Some(now.0 + ROTATION_PAUSE);
                    self.trouble(format!(
                        "{} cannot be rotated: {error}; let the workers' user create files in its directory",
                        path.display()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Sets the file aside, unless another process does or has done so. Whether there is a new file.
    ///
    /// Where that is not allowed and files set aside would not be kept anyway, a file of twice the size is emptied instead:
    /// the log is bounded in any case.
    fn rotate(&self, path: &Path, room: u64, now: SystemTime) -> io::Result<bool> {
        let path = resolved(path, self.hands.are_roots())?;
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        // A description of its own, because a lock on an inherited one would be all processes' lock.
        let lock = rustix::fs::open(&path, flags, Mode::empty())?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let held = rustix::fs::fstat(&lock)?;
        let named = rustix::fs::lstat(&path)?;
        let size = held.st_size as u64;
        if identity(&held) != identity(&named) || size <= room {
            return Ok(true);
        }
        let aside = if self.keeping.retain { kept_name(&path, now) } else { with_suffix(&path, ".old") };
        if let Err(error) = rustix::fs::rename(&path, &aside) {
            if !self.keeping.retain && size > self.keeping.rotation.saturating_mul(2) {
                rustix::fs::ftruncate(&lock, 0)?;
            }
            return Err(error.into());
        }
        // The next file is like the last one, so that whoever could read it still can.
        if let Ok(next) = create(&path) {
            let _ = rustix::fs::fchmod(&next, Mode::from_raw_mode(held.st_mode & 0o777));
            if self.hands.are_roots() {
                let owner = (Some(Uid::from_raw(held.st_uid)), Some(Gid::from_raw(held.st_gid)));
                let _ = rustix::fs::fchown(&next, owner.0, owner.1);
            }
        }
        Ok(true)
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let Some(open) = &self.open else { return Err(Errno::BADF.into()) };
        let mut bytes = Vec::new();
        let mut line = line;
        if self.ragged {
            bytes.reserve(line.len() + 1);
            bytes.push(b'\n');
            bytes.extend_from_slice(line);
            line = &bytes;
        }
        let mut short;
        if !open.regular && line.len() > PIPE_LINE {
            short = line[..PIPE_LINE - 1].to_vec();
            short.push(b'\n');
            line = &short;
        }
        for _ in 0..3 {
            match rustix::io::write(&open.file, line) {
                Err(Errno::INTR) => {}
                Ok(count) if count == line.len() => {
                    self.ragged = false;
                    return Ok(());
                }
                Ok(_) => {
                    self.ragged = true;
                    return Err(Errno::NOSPC.into());
                }
                Err(error) => {
                    // Others may have been cut off where this one could not begin.
                    self.ragged |= open.regular;
                    return Err(error.into());
                }
            }
        }
        Err(Errno::INTR.into())
    }

    /// Opens what the place names now. What was open stays so if that fails.
    fn reopen(&mut self) -> io::Result<()> {
        let path = self.keeping.place.path();
        let file = match &path {
            None => standard_stream(&self.keeping.place)?,
            Some(path) => self.hands.work(|| open_for_workers(path, &self.hands))??,
        };
        let stat = rustix::fs::fstat(&file)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let regular = regular && path.is_some();
        self.current = path;
        self.open = Some(Open { file, identity: identity(&stat), regular });
        Ok(())
    }

    fn size(&self) -> u64 {
        let stat = self.open.as_ref().and_then(|open| rustix::fs::fstat(&open.file).ok());
        stat.map_or(0, |stat| stat.st_size as u64)
    }

    fn trouble(&mut self, text: String) {
        if self.told.as_ref() != Some(&text) {
            self.news.push(News::Trouble(text.clone()));
            self.told = Some(text);
        }
    }
}

impl Place {
    /// What `Event_Log_File` names; blank is `CSP.log` in `directory`.
    pub fn of(setting: &str, directory: &Path) -> Place {
        match setting {
            "stdout" | "/dev/stdout" => Place::StandardOutput,
            "stderr" | "/dev/stderr" => Place::StandardError,
            "" => Place::Usual(directory.to_owned()),
            path => Place::File(directory.join(path)),
        }
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<PathBuf> {
        let path = match self {
            Place::Usual(directory) => return Some(directory.join("CSP.log")),
            Place::File(path) => path,
            Place::StandardOutput | Place::StandardError => return None,
        };
        let is_directory = path.as_os_str().as_bytes().ends_with(b"/") || path.is_dir();
        Some(if is_directory { path.join("CSP.log") } else { path.clone() })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path() {
            Some(path) => path.display().fmt(f),
            None if *self == Place::StandardError => f.write_str("the standard error"),
            None => f.write_str("the standard output"),
        }
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// A description of our own, which can be told not to block without telling others; not every kind of output has that.
fn standard_stream(place: &Place) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let is_error = *place == Place::StandardError;
    match rustix::fs::open(if is_error { "/proc/self/fd/2" } else { "/proc/self/fd/1" }, flags, Mode::empty()) {
        Ok(file) => Ok(file),
        Err(_) if is_error => io::stderr().as_fd().try_clone_to_owned(),
        Err(_) => io::stdout().as_fd().try_clone_to_owned(),
    }
}

/// Opens a file for appending, and makes it if it is not there: with mode 0640, and the workers' if this process may give
/// it away.
///
/// As root, nothing is done that a worker could have led us into: a link is followed only if it is root's, and the file
/// must have one name and be root's or the workers'.
fn open_for_workers(path: &Path, hands: &Hands) -> io::Result<OwnedFd> {
    let root = hands.are_roots();
    let path = resolved(path, root)?;
    let follow = if root { OFlags::NOFOLLOW } else { OFlags::empty() };
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | follow;
    for _ in 0..10 {
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => {
                check(&file, root, hands.gives_to())?;
                return Ok(file);
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        match create(&path) {
            Ok(file) => {
                if let Some(owner) = hands.gives_to() {
                    rustix::fs::fchown(&file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
                }
                return Ok(file);
            }
            // Another process was quicker.
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::AGAIN.into())
}

fn create(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o640))
}

fn check(file: &OwnedFd, root: bool, owner: Option<&User>) -> io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    if !root || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(());
    }
    if stat.st_nlink > 1 {
        return Err(io::Error::other("it has several names, and the web server's root does not write to such a file"));
    }
    match owner {
        Some(owner) if stat.st_uid != 0 && stat.st_uid != owner.uid => {
            Err(io::Error::other(format!("it belongs to user {}, who is neither root nor the workers'", stat.st_uid)))
        }
        _ => Ok(()),
    }
}

/// The file itself, where the path is a link to it. As root only links that are root's are followed.
fn resolved(path: &Path, root: bool) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..8 {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(link) = rustix::fs::open(&path, flags, Mode::empty()) else { return Ok(path) };
        let stat = rustix::fs::fstat(&link)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink || path.starts_with("/proc") {
            return Ok(path);
        }
        if root && stat.st_uid != 0 {
            return Err(io::Error::other("it is a symbolic link that is not root's, which its root does not follow"));
        }
        let target = rustix::fs::readlinkat(link.as_fd(), "", Vec::new())?;
        let target = Path::new(std::ffi::OsStr::from_bytes(target.as_bytes()));
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    Err(Errno::LOOP.into())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// `CSP_YYYYMMDD_hhmm.log`, and with `.0001` and so on if that is taken.
fn kept_name(path: &Path, now: SystemTime) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or_else(String::new, |it| format!(".{}", it.to_string_lossy()));
    let name = path.with_file_name(format!("{stem}_{}{extension}", Local::of(now).stamp()));
    let taken = |path: &Path| rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if !taken(&name) {
        return name;
    }
    let numbered = (1..10_000).map(|number| with_suffix(&name, &format!(".{number:04}")));
    numbered.into_iter().find(|name| !taken(name)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn keeping(path: &Path, rotation: u64, retain: bool) -> Keeping {
        Keeping { place: Place::File(path.to_owned()), rotation, retain }
    }

    fn now() -> (Instant, SystemTime) {
        (Instant::now(), SystemTime::now())
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_setting_is_a_directory_a_file_or_the_standard_output() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        for (setting, expected) in [
            ("", Some(here.join("CSP.log"))),
            (".", Some(here.join("./CSP.log"))),
            ("logs/", Some(here.join("logs/CSP.log"))),
            ("/var/log/gateway.log", Some(PathBuf::from("/var/log/gateway.log"))),
            ("stdout", None),
            ("/dev/stdout", None),
            ("/dev/stderr", None),
        ] {
            assert_eq!(Place::of(setting, here).path(), expected, "{setting}");
        }
    }

    #[test]
    fn a_file_that_has_grown_is_set_aside_under_the_name_that_the_reference_gives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.log");
        let mut log = LogFile::new(keeping(&path, 100, false), Hands::Own);
        let line = |letter: &str| format!("{}\n", letter.repeat(59));
        for letter in ["a", "b", "c"] {
            assert!(log.append(line(letter).as_bytes(), now()));
        }
        assert_eq!(names(directory.path()), ["CSP.log", "CSP.log.old"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), line("c"));
        assert_eq!(fs::read_to_string(directory.path().join("CSP.log.old")).unwrap(), line("b"), "it is overwritten");

        let mut log = LogFile::new(keeping(&path, 100, true), Hands::Own);
        for letter in ["d", "e", "f"] {
            assert!(log.append(line(letter).as_bytes(), now()));
        }
        let kept: Vec<String> = names(directory.path()).into_iter().filter(|name| name.starts_with("CSP_")).collect();
        assert_eq!(kept.len(), 3, "{kept:?}");
        assert!(kept.iter().any(|name| name.ends_with(".log.0001")), "{kept:?}");
    }

    #[test]
    fn a_file_that_somebody_else_has_renamed_is_left_and_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.log");
        let mut one = LogFile::new(keeping(&path, 1 << 20, false), Hands::Own);
        let mut other = LogFile::new(keeping(&path, 1 << 20, false), Hands::Own);
        assert!(one.append(b"1\n", now()) && other.append(b"2\n", now()));
        fs::rename(&path, directory.path().join("CSP.log.1")).unwrap();
        assert!(one.append(b"3\n", now()) && other.append(b"4\n", now()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n4\n");
        fs::remove_file(&path).unwrap();
        assert!(other.append(b"5\n", now()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "5\n");
        assert!(one.news.is_empty() && other.news.is_empty());
    }

    #[test]
    fn a_full_disk_costs_lines_that_are_counted_and_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.log");
        let mut log = LogFile::new(keeping(Path::new("/dev/full"), 1 << 20, false), Hands::Own);
        let start = Instant::now();
        for second in 0..5 {
            for _ in 0..10 {
                assert!(!log.append(b"x\n", (start + PAUSE * second, SystemTime::now())));
            }
        }
        assert_eq!(log.news.len(), 1, "{:?}", log.news);
        assert!(matches!(&log.news[0], News::Trouble(text) if text.contains("/dev/full")));
        (log.keeping.place, log.current) = (Place::File(path.clone()), None);
        assert!(log.append(b"y\n", (start + PAUSE * 6, SystemTime::now())));
        assert_eq!(log.news[1..], [News::Recovered(50)]);
        assert_eq!(fs::read_to_string(&path).unwrap().trim_start(), "y\n");
    }

    #[test]
    fn a_directory_that_is_not_there_is_told_and_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let logs = directory.path().join("logs");
        let mut log = LogFile::new(keeping(&logs.join("CSP.log"), 1 << 20, false), Hands::Own);
        log.open();
        assert!(!log.append(b"x\n", now()));
        fs::create_dir(&logs).unwrap();
        assert!(log.append(b"y\n", (Instant::now() + PAUSE, SystemTime::now())));
        assert_eq!(log.news.last(), Some(&News::Recovered(1)));
    }

    #[test]
    fn root_follows_no_link_of_others_and_gives_the_file_to_the_workers() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let owner = || Hands::Roots { workers: User { uid: 65_534, gid: 65_534, groups: Vec::new() } };
        let path = directory.path().join("CSP.log");
        let mut log = LogFile::new(keeping(&path, 100, false), owner());
        log.open();
        let made = fs::metadata(&path).unwrap();
        assert_eq!((made.uid(), made.gid(), made.permissions().mode() & 0o777), (65_534, 65_534, 0o640));
        assert!(log.append(&[b'x'; 99], now()) && log.append(b"y\n", now()));
        assert_eq!(fs::metadata(&path).unwrap().uid(), 65_534, "so does the file after a rotation");

        let target = directory.path().join("precious");
        fs::write(&target, "").unwrap();
        let link = directory.path().join("link.log");
        symlink(&target, &link).unwrap();
        let mut log = LogFile::new(keeping(&link, 100, false), owner());
        assert!(log.append(b"x\n", now()), "a link of root's leads where root wants");
        lchown(&link, Some(65_534), Some(65_534)).unwrap();
        let mut log = LogFile::new(keeping(&link, 100, false), owner());
        assert!(!log.append(b"y\n", now()));
        fs::remove_file(&link).unwrap();
        fs::hard_link(&target, &link).unwrap();
        let mut log = LogFile::new(keeping(&link, 100, false), owner());
        assert!(!log.append(b"z\n", now()));
        assert_eq!(fs::read_to_string(&target).unwrap(), "x\n");
    }

    #[test]
    fn a_file_that_cannot_be_rotated_is_bounded_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.log");
        // A directory in the way of the name that it would get.
        fs::create_dir(directory.path().join("CSP.log.old")).unwrap();
        let mut log = LogFile::new(keeping(&path, 100, false), Hands::Own);
        let start = Instant::now();
        for round in 0..20 {
            assert!(log.append(&[b'x'; 50], (start + ROTATION_PAUSE * round, SystemTime::now())));
        }
        assert!(fs::metadata(&path).unwrap().len() <= 300);
        assert_eq!(log.news.len(), 1);
    }
}
