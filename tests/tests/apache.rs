//! The module in Debian's httpd: which requests it takes, what it carries, and how it lives and fails.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use sclera_tests::apache::{Apache, Mpm, Site, load_module, module};
use sclera_tests::backend::Backend;
use sclera_tests::web::{self, Answer};

/// The application answered, not Apache: either with what it has or with its own page for a path it does not know.
fn from_application(answer: &Answer) -> bool {
    let text = answer.text();
    text.contains("\"login\"") || text.contains("No application is mounted") || text.contains("no such page")
}

fn configuration(backend: &Backend, directives: &str) -> String {
    format!("{}CSPConfigPath {}\n{directives}", load_module(), backend.path().display())
}

#[test]
fn a_request_is_carried_alike_by_every_mpm() {
    let backend = Backend::start();
    for mpm in Mpm::ALL {
        let apache = Apache::start(mpm, &configuration(&backend, "<Location /csp>\nCSP On\n</Location>\n"));
        let port = apache.port();

        let form = web::get(port, "/csp/demo/");
        assert!(form.text().contains("Login identity: gateway (mutual TLS)"), "{mpm:?}: {form:?}");

        let echo = web::get(port, "/csp/demo/echo/a%2Fb%25/%C3%A4?x=%2F&y=%25").json();
        assert_eq!(echo["target"], "/csp/demo/echo/a%2Fb%25/%C3%A4?x=%2F&y=%25", "{mpm:?}");
        assert_eq!(echo["variables"]["SERVER_SOFTWARE"].as_str().map(|name| name.starts_with("Apache/")), Some(true));

        let body = vec![b'x'; 200_000];
        let plain = web::send(port, "POST /csp/demo/echo", "Content-Length: 200000\r\n", &body).json();
        assert_eq!((&plain["method"], &plain["body"]["length"]), (&"POST".into(), &200_000.into()), "{mpm:?}");
        let chunks = b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
        let chunked = web::send(port, "POST /csp/demo/echo", "Transfer-Encoding: chunked\r\n", chunks).json();
        assert_eq!(chunked["body"]["length"], 7, "{mpm:?}");

        let head = web::send(port, "HEAD /csp/demo/big?bytes=1000", "", b"");
        assert_eq!((head.status, head.header("Content-Length")), (200, Some("1000")), "{mpm:?}");
        for status in [204, 304, 404, 418, 500] {
            assert_eq!(web::get(port, &format!("/csp/demo/status/{status}")).status, status, "{mpm:?}");
        }
        let big = web::get(port, "/csp/demo/big?bytes=3000000");
        assert!(big.complete && big.body.len() == 3_000_000, "{mpm:?}");

        assert!(apache.stop(), "{mpm:?}");
    }
}

#[test]
fn directives_decide_and_the_nearest_wins() {
    let backend = Backend::start();
    let site = Site::new(
        Mpm::Event,
        &configuration(
            &backend,
            "<Directory />\nOptions MultiViews FollowSymLinks\nRequire all denied\n</Directory>\n\
             <Directory DOCUMENTS>\nRequire all granted\nDirectoryIndex index.html\n</Directory>\n\
             <Location /all>\ncsp ON\n</Location>\n\
             <Location /all/static>\nCSP off\n</Location>\n\
             <Location /types>\nCSPFileTypes .csp CLS\n</Location>\n\
             <Location /any>\nCSPFileTypes *\n</Location>\n\
             <Location /handler>\nSetHandler csp-handler-sa\n</Location>\n\
             <Location /systems>\nSetHandler cspsys-handler-sa\n</Location>\n\
             <Location /off>\nCSP Off\n</Location>\n\
             <Location /off/types>\nCSPFileTypes csp\n</Location>\n\
             <Directory DOCUMENTS/directory>\nCSP On\n</Directory>\n\
             <FilesMatch \"\\.zen$\">\nSetHandler csp-handler-sa\n</FilesMatch>\n\
             <Files secret.ini>\nRequire all denied\n</Files>\n\
             Redirect /all/docbook/ http://docs.example/\n\
             RewriteEngine On\nRewriteRule ^/rewritten/(.*)$ /all/$1 [PT]\n",
        ),
    );
    let apache =
        ["all/static/a.js", "all/index.html", "types/a.txt", "any/plain", "directory/index.html", "directory/a.html"]
            .into_iter()
            .fold(site, |site, path| site.file(path, "from disk"))
            .start();

    for (target, expected) in [
        ("/all/anything", "application"),
        ("/all/", "application"),
        ("/all/rest/a.b/c", "application"),
        ("/all/static/a.js", "disk"),
        ("/all/static/none.js", "404"),
        ("/types/page.csp", "application"),
        ("/types/Page.Cls?x=1", "application"),
        ("/types/a.txt", "disk"),
        ("/types/csp", "404"),
        ("/any/x.y", "application"),
        ("/any/plain", "disk"),
        ("/handler/x", "application"),
        ("/systems/Module.cxw", "application"),
        ("/off/x.csp", "404"),
        ("/off/types/x.csp", "application"),
        ("/directory/", "application"),
        ("/directory/a", "application"),
        ("/directory/none/below", "application"),
        ("/page.zen", "application"),
        ("/all/secret.ini", "403"),
        ("/all/docbook/x", "302"),
        ("/rewritten/x", "application"),
        ("/outside", "404"),
    ] {
        let answer = web::get(apache.port(), target);
        let seen = match answer.status {
            _ if from_application(&answer) => "application".to_owned(),
            200 if answer.text() == "from disk" => "disk".to_owned(),
            status => status.to_string(),
        };
        assert_eq!(seen, expected, "{target}: {answer:?}");
    }
}

#[test]
fn a_virtual_host_may_use_what_the_server_does_not() {
    let backend = Backend::start();
    let directives = format!(
        "{}<VirtualHost *>\nServerName plain.example\n</VirtualHost>\n\
         <VirtualHost *>\nServerName csp.example\nCSPModulePath {}/\nCSP On\n</VirtualHost>\n",
        load_module(),
        backend.path().display()
    );
    let apache = Apache::start(Mpm::Event, &directives);
    let ask = |host: &str| {
        let request = format!("GET /csp/demo/echo HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        web::raw(apache.port(), request.as_bytes(), false)
    };
    assert_eq!(ask("plain.example").status, 404);
    assert_eq!(ask("csp.example").json()["variables"]["SERVER_NAME"], "csp.example");
}

#[test]
fn apache_still_authenticates_and_says_whom() {
    let backend = Backend::start();
    // The password is "pw".
    let site = Site::new(
        Mpm::Event,
        &configuration(
            &backend,
            "<Location /csp>\nCSP On\n</Location>\n\
             <Location /csp/demo/echo/secret>\nAuthType Basic\nAuthName x\nAuthUserFile DOCUMENTS/users\nRequire valid-user\n\
             </Location>\n",
        ),
    );
    let apache = site.file("users", "joe:$apr1$abcdefgh$5VEbMkemELfbhC5ck.U.z1\n").start();
    for target in
        ["/csp/demo/echo/secret", "/csp/demo/echo/%73ecret", "/csp/demo/echo/x/../secret", "/csp/demo/echo//secret"]
    {
        assert_eq!(web::get(apache.port(), target).status, 401, "{target}");
    }
    let joe = web::send(apache.port(), "GET /csp/demo/echo/secret", "Authorization: Basic am9lOnB3\r\n", b"");
    let variables = &joe.json()["variables"];
    assert_eq!((&variables["REMOTE_USER"], &variables["AUTH_TYPE"]), (&"joe".into(), &"Basic".into()));
}

#[test]
fn a_rewritten_target_is_what_the_application_sees() {
    let backend = Backend::start();
    let directives = "<Location /csp>\nCSP On\n</Location>\nRewriteEngine On\n\
                      RewriteRule ^/api/(.*)$ /csp/demo/echo/$1 [PT,QSA]\nErrorDocument 404 /csp/demo/echo/lost\n";
    let apache = Apache::start(Mpm::Event, &configuration(&backend, directives));
    assert_eq!(web::get(apache.port(), "/api/a%20b?x=1").json()["target"], "/csp/demo/echo/a%20b?x=1");
    // An error page is asked for without the body of the request that failed.
    let lost = web::send(apache.port(), "POST /nowhere", "Content-Length: 3\r\n", b"abc").json();
    assert_eq!((&lost["target"], &lost["body"]["length"]), (&"/csp/demo/echo/lost".into(), &0.into()));
}

#[test]
fn what_is_not_for_the_application_stays_with_apache() {
    let backend = Backend::start();
    let apache = Apache::start(Mpm::Event, &configuration(&backend, "<Location />\nCSP On\n</Location>\n"));
    let trace = web::send(apache.port(), "TRACE /csp/demo/echo", "", b"");
    assert!(trace.header("Content-Type") == Some("message/http"), "{trace:?}");
    assert_eq!(web::send(apache.port(), "OPTIONS *", "", b"").status, 200);
    assert_eq!(web::get(apache.port(), "/csp/%zz").status, 400);
}

#[test]
fn several_requests_share_a_browser_connection() {
    let backend = Backend::start();
    let apache = Apache::start(Mpm::Event, &configuration(&backend, "<Location /csp>\nCSP On\n</Location>\n"));
    let mut stream = web::connect(apache.port());
    let request = "GET /csp/demo/status/418 HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /csp/demo/status/418 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all([request, request, last].concat().as_bytes()).expect("sending");
    let mut received = String::new();
    stream.read_to_string(&mut received).expect("reading");
    assert_eq!(received.matches("HTTP/1.1 418").count(), 3, "{received}");

    let old = web::raw(apache.port(), b"GET /csp/demo/stream?n=3&bytes=5&delay_ms=1 HTTP/1.0\r\n\r\n", false);
    assert_eq!((old.status, old.header("Transfer-Encoding"), old.body.len()), (200, None, 15));
}

#[test]
fn a_stream_reaches_the_browser_as_it_is_produced() {
    let backend = Backend::start();
    let apache = Apache::start(Mpm::Prefork, &configuration(&backend, "<Location /csp>\nCSP On\n</Location>\n"));
    let mut stream = web::connect(apache.port());
    let begin = Instant::now();
    stream.write_all(b"GET /csp/demo/stream?n=2&bytes=10&delay_ms=1500 HTTP/1.0\r\n\r\n").expect("sending");
    let mut received = Vec::new();
    while !received.ends_with(b"abcdefghij") {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).expect("reading");
        assert!(length > 0, "ended early: {}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&piece[..length]);
    }
    assert!(begin.elapsed() < Duration::from_millis(1400), "the first piece waited for the second");
    stream.read_to_end(&mut received).expect("reading");
    assert!(begin.elapsed() >= Duration::from_millis(1400));
    assert!(received.ends_with(b"abcdefghijabcdefghij"), "{}", String::from_utf8_lossy(&received));
}

#[test]
fn a_broken_answer_looks_broken_and_is_logged_once() {
    let backend = Backend::start();
    let apache = Apache::start(Mpm::Event, &configuration(&backend, "<Location /csp>\nCSP On\n</Location>\n"));
    let cut = web::get(apache.port(), "/csp/demo/fail?after=100");
    assert!(cut.status == 200 && !cut.complete, "{cut:?}");
    let lost = web::get(apache.port(), "/csp/demo/fail?after=0");
    assert!(lost.status == 502 && lost.complete && lost.text().contains("SCLERA-600"), "{lost:?}");

    let log = apache.error_log();
    assert_eq!((log.matches("SCLERA-601").count(), log.matches("SCLERA-600").count()), (1, 1), "{log}");
    // One id: in the page, in the error log and in the access log.
    let page = lost.text();
    let id = page.split("Request: ").nth(1).and_then(|rest| rest.split('<').next()).expect("a request id in the page");
    assert!(log.contains(&format!("[request {id}]")), "{log}");
    assert!(apache.site.log("access.log").contains(&format!("502 id={id}")), "{}", apache.site.log("access.log"));
    assert_eq!(web::get(apache.port(), "/csp/demo/echo").status, 200, "the worker lives");
}

#[test]
fn apache_limits_request_bodies() {
    let backend = Backend::start();
    let directives = "<Location /csp>\nCSP On\n</Location>\nLimitRequestBody 1000\n";
    let apache = Apache::start(Mpm::Event, &configuration(&backend, directives));
    let body = vec![b'x'; 1001];
    let counted = web::send(apache.port(), "POST /csp/demo/echo", "Content-Length: 1001\r\n", &body);
    assert_eq!(counted.status, 413, "{counted:?}");
    let chunk = [b"3e9\r\n", body.as_slice(), b"\r\n0\r\n\r\n"].concat();
    let chunked = web::send(apache.port(), "POST /csp/demo/echo", "Transfer-Encoding: chunked\r\n", &chunk);
    assert_eq!(chunked.status, 413, "{chunked:?}");
}

#[test]
fn a_browser_that_leaves_disturbs_nobody() {
    let backend = Backend::start();
    let apache = Apache::start(Mpm::Event, &configuration(&backend, "<Location /csp>\nCSP On\n</Location>\n"));
    let mut reader = web::connect(apache.port());
    reader.write_all(b"GET /csp/demo/stream?n=1000&bytes=100000 HTTP/1.0\r\n\r\n").expect("sending");
    reader.read_exact(&mut [0; 100]).expect("reading");
    drop(reader);
    let mut sender = web::connect(apache.port());
    sender.write_all(b"POST /csp/demo/echo HTTP/1.0\r\nContent-Length: 1000000\r\n\r\nabc").expect("sending");
    drop(sender);
    assert_eq!(web::get(apache.port(), "/csp/demo/echo").status, 200);
    assert!(apache.stop());
}

#[test]
fn wrong_directives_are_refused_by_name() {
    for (line, message) in [
        ("CSP maybe", "CSP must be On or Off"),
        ("CSPFileTypes", "CSPFileTypes requires at least one argument"),
        ("CSPFileTypes .", "CSPFileTypes: invalid value \"\""),
        ("CSPFileTypes a/b", "CSPFileTypes: invalid value \"a/b\""),
        ("CSPConfigPath", "CSPConfigPath takes one argument"),
        ("<Location /x>\nCSPConfigPath /tmp\n</Location>", "CSPConfigPath not allowed in"),
    ] {
        let run = Site::new(Mpm::Event, &format!("{}{line}\n", load_module())).check();
        assert!(!run.success && run.stderr.contains(message), "{line}: {run:?}");
    }
    let run = Site::new(Mpm::Event, &format!("{}CSPMaxPooledNSDConnections 32\n", load_module())).check();
    assert!(run.success && run.stderr.contains("CSPMaxPooledNSDConnections has no effect"), "{run:?}");
}

#[test]
fn it_is_loaded_under_either_name_but_not_under_both() {
    let backend = Backend::start();
    let as_sclera = format!("LoadModule sclera_module {}\n", module().display());
    let use_it = format!("CSPConfigPath {}\n<Location /csp>\nCSP On\n</Location>\n", backend.path().display());
    let apache = Apache::start(Mpm::Event, &format!("{as_sclera}{use_it}"));
    assert_eq!(web::get(apache.port(), "/csp/demo/echo").status, 200);

    let run = Site::new(Mpm::Event, &format!("{}{as_sclera}{use_it}", load_module())).check();
    assert!(!run.success && run.stderr.contains("loaded twice, as csp_module_sa and as sclera_module"), "{run:?}");
}

#[test]
fn a_check_sees_with_the_eyes_of_the_worker() {
    let backend = Backend::start();
    let site = || Site::new(Mpm::Event, &configuration(&backend, "<Location /csp>\nCSP On\n</Location>\n"));
    let good = site().check();
    assert!(good.success && good.stderr.contains("Syntax OK"), "{good:?}");

    let key = backend.path().join("gateway.key");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("closing the key");
    let unreadable = site().check();
    let root = unreadable.stderr.contains("User directive has no effect") || cannot_be_other_users();
    assert!(root || (!unreadable.success && unreadable.stderr.contains("gateway.key")), "{unreadable:?}");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("opening the key");

    fs::write(backend.config(), "[LOCAL]\nTCP_Port=abc\nIp_Address=127.0.0.1\n[SYSTEM_INDEX]\nLOCAL=Enabled\n")
        .expect("writing");
    let broken = site().check();
    assert!(!broken.success && broken.stderr.contains("CSP.ini:2: [LOCAL] TCP_Port=abc"), "{broken:?}");

    let nowhere = Site::new(Mpm::Event, &format!("{}CSP On\n", load_module())).check();
    assert!(!nowhere.success && nowhere.stderr.contains("CSPConfigPath is not set"), "{nowhere:?}");
}

/// Without root, Apache's children are whoever runs the tests, and that user can read its own key.
fn cannot_be_other_users() -> bool {
    !fs::read_to_string("/proc/self/status").unwrap_or_default().contains("Uid:\t0\t0")
}

#[test]
fn a_start_and_a_restart_survive_an_unusable_csp_ini() {
    let backend = Backend::start();
    let good = fs::read(backend.config()).expect("CSP.ini");
    fs::remove_file(backend.config()).expect("removing CSP.ini");
    let mut apache = Apache::start(Mpm::Event, &configuration(&backend, "<Location /csp>\nCSP On\n</Location>\n"));
    let absent = web::get(apache.port(), "/csp/demo/echo");
    assert!(absent.status == 503 && absent.text().contains("SCLERA-100"), "{absent:?}");

    fs::write(backend.config(), &good).expect("restoring CSP.ini");
    apache.graceful();
    assert_eq!(web::get(apache.port(), "/csp/demo/echo").status, 200);

    fs::write(backend.config(), [good.as_slice(), b"[LOCAL]\nTCP_Port=abc\n"].concat()).expect("breaking CSP.ini");
    apache.graceful();
    assert_eq!(web::get(apache.port(), "/csp/demo/echo").status, 200, "{}", apache.error_log());
    assert!(apache.error_log().contains("what was read before stays in force"), "{}", apache.error_log());

    fs::write(backend.config(), &good).expect("restoring CSP.ini");
    for _ in 0..3 {
        apache.graceful();
    }
    assert_eq!(web::get(apache.port(), "/csp/demo/echo").status, 200);
    assert!(apache.stop());
}

#[test]
fn loaded_but_unused_it_starts_nothing() {
    let backend = Backend::start();
    let threads = |apache: &Apache| -> Vec<usize> {
        let count = |child: &u32| fs::read_dir(format!("/proc/{child}/task")).map_or(0, Iterator::count);
        apache.children().iter().map(count).collect()
    };

    let mut apache = Apache::start(Mpm::Prefork, &configuration(&backend, "StartServers 2\n"));
    apache.wait_until("has children", |apache| apache.children().len() >= 2);
    assert!(threads(&apache).iter().all(|&count| count == 1), "{:?}", threads(&apache));

    // A handler name is another module's directive: the worker starts with the first request.
    let directives = "StartServers 1\nServerLimit 1\n<Location /csp>\nSetHandler csp-handler-sa\n</Location>\n";
    let mut apache = Apache::start(Mpm::Prefork, &configuration(&backend, directives));
    apache.wait_until("has a child", |apache| threads(apache) == [1]);
    assert_eq!(web::get(apache.port(), "/csp/demo/echo").status, 200);
    assert_eq!(threads(&apache), [2]);
}

#[test]
fn a_child_ends_at_once_in_the_middle_of_a_request() {
    let backend = Backend::start();
    for mpm in Mpm::ALL {
        let apache = Apache::start(mpm, &configuration(&backend, "<Location /csp>\nCSP On\n</Location>\n"));
        let mut stream = web::connect(apache.port());
        stream.write_all(b"GET /csp/demo/stream?n=2&bytes=10&delay_ms=20000 HTTP/1.0\r\n\r\n").expect("sending");
        stream.read_exact(&mut [0; 10]).expect("the answer begins");
        let begin = Instant::now();
        assert!(apache.stop(), "{mpm:?}");
        assert!(begin.elapsed() < Duration::from_secs(15), "{mpm:?}: {:?}", begin.elapsed());
    }
}
