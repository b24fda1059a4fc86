//! What every page has around its content: the menu, who is logged in, and warnings that stand as long as their reason.

use askama::Template;

use super::access::{self, Need};
use super::language::Language;
use super::text::{self, Text};
use super::{Group, PAGES, Page, Visit};
use crate::profile::ManagementPassword;

/// See the module.
pub struct Layout {
    pub language: Language,
    pub title: &'static str,
    pub menu: Vec<MenuGroup>,
    /// Who is logged in; empty without a login.
    pub user: String,
    pub role: &'static str,
    pub token: String,
    pub warnings: Vec<String>,
    /// What the form before has done; empty for nothing.
    pub done: &'static str,
}

/// A group of the menu.
pub struct MenuGroup {
    /// Empty for the first.
    pub heading: &'static str,
    pub entries: Vec<MenuEntry>,
}

/// An entry of the menu.
pub struct MenuEntry {
    pub name: &'static str,
    pub title: &'static str,
    pub current: bool,
}

/// A page that says what is wrong.
#[derive(Template)]
#[template(path = "trouble.html")]
pub struct TroublePage {
    pub layout: Layout,
    pub message: String,
}

impl Layout {
    /// `page`: `None` for what is no page of the menu.
    pub fn new(visit: &Visit, page: Option<&Page>) -> Layout {
        let language = visit.language;
        let entry = |known: &'static Page| MenuEntry {
            name: known.name,
            title: language.say(known.title),
            current: page.is_some_and(|page| page.name == known.name || page.below == known.name),
        };
        let group = |(group, heading): (Group, Option<&Text>)| MenuGroup {
            heading: heading.map_or("", |heading| language.say(heading)),
            entries: PAGES.iter().filter(|page| page.group == Some(group)).map(entry).collect(),
        };
        let groups = [
            (Group::Top, None),
            (Group::Management, Some(text::MANAGEMENT)),
            (Group::Configuration, Some(text::CONFIGURATION)),
        ];
        Layout {
            language,
            title: language.say(page.map_or(text::TROUBLE, |page| page.title)),
            menu: groups.into_iter().map(group).filter(|group| !group.entries.is_empty()).collect(),
            user: visit.who.user.clone().unwrap_or_default(),
            role: visit.who.role.word(),
            token: visit.token(),
            warnings: warnings(visit),
            done: done(visit),
        }
    }

    /// A text in the language of the page.
    pub fn say(&self, text: &Text) -> &'static str {
        self.language.say(text)
    }
}

/// What should not stay as it is, seen from whoever asks.
fn warnings(visit: &Visit) -> Vec<String> {
    let settings = &visit.profile.system.management;
    let say = |text: &Text| visit.language.say(text).to_owned();
    let mut warnings = Vec::new();
    if settings.clients.value.admit_everyone() {
        warnings.push(say(text::WARN_EVERYONE));
    }
    let client = access::judge(settings, visit.request);
    if let Some(client) = client.filter(|client| access::need(settings, client) != Need::Login) {
        warnings.push(say(text::WARN_NO_LOGIN));
        if !client.by_own_name {
            warnings.push(say(text::WARN_OTHER_NAME));
        }
    }
    match settings.password.value {
        ManagementPassword::Clear(_) => warnings.push(say(text::WARN_CLEAR_PASSWORD)),
        ManagementPassword::Unverifiable => warnings.push(say(text::UNVERIFIABLE)),
        ManagementPassword::None | ManagementPassword::Hashed(_) => {}
    }
    if !visit.request.https && !visit.who.address.is_loopback() {
        warnings.push(say(text::WARN_PLAIN_HTTP));
    }
    warnings
}

/// What the query says that the form before has done; only what we know.
fn done(visit: &Visit) -> &'static str {
    let word = visit.request.query_value("done").unwrap_or_default();
    text::DONE.iter().find(|(known, _)| *known == word).map_or("", |(_, text)| visit.language.say(text))
}
