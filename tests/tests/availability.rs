//! Superservers come and go under load, through real web servers: what fails, what must not, and what returns by itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use sclera_superserver::{Options, Running};
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

/// A scene with three superservers that count together, the second and third as alternatives of the first.
struct Three {
    scene: Scene,
    counting: Counting,
    two: Option<Running>,
    three: Running,
}

impl Three {
    fn new(mode: &str) -> Three {
        let counting = counting();
        let mount = |options: Options| options.application(PATH, counting.clone());
        let scene = Scene::with_application(PATH, counting.clone());
        set_up(&scene, "Sclera_Health_Interval=1\n");
        let (two, three) = (scene.another_superserver("TWO", mount), scene.another_superserver("THREE", mount));
        let alternatives = format!(
            "Default_Server=LOCAL\nAlternative_Servers={mode}\nAlternative_Server_0=1~~~~~~LOCAL\n\
             Alternative_Server_1=1~~~~~~TWO\nAlternative_Server_2=1~~~~~~THREE\n"
        );
        let head = "[APP_PATH:/csp]\n";
        scene.edit_csp_ini(|text| {
            text.replace(&format!("{head}Default_Server=LOCAL\n"), &format!("{head}{alternatives}"))
        });
        Three { scene, counting, two: Some(two), three }
    }

    /// How many requests the three have had.
    fn requests(&self) -> [u64; 3] {
        let two = self.two.as_ref().map_or(0, |two| two.counts().requests);
        [self.scene.superserver().counts().requests, two, self.three.counts().requests]
    }
}

fn grows(what: &str, mut count: impl FnMut() -> u64) {
    let before = count();
    assert!(wait_until(|| (count() > before + 20).then_some(())).is_some(), "{what} gets no requests");
}

fn fails_over_and_returns<S: WebServer>(start: impl FnOnce(&Scene) -> S) {
    let mut all = Three::new("FailOver");
    let server = start(&all.scene);
    let (mut stopped, mut noticed) = (Instant::now(), Instant::now());
    let report = Load::steady(server.port(), SEED, CLIENTS, TAGS).during(|answered| {
        wait_for_answers(answered, 200);
        assert_eq!(all.requests()[1..], [0, 0], "the first is there");
        stopped = Instant::now();
        all.scene.stop_superserver();
        let second = all.two.as_ref().expect("it runs");
        let took_over = || (second.counts().requests > 0).then(Instant::now);
        noticed = wait_until(took_over).expect("the second takes over");
        wait_for_answers(answered, 200);
        all.scene.resume_superserver(|options| options.application(PATH, all.counting.clone()));
        grows("the first, healed,", || all.scene.superserver().counts().requests);
        wait_for_answers(answered, 100);
    });
    assert_eq!(all.three.counts().requests, 0, "the second was there");
    judge(&all, &report, stopped, noticed);
    assert!(server.stop());
}

fn balances_around_a_dead_server<S: WebServer>(start: impl FnOnce(&Scene) -> S) {
    let mut all = Three::new("LoadBalancing");
    let server = start(&all.scene);
    let (mut stopped, mut noticed) = (Instant::now(), Instant::now());
    let report = Load::steady(server.port(), SEED, CLIENTS, TAGS).during(|answered| {
        wait_for_answers(answered, 200);
        assert!(all.requests().iter().all(|&count| count > 0), "{:?}", all.requests());
        let two = all.two.take().expect("it runs");
        let port = two.port();
        stopped = Instant::now();
        two.stop();
        noticed = Instant::now();
        wait_for_answers(answered, 200);
        let mount = |options: Options| options.application(PATH, all.counting.clone());
        all.two = Some(all.scene.start_another("TWO", port, mount));
        grows("the second, healed,", || all.two.as_ref().map_or(0, |two| two.counts().requests));
    });
    judge(&all, &report, stopped, noticed);
    assert!(server.stop());
}

/// Only what was in flight when the server died may have failed, and no POST was run twice.
fn judge(all: &Three, report: &Report, stopped: Instant, noticed: Instant) {
    let failures = failures(report);
    let late: Vec<_> = failures.iter().filter(|failure| failure.began > noticed).collect();
    assert!(late.is_empty(), "failed after the dead server had been noticed, or after it was back: {late:?}");
    assert!(failures.iter().all(|failure| failure.ended >= stopped), "failed before the server died: {failures:?}");
    assert_eq!(run_twice(&all.counting, report), Vec::<u64>::new());
}

#[test]
fn a_dead_server_fails_no_request_once_noticed_and_gets_its_load_back_behind_nginx() {
    fails_over_and_returns(nginx);
    balances_around_a_dead_server(nginx);
}

#[test]
fn a_dead_server_fails_no_request_once_noticed_and_gets_its_load_back_behind_apache() {
    fails_over_and_returns(event);
    balances_around_a_dead_server(prefork);
}

/// Waits until a server gets none of 300 requests; before that it may get what was under way with it.
fn rests(what: &str, answered: &AtomicUsize, count: impl Fn() -> u64) {
    let gets_none = |_| {
        let before = count();
        wait_for_answers(answered, 300);
        count() == before
    };
    assert!((0..5).any(gets_none), "{what} still gets requests");
}

fn is_worked_on_without_a_failure<S: WebServer>(start: impl FnOnce(&Scene) -> S) {
    let all = Three::new("LoadBalancing");
    let server = start(&all.scene);
    let [one, two, three] = [0, 1, 2].map(|number| move |all: &Three| all.requests()[number]);
    let order = |line: &str| {
        let (well, said) = all.scene.sclera(line);
        assert!(well, "{line}: {said}");
    };
    let report = Load::steady(server.port(), SEED, CLIENTS, TAGS).during(|answered| {
        wait_for_answers(answered, 200);
        assert!(all.requests().iter().all(|&count| count > 0), "{:?}", all.requests());
        order("server drain TWO");
        rests("the drained one", answered, || two(&all));
        order("server disable LOCAL");
        rests("the disabled one", answered, || one(&all));
        order("connections close --all");
        grows("the third", || three(&all));
        order("server enable LOCAL");
        order("server enable TWO");
        grows("the first", || one(&all));
        grows("the second", || two(&all));
        order("connections close --server THREE");
        wait_for_answers(answered, 200);
    });
    assert_eq!(failures(&report).len(), 0, "{:?}", failures(&report));
    assert_eq!(run_twice(&all.counting, &report), Vec::<u64>::new());
    assert!(server.stop());
}

#[test]
fn servers_are_drained_disabled_and_closed_under_load_without_a_failure_behind_nginx() {
    is_worked_on_without_a_failure(nginx);
}

#[test]
fn servers_are_drained_disabled_and_closed_under_load_without_a_failure_behind_apache() {
    is_worked_on_without_a_failure(event);
    is_worked_on_without_a_failure(prefork);
}

#[test]
fn an_interrupted_connection_ends_its_request_and_no_other() {
    let scene = Scene::new();
    set_up(&scene, "Maximum_Server_Connections=4\n");
    let server = nginx(&scene);
    let mut slow = server.connect();
    slow.request("GET", "/csp/demo/slow?ms=30000");
    let busy = || scene.sclera("status").1.contains("busy").then_some(());
    assert!(wait_until(busy).is_some(), "{}", scene.sclera("status").1);
    // Asked only to close, it is closed after its request.
    assert!(scene.sclera("connections close --all").0);
    assert!(busy().is_some());
    assert!(scene.sclera("connections close --all --interrupt").0);
    let answer = slow.answer();
    assert_eq!(answer.status, 503, "it is not run again: {}", answer.text());
    assert!(wait_until(|| server.error_log().contains("SCLERA-903").then_some(())).is_some(), "{}", server.error_log());
    assert_eq!(server.get("/csp/demo/echo").status, 200);
}
