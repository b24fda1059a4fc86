//! The doctor before recorded machines: labels and values as Red Hat Enterprise Linux 9 and Debian 12 show them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::machine::Recorded;
use super::*;

/// A configuration with real files, on a machine that is only written down.
struct Case {
    directory: tempfile::TempDir,
    machine: Recorded,
    ca: CertifiedIssuer<'static, KeyPair>,
}

const CSP_INI: &str = "[SYSTEM_INDEX]\nLOCAL=Enabled\n[LOCAL]\nIp_Address=127.0.0.1\nTCP_Port=1973\n\
                       Connection_Security_Level=10\nSSLCC_Verify_Peer=1\nSSLCC_Certificate_File=gateway.pem\n\
                       SSLCC_Certificate_Key_File=gateway.key\nSSLCC_CA_Certificate_File=ca.pem\n";

/// So many whole days from now.
fn after(days: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc() + time::Duration::days(days) + time::Duration::hours(1)
}

impl Case {
    fn new() -> Case {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Clinic CA");
        params.not_after = after(3650);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        // Its length is part of the transcripts' line breaks.
        let directory = tempfile::TempDir::with_prefix_in("sclera-", "/tmp").unwrap();
        let mut case = Case { directory, machine: Recorded::default(), ca };
        case.write("ca.pem", &case.ca.pem());
        case.gateway("Gateway", 400);
        case.write("CSP.ini", CSP_INI);
        let directory = case.directory.path().to_owned();
        for parent in directory.ancestors() {
            case.machine.file(parent.to_str().unwrap(), 0, 0, 0o40755);
        }
        for (name, mode) in [("ca.pem", 0o644), ("gateway.pem", 0o644), ("gateway.key", 0o640), ("CSP.ini", 0o644)] {
            case.machine.file(directory.join(name).to_str().unwrap(), 0, 48, 0o100_000 | mode);
        }
        case.machine.texts.insert("/etc/passwd".into(), "root:x:0:0\napache:x:48:48\n".into());
        case.machine.texts.insert("/etc/group".into(), "apache:x:48:\nirisusr:x:99:\n".into());
        case.machine.texts.insert("/etc/httpd/conf/httpd.conf".into(), "User apache\nGroup apache\n".into());
        case
    }

    /// A certificate of this CN, and its key.
    fn gateway(&self, cn: &str, days: i64) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, cn);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = after(days);
        self.write("gateway.pem", &params.signed_by(&key, &self.ca).unwrap().pem());
        self.write("gateway.key", &key.serialize_pem());
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// SELinux as on a machine with the targeted policy.
    fn selinux(&mut self, enforce: &str) {
        self.machine.texts.insert("/sys/fs/selinux/enforce".into(), enforce.into());
        self.machine.texts.insert("/sys/fs/selinux/booleans/httpd_can_network_connect".into(), "1 1".into());
        let list = "http_cache_port_t tcp 8080, 8118, 8123, 10001-10010\nhttp_port_t tcp 80, 81, 443, 1973, 8008\n";
        self.machine.answers.insert("semanage port -l".into(), list.into());
        for name in ["ca.pem", "gateway.pem", "gateway.key"] {
            self.label(name, "system_u:object_r:cert_t:s0");
        }
        self.label("CSP.ini", "unconfined_u:object_r:httpd_sys_rw_content_t:s0");
    }

    fn label(&mut self, name: &str, context: &str) {
        let path = self.path(name);
        self.machine.label(path.to_str().unwrap(), context);
    }

    fn examine(&self, iris: Option<&Path>) -> Findings {
        let loaded = Profile::load(&self.path("CSP.ini"), &crate::profile::Environment::none()).unwrap();
        let workers = workers::find(&self.machine);
        Findings(examine(&Patient {
            profile: &loaded.profile,
            findings: &loaded.notices,
            machine: &self.machine,
            workers: &workers,
            iris,
            now: SystemTime::now(),
        }))
    }

    /// Names and remedies of the checks with this verdict.
    fn with(&self, verdict: Verdict) -> Vec<(&'static str, String)> {
        let base = self.directory.path().display().to_string();
        let findings = self.examine(None);
        let matching = findings.0.into_iter().filter(|check| check.verdict == verdict);
        matching.map(|check| (check.name, check.remedy.replace(&base, "/d"))).collect()
    }
}

#[test]
fn a_healthy_set_up_is_good_with_selinux_and_without() {
    let mut case = Case::new();
    assert_eq!(case.examine(None).worst(), Verdict::Good, "{}", case.examine(None));
    case.selinux("0");
    assert_eq!(case.examine(None).worst(), Verdict::Note, "{}", case.examine(None));
    case.selinux("1");
    // The other machine cannot be seen from here.
    assert_eq!(case.examine(None).worst(), Verdict::Unknown, "{}", case.examine(None));
}

#[test]
fn what_selinux_would_deny_is_named_with_the_line_that_mends_it() {
    let mut case = Case::new();
    case.selinux("1");
    case.label("gateway.key", "unconfined_u:object_r:user_home_t:s0");
    case.label("ca.pem", "unconfined_u:object_r:admin_home_t:s0");
    let ca = case.path("ca.pem");
    let question = format!("matchpathcon -n {}", ca.display());
    case.machine.answers.insert(question, "system_u:object_r:cert_t:s0\n".into());
    case.label("CSP.ini", "system_u:object_r:etc_t:s0");
    case.machine.texts.insert("/sys/fs/selinux/booleans/httpd_can_network_connect".into(), "0 0".into());
    case.machine.file("/usr/lib64/httpd/modules/mod_sclera.so", 0, 0, 0o755);
    case.machine.label("/usr/lib64/httpd/modules/mod_sclera.so", "system_u:object_r:user_tmp_t:s0");
    let rule = |right: &str, path: &str| format!("semanage fcontext -a -t {right} '{path}' && restorecon -vF {path}");
    let expected = [
        rule("httpd_sys_rw_content_t", "/d/CSP.ini"),
        rule("httpd_modules_t", "/usr/lib64/httpd/modules/mod_sclera.so"),
        "setsebool -P httpd_can_network_connect 1".to_owned(),
        rule("cert_t", "/d/gateway.key"),
        "restorecon -vF /d/ca.pem".to_owned(),
    ];
    let bad: Vec<String> = case.with(Verdict::Bad).into_iter().map(|(_, remedy)| remedy).collect();
    assert_eq!(bad, expected);
    case.machine.texts.insert("/sys/fs/selinux/enforce".into(), "0".into());
    assert_eq!(case.with(Verdict::Bad), [], "permissive denies nothing");
    assert_eq!(case.with(Verdict::Warning).len(), expected.len());
}

#[test]
fn ports_are_found_in_lists_and_ranges_and_what_cannot_be_seen_is_said() {
    let mut case = Case::new();
    case.selinux("1");
    let add = "semanage port -a -t http_port_t -p tcp 1973".to_owned();
    for (list, verdict, remedy) in [
        ("http_port_t tcp 80, 1900-2000\n", Verdict::Good, String::new()),
        ("http_port_t udp 1973\n", Verdict::Note, add.clone()),
        ("other_port_t tcp 1973\n", Verdict::Note, add.replace("-a", "-m")),
    ] {
        case.machine.answers.insert("semanage port -l".into(), list.into());
        let findings = case.examine(None);
        let check = findings.0.iter().find(|check| check.subject.contains("TCP_Port")).unwrap();
        assert_eq!((check.verdict, &check.remedy), (verdict, &remedy), "{list}");
    }
    case.machine.answers.clear();
    let unseen = case.with(Verdict::Unknown);
    assert!(unseen.iter().any(|(_, remedy)| remedy.contains(&add)), "{unseen:?}");
}

#[test]
fn the_first_thing_in_the_workers_way_is_named_with_the_line_that_opens_it() {
    let mut case = Case::new();
    let key = case.path("gateway.key");
    case.machine.file(key.to_str().unwrap(), 0, 0, 0o100_640);
    assert_eq!(case.with(Verdict::Bad), [("access", "setfacl -m u:apache:r /d/gateway.key".to_owned())]);
    // With an access list for the user it is readable: version 2, owner rw, user 48 r, group -, mask r, others -.
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, 48), (4, 0, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    case.machine.attributes.insert((key, "system.posix_acl_access".into()), list);
    assert_eq!(case.with(Verdict::Bad), []);
    let directory = case.directory.path().to_owned();
    case.machine.file(directory.to_str().unwrap(), 0, 0, 0o40700);
    let bad = case.with(Verdict::Bad);
    assert_eq!(bad.len(), 4, "each file is behind that directory: {bad:?}");
    assert!(bad.iter().all(|(_, remedy)| remedy == "setfacl -m u:apache:x /d"), "{bad:?}");
    case.machine.files.remove(&directory);
    assert!(case.with(Verdict::Bad).iter().all(|(_, remedy)| remedy.contains("put the file there")));
}

#[test]
fn certificates_settings_and_logins_are_judged() {
    let case = Case::new();
    let ini = |change: &str| case.write("CSP.ini", &format!("{CSP_INI}{change}\n"));
    let one = |verdict: Verdict| case.with(verdict).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    for (days, verdict, name) in [(20, Verdict::Warning, "dates"), (5, Verdict::Warning, "dates")] {
        case.gateway("Gateway", days);
        assert_eq!(one(verdict), [name], "{days}");
    }
    case.gateway("Gateway", -2);
    assert_eq!(one(Verdict::Bad), ["files", "dates"]);
    for cn in ["gate@way", "UnknownUser", " gate"] {
        case.gateway(cn, 100);
        assert_eq!(one(Verdict::Bad), ["user"], "{cn}");
    }
    case.gateway("Gateway", 100);
    for (change, verdict, name) in [
        ("Username=CSPSystem\nPassword=canary-7Hd", Verdict::Warning, "login"),
        ("SSLCC_Verify_Peer=0", Verdict::Warning, "verification"),
        ("Sclera_Verify_Name=0", Verdict::Warning, "verification"),
        ("Sclera_Verification=chain", Verdict::Note, "verification"),
        ("SSLCC_Protocol_Max=16", Verdict::Note, "versions"),
        ("SSLCC_Key_Type=1", Verdict::Note, "key type"),
        ("Connection_Security_Level=0", Verdict::Warning, "protection"),
        ("SSLCC_CA_Certificate_File=absent.pem", Verdict::Bad, "files"),
        ("Password={cat /run/word}", Verdict::Unknown, "login"),
        ("SSLCC_Certificate_File=\nSSLCC_Certificate_Key_File=", Verdict::Warning, "login"),
        ("SSLCC_CA_Certificate_File=gateway.pem", Verdict::Note, "CA"),
    ] {
        ini(change);
        assert!(one(verdict).contains(&name), "{change}: {}", case.examine(None));
        assert!(!case.examine(None).to_string().contains("canary"), "{change}");
        assert!(!case.examine(None).to_json().to_string().contains("canary"), "{change}");
    }
    ini("");
    let (own, ca) = (fs::read_to_string(case.path("gateway.pem")).unwrap(), case.ca.pem());
    case.write("gateway.pem", &format!("{own}{ca}"));
    assert_eq!(one(Verdict::Bad), [""; 0], "the root may stand behind it");
    let stranger = Case::new();
    case.write("gateway.pem", &format!("{own}{}", fs::read_to_string(stranger.path("gateway.pem")).unwrap()));
    assert_eq!(one(Verdict::Bad), ["chain"]);
}

#[test]
fn an_instance_on_this_machine_is_examined_from_its_own_side() {
    let mut case = Case::new();
    case.selinux("1");
    let machine = &mut case.machine;
    for name in ["/usr/irissys/mgr/ss.pem", "/usr/irissys/mgr/ss.key", "/usr/irissys/mgr/IRIS.DAT"] {
        machine.texts.insert(name.into(), String::new());
        machine.file(name, 0, 99, 0o640);
        machine.label(name, "system_u:object_r:usr_t:s0");
    }
    machine.label("/usr/irissys/mgr", "system_u:object_r:usr_t:s0");
    let iris = Path::new("/usr/irissys");
    assert_eq!(case.examine(Some(iris)).worst(), Verdict::Good, "{}", case.examine(Some(iris)));
    case.machine.label("/usr/irissys/mgr/ss.key", "system_u:object_r:user_home_t:s0");
    case.machine.file("/usr/irissys/mgr/ss.pem", 0, 0, 0o600);
    let findings = case.examine(Some(iris));
    let bad: Vec<&str> =
        findings.0.iter().filter(|it| it.verdict == Verdict::Bad).map(|it| it.remedy.as_str()).collect();
    let pem = "/usr/irissys/mgr/ss.pem";
    assert_eq!(bad, ["restorecon -vF /usr/irissys/mgr/ss.key", &format!("chgrp irisusr {pem} && chmod g+r {pem}")]);
}

#[test]
fn the_transcripts_are_what_they_were() {
    let mut case = Case::new();
    let mut told = String::new();
    let mut tell = |what: &str, case: &Case| {
        let text = case.examine(None).to_string();
        assert!(text.is_ascii(), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80 || line.split_whitespace().count() < 4), "{text}");
        let text = text.replace(case.directory.path().to_str().unwrap(), "/etc/iris/gateways");
        told += &format!("=== {what}\n{text}\n");
    };
    tell("Debian 12, all is well", &case);
    case.selinux("1");
    case.label("gateway.key", "unconfined_u:object_r:user_home_t:s0");
    case.write("CSP.ini", &format!("{CSP_INI}Username=CSPSystem\nPassword=canary-7Hd\n"));
    tell("Red Hat Enterprise Linux 9, a key moved from a home directory, a leftover password", &case);
    crate::profile::reference::compare("src/doctor/doctor.golden.txt", &told);
}
