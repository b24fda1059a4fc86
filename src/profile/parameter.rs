//! The one table of settings that CSP.ini may hold.
//!
//! The reader takes names, defaults and ranges from here and nowhere else. A documented setting without effect is a row
//! too, so that only what really is unknown is called unknown.

use super::value;
use crate::failure::Code;

/// One row: a setting.
#[derive(Debug)]
pub struct Parameter {
    /// The kind of section it belongs to.
    pub section: SectionKind,
    /// The key as documented. `<n>` at its end stands for a number.
    pub key: &'static str,
    /// What the original's management pages call it.
    pub label: &'static str,
    /// What values it takes, and in which unit.
    pub kind: Kind,
    /// The value if the file gives none, written as in the file.
    pub default: &'static str,
    /// Whether a server section may give it too, where blank or absent means the value of `[SYSTEM]`.
    pub inherits: Inherits,
    /// Whether this release heeds it.
    pub effect: Effect,
    /// What it means, in one sentence.
    pub help: &'static str,
}

/// What [`Parameter::check`] says of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can be used as it is.
    Good,
    /// It is brought into its range; why, and to what.
    Adjusted(String),
    /// It is understood, but whoever uses the server gets this failure.
    Refused(Code),
    /// It cannot be used; why.
    Wrong(String),
}

/// The kinds of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// `[SYSTEM]`.
    System,
    /// `[SYSTEM_INDEX]`: keys are server names.
    ServerIndex,
    /// `[APP_PATH_INDEX]`: keys are application paths.
    ApplicationIndex,
    /// `[APP_PATH:/path]`.
    Application,
    /// Any other name: a server access profile.
    Server,
}

/// The values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A name or an IP address.
    Address,
    /// A password; never shown.
    Secret,
    /// The path of a file.
    File,
    /// `Enabled` or `Disabled`.
    Status,
    /// `1` or `0`.
    Flag,
    /// A whole number. Numbers outside are brought to the nearer end.
    Number {
        /// Smallest.
        from: u32,
        /// Largest.
        to: u32,
    },
    /// Whole seconds. Numbers outside are brought to the nearer end.
    Seconds {
        /// Smallest.
        from: u32,
        /// Largest.
        to: u32,
    },
    /// A TCP port.
    Port,
    /// `Connection_Security_Level`.
    SecurityLevel,
    /// One TLS version: 2, 4, 8, 16 or 32.
    TlsVersion,
    /// A sum of TLS versions.
    TlsVersions,
    /// The type of a key: 1, 2 or 3.
    KeyType,
    /// `Enabled` or `1`, `Disabled` or `0`: the original's form is not known.
    Switch,
    /// A size in bytes, also as `nK` or `nM`. Smaller ones are brought to the least.
    Bytes {
        /// Smallest.
        from: u64,
    },
    /// An alternative server: `1` or `0`, any number of `~`, and its name.
    Alternative,
    /// `sha256//` and base64: the form that curl uses too.
    PinnedKey,
    /// A list of client addresses.
    Clients,
    /// A path of the web server, without query.
    UrlPath,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// Where a setting may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherits {
    /// In a server section too, which goes before `[SYSTEM]`.
    ToServers,
    /// In its own kind of section only.
    Nothing,
}

/// What this release does with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Heeds it; a change is in force within seconds.
    Now,
    /// Heeds it; a change is in force when the web server has been restarted.
    AtRestart,
    /// Accepts it; a later release heeds it.
    Later,
    /// Accepts it; there is nothing in Sclera that it could change, because of this.
    Without(&'static str),
}

impl SectionKind {
    /// The kind of the section of this name.
    pub fn of(name: &str) -> SectionKind {
        match name.to_ascii_uppercase().as_str() {
            "SYSTEM" => SectionKind::System,
            "SYSTEM_INDEX" => SectionKind::ServerIndex,
            "APP_PATH_INDEX" => SectionKind::ApplicationIndex,
            upper if upper.starts_with("APP_PATH:") => SectionKind::Application,
            _ => SectionKind::Server,
        }
    }
}

impl Parameter {
    /// The row for a key in a section of this kind.
    pub fn find(section: SectionKind, key: &str) -> Option<&'static Parameter> {
        ALL.iter().copied().find(|row| row.is_in(section) && row.matches(key))
    }

    fn is_in(&self, section: SectionKind) -> bool {
        self.section == section || (section == SectionKind::Server && self.inherits == Inherits::ToServers)
    }

    fn matches(&self, key: &str) -> bool {
        match self.key.strip_suffix("<n>") {
            None => self.key.eq_ignore_ascii_case(key),
            Some(stem) => key.get(..stem.len()).is_some_and(|start| {
                let number = &key[stem.len()..];
                start.eq_ignore_ascii_case(stem) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
            }),
        }
    }

    /// The setting of such a section whose key is spelt almost like this one, which is none.
    pub fn nearest(kind: SectionKind, key: &str) -> Option<&'static Parameter> {
        const FAR: usize = 2;
        let key = key.to_ascii_lowercase();
        // The beginning is seldom misspelt, and a file may hold very many keys of somebody else's.
        let may_be = |row: &&&Parameter| {
            row.is_in(kind)
                && row.key.len().abs_diff(key.len()) <= FAR
                && row.key.as_bytes()[0].to_ascii_lowercase() == key.as_bytes().first().copied().unwrap_or_default()
        };
        let distance = |row: &Parameter| strsim::damerau_levenshtein(&row.key.to_ascii_lowercase(), &key);
        let near = ALL.iter().filter(may_be).map(|row| (distance(row), *row)).filter(|(distance, _)| *distance <= FAR);
        near.min_by_key(|(distance, _)| *distance).map(|(_, row)| row)
    }

    /// What a value means for this row. Blank is never wrong: it stands for the default, or for what `[SYSTEM]` says.
    pub fn check(&self, value: &str) -> Verdict {
        if value.is_empty() { Verdict::Good } else { value::verdict(value, self) }
    }

    /// What to write, for the remedy of a finding.
    pub fn expected(&self) -> String {
        match self.kind {
            Kind::Text | Kind::Secret => "write a text".into(),
            Kind::Address => "write a name or an IP address".into(),
            Kind::File => "write the path of a file".into(),
            Kind::Switch | Kind::Status => "write Enabled or Disabled".into(),
            Kind::Flag => "write 1 or 0".into(),
            Kind::Number { from, to } => format!("write a number from {from} to {to}"),
            Kind::Seconds { from, to } => format!("write seconds from {from} to {to}"),
            Kind::Port => "write a TCP port from 1 to 65535".into(),
            Kind::SecurityLevel => "write 10 (TLS) or 0 (password)".into(),
            Kind::TlsVersion => "write 16 (TLS 1.2) or 32 (TLS 1.3)".into(),
            Kind::TlsVersions => "write 48 (TLS 1.2 and 1.3)".into(),
            Kind::KeyType => "write 1 (DSA), 2 (RSA) or 3 (ECDSA)".into(),
            Kind::Bytes { from: 0 } => "write bytes, such as 500, 256K or 2M".into(),
            Kind::Bytes { from } => format!("write bytes from {}K on, such as 256K or 2M", from / 1024),
            Kind::Alternative => "write 1 (enabled) or 0, six ~, and the server's name".into(),
            Kind::PinnedKey => "write sha256// and the base64 of 32 bytes, as `sclera test` shows it".into(),
            Kind::UrlPath => "write a path such as /metrics, decoded and without query".into(),
            Kind::Clients => {
                "write addresses such as 10.0.0.7, 10.0.0.4-6, 10.0.*.*, 10.0.0.0/8 or fd00::/8, separated by commas"
                    .into()
            }
            Kind::Word(words) => format!("write {}", words.join(", ")),
        }
    }
}

macro_rules! parameters {
    ($($name:ident: $section:ident $key:literal $label:literal, $kind:expr, $default:literal, $inherits:expr, $effect:expr,
        $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $name: Parameter = Parameter {
                section: SectionKind::$section,
                key: $key,
                label: $label,
                kind: $kind,
                default: $default,
                inherits: $inherits,
                effect: $effect,
                help: $help,
            };
        )*

        /// Every row.
        pub const ALL: &[&Parameter] = &[$(&$name,)*];
    };
}

const fn without(reason: &'static str) -> Effect {
    Effect::Without(reason)
}

/// The most server sections.
pub const MOST_SERVERS: usize = 256;
/// The ceiling of `MAX_CONNECTIONS`; the ledger has so many rows.
pub const MOST_CONNECTIONS: u32 = 8192;
/// The ceiling of `Maximum_Server_Connections`.
pub const MOST_SERVER_CONNECTIONS: u32 = 4096;
const ONE_YEAR: u32 = 31_536_000;
const ANSWERS: Kind = Kind::Seconds { from: 5, to: ONE_YEAR };

parameters! {
    DEFAULT_SERVER: System "Default_Server" "Default Server", Kind::Text, "LOCAL", Inherits::Nothing, Effect::Now,
        "The server for paths whose application names none.";
    MAX_CONNECTIONS: System "MAX_CONNECTIONS" "Maximum Connections", Kind::Number { from: 1, to: MOST_CONNECTIONS }, "1024", Inherits::Nothing, Effect::AtRestart,
        "Most connections to all servers together.";
    SERVER_RESPONSE_TIMEOUT: System "Server_Response_Timeout" "Server Response Timeout", ANSWERS, "60", Inherits::ToServers, Effect::Now,
        "Seconds that a server may stay silent during an answer.";
    QUEUED_REQUEST_TIMEOUT: System "Queued_Request_Timeout" "Queued Request Timeout", ANSWERS, "60", Inherits::ToServers, Effect::Now,
        "Seconds that a request may wait for a connection.";
    NO_ACTIVITY_TIMEOUT: System "No_Activity_Timeout" "No Activity Timeout", Kind::Seconds { from: 1, to: ONE_YEAR }, "86400", Inherits::ToServers, Effect::Now,
        "Seconds that a connection may idle before it is closed; blank for ever.";
    SCLERA_QUEUE_LIMIT: System "Sclera_Queue_Limit" "Queue Limit", Kind::Number { from: 1, to: 65_535 }, "", Inherits::ToServers, Effect::Now,
        "Most requests that may wait for a connection to the server, in each worker; blank for no limit.";
    SCLERA_RUNTIME_DIRECTORY: System "Sclera_Runtime_Directory" "Runtime Directory", Kind::File, "/run/sclera", Inherits::Nothing, Effect::AtRestart,
        "Directory of the ledger, the memory that all workers share and `sclera status` reads; made if it is not there.";
    SCLERA_MAXIMUM_AGE: System "Sclera_Maximum_Age" "Maximum Connection Age", Kind::Seconds { from: 0, to: ONE_YEAR }, "0", Inherits::ToServers, Effect::Now,
        "Seconds after which a connection is closed as soon as it idles, some of them up to a tenth sooner; 0 for never.";
    SCLERA_RESOLVE_INTERVAL: System "Sclera_Resolve_Interval" "Resolve Interval", Kind::Seconds { from: 0, to: ONE_YEAR }, "30", Inherits::ToServers, Effect::Now,
        "Seconds after which the addresses of a server's name are looked up again, in the background; 0 for each connection.";
    SCLERA_PASSWORD_COMMAND_TIMEOUT: System "Sclera_Password_Command_Timeout" "Password Command Timeout", Kind::Seconds { from: 1, to: 300 }, "10", Inherits::Nothing, Effect::Now,
        "Seconds that a {command} which gives a password may run.";
    SCLERA_ENCODE_PASSWORDS: System "Sclera_Encode_Passwords" "Encode Passwords", Kind::Flag, "0", Inherits::Nothing, Effect::Now,
        "Whether passwords that stand in clear in the file are encoded there at the web server's start.";
    IP_ADDRESS: Server "Ip_Address" "IP Address", Kind::Address, "", Inherits::Nothing, Effect::Now,
        "Name or address of the superserver.";
    TCP_PORT: Server "TCP_Port" "Superserver TCP Port", Kind::Port, "1972", Inherits::Nothing, Effect::Now,
        "TCP port of the superserver.";
    MINIMUM_SERVER_CONNECTIONS: Server "Minimum_Server_Connections" "Minimum Server Connections", Kind::Number { from: 0, to: 65_535 }, "3", Inherits::Nothing, Effect::Now,
        "Connections that idle closing leaves alone.";
    MAXIMUM_SERVER_CONNECTIONS: Server "Maximum_Server_Connections" "Maximum Server Connections", Kind::Number { from: 1, to: MOST_SERVER_CONNECTIONS }, "", Inherits::Nothing, Effect::Now,
        "Most connections to this server; blank leaves it to MAX_CONNECTIONS.";
    MAXIMUM_SESSION_CONNECTIONS: Server "Maximum_Session_Connections" "Maximum Connections per Session", Kind::Number { from: 1, to: 65_535 }, "3", Inherits::Nothing, Effect::Now,
        "Most connections that one session may use at once.";
    CONNECTION_SECURITY_LEVEL: Server "Connection_Security_Level" "Connection Security Level", Kind::SecurityLevel, "0", Inherits::Nothing, Effect::Now,
        "What protects the link: 0 nothing, 4 or 10 TLS; 1 to 3 Kerberos, which is not available.";
    USERNAME: Server "Username" "Username", Kind::Text, "", Inherits::Nothing, Effect::Now,
        "User name of the gateway's login; leave empty for mutual TLS.";
    PASSWORD: Server "Password" "Password", Kind::Secret, "", Inherits::Nothing, Effect::Now,
        "Password of the gateway's login; leave empty for mutual TLS.";
    SSLCC_PROTOCOL_MIN: Server "SSLCC_Protocol_Min" "Minimum SSL/TLS Protocol Version", Kind::TlsVersion, "16", Inherits::Nothing, Effect::Now,
        "Oldest TLS version: 16 for 1.2, 32 for 1.3; older ones are not spoken.";
    SSLCC_PROTOCOL_MAX: Server "SSLCC_Protocol_Max" "Maximum SSL/TLS Protocol Version", Kind::TlsVersion, "32", Inherits::Nothing, Effect::Now,
        "Newest TLS version: 16 for 1.2, 32 for 1.3.";
    SSLCC_PROTOCOL: Server "SSLCC_Protocol" "SSL/TLS Protocol", Kind::TlsVersions, "", Inherits::Nothing, Effect::Now,
        "Older form of the protocol range: the sum of the versions; heeded if neither Min nor Max is set.";
    SSLCC_VERIFY_PEER: Server "SSLCC_Verify_Peer" "Require Peer Certificate Verification", Kind::Flag, "0", Inherits::Nothing, Effect::Now,
        "Whether a superserver that cannot be verified is refused.";
    SSLCC_CIPHER_SUITES: Server "SSLCC_Cipher_Suites" "SSL/TLS Cipher Suites (TLSv1.2 and below)", Kind::Text, "ALL:!aNULL:!eNULL:!EXP:!SSLv2", Inherits::Nothing, Effect::Now,
        "OpenSSL cipher string for TLS 1.2; words that select nothing Sclera has are reported.";
    SSLCC_CIPHER_SUITES_1_3: Server "SSLCC_Cipher_Suites_1_3" "SSL/TLS Cipher Suites (TLSv1.3)", Kind::Text, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", Inherits::Nothing, Effect::Now,
        "Cipher suites for TLS 1.3, in order of preference.";
    SSLCC_CERTIFICATE_FILE: Server "SSLCC_Certificate_File" "SSL/TLS Certificate File", Kind::File, "", Inherits::Nothing, Effect::Now,
        "PEM file of the gateway's certificate, followed by its intermediates.";
    SSLCC_CERTIFICATE_KEY_FILE: Server "SSLCC_Certificate_Key_File" "SSL/TLS Private Key File", Kind::File, "", Inherits::Nothing, Effect::Now,
        "PEM file of the private key of that certificate, or a pkcs11: URI.";
    SSLCC_KEY_TYPE: Server "SSLCC_Key_Type" "SSL/TLS Key Type", Kind::KeyType, "2", Inherits::Nothing, Effect::Now,
        "Type of the private key; the key itself says it too, and is believed.";
    SSLCC_PRIVATE_KEY_PASSWORD: Server "SSLCC_Private_Key_Password" "SSL/TLS Private Key Password", Kind::Secret, "", Inherits::Nothing, Effect::Now,
        "Password of the private key.";
    SSLCC_CA_CERTIFICATE_FILE: Server "SSLCC_CA_Certificate_File" "SSL/TLS CA Certificate File", Kind::File, "", Inherits::Nothing, Effect::Now,
        "PEM file of the CAs that may have signed the superserver's certificate.";
    SCLERA_VERIFY_NAME: Server "Sclera_Verify_Name" "Verify Name", Kind::Flag, "1", Inherits::Nothing, Effect::Now,
        "Whether the superserver's certificate must be issued to Ip_Address.";
    SCLERA_SERVER_NAME: Server "Sclera_Server_Name" "Expected Server Name", Kind::Address, "", Inherits::Nothing, Effect::Now,
        "Name or address that the superserver's certificate must be issued to, and that is sent for SNI; blank means Ip_Address.";
    SCLERA_VERIFICATION: Server "Sclera_Verification" "Verification", Kind::Word(&["full", "chain", "key"]), "full", Inherits::Nothing, Effect::Now,
        "What is verified of the superserver: full for everything; chain for signatures and dates only; key for one pinned public key.";
    SCLERA_PINNED_KEY: Server "Sclera_Pinned_Key" "Pinned Key", Kind::PinnedKey, "", Inherits::Nothing, Effect::Now,
        "The superserver's public key for Sclera_Verification=key: sha256// and the base64 of its digest.";
    SCLERA_CRL_FILE: Server "Sclera_CRL_File" "CRL File", Kind::File, "", Inherits::Nothing, Effect::Now,
        "PEM file with a revocation list of every CA of the superserver's chain.";
    SCLERA_KEY_LOG_FILE: Server "Sclera_Key_Log_File" "TLS Key Log File", Kind::File, "", Inherits::Nothing, Effect::Now,
        "File that the secrets of every TLS connection are written to, for decoding a capture; whoever reads it reads all traffic.";
    SCLERA_NAMESPACE: Server "Sclera_Namespace" "Namespace", Kind::Text, "USER", Inherits::Nothing, Effect::Now,
        "Namespace named when connecting.";
    SCLERA_CONNECT_TIMEOUT: Server "Sclera_Connect_Timeout" "Connect Timeout", Kind::Seconds { from: 1, to: 3600 }, "10", Inherits::Nothing, Effect::Now,
        "Seconds that resolving, connecting, TLS and login may take together.";
    SCLERA_DIALECT: Server "Sclera_Dialect" "Dialect", Kind::Word(&["client"]), "client", Inherits::Nothing, Effect::Now,
        "What is spoken with the server; this release speaks client only.";
    SCLERA_WEIGHT: Server "Sclera_Weight" "Weight", Kind::Number { from: 1, to: 1000 }, "1", Inherits::Nothing, Effect::Now,
        "The server's share of the load where load is balanced, against the weights of the others.";
    SCLERA_EJECT_AFTER: System "Sclera_Eject_After" "Eject After", Kind::Number { from: 1, to: 100 }, "3", Inherits::ToServers, Effect::Now,
        "Failures in a row after which a server with alternatives is left out for a while; some failures do it at once.";
    SCLERA_SLOW_START: System "Sclera_Slow_Start" "Slow Start", Kind::Seconds { from: 0, to: 3600 }, "10", Inherits::ToServers, Effect::Now,
        "Seconds over which a server that has come back gets its full share of the load again.";
    SCLERA_HEALTH_INTERVAL: System "Sclera_Health_Interval" "Health Interval", Kind::Seconds { from: 0, to: 86_400 }, "10", Inherits::ToServers, Effect::Now,
        "Seconds between active checks of a server with alternatives; 0: only while it is out of use.";
    SCLERA_RETRIES: System "Sclera_Retries" "Retries", Kind::Number { from: 0, to: 5 }, "2", Inherits::Nothing, Effect::Now,
        "How often a request is sent again at most, if that does no harm.";
    SCLERA_BALANCE: Application "Sclera_Balance" "Balance", Kind::Word(&["round-robin", "least-busy"]), "round-robin", Inherits::Nothing, Effect::Now,
        "How LoadBalancing spreads new sessions: in turn, or to the server with the fewest requests under way.";
    APPLICATION_DEFAULT_SERVER: Application "Default_Server" "Default Server", Kind::Text, "", Inherits::Nothing, Effect::Now,
        "The server that answers for this path.";
    INSTANCE_HOST_NAME: System "Instance_Host_Name" "Instance Host Name", Kind::Text, "", Inherits::Nothing, Effect::Later,
        "Host and port told to the server as system variable CSPIHN.";
    MAX_CACHE_SIZE: System "MAX_CACHE_SIZE" "Maximum Cache Size", Kind::Bytes { from: 0 }, "256K", Inherits::Nothing, Effect::Later,
        "Shared memory for kept answers.";
    WEB_SERVER_ID_COOKIE: System "Web_Server_ID_Cookie" "Web Server ID Cookie", Kind::Status, "Enabled", Inherits::Nothing, Effect::Now,
        "Whether the cookie CSPWSERVERID is set.";
    SM_FORMS: System "SM_Forms" "Access to these forms", Kind::Status, "Enabled", Inherits::Nothing, Effect::Now,
        "Whether the management pages are available; once disabled, only an edit of the file brings them back.";
    SYSTEM_USERNAME: System "Username" "Username", Kind::Text, "", Inherits::Nothing, Effect::Now,
        "User name of the management login; if it or Password is set, managers must log in.";
    SYSTEM_PASSWORD: System "Password" "Password", Kind::Secret, "", Inherits::Nothing, Effect::Now,
        "Password of the management login; stored as an Argon2id hash.";
    SM_TIMEOUT: System "SM_Timeout" "Session Timeout", Kind::Seconds { from: 1, to: ONE_YEAR }, "28800", Inherits::Nothing, Effect::Now,
        "Idle seconds of a management login.";
    CUSTOM_SM_LOGIN_FORM: System "Custom_SM_Login_Form" "Custom Login Form", Kind::Text, "", Inherits::Nothing, Effect::Now,
        "Own login page of the management pages: a file that is sent, or a path of the web server that the browser is sent to.";
    SYSTEM_MANAGER: System "System_Manager" "System Manager Machine/s", Kind::Clients, "", Inherits::Nothing, Effect::Now,
        "Client addresses that may see the management pages, such as 10.0.0.7, 10.0.0.4-6, 10.0.*.* or fd00::/8, separated by commas; blank: only this machine.";
    ACCEPT_X_FORWARDED_FOR: System "Accept_X_Forwarded_For" "Accept X-Forwarded-For", Kind::Status, "Disabled", Inherits::Nothing, Effect::Now,
        "Whether a client behind a proxy that is this machine or listed in System_Manager is judged by the last address of X-Forwarded-For.";
    SYSTEM_MANAGER_UNPW_OVERRIDE: System "System_Manager_UNPW_Override" "Override Username and Password", Kind::Flag, "0", Inherits::Nothing, Effect::Now,
        "Whether the machines listed in System_Manager need no management login.";
    SCLERA_MANAGE_ROLE: System "Sclera_Manage_Role" "Role without Login", Kind::Word(&["view", "operate", "edit"]), "edit", Inherits::Nothing, Effect::Now,
        "What management clients that need no login may do: view (look), operate (also test and act on connections), edit (also change settings).";
    SCLERA_MANAGE_HOSTS: System "Sclera_Manage_Hosts" "Names of the Pages", Kind::Text, "", Inherits::Nothing, Effect::Now,
        "Names by which browsers may call the management pages without a login, separated by commas or spaces; addresses, localhost and the machine's own name always may. By another name only this machine is refused, and a listed one may look.";
    SCLERA_MANAGE_USERS: System "Sclera_Manage_Users" "Management Users File", Kind::File, "", Inherits::Nothing, Effect::Now,
        "File of further management users, a line each: name, role and Argon2id hash, separated by colons; `sclera passwd` writes it.";
    SCLERA_METRICS_PATH: System "Sclera_Metrics_Path" "Metrics Path", Kind::UrlPath, "", Inherits::Nothing, Effect::Now,
        "Path at which metrics are read, such as /metrics, if the web server's directives hand it to the gateway; blank for none.";
    SCLERA_METRICS_CLIENTS: System "Sclera_Metrics_Clients" "Metrics Clients", Kind::Clients, "", Inherits::Nothing, Effect::Now,
        "Client addresses that may read the metrics, in the form of System_Manager; blank: only this machine.";
    SCLERA_LIVE_PATH: System "Sclera_Live_Path" "Liveness Path", Kind::UrlPath, "", Inherits::Nothing, Effect::Now,
        "Path that is answered with 200 as long as the worker answers; blank for none.";
    SCLERA_READY_PATH: System "Sclera_Ready_Path" "Readiness Path", Kind::UrlPath, "", Inherits::Nothing, Effect::Now,
        "Path that is answered with 200 if at least one server can be used, else with 503; blank for none.";
    TIMEOUT_ALL_CONNECTIONS: System "Timeout_All_Connections" "Apply timeout to all Connections", Kind::Switch, "", Inherits::ToServers, Effect::Now,
        "Whether idle closing also takes the minimum of connections.";
    ENV_PARAMETERS: System "Env_Parameters" "Event Log Level", Kind::Text, "e", Inherits::ToServers, Effect::Now,
        "What the event log records: letters such as e (failures), v1 to v9 (dialogue), s, c, t, p; 0 for nothing of these.";
    EVENT_LOG_FILE: System "Event_Log_File" "Event Log File", Kind::Text, "", Inherits::Nothing, Effect::Now,
        "File of the event log, or the directory of its CSP.log, or stdout; blank means CSP.log beside CSP.ini.";
    EVENT_LOG_ROTATION_SIZE: System "Event_Log_Rotation_Size" "Event Log Rotation Size", Kind::Bytes { from: 100 * 1024 }, "64M", Inherits::Nothing, Effect::Now,
        "Size at which the event log is set aside.";
    RETAIN_ALL_LOG_FILES: System "Retain_All_Log_Files" "Retain All Log Files", Kind::Status, "Disabled", Inherits::Nothing, Effect::Now,
        "Whether every event log set aside is kept, under a name with its time; otherwise one is, as .old.";
    MAXIMUM_LOGGED_REQUEST_SIZE: System "Maximum_Logged_Request_Size" "Maximum Logged Request Size", Kind::Bytes { from: 40 * 1024 }, "256K", Inherits::Nothing, Effect::Now,
        "How much of a body is recorded by the levels that record bodies.";
    SCLERA_LOG_FORMAT: System "Sclera_Log_Format" "Event Log Format", Kind::Word(&["native", "json"]), "native", Inherits::Nothing, Effect::Now,
        "How the event log is written: native for the original's lines, json for one JSON object a line.";
    SCLERA_DEBUG_EXPIRY: System "Sclera_Debug_Expiry" "Debug Expiry", Kind::Seconds { from: 1, to: ONE_YEAR }, "3600", Inherits::Nothing, Effect::Now,
        "Seconds that v6 to v9, t, Sclera_Trace and Sclera_Key_Log_File hold after the web server's start or a change of CSP.ini.";
    SCLERA_TRACE: System "Sclera_Trace" "HTTP Trace", Kind::Text, "", Inherits::Nothing, Effect::Now,
        "Which requests are traced whole: path prefixes and browsers' addresses, separated by spaces or commas; blank for none.";
    SCLERA_TRACE_DIRECTORY: System "Sclera_Trace_Directory" "HTTP Trace Directory", Kind::File, "", Inherits::Nothing, Effect::Now,
        "Directory that traced requests are kept in; blank means CSP.trace beside the event log.";
    SCLERA_TRACE_ENTRIES: System "Sclera_Trace_Entries" "HTTP Trace Entries", Kind::Number { from: 1, to: 10_000 }, "100", Inherits::Nothing, Effect::Now,
        "How many traced requests are kept; the oldest go first.";
    SCLERA_TRACE_BODY_SIZE: System "Sclera_Trace_Body_Size" "HTTP Trace Body Size", Kind::Bytes { from: 0 }, "16K", Inherits::Nothing, Effect::Now,
        "How much of each body a trace keeps.";
    SA_EXCLUDE_FILE_TYPES: System "SA_Exclude_File_Types" "Preserve Mode Exclude File Types", Kind::Text, "", Inherits::Nothing, without("state-aware sessions do not exist here, since their mark is not public."),
        "File types served outside the lock of a state-aware session.";
    SERVER_ERROR: System "Server_Error" "Server Error", Kind::Text, "", Inherits::ToServers, Effect::Later,
        "Own page for failures.";
    SERVER_BUSY: System "Server_Busy" "Server Busy", Kind::Text, "", Inherits::ToServers, Effect::Later,
        "Own page for no free connection.";
    SERVER_UNAVAILABLE: System "Server_Unavailable" "Server Unavailable", Kind::Text, "", Inherits::ToServers, Effect::Later,
        "Own page for disabled servers and applications.";
    SERVER_TIMEOUT: System "Server_Timeout" "Server Timeout", Kind::Text, "", Inherits::ToServers, Effect::Later,
        "Own page for response timeouts.";
    CONNECTION_CLOSED: System "Connection_Closed" "Connection Closed", Kind::Text, "", Inherits::ToServers, Effect::Later,
        "Own page for ended state-aware sessions.";
    RELOAD: System "RELOAD" "Reload", Kind::Flag, "0", Inherits::Nothing, Effect::Now,
        "Asks the running gateway to read the file again; the line is removed when it has.";
    READONLY: System "READONLY" "Read Only", Kind::Word(&["0", "1", "2"]), "0", Inherits::Nothing, Effect::Now,
        "0: the file may be written; 1: it may, but notes of who did go to CSPRT.ini; 2: it is never written.";
    REGISTRY_METHODS: System "REGISTRY_METHODS" "Registry Methods", Kind::Status, "Enabled", Inherits::Nothing, without("no server can manage this gateway: that protocol is not public."),
        "Whether connected servers may manage the gateway.";
    IRISCONNECT_LIBRARY_PATH: System "IRISCONNECT_LIBRARY_PATH" "SSL/TLS Library Path", Kind::Text, "", Inherits::Nothing, without("Sclera brings its own TLS and loads no library of OpenSSL."),
        "Directory of the TLS libraries; Sclera brings its own.";
    DPAPI: System "DPAPI" "DPAPI", Kind::Word(&["Enabled", "Disabled", "Disable"]), "", Inherits::Nothing, without("it concerns Windows only."),
        "Whether Windows encrypts the passwords.";
    DOCUMENT_ROOT: System "Document_Root" "Web Document Root", Kind::Text, "", Inherits::Nothing, without("the ASP redirect that it serves does not exist here."),
        "Root of the web documents for the ASP redirect.";
    ASP_DIRECTORY: System "ASP_Directory" "Temp ASP Directory", Kind::Text, "", Inherits::Nothing, without("the ASP redirect that it serves does not exist here."),
        "Directory for temporary files of the ASP redirect.";
    WS_SERVICE_STATUS: System "WS_Service_Status" "Internal HTTP Server: Service Status", Kind::Status, "", Inherits::Nothing, without("there is no network service daemon."),
        "Whether the network service daemon answers HTTP by itself.";
    NSD_DOCUMENT_ROOT: System "NSD_Document_Root" "NSD Document Root", Kind::Text, "", Inherits::Nothing, without("there is no network service daemon."),
        "Root of the documents that the daemon serves by itself.";
    CONFIGURATION_INITIALIZED: System "Configuration_Initialized" "Configuration Initialized", Kind::Text, "", Inherits::Nothing, without("it is a note of who made the file."),
        "When the file was made.";
    CONFIGURATION_INITIALIZED_BUILD: System "Configuration_Initialized_Build" "Configuration Initialized by Build", Kind::Text, "", Inherits::Nothing, without("it is a note of who made the file."),
        "By which build the file was made.";
    CONFIGURATION_MODIFIED: System "Configuration_Modified" "Configuration Modified", Kind::Text, "", Inherits::Nothing, without("it is a note of who changed the file."),
        "When the file was last changed.";
    CONFIGURATION_MODIFIED_BUILD: System "Configuration_Modified_Build" "Configuration Modified by Build", Kind::Text, "", Inherits::Nothing, without("it is a note of who changed the file."),
        "By which build the file was last changed.";
    MIRROR_AWARE: Server "Mirror_Aware" "Configuration is Mirror Aware", Kind::Flag, "0", Inherits::Nothing, without("the exchange about mirror members is not public; the server is used as a plain one."),
        "Whether the primary of the server's mirror is looked for.";
    PRODUCT: Server "Product" "Product", Kind::Word(&["0", "1", "2"]), "", Inherits::Nothing, without("the protocol is the same for all of them."),
        "Which product the server is.";
    SERVICE_PRINCIPAL_NAME: Server "Service_Principal_Name" "Service Principal Name", Kind::Text, "", Inherits::Nothing, without("Kerberos is not spoken."),
        "Name of the superserver for Kerberos.";
    KEYTABLE: Server "Keytable" "Key Table", Kind::Text, "", Inherits::Nothing, without("Kerberos is not spoken."),
        "Key table for Kerberos.";
    ALTERNATIVE_SERVERS: Application "Alternative_Servers" "Use Alternative Servers For", Kind::Word(&["Disabled", "FailOver", "LoadBalancing"]), "Disabled", Inherits::Nothing, Effect::Now,
        "What the alternative servers are for: FailOver, LoadBalancing or Disabled.";
    ALTERNATIVE_SERVER: Application "Alternative_Server_<n>" "Server # n", Kind::Alternative, "", Inherits::Nothing, Effect::Now,
        "An alternative server: 1 or 0 for enabled or not, any number of ~, and the name.";
    EXTRA_CGI_ENV_VARIABLES: Application "Extra_CGI_Env_Variables" "Extra CGI Environment Variables", Kind::Text, "", Inherits::Nothing, Effect::Later,
        "Further variables passed to the application.";
    PROC_CLASS: Application "Proc_Class" "Process with this class", Kind::Text, "", Inherits::Nothing, Effect::Later,
        "Class that handles all requests of the path.";
    GZIP_COMPRESSION: Application "GZIP_Compression" "GZIP Compression", Kind::Status, "Disabled", Inherits::Nothing, Effect::Later,
        "Whether answers are compressed.";
    GZIP_MINIMUM_FILE_SIZE: Application "GZIP_Minimum_File_Size" "GZIP Minimum File Size", Kind::Bytes { from: 0 }, "500", Inherits::Nothing, Effect::Later,
        "Smallest answer that is compressed.";
    GZIP_EXCLUDE_FILE_TYPES: Application "GZIP_Exclude_File_Types" "GZIP Exclude File Types", Kind::Text, "jpeg gif ico png gz zip mp3 mp4 tiff", Inherits::Nothing, Effect::Later,
        "File types that are not compressed.";
    RESPONSE_SIZE_NOTIFICATION: Application "Response_Size_Notification" "Response Size Notification", Kind::Word(&[
            "Chunked Transfer Encoding and Content Length",
            "Chunked Transfer Encoding",
            "Content Length",
        ]), "Chunked Transfer Encoding and Content Length", Inherits::Nothing, Effect::Later,
        "How the browser learns the size of an answer.";
    RESPONSE_SIZE_NOTIFICATION_ALWAYS: Application "Response_Size_Notification_Always" "Response Size Notification Always", Kind::Status, "Disabled", Inherits::Nothing, Effect::Later,
        "Whether it always learns it.";
    KEEP_ALIVE: Application "KeepAlive" "KeepAlive", Kind::Word(&["No Action", "Enabled", "Disabled"]), "No Action", Inherits::Nothing, Effect::Later,
        "Whether the browser's connection is kept.";
    NON_PARSED_HEADERS: Application "Non_Parsed_Headers" "Non-Parsed Headers", Kind::Status, "Enabled", Inherits::Nothing, Effect::Later,
        "Whether the web server leaves the response headers alone.";
    APPLICATION_NAMESPACE: Application "NameSpace" "Namespace", Kind::Text, "", Inherits::Nothing, without("it is of an older product; Sclera_Namespace of the server names the namespace."),
        "Namespace of the application.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_stands_twice_in_one_kind_of_section_and_each_help_is_a_sentence() {
        let mut seen = std::collections::HashSet::new();
        for row in ALL {
            assert!(seen.insert((row.section, row.key.to_ascii_lowercase())), "{} stands twice", row.key);
            assert!(row.help.ends_with('.'), "{}", row.key);
        }
    }

    #[test]
    fn rows_are_found_by_section_key_number_and_inheritance() {
        let key = |section, key| Parameter::find(section, key).map(|row| row.key);
        assert_eq!(key(SectionKind::Server, "tcp_port"), Some("TCP_Port"));
        assert_eq!(key(SectionKind::Server, "Queued_Request_Timeout"), Some("Queued_Request_Timeout"));
        assert_eq!(key(SectionKind::Server, "MAX_CONNECTIONS"), None);
        assert_eq!(key(SectionKind::Application, "alternative_server_12"), Some("Alternative_Server_<n>"));
        assert_eq!(key(SectionKind::Application, "Alternative_Server_x"), None);
        assert_eq!(key(SectionKind::System, "TCP_Port"), None);
    }

    /// Values to try of each kind: good ones and wrong ones.
    fn samples(kind: Kind) -> (&'static [&'static str], &'static [&'static str]) {
        match kind {
            Kind::Text | Kind::File => (&["a b", "=#;"], &[]),
            Kind::Secret => (&["clear", "]]]U1lT", "{command}"], &["]]]*"]),
            Kind::Address => (&["iris.example", "10.0.0.1", "[::1]"], &["a b"]),
            Kind::Status => (&["Enabled", "disabled"], &["1", "yes"]),
            Kind::Switch => (&["Enabled", "1"], &["yes"]),
            Kind::Flag => (&["1", "0"], &["2", "Enabled"]),
            Kind::Number { .. } | Kind::Seconds { .. } => (&["10"], &["-1", "99999999999", "1.5", "ten", "0x10"]),
            Kind::Bytes { .. } => (&["1000000", "512K", "2m"], &["1", "K", "-1", "1G"]),
            Kind::Port => (&["1", "65535"], &["0", "65536", "x"]),
            Kind::SecurityLevel => (&["0", "4", "10"], &["1", "2", "3", "5"]),
            Kind::TlsVersion => (&["4", "16", "32"], &["48", "1.2"]),
            Kind::TlsVersions => (&["48", "48@", "24"], &["12", "x"]),
            Kind::KeyType => (&["1", "2", "3"], &["4", "RSA"]),
            Kind::Alternative => (&["1~~~~~~LOCAL", "0~X"], &["2~X", "1~~", "LOCAL"]),
            Kind::PinnedKey => (&["sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="], &["sha256//AAAA", "AAAA"]),
            Kind::UrlPath => (&["/metrics", "/gateway/live"], &["metrics", "/", "/a/", "/a?b", "/a/../b", "//host/a"]),
            Kind::Clients => (&["10.0.0.1, fd00::/8", "*"], &["gateway.example", "10.0.0.999"]),
            Kind::Word(words) => (words, &["no such word"]),
        }
    }

    fn told(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Good => "good".into(),
            Verdict::Adjusted(reason) => reason.clone(),
            Verdict::Refused(code) => format!("refused at use: {code} {}", code.name()),
            Verdict::Wrong(reason) => format!("wrong: {reason}"),
        }
    }

    /// Every row with its default and what is said of good and wrong values. `make docs` writes it anew.
    #[test]
    fn each_row_says_of_its_default_and_of_good_and_wrong_values_what_it_said_before() {
        let mut told_now = String::new();
        for row in ALL {
            let (good, wrong) = samples(row.kind);
            told_now += &format!("{:?} {} = {:?}\n", row.section, row.key, row.default);
            assert!(!matches!(row.check(row.default), Verdict::Wrong(_) | Verdict::Refused(_)), "{}", row.key);
            for value in good {
                assert!(!matches!(row.check(value), Verdict::Wrong(_) | Verdict::Refused(_)), "{} {value}", row.key);
                told_now += &format!("    {value:?}: {}\n", told(&row.check(value)));
            }
            for value in wrong {
                told_now += &format!("    {value:?}: {}\n", told(&row.check(value)));
            }
        }
        crate::profile::reference::compare("src/profile/parameter.golden.txt", &told_now);
    }
}
