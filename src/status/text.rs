//! The status for a terminal of 80 columns, without colour.

use std::fmt::{self, Display, Formatter};

use super::{COUNTERS, Status, TALLIES};
use crate::ledger::Tally;
use crate::terminal::wrapped;

/// The width that is kept to.
const WIDTH: usize = 80;
/// The least that is left of a text that has to make room.
const LEAST: usize = 8;

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.ledger {
            writeln!(f, "{}", wrapped(&format!("Ledger: {}", path.display()), "        "))?;
        }
        writeln!(f, "Since: {}", utc(self.since))?;
        writeln!(f, "Requests answered: {}", self.requests())?;
        let pids = self.workers.iter().map(|worker| worker.pid.to_string()).collect::<Vec<_>>().join(" ");
        let workers = match self.workers.len() {
            0 => "Workers: none is running; the numbers are those of the last ones".to_owned(),
            count => format!("Workers: {count} (processes {pids})"),
        };
        writeln!(f, "{}", wrapped(&workers, "  "))?;
        self.servers(f)?;
        self.connections(f)?;
        self.paths(f)?;
        self.events(f)?;
        self.failures(f)
    }
}

impl Status {
    fn servers(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["NAME", "STATE", "HEALTH", "OPEN", "BUSY", "QUEUE", "REQUESTS", "P50", "P95"]);
        table.numbers = &[3, 4, 5, 6, 7, 8];
        let time = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), milliseconds);
        for server in &self.servers {
            table.add([
                server.now.name.clone(),
                server.state().to_owned(),
                server.health.to_owned(),
                server.now.open.to_string(),
                server.now.busy.to_string(),
                server.now.queued.to_string(),
                server.now.requests.to_string(),
                time(server.latency(0.5)),
                time(server.latency(0.95)),
            ]);
        }
        table.print(f, "Servers (answer times in milliseconds, estimated)", "There are none yet.")
    }

    fn connections(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["SERVER", "NUMBER", "WORKER", "PROCESS", "STATE", "FOR", "AGE", "REQUESTS"]);
        table.numbers = &[1, 2, 3, 5, 6, 7];
        for connection in &self.connections {
            let now = &connection.now;
            table.add([
                connection.server.clone(),
                now.seat.to_string(),
                now.worker.to_string(),
                if now.process == 0 { "-".to_owned() } else { now.process.to_string() },
                connection.state().to_owned(),
                span(now.since_ms),
                span(now.age_ms),
                now.calls.to_string(),
            ]);
        }
        table.print(f, "Connections", "There are none.")
    }

    fn paths(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["PATH", "SERVER", "STATE", "REQUESTS"]);
        table.numbers = &[3];
        for path in &self.paths {
            let current = if path.is_current { " (current)" } else { "" };
            table.add([
                path.path.clone(),
                if path.server.is_empty() { "-".to_owned() } else { path.server.clone() },
                format!("{}{current}", path.state.word()),
                path.requests.to_string(),
            ]);
        }
        table.print(f, "Application paths", "There are none.")
    }

    fn events(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nCounters")?;
        let list = |pairs: Vec<(u64, &str)>| {
            let told = pairs.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
            told.collect::<Vec<_>>().join(", ")
        };
        let mut lines = Vec::new();
        for server in &self.servers {
            let counters = COUNTERS.iter().map(|&(counter, _, what)| (server.now.counter(counter), what));
            lines.push((server.now.name.as_str(), list(counters.collect())));
        }
        let rows = TALLIES.iter().filter(|(tally, ..)| *tally != Tally::Management || self.tally(*tally) > 0);
        let tallies = rows.map(|&(tally, _, what)| (self.tally(tally), what));
        lines.push(("gateway", list(tallies.collect())));
        for (whose, told) in lines.iter().filter(|(_, told)| !told.is_empty()) {
            writeln!(f, "{}", wrapped(&format!("{whose}: {told}"), "  "))?;
        }
        Ok(())
    }

    fn failures(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["CODE", "NAME", "COUNT"]);
        table.numbers = &[0, 2];
        for failure in &self.failures {
            let name = failure.code.map_or("(unknown to this release)", |code| code.name());
            table.add([failure.number.to_string(), name.to_owned(), failure.count.to_string()]);
        }
        table.print(f, "Failures", "There have been none.")
    }
}

/// A table whose first column makes room if the others need it.
struct Table {
    columns: &'static [&'static str],
    /// The columns that are aligned to the right.
    numbers: &'static [usize],
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(columns: &'static [&'static str]) -> Table {
        Table { columns, numbers: &[], rows: Vec::new() }
    }

    fn add<const N: usize>(&mut self, row: [String; N]) {
        let plain = |cell: String| cell.chars().map(|it| if it.is_control() { '?' } else { it }).collect();
        self.rows.push(row.into_iter().map(plain).collect());
    }

    fn print(&self, f: &mut Formatter<'_>, title: &str, without: &str) -> fmt::Result {
        writeln!(f, "\n{title}")?;
        if self.rows.is_empty() {
            return writeln!(f, "{without}");
        }
        let length = |text: &str| text.chars().count();
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| length(&row[column]));
            cells.chain([length(self.columns[column])]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        // Whatever is too wide is cut, texts from the left on; numbers never are.
        for column in (0..widths.len()).filter(|column| !self.numbers.contains(column)) {
            let whole = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
            let least = LEAST.max(length(self.columns[column])).min(widths[column]);
            widths[column] -= whole.saturating_sub(WIDTH).min(widths[column] - least);
        }
        let heads = self.columns.iter().map(|head| (*head).to_owned()).collect();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let cell = cut(cell, width);
                match self.numbers.contains(&column) {
                    true => line += &format!("{cell:>width$}  "),
                    false => line += &format!("{cell:<width$}  "),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A text in so many columns; `~` stands for what has been left out.
fn cut(text: &str, width: usize) -> String {
    match text.chars().count() <= width {
        true => text.to_owned(),
        false => text.chars().take(width - 1).chain(['~']).collect(),
    }
}

/// A time span, in the largest units that say enough.
pub fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn milliseconds(time: f64) -> String {
    if time < 10.0 { format!("{time:.1}") } else { format!("{time:.0}") }
}

/// A time, such as `2026-11-25 10:20:30 UTC`.
pub fn utc(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|it| time::OffsetDateTime::from_unix_timestamp(it).ok());
    let Some(time) = time else { return seconds.to_string() };
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = time.to_hms();
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}
