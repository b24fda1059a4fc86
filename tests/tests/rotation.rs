//! Replaced certificates come into force by themselves, under load and as a whole set, and the old ones end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use sclera_tests::apache::{Apache, Mpm};
use sclera_tests::certificates::{Ca, Leaf, Pair};
use sclera_tests::gate::Gate;
use sclera_tests::http::Client;
use sclera_tests::nginx::{Nginx, Settings};
use sclera_tests::process::{connections_to, wait_until};
use sclera_tests::scene::{Scene, USER, worker_user};
use sclera_tests::web_server::WebServer;
use time::{Duration, OffsetDateTime};

const NGINX: &str = "location /csp { CSP on; }";
const APACHE: &str = "<Location /csp>\nCSP On\n</Location>";

/// Makes the directory `identity` a link to a fresh directory with a new certificate and key, in one step; gives their
/// serial number as the superserver tells it.
fn swap_identity(scene: &Scene, ca: &Ca, name: &str, leaf: &Leaf) {
    let pair = ca.issue(name, leaf);
    let directory = scene.directory().join(format!("identity-{name}"));
    fs::create_dir(&directory).unwrap();
    for (file, new) in [(&pair.certificate, "gateway.pem"), (&pair.key, "gateway.key")] {
        hand_over(file);
        fs::rename(file, directory.join(new)).unwrap();
    }
    let link = scene.directory().join("identity.new");
    symlink(&directory, &link).unwrap();
    fs::rename(link, scene.directory().join("identity")).unwrap();
}

fn hand_over(file: &Path) {
    if let Some((uid, gid)) = worker_user() {
        std::os::unix::fs::chown(file, Some(uid), Some(gid)).unwrap();
    }
}

/// Puts a new certificate and key where the old ones are, one after the other.
fn replace(scene: &Scene, pair: &Pair) {
    for (file, place) in [(&pair.certificate, "gateway.pem"), (&pair.key, "gateway.key")] {
        hand_over(file);
        fs::rename(file, scene.directory().join(place)).unwrap();
    }
}

/// A scene whose gateway finds its certificate below the link `identity`.
fn scene_with_link() -> (Scene, Ca) {
    let scene = Scene::new();
    let ca = Ca::of(scene.directory());
    swap_identity(&scene, &ca, "first", &Leaf::gateway(USER));
    let below = format!("{}/identity/gateway.", scene.directory().display());
    scene.edit_csp_ini(|text| text.replace(&format!("{}/gateway.", scene.directory().display()), &below));
    (scene, ca)
}

/// The only worker's connections to the superserver.
fn connections(scene: &Scene, nginx: &Nginx) -> usize {
    connections_to(nginx.worker(), scene.superserver().port())
}

/// Whether the only worker comes to have no connection to the superserver.
fn closes_all(scene: &Scene, nginx: &Nginx) -> bool {
    wait_until(|| (connections(scene, nginx) == 0).then_some(())).is_some()
}

/// The serial number of the certificate that served a request.
fn serial_of(page: &str) -> String {
    let (_, rest) = page.split_once(", serial ").unwrap_or_else(|| panic!("no serial in {page}"));
    rest.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap().to_owned()
}

fn serial(server: &impl WebServer) -> String {
    let answer = server.get("/csp/demo/");
    assert_eq!(answer.status, 200, "{}", server.error_log());
    serial_of(&answer.text())
}

/// Does something when it goes.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Swaps the certificate under load. No request fails, and once every worker has met the new one, none uses the old.
fn rotates_under_load<S: WebServer>(start: impl FnOnce(&Scene) -> S) {
    let (scene, ca) = scene_with_link();
    let server = start(&scene);
    let mut last = serial(&server);
    let done = AtomicBool::new(false);
    let seen = Mutex::new(BTreeSet::from([last.clone()]));
    let port = server.port();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (done, seen) = (&done, &seen);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let answer = Client::connect(port).request("GET", "/csp/demo/").answer();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    seen.lock().unwrap().insert(serial_of(&answer.text()));
                }
            });
        }
        // Set however this scope is left: a failed check must not leave the others asking for ever.
        let _end = AtEnd(|| done.store(true, Ordering::Relaxed));
        for round in 2..=3 {
            swap_identity(&scene, &ca, &format!("round-{round}"), &Leaf::gateway(USER));
            let reached = wait_until(|| (seen.lock().unwrap().len() == round).then_some(()));
            assert!(reached.is_some(), "round {round}: {}", server.error_log());
            // Every worker follows within seconds; from then on the old serial is gone for good.
            let settled = wait_until(|| {
                let mut now: BTreeSet<String> = (0..30).map(|_| serial(&server)).collect();
                (now.len() == 1 && !now.contains(&last)).then(|| now.pop_first()).flatten()
            });
            last = settled.unwrap_or_else(|| panic!("round {round}: {}", server.error_log()));
        }
    });
    let log = server.error_log();
    assert!(log.contains("the new certificates (CN=WebUser, serial "), "{log}");
    assert!(!log.contains("SCLERA-"), "{log}");
    assert!(server.stop());
}

#[test]
fn nginx_takes_a_swapped_directory_under_load_without_a_failed_request() {
    let settings = Settings { main: "worker_processes 2;", locations: NGINX, ..Settings::default() };
    rotates_under_load(|scene| Nginx::start_with(scene, settings));
}

#[test]
fn apache_takes_a_swapped_directory_under_load_without_a_failed_request() {
    rotates_under_load(|scene| Apache::start_with(scene, Mpm::Event, APACHE));
}

#[test]
fn a_set_that_does_not_belong_together_is_not_used_until_it_is_whole() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, NGINX);
    let first = serial(&nginx);
    let pair = Ca::of(scene.directory()).issue("next", &Leaf::gateway(USER));
    hand_over(&pair.certificate);
    hand_over(&pair.key);
    fs::rename(&pair.certificate, scene.directory().join("gateway.pem")).unwrap();
    let kept =
        "server LOCAL: the files have changed, but the identity read before stays in force: SCLERA-118 key-mismatch";
    assert!(wait_until(|| nginx.error_log().contains(kept).then_some(())).is_some(), "{}", nginx.error_log());
    assert_eq!(serial(&nginx), first);
    fs::rename(&pair.key, scene.directory().join("gateway.key")).unwrap();
    assert!(wait_until(|| (serial(&nginx) != first).then_some(())).is_some(), "{}", nginx.error_log());
    assert!(nginx.stop());
}

#[test]
fn files_that_come_after_the_start_are_used_and_idle_connections_of_old_ones_are_closed() {
    let scene = Scene::new();
    let (key, hidden) = (scene.directory().join("gateway.key"), scene.directory().join("hidden.key"));
    fs::rename(&key, &hidden).unwrap();
    let nginx = Nginx::start(&scene, NGINX);
    assert_eq!(nginx.get("/csp/demo/").status, 503);
    fs::rename(&hidden, &key).unwrap();
    let answers = || (nginx.get("/csp/demo/").status == 200).then_some(());
    assert!(wait_until(answers).is_some(), "{}", nginx.error_log());

    assert_eq!(connections(&scene, &nginx), 1);
    replace(&scene, &Ca::of(scene.directory()).issue("next", &Leaf::gateway(USER)));
    assert!(closes_all(&scene, &nginx), "no request is needed to close it");
    assert!(nginx.stop());
}

#[test]
fn a_busy_connection_finishes_its_request_and_serves_no_other() {
    let gate = Gate::default();
    let scene = Scene::with_application("/csp/gate", gate.clone());
    let nginx = Nginx::start(&scene, NGINX);
    let mut busy = nginx.connect();
    busy.request("GET", "/csp/gate");
    gate.wait_for(1);
    replace(&scene, &Ca::of(scene.directory()).issue("next", &Leaf::gateway(USER)));
    let taken = || nginx.error_log().contains("the new certificates").then_some(());
    assert!(wait_until(taken).is_some(), "{}", nginx.error_log());
    assert_eq!(connections(&scene, &nginx), 1);
    gate.open();
    assert_eq!(busy.answer().text(), "through\n");
    assert!(closes_all(&scene, &nginx), "it goes with its request");
    assert_eq!(nginx.get("/csp/demo/").status, 200);
    assert!(nginx.stop());
}

#[test]
fn nothing_is_sent_with_a_certificate_that_has_ended() {
    let scene = Scene::new();
    let ca = Ca::of(scene.directory());
    let start = |seconds| {
        let end = OffsetDateTime::now_utc() + Duration::seconds(seconds);
        replace(&scene, &ca.issue_until("short", &Leaf::gateway(USER), end));
        let nginx = Nginx::start(&scene, NGINX);
        (nginx.get("/csp/demo/").status == 200).then_some(nginx)
    };
    // The second one is for a machine on which nginx takes more than ten seconds to start.
    let nginx = [10, 60].into_iter().find_map(start).expect("a certificate that is still good");
    let warned = "(CN=WebUser) expires within a day; renew SSLCC_Certificate_File";
    assert!(wait_until(|| nginx.error_log().contains(warned).then_some(())).is_some(), "{}", nginx.error_log());
    let refused = || (nginx.get("/csp/demo/").status == 503).then_some(());
    assert!(wait_until(refused).is_some(), "{}", nginx.error_log());
    assert!(nginx.error_log().contains("SCLERA-112 certificate-expired"), "{}", nginx.error_log());
    assert!(closes_all(&scene, &nginx), "the idle connection goes too");
    replace(&scene, &ca.issue("renewed", &Leaf::gateway(USER)));
    assert!(wait_until(|| (nginx.get("/csp/demo/").status == 200).then_some(())).is_some(), "{}", nginx.error_log());
    assert!(nginx.stop());
}

#[test]
fn sclera_identity_shows_checks_and_replaces_what_the_superserver_accepts() {
    let scene = Scene::new();
    let config = scene.csp_ini();
    let sclera = |arguments: &[&str]| {
        let output = std::process::Command::new(sclera_tests::program("sclera"))
            .arg("identity")
            .args(arguments)
            .arg("--config")
            .arg(&config)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), text)
    };
    let (status, text) = sclera(&["show", "LOCAL"]);
    assert!(status == 0 && text.contains("gateway: CN=WebUser; serial "), "{text}");
    assert_eq!(sclera(&["check", "LOCAL"]).0, 0);

    let nginx = Nginx::start(&scene, NGINX);
    let first = serial(&nginx);
    let ca = Ca::of(scene.directory());
    let stage = |pair: &Pair, more: &[&str]| {
        let (certificate, key) = (pair.certificate.to_str().unwrap(), pair.key.to_str().unwrap());
        sclera(&[&["stage", "LOCAL", "--certificate", certificate, "--key", key], more].concat())
    };
    let other = ca.issue("other", &Leaf::gateway("Other"));
    let (status, text) = stage(&other, &[]);
    assert!(status == 2 && text.contains("names the user Other"), "{text}");
    let (status, text) = stage(&other, &["--new-user"]);
    assert!(status == 2 && text.contains("SCLERA-400") && text.contains("nothing was replaced"), "{text}");
    let mixed = Pair { certificate: ca.issue("next", &Leaf::gateway(USER)).certificate, key: other.key };
    assert!(stage(&mixed, &[]).1.contains("SCLERA-118"));
    assert_eq!(serial(&nginx), first);

    let (status, text) = stage(&ca.issue("next", &Leaf::gateway(USER)), &[]);
    assert!(status == 0 && text.contains("gateway.key replaced; the old one is "), "{text}");
    assert!(scene.directory().join("gateway.pem.old").exists());
    assert!(wait_until(|| (serial(&nginx) != first).then_some(())).is_some(), "{}", nginx.error_log());
    assert!(nginx.stop());
}

#[test]
fn a_staged_file_keeps_mode_and_access_list_and_one_with_both_is_replaced_by_one_with_both() {
    let scene = Scene::new();
    let ca = Ca::of(scene.directory());
    let both = |pair: &Pair, name: &str| {
        let all = [&pair.certificate, &pair.key].map(|file| fs::read_to_string(file).unwrap()).concat();
        let place = scene.directory().join(name);
        fs::write(&place, all).unwrap();
        place
    };
    let old = both(&ca.issue("old", &Leaf::gateway(USER)), "both.pem");
    // Version 2: owner rw, user 48 r, group -, mask r, others -. Not every file system has lists.
    let list: Vec<u8> = [2u32]
        .iter()
        .flat_map(|version| version.to_le_bytes())
        .chain([(1, 6, u32::MAX), (2, 4, 48), (4, 0, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)].iter().flat_map(
            |(tag, rights, id): &(u16, u16, u32)| {
                [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
            },
        ))
        .collect();
    const LIST: &str = "system.posix_acl_access";
    let has_list = rustix::fs::setxattr(&old, LIST, &list, rustix::fs::XattrFlags::empty()).is_ok();
    scene.edit_csp_ini(|text| text.replace("/gateway.pem", "/both.pem").replace("/gateway.key", "/both.pem"));
    let stage = |arguments: &[&Path]| {
        let mut command = std::process::Command::new(sclera_tests::program("sclera"));
        command.args(["identity", "stage", "LOCAL", "--config"]).arg(scene.csp_ini());
        for (option, file) in ["--certificate", "--key"].iter().zip(arguments) {
            command.arg(option).arg(file);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), text)
    };
    let next = ca.issue("next", &Leaf::gateway(USER));
    let (status, text) = stage(&[&next.certificate]);
    assert!(status == 2 && text.contains("SCLERA-116"), "without its key it is refused: {text}");
    let (status, text) = stage(&[&next.certificate, &next.key]);
    assert!(status == 2 && text.contains("give one file with both"), "{text}");
    let new = both(&next, "new.pem");
    let (status, text) = stage(&[&new]);
    assert!(status == 0 && text.contains("both.pem.old"), "{text}");
    assert_eq!(fs::read(&old).unwrap(), fs::read(&new).unwrap());
    if has_list {
        let mut kept = vec![0; 256];
        let length = rustix::fs::getxattr(&old, LIST, &mut kept[..]).expect("the list is kept");
        assert_eq!(kept[..length], list[..]);
    }
}
