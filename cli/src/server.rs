//! `sclera server`: orders to a running gateway about one of its servers.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use sclera::ledger::Ledger;
use sclera::status::command::{self, Order};

use crate::status::Place;
use crate::{Config, Outcome, complain};

/// What the server is to do. It holds for all workers, reloads included, until the web server has been stopped; what is to
/// last longer is set in CSP.ini.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve again, after disable or drain.
    Enable(Options),
    /// Serve no request, until enable.
    Disable(Options),
    /// Serve the sessions that it has, but no new ones, until enable.
    Drain(Options),
    /// Count as well again at once, after failures had it taken out of use.
    Online(Options),
}

/// Which server.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub config: Config,
    /// The server, as [SYSTEM_INDEX] names it.
    pub server: String,
}

/// Writes the order into the ledger.
pub fn run(command: &Command, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let (options, order, told) = match command {
        Command::Enable(options) => (options, Order::Enable, "serves again"),
        Command::Disable(options) => (options, Order::Disable, "gets no requests any more"),
        Command::Drain(options) => (options, Order::Drain, "gets no new sessions any more"),
        Command::Online(options) => (options, Order::Online, "counts as well again"),
    };
    let place = Place::of(&options.config);
    let ledger = match Ledger::command(&place.csp_ini, &place.directory) {
        Ok(ledger) => ledger,
        Err(error) => return complain(err, place.complaints(&error, "write")),
    };
    let server = &options.server;
    if !command::order(&ledger, server, order) {
        let names: Vec<String> = ledger.snapshot().servers.into_iter().map(|server| server.name).collect();
        return complain(err, [format!("the gateway has no server {server}; it has: {}", names.join(", "))]);
    }
    let listed = place.profile.as_ref().and_then(|profile| Some(&profile.servers[profile.server(server)?]));
    match listed {
        Some(server) if !server.enabled && matches!(order, Order::Enable | Order::Drain) => {
            let name = &server.name;
            let file = place.csp_ini.display();
            complain(err, [format!("server {name} is not enabled in [SYSTEM_INDEX] of {file}, which goes first")])?;
            Ok(Outcome::Warned)
        }
        _ => {
            writeln!(out, "server {server} {told}")?;
            Ok(Outcome::Well)
        }
    }
}
