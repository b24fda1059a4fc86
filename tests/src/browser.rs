//! A real browser without a window: Chromium, driven over the WebDriver protocol of chromedriver (W3C WebDriver 2).

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64ct::{Base64, Encoding};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::Client;
use crate::process::{Server, wait_until};
use crate::root;
use crate::scene::free_port;

/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that are no characters, as WebDriver sends them.
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";

/// A browser with one window. It ends with this value.
pub struct Browser {
    // First, so that it ends before its directory goes.
    driver: Server,
    port: u16,
    /// The path of the session below the driver's.
    session: String,
    _data: TempDir,
}

/// An element of the page.
#[derive(Clone, Debug)]
pub struct Element(String);

impl Browser {
    pub fn start() -> Browser {
        let data = TempDir::with_prefix("sclera-browser-").expect("a temporary directory");
        let port = free_port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).env("HOME", data.path()).env("TMPDIR", data.path());
        // A group of its own, so that whatever the browser starts can be ended with it.
        let driver = Server::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        let ready = wait_until(|| std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        assert!(ready.is_some(), "chromedriver does not start");
        let mut browser = Browser { driver, port, session: String::new(), _data: data };
        let profile = browser._data.path().join("profile");
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1280,900",
        ];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            // A dialog stays, so that a test sees it.
            "unhandledPromptBehavior": "ignore",
            "goog:chromeOptions": { "args": arguments },
        } } });
        let session = browser.call("POST", "/session", &wanted);
        browser.session = format!("/session/{}", session["sessionId"].as_str().expect("a session"));
        browser.in_language("en");
        browser
    }

    /// Loads a page and waits for it.
    pub fn go(&self, address: &str) {
        self.post("/url", &json!({ "url": address }));
    }

    /// The address of the page.
    pub fn address(&self) -> String {
        text(&self.get("/url"))
    }

    /// The document as it is now.
    pub fn source(&self) -> String {
        text(&self.get("/source"))
    }

    /// What a reader sees of the page, or of this part of it.
    pub fn text_of(&self, css: &str) -> String {
        // Another page may come between finding and reading.
        let read = || {
            let element = self.find(css);
            self.try_call("GET", &format!("{}/element/{}/text", self.session, element.0), &Value::Null).ok()
        };
        text(&wait_until(read).unwrap_or_else(|| panic!("{css} cannot be read on {}", self.address())))
    }

    /// Everything that a reader sees in the window.
    pub fn text(&self) -> String {
        self.text_of("body")
    }

    /// The first element that a CSS selector finds; waits for it.
    pub fn find(&self, css: &str) -> Element {
        self.wait_for("css selector", css)
    }

    /// How many elements a CSS selector finds now.
    pub fn count(&self, css: &str) -> usize {
        self.all("css selector", css).len()
    }

    /// The link or button whose name is `name`, as a reader sees it; waits for it.
    pub fn named(&self, name: &str) -> Element {
        assert!(!name.contains('"'), "{name}");
        let is = format!("normalize-space()=\"{name}\" or @aria-label=\"{name}\"");
        self.wait_for(
            "xpath",
            &format!("//main//a[{is}] | //main//button[{is}] | //nav//a[{is}] | //header//button[{is}]"),
        )
    }

    /// Presses a link or a button by its name, and waits for the page to which it leads.
    pub fn press(&self, name: &str) {
        self.click(&self.named(name));
    }

    pub fn click(&self, element: &Element) {
        self.post(&format!("/element/{}/click", element.0), &json!({}));
    }

    /// Writes `value` into a field in the place of what is there.
    pub fn fill(&self, css: &str, value: &str) {
        let element = self.find(css);
        self.post(&format!("/element/{}/clear", element.0), &json!({}));
        self.post(&format!("/element/{}/value", element.0), &json!({ "text": value }));
    }

    /// Chooses from a list.
    pub fn choose(&self, css: &str, value: &str) {
        self.click(&self.find(&format!("{css} option[value=\"{value}\"]")));
    }

    /// What a field holds.
    pub fn value_of(&self, css: &str) -> String {
        let element = self.find(css);
        text(&self.get(&format!("/element/{}/property/value", element.0)))
    }

    /// Presses keys, as on the keyboard, wherever the focus is.
    pub fn press_keys(&self, keys: &str) {
        let strokes = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() })));
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": strokes.collect::<Vec<_>>() });
        self.post("/actions", &json!({ "actions": [keyboard] }));
    }

    /// Runs script in the page and tells what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs script that ends by calling its last argument.
    pub fn run_until_called(&self, script: &str) -> Value {
        self.post("/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Runs script in every page that is loaded from now on, before anything of its own.
    pub fn script_for_every_page(&self, script: &str) {
        self.command("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script }));
    }

    /// The text of a dialog that the page has opened.
    pub fn dialog(&self) -> Option<String> {
        self.try_call("GET", &format!("{}/alert/text", self.session), &Value::Null).ok().map(|it| text(&it))
    }

    /// Lets pages run no script from now on, or lets them again.
    pub fn allow_script(&self, allowed: bool) {
        self.command("Emulation.setScriptExecutionDisabled", &json!({ "value": !allowed }));
    }

    /// Asks pages for a language.
    pub fn in_language(&self, language: &str) {
        let agent = text(&self.command("Browser.getVersion", &json!({}))["userAgent"]);
        self.command("Emulation.setUserAgentOverride", &json!({ "userAgent": agent, "acceptLanguage": language }));
    }

    /// Has the colours of a dark system, or of a light one.
    pub fn in_the_dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.command("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Makes the window as wide as this, in CSS pixels.
    pub fn wide(&self, width: u32) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Takes a picture of the whole page, as `build/screenshots/<name>.png`.
    pub fn picture(&self, name: &str) {
        let whole = json!({ "format": "png", "captureBeyondViewport": true });
        let mut asked = whole;
        let size = &self.command("Page.getLayoutMetrics", &json!({}))["cssContentSize"];
        asked["clip"] = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let picture = text(&self.command("Page.captureScreenshot", &asked)["data"]);
        let bytes = Base64::decode_vec(&picture).expect("base64");
        let directory = pictures();
        fs::create_dir_all(&directory).expect("the build directory can be written to");
        fs::write(directory.join(format!("{name}.png")), bytes).expect("a picture can be written");
    }

    /// A command of Chromium's own protocol.
    fn command(&self, name: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
    }

    fn wait_for(&self, using: &str, what: &str) -> Element {
        let found = wait_until(|| self.all(using, what).into_iter().next());
        found.unwrap_or_else(|| panic!("{what} is not on {}: {}", self.address(), self.source()))
    }

    fn all(&self, using: &str, what: &str) -> Vec<Element> {
        let found = self.post("/elements", &json!({ "using": using, "value": what }));
        let elements = found.as_array().into_iter().flatten();
        elements.filter_map(|it| Some(Element(it[ELEMENT].as_str()?.to_owned()))).collect()
    }

    fn get(&self, path: &str) -> Value {
        self.call("GET", &format!("{}{path}", self.session), &Value::Null)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_call(method, path, body).unwrap_or_else(|error| panic!("{method} {path} {body}: {error}"))
    }

    /// What the driver answers, or its error.
    fn try_call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        let answer = Client::connect(self.port).send(head + &body).answer();
        let value = answer.json()["value"].clone();
        match answer.status {
            200 => Ok(value),
            _ => Err(format!("{}: {}", text(&value["error"]), text(&value["message"]))),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser.
        if !self.session.is_empty() {
            let _ = self.try_call("DELETE", &self.session, &Value::Null);
        }
        self.driver.stop(Signal::TERM);
    }
}

/// Where pictures are kept.
pub fn pictures() -> PathBuf {
    root().join("build/screenshots")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
