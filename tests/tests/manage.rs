//! The management pages through the stock web servers: pages, access, logins, attacks, edits.

use std::fs;
use std::os::unix::fs::chown;

use sclera_tests::apache::Apache;
use sclera_tests::manager::{Manager, PATH, encode};
use sclera_tests::nginx::{Nginx, Settings};
use sclera_tests::process::wait_until;
use sclera_tests::scene::{Scene, worker_user};
use sclera_tests::web_server::WebServer;
use serde_json::json;

/// A header by which a test says which client it is; the web server's own trusted-proxy setting believes it.
const CLIENT: &str = "X-Test-Client";
const STRANGER: &str = "203.0.113.9";

const PAGES: [&str; 8] =
    ["about", "status", "test", "mutual-tls", "defaults", "servers", "applications", "last-change"];

/// A scene whose CSP.ini the workers may change, with these lines in `[SYSTEM]`.
fn scene(system: &str) -> Scene {
    let scene = Scene::new();
    set_up(&scene, system);
    scene
}

fn set_up(scene: &Scene, system: &str) {
    scene.edit_csp_ini(|text| text.replace("[SYSTEM]\n", &format!("[SYSTEM]\n{system}\n")));
    assert!(fs::read_to_string(scene.csp_ini()).unwrap().contains(system));
    if let Some((uid, gid)) = worker_user() {
        chown(scene.directory(), Some(uid), Some(gid)).expect("root may");
    }
}

fn nginx(scene: &Scene) -> Nginx {
    let http = format!(
        "CSPConfigPath {};\nset_real_ip_from 127.0.0.1;\nreal_ip_header {CLIENT};",
        scene.directory().display()
    );
    Nginx::start_with(
        scene,
        Settings {
            main: "worker_processes 2;",
            http: &http,
            locations: "location / { CSP on; }",
            ..Settings::default()
        },
    )
}

fn apache(scene: &Scene) -> Apache {
    Apache::start(
        scene,
        &format!(
            "LoadModule remoteip_module /usr/lib/apache2/modules/mod_remoteip.so\nRemoteIPHeader {CLIENT}\n\
             RemoteIPInternalProxy 127.0.0.1\n\
             <Location />\nCSP On\n</Location>"
        ),
    )
}

fn csp_ini(scene: &Scene) -> String {
    fs::read_to_string(scene.csp_ini()).unwrap()
}

/// Waits until what was saved is in force.
fn in_force(manager: &mut Manager, query: &str, text: &str) {
    let found = wait_until(|| manager.get(query).text().contains(text).then_some(()));
    assert!(found.is_some(), "{text} is not in {}", manager.page);
}

fn each_page_answers(port: u16) {
    for page in PAGES {
        let mut manager = Manager::new(port);
        let answer = manager.get(&format!("page={page}"));
        let text = answer.text();
        assert_eq!(answer.status, 200, "{page}: {text}");
        assert_eq!(answer.header("Content-Type"), Some("text/html; charset=utf-8"), "{page}");
        assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{page}");
        assert_eq!(answer.header("X-Frame-Options"), Some("DENY"), "{page}");
        assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"), "{page}");
        assert_eq!(answer.header("Referrer-Policy"), Some("no-referrer"), "{page}");
        let policy = answer.header("Content-Security-Policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert!(text.contains("aria-current=\"page\"") && text.contains("<h1>"), "{page}");
        assert!(!text.contains("<script") && !text.contains("style=\"") && !text.contains(" onclick"), "{page}");
        assert!(text.contains("Nobody has to log in here."), "{page}: a standing warning");
        let japanese = Manager::new(port).with("Accept-Language", "ja").get(&format!("page={page}")).text();
        assert!(japanese.contains("<html lang=\"ja\">") && japanese.contains("構成"), "{page}: {japanese}");
        let head = Manager::new(port).send_alone("GET", &format!("{PATH}?page={page}"), "", "");
        assert_eq!(head.status, 200);
    }
    let mut manager = Manager::new(port);
    assert!(manager.get("").text().contains("About Web Gateway"));
    let style = manager.get("page=style.css");
    assert_eq!((style.status, style.header("Content-Type")), (200, Some("text/css; charset=utf-8")));
    assert_eq!(manager.get("page=nothing").status, 404);
    assert_eq!(manager.send_alone("DELETE", &format!("{PATH}?page=about"), "", "").status, 405);
    let about = manager.call("GET", "about", "").json();
    assert_eq!(about["role"], "edit");
    assert_eq!(about["servers"], 1);
}

#[test]
fn each_page_answers_through_nginx_in_both_languages_without_script() {
    let scene = scene("");
    each_page_answers(nginx(&scene).port());
}

#[test]
fn each_page_answers_through_apache_in_both_languages_without_script() {
    let scene = scene("");
    each_page_answers(apache(&scene).port());
}

fn a_stranger_sees_nothing(port: u16) {
    let spellings = [
        PATH.to_owned(),
        PATH.to_lowercase(),
        PATH.to_uppercase(),
        format!("/iris{PATH}"),
        format!("{PATH}/"),
        format!("{PATH}/api/servers"),
        format!("{PATH}?page=style.css"),
        format!("{PATH}?page=api/servers"),
        format!("{PATH}?page=servers"),
        "/csp//bin/./Systems/Module.cxw".to_owned(),
        "/csp/demo/../bin/Systems/Module.cxw".to_owned(),
        "/csp/%62in/Systems/%4dodule.cxw".to_owned(),
        "/csp%2Fbin%2FSystems%2FModule.cxw".to_owned(),
    ];
    for target in &spellings {
        for spoof in [
            "",
            "X-Forwarded-For: 127.0.0.1\r\n",
            "X-Forwarded-For: 10.0.0.7\r\n",
            "Forwarded: for=127.0.0.1\r\n",
            "X-Real-IP: 127.0.0.1\r\n",
        ] {
            let mut stranger = Manager::new(port).with(CLIENT, STRANGER);
            stranger.headers += spoof;
            let answer = stranger.send_alone("GET", target, "", "");
            let text = answer.text();
            assert_eq!(answer.status, 403, "{target} {spoof:?}: {text}");
            assert!(text.contains("You are not authorized to use this facility"), "{target}: {text}");
            assert!(!text.contains(env!("CARGO_PKG_VERSION")) && !text.contains("Sclera"), "{target}: {text}");
            assert_eq!(answer.header("Set-Cookie"), None, "{target}");
        }
    }
    let mut stranger = Manager::new(port).with(CLIENT, STRANGER);
    assert_eq!(stranger.log_in("admin", "secret").status, 403);
    assert_eq!(stranger.call("POST", "undo", "{}").status, 403);
    // Its neighbours are the application's.
    for target in ["/csp/bin/Systems/Module.cxw2", "/csp/bin/Systems/"] {
        assert_ne!(stranger.send_alone("GET", target, "", "").status, 403, "{target}");
    }
}

#[test]
fn a_stranger_is_refused_by_nginx_whatever_headers_and_spellings_it_tries() {
    let scene = scene("Username=admin\nPassword=secret\nSystem_Manager=10.0.0.*");
    a_stranger_sees_nothing(nginx(&scene).port());
}

#[test]
fn a_stranger_is_refused_by_apache_whatever_headers_and_spellings_it_tries() {
    let scene = scene("");
    a_stranger_sees_nothing(apache(&scene).port());
}

#[test]
fn a_forwarded_address_counts_only_where_the_proxy_is_trusted_and_only_its_last() {
    let scene = scene("System_Manager=10.0.0.*\nAccept_X_Forwarded_For=Enabled");
    let nginx = nginx(&scene);
    for (peer, forwarded, expected) in [
        ("10.0.0.1", "10.0.0.7", 200),
        ("10.0.0.1", "203.0.113.9, 10.0.0.7", 200),
        ("10.0.0.1", "10.0.0.7, 203.0.113.9", 403),
        ("203.0.113.9", "10.0.0.7", 403),
    ] {
        let mut manager = Manager::new(nginx.port()).with(CLIENT, peer).with("X-Forwarded-For", forwarded);
        assert_eq!(manager.get("page=about").status, expected, "{peer} {forwarded}");
    }
}

fn logging_in(port: u16) {
    let mut manager = Manager::new(port).with(CLIENT, "10.0.0.7");
    let asked = manager.get("page=servers");
    assert_eq!(asked.status, 401);
    assert!(asked.text().contains("name=\"CSPUNM\"") && asked.text().contains("name=\"CSPPWD\""), "{}", asked.text());
    assert!(!asked.text().contains(env!("CARGO_PKG_VERSION")), "no version before the login");
    assert_eq!(manager.call("GET", "servers", "").status, 401);

    // Whoever plants a cookie does not get the session that begins with it.
    let planted = "ab".repeat(32);
    manager.cookie = Some(planted.clone());
    assert_eq!(manager.get("page=servers").status, 401);
    let fields = [("CSPSYS", "17"), ("CSPSYSsmSection", "SYSTEM"), ("CSPUNM", "Admin"), ("CSPPWD", "secret")];
    let body = fields.map(|(name, value)| format!("{name}={value}")).join("&");
    let target = format!("{PATH}?page=about");
    let begun = manager.send_alone("POST", &target, "application/x-www-form-urlencoded", &body);
    assert_eq!(begun.status, 303, "{}", begun.text());
    let cookie = begun.header("Set-Cookie").unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict") && cookie.contains(&format!("Path={PATH}")), "{cookie}");
    assert_ne!(manager.cookie.as_deref(), Some(planted.as_str()));
    let about = manager.get("page=about");
    assert_eq!(about.status, 200);
    assert!(about.text().contains("Logged in as Admin (edit)"), "{}", about.text());

    // A second login has another id, and ends the first.
    let first = manager.cookie.clone();
    assert_eq!(manager.log_in("admin", "secret").status, 200);
    assert_ne!(manager.cookie, first);
    let mut old = Manager::new(port).with(CLIENT, "10.0.0.7");
    old.cookie = first;
    assert_eq!(old.get("page=about").status, 401);

    let session = manager.cookie.clone();
    manager.get("page=about");
    assert_eq!(manager.post("page=logout", &[]).status, 401);
    assert_eq!(manager.cookie, None);
    manager.cookie = session;
    assert_eq!(manager.get("page=about").status, 401, "the session has ended, not only the cookie");
}

#[test]
fn a_login_through_nginx_begins_a_session_of_its_own_and_a_logout_ends_it() {
    let scene = scene("Username=admin\nPassword=secret\nSystem_Manager=10.0.0.*");
    logging_in(nginx(&scene).port());
}

#[test]
fn a_login_through_apache_begins_a_session_of_its_own_and_a_logout_ends_it() {
    let scene = scene("Username=admin\nPassword=secret\nSystem_Manager=10.0.0.*");
    logging_in(apache(&scene).port());
}

#[test]
fn failed_logins_lock_an_address_out_and_for_a_short_time_the_user_everywhere() {
    let scene = scene("Username=admin\nPassword=secret\nSystem_Manager=*.*.*.*");
    let nginx = nginx(&scene);
    let mut attacker = Manager::new(nginx.port()).with(CLIENT, STRANGER);
    let statuses: Vec<u16> = (0..6).map(|number| attacker.log_in("admin", &format!("guess{number}")).status).collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429, 429]);
    assert_eq!(attacker.log_in("admin", "secret").status, 429, "not even the right password is looked at");
    assert_eq!(attacker.log_in("other", "x").status, 429, "the address is locked out");
    let mut elsewhere = Manager::new(nginx.port()).with(CLIENT, "198.51.100.1");
    let locked = elsewhere.log_in("admin", "secret");
    assert_eq!(locked.status, 429, "so is the user");
    let seconds: u64 = locked.header("Retry-After").unwrap().parse().unwrap();
    assert!(seconds <= 30, "{seconds}");
    let log = nginx.error_log();
    assert!(log.contains("a login as \"admin\" from 203.0.113.9 has failed"), "{log}");
    assert!(!log.contains("guess"), "no password reaches the log");
    let found = wait_until(|| (elsewhere.log_in("admin", "secret").status == 200).then_some(()));
    assert!(found.is_some(), "the delay ends");
    assert!(elsewhere.get("page=about").text().contains("System_Manager admits every client"));
}

#[test]
fn a_program_that_guesses_is_told_how_long_it_has_to_wait() {
    let scene = scene("Username=admin\nPassword=secret");
    let nginx = nginx(&scene);
    let mut guesser = Manager::new(nginx.port()).with("Authorization", "Basic YWRtaW46Z3Vlc3M=");
    for status in [401, 401, 401, 429] {
        as_described(&mut guesser, "GET", "about", "", status);
    }
    let seconds = guesser.call("GET", "about", "").header("Retry-After").and_then(|it| it.parse::<u64>().ok());
    assert!(seconds.is_some_and(|seconds| (1..=30).contains(&seconds)), "{seconds:?}");
    let mut rightful = Manager::new(nginx.port()).with("Authorization", "Basic YWRtaW46c2VjcmV0");
    let answered = wait_until(|| (rightful.call("GET", "about", "").status == 200).then_some(()));
    assert!(answered.is_some(), "the delay ends, and whoever waits does not make it longer");
}

fn forgeries_are_refused(scene: &Scene, port: u16) {
    let before = csp_ini(scene);
    let fields = [("name", "LOCAL"), ("do", "disable")];
    let mut manager = Manager::new(port);
    manager.get("page=servers");
    assert_eq!(manager.post_without_token("page=server", &fields).status, 403, "no token");
    manager.get("page=servers");
    let token = manager.token();
    let mut other = Manager::new(port);
    other.get("page=servers");
    let with_token = [("token", token.as_str()), fields[0], fields[1]];
    assert_eq!(other.post_without_token("page=server", &with_token).status, 403, "the token of another browser");
    for (name, value) in [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let mut foreign = manager.clone().with(name, value);
        assert_eq!(foreign.post_without_token("page=server", &with_token).status, 403, "{name}: {value}");
        assert_eq!(foreign.call("PUT", "server?name=LOCAL", r#"{"enabled": false}"#).status, 403, "{name}: {value}");
    }
    // What a page of another site can send without asking first.
    let target = format!("{PATH}/api/undo");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        assert_eq!(manager.send_alone("POST", &target, kind, "{}").status, 422, "{kind}");
    }
    assert_eq!(csp_ini(scene), before);
    let good = manager.post_without_token("page=server", &with_token);
    assert_eq!(good.status, 200, "{}", good.text());
    assert!(csp_ini(scene).contains("LOCAL=Disabled"));
}

#[test]
fn a_page_of_another_site_cannot_change_anything_through_nginx() {
    let scene = scene("");
    let nginx = nginx(&scene);
    forgeries_are_refused(&scene, nginx.port());
}

#[test]
fn a_page_of_another_site_cannot_change_anything_through_apache() {
    let scene = scene("");
    let apache = apache(&scene);
    forgeries_are_refused(&scene, apache.port());
}

#[test]
fn a_server_is_added_tested_copied_changed_and_deleted_on_pages_alone() {
    let scene = scene("");
    let nginx = nginx(&scene);
    let mut manager = Manager::new(nginx.port());
    let here = |name: &str| scene.directory().join(name).display().to_string();
    let port = scene.superserver().port().to_string();
    let (certificate, key, ca) = (here("gateway.pem"), here("gateway.key"), here("ca.pem"));
    let fields = [
        ("new", "1"),
        ("name", "SECOND"),
        ("status", "Enabled"),
        ("Ip_Address", "127.0.0.1"),
        ("TCP_Port", port.as_str()),
        ("Connection_Security_Level", "10"),
        ("SSLCC_Verify_Peer", "1"),
        ("SSLCC_Certificate_File", certificate.as_str()),
        ("SSLCC_Certificate_Key_File", key.as_str()),
        ("SSLCC_CA_Certificate_File", ca.as_str()),
    ];
    let and = |more: &[(&'static str, &'static str)]| [&fields[..], more].concat();

    manager.get("page=server&new=1");
    let before = csp_ini(&scene);
    let tested = manager.post("page=server", &and(&[("do", "test")]));
    assert!(tested.text().contains("Server connection test was successful"), "{}", tested.text());
    assert!(tested.text().contains("the superserver knows the gateway as WebUser (mutual TLS)"), "{}", tested.text());
    assert_eq!(csp_ini(&scene), before, "a test saves nothing");

    let broken = manager.post("page=server", &and(&[("do", "test"), ("TCP_Port", "x")]));
    assert_eq!(broken.status, 200, "the first of two fields counts");
    let mut wrong = fields;
    wrong[4].1 = "99999";
    let wrong = manager.post("page=server", &[&wrong[..], &[("do", "save")]].concat());
    assert_eq!(wrong.status, 422);
    assert!(wrong.text().contains("is not a TCP port; write a TCP port from 1 to 65535"), "{}", wrong.text());
    let mut wrong = fields;
    wrong[7].1 = "/nowhere.pem";
    let wrong = manager.post("page=server", &[&wrong[..], &[("do", "save")]].concat());
    assert_eq!(wrong.status, 422);
    assert!(wrong.text().contains("SCLERA-110"), "{}", wrong.text());
    assert_eq!(csp_ini(&scene), before, "what cannot be used is not saved");

    let saved = manager.post("page=server", &and(&[("do", "save")]));
    assert!(saved.text().contains("The change is saved"), "{}", saved.text());
    let text = csp_ini(&scene);
    assert!(text.contains("SECOND=Enabled") && text.contains("[SECOND]\nIp_Address=127.0.0.1\n"), "{text}");
    assert!(text.contains("Configuration_Modified_Build=Sclera"), "{text}");
    assert!(nginx.error_log().contains("somebody without a login at 127.0.0.1 has changed [SECOND] Ip_Address to"));
    in_force(&mut manager, "page=mutual-tls", "SECOND");
    let overview = manager.page.clone();
    assert!(overview.contains("WebUser") && overview.contains("mutual TLS"), "{overview}");

    // A leftover password, and the one button that clears it.
    manager.get("page=server&name=SECOND");
    let seen = manager.hidden("seen");
    let with_password = [
        ("name", "SECOND"),
        ("do", "save"),
        ("seen", seen.as_str()),
        ("Username", "left"),
        ("Password.do", "replace"),
        ("Password.new", "canary-7"),
        ("Password.again", "canary-7"),
    ];
    assert_eq!(manager.post("page=server", &with_password).status, 200, "{}", manager.page);
    let form = manager.get("page=server&name=SECOND").text();
    assert!(form.contains("The certificate is being ignored:") && form.contains("does not decide the login"), "{form}");
    assert!(!form.contains("canary-7") && !form.contains("Y2FuYXJ5LTc"), "{form}");
    assert!(!nginx.error_log().contains("canary-7"));
    assert!(csp_ini(&scene).contains("Password=]]]Y2FuYXJ5LTc="));
    let cleared = manager.post("page=server", &[("name", "SECOND"), ("do", "clear-login")]);
    assert!(!cleared.text().contains("The certificate is being ignored:"), "{}", cleared.text());
    assert!(!csp_ini(&scene).contains("Username=left"));

    // Somebody else changes the same server meanwhile.
    manager.get("page=server&name=SECOND");
    let seen = manager.hidden("seen");
    scene.edit_csp_ini(|text| text.replace("[SECOND]\n", "[SECOND]\nSclera_Connect_Timeout=7\n"));
    let mine = [("name", "SECOND"), ("do", "save"), ("seen", seen.as_str()), ("Sclera_Connect_Timeout", "9")];
    let conflict = manager.post("page=server", &mine);
    assert_eq!(conflict.status, 409);
    assert!(conflict.text().contains("<td>7</td><td>9</td>"), "{}", conflict.text());
    let seen = manager.hidden("seen");
    let mine = [("name", "SECOND"), ("do", "save"), ("seen", seen.as_str()), ("Sclera_Connect_Timeout", "9")];
    assert_eq!(manager.post("page=server", &mine).status, 200);
    assert!(csp_ini(&scene).contains("Sclera_Connect_Timeout=9\n"));

    // The last change is undone.
    let last = manager.get("page=last-change").text();
    assert!(last.contains("[SECOND] Sclera_Connect_Timeout"), "{last}");
    assert_eq!(manager.post("page=last-change", &[]).status, 200);
    assert!(csp_ini(&scene).contains("Sclera_Connect_Timeout=7\n"));

    // Named by a path, it cannot be deleted.
    manager.get("page=application&new=1");
    let path = [("new", "1"), ("name", "/second"), ("status", "Enabled"), ("Default_Server", "SECOND"), ("do", "save")];
    assert_eq!(manager.post("page=application", &path).status, 200, "{}", manager.page);
    let refused = manager.get("page=server&name=SECOND&delete=1");
    assert!(refused.text().contains("[APP_PATH:/second] Default_Server"), "{}", refused.text());
    manager.get("page=servers");
    let seen = "";
    assert_ne!(manager.post("page=server", &[("name", "SECOND"), ("do", "delete"), ("seen", seen)]).status, 200);
    assert!(csp_ini(&scene).contains("[SECOND]"));
    for (page, name) in [("application", "/second"), ("server", "SECOND")] {
        manager.get(&format!("page={page}&delete=1&name={}", encode(name)));
        let seen = manager.hidden("seen");
        let deleted = manager.post(&format!("page={page}"), &[("name", name), ("do", "delete"), ("seen", &seen)]);
        assert!(deleted.text().contains("The profile is deleted."), "{}", deleted.text());
    }
    assert!(!csp_ini(&scene).contains("SECOND"), "{}", csp_ini(&scene));
}

#[test]
fn a_test_of_a_server_that_is_away_says_which_stage_failed_and_what_to_do() {
    let mut scene = scene("");
    scene.stop_superserver();
    let nginx = nginx(&scene);
    let mut manager = Manager::new(nginx.port());
    manager.get("page=test");
    let tested = manager.post("page=test", &[("name", "LOCAL")]).text();
    assert!(tested.contains("Server connection test failed") && tested.contains("SCLERA-201"), "{tested}");
    assert!(tested.contains("What to do:"), "{tested}");
    let json = manager.call("POST", "test", r#"{"server": "local", "settings": {"Ip_Address": "127.0.0.2"}}"#).json();
    assert_eq!((&json["ok"], &json["failure"]["code"]), (&json!(false), &json!("SCLERA-201")));
    assert!(json["target"].as_str().unwrap().starts_with("127.0.0.2:"), "unsaved settings: {json}");
}

#[test]
fn script_in_any_field_or_line_of_the_file_stays_text() {
    const SCRIPT: &str = "\"'><script>alert(1)</script>{{7*7}}";
    let scene = scene(&format!("Instance_Host_Name={SCRIPT}\nServer_Error={SCRIPT}\nCustom_SM_Login_Form={SCRIPT}"));
    scene.edit_csp_ini(|text| {
        let servers = text.replace("[SYSTEM_INDEX]\n", &format!("[SYSTEM_INDEX]\n{SCRIPT}=Disabled\n"));
        format!(
            "{servers}\n[{SCRIPT}]\nIp_Address=a\nUsername={SCRIPT}\nSSLCC_Certificate_File={SCRIPT}\n\
             [APP_PATH:/{SCRIPT}]\nProc_Class={SCRIPT}\nAlternative_Server_0=1~~~~~~{SCRIPT}\n"
        )
    });
    scene.edit_csp_ini(|text| text.replace("[APP_PATH_INDEX]\n", &format!("[APP_PATH_INDEX]\n/{SCRIPT}=Enabled\n")));
    let nginx = nginx(&scene);
    let name = encode(SCRIPT);
    let mut manager = Manager::new(nginx.port());
    let pages = PAGES.map(|page| format!("page={page}"));
    let others = [
        format!("page=server&name={name}"),
        format!("page=server&delete=1&name={name}"),
        format!("page=server&new=1&copy={name}"),
        format!("page=application&name=%2F{name}"),
        format!("page={name}"),
        format!("page=about&done={name}"),
        format!("page=test&name={name}"),
    ];
    for query in pages.iter().chain(&others) {
        let text = manager.get(query).text();
        assert!(!text.contains("<script") && !text.contains("'><"), "{query}: {text}");
        assert!(!text.contains("49}}"), "{query}");
    }
    // And in every field of every form, with what is wrong with it beside.
    for (page, name) in [("defaults", ""), ("server", "LOCAL"), ("application", "/")] {
        let form = manager.get(&format!("page={page}&name={}", encode(name))).text();
        let names = form.split("name=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let keys: Vec<&str> = names.filter(|it| !["token", "seen", "do", "name"].contains(it)).collect();
        let seen = manager.hidden("seen");
        let mut fields = vec![("name", name), ("seen", seen.as_str()), ("do", "save")];
        fields.extend(keys.iter().map(|key| (*key, SCRIPT)));
        let answer = manager.post(&format!("page={page}"), &fields);
        assert_eq!(answer.status, 422, "{page}");
        assert!(!answer.text().contains("<script") && !answer.text().contains("'><"), "{page}: {}", answer.text());
    }
}

#[test]
fn roles_and_a_file_of_users_decide_who_may_do_what() {
    let scene = Scene::new();
    let hash = sclera::profile::ManagementPassword::hash("looking").unwrap();
    fs::write(scene.directory().join("users"), format!("# people\nlooker:view:{hash}\n")).unwrap();
    set_up(&scene, "Username=admin\nPassword=secret\nSclera_Manage_Users=users");
    let nginx = nginx(&scene);
    let mut looker = Manager::new(nginx.port());
    assert_eq!(looker.log_in("looker", "looking").status, 200, "{}", looker.page);
    let list = looker.get("page=servers").text();
    assert!(list.contains("LOCAL") && !list.contains("value=\"disable\""), "{list}");
    assert_eq!(looker.post("page=server", &[("name", "LOCAL"), ("do", "disable")]).status, 403);
    looker.get("page=test");
    assert_eq!(looker.post("page=test", &[("name", "LOCAL")]).status, 403);
    assert_eq!(looker.call("PUT", "server?name=LOCAL", r#"{"enabled": false}"#).status, 403);
    let status = looker.get("page=status").text();
    assert!(status.contains("LOCAL") && !status.contains("value=\"drain\""), "{status}");
    assert_eq!(looker.post("page=status", &[("do", "drain"), ("target", "LOCAL")]).status, 403);
    assert_eq!(looker.call("POST", "order", r#"{"server": "LOCAL", "do": "drain"}"#).status, 403);
    assert_eq!(looker.call("GET", "server?name=LOCAL", "").status, 200);

    // A program gives user and password with each call.
    let mut program = Manager::new(nginx.port()).with("Authorization", "Basic YWRtaW46c2VjcmV0");
    assert_eq!(program.call("GET", "about", "").json()["user"], "admin");
    let changed = program.call("PUT", "server?name=LOCAL", r#"{"settings": {"Sclera_Connect_Timeout": 8}}"#);
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(changed.json()["differences"][0]["after"], "8");
    assert_eq!(program.get("page=servers").status, 401, "pages take a session");

    // A new password ends the sessions of the old one.
    let mut admin = Manager::new(nginx.port());
    assert_eq!(admin.log_in("admin", "secret").status, 200);
    admin.get("page=defaults");
    let seen = admin.hidden("seen");
    let fields = [
        ("do", "save"),
        ("seen", seen.as_str()),
        ("Password.do", "replace"),
        ("Password.new", "better"),
        ("Password.again", "better"),
    ];
    let saved = admin.post("page=defaults", &fields);
    assert!(csp_ini(&scene).contains("Password=$argon2id$"), "{}", saved.text());
    let ended = wait_until(|| (admin.get("page=about").status == 401).then_some(()));
    assert!(ended.is_some());
    // The other worker may know only the old one for a moment.
    assert!(wait_until(|| (admin.log_in("admin", "better").status == 200).then_some(())).is_some());
    assert_eq!(looker.get("page=about").status, 200, "others stay");
}

#[test]
fn whoever_may_operate_tries_out_what_is_saved_and_nothing_else() {
    let scene = Scene::new();
    let hash = sclera::profile::ManagementPassword::hash("doing").unwrap();
    fs::write(scene.directory().join("users"), format!("doer:operate:{hash}\n")).unwrap();
    set_up(&scene, "Username=admin\nPassword=secret\nSclera_Manage_Users=users");
    let nginx = nginx(&scene);
    let mut doer = Manager::new(nginx.port());
    assert_eq!(doer.log_in("doer", "doing").status, 200, "{}", doer.page);
    assert_eq!(as_described(&mut doer, "POST", "test", r#"{"server": "LOCAL"}"#, 200)["ok"], true);
    doer.get("page=test");
    assert_eq!(doer.post("page=test", &[("name", "LOCAL")]).status, 200);

    let ran = scene.directory().join("ran");
    let command = format!("{{touch {}; echo x}}", ran.display());
    let unsaved = json!({ "server": "LOCAL", "settings": { "Username": "x", "Password": command } }).to_string();
    as_described(&mut doer, "POST", "test", &unsaved, 403);
    let elsewhere = json!({ "server": "LOCAL", "settings": { "Ip_Address": "203.0.113.9" } }).to_string();
    as_described(&mut doer, "POST", "test", &elsewhere, 403);
    let form = doer.get("page=server&name=LOCAL").text();
    assert!(form.contains("TCP_Port") && !form.contains("value=\"test\""), "there is no button for it: {form}");
    let fields = [("name", "LOCAL"), ("do", "test"), ("Username", "x"), ("Password.do", "replace")];
    let password = [("Password.new", command.as_str()), ("Password.again", command.as_str())];
    assert_eq!(doer.post("page=server", &[&fields[..], &password[..]].concat()).status, 403);
    assert!(!ran.exists(), "no command of theirs was run");
}

#[test]
fn a_page_that_is_called_by_a_name_of_another_site_shows_and_changes_nothing() {
    let scene = scene("System_Manager=127.0.0.1\nSclera_Manage_Hosts=gateway.example");
    let nginx = nginx(&scene);
    let put = |host: &str| {
        let mut client = nginx.connect();
        let body = r#"{"settings": {"Sclera_Connect_Timeout": 8}}"#;
        let head = format!(
            "PUT {PATH}/api/server?name=LOCAL HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        client.send(head).send(body).answer().status
    };
    assert_eq!((put("evil.example"), put("127.0.0.1.evil.example:80")), (403, 403));
    assert_eq!((put("gateway.example"), put(&format!("127.0.0.1:{}", nginx.port()))), (200, 200));
    let head = format!("GET {PATH}?page=about HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    let page = nginx.connect().send(head).answer();
    assert!(page.status == 200 && page.text().contains("could be another site"), "{}", page.text());
}

#[test]
fn rules_that_would_shut_their_author_out_are_not_saved_and_a_read_only_file_is_not_written() {
    let scene = scene("");
    let nginx = nginx(&scene);
    let mut manager = Manager::new(nginx.port());
    for (fields, says) in [
        (vec![("System_Manager", "10.0.0.1")], "these rules would shut you out"),
        (vec![("Username", "admin")], "nobody could log in without one"),
        (vec![("System_Manager", "gateway")], "holds what is no address"),
    ] {
        manager.get("page=defaults");
        let seen = manager.hidden("seen");
        let all = [&fields[..], &[("do", "save"), ("seen", seen.as_str())]].concat();
        let answer = manager.post("page=defaults", &all);
        assert_eq!(answer.status, 422, "{fields:?}: {}", answer.text());
        assert!(answer.text().contains(says), "{fields:?}: {}", answer.text());
    }
    scene.edit_csp_ini(|text| text.replace("[SYSTEM]\n", "[SYSTEM]\nREADONLY=2\n"));
    let before = csp_ini(&scene);
    let refused = manager.call("PUT", "server?name=LOCAL", r#"{"enabled": false}"#);
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("READONLY=2 in [SYSTEM] forbids"), "{}", refused.text());
    assert_eq!(csp_ini(&scene), before);
    scene.edit_csp_ini(|text| text.replace("READONLY=2\n", "SM_Forms=Disabled\n"));
    let gone = wait_until(|| (manager.get("page=about").status == 404).then_some(()));
    assert!(gone.is_some(), "{}", manager.page);
}

#[test]
fn a_body_that_is_too_large_or_in_pieces_is_bounded() {
    let scene = scene("");
    let nginx = nginx(&scene);
    let target = format!("{PATH}?page=about");
    let large = vec![b'x'; 300 * 1024];
    assert_eq!(nginx.connect().post(&target, &large).answer().status, 413);
    assert_eq!(nginx.connect().post_chunked(&target, large.chunks(10_000)).answer().status, 413);
    let small = [b'x'; 40_000];
    assert_eq!(nginx.connect().post_chunked(&target, small.chunks(1000)).answer().status, 403, "no token");
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200);
}

/// The answer's body, after holding it against what `docs/openapi.json` says of this call.
fn as_described(manager: &mut Manager, method: &str, call: &str, body: &str, status: u16) -> serde_json::Value {
    let text = fs::read_to_string(sclera_tests::root().join("docs/openapi.json")).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let path = format!("/api/{}", call.split('?').next().unwrap());
    let operation = document["paths"][&path][method.to_lowercase()].clone();
    let content = |of: &serde_json::Value| of["content"]["application/json"]["schema"].clone();
    let answer = manager.call(method, call, body);
    assert_eq!(answer.status, status, "{method} {call}: {}", answer.text());
    assert_eq!(answer.header("Content-Type"), Some("application/json"), "{method} {call}");
    let mut holds = |schema: serde_json::Value, value: &serde_json::Value| {
        assert!(schema.is_object(), "{method} {call} {status} is not described");
        // References lead into the document, so the schema is put into it.
        document["$ref"] = schema["$ref"].clone();
        let found = jsonschema::validate(&document, value);
        assert!(found.is_ok(), "{method} {call}: {found:?} in {value:#}");
    };
    if operation["requestBody"].is_object() && status == 200 {
        holds(content(&operation["requestBody"]), &serde_json::from_str(body).unwrap());
    }
    let value = answer.json();
    holds(content(&operation["responses"][status.to_string()]), &value);
    value
}

#[test]
fn every_call_answers_as_it_is_described() {
    let scene = scene("Sclera_Trace=/csp/demo");
    let nginx = nginx(&scene);
    let mut manager = Manager::new(nginx.port());
    let mut call =
        |method: &str, call: &str, body: &str, status: u16| as_described(&mut manager, method, call, body, status);
    call("GET", "about", "", 200);
    assert_eq!(call("GET", "servers", "", 200), json!({ "servers": [{ "name": "LOCAL", "enabled": true }] }));
    let local = call("GET", "server?name=local", "", 200);
    assert_eq!(local["settings"]["Sclera_Connect_Timeout"], json!({ "own": null, "in_force": "10", "origin": null }));
    call("GET", "server?name=NOWHERE", "", 404);
    let new =
        r#"{"name": "TWO", "enabled": false, "settings": {"Ip_Address": "a", "TCP_Port": 7, "Password": "canary"}}"#;
    let added = call("POST", "servers", new, 200);
    assert!(added.to_string().contains("(hidden)") && !added.to_string().contains("canary"), "{added}");
    call("POST", "servers", new, 422);
    let two = call("GET", "server?name=TWO", "", 200);
    assert_eq!(two["settings"]["Password"]["own"], "(set)");
    let seen = two["seen"].as_str().unwrap();
    let change = json!({ "seen": seen, "settings": { "TCP_Port": null, "Username": "x" } }).to_string();
    call("PUT", "server?name=TWO", &change, 200);
    call("PUT", "server?name=TWO", &change, 409);
    call("PUT", "server?name=TWO", r#"{"settings": {"TCP_Port": "x"}}"#, 422);
    call("GET", "last-change", "", 200);
    call("POST", "undo", "{}", 200);
    assert_eq!(call("GET", "server?name=TWO", "", 200)["seen"], seen);
    let path = r#"{"name": "/csp/two", "settings": {"Default_Server": "TWO", "Alternative_Server_0": "1~~~~~~TWO"}}"#;
    call("POST", "applications", path, 200);
    call("GET", "applications", "", 200);
    call("GET", "application?name=/csp/two", "", 200);
    call("PUT", "application?name=/csp/two", r#"{"enabled": false}"#, 200);
    call("DELETE", "server?name=TWO", "", 422);
    call("DELETE", "application?name=/csp/two", "", 200);
    call("DELETE", "server?name=TWO", "", 200);
    call("DELETE", "server?name=TWO", "", 404);
    call("GET", "defaults", "", 200);
    call("PUT", "defaults", r#"{"settings": {"Queued_Request_Timeout": "30"}}"#, 200);
    let overview = call("GET", "mutual-tls", "", 200);
    assert_eq!(overview["servers"][0]["credential"], "mutual TLS");
    assert_eq!(overview["servers"][0]["common_name"], "WebUser");
    let report = call("POST", "test", r#"{"server": "LOCAL"}"#, 200);
    assert_eq!((&report["ok"], &report["user"]), (&json!(true), &json!("WebUser")));
    call("POST", "test", r#"{"server": "NOWHERE"}"#, 404);
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200);
    let status = call("GET", "status", "", 200);
    assert_eq!(status["servers"][0]["name"], "LOCAL");
    assert_eq!(status["connections"].as_array().unwrap().len(), 1);
    let drained = call("POST", "order", r#"{"server": "LOCAL", "do": "drain"}"#, 200);
    assert_eq!(drained, json!({ "server": "LOCAL", "done": "drain" }));
    assert_eq!(call("GET", "status", "", 200)["servers"][0]["wish"], "draining");
    call("POST", "order", r#"{"server": "LOCAL", "do": "enable"}"#, 200);
    call("POST", "order", r#"{"server": "NOWHERE", "do": "drain"}"#, 404);
    call("POST", "order", r#"{"server": "LOCAL", "do": "explode"}"#, 422);
    call("POST", "close", r#"{"server": "NOWHERE"}"#, 404);
    call("POST", "close", "{}", 422);
    call("POST", "close", r#"{"connection": 0, "mark": "1.0"}"#, 409);
    call("POST", "close", r#"{"connection": 0, "mark": "x"}"#, 422);
    let connection = &call("GET", "status", "", 200)["connections"][0];
    let marked = json!({ "connection": connection["number"], "mark": connection["mark"] }).to_string();
    assert_eq!(call("POST", "close", &marked, 200), json!({ "idle": 1, "busy": 0 }));
    call("POST", "close", r#"{"all": true, "interrupt": true}"#, 200);
    let log = call("GET", "event-log?order=oldest", "", 200);
    assert_eq!(log["records"][0]["event"], "WebGateway.StartUp");
    assert_eq!(call("DELETE", "event-log", "{}", 200), json!({ "cleared": true }));
    let traced = || call("GET", "trace", "", 200)["requests"].as_array().and_then(|it| it.first().cloned());
    let first = wait_until(traced).expect("a traced request");
    call("GET", &format!("trace?id={}", first["request_id"].as_str().unwrap()), "", 200);
    call("GET", "trace?id=nothing", "", 404);
    assert_eq!(call("DELETE", "trace", "{}", 200), json!({ "cleared": true }));
}

/// The part of a page between its first heading of this text and the next one.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let rest = page.split_once(&format!("<h2>{heading}</h2>")).map_or("", |(_, rest)| rest);
    rest.split_once("<h2>").map_or(rest, |(section, _)| section)
}

#[test]
fn system_status_shows_and_sorts_what_all_workers_have_and_its_buttons_act() {
    let scene = scene("");
    let nginx = nginx(&scene);
    let mut manager = Manager::new(nginx.port());
    assert_eq!(nginx.get("/csp/demo/status/200").status, 200);
    // The answer's last byte comes before the connection is idle again.
    let free = || {
        section(&manager.get("page=status").text(), "Connections to InterSystems IRIS").contains("Free").then_some(())
    };
    assert!(wait_until(free).is_some(), "{}", manager.page);
    let page = manager.get("page=status&sort=-servers.6").text();
    let servers = section(&page, "InterSystems IRIS Servers");
    assert!(servers.contains("aria-sort=\"descending\"") && servers.contains("LOCAL"), "{servers}");
    assert!(servers.contains("?page=status&#38;sort=servers.6"), "the other way round: {servers}");
    assert!(section(&page, "Application Paths").contains("(current)"), "{page}");
    let drained =
        manager.post("page=status", &[("do", "drain"), ("target", "LOCAL"), ("here", "?page=status&sort=servers.1")]);
    assert!(drained.text().contains("The order is in force in all workers.") && drained.text().contains("draining"));
    assert!(drained.text().contains("aria-sort=\"ascending\""), "the page is as it was");
    let away = manager
        .post("page=status", &[("do", "enable"), ("target", "LOCAL"), ("here", "//evil.example/?page=status&sort=")]);
    assert_eq!(away.status, 200);
    assert!(manager.post("page=status", &[("do", "close-all")]).text().contains("The connections are closed"));
    let none = || {
        section(&manager.get("page=status").text(), "Connections to InterSystems IRIS")
            .contains("There are none yet.")
            .then_some(())
    };
    assert!(wait_until(none).is_some(), "{}", manager.page);
    assert_eq!(manager.post("page=status", &[("do", "close-server"), ("target", "NOWHERE")]).status, 404);
    manager.get("page=status");
    assert_eq!(manager.post("page=status", &[("do", "close-connection"), ("target", "x")]).status, 404);
    manager.get("page=status");
    let gone = manager.post("page=status", &[("do", "interrupt"), ("target", "0 1.0")]);
    assert!(gone.status == 409 && gone.text().contains("Connection 0 has gone on meanwhile"), "{}", gone.text());
    assert_eq!(manager.post_without_token("page=status", &[("do", "close-all")]).status, 403);
    let log = nginx.error_log();
    assert!(log.contains("orders server LOCAL: drain") && log.contains("closes all connections: "), "{log}");
}
