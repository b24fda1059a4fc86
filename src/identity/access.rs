//! Checking files with the eyes of the web server's user, while still being root.

use std::io;

/// Runs `check` on a thread of its own that opens files as this user would, so that permissions, group memberships and
/// access lists of every directory on the way count. Only the file-system identity of that one thread changes, and the
/// thread ends with the check.
///
/// If this process is not root, it already is the user whose access matters, and `check` runs as itself.
///
/// # Errors
///
/// The thread cannot be started, or cannot take the identity; `check` has then not run. A panic in `check` is an error
/// too.
pub fn check_as_user<T: Send>(uid: u32, gid: u32, groups: &[u32], check: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("sclera-check".into()).spawn_scoped(scope, move || {
            if rustix::process::geteuid().is_root() {
                become_user(uid, gid, groups)?;
            }
            Ok(check())
        })?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the check panicked")))
    })
}

/// Gives the calling thread the file-system identity of a user, for the rest of its life.
///
/// The library functions of these names would change every thread of the process; the system calls change one.
fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads `groups.len()` numbers of 32 bits from a slice that outlives the call.
    if unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    set_and_verify(libc::SYS_setfsgid, gid)?;
    // Last, because it drops the capabilities that read any file.
    set_and_verify(libc::SYS_setfsuid, uid)
}

/// setfsuid and setfsgid report no error, only the identity before; asking again shows whether the change took place.
fn set_and_verify(call: libc::c_long, id: u32) -> io::Result<()> {
    // SAFETY: both calls take one number and touch no memory of ours.
    unsafe { libc::syscall(call, id) };
    // SAFETY: as above; the number is no valid identity, so this only asks.
    let now = unsafe { libc::syscall(call, u32::MAX) };
    if now as u32 == id { Ok(()) } else { Err(io::Error::from(io::ErrorKind::PermissionDenied)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_root_file_is_unreadable_for_the_worker_and_readable_again_after() {
        if !rustix::process::geteuid().is_root() {
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
            let result = check_as_user(65_534, 65_534, groups, || fs::read(&file)).unwrap();
            assert_eq!(result.is_ok(), readable, "{mode:o} {groups:?}");
            assert!(fs::read(&file).is_ok(), "this thread is still root");
        }
    }

    #[test]
    fn a_panicking_check_is_an_error() {
        assert!(check_as_user::<()>(65_534, 65_534, &[], || panic!("expected")).is_err());
    }
}
