//! What one worker process has: a pool for each server, the caretaker, and the list of exchanges to wake.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Pool;
use super::caretaker::Caretaker;
use super::wake::ReadyList;
use crate::event_log::{Level, Log};
use crate::failure::{Code, Failure};
use crate::identity::Identity;
use crate::profile::{Profile, Route};

/// A worker process's state; shared by its threads.
#[derive(Debug)]
pub struct Worker {
    /// The profile, or why there is none: every request then gets that failure.
    profile: Result<Arc<Profile>, Failure>,
    /// One for each server of the profile, in its order.
    pools: Vec<Arc<Pool>>,
    caretaker: Caretaker,
    ready: Arc<ReadyList>,
    /// The web server's name and version: `SERVER_SOFTWARE`.
    software: String,
    /// Random, and with `requests` unique: ids for requests whose host gives none.
    id: u64,
    requests: AtomicU64,
}

impl Worker {
    /// Loads the identities as the user this process runs as, and starts the caretaker. An identity that cannot be used
    /// does not stop the worker: requests for its server get the failure.
    pub fn start(profile: Result<Arc<Profile>, Failure>, software: String, log: Log) -> io::Result<Worker> {
        let mut pools = Vec::new();
        if let Ok(profile) = &profile {
            for server in &profile.servers {
                let identity = match server.enabled {
                    true => Identity::load(server, 1).map(Arc::new),
                    false => Err(Failure::new(Code::ServerDisabled, format!("server {} is disabled", server.name))),
                };
                match &identity {
                    Ok(identity) => identity.notices.iter().for_each(|notice| log.write(Level::Notice, notice)),
                    Err(failure) if server.enabled => log.write(Level::Error, &failure.to_string()),
                    Err(_) => {}
                }
                let limit = profile.system.maximum_connections;
                pools.push(Pool::new(Arc::new(server.clone()), identity, limit, log.clone()));
            }
        }
        let caretaker = Caretaker::start(pools.clone())?;
        let mut id = [0; 8];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
        let id = u64::from_ne_bytes(id);
        Ok(Worker { profile, pools, caretaker, ready: ReadyList::new()?, software, id, requests: AtomicU64::new(0) })
    }

    /// The pool of the server that answers for a raw request path.
    pub fn pool_for_path(&self, path: &str) -> Result<&Arc<Pool>, Failure> {
        let profile = self.profile.as_ref().map_err(Failure::clone)?;
        match profile.route(path) {
            Route::Server { server, .. } => Ok(&self.pools[server]),
            Route::ApplicationDisabled(application) => Err(Failure::new(
                Code::ApplicationDisabled,
                format!("application path {} is disabled at {}", application.path, application.origin),
            )),
            Route::ServerDisabled { server, .. } => {
                let server = &profile.servers[server];
                let detail = format!("server {} is disabled at {}", server.name, server.origin);
                Err(Failure::new(Code::ServerDisabled, detail))
            }
            Route::NoServer { detail } => Err(Failure::new(Code::NoServerForPath, detail)),
        }
    }

    /// The pool of a server by name.
    pub fn pool_by_name(&self, name: &str) -> Result<&Arc<Pool>, Failure> {
        let profile = self.profile.as_ref().map_err(Failure::clone)?;
        match profile.server(name) {
            Some(server) => Ok(&self.pools[server]),
            None => {
                Err(Failure::new(Code::NoServerForPath, format!("{} has no server {name}", profile.path.display())))
            }
        }
    }

    pub fn caretaker(&self) -> &Caretaker {
        &self.caretaker
    }

    pub fn ready(&self) -> &Arc<ReadyList> {
        &self.ready
    }

    /// An id that no other request has, in this worker or another.
    pub fn next_request_id(&self) -> String {
        format!("{:016x}{:016x}", self.id, self.requests.fetch_add(1, Ordering::Relaxed))
    }

    pub fn software(&self) -> &str {
        &self.software
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.caretaker.stop();
        self.pools.iter().for_each(|pool| pool.close_all());
    }
}
