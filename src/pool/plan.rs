//! The servers that one request may be sent to, best first: what the profile says of its path, the ledger of the servers,
//! and the request of its session, put before [`choose`].

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use super::Pool;
use super::choice::{Attempts, Candidate, Mode, Session, choose, takes_turn};
use super::view::View;
use crate::failure::{Code, Failure};
use crate::ledger::now_ms;
use crate::profile::{MOST_CANDIDATES, Mark, Route};

/// Where a request may go.
#[derive(Debug)]
pub struct Plan {
    view: Arc<View>,
    /// Positions of the pools in the view.
    servers: Arc<[usize]>,
    mode: Mode,
    /// The application path's row in the ledger.
    path: Option<usize>,
    /// Chosen when the session is known.
    attempts: Option<Attempts>,
    next: usize,
}

impl Plan {
    /// The servers of a path, asked of a host.
    ///
    /// # Errors
    ///
    /// Why none answers.
    pub fn of(view: Arc<View>, host: Option<&str>, path: &str) -> Result<Plan, Failure> {
        let profile = view.profile().as_ref().map_err(Failure::clone)?;
        let route = profile.route(host, path);
        let Route::Server { application, candidates, .. } = &route else {
            let failure = route.failure(profile);
            return Err(failure.unwrap_or_else(|| Failure::new(Code::Internal, "a route without an end")));
        };
        let (servers, mode) = (candidates.servers.clone(), Mode::of(candidates));
        let path = application.and_then(|application| view.path_row(&application.path));
        Ok(Plan { view, servers, mode, path, attempts: None, next: 0 })
    }

    /// Puts the servers in order for a session.
    pub fn choose(&mut self, session: Session) {
        let now = now_ms();
        let pools = || self.pools();
        let mut candidates = [const { None::<Candidate> }; MOST_CANDIDATES];
        for (place, pool) in candidates.iter_mut().zip(pools()) {
            *place = Some(pool.candidate(self.mode, now));
        }
        let count = pools().count();
        let candidates: [Candidate; MOST_CANDIDATES] = candidates.map(|it| it.unwrap_or(Candidate::ABSENT));
        let turn = if takes_turn(&candidates[..count], self.mode, session) { self.turn() } else { 0 };
        self.attempts = Some(choose(&candidates[..count], self.mode, session, turn));
        self.next = 0;
    }

    /// The next number of the path's count of new sessions. Chance decides for a path that the ledger has no room for.
    fn turn(&self) -> u64 {
        match self.path {
            Some(path) => self.view.member().ledger().next_turn(path),
            None => RandomState::new().build_hasher().finish(),
        }
    }

    /// The next server to try; `None` if all have been.
    pub fn next_server(&mut self) -> Option<Arc<Pool>> {
        let attempt = *self.attempts.as_ref()?.as_slice().get(self.next)?;
        self.next += 1;
        Some(self.view.pools()[self.servers[attempt]].clone())
    }

    /// The servers that may be asked, in no order.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.servers.iter().take(MOST_CANDIDATES).map(|&server| &self.view.pools()[server])
    }

    /// Whether the path has more than one server.
    pub fn has_choice(&self) -> bool {
        self.servers.len() > 1 && self.mode != Mode::Single
    }

    /// Why nobody may be asked, when [`Plan::next_server`] has given no server at all.
    pub fn nobody(&self) -> Failure {
        let names: Vec<String> = self.servers.iter().map(|&at| self.view.pools()[at].server().name.clone()).collect();
        let what = format!("an administrator has taken out of use: {} (`sclera server enable`)", names.join(", "));
        Failure::new(Code::ServerDisabled, what)
    }

    /// The application path's row in the ledger.
    pub fn path(&self) -> Option<usize> {
        self.path
    }

    /// The mark of this gateway, for its cookie; `None` if it sets none.
    pub fn gateway_mark(&self) -> Option<Mark> {
        self.view.gateway_mark()
    }

    /// How often a request may be sent again.
    pub fn retries(&self) -> u32 {
        self.view.profile().as_ref().map_or(0, |profile| profile.system.retries)
    }
}
