//! The security objects of an instance, as far as they decide who may connect: one table of properties for each kind,
//! and the typed views that the server works with.
//!
//! Every property that the merge language accepts is one row here: its name, the form of its value, its default, and
//! whether it has an effect on this server. The parser, the store and the views all read these rows.

use crate::password::PasswordHash;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use time::Date;
use time::macros::{date, format_description};

/// What kind of object an action of the merge language is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A TLS configuration (`Security.SSLConfigs`).
    SslConfig,
    /// A superserver: one listener (`Security.Servers`).
    Server,
    /// A service: who may come in, and how (`Security.Services`).
    Service,
    /// A user (`Security.Users`).
    User,
    /// A role: which resources its holders may use (`Security.Roles`).
    Role,
    /// An audit event (`Security.Events`).
    Event,
    /// The settings of the whole instance (`Security.System`).
    System,
}

/// One row of a kind's table.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// The name in the merge language.
    pub name: &'static str,
    /// What its value may be.
    pub form: Form,
    /// The normal form of the value that holds when nothing was set.
    pub default: &'static str,
    /// False for what an instance knows but this server makes no use of; setting it is accepted and said.
    pub used: bool,
}

/// What a property's value may be. [`Form::normalise`] turns what was written into the one form that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Any text.
    Text,
    /// `0` or `1`.
    Flag,
    /// A whole number of this range, both ends included.
    Number(u32, u32),
    /// One of these numbers.
    Choice(&'static [u32]),
    /// A file; relative paths belong to the directory of the merge file. Stored absolute.
    File,
    /// A bit mask of login mechanisms: a number, or `$$$Authe...` names joined with `+`. Stored as number.
    Mechanisms,
    /// A password; stored as a hash, so that its clear text ends where it was read.
    Password,
    /// A text that is stored as it is and never shown.
    Secret,
    /// One of these words.
    Word(&'static [&'static str]),
    /// What a role gives: `%Service_WebGateway:U`, several joined by commas or semicolons.
    Resources,
    /// Client addresses, separated by commas or semicolons.
    Addresses,
    /// A day, `YYYY-MM-DD`; empty, `0` and `1840-12-31` mean none and are stored as empty.
    Day,
    /// A user's name.
    UserName,
}

const fn used(name: &'static str, form: Form, default: &'static str) -> Property {
    Property { name, form, default, used: true }
}

const fn unused(name: &'static str, form: Form, default: &'static str) -> Property {
    Property { name, form, default, used: false }
}

const SSL_CONFIG: &[Property] = &[
    used("Name", Form::Text, ""),
    used("Enabled", Form::Flag, "1"),
    used("Type", Form::Choice(&[0, 1]), "0"),
    used("VerifyPeer", Form::Choice(&[0, 1, 3]), "0"),
    used("CAFile", Form::File, ""),
    used("CertificateFile", Form::File, ""),
    used("PrivateKeyFile", Form::File, ""),
    used("PrivateKeyPassword", Form::Secret, ""),
    used("CAPath", Form::File, ""),
    used("CRLFile", Form::File, ""),
    used("VerifyDepth", Form::Number(0, 100), "9"),
    used("CipherList", Form::Text, "ALL:!aNULL:!eNULL:!EXP:!SSLv2"),
    used("Ciphersuites", Form::Text, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"),
    used("TLSMinVersion", Form::Choice(&[2, 4, 8, 16, 32]), "16"),
    used("TLSMaxVersion", Form::Choice(&[2, 4, 8, 16, 32]), "32"),
    unused("Description", Form::Text, ""),
    unused("PrivateKeyType", Form::Choice(&[0, 1, 2, 3]), "2"),
    unused("DiffieHellmanBits", Form::Number(0, 16384), "0"),
    unused("OCSP", Form::Flag, "0"),
    unused("OCSPTimeout", Form::Number(0, 3600), "2"),
    unused("AuthorizeCN", Form::Text, "0"),
];

const SERVER: &[Property] = &[
    used("Port", Form::Number(0, 65535), "1972"),
    used("BindAddress", Form::Text, ""),
    used("Enabled", Form::Flag, "1"),
    used("EnableClients", Form::Flag, "1"),
    used("EnableCSP", Form::Flag, "0"),
    used("SSLSupportLevel", Form::Choice(&[0, 1, 2]), "0"),
    used("SSLConfig", Form::Text, ""),
    unused("Name", Form::Text, ""),
    unused("Description", Form::Text, ""),
    unused("EnableDataCheck", Form::Flag, "0"),
    unused("EnableECP", Form::Flag, "0"),
    unused("EnableMirror", Form::Flag, "0"),
    unused("EnableSharding", Form::Flag, "0"),
    unused("EnableSNMP", Form::Flag, "0"),
    unused("EnableCacheDirect", Form::Flag, "0"),
    unused("EnableShadows", Form::Flag, "0"),
    unused("EnableWebLink", Form::Flag, "0"),
    unused("EnableNodeJS", Form::Flag, "0"),
];

const SERVICE: &[Property] = &[
    used("Name", Form::Text, ""),
    used("Enabled", Form::Flag, "1"),
    used("AutheEnabled", Form::Mechanisms, "32"),
    used("ClientSystems", Form::Addresses, ""),
    used("Public", Form::Flag, "1"),
    unused("Description", Form::Text, ""),
    unused("TwoFactorEnabled", Form::Text, "0"),
    unused("HttpOnlyCookies", Form::Flag, "0"),
];

const USER: &[Property] = &[
    used("Name", Form::UserName, ""),
    used("Password", Form::Password, ""),
    used("Enabled", Form::Flag, "1"),
    used("ExpirationDate", Form::Day, ""),
    used("AccountNeverExpires", Form::Flag, "0"),
    used("ChangePassword", Form::Flag, "0"),
    used("Roles", Form::Text, ""),
    used("PasswordNeverExpires", Form::Flag, "0"),
    used("Type", Form::Word(&["Password", "LDAP", "Delegated", "Kerberos", "OS"]), "Password"),
    unused("FullName", Form::Text, ""),
    unused("Comment", Form::Text, ""),
    unused("NameSpace", Form::Text, ""),
    unused("Routine", Form::Text, ""),
    unused("EmailAddress", Form::Text, ""),
    unused("PhoneNumber", Form::Text, ""),
    unused("PhoneProvider", Form::Text, ""),
    unused("AutheEnabled", Form::Text, "0"),
];

const ROLE: &[Property] = &[
    used("Name", Form::Text, ""),
    used("Resources", Form::Resources, ""),
    unused("Description", Form::Text, ""),
    unused("GrantedRoles", Form::Text, ""),
];

const EVENT: &[Property] = &[
    used("Source", Form::Text, ""),
    used("Type", Form::Text, ""),
    used("Name", Form::Text, ""),
    used("Enabled", Form::Flag, "0"),
    unused("Description", Form::Text, ""),
];

const SYSTEM: &[Property] = &[
    used("AuditEnabled", Form::Flag, "1"),
    used("InactiveLimit", Form::Number(0, 365), "90"),
    used("InvalidLoginLimit", Form::Number(0, 64), "5"),
    used("InvalidLoginAction", Form::Flag, "0"),
    used("RequiredRole", Form::Text, ""),
    used("PasswordExpirationDays", Form::Number(0, 99999), "0"),
    unused("AutheEnabled", Form::Mechanisms, "0"),
    unused("SSLSuperServer", Form::Choice(&[0, 1, 2]), "0"),
    unused("PasswordPattern", Form::Text, ""),
    unused("SecurityDomains", Form::Flag, "0"),
    unused("DefaultSecurityDomain", Form::Text, ""),
];

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 7] =
        [Kind::SslConfig, Kind::Server, Kind::Service, Kind::User, Kind::Role, Kind::Event, Kind::System];

    /// The word that follows `Create`, `Modify` and `Delete`; also the kind's name in the database.
    pub fn word(self) -> &'static str {
        match self {
            Kind::SslConfig => "SSLConfig",
            Kind::Server => "Server",
            Kind::Service => "Service",
            Kind::User => "User",
            Kind::Role => "Role",
            Kind::Event => "Event",
            Kind::System => "System",
        }
    }

    /// The table of its properties.
    pub fn properties(self) -> &'static [Property] {
        match self {
            Kind::SslConfig => SSL_CONFIG,
            Kind::Server => SERVER,
            Kind::Service => SERVICE,
            Kind::User => USER,
            Kind::Role => ROLE,
            Kind::Event => EVENT,
            Kind::System => SYSTEM,
        }
    }

    /// The properties that say which object is meant.
    pub fn key_properties(self) -> &'static [&'static str] {
        match self {
            Kind::SslConfig | Kind::Service | Kind::User | Kind::Role => &["Name"],
            Kind::Server => &["Port", "BindAddress"],
            Kind::Event => &["Source", "Type", "Name"],
            Kind::System => &[],
        }
    }

    /// True for objects that an instance brings along: they can be modified, and neither created nor deleted.
    pub fn is_built_in(self) -> bool {
        matches!(self, Kind::Service | Kind::Event | Kind::System)
    }

    /// The row of this name; names are matched without regard to case, as an instance does.
    pub fn property(self, name: &str) -> Option<&'static Property> {
        self.properties().iter().find(|property| property.name.eq_ignore_ascii_case(name))
    }
}

impl Form {
    /// The stored form of `text`, or what is wrong with it. `directory` is where relative files are looked for.
    pub fn normalise(self, text: &str, directory: &Path) -> Result<String, String> {
        match self {
            Form::Text | Form::Secret => Ok(text.to_owned()),
            Form::Word(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
                Some(word) => Ok((*word).to_owned()),
                None => Err(format!("must be one of {}", words.join(", "))),
            },
            Form::Resources => resources(text).map(|all| {
                let all: Vec<String> = all.iter().map(|(resource, rights)| format!("{resource}:{rights}")).collect();
                all.join(",")
            }),
            Form::Flag => match text {
                "0" | "1" => Ok(text.to_owned()),
                _ => Err("must be 0 or 1".to_owned()),
            },
            Form::Number(low, high) => match text.parse::<u32>() {
                Ok(number) if (low..=high).contains(&number) => Ok(number.to_string()),
                _ => Err(format!("must be a number from {low} to {high}")),
            },
            Form::Choice(choices) => match text.parse::<u32>() {
                Ok(number) if choices.contains(&number) => Ok(number.to_string()),
                _ => {
                    let all: Vec<String> = choices.iter().map(u32::to_string).collect();
                    Err(format!("must be one of {}", all.join(", ")))
                }
            },
            Form::File if text.is_empty() => Ok(String::new()),
            Form::File => absolute(text, directory),
            Form::Mechanisms => Mechanisms::parse(text).map(|mechanisms| mechanisms.0.to_string()),
            Form::Password if text.is_empty() => Ok(String::new()),
            Form::Password => PasswordHash::of(text).map(|hash| hash.to_string()),
            Form::Addresses => AllowedAddresses::parse(text).map(|_| text.to_owned()),
            Form::Day => day(text).map(|day| day.map(|day| day.to_string()).unwrap_or_default()),
            Form::UserName => user_name(text).map(str::to_owned),
        }
    }
}

/// Resources with the rights to them: R, W and U.
fn resources(text: &str) -> Result<Vec<(String, String)>, String> {
    let one = |entry: &str| match entry.rsplit_once(':') {
        Some((resource, rights)) if !resource.is_empty() && rights.bytes().all(|right| b"RWU".contains(&right)) => {
            Ok((resource.to_owned(), rights.to_owned()))
        }
        _ => Err(format!("holds {entry:?}: write a resource and its rights, such as %Service_WebGateway:U")),
    };
    text.split([',', ';']).map(str::trim).filter(|entry| !entry.is_empty()).map(one).collect()
}

/// Whether what a role gives, in its stored form, holds the right to use a resource.
pub fn gives_use(stored: &str, resource: &str) -> bool {
    let all = resources(stored).unwrap_or_default();
    all.iter().any(|(name, rights)| name.eq_ignore_ascii_case(resource) && rights.contains('U'))
}

fn absolute(text: &str, directory: &Path) -> Result<String, String> {
    let joined = directory.join(text);
    let path = std::path::absolute(&joined).map_err(|error| format!("is no usable path: {error}"))?;
    path.into_os_string().into_string().map_err(|_| "must be a path in UTF-8".to_owned())
}

fn day(text: &str) -> Result<Option<Date>, String> {
    if matches!(text, "" | "0") {
        return Ok(None);
    }
    let format = format_description!("[year]-[month]-[day]");
    let day = Date::parse(text, format).map_err(|_| "must be a day as YYYY-MM-DD, or empty for none".to_owned())?;
    Ok(Some(day).filter(|day| *day != date!(1840 - 12 - 31)))
}

/// Users that nobody can become by name, password or certificate.
const RESERVED_USERS: [&str; 3] = ["UnknownUser", "_PUBLIC", "%System"];

fn user_name(text: &str) -> Result<&str, String> {
    if text.is_empty() || text.chars().count() > 160 {
        return Err("must have 1 to 160 characters".to_owned());
    }
    if text.contains(['@', '*']) {
        return Err("must not contain @ or *".to_owned());
    }
    if is_reserved_user(text) {
        return Err("is the name of a built-in account".to_owned());
    }
    Ok(text)
}

/// Whether this is the name of an account that no credential may lead to.
pub fn is_reserved_user(name: &str) -> bool {
    RESERVED_USERS.iter().any(|reserved| same_user(reserved, name))
}

/// Whether two user names mean the same user: case does not count.
pub fn same_user(one: &str, other: &str) -> bool {
    user_key(one) == user_key(other)
}

/// The form of a user name under which it is stored and looked up.
pub fn user_key(name: &str) -> String {
    name.to_lowercase()
}

/// A set of login mechanisms: the mask of `AutheEnabled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms(pub u32);

/// Name after `$$$Authe`, and bit, of each mechanism that an instance knows.
const MECHANISM_BITS: &[(&str, u32)] = &[
    ("K5CCache", 1),
    ("K5Prompt", 1 << 1),
    ("K5API", 1 << 2),
    ("K5KeyTab", 1 << 3),
    ("OS", 1 << 4),
    ("Password", 1 << 5),
    ("Unauthenticated", 1 << 6),
    ("KB", 1 << 7),
    ("KBEncryption", 1 << 8),
    ("KBIntegrity", 1 << 9),
    ("System", 1 << 10),
    ("LDAP", 1 << 11),
    ("LDAPCache", 1 << 12),
    ("Delegated", 1 << 13),
    ("LoginToken", 1 << 14),
    ("TwoFactorSMS", 1 << 20),
    ("TwoFactorPW", 1 << 21),
    ("MutualTLS", 1 << 25),
];

impl Mechanisms {
    /// User name and password.
    pub const PASSWORD: Mechanisms = Mechanisms(1 << 5);
    /// No credentials at all: the login becomes `UnknownUser`.
    pub const UNAUTHENTICATED: Mechanisms = Mechanisms(1 << 6);
    /// The common name of the verified client certificate. Only `%Service_WebGateway` has it.
    pub const MUTUAL_TLS: Mechanisms = Mechanisms(1 << 25);

    /// Whether all of `other` are in this set.
    pub fn allow(self, other: Mechanisms) -> bool {
        self.0 & other.0 == other.0
    }

    /// No mechanism at all that this server can work with.
    pub fn is_unusable(self) -> bool {
        self.0 & (Self::PASSWORD.0 | Self::UNAUTHENTICATED.0 | Self::MUTUAL_TLS.0) == 0
    }

    fn parse(text: &str) -> Result<Mechanisms, String> {
        let mut mask = 0;
        for term in text.split('+').map(str::trim) {
            mask |= match term.strip_prefix("$$$Authe") {
                Some(name) => MECHANISM_BITS
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, bit)| *bit)
                    .ok_or_else(|| format!("holds the unknown mechanism {term}"))?,
                None => term
                    .parse()
                    .map_err(|_| "must be a number or names such as $$$AuthePassword+$$$AutheMutualTLS".to_owned())?,
            };
        }
        Ok(Mechanisms(mask))
    }
}

impl std::ops::BitOr for Mechanisms {
    type Output = Mechanisms;

    fn bitor(self, other: Mechanisms) -> Mechanisms {
        Mechanisms(self.0 | other.0)
    }
}

impl fmt::Display for Mechanisms {
    /// `Password+MutualTLS`, or `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            MECHANISM_BITS.iter().filter(|(_, bit)| self.0 & bit != 0).map(|(name, _)| *name).collect();
        if names.is_empty() { f.write_str("none") } else { f.write_str(&names.join("+")) }
    }
}

/// The addresses that a service takes connections from; none listed means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedAddresses(Vec<AddressPattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum AddressPattern {
    /// The leading bits of an address, and how many of them count.
    Prefix(IpAddr, u8),
    /// For each part of an IPv4 address its smallest and largest value: `10.1.*.1-20`.
    Parts([(u8, u8); 4]),
}

impl AllowedAddresses {
    /// Whether `address` may connect. An IPv4 address that arrives in IPv6 clothes counts as IPv4.
    pub fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.matches(address))
    }

    fn parse(text: &str) -> Result<AllowedAddresses, String> {
        let entries = text.split([',', ';']).map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(AddressPattern::parse).collect::<Result<_, _>>().map(AllowedAddresses)
    }
}

impl AddressPattern {
    fn parse(entry: &str) -> Result<AddressPattern, String> {
        let (address, bits) = entry.split_once('/').map_or((entry, None), |(address, bits)| (address, Some(bits)));
        if let Ok(address) = address.parse::<IpAddr>() {
            let address = address.to_canonical();
            let width = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(width), |bits| bits.parse().ok().filter(|bits| *bits <= width).ok_or(()));
            return bits
                .map(|bits| AddressPattern::Prefix(address, bits))
                .map_err(|()| format!("holds {entry:?}: the number after / must be 0 to {width}"));
        }
        Self::parse_parts(entry).ok_or_else(|| {
            format!("holds {entry:?}: write an address, a network such as 10.0.0.0/8, or a pattern such as 10.1.*.1-20")
        })
    }

    fn parse_parts(entry: &str) -> Option<AddressPattern> {
        let parts: Vec<(u8, u8)> = entry
            .split('.')
            .map(|part| match part.split_once('-') {
                None if part == "*" => Some((0, 255)),
                None => part.parse().ok().map(|number| (number, number)),
                Some((low, high)) => Some((low.parse().ok()?, high.parse().ok()?)),
            })
            .collect::<Option<_>>()?;
        parts.try_into().ok().map(AddressPattern::Parts)
    }

    fn matches(&self, address: IpAddr) -> bool {
        match (self, address) {
            (AddressPattern::Prefix(IpAddr::V4(network), bits), IpAddr::V4(address)) => {
                (u32::from(*network) ^ u32::from(address)).leading_zeros() >= u32::from(*bits)
            }
            (AddressPattern::Prefix(IpAddr::V6(network), bits), IpAddr::V6(address)) => {
                (u128::from(*network) ^ u128::from(address)).leading_zeros() >= u32::from(*bits)
            }
            (AddressPattern::Parts(parts), IpAddr::V4(address)) => {
                parts.iter().zip(address.octets()).all(|((low, high), octet)| (*low..=*high).contains(&octet))
            }
            _ => false,
        }
    }
}

/// The stored values of one object. What is not stored has the default of its row.
pub struct Values {
    kind: Kind,
    stored: HashMap<String, String>,
}

impl Values {
    /// `stored` holds normal forms, as [`Form::normalise`] makes them.
    pub fn new(kind: Kind, stored: HashMap<String, String>) -> Values {
        Values { kind, stored }
    }

    fn text(&self, name: &str) -> &str {
        match self.stored.get(name) {
            Some(value) => value,
            None => self.kind.property(name).map_or("", |property| property.default),
        }
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name) == "1"
    }

    fn number(&self, name: &str) -> Result<u32, Corrupt> {
        self.text(name).parse().map_err(|_| self.corrupt(name))
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    fn corrupt(&self, name: &str) -> Corrupt {
        Corrupt(format!("{} property {name} has the impossible value {:?}", self.kind.word(), self.text(name)))
    }
}

/// A value in the database that no merge could have put there.
#[derive(Debug)]
pub struct Corrupt(pub String);

/// Whether a server configuration asks clients for a certificate, and what happens without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientVerification {
    /// `0`: not asked.
    None,
    /// `1`: asked; a client without one goes on without identity, a bad one is refused.
    Request,
    /// `3`: asked; without a good one the handshake fails.
    Require,
}

/// Protocol versions by the numbers of `TLSMinVersion` and `TLSMaxVersion`; older than 1.2 is not spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// `2`, `4`, `8`: SSL 3 to TLS 1.1.
    Older,
    /// `16`
    Tls12,
    /// `32`
    Tls13,
}

/// A TLS configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SslConfig {
    /// Name, by which superservers refer to it.
    pub name: String,
    /// A disabled configuration refuses every TLS connection (#987).
    pub enabled: bool,
    /// True for `Type=1`: only such a configuration can be bound to a superserver.
    pub for_servers: bool,
    /// Client certificate verification.
    pub verification: ClientVerification,
    /// CAs that sign client certificates, PEM.
    pub ca_file: Option<PathBuf>,
    /// The server's own chain, leaf first, PEM.
    pub certificate_file: Option<PathBuf>,
    /// The key of the leaf, PEM.
    pub private_key_file: Option<PathBuf>,
    /// The password of that key.
    pub key_password: KeyPassword,
    /// A directory whose PEM files are CAs too.
    pub ca_path: Option<PathBuf>,
    /// Revocation lists, PEM; there must be one of every CA of a client's chain.
    pub crl_file: Option<PathBuf>,
    /// Most CA certificates in a client's chain.
    pub depth: u32,
    /// OpenSSL cipher string for TLS 1.2.
    pub cipher_list: String,
    /// Suites for TLS 1.3, joined by colons.
    pub cipher_suites: String,
    /// Oldest version.
    pub oldest: TlsVersion,
    /// Newest version.
    pub newest: TlsVersion,
}

/// The password of a private key; prints as nothing. Empty for none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeyPassword(pub String);

impl fmt::Debug for KeyPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPassword(..)")
    }
}

impl SslConfig {
    /// The view of stored values.
    pub fn from_values(values: &Values) -> Result<SslConfig, Corrupt> {
        let version = |name| {
            values.number(name).map(|number| match number {
                16 => TlsVersion::Tls12,
                32 => TlsVersion::Tls13,
                _ => TlsVersion::Older,
            })
        };
        Ok(SslConfig {
            name: values.text("Name").to_owned(),
            enabled: values.flag("Enabled"),
            for_servers: values.text("Type") == "1",
            verification: match values.text("VerifyPeer") {
                "0" => ClientVerification::None,
                "1" => ClientVerification::Request,
                "3" => ClientVerification::Require,
                _ => return Err(values.corrupt("VerifyPeer")),
            },
            ca_file: values.file("CAFile"),
            certificate_file: values.file("CertificateFile"),
            private_key_file: values.file("PrivateKeyFile"),
            key_password: KeyPassword(values.text("PrivateKeyPassword").to_owned()),
            ca_path: values.file("CAPath"),
            crl_file: values.file("CRLFile"),
            depth: values.number("VerifyDepth")?,
            cipher_list: values.text("CipherList").to_owned(),
            cipher_suites: values.text("Ciphersuites").to_owned(),
            oldest: version("TLSMinVersion")?,
            newest: version("TLSMaxVersion")?,
        })
    }
}

/// Whether a superserver speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsSupport {
    /// `0`: plain connections only.
    Disabled,
    /// `1`: both; the first byte decides.
    Enabled,
    /// `2`: TLS only.
    Required,
}

/// A superserver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Configured TCP port; 0 lets the system choose one.
    pub port: u16,
    /// Configured address; empty means all.
    pub bind_address: String,
    /// A disabled superserver does not listen.
    pub enabled: bool,
    /// Serves `%Service_Bindings`.
    pub enable_clients: bool,
    /// Serves `%Service_WebGateway`.
    pub enable_csp: bool,
    /// SSLSupportLevel.
    pub tls: TlsSupport,
    /// Name of the TLS configuration; needed unless TLS is disabled.
    pub ssl_config: String,
}

impl Server {
    /// The view of stored values.
    pub fn from_values(values: &Values) -> Result<Server, Corrupt> {
        Ok(Server {
            port: u16::try_from(values.number("Port")?).map_err(|_| values.corrupt("Port"))?,
            bind_address: values.text("BindAddress").to_owned(),
            enabled: values.flag("Enabled"),
            enable_clients: values.flag("EnableClients"),
            enable_csp: values.flag("EnableCSP"),
            tls: match values.text("SSLSupportLevel") {
                "0" => TlsSupport::Disabled,
                "1" => TlsSupport::Enabled,
                "2" => TlsSupport::Required,
                _ => return Err(values.corrupt("SSLSupportLevel")),
            },
            ssl_config: values.text("SSLConfig").to_owned(),
        })
    }
}

/// The two services that connections of the client protocol can belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceName {
    /// The gateway's connections.
    WebGateway,
    /// Everybody else's: drivers, SQL, native calls.
    Bindings,
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ServiceName::WebGateway => "%Service_WebGateway",
            ServiceName::Bindings => "%Service_Bindings",
        })
    }
}

/// A service's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// A disabled service takes no connection.
    pub enabled: bool,
    /// The mechanisms allowed.
    pub mechanisms: Mechanisms,
    /// Where connections may come from.
    pub addresses: AllowedAddresses,
    /// Whether every authenticated user may use it; otherwise only who has Use of the resource of its name, or the role
    /// `%All`.
    pub public: bool,
}

impl Service {
    /// The view of stored values.
    pub fn from_values(values: &Values) -> Result<Service, Corrupt> {
        Ok(Service {
            enabled: values.flag("Enabled"),
            mechanisms: Mechanisms(values.number("AutheEnabled")?),
            addresses: AllowedAddresses::parse(values.text("ClientSystems")).map_err(Corrupt)?,
            public: values.flag("Public"),
        })
    }
}

/// A user, with what is known of the account's past.
#[derive(Clone, Debug)]
pub struct User {
    /// The name as it was created; looked up without regard to case.
    pub name: String,
    /// `None`: no password was ever set, so no password fits.
    pub password: Option<PasswordHash>,
    /// Login allowed.
    pub enabled: bool,
    /// Last usable day.
    pub expires: Option<Date>,
    /// Exempt from the inactivity limit.
    pub never_inactive: bool,
    /// Must change the password at the next login.
    pub change_password: bool,
    /// Roles held.
    pub roles: Vec<String>,
    /// The services that one of the roles gives Use of.
    pub services: Vec<ServiceName>,
    /// Anything but `Password`: no mechanism here is for such users.
    pub kind: String,
    /// Day on which the password was set, unless it never expires.
    pub password_set: Option<Date>,
    /// Day of the last successful login; before the first one, of the account's creation.
    pub last_login: Date,
    /// Failed logins since the last successful one.
    pub invalid_attempts: u32,
}

/// The property that notes the day on which a password was set. No merge sets it.
pub const PASSWORD_SET: &str = "PasswordSet";

impl User {
    /// The view of stored values and of what the store noted about the account.
    pub fn from_values(values: &Values, last_login: Date, invalid_attempts: u32) -> Result<User, Corrupt> {
        let password = match values.text("Password") {
            "" => None,
            text => Some(text.parse().map_err(|()| Corrupt("a user's password hash is damaged".to_owned()))?),
        };
        Ok(User {
            name: values.text("Name").to_owned(),
            password,
            enabled: values.flag("Enabled"),
            expires: day(values.text("ExpirationDate")).map_err(Corrupt)?,
            never_inactive: values.flag("AccountNeverExpires"),
            change_password: values.flag("ChangePassword"),
            roles: list(values.text("Roles")),
            services: Vec::new(),
            kind: values.text("Type").to_owned(),
            password_set: match values.flag("PasswordNeverExpires") {
                true => None,
                false => day(values.text(PASSWORD_SET)).map_err(Corrupt)?,
            },
            last_login,
            invalid_attempts,
        })
    }

    /// Whether the user holds `role`, or `%All`, which stands for every role.
    pub fn holds(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held.eq_ignore_ascii_case(role) || held.eq_ignore_ascii_case("%All"))
    }
}

fn list(text: &str) -> Vec<String> {
    text.split([',', ':']).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// The settings of the whole instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// Days after which a password must be replaced; 0 for never.
    pub password_days: u32,
    /// Auditing is on.
    pub audit: bool,
    /// Days without login after which an account is inactive; 0 means never.
    pub inactive_limit: u32,
    /// Failed logins after which an account is disabled, if `lock_out` says so; 0 means never.
    pub invalid_login_limit: u32,
    /// Disable an account when the limit is reached.
    pub lock_out: bool,
    /// Role that everybody needs who connects; empty for none.
    pub required_role: String,
}

impl System {
    /// The view of stored values.
    pub fn from_values(values: &Values) -> Result<System, Corrupt> {
        Ok(System {
            password_days: values.number("PasswordExpirationDays")?,
            audit: values.flag("AuditEnabled"),
            inactive_limit: values.number("InactiveLimit")?,
            invalid_login_limit: values.number("InvalidLoginLimit")?,
            lock_out: values.flag("InvalidLoginAction"),
            required_role: values.text("RequiredRole").to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_of_the_tables_is_a_value_in_normal_form() {
        for kind in Kind::ALL {
            for property in kind.properties() {
                if property.form == Form::UserName {
                    continue;
                }
                let normal = property.form.normalise(property.default, Path::new("/"));
                assert_eq!(normal.as_deref(), Ok(property.default), "{} {}", kind.word(), property.name);
            }
        }
    }

    #[test]
    fn every_key_property_is_a_row_of_its_table() {
        for kind in Kind::ALL {
            for name in kind.key_properties() {
                assert!(kind.property(name).is_some_and(|property| property.used), "{} {name}", kind.word());
            }
        }
    }

    #[test]
    fn mechanisms_are_numbers_or_names_joined_with_plus() {
        let mask = |text| Mechanisms::parse(text).map(|mechanisms| mechanisms.0).ok();
        assert_eq!(mask("$$$AutheMutualTLS"), Some(33_554_432));
        assert_eq!(mask("$$$AuthePassword + $$$AutheMutualTLS"), Some(33_554_464));
        assert_eq!(mask("96"), Some(96));
        assert_eq!(mask("0"), Some(0));
        assert_eq!(mask(""), None);
        assert_eq!(mask("$$$AutheMagic"), None);
        assert_eq!(mask("Password"), None);
    }

    #[test]
    fn client_addresses_match_exactly_by_network_or_by_pattern() {
        let cases = [
            ("", "203.0.113.9", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("10.1.*.1-20", "10.1.77.20", true),
            ("10.1.*.1-20", "10.1.77.21", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("192.0.2.1; 192.0.2.2", "192.0.2.2", true),
            ("::/0", "192.0.2.1", false),
        ];
        for (allowed, address, expected) in cases {
            let addresses = AllowedAddresses::parse(allowed).expect(allowed);
            assert_eq!(addresses.allow(address.parse().unwrap()), expected, "{address} by {allowed:?}");
        }
        for bad in ["gateway.example.com", "10.1", "10.0.0.0/33", "10.0.0.300"] {
            assert!(AllowedAddresses::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn built_in_accounts_are_no_users_whatever_the_case() {
        assert!(user_name("unknownuser").is_err());
        assert!(user_name("_Public").is_err());
        assert!(user_name("gw@example").is_err());
        assert_eq!(user_name("Gateway 1"), Ok("Gateway 1"));
    }
}
