//! What a CSP.ini asks for, seen from the outside: commands that give passwords, fragments, RELOAD, encoding, hosts.

use std::fs;
use std::os::unix::fs::chown;

use sclera_superserver::{Options, Running, Superserver};
use sclera_tests::host;
use sclera_tests::nginx::{Nginx, Settings};
use sclera_tests::process::wait_until;
use sclera_tests::scene::{Scene, worker_user};
use sclera_tests::web_server::WebServer;

const CSP: &str = "location / { CSP on; }";

/// A superserver without TLS that asks for the password `secret` of the user `gw`.
fn with_password() -> Running {
    let actions = "CreateServer:Port=0,BindAddress=127.0.0.1,EnableCSP=1\nCreateUser:Name=gw,Password=secret\n\
        ModifyService:Name=%Service_WebGateway,Enabled=1,AutheEnabled=$$$AuthePassword";
    Superserver::start(Options::actions(actions)).expect("the superserver starts")
}

/// A CSP.ini for that superserver with this password.
fn csp_ini(server: &Running, password: &str) -> String {
    format!(
        "[SYSTEM]\n[SYSTEM_INDEX]\nLOCAL=Enabled\n[LOCAL]\nIp_Address=127.0.0.1\nTCP_Port={}\nUsername=gw\n\
         Password={password}\n[APP_PATH_INDEX]\n/=Enabled\n",
        server.port()
    )
}

/// The directory of CSP.ini belongs to the workers, as the original wants it.
fn give_directory(scene: &Scene) {
    if let Some((uid, gid)) = worker_user() {
        chown(scene.directory(), Some(uid), Some(gid)).expect("root may");
    }
}

#[test]
fn a_command_gives_the_password_and_one_that_fails_gives_no_weaker_login() {
    let server = with_password();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("CSP.ini");
    for (password, status, code) in [
        ("secret", 200, None),
        ("]]]c2VjcmV0", 200, None),
        ("{printf secret}", 200, None),
        ("{printf wrong}", 502, Some("SCLERA-4")),
        ("{exit 3}", 503, Some("SCLERA-123")),
        ("{true}", 503, Some("SCLERA-123")),
    ] {
        fs::write(&config, csp_ini(&server, password)).unwrap();
        let run = host::get(&config, "/csp/demo/status/200");
        assert_eq!(run.status(), status, "{password}: {run:?}");
        assert!(code.is_none_or(|code| run.stderr.contains(code)), "{password}: {run:?}");
        assert!(!run.stderr.contains("printf") && !run.stderr.contains("secret"), "{run:?}");
    }
}

#[test]
fn a_secret_file_and_a_fragment_go_over_csp_ini() {
    let server = with_password();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("CSP.ini");
    fs::write(&config, csp_ini(&server, "wrong").replace("Username=gw", "Username=nobody")).unwrap();
    fs::create_dir(directory.path().join("CSP.ini.d")).unwrap();
    fs::write(directory.path().join("CSP.ini.d/10-user.ini"), "[LOCAL]\nUsername=gw\n").unwrap();
    fs::write(directory.path().join("password"), "secret\n").unwrap();
    assert_ne!(host::get(&config, "/csp/demo/status/200").status(), 200);
    let mut command = std::process::Command::new(host::program());
    command.arg(&config).args(["GET", "/csp/demo/status/200"]);
    command.env("SCLERA__LOCAL__PASSWORD_FILE", directory.path().join("password"));
    let run = host::run(&mut command);
    assert_eq!(run.status(), 200, "{run:?}");
}

#[test]
fn reload_is_obeyed_and_removed_and_passwords_are_encoded_only_on_request() {
    let scene = Scene::new();
    give_directory(&scene);
    scene.edit_csp_ini(|text| text + "[SPARE]\nIp_Address=127.0.0.1\nPassword=hunter2\n");
    let before = fs::read_to_string(scene.csp_ini()).unwrap();
    assert!(Nginx::test(&scene, Settings { locations: CSP, ..Settings::default() }).accepted);
    let nginx = Nginx::start(&scene, CSP);
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200);
    assert_eq!(fs::read_to_string(scene.csp_ini()).unwrap(), before, "nothing is written unasked");

    scene.edit_csp_ini(|text| text.replace("[SYSTEM]\n", "[SYSTEM]\nRELOAD=1\nSclera_Encode_Passwords=1\n"));
    assert!(fs::read_to_string(scene.csp_ini()).unwrap().contains("RELOAD=1"));
    let obeyed = || {
        let text = fs::read_to_string(scene.csp_ini()).unwrap();
        (!text.contains("RELOAD") && text.contains("Password=]]]aHVudGVyMg==")).then_some(())
    };
    assert!(wait_until(obeyed).is_some(), "{}", nginx.error_log());
    assert!(wait_until(|| nginx.error_log().contains("is in force").then_some(())).is_some(), "{}", nginx.error_log());
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200);
    assert!(!nginx.error_log().contains("hunter2"));
}

#[test]
fn a_profile_of_a_host_answers_for_that_host_alone_and_the_management_path_goes_to_no_server() {
    let scene = Scene::new();
    scene.edit_csp_ini(|text| text.replace("[APP_PATH_INDEX]\n", "[APP_PATH_INDEX]\n//closed.example/csp=Disabled\n"));
    let nginx = Nginx::start(&scene, CSP);
    let get = |host: &str, target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        nginx.connect().send(request).answer()
    };
    assert_eq!(get("open.example", "/csp/demo/status/200").status, 200);
    assert_eq!(get("www.closed.example:8080", "/csp/demo/status/200").status, 503);
    let management = get("open.example", "/iris/CSP/bin/systems/module.cxw?a=b");
    assert!(management.status == 403 && management.text().contains("not authorized"), "{}", management.text());
}

#[test]
fn the_first_start_makes_the_originals_default_csp_ini_and_a_reload_does_not() {
    let scene = Scene::new();
    let good = fs::read_to_string(scene.csp_ini()).unwrap();
    fs::remove_file(scene.csp_ini()).unwrap();
    assert!(Nginx::test(&scene, Settings { locations: CSP, ..Settings::default() }).accepted);
    assert!(!scene.csp_ini().exists(), "a check makes none");
    let nginx = Nginx::start(&scene, CSP);
    // Its server LOCAL is at 127.0.0.1:1972, where nothing listens.
    assert_eq!(nginx.get("/csp/demo/status/200").status, 502, "{}", nginx.error_log());
    let text = fs::read_to_string(scene.csp_ini()).expect("it has been made");
    assert!(text.contains("[LOCAL]\nIp_Address=127.0.0.1\nTCP_Port=1972\n"), "{text}");
    assert!(text.contains("\nConfiguration_Initialized="), "{text}");

    fs::write(scene.csp_ini(), &good).unwrap();
    assert!(nginx.reload());
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200, "{}", nginx.error_log());
    fs::remove_file(scene.csp_ini()).unwrap();
    assert!(!nginx.reload(), "a CSP.ini that has gone is no first start");
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200, "{}", nginx.error_log());
    assert!(!scene.csp_ini().exists());
}

#[test]
fn a_staged_file_is_merged_at_the_start() {
    let server = with_password();
    let directory = tempfile::tempdir().unwrap();
    let (config, staged) = (directory.path().join("CSP.ini"), directory.path().join("staged.ini"));
    fs::write(&config, "[SYSTEM]\nSM_Timeout=7\n").unwrap();
    fs::write(&staged, csp_ini(&server, "secret")).unwrap();
    for _ in 0..2 {
        let mut command = std::process::Command::new(host::program());
        command.arg(&config).args(["GET", "/csp/demo/status/200"]).env("ISC_CSP_INI_FILE", &staged);
        let run = host::run(&mut command);
        assert_eq!(run.status(), 200, "{run:?}");
    }
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("SM_Timeout=7\n") && text.contains("Username=gw") && !text.contains("RELOAD"), "{text}");
    assert_eq!(fs::read(directory.path().join("CSP.ini.last_merge")).unwrap(), fs::read(&staged).unwrap());
}
