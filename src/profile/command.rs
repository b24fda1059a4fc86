//! A password given as a command: runs it, and takes what it prints.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use zeroize::Zeroizing;

use crate::privileges::{User, run_apart};

/// Why a command gave no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandFailure {
    /// The shell could not be started, or its output not be read.
    NotRun,
    /// It ended with this status.
    Status(i32),
    /// It printed nothing.
    Empty,
    /// It printed more than a password.
    NotAPassword,
    /// It had not ended in time.
    Late,
}

impl std::fmt::Display for CommandFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CommandFailure::NotRun => f.write_str("could not be run"),
            CommandFailure::Status(status) => write!(f, "ended with status {status}"),
            CommandFailure::Empty => f.write_str("printed nothing"),
            CommandFailure::NotAPassword => {
                f.write_str("printed several lines, control characters, or more than 4 KiB")
            }
            CommandFailure::Late => {
                f.write_str("had not ended within the time of Sclera_Password_Command_Timeout, and was stopped")
            }
        }
    }
}

/// The most that a command may print, in bytes.
const LARGEST_OUTPUT: usize = 4096;

/// Runs the command in `/bin/sh` and gives what it prints, without its last line end. Its standard error is the web
/// server's, which is usually the error log. It runs as `user`, if this process is root; `None`: as this process.
///
/// The status comes after the output, in the same pipe: nginx's workers collect every child of theirs themselves, and
/// would take it from us.
pub(super) fn run(command: &str, limit: Duration, user: Option<&User>) -> Result<Zeroizing<String>, CommandFailure> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", r#"(eval "$1"); printf '\0%d' "$?""#, "sh", command]);
    shell.stdin(Stdio::null()).stdout(Stdio::piped());
    run_apart(&mut shell, user);
    let mut child = shell.spawn().map_err(|_| CommandFailure::NotRun)?;
    let output = match child.stdout.take() {
        Some(pipe) => read_until(pipe, Instant::now() + limit),
        None => Err(CommandFailure::NotRun),
    };
    end(child, output.is_ok());
    password_of(&output?)
}

/// What the pipe gives until its end.
fn read_until(mut pipe: ChildStdout, deadline: Instant) -> Result<Zeroizing<Vec<u8>>, CommandFailure> {
    // Made large enough at once, so that no unwiped copy is left behind by growing.
    let mut output = Zeroizing::new(vec![0; LARGEST_OUTPUT + 64]);
    let mut length = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.try_into().map_err(|_| CommandFailure::NotRun)?;
        match poll(&mut [PollFd::new(&pipe.as_fd(), PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(CommandFailure::Late),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return Err(CommandFailure::NotRun),
        }
        match pipe.read(&mut output[length..]) {
            Ok(0) if length == output.len() => return Err(CommandFailure::NotAPassword),
            Ok(0) => {
                output.truncate(length);
                return Ok(output);
            }
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(CommandFailure::NotRun),
        }
    }
}

/// Ends what is left of the command, and its whole group if it has not ended by itself.
fn end(mut child: Child, ended: bool) {
    if !ended && let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    // An error says that somebody else has collected it.
    let _ = child.wait();
}

fn password_of(output: &[u8]) -> Result<Zeroizing<String>, CommandFailure> {
    let end = output.iter().rposition(|&byte| byte == 0).ok_or(CommandFailure::NotRun)?;
    let status = std::str::from_utf8(&output[end + 1..]).ok().and_then(|status| status.parse().ok());
    match status {
        Some(0) => {}
        Some(status) => return Err(CommandFailure::Status(status)),
        None => return Err(CommandFailure::NotRun),
    }
    let text = std::str::from_utf8(&output[..end]).map_err(|_| CommandFailure::NotAPassword)?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(CommandFailure::Empty);
    }
    if text.len() > LARGEST_OUTPUT || text.chars().any(char::is_control) {
        return Err(CommandFailure::NotAPassword);
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_prints_is_the_password_and_all_else_is_a_failure() {
        for (command, expected) in [
            ("echo secret", Ok("secret")),
            ("printf 'two words '", Ok("two words ")),
            ("printf 'x\\r\\n'", Ok("x")),
            ("exit 3", Err(CommandFailure::Status(3))),
            ("echo secret; false", Err(CommandFailure::Status(1))),
            ("no-such-command-anywhere 2>/dev/null", Err(CommandFailure::Status(127))),
            ("true", Err(CommandFailure::Empty)),
            ("echo", Err(CommandFailure::Empty)),
            ("printf 'a\\nb\\n'", Err(CommandFailure::NotAPassword)),
            ("printf 'a\\0b'", Err(CommandFailure::NotAPassword)),
            ("printf '\\377'", Err(CommandFailure::NotAPassword)),
            ("head -c 5000 /dev/zero | tr '\\0' x", Err(CommandFailure::NotAPassword)),
            ("head -c 5000000 /dev/zero | tr '\\0' x", Err(CommandFailure::NotAPassword)),
        ] {
            let outcome = run(command, Duration::from_secs(20), None);
            assert_eq!(outcome.as_ref().map(|text| text.as_str()), expected.as_ref().map(|text| *text), "{command}");
        }
    }

    #[test]
    fn a_command_that_does_not_end_is_stopped_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let command = format!("sleep 600 & echo $! > {}; echo started; sleep 600", file.display());
        assert_eq!(run(&command, Duration::from_millis(300), None), Err(CommandFailure::Late));
        let pid = std::fs::read_to_string(file).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        // Until init has collected it, it is a zombie.
        let gone = || state().rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']));
        let end = Instant::now() + Duration::from_secs(20);
        while !gone() && Instant::now() < end {
            std::thread::yield_now();
        }
        assert!(gone(), "{}", state());
    }

    #[test]
    fn a_failure_says_what_happened() {
        assert_eq!(CommandFailure::Status(2).to_string(), "ended with status 2");
    }
}
