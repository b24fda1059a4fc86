//! The event log and the HTTP trace, as the web servers' workers write them.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use sclera::event_log::reader::{self, Filter, Order, Record};
use sclera::event_log::trace;
use sclera_tests::apache::{Apache, Mpm};
use sclera_tests::host;
use sclera_tests::nginx::{Nginx, Settings};
use sclera_tests::process::wait_until;
use sclera_tests::scene::{Scene, worker_user};
use sclera_tests::web_server::WebServer;

const NGINX: &str = "location /csp { CSP on; }";
const APACHE: &str = "<Location /csp>\nCSP On\n</Location>";
const ONE_CHILD: &str = "ServerLimit 1\nStartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 25\n";
const ECHO: &str = "/csp/demo/echo/";

/// Lines for `[SYSTEM]`.
fn set(scene: &Scene, lines: &str) {
    scene.edit_csp_ini(|text| match text.contains("[SYSTEM]\n") {
        true => text.replace("[SYSTEM]\n", &format!("[SYSTEM]\n{lines}\n")),
        false => format!("[SYSTEM]\n{lines}\n\n{text}"),
    });
}

/// A directory in which the workers may create files.
fn writable(scene: &Scene, name: &str) -> PathBuf {
    let directory = scene.directory().join(name);
    fs::create_dir(&directory).unwrap();
    if let Some((uid, gid)) = worker_user() {
        chown(&directory, Some(uid), Some(gid)).unwrap();
    }
    directory
}

fn records(path: &Path) -> Vec<Record> {
    let (mut records, mut from) = (Vec::new(), None);
    loop {
        let page = reader::read(path, from, Order::Ascending, &Filter::default(), 100).unwrap();
        records.extend(page.records);
        from = page.next;
        if from.is_none() {
            return records;
        }
    }
}

/// Waits for a record in CSP.log beside CSP.ini.
fn find(scene: &Scene, is: impl Fn(&Record) -> bool) -> Record {
    let path = scene.directory().join("CSP.log");
    let look = || records(&path).into_iter().find(&is);
    wait_until(look).unwrap_or_else(|| panic!("no such record in {:#?}", records(&path)))
}

/// What an access log of either server says: the id, the server and the code of each request.
fn access_log(read: impl Fn() -> String, lines: usize) -> Vec<(String, String, String)> {
    let text = wait_until(|| Some(read()).filter(|text| text.lines().count() >= lines));
    let text = text.unwrap_or_else(|| panic!("the access log has {}", read()));
    let words = text.lines().map(|line| line.rsplitn(4, ' ').map(str::to_owned).collect::<Vec<_>>());
    words.map(|words| (words[2].clone(), words[1].clone(), words[0].clone())).collect()
}

/// A run of requests, good and bad: every line of the log can be read, and the ids agree.
fn tells_a_run<S: WebServer>(mut scene: Scene, server: S, access: impl Fn(&S) -> String) {
    assert_eq!(server.get(ECHO).status, 200);
    let answer = server.get(&format!("{ECHO}?again"));
    let seen = answer.json()["system"]["REQUEST_ID"].as_str().unwrap().to_owned();
    let started = find(&scene, |record| record.event == "WebGateway.StartUp");
    assert_eq!((started.level.as_str(), started.text.as_str()), ("INFO", "Initialization"));

    set(&scene, "Env_Parameters=ev3p");
    let reloaded = find(&scene, |record| record.text == "Gateway Configuration Reloaded and Reactivated");
    assert_eq!(reloaded.event, "WebGateway.Configuration");
    let answer = server.get(ECHO);
    let id = answer.json()["system"]["REQUEST_ID"].as_str().unwrap().to_owned();
    for (event, text) in [
        ("WebGateway.Request", "Request"),
        ("WebGateway.Data", "Request headers"),
        ("WebGateway.Data", "Response headers"),
        ("WebGateway.Request", "Response"),
        ("WebGateway.Timing", "Timing"),
    ] {
        let record = find(&scene, |record| record.request_id == id && record.text == text);
        assert_eq!((record.event.as_str(), record.server.as_str()), (event, "LOCAL"));
    }

    scene.stop_superserver();
    let page = server.get(ECHO);
    assert_eq!(page.status, 502);
    let failed = find(&scene, |record| record.code == "SCLERA-201");
    assert_eq!((failed.event.as_str(), failed.level.as_str()), ("WebGateway.Error", "SEVERE"));
    assert!(page.text().contains(&failed.request_id), "{} is not on {}", failed.request_id, page.text());
    assert!(failed.details.contains("CSP.ini"), "{failed:?}");
    let told = || server.error_log().contains(&failed.request_id).then_some(());
    assert!(wait_until(told).is_some(), "{}", server.error_log());

    let ids = access_log(|| access(&server), 4);
    let of = |id: &str| ids.iter().find(|line| line.0 == id).unwrap_or_else(|| panic!("no {id} in {ids:?}")).clone();
    assert_eq!(of(&seen), (seen.clone(), "LOCAL".to_owned(), "-".to_owned()));
    assert_eq!(of(&failed.request_id), (failed.request_id.clone(), "LOCAL".to_owned(), "SCLERA-201".to_owned()));

    assert!(server.stop());
    let all = records(&scene.directory().join("CSP.log"));
    assert!(all.iter().all(|record| !record.event.is_empty()), "every line is of the original's form: {all:#?}");
}

#[test]
fn a_run_through_nginx_stands_in_the_log_under_the_ids_of_the_access_log() {
    let scene = Scene::new();
    let http = format!(
        "CSPConfigPath {};\nlog_format ids '$request $sclera_request_id $sclera_server $sclera_code';",
        scene.directory().display()
    );
    let locations = format!("access_log {}/ids.log ids;\n{NGINX}", scene.directory().display());
    let settings = Settings { http: &http, locations: &locations, ..Settings::default() };
    let server = Nginx::start_with(&scene, settings);
    let ids = scene.directory().join("ids.log");
    tells_a_run(scene, server, |_| fs::read_to_string(&ids).unwrap_or_default());
}

#[test]
fn an_error_page_of_nginx_does_not_lose_the_ids() {
    let mut scene = Scene::new();
    scene.stop_superserver();
    scene.static_file("sorry.html", b"sorry");
    let http = format!(
        "CSPConfigPath {};\nlog_format ids '$uri $sclera_request_id $sclera_server $sclera_code';",
        scene.directory().display()
    );
    let locations =
        format!("access_log {}/ids.log ids;\nerror_page 502 /sorry.html;\n{NGINX}", scene.directory().display());
    let settings = Settings { http: &http, locations: &locations, ..Settings::default() };
    let server = Nginx::start_with(&scene, settings);
    assert_eq!(server.get(ECHO).text(), "sorry");
    let failed = find(&scene, |record| record.code == "SCLERA-201");
    let ids = access_log(|| fs::read_to_string(scene.directory().join("ids.log")).unwrap_or_default(), 1);
    assert_eq!(ids[0], (failed.request_id, "LOCAL".to_owned(), "SCLERA-201".to_owned()));
}

#[test]
fn a_run_through_apache_stands_in_the_log_under_the_ids_of_the_access_log() {
    let scene = Scene::new();
    let ids = scene.directory().join("ids.log");
    let directives = format!(
        "LogFormat \"%r %{{sclera_request_id}}n %{{sclera_server}}n %{{sclera_code}}n\" ids\nCustomLog {} ids\n\
         LogFormat \"%L\" own\nCustomLog {}.own own\n{ONE_CHILD}{APACHE}",
        ids.display(),
        ids.display()
    );
    let server = Apache::start_with(&scene, Mpm::Event, &directives);
    let own = scene.directory().join("ids.log.own");
    tells_a_run(scene, server, |_| {
        let (text, own) = (fs::read_to_string(&ids).unwrap_or_default(), fs::read_to_string(&own).unwrap_or_default());
        let told: Vec<&str> = text.lines().filter_map(|line| line.rsplit(' ').nth(2)).collect();
        assert!(told.iter().zip(own.lines()).all(|(id, own)| *id == own), "%L is the same id: {text} {own}");
        text
    });
}

const PASSWORD: &str = "canary-Password-7Gh";
/// `joe` and the password.
const BASIC: &str = "am9lOmNhbmFyeS1QYXNzd29yZC03R2g=";
const TOKEN: &str = "canary-Token-4Rt";
const COOKIE: &str = "canary-Cookie-8Zx";

/// Requests with secrets in every place, whose answers echo them.
fn shows_no_canary<S: WebServer>(scene: &Scene, server: S) {
    let form = format!("IRISUsername=joe&IRISPassword={PASSWORD}&plain=visible-word");
    let head = format!(
        "POST {ECHO}?CSPPWD={PASSWORD}&seen=visible-query HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {BASIC}\r\n\
         Cookie: CSPSESSIONID-SP-x={COOKIE}; other={COOKIE}\r\nX-Auth-Token: {TOKEN}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        form.len()
    );
    let answer = server.connect().send(&head).send(&form).answer();
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains(TOKEN), "the application got the secret: {}", answer.text());
    let id = answer.json()["system"]["REQUEST_ID"].as_str().unwrap().to_owned();
    let last = find(scene, |record| record.request_id == id && record.text.starts_with("Buffer to the browser"));
    assert!(last.details.contains("HTTP/1.1 200"), "{last:?}");
    let of_id: Vec<Record> =
        records(&scene.directory().join("CSP.log")).into_iter().filter(|record| record.request_id == id).collect();
    let text = |title: &str| of_id.iter().find(|it| it.text.starts_with(title)).map_or("", |it| it.details.as_str());
    assert!(text("Request data").contains("visible-word") && text("Request headers").contains("visible-query"));
    assert!(text("Response data").contains("visible-query"));
    assert!(text("Buffer to the superserver").contains("HTTP_AUTHORIZATION"), "{of_id:#?}");
    assert!(text("Session token taken").contains("CSPSESSIONID-SP-x #"));
    assert!(of_id.iter().any(|record| record.text == "TLS" && record.details.contains("TLSv1_3")), "{of_id:#?}");

    let directory = scene.directory().join("CSP.trace");
    let entry = wait_until(|| trace::find(&directory, &id).unwrap()).expect("a trace");
    let head = String::from_utf8(entry.request.head).unwrap();
    assert!(
        head.starts_with(&format!("POST {ECHO}?CSPPWD=********&seen=visible-query HTTP/1.1\r\nHost: 127.0.0.1\r\n"))
    );
    assert_eq!((entry.status, entry.server.as_str(), entry.response.missing), (200, "LOCAL", 0));
    assert!(String::from_utf8(entry.request.body).unwrap().ends_with("&plain=visible-word"));
    assert_eq!(trace::list(&directory, 10).unwrap()[0].request_id, id);

    assert!(server.stop());
    for secret in [PASSWORD, TOKEN, COOKIE, BASIC] {
        let log = fs::read_to_string(scene.directory().join("CSP.log")).unwrap();
        assert!(!log.contains(secret), "{secret} stands in {log}");
        for entry in trace::list(&directory, 10).unwrap() {
            let entry = trace::find(&directory, &entry.request_id).unwrap().unwrap();
            for part in [entry.request.head, entry.request.body, entry.response.head, entry.response.body] {
                let part = String::from_utf8_lossy(&part).into_owned();
                assert!(!part.contains(secret), "{secret} stands in {part}");
            }
            assert!(!entry.target.contains(secret));
        }
    }
}

#[test]
fn the_highest_levels_and_the_trace_show_no_secret() {
    for apache in [false, true] {
        let scene = Scene::new();
        set(&scene, "Env_Parameters=ev9rT33sC\nSclera_Trace=/csp/demo\nSclera_Trace_Body_Size=64K");
        match apache {
            false => shows_no_canary(&scene, Nginx::start(&scene, NGINX)),
            true => shows_no_canary(&scene, Apache::start_with(&scene, Mpm::Event, APACHE)),
        }
    }
}

#[test]
fn a_full_disk_disturbs_no_request_and_is_told_in_the_web_servers_log() {
    let scene = Scene::new();
    let logs = writable(&scene, "logs");
    set(&scene, "Event_Log_File=/dev/full\nEnv_Parameters=ev3");
    let server = Nginx::start(&scene, NGINX);
    for _ in 0..50 {
        assert_eq!(server.get(ECHO).status, 200);
    }
    assert!(server.wait_for_log("event log: /dev/full cannot be written"), "{}", server.error_log());
    let told = server.error_log().matches("/dev/full cannot be written").count();
    assert!(told <= 2, "once by each process: {told}");
    // The disk has room again.
    scene.edit_csp_ini(|text| text.replace("Event_Log_File=/dev/full\n", "Event_Log_File=logs\n"));
    let path = logs.join("CSP.log");
    let told = || records(&path).iter().any(|record| record.text.ends_with("Reactivated")).then_some(());
    assert!(wait_until(told).is_some(), "{:?}", records(&path));
}

#[test]
fn several_processes_that_write_and_rotate_at_once_lose_and_tear_no_line() {
    let scene = Scene::new();
    let logs = writable(&scene, "logs");
    set(&scene, "Event_Log_File=logs\nEvent_Log_Rotation_Size=100K\nRetain_All_Log_Files=Enabled\nEnv_Parameters=v3");
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 60;
    // A process serves one connection at a time, so each of these has its own.
    let children = format!("StartServers {CLIENTS}\nServerLimit 16\nMaxRequestWorkers 16\n{APACHE}");
    let server = Apache::start_with(&scene, Mpm::Prefork, &children);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = server.connect();
                for _ in 0..REQUESTS {
                    assert_eq!(client.request("GET", "/csp/demo/").answer().status, 200);
                }
            });
        }
    });
    let files = || fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<PathBuf>>();
    let all = || files().iter().flat_map(|path| records(path)).collect::<Vec<Record>>();
    // A client has its whole answer a moment before the line about it is written, and Apache's stop ends a child
    // where it stands: only a server that has written its last line may be stopped.
    let told = || all().iter().filter(|record| record.text == "Response").count();
    assert!(wait_until(|| (told() == CLIENTS * REQUESTS).then_some(())).is_some(), "{} answers are told", told());
    assert!(server.stop());
    assert!(files().len() >= 3, "{:?}", files());
    let all = all();
    assert!(all.iter().all(|record| !record.event.is_empty()), "a line is torn");
    for text in ["Request", "Request headers", "Response headers", "Response"] {
        let ids: std::collections::HashSet<&str> =
            all.iter().filter(|record| record.text == text).map(|record| record.request_id.as_str()).collect();
        assert_eq!(ids.len(), CLIENTS * REQUESTS, "{text}");
    }
    let processes: std::collections::HashSet<&str> = all.iter().map(|record| record.process.as_str()).collect();
    assert!(processes.len() >= CLIENTS, "{processes:?}");
}

#[test]
fn a_log_that_logrotate_has_moved_is_begun_anew_without_a_signal() {
    let scene = Scene::new();
    let logs = writable(&scene, "logs");
    set(&scene, "Event_Log_File=logs/gateway.log\nEnv_Parameters=v1\nSclera_Log_Format=json");
    let server = Apache::start_with(&scene, Mpm::Prefork, APACHE);
    let path = logs.join("gateway.log");
    assert_eq!(server.get(ECHO).status, 200);
    let written = |path: &Path| wait_until(|| (!records(path).is_empty()).then(|| records(path)));
    let before = written(&path).expect("a log").len();
    fs::rename(&path, logs.join("gateway.log.1")).unwrap();
    assert_eq!(server.get(ECHO).status, 200);
    let after = written(&path).expect("a new log");
    assert!(after.iter().any(|record| record.text == "Request"), "{after:?}");
    let line = fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["event"], "WebGateway.Request");
    assert!(records(&logs.join("gateway.log.1")).len() >= before);
}

#[test]
fn the_log_goes_to_the_standard_output_where_containers_want_it() {
    let scene = Scene::new();
    set(&scene, "Event_Log_File=/dev/stdout\nSclera_Log_Format=json\nEnv_Parameters=v1");
    let run = host::get(&scene.csp_ini(), ECHO);
    assert!(run.success, "{run:?}");
    let text = run.stdout;
    let events: Vec<Record> =
        text.lines().map(|line| Record::parse(0, line.as_bytes())).filter(|record| !record.event.is_empty()).collect();
    assert!(events.iter().any(|record| record.event == "WebGateway.StartUp"), "{text}");
    assert!(!scene.directory().join("CSP.log").exists());
}
