//! `sclera show`: the settings in force, and where each comes from.

use std::io::{self, Write};

use clap::Args;
use sclera::profile::parameter::{Kind, Parameter, SectionKind, Verdict};
use sclera::profile::{Environment, effective};

use crate::{Config, Outcome, complain, one_line};

/// What to show.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub config: Config,
    /// Show where each value stands: file and line, variable, or default.
    #[arg(long)]
    pub origin: bool,
    /// Only this section, without brackets: SYSTEM, a server's name, APP_PATH:/path.
    pub section: Option<String>,
}

/// Prints the settings as sections, as a CSP.ini has them. The outcome is a warning if a value is not used as it stands.
pub fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let path = options.config.path();
    let mut settings = match effective(&path, &Environment::of_process()) {
        Ok(settings) => settings,
        Err(findings) => return complain(err, findings),
    };
    if let Some(section) = &options.section {
        settings.retain(|setting| setting.section.eq_ignore_ascii_case(section));
        if settings.is_empty() {
            return complain(err, [format!("{} has no section [{section}]", path.display())]);
        }
    }
    let mut current = None;
    let mut outcome = Outcome::Well;
    for setting in &settings {
        if current != Some(&setting.section) {
            let blank = if current.is_some() { "\n" } else { "" };
            writeln!(out, "{blank}[{}]", one_line(&setting.section))?;
            current = Some(&setting.section);
        }
        let line = one_line(&format!("{}={}", setting.key, setting.value));
        let row = Parameter::find(SectionKind::of(&setting.section), &setting.key);
        if let (Some(row), Some(origin)) = (row.filter(|row| row.kind != Kind::Secret), &setting.origin)
            && let Verdict::Adjusted(reason) | Verdict::Wrong(reason) = row.check(&setting.value)
        {
            writeln!(err, "sclera: {} {}", one_line(&origin.to_string()), one_line(&reason))?;
            outcome = Outcome::Warned;
        }
        match (&setting.origin, options.origin) {
            (_, false) => writeln!(out, "{line}")?,
            (None, true) => writeln!(out, "{line:<50} # default")?,
            (Some(origin), true) => {
                let number = origin.line.map(|line| format!(":{line}")).unwrap_or_default();
                writeln!(out, "{line:<50} # {}{number}", origin.file.display())?;
            }
        }
    }
    Ok(outcome)
}
