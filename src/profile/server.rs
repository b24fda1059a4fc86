//! A server access profile: one superserver, how to reach it, and how to speak TLS with it.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use base64ct::{Base64, Encoding};

use super::finding::{Origin, Setting};
use super::mark::Mark;
use super::secret::{Secret, Unusable};
use crate::event_log::level::Levels;
use crate::failure::{Code, Failure};
use crate::privileges::User;

/// One server access profile, complete: defaults and the values inherited from `[SYSTEM]` are filled in.
#[derive(Clone, Debug)]
pub struct Server {
    /// The section's name as the file spells it. Names are compared without regard to case.
    pub name: String,
    /// What shared memory and cookies tell it by.
    pub mark: Mark,
    /// Whether `[SYSTEM_INDEX]` lists it as Enabled. A section without an index line is not enabled.
    pub enabled: bool,
    /// The section's line, or the index line if there is no section.
    pub origin: Origin,
    /// DNS name or IP address, without brackets; empty if the file gives none (see [`Server::unusable`]).
    pub address: Setting<String>,
    /// The superserver's TCP port, from 1.
    pub port: Setting<u16>,
    /// What protects the link.
    pub security: Setting<Security>,
    /// User name of the password login; may be empty.
    pub username: Setting<String>,
    /// Password of the password login; may be empty.
    pub password: Setting<Secret>,
    /// Namespace named when connecting (`Sclera_Namespace`).
    pub namespace: String,
    /// Connections that idle closing leaves alone.
    pub minimum_connections: u32,
    /// Most connections at once; `None` leaves it to `MAX_CONNECTIONS` of `[SYSTEM]`.
    pub maximum_connections: Option<u32>,
    /// Most connections that one session may use at once.
    pub maximum_session_connections: u32,
    /// How long the server may stay silent during an answer.
    pub response_timeout: Duration,
    /// How long a request may wait for a connection.
    pub queue_timeout: Duration,
    /// How many requests of one worker may wait (`Sclera_Queue_Limit`); `None` for any number.
    pub queue_limit: Option<u32>,
    /// How long a connection may idle; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// Whether idle closing also takes [`Server::minimum_connections`].
    pub timeout_all_connections: bool,
    /// How long a connection may serve; `None` for ever (`Sclera_Maximum_Age`).
    pub maximum_age: Option<Duration>,
    /// After what time the addresses of a name are looked up again; 0 for each connection (`Sclera_Resolve_Interval`).
    pub resolve_interval: Duration,
    /// How long resolving, connecting, TLS and login may take together (`Sclera_Connect_Timeout`).
    pub connect_timeout: Duration,
    /// The share of the load, against the weights of the others (`Sclera_Weight`); from 1.
    pub weight: u32,
    /// Failures in a row before a server with alternatives is left out for a while (`Sclera_Eject_After`); from 1.
    pub eject_after: u32,
    /// How long a server that has come back is spared (`Sclera_Slow_Start`).
    pub slow_start: Duration,
    /// Time between active checks of a server with alternatives (`Sclera_Health_Interval`); `None` for no checks.
    pub health_interval: Option<Duration>,
    /// What the event log records of this server, if its section says so (`Env_Parameters`).
    pub log_levels: Option<Levels>,
    /// When the key log ends; `None` for never ([`super::Profile::debug_since`]).
    pub debug_until: Option<SystemTime>,
    /// The `SSLCC_*` settings. They are read at any level, and used only if [`Server::security`] says TLS.
    pub tls: TlsSettings,
}

/// `Connection_Security_Level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// 0: nothing protects the link.
    Password,
    /// 1 to 3: Kerberos, which Sclera does not speak.
    Kerberos(u8),
    /// 4 or 10: TLS.
    Tls,
}

/// The TLS versions that a profile allows and Sclera speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsRange {
    /// TLS 1.2 alone.
    Tls12,
    /// TLS 1.2 and 1.3.
    Tls12And13,
    /// TLS 1.3 alone.
    Tls13,
}

/// `SSLCC_Key_Type`. The key's own type rules; this is kept as the file says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// 1.
    Dsa,
    /// 2.
    Rsa,
    /// 3: not in the vendor's gateway, but in its server configurations.
    Ecdsa,
}

/// `Sclera_Verification`: what of the superserver's certificate is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Chain, dates, purpose and, unless `Sclera_Verify_Name=0`, name, by the rules of the web.
    Full,
    /// That signatures lead to a CA of the CA file, and dates. For private PKIs whose certificates strict rules refuse.
    Chain,
    /// That its public key is [`TlsSettings::pinned_key`], and nothing else.
    Key,
}

/// `Sclera_Pinned_Key`: the SHA-256 digest of a SubjectPublicKeyInfo in DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedKey(pub [u8; 32]);

/// How a private key in a hardware module is named (RFC 7512).
pub const PKCS11_SCHEME: &str = "pkcs11:";

impl PinnedKey {
    /// Reads `sha256//` and base64.
    pub fn parse(text: &str) -> Option<PinnedKey> {
        let mut digest = [0; 32];
        let decoded = Base64::decode(text.strip_prefix("sha256//")?, &mut digest).ok()?;
        (decoded.len() == digest.len()).then_some(PinnedKey(digest))
    }
}

impl fmt::Display for PinnedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256//{}", Base64::encode_string(&self.0))
    }
}

/// The `SSLCC_*` settings of a server. Paths are absolute: relative ones are taken from the directory of CSP.ini.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The versions allowed; `None` if the file allows neither 1.2 nor 1.3 (see [`Server::unusable`]).
    pub range: Setting<Option<TlsRange>>,
    /// `SSLCC_Verify_Peer`: whether a server that cannot be verified is refused.
    pub verify_peer: Setting<bool>,
    /// `Sclera_Verify_Name`: whether the certificate must also be issued to [`Server::address`].
    pub verify_name: Setting<bool>,
    /// `Sclera_Verification`: what is verified.
    pub verification: Setting<Verification>,
    /// `Sclera_Pinned_Key`: the key that [`Verification::Key`] expects.
    pub pinned_key: Option<Setting<PinnedKey>>,
    /// `Sclera_Server_Name`: stands in for [`Server::address`] in SNI and verification.
    pub server_name: Option<Setting<String>>,
    /// `Sclera_CRL_File`: revocation lists of the CAs of the superserver's chain.
    pub crl_file: Option<Setting<PathBuf>>,
    /// `Sclera_Key_Log_File`: where the secrets of every connection are written to.
    pub key_log_file: Option<Setting<PathBuf>>,
    /// The gateway's certificate, followed by its intermediates.
    pub certificate_file: Option<Setting<PathBuf>>,
    /// The private key of that certificate.
    pub key_file: Option<Setting<PathBuf>>,
    /// The CAs that may have signed the superserver's certificate.
    pub ca_file: Option<Setting<PathBuf>>,
    /// The password of the private key.
    pub key_password: Option<Setting<Secret>>,
    /// The type of the private key.
    pub key_type: Setting<KeyType>,
    /// OpenSSL cipher string for TLS 1.2.
    pub cipher_suites: Setting<String>,
    /// Suites for TLS 1.3, in order of preference, joined by colons.
    pub cipher_suites_1_3: Setting<String>,
}

impl Server {
    /// The failure that every request for this server gets, if its profile cannot be used as it stands. It is never
    /// replaced by something weaker.
    pub fn unusable(&self) -> Option<Failure> {
        self.obstacle().map(|obstacle| {
            let place = match obstacle.origin {
                Some(origin) => origin.to_string(),
                None => self.origin.to_string(),
            };
            Failure::new(obstacle.code, format!("server {}: {place}: {}", self.name, obstacle.message))
        })
    }

    /// Whether connections made for one of the two can serve the other: every setting has the same value, wherever it
    /// stands in the file. What only concerns the choice among servers may differ.
    pub fn serves_like(&self, other: &Server) -> bool {
        // Taken apart, so that a new setting cannot be forgotten here.
        let Server {
            name,
            mark: _,
            enabled,
            origin: _,
            address,
            port,
            security,
            username,
            password,
            namespace,
            minimum_connections,
            maximum_connections,
            maximum_session_connections,
            response_timeout,
            queue_timeout,
            queue_limit,
            idle_timeout,
            timeout_all_connections,
            maximum_age,
            resolve_interval,
            connect_timeout,
            weight: _,
            eject_after: _,
            slow_start: _,
            health_interval: _,
            log_levels: _,
            debug_until,
            tls,
        } = self;
        name.eq_ignore_ascii_case(&other.name)
            && *enabled == other.enabled
            && address.value == other.address.value
            && port.value == other.port.value
            && security.value == other.security.value
            && username.value == other.username.value
            && password.value == other.password.value
            && *namespace == other.namespace
            && *minimum_connections == other.minimum_connections
            && *maximum_connections == other.maximum_connections
            && *maximum_session_connections == other.maximum_session_connections
            && *response_timeout == other.response_timeout
            && *queue_timeout == other.queue_timeout
            && *queue_limit == other.queue_limit
            && *idle_timeout == other.idle_timeout
            && *timeout_all_connections == other.timeout_all_connections
            && *maximum_age == other.maximum_age
            && *resolve_interval == other.resolve_interval
            && *connect_timeout == other.connect_timeout
            && (tls.key_log_file.is_none() || *debug_until == other.debug_until)
            && tls.same_values(&other.tls)
    }

    pub(super) fn obstacle(&self) -> Option<Obstacle<'_>> {
        let obstacle = |code, origin, message: String| Some(Obstacle { code, origin, message });
        if let Security::Kerberos(level) = self.security.value {
            let message = format!("level {level} asks for Kerberos, which this gateway does not speak");
            return obstacle(Code::SecurityLevelUnsupported, self.security.origin.as_ref(), message);
        }
        if self.security.value == Security::Tls && self.tls.range.value.is_none() {
            let message = "the protocol range holds neither TLS 1.2 nor TLS 1.3".to_owned();
            return obstacle(Code::TlsRangeUnsupported, self.tls.range.origin.as_ref(), message);
        }
        if self.address.value.is_empty() {
            return obstacle(Code::AddressMissing, self.address.origin.as_ref(), "Ip_Address is empty".to_owned());
        }
        let key_password = self.tls.key_password.as_ref().filter(|_| self.security.value == Security::Tls);
        for (key, setting) in [("Password", Some(&self.password)), ("SSLCC_Private_Key_Password", key_password)] {
            let Some(setting) = setting else { continue };
            // What has not been run yet is no obstacle: it is run before the profile is used.
            let message = match setting.value.reveal() {
                Ok(_) | Err(Unusable::Command) => continue,
                Err(Unusable::CommandFailed(failure)) => format!("{key} is a {{command}}, which {failure}"),
                Err(Unusable::NotBase64) => format!("{key} starts with ]]], but no base64 follows"),
            };
            return obstacle(Code::PasswordUnusable, setting.origin.as_ref(), message);
        }
        None
    }

    /// Runs the commands that give passwords, each within `limit`.
    pub(super) fn run_commands(&mut self, limit: Duration, user: Option<&User>) {
        self.password.value.run_command(limit, user);
        if let Some(password) = &mut self.tls.key_password {
            password.value.run_command(limit, user);
        }
    }
}

impl TlsSettings {
    /// Every file that TLS reads, in the order of the settings.
    pub fn files(&self) -> impl Iterator<Item = &Setting<PathBuf>> {
        let all = [&self.certificate_file, &self.key_file, &self.ca_file, &self.crl_file].into_iter().flatten();
        all.filter(|file| !file.value.to_string_lossy().starts_with(PKCS11_SCHEME))
    }

    fn same_values(&self, other: &TlsSettings) -> bool {
        let TlsSettings {
            range,
            verify_peer,
            verify_name,
            verification,
            pinned_key,
            server_name,
            crl_file,
            key_log_file,
            certificate_file,
            key_file,
            ca_file,
            key_password,
            key_type,
            cipher_suites,
            cipher_suites_1_3,
        } = self;
        range.value == other.range.value
            && verify_peer.value == other.verify_peer.value
            && verify_name.value == other.verify_name.value
            && verification.value == other.verification.value
            && value(pinned_key) == value(&other.pinned_key)
            && value(server_name) == value(&other.server_name)
            && value(crl_file) == value(&other.crl_file)
            && value(key_log_file) == value(&other.key_log_file)
            && value(certificate_file) == value(&other.certificate_file)
            && value(key_file) == value(&other.key_file)
            && value(ca_file) == value(&other.ca_file)
            && value(key_password) == value(&other.key_password)
            && key_type.value == other.key_type.value
            && cipher_suites.value == other.cipher_suites.value
            && cipher_suites_1_3.value == other.cipher_suites_1_3.value
    }
}

fn value<T>(setting: &Option<Setting<T>>) -> Option<&T> {
    setting.as_ref().map(|setting| &setting.value)
}

/// What makes a server unusable, and the line to blame.
pub(super) struct Obstacle<'a> {
    pub(super) code: Code,
    pub(super) origin: Option<&'a Origin>,
    pub(super) message: String,
}
