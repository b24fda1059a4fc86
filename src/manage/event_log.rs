//! View Event Log: the log in bounded pages, from either end, by level, server, code or request; and Clear Log.

use std::io;
use std::path::{Path, PathBuf};

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
    /// The queries of the first page, the one before and the next one; empty where there is none.
    first: String,
    previous: String,
    next: String,
    can_clear: bool,
}

fn show(visit: &Visit) -> Result<Response, Trouble> {
    let (filter, order, from) = asked(visit);
    let path = path(visit);
    let read = match &path {
        Some(path) => turned_to(path, from, order, &filter).map_err(|error| format!("{}: {error}", path.display())),
        None => Err(visit.language.say(text::LOG_NOT_A_FILE).to_owned()),
    };
    let ((page, before), failure) = match read {
        Ok(read) => (read, String::new()),
        Err(failure) => (<(reader::Page, reader::Page)>::default(), failure),
    };
    let query = |from| query_of(&filter, order, from);
    let first = from.map(|_| query(None)).unwrap_or_default();
    let previous = if before.records.is_empty() { String::new() } else { query(before.next) };
    let next = page.next.map(|from| query(Some(from))).unwrap_or_default();
    let shown = EventLogPage {
        layout: visit.layout("event-log"),
        path: path.map(|path| path.display().to_string()).unwrap_or_default(),
        failure,
        filter,
        newest: order == Order::Descending,
        records: page.records.into_iter().map(|it| (remedy(&it.code), it)).map(|(remedy, it)| (it, remedy)).collect(),
        first,
        previous,
        next,
        can_clear: visit.who.role >= Role::Edit,
    };
    Ok(Response::page(200, &shown))
}

/// The page that begins here, and what is read from here in the other direction: the page before it.
fn turned_to(
    path: &Path,
    from: Option<u64>,
    order: Order,
    filter: &Filter,
) -> io::Result<(reader::Page, reader::Page)> {
    let page = reader::read(path, from, order, filter, MOST)?;
    let before = match from {
        Some(_) => reader::read(path, from, order.reversed(), filter, MOST)?,
        None => reader::Page::default(),
    };
    Ok((page, before))
}

/// Clearing destroys evidence, so it takes the highest role, and says so in the log that it leaves.
fn clear(visit: &Visit) -> Result<Response, Trouble> {
    visit.require(Role::Edit)?;
    if visit.form.get("confirm") != Some("yes") {
        return Err(Trouble::Wrong(visit.language.say(text::CONFIRM_CLEAR).to_owned()));
    }
    empty(visit)?;
    Ok(Response::go_to("?page=event-log&done=cleared"))
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

fn query_of(filter: &Filter, order: Order, from: Option<u64>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let order = if order == Order::Descending { "newest" } else { "oldest" };
    query.append_pair("page", "event-log").append_pair("order", order);
    query.append_pair("level", &filter.level).append_pair("server", &filter.server);
    query.append_pair("code", &filter.code).append_pair("request-id", &filter.request_id);
    query.append_pair("words", &filter.words);
    from.map(|from| query.append_pair("from", &from.to_string()));
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
