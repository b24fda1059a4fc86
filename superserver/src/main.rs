//! The program `sclera-superserver`: serve in the foreground, change the database of a running server, read the audit.

use clap::{Args, Parser, Subcommand};
use sclera_superserver::audit::{self, Filter};
use sclera_superserver::security::Kind;
use sclera_superserver::store::{FILE_NAME, Store, today};
use sclera_superserver::{Options, Superserver, merge, merge_into, objects};
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
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
    /// Look into the audit, and switch it on and off.
    #[command(subcommand)]
    Audit(Audit),
    /// Users: their accounts, roles and passwords.
    #[command(subcommand)]
    User(Objects),
    /// Roles: what their holders may use.
    #[command(subcommand)]
    Role(Objects),
    /// TLS configurations.
    #[command(subcommand)]
    Tls(Objects),
    /// The two services: mechanisms and addresses.
    #[command(subcommand)]
    Service(Objects),
}

/// What can be done with objects of a kind. A running superserver sees changes at its next connection.
#[derive(Subcommand)]
enum Objects {
    /// List them.
    List(Data),
    /// Show every property of one; no password is shown.
    Show(One),
    /// Make one; one that exists is changed.
    Create(Change),
    /// Change one.
    Modify(Change),
    /// Remove one.
    Delete(One),
}

#[derive(Args)]
struct Data {
    /// Directory of the database.
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
}

#[derive(Args)]
struct One {
    #[command(flatten)]
    data: Data,
    name: String,
}

#[derive(Args)]
struct Change {
    #[command(flatten)]
    data: Data,
    /// Read the password of a user, or of a private key, from a file, or from standard input (-).
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    name: String,
    /// As in a merge file, such as Enabled=0.
    #[arg(value_name = "PROPERTY=VALUE")]
    properties: Vec<String>,
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
    /// How often each event has happened since the start, also while auditing is off.
    Counters(Data),
    /// Switch auditing on, or one event such as LoginFailure.
    Enable(Switch),
    /// Switch auditing off, or one event.
    Disable(Switch),
}

#[derive(Args)]
struct Switch {
    #[command(flatten)]
    data: Data,
    /// The event; without one, auditing as a whole.
    event: Option<String>,
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
        Command::Audit(Audit::Counters(data)) => counters(&data),
        Command::Audit(Audit::Enable(switch)) => switch.to(true),
        Command::Audit(Audit::Disable(switch)) => switch.to(false),
        Command::User(command) => command.run(Kind::User),
        Command::Role(command) => command.run(Kind::Role),
        Command::Tls(command) => command.run(Kind::SslConfig),
        Command::Service(command) => command.run(Kind::Service),
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

impl Objects {
    fn run(self, kind: Kind) -> Result<(), Box<dyn Error>> {
        let changed = |verb: &str, change: Change| {
            let Change { data, password_file, name, properties } = change;
            let password = password_file.map(|file| read_secret(&file)).transpose()?;
            let property = if kind == Kind::User { "Password" } else { "PrivateKeyPassword" };
            let secret = password.as_deref().map(|password| (property, password));
            let done = objects::change(&data.store()?, verb, kind, &name, &properties, secret)?;
            done.iter().for_each(|line| say(line));
            Ok(())
        };
        match self {
            Objects::List(data) => print(&objects::list(&data.store()?, kind)?),
            Objects::Show(One { data, name }) => print(&objects::show(&data.store()?, kind, &name)?),
            Objects::Create(change) => changed("Create", change),
            Objects::Modify(change) => changed("Modify", change),
            Objects::Delete(One { data, name }) => {
                changed("Delete", Change { data, password_file: None, name, properties: Vec::new() })
            }
        }
    }
}

impl Data {
    /// The database, which must be there.
    fn store(&self) -> Result<Store, Box<dyn Error>> {
        let file = self.data.join(FILE_NAME);
        if !file.exists() {
            return Err(format!("{} does not exist; name the directory with --data", file.display()).into());
        }
        Ok(Store::open(&self.data)?)
    }
}

impl Switch {
    fn to(self, on: bool) -> Result<(), Box<dyn Error>> {
        let flag = u8::from(on);
        let action = match &self.event {
            None => format!("ModifySystem:AuditEnabled={flag}"),
            Some(event) => {
                let kind = if event.ends_with("Change") { "%Security" } else { "%Login" };
                format!("ModifyEvent:Source=%System,Type={kind},Name={event},Enabled={flag}")
            }
        };
        let merge = merge::parse_actions(&action, Path::new(".")).map_err(|problems| problems[0].text.clone())?;
        let done = self.data.store()?.apply(&merge.actions, today()).map_err(|error| format!("{error:?}"))?;
        done.iter().for_each(|remark| say(&remark.text));
        Ok(())
    }
}

fn counters(data: &Data) -> Result<(), Box<dyn Error>> {
    print(&objects::counters(&data.store()?.audit_counters()?))
}

fn read_secret(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    match file == Path::new("-") {
        true => io::stdin().read_line(&mut text).map(drop)?,
        false => text = std::fs::read_to_string(file)?,
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn list(arguments: List) -> Result<(), Box<dyn Error>> {
    let List { data, event, user, since, json } = arguments;
    let store = Data { data }.store()?;
    let since = since.map(|text| audit::parse_time(&text, OffsetDateTime::now_utc())).transpose()?;
    let records = store.audit(&Filter { event, user, since })?;
    print(&if json { audit::as_json_lines(&records) } else { audit::as_text(&records) })
}

fn print(text: &str) -> Result<(), Box<dyn Error>> {
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
