//! Which server answers for a request path.

use std::collections::HashMap;

use super::{Application, Profile};
use crate::failure::{Code, Failure};

/// The answer to [`Profile::route`].
#[derive(Clone, Debug)]
pub enum Route<'a> {
    /// This server answers.
    Server {
        /// Index into [`Profile::servers`]; the server is enabled.
        server: usize,
        /// The application profile that matched; `None` if the default server of `[SYSTEM]` answers for any path.
        application: Option<&'a Application>,
    },
    /// The matching application profile is disabled. It answers so; no shorter path takes its place.
    ApplicationDisabled(&'a Application),
    /// The server that should answer is disabled.
    ServerDisabled {
        /// Index into [`Profile::servers`].
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

/// The application paths made ready for matching.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    /// Sorted by path, which ends without a slash, so that `/` is empty.
    paths: Vec<Path>,
    longest: usize,
    default_server: Option<usize>,
}

#[derive(Clone, Debug)]
struct Path {
    path: String,
    application: usize,
    server: Option<usize>,
}

impl Routes {
    /// `by_name` holds the servers by their names in lower case.
    pub(super) fn new(applications: &[Application], by_name: &HashMap<String, usize>, default: &str) -> Routes {
        let named = |name: &str| by_name.get(&name.to_ascii_lowercase()).copied();
        let default_server = named(default);
        let mut paths: Vec<Path> = applications
            .iter()
            .enumerate()
            .filter(|(_, application)| application.host().is_none())
            .map(|(index, application)| Path {
                path: application.path.trim_end_matches('/').to_owned(),
                application: index,
                server: application.default_server.as_ref().map_or(default_server, |it| named(&it.value)),
            })
            .collect();
        // Stable, so that of `/csp` and `/csp/` the first in the file counts.
        paths.sort_by(|one, other| one.path.cmp(&other.path));
        paths.dedup_by(|later, first| later.path == first.path);
        let longest = paths.iter().map(|path| path.path.len()).max().unwrap_or(0);
        Routes { paths, longest, default_server }
    }

    /// The longest configured path that `path` begins with, by whole segments. Allocates nothing.
    fn longest_prefix(&self, path: &str) -> Option<&Path> {
        let mut end = path.len();
        loop {
            if end <= self.longest {
                let candidate = &path.as_bytes()[..end];
                let found = self.paths.binary_search_by(|probe| probe.path.as_bytes().cmp(candidate));
                if let Ok(position) = found {
                    return Some(&self.paths[position]);
                }
            }
            if end == 0 {
                return None;
            }
            end = path.as_bytes()[..end].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        }
    }
}

impl Profile {
    /// Which server answers for `path`: the raw path of a request, not decoded, without query.
    ///
    /// The application with the longest path by whole segments answers, case-sensitively. Its `Default_Server` is the
    /// server, else `Default_Server` of `[SYSTEM]`, else `LOCAL`. A disabled application or server answers so, and a
    /// server that the file does not have is not replaced by another.
    pub fn route(&self, path: &str) -> Route<'_> {
        let found = self.routes.longest_prefix(path);
        let application = found.map(|found| &self.applications[found.application]);
        if let Some(application) = application.filter(|application| !application.enabled) {
            return Route::ApplicationDisabled(application);
        }
        match found.map_or(self.routes.default_server, |found| found.server) {
            Some(server) if self.servers[server].enabled => Route::Server { server, application },
            Some(server) => Route::ServerDisabled { server, application },
            None => Route::NoServer { detail: self.missing_server(application) },
        }
    }

    fn missing_server(&self, application: Option<&Application>) -> String {
        let own = application.and_then(|application| application.default_server.as_ref());
        let setting = own.unwrap_or(&self.system.default_server);
        let asked = match (&setting.origin, application) {
            (Some(origin), _) => origin.to_string(),
            (None, Some(application)) => format!("{} (which names no Default_Server)", application.origin),
            (None, None) => format!("{} (no application path matches)", self.path.display()),
        };
        format!("server {} is asked for by {asked}, but has no section", setting.value)
    }
}

impl Route<'_> {
    /// The failure that the request gets; `None` if a server answers.
    pub fn failure(&self, profile: &Profile) -> Option<Failure> {
        match self {
            Route::Server { .. } => None,
            Route::ApplicationDisabled(application) => {
                Some(Failure::new(Code::ApplicationDisabled, format!("{} is disabled", application.origin)))
            }
            Route::ServerDisabled { server, .. } => {
                let server = &profile.servers[*server];
                let detail = format!("server {} ({}) is not enabled", server.name, server.origin);
                Some(Failure::new(Code::ServerDisabled, detail))
            }
            Route::NoServer { detail } => Some(Failure::new(Code::NoServerForPath, detail.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[SYSTEM]\nDefault_Server=main\n\
        [SYSTEM_INDEX]\nMAIN=Enabled\nTWO=Enabled\nOFF=Disabled\n\
        [MAIN]\nIp_Address=a\n[TWO]\nIp_Address=b\n[OFF]\nIp_Address=c\n\
        [APP_PATH_INDEX]\n/=Enabled\n/csp=Enabled\n/csp/two/=Enabled\n/csp/closed=Disabled\n/off=Enabled\n\
        /lost=Enabled\n//host/csp/two=Enabled\n//host=Enabled\n\
        [APP_PATH:/csp/two/]\nDefault_Server=two\n[APP_PATH:/off]\nDefault_Server=OFF\n\
        [APP_PATH:/lost]\nDefault_Server=NOWHERE\n[APP_PATH://host]\nDefault_Server=two\n";

    fn outcome(content: &str, path: &str) -> String {
        let profile = Profile::parse(std::path::Path::new("CSP.ini"), content.as_bytes()).unwrap().profile;
        let name = |server: usize| profile.servers[server].name.clone();
        match profile.route(path) {
            Route::Server { server, application } => {
                format!("{} {}", name(server), application.map_or("-", |application| &application.path))
            }
            Route::ApplicationDisabled(application) => format!("application off {}", application.path),
            Route::ServerDisabled { server, .. } => format!("server off {}", name(server)),
            Route::NoServer { detail } => format!("none: {detail}"),
        }
    }

    #[test]
    fn the_longest_path_by_whole_segments_decides() {
        for (path, expected) in [
            ("/", "MAIN /"),
            ("", "MAIN /"),
            ("*", "MAIN /"),
            ("/x/y", "MAIN /"),
            ("/csp", "MAIN /csp"),
            ("/csp/", "MAIN /csp"),
            ("/cspx", "MAIN /"),
            ("/CSP/", "MAIN /"),
            ("/csp/twofold", "MAIN /csp"),
            ("/csp/two", "TWO /csp/two/"),
            ("/csp/two/a/b.cls", "TWO /csp/two/"),
            ("/csp/%74wo/a", "MAIN /csp"),
            ("/csp/closed/a", "application off /csp/closed"),
            ("/off/a", "server off OFF"),
            ("//host/csp/two/a", "MAIN /"),
            ("/\u{fc}/csp", "MAIN /"),
            (
                "/lost",
                "none: server NOWHERE is asked for by CSP.ini:27 [APP_PATH:/lost] Default_Server, but has no section",
            ),
        ] {
            assert_eq!(outcome(FILE, path), expected, "{path}");
        }
    }

    #[test]
    fn without_a_matching_path_the_default_server_answers_and_without_one_local() {
        let local = "[SYSTEM_INDEX]\nLOCAL=Enabled\n[LOCAL]\nIp_Address=a\n";
        assert_eq!(outcome(local, "/any"), "LOCAL -");
        let named = format!("[SYSTEM]\nDefault_Server=B\n{local}[APP_PATH_INDEX]\n/csp=Enabled\n");
        assert!(
            outcome(&named, "/any").starts_with("none: server B is asked for by CSP.ini:2 [SYSTEM] Default_Server")
        );
        assert!(outcome(&named, "/csp/a").starts_with("none: server B"), "never another server than the one named");
    }

    #[test]
    fn a_long_path_of_slashes_is_no_burden() {
        let start = std::time::Instant::now();
        assert_eq!(outcome(FILE, &"/".repeat(1 << 20)), "MAIN /");
        assert!(start.elapsed() < std::time::Duration::from_secs(2));
    }
}
