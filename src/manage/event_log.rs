//! View Event Log: the log in bounded pages, from either end, by level, server, code or request; and Clear Log.

use std::path::PathBuf;

use askama::Template;
use serde_json::{Value, json};

use super::layout::Layout;
use super::text;
use super::{Group, Page, Response, Trouble, Visit};
use crate::event_log::reader::{self, Filter, Order, Record};
use crate::failure::Code;
use crate::profile::Role;

/// Its row.
pub const PAGE: Page = Page {
    name: "event-log",
    title: text::EVENT_LOG,
    group: Some(Group::Management),
    below: "",
    get: show,
    post: Some(clear),
};

/// Records of a page.
const MOST: usize = 100;

#[derive(Template)]
#[template(path = "event_log.html")]
struct EventLogPage {
    layout: Layout,
    path: String,
    failure: String,
    filter: Filter,
    newest: bool,
    records: Vec<(Record, &'static str)>,
    /// The query of the next page; empty at the end.
    next: String,
    can_clear: bool,
}

fn show(visit: &Visit) -> Result<Response, Trouble> {
    let (filter, order, from) = asked(visit);
    let (path, read) = match path(visit) {
        Some(path) => {
            let read = reader::read(&path, from, order, &filter, MOST);
            (path.display().to_string(), read.map_err(|error| format!("{}: {error}", path.display())))
        }
        None => (String::new(), Err(visit.language.say(text::LOG_NOT_A_FILE).to_owned())),
    };
    let (page, failure) = match read {
        Ok(page) => (page, String::new()),
        Err(failure) => (reader::Page::default(), failure),
    };
    let newest = order == Order::Descending;
    let next = page.next.map(|from| next_query(&filter, newest, from)).unwrap_or_default();
    let shown = EventLogPage {
        layout: visit.layout("event-log"),
        path,
        failure,
        filter,
        newest,
        records: page.records.into_iter().map(|it| (remedy(&it.code), it)).map(|(remedy, it)| (it, remedy)).collect(),
        next,
        can_clear: visit.who.role >= Role::Edit,
    };
    Ok(Response::page(200, &shown))
}

/// Clearing destroys evidence, so it takes the highest role, and says so in the log that it leaves.
fn clear(visit: &Visit) -> Result<Response, Trouble> {
    visit.require(Role::Edit)?;
    if visit.form.get("confirm") != Some("yes") {
        return Err(Trouble::Wrong(visit.language.say(text::CONFIRM_CLEAR).to_owned()));
    }
    empty(visit)?;
    show(visit)
}

fn empty(visit: &Visit) -> Result<(), Trouble> {
    let path = path(visit).ok_or_else(|| Trouble::Wrong(visit.language.say(text::LOG_NOT_A_FILE).to_owned()))?;
    reader::clear(&path).map_err(|error| Trouble::Wrong(format!("{}: {error}", path.display())))?;
    visit.audit("clears the event log");
    Ok(())
}

fn path(visit: &Visit) -> Option<PathBuf> {
    visit.manage.log.settings()?.keeping.place.path()
}

fn asked(visit: &Visit) -> (Filter, Order, Option<u64>) {
    let value = |name: &str| visit.request.query_value(name).unwrap_or_default().trim().to_owned();
    let filter = Filter {
        level: value("level"),
        server: value("server"),
        code: value("code"),
        request_id: value("request-id"),
        words: value("words"),
    };
    let order = if value("order") == "oldest" { Order::Ascending } else { Order::Descending };
    (filter, order, value("from").parse().ok())
}

fn next_query(filter: &Filter, newest: bool, from: u64) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("page", "event-log").append_pair("order", if newest { "newest" } else { "oldest" });
    query.append_pair("level", &filter.level).append_pair("server", &filter.server);
    query.append_pair("code", &filter.code).append_pair("request-id", &filter.request_id);
    query.append_pair("words", &filter.words).append_pair("from", &from.to_string());
    query.finish()
}

fn remedy(code: &str) -> &'static str {
    Code::ALL.iter().find(|known| known.to_string() == code).map_or("", |known| known.remedy())
}

/// The same for programs.
pub fn call(visit: &Visit) -> Result<Value, Trouble> {
    let (filter, order, from) = asked(visit);
    let path = path(visit).ok_or_else(|| Trouble::Wrong(visit.language.say(text::LOG_NOT_A_FILE).to_owned()))?;
    let page = reader::read(&path, from, order, &filter, MOST)
        .map_err(|error| Trouble::Wrong(format!("{}: {error}", path.display())))?;
    let record = |it: &Record| {
        json!({
            "when": it.when, "level": it.level, "event": it.event, "process": it.process, "text": it.text,
            "details": it.details, "request_id": it.request_id, "server": it.server, "code": it.code,
            "remedy": remedy(&it.code),
        })
    };
    Ok(json!({
        "records": page.records.iter().map(record).collect::<Vec<_>>(), "next": page.next, "size": page.size,
    }))
}

/// Clear Log for programs.
pub fn call_clear(visit: &Visit) -> Result<Value, Trouble> {
    empty(visit)?;
    Ok(json!({ "cleared": true }))
}
