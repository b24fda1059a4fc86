//! `sclera connections`: orders to a running gateway about its connections.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use sclera::ledger::Ledger;
use sclera::status::command::{self, Which};

use crate::status::Place;
use crate::{Config, Outcome, complain};

/// What to do with connections.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Close connections: idle ones at once, others after their request. New ones are made as requests need them.
    Close(Close),
}

/// Which connections, and how.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub struct Close {
    #[command(flatten)]
    pub config: Config,
    /// All connections to this server.
    #[arg(long, value_name = "SERVER", group = "which")]
    pub server: Option<String>,
    /// All connections to all servers.
    #[arg(long, group = "which")]
    pub all: bool,
    /// The connection of this number, as `sclera status` shows it.
    #[arg(group = "which")]
    pub number: Option<u32>,
    /// Do not wait for requests: break them off.
    #[arg(long)]
    pub interrupt: bool,
}

/// Asks the workers for it.
pub fn run(command: &Command, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let Command::Close(options) = command;
    let place = Place::of(&options.config);
    let ledger = match Ledger::command(&place.csp_ini, &place.directory) {
        Ok(ledger) => ledger,
        Err(error) => return complain(err, place.complaints(&error, "write")),
    };
    let which = match (&options.server, options.number) {
        (Some(server), _) => Which::Server(server.clone()),
        (None, Some(number)) => Which::Number(number),
        (None, None) => Which::All,
    };
    let asked = command::close(&ledger, &which, options.interrupt);
    let busy = if options.interrupt { "broken off" } else { "closed after their requests" };
    match (asked.idle, asked.busy) {
        (0, 0) => complain(err, ["there is no such connection; see: sclera status"]).map(|_| Outcome::Warned),
        (idle, 0) => writeln!(out, "{idle} idle: closed").map(|()| Outcome::Well),
        (0, count) => writeln!(out, "{count} busy: {busy}").map(|()| Outcome::Well),
        (idle, count) => writeln!(out, "{idle} idle: closed; {count} busy: {busy}").map(|()| Outcome::Well),
    }
}
