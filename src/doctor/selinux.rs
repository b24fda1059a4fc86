//! SELinux: its mode, the labels of what the web server reads, the switch for its connections, and the port's label.
//!
//! What is expected stands in the vendor's documentation (security reference, section 1.5) and in the reference policy:
//! the web server runs as `httpd_t`. Where SELinux is absent or permissive, that is said, and nothing is called wrong.

use std::path::Path;

use super::{Check, Patient, Verdict, files_of};
use crate::profile::{Security, Server};

/// What SELinux does on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Absent,
    Permissive,
    Enforcing,
}

impl Mode {
    fn of(patient: &Patient<'_>) -> Mode {
        match patient.machine.read(Path::new("/sys/fs/selinux/enforce")).as_deref().map(str::trim) {
            Some("1") => Mode::Enforcing,
            Some(_) => Mode::Permissive,
            None => Mode::Absent,
        }
    }

    /// How bad it is if something would be denied.
    fn denied(self) -> Verdict {
        if self == Mode::Enforcing { Verdict::Bad } else { Verdict::Warning }
    }
}

/// Types that `httpd_t` may read, by the reference policy.
const READABLE: [&str; 9] = [
    "cert_t",
    "httpd_config_t",
    "httpd_sys_content_t",
    "httpd_sys_rw_content_t",
    "httpd_sys_script_exec_t",
    "etc_t",
    "usr_t",
    "lib_t",
    "httpd_modules_t",
];

/// Types that a file has because it was made elsewhere and moved.
const FOREIGN: [&str; 8] = [
    "user_home_t",
    "user_home_dir_t",
    "admin_home_t",
    "home_root_t",
    "user_tmp_t",
    "tmp_t",
    "default_t",
    "unlabeled_t",
];

/// Types of what the web server writes.
const WRITABLE: [&str; 3] = ["httpd_sys_rw_content_t", "httpd_log_t", "httpd_var_run_t"];

/// Types of modules.
const MODULES: [&str; 3] = ["httpd_modules_t", "lib_t", "textrel_shlib_t"];

/// Where distributions keep the modules.
const MODULE_PLACES: [&str; 5] = [
    "/usr/lib/apache2/modules/mod_sclera.so",
    "/usr/lib64/httpd/modules/mod_sclera.so",
    "/usr/lib/nginx/modules/ngx_http_sclera_module.so",
    "/usr/lib64/nginx/modules/ngx_http_sclera_module.so",
    "/opt/webgateway/bin/mod_sclera.so",
];

/// Directories for which the policy says `cert_t`.
const CERTIFICATE_PLACES: [&str; 3] = ["/etc/ssl/", "/etc/pki/", "/etc/httpd/alias/"];

/// What concerns the machine: the mode, CSP.ini, the log, the modules, the switch.
pub(super) fn of_the_machine(patient: &Patient<'_>) -> Vec<Check> {
    let mode = Mode::of(patient);
    let mut checks = vec![match mode {
        Mode::Absent => {
            Check::good("SELinux", "/sys/fs/selinux", "is not there: SELinux denies nothing on this machine")
        }
        Mode::Permissive => Check::new(
            "SELinux",
            "/sys/fs/selinux/enforce",
            Verdict::Note,
            "permissive: it denies nothing now; what it would deny when enforcing is a warning below",
        ),
        Mode::Enforcing => Check::good("SELinux", "/sys/fs/selinux/enforce", "enforcing"),
    }];
    if mode == Mode::Absent {
        return checks;
    }
    let csp_ini = &patient.profile.path;
    checks.push(label(csp_ini, Wanted::Written, mode, patient));
    let log = patient.profile.system.event_log.keeping.place.path();
    if let Some(log) = log.filter(|log| patient.machine.stat(log).is_ok()) {
        checks.push(label(&log, Wanted::Written, mode, patient));
    }
    let modules = MODULE_PLACES.iter().map(Path::new).filter(|path| patient.machine.stat(path).is_ok());
    checks.extend(modules.map(|module| label(module, Wanted::Loaded, mode, patient)));
    checks.push(switch(mode, patient));
    checks
}

/// What concerns one server: its files, and its port.
pub(super) fn of_server(server: &Server, patient: &Patient<'_>) -> Vec<Check> {
    let mode = Mode::of(patient);
    if mode == Mode::Absent {
        return Vec::new();
    }
    let mut checks: Vec<Check> =
        files_of(server).iter().map(|file| label(&file.path, Wanted::Read, mode, patient)).collect();
    checks.push(port(server, patient));
    if server.security.value == Security::Tls && patient.iris.is_none() && mode == Mode::Enforcing {
        let evidence = "the superserver's certificate, key and CA file need the label of <IRIS-install-dir>/mgr too, and \
                        must be readable by group irisusr; this cannot be seen from here";
        checks.push(Check::new("SELinux", "the superserver's side", Verdict::Unknown, evidence).remedy(
            "on that machine run for each of the three: restorecon -vF <IRIS-install-dir>/mgr/<file>; or run the doctor \
             there with --iris-dir",
        ));
    }
    checks
}

/// An instance on this machine: every PEM file in its manager's directory.
pub(super) fn of_instance(directory: &Path, patient: &Patient<'_>) -> Vec<Check> {
    let mgr = directory.join("mgr");
    let machine = patient.machine;
    let is_pem = |name: &String| [".pem", ".cer", ".crt", ".key"].iter().any(|ending| name.ends_with(ending));
    let mut names: Vec<String> = machine.list(&mgr).into_iter().filter(is_pem).collect();
    names.sort();
    if names.is_empty() {
        let evidence = "holds no .pem, .cer, .crt or .key file, or cannot be looked into";
        return vec![Check::new("instance", mgr.display().to_string(), Verdict::Unknown, evidence)];
    }
    let group = machine.read(Path::new("/etc/group")).unwrap_or_default();
    let irisusr = group.lines().find_map(|line| line.strip_prefix("irisusr:")?.split(':').nth(1)?.parse::<u32>().ok());
    let place = type_of(&mgr, patient);
    let mode = Mode::of(patient);
    let mut checks = Vec::new();
    for path in names.iter().map(|name| mgr.join(name)) {
        let subject = path.display().to_string();
        let Ok(stat) = machine.stat(&path) else { continue };
        checks.push(match irisusr {
            None => Check::new("instance", &subject, Verdict::Unknown, "there is no group irisusr on this machine"),
            Some(irisusr) if (stat.gid == irisusr && stat.mode & 0o040 != 0) || stat.mode & 0o004 != 0 => {
                Check::good("instance", &subject, "group irisusr can read it")
            }
            Some(_) => Check::new("instance", &subject, Verdict::Bad, "group irisusr cannot read it")
                .remedy(format!("chgrp irisusr {subject} && chmod g+r {subject}")),
        });
        if mode == Mode::Absent {
            continue;
        }
        checks.push(match (type_of(&path, patient), &place) {
            (Some(own), Some(place)) if own == *place => Check::good("SELinux", &subject, format!("labelled {own}")),
            (Some(own), Some(place)) => {
                Check::new("SELinux", &subject, mode.denied(), format!("labelled {own}, its directory {place}"))
                    .remedy(format!("restorecon -vF {subject}"))
            }
            _ => Check::new("SELinux", &subject, Verdict::Unknown, "its label cannot be read"),
        });
    }
    checks
}

/// What the web server does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Read,
    Written,
    Loaded,
}

fn label(path: &Path, wanted: Wanted, mode: Mode, patient: &Patient<'_>) -> Check {
    let subject = path.display().to_string();
    let Some(found) = type_of(path, patient) else {
        return Check::new("SELinux", &subject, Verdict::Unknown, "its label cannot be read")
            .remedy(format!("look yourself: ls -Z {subject}"));
    };
    let (allowed, right): (&[&str], &str) = match wanted {
        Wanted::Read => (&READABLE, "cert_t"),
        Wanted::Written => (&WRITABLE, "httpd_sys_rw_content_t"),
        Wanted::Loaded => (&MODULES, "httpd_modules_t"),
    };
    if allowed.contains(&found.as_str()) {
        return Check::good("SELinux", subject, format!("labelled {found}"));
    }
    let certain = FOREIGN.contains(&found.as_str()) || wanted != Wanted::Read;
    let (verdict, evidence) = match certain {
        true => {
            (mode.denied(), format!("labelled {found}, which the web server (httpd_t) may not use; {right} is right"))
        }
        false => (Verdict::Warning, format!("labelled {found}: whether httpd_t may read it depends on the policy")),
    };
    Check::new("SELinux", &subject, verdict, evidence).remedy(relabel(path, right, patient))
}

/// The line that gives the right label: what the policy says for the place, or a rule of its own first.
fn relabel(path: &Path, right: &str, patient: &Patient<'_>) -> String {
    let subject = path.display().to_string();
    let by_policy = patient.machine.ask("matchpathcon", &["-n", &subject]).and_then(|context| type_in(&context));
    let is_right = match by_policy {
        Some(by_policy) => by_policy == right || (right == "cert_t" && READABLE.contains(&by_policy.as_str())),
        None => right == "cert_t" && CERTIFICATE_PLACES.iter().any(|place| subject.starts_with(place)),
    };
    match is_right {
        true => format!("restorecon -vF {subject}"),
        false => format!("semanage fcontext -a -t {right} '{subject}' && restorecon -vF {subject}"),
    }
}

fn switch(mode: Mode, patient: &Patient<'_>) -> Check {
    const NAME: &str = "httpd_can_network_connect";
    let file = Path::new("/sys/fs/selinux/booleans").join(NAME);
    // Two numbers: the value now, and the one about to be committed.
    match patient.machine.read(&file).as_deref().map(str::trim).and_then(|text| text.split(' ').next()) {
        Some("1") => Check::good("SELinux", NAME, "on: the web server may connect to any port"),
        Some(_) => Check::new("SELinux", NAME, mode.denied(), "off: the web server may not connect to a superserver")
            .remedy(format!("setsebool -P {NAME} 1")),
        None => Check::new("SELinux", NAME, Verdict::Unknown, "its value cannot be read")
            .remedy(format!("look yourself: getsebool {NAME}")),
    }
}

fn port(server: &Server, patient: &Patient<'_>) -> Check {
    let number = server.port.value;
    let subject = format!("{}={number}", server.port.place("TCP_Port"));
    let add = format!("semanage port -a -t http_port_t -p tcp {number}");
    let Some(list) = patient.machine.ask("semanage", &["port", "-l"]) else {
        return Check::new("SELinux", subject, Verdict::Unknown, "the ports' labels are shown to root only")
            .remedy(format!("look yourself: semanage port -l | grep -w {number}; to add it: {add}"));
    };
    let label = list.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (label, protocol) = (words.next()?, words.next()?);
        (protocol == "tcp" && words.any(|range| covers(range.trim_end_matches(','), number))).then(|| label.to_owned())
    });
    match label.as_deref() {
        Some("http_port_t") => Check::good("SELinux", subject, "labelled http_port_t"),
        // With the switch on the port's label does not matter; the vendor asks for it all the same.
        Some(other) => Check::new("SELinux", subject, Verdict::Note, format!("labelled {other}, not http_port_t"))
            .remedy(add.replace("-a", "-m")),
        None => Check::new("SELinux", subject, Verdict::Note, "has no label of its own").remedy(add),
    }
}

fn covers(range: &str, number: u16) -> bool {
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    matches!((from.parse::<u16>(), to.parse::<u16>()), (Ok(from), Ok(to)) if (from..=to).contains(&number))
}

/// The type of a file's label.
fn type_of(path: &Path, patient: &Patient<'_>) -> Option<String> {
    let value = patient.machine.attribute(path, "security.selinux")?;
    type_in(&String::from_utf8_lossy(&value))
}

/// The third part of a context such as `system_u:object_r:cert_t:s0`.
fn type_in(context: &str) -> Option<String> {
    context.trim_end_matches('\0').trim().split(':').nth(2).map(str::to_owned)
}
