//! The gateway: CSP.ini, read before the fork.

use std::ffi::{CString, c_char, c_void};
use std::io;
use std::path::{Path, PathBuf};

use super::{export, failed, invalid, sclera_result, shared, sized, slice, take, text};
use crate::event_log::{Event, Level, Log, kinds};
use crate::identity::{Checked, Identity};
use crate::pool::configuration::{self, Configuration};
use crate::privileges::{Hands, User};
use crate::profile::merge::Places;
use crate::profile::{Environment, Profile, Security};

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum sclera_level {
    SCLERA_LEVEL_ERROR = 0,
    SCLERA_LEVEL_WARNING = 1,
    SCLERA_LEVEL_NOTICE = 2,
    SCLERA_LEVEL_INFO = 3,
    SCLERA_LEVEL_DEBUG = 4,
}

/// Receives one log line, not NUL-terminated and without a line break. Called on the thread of sclera_check, and on any
/// thread from sclera_gateway_open to sclera_worker_stop. It must not call Sclera. No line holds a secret.
pub type sclera_log_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, level: sclera_level, text: *const c_char, length: usize)>;

/// How a gateway is opened.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sclera_options {
    /// sizeof(sclera_options).
    pub size: usize,
    /// The SCLERA_ABI that the host was compiled with.
    pub abi: u32,
    /// CSP.ini, or the directory that holds it. A path that is not there is a directory's, unless it ends in `.ini`. UTF-8.
    pub config_path: *const c_char,
    /// The web server and its version, such as "nginx/1.22.1": what applications see as SERVER_SOFTWARE. May be NULL.
    pub host_software: *const c_char,
    /// Where log lines go. May be NULL.
    pub log: sclera_log_fn,
    /// Handed to `log`. Must be usable from any thread, as long as the gateway and its workers live.
    pub log_userdata: *mut c_void,
    /// Not 0: this is a first start, which makes CSP.ini if there is none. At a reload, one that has gone is an error.
    pub first_start: i32,
    /// The user that the workers will run as. If this process is root, sclera_gateway_open runs the commands of CSP.ini
    /// as that user, and makes the event log for it; unless root alone can write CSP.ini and all that belongs to it, it
    /// also reads CSP.ini and opens what is named there as that user. NULL: as this process, or not known.
    pub workers: *const sclera_user,
}

/// The user whose access to files is checked.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sclera_user {
    /// sizeof(sclera_user).
    pub size: usize,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups. May be NULL if `group_count` is 0.
    pub groups: *const u32,
    pub group_count: usize,
}

/// The configuration of a web server's gateway. Opened before the fork: it has no thread and no socket. Any thread may
/// use it.
pub struct sclera_gateway {
    pub(super) configuration: Configuration,
    pub(super) software: String,
    pub(super) log: Log,
    problem: Option<CString>,
}

export! {
    /// Checks a configuration without using it, for a web server's `-t`: CSP.ini, and the TLS files of enabled servers as
    /// `user` can read them (NULL: as this process can; another user takes root). Touches no network and changes no file.
    /// Every finding goes to the log function. SCLERA_OK also with warnings; SCLERA_CONFIGURATION if there are errors.
    fn sclera_check(options: *const sclera_options, user: *const sclera_user) -> sclera_result {
        // SAFETY: the contract.
        let opened = unsafe { read_options(options) };
        let Opening { path, log, first_start, .. } = match opened {
            Ok(opened) => opened,
            Err(result) => return result,
        };
        let user = match user.is_null() {
            true => None,
            // SAFETY: the contract.
            false => match unsafe { sized(user, "user") } {
                // SAFETY: the contract.
                Ok(user) => Some(unsafe { account_of(user) }),
                Err(result) => return result,
            },
        };
        check(&path, first_start, user, &log)
    }
}

export! {
    /// Opens a gateway; free it with sclera_gateway_free. A CSP.ini that is absent or wrong does not fail: the findings
    /// go to the log function, sclera_gateway_problem tells, and every request is answered with 503 and its code. Fails
    /// with SCLERA_INVALID_ARGUMENT for bad arguments and for a host of another ABI, and with SCLERA_SYSTEM without memory.
    fn sclera_gateway_open(options: *const sclera_options, out: *mut *mut sclera_gateway) -> sclera_result {
        // SAFETY: the contract.
        match unsafe { read_options(options) } {
            Ok(opening) => match open(opening) {
                // SAFETY: the contract.
                Ok(gateway) => unsafe { super::give(out, gateway) },
                Err(error) => failed(sclera_result::SCLERA_SYSTEM, &format!("the gateway cannot be opened: {error}")),
            },
            Err(result) => result,
        }
    }
}

export! {
    /// What is wrong with CSP.ini; NULL if nothing is. Valid as long as the gateway. A web server that reloads keeps its
    /// old gateway if the new one has a problem.
    fn sclera_gateway_problem(gateway: *const sclera_gateway) -> *const c_char {
        // SAFETY: the contract.
        let problem = unsafe { shared(gateway) }.and_then(|gateway| gateway.problem.as_ref());
        problem.map_or(std::ptr::null(), |problem| problem.as_ptr())
    }
}

export! {
    /// Frees a gateway. Workers started from it keep what they need. NULL is fine.
    fn sclera_gateway_free(gateway: *mut sclera_gateway) -> () {
        // SAFETY: the contract.
        drop(unsafe { take(gateway) });
    }
}

/// The host's options, taken over.
struct Opening {
    path: PathBuf,
    software: String,
    log: Log,
    first_start: bool,
    workers: Option<User>,
}

fn open(opening: Opening) -> io::Result<sclera_gateway> {
    let Opening { path, software, log, first_start, workers } = opening;
    let places = Places::of(|name| std::env::var_os(name));
    if first_start {
        configuration::make_first(&path, &places, &log);
    }
    let environment = Environment::of_process();
    let hands = configuration::hands_for(&path, &environment, &places, workers);
    let configuration = Configuration::open(&path, environment, places, &hands, &log)?;
    let problem = configuration.profile.as_ref().err().map(|failure| super::c_string(&failure.to_string()));
    if let Ok(profile) = &configuration.profile {
        log.configure(&profile.system.event_log, Some(&hands));
        let details = format!(
            "{} for {software}, configured by {}",
            concat!("Sclera ", env!("CARGO_PKG_VERSION")),
            path.display()
        );
        log.record(Event::new(Level::Info, kinds::START_UP, "Initialization").details(&details));
    }
    Ok(sclera_gateway { configuration, software, log, problem })
}

fn check(path: &Path, first_start: bool, user: Option<User>, log: &Log) -> sclera_result {
    let absent = path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if absent && first_start && path.parent().is_some_and(Path::is_dir) {
        log.write(Level::Notice, &format!("{}: there is none yet; the first start makes one", path.display()));
        return sclera_result::SCLERA_OK;
    }
    let environment = Environment::of_process();
    let places = Places::of(|name| std::env::var_os(name));
    let hands = configuration::hands_for(path, &environment, &places, user.clone());
    let loaded =
        match configuration::readers(&hands, path, &places).work(|| configuration::load(path, &environment, log)) {
            Ok(loaded) => loaded,
            Err(error) => return not_as_user(&error),
        };
    let profile = match loaded {
        Ok(profile) => profile,
        Err(failure) => return failed(sclera_result::SCLERA_CONFIGURATION, &failure.to_string()),
    };
    profile.commands_not_run().iter().for_each(|notice| log.write(Level::Notice, notice));
    // Whoever may write CSP.ini, it is the workers that read these files.
    let hands = user.map_or(Hands::Own, Hands::Workers);
    let checked = match hands.work(|| check_identities(&profile)) {
        Ok(checked) => checked,
        Err(error) => return not_as_user(&error),
    };
    checked.errors.iter().for_each(|failure| log.write(Level::Error, &failure.to_string()));
    checked.warnings.iter().for_each(|failure| log.write(Level::Warning, &failure.to_string()));
    checked.alarms.iter().for_each(|alarm| log.write(Level::Warning, alarm));
    checked.notices.iter().for_each(|notice| log.write(Level::Notice, notice));
    match checked.errors.first() {
        None => sclera_result::SCLERA_OK,
        Some(first) => failed(sclera_result::SCLERA_CONFIGURATION, &first.to_string()),
    }
}

fn not_as_user(error: &io::Error) -> sclera_result {
    failed(sclera_result::SCLERA_SYSTEM, &format!("cannot check as the workers' user: {error}"))
}

/// # Safety
///
/// The contract holds for `user`.
unsafe fn account_of(user: sclera_user) -> User {
    // SAFETY: the contract.
    let groups = unsafe { slice(user.groups, user.group_count) };
    User { uid: user.uid, gid: user.gid, groups: groups.to_vec() }
}

fn check_identities(profile: &Profile) -> Checked {
    let mut all = Checked::default();
    let uses_tls = profile.servers.iter().filter(|server| server.enabled && server.security.value == Security::Tls);
    for checked in uses_tls.map(Identity::check) {
        all.errors.extend(checked.errors);
        all.warnings.extend(checked.warnings);
        all.notices.extend(checked.notices);
        all.alarms.extend(checked.alarms);
    }
    all
}

/// CSP.ini, where a host names it or its directory.
pub(super) fn csp_ini_at(path: &str) -> PathBuf {
    let mut path = PathBuf::from(path);
    // A directory that is not there is not taken for a file that could be made.
    let names_a_file = path.exists() || path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ini"));
    if path.is_dir() || !names_a_file {
        path.push("CSP.ini");
    }
    path
}

/// # Safety
///
/// The contract holds for `options`.
unsafe fn read_options(options: *const sclera_options) -> Result<Opening, sclera_result> {
    // SAFETY: the contract.
    let options = unsafe { sized(options, "options") }?;
    if options.abi != super::SCLERA_ABI {
        let text = format!(
            "the host speaks ABI {}, this library {}; build both from one release",
            options.abi,
            super::SCLERA_ABI
        );
        return Err(invalid(&text));
    }
    // SAFETY: the contract.
    let Some(path) = (unsafe { text(options.config_path) }) else {
        return Err(invalid("options.config_path is NULL or not UTF-8"));
    };
    let path = csp_ini_at(path);
    // SAFETY: the contract.
    let software = unsafe { text(options.host_software) }.unwrap_or_default().to_owned();
    let log = log_of(options.log, options.log_userdata, &software);
    let workers = match options.workers.is_null() {
        true => None,
        // SAFETY: the contract.
        false => unsafe { sized(options.workers, "options.workers") }.map(Some)?,
    };
    // SAFETY: the contract.
    let workers = workers.map(|user| unsafe { account_of(user) });
    Ok(Opening { path, software, log, first_start: options.first_start != 0, workers })
}

/// The host's data for its log function.
struct Userdata(*mut c_void);

// SAFETY: the contract demands that it can be used from any thread.
unsafe impl Send for Userdata {}
// SAFETY: as above.
unsafe impl Sync for Userdata {}

impl Userdata {
    fn pointer(&self) -> *mut c_void {
        self.0
    }
}

fn log_of(function: sclera_log_fn, userdata: *mut c_void, host: &str) -> Log {
    let userdata = Userdata(userdata);
    let write = move |level, text: &str| {
        let Some(function) = function else { return };
        let level = match level {
            Level::Error => sclera_level::SCLERA_LEVEL_ERROR,
            Level::Warning => sclera_level::SCLERA_LEVEL_WARNING,
            Level::Notice => sclera_level::SCLERA_LEVEL_NOTICE,
            Level::Info => sclera_level::SCLERA_LEVEL_INFO,
            Level::Debug => sclera_level::SCLERA_LEVEL_DEBUG,
        };
        // SAFETY: the function and its data are the host's, which the contract makes callable here.
        unsafe { function(userdata.pointer(), level, text.as_ptr().cast(), text.len()) }
    };
    Log::with_event_log(write, host)
}
