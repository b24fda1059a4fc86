//! An application access profile: which server answers for a path.

use std::sync::Arc;

use super::finding::{Origin, Setting};

/// One application access profile.
#[derive(Clone, Debug)]
pub struct Application {
    /// The path as the file spells it, such as `/csp/sys`; `//host/path` for a profile of one host.
    pub path: String,
    /// Whether `[APP_PATH_INDEX]` lists it as Enabled.
    pub enabled: bool,
    /// The index line, or the section's line if there is no index line.
    pub origin: Origin,
    /// The server that answers; `None` leaves it to `Default_Server` of `[SYSTEM]`.
    pub default_server: Option<Setting<String>>,
    /// What the alternative servers are for.
    pub alternatives_for: Setting<Alternatives>,
    /// How load is spread, if it is.
    pub balance: Balance,
    /// The alternative servers, by their numbers.
    pub alternatives: Vec<Alternative>,
}

/// `Alternative_Servers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alternatives {
    /// They are not used.
    Disabled,
    /// They are used in order of their numbers, when those before cannot be.
    FailOver,
    /// New sessions are spread over them.
    LoadBalancing,
}

/// `Alternative_Server_<n>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// n, from 0.
    pub number: u32,
    /// Whether it may be used.
    pub enabled: bool,
    /// The server's name, and where it stands.
    pub server: Setting<String>,
}

/// `Sclera_Balance`: how [`Alternatives::LoadBalancing`] spreads new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by the weights of the servers.
    RoundRobin,
    /// To the one with the fewest requests under way, measured by its weight.
    LeastBusy,
}

/// The most servers of one application, the default server among them.
pub const MOST_CANDIDATES: usize = 16;

/// The servers that may answer for a path, and how one of them is chosen. Made when the profile is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// What those after the first are for.
    pub mode: Alternatives,
    /// How load is spread.
    pub balance: Balance,
    /// Indexes into [`super::Profile::servers`], at most [`MOST_CANDIDATES`], each once, in the order in which they are
    /// tried: the default server, then the alternatives by their numbers. Only servers that are enabled, both by their
    /// own profile and as an alternative.
    pub servers: Arc<[usize]>,
}

impl Application {
    /// Whether the line of an alternative takes a server out: of a server listed twice the first line counts.
    pub(super) fn takes_out(&self, server: &str) -> bool {
        let line = self.alternatives.iter().find(|it| it.server.value.eq_ignore_ascii_case(server));
        line.is_some_and(|line| !line.enabled)
    }

    /// The host of a `//host/path` profile.
    pub fn host(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("//")?;
        Some(rest.split('/').next().unwrap_or(rest))
    }

    /// The path without the host.
    pub fn path_of_host(&self) -> &str {
        match self.host() {
            Some(host) => &self.path[2 + host.len()..],
            None => &self.path,
        }
    }
}
