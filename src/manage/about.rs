//! About: what runs here, and where its files are.

use askama::Template;
use serde_json::{Value, json};

use super::layout::Layout;
use super::text;
use super::{Group, Page, Response, Trouble, Visit};

/// Its row.
pub const PAGE: Page = Page { name: "about", title: text::ABOUT, group: Some(Group::Top), below: "", get, post: None };

#[derive(Template)]
#[template(path = "about.html")]
struct AboutPage {
    layout: Layout,
    facts: Vec<(&'static str, String)>,
}

fn get(visit: &Visit) -> Result<Response, Trouble> {
    let say = |text: &text::Text| visit.language.say(text);
    let about = About::of(visit);
    let facts = vec![
        (say(text::VERSION), about.version.to_owned()),
        (say(text::WEB_SERVER), about.web_server),
        (say(text::TLS_LIBRARY), about.tls.to_owned()),
        (say(text::CONFIGURATION_FILE), about.configuration),
        (say(text::SERVERS), about.servers.to_string()),
        (say(text::APPLICATIONS), about.applications.to_string()),
        (say(text::PROCESS), about.process.to_string()),
    ];
    Ok(Response::page(200, &AboutPage { layout: visit.layout("about"), facts }))
}

struct About {
    version: &'static str,
    web_server: String,
    tls: &'static str,
    configuration: String,
    servers: usize,
    applications: usize,
    process: u32,
}

impl About {
    fn of(visit: &Visit) -> About {
        About {
            version: concat!("Sclera ", env!("CARGO_PKG_VERSION")),
            web_server: visit.manage.software.clone(),
            tls: "rustls, aws-lc-rs (TLS 1.2, TLS 1.3)",
            configuration: visit.profile.path.display().to_string(),
            servers: visit.profile.servers.len(),
            applications: visit.profile.applications.len(),
            process: std::process::id(),
        }
    }
}

/// The same for programs.
pub fn call(visit: &Visit) -> Result<Value, Trouble> {
    let About { version, web_server, tls, configuration, servers, applications, process } = About::of(visit);
    let user = &visit.who.user;
    Ok(json!({
        "version": version, "web_server": web_server, "tls": tls, "configuration": configuration,
        "servers": servers, "applications": applications, "process": process,
        "user": user, "role": visit.who.role.word(), "address": visit.who.address.to_string(),
    }))
}
