//! What the web server's root does for CSP.ini: whoever may write that file does not become root by it.
//!
//! Without root there is nothing to lose, and these tests say so and end.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use sclera_tests::apache::{Apache, Mpm};
use sclera_tests::nginx::{Nginx, Settings};
use sclera_tests::process::wait_until;
use sclera_tests::scene::{Scene, worker_user};
use sclera_tests::web_server::WebServer;

const ECHO: &str = "/csp/demo/echo";
const NGINX: &str = "location /csp { CSP on; }";
const APACHE: &str = "<Location /csp>\nCSP On\n</Location>";

/// A scene whose CSP.ini asks for a log, a trace, a runtime directory and a password from a command, all of which leave
/// traces in `asked`; and who ran the command, once it has run.
struct Greedy {
    scene: Scene,
    /// Root's alone.
    asked: PathBuf,
    worker: u32,
}

impl Greedy {
    fn new() -> Option<Greedy> {
        let Some((worker, group)) = worker_user() else {
            eprintln!("skipped: needs root");
            return None;
        };
        let scene = Scene::new();
        let asked = scene.directory().join("asked");
        fs::create_dir(&asked).unwrap();
        let heard = scene.directory().join("heard");
        fs::create_dir(&heard).unwrap();
        chown(&heard, Some(worker), Some(group)).unwrap();
        scene.edit_csp_ini(|text| {
            let (here, run) = (asked.display(), scene.directory().join("run"));
            let system = format!(
                "[SYSTEM]\nEvent_Log_File={here}/gateway.log\nSclera_Trace=/csp\nSclera_Trace_Directory={here}/trace\n"
            );
            let other = format!(
                "[OTHER]\nIp_Address=127.0.0.1\nTCP_Port=1\nUsername=CSPSystem\nPassword={{id -u > {}/uid; echo x}}\n\n",
                heard.display()
            );
            text.replace("[SYSTEM]\n", &system)
                .replace(&format!("Sclera_Runtime_Directory={}", run.display()), &format!("Sclera_Runtime_Directory={here}/run"))
                .replace("LOCAL=Enabled\n", "LOCAL=Enabled\nOTHER=Enabled\n")
                .replace("[LOCAL]\n", &format!("{other}[LOCAL]\n"))
        });
        Some(Greedy { scene, asked, worker })
    }

    fn made(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.asked).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn owner(&self, name: &str) -> u32 {
        fs::metadata(self.asked.join(name)).unwrap().uid()
    }

    fn who_ran_the_command(&self) -> u32 {
        let uid = fs::read_to_string(self.scene.directory().join("heard/uid")).unwrap();
        uid.trim().parse().unwrap()
    }
}

/// As the scene has it, CSP.ini is the workers'.
fn a_csp_ini_of_the_workers<S: WebServer>(locations: &str) {
    let Some(greedy) = Greedy::new() else { return };
    let server = S::start(&greedy.scene, locations);
    assert_eq!(server.get(ECHO).status, 200, "it works all the same");
    assert_eq!(greedy.who_ran_the_command(), greedy.worker);
    assert_eq!(greedy.made(), Vec::<String>::new(), "root has made nothing that they ask for");
    let says = format!("gateway.log cannot be opened as user {}", greedy.worker);
    assert!(wait_until(|| server.error_log().contains(&says).then_some(())).is_some(), "{}", server.error_log());
    assert!(server.reload());
    assert_eq!(server.get(ECHO).status, 200);
    assert_eq!(greedy.made(), Vec::<String>::new(), "nor at a reload");
}

#[test]
fn nginx_as_root_does_not_open_what_others_have_written_into_csp_ini() {
    a_csp_ini_of_the_workers::<Nginx>(NGINX);
}

#[test]
fn apache_as_root_does_not_open_what_others_have_written_into_csp_ini() {
    a_csp_ini_of_the_workers::<Apache>(APACHE);
}

/// What root alone can have written, root does, and gives it to the workers.
fn a_csp_ini_of_roots<S: WebServer>(locations: &str) {
    let Some(greedy) = Greedy::new() else { return };
    chown(greedy.scene.csp_ini(), Some(0), None).unwrap();
    let server = S::start(&greedy.scene, locations);
    assert_eq!(server.get(ECHO).status, 200);
    assert_eq!(greedy.made(), ["gateway.log", "run", "trace"]);
    assert_eq!((greedy.owner("gateway.log"), greedy.owner("trace")), (greedy.worker, greedy.worker));
    let traced = || fs::read_dir(greedy.asked.join("trace")).unwrap().next().map(drop);
    assert!(wait_until(traced).is_some(), "the workers can trace: {}", server.error_log());
    assert_eq!(greedy.who_ran_the_command(), greedy.worker, "who read its password from a command at a live reload");
}

#[test]
fn nginx_as_root_makes_what_root_has_written_into_csp_ini() {
    a_csp_ini_of_roots::<Nginx>(NGINX);
}

#[test]
fn apache_as_root_makes_what_root_has_written_into_csp_ini() {
    a_csp_ini_of_roots::<Apache>(APACHE);
}

#[test]
fn a_csp_ini_of_a_user_who_is_neither_root_nor_the_workers_is_read_where_nobody_can_exchange_it() {
    let Some(greedy) = Greedy::new() else { return };
    chown(greedy.scene.csp_ini(), Some(12_345), Some(12_345)).unwrap();
    fs::set_permissions(greedy.scene.csp_ini(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let server = Nginx::start(&greedy.scene, NGINX);
    assert_eq!(server.get(ECHO).status, 200, "{}", server.error_log());
    assert_eq!(greedy.made(), Vec::<String>::new(), "but not obeyed");
}

#[test]
fn a_link_in_place_of_csp_ini_shows_nobody_a_file_of_roots() {
    let Some(greedy) = Greedy::new() else { return };
    let secret = greedy.asked.join("secret.ini");
    fs::write(&secret, "[SYSTEM]\nSclera_Log_Format=canary-of-root\n").unwrap();
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::remove_file(greedy.scene.csp_ini()).unwrap();
    std::os::unix::fs::symlink(&secret, greedy.scene.csp_ini()).unwrap();
    chown(greedy.scene.directory(), Some(greedy.worker), None).unwrap();
    let verdict = Nginx::test(&greedy.scene, Settings { locations: NGINX, ..Settings::default() });
    assert!(!verdict.accepted, "{verdict:?}");
    assert!(verdict.text.contains("Permission denied") && !verdict.text.contains("canary-of-root"), "{verdict:?}");
    let server = Apache::start_with(&greedy.scene, Mpm::Event, APACHE);
    assert_eq!(server.get(ECHO).status, 503);
    assert!(server.error_log().contains("others than root can put another file"), "{}", server.error_log());
    assert!(!server.error_log().contains("canary-of-root"), "{}", server.error_log());
}

/// `sclera passwd` as root goes by what CSP.ini says, too.
#[test]
fn sclera_passwd_replaces_no_file_that_is_none_of_users() {
    let scene = Scene::without_superserver();
    let shadow = scene.directory().join("shadow");
    fs::write(&shadow, "root:*:19000:0:99999:7:::\n").unwrap();
    let elsewhere = scene.directory().join("www/users");
    let set = |file: &Path| {
        scene.edit_csp_ini(|text| {
            let lines = text.lines().filter(|line| !line.starts_with("Sclera_Manage_Users"));
            let text: String = lines.map(|line| format!("{line}\n")).collect();
            text.replace("[SYSTEM]\n", &format!("[SYSTEM]\nSclera_Manage_Users={}\n", file.display()))
        });
    };
    set(&shadow);
    let (well, said) = passwd(&scene, "looker", "view");
    assert!(!well && said.contains("its line 1"), "{said}");
    assert_eq!(fs::read_to_string(&shadow).unwrap(), "root:*:19000:0:99999:7:::\n");

    let usual = scene.directory().join("CSP.users");
    set(&usual);
    let (well, said) = passwd(&scene, "looker", "view");
    assert!(well && fs::read_to_string(&usual).unwrap().starts_with("looker:view:$argon2id$"), "{said}");
    let Some((worker, group)) = worker_user() else { return };
    assert_eq!(fs::metadata(&usual).unwrap().uid(), worker, "the workers read it");

    // Nobody's file, in a directory of root's: what CSP.ini's owner may not do, root does not do for them.
    fs::write(&elsewhere, "").unwrap();
    set(&elsewhere);
    let (well, said) = passwd(&scene, "looker", "view");
    assert!(!well && said.contains("Permission denied") && said.contains("CSP.users beside it"), "{said}");
    assert_eq!((fs::read_to_string(&elsewhere).unwrap().as_str(), fs::metadata(&elsewhere).unwrap().uid()), ("", 0));
    chown(scene.directory().join("www"), Some(worker), Some(group)).unwrap();
    let (well, said) = passwd(&scene, "looker", "view");
    assert!(well, "{said}");
    chown(scene.csp_ini(), Some(0), None).unwrap();
    fs::set_permissions(scene.csp_ini(), std::os::unix::fs::PermissionsExt::from_mode(0o664)).unwrap();
    let (well, said) = passwd(&scene, "looker", "view");
    assert!(!well && said.contains("is root's, but others can write it"), "{said}");
}

fn passwd(scene: &Scene, user: &str, role: &str) -> (bool, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let config = sclera_cli::Config { config: scene.csp_ini() };
    let options = sclera_cli::passwd::Options { config, user: user.to_owned(), role: Some(role.to_owned()) };
    let outcome = sclera_cli::passwd::set(&options, "secret", &mut out, &mut err).unwrap();
    out.extend(err);
    (outcome == sclera_cli::Outcome::Well, String::from_utf8_lossy(&out).into_owned())
}
