//! examples/own_socket.c, a program that owns its socket and its TLS, against the embedded superserver.

use std::process::{Command, Output};

use sclera_tests::certificates::{Ca, Leaf};
use sclera_tests::scene::Scene;
use sclera_tests::web_server::module;

fn run(scene: &Scene, wrapper: &[&str]) -> Output {
    let program = module("own_socket");
    let mut words = wrapper.iter().map(|word| (*word).into()).chain([program.into_os_string()]);
    Command::new(words.next().expect("a program")).args(words).arg(scene.csp_ini()).output().expect("it runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn it_logs_in_by_the_certificate_that_csp_ini_names() {
    let scene = Scene::new();
    let output = run(&scene, &[]);
    assert!(output.status.success() && text(&output).starts_with("logged in as WebUser\n"), "{}", text(&output));
    assert!(scene.superserver().store().login_failures().unwrap().is_empty());
}

#[test]
fn a_refusal_is_the_failure_of_the_table_in_both_versions_of_tls() {
    for version in ["", "\nSSLCC_Protocol_Max=16"] {
        let scene = Scene::new();
        scene.edit_csp_ini(|text| text.replace("SSLCC_Verify_Peer=1", &format!("SSLCC_Verify_Peer=1{version}")));
        let replace = |pair: &sclera_tests::certificates::Pair| {
            std::fs::copy(&pair.certificate, scene.directory().join("gateway.pem")).unwrap();
            std::fs::copy(&pair.key, scene.directory().join("gateway.key")).unwrap();
        };
        replace(&Ca::of(scene.directory()).issue("stranger", &Leaf::gateway("stranger")));
        let output = run(&scene, &[]);
        assert!(!output.status.success() && text(&output).contains("SCLERA-400 login-refused"), "{}", text(&output));
        replace(&Ca::new(scene.directory(), "other").issue("foreign", &Leaf::gateway("WebUser")));
        let output = run(&scene, &[]);
        let told = text(&output).contains("SCLERA-309 client-certificate-unknown-ca");
        assert!(!output.status.success() && told, "{version}: {}", text(&output));
    }
}

#[test]
fn the_precedence_of_csp_ini_holds_and_a_superserver_that_is_not_trusted_is_refused() {
    let scene = Scene::new();
    scene.edit_csp_ini(|text| text.replace("SSLCC_Verify_Peer=1", "SSLCC_Verify_Peer=1\nUsername=WebUser\nPassword=x"));
    assert!(text(&run(&scene, &[])).contains("SCLERA-406 password-hides-certificate"));
    let scene = Scene::new();
    Ca::new(scene.directory(), "other");
    scene.edit_csp_ini(|text| text.replace("/ca.pem", "/other.pem"));
    let output = run(&scene, &[]);
    assert!(!output.status.success() && text(&output).contains("UnknownIssuer"), "{}", text(&output));
}

#[test]
fn it_leaks_nothing_and_touches_no_foreign_memory() {
    let scene = Scene::new();
    let output = run(&scene, &["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn the_web_server_modules_do_not_load_its_library() {
    for name in ["mod_sclera.so", "ngx_http_sclera_module.so"] {
        let output = Command::new("readelf").arg("-d").arg(module(name)).output().expect("readelf runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("libsclera.so.0") && !text.contains("sclera_rustls"), "{text}");
    }
}
