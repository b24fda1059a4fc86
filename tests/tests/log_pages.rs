//! View Event Log and View HTTP Trace through the stock web servers.

use std::fs;
use std::os::unix::fs::chown;

use sclera_tests::apache::{Apache, Mpm};
use sclera_tests::http::{Answer, Client};
use sclera_tests::manager::{Manager, PATH, encode};
use sclera_tests::nginx::Nginx;
use sclera_tests::process::wait_until;
use sclera_tests::scene::{Scene, worker_user};
use sclera_tests::web_server::WebServer;

const NGINX: &str = "location / { CSP on; }";
const APACHE: &str = "<Location />\nCSP On\n</Location>";
const ECHO: &str = "/csp/demo/echo/";
const SCRIPT: &str = "\"'><script>alert(1)</script>";
const CANARY: &str = "canary-Secret-5Kw";

/// A scene with these lines in `[SYSTEM]`, in whose directory the workers may keep a trace.
fn scene(system: &str) -> Scene {
    let scene = Scene::new();
    scene.edit_csp_ini(|text| text.replace("[SYSTEM]\n", &format!("[SYSTEM]\n{system}\n")));
    if let Some((uid, gid)) = worker_user() {
        chown(scene.directory(), Some(uid), Some(gid)).expect("root may");
    }
    scene
}

/// Runs the same through both web servers.
fn through_both(system: &str, play: impl Fn(&mut Scene, u16)) {
    let mut through_nginx = scene(system);
    let nginx = Nginx::start(&through_nginx, NGINX);
    play(&mut through_nginx, nginx.port());
    let mut through_apache = scene(system);
    let apache = Apache::start_with(&through_apache, Mpm::Event, APACHE);
    play(&mut through_apache, apache.port());
}

fn get(port: u16, target: &str) -> Answer {
    Client::connect(port).request("GET", target).answer()
}

/// Loads a page until it holds this text: what workers record comes a moment after the answer.
fn page_with(manager: &mut Manager, query: &str, text: &str) -> String {
    let found = wait_until(|| Some(manager.get(query).text()).filter(|page| page.contains(text)));
    found.unwrap_or_else(|| panic!("{text} is not on {}", manager.page))
}

/// The query of a link with this text.
fn link(page: &str, text: &str) -> Option<String> {
    let (before, _) = page.split_once(&format!("\">{text}</a>"))?;
    let (_, query) = before.rsplit_once("href=\"?")?;
    Some(query.replace("&#38;", "&").replace("&amp;", "&"))
}

fn rows(page: &str) -> usize {
    page.matches("<tr><td").count()
}

#[test]
fn a_failed_request_is_found_in_the_log_by_its_id_and_the_page_says_what_to_do() {
    through_both("", |scene, port| {
        let mut manager = Manager::new(port);
        scene.stop_superserver();
        let failed = get(port, ECHO);
        assert_eq!(failed.status, 502);
        page_with(&mut manager, "page=event-log&code=SCLERA-201", "WebGateway.Error");
        let found = manager.call("GET", "event-log?code=sclera-201", "").json();
        let id = found["records"][0]["request_id"].as_str().unwrap().to_owned();
        assert!(failed.text().contains(&id), "{id} is not on {}", failed.text());

        let page = manager.get(&format!("page=event-log&request-id={id}")).text();
        assert_eq!(rows(&page), 1, "{page}");
        assert!(page.contains("SEVERE") && page.contains("LOCAL") && page.contains("What to do"), "{page}");
        for (filter, count) in [
            ("level=SEVERE&server=local&code=SCLERA-201", 1),
            ("server=OTHER", 0),
            ("code=SCLERA-999", 0),
            ("words=connect-REFUSED", 1),
        ] {
            let page = manager.get(&format!("page=event-log&{filter}")).text();
            assert_eq!(rows(&page), count, "{filter}: {page}");
            assert_eq!(page.contains("No entry is like this."), count == 0, "{filter}");
        }
    });
}

#[test]
fn the_log_is_turned_over_page_by_page_from_either_end_and_back() {
    let scene = scene("");
    let lines: Vec<String> =
        (0..250).map(|number| format!(">>> Time: a line of before, number {number:03}.")).collect();
    fs::write(scene.directory().join("CSP.log"), lines.join("\n") + "\n").unwrap();
    if let Some((uid, gid)) = worker_user() {
        chown(scene.directory().join("CSP.log"), Some(uid), Some(gid)).expect("root may");
    }
    let nginx = Nginx::start(&scene, NGINX);
    let mut manager = Manager::new(nginx.port());
    let first = manager.get("page=event-log&order=oldest&words=of+before").text();
    assert!(first.contains("number 000.") && first.contains("number 099.") && rows(&first) == 100, "{first}");
    assert_eq!((link(&first, "First page"), link(&first, "Previous page")), (None, None));
    let second = manager.get(&link(&first, "Next page").unwrap()).text();
    assert!(second.contains("number 100.") && second.contains("number 199."), "{second}");
    let again = manager.get(&link(&second, "Previous page").unwrap()).text();
    assert!(again.contains("number 000.") && again.contains("number 099.") && rows(&again) == 100, "{again}");
    assert_eq!(link(&again, "Previous page"), None, "there is nothing before it");
    let third = manager.get(&link(&second, "Next page").unwrap()).text();
    assert!(third.contains("number 249.") && link(&third, "Next page").is_none(), "{third}");
    let back = manager.get(&link(&third, "Previous page").unwrap()).text();
    assert!(back.contains("number 100.") && back.contains("number 199.") && rows(&back) == 100, "{back}");
    assert_eq!(rows(&manager.get(&link(&back, "First page").unwrap()).text()), 100);
    let newest = manager.get("page=event-log&words=of+before").text();
    assert!(newest.contains("number 249.") && newest.contains("number 150.") && rows(&newest) == 100, "{newest}");
}

#[test]
fn clearing_the_log_has_to_be_confirmed_takes_a_token_and_leaves_its_own_entry() {
    through_both("", |scene, port| {
        let mut manager = Manager::new(port);
        page_with(&mut manager, "page=event-log", "WebGateway.StartUp");
        assert_eq!(manager.post("page=event-log", &[]).status, 422, "not confirmed");
        assert_eq!(manager.post_without_token("page=event-log", &[("confirm", "yes")]).status, 403);
        assert!(manager.get("page=event-log").text().contains("WebGateway.StartUp"));
        let cleared = manager.post("page=event-log", &[("confirm", "yes")]);
        assert!(cleared.text().contains("All entries are deleted."), "{}", cleared.text());
        let page = page_with(&mut manager, "page=event-log", "clears the event log");
        assert!(page.contains("WebGateway.Audit") && !page.contains("WebGateway.StartUp"), "{page}");
        let log = fs::read_to_string(scene.directory().join("CSP.log")).unwrap();
        assert_eq!(log.matches("clears the event log").count(), 1, "{log}");
    });
}

#[test]
fn script_that_browsers_sent_stays_text_in_the_log_and_in_the_trace() {
    through_both("Env_Parameters=ev9r\nSclera_Trace=/csp/demo", |_, port| {
        let target = format!("{ECHO}{}?name={}", encode(SCRIPT), encode(SCRIPT));
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {SCRIPT}\r\nX-Request-ID: {SCRIPT}\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{SCRIPT}",
            SCRIPT.len()
        );
        assert_eq!(Client::connect(port).send(&head).answer().status, 200);
        let mut manager = Manager::new(port);
        let list = page_with(&mut manager, "page=trace", "POST ");
        let (_, rest) = list.split_once("?page=trace&amp;id=").expect("a link");
        let id = rest.split('"').next().unwrap();
        let whole = manager.get(&format!("page=trace&id={id}")).text();
        assert!(whole.contains("alert(1)") && whole.contains("User-Agent"), "{whole}");
        let log = page_with(&mut manager, "page=event-log", "Request headers");
        assert!(log.contains("alert(1)"), "{log}");
        for page in [&list, &whole, &log] {
            assert!(!page.contains("<script") && !page.contains("'><"), "{page}");
        }
        for query in ["page=trace&id=", "page=event-log&server=", "page=event-log&words=", "page=event-log&from="] {
            let page = manager.get(&format!("{query}{}", encode(SCRIPT))).text();
            assert!(!page.contains("<script") && !page.contains("'><"), "{query}: {page}");
        }
    });
}

#[test]
fn traced_requests_are_listed_shown_without_secrets_and_forgotten() {
    through_both("Sclera_Trace=/csp/demo", |_, port| {
        let mut manager = Manager::new(port);
        let head = format!(
            "GET {ECHO}?CSPPWD={CANARY}&plain=seen HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {CANARY}\r\n\
             X-Exact:  two  spaces\r\n\r\n"
        );
        assert_eq!(Client::connect(port).send(&head).answer().status, 200);
        assert_eq!(get(port, "/csp/other").status, 404);
        let list = page_with(&mut manager, "page=trace", "plain=seen");
        assert!(rows(&list) == 1 && !list.contains("/csp/other"), "only what was asked for: {list}");
        let of_program = manager.call("GET", "trace", "").json();
        let id = of_program["requests"][0]["request_id"].as_str().unwrap().to_owned();
        let whole = manager.get(&format!("page=trace&id={id}")).text();
        assert!(whole.contains("X-Exact:  two  spaces\n") || whole.contains("X-Exact: two  spaces\n"), "{whole}");
        assert!(whole.contains("HTTP/1.1 200") && whole.contains("LOCAL"), "{whole}");
        let json = manager.call("GET", &format!("trace?id={id}"), "").json();
        assert!(json["sent"]["head"].as_str().unwrap().contains("plain=seen"), "{json}");
        for text in [&list, &whole, &of_program.to_string(), &json.to_string()] {
            assert!(!text.contains(CANARY), "{text}");
        }
        assert_eq!(manager.get("page=trace&id=nothing").status, 404);
        assert_eq!(manager.call("GET", "trace?id=..%2f..%2fCSP.ini", "").status, 404);

        manager.get("page=trace");
        assert_eq!(manager.post_without_token("page=trace", &[]).status, 403);
        manager.get("page=trace");
        let cleared = manager.post("page=trace", &[]).text();
        assert!(cleared.contains("All entries are deleted.") && rows(&cleared) == 0, "{cleared}");
        assert_eq!(manager.call("GET", "trace", "").json()["requests"].as_array().unwrap().len(), 0);
        page_with(&mut manager, "page=event-log&words=Audit", "clears the HTTP trace");
    });
}

#[test]
fn of_a_long_body_the_trace_keeps_the_beginning_and_says_how_much_more_there_was() {
    through_both("Sclera_Trace=/csp/demo\nSclera_Trace_Body_Size=30", |_, port| {
        let mut manager = Manager::new(port);
        let form = "password=long-secret&plain=word&more=and-more";
        let head =
            format!("POST {ECHO} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n");
        let length = format!("Content-Length: {}\r\n\r\n{form}", form.len());
        assert_eq!(Client::connect(port).send(head + &length).answer().status, 200);
        let traced =
            || manager.call("GET", "trace", "").json()["requests"][0]["request_id"].as_str().map(str::to_owned);
        let id = wait_until(traced).expect("a traced request");
        let sent = &manager.call("GET", &format!("trace?id={id}"), "").json()["sent"];
        assert_eq!(sent["body"], "password=********&plain=wor", "{sent}");
        assert_eq!(sent["missing"], form.len() - 30, "what masking takes away is not missing: {sent}");
        let page = manager.get(&format!("page=trace&id={id}")).text();
        assert!(page.contains(&format!("+ {} bytes", form.len() - 30)), "{page}");
    });
}

#[test]
fn a_stranger_gets_neither_the_log_nor_the_trace() {
    through_both("Username=admin\nPassword=secret\nSclera_Trace=/csp/demo", |_, port| {
        assert_eq!(get(port, ECHO).status, 200);
        let mut stranger = Manager::new(port);
        for call in ["event-log", "trace"] {
            assert_eq!(stranger.get(&format!("page={call}")).status, 401);
            assert_eq!(stranger.call("GET", call, "").status, 401);
            assert_eq!(stranger.call("DELETE", call, "").status, 401);
            assert_eq!(stranger.send_alone("GET", &format!("{PATH}/api/{call}"), "", "").status, 401);
        }
    });
}
