//! The identity: how the gateway logs in to a server, and the certificates, key and trust it does it with.
//!
//! [`credential()`] says how the login is done. [`Identity::load`] reads what TLS needs, checks it as one set, and makes the
//! one rustls configuration that all connections of the server share.

mod chain;
pub mod cipher_string;
mod credential;
pub mod encrypted;
pub mod expiry;
mod files;
mod flaw;
mod inspect;
mod key_log;
mod pkcs11;
mod tls;
mod verification;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use credential::{Credential, credential};
pub use flaw::{Flaw, describe};
pub use inspect::{Facts, implausible_user};
pub use tls::Tls;
pub use verification::public_key_digest;

use rustls_pki_types::CertificateDer;

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
    /// The facts of its intermediates, as the file has them.
    pub intermediates: Vec<Facts>,
    /// The facts of the CAs of the CA file.
    pub authorities: Vec<Facts>,
    /// What an administrator should know about the files, one sentence each.
    pub notices: Vec<String>,
    /// What an administrator should look at soon, one sentence each.
    pub alarms: Vec<String>,
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
    /// What an administrator should look at soon, one sentence each.
    pub alarms: Vec<String>,
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

    /// The identity as far as it can be made, for display, and everything found on the way.
    pub fn inspect(server: &Server, now: SystemTime) -> (Identity, Checked) {
        Identity::examine(server, 0, now)
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

    /// The certificates that the superserver showed in the latest full handshake, its own first, whether they were
    /// accepted or not.
    pub fn server_chain(&self) -> Arc<[CertificateDer<'static>]> {
        self.tls.as_ref().map_or_else(|| Arc::new([]) as _, |tls| tls.standing.chain())
    }

    /// The facts of the superserver's own certificate among them.
    pub fn server_facts(&self) -> Option<Facts> {
        Facts::of(self.server_chain().first()?)
    }

    /// When the gateway's certificate ends; `None` if it has none.
    pub fn ends(&self) -> Option<SystemTime> {
        let end = self.facts.as_ref()?.not_after;
        // Its last second is still good.
        Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(end).unwrap_or(0) + 1))
    }

    /// Whether the gateway's certificate has ended: nothing may be sent with it any more.
    pub fn has_ended(&self, now: SystemTime) -> bool {
        self.ends().is_some_and(|end| now >= end)
    }

    /// Every certificate that the identity rests on, with whose it is.
    pub fn certificates(&self) -> Vec<(expiry::Owner, Facts)> {
        let own = self.facts.iter().cloned().map(|facts| (expiry::Owner::Gateway, facts));
        let authorities = self.authorities.iter().cloned().map(|facts| (expiry::Owner::Authority, facts));
        let server = self.server_facts().map(|facts| (expiry::Owner::Superserver, facts));
        own.chain(authorities).chain(server).collect()
    }

    /// The identity as far as it can be made, and everything found on the way. It is complete if there is no error.
    fn examine(server: &Server, generation: u64, now: SystemTime) -> (Identity, Checked) {
        let mut identity = Identity {
            generation,
            fingerprint: 0,
            tls: None,
            facts: None,
            intermediates: Vec::new(),
            authorities: Vec::new(),
            notices: Vec::new(),
            alarms: Vec::new(),
        };
        let mut checked = Checked::default();
        checked.errors.extend(server.unusable());
        if server.security.value == Security::Tls {
            let mut files = Files::read(server, &tls::provider(), now);
            identity.notices.append(&mut files.notices);
            identity.alarms.append(&mut files.alarms);
            if let Some(file) = &server.tls.key_log_file {
                let (place, path) = (file.place("Sclera_Key_Log_File"), file.value.display());
                identity.alarms.push(format!(
                    "{place}={path}: the secrets of all TLS connections to server {} are written there, and whoever reads them \
                     reads all traffic; remove the setting when you have what you need",
                    server.name
                ));
            }
            identity.facts = files.facts.clone();
            identity.intermediates = files.intermediates();
            identity.authorities = files.ca_certificates.iter().filter_map(|it| Facts::of(it)).collect();
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
        checked.alarms = identity.alarms.clone();
        (identity, checked)
    }
}

#[cfg(test)]
mod tests;
