//! The embedded superserver: a small real server for Sclera's demo, tests and applications.
//!
//! It listens, speaks TLS, verifies client certificates, maps a certificate's common name to a user, applies the rules of
//! the service, writes an audit record for each login that fails, and runs applications:
//!
//! ```text
//! merge ──> security objects ──┐                        ┌─> application
//!                            store ──> login decision ──┤
//! listener ──> tls ──> session ┘                        └─> audit
//! ```
//!
//! A connection whose connect message names the application `Sclera Web Gateway` belongs to `%Service_WebGateway`, any
//! other to `%Service_Bindings`. A fresh database has both services enabled with passwords allowed and nothing else,
//! no user, no superserver, and auditing of failed logins switched on.
//!
//! ```
//! use sclera_superserver::{Options, Superserver};
//!
//! let server = Superserver::start(Options::actions("CreateServer:Port=0,BindAddress=127.0.0.1")).unwrap();
//! println!("listens on {}", server.address());
//! ```

#![forbid(unsafe_code)]

pub mod application;
pub mod applications;
pub mod audit;
mod class_test;
mod instance;
mod link;
mod listener;
pub mod login;
pub mod merge;
pub mod objects;
pub mod password;
mod running;
pub mod security;
mod session;
pub mod store;
pub mod tls;

pub use link::{LinkError, PIECE};
pub use listener::HEADER_TIMEOUT;
pub use running::{Counts, Listening, Options, Running, StartError, Superserver, merge_into};
pub use session::VERSION;
