//! Every setting in force with its place: what `sclera show` prints.

use std::path::Path;

use super::finding::{Finding, Origin};
use super::layers::{self, Environment, Layers, Section};
use super::parameter::{ALL, Inherits, Kind, NO_ACTIVITY_TIMEOUT, Parameter, SectionKind};
use super::text::Text;

/// One setting in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The section that it holds for, as the file spells it.
    pub section: String,
    /// The key, as documented; a name or path in the index sections.
    pub key: String,
    /// The value in force; `(set)` for a password.
    pub value: String,
    /// Where it stands; `None` for the default of the table.
    pub origin: Option<Origin>,
}

/// The settings in force of every section, in the order of the files. Keys that no row of the table knows are left out.
///
/// # Errors
///
/// Why the files cannot be read. Values are not judged.
pub fn effective(path: &Path, environment: &Environment) -> Result<Vec<Effective>, Vec<Finding>> {
    let (text, mut findings) = Text::read(path)?;
    let fragments = layers::fragments(path, &mut findings)?;
    let layers = Layers::new(&text, &fragments, environment, &mut findings);
    let system = layers.sections.iter().find(|section| SectionKind::of(&section.name) == SectionKind::System);
    Ok(layers.sections.iter().flat_map(|section| of_section(section, system)).collect())
}

fn of_section(section: &Section, system: Option<&Section>) -> Vec<Effective> {
    let kind = SectionKind::of(&section.name);
    let setting = |key: &str, value: &str, origin: Option<&Origin>, secret: bool| Effective {
        section: section.name.clone(),
        key: key.to_owned(),
        value: if secret && !value.is_empty() { "(set)".to_owned() } else { value.to_owned() },
        origin: origin.cloned(),
    };
    if matches!(kind, SectionKind::ServerIndex | SectionKind::ApplicationIndex) {
        return section.entries.iter().map(|it| setting(&it.key, &it.value, Some(&it.origin), false)).collect();
    }
    let numbered = |row: &Parameter| row.key.ends_with("<n>");
    let mut settings = Vec::new();
    for row in ALL.iter().filter(|row| !numbered(row)) {
        let inherits = row.inherits == Inherits::ToServers;
        if row.section != kind && !(kind == SectionKind::Server && inherits) {
            continue;
        }
        let places = [Some(section), system.filter(|_| inherits)];
        let given =
            places.into_iter().flatten().filter_map(|place| place.entry(row.key)).find(|it| !it.value.is_empty());
        let secret = row.kind == Kind::Secret;
        settings.push(match given {
            Some(entry) => setting(row.key, &entry.value, Some(&entry.origin), secret),
            // There blank is a value.
            None if row.key == NO_ACTIVITY_TIMEOUT.key && system.is_some_and(|it| it.entry(row.key).is_some()) => {
                setting(row.key, "", system.and_then(|it| it.entry(row.key)).map(|it| &it.origin), false)
            }
            None => setting(row.key, row.default, None, secret),
        });
    }
    for entry in &section.entries {
        if Parameter::find(kind, &entry.key).is_some_and(numbered) {
            settings.push(setting(&entry.key, &entry.value, Some(&entry.origin), false));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_has_its_value_in_force_and_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.ini");
        let content = "[SYSTEM]\nNo_Activity_Timeout=7\n[SYSTEM_INDEX]\nA=Enabled\n[A]\nPassword=secret\ntcp_port=1\n\
                       No_Activity_Timeout=\n[APP_PATH:/x]\nAlternative_Server_0=1~A\n";
        std::fs::write(&path, content).unwrap();
        let all = effective(&path, &Environment::none()).unwrap();
        let told = |section: &str, key: &str| {
            let found = all.iter().find(|it| it.section == section && it.key == key).unwrap();
            (found.value.as_str(), found.origin.as_ref().and_then(|origin| origin.line))
        };
        assert_eq!(told("A", "TCP_Port"), ("1", Some(7)));
        assert_eq!(told("A", "No_Activity_Timeout"), ("7", Some(2)));
        assert_eq!(told("A", "Queued_Request_Timeout"), ("60", None));
        assert_eq!(told("A", "Password"), ("(set)", Some(6)));
        assert_eq!(told("A", "SSLCC_Private_Key_Password"), ("", None));
        assert_eq!(told("SYSTEM_INDEX", "A"), ("Enabled", Some(4)));
        assert_eq!(told("APP_PATH:/x", "Alternative_Server_0"), ("1~A", Some(10)));
        assert!(!format!("{all:?}").contains("secret"));
    }
}
