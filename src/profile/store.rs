//! Writing a CSP.ini: one writer at a time, the whole file or nothing, and never over a change that somebody else made.
//!
//! A new file is written beside the old one, given its owner, mode and labels, synced, and renamed over it. Where that is
//! not possible, because the file is a mount of its own or its owner could not be kept, it is written in place, after a
//! copy has been kept.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, XattrFlags, fgetxattr, flistxattr, flock, fsetxattr};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::edit::{Change, Document, EditError};
use super::file::{ReadError, read_bounded};
use super::text::LARGEST_FILE;
use crate::privileges::resolved;

/// A file that is open for a change. Until this value is gone, no other writer gets at the file.
#[derive(Debug)]
pub struct Opened {
    /// What to edit.
    pub document: Document,
    /// The file itself, behind any symbolic links.
    target: PathBuf,
    before: Document,
    read_only: ReadOnly,
    /// Holds the lock.
    file: File,
}

/// `READONLY` of `[SYSTEM]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOnly {
    /// 0: the file may be written.
    No,
    /// 1: it may, but who changed it when is written to `CSPRT.ini`.
    Bookkeeping,
    /// 2: it is never written.
    Yes,
}

/// What saving did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// There was nothing to save.
    Unchanged,
    /// A new file took the place of the old one.
    Replaced,
    /// The file was written in place.
    InPlace,
}

/// Why a file could not be opened for a change, or not be saved. The file is as it was.
#[derive(Debug)]
pub enum StoreError {
    /// It could not be read: absent, not a regular file, too large, or refused.
    Read(PathBuf, String),
    /// Another writer did not finish in time.
    Busy(PathBuf),
    /// `READONLY=2` forbids it.
    ReadOnly(PathBuf),
    /// Somebody changed it without taking the lock, such as an editor.
    Changed(PathBuf),
    /// The edit is not possible.
    Edit(PathBuf, EditError),
    /// It could not be written: the step, and what the system says.
    Write(PathBuf, &'static str, io::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Read(path, reason) => write!(f, "{} {reason}", path.display()),
            StoreError::Busy(path) => write!(
                f,
                "{}: another program is changing it and has not finished for {} s; try again, or end that program \
                 (`fuser {}` names it)",
                path.display(),
                PATIENCE.as_secs(),
                path.display()
            ),
            StoreError::ReadOnly(path) => {
                write!(
                    f,
                    "{}: READONLY=2 in [SYSTEM] forbids to change it; change that line by hand first",
                    path.display()
                )
            }
            StoreError::Changed(path) => {
                write!(f, "{} was changed by somebody else meanwhile; nothing was written, try again", path.display())
            }
            StoreError::Edit(path, error) => write!(f, "{}: {error}", path.display()),
            StoreError::Write(path, step, error) => {
                write!(f, "{} is as it was: {step} failed: {error}", path.display())
            }
        }
    }
}

/// How long to wait for another writer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the file at `path`, or what it is a symbolic link to, for a change. Waits up to 5 seconds for another writer.
pub fn open(path: &Path) -> Result<Opened, StoreError> {
    let unreadable = |error: io::Error| StoreError::Read(path.to_owned(), format!("cannot be read: {error}"));
    let target = resolved(path).map_err(unreadable)?;
    let file = lock(&target)?;
    let document = Document::new(read(&target)?);
    let read_only = match document.get("SYSTEM", "READONLY").as_deref().map(String::as_str) {
        Some("1") => ReadOnly::Bookkeeping,
        Some("2") => ReadOnly::Yes,
        _ => ReadOnly::No,
    };
    Ok(Opened { before: document.clone(), document, target, read_only, file })
}

/// Opens the file, makes the change, and saves it.
pub fn change(
    path: &Path,
    edit: impl FnOnce(&mut Document) -> Result<Change, EditError>,
) -> Result<(Change, Saved), StoreError> {
    let mut opened = open(path)?;
    let change = edit(&mut opened.document).map_err(|error| StoreError::Edit(path.to_owned(), error))?;
    Ok((change, opened.save()?))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    read_bounded(path, LARGEST_FILE).map_err(|error: ReadError| StoreError::Read(path.to_owned(), error.to_string()))
}

/// Locks the file itself: nothing is left behind, and the lock goes with its holder. Since a writer puts another file in
/// its place, the lock counts only if it is on the file that stands there afterwards.
fn lock(path: &Path) -> Result<File, StoreError> {
    let end = Instant::now() + PATIENCE;
    loop {
        let unreadable = |error: io::Error| StoreError::Read(path.to_owned(), format!("cannot be read: {error}"));
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(unreadable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let (own, there) = (file.metadata().map_err(unreadable)?, fs::metadata(path).map_err(unreadable)?);
                if (own.dev(), own.ino()) == (there.dev(), there.ino()) {
                    return Ok(file);
                }
            }
            Err(Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            Err(Errno::WOULDBLOCK) => return Err(StoreError::Busy(path.to_owned())),
            Err(error) => return Err(unreadable(error.into())),
        }
    }
}

impl Opened {
    /// What `READONLY` said when the file was opened.
    pub fn read_only(&self) -> ReadOnly {
        self.read_only
    }

    /// Writes down that and by whom the file was changed: in the file itself, or in `CSPRT.ini` beside it if
    /// `READONLY=1`. The time is UTC, in the form of ctime(3).
    pub fn note_modified(&mut self) -> Result<(), StoreError> {
        let edit = |document: &mut Document, path: &Path| {
            let refused = |error| StoreError::Edit(path.to_owned(), error);
            document.set("SYSTEM", "Configuration_Modified", &now_as_text()).map_err(refused)?;
            document.set("SYSTEM", "Configuration_Modified_Build", BUILD).map_err(refused)
        };
        if self.read_only == ReadOnly::Yes {
            return Err(StoreError::ReadOnly(self.target.clone()));
        }
        if self.read_only == ReadOnly::No {
            return edit(&mut self.document, &self.target).map(drop);
        }
        let runtime = self.target.with_file_name("CSPRT.ini");
        let create = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&runtime);
        create.map_err(|error| StoreError::Write(runtime.clone(), "creating it", error))?;
        let mut opened = open(&runtime)?;
        edit(&mut opened.document, &runtime)?;
        opened.save().map(drop)
    }

    /// Puts the edited document in the file's place. Without a change nothing is written.
    pub fn save(self) -> Result<Saved, StoreError> {
        if self.document == self.before {
            return Ok(Saved::Unchanged);
        }
        if self.read_only == ReadOnly::Yes {
            return Err(StoreError::ReadOnly(self.target));
        }
        if *read(&self.target)? != *self.before.bytes() {
            return Err(StoreError::Changed(self.target));
        }
        remove_leftovers(&self.target);
        let replacement = beside(&self.target, "new");
        let written = write_like(&self.file, &replacement, self.document.bytes());
        let renamed = match written {
            Ok(true) => fs::rename(&replacement, &self.target).map_err(|error| ("renaming the new file", error)),
            // Its owner or label cannot be given to another file.
            Ok(false) => Err(("keeping owner and label", Errno::PERM.into())),
            Err(failure) => Err(failure),
        };
        match renamed {
            Ok(()) => {
                let directory = self.target.parent().unwrap_or(Path::new("/"));
                // The new file is there either way; a file system that cannot sync directories has to be lived with.
                let _ = File::open(directory).and_then(|directory| directory.sync_all());
                Ok(Saved::Replaced)
            }
            Err((step, error)) => {
                let _ = fs::remove_file(&replacement);
                match Errno::from_io_error(&error) {
                    Some(Errno::BUSY | Errno::XDEV | Errno::PERM) => {
                        let copy = beside(&self.target, "copy");
                        self.write_in_place(&copy)
                    }
                    _ => Err(StoreError::Write(self.target, step, error)),
                }
            }
        }
    }

    /// The locked file itself, for writing: whoever owns the directory may have put something else in its place.
    fn open_in_place(&self) -> io::Result<File> {
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let file = OpenOptions::new().write(true).custom_flags(no_follow).open(&self.target)?;
        let (own, there) = (self.file.metadata()?, file.metadata()?);
        if (own.dev(), own.ino()) != (there.dev(), there.ino()) {
            return Err(io::Error::other("another file has taken its place"));
        }
        Ok(file)
    }

    /// Writes over the old content. A copy of it is there until the new one is on the disk.
    fn write_in_place(self, copy: &Path) -> Result<Saved, StoreError> {
        let failed = |step, error| StoreError::Write(self.target.clone(), step, error);
        let kept = OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).and_then(|mut kept| {
            kept.write_all(self.before.bytes())?;
            kept.sync_all()
        });
        if let Err(error) = kept {
            // A copy that was there before is of a writer that was killed, and may be the only whole content.
            if error.kind() != io::ErrorKind::AlreadyExists {
                let _ = fs::remove_file(copy);
            }
            return Err(failed("keeping a copy (.CSP.ini.sclera-copy) beside it", error));
        }
        let file = self.open_in_place().map_err(|error| {
            let _ = fs::remove_file(copy);
            failed("opening it for writing", error)
        })?;
        match overwrite(&file, self.document.bytes()) {
            Ok(()) => {
                let _ = fs::remove_file(copy);
                Ok(Saved::InPlace)
            }
            Err(error) => match overwrite(&file, self.before.bytes()) {
                Ok(()) => {
                    let _ = fs::remove_file(copy);
                    Err(failed("writing it in place", error))
                }
                Err(_) => Err(StoreError::Read(
                    self.target.clone(),
                    format!("could not be written ({error}) nor restored; its old content is in {}", copy.display()),
                )),
            },
        }
    }
}

/// Writes content to a new file, synced, with owner, mode, access list and labels of another one. False: those cannot be
/// kept.
///
/// # Errors
///
/// What failed, and the step that did.
pub fn write_like(old: &File, path: &Path, content: &[u8]) -> Result<bool, (&'static str, io::Error)> {
    let step = |name: &'static str| move |error: io::Error| (name, error);
    let create = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut new = create.map_err(step("creating a file beside it"))?;
    new.write_all(content).map_err(step("writing the new file"))?;
    let before = old.metadata().map_err(step("looking at it"))?;
    let own = new.metadata().map_err(step("looking at the new file"))?;
    if (own.uid(), own.gid()) != (before.uid(), before.gid())
        && std::os::unix::fs::fchown(&new, Some(before.uid()), Some(before.gid())).is_err()
    {
        return Ok(false);
    }
    new.set_permissions(before.permissions()).map_err(step("setting the new file's mode"))?;
    if !copy_attributes(old, &new) {
        return Ok(false);
    }
    new.sync_all().map_err(step("syncing the new file"))?;
    Ok(true)
}

fn overwrite(file: &File, content: &[u8]) -> io::Result<()> {
    file.write_all_at(content, 0)?;
    file.set_len(content.len() as u64)?;
    file.sync_all()
}

/// A hidden name beside the file, which tells what it is and whose.
fn beside(target: &Path, suffix: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    target.with_file_name(format!(".{name}.sclera-{suffix}"))
}

/// Whoever holds the lock is the only writer: a new file that lies there is of one that was killed. A copy is kept, since
/// it may be the only whole content.
fn remove_leftovers(target: &Path) {
    let _ = fs::remove_file(beside(target, "new"));
}

/// Gives `new` the labels and access lists of `old`. False if one could not be given.
fn copy_attributes(old: &File, new: &File) -> bool {
    let mut names = vec![0; 64 * 1024];
    let Ok(length) = flistxattr(old, &mut names[..]) else { return true };
    names.truncate(length);
    names.split(|&byte| byte == 0).filter(|name| !name.is_empty()).all(|name| {
        let mut value = vec![0; 64 * 1024];
        let Ok(length) = fgetxattr(old, name, &mut value[..]) else { return true };
        value.truncate(length);
        let mut own = vec![0; 64 * 1024];
        let already = fgetxattr(new, name, &mut own[..]).is_ok_and(|length| own[..length] == value[..]);
        already || fsetxattr(new, name, &value, XattrFlags::empty()).is_ok()
    })
}

/// What is written down as the build that changed or made a file.
pub(super) const BUILD: &str = concat!("Sclera ", env!("CARGO_PKG_VERSION"));

/// The time now, in UTC, as ctime(3) writes it: `Tue Nov 24 10:27:08 2026`.
pub(crate) fn now_as_text() -> String {
    let now = time::OffsetDateTime::now_utc();
    let short = |name: String| name[..3].to_owned();
    let (weekday, month) = (short(now.weekday().to_string()), short(now.month().to_string()));
    let (hour, minute, second) = now.to_hms();
    format!("{weekday} {month} {:2} {hour:02}:{minute:02}:{second:02} {}", now.day(), now.year())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::{Command, Stdio};

    use super::*;

    fn file(content: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.ini");
        fs::write(&path, content).unwrap();
        (directory, path)
    }

    fn set(path: &Path, value: &str) -> Result<(Change, Saved), StoreError> {
        change(path, |document| document.set("A", "k", value))
    }

    fn names(directory: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_save_replaces_the_file_and_keeps_its_mode_and_leaves_nothing_else() {
        let (directory, path) = file("[A]\nk=1\n");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let before = fs::metadata(&path).unwrap();
        fs::write(directory.path().join(".CSP.ini.sclera-new"), "of a killed writer").unwrap();
        assert_eq!(set(&path, "2").unwrap(), (Change::Replaced, Saved::Replaced));
        assert_eq!(fs::read_to_string(&path).unwrap(), "[A]\nk=2\n");
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino());
        assert_eq!(names(&directory), ["CSP.ini"]);
    }

    #[test]
    fn saving_without_a_change_writes_nothing() {
        let (_directory, path) = file("[A]\r\nk=1");
        let before = fs::metadata(&path).unwrap();
        assert_eq!(set(&path, "1").unwrap(), (Change::Nothing, Saved::Unchanged));
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.ino(), after.mtime_nsec()), (before.ino(), before.mtime_nsec()));
    }

    #[test]
    fn the_target_of_a_symbolic_link_is_written_and_the_link_stays() {
        let (directory, path) = file("[A]\nk=1\n");
        let link = directory.path().join("link.ini");
        symlink("CSP.ini", &link).unwrap();
        set(&link, "2").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "[A]\nk=2\n");
    }

    #[test]
    fn extended_attributes_are_kept() {
        let (_directory, path) = file("[A]\nk=1\n");
        let old = File::open(&path).unwrap();
        if fsetxattr(&old, "user.sclera", b"label", XattrFlags::empty()).is_err() {
            eprintln!("skipped: no extended attributes here");
            return;
        }
        set(&path, "2").unwrap();
        let mut value = [0; 16];
        let length = fgetxattr(File::open(&path).unwrap(), "user.sclera", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"label");
    }

    #[test]
    fn what_somebody_else_wrote_meanwhile_is_not_overwritten() {
        let (_directory, path) = file("[A]\nk=1\n");
        let mut opened = open(&path).unwrap();
        opened.document.set("A", "k", "2").unwrap();
        fs::write(&path, "[A]\nk=of an editor\n").unwrap();
        assert!(matches!(opened.save(), Err(StoreError::Changed(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "[A]\nk=of an editor\n");
    }

    #[test]
    fn of_many_writers_at_once_none_is_lost() {
        let (directory, path) = file("[A]\n");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                scope.spawn(move || change(path, |document| document.set("A", &format!("k{number}"), "1")).unwrap());
            }
        });
        let document = Document::new(fs::read(&path).unwrap());
        assert_eq!((0..8).filter(|number| document.get("A", &format!("k{number}")).is_some()).count(), 8);
        assert_eq!(names(&directory), ["CSP.ini"]);
    }

    #[test]
    fn readonly_2_forbids_and_readonly_1_keeps_the_books_elsewhere() {
        let (directory, path) = file("[SYSTEM]\nREADONLY=2\n[A]\nk=1\n");
        let error = set(&path, "2").unwrap_err().to_string();
        assert!(error.contains("READONLY=2 in [SYSTEM] forbids to change it"), "{error}");

        fs::write(&path, "[SYSTEM]\nREADONLY=1\n[A]\nk=1\n").unwrap();
        let mut opened = open(&path).unwrap();
        opened.document.set("A", "k", "2").unwrap();
        opened.note_modified().unwrap();
        opened.save().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[SYSTEM]\nREADONLY=1\n[A]\nk=2\n");
        let books = fs::read_to_string(directory.path().join("CSPRT.ini")).unwrap();
        assert!(books.starts_with("[SYSTEM]\nConfiguration_Modified="), "{books}");

        fs::write(&path, "[SYSTEM]\n").unwrap();
        let mut opened = open(&path).unwrap();
        opened.note_modified().unwrap();
        opened.save().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("Configuration_Modified_Build={BUILD}")), "{text}");
    }

    #[test]
    fn what_is_not_a_file_that_can_be_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for (path, expected) in [
            (directory.path().to_owned(), "is not a regular file"),
            (directory.path().join("absent"), "cannot be read: No such file"),
        ] {
            let error = set(&path, "1").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// Runs a test of this file that is ignored otherwise in a process of its own, through a shell.
    fn in_a_shell(script: &str, name: &str) -> bool {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh"]).arg(program).arg(name);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    const RUN: &str = r#""$1" --exact --ignored "profile::store::tests::$2""#;

    #[test]
    fn a_full_disk_leaves_the_file_as_it_was() {
        // A limit on file sizes stops the write in its middle, as a full disk does.
        let script = format!("trap '' XFSZ; ulimit -f 1; {RUN}");
        assert!(in_a_shell(&script, "with_no_room_for_a_larger_file"));
    }

    #[test]
    #[ignore = "run by a_full_disk_leaves_the_file_as_it_was"]
    fn with_no_room_for_a_larger_file() {
        let (directory, path) = file("[A]\nk=1\n");
        let error = set(&path, &"x".repeat(4096)).unwrap_err().to_string();
        assert!(error.contains("is as it was: writing the new file failed"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "[A]\nk=1\n");
        assert_eq!(names(&directory), ["CSP.ini"]);
    }

    #[test]
    fn a_file_that_is_a_mount_of_its_own_is_written_in_place() {
        let available = Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success());
        if !available {
            eprintln!("skipped: no mount namespaces here");
            return;
        }
        assert!(in_a_shell(&format!("exec unshare -rm sh -c '{RUN}' sh \"$1\" \"$2\""), "of_a_bind_mount"));
    }

    #[test]
    #[ignore = "run by a_file_that_is_a_mount_of_its_own_is_written_in_place"]
    fn of_a_bind_mount() {
        let (directory, path) = file("[A]\nk=1\n");
        let mounted = Command::new("mount").arg("--bind").args([&path, &path]).status().unwrap();
        assert!(mounted.success());
        assert_eq!(set(&path, "longer than before").unwrap().1, Saved::InPlace);
        let copy = directory.path().join(".CSP.ini.sclera-copy");
        fs::write(&copy, "of a killed writer").unwrap();
        assert!(set(&path, "3").unwrap_err().to_string().contains("keeping a copy (.CSP.ini.sclera-copy)"));
        assert_eq!(fs::read_to_string(&copy).unwrap(), "of a killed writer");
        fs::remove_file(&copy).unwrap();
        assert_eq!(set(&path, "2").unwrap().1, Saved::InPlace);
        assert_eq!(fs::read_to_string(&path).unwrap(), "[A]\nk=2\n");
        assert_eq!(names(&directory), ["CSP.ini"]);
        assert!(Command::new("umount").arg(&path).status().unwrap().success());
    }

    #[test]
    fn the_time_is_written_as_ctime_does() {
        let text = now_as_text();
        assert_eq!(text.split_whitespace().count(), 5, "{text}");
        assert_eq!(text.len(), 24, "{text}");
    }
}
