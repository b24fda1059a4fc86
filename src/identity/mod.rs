//! The identity: how the gateway logs in to a server, and the certificates, key and trust it does it with.
//!
//! [`credential()`] says how the login is done. [`Identity::load`] reads what TLS needs, checks it as one set, and makes the
//! one rustls configuration that all connections of the server share.

mod credential;

use std::sync::Arc;

pub use credential::{Credential, credential};
use rustls_pki_types::ServerName;

use crate::failure::Failure;
use crate::profile::Server;

/// The gateway's certificate chain, key and trusted CAs for one server, loaded and checked as one set.
#[derive(Debug)]
pub struct Identity {
    /// Which load of this server's files it is; connections made with an older one are to be retired.
    pub generation: u64,
    /// What TLS needs; `None` if the security level is not TLS.
    pub tls: Option<Tls>,
    /// What an administrator should know about the files, one sentence each.
    pub notices: Vec<String>,
}

/// What a TLS connection to the server is made with.
#[derive(Debug)]
pub struct Tls {
    /// The shared configuration; cloning the `Arc` is all a connection does with it.
    pub config: Arc<rustls::ClientConfig>,
    /// The name for SNI and for verification, from `Ip_Address`.
    pub server_name: ServerName<'static>,
}

/// What checking the files of a server found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// What keeps the identity from being used.
    pub errors: Vec<Failure>,
    /// What will, or does, but should not fail the check of a configuration: expiry.
    pub warnings: Vec<Failure>,
    /// What an administrator should know, one sentence each.
    pub notices: Vec<String>,
}

impl Identity {
    /// Reads and checks the files of a server.
    ///
    /// # Errors
    ///
    /// The first problem found, with the path and the setting that named it; also [`Server::unusable`].
    pub fn load(server: &Server, generation: u64) -> Result<Identity, Failure> {
        let _ = server;
        Ok(Identity { generation, tls: None, notices: Vec::new() })
    }

    /// Checks the files of a server without keeping anything, and reports all problems. Touches no network and changes
    /// no file.
    pub fn check(server: &Server) -> Checked {
        let _ = server;
        Checked::default()
    }

    /// What verification found wrong with the server though the profile lets the connection be made, as of the latest
    /// full handshake.
    pub fn standing_warning(&self) -> Option<String> {
        None
    }

    /// The standing warning, the first time each distinct text is asked for: for the log.
    pub fn new_standing_warning(&self) -> Option<String> {
        None
    }
}
