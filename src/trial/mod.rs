//! A connection tried out stage by stage, as `sclera test` and the management page do it: what each stage found, how long
//! it took, and at the first failure why and what to do.
//!
//! It takes the way that requests take ([`Opening`]), so what it says holds for them. Whether a login succeeds is known
//! when its answer has been read, not before: a TLS 1.3 superserver judges the gateway's certificate after the handshake.

mod report;

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

pub use report::{Certificate, Report, Stage, StageName};

use crate::connection::opening::{Milestones, Negotiated};
use crate::connection::resolve::{Lookup, Resolver, look_up, to_addresses};
use crate::connection::{Connection, Opening, wait_for};
use crate::failure::{Code, Failure};
use crate::identity::{Credential, Facts, Identity, credential, public_key_digest};
use crate::pool::session::Session;
use crate::profile::{Security, Server};

/// Tries a server out, with the settings as they are in `server`; commands that give passwords have been run. Blocks
/// within the server's limits.
pub fn run(server: Server) -> Report {
    let server = Arc::new(server);
    let mut report = Report::new(&server);
    let started = Instant::now();
    let identity = match Identity::load(&server, 1) {
        Ok(identity) => Arc::new(identity),
        Err(failure) => return report.failed(StageName::Settings, started.elapsed(), failure),
    };
    report.warnings.extend(credential(&server).warning());
    report.warnings.extend(identity.alarms.iter().cloned());
    report.passed(StageName::Settings, started.elapsed(), settings(&server, &identity));

    let begun = Instant::now();
    let mut opening = Opening::start(server.clone(), identity.clone(), &AtOnce, Waker::noop(), begun);
    let outcome = open(&mut opening);
    let milestones = opening.milestones();
    let reached = tell_milestones(&mut report, &server, &identity, milestones, begun);
    report.superserver = certificates(&identity);
    report.gateway = own_certificates(&identity);
    report.asked = identity.tls.as_ref().map(|tls| tls.was_asked());
    report.warnings.extend(identity.standing_warning());
    let connection = match outcome {
        Ok(connection) => connection,
        Err(failure) => {
            let stage = stage_of(&server, milestones);
            return report.failed(stage, reached.elapsed(), failure);
        }
    };
    let version = printable(&connection.conversation().server_version);
    let process = printable(&connection.conversation().process);
    report.passed(StageName::Login, reached.elapsed(), format!("{version}, process {process}"));

    let begun = Instant::now();
    match ask_user(connection, server.clone()) {
        Ok(user) => {
            let cn = identity.facts.as_ref().and_then(|facts| facts.common_name.as_deref());
            let mechanism = mechanism(&credential(&server), &user, cn);
            let told = format!("the superserver knows the gateway as {user} ({mechanism})");
            report.warnings.extend(surprise(&credential(&server), &user, cn));
            report.user = Some((user, mechanism));
            report.passed(StageName::Call, begun.elapsed(), told);
            report
        }
        Err(failure) => report.failed(StageName::Call, begun.elapsed(), failure),
    }
}

/// Runs look-ups on the caller's thread.
struct AtOnce;

impl Resolver for AtOnce {
    fn resolve(&self, host: &str, _interval: Duration, _waker: &Waker) -> Arc<Lookup> {
        Lookup::done(to_addresses(look_up(host)))
    }
}

fn open(opening: &mut Opening) -> Result<Connection, Failure> {
    loop {
        if let Some(connection) = opening.drive(Instant::now())? {
            return Ok(connection);
        }
        wait_for(opening.wants()).map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    }
}

fn settings(server: &Server, identity: &Identity) -> String {
    let files = if identity.tls.is_some() { server.tls.files().count() } else { 0 };
    match (server.security.value, files) {
        (Security::Tls, 0) => "TLS without any file".to_owned(),
        (Security::Tls, 1) => "TLS, 1 file read".to_owned(),
        (Security::Tls, files) => format!("TLS, {files} files read"),
        _ => "without TLS".to_owned(),
    }
}

/// Reports the stages that are behind; gives when the current one began.
fn tell_milestones(
    report: &mut Report,
    server: &Server,
    identity: &Identity,
    milestones: &Milestones,
    begun: Instant,
) -> Instant {
    let Some(resolved) = milestones.resolved else { return begun };
    report.passed(StageName::Resolve, resolved - begun, server.address.value.clone());
    let Some((connected, address)) = milestones.connected else { return resolved };
    let missed: Vec<String> = milestones.missed.iter().map(|miss| format!("; {miss}")).collect();
    report.passed(StageName::Connect, connected - resolved, format!("{address}{}", missed.concat()));
    if identity.tls.is_none() {
        return connected;
    }
    let Some((secured, negotiated)) = milestones.secured else { return connected };
    report.negotiated = Some(names_of(negotiated));
    report.passed(StageName::Tls, secured - connected, names_of(negotiated).join(", "));
    secured
}

fn stage_of(server: &Server, milestones: &Milestones) -> StageName {
    match milestones {
        Milestones { resolved: None, .. } => StageName::Resolve,
        Milestones { connected: None, .. } => StageName::Connect,
        Milestones { secured: None, .. } if server.security.value == Security::Tls => StageName::Tls,
        _ => StageName::Login,
    }
}

/// Version, suite and group by the names that people know.
fn names_of(negotiated: Negotiated) -> [String; 3] {
    let group = negotiated.group.map_or("session resumed".to_owned(), |group| format!("{group:?}"));
    [
        format!("{:?}", negotiated.version).replace("TLSv1_", "TLS 1."),
        format!("{:?}", negotiated.suite).replace("TLS13_", "TLS_"),
        group.replace("secp", "P-").replace("r1", ""),
    ]
}

fn certificates(identity: &Identity) -> Vec<Certificate> {
    let now = SystemTime::now();
    let describe = |der: &[u8]| {
        let key = public_key_digest(der)?;
        Some(Certificate::new(Facts::of(der)?, Some(key), now))
    };
    identity.server_chain().iter().filter_map(|der| describe(der)).collect()
}

fn own_certificates(identity: &Identity) -> Vec<Certificate> {
    let now = SystemTime::now();
    let own = identity.facts.iter().chain(&identity.intermediates);
    own.map(|facts| Certificate::new(facts.clone(), None, now)).collect()
}

/// Asks the superserver who the gateway is: the stock method `%SYSTEM.Process` `UserName`.
fn ask_user(connection: Connection, server: Arc<Server>) -> Result<String, Failure> {
    /// A test has somebody waiting for it.
    const PATIENCE: Duration = Duration::from_secs(30);
    let response_timeout = server.response_timeout.min(PATIENCE);
    let mut session = Session::alone(connection, Arc::new(Server { response_timeout, ..(*server).clone() }));
    let answer = session.call("%SYSTEM.Process", "UserName", Vec::new())?;
    session.give_back(true);
    Ok(printable(&answer.value.to_text()))
}

/// What a server says, for a terminal and a page: no control characters, and not endless.
fn printable(text: &str) -> String {
    text.chars().take(200).map(|it| if it.is_control() { '?' } else { it }).collect()
}

/// Who an instance says comes without credentials.
const UNKNOWN_USER: &str = "UnknownUser";

/// How the gateway was let in, as far as can be told from whom the superserver takes it for.
fn mechanism(credential: &Credential<'_>, user: &str, cn: Option<&str>) -> &'static str {
    let is = |other: &str| user.to_lowercase() == other.to_lowercase();
    match credential {
        _ if is(UNKNOWN_USER) => "unauthenticated",
        Credential::Password { username, .. } if is(&username.value) => "password",
        Credential::MutualTls { .. } if cn.is_some_and(is) => "mutual TLS",
        _ => "by a rule of the superserver",
    }
}

/// What is odd about whom the superserver takes the gateway for.
fn surprise(credential: &Credential<'_>, user: &str, cn: Option<&str>) -> Option<String> {
    match credential {
        Credential::MutualTls { .. } if mechanism(credential, user, cn) != "mutual TLS" => Some(format!(
            "the certificate (CN={}) did not decide the login: the superserver let {user} in; allow mutual TLS in \
             %Service_WebGateway, and do not allow unauthenticated access beside it",
            cn.unwrap_or("none")
        )),
        Credential::Unauthenticated => {
            Some("nobody was asked who the gateway is: anyone who reaches this port gets in as it does".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::profile::Profile;

    #[test]
    fn the_mechanism_follows_from_what_was_offered_and_who_came_in() {
        for (lines, user, cn, expected, surprising) in [
            ("Username=joe\nPassword=x", "JOE", None, "password", false),
            ("Username=joe\nPassword=x", "UnknownUser", None, "unauthenticated", false),
            ("SSLCC_Certificate_File=a", "gateway", Some("Gateway"), "mutual TLS", false),
            ("SSLCC_Certificate_File=a", "UnknownUser", Some("gateway"), "unauthenticated", true),
            ("SSLCC_Certificate_File=a", "other", Some("gateway"), "by a rule of the superserver", true),
            ("", "UnknownUser", None, "unauthenticated", true),
        ] {
            let text = format!("[SYSTEM_INDEX]\nA=Enabled\n[A]\nIp_Address=a\nConnection_Security_Level=10\n{lines}\n");
            let loaded = Profile::parse(Path::new("CSP.ini"), text.as_bytes()).unwrap();
            let credential = credential(&loaded.profile.servers[0]);
            assert_eq!(mechanism(&credential, user, cn), expected, "{lines} {user}");
            assert_eq!(surprise(&credential, user, cn).is_some(), surprising, "{lines} {user}");
        }
    }
}
