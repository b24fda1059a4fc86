//! The HTTP trace: whole requests and responses, without their secrets, for the management pages.
//!
//! Each traced request is one small file in a directory that all workers share, so that a page sees those of every worker,
//! and those of workers that are gone. A file is written under another name first; the oldest go when there are too many.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use base64ct::{Base64, Encoding};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::privileges::Hands;

/// One request and what became of it. Heads and bodies hold no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub request_id: String,
    /// When it began, in milliseconds since 1970.
    pub began: u64,
    /// How long it took, in microseconds.
    pub took: u64,
    /// The browser's address.
    pub client: String,
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Empty if it never came to that.
    pub server: String,
    /// 0 if there was no answer.
    pub status: u16,
    /// Such as `SCLERA-303`; empty if nothing failed.
    pub code: String,
    /// The time of each stage, in words.
    pub stages: String,
    pub request: Message,
    pub response: Message,
}

/// A head and the beginning of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// With its line breaks, as they are on the wire.
    pub head: Vec<u8>,
    pub body: Vec<u8>,
    /// Bytes of the body that come after those.
    pub missing: u64,
}

/// The largest file that is read back.
const LARGEST: u64 = 64 * 1024 * 1024;
const EXTENSION: &str = "trace";

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The usual name of the directory, beside CSP.log.
pub const NAME: &str = "CSP.trace";

/// Makes the directory, for workers that may not.
///
/// # Errors
///
/// Of the system.
pub fn prepare(directory: &Path, hands: &Hands) -> io::Result<()> {
    match hands.work(|| fs::DirBuilder::new().mode(0o750).create(directory))? {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    let Some(owner) = hands.gives_to() else { return Ok(()) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::open(directory, flags, Mode::empty())?;
    Ok(rustix::fs::fchown(&made, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?)
}

/// Keeps a request, and drops the oldest ones beyond `most`.
///
/// # Errors
///
/// Of the system.
pub fn save(directory: &Path, entry: &Entry, most: usize) -> io::Result<()> {
    prepare(directory, &Hands::Own)?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mark = mark(&entry.request_id);
    let name = format!("{:014}-{}-{number:08}-{mark}", entry.began, std::process::id());
    let fresh = directory.join(format!("{name}.new"));
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o640).open(&fresh)?;
    let mut file = io::BufWriter::new(file);
    let written = serde_json::to_writer(&mut file, &entry.to_json()).map_err(io::Error::from);
    // A disk that is full may show only here.
    let written = written.and_then(|()| file.flush());
    let kept = written.and_then(|()| fs::rename(&fresh, directory.join(format!("{name}.{EXTENSION}"))));
    if let Err(error) = kept {
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    for old in files(directory)?.iter().skip(most) {
        // Another worker may have been quicker.
        let _ = fs::remove_file(old);
    }
    Ok(())
}

/// The newest requests, at most `most` of them, newest first. Without bodies.
///
/// # Errors
///
/// The directory is there but cannot be looked into.
pub fn list(directory: &Path, most: usize) -> io::Result<Vec<Entry>> {
    let entries = files(directory)?.into_iter().filter_map(|path| read(&path));
    let without_bodies = entries.map(|mut entry| {
        entry.request.body.clear();
        entry.response.body.clear();
        entry
    });
    Ok(without_bodies.take(most).collect())
}

/// The newest request with this id.
///
/// # Errors
///
/// As [`list`].
pub fn find(directory: &Path, request_id: &str) -> io::Result<Option<Entry>> {
    let mark = mark(request_id);
    let is_marked =
        |path: &PathBuf| path.file_stem().is_some_and(|stem| stem.as_encoded_bytes().ends_with(mark.as_bytes()));
    let marked = files(directory)?.into_iter().filter(is_marked);
    Ok(marked.filter_map(|path| read(&path)).find(|entry| entry.request_id == request_id))
}

/// What the names of a request's files end with. A browser may have chosen the id, so it does not stand there itself.
fn mark(request_id: &str) -> String {
    let digest = Sha256::digest(request_id.as_bytes());
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Forgets every request.
///
/// # Errors
///
/// What could not be removed.
pub fn clear(directory: &Path) -> io::Result<()> {
    let removed = |path: &PathBuf| match fs::remove_file(path) {
        // Another worker was quicker.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    // Also what a worker was writing when it was killed.
    files_with(directory, "new")?.iter().chain(&files(directory)?).try_for_each(removed)
}

/// The files of entries, newest first. None if there is no directory.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    files_with(directory, EXTENSION)
}

fn files_with(directory: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = listed.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    paths.sort_unstable_by(|one, other| other.cmp(one));
    Ok(paths)
}

/// What a file holds; `None` if it has gone or is none of ours.
fn read(path: &Path) -> Option<Entry> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Entry::from_json(&serde_json::from_slice(&bytes).ok()?)
}

impl Entry {
    fn to_json(&self) -> Value {
        json!({
            "request-id": self.request_id,
            "began": self.began,
            "took": self.took,
            "client": self.client,
            "method": self.method,
            "target": self.target,
            "server": self.server,
            "status": self.status,
            "code": self.code,
            "stages": self.stages,
            "request": self.request.to_json(),
            "response": self.response.to_json(),
        })
    }

    fn from_json(value: &Value) -> Option<Entry> {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Some(Entry {
            request_id: value["request-id"].as_str()?.to_owned(),
            began: value["began"].as_u64()?,
            took: value["took"].as_u64().unwrap_or_default(),
            client: text("client"),
            method: text("method"),
            target: text("target"),
            server: text("server"),
            status: value["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default(),
            code: text("code"),
            stages: text("stages"),
            request: Message::from_json(&value["request"]),
            response: Message::from_json(&value["response"]),
        })
    }
}

impl Message {
    fn to_json(&self) -> Value {
        let base64 = |bytes: &[u8]| Base64::encode_string(bytes);
        json!({"head": base64(&self.head), "body": base64(&self.body), "missing": self.missing})
    }

    fn from_json(value: &Value) -> Message {
        let bytes = |name: &str| Base64::decode_vec(value[name].as_str().unwrap_or_default()).unwrap_or_default();
        Message { head: bytes("head"), body: bytes("body"), missing: value["missing"].as_u64().unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> Entry {
        Entry {
            request_id: format!("id-{number}"),
            began: 1_000 + number,
            status: 200,
            request: Message { head: b"GET / HTTP/1.1\r\n\r\n".to_vec(), body: vec![0, 255, number as u8], missing: 3 },
            ..Entry::default()
        }
    }

    #[test]
    fn the_newest_requests_are_kept_and_found_again_byte_for_byte() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("CSP.trace");
        assert_eq!(list(&directory, 10).unwrap(), []);
        for number in 0..8 {
            save(&directory, &entry(number), 5).unwrap();
        }
        let ids: Vec<String> = list(&directory, 10).unwrap().into_iter().map(|entry| entry.request_id).collect();
        assert_eq!(ids, ["id-7", "id-6", "id-5", "id-4", "id-3"]);
        assert_eq!(list(&directory, 2).unwrap().len(), 2);
        assert_eq!(find(&directory, "id-5").unwrap(), Some(entry(5)));
        assert_eq!(find(&directory, "id-0").unwrap(), None);
        fs::write(directory.join("99-broken.trace"), "{").unwrap();
        assert_eq!(list(&directory, 10).unwrap().len(), 5);
        clear(&directory).unwrap();
        assert_eq!(list(&directory, 10).unwrap(), []);
    }

    #[test]
    fn what_a_killed_worker_was_writing_is_forgotten_too_and_somebody_else_may_be_quicker() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("CSP.trace");
        save(&directory, &entry(0), 5).unwrap();
        fs::write(directory.join("00000000001000-1-00000000-0.new"), "{\"request-id\":\"secr").unwrap();
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(|| clear(&directory))).collect();
            all.into_iter().for_each(|one| one.join().unwrap().unwrap());
        });
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn a_trace_can_be_read_by_its_owner_and_group_only() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("CSP.trace");
        save(&directory, &entry(0), 5).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&files(&directory).unwrap()[0])), (0o750, 0o640));
    }
}
