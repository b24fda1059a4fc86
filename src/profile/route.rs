//! Which server answers for a request path.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::application::MOST_CANDIDATES;
use super::{Alternatives, Application, Balance, Candidates, Probe, Profile, Server};
use crate::failure::{Code, Failure};

/// The answer to [`Profile::route`].
#[derive(Clone, Debug)]
pub enum Route<'a> {
    /// This server answers.
    Server {
        /// Index into [`Profile::servers`] of the first choice; the server is enabled.
        server: usize,
        /// The application profile that matched; `None` if the default server of `[SYSTEM]` answers for any path.
        application: Option<&'a Application>,
        /// All servers that may answer; the first of them is `server`.
        candidates: &'a Candidates,
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
    /// The reserved path of the management pages.
    Management,
    /// One of the paths for programs that watch the gateway.
    Probe(Probe),
    /// The file names a server that it does not have, or has none at all.
    NoServer {
        /// Which name was looked for, and which line asked for it.
        detail: String,
    },
}

/// The application paths made ready for matching.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    /// For any host.
    paths: Table,
    /// For one host each, sorted by its name in lower case.
    hosts: Vec<(String, Table)>,
    /// For paths that no application has.
    others: Destination,
}

/// Paths of one host, or of all.
#[derive(Clone, Debug, Default)]
struct Table {
    /// Sorted by path, which ends without a slash, so that `/` is empty.
    paths: Vec<Path>,
    longest: usize,
}

#[derive(Clone, Debug)]
struct Path {
    path: String,
    application: usize,
    destination: Destination,
}

/// Who answers.
#[derive(Clone, Debug)]
struct Destination {
    /// The default server, enabled or not; `None` if there is none of its name.
    default: Option<usize>,
    /// May be empty.
    candidates: Candidates,
}

impl Routes {
    /// `by_name` holds the servers by their names in lower case.
    pub(super) fn new(
        applications: &[Application],
        servers: &[Server],
        by_name: &HashMap<String, usize>,
        default: &str,
    ) -> Routes {
        let named = |name: &str| by_name.get(&name.to_ascii_lowercase()).copied();
        let others = Destination::of(None, named(default), servers, named);
        let mut hosts: BTreeMap<String, Vec<Path>> = BTreeMap::new();
        let mut paths = Vec::new();
        for (index, application) in applications.iter().enumerate() {
            let path = Path {
                path: application.path_of_host().trim_end_matches('/').to_owned(),
                application: index,
                destination: Destination::of(
                    Some(application),
                    application.default_server.as_ref().map_or(others.default, |it| named(&it.value)),
                    servers,
                    named,
                ),
            };
            match application.host() {
                None => paths.push(path),
                Some(host) => hosts.entry(host.to_ascii_lowercase()).or_default().push(path),
            }
        }
        let hosts = hosts.into_iter().map(|(host, paths)| (host, Table::new(paths))).collect();
        Routes { paths: Table::new(paths), hosts, others }
    }

    fn destinations(&self) -> impl Iterator<Item = &Destination> {
        let tables = self.hosts.iter().map(|(_, table)| table).chain([&self.paths]);
        tables.flat_map(|table| &table.paths).map(|path| &path.destination)
    }

    /// The profile that answers: of exactly this host, of the host without `www.`, or of any host. Allocates nothing.
    fn find(&self, host: Option<&str>, path: &str) -> Option<&Path> {
        let host = host.filter(|_| !self.hosts.is_empty()).unwrap_or_default();
        let bare = host.get(..4).filter(|start| start.eq_ignore_ascii_case("www.")).map(|_| &host[4..]);
        let of_host = |host: &str| self.hosts.binary_search_by(|(own, _)| compare(own, host)).ok();
        let tables =
            [Some(host), bare].into_iter().flatten().filter_map(of_host).map(|position| &self.hosts[position].1);
        tables.chain([&self.paths]).find_map(|table| table.longest_prefix(path))
    }
}

impl Destination {
    fn of(
        application: Option<&Application>,
        default: Option<usize>,
        servers: &[Server],
        named: impl Fn(&str) -> Option<usize>,
    ) -> Destination {
        let mode = application.map_or(Alternatives::Disabled, |it| it.alternatives_for.value);
        let balance = application.map_or(Balance::RoundRobin, |it| it.balance);
        let alternatives = application.filter(|_| mode != Alternatives::Disabled);
        let lines = alternatives.iter().flat_map(|application| &application.alternatives);
        let is_out = |server: usize| alternatives.is_some_and(|it| it.takes_out(&servers[server].name));
        let mut candidates: Vec<usize> = Vec::new();
        for server in default.into_iter().chain(lines.filter_map(|line| named(&line.server.value))) {
            let is_new = !candidates.contains(&server) && candidates.len() < MOST_CANDIDATES;
            if is_new && servers[server].enabled && !is_out(server) {
                candidates.push(server);
            }
        }
        Destination { default, candidates: Candidates { mode, balance, servers: candidates.into() } }
    }
}

/// Compares a name in lower case with one in any case.
fn compare(lower: &str, any: &str) -> Ordering {
    lower.bytes().cmp(any.bytes().map(|byte| byte.to_ascii_lowercase()))
}

impl Table {
    fn new(mut paths: Vec<Path>) -> Table {
        // Stable, so that of `/csp` and `/csp/` the first in the file counts.
        paths.sort_by(|one, other| one.path.cmp(&other.path));
        paths.dedup_by(|later, first| later.path == first.path);
        let longest = paths.iter().map(|path| path.path.len()).max().unwrap_or(0);
        Table { paths, longest }
    }

    /// The longest configured path that `path` begins with, by whole segments.
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

/// The reserved path of the management pages, which no server ever gets.
const MANAGEMENT: &str = "/csp/bin/Systems/Module.cxw";

/// What of a [`routing_path`] follows the reserved path of the management pages: empty, or from a slash on. `None` for any
/// other path. It is reserved in any case of letters, and with an instance's name in front or not.
pub fn management_place(path: &str) -> Option<&str> {
    let begins = |path: &str| path.get(..MANAGEMENT.len()).is_some_and(|it| it.eq_ignore_ascii_case(MANAGEMENT));
    let behind_instance = path.strip_prefix('/').and_then(|rest| rest.find('/').map(|slash| &rest[slash..]));
    [Some(path), behind_instance].into_iter().flatten().find_map(|path| {
        let rest = begins(path).then(|| &path[MANAGEMENT.len()..])?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    })
}

/// The path by which a profile is chosen, from the raw path of a request: decoded, without empty and dot segments, so that
/// no spelling of a path steps around its profile.
pub fn routing_path(raw: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = |path: &[u8]| !path.contains(&b'%') && !path.windows(2).any(|pair| matches!(pair, b"//" | b"/."));
    match is_plain(raw) {
        true => Cow::Borrowed(raw),
        false => Cow::Owned(normalised(raw)),
    }
}

/// Decoded, without empty and dot segments. `%2F` separates segments too, since an application may take it so.
fn normalised(path: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        match (byte, path.get(at + 1).copied().and_then(hex), path.get(at + 2).copied().and_then(hex)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high << 4 | low);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in decoded.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut path = segments.iter().fold(Vec::with_capacity(decoded.len()), |mut path, segment| {
        path.push(b'/');
        path.extend_from_slice(segment);
        path
    });
    if path.is_empty() || decoded.ends_with(b"/") {
        path.push(b'/');
    }
    path
}

impl Profile {
    /// Which server answers for `path`, which is a [`routing_path`], asked of `host`, without port.
    ///
    /// The application with the longest path by whole segments answers, case-sensitively; profiles of exactly this host
    /// (`//host/path`) come first, then those of the host without `www.`, then those of any host. The profile's `Default_Server` is the
    /// server, else `Default_Server` of `[SYSTEM]`, else `LOCAL`. A disabled application answers so, and a server that is
    /// disabled or that the file does not have is replaced only by the path's own alternatives.
    pub fn route(&self, host: Option<&str>, path: &str) -> Route<'_> {
        if management_place(path).is_some() {
            return Route::Management;
        }
        if let Some(probe) = self.probe(path) {
            return Route::Probe(probe);
        }
        let found = self.routes.find(host, path);
        let application = found.map(|found| &self.applications[found.application]);
        if let Some(application) = application.filter(|application| !application.enabled) {
            return Route::ApplicationDisabled(application);
        }
        let Destination { default, candidates } = found.map_or(&self.routes.others, |found| &found.destination);
        match (candidates.servers.first(), *default) {
            (Some(&server), _) => Route::Server { server, application, candidates },
            (None, Some(server)) => Route::ServerDisabled { server, application },
            (None, None) => Route::NoServer { detail: self.missing_server(application) },
        }
    }

    /// Indexes of the servers that answer for a path together with others.
    pub fn servers_with_alternatives(&self) -> Vec<usize> {
        let several =
            |candidates: &&Candidates| candidates.mode != Alternatives::Disabled && candidates.servers.len() > 1;
        let all = self.routes.destinations().map(|destination| &destination.candidates).filter(several);
        let servers: BTreeSet<usize> = all.flat_map(|candidates| candidates.servers.iter().copied()).collect();
        servers.into_iter().collect()
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
    /// The failure that the request gets; `None` if a server, a management page or the gateway itself answers.
    pub fn failure(&self, profile: &Profile) -> Option<Failure> {
        match self {
            Route::Server { .. } | Route::Probe(_) => None,
            Route::Management if profile.system.management.forms => None,
            Route::Management => {
                Some(Failure::new(Code::ManagementAbsent, "SM_Forms=Disabled in [SYSTEM] switches them off"))
            }
            Route::ApplicationDisabled(application) => {
                Some(Failure::new(Code::ApplicationDisabled, format!("{} is disabled", application.origin)))
            }
            Route::ServerDisabled { server, .. } => {
                let server = &profile.servers[*server];
                let detail = match server.enabled {
                    false => format!("server {} ({}) is not enabled", server.name, server.origin),
                    true => format!("server {} ({}) is disabled as an alternative", server.name, server.origin),
                };
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

    fn outcome_at(content: &str, host: &str, path: &str) -> String {
        let profile = Profile::parse(std::path::Path::new("CSP.ini"), content.as_bytes()).unwrap().profile;
        let name = |server: usize| profile.servers[server].name.clone();
        match profile.route(Some(host), path) {
            Route::Server { server, application, .. } => {
                format!("{} {}", name(server), application.map_or("-", |application| &application.path))
            }
            Route::ApplicationDisabled(application) => format!("application off {}", application.path),
            Route::ServerDisabled { server, .. } => format!("server off {}", name(server)),
            Route::Management => "management".to_owned(),
            Route::Probe(probe) => format!("{probe:?}"),
            Route::NoServer { detail } => format!("none: {detail}"),
        }
    }

    fn outcome(content: &str, path: &str) -> String {
        outcome_at(content, "other.example", path)
    }

    #[test]
    fn the_paths_for_watching_go_before_every_application_and_have_no_other_spelling() {
        let own = "[SYSTEM]\nSclera_Metrics_Path=/csp/metrics\nSclera_Live_Path=/live\nSclera_Ready_Path=/ready\n";
        let content = FILE.replacen("[SYSTEM]\n", own, 1);
        for (path, expected) in [
            ("/csp/metrics", "Metrics"),
            ("/live", "Live"),
            ("/ready", "Ready"),
            ("/csp/metrics/", "MAIN /csp"),
            ("/csp/metrics/x", "MAIN /csp"),
            ("/csp/Metrics", "MAIN /csp"),
            ("/Live", "MAIN /"),
            ("/csp/bin/Systems/Module.cxw", "management"),
        ] {
            assert_eq!(outcome(&content, path), expected, "{path}");
        }
        assert_eq!(outcome(FILE, "/csp/metrics"), "MAIN /csp");
    }

    #[test]
    fn profiles_of_a_host_come_before_those_of_any_host() {
        for (host, path, expected) in [
            ("host", "/csp/two/a", "MAIN //host/csp/two"),
            ("HOST", "/csp/x", "TWO //host"),
            ("www.host", "/csp/x", "TWO //host"),
            ("www.host2", "/csp/x", "MAIN /csp"),
            ("host.example", "/csp/x", "MAIN /csp"),
            ("", "/csp/x", "MAIN /csp"),
        ] {
            assert_eq!(outcome_at(FILE, host, path), expected, "{host} {path}");
        }
        let own = "[APP_PATH_INDEX]\n//www.a/x=Enabled\n//a=Enabled\n/=Enabled\n[APP_PATH:/]\nDefault_Server=TWO\n";
        let own = FILE.split("[APP_PATH_INDEX]").next().unwrap().to_owned() + own;
        assert_eq!(outcome_at(&own, "www.a", "/x/y"), "MAIN //www.a/x");
        assert_eq!(outcome_at(&own, "www.a", "/y"), "MAIN //a", "the exact host has no profile for it");
        assert_eq!(outcome_at(&own, "a", "/x"), "MAIN //a");
        assert_eq!(outcome_at(&own, "b", "/x"), "TWO /");
    }

    #[test]
    fn the_management_path_is_reserved_in_any_case_and_behind_an_instance() {
        for (path, expected) in [
            ("/csp/bin/Systems/Module.cxw", true),
            ("/csp/bin/systems/module.cxw", true),
            ("/iris/CSP/BIN/SYSTEMS/MODULE.CXW", true),
            ("/a/b/csp/bin/Systems/Module.cxw", false),
            ("x/csp/bin/Systems/Module.cxw", false),
            ("/csp/bin/RunTime/Module.cxw", false),
            ("/csp/bin/Systems/Module.cxw/", true),
            ("/csp/bin/Systems/Module.cxw/api/servers", true),
            ("/iris/csp/bin/Systems/Module.cxw/api", true),
            ("/csp/bin/Systems/Module.cxw2", false),
            ("/csp/bin/Systems/Module.cx", false),
            ("/csp/bin/Systems/", false),
            ("\u{fc}sp/bin/Systems/Module.cxw", false),
        ] {
            assert_eq!(outcome(FILE, path) == "management", expected, "{path}");
        }
    }

    #[test]
    fn a_routing_path_is_what_an_application_that_decodes_would_read() {
        for (raw, expected) in
            [("/csp/a", "/csp/a"), ("/csp//a/./b/../c", "/csp/a/c"), ("/%63sp%2Fa", "/csp/a"), ("/..", "/")]
        {
            assert_eq!(String::from_utf8_lossy(&routing_path(raw.as_bytes())), expected, "{raw}");
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

    /// The candidates of a path whose servers are A, B, C (enabled) and OFF, with A as the default server, by name.
    fn candidates(lines: &str) -> (String, Vec<String>) {
        let content = format!(
            "[SYSTEM]\nDefault_Server=A\n[SYSTEM_INDEX]\nA=Enabled\nB=Enabled\nC=Enabled\nOFF=Disabled\n\
             [A]\nIp_Address=a\n[B]\nIp_Address=b\n[C]\nIp_Address=c\n[OFF]\nIp_Address=d\n\
             [APP_PATH_INDEX]\n/=Enabled\n[APP_PATH:/]\n{lines}"
        );
        let loaded = Profile::parse(std::path::Path::new("CSP.ini"), content.as_bytes()).unwrap();
        let profile = loaded.profile;
        let findings = loaded.notices.iter().map(ToString::to_string).collect();
        match profile.route(None, "/x") {
            Route::Server { server, candidates, .. } => {
                assert_eq!(candidates.servers[0], server);
                let names: Vec<&str> = candidates.servers.iter().map(|&it| profile.servers[it].name.as_str()).collect();
                (names.join(" "), findings)
            }
            other => (other.failure(&profile).unwrap().to_string(), findings),
        }
    }

    #[test]
    fn the_candidates_are_the_default_server_and_the_enabled_alternatives_in_order() {
        for (lines, expected) in [
            ("Alternative_Server_0=1~B\n", "A"),
            ("Alternative_Servers=Disabled\nAlternative_Server_0=1~B\n", "A"),
            ("Alternative_Servers=FailOver\n", "A"),
            ("Alternative_Servers=FailOver\nAlternative_Server_10=1~B\nAlternative_Server_9=1~~~~~~c\n", "A C B"),
            ("Alternative_Servers=FailOver\nAlternative_Server_0=1~B\nAlternative_Server_1=1~A\n", "A B"),
            ("Alternative_Servers=LoadBalancing\nAlternative_Server_0=1~B\nAlternative_Server_1=0~C\n", "A B"),
            ("Alternative_Servers=LoadBalancing\nAlternative_Server_0=0~A\nAlternative_Server_1=1~C\n", "C"),
            ("Default_Server=OFF\nAlternative_Servers=FailOver\nAlternative_Server_0=1~C\n", "C"),
            ("Default_Server=LOST\nAlternative_Servers=FailOver\nAlternative_Server_0=1~C\n", "C"),
            ("Alternative_Servers=failover\nAlternative_Server_0=nonsense\nAlternative_Server_1=1~C\n", "A C"),
        ] {
            assert_eq!(candidates(lines).0, expected, "{lines}");
        }
    }

    #[test]
    fn alternatives_that_cannot_answer_are_reported() {
        for (lines, expected) in [
            ("Alternative_Server_1=1~LOST\n", "the file has no section of that name; this alternative is left out"),
            ("Alternative_Server_1=1~OFF\n", "that server is not enabled"),
            ("Alternative_Server_1=1~B\nAlternative_Server_2=1~b\n", "an alternative before it names too"),
            ("Alternative_Server_1=0~A\n", "takes the default server out"),
            ("Alternative_Server_1=0~A\n", "none of the servers of / is in use"),
            ("Alternative_Server_1=B\n", "does not begin with 1 or 0, and is left out"),
            ("Alternative_Server_1=1~B\n", "the default server A takes part, though no alternative names it"),
        ] {
            let (_, findings) = candidates(&format!("Alternative_Servers=LoadBalancing\n{lines}"));
            assert!(findings.iter().any(|finding| finding.contains(expected)), "{lines}: {findings:?}");
            let (_, unused) = candidates(lines);
            assert!(expected.contains("1 or 0") || unused.is_empty(), "alternatives not in use: {unused:?}");
        }
        let (answer, _) = candidates("Alternative_Servers=FailOver\nAlternative_Server_1=0~A\n");
        assert!(answer.starts_with("SCLERA-103") && answer.contains("is disabled as an alternative"), "{answer}");
        let all = "Alternative_Servers=FailOver\nAlternative_Server_0=1~A\nAlternative_Server_1=1~B\n\
            Alternative_Server_2=0~LOST2\n";
        let (_, findings) = candidates(all);
        assert_eq!(findings.len(), 1, "{findings:?}");
    }

    #[test]
    fn more_servers_than_one_path_may_have_are_left_out_and_reported() {
        let mut content =
            "[APP_PATH_INDEX]\n/=Enabled\n[APP_PATH:/]\nDefault_Server=S0\nAlternative_Servers=FailOver\n".to_owned();
        (0..20).for_each(|n| content += &format!("Alternative_Server_{n}=1~S{n}\n"));
        content += "[SYSTEM_INDEX]\n";
        (0..20).for_each(|n| content += &format!("S{n}=Enabled\n"));
        (0..20).for_each(|n| content += &format!("[S{n}]\nIp_Address=a\n"));
        let loaded = Profile::parse(std::path::Path::new("CSP.ini"), content.as_bytes()).unwrap();
        let Route::Server { candidates, .. } = loaded.profile.route(None, "/") else { panic!("no server") };
        assert_eq!(*candidates.servers, *(0..MOST_CANDIDATES).collect::<Vec<_>>());
        let reported = loaded.notices.iter().filter(|it| it.to_string().contains("more than the 16 servers"));
        assert_eq!(reported.count(), 4);
    }

    #[test]
    fn a_long_path_of_slashes_is_no_burden() {
        let start = std::time::Instant::now();
        assert_eq!(outcome(FILE, &"/".repeat(1 << 20)), "MAIN /");
        assert!(start.elapsed() < std::time::Duration::from_secs(2));
    }
}
