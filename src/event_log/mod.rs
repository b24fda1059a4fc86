//! Where events go: the host's own log, through a function that it gives us, and CSP.log.
//!
//! What an administrator must see in the host's log goes to both ([`Log::tell`]); what belongs to the dialogue with browsers
//! and superservers goes to CSP.log alone ([`Log::record`]). The way of an event through the folder: `level` says whether it
//! is wanted, `mask` has taken secrets out of it, `limit` counts repeats, `format` makes a line of it, `file` writes the line.
//! `reader` reads the file for pages, `trace` keeps whole requests and responses.

pub mod clock;
pub mod file;
pub mod format;
mod journal;
pub mod level;
mod limit;
pub mod mask;
pub mod reader;
pub mod settings;
pub mod trace;

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::failure::{Code, Failure};
use crate::privileges::Hands;
use journal::Journal;
use level::Levels;
pub use settings::Settings;

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

/// What events are called.
pub mod kinds {
    /// The gateway has been opened.
    pub const START_UP: &str = "WebGateway.StartUp";
    /// CSP.ini: read, wrong, changed.
    pub const CONFIGURATION: &str = "WebGateway.Configuration";
    /// Certificates and keys.
    pub const CERTIFICATE: &str = "WebGateway.Certificate";
    /// A request or a connection has failed.
    pub const ERROR: &str = "WebGateway.Error";
    /// The dialogue of a request.
    pub const REQUEST: &str = "WebGateway.Request";
    /// Headers, bodies and buffers.
    pub const DATA: &str = "WebGateway.Data";
    /// How long a request took, and where.
    pub const TIMING: &str = "WebGateway.Timing";
    /// A session's token.
    pub const SESSION: &str = "WebGateway.SessionOpen";
    /// A connection to a superserver begins or ends.
    pub const CONNECTION: &str = "WebGateway.Connection";
    /// A server is taken out of use, or used again.
    pub const SERVER: &str = "WebGateway.Server";
    /// The event log itself.
    pub const EVENT_LOG: &str = "WebGateway.EventLog";
    /// What somebody did on the management pages.
    pub const AUDIT: &str = "WebGateway.Audit";
    /// Anything else of the gateway as a whole.
    pub const GATEWAY: &str = "WebGateway.Gateway";
}

/// One event. Its texts hold no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub level: Level,
    /// One of [`kinds`].
    pub name: &'static str,
    /// A short title.
    pub text: &'a str,
    pub details: &'a str,
    /// Empty if it belongs to no request.
    pub request_id: &'a str,
    /// Empty if it concerns no server.
    pub server: &'a str,
    pub code: Option<Code>,
}

impl<'a> Event<'a> {
    /// An event with nothing but a title.
    pub fn new(level: Level, name: &'static str, text: &'a str) -> Event<'a> {
        Event { level, name, text, details: "", request_id: "", server: "", code: None }
    }

    pub fn details(self, details: &'a str) -> Event<'a> {
        Event { details, ..self }
    }

    pub fn request(self, request_id: &'a str) -> Event<'a> {
        Event { request_id, ..self }
    }

    pub fn server(self, server: &'a str) -> Event<'a> {
        Event { server, ..self }
    }

    pub fn code(self, code: Code) -> Event<'a> {
        Event { code: Some(code), ..self }
    }
}

/// Writes events. Cloning shares the destination; any thread may write.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    host: Box<Writer>,
    journal: Option<Journal>,
}

type Writer = dyn Fn(Level, &str) + Send + Sync;

impl Log {
    /// A log that hands each event to `write`, as one line without a line break at its end, and to no file.
    pub fn new(write: impl Fn(Level, &str) + Send + Sync + 'static) -> Log {
        Log(Arc::new(Inner { host: Box::new(write), journal: None }))
    }

    /// The same, and CSP.log as soon as [`Log::configure`] has said where it is; until then its events wait. `host` names
    /// the web server, such as `nginx/1.22.1`.
    pub fn with_event_log(write: impl Fn(Level, &str) + Send + Sync + 'static, host: &str) -> Log {
        Log(Arc::new(Inner { host: Box::new(write), journal: Some(Journal::new(host)) }))
    }

    /// A log that forgets.
    pub fn silent() -> Log {
        Log::new(|_, _| {})
    }

    /// Puts settings into force: at first, which opens the file, and again whenever they have changed. `hands`: as
    /// whom files are opened and made; `None`: as before.
    pub fn configure(&self, settings: &Settings, hands: Option<&Hands>) {
        let Some(journal) = &self.0.journal else { return };
        journal.configure(settings, hands, now());
        self.pass_news(journal);
    }

    /// Writes one event that has nothing but its text to both logs. Line breaks and other control characters, which a peer
    /// may have sent, are replaced.
    pub fn write(&self, level: Level, text: &str) {
        let title = match level {
            Level::Error => "Error",
            Level::Warning => "Warning",
            _ => "Notice",
        };
        self.tell(Event::new(level, kinds::GATEWAY, title).details(text));
    }

    /// Writes an event to both logs: to the host's its details, or its title if it has none.
    pub fn tell(&self, event: Event) {
        self.host(event.level, if event.details.is_empty() { event.text } else { event.details });
        self.record(event);
    }

    /// Writes a failure of the gateway as a whole to both logs.
    pub fn fail(&self, name: &'static str, server: &str, failure: &Failure) {
        let text = failure.code.name();
        self.tell(Event::new(Level::Error, name, text).details(&failure.to_string()).server(server).code(failure.code));
    }

    /// Writes an event to CSP.log alone. Whether it is wanted has been asked before: [`Log::levels`].
    pub fn record(&self, event: Event) {
        let Some(journal) = &self.0.journal else { return };
        journal.record(&event, now());
        self.pass_news(journal);
    }

    /// What is recorded now, of what no server is known for.
    pub fn levels(&self) -> Levels {
        self.0.journal.as_ref().map_or(Levels::default(), |journal| journal.levels(SystemTime::now))
    }

    /// What is recorded now for a server whose section has levels of its own.
    pub fn levels_for(&self, own: Option<Levels>) -> Levels {
        self.0.journal.as_ref().map_or(Levels::default(), |journal| journal.levels_for(own, SystemTime::now))
    }

    /// The settings in force; `None` before there are any.
    pub fn settings(&self) -> Option<Arc<Settings>> {
        self.0.journal.as_ref()?.settings()
    }

    /// Whether a request for this path from this address is traced.
    pub fn traces(&self, path: &[u8], client: &[u8]) -> bool {
        self.0.journal.as_ref().is_some_and(|journal| journal.traces(path, client, SystemTime::now))
    }

    /// How keeping a trace went; a failure is told once.
    pub fn traced(&self, result: std::io::Result<()>, directory: &std::path::Path) {
        let Some(journal) = &self.0.journal else { return };
        if let Some(error) = journal.first_trace_failure(result.err()) {
            let details = format!("requests cannot be traced in {}: {error}", directory.display());
            self.tell(Event::new(Level::Warning, kinds::EVENT_LOG, "HTTP trace").details(&details));
        }
    }

    /// What is to be done from time to time: repeats are summed up, dangerous levels end. The caretaker calls it.
    pub fn tick(&self) {
        let Some(journal) = &self.0.journal else { return };
        if let Some(ended) = journal.tick(now()) {
            self.host(Level::Warning, &ended);
        }
        self.pass_news(journal);
    }

    /// Tells the host what the event log could not tell by itself.
    fn pass_news(&self, journal: &Journal) {
        for (level, text) in journal.news() {
            self.host(level, &text);
        }
    }

    fn host(&self, level: Level, text: &str) {
        match text.contains(char::is_control) {
            true => (self.0.host)(level, &text.replace(char::is_control, " ")),
            false => (self.0.host)(level, text),
        }
    }
}

fn now() -> (Instant, SystemTime) {
    (Instant::now(), SystemTime::now())
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
