//! Connections are shared, limited, checked before they serve again, and never used after a doubt.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::{HandshakeKind, ProtocolVersion};
use sclera::connection::wait_for;
use sclera::exchange::request::BodyLength;
use sclera::failure::Code;
use sclera::pool::{Acquire, Lease};
use sclera::wire::frame::Code as MessageCode;
use sclera_superserver::{Options, Running, Superserver};
use sclera_tests::gateway::Gateway;
use sclera_tests::peer;
use sclera_tests::scene::Scene;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn superserver() -> (Running, Gateway) {
    superserver_with("")
}

/// A plain superserver that lets the gateway in without a password, and a gateway with these lines.
fn superserver_with(lines: &str) -> (Running, Gateway) {
    let actions = "CreateServer:Port=0,BindAddress=127.0.0.1,EnableCSP=1\n\
        ModifyService:Name=%Service_WebGateway,Enabled=1,AutheEnabled=$$$AutheUnauthenticated";
    let server = Superserver::start(Options::actions(actions)).expect("the superserver starts");
    let gateway = Gateway::local(&format!("TCP_Port={}\n{lines}", server.port()));
    (server, gateway)
}

/// Waits for something that another thread or process does; fails after a while that nothing should take.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn requests_one_after_the_other_share_a_connection() {
    let (server, gateway) = superserver();
    for _ in 0..10 {
        assert_eq!(gateway.get("/csp/demo/status/200").status, 200);
    }
    assert_eq!((server.counts().connections, server.counts().logins, server.counts().requests), (1, 1, 10));
    assert_eq!((gateway.counts().open, gateway.counts().idle), (1, 1));
}

#[test]
fn an_application_error_and_a_404_leave_the_connection_usable() {
    let (server, gateway) = superserver();
    assert_eq!(gateway.get("/nowhere").status, 404);
    assert_eq!(gateway.get("/csp/demo/status/500").status, 500);
    assert_eq!(gateway.get("/csp/demo/status/200").status, 200);
    assert_eq!(server.counts().connections, 1);
}

#[test]
fn there_are_never_more_connections_than_the_maximum_and_those_who_wait_are_served_in_turn() {
    let (server, gateway) = superserver_with("Maximum_Server_Connections=2");
    std::thread::scope(|threads| {
        for _ in 0..12 {
            threads.spawn(|| assert_eq!(gateway.get("/csp/demo/slow?ms=50").status, 200));
        }
    });
    assert_eq!((server.counts().connections, server.counts().requests), (2, 12));
}

#[test]
fn those_who_wait_are_served_in_turn_also_by_a_server_that_ends_after_every_answer() {
    const WAITING: usize = 8;
    let (all_wait, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let (seen, served) = (all_wait.clone(), turns.clone());
    let port = peer::listen(move |stream| {
        let mut server = peer::Superserver::new(stream);
        let Some(call) = server.await_call() else { return };
        let at = call.payload.windows(6).position(|bytes| bytes == b"/turn-").expect("the path");
        served.lock().unwrap().push(call.payload[at + 6] - b'0');
        eventually("the queue", || seen.load(Ordering::SeqCst));
        server.give_back_and_close(&call, OK);
    });
    let gateway = Gateway::local(&format!("TCP_Port={port}\nMaximum_Server_Connections=1"));
    std::thread::scope(|threads| {
        for turn in 0..=WAITING {
            let gateway = &gateway;
            threads.spawn(move || assert_eq!(gateway.get(&format!("/turn-{turn}")).status, 200));
            eventually("its place", || match turn {
                0 => turns.lock().unwrap().len() == 1,
                _ => gateway.counts().waiting == turn,
            });
        }
        all_wait.store(true, Ordering::SeqCst);
    });
    assert_eq!(*turns.lock().unwrap(), (0..=WAITING as u8).collect::<Vec<_>>());
}

#[test]
fn who_waits_too_long_for_a_connection_is_told_so() {
    let (_server, gateway) = superserver_with("Maximum_Server_Connections=1\nQueued_Request_Timeout=5");
    std::thread::scope(|threads| {
        let long = threads.spawn(|| gateway.get("/csp/demo/slow?ms=7000").status);
        eventually("the first request has the connection", || gateway.counts().open == 1);
        let answer = gateway.get("/csp/demo/status/200");
        assert_eq!((answer.status, answer.failure), (503, Some(Code::QueueTimeout)));
        assert_eq!(long.join().unwrap(), 200);
    });
    assert_eq!(gateway.counts().waiting, 0);
}

#[test]
fn a_connection_that_the_server_closed_while_it_idled_is_not_used() {
    static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);
    static CLOSED: AtomicUsize = AtomicUsize::new(0);
    let port = peer::listen(|stream| {
        CONNECTIONS.fetch_add(1, Ordering::SeqCst);
        let mut server = peer::Superserver::new(stream);
        if let Some(call) = server.await_call() {
            server.give_back(&call, OK);
        }
        server.close();
        CLOSED.fetch_add(1, Ordering::SeqCst);
    });
    let gateway = Gateway::local(&format!("TCP_Port={port}"));
    for number in 1..=3 {
        assert_eq!(gateway.get("/").status, 200);
        assert_eq!(CONNECTIONS.load(Ordering::SeqCst), number);
        eventually("the close", || CLOSED.load(Ordering::SeqCst) == number);
    }
}

#[test]
fn a_connection_on_which_the_server_spoke_unasked_is_not_used() {
    static SPOKEN: AtomicUsize = AtomicUsize::new(0);
    let port = peer::listen(|stream| {
        let mut server = peer::Superserver::new(stream);
        if let Some(call) = server.await_call() {
            server.give_back(&call, OK);
            server.send(b"stray");
            SPOKEN.fetch_add(1, Ordering::SeqCst);
            server.hold();
        }
    });
    let gateway = Gateway::local(&format!("TCP_Port={port}\nServer_Response_Timeout=5"));
    for connection in 1..=2 {
        let answer = gateway.get("/");
        assert_eq!(answer.status, 200, "connection {connection}: {answer:?}");
        eventually("the stray bytes", || SPOKEN.load(Ordering::SeqCst) == connection);
    }
}

/// A server that answers the first call of each connection and breaks the connection at the second; and how many calls it
/// has got.
fn breaks_at_the_second_call() -> (u16, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    let port = peer::listen(move |stream| {
        let mut server = peer::Superserver::new(stream);
        let Some(call) = server.await_call() else { return };
        seen.fetch_add(1, Ordering::SeqCst);
        server.give_back(&call, OK);
        if server.message().is_some() {
            seen.fetch_add(1, Ordering::SeqCst);
        }
        server.close();
    });
    (port, calls)
}

#[test]
fn a_post_that_may_have_reached_the_server_is_not_sent_again() {
    let (port, calls) = breaks_at_the_second_call();
    let gateway = Gateway::local(&format!("TCP_Port={port}"));
    assert_eq!(gateway.get("/").status, 200);
    let second = gateway.send("POST", "/", BodyLength::Known(2), &mut &b"ab"[..]);
    assert_eq!((second.status, second.failure), (502, Some(Code::ConnectionLost)));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn a_get_whose_connection_breaks_before_an_answer_is_sent_again() {
    let (port, calls) = breaks_at_the_second_call();
    let gateway = Gateway::local(&format!("TCP_Port={port}"));
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[test]
fn without_retries_a_get_is_sent_once() {
    let (port, calls) = breaks_at_the_second_call();
    let gateway = Gateway::local(&format!("TCP_Port={port}\n[SYSTEM]\nSclera_Retries=0\n"));
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(gateway.get("/").failure, Some(Code::ConnectionLost));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn a_connection_that_broke_in_an_answer_does_not_come_back() {
    let (server, gateway) = superserver();
    let broken = gateway.get("/csp/demo/fail?after=5");
    assert!(broken.aborted && broken.body.len() == 5, "{broken:?}");
    assert_eq!(gateway.counts().open, 0);
    assert_eq!(gateway.get("/csp/demo/status/200").status, 200);
    assert_eq!(server.counts().connections, 2);
}

#[test]
fn idle_connections_end_but_for_the_minimum() {
    let (_server, gateway) =
        superserver_with("No_Activity_Timeout=1\nMinimum_Server_Connections=1\nMaximum_Server_Connections=3");
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| gateway.get("/csp/demo/slow?ms=300").status);
        }
    });
    assert_eq!(gateway.counts().open, 3);
    eventually("idle closing", || gateway.counts().open == 1);
    assert_eq!(gateway.get("/csp/demo/status/200").status, 200);
}

#[test]
fn whoever_stops_logs_out_of_its_idle_connections() {
    let (told, tells) = std::sync::mpsc::channel();
    let port = peer::listen(move |stream| {
        let mut server = peer::Superserver::new(stream);
        let Some(call) = server.await_call() else { return };
        server.give_back(&call, OK);
        let _ = told.send(server.message().map(|message| message.code));
    });
    let gateway = Gateway::local(&format!("TCP_Port={port}"));
    assert_eq!(gateway.get("/").status, 200);
    drop(gateway);
    let last = tells.recv_timeout(Duration::from_secs(20)).expect("the end of the connection");
    assert_eq!(last, Some(MessageCode::DISCONNECT), "it says goodbye before it closes");
}

#[test]
fn names_are_resolved_and_both_families_of_addresses_are_tried() {
    let (server, _) = superserver();
    let gateway = Gateway::local(&format!("TCP_Port={}", server.port()).replace("TCP", "Ip_Address=localhost\nTCP"));
    assert_eq!(gateway.get("/csp/demo/status/200").status, 200);
}

/// Makes a new connection, though another may be idle.
fn open(gateway: &Gateway) -> Lease {
    let pool = gateway.worker.pool_by_name("LOCAL").expect("the server").clone();
    let mut acquire = Acquire::start(pool, Instant::now());
    loop {
        let waker = std::task::Waker::noop();
        match acquire.drive(gateway.worker.names(), waker, Instant::now()).expect("a connection") {
            Some(lease) => return lease,
            None => wait_for(acquire.wants()).expect("waiting"),
        }
    }
}

#[test]
fn a_second_connection_resumes_the_tls_session_of_the_first() {
    for (code, version) in [(16, ProtocolVersion::TLSv1_2), (32, ProtocolVersion::TLSv1_3)] {
        let scene = Scene::new();
        scene.edit_csp_ini(|text| {
            let text = text.replace("SSLCC_Protocol_Min=16", &format!("SSLCC_Protocol_Min={code}"));
            text.replace("SSLCC_Protocol_Max=32", &format!("SSLCC_Protocol_Max={code}"))
        });
        let gateway = Gateway::of(&scene.csp_ini());
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut lease = open(&gateway);
            let state = lease.connection.link_mut().tls_state().expect("TLS");
            assert_eq!((state.protocol_version(), state.handshake_kind()), (Some(version), Some(kind)));
        }
    }
}

/// `length` bytes, byte k = k mod 256.
fn pattern(length: u64) -> impl Read {
    let mut next = 0u64;
    struct Pattern<F>(F);
    impl<F: FnMut(&mut [u8]) -> usize> Read for Pattern<F> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            Ok((self.0)(buffer))
        }
    }
    Pattern(move |buffer: &mut [u8]| {
        let count = buffer.len().min((length - next) as usize);
        buffer[..count].iter_mut().for_each(|byte| {
            *byte = next as u8;
            next += 1;
        });
        count
    })
}

#[test]
fn bodies_of_every_size_and_kind_arrive_whole() {
    let (_server, gateway) = superserver();
    for length in [0, 1, 32 * 1024, 32 * 1024 + 1, 1_000_000] {
        for announced in [BodyLength::Known(length), BodyLength::Unknown] {
            let answer = gateway.send("POST", "/csp/demo/echo", announced, &mut pattern(length));
            let body = String::from_utf8_lossy(&answer.body);
            assert_eq!(answer.status, 200, "{length} {announced:?}: {body}");
            assert!(body.contains(&format!("\"length\":{length},")), "{length} {announced:?}: {body}");
        }
    }
}

#[test]
fn an_answer_of_any_size_arrives_whole() {
    let (_server, gateway) = superserver();
    for length in [0u64, 1, 32_767, 32_768, 40_000, 3_000_000] {
        let answer = gateway.get(&format!("/csp/demo/big?bytes={length}"));
        let mut expected = Vec::new();
        pattern(length).read_to_end(&mut expected).unwrap();
        assert!(answer.status == 200 && answer.body == expected, "{length}: {} bytes came", answer.body.len());
    }
}

#[test]
fn a_head_request_gets_no_body_and_leaves_the_connection_usable() {
    let (server, gateway) = superserver();
    let head = |target: &str| gateway.send("HEAD", target, BodyLength::Known(0), &mut std::io::empty());
    let answer = head("/csp/demo/big?bytes=40000");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(gateway.get("/csp/demo/status/200").status, 200);
    assert_eq!(server.counts().connections, 1);
    // Reading a long body for nothing costs more than a new connection.
    let answer = head("/csp/demo/big?bytes=1000000000");
    assert_eq!((answer.status, answer.body.len(), answer.aborted), (200, 0, false));
    assert_eq!(gateway.counts().open, 0);
}
