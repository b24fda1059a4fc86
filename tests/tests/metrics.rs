//! Metrics, liveness, readiness, status and orders through the stock web servers: the numbers are those of the requests that
//! were sent, whatever happens to workers meanwhile.

use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use sclera_tests::apache::{Apache, Mpm};
use sclera_tests::http::Answer;
use sclera_tests::nginx::{Nginx, Settings};
use sclera_tests::process::{send, wait_until};
use sclera_tests::scene::Scene;
use sclera_tests::web_server::WebServer;

/// A header by which a test says which client it is; the web server's own trusted-proxy setting believes it.
const CLIENT: &str = "X-Test-Client";
const SYSTEM: &str = "Sclera_Metrics_Path=/csp/metrics\nSclera_Live_Path=/csp/live\nSclera_Ready_Path=/csp/ready\n";

fn scene() -> Scene {
    let scene = Scene::new();
    scene.edit_csp_ini(|text| text.replacen("[SYSTEM]\n", &format!("[SYSTEM]\n{SYSTEM}"), 1));
    scene
}

fn nginx(scene: &Scene) -> Nginx {
    let http = format!(
        "CSPConfigPath {};\nset_real_ip_from 127.0.0.1;\nreal_ip_header {CLIENT};",
        scene.directory().display()
    );
    let settings = Settings {
        main: "worker_processes 2;",
        http: &http,
        locations: "location /csp { CSP on; }",
        ..Settings::default()
    };
    Nginx::start_with(scene, settings)
}

fn ask(server: &impl WebServer, headers: &str, target: &str) -> Answer {
    let mut client = server.connect();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n")).answer()
}

/// The sum of all series of a metric that have these labels.
fn sum(page: &str, metric: &str, labels: &[&str]) -> u64 {
    let series = page.lines().filter(|line| {
        let named = line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
        named && labels.iter().all(|label| line.contains(label))
    });
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap_or_else(|_| panic!("{line}"))).sum()
}

fn metrics(server: &impl WebServer) -> String {
    let answer = server.get("/csp/metrics");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// Waits until what was sent has been counted: that happens when an answer's last byte has been passed on.
fn counted(server: &impl WebServer, good: u64, absent: u64) {
    let found = |page: &str| {
        (
            sum(page, "sclera_requests_total", &["status=\"200\""]),
            sum(page, "sclera_requests_total", &["status=\"404\""]),
        )
    };
    let same = wait_until(|| (found(&metrics(server)) == (good, absent)).then_some(()));
    let page = metrics(server);
    assert!(same.is_some(), "{good} and {absent} were sent; {page}");
    assert_eq!(sum(&page, "sclera_requests_total", &[]), good + absent, "{page}");
    assert_eq!(sum(&page, "sclera_request_duration_seconds_count", &["server=\"LOCAL\""]), good + absent, "{page}");
    assert_eq!(sum(&page, "iris_csp_activity", &["server=\"LOCAL\""]), good + absent, "{page}");
}

fn counts_every_request<S: WebServer>(server: &S) {
    let request = |count: u64| {
        for _ in 0..count {
            assert_eq!(server.get("/csp/demo/status/200").status, 200);
            assert_eq!(server.get("/csp/demo/status/404").status, 404);
        }
    };
    request(10);
    counted(server, 10, 10);
    assert!(server.reload());
    request(10);
    counted(server, 20, 20);
    let victims = server.workers();
    victims.iter().for_each(|&pid| assert!(send(pid, Signal::KILL)));
    let replaced = || {
        let now = server.workers();
        (!now.is_empty() && victims.iter().all(|victim| !now.contains(victim))).then_some(())
    };
    assert!(wait_until(replaced).is_some());
    request(10);
    counted(server, 30, 30);
    let page = wait_until(|| Some(metrics(server)).filter(|page| sum(page, "sclera_workers_lost_total", &[]) >= 1));
    let page = page.expect("the killed workers are noticed");
    assert!(sum(&page, "sclera_tls_handshakes_total", &["LOCAL"]) >= 1, "{page}");
    assert_eq!(sum(&page, "sclera_server_health", &["state=\"up\"", "LOCAL"]), 1, "{page}");
    assert!(sum(&page, "sclera_certificate_left_seconds", &["kind=\"own\""]) > 0, "{page}");
    assert!(sum(&page, "sclera_certificate_left_seconds", &["kind=\"ca\""]) > 0, "{page}");
    accepted_by_promtool(&page);
}

fn accepted_by_promtool(page: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is in Debian's package prometheus: run scripts/setup.sh test");
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.is_empty(), "{said}\n{page}");
}

#[test]
fn nginx_counts_every_request_over_a_reload_and_killed_workers() {
    let scene = scene();
    counts_every_request(&nginx(&scene));
}

#[test]
fn apache_prefork_counts_every_request_over_a_reload_and_killed_children() {
    let scene = scene();
    let directives = "StartServers 3\nMinSpareServers 3\nMaxSpareServers 3\n<Location /csp>\nCSP On\n</Location>";
    counts_every_request(&Apache::start_with(&scene, Mpm::Prefork, directives));
}

#[test]
fn only_those_who_may_read_the_metrics_and_everybody_learns_whether_the_gateway_lives() {
    let scene = scene();
    let server = nginx(&scene);
    let stranger = format!("{CLIENT}: 203.0.113.9\r\n");
    assert_eq!(ask(&server, &stranger, "/csp/metrics").status, 403);
    assert_eq!(ask(&server, "X-Forwarded-For: 127.0.0.1\r\n", "/csp/metrics").status, 403);
    assert_eq!(server.connect().post("/csp/metrics", b"x").answer().status, 405);
    let open = ask(&server, "Accept: application/openmetrics-text\r\n", "/csp/metrics");
    assert_eq!(open.header("Content-Type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.text().ends_with("# EOF\n"));
    for (target, text) in [("/csp/live", "live\n"), ("/csp/ready", "ready\n")] {
        let answer = ask(&server, &stranger, target);
        assert_eq!((answer.status, answer.text().as_str()), (200, text));
    }
    let closed = "Sclera_Metrics_Clients=203.0.113.0/24\nSclera_Live_Path=\n";
    scene.edit_csp_ini(|text| {
        text.replacen("[SYSTEM]\n", &format!("[SYSTEM]\n{closed}"), 1).replace("Sclera_Live_Path=/csp/live\n", "")
    });
    assert!(wait_until(|| (ask(&server, &stranger, "/csp/metrics").status == 200).then_some(())).is_some());
    assert!(wait_until(|| (server.get("/csp/metrics").status == 403).then_some(())).is_some());
    let gone = || (0..8).all(|_| server.get("/csp/live").text() != "live\n").then_some(());
    assert!(wait_until(gone).is_some(), "each worker has read it");
}

#[test]
fn orders_from_the_command_line_are_obeyed_by_all_workers() {
    let scene = scene();
    let server = nginx(&scene);
    let all_answer = |status: u16| {
        let answers = || (0..8).all(|_| server.get("/csp/demo/status/200").status == status);
        wait_until(|| answers().then_some(())).is_some()
    };
    assert!(all_answer(200));
    let (well, said) = scene.sclera("status");
    assert!(well && said.contains("LOCAL") && said.contains("up"), "{said}");
    assert_eq!(scene.sclera("server disable LOCAL"), (true, "server LOCAL gets no requests any more\n".to_owned()));
    assert!(all_answer(503), "{}", server.error_log());
    assert_eq!(server.get("/csp/ready").status, 503);
    assert_eq!(server.get("/csp/live").status, 200);
    assert!(scene.sclera("status").1.contains("stopped"));
    assert!(scene.sclera("server enable LOCAL").0);
    assert!(all_answer(200));
    assert_eq!(server.get("/csp/ready").status, 200);
    let before = sum(&metrics(&server), "sclera_connections_closed_total", &["LOCAL"]);
    let (well, said) = scene.sclera("connections close --server LOCAL");
    assert!(well && said.contains("closed"), "{said}");
    let closed = || sum(&metrics(&server), "sclera_connections_closed_total", &["LOCAL"]) > before;
    assert!(wait_until(|| closed().then_some(())).is_some(), "{}", metrics(&server));
    assert!(all_answer(200));
}
