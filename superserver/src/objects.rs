//! Security objects from the command line: shown, and changed through the same actions as a merge file's.

use crate::audit;
use crate::merge;
use crate::security::{Form, Kind, user_key};
use crate::store::{Store, today};
use std::fmt::Write;
use std::path::Path;

/// The names of all objects of a kind, one a line.
pub fn list(store: &Store, kind: Kind) -> Result<String, String> {
    let mut text = String::new();
    let built_in = ["%Service_Bindings", "%Service_WebGateway"];
    let keys = match kind {
        Kind::Service => built_in.map(str::to_owned).to_vec(),
        _ => store.keys(kind).map_err(|error| error.to_string())?,
    };
    for key in keys {
        let shown = store.properties(kind, &key).map_err(|error| error.to_string())?.unwrap_or_default();
        let value = |name: &str| {
            shown.iter().find(|(property, _)| *property == name).map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        let name = if value("Name").is_empty() { key.as_str() } else { value("Name") };
        let about = match kind {
            Kind::Service => format!("AutheEnabled={}", value("AutheEnabled")),
            Kind::User => format!("Roles={}", value("Roles")),
            Kind::SslConfig => format!("VerifyPeer={}", value("VerifyPeer")),
            _ => String::new(),
        };
        let state = if value("Enabled") == "0" { "disabled" } else { "enabled" };
        writeln!(text, "{name:<30} {state:<8} {about}").expect("a string takes text");
    }
    Ok(text)
}

/// Every property of one object, a line each; secrets are not shown.
pub fn show(store: &Store, kind: Kind, name: &str) -> Result<String, String> {
    let key = if kind == Kind::User { user_key(name) } else { name.to_owned() };
    let shown = store.properties(kind, &key).map_err(|error| error.to_string())?;
    let shown = shown.ok_or_else(|| format!("there is no {} {name}", kind.word()))?;
    let mut text = String::new();
    for (property, value) in shown {
        // A built-in object may have no stored name.
        let value = if property == "Name" && value.is_empty() { name } else { &value };
        writeln!(text, "{property}={value}").expect("a string takes text");
    }
    Ok(text)
}

/// Creates, modifies or deletes one object: `verb` is the action's. `properties` are `Property=Value`; passwords come from
/// somewhere else than the command line, which others can see.
pub fn change(
    store: &Store,
    verb: &str,
    kind: Kind,
    name: &str,
    properties: &[String],
    secret: Option<(&str, &str)>,
) -> Result<Vec<String>, String> {
    let mut action = format!("{verb}{}:Name={}", kind.word(), quoted(name));
    for property in properties {
        let (key, value) = property.split_once('=').ok_or_else(|| format!("{property:?}: write Property=Value"))?;
        let form = kind.property(key).map(|property| property.form);
        if matches!(form, Some(Form::Password | Form::Secret)) {
            return Err(format!("{key}=...: others can see a command line; use --password-file"));
        }
        let _ = write!(action, ",{key}={}", quoted(value));
    }
    if let Some((key, value)) = secret {
        let _ = write!(action, ",{key}={}", quoted(value));
    }
    let told =
        |problems: Vec<merge::Remark>| problems.into_iter().map(|problem| problem.text).collect::<Vec<_>>().join("\n");
    let merge = merge::parse_actions(&action, Path::new(".")).map_err(told)?;
    let done = store.apply(&merge.actions, today()).map_err(|error| match error {
        crate::store::ApplyError::Actions(problems) => told(problems),
        crate::store::ApplyError::Store(error) => error.to_string(),
    })?;
    Ok(merge.notices.into_iter().chain(done).map(|remark| remark.text).collect())
}

/// A value as the merge language takes it.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\"\""))
}

/// The counters of the audit, for people.
pub fn counters(all: &[audit::Counter]) -> String {
    let mut text = format!("{:<44} {:>8} {:>8} {:>6}\n", "event, since the start", "total", "written", "lost");
    for counter in all {
        let audit::Counter { event, total, written, lost } = counter;
        writeln!(text, "{event:<44} {total:>8} {written:>8} {lost:>6}").expect("a string takes text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_made_changed_shown_and_removed_and_show_no_secret() {
        let store = Store::in_memory().unwrap();
        let change = |verb: &str, kind, name: &str, properties: &[&str], secret| {
            let properties: Vec<String> = properties.iter().map(|it| (*it).to_owned()).collect();
            change(&store, verb, kind, name, &properties, secret)
        };
        change("Create", Kind::User, "Gate, way", &["Roles=a,b"], Some(("Password", "canary \"1\""))).unwrap();
        change("Create", Kind::SslConfig, "GW", &["Type=1"], Some(("PrivateKeyPassword", "canary2"))).unwrap();
        change("Create", Kind::Role, "Gateways", &["Resources=%Service_WebGateway:U"], None).unwrap();
        change("Modify", Kind::Service, "%Service_WebGateway", &["AutheEnabled=$$$AutheMutualTLS"], None).unwrap();
        let user = show(&store, Kind::User, "gate, WAY").unwrap();
        assert!(user.contains("Name=Gate, way\n") && user.contains("Password=(set)\n"), "{user}");
        let config = show(&store, Kind::SslConfig, "GW").unwrap();
        assert!(config.contains("PrivateKeyPassword=(set)\n"), "{config}");
        let service = show(&store, Kind::Service, "%Service_WebGateway").unwrap();
        assert!(service.contains("AutheEnabled=MutualTLS\n"), "{service}");
        let lists = [list(&store, Kind::User).unwrap(), list(&store, Kind::Service).unwrap()].concat();
        assert!(lists.contains("Gate, way") && lists.lines().all(|line| line.len() <= 80), "{lists}");
        assert!(![user, config, service, lists].concat().contains("canary"));
        let records = store.audit(&audit::Filter::default()).unwrap();
        assert!(records.iter().any(|it| it.event == "UserChange") && !format!("{records:?}").contains("canary"));

        assert!(
            change("Modify", Kind::User, "Gate, way", &["Password=x"], None).unwrap_err().contains("--password-file")
        );
        assert!(change("Modify", Kind::User, "nobody", &["Enabled=0"], None).unwrap_err().contains("does not exist"));
        assert!(change("Modify", Kind::User, "Gate, way", &["Enabled=2"], None).unwrap_err().contains("0 or 1"));
        change("Delete", Kind::User, "Gate, way", &[], None).unwrap();
        assert!(show(&store, Kind::User, "Gate, way").is_err());
    }
}
