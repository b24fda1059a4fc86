//! Identities that change while the worker runs: replaced files are loaded as a whole set or not at all, an identity
//! whose certificate has ended is not used any more, and what is about to end is told in time.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::Pool;
use super::view::{View, report};
use super::watch::{Stamps, Watched, stamps};
use crate::event_log::{Event, Level, Log, kinds};
use crate::failure::{Code, Failure};
use crate::identity::Identity;
use crate::identity::expiry::Reminder;
use crate::profile::{Security, Server, Setting};

/// How often the files of the servers are looked at. A change is in force after two looks.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// The files of a server, as they were just before they were read for the identity beside them.
#[derive(Debug)]
pub struct Loaded {
    pub(super) identity: Result<Arc<Identity>, Failure>,
    pub(super) files: Watched,
}

impl Loaded {
    /// Loads the identity of a server, if it is enabled.
    pub fn new(server: &Server, generation: u64) -> Loaded {
        let files = Watched::new(stamps_of(server));
        let identity = match server.enabled {
            true => Identity::load(server, generation).map(Arc::new),
            false => Err(Failure::new(Code::ServerDisabled, format!("server {} is disabled", server.name))),
        };
        Loaded { identity, files }
    }
}

fn files_of(server: &Server) -> Vec<PathBuf> {
    match server.enabled && server.security.value == Security::Tls {
        true => server.tls.files().map(|file| file.value.clone()).collect(),
        false => Vec::new(),
    }
}

fn stamps_of(server: &Server) -> Stamps {
    stamps(files_of(server).iter().map(PathBuf::as_path))
}

/// What the caretaker remembers between two looks.
#[derive(Debug, Default)]
pub struct Rotation {
    reminder: Reminder,
}

/// What is left to do after new files were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Nothing,
    /// A new key needs another password. If a `{command}` gives it, only reading the configuration anew runs that.
    ReadConfiguration,
}

impl Rotation {
    /// Looks at the files and certificates of every server of a view. Gives the pools whose files have changed, for
    /// [`renew`].
    pub fn look(&mut self, view: &View, log: &Log, now: SystemTime) -> Vec<Weak<Pool>> {
        let mut changed = Vec::new();
        for pool in view.pools() {
            if pool.files_are_due(stamps_of(&pool.server())) {
                changed.push(Arc::downgrade(pool));
            }
            end_what_has_ended(pool, log, now);
            if let Ok(identity) = pool.identity() {
                let due = self.reminder.due(&pool.server().name, &identity, now);
                let name = &pool.server().name;
                due.iter().for_each(|warning| tell(Level::Warning, warning, name, log));
            }
        }
        changed
    }
}

/// Puts the changed files of a server into force, if they can be used.
pub fn renew(pool: &Pool, log: &Log) -> After {
    let files = stamps_of(&pool.server());
    match take_over(pool, log) {
        Ok(()) => After::Nothing,
        // They have moved on meanwhile, so what was read belongs to no set; the next look sees the new ones.
        Err(_) if files != stamps_of(&pool.server()) => After::Nothing,
        Err(failure) => {
            report_unusable(pool, &failure, log);
            if failure.code == Code::KeyPasswordWrong { After::ReadConfiguration } else { After::Nothing }
        }
    }
}

/// When to look again: at the usual time, or when the first certificate of a view ends, if that is earlier.
pub fn next_look(view: &View, now: Instant, clock: SystemTime) -> Instant {
    let ends = view.pools().iter().filter_map(|pool| pool.identity().ok()?.ends());
    let first = ends.filter_map(|end| end.duration_since(clock).ok()).min();
    now + first.map_or(LOOK, |left| left.min(LOOK))
}

/// Puts what the files hold now into force, if it can be used.
fn take_over(pool: &Pool, log: &Log) -> Result<(), Failure> {
    let server = pool.server();
    let new = Identity::load(&server, pool.next_generation())?;
    if pool.identity().is_ok_and(|old| old.fingerprint == new.fingerprint) {
        return Ok(());
    }
    report(&server, &new, log);
    let whose = new.facts.as_ref().map(|facts| format!(" (CN={}, serial {})", facts.user(), facts.serial));
    let whose = whose.unwrap_or_default();
    let text = format!("server {}: the new certificates{whose} are in force", server.name);
    tell(Level::Notice, &text, &server.name, log);
    pool.rotate(Ok(Arc::new(new)));
    Ok(())
}

fn report_unusable(pool: &Pool, failure: &Failure, log: &Log) {
    let kept = match pool.identity() {
        Ok(_) => "the files have changed, but the identity read before stays in force",
        Err(_) => "the files have changed, but cannot be used yet",
    };
    let server = pool.server();
    let text = format!("server {}: {kept}: {failure}", server.name);
    let event = Event::new(Level::Error, kinds::CERTIFICATE, failure.code.name()).details(&text);
    log.tell(event.server(&server.name).code(failure.code));
}

/// No connection outlives the certificate that it was made with.
fn end_what_has_ended(pool: &Pool, log: &Log, now: SystemTime) {
    let Ok(identity) = pool.identity() else { return };
    let server = pool.server();
    let failure = ended(&server);
    if identity.has_ended(now) && pool.end_identity(&identity, &failure) {
        log.fail(kinds::CERTIFICATE, &server.name, &failure);
    }
}

/// The failure of a server whose certificate ended while it was in force.
pub(super) fn ended(server: &Server) -> Failure {
    let place = |file: &Setting<PathBuf>| format!("{}={}", file.place("SSLCC_Certificate_File"), file.value.display());
    let place = server.tls.certificate_file.as_ref().map(place).unwrap_or_default();
    Failure::new(Code::CertificateExpired, format!("{place} has expired"))
}

fn tell(level: Level, text: &str, server: &str, log: &Log) {
    log.tell(Event::new(level, kinds::CERTIFICATE, "Certificate").details(text).server(server));
}
