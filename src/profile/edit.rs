//! Changing a CSP.ini without losing a byte: an edit touches the lines it is about and no other.
//!
//! Comments, order, spelling, spacing, line ends, doubled and unknown keys, and whatever is not understood stay as they
//! are, in files that the reader would refuse too.

use std::fmt;
use std::ops::Range;

use zeroize::Zeroizing;

use super::text::{Piece, decode, fold_key, fold_section};

/// The bytes of a file, open to edits. They wipe themselves, for the passwords among them.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    bytes: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.bytes.len())
    }
}

/// What an edit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Everything was as wanted already.
    Nothing,
    /// A line got another value.
    Replaced,
    /// A line was added, and its section if need be.
    Added,
    /// Lines were removed.
    Removed,
}

/// Why an edit is not possible. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// A section name that is empty, or holds `]` or a control character, or has white space at an end.
    Section,
    /// A key that is empty, holds `=` or a control character, begins with `[`, `#` or `;`, or has white space at an end.
    Key,
    /// A value that holds a line break or a control character, or has white space at an end.
    Value,
    /// The file is in UTF-16.
    Utf16,
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EditError::Section => {
                "the section's name cannot be written: it is empty, or holds a ], a control character, or white space at an end"
            }
            EditError::Key => {
                "the key cannot be written: it is empty, holds a = or a control character, begins with [, # or ;, \
                 or has white space at an end"
            }
            EditError::Value => {
                "the value cannot be written: it holds a line break or a control character, or white space at an end"
            }
            EditError::Utf16 => "the file is in UTF-16; save it as UTF-8 first",
        })
    }
}

/// One line of the bytes: its content, and where its line end ends.
#[derive(Clone)]
struct Line {
    content: Range<usize>,
    end: usize,
}

impl Document {
    /// Any bytes at all.
    pub fn new(bytes: impl Into<Zeroizing<Vec<u8>>>) -> Document {
        Document { bytes: bytes.into() }
    }

    /// The bytes as they are now.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The value of a key: the one that counts, if there are several.
    pub fn get(&self, section: &str, key: &str) -> Option<Zeroizing<String>> {
        let (_, value) = self.entries(section, key).pop()?;
        Some(Zeroizing::new(decode(&self.bytes[value]).into_owned()))
    }

    /// Every key of every section with its value, in the order of the file.
    pub fn entries_of_all(&self) -> Vec<(String, String, Zeroizing<String>)> {
        let mut all = Vec::new();
        let mut current: Option<String> = None;
        for line in self.lines() {
            match Piece::of(&self.bytes, line.content) {
                Piece::Section { name, .. } => current = Some(decode(&self.bytes[name]).into_owned()),
                Piece::Entry { key, value } if !key.is_empty() => {
                    if let Some(section) = &current {
                        let key = decode(&self.bytes[key]).into_owned();
                        all.push((section.clone(), key, Zeroizing::new(decode(&self.bytes[value]).into_owned())));
                    }
                }
                _ => {}
            }
        }
        all
    }

    /// Sets a value. Of a key that stands several times the last is changed, since that one counts. A new key is added
    /// after the section's last entry, a new section at the end of the file.
    ///
    /// # Errors
    ///
    /// The name, key or value cannot stand in the file as it is.
    pub fn set(&mut self, section: &str, key: &str, value: &str) -> Result<Change, EditError> {
        self.check_writable()?;
        check_section(section)?;
        check_key(key)?;
        check_value(value)?;
        if let Some((_, range)) = self.entries(section, key).pop() {
            if self.bytes[range.clone()] == *value.as_bytes() || decode(&self.bytes[range.clone()]) == value {
                return Ok(Change::Nothing);
            }
            self.replace(range, value.as_bytes());
            return Ok(Change::Replaced);
        }
        let end = self.line_end();
        match self.last_line_of(section) {
            Some(line) => self.insert_after(&line, &format!("{key}={value}"), end),
            None => {
                let blank = if self.bytes.is_empty() { "" } else { end };
                let ended = self.bytes.is_empty() || self.bytes.ends_with(b"\n");
                let missing = if ended { "" } else { self.missing_end(end) };
                let text = Zeroizing::new(format!("{missing}{blank}[{section}]{end}{key}={value}{end}"));
                self.replace(self.bytes.len()..self.bytes.len(), text.as_bytes());
            }
        }
        Ok(Change::Added)
    }

    /// Removes a key: every line that gives it, since an older one would count otherwise.
    pub fn unset(&mut self, section: &str, key: &str) -> Result<Change, EditError> {
        self.check_writable()?;
        let lines: Vec<Line> = self.entries(section, key).into_iter().map(|(line, _)| line).collect();
        Ok(self.remove(lines))
    }

    /// Removes a section with all that stands in it, but for comments at its end, which may belong to what follows.
    pub fn remove_section(&mut self, section: &str) -> Result<Change, EditError> {
        self.check_writable()?;
        let lines = self.lines_of(section);
        let mut removed: Vec<Line> = Vec::new();
        let mut between: Vec<Line> = Vec::new();
        for line in lines {
            let header = matches!(Piece::of(&self.bytes, line.content.clone()), Piece::Section { .. });
            if self.is_between(&line) {
                between.push(line);
                continue;
            }
            let before = std::mem::take(&mut between);
            let kept_from = before.iter().position(|line| !self.bytes[line.content.clone()].trim_ascii().is_empty());
            let end = kept_from.filter(|_| header).unwrap_or(before.len());
            removed.extend(before.into_iter().take(end));
            removed.push(line);
        }
        let blank = |line: &Line| self.bytes[line.content.clone()].trim_ascii().is_empty();
        removed.extend(between.into_iter().take_while(blank));
        Ok(self.remove(removed))
    }

    fn check_writable(&self) -> Result<(), EditError> {
        let utf16 = self.bytes.starts_with(b"\xff\xfe") || self.bytes.starts_with(b"\xfe\xff");
        if utf16 { Err(EditError::Utf16) } else { Ok(()) }
    }

    fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut start = if self.bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        while start < self.bytes.len() {
            let newline = self.bytes[start..].iter().position(|&byte| byte == b'\n').map(|offset| start + offset);
            let content_end = newline.unwrap_or(self.bytes.len());
            let carriage = newline.is_some() && content_end > start && self.bytes[content_end - 1] == b'\r';
            let end = newline.map_or(self.bytes.len(), |newline| newline + 1);
            lines.push(Line { content: start..content_end - usize::from(carriage), end });
            start = end;
        }
        lines
    }

    /// The lines of a section, wherever its header stands, headers included.
    fn lines_of(&self, section: &str) -> Vec<Line> {
        let wanted = fold_section(section);
        let mut inside = false;
        let mut lines = self.lines();
        lines.retain(|line| {
            if let Piece::Section { name, .. } = Piece::of(&self.bytes, line.content.clone()) {
                inside = fold_section(&decode(&self.bytes[name])) == wanted;
            }
            inside
        });
        lines
    }

    /// The lines that give a key, and where their values stand.
    fn entries(&self, section: &str, key: &str) -> Vec<(Line, Range<usize>)> {
        let wanted = fold_key(section, key);
        self.lines_of(section)
            .into_iter()
            .filter_map(|line| match Piece::of(&self.bytes, line.content.clone()) {
                Piece::Entry { key, value } if fold_key(section, &decode(&self.bytes[key.clone()])) == wanted => {
                    Some((line, value))
                }
                _ => None,
            })
            .collect()
    }

    /// The last line of a section that is its own for sure: a comment after it may belong to what follows.
    fn last_line_of(&self, section: &str) -> Option<Line> {
        let lines = self.lines_of(section);
        lines.into_iter().rfind(|line| !self.is_between(line))
    }

    /// Whether a line is blank or a comment.
    fn is_between(&self, line: &Line) -> bool {
        matches!(Piece::of(&self.bytes, line.content.clone()), Piece::Blank | Piece::Comment)
    }

    /// The line end that most lines have.
    fn line_end(&self) -> &'static str {
        let lines = self.bytes.iter().filter(|&&byte| byte == b'\n').count();
        let with_carriage = self.bytes.windows(2).filter(|pair| pair == b"\r\n").count();
        if with_carriage * 2 > lines { "\r\n" } else { "\n" }
    }

    /// A file whose last line has no line end keeps that.
    fn insert_after(&mut self, line: &Line, text: &str, end: &'static str) {
        let ended = line.end > line.content.end;
        let text = if ended { format!("{text}{end}") } else { format!("{}{text}", self.missing_end(end)) };
        self.replace(line.end..line.end, Zeroizing::new(text).as_bytes());
    }

    /// The line end that the last line lacks: a carriage return at the very end is half of it.
    fn missing_end(&self, end: &'static str) -> &'static str {
        if self.bytes.ends_with(b"\r") { "\n" } else { end }
    }

    fn remove(&mut self, lines: Vec<Line>) -> Change {
        if lines.is_empty() {
            return Change::Nothing;
        }
        for line in lines.into_iter().rev() {
            self.replace(line.content.start..line.end, b"");
        }
        Change::Removed
    }

    /// Builds the bytes anew, so that no unwiped copy is left behind.
    fn replace(&mut self, range: Range<usize>, new: &[u8]) {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.bytes.len() - range.len() + new.len()));
        bytes.extend_from_slice(&self.bytes[..range.start]);
        bytes.extend_from_slice(new);
        bytes.extend_from_slice(&self.bytes[range.end..]);
        self.bytes = bytes;
    }
}

fn check_section(name: &str) -> Result<(), EditError> {
    let writable =
        !name.is_empty() && name.trim() == name && !name.contains(']') && !name.chars().any(char::is_control);
    if writable { Ok(()) } else { Err(EditError::Section) }
}

fn check_key(key: &str) -> Result<(), EditError> {
    let plain = !key.is_empty() && key.trim() == key && !key.contains('=') && !key.chars().any(char::is_control);
    if plain && !key.starts_with(['[', '#', ';', '\u{feff}']) { Ok(()) } else { Err(EditError::Key) }
}

fn check_value(value: &str) -> Result<(), EditError> {
    let writable = value.trim_ascii() == value && !value.chars().any(|it| it.is_control() && it != '\t');
    if writable { Ok(()) } else { Err(EditError::Value) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(text: &str) -> Document {
        Document::new(text.as_bytes().to_vec())
    }

    fn text(document: &Document) -> &str {
        std::str::from_utf8(document.bytes()).unwrap()
    }

    #[test]
    fn setting_a_value_changes_its_line_alone() {
        for (before, section, key, value, after, change) in [
            ("[A]\nk=1\n", "A", "k", "2", "[A]\nk=2\n", Change::Replaced),
            ("[A]\nk=1\n", "a", "K", "1", "[A]\nk=1\n", Change::Nothing),
            ("[A]\r\n K  =  1 \t\r\nl=2\r\n", "A", "k", "x y", "[A]\r\n K  =  x y \t\r\nl=2\r\n", Change::Replaced),
            ("[A]\nk=\n", "A", "k", "1", "[A]\nk=1\n", Change::Replaced),
            ("[A]\nk=1\n[B]\n[a]\nk=2", "A", "k", "3", "[A]\nk=1\n[B]\n[a]\nk=3", Change::Replaced),
            ("[A]\nk=1\n", "A", "k", "", "[A]\nk=\n", Change::Replaced),
            ("[A]\nk=a=b\n", "A", "k", "c=d", "[A]\nk=c=d\n", Change::Replaced),
            ("[A]\nk=1\n\n[B]\n", "A", "l", "2", "[A]\nk=1\nl=2\n\n[B]\n", Change::Added),
            ("[A]\r\n\r\n[B]\r\n", "A", "l", "2", "[A]\r\nl=2\r\n\r\n[B]\r\n", Change::Added),
            ("[A]\nk=1", "A", "l", "2", "[A]\nk=1\nl=2", Change::Added),
            ("[A]\nk=1\n# of B\n[B]\n", "A", "l", "2", "[A]\nk=1\nl=2\n# of B\n[B]\n", Change::Added),
            ("[A]\nk=1", "B", "l", "2", "[A]\nk=1\n\n[B]\nl=2\n", Change::Added),
            ("", "B", "l", "2", "[B]\nl=2\n", Change::Added),
            ("\u{feff}[A]\nk=1\n", "A", "k", "2", "\u{feff}[A]\nk=2\n", Change::Replaced),
            ("[APP_PATH_INDEX]\n/a=1\n", "app_path_index", "/A", "2", "[APP_PATH_INDEX]\n/a=1\n/A=2\n", Change::Added),
        ] {
            let mut document = document(before);
            assert_eq!(document.set(section, key, value), Ok(change), "{before:?}");
            assert_eq!(text(&document), after);
            assert_eq!(document.get(section, key).as_deref().map(String::as_str), Some(value));
        }
    }

    #[test]
    fn removing_takes_every_line_of_the_key_and_nothing_else() {
        let mut it = document("[A]\nk=1\n# k=2\nK = 3\nl=4\n[a]\nk=5");
        assert_eq!(it.unset("A", "k"), Ok(Change::Removed));
        assert_eq!(text(&it), "[A]\n# k=2\nl=4\n[a]\n");
        assert_eq!(it.unset("A", "k"), Ok(Change::Nothing));
        assert_eq!(it.remove_section("A"), Ok(Change::Removed));
        assert_eq!(text(&it), "");
        let mut it = document("x\n[A]\n# own\nk=1\n\n# of B\n[B]\nl=2\n");
        assert_eq!(it.remove_section("a"), Ok(Change::Removed));
        assert_eq!(text(&it), "x\n# of B\n[B]\nl=2\n");
    }

    #[test]
    fn published_configurations_are_the_same_after_each_value_is_set_to_what_it_is() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let places = [root.join("../shared/fixtures/csp-ini"), root.join("../../shared/fixtures/csp-ini")];
        let Some(directory) = places.iter().find(|place| place.is_dir()) else {
            eprintln!("skipped: no published configurations beside the repository");
            return;
        };
        for file in std::fs::read_dir(directory).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let mut document = Document::new(bytes.clone());
            for (section, key, _) in document.entries_of_all() {
                let value = document.get(&section, &key).unwrap();
                assert_eq!(document.set(&section, &key, &value), Ok(Change::Nothing));
            }
            assert_eq!(document.bytes(), bytes);
        }
    }

    #[test]
    fn what_could_not_be_read_again_is_refused_and_changes_nothing() {
        let before = "[A]\nk=1\n";
        for (section, key, value, error) in [
            ("", "k", "v", EditError::Section),
            ("A]", "k", "v", EditError::Section),
            ("A\n", "k", "v", EditError::Section),
            ("A", "", "v", EditError::Key),
            ("A", "a=b", "v", EditError::Key),
            ("A", "[k", "v", EditError::Key),
            ("A", "#k", "v", EditError::Key),
            ("A", "k ", "v", EditError::Key),
            ("A", "k", "v\nw=1", EditError::Value),
            ("A", "k", "v\r", EditError::Value),
            ("A", "k", " v", EditError::Value),
            ("A", "k", "v\0", EditError::Value),
        ] {
            let mut document = document(before);
            assert_eq!(document.set(section, key, value), Err(error), "{section:?} {key:?}");
            assert_eq!(text(&document), before);
        }
        let mut utf16 = Document::new(b"\xff\xfe[\0".to_vec());
        assert_eq!(utf16.set("A", "k", "v"), Err(EditError::Utf16));
    }

    /// A key's lines may change; all others are the same and in the same order.
    fn others(document: &Document, section: &str, key: &str) -> Vec<Vec<u8>> {
        let own: Vec<Range<usize>> =
            document.entries(section, key).into_iter().map(|(line, _)| line.content.start..line.end).collect();
        let lines = document.lines().into_iter().filter(|line| !own.contains(&(line.content.start..line.end)));
        // A carriage return at the very end of a file belongs to the line end as soon as a line follows.
        let content = |line: Line| document.bytes()[line.content].trim_ascii_end().to_vec();
        lines.map(content).filter(|line| !line.is_empty()).collect()
    }

    proptest! {
        #[test]
        fn any_bytes_stay_as_they_are_until_an_edit_and_it_changes_only_its_line(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                proptest::collection::vec("(\\[(A|B|a|APP_PATH:/x)\\]?|[kK] ?= ?[a-z]{0,3}|l=|#k=1|k|)\r?", 0..12)
                    .prop_map(|lines| lines.join("\n").into_bytes()),
            ],
            value in "[ -~]{0,8}",
        ) {
            let before = Document::new(bytes.clone());
            prop_assert_eq!(before.bytes(), &bytes[..]);
            let mut after = before.clone();
            if after.set("A", "k", &value).is_ok() {
                let found = after.get("A", "k");
                prop_assert_eq!(found.as_deref().map(String::as_str), Some(value.as_str()));
                let mut kept = others(&after, "A", "k");
                // A new section's header is the only other line that may have come.
                if kept.len() > others(&before, "A", "k").len() {
                    prop_assert_eq!(kept.pop(), Some(b"[A]".to_vec()));
                }
                prop_assert_eq!(kept, others(&before, "A", "k"));
            }
            let mut removed = before.clone();
            if removed.unset("A", "k").is_ok() {
                prop_assert_eq!(removed.get("A", "k"), None);
                prop_assert_eq!(others(&removed, "A", "k"), others(&before, "A", "k"));
            }
        }
    }
}
