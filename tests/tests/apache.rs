//! Requests through the stock httpd with our module: which it takes, what it carries, how it lives and fails.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sclera_tests::apache::{self, Apache, Mpm, load};
use sclera_tests::gate::Gate;
use sclera_tests::http::Answer;
use sclera_tests::process::{has_ended, send, sockets, threads, wait_until};
use sclera_tests::scene::{Scene, worker_user};
use sclera_tests::web_server::WebServer;

const CSP: &str = "<Location /csp>\nCSP On\n</Location>\n";

/// The superserver answered, not httpd: it has its own words for a path that is not there.
fn from_superserver(answer: &Answer) -> bool {
    answer.text().contains("No application is mounted")
}

#[test]
fn a_request_is_carried_alike_by_every_mpm() {
    let scene = Scene::new();
    for mpm in Mpm::ALL {
        let apache = Apache::start_with(&scene, mpm, CSP);
        let form = apache.get("/csp/demo/");
        assert!(form.text().contains("Login identity: WebUser (mutual TLS)"), "{mpm:?}: {form:?}");

        let target = "/csp/demo/echo/a%2Fb//c%25/../%C3%A4?x=%2F&y=%25";
        let echo = apache.get(target).json();
        assert_eq!(echo["target"], target, "{mpm:?}");
        assert!(echo["variables"]["SERVER_SOFTWARE"].as_str().is_some_and(|name| name.starts_with("Apache/")));

        // One connection for all that follows.
        let mut client = apache.connect();
        for length in [0, 1, 1000, 20_000, 32_768, 32_769, 100_000, 1_000_000] {
            let body: Vec<u8> = (0..length).map(|index| (index * 7 % 251) as u8).collect();
            let plain = client.post("/csp/demo/echo", &body).answer().json();
            let chunked = client.post_chunked("/csp/demo/echo", body.chunks(3001)).answer().json();
            assert_eq!(plain["body"]["length"], length, "{mpm:?}");
            assert_eq!(plain["body"], chunked["body"], "{mpm:?}: {length} bytes");
        }
        let head = client.request("HEAD", "/csp/demo/big?bytes=1000").head();
        assert_eq!((head.status, head.header("Content-Length")), (200, Some("1000")), "{mpm:?}");
        for status in [204, 304, 404, 418] {
            assert_eq!(client.request("GET", &format!("/csp/demo/status/{status}")).answer().status, status, "{mpm:?}");
        }
        let big = client.request("GET", "/csp/demo/big?bytes=3000000").answer();
        assert!(big.complete && big.body.len() == 3_000_000, "{mpm:?}");
        drop(client);

        assert!(apache.stop(), "{mpm:?}");
    }
}

#[test]
fn directives_decide_and_the_nearest_wins() {
    let scene = Scene::new();
    let www = scene.directory().join("www");
    for path in ["all/static/a.js", "all/index.html", "types/a.txt", "any/plain", "below/index.html", "below/a.html"] {
        fs::create_dir_all(www.join(path).parent().expect("a directory")).expect("a fresh directory");
        scene.static_file(path, b"from disk");
    }
    let www = www.display();
    let directives = format!(
        "<Directory />\nOptions MultiViews FollowSymLinks\nRequire all denied\n</Directory>\n\
         <Directory {www}>\nRequire all granted\nDirectoryIndex index.html\n</Directory>\n\
         <Location /all>\ncsp ON\n</Location>\n\
         <Location /all/static>\nCSP off\n</Location>\n\
         <Location /types>\nCSPFileTypes .csp CLS\n</Location>\n\
         <Location /any>\nCSPFileTypes *\n</Location>\n\
         <Location /handler>\nSetHandler csp-handler-sa\n</Location>\n\
         <Location /systems>\nSetHandler cspsys-handler-sa\n</Location>\n\
         <Location /off>\nCSP Off\n</Location>\n\
         <Location /off/types>\nCSPFileTypes csp\n</Location>\n\
         <Directory {www}/below>\nCSP On\n</Directory>\n\
         <FilesMatch \"\\.zen$\">\nSetHandler csp-handler-sa\n</FilesMatch>\n\
         <Files secret.ini>\nRequire all denied\n</Files>\n\
         Redirect /all/docbook/ http://docs.example/\n\
         RewriteEngine On\nRewriteRule ^/rewritten/(.*)$ /all/$1 [PT]\n"
    );
    let apache = Apache::start(&scene, &directives);
    for (target, expected) in [
        ("/all/anything", "superserver"),
        ("/all/", "superserver"),
        ("/all/rest/a.b/c", "superserver"),
        ("/all/static/a.js", "disk"),
        ("/all/static/none.js", "404"),
        ("/types/page.csp", "superserver"),
        ("/types/Page.Cls?x=1", "superserver"),
        ("/types/a.txt", "disk"),
        ("/types/csp", "404"),
        ("/any/x.y", "superserver"),
        ("/any/plain", "disk"),
        ("/handler/x", "superserver"),
        ("/systems/Module.cxw", "superserver"),
        ("/off/x.csp", "404"),
        ("/off/types/x.csp", "superserver"),
        ("/below/", "superserver"),
        ("/below/a", "superserver"),
        ("/below/none/further", "superserver"),
        ("/page.zen", "superserver"),
        ("/all/secret.ini", "403"),
        ("/all/docbook/x", "302"),
        ("/rewritten/x", "superserver"),
        ("/outside", "404"),
    ] {
        let answer = apache.get(target);
        let seen = match answer.status {
            _ if from_superserver(&answer) => "superserver".to_owned(),
            200 if answer.text() == "from disk" => "disk".to_owned(),
            status => status.to_string(),
        };
        assert_eq!(seen, expected, "{target}: {answer:?}");
    }
}

#[test]
fn a_virtual_host_may_use_what_the_server_does_not() {
    let scene = Scene::new();
    let directives = format!(
        "{}<VirtualHost *>\nServerName plain.example\n</VirtualHost>\n\
         <VirtualHost *>\nServerName csp.example\nCSPModulePath {}/\nCSP On\n</VirtualHost>\n",
        load("csp_module_sa"),
        scene.directory().display()
    );
    let apache = Apache::start_bare(&scene, Mpm::Event, &directives);
    let ask =
        |host: &str| apache.connect().send(format!("GET /csp/demo/echo HTTP/1.1\r\nHost: {host}\r\n\r\n")).answer();
    assert_eq!(ask("plain.example").status, 404);
    assert_eq!(ask("csp.example").json()["variables"]["SERVER_NAME"], "csp.example");
}

#[test]
fn httpd_still_authenticates_and_the_application_learns_whom() {
    let scene = Scene::new();
    let users = scene.directory().join("users");
    fs::write(&users, "joe:$apr1$abcdefgh$5VEbMkemELfbhC5ck.U.z1\n").expect("a fresh directory"); // "pw"
    let directives = format!(
        "{CSP}<Location /csp/demo/echo/secret>\nAuthType Basic\nAuthName x\nAuthUserFile {}\nRequire valid-user\n</Location>\n",
        users.display()
    );
    let apache = Apache::start(&scene, &directives);
    for path in ["secret", "%73ecret", "x/../secret", "/secret"] {
        assert_eq!(apache.get(&format!("/csp/demo/echo/{path}")).status, 401, "{path}");
    }
    let request = "GET /csp/demo/echo/secret HTTP/1.1\r\nHost: x\r\nAuthorization: Basic am9lOnB3\r\n\r\n";
    let joe = apache.connect().send(request).answer().json();
    assert_eq!((&joe["variables"]["REMOTE_USER"], &joe["variables"]["AUTH_TYPE"]), (&"joe".into(), &"Basic".into()));
}

#[test]
fn a_rewritten_target_is_what_the_application_sees() {
    let scene = Scene::new();
    let directives = format!(
        "{CSP}RewriteEngine On\nRewriteRule ^/api/(.*)$ /csp/demo/echo/$1 [PT,QSA]\nErrorDocument 404 /csp/demo/echo/lost\n"
    );
    let apache = Apache::start(&scene, &directives);
    assert_eq!(apache.get("/api/a%20b?x=1").json()["target"], "/csp/demo/echo/a%20b?x=1");
    // An error page is asked for without the body of the request that failed.
    let lost = apache.connect().post("/nowhere", b"abc").answer().json();
    assert_eq!((&lost["target"], &lost["body"]["length"]), (&"/csp/demo/echo/lost".into(), &0.into()));
}

#[test]
fn what_is_not_for_the_application_stays_with_httpd() {
    let scene = Scene::new();
    let apache = Apache::start(&scene, "CSP On\n");
    assert_eq!(apache.get("/csp/demo/echo").status, 200, "for the whole server");
    assert_eq!(
        apache.connect().request("TRACE", "/csp/demo/echo").answer().header("Content-Type"),
        Some("message/http")
    );
    assert_eq!(apache.connect().request("OPTIONS", "*").answer().status, 200);
    assert_eq!(apache.get("/csp/%zz").status, 400);
    let absolute = apache.connect().request("GET", "http://a.example/csp/demo/echo?x").answer().json();
    assert_eq!(absolute["target"], "/csp/demo/echo?x");
}

#[test]
fn pipelined_requests_and_old_browsers_are_served() {
    let scene = Scene::new();
    let apache = Apache::start(&scene, CSP);
    let mut client = apache.connect();
    for status in [200, 404, 204, 304, 418] {
        client.request("GET", &format!("/csp/demo/status/{status}"));
    }
    for status in [200, 404, 204, 304, 418] {
        let answer = client.answer();
        assert_eq!((answer.status, answer.complete), (status, true));
    }
    let old = apache.connect().send("GET /csp/demo/stream?n=3&bytes=5&delay_ms=1 HTTP/1.0\r\n\r\n").answer();
    assert_eq!((old.status, old.header("Transfer-Encoding"), old.body.len()), (200, None, 15));
}

#[test]
fn a_browser_that_asks_before_it_sends_its_body_is_told_to_go_on() {
    let scene = Scene::new();
    let apache = Apache::start(&scene, CSP);
    let mut client = apache.connect();
    client.send("POST /csp/demo/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 40000\r\n\r\n");
    assert!(client.some().starts_with(b"HTTP/1.1 100 "));
    assert_eq!(client.send(vec![b'x'; 40_000]).answer().json()["body"]["length"], 40_000);
}

#[test]
fn a_stream_reaches_the_browser_as_it_is_produced() {
    let scene = Scene::new();
    let apache = Apache::start_with(&scene, Mpm::Prefork, CSP);
    let begin = Instant::now();
    let mut client = apache.connect();
    client.request("GET", "/csp/demo/stream?n=2&bytes=10&delay_ms=2000");
    let head = client.head();
    let mut arrivals = Vec::new();
    let complete = client.body(&head, |piece| arrivals.push((begin.elapsed(), piece.len())));
    assert!(complete && arrivals.iter().map(|(_, length)| length).sum::<usize>() == 20, "{arrivals:?}");
    let (first, last) = (arrivals[0].0, arrivals[arrivals.len() - 1].0);
    assert!(last - first > Duration::from_millis(1000), "the first piece waited for the second: {arrivals:?}");
}

#[test]
fn a_broken_answer_looks_broken_and_is_logged_once() {
    let scene = Scene::new();
    let apache = Apache::start(&scene, CSP);
    let cut = apache.get("/csp/demo/fail?after=100000");
    assert!(cut.status == 200 && !cut.complete, "{cut:?}");
    let lost = apache.get("/csp/demo/fail?after=0");
    assert!(lost.status == 502 && lost.complete && lost.text().contains("SCLERA-600"), "{lost:?}");

    let log = apache.error_log();
    assert_eq!((log.matches("SCLERA-601").count(), log.matches("SCLERA-600").count()), (1, 1), "{log}");
    // One id: in the page, in the error log and in the access log.
    let page = lost.text();
    let id = page.split("Request: ").nth(1).and_then(|rest| rest.split('<').next()).expect("a request id in the page");
    assert!(log.contains(&format!("[request {id}]")), "{log}");
    let logged = wait_until(|| apache.access_log().contains(&format!("502 id={id}")).then_some(()));
    assert!(logged.is_some(), "{}", apache.access_log());
    assert_eq!(apache.get("/csp/demo/echo").status, 200, "the child lives");
}

#[test]
fn httpd_limits_request_bodies() {
    let scene = Scene::new();
    let apache = Apache::start(&scene, &format!("{CSP}LimitRequestBody 10000\n"));
    assert_eq!(apache.connect().post("/csp/demo/echo", &[b'x'; 10_001]).answer().status, 413);
    let chunks = [&[b'x'; 6000][..], &[b'x'; 6000][..]];
    assert_eq!(apache.connect().post_chunked("/csp/demo/echo", chunks).answer().status, 413);
    assert_eq!(apache.connect().post("/csp/demo/echo", &[b'x'; 10_000]).answer().status, 200);
}

#[test]
fn a_browser_that_leaves_disturbs_nobody() {
    let scene = Scene::new();
    let apache = Apache::start(&scene, CSP);
    let mut reader = apache.connect();
    reader.request("GET", "/csp/demo/stream?n=1000&bytes=100000").some();
    drop(reader);
    let mut sender = apache.connect();
    sender.send("POST /csp/demo/echo HTTP/1.0\r\nContent-Length: 1000000\r\n\r\nabc");
    drop(sender);
    assert_eq!(apache.get("/csp/demo/echo").status, 200);
    assert!(apache.stop());
}

#[test]
fn wrong_directives_are_refused_by_name() {
    let scene = Scene::new();
    let load = load("csp_module_sa");
    for (line, message) in [
        ("CSP maybe", "CSP must be On or Off"),
        ("CSPFileTypes", "CSPFileTypes requires at least one argument"),
        ("CSPFileTypes .", "CSPFileTypes: invalid value \"\""),
        ("CSPFileTypes a/b", "CSPFileTypes: invalid value \"a/b\""),
        ("CSPConfigPath", "CSPConfigPath takes one argument"),
        ("<Location /x>\nAuthCSPEnable maybe\n</Location>", "AuthCSPEnable must be On or Off"),
        ("<Location /x>\nAuthCSPClass a.cls\n</Location>", "AuthCSPClass: invalid path \"a.cls\""),
        ("AuthCSPEnable On", "AuthCSPEnable not allowed here"),
        ("<Location /x>\nCSPConfigPath /tmp\n</Location>", "CSPConfigPath not allowed in"),
        ("CSP On", "CSPConfigPath is not set"),
    ] {
        let run = Apache::test(&scene, &format!("{load}{line}\n"));
        assert!(!run.success && run.stderr.contains(message), "{line}: {run:?}");
    }
    for line in ["CSPMaxPooledNSDConnections 32", "CSPSYSModulePath /opt/webgateway/bin"] {
        let run = Apache::test(&scene, &format!("{load}{line}\n"));
        let notices = run.stderr.matches("has no effect").count();
        assert!(run.success && notices == 1, "{line}: {run:?}");
    }
}

#[test]
fn it_is_loaded_under_any_of_its_names_but_only_once() {
    let scene = Scene::new();
    let names = ["csp_module_sa", "csp_module", "sclera_module"];
    let use_it = format!("CSPConfigPath {}\n{CSP}", scene.directory().display());
    for (place, name) in names.into_iter().enumerate() {
        let apache = Apache::start_bare(&scene, Mpm::Event, &(load(name) + &use_it));
        assert_eq!(apache.get("/csp/demo/echo").status, 200, "{name}");
        let second = names[(place + 1) % names.len()];
        let run = Apache::test(&scene, &(load(name) + &load(second) + &use_it));
        assert!(!run.success && run.stderr.contains("mod_sclera is loaded twice"), "{name}, {second}: {run:?}");
    }
}

#[test]
fn a_check_sees_with_the_eyes_of_the_child() {
    let scene = Scene::new();
    let directives = format!("{}CSPConfigPath {}\n{CSP}", load("csp_module_sa"), scene.csp_ini().display());
    let good = Apache::test(&scene, &directives);
    assert!(good.success && good.stderr.contains("Syntax OK"), "{good:?}");

    if worker_user().is_some() {
        let key = scene.directory().join("gateway.key");
        chown(&key, Some(0), Some(0)).expect("root may");
        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("root may");
        let unreadable = Apache::test(&scene, &directives);
        assert!(!unreadable.success && unreadable.stderr.contains("gateway.key"), "{unreadable:?}");
        chown(&key, worker_user().map(|user| user.0), None).expect("root may");
    }

    scene.edit_csp_ini(|text| text.replace("TCP_Port=", "TCP_Port=x"));
    let broken = Apache::test(&scene, &directives);
    assert!(!broken.success && broken.stderr.contains("[LOCAL] TCP_Port=x"), "{broken:?}");
}

#[test]
fn a_start_and_a_restart_survive_an_unusable_csp_ini() {
    let scene = Scene::new();
    let good = fs::read_to_string(scene.csp_ini()).expect("CSP.ini");
    fs::remove_file(scene.csp_ini()).expect("removing CSP.ini");
    let apache = Apache::start(&scene, CSP);
    let absent = apache.get("/csp/demo/echo");
    assert!(absent.status == 502 && scene.csp_ini().exists(), "a default one has been made: {absent:?}");

    fs::write(scene.csp_ini(), &good).expect("restoring CSP.ini");
    assert!(apache.reload());
    assert_eq!(apache.get("/csp/demo/echo").status, 200);

    scene.edit_csp_ini(|text| text.replace("TCP_Port=", "TCP_Port=x"));
    assert!(apache.reload());
    assert_eq!(apache.get("/csp/demo/echo").status, 200, "{}", apache.error_log());
    assert!(apache.error_log().contains("what was read before stays in force"), "{}", apache.error_log());

    fs::write(scene.csp_ini(), &good).expect("restoring CSP.ini");
    for _ in 0..3 {
        assert!(apache.reload());
    }
    assert_eq!(apache.get("/csp/demo/echo").status, 200);
    assert!(apache.stop());
}

#[test]
fn loaded_but_unused_it_starts_nothing() {
    let scene = Scene::new();
    let apache = Apache::start_with(&scene, Mpm::Prefork, "StartServers 2\n");
    let started = wait_until(|| (apache.workers().len() >= 2).then(|| apache.workers()));
    for worker in started.expect("children") {
        // One thread; the listening socket, and nothing else once what asked whether it listens has gone.
        let alone = wait_until(|| ((threads(worker), sockets(worker)) == (1, 1)).then_some(()));
        assert!(alone.is_some(), "{} threads, {} sockets", threads(worker), sockets(worker));
    }

    // A handler name is another module's directive: the worker starts with the first request.
    let directives = "StartServers 1\nServerLimit 1\n<Location /csp>\nSetHandler csp-handler-sa\n</Location>\n";
    let apache = Apache::start_with(&scene, Mpm::Prefork, directives);
    let worker = wait_until(|| apache.workers().first().copied()).expect("a child");
    assert_eq!(threads(worker), 1);
    assert_eq!(apache.get("/csp/demo/echo").status, 200);
    assert_eq!(threads(worker), 2);
}

#[test]
fn it_ends_at_once_in_the_middle_of_a_request() {
    for mpm in Mpm::ALL {
        let gate = Gate::default();
        let scene = Scene::with_application("/csp/gate", gate.clone());
        let apache = Apache::start_with(&scene, mpm, CSP);
        let mut client = apache.connect();
        client.request("GET", "/csp/gate");
        gate.wait_for(1);
        assert!(apache.stop(), "{mpm:?}");
        gate.open();
    }
}

#[test]
fn a_child_that_cannot_end_in_good_order_ends_nevertheless() {
    let scene = Scene::new();
    let never_ends = apache::build("mod_never_ends", scene.directory());
    let directives = format!("LoadModule never_ends_module {}\nStartServers 3\n{CSP}", never_ends.display());
    let apache = Apache::start_with(&scene, Mpm::Prefork, &directives);
    assert_eq!(apache.get("/csp/demo/echo").status, 200);

    let child = apache.workers()[0];
    send(child, Signal::TERM);
    assert!(wait_until(|| has_ended(child).then_some(())).is_some(), "it waits for ever");
    let log = apache.error_log_path();
    assert!(apache.stop());
    let log = fs::read_to_string(log).expect("the error log");
    assert!(!log.contains("did not exit"), "the parent had to insist: {log}");
}
