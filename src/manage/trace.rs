//! View HTTP Trace: the requests that were traced, one of them whole, and Clear.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use askama::Template;
use serde_json::{Value, json};

use super::layout::Layout;
use super::text;
use super::{Group, Page, Response, Trouble, Visit};
use crate::event_log::clock;
use crate::event_log::trace::{self, Entry, Message};
use crate::profile::Role;

/// Its row.
pub const PAGE: Page = Page {
    name: "trace",
    title: text::HTTP_TRACE,
    group: Some(Group::Management),
    below: "",
    get: show,
    post: Some(clear),
};

/// Requests of the list.
const MOST: usize = 100;

#[derive(Template)]
#[template(path = "trace.html")]
struct TracePage {
    layout: Layout,
    directory: String,
    is_on: bool,
    failure: String,
    rows: Vec<Row>,
    chosen: Option<Whole>,
    can_clear: bool,
}

/// A request of the list.
struct Row {
    id: String,
    when: String,
    request: String,
    status: u16,
    server: String,
    code: String,
    milliseconds: u64,
}

/// One request with everything that was kept.
struct Whole {
    row: Row,
    client: String,
    stages: String,
    request: Half,
    response: Half,
}

struct Half {
    head: String,
    body: String,
    /// Bytes of the body that were not kept.
    missing: u64,
}

fn show(visit: &Visit) -> Result<Response, Trouble> {
    let settings = visit.manage.log.settings().map(|settings| settings.trace.clone()).unwrap_or_default();
    let wanted = visit.request.query_value("id").unwrap_or_default();
    let directory = settings.directory.display();
    let (listed, chosen) = match wanted.is_empty() {
        true => (trace::list(&settings.directory, MOST), None),
        false => (Ok(Vec::new()), trace::find(&settings.directory, &wanted).ok().flatten()),
    };
    if !wanted.is_empty() && chosen.is_none() {
        return Err(Trouble::NotFound);
    }
    let (entries, failure) = match listed {
        Ok(entries) => (entries, String::new()),
        Err(error) => (Vec::new(), format!("{directory}: {error}")),
    };
    let shown = TracePage {
        layout: visit.layout("trace"),
        directory: directory.to_string(),
        is_on: !settings.wanted.is_empty(),
        failure,
        rows: entries.iter().map(Row::of).collect(),
        chosen: chosen.as_ref().map(Whole::of),
        can_clear: visit.who.role >= Role::Operate,
    };
    Ok(Response::page(200, &shown))
}

fn clear(visit: &Visit) -> Result<Response, Trouble> {
    visit.require(Role::Operate)?;
    empty(visit)?;
    Ok(Response::go_to("?page=trace&done=cleared"))
}

fn empty(visit: &Visit) -> Result<(), Trouble> {
    let directory = directory(visit);
    // Part of it may be gone, whatever comes out.
    visit.audit("clears the HTTP trace");
    trace::clear(&directory).map_err(|error| Trouble::Wrong(format!("{}: {error}", directory.display())))
}

fn directory(visit: &Visit) -> PathBuf {
    visit.manage.log.settings().map(|settings| settings.trace.directory.clone()).unwrap_or_default()
}

/// The same for programs: the list, or with `id` one request whole.
pub fn call(visit: &Visit) -> Result<Value, Trouble> {
    let directory = directory(visit);
    let wrong = |error: std::io::Error| Trouble::Wrong(format!("{}: {error}", directory.display()));
    let id = visit.request.query_value("id").unwrap_or_default();
    if id.is_empty() {
        let entries = trace::list(&directory, MOST).map_err(wrong)?;
        return Ok(json!({ "requests": entries.iter().map(|entry| Row::of(entry).to_json()).collect::<Vec<_>>() }));
    }
    let entry = trace::find(&directory, &id).map_err(wrong)?.ok_or(Trouble::NotFound)?;
    let Whole { row, client, stages, request, response } = Whole::of(&entry);
    let half = |half: &Half| json!({ "head": half.head, "body": half.body, "missing": half.missing });
    Ok(json!({
        "request": row.to_json(), "client": client, "stages": stages,
        "sent": half(&request), "answered": half(&response),
    }))
}

/// Clear for programs.
pub fn call_clear(visit: &Visit) -> Result<Value, Trouble> {
    empty(visit)?;
    Ok(json!({ "cleared": true }))
}

impl Row {
    fn of(entry: &Entry) -> Row {
        Row {
            id: entry.request_id.clone(),
            when: clock::utc(UNIX_EPOCH + Duration::from_millis(entry.began)),
            request: format!("{} {}", entry.method, entry.target),
            status: entry.status,
            server: entry.server.clone(),
            code: entry.code.clone(),
            milliseconds: entry.took / 1000,
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "request_id": self.id, "when": self.when, "request": self.request, "status": self.status,
            "server": self.server, "code": self.code, "milliseconds": self.milliseconds,
        })
    }
}

impl Whole {
    fn of(entry: &Entry) -> Whole {
        Whole {
            row: Row::of(entry),
            client: entry.client.clone(),
            stages: entry.stages.clone(),
            request: Half::of(&entry.request),
            response: Half::of(&entry.response),
        }
    }
}

impl Half {
    fn of(message: &Message) -> Half {
        Half { head: legible(&message.head), body: legible(&message.body), missing: message.missing }
    }
}

/// Bytes as a person can read them: line breaks stay, other control characters are shown as what they are.
fn legible(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let shown = |character: char| match character {
        '\n' | '\t' => character.to_string(),
        control if control.is_control() => format!("\\x{:02X}", u32::from(control)),
        other => other.to_string(),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_line_breaks_stay() {
        assert_eq!(legible(b"GET / HTTP/1.1\r\nA: \x1b[31m\0\r\n"), "GET / HTTP/1.1\nA: \\x1B[31m\\x00\n");
    }
}
