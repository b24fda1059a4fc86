//! Names with several addresses, names whose addresses change, and name servers that fail or hang.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sclera::event_log::Log;
use sclera::failure::Code;
use sclera::pool::names::Names;
use sclera_superserver::{Options, Running, Superserver};
use sclera_tests::gateway::Gateway;
use sclera_tests::nginx::{Nginx, Settings, can_replace_hosts};
use sclera_tests::process::wait_until;
use sclera_tests::scene::Scene;
use sclera_tests::web_server::WebServer;

/// What the name `iris.test` is looked up as, from the test's hands.
#[derive(Clone, Default)]
struct NameServer(Arc<State>);

#[derive(Default)]
struct State {
    answer: Mutex<Answer>,
    changed: Condvar,
    asked: AtomicUsize,
}

#[derive(Clone, Default)]
enum Answer {
    /// It does not answer at all.
    #[default]
    Hangs,
    Fails,
    Addresses(Vec<IpAddr>),
}

impl NameServer {
    fn new(hosts: &[&str]) -> NameServer {
        let it = NameServer::default();
        it.set(hosts);
        it
    }

    fn set(&self, hosts: &[&str]) {
        self.put(Answer::Addresses(hosts.iter().map(|host| host.parse().expect("an address")).collect()));
    }

    fn put(&self, answer: Answer) {
        *self.0.answer.lock().unwrap() = answer;
        self.0.changed.notify_all();
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    fn names(&self) -> Names {
        let state = self.0.clone();
        Names::new(move |name| {
            assert_eq!(name, "iris.test");
            state.asked.fetch_add(1, Ordering::SeqCst);
            let mut answer = state.answer.lock().unwrap();
            loop {
                match &*answer {
                    Answer::Hangs => answer = state.changed.wait(answer).unwrap(),
                    Answer::Fails => return Err("Temporary failure in name resolution".to_owned()),
                    Answer::Addresses(hosts) => {
                        return Ok(hosts.iter().map(|host| SocketAddr::new(*host, 0)).collect());
                    }
                }
            }
        })
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn log(&self) -> Log {
        let lines = self.0.clone();
        Log::new(move |_, text| lines.lock().unwrap().push(text.to_owned()))
    }

    fn count(&self, part: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }

    fn wait_for(&self, part: &str) {
        assert!(wait_until(|| (self.count(part) > 0).then_some(())).is_some(), "{part}: {:?}", self.0.lock().unwrap());
    }
}

/// A plain superserver on this address of the loopback; port 0 is any free one.
fn superserver(address: &str, port: u16) -> Running {
    let actions = format!(
        "CreateServer:Port={port},BindAddress={address},EnableCSP=1\n\
         ModifyService:Name=%Service_WebGateway,Enabled=1,AutheEnabled=$$$AutheUnauthenticated"
    );
    Superserver::start(Options::actions(&actions)).expect("the superserver starts")
}

fn gateway(name_server: &NameServer, port: u16, lines: &str) -> (Gateway, Lines) {
    let log = Lines::default();
    let lines = format!("TCP_Port={port}\n{lines}");
    (Gateway::named("iris.test", &lines, name_server.names(), log.log()), log)
}

fn ok(gateway: &Gateway) {
    let answer = gateway.get("/csp/demo/status/200");
    assert_eq!((answer.status, answer.failure), (200, None));
}

/// A listener of 127.0.0.`host` whose queue is full: what is sent to it is dropped.
fn silent(host: u8, port: u16) -> (OwnedFd, Vec<std::net::TcpStream>) {
    let address = SocketAddr::from(([127, 0, 0, host], port));
    let fd = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&fd, &address).expect("a free port");
    rustix::net::listen(&fd, 0).unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queued.push(stream);
    }
    (fd, queued)
}

#[test]
fn dead_addresses_before_the_living_one_cost_little_and_are_tried_last_from_then_on() {
    let server = superserver("127.0.0.1", 0);
    let _full = silent(2, server.port());
    let name_server = NameServer::new(&["127.0.0.2", "127.0.0.3", "::1", "127.0.0.4", "127.0.0.1"]);
    let (gateway, _) = gateway(&name_server, server.port(), "Sclera_Connect_Timeout=10\nServer_Response_Timeout=5");
    let begun = Instant::now();
    ok(&gateway);
    assert!(begun.elapsed() < Duration::from_secs(5), "less than half of the connect timeout");
    gateway.worker.pool_by_name("LOCAL").unwrap().close_all();
    ok(&gateway);
    assert_eq!((server.counts().connections, name_server.asked()), (2, 1));
}

#[test]
fn when_no_address_answers_each_is_named_in_the_log_line_and_the_name_is_looked_up_again_soon() {
    let server = superserver("127.0.0.1", 0);
    let name_server = NameServer::new(&["127.0.0.2", "127.0.0.3"]);
    let (gateway, log) = gateway(&name_server, server.port(), "Sclera_Resolve_Interval=86400");
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.failure), (502, Some(Code::ConnectRefused)));
    let detail = gateway.worker.pool_by_name("LOCAL").unwrap().last_failure().unwrap().to_string();
    let port = server.port();
    for address in ["127.0.0.2", "127.0.0.3"] {
        assert!(detail.contains(&format!("{address}:{port}: Connection refused")), "{detail}");
    }
    name_server.set(&["127.0.0.1"]);
    log.wait_for("iris.test has other addresses: 127.0.0.1; before: 127.0.0.2, 127.0.0.3");
    ok(&gateway);
}

#[test]
fn many_requests_at_once_share_one_look_up_and_each_waits_no_longer_than_it_may() {
    let server = superserver("127.0.0.1", 0);
    let name_server = NameServer::default();
    let (gateway, _) = gateway(&name_server, server.port(), "Sclera_Connect_Timeout=1");
    std::thread::scope(|threads| {
        let waiting: Vec<_> = (0..8).map(|_| threads.spawn(|| gateway.get("/csp/demo/status/200"))).collect();
        for request in waiting {
            let answer = request.join().unwrap();
            assert_eq!((answer.status, answer.failure), (502, Some(Code::NameNotResolved)));
        }
    });
    assert_eq!(name_server.asked(), 1);
    name_server.set(&["127.0.0.1"]);
    ok(&gateway);
    assert_eq!(name_server.asked(), 1);
}

#[test]
fn a_changed_name_leads_new_connections_to_the_new_address_and_ends_the_idle_ones_to_the_old() {
    let old = superserver("127.0.0.1", 0);
    let new = superserver("127.0.0.2", old.port());
    let name_server = NameServer::new(&["127.0.0.1"]);
    let (gateway, log) = gateway(&name_server, old.port(), "Sclera_Resolve_Interval=1");
    ok(&gateway);
    assert_eq!(gateway.counts().idle, 1);
    name_server.set(&["127.0.0.2"]);
    log.wait_for("iris.test has other addresses: 127.0.0.2; before: 127.0.0.1");
    assert!(wait_until(|| (gateway.counts().open == 0).then_some(())).is_some());
    ok(&gateway);
    assert_eq!((old.counts().requests, new.counts().requests), (1, 1));
}

#[test]
fn a_connection_in_use_while_its_address_goes_is_closed_when_it_comes_back() {
    let old = superserver("127.0.0.1", 0);
    let name_server = NameServer::new(&["127.0.0.1"]);
    let (gateway, log) = gateway(&name_server, old.port(), "Sclera_Resolve_Interval=1");
    std::thread::scope(|threads| {
        let request = threads.spawn(|| gateway.get("/csp/demo/slow?ms=3000").status);
        assert!(wait_until(|| (old.counts().requests == 1).then_some(())).is_some());
        name_server.set(&["127.0.0.2"]);
        log.wait_for("iris.test has other addresses");
        assert_eq!(request.join().unwrap(), 200);
    });
    assert!(wait_until(|| (gateway.counts().open == 0).then_some(())).is_some());
}

#[test]
fn a_name_server_that_fails_or_hangs_harms_no_request_once_there_are_addresses() {
    let server = superserver("127.0.0.1", 0);
    let name_server = NameServer::new(&["127.0.0.1"]);
    let (gateway, log) = gateway(
        &name_server,
        server.port(),
        "Sclera_Resolve_Interval=1\nNo_Activity_Timeout=1\nMinimum_Server_Connections=0",
    );
    ok(&gateway);
    name_server.put(Answer::Fails);
    log.wait_for("iris.test cannot be looked up any more (Temporary failure in name resolution)");
    name_server.put(Answer::Hangs);
    let asked = name_server.asked();
    assert!(wait_until(|| (name_server.asked() > asked).then_some(())).is_some(), "it is asked again");
    // The caretaker goes on with its other duties meanwhile.
    assert!(wait_until(|| (gateway.counts().open == 0).then_some(())).is_some(), "idle closing");
    ok(&gateway);
    name_server.set(&["127.0.0.1"]);
    log.wait_for("iris.test can be looked up again");
    assert_eq!(log.count("cannot be looked up"), 1);
    assert_eq!(log.count("has other addresses"), 0);
}

#[test]
fn with_interval_0_each_connection_looks_the_name_up() {
    let server = superserver("127.0.0.1", 0);
    let name_server = NameServer::new(&["127.0.0.1"]);
    let (gateway, _) = gateway(&name_server, server.port(), "Sclera_Resolve_Interval=0");
    for number in 1..=3 {
        ok(&gateway);
        ok(&gateway);
        assert_eq!((name_server.asked(), server.counts().connections), (number, number as u64));
        gateway.worker.pool_by_name("LOCAL").unwrap().close_all();
    }
}

#[test]
fn a_connection_that_has_reached_its_age_is_closed_though_the_minimum_is_not_exceeded() {
    let server = superserver("127.0.0.1", 0);
    let gateway = Gateway::local(&format!("TCP_Port={}\nSclera_Maximum_Age=1", server.port()));
    ok(&gateway);
    assert!(wait_until(|| (gateway.counts().open == 0).then_some(())).is_some());
    ok(&gateway);
    assert_eq!(server.counts().connections, 2);
}

#[test]
fn no_thread_is_left_of_look_ups_when_a_worker_has_ended() {
    let name_server = NameServer::new(&["127.0.0.2"]);
    let (gateway, _) = gateway(&name_server, 9, "");
    assert_eq!(gateway.get("/").failure, Some(Code::ConnectRefused));
    drop(gateway);
    // Those of other tests end, too.
    let look_ups = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("the tasks").flatten();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.starts_with("sclera-names")).count()
    };
    assert!(wait_until(|| (look_ups() == 0).then_some(())).is_some());
}

/// Nginx watches one descriptor for all attempts, and must not take it for a socket of theirs.
#[test]
fn nginx_gets_past_dead_addresses_of_the_systems_resolver_and_follows_a_change() {
    if !can_replace_hosts() {
        eprintln!("not tried: this user may not mount");
        return;
    }
    let server = superserver("127.0.0.3", 0);
    let scene = Scene::without_superserver();
    let hosts = scene.directory().join("hosts");
    let names = |addresses: &[&str]| {
        let lines: Vec<String> = addresses.iter().map(|address| format!("{address} iris.test\n")).collect();
        std::fs::write(&hosts, lines.concat()).expect("a file");
    };
    // The resolver puts 127.0.0.1 first, which does not answer.
    names(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    let _full = silent(1, server.port());
    scene.edit_csp_ini(|_| {
        format!(
            "[SYSTEM_INDEX]\nLOCAL=Enabled\n[LOCAL]\nIp_Address=iris.test\nTCP_Port={}\nSclera_Resolve_Interval=1\n\
             Sclera_Maximum_Age=1\n[APP_PATH_INDEX]\n/=Enabled\n[APP_PATH:/]\nDefault_Server=LOCAL\n",
            server.port()
        )
    });
    let locations = "location /csp { CSP on; }";
    let nginx = Nginx::start_with(&scene, Settings { locations, hosts: Some(&hosts), ..Settings::default() });
    // Each connection ends after a second, so that many are made while others rest.
    let several_end = wait_until(|| {
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| assert_eq!(nginx.get("/csp/demo/status/200").status, 200));
            }
        });
        (server.counts().connections >= 12).then_some(())
    });
    assert!(several_end.is_some(), "{}", nginx.error_log());
    let next = superserver("127.0.0.2", server.port());
    names(&["127.0.0.2"]);
    let change = "iris.test has other addresses: 127.0.0.2; before: 127.0.0.1, 127.0.0.2, 127.0.0.3";
    assert!(nginx.wait_for_log(change), "{}", nginx.error_log());
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200);
    assert_eq!(next.counts().requests, 1);
    let log = nginx.error_log();
    assert!(!log.contains("[alert]") && !log.contains("[crit]"), "{log}");
    assert!(nginx.stop());
}
