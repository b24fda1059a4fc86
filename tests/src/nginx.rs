//! The stock nginx with our module.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::process::{Server, wait_until};
use crate::scene::{Scene, free_port, worker_user};
use crate::web_server::{WebServer, module, preload};

/// An nginx in front of a scene.
#[derive(Debug)]
pub struct Nginx {
    server: Server,
    port: u16,
    directory: PathBuf,
}

/// What its configuration says beyond the least.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings<'a> {
    /// At the top level.
    pub main: &'a str,
    /// In `http`. Empty: where CSP.ini is.
    pub http: &'a str,
    /// In the only `server`.
    pub locations: &'a str,
    /// A file that it sees in the place of `/etc/hosts`, if [`can_replace_hosts`].
    pub hosts: Option<&'a Path>,
}

/// What `nginx -t` said.
#[derive(Debug)]
pub struct Verdict {
    pub accepted: bool,
    pub text: String,
}

impl Nginx {
    /// Starts it with more than locations.
    pub fn start_with(scene: &Scene, settings: Settings) -> Nginx {
        let nginx = Nginx::start_alone(scene, settings);
        assert!(wait_until(|| (!nginx.workers().is_empty()).then_some(())).is_some(), "no worker");
        nginx
    }

    /// Starts it without asking for a worker process, for `master_process off`.
    pub fn start_alone(scene: &Scene, settings: Settings) -> Nginx {
        let (directory, port) = prepare(scene, settings);
        let mut command = nginx(&directory);
        command.args(["-g", "daemon off;"]);
        if let Some(hosts) = settings.hosts {
            command = with_hosts(hosts, &command);
        }
        let mut server = Server::start(command.stdin(Stdio::null()).stderr(Stdio::null()));
        let accepts = wait_until(|| match server.ended() {
            Some(_) => Some(false),
            None => TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true),
        });
        let nginx = Nginx { server, port, directory };
        assert_eq!(accepts, Some(true), "nginx does not start: {}", nginx.error_log());
        nginx
    }

    /// Runs `nginx -t`.
    pub fn test(scene: &Scene, settings: Settings) -> Verdict {
        let (directory, _) = prepare(scene, settings);
        let output = nginx(&directory).arg("-t").output().expect("nginx runs");
        // Notices stand in the log only.
        let log = fs::read_to_string(directory.join("error.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &log;
        Verdict { accepted: output.status.success(), text }
    }

    /// The access log so far.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.directory.join("access.log")).unwrap_or_default()
    }

    /// Waits for a line of the error log that holds `text`.
    pub fn wait_for_log(&self, text: &str) -> bool {
        wait_until(|| self.error_log().contains(text).then_some(())).is_some()
    }

    fn refusals(&self) -> usize {
        self.error_log().lines().filter(|line| line.contains("[emerg]")).count()
    }
}

impl WebServer for Nginx {
    fn start(scene: &Scene, locations: &str) -> Nginx {
        Nginx::start_with(scene, Settings { locations, ..Settings::default() })
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn error_log(&self) -> String {
        fs::read_to_string(self.directory.join("error.log")).unwrap_or_default()
    }

    /// The new configuration is in force when none of the old workers takes connections any more.
    fn reload(&self) -> bool {
        let old = self.workers();
        let refusals = self.refusals();
        self.ask_reload();
        wait_until(|| {
            let now = self.workers();
            if self.refusals() > refusals {
                return Some(false);
            }
            let replaced = !now.is_empty() && old.iter().all(|pid| !now.contains(pid));
            replaced.then_some(true)
        })
        .unwrap_or_else(|| panic!("the reload has no outcome: {}", self.error_log()))
    }

    fn ask_reload(&self) {
        self.server.signal(Signal::HUP);
    }

    fn stop(mut self) -> bool {
        self.server.stop(Signal::QUIT).is_some_and(|status| status.success())
    }

    fn workers(&self) -> Vec<u32> {
        let title = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let serves = |pid: &u32| title(pid).trim_end_matches(['\0', ' ']) == "nginx: worker process";
        self.server.children().into_iter().filter(serves).collect()
    }
}

/// A directory with a complete configuration, and the port in it.
fn prepare(scene: &Scene, settings: Settings) -> (PathBuf, u16) {
    let port = free_port();
    let directory = scene.directory().join(format!("nginx-{port}"));
    fs::create_dir(&directory).expect("a fresh directory");
    fs::write(directory.join("nginx.conf"), configuration(scene, settings, &directory, port))
        .expect("a fresh directory");
    (directory, port)
}

fn configuration(scene: &Scene, settings: Settings, directory: &Path, port: u16) -> String {
    let Settings { main, http, locations, .. } = settings;
    let module = module("ngx_http_sclera_module.so");
    let user = worker_user().map_or("", |_| "user www-data;");
    let csp = format!("CSPConfigPath {};", scene.directory().display());
    let http = if http.is_empty() { &csp } else { http };
    let workers = if main.contains("worker_processes") { "" } else { "worker_processes 1;" };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|name| format!("{name}_temp_path {}/{name};\n", directory.display())).concat();
    format!(
        "load_module {module};\n{user}\n{workers}\npid {directory}/nginx.pid;\n\
         error_log {directory}/error.log info;\n{main}\nevents {{ worker_connections 1024; }}\n\
         http {{\naccess_log {directory}/access.log;\n{temporary}{http}\n\
         server {{\nlisten 127.0.0.1:{port};\nroot {root}/www;\n{locations}\n}}\n}}\n",
        module = module.display(),
        directory = directory.display(),
        root = scene.directory().display(),
    )
}

/// Whether a program can be given an `/etc/hosts` of its own: not everybody may mount.
pub fn can_replace_hosts() -> bool {
    let output = with_hosts(Path::new("/etc/hosts"), &Command::new("true")).output();
    output.is_ok_and(|output| output.status.success())
}

/// The same program in a mount namespace of its own.
fn with_hosts(hosts: &Path, program: &Command) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"", "sh"]);
    command.arg(hosts).arg(program.get_program()).args(program.get_args());
    command
}

fn nginx(directory: &Path) -> Command {
    let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(program.unwrap_or("nginx"));
    command.arg("-c").arg(directory.join("nginx.conf")).arg("-e").arg(directory.join("error.log")).stdin(Stdio::null());
    preload(&mut command);
    command
}
