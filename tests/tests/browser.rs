//! The management pages in a real browser, through the stock web servers: an administrator's way to mutual TLS with and
//! without script, pictures of every page, accessibility, keyboard, and stored script.

use std::fs;
use std::os::unix::fs::chown;

use sclera_superserver::audit::Filter;
use sclera_tests::apache::Apache;
use sclera_tests::browser::{Browser, ENTER, TAB};
use sclera_tests::certificates::{Ca, Leaf, Pair};
use sclera_tests::http::Client;
use sclera_tests::manager::PATH;
use sclera_tests::nginx::Nginx;
use sclera_tests::process::wait_until;
use sclera_tests::scene::{Scene, USER, worker_user};
use sclera_tests::web_server::WebServer;

/// Another user of the superserver.
const OTHER: &str = "OtherUser";

const NGINX: &str = "location / { CSP on; }";
const APACHE: &str = "<Location />\nCSP On\n</Location>";

/// A superserver, and a CSP.ini that knows of none yet; one logs in as `admin`.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.edit_csp_ini(|text| {
        let (system, _) = text.split_once("[SYSTEM_INDEX]").expect("an index of servers");
        let system = system.replace("Default_Server=LOCAL\n", "");
        system.replacen("[SYSTEM]\n", "[SYSTEM]\nUsername=admin\nPassword=secret\n", 1)
    });
    let actions = format!(
        "CreateUser:Name={OTHER}\n\
         ModifyService:Name=%Service_WebGateway,AutheEnabled=$$$AuthePassword+$$$AutheMutualTLS\n\
         ModifyEvent:Source=%System,Type=%Login,Name=Login,Enabled=1"
    );
    scene.superserver().apply(&actions).unwrap_or_else(|error| panic!("{error}"));
    hand_over(&scene, &[]);
    scene
}

/// Lets the web server's workers read these files and write into the scene's directory.
fn hand_over(scene: &Scene, pairs: &[&Pair]) {
    let Some((uid, gid)) = worker_user() else { return };
    let files = pairs.iter().flat_map(|pair| [pair.certificate.as_path(), pair.key.as_path()]);
    for path in files.chain([scene.directory()]) {
        chown(path, Some(uid), Some(gid)).expect("root may");
    }
}

/// An administrator with a browser.
struct Administrator<'a> {
    browser: &'a Browser,
    site: String,
}

impl Administrator<'_> {
    fn new(browser: &Browser, port: u16) -> Administrator<'_> {
        Administrator { browser, site: format!("http://127.0.0.1:{port}") }
    }

    fn open(&self, query: &str) {
        self.browser.go(&format!("{}{PATH}?{query}", self.site));
    }

    fn log_in(&self) {
        self.open("page=about");
        self.browser.fill("#CSPUNM", "admin");
        self.browser.fill("#CSPPWD", "secret");
        self.browser.press("Log in");
        self.reads("Logged in as admin (edit)");
    }

    /// Waits until the page says so.
    fn reads(&self, text: &str) -> String {
        let found = wait_until(|| Some(self.browser.text()).filter(|it| it.contains(text)));
        found.unwrap_or_else(|| panic!("{text:?} is not on {}: {}", self.browser.address(), self.browser.text()))
    }

    fn does_not_read(&self, text: &str) {
        assert!(!self.browser.text().contains(text), "{text:?} on {}: {}", self.browser.address(), self.browser.text());
    }

    /// Changes fields of the server, and saves.
    fn change(&self, fields: &[(&str, &str)]) {
        self.browser.press("Server Access");
        self.browser.press("Edit IRIS");
        for (key, value) in fields {
            self.browser.fill(&format!("#f-{key}"), value);
        }
        self.browser.press("Save Configuration");
        self.reads("The change is saved");
    }

    /// Tries the server out; the page says so.
    fn tests(&self, text: &str) -> String {
        self.browser.press("Test Server Connection");
        self.browser.choose("#name", "IRIS");
        self.browser.press("Connect");
        self.reads(text)
    }
}

/// The documented procedure (docs/mutual-tls.md) on pages alone, and what goes wrong on the way.
fn from_nothing_to_mutual_tls_and_back(browser: &Browser, scene: &Scene, port: u16) {
    let ca = Ca::of(scene.directory());
    let (unknown, other) = (ca.issue("unknown", &Leaf::gateway("Nobody")), ca.issue("other", &Leaf::gateway(OTHER)));
    hand_over(scene, &[&unknown, &other]);
    let path = |name: &str| scene.directory().join(name).display().to_string();
    let wrong_ca = Ca::new(scene.directory(), "wrong-ca").file.display().to_string();
    let it = Administrator::new(browser, port);

    it.log_in();
    browser.press("Server Access");
    it.reads("There are none yet.");
    browser.press("Add");
    browser.fill("#f-name", "IRIS");
    browser.fill("#f-Ip_Address", "127.0.0.1");
    browser.fill("#f-TCP_Port", &scene.superserver_port().to_string());
    browser.choose("#f-Connection_Security_Level", "10");
    browser.choose("#f-SSLCC_Verify_Peer", "1");
    browser.fill("#f-SSLCC_Certificate_File", &path("gateway.pem"));
    browser.fill("#f-SSLCC_Certificate_Key_File", &path("gateway.key"));
    browser.fill("#f-SSLCC_CA_Certificate_File", &path("ca.pem"));
    browser.press("Test these settings");
    it.reads("Server connection test was successful");
    it.reads(&format!("the superserver knows the gateway as {USER} (mutual TLS)"));
    browser.press("Save Configuration");
    it.reads("The change is saved");
    it.reads("mutual TLS");

    browser.press("Application Access");
    browser.press("Add");
    browser.fill("#f-name", "/csp");
    browser.fill("#f-Default_Server", "IRIS");
    browser.press("Save Configuration");
    it.reads("The change is saved");

    let page = it.tests("Server connection test was successful");
    for stage in ["resolve", "connect", "TLS", "login", &format!("as {USER} (mutual TLS)")] {
        assert!(page.to_lowercase().contains(&stage.to_lowercase()), "{stage}: {page}");
    }

    // The wrong CA.
    it.change(&[("SSLCC_CA_Certificate_File", &wrong_ca)]);
    let page = it.tests("SCLERA-303");
    assert!(page.contains("What to do: Put the CA that signed the superserver's certificate into"), "{page}");
    it.change(&[("SSLCC_CA_Certificate_File", &path("ca.pem"))]);
    it.tests("Server connection test was successful");

    // A leftover password.
    browser.press("Server Access");
    browser.press("Edit IRIS");
    browser.fill("#f-Username", USER);
    browser.click(&browser.find("input[name=\"Password.do\"][value=replace]"));
    browser.fill("input[name=\"Password.new\"]", "leftover");
    browser.fill("input[name=\"Password.again\"]", "leftover");
    browser.press("Save Configuration");
    it.reads("The change is saved");
    let page = it.tests("SCLERA-406");
    assert!(page.contains("What to do: Clear Username and Password"), "{page}");
    browser.press("Server Access");
    browser.press("Edit IRIS");
    it.reads("The certificate is being ignored:");
    browser.press("Clear user name and password");
    it.reads("The change is saved");
    browser.press("Server Access");
    browser.press("Edit IRIS");
    it.does_not_read("The certificate is being ignored:");
    it.tests("Server connection test was successful");

    // A certificate whose CN is no user; undone.
    let file = |path: &std::path::Path| path.display().to_string();
    it.change(&[
        ("SSLCC_Certificate_File", &file(&unknown.certificate)),
        ("SSLCC_Certificate_Key_File", &file(&unknown.key)),
    ]);
    let page = it.tests("SCLERA-400");
    assert!(page.contains("the certificate's CN must be an enabled IRIS user"), "{page}");
    browser.press("Last Change");
    it.reads("[IRIS] SSLCC_Certificate_File");
    browser.press("Undo this change");
    it.reads("The last change is undone.");
    it.tests(&format!("as {USER} (mutual TLS)"));

    // Another identity.
    it.change(&[
        ("SSLCC_Certificate_File", &file(&other.certificate)),
        ("SSLCC_Certificate_Key_File", &file(&other.key)),
    ]);
    it.tests(&format!("as {OTHER} (mutual TLS)"));
    let answers = || Client::connect(port).request("GET", "/csp/demo/status/200").answer().status == 200;
    // What is saved is in force in each worker within two seconds.
    assert!(wait_until(|| answers().then_some(())).is_some());
    let before = logins(scene);
    // The settings coming into force closes connections, too.
    let there_is_one = wait_until(|| {
        answers();
        it.open("page=status");
        (browser.count("button[value=close-all]") == 1).then_some(())
    });
    assert!(there_is_one.is_some(), "{}", browser.text());
    browser.press("Close all connections");
    let closed = wait_until(|| {
        it.open("page=status");
        (browser.count("button[name=do][value=close-connection]") == 0).then_some(())
    });
    assert!(closed.is_some(), "{}", browser.text());
    let let_in = wait_until(|| (answers() && logins(scene) > before).then_some(()));
    assert!(let_in.is_some(), "a new connection is made, and the superserver lets the new identity in");
    let of_other = wait_until(|| {
        it.open("page=mutual-tls");
        browser.text().contains(OTHER).then_some(())
    });
    assert!(of_other.is_some(), "{}", browser.text());
    browser.press("Log out");
    browser.find("#CSPUNM");
}

/// How often the superserver has let the other user in.
fn logins(scene: &Scene) -> usize {
    let filter = Filter { event: Some("Login".to_owned()), user: Some(OTHER.to_owned()), since: None };
    scene.superserver().store().audit(&filter).expect("the audit can be read").len()
}

fn journey<S: WebServer>(locations: &str, script: bool) {
    let scene = scene();
    let server = S::start(&scene, locations);
    let browser = Browser::start();
    browser.allow_script(script);
    browser.go("data:text/html,<body>plain<script>document.body.textContent = 'script'</script>");
    assert_eq!(browser.text(), if script { "script" } else { "plain" });
    from_nothing_to_mutual_tls_and_back(&browser, &scene, server.port());
}

#[test]
fn mutual_tls_is_set_up_broken_understood_and_mended_on_pages_of_nginx() {
    journey::<Nginx>(NGINX, true);
}

#[test]
fn mutual_tls_is_set_up_broken_understood_and_mended_on_pages_of_apache() {
    journey::<Apache>(APACHE, true);
}

#[test]
fn mutual_tls_is_set_up_broken_understood_and_mended_without_script_on_pages_of_nginx() {
    journey::<Nginx>(NGINX, false);
}

#[test]
fn mutual_tls_is_set_up_broken_understood_and_mended_without_script_on_pages_of_apache() {
    journey::<Apache>(APACHE, false);
}

/// A scene with something of everything that pages have to show.
fn full_scene() -> Scene {
    let scene = Scene::new();
    scene.edit_csp_ini(|text| {
        let (before, rest) = text.split_once("[LOCAL]\n").expect("the section of LOCAL");
        let (local, after) = rest.split_once("\n\n").expect("a section ends");
        let more = format!(
            "[CLINIC]\n{local}\nUsername=CSPSystem\nPassword=leftover\n\n\
             [LAB]\nIp_Address=lab.example\nConnection_Security_Level=10\nSSLCC_Verify_Peer=1\n\
             SSLCC_Certificate_File=/etc/ssl/clinic/lab-gateway.pem\nSSLCC_CA_Certificate_File=/etc/ssl/clinic/ca.pem\n\n\
             [TEST]\nIp_Address=127.0.0.1\nTCP_Port=1\nConnection_Security_Level=0\n\n"
        );
        format!("{before}[LOCAL]\n{local}\n\n{more}{after}")
            .replacen("LOCAL=Enabled\n", "LOCAL=Enabled\nCLINIC=Enabled\nLAB=Enabled\nTEST=Disabled\n", 1)
            .replacen("[SYSTEM]\n", "[SYSTEM]\nUsername=admin\nPassword=secret\n", 1)
    });
    hand_over(&scene, &[]);
    scene
}

/// The pages of the menu, as the browser shows it now: each one's name in addresses.
fn menu(browser: &Browser) -> Vec<String> {
    let names = browser.run("return [...document.querySelectorAll('nav a')].map(it => it.search.slice(6))");
    names.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}

/// Every page: what it is called in pictures, and how one comes there.
type Way = Box<dyn Fn(&Administrator)>;

fn ways(menu: &[String]) -> Vec<(String, Way)> {
    let page = |name: &str, query: &str| -> (String, Way) {
        let query = query.to_owned();
        (name.to_owned(), Box::new(move |it: &Administrator| it.open(&query)))
    };
    let tested = |name: &str, server: &'static str| -> (String, Way) {
        let way = move |it: &Administrator| {
            it.open("page=test");
            it.browser.choose("#name", server);
            it.browser.click(&it.browser.find("main button.main"));
            it.browser.find("#result");
        };
        (name.to_owned(), Box::new(way))
    };
    let mistaken = |it: &Administrator| {
        it.open("page=server&name=LOCAL");
        it.browser.fill("#f-TCP_Port", "port");
        it.browser.fill("#f-Ip_Address", "");
        it.browser.click(&it.browser.find("button[value=save]"));
        it.browser.find("[aria-invalid]");
    };
    let mut ways: Vec<(String, Way)> = menu.iter().map(|it| page(it, &format!("page={it}"))).collect();
    ways.extend([
        page("server", "page=server&name=LOCAL"),
        page("server-ignored-certificate", "page=server&name=CLINIC"),
        page("server-new", "page=server&new=1"),
        page("server-delete", "page=server&name=TEST&delete=1"),
        page("server-delete-refused", "page=server&name=LOCAL&delete=1"),
        page("application", "page=application&name=%2Fcsp"),
        page("done", "page=servers&done=saved"),
        page("not-found", "page=nowhere"),
        tested("test-good", "LOCAL"),
        tested("test-bad", "CLINIC"),
        ("server-mistakes".to_owned(), Box::new(mistaken)),
    ]);
    ways
}

/// What axe-core calls serious or critical about the page as it is now.
fn faults(browser: &Browser) -> Vec<String> {
    let found = browser.run_until_called(
        "const done = arguments[0];
         axe.run(document, { resultTypes: ['violations'] }).then(
             it => done(it.violations.filter(it => ['serious', 'critical'].includes(it.impact)).map(
                 it => it.id + ': ' + it.nodes.map(it => it.html + ' ' + it.failureSummary).join('; '))),
             error => done(['axe-core: ' + error]))",
    );
    found.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}

/// Where `scripts/setup.sh test` puts axe-core.
fn axe() -> String {
    let library = sclera_tests::root().join("build/venv/lib");
    let pythons = fs::read_dir(&library).expect("run `make test-setup`").flatten();
    let file =
        pythons.map(|it| it.path().join("site-packages/axe_playwright_python/axe.min.js")).find(|it| it.exists());
    fs::read_to_string(file.expect("run `make test-setup`")).unwrap()
}

#[test]
fn every_page_is_accessible_and_pictures_of_it_are_kept() {
    let scene = full_scene();
    let nginx = Nginx::start(&scene, NGINX);
    let browser = Browser::start();
    browser.script_for_every_page(&axe());
    let it = Administrator::new(&browser, nginx.port());
    it.open("page=about");
    let mut faulty = Vec::new();
    let look = |name: &str, faulty: &mut Vec<String>| {
        browser.in_the_dark(false);
        browser.picture(&format!("{name}-light"));
        faulty.extend(faults(&browser).into_iter().map(|fault| format!("{name}, light: {fault}")));
        browser.in_the_dark(true);
        browser.picture(&format!("{name}-dark"));
        faulty.extend(faults(&browser).into_iter().map(|fault| format!("{name}, dark: {fault}")));
        browser.in_the_dark(false);
        browser.wide(360);
        browser.picture(&format!("{name}-narrow"));
        let across = browser.run("return document.documentElement.scrollWidth").as_u64().unwrap();
        if across > 360 {
            faulty.push(format!("{name}, narrow: {across} pixels wide"));
        }
        browser.wide(1280);
    };
    look("login", &mut faulty);
    it.log_in();
    let menu = menu(&browser);
    assert!(menu.len() >= 7, "{menu:?}");
    // So that there is a last change.
    it.open("page=server&name=TEST");
    browser.fill("#f-Sclera_Connect_Timeout", "5");
    browser.press("Save Configuration");
    it.reads("The change is saved");
    for (name, way) in ways(&menu) {
        way(&it);
        look(&name, &mut faulty);
    }
    browser.in_language("ja");
    for (name, way) in ways(&menu) {
        way(&it);
        assert_eq!(browser.run("return document.documentElement.lang"), "ja", "{name}");
        browser.picture(&format!("{name}-ja"));
    }
    assert!(faulty.is_empty(), "{}", faulty.join("\n"));
}

/// What the Tab key reaches on a page, in its order; each one's outline is seen.
fn stops(browser: &Browser) -> Vec<String> {
    browser.run(
        "window.stops = []; window.bare = [];
         window.nameOf = it => it.tagName + ' ' + (it.name || it.id || it.getAttribute('href') || it.textContent.trim())
             + ' ' + (it.value || '');
         document.addEventListener('focusin', event => {
             stops.push(nameOf(event.target));
             if (getComputedStyle(event.target).outlineStyle === 'none') bare.push(nameOf(event.target));
         });",
    );
    let expected = browser.run(
        "const all = document.querySelectorAll(
             'a[href], button, input:not([type=hidden]), select, summary, [tabindex=\"0\"]');
         return [...all].filter(it => it.checkVisibility() && !(it.type === 'radio' && !it.checked)).map(nameOf)",
    );
    let expected: Vec<String> = serde_json::from_value(expected).unwrap();
    browser.press_keys(&TAB.repeat(expected.len()));
    assert_eq!(browser.run("return bare"), serde_json::json!([]), "no outline on {}", browser.address());
    let reached: Vec<String> = serde_json::from_value(browser.run("return stops")).unwrap();
    assert_eq!(reached, expected, "{}", browser.address());
    reached
}

#[test]
fn every_button_and_field_is_reached_by_keyboard_in_the_order_of_the_page() {
    let scene = full_scene();
    let nginx = Nginx::start(&scene, NGINX);
    let browser = Browser::start();
    let it = Administrator::new(&browser, nginx.port());
    it.log_in();
    let forms = ["page=server&name=CLINIC", "page=application&name=%2Fcsp", "page=server&name=TEST&delete=1"];
    let menu = menu(&browser).into_iter().map(|name| format!("page={name}"));
    for query in menu.chain(forms.map(str::to_owned)) {
        it.open(&query);
        let stops = stops(&browser);
        assert!(stops[0].contains("#main"), "{query}: the first stop is the way past the menu: {stops:?}");
    }

    // Past the menu, and a server tried out without a mouse.
    it.open("page=test&name=LOCAL");
    browser.press_keys(TAB);
    let seen = browser.run("return document.activeElement.getBoundingClientRect().left >= 0");
    assert_eq!(seen, true, "the way past the menu is seen when it has the focus");
    browser.press_keys(ENTER);
    assert_eq!(browser.run("return document.activeElement.id"), "main");
    browser.press_keys(&format!("{TAB}{TAB}"));
    assert_eq!(browser.run("return document.activeElement.textContent"), "Connect");
    browser.press_keys(ENTER);
    it.reads("Server connection test was successful");
}

#[test]
fn script_that_somebody_has_stored_runs_on_no_page() {
    const SCRIPT: &str = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>";
    // Names of sections cannot hold an equals sign.
    const NAME: &str = "\"'><script>alert(3)</script>";
    let scene = full_scene();
    scene.edit_csp_ini(|text| {
        text.replacen("[SYSTEM]\n", &format!("[SYSTEM]\nInstance_Host_Name={SCRIPT}\nServer_Error={SCRIPT}\n"), 1)
            .replacen("TEST=Disabled\n", &format!("TEST=Disabled\n{NAME}=Disabled\n"), 1)
            .replacen("[APP_PATH_INDEX]\n", &format!("[APP_PATH_INDEX]\n/{NAME}=Enabled\n"), 1)
            + &format!(
                "\n[{NAME}]\nIp_Address={SCRIPT}\nUsername={SCRIPT}\nSSLCC_Certificate_File={SCRIPT}\n\
                 Connection_Security_Level=10\n[APP_PATH:/{NAME}]\nDefault_Server={NAME}\nProc_Class={SCRIPT}\n"
            )
    });
    let nginx = Nginx::start(&scene, NGINX);
    // What strangers can leave behind in a log, a trace, a count.
    let path = sclera_tests::manager::encode(SCRIPT);
    for request in [
        format!("GET /csp/demo/{path}?{path} HTTP/1.1\r\nHost: {SCRIPT}\r\n\r\n"),
        format!("GET /csp/demo/status/200 HTTP/1.1\r\nHost: a\r\nUser-Agent: {SCRIPT}\r\nCookie: a={SCRIPT}\r\n\r\n"),
        format!("GET {PATH}?page={path} HTTP/1.1\r\nHost: 127.0.0.1\r\nReferer: {SCRIPT}\r\n\r\n"),
    ] {
        nginx.connect().send(request).answer();
    }
    let browser = Browser::start();
    let it = Administrator::new(&browser, nginx.port());
    it.open("page=about");
    browser.fill("#CSPUNM", SCRIPT);
    browser.fill("#CSPPWD", SCRIPT);
    browser.press("Log in");
    it.reads("User name or password is wrong.");
    it.log_in();
    let forms = [
        format!("page=server&name={path}"),
        format!("page=server&new=1&copy={path}"),
        format!("page=server&name={path}&delete=1"),
        format!("page=application&name=%2F{path}"),
        format!("page=test&name={path}"),
        format!("page=servers&done={path}"),
        format!("page={path}"),
    ];
    for query in menu(&browser).into_iter().map(|name| format!("page={name}")).chain(forms) {
        it.open(&query);
        assert_eq!(browser.dialog(), None, "{query}");
        assert_eq!(browser.count("script, img, [onerror]"), 0, "{query}: {}", browser.source());
    }
    it.open("page=test");
    browser.click(&browser.find("#name option:last-child"));
    browser.press("Connect");
    browser.find("#result");
    assert_eq!((browser.dialog(), browser.count("script, img, [onerror]")), (None, 0), "{}", browser.source());
}
