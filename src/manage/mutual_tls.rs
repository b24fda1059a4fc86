//! Mutual TLS: for each server, who the gateway is there, by which certificate and for how long, what decides its login and
//! why, and what the doctor says.

use std::path::Path;
use std::time::SystemTime;

use askama::Template;
use serde_json::{Value, json};

use super::change;
use super::layout::Layout;
use super::text;
use super::{Group, Page, Response, Trouble, Visit};
use crate::doctor::machine::{Machine, Stat, ThisMachine};
use crate::doctor::workers::Worker;
use crate::doctor::{self, Check, Patient, Verdict};
use crate::identity::{Facts, credential};
use crate::pool::Pool;
use crate::profile::{Role, Security};

/// Its row.
pub const PAGE: Page = Page {
    name: "mutual-tls",
    title: text::MUTUAL_TLS,
    group: Some(Group::Management),
    below: "",
    get: show,
    post: None,
};

#[derive(Template)]
#[template(path = "mutual_tls.html")]
struct MutualTlsPage {
    layout: Layout,
    servers: Vec<ServerView>,
    can_edit: bool,
}

/// A server.
struct ServerView {
    name: String,
    enabled: bool,
    tls: bool,
    credential: &'static str,
    why: String,
    /// User name or password keep the certificate from deciding.
    hides_certificate: bool,
    /// The gateway's certificate first, then its intermediates.
    chain: Vec<ChainView>,
    common_name: String,
    /// Why there is no identity.
    failure: String,
    /// What verification lets pass.
    standing: String,
    checks: Vec<CheckView>,
}

/// A certificate.
struct ChainView {
    subject: String,
    issuer: String,
    serial: String,
    names: String,
    days_left: i64,
}

/// A finding.
struct CheckView {
    state: &'static str,
    word: &'static str,
    what: String,
    evidence: String,
    remedy: String,
}

fn show(visit: &Visit) -> Result<Response, Trouble> {
    let checks = examine(visit)?;
    let page = MutualTlsPage {
        layout: visit.layout("mutual-tls"),
        servers: visit.manage.view.pools().iter().map(|pool| view(pool, &checks)).collect(),
        can_edit: visit.who.role >= Role::Edit,
    };
    Ok(Response::page(200, &page))
}

fn view(pool: &Pool, checks: &[Check]) -> ServerView {
    let server = pool.server();
    let identity = pool.identity();
    let now = SystemTime::now();
    let credential = credential(&server);
    let chain = |facts: &Facts| ChainView {
        subject: facts.subject.clone(),
        issuer: facts.issuer.clone(),
        serial: facts.serial.clone(),
        names: facts.alternative_names.join(", "),
        days_left: facts.days_left(now),
    };
    let known = identity.as_ref().ok();
    let certificates = known.into_iter().flat_map(|it| it.facts.iter().chain(&it.intermediates));
    ServerView {
        name: server.name.clone(),
        enabled: server.enabled,
        tls: server.security.value == Security::Tls,
        credential: credential.name(),
        why: why(&server),
        hides_certificate: credential.warning().is_some(),
        chain: certificates.map(chain).collect(),
        common_name: known.and_then(|it| it.facts.as_ref()?.common_name.clone()).unwrap_or_default(),
        failure: identity.as_ref().err().map(ToString::to_string).unwrap_or_default(),
        standing: known.and_then(|it| it.standing_warning()).unwrap_or_default(),
        checks: worst_first(checks.iter().filter(|it| it.server.as_deref() == Some(&server.name))),
    }
}

/// Why this credential is in effect.
fn why(server: &crate::profile::Server) -> String {
    let credential = credential(server);
    if let Some(warning) = credential.warning() {
        return warning;
    }
    match credential {
        crate::identity::Credential::Password { username, .. } => {
            format!("{}: user name and password are set, and win over mutual TLS", username.place("Username"))
        }
        crate::identity::Credential::MutualTls { certificate } => format!(
            "{}: user name and password are empty, so the certificate's CN is the user",
            certificate.place("SSLCC_Certificate_File")
        ),
        crate::identity::Credential::Unauthenticated if server.tls.certificate_file.is_some() => {
            "Connection_Security_Level is not TLS, so the certificate is not used".to_owned()
        }
        crate::identity::Credential::Unauthenticated => {
            "neither user name, nor password, nor certificate is set".to_owned()
        }
    }
}

/// What is bad stands at the top, not below a dozen lines that are good.
fn worst_first<'a>(checks: impl Iterator<Item = &'a Check>) -> Vec<CheckView> {
    let mut checks: Vec<&Check> = checks.collect();
    checks.sort_by_key(|check| std::cmp::Reverse(check.verdict));
    checks.into_iter().map(check_view).collect()
}

fn check_view(check: &Check) -> CheckView {
    CheckView {
        state: match check.verdict {
            Verdict::Good => "good",
            Verdict::Note | Verdict::Unknown => "quiet",
            Verdict::Warning => "warning",
            Verdict::Bad => "bad",
        },
        word: check.verdict.word(),
        what: format!("{}: {}", check.name, check.subject),
        evidence: check.evidence.clone(),
        remedy: check.remedy.clone(),
    }
}

/// The doctor's checks, seen by this worker process.
fn examine(visit: &Visit) -> Result<Vec<Check>, Trouble> {
    change::source(visit)?;
    let uid = rustix::process::geteuid().as_raw();
    let worker = Worker {
        user: name_of(uid),
        program: visit.manage.software.clone(),
        uid,
        gid: rustix::process::getegid().as_raw(),
        groups: rustix::process::getgroups().unwrap_or_default().iter().map(|it| it.as_raw()).collect(),
        learned: "this worker".to_owned(),
    };
    Ok(doctor::examine(&Patient {
        profile: visit.profile,
        findings: &[],
        machine: &Quiet,
        workers: &[worker],
        iris: None,
        now: SystemTime::now(),
    }))
}

fn name_of(uid: u32) -> String {
    let accounts = ThisMachine.read(Path::new("/etc/passwd")).unwrap_or_default();
    let line = accounts.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()));
    line.and_then(|line| line.split(':').next()).map_or_else(|| uid.to_string(), str::to_owned)
}

/// This machine, without running programs: a page is no reason for a web server's worker to fork.
struct Quiet;

impl Machine for Quiet {
    fn stat(&self, path: &Path) -> std::io::Result<Stat> {
        ThisMachine.stat(path)
    }

    fn resolve(&self, path: &Path) -> std::io::Result<std::path::PathBuf> {
        ThisMachine.resolve(path)
    }

    fn attribute(&self, path: &Path, name: &str) -> Option<Vec<u8>> {
        ThisMachine.attribute(path, name)
    }

    fn read(&self, path: &Path) -> Option<String> {
        ThisMachine.read(path)
    }

    fn list(&self, path: &Path) -> Vec<String> {
        ThisMachine.list(path)
    }

    fn ask(&self, _: &str, _: &[&str]) -> Option<String> {
        None
    }
}

/// The same for programs.
pub fn call(visit: &Visit) -> Result<Value, Trouble> {
    let checks = examine(visit)?;
    let server = |pool: &std::sync::Arc<Pool>| {
        let ServerView {
            name,
            enabled,
            tls,
            credential,
            why,
            hides_certificate,
            chain,
            common_name,
            failure,
            standing,
            checks,
        } = view(pool, &checks);
        let certificate = |it: &ChainView| {
            json!({
                "subject": it.subject, "issuer": it.issuer, "serial": it.serial, "names": it.names,
                "days_left": it.days_left,
            })
        };
        let check = |it: &CheckView| {
            json!({
                "verdict": it.word.to_lowercase(), "what": it.what, "evidence": it.evidence, "remedy": it.remedy,
            })
        };
        json!({
            "server": name, "enabled": enabled, "tls": tls, "credential": credential, "why": why,
            "hides_certificate": hides_certificate, "common_name": common_name,
            "chain": chain.iter().map(certificate).collect::<Vec<_>>(),
            "failure": failure, "standing_warning": standing,
            "checks": checks.iter().map(check).collect::<Vec<_>>(),
        })
    };
    Ok(json!({ "servers": visit.manage.view.pools().iter().map(server).collect::<Vec<_>>() }))
}
