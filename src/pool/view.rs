//! One generation of the configuration in a worker: the profile, and a pool for each of its servers.
//!
//! A reload makes a second view beside the first. Requests that run keep the pool they began with; the next ones get
//! theirs from the new view. A server whose settings and files are the same keeps its pool, and so its connections.

use std::collections::HashMap;
use std::sync::Arc;

use super::Pool;
use super::rotation::Loaded;
use crate::event_log::{Event, Level, Log, kinds};
use crate::failure::{Code, Failure};
use crate::identity::Identity;
use crate::ledger::Member;
use crate::profile::{Mark, Profile, Route, Security, Server, gateway_mark};

/// The profile, and what belongs to it.
#[derive(Debug)]
pub struct View {
    /// The profile, or why there is none: every request then gets that failure.
    profile: Result<Arc<Profile>, Failure>,
    /// One for each server of the profile, in its order.
    pools: Vec<Arc<Pool>>,
    /// `MAX_CONNECTIONS` as it was when the web server started.
    limit: Option<u32>,
    member: Arc<Member>,
    /// The rows of the application paths in the ledger.
    paths: HashMap<String, usize>,
    /// What this gateway is told from others by, if it sets a cookie.
    gateway: Option<Mark>,
    /// Positions of the pools whose servers have alternatives: they are checked from time to time.
    checked: Vec<usize>,
}

impl View {
    /// The first view of a worker. An identity that cannot be loaded is the failure of its server's requests, and of
    /// nothing else. `limit` is the `MAX_CONNECTIONS` with which the gateway was opened; `None`: it had no profile then.
    pub fn first(profile: Result<Arc<Profile>, Failure>, limit: Option<u32>, member: &Arc<Member>, log: &Log) -> View {
        let mut profile = profile;
        let mut pools = Vec::new();
        let limit = limit.or(profile.as_ref().ok().map(|profile| profile.system.maximum_connections));
        let mut failed = None;
        if let (Ok(profile), Some(limit)) = (&profile, limit) {
            for server in &profile.servers {
                let loaded = Loaded::new(server, 1);
                match &loaded.identity {
                    Ok(identity) => report(server, identity, log),
                    Err(failure) if server.enabled => log.fail(kinds::CERTIFICATE, &server.name, failure),
                    Err(_) => {}
                }
                match Pool::new(Arc::new(server.clone()), loaded, limit, member, log.clone()) {
                    Ok(pool) => pools.push(pool),
                    Err(failure) => failed = Some(failure),
                }
            }
        }
        if let Some(failure) = failed {
            log.write(Level::Error, &failure.to_string());
            profile = Err(failure);
        }
        View::new(profile, pools, limit, member.clone())
    }

    fn new(
        profile: Result<Arc<Profile>, Failure>,
        pools: Vec<Arc<Pool>>,
        limit: Option<u32>,
        member: Arc<Member>,
    ) -> View {
        let mut paths = HashMap::new();
        let mut gateway = None;
        if let Ok(profile) = &profile {
            for application in &profile.applications {
                if let Some(row) = member.ledger().path_row(&application.path) {
                    paths.insert(application.path.clone(), row);
                }
            }
            if profile.system.web_server_id_cookie {
                let machine = rustix::system::uname();
                gateway = Some(gateway_mark(&machine.nodename().to_string_lossy(), &profile.path));
            }
        }
        let checked = profile.as_ref().map(|profile| profile.servers_with_alternatives()).unwrap_or_default();
        for (at, pool) in pools.iter().enumerate() {
            pool.set_alternatives(checked.contains(&at));
        }
        View { profile, pools, limit, member, paths, gateway, checked }
    }

    /// This worker's part in what all workers share.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// The row of an application path in the ledger; `None` if it had no room for it.
    pub fn path_row(&self, path: &str) -> Option<usize> {
        self.paths.get(path).copied()
    }

    /// The pools whose servers have alternatives.
    pub fn checked(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.checked.iter().filter_map(|&at| self.pools.get(at))
    }

    /// The mark of this gateway for its cookie; `None` if it sets none.
    pub fn gateway_mark(&self) -> Option<Mark> {
        self.gateway
    }

    /// The view that follows this one with a new profile. Nothing of this one changes until [`View::succeeds`] is told.
    ///
    /// # Errors
    ///
    /// What would get worse: an enabled server whose files cannot be used, unless they could not be used before either.
    pub fn next(&self, profile: Arc<Profile>, log: &Log) -> Result<View, Vec<Failure>> {
        let mut pools = Vec::new();
        let mut failures = Vec::new();
        let limit = self.limit.unwrap_or(profile.system.maximum_connections);
        self.report_restart(&profile, log);
        for server in &profile.servers {
            let old = self.pool_of(&server.name);
            let loaded = Loaded::new(server, old.map_or(1, |pool| pool.next_generation()));
            if let Some(old) = old.filter(|old| old.serves_like(server, &loaded.identity)) {
                pools.push(old.clone());
                continue;
            }
            match &loaded.identity {
                Ok(identity) => report(server, identity, log),
                Err(failure) if server.enabled => failures.push(failure.clone()),
                Err(_) => {}
            }
            match Pool::new(Arc::new(server.clone()), loaded, limit, &self.member, log.clone()) {
                Ok(pool) => pools.push(pool),
                Err(failure) => failures.push(failure),
            }
        }
        match failures.is_empty() {
            true => Ok(View::new(Ok(profile), pools, Some(limit), self.member.clone())),
            false => Err(failures),
        }
    }

    fn report_restart(&self, next: &Profile, log: &Log) {
        let before = self.profile.as_ref().map(|profile| profile.system.at_restart.as_slice()).unwrap_or_default();
        for (old, (key, value)) in before.iter().zip(&next.system.at_restart) {
            if old.1 != *value {
                let message = format!("[SYSTEM] {key}={value} will be in force when the web server has been restarted");
                log.tell(Event::new(Level::Notice, kinds::CONFIGURATION, "CSP.ini").details(&message));
            }
        }
    }

    /// Ends what `old` had and this view has not: their idle connections are closed, the others when they come back.
    /// Pools that both have learn where their servers stand in the file now. Gives the pools that have ended.
    pub fn succeeds(&self, old: &View) -> Vec<Arc<Pool>> {
        let is_kept = |pool: &&Arc<Pool>| self.pools.iter().any(|kept| Arc::ptr_eq(kept, pool));
        let ended: Vec<Arc<Pool>> = old.pools.iter().filter(|pool| !is_kept(pool)).cloned().collect();
        ended.iter().for_each(|pool| pool.retire());
        for (pool, server) in self.pools.iter().zip(self.profile.iter().flat_map(|profile| &profile.servers)) {
            pool.set_server(Arc::new(server.clone()));
        }
        ended
    }

    /// Lets the event log be as this profile says. One that cannot be used changes nothing.
    pub fn configure(&self, log: &Log) {
        if let Ok(profile) = &self.profile {
            log.configure(&profile.system.event_log, None);
        }
    }

    /// The profile, or why there is none.
    pub fn profile(&self) -> &Result<Arc<Profile>, Failure> {
        &self.profile
    }

    /// One for each server of the profile, in its order.
    pub fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    /// Whether there are certificates to look after.
    pub fn uses_certificates(&self) -> bool {
        self.pools.iter().any(|pool| {
            let server = pool.server();
            server.enabled && server.security.value == Security::Tls
        })
    }

    /// The pool of the server that answers for a path; see [`Profile::route`].
    pub fn pool_for_path(&self, host: Option<&str>, path: &str) -> Result<&Arc<Pool>, Failure> {
        let profile = self.profile.as_ref().map_err(Failure::clone)?;
        let route = profile.route(host, path);
        match route {
            Route::Server { server, .. } => Ok(&self.pools[server]),
            _ => Err(route.failure(profile).unwrap_or_else(|| Failure::new(Code::Internal, "a route without an end"))),
        }
    }

    /// The pool of a server by name.
    pub fn pool_by_name(&self, name: &str) -> Result<&Arc<Pool>, Failure> {
        let profile = self.profile.as_ref().map_err(Failure::clone)?;
        self.pool_of(name).ok_or_else(|| {
            Failure::new(Code::NoServerForPath, format!("{} has no server {name}", profile.path.display()))
        })
    }

    fn pool_of(&self, name: &str) -> Option<&Arc<Pool>> {
        let position = self.profile.as_ref().ok()?.server(name)?;
        self.pools.get(position)
    }
}

/// Tells what an administrator should know of an identity that is about to be used.
pub(super) fn report(server: &Server, identity: &Identity, log: &Log) {
    let tell = |level, text: &String| {
        log.tell(Event::new(level, kinds::CERTIFICATE, "Certificate").details(text).server(&server.name));
    };
    identity.alarms.iter().for_each(|alarm| tell(Level::Warning, alarm));
    identity.notices.iter().for_each(|notice| tell(Level::Notice, notice));
}
