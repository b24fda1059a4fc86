//! Planted secrets are searched for in everything that comes out: output, logs, pages, command lines, files.

use std::fs;
use std::path::Path;
use std::process::Command;

use sclera_tests::apache::{Apache, Mpm};
use sclera_tests::nginx::{Nginx, Settings};
use sclera_tests::openssl;
use sclera_tests::process::wait_until;
use sclera_tests::program;
use sclera_tests::scene::Scene;
use sclera_tests::web_server::WebServer;

const LOGIN: &str = "canary-Login-5Tq";
const KEY: &str = "canary-Key-9Xw";
const INPUT: &str = "canary-Input-2Lm";

const NGINX: &str = "location /csp { CSP on; }";
const APACHE: &str = "<Location /csp>\nCSP On\n</Location>";

/// A profile with a password, and with a key that is protected by another one.
fn scene() -> Scene {
    let scene = Scene::new();
    let lock = ["pkcs8", "-topk8", "-in", "gateway.key", "-out", "locked.key", "-passout"];
    openssl::run(scene.directory(), &[&lock[..], &[&format!("pass:{KEY}")]].concat());
    fs::rename(scene.directory().join("locked.key"), scene.directory().join("gateway.key")).unwrap();
    if let Some((uid, gid)) = sclera_tests::scene::worker_user() {
        std::os::unix::fs::chown(scene.directory().join("gateway.key"), Some(uid), Some(gid)).unwrap();
    }
    scene.edit_csp_ini(|text| {
        let lines =
            format!("SSLCC_Verify_Peer=1\nUsername=CSPSystem\nPassword={LOGIN}\nSSLCC_Private_Key_Password={KEY}\n");
        text.replace("SSLCC_Verify_Peer=1\n", &lines)
    });
    scene
}

/// The words that must not come out, the key's own text among them.
fn secrets(scene: &Scene) -> Vec<String> {
    let key = fs::read_to_string(scene.directory().join("gateway.key")).unwrap();
    let line = key.lines().nth(1).unwrap().to_owned();
    vec![LOGIN.to_owned(), KEY.to_owned(), INPUT.to_owned(), line]
}

fn assert_clean(what: &str, text: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(!text.contains(secret.as_str()), "{what} shows {secret}: {text}");
    }
}

#[test]
fn no_command_prints_a_secret() {
    let scene = scene();
    let secrets = secrets(&scene);
    let config = scene.csp_ini().display().to_string();
    let word = scene.directory().join("word");
    fs::write(&word, INPUT).unwrap();
    let from = format!("Password={}", word.display());
    let (certificate, key) = (scene.directory().join("gateway.pem"), scene.directory().join("gateway.key"));
    let stage =
        ["identity", "stage", "LOCAL", "--certificate", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let mut ran = 0;
    for command in [
        &["check"][..],
        &["check", "--json"],
        &["show", "--origin"],
        &["test", "LOCAL"],
        &["test", "LOCAL", "--json"],
        &["test", "LOCAL", "--set-from", &from],
        &["doctor"],
        &["doctor", "--json"],
        &["identity", "show", "LOCAL"],
        &["identity", "check", "LOCAL", "--json"],
        &stage,
        &["explain", "/csp/demo/"],
        &["set", "LOCAL", "TCP_Port", "x"],
    ] {
        let output = Command::new(program("sclera")).args(command).args(["--config", &config]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!text.is_empty(), "{command:?}");
        assert_clean(&format!("{command:?}"), &text, &secrets);
        ran += 1;
    }
    assert_eq!(ran, 13);
    assert_clean_files(scene.directory(), &secrets, &["CSP.ini", "word", "gateway.key", "gateway.key.old"]);
}

/// Every file of a directory but those that hold the secrets by right.
fn assert_clean_files(directory: &Path, secrets: &[String], by_right: &[&str]) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            assert_clean_files(&path, secrets, by_right);
        } else if !by_right.contains(&name.as_str()) {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            assert_clean(&path.display().to_string(), &text, secrets);
        }
    }
}

fn serves_without_a_word<S: WebServer>(scene: &Scene, server: S) {
    let secrets = secrets(scene);
    let page = server.get("/csp/demo/");
    assert_eq!(page.status, 502, "the password is wrong: {}", page.text());
    let told = || server.error_log().contains("SCLERA-406").then_some(());
    assert!(wait_until(told).is_some(), "{}", server.error_log());
    // The wrong password goes, the certificate decides; then the key's password goes, and nothing works.
    scene.edit_csp_ini(|text| text.replace("Username=CSPSystem\n", "").replace(&format!("Password={LOGIN}\n"), ""));
    let logs_in = || (server.get("/csp/demo/").status == 200).then_some(());
    assert!(wait_until(logs_in).is_some(), "{}", server.error_log());
    assert_clean("the page", &page.text(), &secrets);
    assert_clean("the log", &server.error_log(), &secrets);
    for worker in server.workers() {
        let command = fs::read(format!("/proc/{worker}/cmdline")).unwrap_or_default();
        assert_clean("a command line", &String::from_utf8_lossy(&command), &secrets);
    }
    assert!(server.stop());
    assert_clean_files(scene.directory(), &secrets, &["CSP.ini", "gateway.key"]);
}

#[test]
fn no_web_server_shows_a_secret() {
    let scene = scene();
    let verdict = Nginx::test(&scene, Settings { locations: NGINX, ..Settings::default() });
    assert_clean("nginx -t", &verdict.text, &secrets(&scene));
    serves_without_a_word(&scene, Nginx::start(&scene, NGINX));
    let scene = self::scene();
    serves_without_a_word(&scene, Apache::start_with(&scene, Mpm::Event, APACHE));
}
