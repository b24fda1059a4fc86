//! What reading CSP.ini found: where a value comes from, and what is wrong with it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::failure::Code;

/// The place from which a value was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The file, as it was named when it was loaded; `$NAME` for a variable of the environment.
    pub file: Arc<Path>,
    /// The line, counted from 1; `None` for a variable, and for a file that holds nothing but the value.
    pub line: Option<u32>,
    /// The section's name without brackets, as the file spells it.
    pub section: String,
    /// The key, as the file spells it; empty for the section's own line.
    pub key: String,
}

impl fmt::Display for Origin {
    /// Such as `/etc/CSP.ini:12 [LOCAL] SSLCC_Certificate_File`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, " [{}]", self.section)?;
        if self.key.is_empty() { Ok(()) } else { write!(f, " {}", self.key) }
    }
}

/// A value together with the place it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value in force.
    pub value: T,
    /// Where it stands; `None` if the file is silent and the value is the default.
    pub origin: Option<Origin>,
}

impl<T> Setting<T> {
    /// A value that the file does not give.
    pub fn default_of(value: T) -> Setting<T> {
        Setting { value, origin: None }
    }

    /// The setting's place for messages, or `key (not set)` if the file does not give it.
    pub fn place(&self, key: &str) -> String {
        match &self.origin {
            Some(origin) => origin.to_string(),
            None => format!("{key} (not set)"),
        }
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For the curious; everything works as written.
    Notice,
    /// Something does not work as the file seems to intend.
    Warning,
    /// The file cannot be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// One thing that reading a file found. Holds no secret: values of secret settings are masked before they get here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The failure that follows from it, if one does.
    pub code: Option<Code>,
    /// The file it is about; `$NAME` for a variable of the environment.
    pub file: Arc<Path>,
    /// The line, counted from 1; `None` if it is about the file as a whole.
    pub line: Option<u32>,
    /// The section's name without brackets.
    pub section: Option<String>,
    /// The key concerned.
    pub key: Option<String>,
    /// The value as written; `(hidden)` for secrets.
    pub value: Option<String>,
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to do, without a full stop.
    pub remedy: String,
}

impl Finding {
    /// A finding about the file as a whole.
    pub(crate) fn about_file(
        severity: Severity,
        code: Option<Code>,
        file: &Arc<Path>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            severity,
            code,
            file: file.clone(),
            line: None,
            section: None,
            key: None,
            value: None,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// A finding about one place in the file.
    pub(crate) fn at(
        severity: Severity,
        code: Option<Code>,
        origin: &Origin,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            line: origin.line,
            section: Some(origin.section.clone()),
            key: (!origin.key.is_empty()).then(|| origin.key.clone()),
            ..Finding::about_file(severity, code, &origin.file, message, remedy)
        }
    }

    /// The same finding, quoting the value as written.
    pub(crate) fn quoting(mut self, value: &str) -> Finding {
        self.value = Some(value.to_owned());
        self
    }
}

impl Finding {
    /// `[SECTION] key=value: what is wrong`, safe for a line as a whole.
    pub fn what_is_wrong(&self) -> String {
        let part = |before: &str, part: &Option<String>| {
            part.as_ref().map(|part| format!("{before}{}", OneLine(part))).unwrap_or_default()
        };
        let subject = match &self.section {
            None => String::new(),
            Some(section) => {
                let key = part(" ", &self.key);
                let value = if self.key.is_some() { part("=", &self.value) } else { String::new() };
                format!("[{}]{key}{value}: ", OneLine(section))
            }
        };
        subject + &self.message
    }
}

impl fmt::Display for Finding {
    /// One line: `file:line: [SECTION] key=value: what is wrong; what to do`. Long values are cut, control characters
    /// are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.what_is_wrong())?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// Text from the file, made safe for a line of a log.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 120;
        for (count, character) in self.0.chars().enumerate() {
            if count == LONGEST {
                return f.write_str("...");
            }
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_place_value_reason_and_remedy() {
        let origin = Origin {
            file: Path::new("/etc/CSP.ini").into(),
            line: Some(12),
            section: "LOCAL".into(),
            key: "TCP_Port".into(),
        };
        let finding = Finding::at(Severity::Error, None, &origin, "is not a port", "write 1972").quoting("19\n72");
        assert_eq!(finding.to_string(), "/etc/CSP.ini:12: [LOCAL] TCP_Port=19\\n72: is not a port; write 1972");
        assert_eq!(origin.to_string(), "/etc/CSP.ini:12 [LOCAL] TCP_Port");
    }
}
