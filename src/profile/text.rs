//! The file as text: lines, sections, keys and values, each with its line number.
//!
//! Every line is kept in order and as it was, so that an editor can change one line and leave the rest alone.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::file::{ReadError, read_bounded};
use super::finding::{Finding, Origin, Severity};
use crate::failure::Code;

/// The largest CSP.ini that is read, in bytes. Real ones have a few thousand.
pub const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// The most lines a CSP.ini may have.
pub const MOST_LINES: usize = 262_144;

/// A file cut into lines and sections. Its bytes wipe themselves when dropped, for the passwords among them.
pub struct Text {
    file: Arc<Path>,
    bytes: Zeroizing<Vec<u8>>,
    lines: Vec<Line>,
    sections: Vec<Section>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Where its bytes stand in the file, without the line end.
    pub raw: Range<usize>,
    /// What it is.
    pub kind: LineKind,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// Nothing but white space.
    Blank,
    /// Its first character is `#` or `;`.
    Comment,
    /// `[NAME]`.
    Section,
    /// `key=value`.
    Entry,
    /// Anything else. Kept, and without effect.
    Stray,
}

/// A section: all its lines, even if its header stands in the file several times.
#[derive(Clone, Debug)]
pub struct Section {
    /// The name without brackets, as first spelt.
    pub name: String,
    /// The line of its first header, from 1.
    pub line: u32,
    /// Its entries in the order of the file, without those that a later line replaces.
    pub entries: Vec<Entry>,
    index: HashMap<String, usize>,
}

/// `key=value`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key, without white space around it.
    pub key: String,
    /// The line, from 1.
    pub line: u32,
    value: Range<usize>,
}

impl Text {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// The one finding about a file that is absent, unreadable, not a regular file or larger than [`LARGEST_FILE`],
    /// or whose content [`Text::parse`] refuses.
    pub fn read(path: &Path) -> Result<(Text, Vec<Finding>), Vec<Finding>> {
        let file: Arc<Path> = path.into();
        let bytes = read_bounded(path, LARGEST_FILE).map_err(|error| {
            let (code, remedy) = match &error {
                ReadError::Io(_) => (Code::ConfigurationUnreadable, Code::ConfigurationUnreadable.remedy()),
                ReadError::NotAFile => (Code::ConfigurationUnreadable, "Name the file CSP.ini itself."),
                ReadError::TooLarge(_) => (Code::ConfigurationInvalid, "Is this the right file?"),
            };
            let remedy = remedy.trim_end_matches('.');
            vec![Finding::about_file(Severity::Error, Some(code), &file, error.to_string(), remedy)]
        })?;
        Text::parse(file, bytes)
    }

    /// Cuts `bytes` into lines. Returns what is odd about them too: stray lines, doubled keys and sections, entries
    /// before the first section, bytes that are not UTF-8.
    ///
    /// # Errors
    ///
    /// The one finding about content that is not a text of lines: empty, UTF-16, with control bytes, or with too many lines.
    pub fn parse(file: Arc<Path>, bytes: Zeroizing<Vec<u8>>) -> Result<(Text, Vec<Finding>), Vec<Finding>> {
        let refuse = |message: String, remedy: &str| {
            Err(vec![Finding::about_file(Severity::Error, Some(Code::ConfigurationInvalid), &file, message, remedy)])
        };
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return refuse("is in UTF-16".into(), "save it as UTF-8");
        }
        if let Some(control) = bytes.iter().position(|&byte| !may_stand_in_text(byte)) {
            let line = 1 + bytes[..control].iter().filter(|&&byte| byte == b'\n').count();
            let message = format!("is not a text: line {line} holds the control byte {:#04x}", bytes[control]);
            return refuse(message, "restore the file");
        }
        if bytes.iter().filter(|&&byte| byte == b'\n').count() >= MOST_LINES {
            return refuse(format!("has more than {MOST_LINES} lines"), "is this the right file?");
        }
        if bytes.trim_ascii().is_empty() {
            return refuse(
                "is empty".into(),
                "restore the file; one that is not there at all is made at the web server's start",
            );
        }
        let mut cutter = Cutter::new(Text { file, bytes, lines: Vec::new(), sections: Vec::new() });
        cutter.cut();
        Ok((cutter.text, cutter.findings))
    }

    /// The file, as it was named.
    pub fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// All lines in order.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// A line's bytes, without the line end.
    pub fn raw(&self, line: &Line) -> &[u8] {
        &self.bytes[line.raw.clone()]
    }

    /// All sections, in the order of their first headers.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// An entry's value, without white space around it.
    pub fn value(&self, entry: &Entry) -> Cow<'_, str> {
        decode(&self.bytes[entry.value.clone()])
    }

    /// Where an entry stands.
    pub fn origin(&self, section: &Section, entry: &Entry) -> Origin {
        Origin {
            file: self.file.clone(),
            line: Some(entry.line),
            section: section.name.clone(),
            key: entry.key.clone(),
        }
    }

    /// Where a section begins.
    pub fn section_origin(&self, section: &Section) -> Origin {
        Origin { file: self.file.clone(), line: Some(section.line), section: section.name.clone(), key: String::new() }
    }
}

impl Section {
    /// The entry of this key; the case of letters counts only among application paths.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.index.get(&fold_key(&self.name, key)).map(|&position| &self.entries[position])
    }
}

/// Walks through the bytes once, filling a [`Text`].
struct Cutter {
    text: Text,
    findings: Vec<Finding>,
    by_name: HashMap<String, usize>,
    current: Option<usize>,
    undecodable: bool,
}

impl Cutter {
    fn new(text: Text) -> Cutter {
        Cutter { text, findings: Vec::new(), by_name: HashMap::new(), current: None, undecodable: false }
    }

    fn cut(&mut self) {
        let length = self.text.bytes.len();
        let mut start = if self.text.bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        while start < length {
            let rest = &self.text.bytes[start..];
            let end = rest.iter().position(|&byte| byte == b'\n').map_or(length, |offset| start + offset);
            let without_cr = if end > start && self.text.bytes[end - 1] == b'\r' { end - 1 } else { end };
            let kind = self.line(start..without_cr);
            self.text.lines.push(Line { raw: start..without_cr, kind });
            start = end + 1;
        }
    }

    fn line(&mut self, raw: Range<usize>) -> LineKind {
        let number = self.text.lines.len() as u32 + 1;
        if !self.undecodable && std::str::from_utf8(&self.text.bytes[raw.clone()]).is_err() {
            self.undecodable = true;
            self.about(Severity::Warning, number, "is not UTF-8 and is read as Latin-1", "save the file as UTF-8");
        }
        match Piece::of(&self.text.bytes, raw) {
            Piece::Blank => LineKind::Blank,
            Piece::Comment => LineKind::Comment,
            Piece::Section { name, closed, more } => self.section(number, name, closed, more),
            Piece::Entry { key, value } => self.entry(number, key, value),
            Piece::Stray => {
                // The text of a stray line is not shown: it may be a piece of a password.
                self.about(Severity::Notice, number, "the line is neither key=value nor [SECTION], and is ignored", "");
                LineKind::Stray
            }
        }
    }

    fn section(&mut self, number: u32, name: Range<usize>, closed: bool, more: bool) -> LineKind {
        if !closed {
            self.about(Severity::Warning, number, "the section's closing ] is missing", "add it");
        } else if more {
            self.about(Severity::Warning, number, "what follows the section's ] is ignored", "remove it");
        }
        let name = decode(&self.text.bytes[name]).into_owned();
        let folded = fold_section(&name);
        let position = match self.by_name.get(&folded) {
            Some(&position) => {
                let first = self.text.sections[position].line;
                let message = format!("section [{name}] stands here again, after line {first}; both count as one");
                self.about(Severity::Warning, number, message, "join them");
                position
            }
            None => {
                let position = self.text.sections.len();
                self.text.sections.push(Section { name, line: number, entries: Vec::new(), index: HashMap::new() });
                self.by_name.insert(folded, position);
                position
            }
        };
        self.current = Some(position);
        LineKind::Section
    }

    fn entry(&mut self, number: u32, key: Range<usize>, value: Range<usize>) -> LineKind {
        let key = decode(&self.text.bytes[key]).into_owned();
        let Some(position) = self.current else {
            let message = format!("{key} stands before the first [SECTION], and is ignored");
            self.about(Severity::Warning, number, message, "move it into its section");
            return LineKind::Stray;
        };
        if key.is_empty() {
            self.about(Severity::Notice, number, "nothing stands before the =, the line is ignored", "");
            return LineKind::Stray;
        }
        let section = &mut self.text.sections[position];
        let folded = fold_key(&section.name, &key);
        let entry = Entry { key, line: number, value };
        match section.index.get(&folded) {
            None => {
                section.index.insert(folded, section.entries.len());
                section.entries.push(entry);
            }
            Some(&earlier) => {
                let replaced = std::mem::replace(&mut section.entries[earlier], entry.clone());
                let origin = self.text.origin(&self.text.sections[position], &entry);
                let message = format!("replaces the value of line {}", replaced.line);
                self.findings.push(Finding::at(Severity::Warning, None, &origin, message, "remove one of the two"));
            }
        }
        LineKind::Entry
    }

    fn about(&mut self, severity: Severity, line: u32, message: impl Into<String>, remedy: &str) {
        let finding = Finding::about_file(severity, None, &self.text.file, message, remedy);
        self.findings.push(Finding { line: Some(line), ..finding });
    }
}

/// The parts of a line, as ranges of the file's bytes without white space around them.
pub(super) enum Piece {
    Blank,
    Comment,
    /// `[name]`; without `]` the name goes to the end of the line. `more`: something follows the `]`.
    Section {
        name: Range<usize>,
        closed: bool,
        more: bool,
    },
    /// `key=value`; the first `=` splits. Either may be empty.
    Entry {
        key: Range<usize>,
        value: Range<usize>,
    },
    Stray,
}

impl Piece {
    /// Takes the line at `line` apart; it has no line end.
    pub(super) fn of(bytes: &[u8], line: Range<usize>) -> Piece {
        let line = trim(bytes, line);
        match bytes[line.clone()].first() {
            None => Piece::Blank,
            Some(b'#' | b';') => Piece::Comment,
            Some(b'[') => {
                let inside = line.start + 1..line.end;
                let close = bytes[inside.clone()].iter().position(|&byte| byte == b']');
                let end = close.map_or(inside.end, |offset| inside.start + offset);
                let name = trim(bytes, inside.start..end);
                Piece::Section { name, closed: close.is_some(), more: close.is_some() && end + 1 < inside.end }
            }
            Some(_) => match bytes[line.clone()].iter().position(|&byte| byte == b'=') {
                None => Piece::Stray,
                Some(offset) => {
                    let equals = line.start + offset;
                    Piece::Entry { key: trim(bytes, line.start..equals), value: trim(bytes, equals + 1..line.end) }
                }
            },
        }
    }
}

/// Tabs and line ends may, and the end mark (Ctrl-Z) that old editors leave; of no other control byte would a text have any.
fn may_stand_in_text(byte: u8) -> bool {
    byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1a)
}

/// Section names are compared without regard to case, but for the path in `APP_PATH:/path`.
pub(super) fn fold_section(name: &str) -> String {
    const APPLICATION: &str = "APP_PATH:";
    match name.get(..APPLICATION.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(APPLICATION) => {
            format!("{APPLICATION}{}", name[APPLICATION.len()..].trim())
        }
        _ => name.to_ascii_lowercase(),
    }
}

/// Keys are compared without regard to case, but for the paths that are keys in `[APP_PATH_INDEX]`.
pub(super) fn fold_key(section: &str, key: &str) -> String {
    if section.eq_ignore_ascii_case("APP_PATH_INDEX") { key.to_owned() } else { key.to_ascii_lowercase() }
}

/// The part of `range` that is left without white space at either end.
fn trim(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let slice = &bytes[range.clone()];
    let start = range.start + (slice.len() - slice.trim_ascii_start().len());
    let end = start + slice.trim_ascii().len();
    start..end
}

/// UTF-8, or else Latin-1, which gives every byte a character.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|&byte| char::from(byte)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content: &[u8]) -> Result<(Text, Vec<Finding>), Vec<Finding>> {
        Text::parse(Path::new("CSP.ini").into(), Zeroizing::new(content.to_vec()))
    }

    fn value(text: &Text, section: &str, key: &str) -> Option<String> {
        let section = text.sections().iter().find(|candidate| candidate.name == section)?;
        section.entry(key).map(|entry| text.value(entry).into_owned())
    }

    #[test]
    fn lines_end_in_lf_or_crlf_and_the_first_equals_sign_splits() {
        for content in ["[A]\nk=v=w\n\n# c\n;c\nl = x y \n", "[A]\r\nk=v=w\r\n\r\n# c\r\n;c\r\nl = x y \r\n"] {
            let (text, findings) = parse(content.as_bytes()).unwrap();
            assert_eq!(findings, []);
            assert_eq!(value(&text, "A", "K").as_deref(), Some("v=w"));
            assert_eq!(value(&text, "A", "l").as_deref(), Some("x y"));
            let kinds: Vec<LineKind> = text.lines().iter().map(|line| line.kind).collect();
            use LineKind::*;
            assert_eq!(kinds, [Section, Entry, Blank, Comment, Comment, Entry]);
            assert_eq!(text.raw(&text.lines()[1]), b"k=v=w");
        }
    }

    #[test]
    fn odd_lines_are_tolerated_and_reported_with_their_line() {
        for (content, expected) in [
            ("k=v\n[A]\n", "CSP.ini:1: k stands before"),
            ("[A\nk=v\n", "CSP.ini:1: the section's closing ]"),
            ("[A] x\nk=v\n", "CSP.ini:1: what follows"),
            ("[A]\n48@\nk=v\n", "CSP.ini:2: the line is neither"),
            ("[A]\nk=v\n=w\n", "CSP.ini:3: nothing stands before"),
            ("[A]\nk=u\nK=v\n", "CSP.ini:3: [A] K: replaces the value of line 2"),
            ("[A]\n[B]\n[a]\nk=v\n", "CSP.ini:3: section [a] stands here again, after line 1"),
        ] {
            let (text, findings) = parse(content.as_bytes()).unwrap();
            assert_eq!(findings.len(), 1, "{content}");
            assert!(findings[0].to_string().starts_with(expected), "{}", findings[0]);
            if content != "k=v\n[A]\n" {
                assert_eq!(value(&text, "A", "k").as_deref(), Some("v"), "{content}");
            }
        }
    }

    #[test]
    fn application_paths_keep_their_case() {
        let (text, findings) = parse(b"[APP_PATH_INDEX]\n/a=x\n/A=y\n[APP_PATH:/a]\n[app_path:/A]\n").unwrap();
        assert_eq!(findings, []);
        assert_eq!(value(&text, "APP_PATH_INDEX", "/a").as_deref(), Some("x"));
        assert_eq!(text.sections().len(), 3);
    }

    #[test]
    fn latin_1_and_a_byte_order_mark_are_read() {
        let (text, findings) = parse(b"\xef\xbb\xbf[A]\nk=\xfc\n").unwrap();
        assert_eq!(findings.len(), 1);
        assert_eq!(value(&text, "A", "k").as_deref(), Some("\u{fc}"));
    }

    #[test]
    fn what_is_not_a_text_of_lines_is_refused() {
        let many = "\n".repeat(MOST_LINES);
        for (content, expected) in [
            (&b""[..], "is empty"),
            (b" \n\n", "is empty"),
            (b"[A]\nk=\0", "line 2 holds the control byte 0x00"),
            (b"[A]\n\x7fELF\x02\x01", "line 2 holds the control byte 0x02"),
            (b"\xff\xfe[\0", "is in UTF-16"),
            (many.as_bytes(), "has more than"),
        ] {
            let finding = parse(content).err().unwrap().remove(0);
            assert_eq!(finding.severity, Severity::Error);
            assert!(finding.to_string().contains(expected), "{finding}");
        }
    }

    #[test]
    fn a_huge_file_a_directory_and_an_absent_file_are_refused_without_reading_them() {
        let directory = tempfile::tempdir().unwrap();
        let huge = directory.path().join("CSP.ini");
        std::fs::File::create(&huge).unwrap().set_len(100 * 1024 * 1024).unwrap();
        for (path, expected) in [
            (huge.as_path(), "is larger than"),
            (directory.path(), "is not a regular file"),
            (Path::new("/nonexistent/CSP.ini"), "cannot be read: No such file"),
        ] {
            let finding = Text::read(path).err().unwrap().remove(0);
            assert!(finding.to_string().contains(expected), "{finding}");
            assert!(finding.to_string().starts_with(&path.display().to_string()), "{finding}");
        }
    }
}
