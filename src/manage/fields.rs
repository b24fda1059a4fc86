//! The fields of a form, from the table of settings: what each is called, what it is now, what it would be if it were left
//! blank, and what is wrong with what was entered. A setting that the table gets is a field without further ado.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::change::{Complaint, Entered, Scope};
use super::form::Form;
use super::help;
use super::text::{self, Text};
use super::{Trouble, Visit, change};
use crate::profile::edit::Document;
use crate::profile::parameter::{self, Effect, Inherits, Kind, Parameter, SectionKind};
use crate::profile::{Effective, Environment, effective};

/// A group of fields.
pub struct FieldGroup {
    pub title: &'static str,
    /// Folded together, because nothing here has an effect.
    pub folded: bool,
    pub fields: Vec<Field>,
}

/// A field.
pub struct Field {
    /// Also what the form calls it.
    pub key: String,
    pub label: String,
    pub help: String,
    /// What is in force if this field says nothing, or goes over it; empty if there is nothing to say.
    pub note: String,
    /// What is wrong with it; empty for nothing.
    pub error: String,
    pub widget: Widget,
}

/// How a field is entered.
pub enum Widget {
    Line {
        value: String,
    },
    Choice {
        choices: Vec<Choice>,
    },
    /// Of a secret the browser learns only whether there is one.
    Secret {
        is_set: bool,
        chosen: &'static str,
    },
    /// An alternative server.
    Alternative {
        enabled: bool,
        server: String,
    },
}

/// One of several values.
pub struct Choice {
    pub value: String,
    pub title: String,
    pub selected: bool,
}

/// A group's title, and the keys of its fields.
type Group = (&'static Text, &'static [&'static str]);

const SERVER_GROUPS: &[Group] = &[
    (text::GROUP_SERVER, &["Ip_Address", "TCP_Port", "Mirror_Aware", "Sclera_Namespace", "Sclera_Dialect"]),
    (
        text::GROUP_STATELESS,
        &["Minimum_Server_Connections", "Maximum_Server_Connections", "Maximum_Session_Connections"],
    ),
    (
        text::GROUP_SECURITY,
        &["Connection_Security_Level", "Username", "Password", "Product", "Service_Principal_Name", "Keytable"],
    ),
    (
        text::GROUP_TLS,
        &[
            "SSLCC_Protocol_Min",
            "SSLCC_Protocol_Max",
            "SSLCC_Protocol",
            "SSLCC_Verify_Peer",
            "SSLCC_Cipher_Suites",
            "SSLCC_Cipher_Suites_1_3",
            "SSLCC_Certificate_File",
            "SSLCC_Certificate_Key_File",
            "SSLCC_Key_Type",
            "SSLCC_Private_Key_Password",
            "SSLCC_CA_Certificate_File",
            "Sclera_Verify_Name",
            "Sclera_Server_Name",
            "Sclera_Verification",
            "Sclera_Pinned_Key",
            "Sclera_CRL_File",
            "Sclera_Key_Log_File",
        ],
    ),
    (
        text::GROUP_OPTIONAL,
        &[
            "Server_Response_Timeout",
            "Queued_Request_Timeout",
            "No_Activity_Timeout",
            "Timeout_All_Connections",
            "Sclera_Connect_Timeout",
            "Env_Parameters",
        ],
    ),
    (text::GROUP_ERROR_PAGES, ERROR_PAGES),
];

const APPLICATION_GROUPS: &[Group] = &[
    (text::GROUP_SERVER, &["Default_Server", "Alternative_Servers"]),
    (text::GROUP_ALTERNATIVES, &[]),
    (text::GROUP_APPLICATION, &["Extra_CGI_Env_Variables", "Proc_Class", "KeepAlive", "Non_Parsed_Headers"]),
    (
        text::GROUP_RESPONSE,
        &[
            "GZIP_Compression",
            "GZIP_Minimum_File_Size",
            "GZIP_Exclude_File_Types",
            "Response_Size_Notification",
            "Response_Size_Notification_Always",
        ],
    ),
];

const SYSTEM_GROUPS: &[Group] = &[
    (
        text::GROUP_GATEWAY,
        &["Instance_Host_Name", "MAX_CONNECTIONS", "MAX_CACHE_SIZE", "Web_Server_ID_Cookie", "Default_Server"],
    ),
    (
        text::GROUP_ACCESS,
        &[
            "SM_Forms",
            "Username",
            "Password",
            "SM_Timeout",
            "Custom_SM_Login_Form",
            "System_Manager",
            "Accept_X_Forwarded_For",
            "System_Manager_UNPW_Override",
            "Sclera_Manage_Role",
            "Sclera_Manage_Hosts",
            "Sclera_Manage_Users",
        ],
    ),
    (
        text::GROUP_CONNECTIONS,
        &["Server_Response_Timeout", "Queued_Request_Timeout", "No_Activity_Timeout", "Timeout_All_Connections"],
    ),
    (text::GROUP_ERROR_PAGES, ERROR_PAGES),
    (
        text::GROUP_LOG,
        &[
            "Env_Parameters",
            "Event_Log_File",
            "Event_Log_Rotation_Size",
            "Retain_All_Log_Files",
            "Maximum_Logged_Request_Size",
            "Sclera_Log_Format",
            "Sclera_Debug_Expiry",
            "Sclera_Trace",
            "Sclera_Trace_Directory",
            "Sclera_Trace_Entries",
            "Sclera_Trace_Body_Size",
        ],
    ),
];

const ERROR_PAGES: &[&str] =
    &["Server_Error", "Server_Busy", "Server_Unavailable", "Server_Timeout", "Connection_Closed"];

/// Lines that the gateway writes or removes by itself.
pub const NO_FIELDS: [&str; 5] = [
    "RELOAD",
    "Configuration_Initialized",
    "Configuration_Initialized_Build",
    "Configuration_Modified",
    "Configuration_Modified_Build",
];

/// The slots for alternative servers that a form has at first.
const FIRST_SLOTS: u32 = 3;
/// The slots that it never exceeds.
const MOST_SLOTS: u32 = 100;

/// The settings of a scope and what lies under and over them.
pub struct Settings<'a> {
    pub visit: &'a Visit<'a>,
    pub scope: &'a Scope,
    /// CSP.ini, possibly with changes that have not been saved.
    pub document: &'a Document,
    /// Where the values of the document stand, if they are of another scope, as in a copy.
    pub source: &'a Scope,
    effective: Vec<Effective>,
}

impl<'a> Settings<'a> {
    pub fn new(
        visit: &'a Visit<'a>,
        scope: &'a Scope,
        source: &'a Scope,
        document: &'a Document,
    ) -> Result<Settings<'a>, Trouble> {
        let files = change::source(visit)?;
        let environment: Environment = files.environment.refreshed();
        let effective = effective(&files.path, &environment).map_err(|findings| {
            let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
            Trouble::Impossible(told.join("; "))
        })?;
        Ok(Settings { visit, scope, document, source, effective })
    }

    /// The value that the file gives; of a secret, only whether it gives one.
    pub fn own(&self, key: &str) -> Option<Zeroizing<String>> {
        self.document.get(&self.source.section(), key)
    }

    /// The value in force, and where it stands; the same for a section that does not exist yet.
    pub fn in_force(&self, row: &Parameter) -> (String, Option<String>, bool) {
        let find = |section: &str| {
            self.effective.iter().find(|it| it.section.eq_ignore_ascii_case(section) && it.key == row.key)
        };
        let own = self.source.section();
        let inherits = row.inherits == Inherits::ToServers;
        let found = find(&own).or_else(|| find("SYSTEM").filter(|_| inherits));
        let Some(found) = found else { return (row.default.to_owned(), None, false) };
        let files = self.visit.manage.source.as_ref();
        let elsewhere =
            found.origin.as_ref().is_some_and(|origin| files.is_some_and(|files| *origin.file != *files.path));
        (found.value.clone(), found.origin.as_ref().map(ToString::to_string), elsewhere)
    }

    /// What is in force if the field is left blank, or although it is not.
    fn note(&self, row: &Parameter) -> String {
        let language = self.visit.language;
        let own = self.own(row.key).is_some_and(|own| !own.is_empty());
        let (value, origin, elsewhere) = self.in_force(row);
        let value = if value.is_empty() { language.say(text::NOTHING).to_owned() } else { value };
        match origin {
            Some(origin) if elsewhere => text::OVERRIDDEN.with(language, &[&value, &origin]),
            Some(origin) if !own => text::INHERITED.with(language, &[&value, &origin]),
            None if !own => text::DEFAULT.with(language, &[&value]),
            _ => String::new(),
        }
    }
}

/// The rows that a scope has fields for, without the numbered ones.
pub fn rows(scope: &Scope) -> impl Iterator<Item = &'static Parameter> {
    let kind = scope.kind();
    parameter::ALL.iter().copied().filter(move |row| {
        let here = row.section == kind || (kind == SectionKind::Server && row.inherits == Inherits::ToServers);
        here && !row.key.ends_with("<n>") && !NO_FIELDS.contains(&row.key)
    })
}

/// The fields of a scope. `entered`: what a form sent, which goes over what the file says.
pub fn groups(settings: &Settings, entered: Option<&Form>, complaints: &[Complaint]) -> Vec<FieldGroup> {
    let language = settings.visit.language;
    let groups = match settings.scope {
        Scope::System => SYSTEM_GROUPS,
        Scope::Server(_) => SERVER_GROUPS,
        Scope::Application(_) => APPLICATION_GROUPS,
    };
    let has_effect = |row: &&Parameter| !matches!(row.effect, Effect::Without(_));
    let named = |key: &str| rows(settings.scope).find(|row| row.key == key);
    let field = |row: &Parameter| field(settings, row, entered, complaints);
    let mut all: Vec<FieldGroup> = groups
        .iter()
        .map(|(title, keys)| {
            let fields = keys.iter().filter_map(|key| named(key)).filter(has_effect).map(field).collect();
            FieldGroup { title: language.say(title), folded: false, fields }
        })
        .collect();
    if matches!(settings.scope, Scope::Application(_)) {
        all[1].fields = alternatives(settings, entered, complaints);
    }
    let grouped = |row: &&Parameter| groups.iter().any(|(_, keys)| keys.contains(&row.key));
    let rest: Vec<&Parameter> = rows(settings.scope).filter(|row| !grouped(row) && has_effect(row)).collect();
    all.push(FieldGroup {
        title: language.say(text::GROUP_FURTHER),
        folded: false,
        fields: rest.into_iter().map(field).collect(),
    });
    let without: Vec<&Parameter> = rows(settings.scope).filter(|row| !has_effect(row)).collect();
    all.push(FieldGroup {
        title: language.say(text::GROUP_WITHOUT_EFFECT),
        folded: true,
        fields: without.into_iter().map(field).collect(),
    });
    all.retain(|group| !group.fields.is_empty());
    all
}

fn field(settings: &Settings, row: &Parameter, entered: Option<&Form>, complaints: &[Complaint]) -> Field {
    let language = settings.visit.language;
    let own = settings.own(row.key);
    let widget = if row.kind == Kind::Secret {
        let chosen = match entered.and_then(|form| form.get(&format!("{}.do", row.key))) {
            Some("replace") => "replace",
            Some("clear") => "clear",
            _ => "keep",
        };
        Widget::Secret { is_set: own.is_some_and(|own| !own.is_empty()), chosen }
    } else {
        let value = match entered.and_then(|form| form.get(row.key)) {
            Some(value) => value.to_owned(),
            None => own.map(|own| own.as_str().to_owned()).unwrap_or_default(),
        };
        match choices(settings, row, &value) {
            Some(choices) => Widget::Choice { choices },
            None => Widget::Line { value },
        }
    };
    let mut help = help::of(row, language).to_owned();
    match row.effect {
        Effect::AtRestart => help = format!("{help} {}", language.say(text::NEEDS_RESTART)),
        Effect::Later => help = format!("{help} {}", language.say(text::NOT_HEEDED_YET)),
        Effect::Without(reason) => help = format!("{help} {} {reason}", language.say(text::WITHOUT_EFFECT)),
        Effect::Now => {}
    }
    Field {
        key: row.key.to_owned(),
        label: row.label.to_owned(),
        help,
        note: settings.note(row),
        error: complaints_of(settings.scope, row.key, complaints),
        widget,
    }
}

fn complaints_of(scope: &Scope, key: &str, complaints: &[Complaint]) -> String {
    let section = scope.section();
    let mine = |it: &&Complaint| it.section.eq_ignore_ascii_case(&section) && it.key.eq_ignore_ascii_case(key);
    complaints.iter().filter(mine).map(|it| it.message.as_str()).collect::<Vec<_>>().join("; ")
}

/// The complaints that stand beside no field of this scope.
pub fn general(scope: &Scope, complaints: &[Complaint]) -> Vec<String> {
    let section = scope.section();
    let beside =
        |it: &&Complaint| it.section.eq_ignore_ascii_case(&section) && Parameter::find(scope.kind(), &it.key).is_some();
    complaints.iter().filter(|it| !beside(it)).map(ToString::to_string).collect()
}

/// The values to choose from, with the present one among them whatever it is; `None` for values that are written.
fn choices(settings: &Settings, row: &Parameter, value: &str) -> Option<Vec<Choice>> {
    let language = settings.visit.language;
    let say = |text: &Text| language.say(text).to_owned();
    let (on, off) = (say(text::ENABLED), say(text::DISABLED));
    let word = |word: &str| (word.to_owned(), word.to_owned());
    let pair = |value: &str, title: &str| (value.to_owned(), title.to_owned());
    let mut values: Vec<(String, String)> = match row.kind {
        Kind::Status | Kind::Switch => vec![pair("Enabled", &on), pair("Disabled", &off)],
        Kind::Flag => vec![pair("1", &format!("1 ({on})")), pair("0", &format!("0 ({off})"))],
        Kind::SecurityLevel => vec![pair("0", "0 (Password)"), pair("10", "10 (SSL/TLS)")],
        Kind::TlsVersion => vec![pair("16", "16 (TLS 1.2)"), pair("32", "32 (TLS 1.3)")],
        Kind::KeyType => vec![pair("1", "1 (DSA)"), pair("2", "2 (RSA)"), pair("3", "3 (ECDSA)")],
        Kind::Word(words) => words.iter().map(|it| word(it)).collect(),
        _ => return None,
    };
    let is = |known: &str| known.eq_ignore_ascii_case(value);
    if !value.is_empty() && !values.iter().any(|(known, _)| is(known)) {
        values.push(word(value));
    }
    let blank = (String::new(), say(text::BLANK));
    let all = std::iter::once(blank).chain(values);
    Some(all.map(|(known, title)| Choice { selected: is(&known), value: known, title }).collect())
}

/// A field for each alternative server, and free ones.
fn alternatives(settings: &Settings, entered: Option<&Form>, complaints: &[Complaint]) -> Vec<Field> {
    let section = settings.source.section();
    let own: HashMap<u32, String> = settings
        .document
        .entries_of_all()
        .into_iter()
        .filter(|(name, ..)| *name == section)
        .filter_map(|(_, key, value)| Some((number_of(&key)?, value.as_str().to_owned())))
        .collect();
    let sent = (0..MOST_SLOTS)
        .filter(|number| entered.is_some_and(|form| form.get(&key_of(*number)).is_some_and(|it| !it.is_empty())));
    let highest = own.keys().copied().chain(sent).max();
    let slots = highest.map_or(FIRST_SLOTS, |highest| (highest + 2).clamp(FIRST_SLOTS, MOST_SLOTS));
    let row = &parameter::ALTERNATIVE_SERVER;
    let slot = |number: u32| {
        let key = key_of(number);
        let (mut enabled, mut server) = match own.get(&number).map(|value| split(value)) {
            Some((enabled, server)) => (enabled, server),
            None => (true, String::new()),
        };
        if let Some(form) = entered {
            server = form.get(&key).unwrap_or(&server).trim().to_owned();
            enabled = form.get(&format!("{key}.enabled")).map_or(enabled, |value| value == "1");
        }
        Field {
            label: format!("Server # {number}"),
            help: if number == 0 { help::of(row, settings.visit.language).to_owned() } else { String::new() },
            note: String::new(),
            error: complaints_of(settings.scope, &key, complaints),
            widget: Widget::Alternative { enabled, server },
            key,
        }
    };
    (0..slots).map(slot).collect()
}

fn key_of(number: u32) -> String {
    format!("Alternative_Server_{number}")
}

fn number_of(key: &str) -> Option<u32> {
    let stem = "Alternative_Server_";
    let number = key.get(..stem.len()).filter(|start| start.eq_ignore_ascii_case(stem)).map(|_| &key[stem.len()..])?;
    number.parse().ok().filter(|number| *number < MOST_SLOTS)
}

/// `1~~~~~~NAME`: whether it is enabled, and the name.
fn split(value: &str) -> (bool, String) {
    match value.split_once('~') {
        Some((enabled, name)) => (enabled.trim() == "1", name.trim_start_matches('~').trim().to_owned()),
        None => (true, value.to_owned()),
    }
}

/// What a form wants the settings of a scope to be.
pub fn entered(form: &Form, scope: &Scope, document: &Document) -> (Vec<(String, Entered)>, Vec<Complaint>) {
    let mut complaints = Vec::new();
    let mut entered = Vec::new();
    for row in rows(scope) {
        let sent = if row.kind == Kind::Secret {
            let part = |part: &str| form.get(&format!("{}.{part}", row.key));
            match part("do") {
                Some("clear") => Entered::Blank,
                Some("replace") => {
                    let new = part("new").unwrap_or_default();
                    if new.is_empty() {
                        complaints.push(Complaint::about(scope, row.key, "the new one is empty; clear it instead"));
                    } else if part("again").unwrap_or_default() != new {
                        complaints.push(Complaint::about(scope, row.key, "the two entries differ"));
                    }
                    Entered::Value(Zeroizing::new(new.to_owned()))
                }
                _ => Entered::Keep,
            }
        } else {
            value_of(form.get(row.key))
        };
        entered.push((row.key.to_owned(), sent));
    }
    if matches!(scope, Scope::Application(_)) {
        let section = scope.section();
        for number in 0..MOST_SLOTS {
            let key = key_of(number);
            let Some(server) = form.get(&key).map(str::trim) else { continue };
            let enabled = form.get(&format!("{key}.enabled")) == Some("1");
            let own = document.get(&section, &key);
            let same = own.as_ref().is_some_and(|own| split(own) == (enabled, server.to_owned()));
            let sent = match (same, server) {
                (true, _) => Entered::Keep,
                (false, "") => Entered::Blank,
                (false, server) => Entered::Value(Zeroizing::new(format!("{}~~~~~~{server}", u8::from(enabled)))),
            };
            entered.push((key, sent));
        }
    }
    (entered, complaints)
}

fn value_of(sent: Option<&str>) -> Entered {
    match sent.map(str::trim) {
        None => Entered::Keep,
        Some("") => Entered::Blank,
        Some(value) => Entered::Value(Zeroizing::new(value.to_owned())),
    }
}
