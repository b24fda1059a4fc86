//! A scene: everything in front of which a web server is tried. A fresh directory with certificates, CSP.ini and static
//! files, and an embedded superserver in this process.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

use sclera_cli::pki;
use sclera_superserver::application::Application;
use sclera_superserver::{Options, Running, Superserver};
use tempfile::TempDir;

/// The user that the gateway's certificate names.
pub const USER: &str = "WebUser";

/// See the module.
pub struct Scene {
    // First, so that it ends before its directory goes.
    superserver: Option<Running>,
    directory: TempDir,
    port: u16,
}

impl Scene {
    /// A scene with the applications that come along with the superserver.
    pub fn new() -> Scene {
        Scene::with(|options| options)
    }

    /// A scene with one more application.
    pub fn with_application(path: &str, application: impl Application) -> Scene {
        Scene::with(|options| options.application(path, application))
    }

    /// A scene whose superserver is set up further.
    pub fn with(set_up: impl FnOnce(Options) -> Options) -> Scene {
        let mut scene = Scene::empty(pki::DEFAULT_PORT);
        let options = Options::merge_file(scene.directory().join("superserver.cpf")).port(0);
        let superserver = Superserver::start(set_up(options)).unwrap_or_else(|error| panic!("{error}"));
        let port = superserver.port();
        scene.edit_csp_ini(|text| text.replace(&tcp_port(scene.port), &tcp_port(port)));
        scene.port = port;
        scene.superserver = Some(superserver);
        scene
    }

    /// A scene in which nothing listens on the superserver's port.
    pub fn without_superserver() -> Scene {
        Scene::empty(free_port())
    }

    fn empty(port: u16) -> Scene {
        // Everybody can pass through, and transcripts' line breaks depend on its length.
        let directory = TempDir::with_prefix_in("sclera-", "/tmp").expect("a temporary directory");
        // The web server's workers look into it as their own user.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its owner may");
        let options = pki::Options { port, ..pki::Options::new(directory.path(), USER) };
        let written = pki::init(&options).expect("the certificates can be written");
        if let Some((uid, gid)) = worker_user() {
            for path in [&written.gateway.0, &written.gateway.1, &written.config] {
                chown(path, Some(uid), Some(gid)).expect("root may");
            }
        }
        let scene = Scene { superserver: None, directory, port };
        let run = scene.directory().join("run");
        fs::create_dir(&run).expect("a fresh directory");
        if let Some((uid, gid)) = worker_user() {
            chown(&run, Some(uid), Some(gid)).expect("root may");
        }
        scene.edit_csp_ini(|text| {
            text.replacen("[SYSTEM]\n", &format!("[SYSTEM]\nSclera_Runtime_Directory={}\n", run.display()), 1)
        });
        fs::create_dir(scene.directory().join("www")).expect("a fresh directory");
        scene.static_file("static.txt", b"static\n");
        scene
    }

    /// One more superserver with the same certificates and users, on a free port; CSP.ini gets to know it by this name.
    pub fn another_superserver(&self, name: &str, set_up: impl FnOnce(Options) -> Options) -> Running {
        let superserver = self.start_another(name, 0, set_up);
        let port = superserver.port();
        self.edit_csp_ini(|text| {
            let (_, rest) = text.split_once("[LOCAL]\n").expect("the section of LOCAL");
            let (section, _) = rest.split_once("\n\n").expect("a section ends");
            let section = section.replace(tcp_port(self.port).trim_end(), tcp_port(port).trim_end());
            text.replace("LOCAL=Enabled\n", &format!("LOCAL=Enabled\n{name}=Enabled\n"))
                .replace("[LOCAL]\n", &format!("[{name}]\n{section}\n\n[LOCAL]\n"))
        });
        superserver
    }

    /// Starts such a superserver on this port.
    pub fn start_another(&self, name: &str, port: u16, set_up: impl FnOnce(Options) -> Options) -> Running {
        let data = self.directory().join(name);
        fs::create_dir_all(&data).expect("its owner may");
        let options = Options::merge_file(self.directory().join("superserver.cpf")).data(data).port(port);
        Superserver::start(set_up(options)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Keeps the directory, for whoever wants to look into it.
    pub fn keep(&mut self) -> &Path {
        self.directory.disable_cleanup(true);
        self.directory.path()
    }

    /// The superserver's port.
    pub fn superserver_port(&self) -> u16 {
        self.port
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn superserver(&self) -> &Running {
        self.superserver.as_ref().expect("a scene with a superserver")
    }

    /// Ends the superserver; its port stays as CSP.ini says.
    pub fn stop_superserver(&mut self) {
        if let Some(superserver) = self.superserver.take() {
            superserver.stop();
        }
    }

    /// Starts a superserver again, on the port of the one before.
    pub fn resume_superserver(&mut self, set_up: impl FnOnce(Options) -> Options) {
        let options = Options::merge_file(self.directory().join("superserver.cpf")).port(self.port);
        let superserver = Superserver::start(set_up(options)).unwrap_or_else(|error| panic!("{error}"));
        self.superserver = Some(superserver);
    }

    pub fn csp_ini(&self) -> PathBuf {
        self.directory().join("CSP.ini")
    }

    /// Changes CSP.ini in place.
    pub fn edit_csp_ini(&self, edit: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.csp_ini()).expect("CSP.ini can be read");
        fs::write(self.csp_ini(), edit(text)).expect("CSP.ini can be written");
    }

    /// Runs the command `sclera` for this CSP.ini. Gives whether it succeeded, and what it said.
    pub fn sclera(&self, line: &str) -> (bool, String) {
        let config = self.csp_ini().display().to_string();
        let words = ["sclera"].into_iter().chain(line.split(' ')).chain(["--config", &config]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = sclera_cli::run(words, &mut out, &mut err);
        out.extend(err);
        (code == ExitCode::SUCCESS, String::from_utf8_lossy(&out).into_owned())
    }

    /// Writes a file below the web server's root.
    pub fn static_file(&self, name: &str, content: &[u8]) {
        fs::write(self.directory().join("www").join(name), content).expect("a static file can be written");
    }
}

impl Default for Scene {
    fn default() -> Scene {
        Scene::new()
    }
}

fn tcp_port(port: u16) -> String {
    format!("TCP_Port={port}\n")
}

/// A port of 127.0.0.1 on which nothing listens now, and that nobody gets by chance before it is used: it is outside of the
/// range from which the system takes ports, and no two calls in a process give the same.
pub fn free_port() -> u16 {
    const RANGE: std::ops::Range<u16> = 10_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    let mut ports = std::iter::repeat_with(|| {
        let offset = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % RANGE.len() as u32;
        RANGE.start + offset as u16
    });
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.by_ref().take(RANGE.len()).find(is_free).expect("the loopback has ports")
}

/// User and group that web servers' workers run as; `None` if they stay who we are.
pub fn worker_user() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").ok()?.uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.starts_with("www-data:"))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
