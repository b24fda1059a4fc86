//! An application access profile: which server answers for a path.

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
    /// What the alternative servers are for. This release uses the default server alone.
    pub alternatives_for: Alternatives,
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

impl Application {
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
