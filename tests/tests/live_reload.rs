//! A changed CSP.ini comes into force by itself, in every worker, as a whole or not at all.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use sclera_tests::apache::{Apache, Mpm};
use sclera_tests::gate::Gate;
use sclera_tests::nginx::{Nginx, Settings};
use sclera_tests::process::{send, wait_until};
use sclera_tests::scene::Scene;
use sclera_tests::web_server::WebServer;

const NGINX: &str = "location /csp { CSP on; }";
const APACHE: &str = "<Location /csp>\nCSP On\n</Location>";

/// Enough connections to meet every worker.
fn all_answer(server: &impl WebServer, status: u16) -> bool {
    wait_until(|| (0..12).all(|_| server.get("/csp/demo/echo").status == status).then_some(())).is_some()
}

fn close_path(text: String) -> String {
    text.replace("/csp=Enabled", "/csp=Disabled")
}

fn open_path(text: String) -> String {
    text.replace("/csp=Disabled", "/csp=Enabled")
}

fn in_force(server: &impl WebServer) -> usize {
    server.error_log().matches("has changed and is in force").count()
}

fn follows_the_file<S: WebServer>(scene: &Scene, server: S) {
    assert!(all_answer(&server, 200));
    scene.edit_csp_ini(close_path);
    assert!(all_answer(&server, 503), "{}", server.error_log());
    scene.edit_csp_ini(|text| text.replace("TCP_Port=", "TCP_Port=x"));
    let kept = "but the configuration read before stays in force";
    assert!(wait_until(|| server.error_log().contains(kept).then_some(())).is_some(), "{}", server.error_log());
    assert!(server.error_log().contains("is not a TCP port"), "{}", server.error_log());
    assert!(all_answer(&server, 503));
    scene.edit_csp_ini(|text| open_path(text.replace("TCP_Port=x", "TCP_Port=")));
    assert!(all_answer(&server, 200), "{}", server.error_log());
    scene.edit_csp_ini(|text| text.replace("[SYSTEM]\n", "[SYSTEM]\nMAX_CONNECTIONS=7\n"));
    let later = "[SYSTEM] MAX_CONNECTIONS=7 will be in force when the web server has been restarted";
    assert!(wait_until(|| server.error_log().contains(later).then_some(())).is_some(), "{}", server.error_log());
    assert!(server.stop());
}

#[test]
fn nginx_workers_follow_the_file_and_keep_what_they_have_when_it_is_wrong() {
    let scene = Scene::new();
    let settings = Settings { main: "worker_processes 3;", locations: NGINX, ..Settings::default() };
    follows_the_file(&scene, Nginx::start_with(&scene, settings));
}

#[test]
fn apache_children_follow_the_file_and_keep_what_they_have_when_it_is_wrong() {
    for mpm in [Mpm::Prefork, Mpm::Event] {
        let scene = Scene::new();
        follows_the_file(&scene, Apache::start_with(&scene, mpm, APACHE));
    }
}

#[test]
fn a_request_ends_under_the_configuration_it_began_with() {
    let gate = Gate::default();
    let scene = Scene::with_application("/csp/gate", gate.clone());
    let server = Nginx::start(&scene, NGINX);
    let mut client = server.connect();
    client.request("GET", "/csp/gate");
    gate.wait_for(1);
    scene.edit_csp_ini(|text| text.replace("Ip_Address=127.0.0.1", "Ip_Address=127.0.0.1\nPassword=wrong"));
    assert!(wait_until(|| (in_force(&server) > 0).then_some(())).is_some(), "{}", server.error_log());
    assert_ne!(server.get("/csp/demo/echo").status, 200, "new requests log in anew");
    gate.open();
    assert_eq!(client.answer().text(), "through\n");
    assert!(server.stop());
}

#[test]
fn no_request_fails_while_the_file_changes_again_and_again() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, NGINX);
    let apache = Apache::start_with(&scene, Mpm::Event, APACHE);
    // Their workers have started, and have read the file as it is.
    assert!(all_answer(&nginx, 200) && all_answer(&apache, 200));
    let done = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for port in [nginx.port(), apache.port(), nginx.port(), apache.port()] {
            let (done, answered) = (&done, &answered);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let mut client = sclera_tests::http::Client::connect(port);
                    let answer = client.request("GET", "/csp/demo/echo").answer();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 1..=6 {
            // Each change makes the pool a new one.
            let (old, new) =
                (format!("Session_Connections={}", round + 5), format!("Session_Connections={}", round + 6));
            scene.edit_csp_ini(|text| text.replace(&old, &new));
            let both = || (in_force(&nginx) >= round && in_force(&apache) >= round).then_some(());
            let reached = wait_until(both).is_some();
            if !reached {
                done.store(true, Ordering::Relaxed);
            }
            assert!(reached, "round {round}: {}{}", nginx.error_log(), apache.error_log());
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(answered.load(Ordering::Relaxed) > 0);
    assert!(nginx.stop() && apache.stop());
}

#[test]
fn a_worker_does_its_other_duties_while_a_command_takes_its_time_to_give_a_password() {
    let scene = Scene::new();
    let server = Nginx::start(&scene, NGINX);
    assert_eq!(server.get("/csp/demo/echo").status, 200);
    let connections = || scene.sclera("status --json").1.matches("\"mark\"").count();
    assert_eq!(connections(), 1);

    // The workers' user may write here.
    let (begun, go) = (scene.directory().join("run/begun"), scene.directory().join("run/go"));
    let command = format!("touch {}; until [ -e {} ]; do sleep 0.02; done; echo x", begun.display(), go.display());
    let slow =
        format!("[SLOW]\nIp_Address=127.0.0.1\nTCP_Port=1\nUsername=CSPSystem\nPassword={{{command}}}\n\n[LOCAL]\n");
    scene.edit_csp_ini(|text| {
        text.replace("[SYSTEM]\n", "[SYSTEM]\nSclera_Password_Command_Timeout=300\n")
            .replace("LOCAL=Enabled\n", "LOCAL=Enabled\nSLOW=Enabled\n")
            .replace("[LOCAL]\n", &slow)
    });
    assert!(wait_until(|| begun.exists().then_some(())).is_some(), "{}", server.error_log());
    let (closed, said) = scene.sclera("connections close --all");
    assert!(closed, "{said}");
    assert!(wait_until(|| (connections() == 0).then_some(())).is_some(), "nobody has heeded the order");
    assert_eq!(server.get("/csp/demo/echo").status, 200);
    assert_eq!(in_force(&server), 0);
    fs::write(go, "").unwrap();
    assert!(wait_until(|| (in_force(&server) == 1).then_some(())).is_some(), "{}", server.error_log());
}

#[test]
fn a_worker_that_starts_later_counts_to_the_same_limit_as_those_before() {
    let gate = Gate::default();
    let scene = Scene::with_application("/csp/gate", gate.clone());
    scene.edit_csp_ini(|text| text.replace("[SYSTEM]\n", "[SYSTEM]\nMAX_CONNECTIONS=1\nSclera_Queue_Limit=1\n"));
    let settings = Settings { main: "worker_processes 1;", locations: NGINX, ..Settings::default() };
    let server = Nginx::start_with(&scene, settings);
    scene.edit_csp_ini(|text| text.replace("MAX_CONNECTIONS=1\n", "MAX_CONNECTIONS=50\n"));
    let told = || server.error_log().contains("MAX_CONNECTIONS=50 will be in force when").then_some(());
    assert!(wait_until(told).is_some(), "{}", server.error_log());
    let first = server.workers();
    send(first[0], Signal::KILL);
    let other = || Some(server.workers()).filter(|now| !now.is_empty() && *now != first);
    assert!(wait_until(other).is_some(), "{:?}", server.workers());

    // One has the connection, one waits for it, and the third is refused.
    let mut clients = [server.connect(), server.connect(), server.connect()];
    for client in &mut clients {
        client.request("GET", "/csp/gate");
    }
    let refused = || server.error_log().contains("SCLERA-701").then_some(());
    assert!(wait_until(refused).is_some(), "{}", server.error_log());
    gate.open();
    let mut statuses = clients.map(|mut client| client.answer().status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503]);
}
