//! `sclera setup mtls`: mutual TLS for one server, from the key to the test, and what is left to do on the other side.
//!
//! It follows the documented procedure. What the gateway's machine can do is done here; the rest is written to a merge
//! file, and told in its order.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, PKCS_RSA_SHA256};
use sclera::doctor::ready;
use sclera::profile::edit::{Change, Document, EditError};
use sclera::profile::store;
use sclera::profile::{Environment, Profile, initial};
use sclera::terminal::wrapped;
use sclera::trial;

use crate::pki::{Authority, Bind, check_user, parameters, prepare, write_new};
use crate::{Config, Outcome, complain};

/// The commands below `sclera setup`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Let the gateway log in to a server with a certificate instead of a password. Asks for what no option gives.
    Mtls(Mtls),
}

/// What to set up.
#[derive(Clone, Debug, Args)]
pub struct Mtls {
    #[command(flatten)]
    pub config: Config,
    /// The server, as [SYSTEM_INDEX] names it; a new one is added.
    pub server: String,
    /// Name or address of the superserver.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// The port of the superserver that is bound to a TLS configuration.
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// The IRIS user that the gateway logs in as: the CN of its certificate.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Make a private CA here, and certificates for both sides, instead of a signing request.
    #[arg(long, conflicts_with_all = ["certificate", "ca"])]
    pub private_ca: bool,
    /// The certificate that your CA has issued for the signing request.
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub certificate: Option<PathBuf>,
    /// The certificate of the CA that signed the superserver's certificate.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Where key and certificates are kept.
    #[arg(long, value_name = "DIR", default_value = "/etc/ssl/sclera")]
    pub directory: PathBuf,
    /// Make an RSA key of 3072 bits instead of ECDSA P-256.
    #[arg(long)]
    pub rsa: bool,
    /// Group of the web server's workers, which is to read the key [default: that of www-data, apache or nginx].
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Do not connect at the end.
    #[arg(long)]
    pub no_test: bool,
}

/// Runs the command; asks on a terminal.
pub fn run(Command::Mtls(options): &Command, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let stdin = io::stdin();
    match stdin.is_terminal() {
        true => mtls(options, Some(&mut stdin.lock()), out, err),
        false => mtls(options, None, out, err),
    }
}

/// Everything in its order. `answers` is where questions are answered; without it every answer must be an option.
pub fn mtls(
    options: &Mtls,
    answers: Option<&mut dyn BufRead>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Outcome> {
    let plan = match Plan::new(options, answers, out)? {
        Ok(plan) => plan,
        Err(reason) => return complain(err, [reason]),
    };
    let certificates = match plan.certificates() {
        Ok(certificates) => certificates,
        Err(reason) => return complain(err, [reason]),
    };
    for (path, meaning) in &certificates.written {
        writeln!(out, "Written: {} ({meaning})", path.display())?;
    }
    let Some(ca) = &certificates.ca else {
        write!(out, "{}", plan.steps_before_the_certificate(&certificates))?;
        return Ok(Outcome::Well);
    };
    if let Err(error) = plan.write_csp_ini(&certificates, ca, out)? {
        return complain(err, [error]);
    }
    let merge = plan.file("cpf");
    if let Err(error) = write_new(&merge, &plan.merge_file(&certificates), 0o644, true) {
        return complain(err, [format!("cannot write {}: {error}", merge.display())]);
    }
    writeln!(out, "Written: {} (configuration of the superserver)", merge.display())?;
    write!(out, "{}", plan.steps_on_the_other_side(&certificates, &merge))?;
    if options.no_test {
        return Ok(Outcome::Well);
    }
    plan.test(out, err)
}

/// What is to be done, complete.
struct Plan {
    config: PathBuf,
    server: String,
    bind: Bind,
    port: u16,
    user: String,
    signer: Signer,
    directory: PathBuf,
    rsa: bool,
    /// Number of the group that is to read the key.
    group: Option<u32>,
}

/// Who signs the gateway's certificate.
enum Signer {
    /// A CA that is made here.
    PrivateCa,
    /// A CA elsewhere, which gets a signing request.
    Request,
    /// A CA elsewhere, which has signed.
    Issued { certificate: PathBuf, ca: PathBuf },
}

/// The files of the gateway's side.
struct Certificates {
    key: PathBuf,
    certificate: PathBuf,
    /// `None` while the certificate has only been asked for.
    ca: Option<PathBuf>,
    request: Option<PathBuf>,
    /// Certificate and key of the superserver, if they were made here.
    superserver: Option<(PathBuf, PathBuf)>,
    written: Vec<(PathBuf, &'static str)>,
}

impl Certificates {
    fn keep(&mut self, path: &Path, content: &str, mode: u32, meaning: &'static str) -> Result<(), String> {
        write_new(path, content, mode, true).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        self.written.push((path.to_owned(), meaning));
        Ok(())
    }
}

impl Plan {
    /// Takes the options, what CSP.ini says already, and the answers, in this order.
    fn new(
        options: &Mtls,
        mut answers: Option<&mut dyn BufRead>,
        out: &mut dyn Write,
    ) -> io::Result<Result<Plan, String>> {
        let config = options.config.path();
        let known = Profile::load(&config, &Environment::none()).ok().map(|loaded| loaded.profile);
        let known = known.as_ref().and_then(|it| Some(&it.servers[it.server(&options.server)?]));
        let known_address = known.map(|server| server.address.value.clone()).filter(|address| !address.is_empty());
        let known_port = known.map(|server| server.port.value.to_string());

        let mut ask = |question: &str, option: &str, given: Option<String>, usual: Option<String>| {
            ask(&mut answers, out, question, option, given, usual)
        };
        let address = ask("Name or address of the superserver", "--address", options.address.clone(), known_address)?;
        let port = ask(
            "Port of the superserver that speaks TLS",
            "--port",
            options.port.map(|port| port.to_string()),
            known_port,
        )?;
        let user = ask("IRIS user that the gateway logs in as", "--user", options.user.clone(), None)?;
        let signer = match (options.private_ca, &options.certificate, &options.ca) {
            (true, ..) => Ok(Signer::PrivateCa),
            (false, Some(certificate), Some(ca)) => {
                Ok(Signer::Issued { certificate: certificate.clone(), ca: ca.clone() })
            }
            _ => ask(
                "Who signs its certificate: your CA (request), or one made here (private)",
                "--private-ca, or --certificate and --ca",
                None,
                Some("request".to_owned()),
            )?
            .and_then(|answer| match answer.as_str() {
                "request" => Ok(Signer::Request),
                "private" => Ok(Signer::PrivateCa),
                other => Err(format!("{other:?} is neither request nor private")),
            }),
        };
        Ok((|| {
            let (address, port, user, signer) = (address?, port?, user?, signer?);
            check_user(&user)?;
            let number = port.parse().ok().filter(|port| *port > 0);
            Ok(Plan {
                config,
                server: options.server.clone(),
                bind: Bind::new(&address)?,
                port: number.ok_or_else(|| format!("{port} is not a TCP port"))?,
                user,
                signer,
                directory: prepare(&options.directory)?,
                rsa: options.rsa,
                group: group_of_workers(options.group.as_deref())?,
            })
        })())
    }

    /// A file of this server in the directory.
    fn file(&self, ending: &str) -> PathBuf {
        let plain = |it: char| if it.is_ascii_alphanumeric() || it == '-' || it == '_' { it } else { '-' };
        let name: String = self.server.chars().map(plain).collect();
        self.directory.join(format!("{name}{}{ending}", if ending.starts_with('-') { "" } else { "." }))
    }

    fn certificates(&self) -> Result<Certificates, String> {
        let (key, certificate) = (self.file("key"), self.file("pem"));
        let mut made = Certificates {
            key: key.clone(),
            certificate: certificate.clone(),
            ca: None,
            request: None,
            superserver: None,
            written: Vec::new(),
        };
        match &self.signer {
            Signer::Issued { certificate: issued, ca } => {
                if !key.exists() {
                    let key = key.display();
                    return Err(format!("{key} does not exist: without --certificate this command makes it"));
                }
                made.keep(&certificate, &read(issued)?, 0o644, "certificate of the gateway")?;
                let copy = self.file("-ca.pem");
                made.keep(&copy, &read(ca)?, 0o644, "CA of the superserver")?;
                made.ca = Some(copy);
            }
            Signer::Request => {
                let pair = self.key_pair(&mut made)?;
                let request = parameters(&self.user, Vec::new(), 1)
                    .and_then(|params| params.serialize_request(&pair)?.pem())
                    .map_err(|error| format!("cannot make the signing request: {error}"))?;
                let file = self.file("csr");
                made.keep(&file, &request, 0o644, "signing request")?;
                made.request = Some(file);
            }
            Signer::PrivateCa => {
                let pair = self.key_pair(&mut made)?;
                let failed = |error| format!("cannot make the certificates: {error}");
                let authority = Authority::new(&format!("Private CA of {}", self.server)).map_err(failed)?;
                let own = authority.issue(&self.user, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, &pair);
                made.keep(&certificate, &own.map_err(failed)?, 0o644, "certificate of the gateway")?;
                let (ca, ca_key) = (self.file("-ca.pem"), self.file("-ca.key"));
                made.keep(&ca, &authority.certificate(), 0o644, "certificate of the CA")?;
                made.keep(&ca_key, &authority.key(), 0o600, "key of the CA: keep it safe, and elsewhere")?;
                let other = KeyPair::generate().map_err(failed)?;
                let names = vec![self.bind.reach.clone()];
                let theirs = authority.issue("superserver", names, ExtendedKeyUsagePurpose::ServerAuth, &other);
                let files = (self.file("-superserver.pem"), self.file("-superserver.key"));
                made.keep(&files.0, &theirs.map_err(failed)?, 0o644, "certificate of the superserver")?;
                made.keep(&files.1, &other.serialize_pem(), 0o600, "key of the superserver")?;
                made.ca = Some(ca);
                made.superserver = Some(files);
            }
        }
        Ok(made)
    }

    /// The gateway's key; one that is there already is used again, so that a request can be repeated.
    fn key_pair(&self, made: &mut Certificates) -> Result<KeyPair, String> {
        let file = &made.key.clone();
        if file.exists() {
            return KeyPair::from_pem(&read(file)?).map_err(|error| format!("{}: {error}", file.display()));
        }
        let pair = if self.rsa {
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, rcgen::RsaKeySize::_3072)
        } else {
            KeyPair::generate()
        };
        let pair = pair.map_err(|error| format!("cannot make a key: {error}"))?;
        made.keep(file, &pair.serialize_pem(), 0o600, "key of the gateway")?;
        if let Some(group) = self.group {
            // The workers read it themselves, so that it can be renewed while they run.
            let shared = chown(file, None, Some(group))
                .and_then(|()| fs::set_permissions(file, fs::Permissions::from_mode(0o640)));
            shared.map_err(|error| format!("cannot give {} to the web server's group: {error}", file.display()))?;
        }
        Ok(pair)
    }

    /// Writes the server's lines, and clears user and password, which would win over the certificate.
    fn write_csp_ini(&self, made: &Certificates, ca: &Path, out: &mut dyn Write) -> io::Result<Result<(), String>> {
        let config = self.config.display();
        if !self.config.exists() {
            if let Err(error) = initial::create(&self.config) {
                return Ok(Err(format!("{config}: there is none, and none can be made: {error}")));
            }
            writeln!(out, "Written: {config} (a default configuration)")?;
        }
        let path = |path: &Path| path.display().to_string();
        let lines = [
            ("Ip_Address", self.bind.reach.clone()),
            ("TCP_Port", self.port.to_string()),
            ("Connection_Security_Level", "10".to_owned()),
            ("SSLCC_Verify_Peer", "1".to_owned()),
            ("SSLCC_Certificate_File", path(&made.certificate)),
            ("SSLCC_Certificate_Key_File", path(&made.key)),
            ("SSLCC_CA_Certificate_File", path(ca)),
        ];
        let mut cleared = Vec::new();
        let edit = |document: &mut Document| -> Result<Change, EditError> {
            document.set("SYSTEM_INDEX", &self.server, "Enabled")?;
            for (key, value) in &lines {
                document.set(&self.server, key, value)?;
            }
            for key in ["Username", "Password"] {
                if document.get(&self.server, key).is_some_and(|value| !value.is_empty()) {
                    document.unset(&self.server, key)?;
                    cleared.push(key);
                }
            }
            Ok(Change::Replaced)
        };
        if let Err(error) = store::change(&self.config, edit) {
            return Ok(Err(error.to_string()));
        }
        writeln!(out, "Changed: {config}, section [{}]:", self.server)?;
        for (key, value) in &lines {
            writeln!(out, "    {key}={value}")?;
        }
        for key in cleared {
            writeln!(out, "    {key} removed: it would win over the certificate")?;
        }
        Ok(Ok(()))
    }

    /// What an instance is to be told, in the language of configuration merge. Paths are relative to its mgr directory.
    fn merge_file(&self, made: &Certificates) -> String {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (certificate, key) = match &made.superserver {
            Some((certificate, key)) => (name(certificate), name(key)),
            None => ("superserver.pem".to_owned(), "superserver.key".to_owned()),
        };
        let ca = made.ca.as_deref().map(name).unwrap_or_default();
        // The name by which the gateway reaches it need not be one of its own addresses.
        let loopback = self.bind.listen.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let bind = if loopback { self.bind.listen.as_str() } else { "" };
        let (port, user) = (self.port, &self.user);
        format!(
            "[Actions]\n\
             CreateSSLConfig:Name=GatewayMutualTLS,Type=1,Enabled=1,VerifyPeer=3,CAFile={ca},\
             CertificateFile={certificate},PrivateKeyFile={key},PrivateKeyType=3\n\
             CreateServer:Port={port},BindAddress=\"{bind}\",Enabled=1,EnableCSP=1,EnableClients=1,SSLSupportLevel=2,\
             SSLConfig=GatewayMutualTLS\n\
             ModifyService:Name=%Service_WebGateway,Enabled=1,AutheEnabled=$$$AuthePassword+$$$AutheMutualTLS\n\
             CreateUser:Name={user},AccountNeverExpires=1\n\
             ModifySystem:AuditEnabled=1\n\
             ModifyEvent:Source=%System,Type=%Login,Name=LoginFailure,Enabled=1\n"
        )
    }

    fn steps_before_the_certificate(&self, made: &Certificates) -> String {
        let request = made.request.as_deref().unwrap_or(Path::new("")).display();
        let (server, config) = (&self.server, self.config.display());
        let again = format!(
            "sclera setup mtls {server} --config {config} --address {} --port {} --user {} --directory {} \
             --certificate FILE --ca FILE",
            self.bind.reach,
            self.port,
            quoted(&self.user),
            self.directory.display()
        );
        numbered(&[
            format!(
                "Let your CA sign {request}, for use as a TLS client (clientAuth), with CN={} as it is. Put its \
                 intermediates behind the certificate in the same file.",
                self.user
            ),
            "Get the certificate of the CA that signed the superserver's certificate.".to_owned(),
            format!("Then run: {again}"),
        ])
    }

    /// Steps P3 to P5, 1 and T1 to T4 of the procedure, and its SELinux part.
    fn steps_on_the_other_side(&self, made: &Certificates, merge: &Path) -> String {
        let theirs = match &made.superserver {
            Some((certificate, key)) => format!(
                "Copy {}, {} and {} to <IRIS-install-dir>/mgr/ on the superserver's machine, readable by group irisusr; \
                 the key by nobody else. Then remove the key here.",
                certificate.display(),
                key.display(),
                made.ca.as_deref().unwrap_or(Path::new("")).display()
            ),
            None => "Put into <IRIS-install-dir>/mgr/ on the superserver's machine, readable by group irisusr: \
                     superserver.pem and superserver.key, its certificate and key, and the certificate of the CA that \
                     signed the gateway's certificate under the name that the merge file has as CAFile."
                .to_owned(),
        };
        let steps = [
            theirs,
            "With SELinux enforcing there, run for each of them: restorecon -vF <IRIS-install-dir>/mgr/<file>"
                .to_owned(),
            format!(
                "Apply the merge file there: iris merge <instance> {}. It makes the TLS configuration (type Server, client \
                 certificate required), binds port {} to it, switches mutual TLS on in %Service_WebGateway, makes the \
                 user {}, and audits LoginFailure. In the Management Portal the same stands under System Administration \
                 > Security.",
                merge.display(),
                self.port,
                self.user
            ),
            "Where Use of %Service_WebGateway is not public, give the user a role that holds it.".to_owned(),
            format!(
                "With SELinux enforcing here: restorecon -vF {}/*; setsebool -P httpd_can_network_connect 1; semanage port \
                 -a -t http_port_t -p tcp {}",
                self.directory.display(),
                self.port
            ),
            format!(
                "Test: sclera test {} --config {}. If the login is refused, search the instance's audit for LoginFailure; \
                 `sclera doctor` looks at everything else. Running web servers take the change over by themselves.",
                self.server,
                self.config.display()
            ),
            "When no other gateway needs a password any more, take it out: \
             ModifyService:Name=%Service_WebGateway,AutheEnabled=$$$AutheMutualTLS"
                .to_owned(),
        ];
        let caveat = "Note: an instance that counts this gateway's connections as %Service_Bindings takes no certificate \
                      for a login. There set Username and Password again; mutual TLS then guards the transport. See \
                      docs/mutual-tls.md.";
        format!("{}{}\n", numbered(&steps), wrapped(caveat, "  "))
    }

    fn test(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
        let profile = match Profile::load(&self.config, &Environment::of_process()) {
            Ok(loaded) => loaded.profile,
            Err(findings) => return complain(err, findings),
        };
        let Some(position) = profile.server(&self.server) else {
            return complain(err, [format!("{} has no server {}", self.config.display(), self.server)]);
        };
        let report = trial::run(ready::server_for_any_worker(&profile, position));
        write!(out, "\n{report}")?;
        // The other side may well not be ready yet: what was to be done here is done.
        Ok(if report.failure.is_some() { Outcome::Warned } else { Outcome::Well })
    }
}

/// The option's value, or the answer to the question; without anybody to ask, the usual value.
fn ask(
    answers: &mut Option<&mut dyn BufRead>,
    out: &mut dyn Write,
    question: &str,
    option: &str,
    given: Option<String>,
    usual: Option<String>,
) -> io::Result<Result<String, String>> {
    if let Some(given) = given {
        return Ok(Ok(given));
    }
    let Some(answers) = answers else {
        return Ok(usual.ok_or_else(|| format!("there is nobody to ask: give {option} ({question})")));
    };
    match &usual {
        Some(usual) => write!(out, "{question} [{usual}]: ")?,
        None => write!(out, "{question}: ")?,
    }
    out.flush()?;
    let mut line = String::new();
    let end = answers.read_line(&mut line)? == 0;
    let answer = line.trim();
    Ok(match (answer.is_empty(), usual) {
        (false, _) => Ok(answer.to_owned()),
        (true, Some(usual)) if !end => Ok(usual),
        _ => Err(format!("no answer to: {question} ({option})")),
    })
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// The group of the web server's workers, if it is known and may be given by us.
fn group_of_workers(name: Option<&str>) -> Result<Option<u32>, String> {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let number = |name: &str| {
        let line = groups.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split(':').nth(2)?.parse().ok()
    };
    match name {
        Some(name) => number(name).map(Some).ok_or_else(|| format!("--group {name}: there is no such group")),
        None if rustix::process::geteuid().is_root() => {
            Ok(["www-data", "apache", "nginx"].into_iter().find_map(number))
        }
        None => Ok(None),
    }
}

fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("\"{word}\"") } else { word.to_owned() }
}

fn numbered(steps: &[String]) -> String {
    let mut text = String::from("What is left to do, in this order:\n");
    for (number, step) in steps.iter().enumerate() {
        let _ = writeln!(text, "{}", wrapped(&format!("{}. {step}", number + 1), "   "));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use sclera::identity::{Credential, Identity, credential};

    use super::*;

    const WITH_PASSWORD: &str = "[SYSTEM_INDEX]\nMAIN=Enabled\n[MAIN]\nIp_Address=127.0.0.1\nTCP_Port=1\n\
                                 Username=CSPSystem\nPassword=]]]U1lT\nServer_Response_Timeout=30\n";

    fn options(directory: &Path) -> Mtls {
        Mtls {
            config: Config { config: directory.join("CSP.ini") },
            server: "MAIN".to_owned(),
            address: None,
            port: None,
            user: None,
            private_ca: false,
            certificate: None,
            ca: None,
            directory: directory.join("certificates"),
            rsa: false,
            group: None,
            no_test: true,
        }
    }

    /// One run: outcome and output. What it asks is answered with `answers`.
    fn tell(options: &Mtls, answers: Option<&str>) -> (Outcome, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut input = answers.map(str::as_bytes);
        let input = input.as_mut().map(|input| input as &mut dyn BufRead);
        let outcome = mtls(options, input, &mut out, &mut err).unwrap();
        out.extend(err);
        (outcome, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_transcripts_are_what_they_were() {
        // Its length is part of the transcripts' line breaks.
        let directory = tempfile::TempDir::with_prefix_in("sclera-", "/tmp").unwrap();
        let base = directory.path().canonicalize().unwrap();
        fs::write(base.join("CSP.ini"), WITH_PASSWORD).unwrap();
        let mut told = String::new();
        let mut add = |what: &str, (outcome, text): (Outcome, String)| {
            assert!(text.lines().all(|line| line.chars().count() <= 80 || line.contains(['/', ':'])), "{text}");
            let text = text.replace(base.to_str().unwrap(), "/etc/iris/gateways");
            let _ = writeln!(told, "=== {what}: {outcome:?}\n{text}");
        };
        add("nobody to ask", tell(&options(&base), None));
        let asked = options(&base);
        add("asked, a request", tell(&asked, Some("127.0.0.1\n1973\nGateway\n\n")));
        fs::write(base.join("theirs.pem"), "not checked here").unwrap();
        let issued = Mtls {
            user: Some("Gateway".into()),
            certificate: Some(base.join("theirs.pem")),
            ca: Some(base.join("theirs.pem")),
            ..options(&base)
        };
        add("issued by another CA", tell(&issued, None));
        let private = Mtls { private_ca: true, user: Some("Gateway".into()), port: Some(1973), ..options(&base) };
        add("a private CA", tell(&private, None));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/setup.golden.txt");
        if std::env::var_os("SCLERA_WRITE_DOCS").is_some() {
            fs::write(&file, &told).unwrap();
        }
        assert_eq!(told, fs::read_to_string(&file).unwrap_or_default(), "`make docs` writes it anew");
    }

    #[test]
    fn the_profile_logs_in_by_certificate_and_keeps_its_other_settings() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("CSP.ini"), WITH_PASSWORD).unwrap();
        let options = Mtls { private_ca: true, user: Some("Gateway".into()), ..options(directory.path()) };
        let (outcome, text) = tell(&options, None);
        assert_eq!(outcome, Outcome::Well, "{text}");
        let text = fs::read_to_string(directory.path().join("CSP.ini")).unwrap();
        assert!(text.contains("Server_Response_Timeout=30") && !text.contains("U1lT"), "{text}");
        let loaded = Profile::load(&directory.path().join("CSP.ini"), &Environment::none()).unwrap();
        let server = &loaded.profile.servers[0];
        assert!(matches!(credential(server), Credential::MutualTls { .. }));
        let identity = Identity::load(server, 1).unwrap();
        assert_eq!(identity.facts.unwrap().common_name.as_deref(), Some("Gateway"));
        assert!(identity.alarms.is_empty());
        let mode = |name: &str| fs::metadata(options.directory.join(name)).unwrap().permissions().mode() & 0o777;
        assert!(mode("MAIN.key") & 0o007 == 0 && mode("MAIN-ca.key") == 0o600);
    }

    #[test]
    fn a_request_keeps_its_key_when_it_is_repeated_and_names_the_user() {
        let directory = tempfile::tempdir().unwrap();
        let options = Mtls {
            user: Some("Gate Way".into()),
            address: Some("db".into()),
            port: Some(1),
            ..options(directory.path())
        };
        assert_eq!(tell(&options, None).0, Outcome::Well);
        let key = fs::read(options.directory.join("MAIN.key")).unwrap();
        assert_eq!(tell(&options, None).0, Outcome::Well);
        assert_eq!(fs::read(options.directory.join("MAIN.key")).unwrap(), key);
        assert!(!directory.path().join("CSP.ini").exists(), "nothing changes before there is a certificate");
        let request = options.directory.join("MAIN.csr");
        let Ok(shown) = Process::new("openssl").args(["req", "-noout", "-subject", "-in"]).arg(request).output() else {
            return;
        };
        assert!(String::from_utf8_lossy(&shown.stdout).contains("CN = Gate Way"));
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let good =
            Mtls { user: Some("g".into()), address: Some("db".into()), port: Some(1), ..options(directory.path()) };
        let absent = Some(PathBuf::from("/absent"));
        for (options, says) in [
            (Mtls { user: Some("a@b".into()), ..good.clone() }, "--user"),
            (Mtls { address: Some("a b".into()), ..good.clone() }, "neither a name nor an IP address"),
            (Mtls { port: Some(0), ..good.clone() }, "0 is not a TCP port"),
            (Mtls { group: Some("no-such-group".into()), ..good.clone() }, "there is no such group"),
            (Mtls { certificate: absent.clone(), ca: absent, ..good.clone() }, "MAIN.key does not exist"),
        ] {
            let (outcome, text) = tell(&options, None);
            assert!(outcome == Outcome::Failed && text.contains(says), "{text}");
            assert!(!directory.path().join("CSP.ini").exists());
        }
    }
}
