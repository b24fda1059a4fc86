//! Requests through the stock nginx with our module to an embedded superserver, over pooled mutual TLS.

use std::fs;
use std::net::TcpStream;

use sclera_tests::gate::{Fixed, Gate};
use sclera_tests::http::Client;
use sclera_tests::nginx::{Nginx, Settings};
use sclera_tests::process::{connections_to, resident, sockets, threads, wait_until};
use sclera_tests::scene::Scene;
use sclera_tests::web_server::WebServer;

const CSP: &str = "location /csp { CSP on; }";
const MEBIBYTE: u64 = 1024 * 1024;

#[test]
fn a_request_reaches_the_superserver_as_the_certificates_user() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, CSP);
    let answer = nginx.get("/csp/demo/");
    assert_eq!((answer.status, answer.reason.as_str()), (200, "OK"));
    assert_eq!(answer.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert!(answer.text().contains("Login identity: WebUser (mutual TLS)"), "{}", answer.text());
    assert_eq!(answer.all("Server"), ["nginx/1.22.1"]);
    assert_eq!(answer.all("Date").len(), 1);
    assert!(nginx.stop());
}

#[test]
fn the_superserver_sees_method_target_and_variables_as_the_browser_sent_them() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, CSP);
    let request = "GET /csp/demo/echo/a%2Fb//c%25?x=%2F%25&y=a+b HTTP/1.1\r\nHost: Example.org:99\r\n\
                   X-Twice: one\r\nX-Twice: two\r\nCookie: a=1\r\n\r\n";
    let echo = nginx.connect().send(request).answer().json();
    assert_eq!(echo["method"], "GET");
    assert_eq!(echo["target"], "/csp/demo/echo/a%2Fb//c%25?x=%2F%25&y=a+b");
    let variables = &echo["variables"];
    assert_eq!(variables["QUERY_STRING"], "x=%2F%25&y=a+b");
    assert_eq!(variables["HTTP_HOST"], "Example.org:99");
    assert_eq!(variables["SERVER_NAME"], "example.org");
    assert_eq!(variables["SERVER_PORT"], nginx.port().to_string());
    assert_eq!(variables["REMOTE_ADDR"], "127.0.0.1");
    assert_eq!(variables["SERVER_SOFTWARE"], "nginx/1.22.1");
    assert_eq!(variables["HTTP_COOKIE"], "a=1");
    assert_eq!(variables["HTTPS"], "Off");
}

#[test]
fn requests_on_one_connection_are_answered_one_after_the_other() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, CSP);
    let mut client = nginx.connect();
    // Pipelined: all are sent before any is answered.
    for status in [200, 404, 204, 304, 500] {
        client.request("GET", &format!("/csp/demo/status/{status}"));
    }
    client.post("/csp/demo/echo", b"hello");
    for status in [200, 404, 204, 304, 500] {
        let answer = client.answer();
        assert_eq!((answer.status, answer.complete), (status, true));
        let no_body = matches!(status, 204 | 304);
        assert_eq!(answer.body.is_empty(), no_body);
        assert_eq!(answer.header("Transfer-Encoding"), None);
    }
    assert_eq!(client.answer().json()["body"]["length"], 5);
    assert_eq!(scene.superserver().counts().connections, 1, "one connection serves them all");
}

#[test]
fn a_head_request_gets_the_head_of_the_get() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, CSP);
    let mut client = nginx.connect();
    let head = client.request("HEAD", "/csp/demo/big?bytes=100000").head();
    assert_eq!((head.status, head.header("Content-Length")), (200, Some("100000")));
    assert_eq!(client.request("GET", "/csp/demo/status/200").answer().text(), "status 200\n");
}

#[test]
fn request_bodies_of_all_sizes_arrive_whole() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, CSP);
    let mut client = nginx.connect();
    for length in [0, 1, 1000, 20_000, 32_768, 32_769, 100_000, 1_000_000] {
        let body: Vec<u8> = (0..length).map(|index| (index * 7 % 251) as u8).collect();
        let plain = client.post("/csp/demo/echo", &body).answer().json();
        let pieces = body.chunks(3001);
        let chunked = client.post_chunked("/csp/demo/echo", pieces).answer().json();
        assert_eq!(plain["body"]["length"], length);
        assert_eq!(plain["body"], chunked["body"], "{length} bytes");
    }
}

#[test]
fn a_browser_that_asks_before_it_sends_its_body_is_told_to_go_on() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, CSP);
    let mut client = nginx.connect();
    client.send("POST /csp/demo/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 40000\r\n\r\n");
    client.send(vec![b'x'; 40_000]);
    assert_eq!(client.answer().json()["body"]["length"], 40_000);
}

#[test]
fn a_body_beyond_the_web_servers_limit_is_refused_by_the_web_server() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, "location /csp { CSP on; client_max_body_size 10000; }");
    assert_eq!(nginx.connect().post("/csp/demo/echo", &[b'x'; 10_001]).answer().status, 413);
    let chunks = [&[b'x'; 6000][..], &[b'x'; 6000][..]];
    assert_eq!(nginx.connect().post_chunked("/csp/demo/echo", chunks).answer().status, 413);
    assert_eq!(nginx.connect().post("/csp/demo/echo", &[b'x'; 10_000]).answer().status, 200);
}

#[test]
fn a_broken_chunk_gets_400_and_the_worker_lives() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, CSP);
    let worker = nginx.worker();
    let mut client = nginx.connect();
    client.send("POST /csp/demo/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n");
    assert_eq!(client.answer().status, 400);
    assert_eq!(nginx.get("/csp/demo/").status, 200);
    assert_eq!(nginx.worker(), worker);
}

#[test]
fn repeated_headers_stay_repeated_and_those_of_one_hop_go() {
    let application = Fixed {
        status: 201,
        headers: &[
            ("Content-Type", "text/x-own;charset=ISO-8859-1"),
            ("Set-Cookie", "a=1; path=/"),
            ("Set-Cookie", "b=2; path=/"),
            ("Cache-Control", "no-cache"),
            ("Cache-Control", "no-store"),
            ("Location", "/csp/elsewhere"),
            ("Last-Modified", "Mon, 02 Feb 2026 02:02:02 GMT"),
            ("ETag", "\"own\""),
            ("X-Own", "yes"),
            ("Server", "secret"),
            ("Keep-Alive", "timeout=1"),
        ],
        body: b"made\n",
    };
    let scene = Scene::with_application("/csp/fixed", application);
    let nginx = Nginx::start(&scene, CSP);
    let conditional = "GET /csp/fixed HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"own\"\r\n\r\n";
    let answer = nginx.connect().send(conditional).answer();
    assert_eq!((answer.status, answer.text().as_str()), (201, "made\n"));
    assert_eq!(answer.all("Set-Cookie"), ["a=1; path=/", "b=2; path=/"]);
    assert_eq!(answer.all("Cache-Control"), ["no-cache", "no-store"]);
    assert_eq!(answer.all("Content-Type"), ["text/x-own;charset=ISO-8859-1"]);
    assert_eq!(answer.all("Location"), ["/csp/elsewhere"]);
    assert_eq!(answer.all("Last-Modified"), ["Mon, 02 Feb 2026 02:02:02 GMT"]);
    assert_eq!(answer.all("ETag"), ["\"own\""]);
    assert_eq!(answer.all("X-Own"), ["yes"]);
    assert_eq!(answer.all("Server"), ["nginx/1.22.1"]);
    assert_eq!(answer.header("Keep-Alive"), None);
    assert_eq!(answer.header("Content-Length"), Some("5"), "a short answer's length is known when it ends");
}

#[test]
fn an_answer_of_unknown_length_is_chunked_or_ends_with_the_connection() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, CSP);
    let answer = nginx.get("/csp/demo/big?bytes=300000&nolength=1");
    assert_eq!(answer.header("Transfer-Encoding"), Some("chunked"));
    assert!(answer.complete && is_counting(&answer.body) && answer.body.len() == 300_000);
    let old = "GET /csp/demo/big?bytes=300000&nolength=1 HTTP/1.0\r\n\r\n";
    let answer = nginx.connect().send(old).answer();
    assert_eq!(answer.header("Transfer-Encoding"), None);
    assert!(is_counting(&answer.body) && answer.body.len() == 300_000);
}

#[test]
fn what_an_application_flushes_reaches_the_browser_before_it_goes_on() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, CSP);
    let mut client = nginx.connect();
    // The second piece would come after an hour.
    let head = client.request("GET", "/csp/demo/stream?n=2&bytes=64&delay_ms=3600000").head();
    assert_eq!(head.status, 200);
    let mut first = Vec::new();
    while first.len() < 64 {
        first.extend_from_slice(&client.some());
    }
    assert!(String::from_utf8_lossy(&first).contains("abcdefghijklmnopqrstuvwxyz01234\n"));
}

#[test]
fn gzip_and_error_pages_of_the_web_server_apply() {
    let mut scene = Scene::new();
    scene.static_file("sorry.html", b"sorry\n");
    let locations = "gzip on; gzip_types text/plain; gzip_min_length 10; error_page 502 503 /sorry.html;\n\
                     location /csp { CSP on; }";
    let nginx = Nginx::start(&scene, locations);
    let zipped = "GET /csp/demo/big?bytes=100000 HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n";
    assert_eq!(nginx.connect().send(zipped).answer().header("Content-Encoding"), None, "its type is not listed");
    let zipped = zipped.replace("big?bytes=100000", "stream?n=100&bytes=1000");
    let answer = nginx.connect().send(zipped).answer();
    assert_eq!(answer.header("Content-Encoding"), Some("gzip"));
    assert!(answer.complete && answer.body.len() < 20_000, "{} bytes", answer.body.len());
    // An application's own 503 is its answer; the gateway's may have a page.
    assert_eq!(nginx.get("/csp/demo/status/503").text(), "status 503\n");
    scene.stop_superserver();
    let answer = nginx.get("/csp/demo/");
    assert_eq!((answer.status, answer.text().as_str()), (502, "sorry\n"));
}

#[test]
fn subrequests_are_served() {
    let scene = Scene::new();
    let locations = "location /csp { CSP on; }\n\
                     location /guarded { auth_request /csp/demo/status/204; }\n\
                     location /forbidden { auth_request /csp/demo/status/403; }\n\
                     location /page.html { ssi on; ssi_types *; }";
    let nginx = Nginx::start(&scene, locations);
    fs::create_dir(scene.directory().join("www/guarded")).unwrap();
    scene.static_file("guarded/file.txt", b"inside\n");
    let page =
        "[<!--#include virtual=\"/csp/demo/status/200\" -->|<!--#include virtual=\"/csp/demo/big?bytes=200000\" -->]";
    scene.static_file("page.html", page.as_bytes());
    let mut client = nginx.connect();
    assert_eq!(client.request("GET", "/guarded/file.txt").answer().text(), "inside\n");
    assert_eq!(client.post("/guarded/file.txt", b"body").answer().status, 405, "the guard lets it pass");
    assert_eq!(client.request("GET", "/forbidden/file.txt").answer().status, 403);
    let answer = client.request("GET", "/page.html").answer();
    assert!(answer.complete && answer.body.starts_with(b"[status 200\n|") && answer.body.ends_with(b"]"));
    assert!(is_counting(&answer.body[13..answer.body.len() - 1]));
    assert_eq!(answer.body.len(), 200_000 + 14);
}

#[test]
fn a_user_counts_as_authenticated_only_where_the_web_server_checked_him() {
    let scene = Scene::new();
    scene.static_file("../users", b"eve:{PLAIN}secret\n");
    let users = scene.directory().join("users");
    let locations = format!(
        "if ($remote_user = x) {{ return 500; }}\n\
         location /csp {{ CSP on; }}\n\
         location /csp/demo/echo/guarded {{ auth_basic zone; auth_basic_user_file {0}; CSP on; }}\n\
         location /csp/demo/echo/either {{ satisfy any; allow all; auth_basic zone; auth_basic_user_file {0}; CSP on; }}",
        users.display()
    );
    let nginx = Nginx::start(&scene, &locations);
    let echo = |path: &str, credentials: &str| {
        let request =
            format!("GET /csp/demo/echo{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n\r\n");
        nginx.connect().send(request).answer()
    };
    let (right, wrong) = ("ZXZlOnNlY3JldA==", "ZXZlOndyb25n");
    assert_eq!(echo("/guarded", wrong).status, 401);
    let variables = &echo("/guarded", right).json()["variables"];
    assert_eq!((&variables["REMOTE_USER"], &variables["AUTH_TYPE"]), (&"eve".into(), &"Basic".into()));
    for path in ["", "/either"] {
        let variables = &echo(path, wrong).json()["variables"];
        assert!(variables.get("REMOTE_USER").is_none_or(|user| user == ""), "{path}: {variables}");
    }
}

#[test]
fn file_types_choose_requests_where_csp_is_not_set() {
    let scene = Scene::new();
    let locations = "CSPFileTypes .cls zen;\n\
                     location /csp/demo/echo/off { CSP off; }\n\
                     location /csp/demo/echo/any { CSPFileTypes *; }\n\
                     location /csp/demo/echo/on { CSP ON; }";
    let nginx = Nginx::start(&scene, locations);
    let served = |path: &str| nginx.get(&format!("/csp/demo/echo/{path}")).status == 200;
    for path in ["a.cls", "a.ZEN?x=y.txt", "any/x.y", "on/x"] {
        assert!(served(path), "{path}");
    }
    for path in ["a", "a.txt", "a.cls/b", "off/a.cls", "any/x"] {
        assert!(!served(path), "{path}");
    }
}

#[test]
fn requests_under_way_do_not_delay_a_static_file() {
    let gate = Gate::default();
    let scene = Scene::with_application("/csp/gate", gate.clone());
    scene.edit_csp_ini(|text| text.replace("TCP_Port", "Maximum_Server_Connections=64\nTCP_Port"));
    let nginx = Nginx::start(&scene, CSP);
    let mut waiting: Vec<Client> = (0..64).map(|_| nginx.connect()).collect();
    waiting.iter_mut().for_each(|client| {
        client.request("GET", "/csp/gate");
    });
    gate.wait_for(64);
    assert_eq!(nginx.get("/static.txt").text(), "static\n");
    gate.open();
    for client in &mut waiting {
        assert_eq!(client.answer().text(), "through\n");
    }
}

#[test]
fn a_browser_that_leaves_closes_the_superservers_connection() {
    let gate = Gate::default();
    let scene = Scene::with_application("/csp/gate", gate.clone());
    let nginx = Nginx::start(&scene, CSP);
    let worker = nginx.worker();
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200);
    let superserver = scene.superserver().port();
    let mut client = nginx.connect();
    client.request("GET", "/csp/gate");
    gate.wait_for(1);
    assert_eq!(connections_to(worker, superserver), 1);
    drop(client);
    assert!(wait_until(|| nginx.access_log().contains("\"GET /csp/gate HTTP/1.1\" 499").then_some(())).is_some());
    let closed = || (connections_to(worker, superserver) == 0).then_some(());
    assert!(wait_until(closed).is_some(), "the connection is closed");
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200);
    assert_eq!(nginx.worker(), worker);
    gate.open();
}

#[test]
fn an_answer_that_breaks_off_is_seen_as_broken() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, CSP);
    let mut client = nginx.connect();
    let answer = client.request("GET", "/csp/demo/fail?after=100000").answer();
    assert_eq!((answer.status, answer.complete, answer.body.len()), (200, false, 100_000));
    assert!(client.is_closed());
    assert!(nginx.wait_for_log("/csp/demo/fail?after=100000"), "{}", nginx.error_log());
    let failures = nginx.error_log().lines().filter(|line| line.contains("[error]")).count();
    assert_eq!(failures, 1, "{}", nginx.error_log());
    // Before the head, a failure is an answer like any other.
    assert_eq!(nginx.get("/csp/demo/fail?after=0").status, 502);
}

#[test]
fn nothing_listens_and_the_browser_gets_a_page_with_code_and_request_id() {
    let scene = Scene::without_superserver();
    let http = format!("CSPConfigPath {}; add_header X-Request $request_id always;", scene.directory().display());
    let nginx = Nginx::start_with(&scene, Settings { http: &http, locations: CSP, ..Settings::default() });
    let answer = nginx.get("/csp/demo/");
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("201"), "connect-refused: {}", answer.text());
    let id = answer.header("X-Request").expect("nginx has an id");
    assert!(answer.text().contains(id), "the page says it: {}", answer.text());
    assert!(nginx.wait_for_log(id), "the log says it: {}", nginx.error_log());
    let log = nginx.error_log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(id)).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("[error]") && lines[0].contains("client: 127.0.0.1"), "{}", lines[0]);
}

#[test]
fn a_large_answer_waits_for_a_slow_reader_without_growing_the_worker() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, CSP);
    let worker = nginx.worker();
    nginx.get("/csp/demo/big?bytes=1000000");
    let before = resident(worker);
    let mut client = nginx.connect();
    let head = client.request("GET", &format!("/csp/demo/big?bytes={}", 256 * MEBIBYTE)).head();
    assert_eq!(head.header("Content-Length"), Some("268435456"));
    // Before anything is read, the answer fills every buffer on the way; another request passes beside it.
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200);
    let (mut received, mut largest, mut right) = (0u64, 0, true);
    let complete = client.body(&head, |piece| {
        right &= piece.iter().zip(received..).all(|(&byte, index)| byte == index as u8);
        received += piece.len() as u64;
        if received.is_multiple_of(16) {
            largest = largest.max(resident(worker));
        }
    });
    assert!(complete && right && received == 256 * MEBIBYTE);
    assert!(largest < before + 2 * MEBIBYTE, "from {before} to {largest} bytes");
}

#[test]
fn a_large_upload_passes_without_growing_the_worker_or_touching_the_disk() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, "location /csp { CSP on; client_max_body_size 0; }");
    let worker = nginx.worker();
    nginx.connect().post("/csp/demo/echo", &[b'x'; 1_000_000]).answer();
    let before = resident(worker);
    let mut client = nginx.connect();
    let length = 256 * MEBIBYTE;
    client.send(format!("POST /csp/demo/echo HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"));
    let piece = vec![b'x'; MEBIBYTE as usize];
    let mut largest = 0;
    for _ in 0..256 {
        client.send(&piece);
        largest = largest.max(resident(worker));
    }
    assert_eq!(client.answer().json()["body"]["length"], length);
    assert!(largest < before + 2 * MEBIBYTE, "from {before} to {largest} bytes");
}

#[test]
fn a_reload_serves_on_and_lets_requests_under_way_finish() {
    let gate = Gate::default();
    let scene = Scene::with_application("/csp/gate", gate.clone());
    let nginx = Nginx::start(&scene, CSP);
    let mut client = nginx.connect();
    client.request("GET", "/csp/gate");
    gate.wait_for(1);
    assert!(nginx.reload());
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200);
    gate.open();
    assert_eq!(client.answer().text(), "through\n");
    assert!(client.is_closed(), "the old worker takes no more");
    assert!(nginx.wait_for_log("exited with code 0"));
    assert!(!nginx.error_log().contains("open socket"), "{}", nginx.error_log());
    assert!(nginx.stop());
}

#[test]
fn a_reload_with_a_wrong_csp_ini_keeps_the_old_configuration() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, CSP);
    let worker = nginx.worker();
    let right = fs::read_to_string(scene.csp_ini()).unwrap();
    scene.edit_csp_ini(|text| text.replace("TCP_Port=", "TCP_Port=x"));
    assert!(!nginx.reload());
    assert!(nginx.error_log().contains("TCP_Port"), "{}", nginx.error_log());
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200);
    assert_eq!(nginx.worker(), worker);
    scene.edit_csp_ini(|_| right);
    assert!(nginx.reload());
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200);
}

#[test]
fn a_start_with_a_wrong_csp_ini_answers_503_until_a_reload_finds_it_right() {
    let scene = Scene::new();
    let right = fs::read_to_string(scene.csp_ini()).unwrap();
    scene.edit_csp_ini(|text| text.replace("TCP_Port=", "TCP_Port=x"));
    let nginx = Nginx::start(&scene, CSP);
    assert_eq!(nginx.get("/csp/demo/").status, 503);
    assert!(nginx.error_log().contains("[alert]"), "{}", nginx.error_log());
    scene.edit_csp_ini(|_| right);
    assert!(nginx.reload());
    assert_eq!(nginx.get("/csp/demo/").status, 200);
}

#[test]
fn the_configuration_test_tells_right_from_wrong() {
    let scene = Scene::without_superserver();
    let csp = Settings { locations: CSP, ..Settings::default() };
    let verdict = Nginx::test(&scene, csp);
    assert!(verdict.accepted, "no network is asked: {}", verdict.text);

    let nsd = Settings { locations: "CSPNSD_pass 127.0.0.1:7038; CSPNSD_read_timeout 300s; CSP On;", ..csp };
    let verdict = Nginx::test(&scene, nsd);
    assert!(verdict.accepted && verdict.text.matches("has no effect").count() == 2, "{}", verdict.text);

    let cases = [
        (Settings { locations: "CSP maybe;", ..csp }, "CSP"),
        (Settings { locations: "CSPFileTypes a.b;", ..csp }, "CSPFileTypes"),
        (Settings { http: "CSPConfigPath /proc/absent;", ..csp }, "/proc/absent"),
    ];
    for (settings, said) in cases {
        let verdict = Nginx::test(&scene, settings);
        assert!(!verdict.accepted && verdict.text.contains(said), "{settings:?}: {}", verdict.text);
    }

    // The worker's user is asked, not root.
    if sclera_tests::scene::worker_user().is_some() {
        std::os::unix::fs::chown(scene.directory().join("gateway.key"), Some(0), Some(0)).unwrap();
        let verdict = Nginx::test(&scene, csp);
        assert!(!verdict.accepted && verdict.text.contains("gateway.key"), "{}", verdict.text);
    }
    fs::write(scene.directory().join("gateway.key"), "no key").unwrap();
    let verdict = Nginx::test(&scene, csp);
    assert!(!verdict.accepted && verdict.text.contains("gateway.key"), "{}", verdict.text);
    assert!(Nginx::test(&scene, Settings::default()).accepted, "where nothing is served, nothing is checked");
}

#[test]
fn loaded_and_unused_it_starts_nothing() {
    let scene = Scene::without_superserver();
    let unused = Nginx::start(&scene, "");
    let used = Nginx::start(&scene, CSP);
    assert_eq!(threads(unused.worker()), 1);
    assert!(wait_until(|| (threads(used.worker()) == 2).then_some(())).is_some(), "the caretaker");
    // What asked whether they listen may still be there.
    let alike = || (sockets(unused.worker()) == sockets(used.worker())).then_some(());
    assert!(wait_until(alike).is_some(), "no connection is made in advance");
    assert!(unused.stop() && used.stop());
}

#[test]
fn a_single_process_in_the_foreground_serves() {
    let scene = Scene::new();
    let settings = Settings { main: "master_process off;", locations: CSP, ..Settings::default() };
    let nginx = Nginx::start_alone(&scene, settings);
    assert_eq!(nginx.get("/csp/demo/").status, 200);
    assert!(nginx.stop());
}

#[test]
fn a_fast_shutdown_ends_requests_under_way() {
    let gate = Gate::default();
    let scene = Scene::with_application("/csp/gate", gate.clone());
    let nginx = Nginx::start(&scene, CSP);
    let mut client = nginx.connect();
    client.request("GET", "/csp/gate");
    gate.wait_for(1);
    let port = nginx.port();
    drop(nginx);
    assert!(client.is_closed());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    gate.open();
}

/// Byte k of the demo's large answers is k mod 256.
fn is_counting(body: &[u8]) -> bool {
    body.iter().zip(0usize..).all(|(&byte, index)| byte == index as u8)
}
