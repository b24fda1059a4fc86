//! System Status: connections, servers and application paths as all workers have them, and orders about them. The original's
//! fourth table, its cache, has no counterpart: Sclera caches nothing.

use askama::Template;
use serde_json::{Value, json};

use super::language::Language;
use super::layout::Layout;
use super::text::{self, Text};
use super::{Group, Page, Response, Trouble, Visit};
use crate::ledger::ConnectionState;
use crate::pool::health::Wish;
use crate::profile::Role;
use crate::status::command::{self, Order, Which};
use crate::status::{PathState, ServerStatus, Status, span};

/// Its row.
pub const PAGE: Page = Page {
    name: "status",
    title: text::SYSTEM_STATUS,
    group: Some(Group::Management),
    below: "",
    get: show,
    post: Some(act),
};

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage {
    layout: Layout,
    tables: Vec<Table>,
    /// Failures: code, name, how often.
    failures: Vec<(u16, &'static str, u64)>,
    /// The query that shows the page as it is.
    here: String,
    can_act: bool,
    has_connections: bool,
}

/// One of the tables.
pub struct Table {
    pub caption: &'static str,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    pub has_actions: bool,
}

/// A column, by which the table can be sorted.
pub struct Column {
    pub title: &'static str,
    /// The query that sorts by it, or the other way round if it does already.
    pub query: String,
    /// For `aria-sort`.
    pub sorted: &'static str,
}

/// A row.
pub struct Row {
    pub cells: Vec<Cell>,
    pub actions: Vec<Action>,
}

/// A cell, and what it is sorted by.
#[derive(Clone)]
pub struct Cell {
    pub text: String,
    pub number: Option<u64>,
}

/// A button.
pub struct Action {
    pub label: &'static str,
    /// What it is about, for those who do not see the row.
    pub about: String,
    pub order: &'static str,
    /// A server's name, or a connection's number.
    pub target: String,
}

fn text_cell(text: &str) -> Cell {
    Cell { text: text.to_owned(), number: None }
}

fn number_cell(number: u64) -> Cell {
    Cell { text: number.to_string(), number: Some(number) }
}

fn show(visit: &Visit) -> Result<Response, Trouble> {
    let status = Status::of(&visit.manage.ledger.snapshot(), Some(visit.profile));
    let sort = Sort::of(visit);
    let can_act = visit.who.role >= Role::Operate;
    let language = visit.language;
    let mut tables =
        vec![connections(&status, language, &sort), servers(&status, language, &sort), paths(&status, language, &sort)];
    for table in &mut tables {
        table.has_actions = can_act && table.rows.iter().any(|row| !row.actions.is_empty());
    }
    let failures = status.failures.iter();
    let failures = failures.map(|it| (it.number, it.code.map_or("?", |code| code.name()), it.count)).collect();
    let page = StatusPage {
        layout: visit.layout("status"),
        has_connections: !status.connections.is_empty(),
        here: sort.query(),
        tables,
        failures,
        can_act,
    };
    Ok(Response::page(200, &page))
}

fn connections(status: &Status, language: Language, sort: &Sort) -> Table {
    let say = |text: &Text| language.say(text);
    let rows = status.connections.iter().map(|connection| {
        let now = &connection.now;
        let idle = match (now.state, connection.idle_timeout) {
            (ConnectionState::Idle, Some(limit)) => format!("{} / {}", span(now.since_ms), span_of(limit)),
            _ => span(now.since_ms),
        };
        let state = match now.state {
            ConnectionState::Idle => say(text::FREE),
            ConnectionState::Busy => say(text::IN_USE),
            ConnectionState::Opening | ConnectionState::None => say(text::OPENING),
        };
        let action = |label, order| Action {
            label: say(label),
            about: format!("{} {}", say(text::CONNECTION), now.seat),
            order,
            target: format!("{} {}", now.seat, now.mark),
        };
        let interrupt = (now.state == ConnectionState::Busy).then(|| action(text::INTERRUPT, "interrupt"));
        Row {
            cells: vec![
                number_cell(now.seat.into()),
                number_cell(now.worker.into()),
                text_cell(&connection.server),
                if now.process == 0 { text_cell("-") } else { number_cell(now.process) },
                text_cell(state),
                Cell { text: idle, number: Some(now.since_ms) },
                Cell { text: span(now.age_ms), number: Some(now.age_ms) },
                number_cell(now.calls),
            ],
            actions: interrupt.into_iter().chain([action(text::CLOSE, "close-connection")]).collect(),
        }
    });
    let columns = [
        text::NUMBER,
        text::GATEWAY_PID,
        text::SERVER,
        text::IRIS_PID,
        text::STATUS,
        text::IDLE_TIME,
        text::AGE,
        text::ACTIVITY,
    ];
    sort.table("connections", say(text::CONNECTIONS_CAPTION), language, &columns, rows.collect())
}

fn servers(status: &Status, language: Language, sort: &Sort) -> Table {
    let say = |text: &Text| language.say(text);
    let milliseconds = |part| status_time(part);
    let rows = status.servers.iter().map(|server| {
        let now = &server.now;
        let action = |(label, order): (&Text, &'static str)| Action {
            label: say(label),
            about: now.name.clone(),
            order,
            target: now.name.clone(),
        };
        let (health, age) = (server.health, server.state());
        Row {
            cells: vec![
                number_cell(now.row as u64),
                text_cell(&now.name),
                text_cell(age),
                text_cell(health),
                number_cell(now.open as u64),
                number_cell(now.busy as u64),
                number_cell(now.requests),
                number_cell(now.queued.into()),
                milliseconds(server.latency(0.5)),
                milliseconds(server.latency(0.95)),
            ],
            actions: orders(server).into_iter().map(action).collect(),
        }
    });
    let columns = [
        text::NUMBER,
        text::SERVER,
        text::STATUS,
        text::HEALTH,
        text::TOTAL_CONNECTIONS,
        text::CONNECTIONS_IN_USE,
        text::TOTAL_ACTIVITY,
        text::QUEUED_REQUESTS,
        text::MEDIAN_TIME,
        text::SLOW_TIME,
    ];
    sort.table("servers", say(text::SERVERS_STATUS_CAPTION), language, &columns, rows.collect())
}

/// The buttons of a server: those that would change something.
fn orders(server: &ServerStatus) -> Vec<(&'static Text, &'static str)> {
    let wishes: &[(&'static Text, &'static str)] = match server.wish {
        Wish::Enabled => &[(text::DRAIN, "drain"), (text::DISABLE, "disable")],
        Wish::Draining => &[(text::ENABLE, "enable"), (text::DISABLE, "disable")],
        Wish::Disabled => &[(text::ENABLE, "enable"), (text::DRAIN, "drain")],
    };
    let online = (server.health != "up").then_some((text::MARK_ONLINE, "online"));
    let close = (server.now.open > 0).then_some((text::CLOSE_CONNECTIONS, "close-server"));
    online.into_iter().chain(wishes.iter().copied()).chain(close).collect()
}

fn paths(status: &Status, language: Language, sort: &Sort) -> Table {
    let say = |text: &Text| language.say(text);
    let rows = status.paths.iter().enumerate().map(|(number, path)| {
        let state = match path.state {
            PathState::Enabled => say(text::ENABLED),
            PathState::Disabled => say(text::DISABLED),
            PathState::Offline => say(text::OFFLINE),
        };
        let state = if path.is_current { format!("{state} ({})", say(text::CURRENT)) } else { state.to_owned() };
        let online = (path.state == PathState::Offline).then(|| Action {
            label: say(text::MARK_ONLINE),
            about: path.server.clone(),
            order: "online",
            target: path.server.clone(),
        });
        Row {
            cells: vec![
                number_cell(number as u64),
                text_cell(&path.path),
                text_cell(if path.server.is_empty() { "-" } else { &path.server }),
                number_cell(path.requests),
                text_cell(&state),
            ],
            actions: online.into_iter().collect(),
        }
    });
    let columns = [text::NUMBER, text::PATH, text::SERVER, text::ACTIVITY, text::STATUS];
    sort.table("paths", say(text::PATHS_CAPTION), language, &columns, rows.collect())
}

fn span_of(time: std::time::Duration) -> String {
    span(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn status_time(milliseconds: Option<f64>) -> Cell {
    match milliseconds {
        None => text_cell("-"),
        Some(time) => Cell { text: format!("{time:.1}"), number: Some((time * 1e3) as u64) },
    }
}

/// By which column which table is sorted: `sort=servers.4`, and `sort=-servers.4` for the largest first.
struct Sort {
    table: String,
    column: usize,
    down: bool,
}

impl Sort {
    fn of(visit: &Visit) -> Sort {
        let word = visit.request.query_value("sort").unwrap_or_default();
        let down = word.starts_with('-');
        let (table, column) = word.trim_start_matches('-').split_once('.').unwrap_or_default();
        // Only what has been read goes back into the page.
        let table = ["connections", "servers", "paths"].into_iter().find(|known| *known == table).unwrap_or_default();
        Sort { table: table.to_owned(), column: column.parse().unwrap_or(0), down }
    }

    fn query(&self) -> String {
        match self.table.is_empty() {
            true => "?page=status".to_owned(),
            false => Sort::query_of(&self.table, self.column, self.down),
        }
    }

    fn query_of(table: &str, column: usize, down: bool) -> String {
        format!("?page=status&sort={}{table}.{column}", if down { "-" } else { "" })
    }

    fn table(
        &self,
        name: &'static str,
        caption: &'static str,
        language: Language,
        columns: &[&Text],
        mut rows: Vec<Row>,
    ) -> Table {
        let is_mine = self.table == name && self.column < columns.len();
        if is_mine {
            let key = |row: &Row| {
                let cell = &row.cells[self.column];
                // What has no number comes before what has one.
                (cell.number, cell.number.is_none().then(|| cell.text.to_lowercase()))
            };
            rows.sort_by_key(key);
            if self.down {
                rows.reverse();
            }
        }
        let column = |(number, title): (usize, &&Text)| {
            let sorted = is_mine && self.column == number;
            Column {
                title: language.say(title),
                query: Sort::query_of(name, number, sorted && !self.down),
                sorted: match (sorted, self.down) {
                    (false, _) => "",
                    (true, false) => "ascending",
                    (true, true) => "descending",
                },
            }
        };
        Table { caption, columns: columns.iter().enumerate().map(column).collect(), rows, has_actions: false }
    }
}

fn act(visit: &Visit) -> Result<Response, Trouble> {
    visit.require(Role::Operate)?;
    let target = visit.form.get("target").unwrap_or_default();
    let marked = || -> Option<Which> {
        let (number, mark) = target.split_once(' ')?;
        Some(Which::Marked(number.parse().ok()?, mark.parse().ok()?))
    };
    let done = match visit.form.get("do").unwrap_or_default() {
        "close-all" => close(visit, &Which::All, false)?,
        "close-server" => close(visit, &Which::Server(target.to_owned()), false)?,
        "close-connection" => close(visit, &marked().ok_or(Trouble::NotFound)?, false)?,
        "interrupt" => close(visit, &marked().ok_or(Trouble::NotFound)?, true)?,
        word => order(visit, target, Order::of(word).ok_or(Trouble::NotFound)?)?,
    };
    let here = visit.form.get("here").filter(|here| here.starts_with("?page=status&sort=") && is_plain(here));
    Ok(Response::go_to(&format!("{}&done={done}", here.unwrap_or("?page=status"))))
}

fn is_plain(query: &str) -> bool {
    query.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"?=&.-".contains(&byte))
}

fn close(visit: &Visit, which: &Which, interrupt: bool) -> Result<&'static str, Trouble> {
    close_them(visit, which, interrupt).map(|_| "closing")
}

fn close_them(visit: &Visit, which: &Which, interrupt: bool) -> Result<command::Asked, Trouble> {
    let asked = command::close(&visit.manage.ledger, which, interrupt);
    if asked == command::Asked::default() {
        match which {
            Which::All => {}
            Which::Server(_) | Which::Number(_) => return Err(Trouble::NotFound),
            Which::Marked(number, _) => {
                return Err(Trouble::Conflict(text::GONE_ON.with(visit.language, &[&number.to_string()])));
            }
        }
    }
    let how = if interrupt { "interrupts" } else { "closes" };
    let what = match which {
        Which::All => "all connections".to_owned(),
        Which::Server(name) => format!("the connections to server {name}"),
        Which::Number(number) | Which::Marked(number, _) => format!("connection {number}"),
    };
    visit.audit(&format!("{how} {what}: {} idle, {} busy", asked.idle, asked.busy));
    Ok(asked)
}

fn order(visit: &Visit, server: &str, order: Order) -> Result<&'static str, Trouble> {
    match command::order(&visit.manage.ledger, server, order) {
        false => Err(Trouble::NotFound),
        true => {
            visit.audit(&format!("orders server {server}: {}", order.word()));
            Ok("ordered")
        }
    }
}

/// The same for programs.
pub fn call(visit: &Visit) -> Result<Value, Trouble> {
    Ok(Status::of(&visit.manage.ledger.snapshot(), Some(visit.profile)).to_json())
}

/// Closes connections: `{"all": true}`, `{"server": "LOCAL"}` or `{"connection": 3}`, the last one also with its `"mark"`,
/// and `"interrupt": true`.
pub fn call_close(visit: &Visit) -> Result<Value, Trouble> {
    let sent = visit.sent()?;
    let number = sent["connection"].as_u64().and_then(|number| u32::try_from(number).ok());
    let which = match (sent["all"].as_bool(), sent["server"].as_str(), number) {
        (Some(true), None, None) => Which::All,
        (None | Some(false), Some(server), None) => Which::Server(server.to_owned()),
        (None | Some(false), None, Some(number)) => match sent.get("mark").map(|mark| mark.as_str().map(str::parse)) {
            None => Which::Number(number),
            Some(Some(Ok(mark))) => Which::Marked(number, mark),
            Some(None | Some(Err(()))) => {
                return Err(Trouble::Wrong("mark: send the one that status gives".to_owned()));
            }
        },
        _ => return Err(Trouble::Wrong("send one of all, server and connection".to_owned())),
    };
    let asked = close_them(visit, &which, sent["interrupt"].as_bool().unwrap_or(false))?;
    Ok(json!({ "idle": asked.idle, "busy": asked.busy }))
}

/// Orders something of a server: `{"server": "LOCAL", "do": "drain"}`.
pub fn call_order(visit: &Visit) -> Result<Value, Trouble> {
    let sent = visit.sent()?;
    let server = sent["server"].as_str().ok_or_else(|| Trouble::Wrong("server: name one".to_owned()))?;
    let word = sent["do"].as_str().and_then(Order::of);
    let word = word.ok_or_else(|| Trouble::Wrong("do: send enable, disable, drain or online".to_owned()))?;
    order(visit, server, word)?;
    Ok(json!({ "server": server, "done": word.word() }))
}
