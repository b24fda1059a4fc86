//! What a web server must not leave behind: sockets, processes, shared segments.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::process::wait_until;

/// Shared segments that were there before.
#[derive(Debug)]
pub struct Leftovers {
    runtime: PathBuf,
    before: BTreeSet<PathBuf>,
}

impl Leftovers {
    /// Looks into this runtime directory and where the system keeps segments.
    pub fn look(runtime: &Path) -> Leftovers {
        Leftovers { runtime: runtime.to_owned(), before: segments(runtime) }
    }

    /// Shared segments that were not there before.
    pub fn new_ones(&self) -> Vec<PathBuf> {
        segments(&self.runtime).difference(&self.before).cloned().collect()
    }
}

/// What `look` still finds when patience has ended.
pub fn never_empty<T>(mut look: impl FnMut() -> Vec<T>) -> Option<Vec<T>> {
    match wait_until(|| look().is_empty().then_some(())) {
        Some(()) => None,
        None => Some(look()),
    }
}

/// Memory that belongs to processes alone needs no look: it goes with the last of them.
fn segments(runtime: &Path) -> BTreeSet<PathBuf> {
    let entries = |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries(Path::new("/dev/shm")).chain(entries(runtime)).collect()
}

/// A line of /proc/net/tcp.
struct Socket {
    local: u16,
    remote: u16,
    state: u8,
    inode: u64,
}

const TIME_WAIT: u8 = 6;
const LISTEN: u8 = 10;

fn sockets() -> Vec<Socket> {
    let port = |address: &str| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok();
    let line = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        Some(Socket {
            local: port(fields.get(1)?)?,
            remote: port(fields.get(2)?)?,
            state: u8::from_str_radix(fields.get(3)?, 16).ok()?,
            inode: fields.get(9)?.parse().ok()?,
        })
    };
    fs::read_to_string("/proc/net/tcp").unwrap_or_default().lines().filter_map(line).collect()
}

fn inodes(pid: u32) -> BTreeSet<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    let inode = |target: PathBuf| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    targets.filter_map(inode).collect()
}

/// The ports of the clients that a process has connections with, on this port of its own.
pub fn connections_of(pid: u32, port: u16) -> Vec<u16> {
    let inodes = inodes(pid);
    let theirs = |socket: &Socket| socket.local == port && socket.state != LISTEN && inodes.contains(&socket.inode);
    sockets().iter().filter(|socket| theirs(socket)).map(|socket| socket.remote).collect()
}

/// How many connections a process has to this port.
pub fn connections_to(pid: u32, port: u16) -> usize {
    let inodes = inodes(pid);
    sockets().iter().filter(|socket| socket.remote == port && inodes.contains(&socket.inode)).count()
}

/// The clients of all connections on this port.
pub fn open_connections(port: u16) -> Vec<u16> {
    let open = |socket: &Socket| socket.local == port && !matches!(socket.state, LISTEN | TIME_WAIT);
    sockets().iter().filter(|socket| open(socket)).map(|socket| socket.remote).collect()
}

/// Other processes that have files below `directory` open.
pub fn processes_in(directory: &Path) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target.starts_with(directory))
    };
    pids.filter(|pid| *pid != std::process::id()).filter(holds).collect()
}

/// What a web server's log must not hold: workers that broke, and failures that are our own.
pub fn faults_in(log: &str) -> Vec<String> {
    let words = ["Segmentation", "signal 11", "signal 6", "signal 7", "SCLERA-900", "panicked", "AddressSanitizer"];
    let is_fault = |line: &&str| words.iter().any(|word| line.contains(word));
    log.lines().filter(is_fault).take(5).map(|line| format!("the web server's log says: {line}")).collect()
}
