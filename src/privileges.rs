//! What root does for the workers: as whom files are opened and commands are run in the process that opens the gateway,
//! which is usually still root.
//!
//! CSP.ini names files that are opened and commands that are run. Who may write it must not become root by that, so root
//! does as it says only where root alone can write it; otherwise all of it is done as the workers' user.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::threads::with_signals_blocked;

/// A user as whom workers run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// As whom the process that opens the gateway does what CSP.ini asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hands {
    /// As itself: it is not root, or does not know the workers' user.
    #[default]
    Own,
    /// As root, which gives what it makes to the workers: nobody but root can have written what it does.
    Roots { workers: User },
    /// As the workers' user.
    Workers(User),
}

impl Hands {
    /// Those for files that say what is to be done, and a directory where more of them could be made.
    pub fn to_obey(files: &[PathBuf], directory: &Path, workers: Option<User>) -> Hands {
        let are_roots = || files.iter().all(|file| is_roots_alone(file)) && is_roots_directory(directory);
        match workers.filter(|_| is_root()) {
            None => Hands::Own,
            Some(workers) if are_roots() => Hands::Roots { workers },
            Some(workers) => Hands::Workers(workers),
        }
    }

    /// Does some work on files.
    ///
    /// # Errors
    ///
    /// As [`as_user`].
    pub fn work<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        match self {
            Hands::Own | Hands::Roots { .. } => Ok(work()),
            Hands::Workers(user) => as_user(user, work),
        }
    }

    /// Those for files whose names and directory were not chosen by whoever wrote CSP.ini: root may open and make them where
    /// root alone can make files, and links.
    pub fn at_usual_place(&self, directory: &Path) -> Hands {
        self.raised_if(is_roots_directory(directory))
    }

    /// Root's in place of the workers', if that is safe.
    pub fn raised_if(&self, is_safe: bool) -> Hands {
        match self {
            Hands::Workers(workers) if is_safe => Hands::Roots { workers: workers.clone() },
            hands => hands.clone(),
        }
    }

    /// Whose what is made for the workers is to be; `None` if it is theirs without giving it away.
    pub fn gives_to(&self) -> Option<&User> {
        match self {
            Hands::Roots { workers } if is_root() => Some(workers),
            _ => None,
        }
    }

    /// Whether this process acts as root.
    pub fn are_roots(&self) -> bool {
        is_root() && !matches!(self, Hands::Workers(_))
    }

    /// The workers' user, if this process is not known to be theirs.
    pub fn workers(&self) -> Option<&User> {
        match self {
            Hands::Own => None,
            Hands::Roots { workers } | Hands::Workers(workers) => Some(workers),
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether root alone can say what is in the file, or that there is no such file: the file, every directory on the way to
/// it and every symbolic link are root's, and nobody else may write them. A permission that an access list gives counts,
/// as the group's bits are its mask.
pub fn is_roots_alone(file: &Path) -> bool {
    leads_through_roots(file, false)
}

/// Whether root alone can put another file, or a link, in the place of this one, whoever may write into it.
pub fn is_placed_by_root(file: &Path) -> bool {
    leads_through_roots(file, true)
}

/// Whether root alone can make files in a directory, or the directory if there is none.
pub fn is_roots_directory(directory: &Path) -> bool {
    // A name that nobody uses.
    is_roots_alone(&directory.join(".sclera-none"))
}

/// The file itself, where links lead to it. As root only links that are root's are followed: others could lead to a file of
/// root's.
///
/// # Errors
///
/// Of the system; a link that is not followed.
pub fn resolved(path: &Path) -> io::Result<PathBuf> {
    let is_no_link_of_others = |found: &io::Result<Metadata>, _| match found {
        Ok(found) => !found.is_symlink() || found.uid() == 0,
        Err(_) => true,
    };
    if is_root() && !every_step(&std::path::absolute(path)?, 0, &mut { is_no_link_of_others }) {
        return Err(io::Error::other("a symbolic link on the way to it is not root's, and root does not follow it"));
    }
    path.canonicalize()
}

fn leads_through_roots(file: &Path, whoever_owns_it: bool) -> bool {
    let Ok(file) = std::path::absolute(file) else { return false };
    let mut sticky = false;
    let mut is_roots = |found: &io::Result<Metadata>, is_last: bool| {
        // In a directory like /tmp others may make files, but not touch those of root.
        let anybody_makes_it = std::mem::replace(&mut sticky, found.as_ref().is_ok_and(is_sticky));
        match found {
            Err(error) => error.kind() == io::ErrorKind::NotFound && !anybody_makes_it,
            Ok(found) if is_last && whoever_owns_it && !found.is_symlink() => !anybody_makes_it,
            Ok(found) if found.is_symlink() => found.uid() == 0,
            Ok(found) => found.uid() == 0 && (found.mode() & 0o022 == 0 || is_sticky(found)),
        }
    };
    every_step(&file, 0, &mut is_roots)
}

fn is_sticky(found: &Metadata) -> bool {
    found.is_dir() && found.mode() & 0o1000 != 0
}

/// Whether all is good on the way to a file: each directory, each symbolic link, and what is there in the end, for which
/// the second argument is true. Links are followed one by one, since each of them could be another's; what is absent ends
/// the way.
fn every_step(path: &Path, links: usize, is_good: &mut dyn FnMut(&io::Result<Metadata>, bool) -> bool) -> bool {
    const MOST_LINKS: usize = 16;
    let mut at = PathBuf::from("/");
    let mut parts = path.components();
    while let Some(part) = parts.next() {
        match part {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => drop(at.pop()),
            Component::Normal(name) => at.push(name),
        }
        let found = at.symlink_metadata();
        if !is_good(&found, parts.as_path().as_os_str().is_empty()) {
            return false;
        }
        match found {
            Ok(found) if found.is_symlink() => {
                let Ok(target) = at.read_link() else { return false };
                let rest = at.parent().unwrap_or(Path::new("/")).join(target).join(parts.as_path());
                return links < MOST_LINKS && every_step(&rest, links + 1, is_good);
            }
            Ok(_) => {}
            Err(_) => return true,
        }
    }
    true
}

/// Does some work on a thread of its own that sees and makes files as this user would, so that permissions, group
/// memberships and access lists of every directory on the way count. Only the file-system identity of that one thread
/// changes, and the thread ends with the work.
///
/// If this process is not root, it already is the user whose access matters, and does the work itself; likewise if that
/// user is root.
///
/// # Errors
///
/// The thread cannot be started, or cannot take the identity; the work has then not been done. A panic in it is an error
/// too.
pub fn as_user<T: Send>(user: &User, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let panicked = || io::Error::other("the work panicked");
    if !is_root() || user.uid == 0 {
        return catch_unwind(AssertUnwindSafe(work)).map_err(|_| panicked());
    }
    std::thread::scope(|scope| {
        let body = move || become_user_for_files(user).map(|()| work());
        let builder = std::thread::Builder::new().name("sclera-as-user".into());
        let thread = with_signals_blocked(|| builder.spawn_scoped(scope, body))?;
        thread.join().unwrap_or_else(|_| Err(panicked()))
    })
}

/// Gives the calling thread the file-system identity of a user, for the rest of its life.
///
/// The library functions of these names would change every thread of the process; the system calls change one.
fn become_user_for_files(user: &User) -> io::Result<()> {
    set_groups(&user.groups)?;
    set_and_verify(libc::SYS_setfsgid, user.gid)?;
    // Last, because it drops the capabilities that read any file.
    set_and_verify(libc::SYS_setfsuid, user.uid)
}

/// setfsuid and setfsgid report no error, only the identity before; asking again shows whether the change took place.
fn set_and_verify(call: libc::c_long, id: u32) -> io::Result<()> {
    // SAFETY: both calls take one number and touch no memory of ours.
    unsafe { libc::syscall(call, id) };
    // SAFETY: as above; the number is no valid identity, so this only asks.
    let now = unsafe { libc::syscall(call, u32::MAX) };
    if now as u32 == id { Ok(()) } else { Err(io::Error::from(io::ErrorKind::PermissionDenied)) }
}

/// Lets a command run in a session and a process group of its own, without the terminal that this process may have; and if
/// this process is root, as this user, for good and with nothing left of root. `None`: as this process.
pub fn run_apart(command: &mut Command, user: Option<&User>) {
    let user = user.filter(|user| is_root() && user.uid != 0).cloned();
    let set_apart = move || {
        rustix::process::setsid()?;
        if let Some(user) = &user {
            set_groups(&user.groups)?;
            set_id(libc::SYS_setresgid, user.gid)?;
            set_id(libc::SYS_setresuid, user.uid)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made; nothing is allocated and no lock is taken.
    unsafe { command.pre_exec(set_apart) };
}

fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads `groups.len()` numbers of 32 bits from a slice that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The real, the effective and the saved one.
fn set_id(call: libc::c_long, id: u32) -> io::Result<()> {
    // SAFETY: both calls take three numbers and touch no memory of ours.
    let result = unsafe { libc::syscall(call, id, id, id) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    fn nobody(groups: &[u32]) -> User {
        User { uid: 65_534, gid: 65_534, groups: groups.to_vec() }
    }

    #[test]
    fn a_root_file_is_unreadable_for_the_worker_and_readable_again_after() {
        if !is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let file = directory.path().join("key");
        fs::write(&file, "x").unwrap();
        for (mode, groups, readable) in
            [(0o600, &[][..], false), (0o644, &[], true), (0o640, &[], false), (0o640, &[0][..], true)]
        {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let result = as_user(&nobody(groups), || fs::read(&file)).unwrap();
            assert_eq!(result.is_ok(), readable, "{mode:o} {groups:?}");
            assert!(fs::read(&file).is_ok(), "this thread is still root");
        }
    }

    #[test]
    fn work_that_panics_is_an_error() {
        assert!(as_user::<()>(&nobody(&[]), || panic!("expected")).is_err());
    }

    #[test]
    fn a_command_has_nothing_left_of_root() {
        if !is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "grep -E '^(Uid|Gid|Groups|CapEff)' /proc/self/status"]);
        run_apart(&mut command, Some(&nobody(&[33, 34])));
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let words: Vec<&str> = output.split_whitespace().collect();
        let mut expected = vec!["Uid:", "65534", "65534", "65534", "65534", "Gid:", "65534", "65534", "65534", "65534"];
        expected.extend(["Groups:", "33", "34", "CapEff:", "0000000000000000"]);
        assert_eq!(words, expected);
    }

    #[test]
    fn a_file_is_roots_alone_if_nobody_else_can_write_it_or_anything_on_the_way_to_it() {
        if !is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        let nobody = Some(65_534);
        let prepare = |name: &str, mode: u32, owner: Option<u32>| {
            let place = here.join(name);
            fs::create_dir(&place).unwrap();
            fs::write(place.join("CSP.ini"), "").unwrap();
            fs::set_permissions(&place, Permissions::from_mode(mode)).unwrap();
            chown(&place, owner, None).unwrap();
            place.join("CSP.ini")
        };
        let roots = prepare("roots", 0o755, None);
        assert!(is_roots_alone(&roots));
        assert!(is_roots_alone(&roots.with_file_name("absent")), "only root could make it");
        assert!(is_roots_alone(&here.join("roots/../roots/./CSP.ini")));
        assert!(!is_roots_alone(&prepare("others", 0o755, nobody)));
        assert!(!is_roots_alone(&prepare("groups", 0o775, None)));
        let shared = prepare("shared", 0o1777, None);
        assert!(is_roots_alone(&shared), "others cannot touch root's files there");
        assert!(!is_roots_alone(&shared.with_file_name("absent")), "but make their own");

        let link = here.join("link");
        symlink("roots/CSP.ini", &link).unwrap();
        assert!(is_roots_alone(&link));
        symlink(here.join("others"), here.join("way")).unwrap();
        assert!(!is_roots_alone(&here.join("way/CSP.ini")));
        symlink("others/../roots/CSP.ini", here.join("detour")).unwrap();
        assert!(!is_roots_alone(&here.join("detour")), "whoever owns a directory on the way can replace it");
        assert!(resolved(&link).is_ok() && resolved(&here.join("detour")).is_ok(), "root's links, wherever they lead");
        let others = here.join("others/link");
        symlink(&roots, &others).unwrap();
        lchown(&others, nobody, None).unwrap();
        assert!(resolved(&others).is_err(), "a link of others may lead to a file of root's");
        symlink(&others, here.join("chain")).unwrap();
        assert!(resolved(&here.join("chain")).is_err());
        symlink("circle", here.join("circle")).unwrap();
        assert!(!is_roots_alone(&here.join("circle")));
        lchown(&link, nobody, None).unwrap();
        assert!(!is_roots_alone(&link));

        for (mode, owner, alone) in
            [(0o644, None, true), (0o664, None, false), (0o646, None, false), (0o600, nobody, false)]
        {
            fs::set_permissions(&roots, Permissions::from_mode(mode)).unwrap();
            chown(&roots, owner, None).unwrap();
            assert_eq!(is_roots_alone(&roots), alone, "{mode:o} {owner:?}");
            assert!(is_placed_by_root(&roots), "{mode:o} {owner:?}");
        }
    }
}
