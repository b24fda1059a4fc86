//! Default parameters and profiles, for programs.

use serde_json::{Map, Value, json};

use super::change::{self, Difference, Entered, Rejected, Scope};
use super::fields::{self, Settings};
use super::{Trouble, Visit, last_change, profile_form, profile_list, testing};
use crate::profile::parameter::{Kind, Parameter, SectionKind};

/// `GET defaults`.
pub fn defaults(visit: &Visit) -> Result<Value, Trouble> {
    one(visit, &Scope::System)
}

/// `PUT defaults`.
pub fn put_defaults(visit: &Visit) -> Result<Value, Trouble> {
    put(visit, &Scope::System)
}

/// `GET servers`.
pub fn servers(visit: &Visit) -> Result<Value, Trouble> {
    list(visit, "servers", SectionKind::Server)
}

/// `POST servers`.
pub fn post_server(visit: &Visit) -> Result<Value, Trouble> {
    post(visit, Scope::Server)
}

/// `GET server?name=`.
pub fn server(visit: &Visit) -> Result<Value, Trouble> {
    one(visit, &named(visit, Scope::Server)?)
}

/// `PUT server?name=`.
pub fn put_server(visit: &Visit) -> Result<Value, Trouble> {
    put(visit, &named(visit, Scope::Server)?)
}

/// `DELETE server?name=`.
pub fn delete_server(visit: &Visit) -> Result<Value, Trouble> {
    delete(visit, &named(visit, Scope::Server)?)
}

/// `GET applications`.
pub fn applications(visit: &Visit) -> Result<Value, Trouble> {
    list(visit, "applications", SectionKind::Application)
}

/// `POST applications`.
pub fn post_application(visit: &Visit) -> Result<Value, Trouble> {
    post(visit, Scope::Application)
}

/// `GET application?name=`.
pub fn application(visit: &Visit) -> Result<Value, Trouble> {
    one(visit, &named(visit, Scope::Application)?)
}

/// `PUT application?name=`.
pub fn put_application(visit: &Visit) -> Result<Value, Trouble> {
    put(visit, &named(visit, Scope::Application)?)
}

/// `DELETE application?name=`.
pub fn delete_application(visit: &Visit) -> Result<Value, Trouble> {
    delete(visit, &named(visit, Scope::Application)?)
}

fn named(visit: &Visit, scope: fn(String) -> Scope) -> Result<Scope, Trouble> {
    let name = visit.request.query_value("name").filter(|name| !name.is_empty());
    name.map(scope).ok_or_else(|| Trouble::Wrong("name: say which in the query".to_owned()))
}

fn list(visit: &Visit, what: &str, kind: SectionKind) -> Result<Value, Trouble> {
    let document = change::read(visit)?;
    let entry = |scope: &Scope| json!({ "name": name_of(scope), "enabled": scope.is_enabled(&document) });
    Ok(json!({ what: profile_list::scopes(&document, kind).iter().map(entry).collect::<Vec<_>>() }))
}

fn name_of(scope: &Scope) -> &str {
    match scope {
        Scope::System => "",
        Scope::Server(name) | Scope::Application(name) => name,
    }
}

fn one(visit: &Visit, scope: &Scope) -> Result<Value, Trouble> {
    let document = change::read(visit)?;
    if *scope != Scope::System && !scope.is_in(&document) {
        return Err(Trouble::NotFound);
    }
    let settings = Settings::new(visit, scope, scope, &document)?;
    let mut all: Map<String, Value> =
        fields::rows(scope).map(|row| (row.key.to_owned(), setting(&settings, row))).collect();
    let section = scope.section();
    for (_, key, value) in document.entries_of_all().into_iter().filter(|(name, ..)| *name == section) {
        if Parameter::find(scope.kind(), &key).is_some_and(|row| row.key.ends_with("<n>")) {
            let value = value.as_str();
            all.insert(key, json!({ "own": value, "in_force": value, "origin": null }));
        }
    }
    let enabled = (*scope != Scope::System).then(|| scope.is_enabled(&document));
    Ok(json!({
        "name": name_of(scope),
        "enabled": enabled,
        "seen": change::fingerprint(visit, scope, &document),
        "settings": all,
    }))
}

/// What the file says, what is in force, and where that stands. Of a secret, whether there is one.
fn setting(settings: &Settings, row: &Parameter) -> Value {
    let shown =
        |own: &str| if row.kind == Kind::Secret && !own.is_empty() { "(set)".to_owned() } else { own.to_owned() };
    let own = settings.own(row.key).map(|own| shown(&own));
    let (in_force, origin, _) = settings.in_force(row);
    json!({ "own": own, "in_force": in_force, "origin": origin })
}

fn put(visit: &Visit, scope: &Scope) -> Result<Value, Trouble> {
    let sent = visit.sent()?;
    let entered = entered(&sent)?;
    if *scope != Scope::System && !scope.is_in(&change::read(visit)?) {
        return Err(Trouble::NotFound);
    }
    let enabled = enabled(&sent)?.filter(|_| *scope != Scope::System);
    let seen = sent["seen"].as_str().map(|seen| (scope, seen));
    saved(change::save(visit, seen, |document| change::apply(document, scope, enabled, &entered)))
}

fn post(visit: &Visit, scope: fn(String) -> Scope) -> Result<Value, Trouble> {
    let sent = visit.sent()?;
    let name = sent["name"].as_str().unwrap_or_default().trim();
    let scope = scope(name.to_owned());
    let (entered, enabled) = (entered(&sent)?, enabled(&sent)?.unwrap_or(true));
    saved(change::save(visit, None, |document| {
        let complaints: Vec<_> = profile_form::name_complaint(&scope, document).into_iter().collect();
        if complaints.is_empty() { change::apply(document, &scope, Some(enabled), &entered) } else { complaints }
    }))
}

fn delete(visit: &Visit, scope: &Scope) -> Result<Value, Trouble> {
    profile_form::delete_profile(visit, scope, None)?;
    Ok(json!({ "deleted": name_of(scope) }))
}

fn saved(outcome: Result<Vec<Difference>, Rejected>) -> Result<Value, Trouble> {
    let differences = outcome.map_err(Rejected::into_trouble)?;
    Ok(json!({ "differences": last_change::to_json(&differences) }))
}

fn entered(sent: &Value) -> Result<Vec<(String, Entered)>, Trouble> {
    match &sent["settings"] {
        Value::Null => Ok(Vec::new()),
        settings => testing::entered(settings),
    }
}

fn enabled(sent: &Value) -> Result<Option<bool>, Trouble> {
    match &sent["enabled"] {
        Value::Null => Ok(None),
        Value::Bool(enabled) => Ok(Some(*enabled)),
        _ => Err(Trouble::Wrong("enabled: send true or false".to_owned())),
    }
}
