//! Whether the web servers' workers can read what they have to: every directory on the way, and the file.

use std::io;
use std::path::{Path, PathBuf};

use super::acl::{self, PASS, READ};
use super::workers::Worker;
use super::{Check, Patient, Verdict, files_of};
use crate::failure::Code;
use crate::privileges::as_user;
use crate::profile::Server;

pub(super) fn checks(server: &Server, patient: &Patient<'_>) -> Vec<Check> {
    let csp_ini = &patient.profile.path;
    let own = files_of(server).into_iter().map(|it| (super::named(it.place, &it.path), it.path, it.code));
    let shared = (csp_ini.display().to_string(), csp_ini.to_path_buf(), Code::ConfigurationUnreadable);
    let files = own.chain([shared]);
    let mut checks = Vec::new();
    for (subject, path, code) in files {
        for worker in patient.workers {
            let check = check(&subject, &path, worker, patient);
            let code = (check.verdict == Verdict::Bad).then_some(code);
            checks.push(Check { code, ..check });
        }
    }
    checks
}

/// The users' file of the management pages, which workers read at each login.
pub(super) fn of_users(patient: &Patient<'_>) -> Vec<Check> {
    let Some(file) = &patient.profile.system.management.users_file else { return Vec::new() };
    let subject = super::named(file.place("Sclera_Manage_Users"), &file.value);
    patient.workers.iter().map(|worker| check(&subject, &file.value, worker, patient)).collect()
}

/// Reading one file as one user.
fn check(subject: &str, path: &Path, worker: &Worker, patient: &Patient<'_>) -> Check {
    const NAME: &str = "access";
    let who = format!("{} ({})", worker.user, worker.program);
    match obstacle(path, worker, patient) {
        Ok(None) => match opens_as(path, worker) {
            Some(Err(error)) => Check::new(
                NAME,
                subject,
                Verdict::Bad,
                format!("{who} is refused though modes and access lists allow it: {error}"),
            )
            .remedy("look at SELinux, AppArmor (aa-status), and mount options"),
            _ => Check::good(NAME, subject, format!("{who} can read it")),
        },
        Ok(Some(obstacle)) => {
            let Obstacle { at, wanted, mode, owner } = &obstacle;
            let what = if *wanted == PASS { "pass through" } else { "read" };
            let evidence = format!("{who} cannot {what} {} (mode {mode:04o}, owner {owner})", at.display());
            Check::new(NAME, subject, Verdict::Bad, evidence).remedy(obstacle.remedy(worker))
        }
        Err((at, error)) if error.kind() == io::ErrorKind::NotFound => {
            Check::new(NAME, subject, Verdict::Bad, format!("{} does not exist", at.display()))
                .remedy("correct the setting, or put the file there")
        }
        Err((at, error)) => {
            Check::new(NAME, subject, Verdict::Unknown, format!("{} cannot be looked at: {error}", at.display()))
                .remedy("run the doctor as root, or as a user who may see it")
        }
    }
}

/// What is in a user's way.
struct Obstacle {
    at: PathBuf,
    wanted: u16,
    mode: u32,
    /// Numbers of user and group.
    owner: String,
}

impl Obstacle {
    /// The line that opens the way for this user and nobody else.
    fn remedy(&self, worker: &Worker) -> String {
        let right = if self.wanted == PASS { "x" } else { "r" };
        format!("setfacl -m u:{}:{right} {}", worker.user, self.at.display())
    }
}

/// The first directory or file that a user may not use; where links lead is looked at too.
fn obstacle(path: &Path, worker: &Worker, patient: &Patient<'_>) -> Result<Option<Obstacle>, (PathBuf, io::Error)> {
    let machine = patient.machine;
    let real = machine.resolve(path).map_err(|error| (path.to_owned(), error))?;
    let mut steps: Vec<(PathBuf, u16)> = Vec::new();
    for way in [path, &real] {
        let mut directories: Vec<&Path> = way.ancestors().skip(1).collect();
        directories.reverse();
        steps.extend(directories.into_iter().filter(|it| !it.as_os_str().is_empty()).map(|it| (it.to_owned(), PASS)));
    }
    steps.push((real, READ));
    for (at, wanted) in steps {
        let stat = machine.stat(&at).map_err(|error| (at.clone(), error))?;
        let list = machine.attribute(&at, "system.posix_acl_access");
        if !acl::allows(stat, list.as_deref(), worker, wanted) {
            let owner = format!("{}:{}", stat.uid, stat.gid);
            return Ok(Some(Obstacle { at, wanted, mode: stat.mode & 0o7777, owner }));
        }
    }
    Ok(None)
}

/// Root can try it with the user's own eyes; `None` for everybody else.
fn opens_as(path: &Path, worker: &Worker) -> Option<io::Result<()>> {
    if !rustix::process::geteuid().is_root() || cfg!(test) {
        return None;
    }
    let open = || std::fs::File::open(path).map(drop);
    as_user(&worker.account(), open).ok()
}
