//! The guided set-up, followed to its end: a profile with a password becomes one with a certificate, and the superserver
//! that its merge file describes lets it in.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sclera_superserver::{Options, Superserver};
use sclera_tests::program;
use sclera_tests::scene::free_port;

fn sclera(arguments: &[&str]) -> Output {
    Command::new(program("sclera")).args(arguments).output().expect("the command runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_password_profile_becomes_mutual_tls_in_one_command_and_a_merge() {
    let directory = tempfile::tempdir().unwrap();
    let (config, files) = (directory.path().join("CSP.ini"), directory.path().join("tls"));
    fs::write(
        &config,
        "[SYSTEM_INDEX]\nMAIN=Enabled\n[MAIN]\nIp_Address=127.0.0.1\nUsername=CSPSystem\nPassword=canary-Wq3\n",
    )
    .unwrap();
    let (config, files) = (config.to_str().unwrap(), files.to_str().unwrap());
    let port = free_port().to_string();
    let set_up = ["setup", "mtls", "MAIN", "--config", config, "--port", &port, "--user", "Gateway", "--private-ca"];
    let done = sclera(&[&set_up[..], &["--directory", files]].concat());
    // Nothing listens yet: what was to be done on this side is done all the same.
    assert_eq!(done.status.code(), Some(1), "{}", text(&done));
    assert!(text(&done).contains("SCLERA-201") && !text(&done).contains("canary"), "{}", text(&done));

    let merge = Path::new(files).join("MAIN.cpf");
    let server = Superserver::start(Options::merge_file(merge)).unwrap_or_else(|error| panic!("{error}"));
    let tested = sclera(&["test", "MAIN", "--config", config]);
    assert_eq!(tested.status.code(), Some(0), "{}", text(&tested));
    assert!(text(&tested).contains("knows the gateway as Gateway"), "{}", text(&tested));
    assert!(server.store().login_failures().unwrap().is_empty());
}
