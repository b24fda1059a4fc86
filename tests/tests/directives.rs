//! Directives as existing configurations write them, in both web servers: which requests they send to the superserver, who
//! checks a password, what a configuration test refuses and what a start or a reload survives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sclera_superserver::application::{Application, Exchange, Handling, Request};
use sclera_superserver::{Options, Running, Superserver};
use sclera_tests::apache::{Apache, Mpm, load};
use sclera_tests::certificates::{Ca, Leaf};
use sclera_tests::http::{Answer, Client};
use sclera_tests::nginx::{Nginx, Settings};
use sclera_tests::root;
use sclera_tests::scene::{Scene, free_port};
use sclera_tests::web_server::{WebServer, module};

const APACHE: &str = "<Location /csp>\nCSP On\n</Location>\n";
const NGINX: &str = "location /csp { CSP on; }";

/// `joe:pw`, `joe:wrong`, and no user at all.
const RIGHT: &str = "Basic am9lOnB3";
const WRONG: &str = "Basic am9lOndyb25n";
const BEARER: &str = "Bearer abc";

/// Who answered: `superserver`, `disk`, or the status of the web server's own answer.
fn who(answer: &Answer) -> String {
    let text = answer.text();
    match answer.status {
        _ if text.contains("No application is mounted") || text.contains("\"variables\"") => "superserver".to_owned(),
        200 if text == "from disk" => "disk".to_owned(),
        status => status.to_string(),
    }
}

fn with_files(scene: &Scene, files: &[&str]) {
    for file in files {
        let path = scene.directory().join("www").join(file);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a fresh directory");
        scene.static_file(file, b"from disk");
    }
}

fn decides(server: &impl WebServer, cases: &[(&str, &str)]) {
    for (target, expected) in cases {
        let answer = server.get(target);
        assert_eq!(who(&answer), *expected, "{target}: {answer:?}\n{}", server.error_log());
    }
}

// ---- the published configurations ----

/// Configuration files that real deployments publish; they do not belong to the project.
fn published() -> Option<PathBuf> {
    let directory = root().join("../shared/fixtures");
    if directory.is_dir() {
        return Some(directory);
    }
    eprintln!("skipped: there is no {}", directory.display());
    None
}

/// A superserver as those deployments have it: TLS is possible, `CSPSystem` logs in with a password.
fn customary_superserver(scene: &Scene) -> Running {
    let at = |name: &str| scene.directory().join(name).display().to_string();
    let actions = format!(
        "CreateSSLConfig:Name=Tls,Type=1,Enabled=1,VerifyPeer=1,CAFile={},CertificateFile={},PrivateKeyFile={},\
         PrivateKeyType=3\n\
         CreateServer:Port=1972,BindAddress=127.0.0.1,Enabled=1,SSLSupportLevel=1,EnableCSP=1,SSLConfig=Tls\n\
         ModifyService:Name=%Service_WebGateway,Enabled=1,AutheEnabled=$$$AuthePassword\n\
         CreateUser:Name=CSPSystem,Password=SYS\n",
        at("ca.pem"),
        at("superserver.pem"),
        at("superserver.key"),
    );
    Superserver::start(Options::actions(&actions).port(0)).unwrap_or_else(|error| panic!("{error}"))
}

/// The published CSP.ini with address, port and TLS files of ours; all else as it is.
fn at_home(text: &str, scene: &Scene, port: u16) -> String {
    let line = |line: &str| match line.split_once('=') {
        Some(("Ip_Address", _)) => "Ip_Address=127.0.0.1\n".to_owned(),
        Some(("TCP_Port", _)) => format!("TCP_Port={port}\n"),
        Some((key @ "SSLCC_Certificate_File", _)) => format!("{key}={}/gateway.pem\n", scene.directory().display()),
        Some((key @ "SSLCC_Certificate_Key_File", _)) => format!("{key}={}/gateway.key\n", scene.directory().display()),
        Some((key @ "SSLCC_CA_Certificate_File", _)) => format!("{key}={}/ca.pem\n", scene.directory().display()),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn published_apache_configurations_serve_with_another_path_in_the_load_line() {
    let Some(published) = published() else { return };
    for (conf, ini) in [
        ("demo-compose", "demo-compose"),
        ("demo-dockerfile", "demo-dockerfile"),
        ("demo-one-to-many", "demo-one-to-many"),
        ("demo-many-to-many-balancer", "demo-many-to-many-app"),
    ] {
        let scene = Scene::without_superserver();
        let superserver = customary_superserver(&scene);
        let home = scene.directory().join("home");
        fs::create_dir_all(home.join("bin")).expect("a fresh directory");
        let text = fs::read_to_string(published.join(format!("csp-ini/{ini}.ini"))).expect("a published CSP.ini");
        fs::write(home.join("bin/CSP.ini"), at_home(&text, &scene, superserver.port())).expect("a fresh directory");
        let browser = Ca::new(&home, "browsers").issue("sslwebcert", &Leaf::server());
        fs::rename(&browser.key, home.join("sslwebkey.pem")).expect("a fresh directory");

        let text = fs::read_to_string(published.join(format!("csp-conf/{conf}.conf"))).expect("a published file");
        // In containers the load line stands in a file of its own.
        let load = if text.contains("csp_module_sa") { String::new() } else { load("csp_module_sa") };
        let here = home.display();
        let tls = free_port();
        let text = text
            .replace("/home/irisowner/webgateway/bin/CSPa24.so", &module("mod_sclera.so").display().to_string())
            .replace("/home/irisowner/webgateway", &here.to_string())
            .replace("/webgateway-shared", &here.to_string())
            .replace("*:443", &format!("127.0.0.1:{tls}"));
        let file = home.join(format!("{conf}.conf"));
        fs::write(&file, text).expect("a fresh directory");
        let directives =
            format!("Define ISC_PACKAGE_INSTALLDIR {here}\nListen 127.0.0.1:{tls}\n{load}Include {}\n", file.display());

        let run = Apache::test(&scene, &directives);
        assert!(run.success && run.stderr.contains("Syntax OK"), "{conf}: {run:?}");
        let apache = Apache::start_bare(&scene, Mpm::Event, &directives);
        let login = &apache.get("/csp/demo/echo").json()["login"];
        assert_eq!((&login["user"], &login["mechanism"]), (&"CSPSystem".into(), &"Password".into()), "{conf}");
        let help = apache.get("/csp/docbook/x");
        assert_eq!(
            (help.status, help.header("Location")),
            (302, Some("http://docs.intersystems.com/irislatest/csp/docbook/x")),
            "{conf}"
        );
        assert!(apache.stop(), "{conf}");
    }
}

// ---- which requests ----

#[test]
fn apache_knows_the_handler_names_and_types_of_older_configurations() {
    let scene = Scene::new();
    with_files(&scene, &["handler/there.csp", "handler/a.txt", "type/there.cls", "type/a.txt", "deep/a.txt"]);
    let www = scene.directory().join("www");
    let directives = format!(
        "CSPSYSModulePath /opt/webgateway/bin/\n\
         <IfModule csp_module_sa>\n\
         <Directory {www}/handler>\nAddHandler csp-handler-sa csp cls zen cxw\n</Directory>\n\
         <Directory {www}/type>\nAddType application/x-csp .csp .cls .zen .cxw\n</Directory>\n\
         <Directory {www}>\nModMimeUsePathInfo On\n</Directory>\n\
         <Location /deep>\nAddHandler csp-handler-sa csp\n</Location>\n\
         <Location /csp/bin/Systems/>\nSetHandler cspsys-handler-sa\n</Location>\n\
         <Location /csp/bin/RunTime/>\nSetHandler csp-handler-sa\n</Location>\n\
         <Location /handler/off>\nCSP Off\n</Location>\n\
         </IfModule>\n",
        www = www.display()
    );
    let apache = Apache::start(&scene, &directives);
    decides(
        &apache,
        &[
            ("/handler/there.csp", "superserver"),
            ("/handler/absent.cls?x=1", "superserver"),
            ("/handler/%25CSP.Portal.Home.zen", "superserver"),
            ("/handler/a.txt", "disk"),
            ("/handler/off.csp", "superserver"),
            ("/handler/off/x.csp", "404"),
            ("/type/there.cls", "superserver"),
            ("/type/absent.zen", "superserver"),
            ("/type/a.txt", "disk"),
            ("/deep/no/such/page.csp", "superserver"),
            // The management pages.
            ("/csp/bin/Systems/Module.cxw", "200"),
            ("/csp/bin/RunTime/Module.cxw", "superserver"),
            ("/outside.csp", "404"),
        ],
    );
}

#[test]
fn apache_passes_directives_down_to_virtual_hosts_and_their_sections() {
    let scene = Scene::new();
    let other = Scene::new();
    with_files(&scene, &["x/a.txt"]);
    let directives = format!(
        "CSPFileTypes .csp cls\n\
         <Location /off>\nCSP Off\n</Location>\n\
         <VirtualHost *>\nServerName plain.example\n</VirtualHost>\n\
         <VirtualHost *>\nServerName all.example\nCSPFileTypes *\n<Location /rest>\nCSP on\n</Location>\n\
         <Location /rest/static>\nCSP OFF\n</Location>\n</VirtualHost>\n\
         <VirtualHost *>\nServerName off.example\nCSP Off\n<Location /again>\nCSPFileTypes zen\n</Location>\n</VirtualHost>\n\
         <VirtualHost *>\nServerName other.example\nCSPConfigPath {}\n</VirtualHost>\n",
        other.directory().display()
    );
    let apache = Apache::start(&scene, &directives);
    let ask = |host: &str, target: &str| {
        apache.connect().send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).answer()
    };
    for (host, target, expected) in [
        ("plain.example", "/x/a.csp", "superserver"),
        ("plain.example", "/x/a.CLS", "superserver"),
        ("plain.example", "/x/a.txt", "disk"),
        ("plain.example", "/off/a.csp", "404"),
        ("all.example", "/x/a.txt", "superserver"),
        ("all.example", "/x/a", "404"),
        ("all.example", "/rest/a", "superserver"),
        ("all.example", "/rest/static/a.csp", "404"),
        ("off.example", "/x/a.csp", "404"),
        ("off.example", "/again/a.zen", "superserver"),
        ("off.example", "/again/a.csp", "404"),
        ("other.example", "/x/a.csp", "superserver"),
    ] {
        let answer = ask(host, target);
        assert_eq!(who(&answer), expected, "{host}{target}: {answer:?}");
    }
    drop(other);
    assert_eq!(ask("other.example", "/x/a.csp").status, 502, "it has a CSP.ini of its own");
    assert_eq!(who(&ask("plain.example", "/x/a.csp")), "superserver");
}

#[test]
fn nginx_passes_directives_down_and_the_nearest_wins() {
    let scene = Scene::new();
    with_files(&scene, &["x/a.txt", "tried/there.txt", "choice/a.txt"]);
    let settings = Settings {
        main: "thread_stack_size 2000000;",
        http: &format!(
            "CSPModulePath {}/; CSPFileTypes .csp cls; CSPNSD_pass 127.0.0.1:7038;",
            scene.directory().display()
        ),
        locations: "CSPNSD_pass 127.0.0.1:7038;\n\
            location /off { CSP off; location /off/on { CSP On; location /off/on/deeper { } } }\n\
            location /off/types { CSPFileTypes zen; }\n\
            location /any { CSPFileTypes *; CSPNSD_pass 127.0.0.1:7038; CSP_send_timeout 300s; }\n\
            location ~ ^/regex/.*\\.(x|y)$ { CSP ON; }\n\
            location /tried { CSP off; try_files $uri @csp; }\n\
            location @csp { CSP on; }\n\
            location /choice { if ($arg_csp = yes) { CSP on; } if ($arg_csp = no) { CSP off; } }\n\
            location /moved { rewrite ^/moved/(.*)$ /off/on/$1 last; }\n\
            location /words { CSP on; return 204; }",
        ..Settings::default()
    };
    let nginx = Nginx::start_with(&scene, settings);
    decides(
        &nginx,
        &[
            ("/x/a.csp", "superserver"),
            ("/x/a.CLS?x", "superserver"),
            ("/x/a.txt", "disk"),
            ("/off/a.csp", "404"),
            ("/off/on/a", "superserver"),
            ("/off/on/deeper/a", "superserver"),
            ("/off/types/a.zen", "superserver"),
            ("/off/types/a.csp", "404"),
            ("/any/a.txt", "superserver"),
            ("/any/a", "404"),
            ("/regex/a.x", "superserver"),
            ("/regex/a.z", "404"),
            ("/tried/there.txt", "disk"),
            ("/tried/absent", "superserver"),
            ("/choice/a.txt", "disk"),
            ("/choice/a.txt?csp=yes", "superserver"),
            ("/choice/a.csp", "superserver"),
            ("/choice/a.csp?csp=no", "404"),
            ("/moved/a", "superserver"),
            ("/words/a", "204"),
        ],
    );
    let log = nginx.error_log();
    for name in ["CSPNSD_pass", "CSP_send_timeout", "thread_stack_size"] {
        assert_eq!(log.matches(&format!("the \"{name}\" directive has no effect")).count(), 1, "{name}: {log}");
    }
}

// ---- who checks the password ----

/// The page of AuthCSPClass: lets joe pass if his password is right, and answers in other ways when asked to.
struct Judge;

impl Application for Judge {
    fn handle<'a>(&'a self, request: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
        Box::pin(async move {
            let sound = *request.method == *b"GET"
                && request.variable("CONTENT_LENGTH").is_none()
                && request.variable("HTTP_IF_NONE_MATCH").is_none();
            let status = match (sound, request.variable("HTTP_AUTHORIZATION"), request.variable("HTTP_X_JUDGE")) {
                (false, ..) => 500,
                (true, _, Some(b"teapot")) => 418,
                (true, Some(header), _) if header == RIGHT.as_bytes() => 200,
                _ => 401,
            };
            let headers = [("WWW-Authenticate", "Basic realm=\"judge\""), ("Content-Type", "text/plain")];
            exchange.head(status, &headers).await?;
            exchange.write(&vec![b'x'; 100_000]).await
        })
    }
}

fn ask(server: &impl WebServer, method: &str, target: &str, headers: &str, body: &str) -> Answer {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    server.connect().send(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n{body}")).answer()
}

fn with(credentials: &str) -> String {
    format!("Authorization: {credentials}\r\n")
}

#[test]
fn with_auth_csp_enable_the_application_gets_the_credentials_unchecked_and_nobody_else_answers() {
    let scene = Scene::new();
    with_files(&scene, &["csp/demo/echo/own/file.txt", "csp/demo/echo/own/off/file.txt"]);
    let users = scene.directory().join("users");
    fs::write(&users, "joe:$apr1$abcdefgh$5VEbMkemELfbhC5ck.U.z1\n").expect("a fresh directory"); // "pw"
    let directives = format!(
        "LoadModule status_module /usr/lib/apache2/modules/mod_status.so\n{APACHE}\
         <Location /csp/demo/echo/own>\nAuthType Basic\nAuthName x\nAuthBasicProvider file\nAuthUserFile {}\n\
         Require valid-user\nAuthBasicAuthoritative Off\nAuthCSPEnable On\n</Location>\n\
         <Location /csp/demo/echo/own/off>\nCSP Off\n</Location>\n\
         <Location /csp/demo/echo/own/status>\nSetHandler server-status\n</Location>\n\
         <Location /csp/demo/echo/own/apache>\nAuthCSPEnable Off\n</Location>\n\
         <Location /csp/demo/echo/own/forced>\nRewriteEngine On\nRewriteRule . - [H=server-status]\n</Location>\n",
        users.display()
    );
    let apache = Apache::start(&scene, &directives);
    let own = "/csp/demo/echo/own";
    for (credentials, password) in [(RIGHT, "pw"), (WRONG, "wrong")] {
        let variables = &ask(&apache, "GET", own, &with(credentials), "").json()["variables"];
        let seen =
            ["REMOTE_USER", "AUTH_TYPE", "AUTH_PASSWORD"].map(|name| variables[name].as_str().unwrap_or_default());
        assert_eq!(seen, ["joe", "Basic", password]);
    }
    // Without a user, Apache asks for one.
    for headers in [String::new(), with(BEARER), with("Basic"), with("Basic !!"), with("Basic OnB3")] {
        let answer = ask(&apache, "GET", own, &headers, "");
        assert_eq!((answer.status, answer.header("WWW-Authenticate")), (401, Some("Basic realm=\"x\"")), "{headers}");
    }
    // Elsewhere the password is Apache's to check, and stays there.
    for (target, credentials, expected) in [
        ("/off/file.txt", WRONG, "401"),
        ("/off/file.txt", RIGHT, "disk"),
        ("/status", WRONG, "401"),
        ("/status", RIGHT, "200"),
        ("/apache", WRONG, "401"),
        ("/apache", RIGHT, "superserver"),
        ("/forced", RIGHT, "403"),
    ] {
        let answer = ask(&apache, "GET", &format!("{own}{target}"), &with(credentials), "");
        assert_eq!(who(&answer), expected, "{target} {credentials}: {answer:?}");
    }
    for target in ["/csp/demo/echo/own/apache", "/csp/demo/echo/open"] {
        let variables = &ask(&apache, "GET", target, &with(RIGHT), "").json()["variables"];
        assert_eq!(variables.get("AUTH_PASSWORD"), None, "{target}: {variables}");
    }
    let logs = apache.error_log() + &apache.access_log();
    assert!(!logs.contains("pw") && !logs.contains("am9lOnB3") && !logs.contains("am9lOndyb25n"), "{logs}");
    assert!(logs.contains("the user has not been checked"), "{logs}");
}

#[test]
fn the_page_of_auth_csp_class_lets_pass_or_refuses() {
    let mut scene = Scene::with_application("/csp/judge", Judge);
    let directives = format!(
        "{APACHE}<Location /csp/demo/echo/judged>\nAuthCSPClass /csp/judge/Auth.cls?x=1\n</Location>\n\
         <Location /csp/demo/echo/judged/exempt>\nAuthCSPClass None\n</Location>\n\
         <Location /csp/demo/echo/both>\nAuthType Basic\nAuthName x\nRequire valid-user\nAuthBasicAuthoritative Off\n\
         AuthCSPClass /csp/judge/Auth.cls\n</Location>\n"
    );
    let apache = Apache::start(&scene, &directives);
    let judged = "/csp/demo/echo/judged";
    let passed = ask(&apache, "POST", judged, &format!("{}If-None-Match: x\r\n", with(RIGHT)), "body").json();
    assert_eq!((&passed["method"], &passed["body"]["length"]), (&"POST".into(), &4.into()));
    assert_eq!(passed["variables"].get("AUTH_PASSWORD"), None);
    assert_eq!(ask(&apache, "HEAD", &format!("{judged}/exempt"), "", "").status, 200);

    for headers in [String::new(), with(WRONG), with(BEARER)] {
        let refused = ask(&apache, "GET", judged, &headers, "");
        assert_eq!(refused.status, 401, "{refused:?}");
        assert_eq!(refused.all("WWW-Authenticate"), ["Basic realm=\"judge\""]);
        assert!(!refused.text().contains("variables"));
    }
    let undecided = ask(&apache, "GET", judged, "X-Judge: teapot\r\n", "");
    assert!(undecided.status == 500 && undecided.text().contains("gave no decision"), "{undecided:?}");
    assert!(apache.error_log().contains("AuthCSPClass /csp/judge/Auth.cls?x=1: the page answered 418"));

    // Where Apache wants a user it takes his word for it, and the page judges.
    assert_eq!(ask(&apache, "GET", "/csp/demo/echo/both", "", "").all("WWW-Authenticate"), ["Basic realm=\"x\""]);
    assert_eq!(ask(&apache, "GET", "/csp/demo/echo/both", &with(WRONG), "").status, 401);
    let variables = &ask(&apache, "GET", "/csp/demo/echo/both", &with(RIGHT), "").json()["variables"];
    assert_eq!((&variables["REMOTE_USER"], variables.get("AUTH_PASSWORD")), (&"joe".into(), None));

    scene.stop_superserver();
    let unreachable = ask(&apache, "GET", judged, &with(RIGHT), "");
    assert!(unreachable.status == 502 && unreachable.text().contains("(SCLERA-"), "{unreachable:?}");
}

#[test]
fn an_error_page_of_the_application_is_asked_for_without_the_rest_of_a_body() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, "error_page 502 /csp/demo/echo/page; location /csp { CSP on; }");
    let mut client = nginx.connect();
    client
        .send("POST /csp/demo/fail?after=0 HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
        .send([b'x'; 40_000]);
    let echo = client.answer().json();
    assert_eq!((&echo["target"], &echo["body"]["length"]), (&"/csp/demo/echo/page".into(), &0.into()));
    assert_eq!(echo["variables"].get("CONTENT_LENGTH"), None);
    assert!(client.is_closed(), "the rest of the body is not taken for a request");
}

// ---- what a test of the configuration refuses, a start survives, a reload keeps ----

/// Something an administrator got wrong, or only seems to have.
struct Fault {
    name: &'static str,
    make: fn(&Scene),
    /// What `-t` says when it refuses; `None`: it accepts.
    refusal: Option<&'static str>,
    /// The status of a request after a start with it.
    status: u16,
}

const FAULTS: &[Fault] = &[
    Fault { name: "nothing", make: |_| (), refusal: None, status: 200 },
    Fault {
        name: "CSP.ini with a wrong port",
        make: |scene| scene.edit_csp_ini(|text| text.replace("TCP_Port=", "TCP_Port=x")),
        refusal: Some("TCP_Port=x"),
        status: 503,
    },
    Fault {
        name: "CSP.ini that is none",
        make: |scene| scene.edit_csp_ini(|_| "\0\u{1}\u{2}".to_owned()),
        refusal: Some("CSP.ini"),
        status: 503,
    },
    Fault {
        name: "no CSP.ini",
        make: |scene| fs::remove_file(scene.csp_ini()).expect("removing CSP.ini"),
        refusal: None,
        status: 502,
    },
    Fault {
        name: "no certificate",
        make: |scene| fs::remove_file(scene.directory().join("gateway.pem")).expect("removing it"),
        refusal: Some("gateway.pem"),
        status: 503,
    },
    Fault {
        name: "another certificate's key",
        make: |scene| {
            let other = Ca::new(scene.directory(), "other").issue("stray", &Leaf::gateway("WebUser"));
            // Written over, so that owner and mode stay.
            fs::write(scene.directory().join("gateway.key"), fs::read(other.key).expect("a key")).expect("writing it");
        },
        refusal: Some("gateway.key"),
        status: 503,
    },
    Fault {
        name: "no CA",
        make: |scene| fs::remove_file(scene.directory().join("ca.pem")).expect("removing it"),
        refusal: Some("ca.pem"),
        status: 503,
    },
    Fault {
        name: "no certificate, of a server that is disabled",
        make: |scene| {
            scene.edit_csp_ini(|text| {
                text.replace("[SYSTEM_INDEX]\n", "[SYSTEM_INDEX]\nSPARE=Disabled\n")
                    + "\n[SPARE]\nIp_Address=127.0.0.1\nTCP_Port=1972\nConnection_Security_Level=10\n\
                       SSLCC_Certificate_File=/nowhere.pem\nSSLCC_Certificate_Key_File=/nowhere.key\n"
            });
        },
        refusal: None,
        status: 200,
    },
];

/// Every file of the scene that is not the web server's own.
fn files(scene: &Scene) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(directory: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let name = entry.file_name();
            let of_server =
                name.to_string_lossy().starts_with("apache-") || name.to_string_lossy().starts_with("nginx-");
            match entry.path() {
                path if path.is_dir() && !of_server => walk(&path, found),
                path if path.is_file() => drop(found.insert(path.clone(), fs::read(path).expect("a file"))),
                _ => {}
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(scene.directory(), &mut found);
    found
}

fn apache_t(scene: &Scene) -> (bool, String) {
    let csp = format!("{}CSPConfigPath {}\n{APACHE}", load("csp_module_sa"), scene.directory().display());
    let run = Apache::test(scene, &csp);
    (run.success, run.stderr)
}

fn nginx_t(scene: &Scene) -> (bool, String) {
    let verdict = Nginx::test(scene, Settings { locations: NGINX, ..Settings::default() });
    (verdict.accepted, verdict.text)
}

#[test]
fn a_configuration_test_refuses_what_cannot_work_asks_no_network_and_changes_no_file() {
    for fault in FAULTS {
        let scene = Scene::without_superserver();
        (fault.make)(&scene);
        let before = files(&scene);
        for (server, (accepted, text)) in [("Apache", apache_t(&scene)), ("Nginx", nginx_t(&scene))] {
            assert_eq!(accepted, fault.refusal.is_none(), "{server}, {}: {text}", fault.name);
            assert!(text.contains(fault.refusal.unwrap_or_default()), "{server}, {}: {text}", fault.name);
        }
        assert!(files(&scene) == before, "{}: a file has changed", fault.name);
    }
}

#[test]
fn a_configuration_test_only_warns_of_an_expired_certificate() {
    let scene = Scene::without_superserver();
    let ca = Ca::new(scene.directory(), "another");
    let expired = ca.issue("expired", &Leaf { valid: (-10, -1), ..Leaf::gateway("WebUser") });
    for (name, from) in [("gateway.pem", expired.certificate), ("gateway.key", expired.key)] {
        fs::write(scene.directory().join(name), fs::read(from).expect("a file")).expect("writing it");
    }
    for (server, (accepted, text)) in [("Apache", apache_t(&scene)), ("Nginx", nginx_t(&scene))] {
        assert!(accepted && text.contains("expired"), "{server}: {text}");
    }
}

/// Starts with the fault, then starts without and reloads into it: static files are served all the time.
///
/// `keeps`: a reload leaves in force what was there. Otherwise new processes have only the faulty files to read.
fn survives<S: WebServer>(directives: &str, keeps: fn(&Fault) -> bool) {
    for fault in FAULTS {
        let scene = Scene::new();
        (fault.make)(&scene);
        let server = S::start(&scene, directives);
        let answer = server.get("/csp/demo/echo");
        assert_eq!(answer.status, fault.status, "{}: {answer:?}", fault.name);
        assert!(fault.status == 200 || answer.text().contains("SCLERA-"), "{}: {answer:?}", fault.name);
        assert_eq!(server.get("/static.txt").status, 200, "{}", fault.name);
        assert!(server.stop(), "{}", fault.name);

        let scene = Scene::new();
        let server = S::start(&scene, directives);
        assert_eq!(server.get("/csp/demo/echo").status, 200);
        (fault.make)(&scene);
        server.reload();
        assert_eq!(server.get("/static.txt").status, 200, "{}: {}", fault.name, server.error_log());
        let answer = server.get("/csp/demo/echo");
        let expected = if keeps(fault) { 200 } else { fault.status };
        assert_eq!(answer.status, expected, "{}: {answer:?} {}", fault.name, server.error_log());
        assert!(server.error_log().contains(fault.refusal.unwrap_or_default()), "{}: not in the log", fault.name);
    }
}

#[test]
fn apache_starts_and_reloads_whatever_csp_ini_and_tls_files_are_like() {
    survives::<Apache>(APACHE, |fault| fault.name.contains("CSP.ini"));
}

#[test]
fn nginx_starts_and_reloads_whatever_csp_ini_and_tls_files_are_like() {
    survives::<Nginx>(NGINX, |_| true);
}

/// No request fails while the web server is reloaded again and again.
fn reloads_under_load(server: impl WebServer + Sync) {
    let done = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let mut client = Client::connect(server.port());
                    let answer = client.request("GET", "/csp/demo/big?bytes=100000").answer();
                    assert!(answer.status == 200 && answer.complete, "{answer:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..5 {
            let before = answered.load(Ordering::Relaxed);
            let reloaded = server.reload();
            let served =
                sclera_tests::process::wait_until(|| (answered.load(Ordering::Relaxed) > before).then_some(()));
            if !reloaded || served.is_none() {
                done.store(true, Ordering::Relaxed);
            }
            assert!(reloaded && served.is_some(), "{}", server.error_log());
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(server.stop());
}

#[test]
fn no_request_fails_while_apache_restarts_gracefully_again_and_again() {
    for mpm in [Mpm::Prefork, Mpm::Event] {
        let scene = Scene::new();
        reloads_under_load(Apache::start_with(&scene, mpm, APACHE));
    }
}

#[test]
fn no_request_fails_while_nginx_reloads_again_and_again() {
    let scene = Scene::new();
    let settings = Settings { main: "worker_processes 2;", locations: NGINX, ..Settings::default() };
    reloads_under_load(Nginx::start_with(&scene, settings));
}
