//! What one worker process has: the current view of the configuration, the caretaker, and the list of exchanges to wake.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::Pool;
use super::caretaker::Caretaker;
use super::configuration::{Configuration, Source};
use super::errand::Errands;
use super::names::Names;
use super::view::View;
use super::wake::ReadyList;
use crate::connection::resolve;
use crate::event_log::Log;
use crate::failure::Failure;
use crate::ledger::{Ledger, Member};

/// A worker process's state; shared by its threads.
#[derive(Debug)]
pub struct Worker {
    view: Arc<RwLock<Arc<View>>>,
    member: Arc<Member>,
    caretaker: Caretaker,
    names: Arc<Names>,
    errands: Arc<Errands>,
    source: Option<Source>,
    log: Log,
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
    pub fn start(configuration: &Configuration, software: String, log: Log) -> io::Result<Worker> {
        Worker::start_with(configuration, software, log, Names::new(resolve::look_up))
    }

    /// A worker that looks names up in another way.
    pub fn start_with(configuration: &Configuration, software: String, log: Log, names: Names) -> io::Result<Worker> {
        let names = Arc::new(names);
        // A worker that starts after CSP.ini has changed counts to the same limit as those before it.
        let limit = configuration.profile.as_ref().ok().map(|profile| profile.system.maximum_connections);
        let configuration = configuration.renewed(&log);
        let member = Arc::new(Member::join(&configuration.ledger)?);
        let view = View::first(configuration.profile.clone(), limit, &member, &log);
        let view = Arc::new(RwLock::new(Arc::new(view)));
        view.read().configure(&log);
        let errands = Arc::new(Errands::default());
        let source = configuration.source();
        let caretaker = Caretaker::start(
            view.clone(),
            names.clone(),
            errands.clone(),
            configuration.watch(),
            member.clone(),
            log.clone(),
        )?;
        let mut id = [0; 8];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
        let id = u64::from_ne_bytes(id);
        let (ready, requests) = (ReadyList::new()?, AtomicU64::new(0));
        Ok(Worker { view, member, caretaker, names, errands, source, log, ready, software, id, requests })
    }

    /// The configuration as it is now. A request asks once and stays with what it got.
    pub fn view(&self) -> Arc<View> {
        self.view.read().clone()
    }

    /// The pool of the server that answers for a path, asked of a host.
    pub fn pool_for_path(&self, host: Option<&str>, path: &str) -> Result<Arc<Pool>, Failure> {
        self.view().pool_for_path(host, path).cloned()
    }

    /// The pool of a server by name.
    pub fn pool_by_name(&self, name: &str) -> Result<Arc<Pool>, Failure> {
        self.view().pool_by_name(name).cloned()
    }

    /// This worker's part in what all workers share.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Where connections get the addresses of their servers from.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Where work that may block is left.
    pub fn errands(&self) -> &Errands {
        &self.errands
    }

    /// The memory that all workers share.
    pub fn ledger(&self) -> &Arc<Ledger> {
        self.member.ledger()
    }

    /// The files of the configuration.
    pub fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    pub fn log(&self) -> &Log {
        &self.log
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
        self.errands.stop();
        self.caretaker.stop();
        self.names.stop();
        self.view().pools().iter().for_each(|pool| pool.close_all());
    }
}
