//! Somebody with a browser on the management pages: it keeps the cookie, and sends forms as a browser would.

use crate::http::{Answer, Client};

/// The path of the pages.
pub const PATH: &str = "/csp/bin/Systems/Module.cxw";

/// See the module.
#[derive(Clone, Debug)]
pub struct Manager {
    port: u16,
    pub path: String,
    pub cookie: Option<String>,
    /// Sent with every request, each with its line end.
    pub headers: String,
    /// The page that came last.
    pub page: String,
}

impl Manager {
    pub fn new(port: u16) -> Manager {
        Manager { port, path: PATH.to_owned(), cookie: None, headers: String::new(), page: String::new() }
    }

    /// With one more header in every request.
    pub fn with(mut self, name: &str, value: &str) -> Manager {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    /// Loads a page, named by the query.
    pub fn get(&mut self, query: &str) -> Answer {
        self.send("GET", &format!("{}?{query}", self.path), "", "")
    }

    /// Sends a form to a page, with the token of the page that came last.
    pub fn post(&mut self, query: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.token();
        let mut all = vec![("token", token.as_str())];
        all.extend(fields);
        self.post_without_token(query, &all)
    }

    /// Sends a form as it is.
    pub fn post_without_token(&mut self, query: &str, fields: &[(&str, &str)]) -> Answer {
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let target = format!("{}?{query}", self.path);
        self.send("POST", &target, "application/x-www-form-urlencoded", &body.join("&"))
    }

    /// Logs in.
    pub fn log_in(&mut self, user: &str, password: &str) -> Answer {
        let fields = [("CSPSYS", "17"), ("CSPUNM", user), ("CSPPWD", password), ("CSPSYSbOK", "1")];
        self.post_without_token("page=about", &fields)
    }

    /// Calls the JSON interface.
    pub fn call(&mut self, method: &str, name: &str, body: &str) -> Answer {
        let (call, query) = name.split_once('?').unwrap_or((name, ""));
        let target = format!("{}/api/{call}?{query}", self.path);
        self.send(method, &target, "application/json", body)
    }

    /// Sends a request; goes where a redirection leads.
    pub fn send(&mut self, method: &str, target: &str, kind: &str, body: &str) -> Answer {
        let mut answer = self.send_alone(method, target, kind, body);
        if let (303, Some(location)) = (answer.status, answer.header("Location").map(str::to_owned)) {
            let target = format!("{}{location}", self.path);
            answer = self.send_alone("GET", &target, "", "");
        }
        answer
    }

    /// Sends a request, and goes nowhere else.
    pub fn send_alone(&mut self, method: &str, target: &str, kind: &str, body: &str) -> Answer {
        let cookie = self.cookie.as_ref().map(|cookie| format!("Cookie: SCLERA_MANAGE={cookie}\r\n"));
        let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{}{}{kind}Content-Length: {}\r\n\r\n",
            self.port,
            self.headers,
            cookie.unwrap_or_default(),
            body.len()
        );
        let mut client = Client::connect(self.port);
        let answer = client.send(head).send(body).answer();
        for cookie in answer.all("Set-Cookie") {
            let value = cookie.split(';').next().and_then(|pair| pair.strip_prefix("SCLERA_MANAGE="));
            self.cookie = value.filter(|value| !value.is_empty()).map(str::to_owned);
        }
        self.page = answer.text();
        answer
    }

    /// The value of a hidden field of the page that came last.
    pub fn hidden(&self, name: &str) -> String {
        let before = format!("name=\"{name}\" value=\"");
        let start = self.page.find(&before).map(|at| at + before.len());
        let value = start.and_then(|start| self.page[start..].split('"').next());
        value.unwrap_or_default().to_owned()
    }

    /// The token of the page that came last.
    pub fn token(&self) -> String {
        self.hidden("token")
    }
}

/// Percent-encoding.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
