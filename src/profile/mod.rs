//! The profile: what CSP.ini says, as typed views with the place each value came from.
//!
//! [`Profile::load`] reads a file once and completely: every value is checked, defaults and inheritance are applied, and
//! everything found is reported together as [`Finding`]s. What it returns is plain data without any state of its own; a
//! reload loads a second one.
//!
//! The way through the folder: `text` cuts a file into lines, sections and keys; `layers` lays fragments, environment and
//! secret files over it; `parameter` is the one table of settings; `reader` takes the values the table describes out of
//! the layers; `server`, `application` and `route` are what
//! the rest of Sclera sees.
//!
//! Decisions where the documentation is silent:
//!
//! - Section names, keys and server names are compared without regard to case, application paths with it.
//! - Whole lines that start with `#` or `;` are comments; a `#` inside a value belongs to the value.
//! - Of a key given twice the last counts, and a section given twice is one section; both are reported.
//! - A server section without a line in `[SYSTEM_INDEX]` is not enabled, with a warning that names the line to add. An
//!   application section without a line in `[APP_PATH_INDEX]` is left out, so that a shorter path answers.
//! - A wrong value is an error. In a server that is not enabled it is a warning, and the default stands in for it.
//! - Bytes that are not UTF-8 are read as Latin-1.
//! - Relative file names are taken from the directory of CSP.ini.

mod application;
mod clients;
mod command;
pub mod edit;
mod effective;
mod explain;
pub(crate) mod file;
mod finding;
pub mod initial;
mod layers;
mod management;
mod mark;
pub mod merge;
mod monitoring;
pub mod parameter;
pub(crate) mod permissions;
mod quote;
mod reader;
pub mod reference;
mod route;
pub(crate) mod secret;
mod server;
pub mod store;
pub mod text;
mod users;
mod value;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

pub use application::{Alternative, Alternatives, Application, Balance, Candidates, MOST_CANDIDATES};
pub use clients::Clients;
pub use effective::{Effective, effective};
pub use explain::Explanation;
pub use finding::{Finding, Origin, Setting, Severity};
pub use layers::{Environment, fragment_files};
pub use management::{Management, ManagementPassword, Role};
pub use mark::{Mark, gateway_mark};
pub use monitoring::{Monitoring, Probe};
pub use quote::{Quote, Quotes};
pub use route::{Route, management_place, routing_path};
pub use secret::{Secret, Unusable, to_store};
pub use server::{KeyType, PKCS11_SCHEME, PinnedKey, Security, Server, TlsRange, TlsSettings, Verification};
pub use users::UsersFile;
pub use value::{listed, more_than_an_address};

use crate::event_log;
use crate::privileges::User;

/// What one CSP.ini says.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The file, as it was named when it was loaded.
    pub path: Arc<Path>,
    /// The settings of `[SYSTEM]` that are not inherited by servers.
    pub system: System,
    /// The server access profiles, in the order of the file.
    pub servers: Vec<Server>,
    /// The application access profiles, in the order of `[APP_PATH_INDEX]`.
    pub applications: Vec<Application>,
    routes: route::Routes,
}

/// The settings of `[SYSTEM]` that belong to the gateway as a whole.
#[derive(Clone, Debug)]
pub struct System {
    /// The server for paths whose application names none; `LOCAL` if the file is silent.
    pub default_server: Setting<String>,
    /// Most connections to all servers together.
    pub maximum_connections: u32,
    /// Directory of the ledger (`Sclera_Runtime_Directory`); absolute.
    pub runtime_directory: PathBuf,
    /// How long a command that gives a password may run.
    pub password_command_timeout: Duration,
    /// How often a request is sent again at most (`Sclera_Retries`).
    pub retries: u32,
    /// Whether the cookie `CSPWSERVERID` is set (`Web_Server_ID_Cookie`).
    pub web_server_id_cookie: bool,
    /// The event log and the HTTP trace.
    pub event_log: event_log::Settings,
    /// The settings of the management pages.
    pub management: Management,
    /// Where programs that watch the gateway ask.
    pub monitoring: Monitoring,
    /// Keys and values of the settings that are in force only after a restart of the web server.
    pub at_restart: Vec<(&'static str, String)>,
}

/// A profile, and what there is to say about its file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The profile.
    pub profile: Profile,
    /// Warnings and notices, in the order of the file.
    pub notices: Vec<Finding>,
}

impl Profile {
    /// Reads the file at `path` and its fragments, and lays the environment over them.
    ///
    /// # Errors
    ///
    /// All findings about files that cannot be used, at least one of them of [`Severity::Error`]: absent, unreadable,
    /// not a regular file, larger than 16 MiB, not text, or with wrong values.
    pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, Vec<Finding>> {
        let (text, mut findings) = text::Text::read(path)?;
        let fragments = layers::fragments(path, &mut findings)?;
        findings.extend(std::iter::once(&text).chain(&fragments).filter_map(permissions::report));
        let layers = layers::Layers::new(&text, &fragments, environment, &mut findings);
        let mut loaded = reader::read(&layers, findings)?;
        loaded.notices.extend(loaded.profile.system.management.users_file.iter().flat_map(users::report));
        Ok(loaded)
    }

    /// As [`Profile::load`], with `bytes` as the content of the file at `path`: what would be in force if they were saved.
    ///
    /// # Errors
    ///
    /// As [`Profile::load`].
    pub fn load_as(path: &Path, bytes: &[u8], environment: &Environment) -> Result<Loaded, Vec<Finding>> {
        let (text, mut findings) = text::Text::parse(path.into(), Zeroizing::new(bytes.to_vec()))?;
        let fragments = layers::fragments(path, &mut findings)?;
        let layers = layers::Layers::new(&text, &fragments, environment, &mut findings);
        reader::read(&layers, findings)
    }

    /// Reads `bytes` as if they were the content of the file at `path`, which is only named in messages.
    ///
    /// # Errors
    ///
    /// As [`Profile::load`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Loaded, Vec<Finding>> {
        let bytes = Zeroizing::new(bytes.to_vec());
        let (text, mut findings) = text::Text::parse(path.into(), bytes)?;
        let layers = layers::Layers::new(&text, &[], &Environment::none(), &mut findings);
        reader::read(&layers, findings)
    }

    /// Runs the commands that give passwords of enabled servers, one after the other, each within
    /// `Sclera_Password_Command_Timeout`. One that gives none makes its server unusable ([`Server::unusable`]).
    ///
    /// They run as `user`, the workers', if this process is root; `None`: as this process.
    pub fn run_commands(&mut self, user: Option<&User>) {
        let limit = self.system.password_command_timeout;
        self.servers.iter_mut().filter(|server| server.enabled).for_each(|server| server.run_commands(limit, user));
    }

    /// The same for one server, enabled or not.
    pub fn run_commands_of(&mut self, server: usize, user: Option<&User>) {
        let limit = self.system.password_command_timeout;
        if let Some(server) = self.servers.get_mut(server) {
            server.run_commands(limit, user);
        }
    }

    /// Which passwords of enabled servers are commands that have not been run: a sentence each, for checks.
    pub fn commands_not_run(&self) -> Vec<String> {
        let enabled = self.servers.iter().filter(|server| server.enabled);
        enabled
            .flat_map(|server| std::iter::once(&server.password).chain(&server.tls.key_password))
            .filter(|setting| setting.value.reveal() == Err(Unusable::Command))
            .map(|setting| format!("{} is a {{command}}, which a check does not run", setting.place("Password")))
            .collect()
    }

    /// What is dangerous for long counts its time from here (`Sclera_Debug_Expiry`). Without this call it never ends, as suits
    /// a program that ends itself.
    pub fn debug_since(&mut self, since: SystemTime) {
        self.system.event_log.debug_since = Some(since);
        let until = self.system.event_log.debug_until();
        self.servers.iter_mut().for_each(|server| server.debug_until = until);
        self.system.event_log.dangerous = self.dangerous_settings();
    }

    /// The settings that are dangerous for long.
    fn dangerous_settings(&self) -> Vec<String> {
        let log = &self.system.event_log;
        let levels = log.levels.is_dangerous().then(|| "Env_Parameters of [SYSTEM]".to_owned());
        let trace = (!log.trace.wanted.is_empty()).then(|| "Sclera_Trace".to_owned());
        let of_servers = self.servers.iter().filter(|server| server.enabled).flat_map(|server| {
            let own_levels = server.log_levels.filter(|levels| levels.is_dangerous()).map(|_| "Env_Parameters");
            let key_log = server.tls.key_log_file.as_ref().map(|_| "Sclera_Key_Log_File");
            let named = |key: &str| format!("{key} of [{}]", server.name);
            own_levels.into_iter().chain(key_log).map(named).collect::<Vec<_>>()
        });
        levels.into_iter().chain(trace).chain(of_servers).collect()
    }

    /// The index of the server of this name, compared without regard to case.
    pub fn server(&self, name: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.name.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::failure::Code;

    fn parse(content: &str) -> Result<Loaded, Vec<Finding>> {
        Profile::parse(Path::new("/etc/CSP.ini"), content.as_bytes())
    }

    /// The one enabled server whose section has these lines, which begin on line 4.
    fn server(lines: &str) -> Server {
        let content = format!("[SYSTEM_INDEX]\nA=Enabled\n[A]\n{lines}\n");
        parse(&content).unwrap().profile.servers.remove(0)
    }

    #[test]
    fn every_published_configuration_loads() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let places = [root.join("../shared/fixtures/csp-ini"), root.join("../../shared/fixtures/csp-ini")];
        let Some(directory) = places.iter().find(|place| place.is_dir()) else {
            eprintln!("skipped: no published configurations beside the repository");
            return;
        };
        let mut count = 0;
        for file in std::fs::read_dir(directory).unwrap() {
            let path = file.unwrap().path();
            let loaded =
                Profile::load(&path, &Environment::none()).unwrap_or_else(|findings| panic!("{}", findings[0]));
            assert!(!loaded.profile.servers.is_empty(), "{}", path.display());
            count += 1;
        }
        assert!(count >= 6);
    }

    #[test]
    fn defaults_stand_in_for_what_is_absent_or_blank() {
        for lines in ["Ip_Address=a", "Ip_Address=a\nTCP_Port=\nMinimum_Server_Connections=\nSSLCC_Verify_Peer="] {
            let server = server(lines);
            assert_eq!(server.port, Setting::default_of(1972));
            assert_eq!(server.security.value, Security::Password);
            assert_eq!((server.minimum_connections, server.maximum_connections), (3, None));
            assert_eq!(server.maximum_session_connections, 3);
            assert_eq!(server.response_timeout, Duration::from_secs(60));
            assert_eq!(server.queue_timeout, Duration::from_secs(60));
            assert_eq!(server.idle_timeout, Some(Duration::from_secs(86_400)));
            assert_eq!(server.connect_timeout, Duration::from_secs(10));
            assert_eq!(server.namespace, "USER");
            assert_eq!(server.tls.range.value, Some(TlsRange::Tls12And13));
            assert!(!server.tls.verify_peer.value && server.tls.verify_name.value);
            assert!(server.username.value.is_empty() && server.password.value.is_empty());
            assert_eq!(server.unusable(), None);
        }
    }

    #[test]
    fn timeouts_come_from_the_server_then_the_system_then_the_default() {
        for (system, own, expected) in [
            ("", "", Some(86_400)),
            ("No_Activity_Timeout=100", "", Some(100)),
            ("No_Activity_Timeout=100", "No_Activity_Timeout=", Some(100)),
            ("No_Activity_Timeout=100", "No_Activity_Timeout=7", Some(7)),
            ("No_Activity_Timeout=", "", None),
            ("No_Activity_Timeout=", "No_Activity_Timeout=7", Some(7)),
        ] {
            let content = format!("[SYSTEM]\n{system}\n[SYSTEM_INDEX]\nA=Enabled\n[A]\nIp_Address=a\n{own}\n");
            let server = parse(&content).unwrap().profile.servers.remove(0);
            assert_eq!(server.idle_timeout, expected.map(Duration::from_secs), "{system:?} {own:?}");
        }
    }

    #[test]
    fn the_protocol_range_is_read_in_both_forms() {
        use TlsRange::*;
        for (lines, expected) in [
            ("SSLCC_Protocol_Min=16\nSSLCC_Protocol_Max=32", Some(Tls12And13)),
            ("SSLCC_Protocol_Min=32", Some(Tls13)),
            ("SSLCC_Protocol_Max=16", Some(Tls12)),
            ("SSLCC_Protocol_Min=4\nSSLCC_Protocol_Max=32", Some(Tls12And13)),
            ("SSLCC_Protocol_Min=4\nSSLCC_Protocol_Max=8", None),
            ("SSLCC_Protocol_Min=32\nSSLCC_Protocol_Max=16", None),
            ("SSLCC_Protocol=48@", Some(Tls12And13)),
            ("SSLCC_Protocol=24", Some(Tls12)),
            ("SSLCC_Protocol=32", Some(Tls13)),
            ("SSLCC_Protocol=12", None),
            ("SSLCC_Protocol=12\nSSLCC_Protocol_Max=32", Some(Tls12And13)),
        ] {
            assert_eq!(server(&format!("Ip_Address=a\n{lines}")).tls.range.value, expected, "{lines}");
        }
    }

    #[test]
    fn what_cannot_be_used_loads_with_a_warning_and_has_its_code_and_line() {
        for (lines, code, place) in [
            ("Ip_Address=a\nConnection_Security_Level=2", Code::SecurityLevelUnsupported, ":5 [A] Connection_Security"),
            (
                "Ip_Address=a\nConnection_Security_Level=10\nSSLCC_Protocol=8",
                Code::TlsRangeUnsupported,
                ":6 [A] SSLCC_Pro",
            ),
            ("Ip_Address=", Code::AddressMissing, ":3 [A]"),
            ("Ip_Address=a\nPassword=]]]!!secret!!", Code::PasswordUnusable, ":5 [A] Password"),
        ] {
            let content = format!("[SYSTEM_INDEX]\nA=Enabled\n[A]\n{lines}\n");
            let loaded = parse(&content).unwrap();
            let failure = loaded.profile.servers[0].unusable().unwrap();
            assert_eq!(failure.code, code);
            assert!(failure.detail.contains(place), "{failure}");
            assert!(!failure.to_string().contains("secret") && !failure.to_string().contains("pass iris"));
            let warning = loaded.notices.iter().find(|finding| finding.code == Some(code)).unwrap();
            assert_eq!(warning.severity, Severity::Warning);
        }
    }

    #[test]
    fn all_errors_are_reported_together_with_line_value_and_remedy() {
        let findings = parse(
            "[SYSTEM]\nQueued_Request_Timeout=soon\n[SYSTEM_INDEX]\nA=Enabled\nB=Enabled\n[A]\nIp_Address=a b\n\
             TCP_Port=99999\nConnection_Security_Level=7\n[B]\nSSLCC_Verify_Peer=yes # safe\nPassword=secret\n\
             [APP_PATH_INDEX]\n/=On\n",
        )
        .unwrap_err();
        let errors: Vec<String> =
            findings.iter().filter(|it| it.severity == Severity::Error).map(Finding::to_string).collect();
        assert_eq!(
            errors,
            [
                "/etc/CSP.ini:2: [SYSTEM] Queued_Request_Timeout=soon: is not a whole number; \
                 write seconds from 5 to 31536000",
                "/etc/CSP.ini:7: [A] Ip_Address=a b: is neither a name nor an address; write a name or an IP address",
                "/etc/CSP.ini:8: [A] TCP_Port=99999: is not a TCP port; write a TCP port from 1 to 65535",
                "/etc/CSP.ini:9: [A] Connection_Security_Level=7: is not a security level; \
                 write 10 (TLS) or 0 (password)",
                "/etc/CSP.ini:11: [B] SSLCC_Verify_Peer=yes # safe: is neither 1 nor 0; \
                 write 1 or 0, and put the comment on a line of its own",
                "/etc/CSP.ini:14: [APP_PATH_INDEX] /=On: is neither Enabled nor Disabled; write Enabled or Disabled",
            ]
        );
    }

    #[test]
    fn mistakes_in_a_server_that_is_not_enabled_are_warnings() {
        let inherited = "[SYSTEM]\nNo_Activity_Timeout=x\n[SYSTEM_INDEX]\nA=Disabled\n[A]\nIp_Address=a\n";
        assert!(parse(inherited).is_err(), "what is inherited from [SYSTEM] is always in use");
        for index in ["[SYSTEM_INDEX]\nA=Disabled\n", ""] {
            let loaded = parse(&format!("{index}[A]\nTCP_Port=x\n")).unwrap();
            assert_eq!(loaded.profile.servers[0].port.value, 1972);
            assert!(!loaded.profile.servers[0].enabled);
            assert!(loaded.notices.iter().any(|finding| finding.key.as_deref() == Some("TCP_Port")));
        }
    }

    #[test]
    fn numbers_out_of_range_are_brought_into_it_with_a_warning() {
        for (line, expected) in [("1", 5), ("-3", 5), ("0", 5), ("99999999999999", 31_536_000), ("5", 5)] {
            let content = format!("[SYSTEM_INDEX]\nA=Enabled\n[A]\nIp_Address=a\nServer_Response_Timeout={line}\n");
            let loaded = parse(&content).unwrap();
            assert_eq!(loaded.profile.servers[0].response_timeout, Duration::from_secs(expected));
            assert_eq!(loaded.notices.len(), usize::from(line != "5"), "{line}");
        }
    }

    #[test]
    fn a_line_of_a_mebibyte_is_read_and_cut_short_in_messages() {
        let long = "x".repeat(1 << 20);
        let content = format!("[SYSTEM_INDEX]\nA=Enabled\n[A]\nIp_Address=a\nTCP_Port={long}\n{long}\n");
        let findings = parse(&content).unwrap_err();
        assert!(findings.iter().all(|finding| finding.to_string().len() < 400));
        let content = format!("[SYSTEM_INDEX]\nA=Enabled\n[A]\nIp_Address=a\nUsername={long}\n");
        assert_eq!(parse(&content).unwrap().profile.servers[0].username.value, long);
    }

    #[test]
    fn unknown_keys_are_reported_once_and_without_their_values() {
        let content =
            "[SYSTEM_INDEX]\nA=Enabled\nB=Enabled\n[A]\nIp_Address=a\nPwd=secret\n[B]\nIp_Address=b\npwd=secret\n";
        let notices = parse(content).unwrap().notices;
        assert_eq!(notices.len(), 1);
        let line = notices[0].to_string();
        assert!(line.starts_with("/etc/CSP.ini:6: [A] Pwd: is not a known setting"), "{line}");
    }

    #[test]
    fn there_may_be_as_many_servers_as_the_workers_can_share() {
        let servers = |count: usize| {
            let index: String = (0..count).map(|number| format!("S{number}=Enabled\n")).collect();
            let sections: String = (0..count).map(|number| format!("[S{number}]\nIp_Address=a\n")).collect();
            parse(&format!("[SYSTEM_INDEX]\n{index}{sections}"))
        };
        assert!(servers(256).is_ok());
        let findings = servers(257).unwrap_err();
        assert!(findings[0].to_string().contains("[S256]: is one server too many: there may be 256"), "{findings:?}");
    }

    #[test]
    fn a_key_that_is_nearly_one_of_the_settings_is_warned_of_in_each_section() {
        let content = "[SYSTEM_INDEX]\nA=Enabled\nB=Enabled\n[A]\nIp_Address=a\nSclera_CRL_Fle=x\nSclera_New=1\n\
                       [B]\nIp_Address=b\nSclera_CRL_Fle=x\n";
        let notices = parse(content).unwrap().notices;
        let told: Vec<_> = notices.iter().map(|it| (it.line, it.severity, it.remedy.as_str())).collect();
        let meant = "write Sclera_CRL_File if that is meant";
        let warned = |line, remedy| (Some(line), Severity::Warning, remedy);
        assert_eq!(told, [warned(6, meant), warned(7, ""), warned(10, meant)]);
    }

    #[test]
    fn what_will_keep_an_enabled_server_from_being_safe_or_found_is_warned_of() {
        for (lines, says) in [
            ("Ip_Address=a\nSSLCC_CA_Certificate_File=ca.pem", "the SSLCC_ settings have no effect"),
            ("Ip_Address=https://iris/", "is a URL and not an address"),
            ("Ip_Address=10.0.0.1:1972", "has a port, which belongs into TCP_Port"),
            ("Ip_Address=\"10.0.0.1\"", "has quotation marks, which belong to the value"),
            ("Ip_Address=a\nPassword={cat /run/secret", "is no command, because it does not end with }"),
        ] {
            let content = format!("[SYSTEM_INDEX]\nA=Enabled\n[A]\n{lines}\n");
            let notices = parse(&content).unwrap().notices;
            assert!(notices.iter().any(|it| it.message.contains(says)), "{lines}: {notices:?}");
        }
        for address in ["::1", "[fe80::1]", "iris.example.org", "10.0.0.1"] {
            let content = format!("[SYSTEM_INDEX]\nA=Enabled\n[A]\nIp_Address={address}\n");
            assert_eq!(parse(&content).unwrap().notices, [], "{address}");
        }
        let unnamed = parse("[SYSTEM_INDEX]\nA=Enabled\n[A]\nIp_Address=a\n[]\nIp_Address=b\n").unwrap().notices;
        assert!(unnamed.iter().any(|it| it.message == "has no name, and is not used"), "{unnamed:?}");
    }

    #[test]
    fn files_are_named_relative_to_csp_ini_and_addresses_lose_their_brackets() {
        let server = server("Ip_Address=[::1]\nSSLCC_Certificate_File=tls/a.pem\nSSLCC_CA_Certificate_File=/ca.pem");
        assert_eq!(server.address.value, "::1");
        assert_eq!(server.tls.certificate_file.unwrap().value, Path::new("/etc/tls/a.pem"));
        assert_eq!(server.tls.ca_file.unwrap().value, Path::new("/ca.pem"));
    }

    #[test]
    fn whatever_is_dangerous_for_long_is_named_also_in_servers() {
        let text = "[SYSTEM]\nEnv_Parameters=v9\nSclera_Trace=/csp\n[SYSTEM_INDEX]\nA=Enabled\nB=Enabled\nC=Disabled\n\
                    [A]\nIp_Address=a\nEnv_Parameters=v6\nSclera_Key_Log_File=keys\n[B]\nIp_Address=b\nEnv_Parameters=v2\n\
                    [C]\nIp_Address=c\nSclera_Key_Log_File=keys\n";
        let mut profile = Profile::parse(Path::new("/etc/CSP.ini"), text.as_bytes()).unwrap().profile;
        profile.debug_since(SystemTime::now());
        let expected =
            ["Env_Parameters of [SYSTEM]", "Sclera_Trace", "Env_Parameters of [A]", "Sclera_Key_Log_File of [A]"];
        assert_eq!(profile.system.event_log.dangerous, expected);
    }

    #[test]
    fn profiles_may_be_shared_between_threads_and_print_no_password() {
        fn shareable<T: Send + Sync>(value: T) -> T {
            value
        }
        let server = shareable(server("Ip_Address=a\nPassword=]]]c2VjcmV0\nSSLCC_Private_Key_Password=hunter2"));
        assert_eq!(server.password.value.reveal(), Ok("secret"));
        let printed = format!("{server:?}");
        assert!(!printed.contains("secret\"") && !printed.contains("hunter2"), "{printed}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Profile::parse(Path::new("CSP.ini"), &bytes);
        }

        #[test]
        fn no_lines_of_likely_words_make_the_reader_panic(
            lines in proptest::collection::vec(
                "(\\[?(SYSTEM|SYSTEM_INDEX|A|APP_PATH:|APP_PATH_INDEX|app_path:/x)\\]?|\
                  (A|/x|//h|TCP_Port|SSLCC_Protocol|Password|Default_Server|No_Activity_Timeout) ?= ?(1|A|Enabled|\\PC{0,6}|-|]]]))",
                0..20,
            ),
            path in "(/[a-z/]{0,8}|\\PC{0,8})",
        ) {
            if let Ok(loaded) = Profile::parse(Path::new("CSP.ini"), lines.join("\n").as_bytes())
                && let Some(failure) = loaded.profile.route(None, &path).failure(&loaded.profile)
            {
                prop_assert!(!failure.detail.is_empty());
            }
        }
    }
}
