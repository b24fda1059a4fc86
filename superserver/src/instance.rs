//! What all connections of one running superserver share, and the login as the instance sees it: the pure decision fed
//! from the database, with its traces in account and audit.

use crate::application::Application;
use crate::audit::{self, Peer};
use crate::login::{self, Attempt, Granted, Mechanism, Reason, Refused, Secret};
use crate::security::ServiceName;
use crate::store::{Store, StoreError, today};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// One running superserver.
pub struct Instance {
    /// Security objects and audit.
    pub store: Store,
    /// The applications and where they are mounted.
    pub routes: Routes,
    /// Whether the class `Test` exists.
    pub class_test: bool,
    /// What has happened so far.
    pub counters: Counters,
    log: Log,
    last_process: AtomicU32,
}

/// Takes lines for the log.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// What has happened since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// TLS handshakes that failed.
    pub tls_failures: AtomicU64,
    /// Logins granted.
    pub logins: AtomicU64,
    /// Logins refused, whether audited or not.
    pub refusals: AtomicU64,
    /// Web requests that reached an application.
    pub requests: AtomicU64,
}

/// A login attempt with all that it needs, on its way to a thread that may wait for the database.
pub struct Offer {
    /// The service asked for.
    pub service: ServiceName,
    /// Whether the superserver serves it.
    pub served_here: bool,
    /// Where the connection comes from.
    pub address: IpAddr,
    /// User name; may be empty.
    pub user: Zeroizing<String>,
    /// Password; may be empty.
    pub password: Zeroizing<String>,
    /// Common names of the verified client certificate.
    pub common_names: Option<Vec<String>>,
}

/// The refusal that counts towards the invalid login limit of an account.
const INVALID_PASSWORD: u16 = 952;

impl Instance {
    /// An instance that nobody has connected to yet.
    pub fn new(store: Store, routes: Routes, class_test: bool, log: Log) -> Instance {
        // Numbers look like a system's process numbers and differ between runs.
        let last_process = AtomicU32::new(std::process::id());
        Instance { store, routes, class_test, counters: Counters::default(), log, last_process }
    }

    /// A process number that no other connection has.
    pub fn new_process(&self) -> u32 {
        self.last_process.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Writes a line to the log. Names that peers offer stand in some of them, so control characters are made visible.
    pub fn log(&self, line: &str) {
        (self.log)(&line.replace(char::is_control, "\u{fffd}"));
    }

    /// Judges a login; notes it with the account, and a refusal in the audit. Waits for database and password hash: not
    /// for a thread that serves connections.
    pub fn admit(&self, offer: &Offer, peer: &Peer) -> Result<Granted, Refused> {
        let outcome = self.judge(offer).unwrap_or_else(|error| {
            self.log(&format!("login refused, because the database failed: {error}"));
            let reason = Reason { number: 801, text: "Logins are disabled: the security database failed".to_owned() };
            Err(Refused { username: offer.user.to_string(), mechanism: None, reason })
        });
        match &outcome {
            Ok(granted) => {
                self.counters.logins.fetch_add(1, Ordering::Relaxed);
                self.complain(self.store.note_login(&granted.username, today()));
                self.note("Login", &offer.service.to_string(), granted, peer);
            }
            Err(refused) => {
                if refused.reason.number == INVALID_PASSWORD {
                    self.complain(self.store.note_failure(&refused.username));
                }
                let Refused { username, mechanism, reason } = refused;
                self.refuse(&offer.service.to_string(), username, *mechanism, reason, peer);
            }
        }
        outcome
    }

    /// Audits a login or its end, if that is switched on.
    pub fn note(&self, event: &str, service: &str, login: &Granted, peer: &Peer) {
        let record =
            audit::login_event(OffsetDateTime::now_utc(), event, service, &login.username, login.mechanism, peer);
        self.complain(self.store.write_audit(&record));
    }

    /// Counts, logs and audits a refusal.
    pub fn refuse(&self, service: &str, user: &str, mechanism: Option<Mechanism>, reason: &Reason, peer: &Peer) {
        self.counters.refusals.fetch_add(1, Ordering::Relaxed);
        self.log(&format!("{service} login failure from {}: {reason}", peer.address));
        let record = audit::login_failure(OffsetDateTime::now_utc(), service, user, mechanism, reason, peer);
        self.complain(self.store.write_audit(&record));
    }

    fn judge(&self, offer: &Offer) -> Result<Result<Granted, Refused>, StoreError> {
        let service = self.store.service(offer.service)?;
        let system = self.store.system()?;
        let attempt = Attempt {
            service: offer.service,
            served_here: offer.served_here,
            address: offer.address,
            user: &offer.user,
            password: Secret(&offer.password),
            common_names: offer.common_names.as_deref(),
            today: today(),
        };
        let find_user = |name: &str| {
            self.store.user(name).unwrap_or_else(|error| {
                self.log(&format!("user {name} cannot be read: {error}"));
                None
            })
        };
        Ok(login::decide(&attempt, &service, &system, &find_user))
    }

    fn complain<T>(&self, result: Result<T, StoreError>) {
        if let Err(error) = result {
            self.log(&format!("the database failed: {error}"));
        }
    }
}

/// Which application answers which path.
#[derive(Default)]
pub struct Routes(Vec<(String, Arc<dyn Application>)>);

impl Routes {
    /// Mounts an application at a path such as `/csp/demo`, for it and all below. A second one at the same path takes the
    /// first one's place.
    pub fn mount(&mut self, path: &str, application: Arc<dyn Application>) {
        let path = path.trim_end_matches('/').to_owned();
        self.0.retain(|(known, _)| *known != path);
        self.0.push((path, application));
        self.0.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    }

    /// The application with the longest path that `path` begins with, in whole segments; case counts.
    pub fn find(&self, path: &[u8]) -> Option<&Arc<dyn Application>> {
        let holds = |mounted: &str| {
            path.strip_prefix(mounted.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        self.0.iter().find(|(mounted, _)| holds(mounted)).map(|(_, application)| application)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::{Exchange, Handling, Request};

    struct Nothing;

    impl Application for Nothing {
        fn handle<'a>(&'a self, _: &'a Request<'_>, _: &'a mut Exchange<'_>) -> Handling<'a> {
            Box::pin(async { Ok(()) })
        }
    }

    #[test]
    fn the_longest_path_in_whole_segments_wins_and_case_counts() {
        let mut routes = Routes::default();
        let applications: Vec<Arc<dyn Application>> =
            (0..3).map(|_| Arc::new(Nothing) as Arc<dyn Application>).collect();
        let [demo, echo, all] = &applications[..] else { unreachable!() };
        routes.mount("/csp/demo/", demo.clone());
        routes.mount("/csp/demo/echo", echo.clone());
        let found = |routes: &Routes, path: &str| {
            routes.find(path.as_bytes()).and_then(|found| applications.iter().position(|one| same(one, found)))
        };
        // Nothing has a size, so applications are told apart by the place of their Arc.
        fn same(one: &Arc<dyn Application>, other: &Arc<dyn Application>) -> bool {
            std::ptr::addr_eq(one, other) || Arc::ptr_eq(one, other)
        }
        assert_eq!(found(&routes, "/csp/demo"), Some(0));
        assert_eq!(found(&routes, "/csp/demo/echo/x"), Some(1));
        assert_eq!(found(&routes, "/csp/demo/echoes"), Some(0));
        assert_eq!(found(&routes, "/csp/demonstration"), None);
        assert_eq!(found(&routes, "/CSP/demo/"), None);
        routes.mount("/", all.clone());
        assert_eq!(found(&routes, "/CSP/demo/"), Some(2));
    }
}
