//! Server Access and Application Access: the lists of profiles.

use askama::Template;

use super::change::{self, Scope};
use super::layout::Layout;
use super::text;
use super::{Group, Page, Response, Trouble, Visit};
use crate::identity::credential;
use crate::profile::edit::Document;
use crate::profile::parameter::{self, SectionKind};
use crate::profile::{Profile, Role, Security};

/// Server Access.
pub const SERVERS: Page = Page {
    name: "servers",
    title: text::SERVER_ACCESS,
    group: Some(Group::Configuration),
    below: "",
    get: |visit| show(visit, SectionKind::Server),
    post: None,
};

/// Application Access.
pub const APPLICATIONS: Page = Page {
    name: "applications",
    title: text::APPLICATION_ACCESS,
    group: Some(Group::Configuration),
    below: "",
    get: |visit| show(visit, SectionKind::Application),
    post: None,
};

#[derive(Template)]
#[template(path = "list.html")]
struct ListPage {
    layout: Layout,
    /// The page of one profile.
    page: &'static str,
    caption: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Row>,
    /// What is wrong with the file.
    errors: Vec<String>,
    can_edit: bool,
}

/// A profile.
pub struct Row {
    pub name: String,
    pub enabled: bool,
    /// In the order of the columns.
    pub cells: Vec<String>,
}

fn show(visit: &Visit, kind: SectionKind) -> Result<Response, Trouble> {
    let document = change::read(visit)?;
    let files = change::source(visit)?;
    let loaded = Profile::load_as(&files.path, document.bytes(), &files.environment.refreshed());
    let profile = loaded.as_ref().ok().map(|loaded| &loaded.profile);
    let errors = loaded.as_ref().err().into_iter().flatten().map(ToString::to_string).collect();
    let say = |text: &text::Text| visit.language.say(text);
    let row = |scope: Scope| Row {
        enabled: scope.is_enabled(&document),
        cells: match &scope {
            Scope::Server(name) => server_cells(profile, name),
            Scope::Application(path) => application_cells(profile, path),
            Scope::System => Vec::new(),
        },
        name: match scope {
            Scope::Server(name) | Scope::Application(name) => name,
            Scope::System => String::new(),
        },
    };
    let rows: Vec<Row> = scopes(&document, kind).into_iter().map(row).collect();
    let is_server = kind == SectionKind::Server;
    let page = ListPage {
        layout: visit.layout(if is_server { "servers" } else { "applications" }),
        page: if is_server { "server" } else { "application" },
        caption: say(if is_server { text::SERVERS_CAPTION } else { text::APPLICATIONS_CAPTION }),
        columns: match is_server {
            true => vec![say(text::ADDRESS), say(text::PROTECTION), say(text::CREDENTIAL)],
            false => vec![say(text::SERVER), say(text::ALTERNATIVES)],
        },
        rows,
        errors,
        can_edit: visit.who.role >= Role::Edit,
    };
    Ok(Response::page(200, &page))
}

fn server_cells(profile: Option<&Profile>, name: &str) -> Vec<String> {
    let server = profile.and_then(|profile| Some(&profile.servers[profile.server(name)?]));
    let Some(server) = server else { return vec![String::new(); 3] };
    let address = match server.address.value.contains(':') {
        true => format!("[{}]:{}", server.address.value, server.port.value),
        false => format!("{}:{}", server.address.value, server.port.value),
    };
    let protection = match server.security.value {
        Security::Password => "-".to_owned(),
        Security::Kerberos(level) => format!("Kerberos ({level})"),
        Security::Tls => "TLS".to_owned(),
    };
    vec![address, protection, credential(server).name().to_owned()]
}

fn application_cells(profile: Option<&Profile>, path: &str) -> Vec<String> {
    let application = profile.and_then(|profile| profile.applications.iter().find(|it| it.path == path));
    let Some((application, profile)) = application.zip(profile) else { return vec![String::new(); 2] };
    let server = application.default_server.as_ref().unwrap_or(&profile.system.default_server);
    let alternatives = application.alternatives.iter().map(|it| it.server.value.as_str()).collect::<Vec<_>>();
    vec![server.value.clone(), alternatives.join(", ")]
}

/// The profiles of a kind, in the order of the index and then of the file.
pub fn scopes(document: &Document, kind: SectionKind) -> Vec<Scope> {
    let index = if kind == SectionKind::Server { SectionKind::ServerIndex } else { SectionKind::ApplicationIndex };
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: String| {
        let same = |known: &String| match kind {
            SectionKind::Application => *known == name,
            _ => known.eq_ignore_ascii_case(&name),
        };
        if !names.iter().any(same) {
            names.push(name);
        }
    };
    let all = document.entries_of_all();
    all.iter().filter(|it| SectionKind::of(&it.0) == index).for_each(|it| add(it.1.clone()));
    for (section, ..) in all.iter().filter(|it| SectionKind::of(&it.0) == kind) {
        add(if kind == SectionKind::Application {
            section["APP_PATH:".len()..].trim().to_owned()
        } else {
            section.clone()
        });
    }
    let scope = |name| if kind == SectionKind::Server { Scope::Server(name) } else { Scope::Application(name) };
    names.into_iter().map(scope).collect()
}

/// Where a server is named, so that it cannot be deleted.
pub fn references(scope: &Scope, document: &Document) -> Vec<String> {
    let Scope::Server(name) = scope else { return Vec::new() };
    let mut found = Vec::new();
    let default = document.get("SYSTEM", "Default_Server");
    let default = default.as_ref().map_or(parameter::DEFAULT_SERVER.default, |value| value.as_str());
    if default.eq_ignore_ascii_case(name) {
        found.push("[SYSTEM] Default_Server".to_owned());
    }
    for (section, key, value) in document.entries_of_all() {
        let named = match SectionKind::of(&section) {
            SectionKind::Application if key.eq_ignore_ascii_case("Default_Server") => value.as_str(),
            SectionKind::Application if key.to_ascii_lowercase().starts_with("alternative_server_") => {
                value.rsplit('~').next().unwrap_or_default()
            }
            _ => continue,
        };
        if named.trim().eq_ignore_ascii_case(name) {
            found.push(format!("[{section}] {key}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_the_system_by_paths_and_as_an_alternative() {
        let text = "[SYSTEM_INDEX]\nA=Enabled\n[B]\nx=1\n[APP_PATH:/x]\nDefault_Server=a\n\
                    Alternative_Server_0=1~~~~~~B\nAlternative_Server_1=0~C\n[APP_PATH_INDEX]\n/y=Enabled\n";
        let document = Document::new(text.as_bytes().to_vec());
        for (name, expected) in [
            ("A", vec!["[APP_PATH:/x] Default_Server"]),
            ("b", vec!["[APP_PATH:/x] Alternative_Server_0"]),
            ("C", vec!["[APP_PATH:/x] Alternative_Server_1"]),
            ("local", vec!["[SYSTEM] Default_Server"]),
            ("D", vec![]),
        ] {
            assert_eq!(references(&Scope::Server(name.to_owned()), &document), expected, "{name}");
        }
        let names =
            |kind| -> Vec<String> { scopes(&document, kind).into_iter().map(|scope| scope.section()).collect() };
        assert_eq!(names(SectionKind::Server), ["A", "B"]);
        assert_eq!(names(SectionKind::Application), ["APP_PATH:/y", "APP_PATH:/x"]);
    }
}
