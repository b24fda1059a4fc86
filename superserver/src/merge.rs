//! The `[Actions]` language of IRIS configuration merge, as far as it is about who may connect.
//!
//! ```text
//! [Actions]
//! # comment
//! CreateSSLConfig:Name=GWServer,Type=1,VerifyPeer=3,CAFile=ca.pem,CertificateFile=ss.pem,PrivateKeyFile=ss.key
//! CreateServer:Port=1973,BindAddress="",EnableCSP=1,SSLSupportLevel=2,SSLConfig=GWServer
//! ModifyService:Name=%Service_WebGateway,AutheEnabled=$$$AuthePassword+$$$AutheMutualTLS
//! ```
//!
//! One action a line: `Action:Property=Value,...`. A value in double quotes may hold commas and spaces, and a quote as
//! two quotes. Lines that start with `#` or `;` are comments. Other sections, and actions and properties that mean
//! something to an instance but nothing here, are passed over with a notice: one file configures both. Anything else
//! is an error, and all errors of a file come together.

use crate::security::{Form, Kind, Mechanisms, Property, user_key};
use sclera::identity::cipher_string;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// What a merge file asks for.
#[derive(Debug)]
pub struct Merge {
    /// In the order of the file, which is the order to apply them in.
    pub actions: Vec<Action>,
    /// What the file says and this server has no use for.
    pub notices: Vec<Remark>,
}

/// One action, its values checked and in normal form.
#[derive(Debug, PartialEq, Eq)]
pub struct Action {
    /// Where it stands, from 1.
    pub line: usize,
    /// What to do.
    pub verb: Verb,
    /// With which kind of object.
    pub kind: Kind,
    /// Which object: its key properties in stored form.
    pub key: String,
    /// Property and value in normal form: all that were given, the key properties always.
    pub values: Vec<(&'static str, String)>,
}

/// What an action does with its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Make it; if it exists, change it.
    Create,
    /// Change it; it must exist.
    Modify,
    /// Remove it; it must exist.
    Delete,
}

/// Something to say about one line of a merge file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The line, from 1.
    pub line: usize,
    /// What is to be said, without the place.
    pub text: String,
}

/// Reads a merge file's text. Relative file names in it belong to `directory`.
pub fn parse(text: &str, directory: &Path) -> Result<Merge, Vec<Remark>> {
    parse_from(None, text, directory)
}

/// The same for a text that is an `[Actions]` section without its head.
pub fn parse_actions(text: &str, directory: &Path) -> Result<Merge, Vec<Remark>> {
    parse_from(Some("Actions"), text, directory)
}

fn parse_from<'a>(mut section: Option<&'a str>, text: &'a str, directory: &Path) -> Result<Merge, Vec<Remark>> {
    let mut merge = Merge { actions: Vec::new(), notices: Vec::new() };
    let mut problems = Vec::new();
    for (line, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines().map(str::trim)) {
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = Some(name);
            if !is_actions(name) {
                merge.notices.push(Remark { line, text: format!("section [{name}] has no effect on this server") });
            }
            continue;
        }
        match section {
            Some(name) if is_actions(name) => match action(line, text, directory) {
                Ok(Some((action, unused))) => {
                    merge.notices.extend(unused.into_iter().map(|text| Remark { line, text }));
                    merge.actions.push(action);
                }
                Ok(None) => {
                    let text = format!("{} has no effect on this server", text.split(':').next().unwrap_or(text));
                    merge.notices.push(Remark { line, text });
                }
                Err(texts) => problems.extend(texts.into_iter().map(|text| Remark { line, text })),
            },
            Some(_) => {}
            None => {
                problems.push(Remark { line, text: "stands before the first section; start with [Actions]".into() })
            }
        }
    }
    if problems.is_empty() { Ok(merge) } else { Err(problems) }
}

fn is_actions(section: &str) -> bool {
    section.eq_ignore_ascii_case("Actions")
}

/// Actions of an instance that are about something this server does not have.
const ELSEWHERE: &[&str] = &[
    "Application",
    "Credential",
    "Database",
    "Journal",
    "LDAPConfig",
    "MapGlobal",
    "MapPackage",
    "MapRoutine",
    "Namespace",
    "OAuth2Client",
    "Production",
    "Resource",
    "ShardedCluster",
    "Wallet",
    "X509Credential",
];

type Parsed = Option<(Action, Vec<String>)>;

fn action(line: usize, text: &str, directory: &Path) -> Result<Parsed, Vec<String>> {
    let (name, rest) = text
        .split_once(':')
        .ok_or_else(|| vec![format!("{text:?} is no action; write Action:Property=Value,Property=Value")])?;
    let name = name.trim();
    let Some((verb, kind)) = verb_and_kind(name) else {
        return if means_something_elsewhere(name) { Ok(None) } else { Err(vec![unknown_action(name)]) };
    };
    let pairs = pairs(rest).map_err(|problem| vec![format!("{name}: {problem}")])?;
    let mut problems = Vec::new();
    let mut unused = Vec::new();
    let mut values: HashMap<&'static str, String> = HashMap::new();
    for (property_name, text) in pairs {
        let Some(property) = kind.property(&property_name) else {
            problems.push(format!("{name}: unknown property {property_name:?}; known are {}", known(kind)));
            continue;
        };
        match property.form.normalise(&text, directory) {
            Ok(value) if property.used => {
                unused.extend(vain(property.name, &value).map(|what| format!("{name}: {what}")));
                if values.insert(property.name, value).is_some() {
                    problems.push(format!("{name}: {} is given twice", property.name));
                }
            }
            Ok(_) => unused.push(format!("{name}: {} has no effect on this server", property.name)),
            Err(what) => problems.push(wrong_value(name, property, &text, &what)),
        }
    }
    for required in kind.key_properties() {
        if !values.contains_key(required) && problems.is_empty() {
            if *required == "BindAddress" {
                values.insert(required, String::new());
            } else {
                problems.push(format!("{name}: {required} is missing; it says which {} is meant", kind.word()));
            }
        }
    }
    problems.extend(contradiction(kind, &values).map(|problem| format!("{name}: {problem}")));
    if !problems.is_empty() {
        return Err(problems);
    }
    let key = kind.key_properties().iter().map(|name| values[name].as_str()).collect::<Vec<_>>().join("|");
    let key = if kind == Kind::User { user_key(&key) } else { key };
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable();
    Ok(Some((Action { line, verb, kind, key, values }, unused)))
}

/// What of a value selects nothing on this server.
fn vain(property: &str, value: &str) -> Option<String> {
    let words = match property {
        "CipherList" => {
            let selection = cipher_string::select(value);
            [selection.in_vain, selection.unknown].concat()
        }
        "Ciphersuites" => {
            const KNOWN: [&str; 3] =
                ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"];
            value.split(':').filter(|name| !KNOWN.contains(name)).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    (!words.is_empty()).then(|| format!("{property}: {} selects nothing on this server", words.join(", ")))
}

fn verb_and_kind(name: &str) -> Option<(Verb, Kind)> {
    let verbs = [("Create", Verb::Create), ("Modify", Verb::Modify), ("Delete", Verb::Delete)];
    let (word, verb) = verbs.into_iter().find_map(|(prefix, verb)| Some((name.strip_prefix(prefix)?, verb)))?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
    (verb == Verb::Modify || !kind.is_built_in()).then_some((verb, kind))
}

fn means_something_elsewhere(name: &str) -> bool {
    if matches!(name, "Execute") {
        return true;
    }
    let verbs = ["Create", "Modify", "Delete", "Config", "Grant", "Revoke", "Enable"];
    let Some(word) = verbs.iter().find_map(|verb| name.strip_prefix(verb)) else { return false };
    word.ends_with("Privilege") || ELSEWHERE.contains(&word)
}

fn unknown_action(name: &str) -> String {
    let mut known: Vec<String> = Vec::new();
    for kind in Kind::ALL {
        let verbs: &[&str] = if kind.is_built_in() { &["Modify"] } else { &["Create", "Modify", "Delete"] };
        known.extend(verbs.iter().map(|verb| format!("{verb}{}", kind.word())));
    }
    format!("unknown action {name:?}; known are {}", known.join(", "))
}

fn known(kind: Kind) -> String {
    kind.properties().iter().map(|property| property.name).collect::<Vec<_>>().join(", ")
}

fn wrong_value(action: &str, property: &Property, text: &str, what: &str) -> String {
    match property.form {
        Form::Password | Form::Secret => format!("{action}: {} {what}", property.name),
        _ => format!("{action}: {}={text:?} {what}", property.name),
    }
}

/// What is wrong with values that are each right by themselves.
fn contradiction(kind: Kind, values: &HashMap<&'static str, String>) -> Option<String> {
    let value = |name| values.get(name).map(String::as_str);
    match kind {
        Kind::Service => {
            let mask = value("AutheEnabled").and_then(|mask| mask.parse().ok()).unwrap_or(0);
            let mutual = Mechanisms(mask).allow(Mechanisms::MUTUAL_TLS);
            (mutual && value("Name") != Some("%Service_WebGateway"))
                .then(|| "AutheEnabled holds $$$AutheMutualTLS, which only %Service_WebGateway can have".to_owned())
        }
        Kind::SslConfig => {
            let version = |name, default| value(name).and_then(|number| number.parse::<u32>().ok()).unwrap_or(default);
            (version("TLSMinVersion", 16) > version("TLSMaxVersion", 32))
                .then(|| "TLSMinVersion is greater than TLSMaxVersion".to_owned())
        }
        _ => None,
    }
}

/// Splits `Name=Value,Name="quoted, ""value"""` into its pairs.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest
            .split_once('=')
            .ok_or_else(|| format!("{rest:?} is no Property=Value (a comma in a value needs quotes)"))?;
        let name = name.trim();
        if name.is_empty() || name.contains([',', '"']) {
            return Err(format!("{name:?} before = is no property name (a comma in a value needs quotes)"));
        }
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted).ok_or_else(|| format!("the value of {name} has no closing quote"))?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim_end().to_owned(), &after[end..])
            }
        };
        pairs.push((name.to_owned(), value));
        let left = left.trim_start();
        rest = match left.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if left.is_empty() => left,
            None => return Err(format!("after the quoted value of {name} a comma must follow, not {left:?}")),
        };
    }
    Ok(pairs)
}

/// The value up to its closing quote, and what follows. The opening quote has been taken off.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        value.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                value.push('"');
                rest = after;
            }
            None => return Some((value, rest)),
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Result<Action, Vec<String>> {
        let merge = parse(&format!("[Actions]\n{text}\n"), Path::new("/etc/sclera"));
        merge.map(|merge| merge.actions.into_iter().next().expect("an action")).map_err(texts)
    }

    fn texts(remarks: Vec<Remark>) -> Vec<String> {
        remarks.into_iter().map(|remark| remark.to_string()).collect()
    }

    #[test]
    fn an_action_has_its_values_in_normal_form_and_files_beside_the_merge_file() {
        let action = one(r#"CreateSSLConfig: name=GW , Type=1,VerifyPeer=3,CAFile=ca.pem,PrivateKeyFile="/k,ey.pem""#);
        let action = action.unwrap();
        assert_eq!((action.line, action.verb, action.kind), (2, Verb::Create, Kind::SslConfig));
        assert_eq!(action.key, "GW");
        let expected = [
            ("CAFile", "/etc/sclera/ca.pem"),
            ("Name", "GW"),
            ("PrivateKeyFile", "/k,ey.pem"),
            ("Type", "1"),
            ("VerifyPeer", "3"),
        ];
        assert_eq!(action.values, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn keys_identify_objects_and_users_without_regard_to_case() {
        assert_eq!(one("CreateUser:Name=Gateway One").unwrap().key, "gateway one");
        assert_eq!(one("DeleteServer:Port=1973").unwrap().key, "1973|");
        assert_eq!(one(r#"ModifyServer:BindAddress="",Port=01973"#).unwrap().key, "1973|");
        let event = one("ModifyEvent:Source=%System,Type=%Login,Name=LoginFailure,Enabled=1").unwrap();
        assert_eq!(event.key, "%System|%Login|LoginFailure");
        assert_eq!(one("ModifySystem:AuditEnabled=1").unwrap().key, "");
    }

    #[test]
    fn mechanism_names_become_the_mask() {
        let service = one("ModifyService:Name=%Service_WebGateway,AutheEnabled=$$$AuthePassword+$$$AutheMutualTLS");
        assert!(service.unwrap().values.contains(&("AutheEnabled", "33554464".to_owned())));
    }

    #[test]
    fn a_password_is_a_hash_as_soon_as_it_is_read_and_stands_in_no_message() {
        let action = one(r#"CreateUser:Name=alice,Password="se,""cret""#).unwrap();
        assert!(!format!("{action:?}").contains("cret"));
        let (_, stored) = action.values.iter().find(|(name, _)| *name == "Password").unwrap();
        assert!(stored.parse::<crate::password::PasswordHash>().unwrap().matches("se,\"cret"));
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = "Port=1\n\
                    [Actions]\n\
                    CreateUsr:Name=x\n\
                    CreateServer:Port=99999,EnableCSP=yes,Colour=red\n\
                    ; comment\n\
                    CreateUser:Password=x\n\
                    CreateUser:Name=a@b\n\
                    ModifyService:Name=%Service_Bindings,AutheEnabled=$$$AutheMutualTLS\n\
                    CreateSSLConfig:Name=\"x\n\
                    DeleteService:Name=%Service_Bindings\n\
                    CreateUser:Name=a,Name=b\n\
                    CreateSSLConfig:Name=x,TLSMinVersion=32,TLSMaxVersion=16\n";
        let problems = texts(parse(text, Path::new("/")).unwrap_err());
        let starts = [
            "line 1: stands before the first section",
            "line 3: unknown action \"CreateUsr\"",
            "line 4: CreateServer: Port=\"99999\" must be a number from 0 to 65535",
            "line 4: CreateServer: EnableCSP=\"yes\" must be 0 or 1",
            "line 4: CreateServer: unknown property \"Colour\"",
            "line 6: CreateUser: Name is missing",
            "line 7: CreateUser: Name=\"a@b\" must not contain",
            "line 8: ModifyService: AutheEnabled holds $$$AutheMutualTLS, which only %Service_WebGateway",
            "line 9: CreateSSLConfig: the value of Name has no closing quote",
            "line 10: unknown action \"DeleteService\"",
            "line 11: CreateUser: Name is given twice",
            "line 12: CreateSSLConfig: TLSMinVersion is greater",
        ];
        assert_eq!(problems.len(), starts.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem:?} should start with {start:?}");
        }
    }

    #[test]
    fn what_only_an_instance_understands_is_passed_over_and_said() {
        let text = "[Startup]\nDefaultPort=1972\n[Actions]\nCreateNamespace:Name=X\nCreateResource:Name=r\n\
                    GrantPrivilege:Name=r\nCreateUser:Name=a,FullName=\"A\"\n";
        let merge = parse(text, Path::new("/")).unwrap();
        assert_eq!(merge.actions.len(), 1);
        assert_eq!(merge.actions[0].values.len(), 1);
        let lines: Vec<usize> = merge.notices.iter().map(|notice| notice.line).collect();
        assert_eq!(lines, [1, 4, 5, 6, 7]);
    }

    proptest! {
        #[test]
        fn any_value_survives_quoting(value in "[^\r\n]{0,40}") {
            let quoted = format!("Name=\"{}\",Next=1", value.replace('"', "\"\""));
            let expected = vec![("Name".to_owned(), value), ("Next".to_owned(), "1".to_owned())];
            prop_assert_eq!(pairs(&quoted), Ok(expected));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(\\[Actions\\]\n)?(Create(User|Server):)?\\PC{0,60}") {
            let _ = parse(&text, Path::new("/"));
        }
    }
}
