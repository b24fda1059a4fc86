//! The management pages and their JSON, at the reserved path `/csp/bin/Systems/Module.cxw`.
//!
//! A complete [`Request`] goes in, a complete [`Response`] comes out; answering may block, so it is an errand
//! (`pool/errand.rs`) and never happens on a web server's event loop. On the way: is the client one that may ask
//! ([`access`]), who is it ([`login`]), which page or call is meant ([`PAGES`], [`api::CALLS`]), may this role do that.
//!
//! A page is a file with its handler, a template, and a row of [`PAGES`]. Pages are named in the query (`?page=about`),
//! because a web server that hands on by file type (`CSPFileTypes`) knows the path up to `.cxw` only; calls stand in the
//! path too (`Module.cxw/api/about`).

mod about;
pub mod access;
pub mod api;
mod change;
mod event_log;
mod fields;
mod form;
mod help;
mod language;
mod last_change;
mod layout;
mod login;
mod mutual_tls;
mod profile_call;
mod profile_form;
mod profile_list;
mod reply;
pub mod request;
mod scrape;
mod system_status;
mod testing;
pub mod text;
mod token;
mod trace;
mod visit;

use std::sync::Arc;
use std::time::Duration;

pub use reply::{Response, Trouble};
pub use request::Request;
pub use scrape::Scrape;
pub use visit::{Visit, Who};

use crate::event_log::{Event, Level, Log, kinds};
use crate::failure::Failure;
use crate::ledger::session::SessionTable;
use crate::ledger::{Ledger, now_ms};
use crate::pool::configuration::Source;
use crate::pool::view::View;
use crate::pool::worker::Worker;
use crate::profile::{Management, Profile, Role, Route};
use form::Form;
use language::Language;
use text::Text;

/// The largest body of a request, in bytes.
pub const BODY_LIMIT: usize = 256 * 1024;
/// No login lasts longer than this, however busy, unless `SM_Timeout` is longer.
const LONGEST_SESSION: Duration = Duration::from_secs(24 * 3600);

/// What answering needs of a worker, as it is now.
pub struct Manage {
    view: Arc<View>,
    profile: Arc<Profile>,
    source: Option<Source>,
    ledger: Arc<Ledger>,
    software: String,
    log: Log,
}

/// Answers a request for a page.
pub type Handler = fn(&Visit) -> Result<Response, Trouble>;

/// A page.
pub struct Page {
    /// What the query calls it.
    pub name: &'static str,
    pub title: &'static Text,
    /// Where the menu has it; `None`: nowhere.
    pub group: Option<Group>,
    /// Its menu entry is marked as current on this page too; for pages below another one.
    pub below: &'static str,
    pub get: Handler,
    /// What its forms send. The handler asks for the role that it takes ([`Visit::require`]).
    pub post: Option<Handler>,
}

/// The groups of the menu, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Without a heading.
    Top,
    Management,
    Configuration,
}

/// Every page, in the order of the menu.
pub const PAGES: &[Page] = &[
    about::PAGE,
    system_status::PAGE,
    testing::PAGE,
    mutual_tls::PAGE,
    event_log::PAGE,
    trace::PAGE,
    profile_form::DEFAULTS,
    profile_list::SERVERS,
    profile_form::SERVER,
    profile_list::APPLICATIONS,
    profile_form::APPLICATION,
    last_change::PAGE,
];

impl Manage {
    /// Writes down in both logs what somebody did.
    fn audit(&self, level: Level, what: &str) {
        self.log.tell(Event::new(level, kinds::AUDIT, "Management").details(&format!("management: {what}")));
    }

    /// What answers for a worker.
    ///
    /// # Errors
    ///
    /// That there are no pages: they are switched off, or there is no configuration that says who may see them.
    pub fn of(worker: &Worker) -> Result<Manage, Failure> {
        let view = worker.view();
        let profile = view.profile().clone()?;
        if let Some(failure) = Route::Management.failure(&profile) {
            return Err(failure);
        }
        Ok(Manage {
            view,
            profile,
            source: worker.source().cloned(),
            ledger: worker.ledger().clone(),
            software: worker.software().to_owned(),
            log: worker.log().clone(),
        })
    }

    /// Answers a request. May block for seconds.
    pub fn answer(&self, request: &Request) -> Response {
        let settings = &self.profile.system.management;
        let language = Language::of(request.header("accept-language"));
        let Some(client) = access::judge(settings, request) else {
            let who = format!("a management page is refused to {}", access::describe(request.client));
            // A notice, so that a stranger who asks again and again is summed up.
            self.log.tell(Event::new(Level::Notice, kinds::GATEWAY, "Management page refused").details(&who));
            return reply::unauthorized(request, language);
        };
        let place = Place::of(request);
        if let Place::Style = place {
            return reply::style();
        }
        if request.is_write() && !access::is_same_origin(request) {
            return Response::plain(403, "This request comes from a page of another site.");
        }
        let form = Form::of(request);
        if login::is_attempt(request, &place, &form) {
            return login::attempt(self, settings, request, &client, &form, language);
        }
        let who = match login::identify(self, settings, request, &place, &client) {
            Ok(who) => who,
            Err(login::Unknown::LogIn) => return login::ask(settings, request, &place, &client, language),
            Err(login::Unknown::Wait(milliseconds)) => return login::wait(milliseconds, language),
        };
        let visit = Visit { manage: self, profile: &self.profile, request, form, language, who };
        let response = visit.dispatch(&place);
        visit.with_cookie(response)
    }

    fn sessions(&self) -> &SessionTable {
        self.ledger.sessions()
    }

    fn now(&self) -> u64 {
        now_ms()
    }

    fn session_times(settings: &Management) -> (u64, u64) {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        (milliseconds(settings.timeout), milliseconds(settings.timeout.max(LONGEST_SESSION)))
    }
}

/// What is asked for.
pub enum Place {
    /// The style sheet.
    Style,
    /// A page by its name.
    Page(String),
    /// A call by its name.
    Api(String),
    Nowhere,
}

impl Place {
    fn of(request: &Request) -> Place {
        let named = match request.place.as_str() {
            "" | "/" => match request.query_value("page") {
                None => return Place::Page("about".to_owned()),
                Some(name) => name,
            },
            place => match place[1..].strip_prefix("api/") {
                Some(call) => return Place::Api(call.to_owned()),
                None => return Place::Nowhere,
            },
        };
        match named.strip_prefix("api/") {
            Some(call) => Place::Api(call.to_owned()),
            None if named == "style.css" => Place::Style,
            None => Place::Page(named),
        }
    }
}

impl Visit<'_> {
    fn dispatch(&self, place: &Place) -> Response {
        match place {
            Place::Page(name) => match self.page(name) {
                Ok(response) => response,
                Err(trouble) => self.trouble_page(&trouble),
            },
            Place::Api(name) => api::answer(self, name),
            Place::Style | Place::Nowhere => self.trouble_page(&Trouble::NotFound),
        }
    }

    fn page(&self, name: &str) -> Result<Response, Trouble> {
        let page = PAGES.iter().find(|page| page.name == name);
        match (self.request.method.as_str(), page) {
            ("POST", _) if !self.token_is_good(self.form.get("token").unwrap_or_default()) => Err(Trouble::OldForm),
            ("POST", _) if name == login::LOGOUT => Ok(login::end(self)),
            (_, None) => Err(Trouble::NotFound),
            ("GET" | "HEAD", Some(page)) => (page.get)(self),
            ("POST", Some(Page { post: Some(post), .. })) => post(self),
            _ => Err(Trouble::Method),
        }
    }
}

/// The role of a session row.
fn role_of(number: u8) -> Role {
    Role::ALL.get(usize::from(number)).copied().unwrap_or(Role::View)
}
