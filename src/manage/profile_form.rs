//! Default Parameters, and the forms of one server and of one application path: load, save, test, copy, delete.

use askama::Template;
use zeroize::Zeroizing;

use super::change::{self, Complaint, Entered, Rejected, Scope};
use super::fields::{self, Field, FieldGroup, Settings, Widget};
use super::form::Form;
use super::layout::Layout;
use super::profile_list::references;
use super::testing::TrialView;
use super::text;
use super::{Group, Page, Response, Trouble, Visit};
use crate::identity::credential;
use crate::profile::edit::Document;
use crate::profile::parameter::{Kind, SectionKind};
use crate::profile::{Profile, Role, Security};

/// Default Parameters.
pub const DEFAULTS: Page = Page {
    name: "defaults",
    title: text::DEFAULT_PARAMETERS,
    group: Some(Group::Configuration),
    below: "",
    get: |visit| show(visit, &Scope::System),
    post: Some(|visit| sent(visit, &Scope::System)),
};

/// One server.
pub const SERVER: Page = Page {
    name: "server",
    title: text::SERVER_PROFILE,
    group: None,
    below: "servers",
    get: |visit| show(visit, &named(visit, Scope::Server)),
    post: Some(|visit| sent(visit, &named(visit, Scope::Server))),
};

/// One application path.
pub const APPLICATION: Page = Page {
    name: "application",
    title: text::APPLICATION_PROFILE,
    group: None,
    below: "applications",
    get: |visit| show(visit, &named(visit, Scope::Application)),
    post: Some(|visit| sent(visit, &named(visit, Scope::Application))),
};

#[derive(Template)]
#[template(path = "profile.html")]
struct ProfilePage {
    layout: Layout,
    /// `defaults`, `server` or `application`.
    page: &'static str,
    /// Name or path; empty for the default parameters.
    name: String,
    /// It does not exist yet.
    is_new: bool,
    /// The profile that it is a copy of; empty for none.
    copy: String,
    /// `None` for the default parameters.
    enabled: Option<bool>,
    fingerprint: String,
    groups: Vec<FieldGroup>,
    errors: Vec<String>,
    name_error: String,
    is_conflict: bool,
    conflicts: Vec<Conflict>,
    has_mistakes: bool,
    /// A certificate is being ignored because of user name and password; why.
    hidden_certificate: String,
    trial: Option<TrialView>,
    can_edit: bool,
    can_test: bool,
}

#[derive(Template)]
#[template(path = "delete.html")]
struct DeletePage {
    layout: Layout,
    page: &'static str,
    list: &'static str,
    name: String,
    fingerprint: String,
    /// Where it is still named; then it cannot be deleted.
    references: Vec<String>,
}

/// A setting that somebody else has changed while a form was being filled in.
struct Conflict {
    label: String,
    theirs: String,
    ours: String,
}

/// What a form is shown with.
#[derive(Default)]
struct Sent<'a> {
    form: Option<&'a Form>,
    complaints: Vec<Complaint>,
    conflict: bool,
    trial: Option<TrialView>,
    status: Option<u16>,
}

fn named(visit: &Visit, scope: fn(String) -> Scope) -> Scope {
    let name = visit.request.query_value("name").or_else(|| visit.form.get("name").map(str::to_owned));
    scope(name.unwrap_or_default().trim().to_owned())
}

fn page_of(scope: &Scope) -> (&'static str, &'static str) {
    match scope {
        Scope::System => ("defaults", "defaults"),
        Scope::Server(_) => ("server", "servers"),
        Scope::Application(_) => ("application", "applications"),
    }
}

fn name_of(scope: &Scope) -> &str {
    match scope {
        Scope::System => "",
        Scope::Server(name) | Scope::Application(name) => name,
    }
}

/// The scope of the same kind with another name.
fn renamed(scope: &Scope, name: &str) -> Scope {
    match scope {
        Scope::System => Scope::System,
        Scope::Server(_) => Scope::Server(name.to_owned()),
        Scope::Application(_) => Scope::Application(name.to_owned()),
    }
}

fn show(visit: &Visit, scope: &Scope) -> Result<Response, Trouble> {
    let document = change::read(visit)?;
    if visit.request.query_value("delete").is_some() {
        return show_delete(visit, scope, &document);
    }
    let is_new = visit.request.query_value("new").is_some();
    if *scope != Scope::System && !is_new && !scope.is_in(&document) {
        return Err(Trouble::NotFound);
    }
    render(visit, scope, &document, is_new, Sent::default())
}

fn render(visit: &Visit, scope: &Scope, document: &Document, is_new: bool, sent: Sent) -> Result<Response, Trouble> {
    let (page, _) = page_of(scope);
    let copy = match sent.form {
        Some(form) => form.get("copy").unwrap_or_default().to_owned(),
        None => visit.request.query_value("copy").unwrap_or_default(),
    };
    let source = if is_new && !copy.is_empty() { renamed(scope, &copy) } else { scope.clone() };
    let settings = Settings::new(visit, scope, &source, document)?;
    let groups = fields::groups(&settings, sent.form, &sent.complaints);
    let enabled = match (scope, sent.form.and_then(|form| form.get("status"))) {
        (Scope::System, _) => None,
        (_, Some(status)) => Some(status == "Enabled"),
        (_, None) => Some(if is_new && copy.is_empty() { true } else { source.is_enabled(document) }),
    };
    let name_complaint = |it: &&Complaint| it.key == NAME;
    let name_error: Vec<String> = sent.complaints.iter().filter(name_complaint).map(|it| it.message.clone()).collect();
    let others: Vec<Complaint> = sent.complaints.iter().filter(|it| it.key != NAME).cloned().collect();
    let status = sent.status.unwrap_or(match (sent.conflict, sent.complaints.is_empty()) {
        (true, _) => 409,
        (false, true) => 200,
        (false, false) => 422,
    });
    let mut layout = visit.layout(page);
    if sent.conflict || !sent.complaints.is_empty() {
        layout.done = "";
    }
    let conflicts = match sent.form.filter(|_| sent.conflict) {
        Some(form) => conflicts(&settings, form, &groups),
        None => Vec::new(),
    };
    let page = ProfilePage {
        layout,
        page,
        name: name_of(scope).to_owned(),
        is_new,
        copy,
        enabled,
        fingerprint: change::fingerprint(visit, scope, document),
        groups,
        errors: fields::general(scope, &others),
        name_error: name_error.join("; "),
        is_conflict: sent.conflict,
        conflicts,
        has_mistakes: !sent.complaints.is_empty(),
        hidden_certificate: hidden_certificate(visit, scope),
        trial: sent.trial,
        can_edit: visit.who.role >= Role::Edit,
        can_test: visit.who.role >= Role::Edit && matches!(scope, Scope::Server(_)),
    };
    Ok(Response::page(status, &page))
}

/// What the complaints call the name of a new profile; no setting is called so.
const NAME: &str = "name";

/// Why a certificate is being ignored, if it is.
fn hidden_certificate(visit: &Visit, scope: &Scope) -> String {
    let Scope::Server(name) = scope else { return String::new() };
    let Ok(files) = change::source(visit) else { return String::new() };
    let Ok(loaded) = Profile::load(&files.path, &files.environment.refreshed()) else { return String::new() };
    let server = loaded.profile.server(name).map(|position| &loaded.profile.servers[position]);
    let server = server.filter(|server| server.security.value == Security::Tls);
    server.and_then(|server| credential(server).warning()).unwrap_or_default()
}

/// Where what the form wants differs from what the file now says.
fn conflicts(settings: &Settings, form: &Form, groups: &[FieldGroup]) -> Vec<Conflict> {
    let language = settings.visit.language;
    let shown = |value: String| if value.is_empty() { language.say(text::NOTHING).to_owned() } else { value };
    let of_field = |field: &Field| {
        let theirs = settings.own(&field.key).map(|own| own.as_str().to_owned()).unwrap_or_default();
        match &field.widget {
            Widget::Secret { chosen: "keep", .. } => None,
            Widget::Secret { is_set, chosen } => {
                let theirs = language.say(if *is_set { text::SECRET_SET } else { text::SECRET_NOT_SET });
                let ours = language.say(if *chosen == "clear" { text::SECRET_CLEAR } else { text::SECRET_REPLACE });
                Some(Conflict { label: field.label.clone(), theirs: theirs.to_owned(), ours: ours.to_owned() })
            }
            Widget::Alternative { .. } => None,
            Widget::Line { .. } | Widget::Choice { .. } => {
                let ours = form.get(&field.key)?.trim().to_owned();
                (ours != theirs).then(|| Conflict {
                    label: field.label.clone(),
                    theirs: shown(theirs),
                    ours: shown(ours),
                })
            }
        }
    };
    groups.iter().flat_map(|group| &group.fields).filter_map(of_field).collect()
}

fn sent(visit: &Visit, scope: &Scope) -> Result<Response, Trouble> {
    let form = &visit.form;
    match form.get("do").unwrap_or("save") {
        "save" => save(visit, scope),
        "test" => test(visit, scope),
        "delete" => delete(visit, scope),
        "enable" => switch(visit, scope, true),
        "disable" => switch(visit, scope, false),
        "clear-login" => clear_login(visit, scope),
        _ => Err(Trouble::Wrong("the form says nothing that can be done".to_owned())),
    }
}

/// Edits the document as the form says; what is wrong with that.
fn edit(document: &mut Document, visit: &Visit, scope: &Scope) -> Vec<Complaint> {
    let form = &visit.form;
    let is_new = form.get("new") == Some("1");
    let mut complaints = Vec::new();
    if is_new {
        complaints.extend(name_complaint(scope, document));
        if !complaints.is_empty() {
            return complaints;
        }
    }
    let (mut entered, wrong) = fields::entered(form, scope, document);
    complaints.extend(wrong);
    if let Some(source) = form.get("copy").filter(|copy| is_new && !copy.is_empty()).map(|copy| renamed(scope, copy)) {
        copy_secrets(document, &source, scope, &mut entered);
    }
    let enabled = form.get("status").map(|status| status == "Enabled").filter(|_| *scope != Scope::System);
    complaints.extend(change::apply(document, scope, enabled, &entered));
    if matches!(scope, Scope::Server(_)) && document.get(&scope.section(), "Ip_Address").is_none_or(|it| it.is_empty())
    {
        complaints.push(Complaint::about(scope, "Ip_Address", "a server needs a name or an IP address"));
    }
    complaints
}

/// What is wrong with the name of a new profile.
pub fn name_complaint(scope: &Scope, document: &Document) -> Option<Complaint> {
    let complain = |message: &str| Some(Complaint::about(scope, NAME, message));
    match scope {
        Scope::System => None,
        _ if name_of(scope).is_empty() => complain("a profile needs a name"),
        Scope::Server(name) if SectionKind::of(name) != SectionKind::Server => {
            complain("this is the name of a section of another kind")
        }
        Scope::Application(path) if !path.starts_with('/') => complain("a path begins with /"),
        _ if scope.is_in(document) => complain("there is one of this name already"),
        _ => None,
    }
}

/// What the browser was never sent is copied here.
fn copy_secrets(document: &mut Document, source: &Scope, scope: &Scope, entered: &mut [(String, Entered)]) {
    for row in fields::rows(scope).filter(|row| row.kind == Kind::Secret) {
        let kept = entered.iter_mut().find(|(key, entered)| key == row.key && matches!(entered, Entered::Keep));
        if let (Some((_, kept)), Some(stored)) = (kept, document.get(&source.section(), row.key)) {
            // In the form that it is stored in, which storing leaves as it is.
            *kept = if stored.is_empty() { Entered::Keep } else { Entered::Value(Zeroizing::new(stored.to_string())) };
        }
    }
}

fn save(visit: &Visit, scope: &Scope) -> Result<Response, Trouble> {
    visit.require(Role::Edit)?;
    let form = &visit.form;
    let seen = form.get("seen").unwrap_or_default();
    let is_new = form.get("new") == Some("1");
    let (_, list) = page_of(scope);
    let seen = (!is_new).then_some((scope, seen));
    let again = |sent: Sent| render(visit, scope, &change::read(visit)?, is_new, sent);
    match change::save(visit, seen, |document| edit(document, visit, scope)) {
        Ok(differences) => {
            let done = if differences.is_empty() { "unchanged" } else { "saved" };
            Ok(Response::go_to(&format!("?page={list}&done={done}")))
        }
        Err(Rejected::Trouble(trouble)) => Err(trouble),
        Err(Rejected::Complaints(complaints)) => again(Sent { form: Some(form), complaints, ..Sent::default() }),
        Err(Rejected::Conflict) => again(Sent { form: Some(form), conflict: true, ..Sent::default() }),
    }
}

/// Tries the server out with the settings of the form, which are not saved.
fn test(visit: &Visit, scope: &Scope) -> Result<Response, Trouble> {
    // Settings that are not saved can name a command to run, or send stored passwords elsewhere.
    visit.require(Role::Edit)?;
    let Scope::Server(name) = scope else { return Err(Trouble::NotFound) };
    let form = &visit.form;
    let is_new = form.get("new") == Some("1");
    let before = change::read(visit)?;
    let mut after = before.clone();
    let complaints = edit(&mut after, visit, scope);
    let again = |complaints, trial: Option<TrialView>| {
        let status = trial.is_some().then_some(200);
        render(visit, scope, &before, is_new, Sent { form: Some(form), complaints, trial, status, ..Sent::default() })
    };
    if !complaints.is_empty() {
        return again(complaints, None);
    }
    match change::try_out(change::source(visit)?, &before, &after) {
        Err(complaints) => again(complaints, None),
        Ok(None) => again(vec![Complaint::general("CSP.ini has errors; see the event log")], None),
        Ok(Some(profile)) => again(Vec::new(), Some(TrialView::run(visit, profile, name)?)),
    }
}

fn show_delete(visit: &Visit, scope: &Scope, document: &Document) -> Result<Response, Trouble> {
    visit.require(Role::Edit)?;
    if *scope == Scope::System || !scope.is_in(document) {
        return Err(Trouble::NotFound);
    }
    let (page, list) = page_of(scope);
    let page = DeletePage {
        layout: visit.layout(page),
        page,
        list,
        name: name_of(scope).to_owned(),
        fingerprint: change::fingerprint(visit, scope, document),
        references: references(scope, document),
    };
    Ok(Response::page(200, &page))
}

fn delete(visit: &Visit, scope: &Scope) -> Result<Response, Trouble> {
    let seen = visit.form.get("seen").unwrap_or_default();
    delete_profile(visit, scope, Some(seen))?;
    Ok(Response::go_to(&format!("?page={}&done=deleted", page_of(scope).1)))
}

/// Deletes a profile that nothing names any more.
pub fn delete_profile(visit: &Visit, scope: &Scope, seen: Option<&str>) -> Result<(), Trouble> {
    visit.require(Role::Edit)?;
    let seen = seen.map(|seen| (scope, seen));
    let mut absent = false;
    let outcome = change::save(visit, seen, |document| {
        absent = *scope == Scope::System || !scope.is_in(document);
        let references = references(scope, document);
        if !references.is_empty() {
            let message = format!("{} is still named by {}", name_of(scope), references.join(", "));
            return vec![Complaint::general(message)];
        }
        if absent { Vec::new() } else { change::remove(document, scope) }
    });
    if absent {
        return Err(Trouble::NotFound);
    }
    outcome.map(drop).map_err(Rejected::into_trouble)
}

fn switch(visit: &Visit, scope: &Scope, enabled: bool) -> Result<Response, Trouble> {
    set_enabled(visit, scope, enabled)?;
    Ok(Response::go_to(&format!("?page={}&done=saved", page_of(scope).1)))
}

/// Enables or disables a profile.
pub fn set_enabled(visit: &Visit, scope: &Scope, enabled: bool) -> Result<(), Trouble> {
    visit.require(Role::Edit)?;
    if !scope.is_in(&change::read(visit)?) || *scope == Scope::System {
        return Err(Trouble::NotFound);
    }
    let saved = change::save(visit, None, |document| change::apply(document, scope, Some(enabled), &[]));
    saved.map(drop).map_err(Rejected::into_trouble)
}

/// Clears user name and password, which keep the certificate from deciding.
fn clear_login(visit: &Visit, scope: &Scope) -> Result<Response, Trouble> {
    visit.require(Role::Edit)?;
    let Scope::Server(name) = scope else { return Err(Trouble::NotFound) };
    let cleared = ["Username", "Password"].map(|key| (key.to_owned(), Entered::Blank));
    if !scope.is_in(&change::read(visit)?) {
        return Err(Trouble::NotFound);
    }
    let saved = change::save(visit, None, |document| change::apply(document, scope, None, &cleared));
    saved.map_err(Rejected::into_trouble)?;
    let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    Ok(Response::go_to(&format!("?page=server&name={name}&done=saved")))
}
