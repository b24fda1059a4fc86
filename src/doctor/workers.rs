//! The users that the web servers' workers run as: they read the keys, not whoever starts the server.

use std::path::Path;

use super::machine::Machine;
use super::{Check, Verdict};
use crate::privileges::User;

/// A user as whom workers read files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    pub user: String,
    /// The web server.
    pub program: String,
    pub uid: u32,
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// How this is known.
    pub learned: String,
}

impl Worker {
    /// As whom it runs.
    pub fn account(&self) -> User {
        User { uid: self.uid, gid: self.gid, groups: self.groups.clone() }
    }
}

/// The workers' users: of those that run, else of the web servers' configurations, else the accounts that packages make.
pub fn find(machine: &dyn Machine) -> Vec<Worker> {
    let mut found = running(machine);
    if found.is_empty() {
        found = configured(machine);
    }
    if found.is_empty() {
        let accounts = ["www-data", "apache", "nginx"];
        let known = accounts.into_iter().filter_map(|user| account(machine, user, "a web server", "/etc/passwd"));
        found.extend(known);
    }
    each_user_once(found)
}

/// Two web servers with the same user see the same files.
fn each_user_once(workers: Vec<Worker>) -> Vec<Worker> {
    let mut once: Vec<Worker> = Vec::new();
    for worker in workers {
        match once.iter_mut().find(|it| (it.uid, it.gid, &it.groups) == (worker.uid, worker.gid, &worker.groups)) {
            Some(same) => {
                same.program += &format!(" and {}", worker.program);
                same.learned += &format!(", {}", worker.learned);
            }
            None => once.push(worker),
        }
    }
    once
}

/// A user of this name, as which nothing may run yet.
pub fn named(machine: &dyn Machine, user: &str) -> Option<Worker> {
    account(machine, user, "a web server", "--user")
}

/// Processes of web servers that are not root's: these are the workers.
fn running(machine: &dyn Machine) -> Vec<Worker> {
    let mut found: Vec<Worker> = Vec::new();
    for process in machine.list(Path::new("/proc")) {
        if process.bytes().any(|byte| !byte.is_ascii_digit()) {
            continue;
        }
        let place = Path::new("/proc").join(&process);
        let Some(name) = machine.read(&place.join("comm")) else { continue };
        let program = match name.trim() {
            "nginx" => "nginx",
            "apache2" | "httpd" => "Apache",
            _ => continue,
        };
        let Some(worker) = machine.read(&place.join("status")).and_then(|it| of_status(machine, &it, program)) else {
            continue;
        };
        let learned = |it: &Worker| (it.uid, it.program.clone());
        if worker.uid != 0 && !found.iter().any(|other| learned(other) == learned(&worker)) {
            found.push(Worker { learned: format!("process {process}"), ..worker });
        }
    }
    found
}

/// `Uid:`, `Gid:` and `Groups:` of /proc/N/status; the second number of the first two is the effective one.
fn of_status(machine: &dyn Machine, status: &str, program: &str) -> Option<Worker> {
    let numbers = |key: &str| -> Option<Vec<u32>> {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().map(|number| number.parse().ok()).collect()
    };
    let uid = *numbers("Uid:")?.get(1)?;
    let gid = *numbers("Gid:")?.get(1)?;
    let user = passwd(machine).into_iter().find(|entry| entry.1 == uid).map_or(uid.to_string(), |entry| entry.0);
    let groups = numbers("Groups:").unwrap_or_default();
    Some(Worker { user, program: program.to_owned(), uid, gid, groups, learned: String::new() })
}

/// The user that a line of a configuration names, if it does.
type UserIn = fn(&str) -> Option<String>;

fn configured(machine: &dyn Machine) -> Vec<Worker> {
    let mut found = Vec::new();
    let places: [(&str, &str, UserIn); 4] = [
        ("nginx", "/etc/nginx/nginx.conf", |line| {
            let user = line.strip_prefix("user")?.trim().trim_end_matches(';');
            user.split_whitespace().next().map(str::to_owned)
        }),
        ("Apache", "/etc/apache2/envvars", |line| {
            let user = line.strip_prefix("export ").unwrap_or(line).strip_prefix("APACHE_RUN_USER=")?;
            user.rsplit_once(":=")
                .map_or(Some(user), |(_, default)| Some(default.trim_end_matches('}')))
                .map(str::to_owned)
        }),
        ("Apache", "/etc/httpd/conf/httpd.conf", |line| line.strip_prefix("User ").map(|user| user.trim().to_owned())),
        ("Apache", "/usr/local/apache2/conf/httpd.conf", |line| {
            line.strip_prefix("User ").map(|user| user.trim().to_owned())
        }),
    ];
    for (program, file, user) in places {
        let text = machine.read(Path::new(file)).unwrap_or_default();
        if let Some(user) = text.lines().map(str::trim).find_map(user) {
            found.extend(account(machine, &user, program, file));
        }
    }
    found
}

fn account(machine: &dyn Machine, user: &str, program: &str, learned: &str) -> Option<Worker> {
    let (user, uid, gid) = passwd(machine).into_iter().find(|entry| entry.0 == user)?;
    let groups = machine.read(Path::new("/etc/group")).unwrap_or_default();
    let member_of = groups.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let members = fields.get(3)?;
        members.split(',').any(|member| member == user).then(|| fields[2].parse().ok())?
    });
    let groups = member_of.collect();
    Some(Worker { user, program: program.to_owned(), uid, gid, groups, learned: learned.to_owned() })
}

fn passwd(machine: &dyn Machine) -> Vec<(String, u32, u32)> {
    let text = machine.read(Path::new("/etc/passwd")).unwrap_or_default();
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        Some((fields.first()?.to_string(), fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

pub(super) fn checks(workers: &[Worker]) -> Vec<Check> {
    if workers.is_empty() {
        let evidence = "no web server runs, and none of the usual accounts exists";
        return vec![
            Check::new("workers", "the web servers' user", Verdict::Unknown, evidence)
                .remedy("name it: sclera doctor --user NAME"),
        ];
    }
    let told = |worker: &Worker| {
        let evidence = format!("runs as {} ({}), by {}", worker.user, worker.uid, worker.learned);
        Check::good("workers", worker.program.clone(), evidence)
    };
    workers.iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::super::machine::Recorded;
    use super::*;

    fn machine() -> Recorded {
        let mut machine = Recorded::default();
        let mut text = |path: &str, text: &str| machine.texts.insert(path.into(), text.to_owned());
        text(
            "/etc/passwd",
            "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\nnginx:x:101:101::/:/bin/false\n",
        );
        text("/etc/group", "ssl-cert:x:110:www-data\nwww-data:x:33:\n");
        machine
    }

    #[test]
    fn running_workers_tell_their_user_best_then_configurations_then_accounts() {
        let mut it = machine();
        let users = |it: &Recorded| -> Vec<String> {
            find(it).iter().map(|worker| format!("{} {}", worker.user, worker.learned)).collect()
        };
        assert_eq!(users(&it), ["www-data /etc/passwd", "nginx /etc/passwd"]);
        it.texts.insert("/etc/apache2/envvars".into(), "export APACHE_RUN_USER=www-data\n".into());
        assert_eq!(users(&it), ["www-data /etc/apache2/envvars"]);
        assert_eq!(find(&it)[0].groups, [110]);
        let status = |uid: u32| {
            format!("Name:\tnginx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{uid}\t{uid}\t{uid}\t{uid}\nGroups:\t7 8 \n")
        };
        for (process, uid) in [("10", 0), ("11", 101), ("12", 101)] {
            it.texts.insert(format!("/proc/{process}/comm").into(), "nginx\n".into());
            it.texts.insert(format!("/proc/{process}/status").into(), status(uid));
        }
        let found = find(&it);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].user.as_str(), &found[0].groups[..]), ("nginx", &[7, 8][..]));
    }
}
