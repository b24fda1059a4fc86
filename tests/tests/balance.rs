//! Several servers for one path, several workers for one server: who is asked, who waits, who is left out, who comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use sclera::exchange::request::{BodyLength, Request};
use sclera::failure::Code;
use sclera::ledger::ConnectionState;
use sclera::pool::health::Wish;
use sclera_superserver::application::{self, Application, Exchange, Handling};
use sclera_superserver::{Options, Running, Superserver};
use sclera_tests::chaos::leftovers::connections_to;
use sclera_tests::gate::Gate;
use sclera_tests::gateway::{Answer, Gateway};
use sclera_tests::peer;
use sclera_tests::process::wait_until;
use sclera_tests::scene::free_port;

/// Says which server it runs on; at `/who/new` it begins a session.
struct Who(&'static str);

impl Application for Who {
    fn handle<'a>(&'a self, request: &'a application::Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
        Box::pin(async move {
            let new = request.path().ends_with(b"/new");
            let cookie = format!("CSPSESSIONID-SP-0-UP-who-=session-of-{}; path=/who/; httpOnly", self.0);
            let headers = [("Content-Type", "text/plain"), ("Set-Cookie", &cookie)];
            exchange.head(200, if new { &headers } else { &headers[..1] }).await?;
            exchange.write(self.0.as_bytes()).await
        })
    }
}

fn superserver(name: &'static str, port: u16) -> Running {
    superserver_with(name, port, |options| options)
}

/// A superserver with a gate at `/gate`.
fn gated(name: &'static str, gate: &Gate) -> Running {
    superserver_with(name, 0, |options| options.application("/gate", gate.clone()))
}

fn superserver_with(name: &'static str, port: u16, more: impl FnOnce(Options) -> Options) -> Running {
    let actions = format!(
        "CreateServer:Port={port},BindAddress=127.0.0.1,EnableCSP=1\n\
         ModifyService:Name=%Service_WebGateway,Enabled=1,AutheEnabled=$$$AutheUnauthenticated"
    );
    let options = more(Options::actions(&actions).application("/who", Who(name)));
    Superserver::start(options).unwrap_or_else(|error| panic!("{error}"))
}

/// A CSP.ini with servers A, B, ... at these ports, and one path that all of them answer for.
fn csp_ini(ports: &[u16], mode: &str, system: &str, server: &str) -> String {
    let names = || ["A", "B", "C", "D"].into_iter().zip(ports);
    let index: String = names().map(|(name, _)| format!("{name}=Enabled\n")).collect();
    let servers: String =
        names().map(|(name, port)| format!("[{name}]\nIp_Address=127.0.0.1\nTCP_Port={port}\n{server}\n")).collect();
    let alternatives: String =
        names().enumerate().map(|(at, (name, _))| format!("Alternative_Server_{at}=1~~~~~~{name}\n")).collect();
    format!(
        "[SYSTEM]\n{system}\n[SYSTEM_INDEX]\n{index}{servers}[APP_PATH_INDEX]\n/=Enabled\n\
         [APP_PATH:/]\nDefault_Server=A\nAlternative_Servers={mode}\n{alternatives}"
    )
}

fn one(csp_ini: &str) -> Gateway {
    let [gateway] = Gateway::workers(csp_ini);
    gateway
}

/// Which server answered.
fn who(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text()
}

fn wish(gateway: &Gateway, server: &str, wish: Wish) {
    let ledger = gateway.worker.ledger();
    let row = ledger.server(server).expect("a row");
    ledger.server_row(row).wish.store(wish.into(), Ordering::SeqCst);
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    assert!(wait_until(|| is_so().then_some(())).is_some(), "{what} did not happen");
}

#[test]
fn failover_keeps_to_the_first_server_leaves_it_when_it_is_gone_and_comes_back_by_itself() {
    let (first, second) = (superserver("A", 0), superserver("B", 0));
    let (port, ports) = (first.port(), [first.port(), second.port()]);
    let gateway = one(&csp_ini(&ports, "FailOver", "Sclera_Slow_Start=0", ""));
    assert!((0..5).all(|_| who(&gateway.get("/who")) == "A"));
    first.stop();
    assert!((0..20).all(|_| who(&gateway.get("/who")) == "B"), "not one request fails");
    let _first = superserver("A", port);
    eventually("the return", || who(&gateway.get("/who")) == "A");
    assert!((0..5).all(|_| who(&gateway.get("/who")) == "A"));
}

#[test]
fn load_is_spread_by_weights_and_to_whoever_is_left() {
    let servers = [superserver("A", 0), superserver("B", 0)];
    let ports = [servers[0].port(), servers[1].port()];
    let text = csp_ini(&ports, "LoadBalancing", "", "").replace("[B]\n", "[B]\nSclera_Weight=3\n");
    let gateway = one(&text);
    let of_a = |count: usize| (0..count).filter(|_| who(&gateway.get("/who")) == "A").count();
    assert_eq!(of_a(40), 10);
    let [_first, second] = servers;
    second.stop();
    assert_eq!(of_a(20), 20);
}

#[test]
fn the_least_busy_server_gets_the_next_request() {
    let gate = Gate::default();
    let servers = [gated("A", &gate), gated("B", &gate)];
    let text = csp_ini(&[servers[0].port(), servers[1].port()], "LoadBalancing", "", "");
    let gateway = one(&text.replace("Default_Server=A", "Default_Server=A\nSclera_Balance=least-busy"));
    thread::scope(|threads| {
        let held: Vec<_> = (0..2)
            .map(|number| {
                let held = threads.spawn(|| gateway.get("/gate").status);
                gate.wait_for(number + 1);
                held
            })
            .collect();
        // One request is held at each: they take turns again.
        let busy = |name: &str| gateway.worker.member().busy(gateway.worker.ledger().server(name).expect("a row"));
        assert_eq!((busy("A"), busy("B")), (1, 1));
        gate.open();
        held.into_iter().for_each(|held| assert_eq!(held.join().unwrap(), 200));
    });
}

#[test]
fn a_session_stays_with_the_server_that_began_it_whether_a_cookie_the_url_or_a_form_tells() {
    let servers = [superserver("A", 0), superserver("B", 0), superserver("C", 0)];
    let ports: Vec<u16> = servers.iter().map(Running::port).collect();
    let gateway = one(&csp_ini(&ports, "LoadBalancing", "", ""));
    for _ in 0..3 {
        let begun = gateway.get("/who/new");
        let home = who(&begun);
        let token = format!("session-of-{home}");
        let cookies = begun.cookies();
        assert!(cookies[0].starts_with("CSPSESSIONID") && cookies[1].starts_with("CSPWSERVERID="), "{cookies:?}");
        for _ in 0..4 {
            assert_eq!(who(&gateway.get_with_cookie("/who", &cookies[0])), home);
            assert_eq!(who(&gateway.get(&format!("/who?CSPCHD={token}"))), home);
            let form = format!("a=1&CSPCHD={token}");
            let headers: [(&[u8], &[u8]); 1] = [(b"Content-Type", b"application/x-www-form-urlencoded")];
            let length = BodyLength::Known(form.len() as u64);
            let request = Request { method: b"POST", target: b"/who", headers: &headers, length, ..Request::default() };
            assert_eq!(who(&gateway.answer(&request, &mut form.as_bytes())), home);
        }
    }
}

#[test]
fn after_a_restart_of_the_web_server_its_own_cookie_tells_where_a_session_belongs() {
    let servers = [superserver("A", 0), superserver("B", 0)];
    let text = csp_ini(&[servers[0].port(), servers[1].port()], "LoadBalancing", "", "");
    for _ in 0..2 {
        let begun = one(&text).get("/who/new");
        let again = one(&text);
        let cookie = begun.cookies().join("; ");
        assert!((0..4).all(|_| who(&again.get_with_cookie("/who", &cookie)) == who(&begun)));
    }
    let without = one(&text.replace("[SYSTEM]\n", "[SYSTEM]\nWeb_Server_ID_Cookie=Disabled\n")).get("/who/new");
    assert_eq!(without.cookies().len(), 1, "it can be switched off");
}

#[test]
fn a_drained_server_keeps_its_sessions_and_a_disabled_one_gets_nothing() {
    let servers = [superserver("A", 0), superserver("B", 0)];
    let gateway = one(&csp_ini(&[servers[0].port(), servers[1].port()], "FailOver", "", ""));
    let begun = gateway.get("/who/new");
    assert_eq!(who(&begun), "A");
    let cookie = &begun.cookies()[0];
    wish(&gateway, "A", Wish::Draining);
    assert_eq!(who(&gateway.get("/who")), "B");
    assert_eq!(who(&gateway.get_with_cookie("/who", cookie)), "A");
    wish(&gateway, "A", Wish::Disabled);
    assert_eq!(who(&gateway.get_with_cookie("/who", cookie)), "B");
    wish(&gateway, "B", Wish::Disabled);
    let nobody = gateway.get("/who");
    assert_eq!((nobody.status, nobody.failure), (503, Some(Code::ServerDisabled)));
    wish(&gateway, "A", Wish::Enabled);
    assert_eq!(who(&gateway.get("/who")), "A");
}

#[test]
fn the_only_server_of_a_path_keeps_every_session_while_it_is_drained() {
    let server = superserver("A", 0);
    let gateway = one(&csp_ini(&[server.port()], "Disabled", "", ""));
    wish(&gateway, "A", Wish::Draining);
    let new = gateway.get("/who");
    assert_eq!((new.status, new.failure), (503, Some(Code::ServerDisabled)));
    // Begun behind another gateway: nothing is known of it here.
    assert_eq!(who(&gateway.get_with_cookie("/who", "CSPSESSIONID=of-before")), "A");
    wish(&gateway, "A", Wish::Disabled);
    assert_eq!(gateway.get_with_cookie("/who", "CSPSESSIONID=of-before").status, 503);
}

#[test]
fn checks_leave_no_connections_behind() {
    let servers = [superserver("A", 0), superserver("B", 0)];
    let text = csp_ini(&[servers[0].port(), servers[1].port()], "FailOver", "", "Sclera_Health_Interval=1");
    let gateway = one(&text);
    eventually("the checks", || servers.iter().all(|server| server.counts().logins >= 3));
    // One may be under way for each.
    let open = gateway.worker.ledger().snapshot().connections.len();
    assert!(open <= 2, "{open} connections, and nobody has asked for a page");
}

#[test]
fn a_server_that_nothing_checks_while_it_serves_comes_back_even_if_only_posts_come() {
    let (first, second) = (superserver("A", 0), superserver("B", 0));
    let (port, ports) = (first.port(), [first.port(), second.port()]);
    let gateway = one(&csp_ini(&ports, "FailOver", "Sclera_Slow_Start=0", "Sclera_Health_Interval=0"));
    let post = || gateway.send("POST", "/who", BodyLength::Known(1), &mut &b"x"[..]);
    assert_eq!(who(&post()), "A");
    first.stop();
    eventually("the ejection", || who(&post()) == "B");
    let _first = superserver("A", port);
    eventually("the return", || who(&post()) == "A");
}

#[test]
fn a_session_has_no_more_connections_than_it_may_and_others_do_not_wait_for_it() {
    let gate = Gate::default();
    let server = gated("A", &gate);
    let lines = "Maximum_Session_Connections=1\nQueued_Request_Timeout=30";
    let [here, there] = Gateway::workers(&csp_ini(&[server.port()], "Disabled", "", lines));
    thread::scope(|threads| {
        let held = threads.spawn(|| here.get_with_cookie("/gate", "CSPSESSIONID=one").status);
        gate.wait_for(1);
        let second = threads.spawn(|| there.get_with_cookie("/who", "CSPSESSIONID=one").status);
        assert_eq!(who(&there.get_with_cookie("/who", "CSPSESSIONID=two")), "A");
        assert_eq!(who(&there.get("/who")), "A");
        assert!(!second.is_finished(), "it waits for its turn, also in another worker");
        gate.open();
        assert_eq!((held.join().unwrap(), second.join().unwrap()), (200, 200));
    });
}

#[test]
fn a_session_that_asks_for_too_much_at_once_is_refused_and_others_are_not() {
    let gate = Gate::default();
    let server = gated("A", &gate);
    let lines = "Maximum_Session_Connections=1\nSclera_Queue_Limit=2";
    let gateway = one(&csp_ini(&[server.port()], "Disabled", "", lines));
    let ask = |path: &str| gateway.get_with_cookie(path, "CSPSESSIONID=one");
    thread::scope(|threads| {
        let held = threads.spawn(|| ask("/gate").status);
        gate.wait_for(1);
        let answers: Vec<_> = (0..5).map(|_| threads.spawn(|| ask("/who"))).collect();
        // Those who are refused are so at once.
        eventually("the refusals", || answers.iter().filter(|answer| answer.is_finished()).count() == 3);
        assert_eq!(who(&gateway.get_with_cookie("/who", "CSPSESSIONID=two")), "A");
        gate.open();
        assert_eq!(held.join().unwrap(), 200);
        let answers = answers.into_iter().map(|answer| answer.join().unwrap());
        let (well, refused): (Vec<_>, Vec<_>) = answers.partition(|answer| answer.status == 200);
        assert_eq!(well.len(), 2);
        assert!(refused.iter().all(|answer| answer.failure == Some(Code::QueueFull)), "{refused:?}");
    });
}

#[test]
fn an_idle_connection_of_one_worker_makes_room_for_a_request_of_another() {
    let server = superserver("A", 0);
    let text = csp_ini(&[server.port()], "Disabled", "", "Maximum_Server_Connections=1");
    let workers: [Gateway; 4] = Gateway::workers(&text);
    for round in 0..3 {
        for gateway in &workers {
            assert_eq!(who(&gateway.get("/who")), "A", "round {round}");
        }
    }
    let open = workers[0].worker.ledger().snapshot().connections.len();
    assert_eq!(open, 1);
}

#[test]
fn many_requests_of_many_workers_share_few_connections_and_all_are_served() {
    let server = superserver("A", 0);
    let text = csp_ini(&[server.port()], "Disabled", "MAX_CONNECTIONS=3", "");
    let workers: [Gateway; 6] = Gateway::workers(&text);
    thread::scope(|threads| {
        for gateway in workers.iter().cycle().take(24) {
            threads.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(gateway.get("/csp/demo/slow?ms=1").status, 200);
                }
            });
        }
        while threads_are_at_work(&workers) {
            let open = connections_to(std::process::id(), server.port());
            assert!(open <= 3, "{open} connections at once");
            thread::yield_now();
        }
    });
    assert_eq!(server.counts().requests, 480);
}

fn threads_are_at_work(workers: &[Gateway]) -> bool {
    let answers = workers[0].worker.ledger().snapshot().answers;
    answers.iter().map(|series| series.count).sum::<u64>() < 480
}

/// Keeps all connections of this gateway at work with requests to `/csp/demo` while something happens.
fn under_load<T>(gateway: &Gateway, threads: usize, happens: impl FnOnce() -> T) -> T {
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(gateway.get("/csp/demo/slow?ms=1").status, 200);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        eventually("the load", || answered.load(Ordering::SeqCst) > 10);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(happens));
        over.store(true, Ordering::SeqCst);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn a_busy_server_does_not_keep_the_others_of_its_worker_from_their_turn() {
    let busy = superserver("A", 0);
    let other = superserver_with("B", 0, |options| options.application("/b", Who("B")));
    let text = csp_ini(&[busy.port(), other.port()], "Disabled", "MAX_CONNECTIONS=2", "")
        .replace("/=Enabled\n", "/=Enabled\n/b=Enabled\n")
        + "[APP_PATH:/b]\nDefault_Server=B\n";
    let gateway = one(&text);
    under_load(&gateway, 6, || {
        for _ in 0..10 {
            let before = busy.counts().requests;
            assert_eq!(who(&gateway.get("/b/")), "B");
            let meanwhile = busy.counts().requests - before;
            assert!(meanwhile < 200, "{meanwhile} requests went first");
        }
    });
}

#[test]
fn an_ejected_server_is_tried_again_although_the_others_have_all_connections_in_use() {
    let (first, port) = (superserver("A", 0), free_port());
    let system = "MAX_CONNECTIONS=1\nSclera_Slow_Start=0";
    let gateway = one(&csp_ini(&[first.port(), port], "LoadBalancing", system, "Sclera_Health_Interval=1"));
    eventually("the ejection", || {
        gateway.get("/who");
        gateway.worker.pool_by_name("B").expect("a pool").is_ejected()
    });
    under_load(&gateway, 4, || {
        let second = superserver("B", port);
        eventually("the return", || second.counts().requests > 0);
    });
}

#[test]
fn after_a_failure_that_smells_of_a_restart_no_worker_uses_a_connection_of_before() {
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = connections.clone();
    let port = peer::listen(move |stream| {
        seen.fetch_add(1, Ordering::SeqCst);
        let mut server = peer::Superserver::new(stream);
        let Some(call) = server.await_call() else { return };
        server.give_back(&call, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        // It takes one more call and ends without an answer, as a server does that is being shut down.
        if server.message().is_some() {
            server.close();
        }
    });
    let [here, there] = Gateway::workers(&csp_ini(&[port], "Disabled", "", ""));
    let post = |gateway: &Gateway| gateway.send("POST", "/", BodyLength::Known(1), &mut &b"x"[..]);
    assert_eq!((post(&here).status, post(&there).status), (200, 200));
    assert_eq!(post(&there).failure, Some(Code::ConnectionLost));
    assert_eq!(post(&here).status, 200, "the connection of before would have broken as well");
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[test]
fn a_busy_connection_can_be_interrupted_from_outside_and_an_idle_one_closed() {
    let gate = Gate::default();
    let server = gated("A", &gate);
    let gateway = one(&csp_ini(&[server.port()], "Disabled", "", ""));
    let ledger = gateway.worker.ledger();
    thread::scope(|threads| {
        let held = threads.spawn(|| gateway.send("POST", "/gate", BodyLength::Known(0), &mut std::io::empty()));
        gate.wait_for(1);
        let busy = ledger.snapshot().connections.into_iter().find(|it| it.state == ConnectionState::Busy).expect("one");
        ledger.ask_to_close(busy.seat, true);
        assert_eq!(held.join().unwrap().failure, Some(Code::Interrupted));
        gate.open();
    });
    assert_eq!(who(&gateway.get("/who")), "A");
    let idle = ledger.snapshot().connections.into_iter().find(|it| it.state == ConnectionState::Idle).expect("one");
    ledger.ask_to_close(idle.seat, false);
    eventually("the close", || ledger.snapshot().connections.is_empty());
}

#[test]
fn a_queue_that_is_full_refuses_the_next_request_at_once() {
    let gate = Gate::default();
    let server = gated("A", &gate);
    let lines = "Maximum_Server_Connections=1\nSclera_Queue_Limit=1";
    let gateway = one(&csp_ini(&[server.port()], "Disabled", "", lines));
    let waiting = || gateway.worker.pool_by_name("A").expect("a pool").counts().waiting;
    thread::scope(|threads| {
        let held = threads.spawn(|| gateway.get("/gate").status);
        gate.wait_for(1);
        let queued = threads.spawn(|| gateway.get("/who").status);
        eventually("the queue", || waiting() == 1);
        let refused = gateway.get("/who");
        assert_eq!((refused.status, refused.failure), (503, Some(Code::QueueFull)));
        gate.open();
        assert_eq!((held.join().unwrap(), queued.join().unwrap()), (200, 200));
    });
}

#[test]
fn with_every_server_gone_the_request_fails_and_with_the_first_back_it_is_answered_at_once() {
    let ports = [free_port(), free_port()];
    let gateway = one(&csp_ini(&ports, "FailOver", "Sclera_Health_Interval=0", ""));
    for _ in 0..3 {
        let failed = gateway.get("/who");
        assert_eq!((failed.status, failed.failure), (502, Some(Code::ConnectRefused)));
    }
    let _back = superserver("B", ports[1]);
    assert_eq!(who(&gateway.get("/who")), "B", "all are ejected, so all are tried");
}
