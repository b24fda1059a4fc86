//! The doctor: everything that can be known about a configuration before anybody asks for a page, as checks. Each check
//! says what it looked at, what it found, and what to do.
//!
//! It looks through [`Machine`], so that a machine with SELinux can be examined in a test. It needs no root; what it could
//! not see it says.

mod access;
mod acl;
mod certificates;
mod login;
pub mod machine;
pub mod ready;
mod report;
mod selinux;
mod settings;
pub mod workers;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use machine::Machine;
pub use report::Findings;
use workers::Worker;

use crate::failure::Code;
use crate::profile::{Finding, Profile, Security, Server, Setting, Severity};
use crate::trial;

/// How a check came out; the worst is last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Good,
    /// Something to know.
    Note,
    /// It could not be seen.
    Unknown,
    /// It works, but should not stay so.
    Warning,
    /// It does not work like this.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The server it is about; `None` for what concerns all of them.
    pub server: Option<String>,
    /// What is checked, in a few words.
    pub name: &'static str,
    /// What was looked at: a file, a setting with its place, a user.
    pub subject: String,
    pub verdict: Verdict,
    /// What was found.
    pub evidence: String,
    /// What to do; empty if nothing is to be done.
    pub remedy: String,
    /// The failure that requests get because of it.
    pub code: Option<Code>,
}

/// What to examine.
pub struct Patient<'a> {
    pub profile: &'a Profile,
    /// What reading the profile had to say.
    pub findings: &'a [Finding],
    pub machine: &'a dyn Machine,
    /// The users that read the files when requests come.
    pub workers: &'a [Worker],
    /// Installation directory of an instance on this machine, whose side is looked at too.
    pub iris: Option<&'a Path>,
    pub now: SystemTime,
}

impl Check {
    fn new(name: &'static str, subject: impl Into<String>, verdict: Verdict, evidence: impl Into<String>) -> Check {
        let (subject, evidence) = (subject.into(), evidence.into());
        Check { server: None, name, subject, verdict, evidence, remedy: String::new(), code: None }
    }

    fn good(name: &'static str, subject: impl Into<String>, evidence: impl Into<String>) -> Check {
        Check::new(name, subject, Verdict::Good, evidence)
    }

    fn remedy(self, remedy: impl Into<String>) -> Check {
        Check { remedy: remedy.into(), ..self }
    }

    fn of(self, server: &Server) -> Check {
        Check { server: Some(server.name.clone()), ..self }
    }
}

/// Everything that can be known without connecting.
pub fn examine(patient: &Patient<'_>) -> Vec<Check> {
    let mut checks = configuration(patient);
    checks.extend(workers::checks(patient.workers));
    checks.extend(selinux::of_the_machine(patient));
    checks.extend(access::of_users(patient));
    for server in patient.profile.servers.iter().filter(|server| server.enabled) {
        let mut own = settings::checks(server);
        own.extend(login::checks(server));
        if server.security.value == Security::Tls {
            own.extend(certificates::checks(server, patient.now));
        }
        own.extend(access::checks(server, patient));
        own.extend(selinux::of_server(server, patient));
        checks.extend(own.into_iter().map(|check| check.of(server)));
    }
    if let Some(directory) = patient.iris {
        checks.extend(selinux::of_instance(directory, patient));
    }
    checks
}

/// What a trial of the connection found, as checks.
pub fn connection(server: &str, report: &trial::Report) -> Vec<Check> {
    let last = report.stages.len();
    let mut checks: Vec<Check> = report
        .stages
        .iter()
        .enumerate()
        .map(|(position, stage)| match &report.failure {
            Some(failure) if position + 1 == last => Check {
                code: Some(failure.code),
                ..Check::new("connection", stage.name.to_string(), Verdict::Bad, failure.detail.clone())
            }
            .remedy(failure.code.remedy()),
            _ => Check::good("connection", stage.name.to_string(), stage.found.clone()),
        })
        .collect();
    let warning = |text: &String| Check::new("connection", "as it is made", Verdict::Warning, text.clone());
    checks.extend(report.warnings.iter().map(warning));
    checks.into_iter().map(|check| Check { server: Some(server.to_owned()), ..check }).collect()
}

/// The file itself, and what its reader had to say.
fn configuration(patient: &Patient<'_>) -> Vec<Check> {
    let path = patient.profile.path.display().to_string();
    let told = of_findings(patient.findings);
    if told.is_empty() {
        let servers = patient.profile.servers.iter().filter(|server| server.enabled).count();
        return vec![Check::good("configuration", path, format!("is understood; {servers} server(s) are enabled"))];
    }
    told
}

/// What was found in a configuration: all there is to say of one that cannot be used.
pub fn of_findings(findings: &[Finding]) -> Vec<Check> {
    let told = findings.iter().filter(|finding| finding.severity >= Severity::Warning);
    told.map(|finding| {
        let verdict = if finding.severity == Severity::Error { Verdict::Bad } else { Verdict::Warning };
        let place = [finding.section.as_ref().map(|section| format!("[{section}]")), finding.key.clone()];
        let place: Vec<String> = place.into_iter().flatten().collect();
        let line = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
        let subject = format!("{}{line} {}", finding.file.display(), place.join(" "));
        Check { code: finding.code, ..Check::new("configuration", subject.trim_end(), verdict, &finding.message) }
            .remedy(&finding.remedy)
    })
    .collect()
}

/// The setting and the path it names, for subjects.
fn named(place: String, path: &Path) -> String {
    format!("{place}={}", path.display())
}

/// A file that the workers read for a server.
struct Named {
    /// The setting that names it, with its place.
    place: String,
    path: PathBuf,
    /// What requests get if it cannot be read.
    code: Code,
}

fn files_of(server: &Server) -> Vec<Named> {
    if server.security.value != Security::Tls {
        return Vec::new();
    }
    let tls = &server.tls;
    let code = |file: &Setting<PathBuf>| match Some(file) {
        it if it == tls.certificate_file.as_ref() => Code::CertificateUnreadable,
        it if it == tls.key_file.as_ref() => Code::KeyUnreadable,
        it if it == tls.ca_file.as_ref() => Code::CaUnreadable,
        _ => Code::CrlUnreadable,
    };
    tls.files().map(|file| Named { place: file.place("file"), path: file.value.clone(), code: code(file) }).collect()
}

#[cfg(test)]
mod tests;
