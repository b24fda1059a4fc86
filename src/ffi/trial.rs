//! A connection tried out stage by stage, as `sclera test` does it.

use std::ffi::{CString, c_char};

use super::exchange::sclera_failure;
use super::gateway::csp_ini_at;
use super::{
    c_string, export, failed, fill, give, invalid, sclera_pair, sclera_result, sclera_slice, shared, slice, take, text,
};
use crate::doctor::ready;
use crate::failure::Code;
use crate::profile::{Environment, Profile};
use crate::trial;

/// What a trial found. Any thread may read it.
pub struct sclera_trial {
    text: String,
    json: String,
    failure: Option<(Code, CString)>,
}

export! {
    /// Connects to a server of a CSP.ini, logs in and makes one call; blocks within the server's timeouts. `config_path` is
    /// CSP.ini or the directory that holds it. `settings` are keys and values that stand in for the file's, which stays as
    /// it is. If this process is root, a `{command}` of the server runs as the user of the web server's workers, or else as
    /// CSP.ini's owner, or as nobody if that is root. SCLERA_OK says that the trial was made, whatever it found: see
    /// sclera_trial_failure. Free it with sclera_trial_free.
    fn sclera_trial_run(
        config_path: *const c_char,
        server: *const c_char,
        settings: *const sclera_pair,
        count: usize,
        out: *mut *mut sclera_trial,
    ) -> sclera_result {
        // SAFETY: the contract.
        let (config, server, settings) = unsafe { (text(config_path), text(server), slice(settings, count)) };
        let (Some(config), Some(server)) = (config, server) else {
            return invalid("config_path or server is NULL or not UTF-8");
        };
        let mut environment = Environment::of_process();
        for pair in settings {
            // SAFETY: the contract, for both slices of the pair.
            let (key, value) = unsafe { (pair.name.bytes(), pair.value.bytes()) };
            let (Ok(key), Ok(value)) = (std::str::from_utf8(key), std::str::from_utf8(value)) else {
                return invalid("a setting is not UTF-8");
            };
            environment = environment.with("settings", server, key, value);
        }
        let config = csp_ini_at(config);
        let profile = match Profile::load(&config, &environment) {
            Ok(loaded) => loaded.profile,
            Err(findings) => {
                let first = findings.first().map(ToString::to_string).unwrap_or_default();
                return failed(sclera_result::SCLERA_CONFIGURATION, &first);
            }
        };
        let Some(position) = profile.server(server) else {
            return failed(sclera_result::SCLERA_CONFIGURATION, &format!("{} has no server {server}", config.display()));
        };
        let report = trial::run(ready::server_for_any_worker(&profile, position));
        let failure = report.failure.as_ref().map(|failure| (failure.code, c_string(&failure.to_string())));
        let (text, json) = (report.to_string(), report.to_json().to_string());
        // SAFETY: the contract.
        unsafe { give(out, sclera_trial { text, json, failure }) }
    }
}

export! {
    /// Whether the trial failed; fills `out` with why. False: all is well, and `out` is not written.
    fn sclera_trial_failure(trial: *const sclera_trial, out: *mut sclera_failure) -> bool {
        // SAFETY: the contract.
        let Some(trial) = (unsafe { shared(trial) }) else { return false };
        let Some((code, message)) = &trial.failure else { return false };
        // SAFETY: the contract.
        unsafe { fill(out, "failure", sclera_failure::of(*code, message)) == sclera_result::SCLERA_OK }
    }
}

export! {
    /// The report for people, in lines of at most 80 columns. Holds no secret. Valid until the trial is freed.
    fn sclera_trial_text(trial: *const sclera_trial) -> sclera_slice {
        // SAFETY: the contract.
        unsafe { shared(trial) }.map_or(sclera_slice::EMPTY, |trial| sclera_slice::of(trial.text.as_bytes()))
    }
}

export! {
    /// The same for programs, as a JSON object. Valid until the trial is freed.
    fn sclera_trial_json(trial: *const sclera_trial) -> sclera_slice {
        // SAFETY: the contract.
        unsafe { shared(trial) }.map_or(sclera_slice::EMPTY, |trial| sclera_slice::of(trial.json.as_bytes()))
    }
}

export! {
    /// Frees a trial. NULL is fine.
    fn sclera_trial_free(trial: *mut sclera_trial) -> () {
        // SAFETY: the contract.
        drop(unsafe { take(trial) });
    }
}
