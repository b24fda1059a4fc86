//! The stock httpd with our module.

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::host::{Run, run};
use crate::process::{Server, wait_until};
use crate::scene::{Scene, free_port, worker_user};
use crate::web_server::{WebServer, module, preload};

/// What every test may use of httpd's own modules.
const MODULES: &str =
    "authz_core authn_core authn_file authz_user auth_basic alias dir env mime negotiation rewrite setenvif";

#[derive(Clone, Copy, Debug)]
pub enum Mpm {
    Prefork,
    Worker,
    Event,
}

impl Mpm {
    pub const ALL: [Mpm; 3] = [Mpm::Prefork, Mpm::Worker, Mpm::Event];

    fn module(self) -> &'static str {
        match self {
            Mpm::Prefork => "mpm_prefork",
            Mpm::Worker => "mpm_worker",
            Mpm::Event => "mpm_event",
        }
    }
}

/// The line that loads the module under a name; existing configurations say `csp_module_sa`.
pub fn load(name: &str) -> String {
    format!("LoadModule {name} {}\n", module("mod_sclera.so").display())
}

/// Builds a module from `tests/modules` in this directory, with httpd's own tool.
pub fn build(name: &str, directory: &Path) -> PathBuf {
    let source = format!("{name}.c");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules").join(&source);
    // The tool leaves what it makes on the way beside the source.
    fs::copy(&from, directory.join(&source)).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    let strict = ["-Wc,-Wall", "-Wc,-Wextra", "-Wc,-Werror", "-Wc,-Wno-missing-field-initializers"];
    let built = run(Command::new("apxs").current_dir(directory).arg("-c").args(strict).arg(&source));
    assert!(built.success, "{built:?}");
    directory.join(".libs").join(name).with_extension("so")
}

/// An httpd in front of a scene.
#[derive(Debug)]
pub struct Apache {
    server: Server,
    port: u16,
    directory: PathBuf,
}

impl Apache {
    /// Starts it with the module loaded, CSP.ini named, and these directives.
    pub fn start_with(scene: &Scene, mpm: Mpm, directives: &str) -> Apache {
        let csp = format!("{}CSPConfigPath {}\n", load("csp_module_sa"), scene.directory().display());
        Apache::start_bare(scene, mpm, &(csp + directives))
    }

    /// Starts it with these directives alone.
    pub fn start_bare(scene: &Scene, mpm: Mpm, directives: &str) -> Apache {
        let (directory, port) = prepare(scene, mpm, directives);
        // A group of its own: the prefork MPM ends its children by signalling its whole group.
        let mut server = Server::start(httpd(&directory).arg("-DFOREGROUND").stderr(Stdio::null()).process_group(0));
        let accepts = wait_until(|| match server.ended() {
            Some(_) => Some(false),
            None => TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true),
        });
        let apache = Apache { server, port, directory };
        assert_eq!(accepts, Some(true), "httpd does not start: {}", apache.error_log());
        // It listens before it is ready for signals, and a restart asked for too early would end it.
        let is_ready = || apache.error_log().contains("resuming normal operations").then_some(());
        assert!(wait_until(is_ready).is_some(), "{}", apache.error_log());
        apache
    }

    /// Runs `apache2 -t` on these directives.
    pub fn test(scene: &Scene, directives: &str) -> Run {
        let (directory, _) = prepare(scene, Mpm::Event, directives);
        run(httpd(&directory).arg("-t"))
    }

    /// Where the error log is, for what is written to it at the end.
    pub fn error_log_path(&self) -> PathBuf {
        self.directory.join("error.log")
    }

    /// The access log so far: request line, status, `id=` and the request's id.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.directory.join("access.log")).unwrap_or_default()
    }
}

impl WebServer for Apache {
    /// Directives of the server.
    fn start(scene: &Scene, directives: &str) -> Apache {
        Apache::start_with(scene, Mpm::Event, directives)
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn error_log(&self) -> String {
        fs::read_to_string(self.error_log_path()).unwrap_or_default()
    }

    /// Restarts gracefully; none of the old children takes connections any more.
    fn reload(&self) -> bool {
        let resumed = || self.error_log().matches("resuming normal operations").count();
        // Before it says so for the first time it does not listen to signals, and one would end it.
        assert!(wait_until(|| (resumed() > 0).then_some(())).is_some(), "{}", self.error_log());
        let (before, old) = (resumed(), self.workers());
        self.ask_reload();
        wait_until(|| {
            let now = self.workers();
            (resumed() > before && !now.is_empty() && old.iter().all(|pid| !now.contains(pid))).then_some(true)
        })
        .unwrap_or_else(|| panic!("the restart has no outcome: {}", self.error_log()))
    }

    fn ask_reload(&self) {
        self.server.signal(Signal::USR1);
    }

    fn stop(mut self) -> bool {
        self.server.stop(Signal::TERM).is_some_and(|status| status.success())
    }

    fn workers(&self) -> Vec<u32> {
        self.server.children()
    }
}

/// A directory with a complete configuration, and the port in it.
fn prepare(scene: &Scene, mpm: Mpm, directives: &str) -> (PathBuf, u16) {
    let port = free_port();
    let directory = scene.directory().join(format!("apache-{port}"));
    fs::create_dir(&directory).expect("a fresh directory");
    let modules = MODULES.split(' ').chain([mpm.module()]);
    let modules = modules.map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
    let user = worker_user().map_or("", |_| "User www-data\nGroup www-data\n");
    let configuration = format!(
        "{modules}{user}ServerName localhost\nListen 127.0.0.1:{port}\nPidFile {here}/httpd.pid\nDefaultRuntimeDir {here}\n\
         TypesConfig /etc/mime.types\nDocumentRoot {root}/www\nErrorLog {here}/error.log\n\
         LogFormat \"%r %>s id=%{{SCLERA_REQUEST_ID}}e\" test\nCustomLog {here}/access.log test\n{directives}\n",
        modules = modules.collect::<String>(),
        here = directory.display(),
        root = scene.directory().display(),
    );
    fs::write(directory.join("httpd.conf"), configuration).expect("a fresh directory");
    (directory, port)
}

fn httpd(directory: &std::path::Path) -> Command {
    let mut command = Command::new("/usr/sbin/apache2");
    command.arg("-d").arg(directory).arg("-f").arg(directory.join("httpd.conf")).stdin(Stdio::null());
    preload(&mut command);
    command
}
