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
}

impl Application {
    /// The host of a `//host/path` profile. Such profiles are kept, but do not route in this release.
    pub fn host(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("//")?;
        Some(rest.split('/').next().unwrap_or(rest))
    }
}
