//! `sclera status`: how a running gateway does, read from the memory that its workers share.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use sclera::ledger::{self, Ledger};
use sclera::profile::{Environment, Profile, parameter};
use sclera::status::Status;

use crate::{Config, Outcome, complain};

/// Of which gateway.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub config: Config,
    /// Print one object: workers, servers, connections, paths, answers, failures, counters.
    #[arg(long)]
    pub json: bool,
}

/// Prints what the ledger holds. Warns if no worker is running.
pub fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let place = Place::of(&options.config);
    let snapshot = match Ledger::look(&place.csp_ini, &place.directory) {
        Ok(snapshot) => snapshot,
        Err(error) => return complain(err, place.complaints(&error, "read")),
    };
    place.warn(err)?;
    let status = Status::of(&snapshot, place.profile.as_ref());
    match options.json {
        true => writeln!(out, "{:#}", status.to_json())?,
        false => write!(out, "{status}")?,
    }
    Ok(if status.workers.is_empty() { Outcome::Warned } else { Outcome::Well })
}

/// Where the ledger of a CSP.ini is.
pub struct Place {
    pub csp_ini: PathBuf,
    pub directory: PathBuf,
    /// `None` if it cannot be loaded.
    pub profile: Option<Profile>,
    /// Why not.
    findings: Vec<String>,
}

impl Place {
    pub fn of(config: &Config) -> Place {
        let csp_ini = config.path();
        match Profile::load(&csp_ini, &Environment::of_process()) {
            Ok(loaded) => {
                let directory = loaded.profile.system.runtime_directory.clone();
                Place { csp_ini, directory, profile: Some(loaded.profile), findings: Vec::new() }
            }
            Err(findings) => {
                let findings = findings.iter().map(ToString::to_string).collect();
                let directory = PathBuf::from(parameter::SCLERA_RUNTIME_DIRECTORY.default);
                Place { csp_ini, directory, profile: None, findings }
            }
        }
    }

    /// Says that the configuration cannot be read, which the running workers do without.
    fn warn(&self, err: &mut dyn Write) -> io::Result<()> {
        if let Some(first) = self.findings.first() {
            writeln!(err, "sclera: the configuration cannot be loaded ({first}); names and numbers are the ledger's")?;
        }
        Ok(())
    }

    /// Why the ledger cannot be had, and what to do.
    pub fn complaints(&self, error: &io::Error, deed: &str) -> Vec<String> {
        let path = ledger::path_of(&self.csp_ini, &self.directory);
        let shown = path.display();
        let what = match error.kind() {
            io::ErrorKind::NotFound => format!(
                "{shown}: there is no ledger: no web server has been started with {}, or it could not write to {} \
                 (Sclera_Runtime_Directory in [SYSTEM]), which its log says; name another CSP.ini with --config",
                self.csp_ini.display(),
                self.directory.display()
            ),
            io::ErrorKind::PermissionDenied => format!(
                "{shown}: you may not {deed} it: run this as {}, or as root",
                owner_of(&path).unwrap_or_else(|| "its owner".to_owned())
            ),
            io::ErrorKind::InvalidData => format!(
                "{shown}: it belongs to another release of Sclera than this command (sclera {}): use the command of that \
                 release, or restart the web server",
                env!("CARGO_PKG_VERSION")
            ),
            _ => format!("{shown}: {error}"),
        };
        self.findings.iter().cloned().chain([what]).collect()
    }
}

/// The user that a file belongs to.
fn owner_of(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let uid = path.metadata().ok()?.uid();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    Some(named.unwrap_or_else(|| format!("user {uid}")))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use sclera::ledger::{ConnectionState, Counter, Limits, Member, Rights, Tally};

    use super::*;

    const CSP_INI: &str = "[SYSTEM]\nSclera_Runtime_Directory=run\nDefault_Server=LOCAL\n\
        [SYSTEM_INDEX]\nLOCAL=Enabled\nTWO=Enabled\nOFF=Disabled\n\
        [LOCAL]\nIp_Address=127.0.0.1\n[TWO]\nIp_Address=10.0.0.2\n[OFF]\nIp_Address=10.0.0.3\n\
        [APP_PATH_INDEX]\n/=Enabled\n/csp=Enabled\n/off=Disabled\n\
        [APP_PATH:/csp]\nAlternative_Servers=FailOver\nAlternative_Server_0=1~~~~~~TWO\n";
    const NO_LIMIT: Limits = Limits { server: None, all: 100 };

    /// A gateway whose only worker is this process.
    struct Gateway {
        directory: tempfile::TempDir,
        ledger: Arc<Ledger>,
        member: Member,
        rights: Vec<(usize, Rights)>,
    }

    impl Gateway {
        fn new() -> Gateway {
            let directory = tempfile::tempdir().unwrap();
            let csp_ini = directory.path().join("CSP.ini");
            fs::write(&csp_ini, CSP_INI).unwrap();
            let (ledger, why) = Ledger::of(&csp_ini, &directory.path().join("run")).unwrap();
            assert!(why.is_none());
            let member = Member::join(&ledger).unwrap();
            ["LOCAL", "TWO", "OFF"].iter().for_each(|name| assert!(ledger.server(name).is_some()));
            Gateway { directory, ledger, member, rights: Vec::new() }
        }

        fn connect(&mut self, server: usize, process: u64) -> u32 {
            let rights = self.member.claim(server, NO_LIMIT).unwrap();
            // Some time ago, so that how long the test takes does not show.
            self.member.connection(&rights).opened(process, 1, ledger::now_ms() - 122_000);
            self.member.count(server, Counter::Opened);
            let seat = rights.seat();
            self.rights.push((server, rights));
            seat
        }

        /// Runs the command, and gives what it says.
        fn run(&self, line: &str) -> (bool, String) {
            let csp_ini = self.directory.path().join("CSP.ini").display().to_string();
            let words = ["sclera"].into_iter().chain(line.split(' ')).chain(["--config", &csp_ini]);
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = crate::run(words, &mut out, &mut err);
            out.extend(err);
            (format!("{code:?}").contains("(0)"), String::from_utf8(out).unwrap())
        }

        /// The same as a transcript, without what differs from run to run.
        fn transcript(&self, line: &str) -> String {
            let (well, said) = self.run(line);
            assert!(said.lines().all(|line| line.chars().count() <= 80 || line.contains("/CSP.ini")), "{said}");
            let pid = std::process::id();
            let said = said.replace(&format!("processes {pid}"), "processes PID");
            let said = said.replace(&format!("{pid:>6}"), "   PID");
            let mut said = said.replace(&self.directory.path().display().to_string(), "DIR");
            for seconds in 0..60 {
                said = said.replace(&format!("2m{seconds:02}s"), "2m..s");
            }
            let hidden = |line: &str| match line.split_once(": ") {
                Some((label @ ("Since" | "Ledger"), _)) => format!("{label}: ...\n"),
                _ => format!("{line}\n"),
            };
            let said: String = said.lines().filter(|line| !line.starts_with("        ")).map(hidden).collect();
            format!("$ sclera {line}\n{said}# {}\n\n", if well { "well" } else { "not well" })
        }
    }

    impl Drop for Gateway {
        fn drop(&mut self) {
            self.rights.drain(..).for_each(|(server, rights)| self.member.release(server, rights));
        }
    }

    #[test]
    fn what_is_said_of_a_gateway_and_what_orders_do_is_what_was_said_before() {
        let mut gateway = Gateway::new();
        let mut said = gateway.transcript("status");
        let path = gateway.ledger.path_row("/csp");
        let (first, second) = (gateway.connect(0, 4711), gateway.connect(0, 4712));
        gateway.connect(1, 0);
        for micros in [900, 4_000, 4_000, 300_000] {
            gateway.member.count_answer(Some(0), path, 200, micros);
        }
        gateway.member.count_answer(Some(1), path, 500, 70_000_000);
        gateway.member.count_answer(None, None, 503, 0);
        gateway.member.count_failure(sclera::failure::Code::ConnectRefused as u16);
        gateway.member.count_failure(999);
        gateway.member.count(0, Counter::Handshakes);
        gateway.member.tally(Tally::Reloads);
        said += &gateway.transcript("status");
        said += &gateway.transcript("server drain local");
        said += &gateway.transcript("server disable TWO");
        said += &gateway.transcript("status");
        said += &gateway.transcript("server enable TWO");
        said += &gateway.transcript("server enable OFF");
        said += &gateway.transcript("server online NOWHERE");
        said += &gateway.transcript(&format!("connections close {first}"));
        assert!(gateway.ledger.connection(first).is_to_close() && !gateway.ledger.connection(second).is_to_close());
        said += &gateway.transcript("connections close --server local --interrupt");
        assert!(gateway.ledger.connection(second).is_to_interrupt());
        said += &gateway.transcript("connections close 4000");
        said += &gateway.transcript("connections close");
        assert_eq!(gateway.ledger.connection(second).state(), ConnectionState::Busy);
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/status.golden.txt");
        if std::env::var_os("SCLERA_WRITE_DOCS").is_some() {
            fs::write(&golden, &said).unwrap();
        }
        assert_eq!(said, fs::read_to_string(&golden).unwrap_or_default());
    }

    #[test]
    fn a_ledger_that_cannot_be_had_is_a_sentence_with_a_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let csp_ini = directory.path().join("CSP.ini");
        let config = Config { config: csp_ini.clone() };
        let mut said = Vec::new();
        let mut run = || {
            said.clear();
            let options = Options { config: config.clone(), json: false };
            assert_eq!(super::run(&options, &mut io::sink(), &mut said).unwrap(), Outcome::Failed);
            String::from_utf8(said.clone()).unwrap()
        };
        fs::write(&csp_ini, "[SYSTEM]\nSclera_Runtime_Directory=run\n").unwrap();
        assert!(run().contains("there is no ledger: no web server has been started with"));
        let place = Place::of(&config);
        let path = ledger::path_of(&place.csp_ini, &place.directory);
        fs::create_dir(&place.directory).unwrap();
        fs::write(&path, "something else").unwrap();
        assert!(run().contains("belongs to another release"));
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        let [sentence] = &place.complaints(&refused, "read")[..] else { panic!("one sentence") };
        assert!(sentence.contains("you may not read it: run this as ") && sentence.ends_with(", or as root"));
        fs::write(&csp_ini, "[SYSTEM]\nMAX_CONNECTIONS=many\n").unwrap();
        assert!(run().contains("MAX_CONNECTIONS=many"));
    }

    #[test]
    fn the_object_for_programs_holds_the_same() {
        let mut gateway = Gateway::new();
        gateway.connect(0, 4711);
        let (well, json) = gateway.run("status --json");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(well);
        assert_eq!(value["connections"][0]["process"], 4711);
        assert_eq!(value["servers"][0]["health"], "up");
        assert_eq!(value["servers"][2]["configured"], "disabled");
    }
}
