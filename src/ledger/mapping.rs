//! Memory that processes share: a mapped file, or an anonymous memory file, and who of them is alive.
//!
//! Two kinds of lock stand on the file. That of the whole file (flock) is inherited by forked processes and says that
//! somebody takes part; those of single bytes (POSIX record locks) are a process's own and say which worker lives.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// A type that memory shared by processes can hold.
///
/// # Safety
///
/// It consists of atomics alone, so that it may be changed by others at any time, and all zeros is a value of it.
pub unsafe trait Shared: Sync {}

/// A `T` in memory that every process which has it mapped sees alike.
pub struct Mapping<T: Shared> {
    at: NonNull<T>,
    file: File,
}

// SAFETY: `T` is Sync, and the memory belongs to no thread.
unsafe impl<T: Shared> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Mapping<T> {}

impl<T: Shared> Mapping<T> {
    /// Memory without a name, which only this process and those it forks have.
    pub fn anonymous() -> io::Result<Mapping<T>> {
        let fd = rustix::fs::memfd_create("sclera-ledger", MemfdFlags::CLOEXEC)?;
        Mapping::of_new(File::from(fd))
    }

    /// Opens the file if it is there and as large as `T`.
    pub fn open(path: &Path) -> io::Result<Mapping<T>> {
        Mapping::sized(to_change().open(path)?, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Opens the file for looking only; changes are refused by the system.
    pub fn open_to_read(path: &Path) -> io::Result<Mapping<T>> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)?;
        Mapping::sized(file, ProtFlags::READ)
    }

    /// Opens the file to take part in it if a living process does so and it has the form that is wanted; otherwise makes
    /// it anew, all zeros, with mode 0640, filled by `prepare`. Who has mapped the one before keeps that.
    ///
    /// Who takes part has the file locked, shared, together with the processes it forks; who makes it anew has the one
    /// before locked for itself. So of several who come in the same instant one makes the file and the others find it. Where
    /// workers of another release still take part in the one before, a byte of it far behind every row is locked instead.
    pub fn take_part(path: &Path, has_form: impl Fn(&T) -> bool, prepare: impl Fn(&T)) -> io::Result<Mapping<T>> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let found = to_change().create(true).mode(0o640).open(path)?;
            match found.try_lock() {
                // Nobody takes part in it. It may have been replaced just before it was locked.
                Ok(()) if is_at(&found, path) => return Mapping::create(path, prepare),
                Ok(()) => {}
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => match found.try_lock_shared() {
                    Ok(()) if is_at(&found, path) => {
                        let maker = found.try_clone()?;
                        match Mapping::sized(found, ProtFlags::READ | ProtFlags::WRITE) {
                            Ok(mapping) if has_form(mapping.get()) => return Ok(mapping),
                            _ if record_lock(&maker, libc::F_WRLCK, BYTE_OF_MAKER).is_err() => {}
                            _ if is_at(&maker, path) => return Mapping::create(path, prepare),
                            _ => {}
                        }
                    }
                    Err(TryLockError::Error(error)) => return Err(error),
                    Ok(()) | Err(TryLockError::WouldBlock) => {}
                },
            }
            // Somebody makes it anew just now, or has done so.
            std::thread::sleep(Duration::from_millis(1));
            if Instant::now() >= end {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process keeps it locked"));
            }
        }
    }

    fn create(path: &Path, prepare: impl Fn(&T)) -> io::Result<Mapping<T>> {
        let fresh = path.with_extension(format!("new-{}", std::process::id()));
        let _ = std::fs::remove_file(&fresh);
        let made = to_change().create_new(true).mode(0o640).open(&fresh).and_then(|file| {
            file.try_lock_shared()?;
            // Whoever writes to a page for which the file system has no room is killed, so the room is taken now. Not
            // every file system can.
            let take_room = || rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size_of::<T>() as u64);
            match rustix::io::retry_on_intr(take_room) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
            let mapping = Mapping::of_new(file)?;
            prepare(mapping.get());
            std::fs::rename(&fresh, path).map(|()| mapping)
        });
        if made.is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
        made
    }

    fn of_new(file: File) -> io::Result<Mapping<T>> {
        file.set_len(size_of::<T>() as u64)?;
        Mapping::map(file, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Removes the file, which this process takes part in, if it is still there and nobody else does, as far as the lock of
    /// the whole file tells.
    pub fn remove(&self, path: &Path) {
        // Who comes meanwhile waits until it is removed, and makes a new one.
        if self.file.try_lock().is_ok() && is_at(&self.file, path) {
            let _ = std::fs::remove_file(path);
        }
    }

    fn sized(file: File, protection: ProtFlags) -> io::Result<Mapping<T>> {
        match file.metadata()?.len() == size_of::<T>() as u64 {
            true => Mapping::map(file, protection),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "another release made it")),
        }
    }

    fn map(file: File, protection: ProtFlags) -> io::Result<Mapping<T>> {
        // SAFETY: a new mapping at an address of the kernel's choice, of a file that is as large.
        let at =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), size_of::<T>(), protection, MapFlags::SHARED, &file, 0) }?;
        let at = NonNull::new(at.cast::<T>()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Mapping { at, file })
    }

    pub fn get(&self) -> &T {
        // SAFETY: mapped until drop, page-aligned, as large as `T`, and `T` is `Shared`. A read-only mapping is used with
        // loads alone: nothing that changes it is offered for it.
        unsafe { self.at.as_ref() }
    }

    /// Takes the lock on byte `row` for this process; it goes with the process, however that ends. `false` if another
    /// process has it. Processes do not inherit it, and threads of one process share it.
    pub fn lock(&self, row: usize) -> bool {
        record_lock(&self.file, libc::F_WRLCK, row).is_ok()
    }

    pub fn unlock(&self, row: usize) {
        let _ = record_lock(&self.file, libc::F_UNLCK, row);
    }
}

impl<T: Shared> fmt::Debug for Mapping<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", size_of::<T>())
    }
}

impl<T: Shared> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by us, with this size, and no reference outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), size_of::<T>()) };
    }
}

/// The byte that is locked by whoever makes a file anew in which old workers of another release take part.
const BYTE_OF_MAKER: usize = 1 << 40;

/// How long it is tried to get at a file that another process has locked.
const PATIENCE: Duration = Duration::from_secs(2);

fn to_change() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    options
}

/// Whether the path leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let there = std::fs::symlink_metadata(path).map(identity);
    file.metadata().map(identity).is_ok_and(|this| there.is_ok_and(|there| there == this))
}

/// Sets or ends a POSIX record lock on one byte, without waiting. They end with their process, and with the closing of any
/// descriptor of the file in it: nothing but [`Mapping`] opens that file.
fn record_lock(file: &File, kind: i32, byte: usize) -> io::Result<()> {
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte as libc::off_t,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: a descriptor that is open, and a lock on this stack frame.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
