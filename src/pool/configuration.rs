//! CSP.ini as the gateway uses it: made if there is none, loaded, every finding told to the log, and watched for changes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::watch::{Stamps, Watched, stamps, youngest};
use crate::event_log::{Event, Level, Log, kinds};
use crate::failure::{Code, Failure};
use crate::identity::credential;
use crate::ledger::Ledger;
use crate::privileges::{Hands, User, is_placed_by_root, is_roots_directory};
use crate::profile::merge::{self, Places};
use crate::profile::parameter;
use crate::profile::store::{self, ReadOnly};
use crate::profile::{Environment, Finding, Profile, Severity, fragment_files, initial, secret};

/// CSP.ini, and what was read from it and from what lies over it.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The profile, or the failure that every request gets.
    pub profile: Result<Arc<Profile>, Failure>,
    /// `None` if the profile did not come from a file.
    watch: Option<Watch>,
    /// What the workers share.
    pub ledger: Arc<Ledger>,
}

impl Configuration {
    /// Reads CSP.ini, and runs the commands that give passwords. Before that a staged file is merged into it, and what
    /// the file itself asks for is done: the line `RELOAD` is removed, and passwords are encoded. `hands` say as whom.
    ///
    /// # Errors
    ///
    /// If the system has no memory for the workers to share, or no thread.
    pub fn open(
        path: &Path,
        environment: Environment,
        places: Places,
        hands: &Hands,
        log: &Log,
    ) -> io::Result<Configuration> {
        let readers = readers(hands, path, &places);
        let (mut watch, loaded) = readers.work(|| {
            attend_to(path, &places, log);
            let watch = Watch::new(path, environment, places);
            let loaded = load(path, &watch.environment, log);
            (watch, loaded)
        })?;
        watch.workers = hands.workers().cloned();
        if let (Hands::Workers(user), Err(failure)) = (&readers, &loaded)
            && failure.code == Code::ConfigurationUnreadable
        {
            let why = "since others than root can put another file in its place; let that user read it";
            tell(Level::Notice, &format!("{} is read as user {}, {why}", path.display(), user.uid), log);
        }
        let usual = Path::new(parameter::SCLERA_RUNTIME_DIRECTORY.default);
        let directory = loaded.as_ref().map_or(usual, |profile| &profile.system.runtime_directory).to_owned();
        let makers = if directory == usual { hands.at_usual_place(usual) } else { hands.clone() };
        let (ledger, why) = makers.work(|| Ledger::of(path, &directory))??;
        watch.since = ledger.made_at();
        let profile = loaded.map(|profile| Arc::new(ready(profile, watch.debug_since(), hands)));
        if let Some(error) = why {
            let what = "cannot hold the ledger (Sclera_Runtime_Directory); the workers share it all the same, but \
                        `sclera status` cannot see it";
            tell(Level::Notice, &format!("{} {what}: {error}", directory.display()), log);
        }
        Ok(Configuration { profile, watch: Some(watch), ledger })
    }

    /// A profile that does not change, for workers that share nothing with others.
    ///
    /// # Errors
    ///
    /// As [`Configuration::open`].
    pub fn fixed(profile: Profile) -> io::Result<Configuration> {
        Ok(Configuration { profile: Ok(Arc::new(profile)), watch: None, ledger: Ledger::anonymous()? })
    }

    /// The configuration as a process that starts now should have it: read again if the files have changed since, as
    /// they may have when the web server replaces a worker after hours. A file that cannot be used changes nothing.
    pub fn renewed(&self, log: &Log) -> Configuration {
        let mut renewed = self.clone();
        if let Some(watch) = &mut renewed.watch
            && watch.has_changed()
        {
            match watch.load(log) {
                Ok(profile) => renewed.profile = Ok(Arc::new(profile)),
                Err(failure) => log.fail(kinds::CONFIGURATION, "", &failure),
            }
        }
        renewed
    }

    /// The files that the profile came from; `None` if it did not come from files.
    pub fn source(&self) -> Option<Source> {
        let watch = self.watch.as_ref()?;
        Some(Source { path: watch.path.clone(), environment: watch.environment.clone() })
    }

    /// What to watch; for the caretaker.
    pub fn watch(&self) -> Option<Watch> {
        self.watch.clone()
    }
}

/// CSP.ini, and the environment that lies over it.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: PathBuf,
    pub environment: Environment,
}

/// As whom a process that may be root does what the files ask for.
pub fn hands_for(path: &Path, environment: &Environment, places: &Places, workers: Option<User>) -> Hands {
    let deciding = environment.deciding_files().map(Path::to_owned);
    let files: Vec<PathBuf> = files_beside(path, places).into_iter().chain(deciding).collect();
    // Whoever can make fragments can write settings, also if there is none yet.
    Hands::to_obey(&files, &fragments_of(path), workers)
}

/// As whom CSP.ini is read, and what it asks for in itself is done. Whoever has written it, root may, where nobody else can
/// put a link to a file of root's in its place.
pub fn readers(hands: &Hands, path: &Path, places: &Places) -> Hands {
    let files = files_beside(path, places);
    hands.raised_if(files.iter().all(|file| is_placed_by_root(file)) && is_roots_directory(&fragments_of(path)))
}

fn fragments_of(path: &Path) -> PathBuf {
    path.with_added_extension("d")
}

/// The profile as it is used: the time of what is dangerous for long runs, and commands have given their passwords.
fn ready(mut profile: Profile, debug_since: SystemTime, hands: &Hands) -> Profile {
    profile.debug_since(debug_since);
    profile.run_commands(hands.workers());
    profile
}

/// Reads CSP.ini and logs every finding. The failure is the one that requests get.
pub fn load(path: &Path, environment: &Environment, log: &Log) -> Result<Profile, Failure> {
    match Profile::load(path, environment) {
        Ok(loaded) => {
            loaded.notices.iter().for_each(|finding| report(finding, log));
            for server in loaded.profile.servers.iter().filter(|server| server.enabled) {
                if let Some(warning) = credential(server).warning() {
                    let warning = format!("server {}: {warning}", server.name);
                    let event = Event::new(Level::Warning, kinds::CONFIGURATION, "Two credentials").details(&warning);
                    log.tell(event.server(&server.name));
                }
            }
            Ok(loaded.profile)
        }
        Err(findings) => {
            findings.iter().for_each(|finding| report(finding, log));
            let first = findings.iter().find(|finding| finding.severity == Severity::Error);
            let code = first.and_then(|finding| finding.code).unwrap_or(Code::ConfigurationInvalid);
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
            let first = first.map(ToString::to_string).unwrap_or_default();
            Err(Failure::new(code, format!("{} has {errors} error(s), the first: {first}", path.display())))
        }
    }
}

fn report(finding: &Finding, log: &Log) {
    let level = match finding.severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
        Severity::Notice => Level::Notice,
    };
    let event = Event::new(level, kinds::CONFIGURATION, "CSP.ini");
    let event = finding.code.map_or(event, |code| event.code(code));
    log.tell(event.details(&finding.to_string()));
}

fn tell(level: Level, text: &str, log: &Log) {
    log.tell(Event::new(level, kinds::CONFIGURATION, "CSP.ini").details(text));
}

/// Makes CSP.ini if there is none, at the first start. With a durable directory, it is made there and linked to.
pub fn make_first(path: &Path, places: &Places, log: &Log) {
    if path.symlink_metadata().is_ok() {
        return;
    }
    let made = match &places.csp_ini {
        Some(durable) => std::fs::create_dir_all(durable.parent().unwrap_or(Path::new("/")))
            .and_then(|()| initial::create(durable))
            .and_then(|_| std::os::unix::fs::symlink(durable, path)),
        None => initial::create(path).map(drop),
    };
    let path = path.display();
    match made {
        Ok(()) => tell(Level::Notice, &format!("{path}: made, with a default configuration for the server LOCAL"), log),
        Err(error) => tell(Level::Error, &format!("{path}: there is none, and none can be made: {error}"), log),
    }
}

/// Does what the files ask for, before they are read: a staged file is merged, the line `RELOAD` is removed, since it is
/// about to be obeyed, and with `Sclera_Encode_Passwords=1` passwords in clear text are encoded. What cannot be written
/// stays as it is; the log says so.
fn attend_to(path: &Path, places: &Places, log: &Log) {
    if let Some(staged) = &places.staged {
        match merge::apply(path, staged) {
            Ok(None) => {}
            Ok(Some(lines)) => {
                let message = format!("{}: {lines} line(s) set from {}", path.display(), staged.display());
                tell(Level::Notice, &message, log);
            }
            Err(error) => tell(Level::Error, &format!("the staged file is not merged: {error}"), log),
        }
    }
    // Reading the file is about to tell what is wrong with it, if it cannot even be opened.
    let Ok(mut opened) = store::open(path) else { return };
    if opened.read_only() == ReadOnly::Yes {
        return;
    }
    let done = secret::encode_all(&mut opened.document).and_then(|_| opened.document.unset("SYSTEM", "RELOAD"));
    if done.is_ok()
        && let Err(error) = opened.save()
    {
        tell(Level::Notice, &format!("RELOAD or passwords in clear text stay in the file: {error}"), log);
    }
}

/// Notices when one of the files has changed, and come to rest.
#[derive(Clone, Debug)]
pub struct Watch {
    path: PathBuf,
    environment: Environment,
    places: Places,
    files: Watched,
    /// When the first of the workers that share their state now started: a reload does not change it.
    since: SystemTime,
    /// As whom commands are run by a worker that is still root; `None` if that is not known.
    workers: Option<User>,
}

impl Watch {
    fn new(path: &Path, environment: Environment, places: Places) -> Watch {
        let files = Watched::new(stamps_of(path, &environment, &places));
        Watch { path: path.to_owned(), environment, places, files, since: SystemTime::now(), workers: None }
    }

    /// Whether there is something new to load, and the files have come to rest. Each change is told once.
    pub fn is_due(&mut self) -> bool {
        let now = self.stamps();
        self.files.is_due(now)
    }

    /// Whether the files are not as they were when they were loaded. Tells it once.
    fn has_changed(&mut self) -> bool {
        let now = self.stamps();
        self.files.has_changed(now)
    }

    /// Loads what the files hold now, after doing what they ask for.
    pub fn load(&mut self, log: &Log) -> Result<Profile, Failure> {
        let environment = self.environment.refreshed();
        let hands = hands_for(&self.path, &environment, &self.places, self.workers.clone());
        let loaded = readers(&hands, &self.path, &self.places).work(|| {
            attend_to(&self.path, &self.places, log);
            load(&self.path, &environment, log)
        });
        // Our own writing is no reason to load again.
        self.has_changed();
        let not_read = |error: io::Error| Failure::new(Code::ConfigurationUnreadable, error.to_string());
        Ok(ready(loaded.map_err(not_read)??, self.debug_since(), &hands))
    }

    /// From when dangerous settings count their time: the web server's start, or the last change if that was later. It is
    /// the same for all workers, also for one that starts later.
    fn debug_since(&self) -> SystemTime {
        youngest(&self.stamps()).clamp(self.since, self.since.max(SystemTime::now()))
    }

    /// CSP.ini.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn stamps(&self) -> Stamps {
        stamps_of(&self.path, &self.environment, &self.places)
    }
}

fn stamps_of(path: &Path, environment: &Environment, places: &Places) -> Stamps {
    stamps(files_of(path, environment, places).iter().map(PathBuf::as_path))
}

/// All files that settings come from.
fn files_of(path: &Path, environment: &Environment, places: &Places) -> Vec<PathBuf> {
    files_beside(path, places).into_iter().chain(environment.files().map(Path::to_owned)).collect()
}

fn files_beside(path: &Path, places: &Places) -> Vec<PathBuf> {
    std::iter::once(path.to_owned()).chain(fragment_files(path)).chain(places.staged.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_does_not_give_what_is_dangerous_its_time_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.ini");
        std::fs::write(&path, "[SYSTEM]\nEnv_Parameters=v9\nSclera_Runtime_Directory=run\n").unwrap();
        let of_last_week = SystemTime::now() - std::time::Duration::from_secs(7 * 24 * 3600);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(of_last_week).unwrap();
        let open = || {
            let (environment, places) = (Environment::none(), Places::default());
            Configuration::open(&path, environment, places, &Hands::Own, &Log::silent()).unwrap()
        };
        let since =
            |configuration: &Configuration| configuration.profile.as_ref().unwrap().system.event_log.debug_since;
        let (first, second) = (open(), open());
        assert_eq!(since(&first), Some(first.ledger.made_at()));
        assert_eq!(since(&second), since(&first));
    }

    #[test]
    fn a_change_is_told_once_and_only_when_the_files_have_come_to_rest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.ini");
        std::fs::write(&path, "[SYSTEM]\n").unwrap();
        let mut watch = Watch::new(&path, Environment::none(), Places::default());
        assert!(!watch.is_due());

        std::fs::write(&path, "[SYSTEM]\nRELOAD=1\n").unwrap();
        assert!(!watch.is_due(), "it may still be written");
        assert!(watch.is_due());
        assert!(!watch.is_due());

        std::fs::create_dir(directory.path().join("CSP.ini.d")).unwrap();
        std::fs::write(directory.path().join("CSP.ini.d/a.ini"), "[SYSTEM]\n").unwrap();
        assert!(!watch.is_due());
        assert!(watch.is_due(), "a fragment counts too");

        std::fs::remove_file(&path).unwrap();
        assert!(!watch.is_due());
        assert!(watch.is_due(), "so does a file that goes");
    }
}
