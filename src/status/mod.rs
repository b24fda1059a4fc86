//! How the gateway does: what the ledger holds, in the words of the configuration. For `sclera status`, the management
//! page, programs, and whoever gives an order.

pub mod command;
mod json;
pub mod metrics;
pub mod probe;
mod quantile;
mod text;

use std::path::PathBuf;
use std::time::Duration;

pub use quantile::quantile;
pub use text::span;

use crate::failure::Code;
use crate::ledger::{ConnectionNow, ConnectionState, Counter, Series, ServerNow, Snapshot, Tally, WorkerNow, now_ms};
use crate::pool::health::{Admission, Health, Policy, Wish};
use crate::profile::{Profile, Route, Server};

/// Everything at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// The ledger's file; `None` if it has no name.
    pub ledger: Option<PathBuf>,
    /// Since when is counted, in seconds since 1970.
    pub since: u64,
    pub workers: Vec<WorkerNow>,
    pub connections: Vec<Connection>,
    pub servers: Vec<ServerStatus>,
    pub paths: Vec<PathStatus>,
    pub answers: Vec<Answers>,
    pub failures: Vec<FailureCount>,
    pub tallies: Vec<(Tally, u64)>,
}

/// A connection, and its server's name.
#[derive(Clone, Debug)]
pub struct Connection {
    pub now: ConnectionNow,
    pub server: String,
    /// `No_Activity_Timeout`; `None` if it may idle for ever.
    pub idle_timeout: Option<Duration>,
}

/// A server that the gateway has heard of.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    pub now: ServerNow,
    pub configured: Configured,
    /// Such as `10.0.0.7:1972`; empty if the configuration does not have the server any more.
    pub address: String,
    /// What an administrator wants of it, for as long as the ledger lasts.
    pub wish: Wish,
    /// `up`, `slow start`, `ejected` or `on trial`.
    pub health: &'static str,
    /// Whether its health lets it have requests, if only one to try it out.
    pub is_fit: bool,
}

/// What the configuration says of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configured {
    Enabled,
    Disabled,
    /// It does not have it any more.
    Removed,
}

/// A server of an application path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStatus {
    pub path: String,
    pub server: String,
    /// Requests of the path that this server answered.
    pub requests: u64,
    pub state: PathState,
    /// Of servers of which the first that can is used, it is the one.
    pub is_current: bool,
}

/// Whether a server is used for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    Enabled,
    Disabled,
    /// Its health keeps it out.
    Offline,
}

/// How many requests were answered by a server, of a path, with a status. Without a server: by the gateway itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    pub server: Option<String>,
    pub path: Option<String>,
    pub status: u16,
    pub count: u64,
}

/// How often a failure happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureCount {
    pub number: u16,
    /// `None` if this release does not know it.
    pub code: Option<Code>,
    pub count: u64,
}

impl Status {
    /// What a ledger held at one moment. Without a profile, names alone are known of servers and paths.
    pub fn of(snapshot: &Snapshot, profile: Option<&Profile>) -> Status {
        let servers: Vec<ServerStatus> =
            snapshot.servers.iter().map(|now| ServerStatus::of(now.clone(), profile)).collect();
        let paths = paths(snapshot, &servers, profile);
        let Snapshot { made, workers, connections, answers, failures, tallies, .. } = snapshot;
        Status {
            ledger: snapshot.ledger.clone(),
            since: *made,
            workers: workers.clone(),
            connections: connections.iter().map(|now| Connection::of(now.clone(), snapshot, profile)).collect(),
            paths,
            answers: answers.iter().map(|series| Answers::of(series, snapshot)).collect(),
            failures: failures
                .iter()
                .map(|&(number, count)| FailureCount { number, code: code_of(number), count })
                .collect(),
            tallies: tallies.clone(),
            servers,
        }
    }

    /// How often something happened.
    pub fn tally(&self, tally: Tally) -> u64 {
        self.tallies.iter().find(|(other, _)| *other == tally).map_or(0, |(_, count)| *count)
    }

    /// Requests answered, by servers or by the gateway itself.
    pub fn requests(&self) -> u64 {
        self.answers.iter().map(|answers| answers.count).sum()
    }
}

impl Connection {
    fn of(now: ConnectionNow, snapshot: &Snapshot, profile: Option<&Profile>) -> Connection {
        let server = name_of(snapshot, now.server).unwrap_or_default();
        let idle_timeout = profile.and_then(|profile| profile_of(profile, &server)?.idle_timeout);
        Connection { now, server, idle_timeout }
    }

    /// `opening`, `idle` or `busy`.
    pub fn state(&self) -> &'static str {
        state_word(self.now.state)
    }
}

/// The states that a connection can be in.
pub const CONNECTION_STATES: [ConnectionState; 3] =
    [ConnectionState::Opening, ConnectionState::Idle, ConnectionState::Busy];

/// The word for what a connection is doing.
pub fn state_word(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::None => "none",
        ConnectionState::Opening => "opening",
        ConnectionState::Idle => "idle",
        ConnectionState::Busy => "busy",
    }
}

impl ServerStatus {
    fn of(now: ServerNow, profile: Option<&Profile>) -> ServerStatus {
        let server = profile.and_then(|profile| profile_of(profile, &now.name));
        let policy = server.map_or(UNKNOWN_POLICY, Policy::of);
        let health = Health::unpack(now.health);
        let at = now_ms();
        ServerStatus {
            configured: match server {
                Some(server) if server.enabled => Configured::Enabled,
                Some(_) => Configured::Disabled,
                None => Configured::Removed,
            },
            address: server.map(address_of).unwrap_or_default(),
            wish: Wish::from(now.wish),
            health: health.word(at, &policy),
            is_fit: health.admits(at, &policy) != Admission::No,
            now,
        }
    }

    /// In one word: `enabled`, `disabled` (by CSP.ini), `removed` (from it), or what an administrator wants meanwhile:
    /// `draining`, `stopped`.
    pub fn state(&self) -> &'static str {
        match (self.configured, self.wish) {
            (Configured::Removed, _) => "removed",
            (Configured::Disabled, _) => "disabled",
            (Configured::Enabled, Wish::Disabled) => "stopped",
            (Configured::Enabled, Wish::Draining) => "draining",
            (Configured::Enabled, Wish::Enabled) => "enabled",
        }
    }

    /// The answer times in milliseconds under which this part of the answers lies, as far as the histogram tells.
    pub fn latency(&self, part: f64) -> Option<f64> {
        quantile(&self.now.latency, part)
    }
}

/// The health of a server of which nothing is configured any more is told by these rules.
const UNKNOWN_POLICY: Policy = Policy { eject_after: 3, slow_start: 0, trial: 15_000, key: 0 };

impl PathState {
    pub fn word(self) -> &'static str {
        match self {
            PathState::Enabled => "enabled",
            PathState::Disabled => "disabled",
            PathState::Offline => "offline",
        }
    }
}

impl Answers {
    fn of(series: &Series, snapshot: &Snapshot) -> Answers {
        Answers {
            server: series.server.and_then(|row| name_of(snapshot, row)),
            path: series.path.and_then(|row| Some(snapshot.paths.get(row)?.path.clone())),
            status: series.status,
            count: series.count,
        }
    }
}

fn name_of(snapshot: &Snapshot, row: usize) -> Option<String> {
    Some(snapshot.servers.get(row)?.name.clone())
}

fn profile_of<'a>(profile: &'a Profile, name: &str) -> Option<&'a Server> {
    profile.server(name).map(|position| &profile.servers[position])
}

/// Such as `10.0.0.7:1972` or `[fd00::7]:1972`.
pub fn address_of(server: &Server) -> String {
    match server.address.value.contains(':') {
        true => format!("[{}]:{}", server.address.value, server.port.value),
        false => format!("{}:{}", server.address.value, server.port.value),
    }
}

fn code_of(number: u16) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| *code as u16 == number)
}

/// Every path with each of its servers, in the order in which they are tried; paths that the configuration does not have
/// any more come last.
fn paths(snapshot: &Snapshot, servers: &[ServerStatus], profile: Option<&Profile>) -> Vec<PathStatus> {
    let mut all = Vec::new();
    let counted = |path: &str, server: &str| {
        let of_path = |series: &&Series| {
            let same_path = series.path.and_then(|row| snapshot.paths.get(row)).is_some_and(|it| it.path == path);
            let name = series.server.and_then(|row| snapshot.servers.get(row));
            same_path && name.is_some_and(|it| it.name.eq_ignore_ascii_case(server))
        };
        snapshot.answers.iter().filter(of_path).map(|series| series.count).sum()
    };
    let applications = profile.iter().flat_map(|profile| profile.applications.iter().map(move |it| (*profile, it)));
    for (profile, application) in applications {
        let route = profile.route(application.host(), application.path_of_host());
        let named = match &route {
            Route::Server { candidates, .. } => candidates.servers.to_vec(),
            Route::ServerDisabled { server, .. } => vec![*server],
            _ => Vec::new(),
        };
        let mut has_current = false;
        for server in named.iter().map(|&server| &profile.servers[server]) {
            let status = servers.iter().find(|it| it.now.name.eq_ignore_ascii_case(&server.name));
            let state = match status {
                _ if !application.enabled || !server.enabled => PathState::Disabled,
                Some(status) if status.wish == Wish::Disabled => PathState::Disabled,
                Some(status) if !matches!(status.health, "up" | "slow start") => PathState::Offline,
                _ => PathState::Enabled,
            };
            let is_current = state == PathState::Enabled && !has_current;
            has_current |= is_current;
            let requests = counted(&application.path, &server.name);
            all.push(PathStatus {
                path: application.path.clone(),
                server: server.name.clone(),
                requests,
                state,
                is_current,
            });
        }
        if named.is_empty() {
            let (path, server) = (application.path.clone(), String::new());
            all.push(PathStatus { path, server, requests: 0, state: PathState::Disabled, is_current: false });
        }
    }
    let known: Vec<String> = all.iter().map(|it: &PathStatus| it.path.clone()).collect();
    let gone = snapshot.paths.iter().filter(|it| !known.contains(&it.path));
    all.extend(gone.map(|it| PathStatus {
        path: it.path.clone(),
        server: String::new(),
        requests: it.requests,
        state: if profile.is_some() { PathState::Disabled } else { PathState::Enabled },
        is_current: false,
    }));
    all
}

/// How counters are called: for programs, and in words.
pub const COUNTERS: [(Counter, &str, &str); 10] = [
    (Counter::Opened, "connections_opened", "connections opened"),
    (Counter::NotOpened, "connections_failed", "connections that could not be opened"),
    (Counter::Closed, "connections_closed", "connections closed"),
    (Counter::Handshakes, "tls_handshakes", "TLS handshakes with certificates"),
    (Counter::Resumptions, "tls_resumptions", "TLS handshakes that resumed a session"),
    (Counter::Queued, "requests_waited", "requests that had to wait for a connection"),
    (Counter::Stale, "connections_stale", "idle connections found dead"),
    (Counter::Retries, "requests_retried", "requests sent again"),
    (Counter::GivenUp, "connections_given_up", "connections given up for another worker"),
    (Counter::Ejections, "ejections", "times that the server was taken out of use"),
];

/// The same for the gateway as a whole.
pub const TALLIES: [(Tally, &str, &str); 5] = [
    (Tally::WorkersStarted, "workers_started", "workers started"),
    (Tally::WorkersLost, "workers_lost", "workers that ended without saying so"),
    (Tally::Reloads, "reloads", "changed configurations in force, counted in each worker"),
    (Tally::ReloadFailures, "reload_failures", "changed configurations that could not be used, counted in each worker"),
    (Tally::Management, "management_requests", "requests answered by the management pages"),
];

#[cfg(test)]
mod tests;
