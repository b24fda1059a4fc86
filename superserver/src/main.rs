//! The program `sclera-superserver`: serve in the foreground, change the database of a running server, read the audit.

use clap::{Args, Parser, Subcommand};
use sclera_superserver::audit::{self, Filter};
use sclera_superserver::store::{FILE_NAME, Store};
use sclera_superserver::{Options, Superserver, merge_into};
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};

/// The embedded superserver of Sclera.
#[derive(Parser)]
#[command(name = "sclera-superserver", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Apply a merge file and serve until SIGTERM or SIGINT.
    Run(Run),
    /// Apply a merge file to the database; a running server sees it at its next connection.
    Merge(Merge),
    /// Look into the audit.
    #[command(subcommand)]
    Audit(Audit),
}

#[derive(Args)]
struct Run {
    /// The merge file; certificate files that it names are looked for beside it.
    #[arg(long, value_name = "FILE")]
    merge: PathBuf,
    /// Directory of the database [default: the merge file's].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Listen on this port instead of the configured ones; 0 lets the system choose.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// For tests: class Test, and user alice with password secret on %Service_Bindings.
    #[arg(long)]
    class_test: bool,
    /// Threads that serve connections [default: one for each processor].
    #[arg(long, value_name = "NUMBER")]
    threads: Option<usize>,
}

#[derive(Args)]
struct Merge {
    /// Directory of the database [default: the merge file's].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The merge file.
    file: PathBuf,
}

#[derive(Subcommand)]
enum Audit {
    /// List audit records, oldest first.
    List(List),
}

#[derive(Args)]
struct List {
    /// Directory of the database.
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
    /// Only this event, such as LoginFailure.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Only this user; case does not count.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only since then: 2026-11-23, "2026-11-23 18:30" (UTC), or 15m, 2h, 7d for ago.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => run(arguments),
        Command::Merge(Merge { data, file }) => {
            merge_into(data.as_deref(), &file).map_err(Box::from).map(|done| done.iter().for_each(|line| say(line)))
        }
        Command::Audit(Audit::List(arguments)) => list(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.to_string().lines().for_each(say);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Run) -> Result<(), Box<dyn Error>> {
    let Run { merge, data, port, class_test, threads } = arguments;
    let mut options = Options::merge_file(merge).log(say);
    (options.data, options.port, options.class_test, options.threads) = (data, port, class_test, threads);
    // Signals are taken over before anybody is told that the server is ready.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = runtime
        .block_on(async { Ok::<_, io::Error>((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)) })?;
    let running = Superserver::start(options)?;
    running.notes().iter().for_each(|note| say(note));
    let mut output = io::stdout();
    for listener in running.listening() {
        writeln!(output, "ready: {listener}")?;
    }
    output.flush()?;
    runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    running.stop();
    Ok(())
}

fn list(arguments: List) -> Result<(), Box<dyn Error>> {
    let List { data, event, user, since, json } = arguments;
    if !data.join(FILE_NAME).exists() {
        return Err(format!("{} does not exist; name the directory with --data", data.join(FILE_NAME).display()).into());
    }
    let since = since.map(|text| audit::parse_time(&text, OffsetDateTime::now_utc())).transpose()?;
    let records = Store::open(&data)?.audit(&Filter { event, user, since })?;
    let text = if json { audit::as_json_lines(&records) } else { audit::as_text(&records) };
    match io::stdout().write_all(text.as_bytes()) {
        // Somebody who reads only the beginning is no error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// The one way to the terminal for everything that is not output.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "sclera-superserver: {line}");
}
