//! Processes that a test starts and looks at. Waiting is always for an event, and always bounded.

use std::fs;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing that a test waits for takes longer on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again and again until there is something; `None` when patience has ended.
pub fn wait_until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server program in the foreground. It ends with this value.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    pub fn start(command: &mut Command) -> Server {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Server { child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        assert!(send(self.child.id(), signal), "the process is there");
    }

    /// Its end, if it has come.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked for")
    }

    /// Ends it by `signal` and waits. `None` if it did not end by itself and had to be killed.
    pub fn stop(&mut self, signal: Signal) -> Option<ExitStatus> {
        if let Some(status) = self.ended() {
            return Some(status);
        }
        self.signal(signal);
        let status = wait_until(|| self.ended());
        if status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        status
    }

    /// Its child processes.
    pub fn children(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Signal::TERM);
    }
}

/// Sends a signal; whether the process was there.
pub fn send(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).is_ok()
}

/// The letter of a process's state, such as `R` or `Z`; `None` if there is none.
pub fn state(pid: u32) -> Option<char> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    text.rsplit_once(") ")?.1.chars().next()
}

/// Whether a process is gone, or waits only for its parent to take notice.
pub fn has_ended(pid: u32) -> bool {
    state(pid).is_none_or(|state| matches!(state, 'Z' | 'X'))
}

/// How many threads a process has.
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// The sockets that a process has open.
pub fn sockets(pid: u32) -> usize {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// The TCP connections that a process has made to a port of the loopback and holds open, in whatever state. Unlike a count
/// of sockets it does not move when a browser's connection comes or goes.
pub fn connections_to(pid: u32, port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let remote = format!("0100007F:{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(2) == Some(&remote.as_str())).then(|| format!("socket:[{}]", fields[9]))
    };
    let there: Vec<String> = table.lines().filter_map(inode).collect();
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let held = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    held.filter(|target| there.iter().any(|socket| Some(socket.as_str()) == target.to_str())).count()
}

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or_default() * 1024
}
