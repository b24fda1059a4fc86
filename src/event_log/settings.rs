//! What CSP.ini says about the event log.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::file::Keeping;
use super::format::Format;
use super::level::Levels;

/// The settings of `[SYSTEM]` that concern the event log and the HTTP trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the log is, and when it is rotated.
    pub keeping: Keeping,
    /// `Sclera_Log_Format`.
    pub format: Format,
    /// `Env_Parameters`.
    pub levels: Levels,
    /// `Maximum_Logged_Request_Size`: the most bytes of a body that are recorded.
    pub largest_body: usize,
    /// `Sclera_Debug_Expiry`: how long what is dangerous holds.
    pub debug_expiry: Duration,
    /// From when that counts; `None` if it never ends, as in a program that ends itself.
    pub debug_since: Option<SystemTime>,
    /// The settings that end then, such as `Env_Parameters of [SYSTEM]`; those of servers, too.
    pub dangerous: Vec<String>,
    pub trace: Trace,
}

/// The settings of the HTTP trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// `Sclera_Trace`: what is traced; nothing if empty.
    pub wanted: Vec<Wanted>,
    /// `Sclera_Trace_Directory`: where; `None` means beside CSP.log, or beside CSP.ini if that is no file.
    pub directory: PathBuf,
    /// `Sclera_Trace_Entries`: how many requests are kept.
    pub entries: usize,
    /// `Sclera_Trace_Body_Size`: how much of each body.
    pub body: usize,
}

/// Which requests are traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those whose path begins with this, in whole segments.
    Path(String),
    /// Those of a browser at this address.
    Client(std::net::IpAddr),
}

impl Settings {
    /// When the dangerous part ends.
    pub fn debug_until(&self) -> Option<SystemTime> {
        self.debug_since?.checked_add(self.debug_expiry)
    }
}

impl Trace {
    /// Reads `Sclera_Trace`: path prefixes and addresses, separated by spaces or commas; gives the words that are neither.
    pub fn wanted(text: &str) -> (Vec<Wanted>, Vec<String>) {
        let mut wanted = Vec::new();
        let mut wrong = Vec::new();
        for word in text.split([' ', ',', '\t']).filter(|word| !word.is_empty()) {
            match word.parse() {
                Ok(address) => wanted.push(Wanted::Client(address)),
                Err(_) if word.starts_with('/') => wanted.push(Wanted::Path(word.to_owned())),
                Err(_) => wrong.push(word.to_owned()),
            }
        }
        (wanted, wrong)
    }

    /// Whether a request is to be traced.
    pub fn wants(&self, path: &[u8], client: &[u8]) -> bool {
        self.wanted.iter().any(|wanted| match wanted {
            Wanted::Path(prefix) => {
                let prefix = prefix.as_bytes();
                path.strip_prefix(prefix)
                    .is_some_and(|rest| prefix.ends_with(b"/") || rest.is_empty() || rest.starts_with(b"/"))
            }
            Wanted::Client(address) => {
                std::str::from_utf8(client).ok().and_then(|client| client.parse().ok()) == Some(*address)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_traced_by_path_prefix_or_by_client() {
        let (wanted, wrong) = Trace::wanted("/csp/app, 10.0.0.7 ::1 nonsense");
        assert_eq!(wrong, ["nonsense"]);
        let trace = Trace { wanted, ..Trace::default() };
        for (path, client, expected) in [
            ("/csp/app", "10.0.0.1", true),
            ("/csp/app/x", "10.0.0.1", true),
            ("/csp/apple", "10.0.0.1", false),
            ("/x", "10.0.0.7", true),
            ("/x", "0:0::1", true),
            ("/x", "10.0.0.70", false),
            ("/x", "", false),
        ] {
            assert_eq!(trace.wants(path.as_bytes(), client.as_bytes()), expected, "{path} {client}");
        }
        assert!(!Trace::default().wants(b"/", b"10.0.0.7"));
    }
}
