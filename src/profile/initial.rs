//! The CSP.ini that is made at the first start, with what the original's has.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::store::{BUILD, now_as_text};

/// The content: one server `LOCAL` at 127.0.0.1:1972, which answers for `/` and `/csp`.
pub fn text() -> String {
    format!(
        "[SYSTEM]\nSM_Timeout=28800\nServer_Response_Timeout=60\nNo_Activity_Timeout=86400\nQueued_Request_Timeout=60\n\
         Configuration_Initialized={}\nConfiguration_Initialized_Build={BUILD}\n\n\
         [SYSTEM_INDEX]\nLOCAL=Enabled\n\n\
         [LOCAL]\nIp_Address=127.0.0.1\nTCP_Port=1972\nMinimum_Server_Connections=3\nMaximum_Session_Connections=6\n\n\
         [APP_PATH_INDEX]\n/=Enabled\n/csp=Enabled\n\n\
         [APP_PATH:/]\nDefault_Server=LOCAL\nAlternative_Server_0=1~~~~~~LOCAL\n\n\
         [APP_PATH:/csp]\nDefault_Server=LOCAL\nAlternative_Server_0=1~~~~~~LOCAL\n",
        now_as_text()
    )
}

/// Makes the file if there is none. It belongs to the owner and group of its directory, which may read and write it.
/// Whether it was made; of several that try at once one makes it.
pub fn create(path: &Path) -> io::Result<bool> {
    if path.symlink_metadata().is_ok() {
        return Ok(false);
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let owner = fs::metadata(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let whole = directory.join(format!(".{name}.sclera-first-{}-{number}", std::process::id()));
    let made = write(&whole, &owner).and_then(|()| match fs::hard_link(&whole, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    });
    let _ = fs::remove_file(&whole);
    made
}

/// Tells apart the files of threads that try at once.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

fn write(path: &Path, owner: &fs::Metadata) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
    file.write_all(text().as_bytes())?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Profile};
    use super::*;

    #[test]
    fn the_first_file_is_made_once_and_is_good() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.ini");
        let made: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..2).map(|_| scope.spawn(|| create(&path).unwrap())).collect();
            tries.into_iter().map(|one| usize::from(one.join().unwrap())).sum()
        });
        assert!(made == 1 && !create(&path).unwrap());
        let loaded = Profile::load(&path, &Environment::none()).unwrap();
        assert!(loaded.notices.iter().all(|finding| finding.severity < super::super::Severity::Warning));
        assert_eq!(loaded.profile.servers[0].port.value, 1972);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn without_a_directory_there_is_no_file() {
        assert!(create(Path::new("/nonexistent/CSP.ini")).is_err());
    }
}
