//! One request of somebody who may make it: what handlers work with.

use std::net::IpAddr;
use std::sync::Arc;

use super::form::Form;
use super::language::Language;
use super::layout::{Layout, TroublePage};
use super::{Manage, PAGES, Request, Response, Trouble, token};
use crate::event_log::Level;
use crate::profile::{Profile, Role};

/// See the module.
pub struct Visit<'a> {
    pub manage: &'a Manage,
    /// The configuration in force.
    pub profile: &'a Arc<Profile>,
    pub request: &'a Request,
    pub form: Form,
    pub language: Language,
    pub who: Who,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Who {
    /// `None` without a login.
    pub user: Option<String>,
    pub role: Role,
    pub address: IpAddr,
    /// The value of the browser's cookie: a session's id, or for those without a login whatever it is.
    pub cookie: String,
    /// The browser does not have the cookie yet.
    pub is_new: bool,
}

/// The name of the cookie.
pub const COOKIE: &str = "SCLERA_MANAGE";

impl Visit<'_> {
    /// Goes on only if whoever asks has this role.
    pub fn require(&self, role: Role) -> Result<(), Trouble> {
        if self.who.role >= role { Ok(()) } else { Err(Trouble::Role(role)) }
    }

    /// The token that forms of this page hold.
    pub fn token(&self) -> String {
        token::sign(&self.manage.sessions().key(), "form", self.who.cookie.as_bytes())
    }

    /// Whether a form holds the token of the browser that sends it.
    pub fn token_is_good(&self, given: &str) -> bool {
        !self.who.is_new && token::is_signed(&self.manage.sessions().key(), "form", self.who.cookie.as_bytes(), given)
    }

    /// What every page shows around its content.
    pub fn layout(&self, page: &str) -> Layout {
        Layout::new(self, PAGES.iter().find(|known| known.name == page))
    }

    /// A page that says what is wrong.
    pub fn trouble_page(&self, trouble: &Trouble) -> Response {
        let page = TroublePage { layout: Layout::new(self, None), message: trouble.message(self.language) };
        Response::page(trouble.status(), &page)
    }

    /// The same response, with the cookie if the browser does not have it yet.
    pub fn with_cookie(&self, response: Response) -> Response {
        let has_one = response.headers.iter().any(|(name, _)| name == "Set-Cookie");
        match self.who.is_new && !has_one && !self.who.cookie.is_empty() {
            true => response.with("Set-Cookie", &cookie(self.request, &self.who.cookie)),
            false => response,
        }
    }

    /// Writes down what somebody did, in both logs.
    pub fn audit(&self, what: &str) {
        self.manage.audit(Level::Notice, &format!("{} {what}", self.who));
    }
}

impl std::fmt::Display for Who {
    /// Such as `admin at 10.0.0.7`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.user.as_deref().unwrap_or("somebody without a login"), self.address)
    }
}

/// The header that sets the cookie: for these pages alone, out of reach of scripts and of other sites, and over TLS only
/// where the page came over TLS.
pub fn cookie(request: &Request, value: &str) -> String {
    let plain = request.base.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';' && byte != b',');
    let path = if plain && !request.base.is_empty() { &request.base } else { "/csp/bin/Systems/Module.cxw" };
    let secure = if request.https { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path={path}; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_for_the_pages_alone_and_for_https_only_where_it_came_by_https() {
        for (base, https, expected) in [
            (
                "/csp/bin/Systems/Module.cxw",
                false,
                "SCLERA_MANAGE=v; Path=/csp/bin/Systems/Module.cxw; HttpOnly; SameSite=Strict",
            ),
            (
                "/iris/csp/bin/systems/module.cxw",
                true,
                "SCLERA_MANAGE=v; Path=/iris/csp/bin/systems/module.cxw; HttpOnly; SameSite=Strict; Secure",
            ),
            (
                "/a;b/csp/bin/Systems/Module.cxw",
                false,
                "SCLERA_MANAGE=v; Path=/csp/bin/Systems/Module.cxw; HttpOnly; SameSite=Strict",
            ),
        ] {
            let request = Request { base: base.to_owned(), https, ..Request::default() };
            assert_eq!(cookie(&request, "v"), expected);
        }
    }
}
