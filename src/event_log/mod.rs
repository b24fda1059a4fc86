//! Where events go: the host's own log, through a function that it gives us. (CSP.log itself is a later release's.)

pub mod level;
pub mod mask;

use std::fmt;
use std::sync::Arc;

/// How much an event matters; the numbers are those of the C ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    Error = 0,
    Warning = 1,
    Notice = 2,
    Info = 3,
    Debug = 4,
}

/// Writes events. Cloning shares the destination; any thread may write.
#[derive(Clone)]
pub struct Log(Arc<Writer>);

type Writer = dyn Fn(Level, &str) + Send + Sync;

impl Log {
    /// A log that hands each event to `write`, as one line without a line break at its end.
    pub fn new(write: impl Fn(Level, &str) + Send + Sync + 'static) -> Log {
        Log(Arc::new(write))
    }

    /// A log that forgets.
    pub fn silent() -> Log {
        Log::new(|_, _| {})
    }

    /// Writes one event. Line breaks and other control characters, which a peer may have sent, are replaced.
    pub fn write(&self, level: Level, text: &str) {
        match text.contains(char::is_control) {
            true => (self.0)(level, &text.replace(char::is_control, " ")),
            false => (self.0)(level, text),
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[test]
    fn an_event_stays_one_line_whatever_a_peer_sent() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let log = Log::new(move |level, text| sink.lock().push((level, text.to_owned())));
        log.write(Level::Error, "a\nb\u{1b}[31m");
        assert_eq!(*seen.lock(), [(Level::Error, "a b [31m".to_owned())]);
    }
}
