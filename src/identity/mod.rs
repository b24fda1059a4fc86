//! The identity: how the gateway logs in to a server, and the certificates, key and trust it does it with.
//!
//! [`credential()`] says how the login is done. [`Identity::load`] reads what TLS needs, checks it as one set, and makes the
//! one rustls configuration that all connections of the server share.

mod access;
mod credential;
mod encrypted;
mod files;
mod inspect;
mod tls;

use std::time::SystemTime;

pub use access::check_as_user;
pub use credential::{Credential, credential};
pub use inspect::Facts;
pub use tls::Tls;

use crate::failure::Failure;
use crate::profile::{Security, Server};
use files::Files;

/// The gateway's certificate chain, key and trusted CAs for one server, loaded and checked as one set.
#[derive(Debug)]
pub struct Identity {
    /// Which load of this server's files it is; connections made with an older one are to be retired.
    pub generation: u64,
    /// Of what the files held: the same for the same content. It is for noticing changes, not for trust.
    pub fingerprint: u64,
    /// What TLS needs; `None` if the security level is not TLS.
    pub tls: Option<Tls>,
    /// The facts of the gateway's own certificate, for display; `None` if it has none.
    pub facts: Option<Facts>,
    /// What an administrator should know about the files, one sentence each.
    pub notices: Vec<String>,
}

/// What checking the files of a server found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// What keeps the identity from being used.
    pub errors: Vec<Failure>,
    /// What keeps it from being used too, but should not fail the check of a configuration: a certificate outside its
    /// time.
    pub warnings: Vec<Failure>,
    /// What an administrator should know, one sentence each.
    pub notices: Vec<String>,
}

impl Identity {
    /// Reads and checks the files of a server. They are used, and so read, only if the security level is TLS.
    ///
    /// # Errors
    ///
    /// The first problem found, with the path and the setting that named it; also [`Server::unusable`].
    pub fn load(server: &Server, generation: u64) -> Result<Identity, Failure> {
        let (identity, checked) = Identity::examine(server, generation, SystemTime::now());
        match checked.errors.into_iter().chain(checked.warnings).next() {
            Some(failure) => Err(failure),
            None => Ok(identity),
        }
    }

    /// Checks the files of a server without keeping anything, and reports all problems. Touches no network and changes
    /// no file.
    pub fn check(server: &Server) -> Checked {
        Identity::examine(server, 0, SystemTime::now()).1
    }

    /// What verification found wrong with the server though the profile lets the connection be made, as of the latest
    /// full handshake.
    pub fn standing_warning(&self) -> Option<String> {
        self.tls.as_ref()?.standing.current()
    }

    /// The standing warning, the first time each distinct text is asked for: for the log.
    pub fn new_standing_warning(&self) -> Option<String> {
        self.tls.as_ref()?.standing.take_new()
    }

    /// The identity as far as it can be made, and everything found on the way. It is complete if there is no error.
    fn examine(server: &Server, generation: u64, now: SystemTime) -> (Identity, Checked) {
        let mut identity = Identity { generation, fingerprint: 0, tls: None, facts: None, notices: Vec::new() };
        let mut checked = Checked::default();
        checked.errors.extend(server.unusable());
        if server.security.value == Security::Tls {
            let mut files = Files::read(server, &tls::provider(), now);
            identity.notices.append(&mut files.notices);
            identity.facts = files.facts.clone();
            identity.fingerprint = files.fingerprint();
            checked.errors.append(&mut files.errors);
            checked.warnings.append(&mut files.expiry);
            if checked.errors.is_empty() {
                match Tls::new(server, &files, &mut identity.notices) {
                    Ok(tls) => identity.tls = Some(tls),
                    Err(failure) => checked.errors.push(failure),
                }
            }
        }
        checked.notices = identity.notices.clone();
        (identity, checked)
    }
}

#[cfg(test)]
mod tests;
