//! The line that a finding is about, to show beside it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::file::read_bounded;
use super::finding::Finding;
use super::parameter::{Kind, Parameter, SectionKind};
use super::text::{LARGEST_FILE, Piece, decode};

/// The lines of files that findings are about. Each file is read once.
#[derive(Default)]
pub struct Quotes {
    files: HashMap<Arc<Path>, Option<Zeroizing<Vec<u8>>>>,
}

/// A line, and the place in it that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The line without its end. Values of passwords, of unknown keys and stray lines, which may be pieces of passwords,
    /// are hidden; so are control characters.
    pub line: String,
    /// The column of the value, or else of what the finding is about, in characters from 1.
    pub column: usize,
}

impl Quotes {
    /// The line that a finding is about; `None` if it is about the file as a whole, or the line is not there any more.
    pub fn of(&mut self, finding: &Finding) -> Option<Quote> {
        let number = finding.line?;
        let read = || read_bounded(&finding.file, LARGEST_FILE).ok();
        let bytes = self.files.entry(finding.file.clone()).or_insert_with(read).as_ref()?;
        let line = bytes.split(|&byte| byte == b'\n').nth(number as usize - 1)?;
        Some(quote(line.strip_suffix(b"\r").unwrap_or(line), finding))
    }
}

fn quote(line: &[u8], finding: &Finding) -> Quote {
    let kind = SectionKind::of(finding.section.as_deref().unwrap_or_default());
    let clean =
        |bytes: &[u8]| decode(bytes).chars().map(|it| if it.is_control() { ' ' } else { it }).collect::<String>();
    let column = |at: usize| clean(&line[..at]).chars().count() + 1;
    match Piece::of(line, 0..line.len()) {
        Piece::Entry { key, value } => {
            let index = matches!(kind, SectionKind::ServerIndex | SectionKind::ApplicationIndex);
            let row = finding.section.as_ref().and_then(|_| Parameter::find(kind, &decode(&line[key.clone()])));
            let open = index || row.is_some_and(|row| row.kind != Kind::Secret);
            let shown = if open || value.is_empty() { clean(&line[value.clone()]) } else { "(hidden)".to_owned() };
            let at = if finding.value.is_some() { value.start } else { key.start };
            Quote { line: clean(&line[..value.start]) + &shown, column: column(at) }
        }
        Piece::Stray => Quote { line: "(hidden)".to_owned(), column: 1 },
        Piece::Section { name, .. } => Quote { line: clean(line), column: column(name.start) },
        Piece::Blank | Piece::Comment => Quote { line: clean(line), column: 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Profile};
    use super::*;

    #[test]
    fn a_finding_is_shown_with_its_line_and_column_and_no_password() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.ini");
        let content = "[SYSTEM_INDEX]\r\nA=Maybe\r\n[A]\r\n  TCP_Port = x1\r\nPasword=hunter2\r\nhunter3\r\n[B\r\nPassword=]]]hunter4\r\n";
        std::fs::write(&path, content).unwrap();
        let findings = Profile::load(&path, &Environment::none()).unwrap_err();
        let mut quotes = Quotes::default();
        let told: Vec<(u32, Quote)> =
            findings.iter().filter_map(|finding| Some((finding.line?, quotes.of(finding)?))).collect();
        for (line, text, column) in [
            (2, "A=Maybe", 3),
            (4, "  TCP_Port = x1", 14),
            (5, "Pasword=(hidden)", 1),
            (6, "(hidden)", 1),
            (7, "[B", 1),
        ] {
            let expected = (line, Quote { line: text.to_owned(), column });
            let found = told.iter().any(|it| it.0 == line && it.1.line == text && (it.1.column == column || line == 7));
            assert!(found, "{expected:?} is not in {told:?}");
        }
        assert!(!format!("{told:?}").contains("hunter"));
    }
}
