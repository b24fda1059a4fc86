//! What goes back to the browser, and what can be wrong.

use askama::Template;
use serde_json::{Value, json};

use super::language::Language;
use super::{Request, text};
use crate::profile::Role;

/// A complete response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Why a page is not given, or a change not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    NotFound,
    /// The page does not take this method.
    Method,
    /// The form has no token, or that of another session.
    OldForm,
    /// It takes this role.
    Role(Role),
    /// What was sent cannot be used; why.
    Wrong(String),
    /// Somebody else changed it meanwhile; what.
    Conflict(String),
    /// It cannot be done as things stand, such as with `READONLY=2`; why, and what to do.
    Impossible(String),
}

/// What every response says about itself: it is nobody else's, it runs nothing, and nothing may frame it.
const ALWAYS: [(&str, &str); 7] = [
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

impl Response {
    /// A response of some type.
    pub fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Response {
        let always = ALWAYS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let headers = std::iter::once(("Content-Type".to_owned(), kind.to_owned())).chain(always).collect();
        Response { status, headers, body: body.into() }
    }

    /// A page.
    pub fn page(status: u16, page: &impl Template) -> Response {
        match page.render() {
            Ok(text) => Response::new(status, "text/html; charset=utf-8", text),
            Err(error) => Response::plain(500, &format!("The page cannot be written: {error}")),
        }
    }

    /// A sentence.
    pub fn plain(status: u16, text: &str) -> Response {
        Response::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    /// For programs.
    pub fn json(status: u16, value: &Value) -> Response {
        Response::new(status, "application/json", format!("{value:#}\n"))
    }

    /// To another page, after a form: reading that page again repeats nothing.
    pub fn go_to(query: &str) -> Response {
        Response::new(303, "text/plain; charset=utf-8", "").with("Location", query)
    }

    /// With one more header.
    pub fn with(mut self, name: &str, value: &str) -> Response {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Trouble {
    /// The status that belongs to it.
    pub fn status(&self) -> u16 {
        match self {
            Trouble::NotFound => 404,
            Trouble::Method => 405,
            Trouble::OldForm | Trouble::Role(_) => 403,
            Trouble::Wrong(_) => 422,
            Trouble::Conflict(_) => 409,
            Trouble::Impossible(_) => 503,
        }
    }

    /// What to tell.
    pub fn message(&self, language: Language) -> String {
        match self {
            Trouble::NotFound => language.say(text::NOT_FOUND).to_owned(),
            Trouble::Method => language.say(text::WRONG_METHOD).to_owned(),
            Trouble::OldForm => language.say(text::OLD_FORM).to_owned(),
            Trouble::Role(role) => text::NEEDS_ROLE.with(language, &[role.word()]),
            Trouble::Wrong(what) | Trouble::Conflict(what) | Trouble::Impossible(what) => what.clone(),
        }
    }

    /// For programs.
    pub fn to_json(&self) -> Response {
        Response::json(self.status(), &json!({ "error": self.message(Language::English) }))
    }
}

/// The style sheet.
pub fn style() -> Response {
    Response::new(200, "text/css; charset=utf-8", include_str!("templates/style.css"))
}

#[derive(Template)]
#[template(path = "unauthorized.html")]
struct Unauthorized {
    language: Language,
}

/// For strangers: the words of the original, and nothing about what is here.
pub fn unauthorized(request: &Request, language: Language) -> Response {
    let wants_json =
        request.place.starts_with("/api/") || request.query_value("page").is_some_and(|it| it.starts_with("api/"));
    match wants_json {
        true => Response::json(403, &json!({ "error": text::UNAUTHORIZED.english })),
        false => Response::page(403, &Unauthorized { language }),
    }
}
