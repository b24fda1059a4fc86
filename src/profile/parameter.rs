//! The one table of settings that CSP.ini may hold.
//!
//! The reader takes names, defaults and ranges from here and nowhere else. A documented setting without effect is a row
//! too, so that only what really is unknown is called unknown.

/// One row: a setting.
#[derive(Debug)]
pub struct Parameter {
    /// The kind of section it belongs to.
    pub section: SectionKind,
    /// The key as documented. `<n>` at its end stands for a number.
    pub key: &'static str,
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
    /// Heeds it.
    Now,
    /// Accepts it; a later release heeds it.
    Later,
    /// Accepts it; there is nothing in Sclera that it could change.
    Never,
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
        ALL.iter().copied().find(|row| {
            let allowed_here =
                row.section == section || (section == SectionKind::Server && row.inherits == Inherits::ToServers);
            allowed_here && row.matches(key)
        })
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

    /// What to write, for the remedy of a finding.
    pub fn expected(&self) -> String {
        match self.kind {
            Kind::Text | Kind::Secret | Kind::File => "write a text".into(),
            Kind::Status => "write Enabled or Disabled".into(),
            Kind::Flag => "write 1 or 0".into(),
            Kind::Number { from, to } => format!("write a number from {from} to {to}"),
            Kind::Seconds { from, to } => format!("write seconds from {from} to {to}"),
            Kind::Port => "write a TCP port from 1 to 65535".into(),
            Kind::SecurityLevel => "write 10 (TLS) or 0 (password)".into(),
            Kind::TlsVersion => "write 16 (TLS 1.2) or 32 (TLS 1.3)".into(),
            Kind::TlsVersions => "write 48 (TLS 1.2 and 1.3)".into(),
            Kind::KeyType => "write 1 (DSA), 2 (RSA) or 3 (ECDSA)".into(),
            Kind::Word(words) => format!("write {}", words.join(", ")),
        }
    }
}

macro_rules! parameters {
    ($($name:ident $section:ident $key:literal $kind:expr, $default:literal $inherits:ident $effect:ident $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $name: Parameter = Parameter {
                section: SectionKind::$section,
                key: $key,
                kind: $kind,
                default: $default,
                inherits: Inherits::$inherits,
                effect: Effect::$effect,
                help: $help,
            };
        )*

        /// Every row.
        pub const ALL: &[&Parameter] = &[$(&$name,)*];
    };
}

const ONE_YEAR: u32 = 31_536_000;
const ANSWERS: Kind = Kind::Seconds { from: 5, to: ONE_YEAR };
const BYTES: Kind = Kind::Text;

parameters! {
    DEFAULT_SERVER System "Default_Server" Kind::Text, "LOCAL" Nothing Now
        "The server for paths whose application names none.";
    MAX_CONNECTIONS System "MAX_CONNECTIONS" Kind::Number { from: 1, to: 65_535 }, "1024" Nothing Now
        "Most connections to all servers together.";
    SERVER_RESPONSE_TIMEOUT System "Server_Response_Timeout" ANSWERS, "60" ToServers Now
        "Seconds that a server may stay silent during an answer.";
    QUEUED_REQUEST_TIMEOUT System "Queued_Request_Timeout" ANSWERS, "60" ToServers Now
        "Seconds that a request may wait for a connection.";
    NO_ACTIVITY_TIMEOUT System "No_Activity_Timeout" Kind::Seconds { from: 1, to: ONE_YEAR }, "86400" ToServers Now
        "Seconds that a connection may idle before it is closed; blank for ever.";

    SCLERA_PASSWORD_COMMAND_TIMEOUT System "Sclera_Password_Command_Timeout" Kind::Seconds { from: 1, to: 300 }, "10"
        Nothing Now
        "Seconds that a {command} which gives a password may run.";
    SCLERA_ENCODE_PASSWORDS System "Sclera_Encode_Passwords" Kind::Flag, "0" Nothing Now
        "Whether passwords that stand in clear in the file are encoded there at the web server's start.";

    IP_ADDRESS Server "Ip_Address" Kind::Text, "" Nothing Now
        "Name or address of the superserver.";
    TCP_PORT Server "TCP_Port" Kind::Port, "1972" Nothing Now
        "TCP port of the superserver.";
    MINIMUM_SERVER_CONNECTIONS Server "Minimum_Server_Connections" Kind::Number { from: 0, to: 65_535 }, "3" Nothing Now
        "Connections that idle closing leaves alone.";
    MAXIMUM_SERVER_CONNECTIONS Server "Maximum_Server_Connections" Kind::Number { from: 1, to: 65_535 }, "" Nothing Now
        "Most connections to this server; blank leaves it to MAX_CONNECTIONS.";
    MAXIMUM_SESSION_CONNECTIONS Server "Maximum_Session_Connections" Kind::Number { from: 1, to: 65_535 }, "3" Nothing Now
        "Most connections that one session may use at once.";
    CONNECTION_SECURITY_LEVEL Server "Connection_Security_Level" Kind::SecurityLevel, "0" Nothing Now
        "What protects the link: 0 nothing, 4 or 10 TLS; 1 to 3 Kerberos, which is not available.";
    USERNAME Server "Username" Kind::Text, "" Nothing Now
        "User name of the gateway's login; leave empty for mutual TLS.";
    PASSWORD Server "Password" Kind::Secret, "" Nothing Now
        "Password of the gateway's login; leave empty for mutual TLS.";
    SSLCC_PROTOCOL_MIN Server "SSLCC_Protocol_Min" Kind::TlsVersion, "16" Nothing Now
        "Oldest TLS version: 16 for 1.2, 32 for 1.3; older ones are not spoken.";
    SSLCC_PROTOCOL_MAX Server "SSLCC_Protocol_Max" Kind::TlsVersion, "32" Nothing Now
        "Newest TLS version: 16 for 1.2, 32 for 1.3.";
    SSLCC_PROTOCOL Server "SSLCC_Protocol" Kind::TlsVersions, "" Nothing Now
        "Older form of the protocol range: the sum of the versions; heeded if neither Min nor Max is set.";
    SSLCC_VERIFY_PEER Server "SSLCC_Verify_Peer" Kind::Flag, "0" Nothing Now
        "Whether a superserver that cannot be verified is refused.";
    SSLCC_CIPHER_SUITES Server "SSLCC_Cipher_Suites" Kind::Text, "ALL:!aNULL:!eNULL:!EXP:!SSLv2" Nothing Now
        "OpenSSL cipher string for TLS 1.2.";
    SSLCC_CIPHER_SUITES_1_3 Server "SSLCC_Cipher_Suites_1_3" Kind::Text,
        "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256" Nothing Now
        "Cipher suites for TLS 1.3, in order of preference.";
    SSLCC_CERTIFICATE_FILE Server "SSLCC_Certificate_File" Kind::File, "" Nothing Now
        "PEM file of the gateway's certificate, followed by its intermediates.";
    SSLCC_CERTIFICATE_KEY_FILE Server "SSLCC_Certificate_Key_File" Kind::File, "" Nothing Now
        "PEM file of the private key of that certificate.";
    SSLCC_KEY_TYPE Server "SSLCC_Key_Type" Kind::KeyType, "2" Nothing Now
        "Type of the private key; the key itself says it too, and is believed.";
    SSLCC_PRIVATE_KEY_PASSWORD Server "SSLCC_Private_Key_Password" Kind::Secret, "" Nothing Now
        "Password of the private key.";
    SSLCC_CA_CERTIFICATE_FILE Server "SSLCC_CA_Certificate_File" Kind::File, "" Nothing Now
        "PEM file of the CAs that may have signed the superserver's certificate.";
    SCLERA_VERIFY_NAME Server "Sclera_Verify_Name" Kind::Flag, "1" Nothing Now
        "Whether the superserver's certificate must be issued to Ip_Address.";
    SCLERA_NAMESPACE Server "Sclera_Namespace" Kind::Text, "USER" Nothing Now
        "Namespace named when connecting.";
    SCLERA_CONNECT_TIMEOUT Server "Sclera_Connect_Timeout" Kind::Seconds { from: 1, to: 3600 }, "10" Nothing Now
        "Seconds that resolving, connecting, TLS and login may take together.";
    SCLERA_DIALECT Server "Sclera_Dialect" Kind::Word(&["client"]), "client" Nothing Now
        "What is spoken with the server; this release speaks client only.";

    APPLICATION_DEFAULT_SERVER Application "Default_Server" Kind::Text, "" Nothing Now
        "The server that answers for this path.";

    INSTANCE_HOST_NAME System "Instance_Host_Name" Kind::Text, "" Nothing Later
        "Host and port told to the server as CSPIHN.";
    MAX_CACHE_SIZE System "MAX_CACHE_SIZE" BYTES, "256K" Nothing Later
        "Shared memory for kept answers.";
    WEB_SERVER_ID_COOKIE System "Web_Server_ID_Cookie" Kind::Status, "Enabled" Nothing Later
        "Whether the cookie CSPWSERVERID is set.";
    SM_FORMS System "SM_Forms" Kind::Status, "Enabled" Nothing Later
        "Whether the management pages are available.";
    SYSTEM_USERNAME System "Username" Kind::Text, "" Nothing Later
        "User name of the management login.";
    SYSTEM_PASSWORD System "Password" Kind::Secret, "" Nothing Later
        "Password of the management login.";
    SM_TIMEOUT System "SM_Timeout" Kind::Seconds { from: 1, to: ONE_YEAR }, "28800" Nothing Later
        "Idle seconds of a management login.";
    CUSTOM_SM_LOGIN_FORM System "Custom_SM_Login_Form" Kind::Text, "" Nothing Later
        "Own login page of the management pages.";
    SYSTEM_MANAGER System "System_Manager" Kind::Text, "" Nothing Later
        "Client addresses that may see the management pages.";
    ACCEPT_X_FORWARDED_FOR System "Accept_X_Forwarded_For" Kind::Status, "Disabled" Nothing Later
        "Whether a proxied client is judged by its forwarded address.";
    SYSTEM_MANAGER_UNPW_OVERRIDE System "System_Manager_UNPW_Override" Kind::Flag, "0" Nothing Later
        "Whether the listed machines need no management login.";
    TIMEOUT_ALL_CONNECTIONS System "Timeout_All_Connections" Kind::Text, "" ToServers Later
        "Whether idle closing also takes the minimum of connections.";
    ENV_PARAMETERS System "Env_Parameters" Kind::Text, "" ToServers Later
        "Event log level.";
    EVENT_LOG_FILE System "Event_Log_File" Kind::Text, "" Nothing Later
        "Directory or file of the event log.";
    EVENT_LOG_ROTATION_SIZE System "Event_Log_Rotation_Size" BYTES, "" Nothing Later
        "Size at which the event log is rotated.";
    RETAIN_ALL_LOG_FILES System "Retain_All_Log_Files" Kind::Status, "Disabled" Nothing Later
        "Whether every rotated event log is kept.";
    MAXIMUM_LOGGED_REQUEST_SIZE System "Maximum_Logged_Request_Size" BYTES, "256K" Nothing Later
        "How much of a request is logged.";
    SA_EXCLUDE_FILE_TYPES System "SA_Exclude_File_Types" Kind::Text, "" Nothing Later
        "File types served outside the lock of a state-aware session.";
    SERVER_ERROR System "Server_Error" Kind::Text, "" ToServers Later
        "Own page for failures.";
    SERVER_BUSY System "Server_Busy" Kind::Text, "" ToServers Later
        "Own page for no free connection.";
    SERVER_UNAVAILABLE System "Server_Unavailable" Kind::Text, "" ToServers Later
        "Own page for disabled servers and applications.";
    SERVER_TIMEOUT System "Server_Timeout" Kind::Text, "" ToServers Later
        "Own page for response timeouts.";
    CONNECTION_CLOSED System "Connection_Closed" Kind::Text, "" ToServers Later
        "Own page for ended state-aware sessions.";
    RELOAD System "RELOAD" Kind::Text, "" Nothing Later
        "Asks a running gateway to read the file again.";
    READONLY System "READONLY" Kind::Text, "0" Nothing Later
        "Whether the file may be written.";
    REGISTRY_METHODS System "REGISTRY_METHODS" Kind::Text, "Enabled" Nothing Later
        "Whether connected servers may manage the gateway.";
    IRISCONNECT_LIBRARY_PATH System "IRISCONNECT_LIBRARY_PATH" Kind::Text, "" Nothing Never
        "Directory of the TLS libraries; Sclera brings its own.";
    DPAPI System "DPAPI" Kind::Text, "" Nothing Never
        "Windows only.";
    DOCUMENT_ROOT System "Document_Root" Kind::Text, "" Nothing Never
        "ASP redirect only.";
    ASP_DIRECTORY System "ASP_Directory" Kind::Text, "" Nothing Never
        "ASP redirect only.";
    WS_SERVICE_STATUS System "WS_Service_Status" Kind::Text, "" Nothing Never
        "Network service daemon only.";
    NSD_DOCUMENT_ROOT System "NSD_Document_Root" Kind::Text, "" Nothing Never
        "Network service daemon only.";
    CONFIGURATION_INITIALIZED System "Configuration_Initialized" Kind::Text, "" Nothing Never
        "When the file was made.";
    CONFIGURATION_INITIALIZED_BUILD System "Configuration_Initialized_Build" Kind::Text, "" Nothing Never
        "By which build the file was made.";
    CONFIGURATION_MODIFIED System "Configuration_Modified" Kind::Text, "" Nothing Never
        "When the file was last changed.";
    CONFIGURATION_MODIFIED_BUILD System "Configuration_Modified_Build" Kind::Text, "" Nothing Never
        "By which build the file was last changed.";

    MIRROR_AWARE Server "Mirror_Aware" Kind::Flag, "0" Nothing Later
        "Whether the primary of the server's mirror is looked for.";
    PRODUCT Server "Product" Kind::Text, "" Nothing Never
        "Which product the server is.";
    SERVICE_PRINCIPAL_NAME Server "Service_Principal_Name" Kind::Text, "" Nothing Never
        "Kerberos only.";
    KEYTABLE Server "Keytable" Kind::Text, "" Nothing Never
        "Kerberos only.";

    ALTERNATIVE_SERVERS Application "Alternative_Servers" Kind::Text, "Disabled" Nothing Later
        "What the alternative servers are for: FailOver, LoadBalancing or Disabled.";
    ALTERNATIVE_SERVER Application "Alternative_Server_<n>" Kind::Text, "" Nothing Later
        "An alternative server.";
    EXTRA_CGI_ENV_VARIABLES Application "Extra_CGI_Env_Variables" Kind::Text, "" Nothing Later
        "Further variables passed to the application.";
    PROC_CLASS Application "Proc_Class" Kind::Text, "" Nothing Later
        "Class that handles all requests of the path.";
    GZIP_COMPRESSION Application "GZIP_Compression" Kind::Status, "Disabled" Nothing Later
        "Whether answers are compressed.";
    GZIP_MINIMUM_FILE_SIZE Application "GZIP_Minimum_File_Size" BYTES, "500" Nothing Later
        "Smallest answer that is compressed.";
    GZIP_EXCLUDE_FILE_TYPES Application "GZIP_Exclude_File_Types" Kind::Text,
        "jpeg gif ico png gz zip mp3 mp4 tiff" Nothing Later
        "File types that are not compressed.";
    RESPONSE_SIZE_NOTIFICATION Application "Response_Size_Notification" Kind::Text,
        "Chunked Transfer Encoding and Content Length" Nothing Later
        "How the browser learns the size of an answer.";
    RESPONSE_SIZE_NOTIFICATION_ALWAYS Application "Response_Size_Notification_Always" Kind::Status, "Disabled" Nothing Later
        "Whether it always learns it.";
    KEEP_ALIVE Application "KeepAlive" Kind::Text, "No Action" Nothing Later
        "Whether the browser's connection is kept.";
    NON_PARSED_HEADERS Application "Non_Parsed_Headers" Kind::Status, "Enabled" Nothing Later
        "Whether the web server leaves the response headers alone.";
    APPLICATION_NAMESPACE Application "NameSpace" Kind::Text, "" Nothing Never
        "Of an older product.";
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
}
