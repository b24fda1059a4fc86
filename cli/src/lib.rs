//! The `sclera` command: set up, check and explain a Sclera gateway.
//!
//! One file for each command: its options, what it does, and what it prints. Programs that want the deed without the
//! words call the command's function, such as [`pki::init`].
//!
//! Exit codes: 0 all is well, 1 there are warnings, 2 something failed.

pub mod check;
pub mod connections;
pub mod doctor;
pub mod edit;
pub mod explain;
pub mod help;
pub mod identity;
pub mod legacy;
pub mod passwd;
pub mod pki;
pub mod server;
pub mod setup;
pub mod show;
pub mod status;
pub mod test;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use sclera::profile::{Finding, Severity};

/// A memory-safe Web Gateway for InterSystems IRIS.
#[derive(Debug, Parser)]
#[command(name = "sclera", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read a CSP.ini and the files it names, and say what is wrong with them. Touches no network.
    Check(check::Options),
    /// Show the settings in force.
    Show(show::Options),
    /// Set a value in a CSP.ini; no other line is touched.
    Set(edit::Set),
    /// Remove a key or a section from a CSP.ini.
    Unset(edit::Unset),
    /// Add a server to a CSP.ini.
    AddServer(edit::AddServer),
    /// Add an application path to a CSP.ini.
    AddPath(edit::AddPath),
    /// Say which server answers for a URL, and why.
    Explain(explain::Options),
    /// Connect to a server stage by stage, and say what each stage found.
    Test(test::Options),
    /// Look at everything that can be wrong, and say what to do: files, permissions, SELinux, the connection.
    Doctor(doctor::Options),
    /// Show how a running gateway does: workers, servers, connections, paths, failures.
    Status(status::Options),
    /// Tell a running gateway to enable, disable or drain a server, or that it is online again.
    #[command(subcommand)]
    Server(server::Command),
    /// Tell a running gateway to close connections.
    #[command(subcommand)]
    Connections(connections::Command),
    /// The gateway's certificates: show, check, replace.
    #[command(subcommand)]
    Identity(identity::Command),
    /// Set a user of the management pages and the password, asked for or read from standard input.
    Passwd(passwd::Options),
    /// Set up mutual TLS for a server, guided.
    #[command(subcommand)]
    Setup(setup::Command),
    /// Certificates, keys and matching configuration for trying out.
    #[command(subcommand)]
    Pki(pki::Command),
    /// The original's cvtcfg, for scripts.
    #[command(subcommand)]
    Cvtcfg(legacy::Cvtcfg),
    /// The original's CSPpwd, for scripts: print a password in the form that the file has.
    Csppwd(legacy::Csppwd),
    /// Print completions for a shell.
    Completions(help::Completions),
    /// Write man pages to a directory.
    Man(help::Man),
}

/// Which CSP.ini.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// CSP.ini, or its directory.
    #[arg(long, value_name = "FILE", default_value = "/opt/webgateway/bin/CSP.ini")]
    pub config: PathBuf,
}

impl Config {
    /// The file itself.
    pub fn path(&self) -> PathBuf {
        if self.config.is_dir() { self.config.join("CSP.ini") } else { self.config.clone() }
    }
}

/// Prints reasons, and fails.
fn complain(err: &mut dyn Write, reasons: impl IntoIterator<Item = impl Display>) -> io::Result<Outcome> {
    for reason in reasons {
        writeln!(err, "sclera: {reason}")?;
    }
    Ok(Outcome::Failed)
}

/// Control characters of a file must not reach a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '?' } else { it }).collect()
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

/// Why a CSP.ini cannot be used, each error with its code.
fn errors_of(findings: &[Finding]) -> Vec<String> {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors
        .map(|finding| match finding.code {
            Some(code) => format!("{code} {}: {finding}", code.name()),
            None => finding.to_string(),
        })
        .collect()
}

/// Runs the command that `arguments` (with the program's name first) ask for, and prints to `out` and `err`.
pub fn run(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let arguments = legacy::renamed(arguments.into_iter().map(Into::into).collect());
    let outcome = match Arguments::try_parse_from(arguments) {
        Ok(Arguments { command }) => match &command {
            Command::Check(options) => check::run(options, out),
            Command::Show(options) => show::run(options, out, err),
            Command::Set(options) => edit::set(options, out, err),
            Command::Unset(options) => edit::unset(options, out, err),
            Command::AddServer(options) => edit::add_server(options, out, err),
            Command::AddPath(options) => edit::add_path(options, out, err),
            Command::Explain(options) => explain::run(options, out, err),
            Command::Test(options) => test::run(options, out, err),
            Command::Doctor(options) => doctor::run(options, out, err),
            Command::Status(options) => status::run(options, out, err),
            Command::Server(command) => server::run(command, out, err),
            Command::Connections(command) => connections::run(command, out, err),
            Command::Identity(command) => identity::run(command, out, err),
            Command::Passwd(options) => passwd::run(options, out, err),
            Command::Setup(command) => setup::run(command, out, err),
            Command::Pki(command) => pki::run(command, out, err),
            Command::Cvtcfg(command) => legacy::cvtcfg(command, out, err),
            Command::Csppwd(options) => legacy::csppwd(options, out, err),
            Command::Completions(options) => help::completions(options, out),
            Command::Man(options) => help::man(options, out, err),
        },
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
