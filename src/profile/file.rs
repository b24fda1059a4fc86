//! Reading a file whole, within a bound, without being held up by what is not a regular file.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The system refused.
    Io(io::Error),
    /// It is a directory, a pipe or a device.
    NotAFile,
    /// It is larger than the bound, in bytes.
    TooLarge(u64),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReadError::Io(error) => write!(f, "cannot be read: {error}"),
            ReadError::NotAFile => f.write_str("is not a regular file"),
            ReadError::TooLarge(bound) => write!(f, "is larger than {bound} bytes, the most that is read"),
        }
    }
}

/// The content of a regular file of at most `bound` bytes. The buffer wipes itself, since passwords or keys may be in it.
pub(crate) fn read_bounded(path: &Path, bound: u64) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(ReadError::Io)?;
    let metadata = file.metadata().map_err(ReadError::Io)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    if metadata.len() > bound {
        return Err(ReadError::TooLarge(bound));
    }
    // One byte of room beyond the length lets the end be seen without a second buffer, which would leave the first unwiped.
    let mut content = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(bound + 1).read_to_end(&mut content).map_err(ReadError::Io)?;
    if content.len() as u64 > bound {
        return Err(ReadError::TooLarge(bound));
    }
    Ok(content)
}
