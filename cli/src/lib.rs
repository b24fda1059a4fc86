//! The `sclera` command: set up, check and explain a Sclera gateway.
//!
//! One file for each command: its options, what it does, and what it prints. Programs that want the deed without the
//! words call the command's function, such as [`pki::init`].
//!
//! Exit codes: 0 all is well, 1 there are warnings, 2 something failed.

pub mod check;
pub mod pki;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A memory-safe Web Gateway for InterSystems IRIS.
#[derive(Debug, Parser)]
#[command(name = "sclera", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Certificates, keys and matching configuration for trying out.
    #[command(subcommand)]
    Pki(pki::Command),
    /// Read a CSP.ini and the files it names, and say what is wrong with them. Touches no network.
    Check(check::Options),
}

/// How a command ended; the order is that of the exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All is well.
    Well,
    /// There are warnings.
    Warned,
    /// Something failed.
    Failed,
}

/// Runs the command that `arguments` (with the program's name first) ask for, and prints to `out` and `err`.
pub fn run(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let outcome = match Arguments::try_parse_from(arguments) {
        Ok(Arguments { command: Command::Pki(command) }) => pki::run(&command, out, err),
        Ok(Arguments { command: Command::Check(options) }) => check::run(&options, out),
        Err(error) => {
            let written = if error.use_stderr() { write!(err, "{error}") } else { write!(out, "{error}") };
            written.map(|()| if error.use_stderr() { Outcome::Failed } else { Outcome::Well })
        }
    };
    match outcome {
        Ok(outcome) => ExitCode::from(outcome as u8),
        // Whoever reads our output has heard enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(Outcome::Failed as u8),
    }
}
