//! Starting and stopping: from options to listeners that serve, on threads of their own.

use crate::application::Application;
use crate::instance::{Instance, Log, Routes};
use crate::listener::Listener;
use crate::merge::{self, Remark};
use crate::security::TlsSupport;
use crate::store::{ApplyError, Store, StoreError, today};
use crate::{applications, class_test};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// What to start, and how.
pub struct Options {
    merge: Source,
    /// Directory of the database. Without one, a merge file's database is in its directory, and that of actions given as
    /// text is in memory.
    pub data: Option<PathBuf>,
    /// Listen on this port, whatever the superservers' own ports are; 0 lets the system choose.
    pub port: Option<u16>,
    /// Add the class `Test`, and let user `alice` with password `secret` in to call it.
    pub class_test: bool,
    /// Applications, each with the path it is mounted at, besides those that come along.
    pub applications: Vec<(String, Arc<dyn Application>)>,
    /// Takes the lines of the log, which hold no secrets. By default nobody does.
    pub log: Log,
    /// Threads that serve connections; by default one for each processor.
    pub threads: Option<usize>,
}

enum Source {
    File(PathBuf),
    Text { actions: String, directory: PathBuf },
}

/// The embedded superserver.
pub struct Superserver;

/// A superserver that serves. Dropping it stops it.
pub struct Running {
    instance: Arc<Instance>,
    listening: Vec<Listening>,
    notes: Vec<String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One listener of a running superserver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The port of its settings.
    pub configured_port: u16,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: TlsSupport,
    /// Serves `%Service_WebGateway`.
    pub csp: bool,
    /// Serves `%Service_Bindings`.
    pub clients: bool,
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// TLS handshakes that failed.
    pub tls_failures: u64,
    /// Logins granted.
    pub logins: u64,
    /// Logins refused, whether audited or not.
    pub refusals: u64,
    /// Web requests that reached an application or found none.
    pub requests: u64,
}

/// Why a superserver did not start.
#[derive(Debug)]
pub enum StartError {
    /// The merge file cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// The merge has mistakes; here are all of them.
    Merge(String, Vec<Remark>),
    /// The database failed.
    Store(StoreError),
    /// Superservers that cannot listen or have no usable TLS configuration; each sentence names the setting.
    Settings(Vec<String>),
    /// The system gives no threads.
    System(std::io::Error),
}

/// How long a stopping server waits for what runs on its threads.
const FAREWELL: Duration = Duration::from_secs(5);

impl Options {
    /// Serve what a merge file says. Its files are looked for beside it.
    pub fn merge_file(path: impl Into<PathBuf>) -> Options {
        Self::new(Source::File(path.into()))
    }

    /// Serve what these actions say, one a line, without a section head. Relative files belong to the working directory.
    pub fn actions(actions: &str) -> Options {
        Self::actions_in(actions, Path::new("."))
    }

    /// The same with files that belong to `directory`.
    pub fn actions_in(actions: &str, directory: impl Into<PathBuf>) -> Options {
        Self::new(Source::Text { actions: actions.to_owned(), directory: directory.into() })
    }

    fn new(merge: Source) -> Options {
        Options {
            merge,
            data: None,
            port: None,
            class_test: false,
            applications: Vec::new(),
            log: Arc::new(|_| {}),
            threads: None,
        }
    }

    /// Keeps the database in `directory`.
    pub fn data(mut self, directory: impl Into<PathBuf>) -> Options {
        self.data = Some(directory.into());
        self
    }

    /// Listens on `port` instead of the configured ones; 0 lets the system choose.
    pub fn port(mut self, port: u16) -> Options {
        self.port = Some(port);
        self
    }

    /// Adds the class `Test`, and user `alice` with password `secret`.
    pub fn class_test(mut self) -> Options {
        self.class_test = true;
        self
    }

    /// Mounts an application at `path` and all below it.
    pub fn application(mut self, path: &str, application: impl Application) -> Options {
        self.applications.push((path.to_owned(), Arc::new(application)));
        self
    }

    /// Gives each line of the log to `log`.
    pub fn log(mut self, log: impl Fn(&str) + Send + Sync + 'static) -> Options {
        self.log = Arc::new(log);
        self
    }
}

impl Superserver {
    /// Applies the merge, binds every enabled superserver, and serves until [`Running::stop`] or drop.
    pub fn start(options: Options) -> Result<Running, StartError> {
        let Options { merge, data, port, class_test, applications, log, threads } = options;
        let store = open_store(&merge, data.as_deref())?;
        store.reset_audit_counters().map_err(StartError::Store)?;
        let mut notes = merge.apply(&store)?;
        if class_test {
            let actions =
                merge::parse(class_test::ACTIONS, Path::new(".")).expect("the actions of the class test are good");
            store.apply(&actions.actions, today()).map_err(|error| StartError::apply("--class-test", error))?;
            notes.push("class Test and user alice are there for tests; password logins are allowed".to_owned());
        }
        let mut routes = Routes::default();
        for (path, application) in applications::all() {
            routes.mount(path, application);
        }
        for (path, application) in applications {
            routes.mount(&path, application);
        }
        let instance = Arc::new(Instance::new(store, routes, class_test, log));
        let runtime = runtime(threads).map_err(StartError::System)?;
        let listeners = bind_all(&instance, &runtime, port)?;
        let listening = listeners.iter().map(Listening::of).collect();

        let (stop, stopped) = oneshot::channel();
        let serving = instance.clone();
        let serve = move || {
            runtime.block_on(async {
                let attendance = Attendance::start(listeners, serving);
                // With another port than the configured one there is nothing to compare with.
                let attend = async {
                    match port {
                        None => attendance.attend().await,
                        Some(_) => std::future::pending().await,
                    }
                };
                tokio::select! {
                    // An error means that the sender is gone, which says the same.
                    _ = stopped => {}
                    () = attend => {}
                }
            });
            runtime.shutdown_timeout(FAREWELL);
        };
        let thread = std::thread::Builder::new().name("superserver".to_owned()).spawn(serve);
        let thread = Some(thread.map_err(StartError::System)?);
        Ok(Running { instance, listening, notes, stop: Some(stop), thread })
    }
}

/// The listeners that run, kept in step with the database.
struct Attendance {
    instance: Arc<Instance>,
    /// By configured port and address.
    running: Vec<((u16, String), tokio::task::JoinHandle<()>)>,
    /// Superservers that could not be bound, so that each is complained of once.
    refused: Vec<(u16, String)>,
}

/// How often the database is asked whether superservers have come or gone.
const LOOK: Duration = Duration::from_millis(500);

impl Attendance {
    fn start(listeners: Vec<Listener>, instance: Arc<Instance>) -> Attendance {
        let mut attendance = Attendance { instance, running: Vec::new(), refused: Vec::new() };
        listeners.into_iter().for_each(|listener| attendance.run(listener));
        attendance
    }

    fn run(&mut self, listener: Listener) {
        let key = (listener.server().port, listener.server().bind_address.clone());
        self.running.push((key, tokio::spawn(listener.run(self.instance.clone()))));
    }

    /// Starts superservers that have been made or enabled, and ends those that are no more; for ever.
    async fn attend(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let asked = self.instance.clone();
            let Ok(Ok(servers)) = tokio::task::spawn_blocking(move || asked.store.servers()).await else { continue };
            let wanted: Vec<_> = servers.into_iter().filter(|server| server.enabled).collect();
            let key = |server: &crate::security::Server| (server.port, server.bind_address.clone());
            self.running.retain(|(running, task)| {
                let stays = wanted.iter().any(|server| key(server) == *running);
                if !stays {
                    task.abort();
                }
                stays
            });
            self.refused.retain(|refused| wanted.iter().any(|server| key(server) == *refused));
            for server in wanted {
                let key = key(&server);
                if self.running.iter().any(|(running, _)| *running == key) || self.refused.contains(&key) {
                    continue;
                }
                match Listener::bind(server, None) {
                    Ok(listener) => {
                        self.instance.log(&format!("ready: {}", listener.address()));
                        self.run(listener);
                    }
                    Err(problem) => {
                        self.instance.log(&problem);
                        self.refused.push(key);
                    }
                }
            }
        }
    }
}

impl Running {
    /// Every listener, by configured port.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// The address of the first listener.
    pub fn address(&self) -> SocketAddr {
        self.listening[0].address
    }

    /// The port of the first listener.
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// The address of the listener that was configured with `port`.
    pub fn address_of(&self, port: u16) -> Option<SocketAddr> {
        self.listening.iter().find(|one| one.configured_port == port).map(|one| one.address)
    }

    /// What the merge did, and what of it has no effect here.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The database: security objects and audit.
    pub fn store(&self) -> &Store {
        &self.instance.store
    }

    /// Applies further actions, one a line; they hold for new connections.
    pub fn apply(&self, actions: &str) -> Result<Vec<String>, StartError> {
        Source::Text { actions: actions.to_owned(), directory: ".".into() }.apply(self.store())
    }

    /// What has happened since the start.
    pub fn counts(&self) -> Counts {
        let counters = &self.instance.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connections: read(&counters.connections),
            tls_failures: read(&counters.tls_failures),
            logins: read(&counters.logins),
            refusals: read(&counters.refusals),
            requests: read(&counters.requests),
        }
    }

    /// Closes every listener and connection, and waits until that is done.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Applies a merge file to the database in `data`, or in the file's directory; a server that runs on it sees the
/// changes at its next connection. Returns what was done, a sentence each.
pub fn merge_into(data: Option<&Path>, file: &Path) -> Result<Vec<String>, StartError> {
    let source = Source::File(file.to_owned());
    source.apply(&open_store(&source, data)?)
}

fn open_store(merge: &Source, data: Option<&Path>) -> Result<Store, StartError> {
    let store = match (data, merge) {
        (Some(directory), _) => Store::open(directory),
        (None, Source::File(file)) => Store::open(directory_of(file)),
        (None, Source::Text { .. }) => Store::in_memory(),
    };
    store.map_err(StartError::Store)
}

impl Source {
    /// Applies the merge; returns what was done and what has no effect, in the order of the lines.
    fn apply(&self, store: &Store) -> Result<Vec<String>, StartError> {
        let (name, text, directory) = match self {
            Source::File(file) => {
                let bytes = std::fs::read(file).map_err(|error| StartError::Unreadable(file.clone(), error))?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                (file.display().to_string(), text, directory_of(file))
            }
            Source::Text { actions, directory } => ("actions".to_owned(), actions.clone(), directory.as_path()),
        };
        let parsed = match self {
            Source::File(_) => merge::parse(&text, directory),
            Source::Text { .. } => merge::parse_actions(&text, directory),
        };
        let merge = parsed.map_err(|problems| StartError::Merge(name.clone(), problems))?;
        let done = store.apply(&merge.actions, today()).map_err(|error| StartError::apply(&name, error))?;
        let mut remarks: Vec<Remark> = merge.notices.into_iter().chain(done).collect();
        remarks.sort_by_key(|remark| remark.line);
        Ok(remarks.iter().map(|remark| format!("{name}:{}: {}", remark.line, remark.text)).collect())
    }
}

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn runtime(threads: Option<usize>) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.max(1));
    }
    builder.enable_all().thread_name("superserver").build()
}

/// Binds every enabled superserver and checks its TLS configuration; all problems come together.
fn bind_all(instance: &Instance, runtime: &Runtime, port: Option<u16>) -> Result<Vec<Listener>, StartError> {
    let _entered = runtime.enter();
    let servers = instance.store.servers().map_err(StartError::Store)?;
    let mut listeners = Vec::new();
    let mut problems = Vec::new();
    for server in servers.into_iter().filter(|server| server.enabled) {
        match Listener::bind(server, port) {
            Ok(listener) => {
                problems.extend(listener.check(instance).err().unwrap_or_default());
                listeners.push(listener);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if listeners.is_empty() && problems.is_empty() {
        problems.push("there is no enabled superserver; add CreateServer:Port=...,EnableCSP=1 to the merge".to_owned());
    }
    listeners.sort_by_key(|listener| listener.server().port);
    if problems.is_empty() { Ok(listeners) } else { Err(StartError::Settings(problems)) }
}

impl Listening {
    fn of(listener: &Listener) -> Listening {
        let server = listener.server();
        Listening {
            configured_port: server.port,
            address: listener.address(),
            tls: server.tls,
            csp: server.enable_csp,
            clients: server.enable_clients,
        }
    }
}

impl fmt::Display for Listening {
    /// `127.0.0.1:51773 TLS required, serves CSP and clients`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = match self.tls {
            TlsSupport::Disabled => "plain",
            TlsSupport::Enabled => "TLS or plain",
            TlsSupport::Required => "TLS required",
        };
        let serves = match (self.csp, self.clients) {
            (true, true) => "CSP and clients",
            (true, false) => "CSP",
            (false, true) => "clients",
            (false, false) => "nobody",
        };
        write!(f, "{} {tls}, serves {serves}", self.address)
    }
}

impl StartError {
    fn apply(name: &str, error: ApplyError) -> StartError {
        match error {
            ApplyError::Actions(problems) => StartError::Merge(name.to_owned(), problems),
            ApplyError::Store(error) => StartError::Store(error),
        }
    }
}

impl fmt::Display for StartError {
    /// One line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = match self {
            StartError::Unreadable(path, error) => vec![format!("{} cannot be read: {error}", path.display())],
            StartError::Merge(name, problems) => {
                problems.iter().map(|problem| format!("{name}:{}: {}", problem.line, problem.text)).collect()
            }
            StartError::Store(error) => vec![error.to_string()],
            StartError::Settings(problems) => problems.clone(),
            StartError::System(error) => vec![format!("cannot start threads: {error}")],
        };
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for StartError {}
