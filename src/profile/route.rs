//! Which server answers for a request path.

use super::Application;

/// The answer to [`super::Profile::route`].
#[derive(Clone, Debug)]
pub enum Route<'a> {
    /// This server answers.
    Server {
        /// Index into [`super::Profile::servers`]; the server is enabled.
        server: usize,
        /// The application profile that matched; `None` if the default server of `[SYSTEM]` answers for any path.
        application: Option<&'a Application>,
    },
    /// The matching application profile is disabled. It answers so; no shorter path takes its place.
    ApplicationDisabled(&'a Application),
    /// The server that should answer is disabled.
    ServerDisabled {
        /// Index into [`super::Profile::servers`].
        server: usize,
        /// The application profile that matched.
        application: Option<&'a Application>,
    },
    /// The file names a server that it does not have, or has none at all.
    NoServer {
        /// Which name was looked for, and which line asked for it.
        detail: String,
    },
}
