//! One failure being provoked: a scene in which one thing is wrong, and what everybody gets to see.

use std::fs;
use std::path::{Path, PathBuf};

use sclera::failure::{Code, Stage};
use sclera::profile::edit::Document;
use sclera_tests::certificates::{Ca, Leaf, Pair};
use sclera_tests::nginx::Nginx;
use sclera_tests::openssl;
use sclera_tests::process::wait_until;
use sclera_tests::scene::{Scene, USER, worker_user};
use sclera_tests::web_server::WebServer;

/// A row of the table, and how it comes about.
#[derive(Clone)]
pub struct Case {
    pub code: Code,
    /// What is wrong.
    pub what: &'static str,
    /// Makes it wrong.
    pub make: fn(&mut Trouble),
    /// What the superserver's audit has of it.
    pub audit: Audit,
    /// Which commands see it too: they look at servers, not at paths and pages.
    pub commands: &'static [&'static str],
    /// What the browser asks for.
    pub target: &'static str,
}

/// What the audit of the superserver has of a failure.
#[derive(Clone, Copy)]
pub enum Audit {
    /// It knows of no login.
    Nothing,
    /// Its counter rises, but it holds no record.
    Counter,
    /// A record that gives this number as the reason.
    Record(u16),
}

/// A case that the command line sees, and that no audit knows of.
pub fn case(code: Code, what: &'static str, make: fn(&mut Trouble)) -> Case {
    Case { code, what, make, audit: Audit::Nothing, commands: &["test", "doctor"], target: "/csp/demo/" }
}

impl Case {
    /// The audit gives this number as the reason.
    pub fn audited(self, number: u16) -> Case {
        Case { audit: Audit::Record(number), ..self }
    }

    /// The audit's counter alone rises.
    pub fn counted(self) -> Case {
        Case { audit: Audit::Counter, ..self }
    }

    /// Only requests see it.
    pub fn for_requests_only(self) -> Case {
        Case { commands: &[], ..self }
    }

    /// It concerns the workers' user, as whom the doctor looks.
    pub fn for_requests_and_doctor(self) -> Case {
        Case { commands: &["doctor"], ..self }
    }

    pub fn target(self, target: &'static str) -> Case {
        Case { target, ..self }
    }
}

/// A working scene on its way to one that fails.
pub struct Trouble {
    pub scene: Scene,
    /// What else the case started; it ends with the case.
    peers: Vec<openssl::Server>,
}

/// A password that no output may ever hold.
pub const CANARY: &str = "canary-Gh7Kq2";

impl Trouble {
    /// Makes a scene fail, and compares what is seen with the table.
    pub fn provoke(case: &Case) {
        let mut trouble = Trouble { scene: Scene::new(), peers: Vec::new() };
        (case.make)(&mut trouble);
        let nginx = Nginx::start(&trouble.scene, "location /csp { CSP on; }");
        let told = format!("{} {}: ", case.code, case.code.name());

        let answer = nginx.get(case.target);
        let (page, log) = (answer.text(), wait_for_log(&nginx, &told));
        let all = format!("{}, {}\n{page}\n{log}", case.code.name(), case.what);
        // An answer that has begun cannot become a page of ours.
        if case.code != Code::AnswerCut {
            assert_eq!(answer.status, case.code.http_status(), "{all}");
            assert!(page.contains(&format!("Code: {}<br>", case.code)), "{all}");
            for inside in ["127.0.0.1", "CSP.ini", "LOCAL", ".pem", &case.code.remedy()[..20]] {
                assert!(!page.contains(inside), "the page shows {inside}: {all}");
            }
        }
        let line = log.lines().find(|line| line.contains(&told)).unwrap_or_else(|| panic!("no log line: {all}"));
        assert!(line.contains(case.code.remedy()), "no remedy: {all}");

        trouble.check_other_side(case, 1, &all);
        let mut outputs = format!("{page}{log}");
        for (before, command) in case.commands.iter().enumerate() {
            let (status, output, errors) = trouble.sclera(command);
            assert!(output.lines().all(|line| line.chars().count() <= 80 || !line.trim().contains(' ')), "{output}");
            let output = output + &errors;
            let joined = output.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(status, 2, "{command}: {all}\n{output}");
            assert!(joined.contains(&case.code.to_string()), "{command}: {all}\n{output}");
            let remedy = case.code.remedy().split_whitespace().collect::<Vec<_>>().join(" ");
            // The remedy for a line of the file, and for a way that is barred, is one for that line and that way.
            let own = case.code.stage() == Stage::Configuration && !output.contains("What to do:");
            assert!(own || joined.contains(&remedy), "{command}: {all}\n{output}");
            trouble.check_other_side(case, before + 2, &format!("{command}: {all}\n{output}"));
            outputs += &output;
        }
        assert!(!outputs.contains(CANARY), "a secret is shown: {outputs}");
        assert!(nginx.stop());
    }

    /// What the embedded superserver has noted of so many attempts, in its own time.
    fn check_other_side(&self, case: &Case, attempts: usize, all: &str) {
        let superserver = self.scene.superserver();
        let records = || superserver.store().login_failures().expect("the audit");
        let counter = || {
            let counters = superserver.store().audit_counters().expect("the audit");
            counters.iter().find(|it| it.event.ends_with("/LoginFailure")).map_or(0, |it| it.total as usize)
        };
        let comes = |what: &dyn Fn() -> usize| wait_until(|| (what() >= attempts).then_some(())).is_some();
        match case.audit {
            Audit::Record(number) => {
                let wanted = format!("ERROR #{number}: ");
                let told = || records().iter().filter(|record| record.event_data.contains(&wanted)).count();
                assert!(comes(&told), "{attempts} times {wanted}{:?}: {all}", records());
            }
            Audit::Counter => {
                assert!(comes(&counter), "{attempts} counted: {all}");
                assert!(records().is_empty(), "{:?}: {all}", records());
            }
            Audit::Nothing if case.code.stage() == Stage::Tls => {
                let own = format!("TCP_Port={}\n", superserver.port());
                let concerned = fs::read_to_string(self.scene.csp_ini()).is_ok_and(|text| text.contains(&own));
                let handshakes = || superserver.counts().tls_failures as usize;
                assert!(!concerned || comes(&handshakes), "no failed handshake is counted: {all}");
                assert!(counter() == 0 && records().is_empty(), "{:?}: {all}", records());
            }
            Audit::Nothing => {}
        }
    }

    /// `sclera test LOCAL` or `sclera doctor LOCAL`: its exit status, output and errors.
    fn sclera(&self, command: &str) -> (i32, String, String) {
        let output = std::process::Command::new(sclera_tests::program("sclera"))
            .args([command, "LOCAL", "--config"])
            .arg(self.scene.csp_ini())
            .output()
            .expect("the command runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Sets a value of the server.
    pub fn set(&self, key: &str, value: &str) {
        self.set_in("LOCAL", key, value);
    }

    pub fn set_in(&self, section: &str, key: &str, value: &str) {
        let mut document = Document::new(fs::read(self.scene.csp_ini()).expect("CSP.ini"));
        document.set(section, key, value).expect("a good value");
        fs::write(self.scene.csp_ini(), document.bytes()).expect("CSP.ini");
    }

    /// Changes the running superserver.
    pub fn merge(&self, actions: &str) {
        let file = self.scene.directory().join("change.cpf");
        fs::write(&file, format!("[Actions]\n{actions}\n")).expect("a merge file");
        sclera_superserver::merge_into(Some(self.scene.directory()), &file).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Changes the superserver's TLS configuration.
    pub fn merge_tls(&self, properties: &str) {
        self.merge(&format!("ModifySSLConfig:Name=ScleraSuperserver,{properties}"));
    }

    /// Lets passwords in, and gives the gateway's user one.
    pub fn allow_passwords(&self) {
        self.merge(&format!(
            "ModifyService:Name=%Service_WebGateway,AutheEnabled=$$$AuthePassword+$$$AutheMutualTLS\n\
             ModifyUser:Name={USER},Password=right"
        ));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scene.directory().join(name)
    }

    /// Writes a file that the web server's workers can read.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file");
        self.hand_over(&path);
        path
    }

    pub fn hand_over(&self, path: &Path) {
        if let Some((uid, gid)) = worker_user() {
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("root may");
        }
    }

    /// The authority that both sides trust.
    pub fn ca(&self) -> Ca {
        Ca::of(self.scene.directory())
    }

    /// Gives the gateway this certificate.
    pub fn gateway(&self, leaf: &Leaf) {
        self.gateway_pair(&self.ca().issue("new-gateway", leaf));
    }

    pub fn gateway_pair(&self, pair: &Pair) {
        self.hand_over(&pair.certificate);
        self.hand_over(&pair.key);
        self.set("SSLCC_Certificate_File", &pair.certificate.display().to_string());
        self.set("SSLCC_Certificate_Key_File", &pair.key.display().to_string());
    }

    /// Gives the superserver this certificate.
    pub fn superserver(&self, leaf: &Leaf) {
        self.superserver_pair(&self.ca().issue("new-superserver", leaf));
    }

    pub fn superserver_pair(&self, pair: &Pair) {
        let (certificate, key) = (pair.certificate.display(), pair.key.display());
        self.merge_tls(&format!("CertificateFile={certificate},PrivateKeyFile={key}"));
    }

    /// Another peer than the superserver.
    pub fn port(&self, port: u16) {
        self.set("TCP_Port", &port.to_string());
    }

    /// A peer without TLS, spoken to without TLS.
    pub fn plain_port(&self, port: u16) {
        self.set("Connection_Security_Level", "0");
        self.port(port);
    }

    /// `openssl s_server` with the superserver's certificate and these arguments.
    pub fn openssl(&mut self, arguments: &[&str]) {
        let server = openssl::Server::start(self.scene.directory(), arguments);
        self.port(server.port());
        self.peers.push(server);
    }
}

/// The log once it holds `text`; as it is if that does not come.
fn wait_for_log(nginx: &Nginx, text: &str) -> String {
    let _ = wait_until(|| nginx.error_log().contains(text).then_some(()));
    nginx.error_log()
}
