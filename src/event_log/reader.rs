//! Reads the event log back, for pages and tests: from either end, in pages, by level, server, code or request.
//!
//! The file may be huge, and parts of it may not be ours: what one call reads and keeps is bounded, and a line that cannot
//! be taken apart is a record all the same, with its text as it stands.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value;

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Where the line begins in the file.
    pub offset: u64,
    /// UTC, as the line says it; empty if the line is none of ours.
    pub when: String,
    /// `SEVERE`, `WARNING`, `INFO`, `DEBUG`; empty if the line is none of ours.
    pub level: String,
    pub event: String,
    pub process: String,
    pub text: String,
    /// The whole line if it is none of ours.
    pub details: String,
    pub request_id: String,
    pub server: String,
    /// Such as `SCLERA-303`.
    pub code: String,
}

/// Which records are wanted; what is empty does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// This level and what is worse.
    pub level: String,
    pub server: String,
    pub code: String,
    pub request_id: String,
    /// Words that stand anywhere in the line.
    pub words: String,
}

/// From which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest first, as the original's page.
    #[default]
    Ascending,
    Descending,
}

impl Order {
    /// From the other end.
    pub fn reversed(self) -> Order {
        match self {
            Order::Ascending => Order::Descending,
            Order::Descending => Order::Ascending,
        }
    }
}

/// Some records, and where the next ones are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order that was asked for.
    pub records: Vec<Record>,
    /// What to give as `from` for the next page; `None` at the end. There may be more even if this page is empty: only so
    /// much is read for one.
    pub next: Option<u64>,
    /// Bytes of the file.
    pub size: u64,
}

/// How much of the file is read for one page, and kept.
const MOST_READ: u64 = 8 * 1024 * 1024;
const MOST_KEPT: usize = 1024 * 1024;
/// Longer lines are cut.
const LONGEST_LINE: usize = 64 * 1024;
const PIECE: usize = 64 * 1024;

/// Reads a page of at most `most` records. `from`: [`Page::next`] of the page before, or `None` for the first.
///
/// # Errors
///
/// The file cannot be read. One that is not there is empty.
pub fn read(path: &Path, from: Option<u64>, order: Order, filter: &Filter, most: usize) -> io::Result<Page> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Page::default()),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    let mut page = Page { size, ..Page::default() };
    let start = match order {
        Order::Ascending => from.unwrap_or(0),
        Order::Descending => from.unwrap_or(size),
    }
    .min(size);
    let mut lines = Lines { file: &file, size, at: start, order, piece: Vec::new(), piece_at: 0 };
    let mut kept = 0;
    loop {
        let before = lines.at;
        if page.records.len() >= most || kept >= MOST_KEPT || start.abs_diff(before) >= MOST_READ {
            page.next = Some(before);
            return Ok(page);
        }
        let Some((offset, line)) = lines.next()? else { return Ok(page) };
        let record = Record::parse(offset, &line);
        if !line.is_empty() && filter.wants(&record) {
            kept += line.len();
            page.records.push(record);
        }
    }
}

/// Empties the file. Whoever has it open goes on at its beginning.
///
/// # Errors
///
/// The file cannot be written.
pub fn clear(path: &Path) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(path)?.set_len(0)
}

/// Lines one after the other, or one before the other.
struct Lines<'a> {
    file: &'a File,
    size: u64,
    /// Between two lines: what follows, or what precedes, has not been read.
    at: u64,
    order: Order,
    piece: Vec<u8>,
    piece_at: u64,
}

impl Lines<'_> {
    /// The next line, without its line break and cut if it is long, and where it begins.
    fn next(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let (start, end) = match self.order {
            Order::Ascending => {
                if self.at >= self.size {
                    return Ok(None);
                }
                let start = self.at;
                let (end, next) = self.find_forward(start)?;
                self.at = next;
                (start, end)
            }
            Order::Descending => {
                if self.at == 0 {
                    return Ok(None);
                }
                // The line break before `at` ends this line, unless the file ends without one.
                let ends = self.byte(self.at - 1)? == Some(b'\n');
                let end = if ends { self.at - 1 } else { self.at };
                let start = self.find_backward(end)?;
                self.at = start;
                (start, end)
            }
        };
        let length = usize::try_from(end - start).unwrap_or(usize::MAX).min(LONGEST_LINE);
        let mut line = vec![0; length];
        let read = read_at(self.file, &mut line, start)?;
        line.truncate(read);
        Ok(Some((start, line)))
    }

    /// Where the line that begins at `from` ends, and where the next one begins. What has no line break for very long is
    /// cut into lines.
    fn find_forward(&mut self, from: u64) -> io::Result<(u64, u64)> {
        let mut at = from;
        while at < self.size && at - from < MOST_READ {
            self.load(at)?;
            let piece = &self.piece[(at - self.piece_at) as usize..];
            if piece.is_empty() {
                break;
            }
            if let Some(found) = piece.iter().position(|&byte| byte == b'\n') {
                let end = at + found as u64;
                return Ok((end, end + 1));
            }
            at += piece.len() as u64;
        }
        // The file may have shrunk meanwhile.
        Ok(if at - from < MOST_READ { (self.size, self.size) } else { (at, at) })
    }

    /// Where the line that ends before `end` begins, or a piece of it if it is very long.
    fn find_backward(&mut self, end: u64) -> io::Result<u64> {
        let start = end;
        let mut end = end;
        while end > 0 && start - end < MOST_READ {
            if !(self.piece_at < end && end <= self.piece_at + self.piece.len() as u64) {
                self.load_from(end.saturating_sub(PIECE as u64))?;
            }
            let until = (end - self.piece_at).min(self.piece.len() as u64) as usize;
            if until == 0 {
                break;
            }
            if let Some(found) = self.piece[..until].iter().rposition(|&byte| byte == b'\n') {
                return Ok(self.piece_at + found as u64 + 1);
            }
            end = self.piece_at;
        }
        Ok(end)
    }

    fn byte(&mut self, at: u64) -> io::Result<Option<u8>> {
        if !(self.piece_at <= at && at < self.piece_at + self.piece.len() as u64) {
            self.load_from((at + 1).saturating_sub(PIECE as u64))?;
        }
        Ok(self.piece.get((at - self.piece_at) as usize).copied())
    }

    fn load(&mut self, at: u64) -> io::Result<()> {
        match self.piece_at <= at && at < self.piece_at + self.piece.len() as u64 {
            true => Ok(()),
            false => self.load_from(at),
        }
    }

    fn load_from(&mut self, at: u64) -> io::Result<()> {
        self.piece.resize(PIECE, 0);
        self.piece_at = at;
        let read = read_at(self.file, &mut self.piece, at)?;
        self.piece.truncate(read);
        Ok(())
    }
}

/// Reads as much as there is, up to the buffer's length.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

impl Filter {
    /// Whether a record is wanted.
    pub fn wants(&self, record: &Record) -> bool {
        let same = |wanted: &str, is: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(is);
        let level = self.level.is_empty() || weight(&record.level) >= weight(&self.level);
        let words = self.words.is_empty() || {
            let words = self.words.to_lowercase();
            let holds = |text: &str| text.to_lowercase().contains(&words);
            holds(&record.text) || holds(&record.details) || holds(&record.event)
        };
        level
            && same(&self.server, &record.server)
            && same(&self.code, &record.code)
            && (self.request_id.is_empty() || self.request_id == record.request_id)
            && words
    }
}

/// How bad a level is. What is none of ours counts as much as information.
fn weight(level: &str) -> u32 {
    match level.to_ascii_uppercase().as_str() {
        "SEVERE" | "ERROR" | "FATAL" => 3,
        "WARNING" => 2,
        "DEBUG" | "DEBUG2" => 0,
        _ => 1,
    }
}

impl Record {
    /// Takes a line apart, in either form.
    pub fn parse(offset: u64, line: &[u8]) -> Record {
        let text = String::from_utf8_lossy(line);
        let fields = if text.starts_with('{') { json(&text) } else { native(&text) };
        let mut record = Record { offset, ..Record::default() };
        for (name, value) in fields {
            match name.as_str() {
                "when" => record.when = value,
                "level" => record.level = value,
                "event" => record.event = value,
                "pid" => record.process = value,
                "text" => record.text = value,
                "details" => record.details = value,
                "request-id" => record.request_id = value,
                "server" => record.server = value,
                "code" => record.code = value,
                _ => {}
            }
        }
        // A line that was cut in the middle by a full disk has a beginning of ours.
        if record.event.is_empty() {
            return Record { offset, details: text.into_owned(), ..Record::default() };
        }
        record
    }
}

fn json(line: &str) -> Vec<(String, String)> {
    let Ok(Value::Object(object)) = serde_json::from_str(line) else { return Vec::new() };
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    object.into_iter().map(|(name, value)| (name, text(value))).collect()
}

/// `name=value` and `name="value"`, separated by spaces. Stops at what is not of this form.
fn native(line: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = line;
    while let Some((name, after)) = rest.trim_start_matches(' ').split_once('=') {
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !is_name || fields.len() > 32 {
            break;
        }
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find(' ').unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        fields.push((name.to_owned(), value));
        rest = left;
    }
    fields
}

/// A quoted value, and what follows its closing quote.
fn unquoted(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((at, 'x')) => {
                    let byte = quoted.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
                    match byte {
                        Some(byte) => {
                            value.push(char::from(byte));
                            characters.nth(1);
                        }
                        None => value.push_str("\\x"),
                    }
                }
                Some((_, other)) => value.push(other),
                None => break,
            },
            character => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::format::{self, Context, Format};
    use crate::event_log::{Event, Level, kinds};
    use crate::failure::Code;
    use proptest::prelude::*;
    use std::time::SystemTime;

    fn line(format: Format, event: &Event) -> Vec<u8> {
        let context = Context { when: SystemTime::now(), build: "b (x/y)", number: 0, process: 7, thread: 8 };
        let mut out = Vec::new();
        format::write(format, event, &context, &mut out);
        out
    }

    fn file(lines: &[Vec<u8>]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines.concat()).unwrap();
        file
    }

    fn numbered(count: usize) -> tempfile::NamedTempFile {
        let text = |number: usize| number.to_string();
        file(
            &(0..count)
                .map(|it| line(Format::Native, &Event::new(Level::Info, kinds::REQUEST, &text(it))))
                .collect::<Vec<_>>(),
        )
    }

    fn all(path: &Path, order: Order, filter: &Filter, most: usize) -> Vec<Record> {
        let mut records = Vec::new();
        let mut from = None;
        loop {
            let page = read(path, from, order, filter, most).unwrap();
            records.extend(page.records);
            match page.next {
                Some(next) => from = Some(next),
                None => return records,
            }
        }
    }

    #[test]
    fn pages_of_either_order_hold_every_line_once() {
        let file = numbered(1000);
        let numbers = |order, most| -> Vec<usize> {
            all(file.path(), order, &Filter::default(), most)
                .iter()
                .map(|record| record.text.parse().unwrap())
                .collect()
        };
        let expected: Vec<usize> = (0..1000).collect();
        assert_eq!(numbers(Order::Ascending, 7), expected);
        assert_eq!(numbers(Order::Ascending, 5000), expected);
        let reversed: Vec<usize> = expected.into_iter().rev().collect();
        assert_eq!(numbers(Order::Descending, 7), reversed);
        assert_eq!(numbers(Order::Descending, 5000), reversed);
    }

    #[test]
    fn records_are_found_by_level_server_code_request_and_words() {
        let error = Event::new(Level::Error, kinds::ERROR, "connect-refused").details("of \"A\"\nand more");
        let error = error.server("IRIS A").code(Code::ConnectRefused).request("r-1");
        for format in [Format::Native, Format::Json] {
            let file = file(&[
                line(format, &Event::new(Level::Info, kinds::START_UP, "Initialization")),
                b">>> Time: something else\n".to_vec(),
                line(format, &error),
                line(format, &Event::new(Level::Debug, kinds::DATA, "Headers").server("B").request("r-2")),
            ]);
            let count = |filter: Filter| all(file.path(), Order::Ascending, &filter, 10).len();
            let any = Filter::default;
            assert_eq!(count(any()), 4);
            assert_eq!(count(Filter { level: "WARNING".into(), ..any() }), 1);
            assert_eq!(count(Filter { level: "INFO".into(), ..any() }), 3);
            assert_eq!(count(Filter { server: "iris a".into(), ..any() }), 1);
            assert_eq!(count(Filter { code: "SCLERA-201".into(), ..any() }), 1);
            assert_eq!(count(Filter { request_id: "r-2".into(), ..any() }), 1);
            assert_eq!(count(Filter { words: "SOMETHING else".into(), ..any() }), 1);
            let found = all(file.path(), Order::Descending, &Filter { code: "SCLERA-201".into(), ..any() }, 10);
            assert_eq!(found[0].details, "of \"A\"\nand more");
            assert_eq!((found[0].event.as_str(), found[0].process.as_str()), (kinds::ERROR, "7"));
        }
    }

    #[test]
    fn a_huge_file_with_huge_lines_costs_no_more_than_a_small_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // Sparse: 2 GiB without a line break, and a last line.
        file.as_file().set_len(2 << 30).unwrap();
        let last = [b"\n".to_vec(), line(Format::Native, &Event::new(Level::Info, kinds::REQUEST, "last"))].concat();
        file.as_file().write_all_at(&last, 2 << 30).unwrap();
        let page = read(file.path(), None, Order::Descending, &Filter::default(), 1).unwrap();
        assert_eq!(page.records[0].text, "last");
        assert_eq!(page.next, Some((2 << 30) + 1));
        let page = read(file.path(), page.next, Order::Descending, &Filter::default(), 1).unwrap();
        assert_eq!((page.records.len(), page.records[0].details.len()), (1, LONGEST_LINE));
        assert!(page.next.is_some_and(|next| next > (2 << 30) - 2 * MOST_READ), "only so much is looked through");
        let page = read(file.path(), None, Order::Ascending, &Filter::default(), 10).unwrap();
        assert_eq!(page.next, Some(MOST_READ));
    }

    #[test]
    fn no_file_is_an_empty_log_and_a_cleared_one_is_written_on() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("CSP.log");
        assert_eq!(read(&missing, None, Order::Ascending, &Filter::default(), 10).unwrap(), Page::default());
        let file = numbered(3);
        clear(file.path()).unwrap();
        assert_eq!(all(file.path(), Order::Ascending, &Filter::default(), 10), []);
    }

    proptest! {
        #[test]
        fn every_event_is_read_back_as_it_was(details in "\\PC{0,60}|[\\x00-\\x7f]{0,60}", server in "\\PC{0,10}") {
            let event = Event::new(Level::Warning, kinds::GATEWAY, "t").details(&details).server(&server);
            for format in [Format::Native, Format::Json] {
                let line = line(format, &event);
                let record = Record::parse(0, &line[..line.len() - 1]);
                prop_assert_eq!(&record.details, &details);
                prop_assert_eq!(&record.server, &server);
            }
        }

        #[test]
        fn any_bytes_are_records_in_either_order(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let file = file(&[bytes]);
            let up = all(file.path(), Order::Ascending, &Filter::default(), 2);
            let mut down = all(file.path(), Order::Descending, &Filter::default(), 3);
            down.reverse();
            prop_assert_eq!(up, down);
        }
    }
}
