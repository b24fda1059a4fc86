//! The help of settings in Japanese; in English it stands in the table of settings.

use super::language::Language;
use crate::profile::parameter::Parameter;

/// What a setting means, in one sentence.
pub fn of(row: &Parameter, language: Language) -> &'static str {
    match language {
        Language::English => row.help,
        Language::Japanese => japanese(row).unwrap_or(row.help),
    }
}

fn japanese(_: &Parameter) -> Option<&'static str> {
    None
}
