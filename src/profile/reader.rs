//! From the text to the profile: takes each value that the table describes, checks it, and collects what is wrong.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::application::{Alternative, Alternatives, MOST_CANDIDATES};
use super::finding::{Finding, Origin, Setting, Severity};
use super::layers::{Layers, Section};
use super::parameter::{self as row, Effect, Inherits, Kind, MOST_SERVERS, Parameter, SectionKind, Verdict};
use super::route::Routes;
use super::secret::Secret;
use super::server::{PKCS11_SCHEME, Security, Server, TlsRange, TlsSettings};
use super::value::{
    Read, address, alternative, alternatives_for, balance, bytes, clients, flag, key_type, listed, management_password,
    more_than_an_address, number, pinned_key, port, role, seconds, secret, security, status, switch, text_value,
    tls_version, tls_versions, url_path, verification, word, words,
};
use super::{Application, Loaded, Management, ManagementPassword, Mark, Monitoring, Profile, System};
use crate::event_log;
use crate::event_log::file::{Keeping, Place};
use crate::event_log::format::Format;
use crate::event_log::level::Levels;
use crate::event_log::settings::Trace;
use crate::event_log::trace;
use crate::failure::Code;

/// The most findings that are reported of one file.
const MOST_FINDINGS: usize = 200;

/// Reads the profile out of the layers; `findings` is what making them found already.
pub(super) fn read(layers: &Layers, findings: Vec<Finding>) -> Result<Loaded, Vec<Finding>> {
    let mut reader = Reader::new(layers, findings);
    let profile = reader.profile();
    let mut findings = reader.findings;
    in_order(&mut findings, &layers.file);
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(shortened(findings, &layers.file));
    }
    Ok(Loaded { profile, notices: shortened(findings, &layers.file) })
}

/// Reads all sections, one value after the other.
struct Reader<'a> {
    layers: &'a Layers,
    directory: PathBuf,
    system: Option<&'a Section>,
    /// Whether the section being read is not in use, so that its mistakes are only worth a warning.
    lenient: bool,
    /// Places complained of already: an inherited value is read once for each server, but is wrong once.
    reported: HashSet<Origin>,
    findings: Vec<Finding>,
}

impl<'a> Reader<'a> {
    fn new(layers: &'a Layers, findings: Vec<Finding>) -> Reader<'a> {
        let parent = layers.file.parent().unwrap_or(Path::new(""));
        let directory = std::path::absolute(if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
        Reader {
            layers,
            directory: directory.unwrap_or_else(|_| parent.to_owned()),
            system: layers.sections.iter().find(|section| SectionKind::of(&section.name) == SectionKind::System),
            lenient: false,
            reported: HashSet::new(),
            findings,
        }
    }

    fn profile(&mut self) -> Profile {
        if self.layers.sections.is_empty() {
            let file = self.layers.file.clone();
            let message = "holds no [SECTION] at all";
            let remedy = "is this the right file? `sclera pki init` writes a working one";
            let code = Some(Code::ConfigurationInvalid);
            self.findings.push(Finding::about_file(Severity::Error, code, &file, message, remedy));
        }
        self.report_keys_without_effect();
        let runtime_directory = self.own(self.system, &row::SCLERA_RUNTIME_DIRECTORY, text_value).value;
        let runtime_directory = self.directory.join(runtime_directory);
        let system = System {
            default_server: self.own(self.system, &row::DEFAULT_SERVER, text_value),
            maximum_connections: self.own(self.system, &row::MAX_CONNECTIONS, number).value,
            runtime_directory,
            password_command_timeout: self.own(self.system, &row::SCLERA_PASSWORD_COMMAND_TIMEOUT, seconds).value,
            retries: self.own(self.system, &row::SCLERA_RETRIES, number).value,
            web_server_id_cookie: self.own(self.system, &row::WEB_SERVER_ID_COOKIE, status).value,
            event_log: self.event_log(),
            management: self.management(),
            monitoring: self.monitoring(),
            at_restart: self.at_restart(),
        };
        let servers = self.servers();
        let applications = self.applications();
        let by_name: HashMap<String, usize> =
            servers.iter().enumerate().map(|(index, server)| (server.name.to_ascii_lowercase(), index)).collect();
        self.report_absent_servers(&system, &applications, &by_name);
        let routes = Routes::new(&applications, &servers, &by_name, &system.default_server.value);
        let enabled = |name: &str| by_name.get(&name.to_ascii_lowercase()).map(|&server| servers[server].enabled);
        for application in &applications {
            self.report_alternatives(application, &system.default_server.value, enabled);
        }
        Profile { path: self.layers.file.clone(), system, servers, applications, routes }
    }

    fn management(&mut self) -> Management {
        let here = self.system;
        Management {
            forms: self.own(here, &row::SM_FORMS, status).value,
            username: self.own(here, &row::SYSTEM_USERNAME, text_value),
            password: self.own(here, &row::SYSTEM_PASSWORD, management_password),
            users_file: self.path(here, &row::SCLERA_MANAGE_USERS),
            timeout: self.own(here, &row::SM_TIMEOUT, seconds).value,
            login_form: self.optional(here, &row::CUSTOM_SM_LOGIN_FORM, text_value).map(|it| it.value),
            clients: self.own(here, &row::SYSTEM_MANAGER, clients),
            accept_forwarded: self.own(here, &row::ACCEPT_X_FORWARDED_FOR, status).value,
            no_login_for_listed: self.own(here, &row::SYSTEM_MANAGER_UNPW_OVERRIDE, flag).value,
            role_without_login: self.own(here, &row::SCLERA_MANAGE_ROLE, role).value,
            hosts: self.own(here, &row::SCLERA_MANAGE_HOSTS, words).value,
        }
    }

    /// The settings of the event log and the HTTP trace.
    fn event_log(&mut self) -> event_log::Settings {
        let levels = self.own(self.system, &row::ENV_PARAMETERS, text_value);
        let levels = self.levels(&levels);
        let file = self.own(self.system, &row::EVENT_LOG_FILE, text_value).value;
        let place = Place::of(&file, &self.directory);
        let directory = self.path(self.system, &row::SCLERA_TRACE_DIRECTORY).map(|it| it.value);
        let beside = place.path().and_then(|path| path.parent().map(Path::to_owned));
        let beside = beside.filter(|it| !it.starts_with("/dev") && !it.starts_with("/proc"));
        let format = self.own(self.system, &row::SCLERA_LOG_FORMAT, text_value);
        let is_json = matches!(word(&format.value, &row::SCLERA_LOG_FORMAT), Read::Good(()))
            && format.value.eq_ignore_ascii_case("json");
        self.own(self.system, &row::SCLERA_LOG_FORMAT, word);
        let trace = self.own(self.system, &row::SCLERA_TRACE, text_value);
        let (wanted, wrong) = Trace::wanted(&trace.value);
        if let (Some(origin), false) = (&trace.origin, wrong.is_empty()) {
            let message = format!("{} is neither a path nor an address, and is ignored", wrong.join(", "));
            let remedy = "write paths that begin with / and addresses";
            self.findings.push(Finding::at(Severity::Warning, None, origin, message, remedy));
        }
        event_log::Settings {
            keeping: Keeping {
                place,
                rotation: self.own(self.system, &row::EVENT_LOG_ROTATION_SIZE, bytes).value,
                retain: self.own(self.system, &row::RETAIN_ALL_LOG_FILES, status).value,
            },
            format: if is_json { Format::Json } else { Format::Native },
            levels,
            largest_body: size(self.own(self.system, &row::MAXIMUM_LOGGED_REQUEST_SIZE, bytes).value),
            debug_expiry: self.own(self.system, &row::SCLERA_DEBUG_EXPIRY, seconds).value,
            debug_since: None,
            dangerous: Vec::new(),
            trace: Trace {
                wanted,
                directory: directory.unwrap_or_else(|| beside.unwrap_or(self.directory.clone()).join(trace::NAME)),
                entries: self.own(self.system, &row::SCLERA_TRACE_ENTRIES, number).value as usize,
                body: size(self.own(self.system, &row::SCLERA_TRACE_BODY_SIZE, bytes).value),
            },
        }
    }

    /// The level string of a server's own section.
    fn log_levels(&mut self, section: &'a Section) -> Option<Levels> {
        let entry = section.entry(row::ENV_PARAMETERS.key).filter(|entry| !entry.value.is_empty())?;
        let setting = Setting { value: entry.value.as_str().to_owned(), origin: Some(entry.origin.clone()) };
        let levels = self.levels(&setting);
        if levels.verbose.number == 9 || levels.sessions {
            let message = "v9 and s are heeded in [SYSTEM] only; the rest holds for this server";
            let origin = entry.origin.clone();
            self.findings.push(Finding::at(Severity::Notice, None, &origin, message, ""));
        }
        Some(levels)
    }

    fn levels(&mut self, setting: &Setting<String>) -> Levels {
        let parsed = Levels::parse(&setting.value);
        if let Some(origin) = &setting.origin {
            for notice in parsed.notices {
                self.findings.push(Finding::at(Severity::Notice, None, origin, notice, "").quoting(&setting.value));
            }
        }
        parsed.levels
    }

    fn monitoring(&mut self) -> Monitoring {
        let here = self.system;
        Monitoring {
            metrics_path: self.optional(here, &row::SCLERA_METRICS_PATH, url_path).map(|it| it.value),
            metrics_clients: self.own(here, &row::SCLERA_METRICS_CLIENTS, clients),
            live_path: self.optional(here, &row::SCLERA_LIVE_PATH, url_path).map(|it| it.value),
            ready_path: self.optional(here, &row::SCLERA_READY_PATH, url_path).map(|it| it.value),
        }
    }

    /// The values in force of the settings that need a restart.
    fn at_restart(&self) -> Vec<(&'static str, String)> {
        let rows = row::ALL.iter().filter(|row| row.effect == Effect::AtRestart);
        rows.map(|row| {
            let value = self.found(self.system, row).map_or(row.default, |(value, _)| value);
            (row.key, value.to_owned())
        })
        .collect()
    }

    /// Every server section, in the order of the file.
    fn servers(&mut self) -> Vec<Server> {
        let index = self.index(SectionKind::ServerIndex);
        let sections: Vec<&Section> = self
            .layers
            .sections
            .iter()
            .filter(|section| SectionKind::of(&section.name) == SectionKind::Server)
            .collect();
        if let Some(surplus) = sections.get(MOST_SERVERS) {
            let message =
                format!("is one server too many: there may be {MOST_SERVERS}, also of those that are disabled");
            let code = Some(Code::ConfigurationInvalid);
            let remedy = "remove sections that no path needs";
            self.findings.push(Finding::at(Severity::Error, code, &surplus.origin, message, remedy));
        }
        let names: HashSet<String> = sections.iter().map(|section| section.name.to_ascii_lowercase()).collect();
        for (name, (_, origin)) in &index {
            if !names.contains(&name.to_ascii_lowercase()) {
                let message = format!("the file has no section [{name}]");
                let remedy = "write that section, or remove this line";
                self.findings.push(Finding::at(Severity::Warning, None, origin, message, remedy));
            }
        }
        let enabled: HashMap<String, bool> =
            index.into_iter().map(|(name, (enabled, _))| (name.to_ascii_lowercase(), enabled)).collect();
        sections
            .into_iter()
            .map(|section| {
                let listed = enabled.get(&section.name.to_ascii_lowercase()).copied();
                if listed.is_none() {
                    let (message, remedy) = match section.name.as_str() {
                        "" => {
                            ("has no name, and is not used", "write the server's name between the brackets".to_owned())
                        }
                        name => {
                            ("is not listed in [SYSTEM_INDEX], and so not enabled", format!("add {name}=Enabled there"))
                        }
                    };
                    let origin = section.origin.clone();
                    self.findings.push(Finding::at(Severity::Warning, None, &origin, message, remedy));
                }
                self.lenient = listed != Some(true);
                let server = self.server(section, listed == Some(true));
                self.lenient = false;
                server
            })
            .collect()
    }

    fn server(&mut self, section: &'a Section, enabled: bool) -> Server {
        let here = Some(section);
        let server = Server {
            name: section.name.clone(),
            mark: Mark::of(&section.name),
            enabled,
            origin: section.origin.clone(),
            address: self.own(here, &row::IP_ADDRESS, address),
            port: self.own(here, &row::TCP_PORT, port),
            security: self.own(here, &row::CONNECTION_SECURITY_LEVEL, security),
            username: self.own(here, &row::USERNAME, text_value),
            password: self.own(here, &row::PASSWORD, secret),
            namespace: self.own(here, &row::SCLERA_NAMESPACE, text_value).value,
            minimum_connections: self.own(here, &row::MINIMUM_SERVER_CONNECTIONS, number).value,
            maximum_connections: self.optional(here, &row::MAXIMUM_SERVER_CONNECTIONS, number).map(|it| it.value),
            maximum_session_connections: self.own(here, &row::MAXIMUM_SESSION_CONNECTIONS, number).value,
            response_timeout: self.own(here, &row::SERVER_RESPONSE_TIMEOUT, seconds).value,
            queue_timeout: self.own(here, &row::QUEUED_REQUEST_TIMEOUT, seconds).value,
            queue_limit: self.optional(here, &row::SCLERA_QUEUE_LIMIT, number).map(|limit| limit.value),
            idle_timeout: self.idle_timeout(section),
            timeout_all_connections: self
                .optional(here, &row::TIMEOUT_ALL_CONNECTIONS, switch)
                .is_some_and(|switch| switch.value),
            maximum_age: Some(self.own(here, &row::SCLERA_MAXIMUM_AGE, seconds).value).filter(|age| !age.is_zero()),
            resolve_interval: self.own(here, &row::SCLERA_RESOLVE_INTERVAL, seconds).value,
            connect_timeout: self.own(here, &row::SCLERA_CONNECT_TIMEOUT, seconds).value,
            weight: self.own(here, &row::SCLERA_WEIGHT, number).value,
            eject_after: self.own(here, &row::SCLERA_EJECT_AFTER, number).value,
            slow_start: self.own(here, &row::SCLERA_SLOW_START, seconds).value,
            health_interval: Some(self.own(here, &row::SCLERA_HEALTH_INTERVAL, seconds).value)
                .filter(|interval| !interval.is_zero()),
            log_levels: self.log_levels(section),
            debug_until: None,
            tls: TlsSettings {
                range: self.tls_range(section),
                verify_peer: self.own(here, &row::SSLCC_VERIFY_PEER, flag),
                verify_name: self.own(here, &row::SCLERA_VERIFY_NAME, flag),
                verification: self.own(here, &row::SCLERA_VERIFICATION, verification),
                pinned_key: self.optional(here, &row::SCLERA_PINNED_KEY, pinned_key),
                server_name: self.optional(here, &row::SCLERA_SERVER_NAME, address),
                crl_file: self.path(here, &row::SCLERA_CRL_FILE),
                key_log_file: self.path(here, &row::SCLERA_KEY_LOG_FILE),
                certificate_file: self.path(here, &row::SSLCC_CERTIFICATE_FILE),
                key_file: self.path(here, &row::SSLCC_CERTIFICATE_KEY_FILE),
                ca_file: self.path(here, &row::SSLCC_CA_CERTIFICATE_FILE),
                key_password: self.optional(here, &row::SSLCC_PRIVATE_KEY_PASSWORD, secret),
                key_type: self.own(here, &row::SSLCC_KEY_TYPE, key_type),
                cipher_suites: self.own(here, &row::SSLCC_CIPHER_SUITES, text_value),
                cipher_suites_1_3: self.own(here, &row::SSLCC_CIPHER_SUITES_1_3, text_value),
            },
        };
        self.own(here, &row::SCLERA_DIALECT, word);
        if enabled {
            self.report_weakness(&server);
        }
        server
    }

    /// Warns of what will keep an enabled server from working, or from being safe.
    fn report_weakness(&mut self, server: &Server) {
        if let Some(obstacle) = server.obstacle() {
            let origin = obstacle.origin.unwrap_or(&server.origin);
            let remedy = obstacle.code.remedy().trim_end_matches('.');
            let message = format!("server {} answers 503: {}", server.name, obstacle.message);
            self.findings.push(Finding::at(Severity::Warning, Some(obstacle.code), origin, message, remedy));
        } else if server.security.value == Security::Tls && !server.tls.verify_peer.value {
            let origin = server.tls.verify_peer.origin.as_ref().unwrap_or(&server.origin);
            let message = "connections are made even if the superserver's certificate is not to be trusted";
            let remedy = "set SSLCC_Verify_Peer=1 and SSLCC_CA_Certificate_File";
            self.findings.push(Finding::at(Severity::Warning, None, origin, message, remedy));
        } else if server.security.value == Security::Password
            && let Some(file) = server.tls.files().next()
        {
            let origin = server.security.origin.as_ref().or(file.origin.as_ref()).unwrap_or(&server.origin);
            let message = "the link is not protected, and the SSLCC_ settings have no effect";
            let remedy = "set Connection_Security_Level=10";
            self.findings.push(Finding::at(Severity::Warning, None, origin, message, remedy));
        }
        if let (Some(origin), Some(message)) = (&server.address.origin, more_than_an_address(&server.address.value)) {
            let remedy = "write a name or an address alone, the port into TCP_Port";
            let finding = Finding::at(Severity::Warning, None, origin, message, remedy);
            self.findings.push(finding.quoting(&server.address.value));
        }
    }

    /// Blank in the server's section means the value of `[SYSTEM]`; blank there means for ever.
    fn idle_timeout(&mut self, section: &'a Section) -> Option<Duration> {
        let row = &row::NO_ACTIVITY_TIMEOUT;
        let blank = |section: &Section| section.entry(row.key).is_some_and(|it| it.value.is_empty());
        if self.found(Some(section), row).is_none() && self.system.is_some_and(blank) {
            return None;
        }
        Some(self.own(Some(section), row, seconds).value)
    }

    /// The protocol range: Min and Max, or else the older sum of versions.
    fn tls_range(&mut self, section: &'a Section) -> Setting<Option<TlsRange>> {
        let here = Some(section);
        let oldest = self.own(here, &row::SSLCC_PROTOCOL_MIN, tls_version);
        let newest = self.own(here, &row::SSLCC_PROTOCOL_MAX, tls_version);
        let sum = self.optional(here, &row::SSLCC_PROTOCOL, tls_versions);
        let (tls12, tls13, origin) = match sum {
            Some(sum) if oldest.origin.is_none() && newest.origin.is_none() => {
                (sum.value & 16 != 0, sum.value & 32 != 0, sum.origin)
            }
            _ => {
                let range = oldest.value..=newest.value;
                let origin =
                    if newest.value < 16 { newest.origin.or(oldest.origin) } else { oldest.origin.or(newest.origin) };
                (range.contains(&16), range.contains(&32), origin)
            }
        };
        let value = match (tls12, tls13) {
            (true, true) => Some(TlsRange::Tls12And13),
            (true, false) => Some(TlsRange::Tls12),
            (false, true) => Some(TlsRange::Tls13),
            (false, false) => None,
        };
        Setting { value, origin }
    }

    /// Every application path that the index lists, with or without a section of its own.
    fn applications(&mut self) -> Vec<Application> {
        let index = self.index(SectionKind::ApplicationIndex);
        let sections: HashMap<&str, &'a Section> = self
            .layers
            .sections
            .iter()
            .filter(|section| SectionKind::of(&section.name) == SectionKind::Application)
            .map(|section| (section.name["APP_PATH:".len()..].trim(), section))
            .collect();
        let listed: HashSet<&str> = index.iter().map(|(path, _)| path.as_str()).collect();
        for (path, section) in &sections {
            if !listed.contains(path) {
                let message = "is not listed in [APP_PATH_INDEX], and so not in use";
                let remedy = format!("add {path}=Enabled there");
                let origin = section.origin.clone();
                self.findings.push(Finding::at(Severity::Warning, None, &origin, message, remedy));
            }
        }
        let mut applications = Vec::new();
        for (path, (enabled, origin)) in &index {
            if !path.starts_with('/') {
                let message = "is not a path, and is ignored";
                self.findings.push(Finding::at(Severity::Warning, None, origin, message, "begin it with /"));
                continue;
            }
            let section = sections.get(path.as_str()).copied();
            let application = Application {
                path: path.clone(),
                enabled: *enabled,
                origin: origin.clone(),
                default_server: self.optional(section, &row::APPLICATION_DEFAULT_SERVER, text_value),
                alternatives_for: self.own(section, &row::ALTERNATIVE_SERVERS, alternatives_for),
                balance: self.own(section, &row::SCLERA_BALANCE, balance).value,
                alternatives: self.alternatives(section),
            };
            applications.push(application);
        }
        applications
    }

    /// The alternative servers of a section, by their numbers.
    fn alternatives(&mut self, section: Option<&'a Section>) -> Vec<Alternative> {
        let mut alternatives = Vec::new();
        for entry in section.iter().flat_map(|section| &section.entries) {
            let stem = "Alternative_Server_".len();
            let is_one = Parameter::find(SectionKind::Application, &entry.key)
                .is_some_and(|found| found.key == row::ALTERNATIVE_SERVER.key);
            let Some(number) = is_one.then(|| entry.key[stem..].parse().ok()).flatten() else { continue };
            match alternative(&entry.value, &row::ALTERNATIVE_SERVER) {
                Read::Good((enabled, name)) | Read::Adjusted((enabled, name), _) => {
                    let server = Setting { value: name, origin: Some(entry.origin.clone()) };
                    alternatives.push(Alternative { number, enabled, server });
                }
                Read::Wrong(_) if entry.value.is_empty() => {}
                // Not an error, because the original loads such files.
                Read::Wrong(reason) => {
                    let remedy = row::ALTERNATIVE_SERVER.expected();
                    let message = format!("{reason}, and is left out");
                    let finding = Finding::at(Severity::Warning, None, &entry.origin, message, remedy);
                    self.findings.push(finding.quoting(&entry.value));
                }
            }
        }
        alternatives.sort_by_key(|alternative| alternative.number);
        alternatives
    }

    /// An index section: names with their status and line, in the order of the file.
    fn index(&mut self, kind: SectionKind) -> Vec<(String, (bool, Origin))> {
        let Some(section) = self.layers.sections.iter().find(|section| SectionKind::of(&section.name) == kind) else {
            return Vec::new();
        };
        let mut names = Vec::new();
        for entry in &section.entries {
            let origin = entry.origin.clone();
            let value = entry.value.as_str();
            let enabled = listed(value).unwrap_or_else(|| {
                self.wrong(&origin, Some(value), "is neither Enabled nor Disabled", "write Enabled or Disabled");
                false
            });
            names.push((entry.key.clone(), (enabled, origin)));
        }
        names
    }

    fn report_absent_servers(
        &mut self,
        system: &System,
        applications: &[Application],
        by_name: &HashMap<String, usize>,
    ) {
        let asked = applications.iter().filter_map(|application| application.default_server.as_ref());
        for setting in asked.chain([&system.default_server]) {
            let Some(origin) = &setting.origin else { continue };
            if !by_name.contains_key(&setting.value.to_ascii_lowercase()) {
                let message = "the file has no section of that name";
                let remedy = "write that section and list it in [SYSTEM_INDEX], or name another server";
                let code = Some(Code::NoServerForPath);
                let finding = Finding::at(Severity::Warning, code, origin, message, remedy).quoting(&setting.value);
                self.findings.push(finding);
            }
        }
    }

    /// What keeps alternative servers from being what the file seems to want. `enabled` tells of a server whether it is;
    /// `None` if there is none of that name.
    fn report_alternatives(
        &mut self,
        application: &Application,
        default: &str,
        enabled: impl Fn(&str) -> Option<bool>,
    ) {
        if !application.enabled || application.alternatives_for.value == Alternatives::Disabled {
            return;
        }
        let default = application.default_server.as_ref().map_or(default, |setting| setting.value.as_str());
        let mut seen: HashSet<String> = HashSet::new();
        let mut candidates = usize::from(enabled(default) == Some(true) && !application.takes_out(default));
        for line in &application.alternatives {
            let name = &line.server.value;
            let is_default = name.eq_ignore_ascii_case(default);
            let state = enabled(name);
            let (message, remedy) = if !seen.insert(name.to_ascii_lowercase()) {
                ("names a server that an alternative before it names too; this line is left out".into(), "remove it")
            } else if state.is_none() {
                let remedy = "write that section and list it in [SYSTEM_INDEX], or remove this line";
                ("the file has no section of that name; this alternative is left out".into(), remedy)
            } else if !line.enabled && is_default {
                let message = "takes the default server out, because its own line as an alternative is disabled";
                (message.into(), "begin the line with 1 to use it")
            } else if !line.enabled || is_default && state == Some(true) {
                continue;
            } else if state == Some(false) {
                let remedy = "set it to Enabled in [SYSTEM_INDEX], or disable this line";
                ("that server is not enabled, and does not answer as an alternative".into(), remedy)
            } else if candidates == MOST_CANDIDATES {
                let message =
                    format!("is more than the {MOST_CANDIDATES} servers that one path may have, and left out");
                (message, "spread the servers over several paths")
            } else {
                candidates += 1;
                continue;
            };
            let Some(origin) = &line.server.origin else { continue };
            let finding = Finding::at(Severity::Warning, None, origin, message, remedy);
            self.findings.push(finding.quoting(name));
        }
        let Some(origin) = &application.alternatives_for.origin else { return };
        if candidates == 0 {
            let remedy = "enable one, in [SYSTEM_INDEX] and as an alternative";
            let message =
                format!("none of the servers of {} is in use: the path is answered with 503", application.path);
            self.findings.push(Finding::at(Severity::Warning, None, origin, message, remedy));
        } else if application.alternatives_for.value == Alternatives::LoadBalancing
            && enabled(default) == Some(true)
            && !seen.contains(&default.to_ascii_lowercase())
        {
            let message = format!("the default server {default} takes part, though no alternative names it");
            self.findings.push(Finding::at(Severity::Notice, None, origin, message, ""));
        }
    }

    /// Unknown keys, each once, without their values, which may be misspelt passwords; and in one sentence the
    /// documented keys that this release does not heed.
    fn report_keys_without_effect(&mut self) {
        let mut unknown = HashSet::new();
        let mut later: Vec<&str> = Vec::new();
        for section in &self.layers.sections {
            let kind = SectionKind::of(&section.name);
            if matches!(kind, SectionKind::ServerIndex | SectionKind::ApplicationIndex) {
                continue;
            }
            for entry in &section.entries {
                match Parameter::find(kind, &entry.key) {
                    Some(row) if matches!(row.effect, Effect::Later | Effect::Without(_)) => {
                        if row.effect == Effect::Later && !later.contains(&row.key) {
                            later.push(row.key);
                        }
                        self.report_unused_value(row, &entry.value, &entry.origin);
                    }
                    Some(_) => {}
                    None => {
                        let meant = Parameter::nearest(kind, &entry.key);
                        // Whoever wrote one that is nearly right counts on it, in each section anew.
                        let severity = match meant.is_some() || entry.key.to_ascii_lowercase().starts_with("sclera_") {
                            true => Severity::Warning,
                            false if unknown.insert((kind, entry.key.to_ascii_lowercase())) => Severity::Notice,
                            false => continue,
                        };
                        let origin = entry.origin.clone();
                        let message = "is not a known setting of this section; it is kept and has no effect";
                        let remedy = meant.map(|row| format!("write {} if that is meant", row.key)).unwrap_or_default();
                        self.findings.push(Finding::at(severity, None, &origin, message, remedy));
                    }
                }
            }
        }
        if !later.is_empty() {
            let message = format!("settings that this release does not heed yet: {}", later.join(", "));
            self.findings.push(Finding::about_file(Severity::Notice, None, &self.layers.file, message, ""));
        }
    }

    /// A value that nothing heeds is no error, but whoever wrote it should know that it is wrong.
    fn report_unused_value(&mut self, row: &Parameter, value: &str, origin: &Origin) {
        let asks_for_mirror = row.key == row::MIRROR_AWARE.key && value == "1";
        let expects_state = row.key == row::SA_EXCLUDE_FILE_TYPES.key && !value.is_empty();
        let (message, remedy) = match (row.check(value), row.effect) {
            (Verdict::Adjusted(reason) | Verdict::Wrong(reason), _) => (reason, row.expected()),
            (_, Effect::Without(reason)) if asks_for_mirror => (
                format!("has no effect: {}", reason.trim_end_matches('.')),
                "name the primary member in Ip_Address".into(),
            ),
            (_, Effect::Without(reason)) if expects_state => {
                let reason = reason.trim_end_matches('.');
                (format!("has no effect: {reason}; every session is used as a plain one"), "remove it".into())
            }
            _ => return,
        };
        if self.reported.insert(origin.clone()) {
            let finding = Finding::at(Severity::Warning, None, origin, message, remedy);
            self.findings.push(finding.quoting(if row.kind == Kind::Secret { "(hidden)" } else { value }));
        }
    }

    /// A setting, or its default from the table.
    fn own<T>(
        &mut self,
        section: Option<&'a Section>,
        row: &Parameter,
        read: impl Fn(&str, &Parameter) -> Read<T>,
    ) -> Setting<T> {
        self.optional(section, row, &read).unwrap_or_else(|| match read(row.default, row) {
            Read::Good(value) | Read::Adjusted(value, _) => Setting::default_of(value),
            Read::Wrong(reason) => unreachable!("the table's default of {}: {reason}", row.key),
        })
    }

    /// A setting, if it is given and not blank.
    fn optional<T>(
        &mut self,
        section: Option<&'a Section>,
        row: &Parameter,
        read: impl Fn(&str, &Parameter) -> Read<T>,
    ) -> Option<Setting<T>> {
        let (value, origin) = self.found(section, row)?;
        let quoted = (row.kind != Kind::Secret).then_some(value);
        if row.kind == Kind::Secret {
            self.report_clear_text(row, value, &origin);
        }
        match read(value, row) {
            Read::Good(value) => Some(Setting { value, origin: Some(origin) }),
            Read::Adjusted(adjusted, reason) => {
                let finding = Finding::at(Severity::Warning, None, &origin, reason, row.expected());
                if self.reported.insert(origin.clone()) {
                    self.findings.push(Finding { value: quoted.map(str::to_owned), ..finding });
                }
                Some(Setting { value: adjusted, origin: Some(origin) })
            }
            Read::Wrong(reason) => {
                let comment = value.contains(['#', ';']) && !matches!(row.kind, Kind::Secret | Kind::Text);
                let hint = if comment { ", and put the comment on a line of its own" } else { "" };
                self.wrong(&origin, quoted, &reason, &format!("{}{hint}", row.expected()));
                None
            }
        }
    }

    /// A password in clear text works, but whoever glances at the file learns it.
    fn report_clear_text(&mut self, row: &Parameter, value: &str, origin: &Origin) {
        let (clear, remedy) = match row.section {
            SectionKind::System => {
                let password = ManagementPassword::from_stored(value);
                if password == ManagementPassword::Unverifiable {
                    let message =
                        "is a hash of the original gateway's, which cannot be checked: nobody can log in with it";
                    let remedy = "set the password of the management pages anew";
                    self.findings.push(Finding::at(Severity::Warning, None, origin, message, remedy));
                }
                (matches!(password, ManagementPassword::Clear(_)), "let `sclera set` store its hash")
            }
            _ => (Secret::is_clear_in_file(value), "let `sclera set` encode it, or set Sclera_Encode_Passwords=1"),
        };
        if clear && origin.line.is_some() && self.reported.insert(origin.clone()) {
            let (message, remedy) = match value.starts_with('{') {
                true => (
                    "is no command, because it does not end with }; it is taken for a password in clear text",
                    "close the brace",
                ),
                false => ("stands in clear text", remedy),
            };
            self.findings.push(Finding::at(Severity::Notice, None, origin, message, remedy));
        }
    }

    /// The path of a file; relative ones are taken from the directory of CSP.ini.
    fn path(&mut self, section: Option<&'a Section>, row: &Parameter) -> Option<Setting<PathBuf>> {
        let setting = self.optional(section, row, text_value)?;
        // A key in a hardware module is named by a URI, which belongs to no directory.
        let value = match setting.value.starts_with(PKCS11_SCHEME) {
            true => PathBuf::from(setting.value),
            false => self.directory.join(setting.value),
        };
        Some(Setting { value, origin: setting.origin })
    }

    /// The value given for a row and where: in the section itself, or in `[SYSTEM]` if it inherits. Blank is not given.
    fn found(&self, section: Option<&'a Section>, row: &Parameter) -> Option<(&'a str, Origin)> {
        let inherited = if row.inherits == Inherits::ToServers { self.system } else { None };
        [section, inherited].into_iter().flatten().find_map(|section| {
            let entry = section.entry(row.key)?;
            let value = entry.value.as_str();
            (!value.is_empty()).then(|| (value, entry.origin.clone()))
        })
    }

    fn wrong(&mut self, origin: &Origin, value: Option<&str>, reason: &str, remedy: &str) {
        let lenient = self.lenient && SectionKind::of(&origin.section) == SectionKind::Server;
        let severity = if lenient { Severity::Warning } else { Severity::Error };
        let code = (!lenient).then_some(Code::ConfigurationInvalid);
        if self.reported.insert(origin.clone()) {
            let finding = Finding::at(severity, code, origin, reason, remedy);
            self.findings.push(finding.quoting(value.unwrap_or("(hidden)")));
        }
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// At most [`MOST_FINDINGS`], errors kept first, and how many were left out.
fn shortened(mut findings: Vec<Finding>, file: &Arc<Path>) -> Vec<Finding> {
    if findings.len() <= MOST_FINDINGS {
        return findings;
    }
    let all = findings.len();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings.truncate(MOST_FINDINGS);
    in_order(&mut findings, file);
    let message = format!("{} further findings are not shown", all - MOST_FINDINGS);
    findings.push(Finding::about_file(Severity::Notice, None, file, message, ""));
    findings
}

/// By file, CSP.ini first, and line.
fn in_order(findings: &mut [Finding], main: &Arc<Path>) {
    findings.sort_by(|one, other| {
        let place = |finding: &Finding| (finding.file != *main, finding.line.unwrap_or(0));
        place(one)
            .0
            .cmp(&place(other).0)
            .then_with(|| one.file.cmp(&other.file))
            .then(place(one).1.cmp(&place(other).1))
    });
}
