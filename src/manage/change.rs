//! Changing CSP.ini: as a whole or not at all, over nobody else's change, only to what can be used, with a line in the log
//! for each difference, and so that the last change can be undone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::access;
use super::login;
use super::{Trouble, Visit, token};
use crate::identity::Identity;
use crate::pool::configuration::Source;
use crate::profile::edit::{Change, Document};
use crate::profile::file::read_bounded;
use crate::profile::parameter::{self, Kind, Parameter, SectionKind, Verdict};
use crate::profile::store::{self, Opened, ReadOnly, StoreError};
use crate::profile::text::LARGEST_FILE;
use crate::profile::{ManagementPassword, Profile, Severity, to_store};

/// Whose settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    System,
    /// By name.
    Server(String),
    /// By path.
    Application(String),
}

/// What somebody wants a setting to be.
pub enum Entered {
    /// As it is.
    Keep,
    /// What is inherited, or the default.
    Blank,
    Value(Zeroizing<String>),
}

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Empty if it is about no setting in particular.
    pub section: String,
    /// The same.
    pub key: String,
    pub message: String,
}

/// One line that a change has changed; secrets are masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub section: String,
    pub key: String,
    /// `None`: there was none.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    Trouble(Trouble),
    /// The settings cannot be used like this.
    Complaints(Vec<Complaint>),
    /// Somebody else has changed the same settings since the form was loaded.
    Conflict,
}

/// The change before the present state.
pub struct LastChange {
    /// Of the clock, in UTC.
    pub time: String,
    pub who: String,
    pub differences: Vec<Difference>,
    /// Nothing has changed the file since.
    pub is_latest: bool,
    before: Document,
}

impl Scope {
    /// The section's name.
    pub fn section(&self) -> String {
        match self {
            Scope::System => "SYSTEM".to_owned(),
            Scope::Server(name) => name.clone(),
            Scope::Application(path) => format!("APP_PATH:{path}"),
        }
    }

    pub fn kind(&self) -> SectionKind {
        match self {
            Scope::System => SectionKind::System,
            Scope::Server(_) => SectionKind::Server,
            Scope::Application(_) => SectionKind::Application,
        }
    }

    /// The line of an index section that says whether it is enabled.
    pub fn index(&self) -> Option<(&'static str, &str)> {
        match self {
            Scope::System => None,
            Scope::Server(name) => Some(("SYSTEM_INDEX", name)),
            Scope::Application(path) => Some(("APP_PATH_INDEX", path)),
        }
    }

    /// Whether the file has it.
    pub fn is_in(&self, document: &Document) -> bool {
        let section = self.section();
        let folded = |name: &str| match self {
            Scope::Application(_) => name.to_owned(),
            _ => name.to_ascii_lowercase(),
        };
        let has_section = document.entries_of_all().iter().any(|(name, ..)| folded(name) == folded(&section));
        has_section || self.index().is_some_and(|(index, name)| document.get(index, name).is_some())
    }

    /// The settings of this scope, to tell whether somebody else has changed them.
    fn content(&self, document: &Document) -> Zeroizing<Vec<u8>> {
        let section = self.section();
        let mut content = Zeroizing::new(Vec::new());
        let mut add = |text: &str| {
            content.extend_from_slice(&(text.len() as u64).to_le_bytes());
            content.extend_from_slice(text.as_bytes());
        };
        for (name, key, value) in document.entries_of_all() {
            let own = name.eq_ignore_ascii_case(&section) && !is_bookkeeping(&key);
            if own {
                add(&key.to_ascii_lowercase());
                add(&value);
            }
        }
        if let Some(status) = self.index().and_then(|(index, name)| document.get(index, name)) {
            add(&status);
        }
        content
    }

    /// Whether the index says that it is enabled.
    pub fn is_enabled(&self, document: &Document) -> bool {
        let status = self.index().and_then(|(index, name)| document.get(index, name));
        status.is_some_and(|status| is_on(&status))
    }
}

impl Complaint {
    pub fn about(scope: &Scope, key: &str, message: impl Into<String>) -> Complaint {
        Complaint { section: scope.section(), key: key.to_owned(), message: message.into() }
    }

    /// About nothing in particular.
    pub fn general(message: impl Into<String>) -> Complaint {
        Complaint { section: String::new(), key: String::new(), message: message.into() }
    }
}

impl From<Trouble> for Rejected {
    fn from(trouble: Trouble) -> Rejected {
        Rejected::Trouble(trouble)
    }
}

impl From<StoreError> for Rejected {
    fn from(error: StoreError) -> Rejected {
        let text = error.to_string();
        Rejected::Trouble(match error {
            StoreError::Changed(_) | StoreError::Busy(_) => Trouble::Conflict(text),
            StoreError::Edit(..) => Trouble::Wrong(text),
            StoreError::Read(..) | StoreError::ReadOnly(_) | StoreError::Write(..) => Trouble::Impossible(text),
        })
    }
}

impl Rejected {
    /// For handlers that have no form to show it beside.
    pub fn into_trouble(self) -> Trouble {
        match self {
            Rejected::Trouble(trouble) => trouble,
            Rejected::Complaints(complaints) => {
                let told: Vec<String> = complaints.iter().map(Complaint::to_string).collect();
                Trouble::Wrong(told.join("; "))
            }
            Rejected::Conflict => {
                Trouble::Conflict("somebody else has changed these settings meanwhile; nothing was changed".to_owned())
            }
        }
    }
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.key.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "[{}] {}: {}", self.section, self.key, self.message),
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Difference { section, key, before, after } = self;
        match (before, after) {
            (Some(before), Some(after)) => write!(f, "[{section}] {key} from {before:?} to {after:?}"),
            (None, Some(after)) => write!(f, "[{section}] {key} to {after:?}; it was not there"),
            (before, None) => {
                write!(f, "[{section}] {key}: removed; it was {:?}", before.as_deref().unwrap_or_default())
            }
        }
    }
}

/// The files of the configuration.
pub fn source<'a>(visit: &'a Visit) -> Result<&'a Source, Trouble> {
    let none = || Trouble::Impossible("this gateway's configuration did not come from a file".to_owned());
    visit.manage.source.as_ref().ok_or_else(none)
}

/// CSP.ini as it is now.
pub fn read(visit: &Visit) -> Result<Document, Trouble> {
    let path = &source(visit)?.path;
    let bytes = read_bounded(path, LARGEST_FILE);
    bytes.map(Document::new).map_err(|error| Trouble::Impossible(format!("{} {error}", path.display())))
}

/// A mark of the settings of a scope, for a form to bring back. It tells nothing about them.
pub fn fingerprint(visit: &Visit, scope: &Scope, document: &Document) -> String {
    let key = visit.manage.sessions().key();
    token::sign(&key, &format!("settings of {}", scope.section()), &scope.content(document))
}

/// Edits the settings of a scope; what cannot be written is told.
pub fn apply(
    document: &mut Document,
    scope: &Scope,
    enabled: Option<bool>,
    entered: &[(String, Entered)],
) -> Vec<Complaint> {
    let (section, kind) = (scope.section(), scope.kind());
    let mut complaints = Vec::new();
    for (key, entered) in entered {
        let Some(row) = Parameter::find(kind, key) else {
            complaints.push(Complaint::about(scope, key, "is not a known setting"));
            continue;
        };
        let own = document.get(&section, key);
        let edited = match entered {
            Entered::Keep => continue,
            // Blank is not the same as absent in [SYSTEM]: `No_Activity_Timeout=` means for ever.
            Entered::Blank if *scope == Scope::System && own.as_ref().is_some_and(|own| !own.is_empty()) => {
                document.set(&section, key, "")
            }
            Entered::Blank if *scope == Scope::System => continue,
            Entered::Blank => document.unset(&section, key),
            Entered::Value(value) if own.as_ref().is_some_and(|own| own.as_str() == value.as_str()) => continue,
            Entered::Value(value) => {
                if let Verdict::Wrong(reason) | Verdict::Adjusted(reason) = row.check(value) {
                    complaints.push(Complaint::about(scope, key, format!("{reason}; {}", row.expected())));
                    continue;
                }
                let stored = to_store(kind, key, value);
                let stored = stored.as_ref().map_or(value.as_str(), |stored| stored.as_str());
                let key = if row.key.ends_with("<n>") { key } else { row.key };
                document.set(&section, key, stored)
            }
        };
        if let Err(error) = edited {
            complaints.push(Complaint::about(scope, key, error.to_string()));
        }
    }
    if let (Some(enabled), Some((index, name))) = (enabled, scope.index())
        && document.get(index, name).is_none_or(|status| is_on(&status) != enabled)
        && let Err(error) = document.set(index, name, if enabled { "Enabled" } else { "Disabled" })
    {
        complaints.push(Complaint::general(format!("[{index}] {name}: {error}")));
    }
    complaints
}

/// What a page shows as the status of an index line.
fn is_on(status: &str) -> bool {
    status.is_empty() || status == "1" || status.eq_ignore_ascii_case("Enabled")
}

/// Changes CSP.ini. `seen`: the settings that a form showed, by their [`fingerprint`]. Gives the differences; none if
/// everything was as wanted.
pub fn save(
    visit: &Visit,
    seen: Option<(&Scope, &str)>,
    edit: impl FnOnce(&mut Document) -> Vec<Complaint>,
) -> Result<Vec<Difference>, Rejected> {
    let source = source(visit)?;
    let mut opened = store::open(&source.path)?;
    if opened.read_only() == ReadOnly::Yes {
        return Err(StoreError::ReadOnly(source.path.clone()).into());
    }
    if let Some((scope, seen)) = seen
        && seen != fingerprint(visit, scope, &opened.document)
    {
        return Err(Rejected::Conflict);
    }
    let before = opened.document.clone();
    let complaints = edit(&mut opened.document);
    if !complaints.is_empty() {
        return Err(Rejected::Complaints(complaints));
    }
    put_in_place(visit, source, opened, before, "changed")
}

/// Puts the file back as it was before the last change.
pub fn undo(visit: &Visit) -> Result<Vec<Difference>, Rejected> {
    let source = source(visit)?;
    let mut opened = store::open(&source.path)?;
    let last = recorded(&source.path, &opened.document)
        .ok_or_else(|| Trouble::Wrong("there is no change that could be undone".to_owned()))?;
    if !last.is_latest {
        let text = "the file has been changed since, by somebody who did not use these pages; nothing was undone";
        return Err(Trouble::Conflict(text.to_owned()).into());
    }
    let before = std::mem::replace(&mut opened.document, last.before);
    put_in_place(visit, source, opened, before, "undone")
}

/// The last change made on these pages.
pub fn last(visit: &Visit) -> Result<Option<LastChange>, Trouble> {
    Ok(recorded(&source(visit)?.path, &read(visit)?))
}

/// The settings as they would be in force with this content: the profile, or what is wrong that was not wrong before.
/// `None` if the file could not be used before either.
pub fn try_out(source: &Source, before: &Document, after: &Document) -> Result<Option<Profile>, Vec<Complaint>> {
    let environment = source.environment.refreshed();
    let errors = |document: &Document| match Profile::load_as(&source.path, document.bytes(), &environment) {
        Ok(loaded) => Ok(loaded.profile),
        Err(findings) => {
            let errors = findings.into_iter().filter(|finding| finding.severity == Severity::Error);
            Err(errors
                .map(|finding| Complaint {
                    section: finding.section.unwrap_or_default(),
                    key: finding.key.unwrap_or_default(),
                    message: format!("{}; {}", finding.message, finding.remedy),
                })
                .collect::<Vec<_>>())
        }
    };
    match errors(after) {
        Ok(profile) => Ok(Some(profile)),
        Err(after) => {
            let known = errors(before).err().unwrap_or_default();
            let new: Vec<Complaint> = after.into_iter().filter(|complaint| !known.contains(complaint)).collect();
            if new.is_empty() { Ok(None) } else { Err(new) }
        }
    }
}

fn put_in_place(
    visit: &Visit,
    source: &Source,
    mut opened: Opened,
    before: Document,
    done: &str,
) -> Result<Vec<Difference>, Rejected> {
    let differences = differences(&before, &opened.document);
    if differences.is_empty() {
        return Ok(differences);
    }
    let profile = try_out(source, &before, &opened.document).map_err(Rejected::Complaints)?;
    if let Some(profile) = profile {
        let mut complaints = unusable_servers(source, &before, profile.clone());
        if differences.iter().any(|it| it.section.eq_ignore_ascii_case("SYSTEM")) {
            complaints.extend(shuts_out(visit, &profile));
        }
        if !complaints.is_empty() {
            return Err(Rejected::Complaints(complaints));
        }
    }
    opened.note_modified()?;
    let record = record(visit, &differences, &before, &opened.document);
    let path = record_path(&source.path);
    let staged = path.with_extension("sclera-undo-new");
    write_private(&staged, record.to_string().as_bytes()).map_err(|error| {
        Trouble::Impossible(format!(
            "nothing was changed, because {} cannot be written, which an undo needs: {error}; let the web server's user write in \
             the directory of CSP.ini",
            staged.display()
        ))
    })?;
    if let Err(error) = opened.save() {
        let _ = fs::remove_file(&staged);
        return Err(error.into());
    }
    if let Err(error) = fs::rename(&staged, &path) {
        visit.audit(&format!("cannot undo the next change: {} cannot be put in place: {error}", path.display()));
    }
    differences.iter().for_each(|difference| visit.audit(&format!("has {done} {difference}")));
    Ok(differences)
}

/// A change that its server could not be used with would keep every worker with the settings it has.
fn unusable_servers(source: &Source, before: &Document, mut after: Profile) -> Vec<Complaint> {
    let environment = source.environment.refreshed();
    let old = Profile::load_as(&source.path, before.bytes(), &environment).ok().map(|loaded| loaded.profile);
    let is_new = |position: usize, profile: &Profile| {
        let server = &profile.servers[position];
        let same = old.as_ref().and_then(|old| Some(&old.servers[old.server(&server.name)?]));
        server.enabled && same.is_none_or(|same| !same.serves_like(server))
    };
    let positions: Vec<usize> = (0..after.servers.len()).filter(|&position| is_new(position, &after)).collect();
    let mut complaints = Vec::new();
    for position in positions {
        after.run_commands_of(position, None);
        let server = &after.servers[position];
        if let Err(failure) = Identity::load(server, 0) {
            let rows = parameter::ALL.iter().filter(|row| row.section == SectionKind::Server);
            let named = rows.filter(|row| failure.detail.contains(row.key)).max_by_key(|row| row.key.len());
            complaints.push(Complaint {
                section: server.name.clone(),
                key: named.map_or("", |row| row.key).to_owned(),
                message: format!("{failure} (or save the profile disabled)"),
            });
        }
    }
    complaints
}

/// Whoever changes the rules should still be let in by them.
fn shuts_out(visit: &Visit, profile: &Profile) -> Option<Complaint> {
    let settings = &profile.system.management;
    if !settings.forms {
        // That is what was asked for; the setting's help says how it comes back.
        return None;
    }
    let Some(client) = access::judge(settings, visit.request) else {
        let message = "these rules would shut you out: let them admit the address that you come from";
        return Some(Complaint::about(&Scope::System, "System_Manager", message));
    };
    let no_password = matches!(settings.password.value, ManagementPassword::None | ManagementPassword::Unverifiable);
    let no_user = settings.users_file.as_ref().is_none_or(|file| !login::has_editor(&file.value));
    match access::need(settings, &client) == access::Need::Login && no_password && no_user {
        true => Some(Complaint::about(&Scope::System, "Password", "nobody could log in without one: set it too")),
        false => None,
    }
}

/// Every line that differs, by section and key.
pub fn differences(before: &Document, after: &Document) -> Vec<Difference> {
    type Lines = BTreeMap<(String, String), (String, String, Zeroizing<String>)>;
    let lines = |document: &Document| -> Lines {
        let entries = document.entries_of_all().into_iter();
        let folded = |(section, key, value): (String, String, Zeroizing<String>)| {
            let exact = SectionKind::of(&section) == SectionKind::ApplicationIndex;
            let folded_key = if exact { key.clone() } else { key.to_ascii_lowercase() };
            ((section.to_ascii_lowercase(), folded_key), (section, key, value))
        };
        entries.filter(|(_, key, _)| !is_bookkeeping(key)).map(folded).collect()
    };
    let (before, after) = (lines(before), lines(after));
    let shown = |section: &str, key: &str, value: &str| {
        let secret = Parameter::find(SectionKind::of(section), key).is_some_and(|row| row.kind == Kind::Secret);
        if secret && !value.is_empty() { "(hidden)".to_owned() } else { value.to_owned() }
    };
    let mut differences = Vec::new();
    let places: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for place in places {
        let (old, new) = (before.get(place), after.get(place));
        if old.map(|it| it.2.as_str()) == new.map(|it| it.2.as_str()) {
            continue;
        }
        let Some((section, key, _)) = new.or(old) else { continue };
        let show = |line: Option<&(String, String, Zeroizing<String>)>| line.map(|it| shown(section, key, &it.2));
        let (before, after) = (show(old), show(new));
        differences.push(Difference { section: section.clone(), key: key.clone(), before, after });
    }
    differences
}

/// Lines that a save writes by itself.
fn is_bookkeeping(key: &str) -> bool {
    key.get(..14).is_some_and(|start| start.eq_ignore_ascii_case("Configuration_"))
}

fn record(visit: &Visit, differences: &[Difference], before: &Document, after: &Document) -> Zeroizing<String> {
    let changes: Vec<Value> = differences
        .iter()
        .map(|it| json!({ "section": it.section, "key": it.key, "before": it.before, "after": it.after }))
        .collect();
    let record = json!({
        "time": store::now_as_text(),
        "who": visit.who.to_string(),
        "changes": changes,
        "before": Base64::encode_string(before.bytes()),
        "after": digest(after),
    });
    Zeroizing::new(record.to_string())
}

fn recorded(path: &Path, now: &Document) -> Option<LastChange> {
    let bytes = read_bounded(&record_path(path), 3 * LARGEST_FILE).ok()?;
    let record: Value = serde_json::from_slice(&bytes).ok()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let difference = |it: &Value| {
        Some(Difference {
            section: text(&it["section"])?,
            key: text(&it["key"])?,
            before: text(&it["before"]),
            after: text(&it["after"]),
        })
    };
    Some(LastChange {
        time: text(&record["time"])?,
        who: text(&record["who"])?,
        differences: record["changes"].as_array()?.iter().filter_map(difference).collect(),
        is_latest: record["after"].as_str()? == digest(now),
        before: Document::new(Base64::decode_vec(record["before"].as_str()?).ok()?),
    })
}

/// Beside the file itself, not beside a link to it: there it can be written if the file can.
fn record_path(path: &Path) -> PathBuf {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    target.with_file_name(format!(".{name}.sclera-undo"))
}

/// For its owner alone, since it holds what CSP.ini held. Whoever holds the lock of CSP.ini is the only writer.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn digest(document: &Document) -> String {
    Sha256::digest(document.bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes a profile: its section, and its line in the index.
pub fn remove(document: &mut Document, scope: &Scope) -> Vec<Complaint> {
    let index = scope.index().map_or(Ok(Change::Nothing), |(index, name)| document.unset(index, name));
    let removed = index.and_then(|_| document.remove_section(&scope.section()));
    removed.err().map(|error| Complaint::general(error.to_string())).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::new(text.as_bytes().to_vec())
    }

    fn text(document: &Document) -> &str {
        std::str::from_utf8(document.bytes()).unwrap()
    }

    fn value(text: &str) -> Entered {
        Entered::Value(Zeroizing::new(text.to_owned()))
    }

    const FILE: &str = "[SYSTEM]\nNo_Activity_Timeout=7\n[SYSTEM_INDEX]\nA=1\n[A]\nIp_Address=a\nTCP_Port=1\n";

    #[test]
    fn what_was_entered_touches_its_line_alone_and_blank_is_not_absent_in_the_system_section() {
        let a = || Scope::Server("a".to_owned());
        for (scope, enabled, key, entered, before, after) in [
            (a(), None, "TCP_Port", value("2"), "TCP_Port=1", "TCP_Port=2"),
            (a(), None, "tcp_port", value("1"), "", ""),
            (a(), None, "TCP_Port", Entered::Keep, "", ""),
            (a(), None, "TCP_Port", Entered::Blank, "TCP_Port=1\n", ""),
            (a(), None, "Username", Entered::Blank, "", ""),
            (a(), Some(true), "TCP_Port", Entered::Keep, "", ""),
            (a(), Some(false), "TCP_Port", Entered::Keep, "A=1", "A=Disabled"),
            (Scope::System, None, "No_Activity_Timeout", Entered::Blank, "Timeout=7", "Timeout="),
            (Scope::System, None, "SM_Timeout", Entered::Blank, "", ""),
            (a(), None, "Password", value("SYS"), "TCP_Port=1\n", "TCP_Port=1\nPassword=]]]U1lT\n"),
        ] {
            let mut it = document(FILE);
            assert_eq!(apply(&mut it, &scope, enabled, &[(key.to_owned(), entered)]), [], "{key}");
            assert_eq!(text(&it), FILE.replace(before, after), "{key}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_beside_its_setting() {
        let scope = Scope::Server("A".to_owned());
        for (key, entered, says) in [
            ("TCP_Port", "x", "is not a TCP port; write a TCP port from 1 to 65535"),
            ("Queued_Request_Timeout", "1", "is out of range; 5 is used; write seconds from 5 to 31536000"),
            ("Username", "a\nb", "line break"),
            ("TCP_Prot", "1", "is not a known setting"),
            ("MAX_CONNECTIONS", "1", "is not a known setting"),
        ] {
            let mut it = document(FILE);
            let complaints = apply(&mut it, &scope, None, &[(key.to_owned(), value(entered))]);
            assert_eq!((complaints.len(), text(&it)), (1, FILE), "{key}");
            assert!(complaints[0].key == key && complaints[0].message.contains(says), "{complaints:?}");
        }
    }

    #[test]
    fn differences_name_each_line_and_hide_secrets() {
        let after = FILE.replace("TCP_Port=1", "TCP_Port=2\nPassword=canary").replace("A=1\n", "")
            + "[APP_PATH_INDEX]\n/a=Enabled\n/A=Enabled\n[SYSTEM]\nConfiguration_Modified=now\n";
        let told: Vec<String> =
            differences(&document(FILE), &document(&after)).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "[A] Password to \"(hidden)\"; it was not there",
                "[A] TCP_Port from \"1\" to \"2\"",
                "[APP_PATH_INDEX] /A to \"Enabled\"; it was not there",
                "[APP_PATH_INDEX] /a to \"Enabled\"; it was not there",
                "[SYSTEM_INDEX] A: removed; it was \"1\"",
            ]
        );
        assert_eq!(differences(&document(FILE), &document(&FILE.to_lowercase())), []);
    }

    #[test]
    fn a_profile_is_there_by_its_section_or_its_line_in_the_index() {
        let it = document("[SYSTEM_INDEX]\nA=Enabled\nB=Disabled\n[c]\nx=1\n[APP_PATH_INDEX]\n/a=Enabled\n");
        for (scope, is_in, enabled) in [
            (Scope::Server("a".into()), true, true),
            (Scope::Server("B".into()), true, false),
            (Scope::Server("C".into()), true, false),
            (Scope::Server("D".into()), false, false),
            (Scope::Application("/a".into()), true, true),
            (Scope::Application("/A".into()), false, false),
        ] {
            assert_eq!((scope.is_in(&it), scope.is_enabled(&it)), (is_in, enabled), "{scope:?}");
        }
    }
}
