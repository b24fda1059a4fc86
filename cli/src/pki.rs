//! `sclera pki`: certificates, keys, a CSP.ini and a merge file that belong together, for trying out.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use sclera::identity::implausible_user;
use time::{Duration, OffsetDateTime};

use crate::Outcome;

/// Port of the superserver that is set up, unless told otherwise.
pub const DEFAULT_PORT: u16 = 51773;

/// The commands below `sclera pki`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a CA, the certificates of a superserver and a gateway, and configurations for both.
    Init(Options),
}

/// What to set up.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Directory to write to; made if it does not exist.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// The IRIS user that the gateway logs in as: the CN of its certificate.
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// The superserver's port.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PORT)]
    pub port: u16,
    /// The name or address that the superserver listens on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub bind: String,
    /// Replace files that are there already.
    #[arg(long)]
    pub force: bool,
}

impl Options {
    /// The set-up for one user in a directory, with the defaults of the command line.
    pub fn new(directory: impl Into<PathBuf>, user: impl Into<String>) -> Options {
        Options {
            directory: directory.into(),
            user: user.into(),
            port: DEFAULT_PORT,
            bind: "127.0.0.1".into(),
            force: false,
        }
    }
}

/// The files written, with absolute paths.
#[derive(Clone, Debug)]
pub struct Written {
    /// The CA's certificate.
    pub ca: PathBuf,
    /// The CA's key, to issue further certificates with.
    pub ca_key: PathBuf,
    /// The superserver's certificate and key.
    pub superserver: (PathBuf, PathBuf),
    /// The gateway's certificate and key.
    pub gateway: (PathBuf, PathBuf),
    /// The gateway's configuration.
    pub config: PathBuf,
    /// The superserver's configuration.
    pub merge: PathBuf,
}

/// Runs one of the commands and prints what was written and what to do next.
pub fn run(command: &Command, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let Command::Init(options) = command;
    let written = match init(options) {
        Ok(written) => written,
        Err(reason) => {
            writeln!(err, "sclera: {reason}")?;
            return Ok(Outcome::Failed);
        }
    };
    writeln!(out, "Written:")?;
    for (path, meaning) in written.files() {
        writeln!(out, "  {}  ({meaning})", path.display())?;
    }
    writeln!(out, "Next, serve it:")?;
    writeln!(out, "  sclera-superserver run --merge {}", written.merge.display())?;
    writeln!(
        out,
        "Then set CSPConfigPath of the web server to that directory. Its user must be able to read gateway.key."
    )?;
    Ok(Outcome::Well)
}

/// Writes everything that [`Written`] lists. Key files have mode 0600 from the first moment.
///
/// # Errors
///
/// A sentence that says what is wrong: a user name, address or directory that cannot be used, files that are there
/// already (unless `force` is set), or a file that cannot be written. What was written before stays.
pub fn init(options: &Options) -> Result<Written, String> {
    check_user(&options.user)?;
    let bind = Bind::new(&options.bind)?;
    if options.port == 0 {
        return Err("--port 0 is not a port; give a number from 1 to 65535".into());
    }
    let directory = prepare(&options.directory)?;
    let at = |name: &str| directory.join(name);
    let written = Written {
        ca: at("ca.pem"),
        ca_key: at("ca.key"),
        superserver: (at("superserver.pem"), at("superserver.key")),
        gateway: (at("gateway.pem"), at("gateway.key")),
        config: at("CSP.ini"),
        merge: at("superserver.cpf"),
    };
    if !options.force {
        written.refuse_existing()?;
    }
    let pki = issue(&options.user, &bind).map_err(|error| format!("cannot make the certificates: {error}"))?;
    for (path, content, mode) in [
        (&written.ca, &pki.ca.0, 0o644),
        (&written.ca_key, &pki.ca.1, 0o600),
        (&written.superserver.0, &pki.superserver.0, 0o644),
        (&written.superserver.1, &pki.superserver.1, 0o600),
        (&written.gateway.0, &pki.gateway.0, 0o644),
        (&written.gateway.1, &pki.gateway.1, 0o600),
        (&written.config, &csp_ini(&written, &bind, options.port), 0o644),
        (&written.merge, &merge_file(&written, &bind, options), 0o644),
    ] {
        write_new(path, content, mode, options.force)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(written)
}

impl Written {
    fn files(&self) -> [(&Path, &'static str); 8] {
        [
            (&self.ca, "certificate of the CA"),
            (&self.ca_key, "key of the CA"),
            (&self.superserver.0, "certificate of the superserver"),
            (&self.superserver.1, "key of the superserver"),
            (&self.gateway.0, "certificate of the gateway"),
            (&self.gateway.1, "key of the gateway"),
            (&self.config, "configuration of the gateway"),
            (&self.merge, "configuration of the superserver"),
        ]
    }

    fn refuse_existing(&self) -> Result<(), String> {
        let existing: Vec<String> = self
            .files()
            .into_iter()
            .filter(|(path, _)| path.symlink_metadata().is_ok())
            .map(|(path, _)| path.display().to_string())
            .collect();
        if existing.is_empty() {
            return Ok(());
        }
        Err(format!("will not replace {}; name another directory, or add --force", existing.join(", ")))
    }
}

/// Where the superserver listens, and where the gateway finds it.
pub(crate) struct Bind {
    /// As given.
    pub(crate) listen: String,
    /// The same, but for "all addresses", for which the machine's own address stands.
    pub(crate) reach: String,
}

impl Bind {
    pub(crate) fn new(address: &str) -> Result<Bind, String> {
        let listen = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address).to_owned();
        let plain = listen.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte));
        if listen.is_empty() || !plain || (listen.contains(':') && listen.parse::<IpAddr>().is_err()) {
            return Err(format!("--bind {address} is neither a name nor an IP address"));
        }
        let reach = match listen.parse::<IpAddr>() {
            Ok(IpAddr::V4(all)) if all.is_unspecified() => "127.0.0.1".to_owned(),
            Ok(IpAddr::V6(all)) if all.is_unspecified() => "::1".to_owned(),
            _ => listen.clone(),
        };
        Ok(Bind { listen, reach })
    }
}

/// The rules of IRIS for user names and of X.509 for a CN, and what the merge file can hold.
pub(crate) fn check_user(user: &str) -> Result<(), String> {
    if let Some(reason) = implausible_user(user) {
        return Err(format!("--user {user:?} {reason}; name the IRIS user that the gateway logs in as"));
    }
    if user.chars().any(|it| ",=\"'\\:;".contains(it)) {
        return Err(format!("--user {user:?} holds one of , = : ; \\ or a quote, which a merge file cannot hold"));
    }
    Ok(())
}

/// The directory, made if need be, as an absolute path that configuration files can hold.
pub(crate) fn prepare(directory: &Path) -> Result<PathBuf, String> {
    let problem = |error: io::Error| format!("cannot use directory {}: {error}", directory.display());
    fs::create_dir_all(directory).map_err(problem)?;
    let absolute = directory.canonicalize().map_err(problem)?;
    let speakable = |path: &str| !path.chars().any(|it| it.is_control() || ",\"".contains(it)) && path.trim() == path;
    match absolute.to_str() {
        Some(path) if speakable(path) => Ok(absolute),
        _ => Err(format!(
            "cannot use directory {}: its path holds a comma, a quote or what is not text",
            absolute.display()
        )),
    }
}

/// Certificate and key in PEM, of each party.
struct Issued {
    ca: (String, String),
    superserver: (String, String),
    gateway: (String, String),
}

fn issue(user: &str, bind: &Bind) -> Result<Issued, rcgen::Error> {
    let authority = Authority::new("Sclera trial CA")?;
    let leaf = |name: &str, alternatives: Vec<String>, usage: ExtendedKeyUsagePurpose| {
        let key = KeyPair::generate()?;
        Ok::<_, rcgen::Error>((authority.issue(name, alternatives, usage, &key)?, key.serialize_pem()))
    };
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !names.contains(&bind.reach) {
        names.push(bind.reach.clone());
    }
    Ok(Issued {
        superserver: leaf("superserver", names, ExtendedKeyUsagePurpose::ServerAuth)?,
        gateway: leaf(user, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)?,
        ca: (authority.certificate(), authority.key()),
    })
}

/// A CA that is made on the spot.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one of this CN, good for ten years.
    pub(crate) fn new(name: &str) -> Result<Authority, rcgen::Error> {
        let mut params = parameters(name, Vec::new(), 3650)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        CertifiedIssuer::self_signed(params, KeyPair::generate()?).map(Authority)
    }

    /// A certificate in PEM, good for two years.
    pub(crate) fn issue(
        &self,
        name: &str,
        alternatives: Vec<String>,
        usage: ExtendedKeyUsagePurpose,
        key: &KeyPair,
    ) -> Result<String, rcgen::Error> {
        let mut params = parameters(name, alternatives, 730)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.0)?.pem())
    }

    /// Its own certificate, in PEM.
    pub(crate) fn certificate(&self) -> String {
        self.0.pem()
    }

    /// Its key, in PEM.
    pub(crate) fn key(&self) -> String {
        self.0.key().serialize_pem()
    }
}

/// A certificate of this CN, valid from an hour ago, so that clocks a little slow accept it, for this many days.
pub(crate) fn parameters(name: &str, alternatives: Vec<String>, days: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(alternatives)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(days);
    Ok(params)
}

/// A complete small CSP.ini. User name and password are absent: they would win over the certificate.
fn csp_ini(written: &Written, bind: &Bind, port: u16) -> String {
    format!(
        "[SYSTEM]\n\
         Server_Response_Timeout=60\n\
         Queued_Request_Timeout=60\n\
         No_Activity_Timeout=86400\n\
         Default_Server=LOCAL\n\
         \n\
         [SYSTEM_INDEX]\n\
         LOCAL=Enabled\n\
         \n\
         [LOCAL]\n\
         Ip_Address={address}\n\
         TCP_Port={port}\n\
         Minimum_Server_Connections=3\n\
         Maximum_Session_Connections=6\n\
         Connection_Security_Level=10\n\
         SSLCC_Protocol_Min=16\n\
         SSLCC_Protocol_Max=32\n\
         SSLCC_Verify_Peer=1\n\
         SSLCC_Certificate_File={certificate}\n\
         SSLCC_Certificate_Key_File={key}\n\
         SSLCC_CA_Certificate_File={ca}\n\
         \n\
         [APP_PATH_INDEX]\n\
         /=Enabled\n\
         /csp=Enabled\n\
         \n\
         [APP_PATH:/]\n\
         Default_Server=LOCAL\n\
         \n\
         [APP_PATH:/csp]\n\
         Default_Server=LOCAL\n",
        address = bind.reach,
        certificate = written.gateway.0.display(),
        key = written.gateway.1.display(),
        ca = written.ca.display(),
    )
}

/// The other side of it, in the language of configuration merge.
fn merge_file(written: &Written, bind: &Bind, options: &Options) -> String {
    let mut merge = String::from("[Actions]\n");
    for action in [
        // PrivateKeyType 3 is ECDSA; an instance takes a key without it for RSA.
        format!(
            "CreateSSLConfig:Name=ScleraSuperserver,Type=1,Enabled=1,VerifyPeer=3,CAFile={},CertificateFile={},\
             PrivateKeyFile={},PrivateKeyType=3",
            written.ca.display(),
            written.superserver.0.display(),
            written.superserver.1.display()
        ),
        format!(
            "CreateServer:Port={},BindAddress=\"{}\",Enabled=1,SSLSupportLevel=2,EnableCSP=1,EnableClients=1,\
             SSLConfig=ScleraSuperserver",
            options.port, bind.listen
        ),
        "ModifyService:Name=%Service_WebGateway,Enabled=1,AutheEnabled=$$$AutheMutualTLS".to_owned(),
        format!("CreateUser:Name={}", options.user),
        "ModifyEvent:Source=%System,Type=%Login,Name=LoginFailure,Enabled=1".to_owned(),
        "ModifySystem:AuditEnabled=1".to_owned(),
    ] {
        let _ = writeln!(merge, "{action}");
    }
    merge
}

/// Creates a file with this mode; never writes through what is there, be it a link.
pub(crate) fn write_new(path: &Path, content: &str, mode: u32, replace: bool) -> io::Result<()> {
    if replace {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use sclera::identity::{Credential, Identity, credential};
    use sclera::profile::{Environment, Profile, Route};

    use super::*;

    #[test]
    fn what_is_written_is_a_working_mutual_tls_profile_without_any_finding() {
        let directory = tempfile::tempdir().unwrap();
        let written = init(&Options::new(directory.path().join("new/pki"), "gwuser")).unwrap();
        let loaded = Profile::load(&written.config, &Environment::none()).unwrap();
        assert_eq!(loaded.notices, []);
        let server = &loaded.profile.servers[0];
        assert!(matches!(credential(server), Credential::MutualTls { .. }));
        assert_eq!((server.address.value.as_str(), server.port.value), ("127.0.0.1", DEFAULT_PORT));
        let identity = Identity::load(server, 1).unwrap();
        assert_eq!(identity.facts.unwrap().common_name.as_deref(), Some("gwuser"));
        assert!(identity.notices.is_empty());
        assert!(matches!(loaded.profile.route(None, "/csp/demo/x"), Route::Server { server: 0, .. }));
    }

    #[test]
    fn keys_are_readable_by_their_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let written = init(&Options::new(directory.path(), "gwuser")).unwrap();
        for key in [&written.ca_key, &written.superserver.1, &written.gateway.1] {
            assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn the_merge_file_says_what_the_superserver_needs() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { port: 4000, bind: "0.0.0.0".into(), ..Options::new(directory.path(), "gw user") };
        let written = init(&options).unwrap();
        let merge = fs::read_to_string(&written.merge).unwrap();
        for needed in [
            "[Actions]\n",
            "Type=1,Enabled=1,VerifyPeer=3,CAFile=/",
            "CreateServer:Port=4000,BindAddress=\"0.0.0.0\",",
            "SSLSupportLevel=2,EnableCSP=1,EnableClients=1,SSLConfig=ScleraSuperserver\n",
            "AutheEnabled=$$$AutheMutualTLS\n",
            "CreateUser:Name=gw user\n",
            "Name=LoginFailure,Enabled=1\n",
        ] {
            assert!(merge.contains(needed), "{needed} is not in {merge}");
        }
        let config = fs::read_to_string(&written.config).unwrap();
        assert!(config.contains("Ip_Address=127.0.0.1\nTCP_Port=4000\n"), "{config}");
    }

    #[test]
    fn existing_files_are_named_and_kept_unless_forced() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path(), "gwuser");
        fs::write(directory.path().join("CSP.ini"), "mine").unwrap();
        let reason = init(&options).unwrap_err();
        assert!(reason.contains("CSP.ini") && !reason.contains("ca.pem"), "{reason}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        init(&Options { force: true, ..options }).unwrap();
        assert!(fs::read_to_string(directory.path().join("CSP.ini")).unwrap().contains("[LOCAL]"));
    }

    #[test]
    fn names_and_addresses_that_would_not_work_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let long = "x".repeat(65);
        for user in ["", " ", "a@b", "a,b", "a\nb", "unknownuser", " a", &long] {
            assert!(init(&Options::new(directory.path(), user)).is_err(), "{user:?}");
        }
        for bind in ["", "a b", "1:2", "a\nb"] {
            let options = Options { bind: bind.into(), ..Options::new(directory.path(), "gwuser") };
            assert!(init(&options).is_err(), "{bind:?}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_command_says_what_it_wrote_and_what_comes_next() {
        let directory = tempfile::tempdir().unwrap();
        let command = Command::Init(Options::new(directory.path(), "gwuser"));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(run(&command, &mut out, &mut err).unwrap(), Outcome::Well);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("gateway.key") && text.contains("sclera-superserver run --merge /"), "{text}");
        assert_eq!(run(&command, &mut Vec::new(), &mut err).unwrap(), Outcome::Failed);
        assert!(String::from_utf8(err).unwrap().contains("will not replace"));
    }
}
