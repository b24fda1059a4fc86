//! Debian's httpd with a configuration of its own, ended with the value.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::host::{Run, run};
use crate::root;

/// How long starting, stopping and reloading may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// The line that loads the module as existing configurations do.
pub fn load_module() -> String {
    format!("LoadModule csp_module_sa {}\n", module().display())
}

pub fn module() -> PathBuf {
    let module = root().join("build/mod_sclera.so");
    assert!(module.exists(), "{} is missing: run `make build`", module.display());
    module
}

/// A configuration in a directory; not running yet.
pub struct Site {
    directory: TempDir,
    pub port: u16,
}

impl Site {
    /// The modules and settings of every test, then `directives`. `DOCUMENTS` in them stands for the document root.
    pub fn new(mpm: Mpm, directives: &str) -> Site {
        let directory = tempfile::Builder::new().prefix("sclera-apache.").tempdir_in("/tmp").expect("a directory");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|probe| probe.local_addr()).expect("a free port").port();
        let site = Site { directory, port };
        fs::create_dir(site.documents()).expect("the document root");
        let mut text = String::new();
        let modules =
            "authz_core authn_core authn_file authz_user auth_basic alias dir env mime negotiation rewrite setenvif";
        for module in modules.split(' ').chain([mpm.module()]) {
            text += &format!("LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so\n");
        }
        let path = site.path().display();
        text += &format!(
            "ServerName localhost\nListen 127.0.0.1:{port}\nPidFile {path}/httpd.pid\nDefaultRuntimeDir {path}\n\
             User www-data\nGroup www-data\nTypesConfig /etc/mime.types\nDocumentRoot {documents}\n\
             ErrorLog {path}/error.log\nLogFormat \"%r %>s id=%{{SCLERA_REQUEST_ID}}e\" test\nCustomLog {path}/access.log test\n\
             GracefulShutdownTimeout 5\n",
            documents = site.documents().display(),
        );
        text += &directives.replace("DOCUMENTS", &site.documents().display().to_string());
        fs::write(site.path().join("httpd.conf"), text).expect("writing httpd.conf");
        let open = |path: &Path| {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("opening the directory");
        };
        open(site.path());
        site
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a static file below the document root.
    pub fn file(self, path: &str, content: &str) -> Site {
        let path = self.documents().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
        fs::write(path, content).expect("writing a file");
        self
    }

    pub fn documents(&self) -> PathBuf {
        self.path().join("htdocs")
    }

    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("/usr/sbin/apache2");
        command.arg("-d").arg(self.path()).arg("-f").arg(self.path().join("httpd.conf")).stdin(Stdio::null());
        command
    }

    /// `apache2 -t`.
    pub fn check(&self) -> Run {
        run(self.command().arg("-t"))
    }

    pub fn start(self) -> Apache {
        let mut command = self.command();
        // A group of its own: the prefork MPM ends its children by signalling the whole group.
        command.arg("-DFOREGROUND").stderr(Stdio::null()).process_group(0);
        let process = command.spawn().expect("apache2 starts");
        let mut apache = Apache { site: self, process };
        apache.wait_until("listens", |apache| TcpStream::connect(("127.0.0.1", apache.port())).is_ok());
        apache
    }
}

/// A running httpd.
pub struct Apache {
    pub site: Site,
    process: Child,
}

impl Apache {
    pub fn start(mpm: Mpm, directives: &str) -> Apache {
        Site::new(mpm, directives).start()
    }

    pub fn port(&self) -> u16 {
        self.site.port
    }

    pub fn error_log(&self) -> String {
        self.site.log("error.log")
    }

    /// Reads the configuration anew and waits until that is done.
    pub fn graceful(&mut self) {
        let resumed = |apache: &mut Apache| apache.error_log().matches("resuming normal operations").count();
        let before = resumed(self);
        self.signal("USR1");
        self.wait_until("restarts gracefully", |apache| resumed(apache) > before);
    }

    /// The process ids of the children.
    pub fn children(&self) -> Vec<u32> {
        let listed = run(Command::new("pgrep").arg("-P").arg(self.process.id().to_string()));
        listed.stdout.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Ends it in an orderly way; whether its exit status was 0.
    pub fn stop(mut self) -> bool {
        self.signal("TERM");
        self.process.wait().expect("waiting for apache2").success()
    }

    fn signal(&self, name: &str) {
        let sent = run(Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()));
        assert!(sent.success, "{sent:?}");
    }

    pub fn wait_until(&mut self, what: &str, mut happened: impl FnMut(&mut Apache) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !happened(self) {
            let ended = self.process.try_wait().expect("asking for apache2");
            assert!(ended.is_none() && Instant::now() < deadline, "{what}: not seen. {ended:?} {}", self.error_log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            self.signal("TERM");
            let _ = self.process.wait();
        }
    }
}
