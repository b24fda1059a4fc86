//! Noticing that files have changed, and come to rest: one mechanism for CSP.ini and for certificates.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Each file with what changes when it is written or replaced; `None` if it cannot be seen. Links are followed, so that a
/// directory that is swapped by its link counts too.
pub type Stamps = Vec<(PathBuf, Option<[i64; 7]>)>;

/// How the files are now.
pub fn stamps<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Stamps {
    paths.into_iter().map(|path| (path.to_owned(), stamp(path))).collect()
}

fn stamp(path: &Path) -> Option<[i64; 7]> {
    let it = std::fs::metadata(path).ok()?;
    let (size, device, inode) = (it.size() as i64, it.dev() as i64, it.ino() as i64);
    Some([device, inode, size, it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec()])
}

/// When the youngest of the files was changed, by its own clock.
pub fn youngest(stamps: &Stamps) -> SystemTime {
    let seconds = stamps.iter().filter_map(|(_, stamp)| stamp.map(|stamp| stamp[3])).max().unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Files that are looked at from time to time.
#[derive(Clone, Debug)]
pub struct Watched {
    /// How they were when they were last loaded.
    loaded: Stamps,
    /// How they were at the last look.
    seen: Stamps,
}

impl Watched {
    /// Files that are about to be loaded as they are now.
    pub fn new(now: Stamps) -> Watched {
        Watched { loaded: now.clone(), seen: now }
    }

    /// Whether there is something new to load. A file that is just being written is left alone: it has to look the same
    /// twice. Each change is told once, whatever loading it gives.
    pub fn is_due(&mut self, now: Stamps) -> bool {
        let at_rest = now == self.seen;
        self.seen = now;
        if !at_rest || self.seen == self.loaded {
            return false;
        }
        self.loaded = self.seen.clone();
        true
    }

    /// Whether the files are not as they were when they were loaded, at rest or not. Tells it once.
    pub fn has_changed(&mut self, now: Stamps) -> bool {
        let changed = now != self.loaded;
        *self = Watched::new(now);
        changed
    }
}
