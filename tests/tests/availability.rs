//! Superservers come and go under load, through real web servers: what fails, what must not, and what returns by itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use sclera_tests::apache::{Apache, Mpm};
use sclera_tests::counting::{Counting, Manners, PATH, Tally};
use sclera_tests::fault::{Proxy, Weather};
use sclera_tests::load::{Exception, Load, Outcome, Report};
use sclera_tests::nginx::{Nginx, Settings};
use sclera_tests::process::wait_until;
use sclera_tests::scene::Scene;
use sclera_tests::web_server::WebServer;

const SEED: u64 = 5;
const CLIENTS: usize = 16;
/// More than are sent in any of these tests.
const TAGS: u64 = 200_000;

fn counting() -> Counting {
    Counting { seed: SEED, manners: Manners { cuts: 0 }, tally: Tally::new(TAGS as usize) }
}

fn nginx(scene: &Scene) -> Nginx {
    let settings =
        Settings { main: "worker_processes 2;", locations: "location /csp { CSP on; }", ..Settings::default() };
    Nginx::start_with(scene, settings)
}

const CSP: &str = "<Location /csp>\nCSP On\n</Location>\n";

fn event(scene: &Scene) -> Apache {
    Apache::start_with(scene, Mpm::Event, CSP)
}

fn prefork(scene: &Scene) -> Apache {
    let processes = "StartServers 8\nServerLimit 8\nMaxRequestWorkers 8\nMaxKeepAliveRequests 8\nKeepAliveTimeout 1\n";
    Apache::start_with(scene, Mpm::Prefork, &format!("{processes}{CSP}"))
}

/// A scene's runtime directory of its own, and further lines for every server.
fn set_up(scene: &Scene, lines: &str) {
    let runtime = scene.directory().join("run");
    scene.edit_csp_ini(|text| {
        let system = format!("[SYSTEM]\nSclera_Runtime_Directory={}\n", runtime.display());
        text.replace("[SYSTEM]\n", &system).replace("[LOCAL]\n", &format!("[LOCAL]\n{lines}"))
    });
}

/// Waits for so many further answers.
fn wait_for_answers(answered: &AtomicUsize, count: usize) {
    let from = answered.load(Ordering::Relaxed);
    let come = || (answered.load(Ordering::Relaxed) >= from + count).then_some(());
    assert!(wait_until(come).is_some(), "{} answers came", answered.load(Ordering::Relaxed) - from);
}

/// Requests without a good answer, but for those that crossed with the end of a kept connection.
fn failures(report: &Report) -> Vec<&Exception> {
    report.exceptions.iter().filter(|exception| exception.outcome != Outcome::Untaken).collect()
}

fn run_twice(counting: &Counting, report: &Report) -> Vec<u64> {
    let (invented, doubled, ..) = sclera_tests::load::audit(report, &counting.tally, SEED, counting.manners);
    assert!(invented.is_empty(), "answered, but never run: {invented:?}");
    doubled
}

fn survives_a_restart<S: WebServer>(start: impl FnOnce(&Scene) -> S) {
    const CONNECTIONS: usize = 6;
    let counting = counting();
    let mut scene = Scene::with_application(PATH, counting.clone());
    set_up(&scene, &format!("Maximum_Server_Connections={CONNECTIONS}\n"));
    let server = start(&scene);
    let mut stopped = Instant::now();
    let mut back = stopped;
    let report = Load::steady(server.port(), SEED, CLIENTS, TAGS).during(|answered| {
        wait_for_answers(answered, 300);
        stopped = Instant::now();
        scene.stop_superserver();
        scene.resume_superserver(|options| options.application(PATH, counting.clone()));
        let well = || server.get("/csp/demo/echo").status == 200;
        assert!(wait_until(|| well().then_some(())).is_some(), "{}", server.error_log());
        back = Instant::now();
        wait_for_answers(answered, 300);
    });
    let failures = failures(&report);
    let late: Vec<_> = failures.iter().filter(|failure| failure.began > back).collect();
    assert!(late.is_empty(), "failed although the superserver was back: {late:?}");
    // What was with the superserver, as opposed to what met nobody while it was away.
    let was_there = |failure: &&&Exception| !matches!(failure.outcome, Outcome::Failed(200..=499 | 700..=799));
    let in_flight: Vec<_> = failures.iter().filter(was_there).collect();
    assert!(in_flight.len() <= CONNECTIONS, "more than were in flight: {in_flight:?}");
    assert!(in_flight.iter().all(|failure| failure.began <= back && failure.ended >= stopped), "{in_flight:?}");
    assert_eq!(run_twice(&counting, &report), Vec::<u64>::new());
    assert!(server.stop());
}

#[test]
fn a_restart_of_the_superserver_costs_the_requests_in_flight_behind_nginx() {
    survives_a_restart(nginx);
}

#[test]
fn a_restart_of_the_superserver_costs_the_requests_in_flight_behind_apache() {
    survives_a_restart(event);
    survives_a_restart(prefork);
}

fn never_exceeds_the_limit<S: WebServer>(start: impl FnOnce(&Scene) -> S) {
    let counting = counting();
    let scene = Scene::with_application(PATH, counting.clone());
    // It passes everything on, and knows at every moment how many connections there are.
    let proxy = Proxy::start(scene.superserver_port(), SEED, Weather::CALM);
    set_up(&scene, "Maximum_Server_Connections=4\nQueued_Request_Timeout=20\n");
    scene.edit_csp_ini(|text| {
        text.replace(&format!("TCP_Port={}\n", scene.superserver_port()), &format!("TCP_Port={}\n", proxy.port()))
    });
    let server = start(&scene);
    let report = Load::steady(server.port(), SEED, 64, 3_000).run();
    assert_eq!(failures(&report).len(), 0, "{:?}", failures(&report));
    assert!((1..=4).contains(&proxy.most()), "{} connections at once", proxy.most());
    assert_eq!(run_twice(&counting, &report), Vec::<u64>::new());
    assert!(server.stop());
}

#[test]
fn the_limit_of_connections_holds_over_all_workers_of_nginx() {
    never_exceeds_the_limit(nginx);
}

#[test]
fn the_limit_of_connections_holds_over_all_children_of_apache() {
    never_exceeds_the_limit(prefork);
    never_exceeds_the_limit(event);
}
