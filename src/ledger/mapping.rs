//! Memory that processes share: a mapped file, or an anonymous memory file, and who of them is alive.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;

use rustix::fs::MemfdFlags;
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
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
        let file = options.open(path)?;
        if file.metadata()?.len() != size_of::<T>() as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "another release made it"));
        }
        Mapping::map(file)
    }

    /// Opens the file for looking only; changes are refused by the system.
    pub fn open_to_read(path: &Path) -> io::Result<Mapping<T>> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)?;
        if file.metadata()?.len() != size_of::<T>() as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "another release made it"));
        }
        Mapping::map_as(file, ProtFlags::READ)
    }

    /// Makes the file anew, all zeros, with mode 0640; `prepare` fills it before others can find it. Who has mapped the
    /// one before keeps that.
    pub fn create(path: &Path, prepare: impl FnOnce(&T)) -> io::Result<Mapping<T>> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        let fresh = path.with_extension(format!("new-{}", std::process::id()));
        let _ = std::fs::remove_file(&fresh);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o640).custom_flags(libc::O_CLOEXEC);
        let made = options.open(&fresh).and_then(Mapping::of_new).and_then(|mapping| {
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
        Mapping::map(file)
    }

    fn map(file: File) -> io::Result<Mapping<T>> {
        Mapping::map_as(file, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn map_as(file: File, protection: ProtFlags) -> io::Result<Mapping<T>> {
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
        fcntl(&self.file, libc::F_SETLK, libc::F_WRLCK, row, 1).is_ok()
    }

    pub fn unlock(&self, row: usize) {
        let _ = fcntl(&self.file, libc::F_SETLK, libc::F_UNLCK, row, 1);
    }

    /// Whether another process has locked one of `count` bytes from `row` on.
    pub fn is_locked(&self, row: usize, count: usize) -> bool {
        fcntl(&self.file, libc::F_GETLK, libc::F_WRLCK, row, count).is_ok_and(|kind| kind != libc::F_UNLCK)
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

/// A POSIX record lock. They end with their process, and with the closing of any descriptor of the file in it: nothing
/// but [`Mapping`] opens that file.
fn fcntl(file: &File, command: i32, kind: i32, start: usize, length: usize) -> io::Result<i32> {
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start as libc::off_t,
        l_len: length as libc::off_t,
        l_pid: 0,
    };
    // SAFETY: a descriptor that is open, and a lock on this stack frame.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(i32::from(lock.l_type)),
    }
}
