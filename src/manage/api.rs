//! The same for programs: JSON under `Module.cxw/api/`, or `Module.cxw?page=api/` where the web server hands on by file
//! type. `docs/openapi.json` describes every call.
//!
//! A call that changes something takes `Content-Type: application/json`, which a page of another site cannot send
//! unasked, so it needs no token.

use serde_json::{Value, json};

use super::{Response, Trouble, Visit, about};
use crate::profile::Role;

/// A call.
pub struct Call {
    pub method: &'static str,
    /// What follows `api/`.
    pub name: &'static str,
    /// The role that it takes.
    pub role: Role,
    pub answer: fn(&Visit) -> Result<Value, Trouble>,
}

/// Every call.
pub const CALLS: &[Call] = &[Call { method: "GET", name: "about", role: Role::View, answer: about::call }];

/// Answers a call.
pub fn answer(visit: &Visit, name: &str) -> Response {
    match call(visit, name) {
        Ok(value) => Response::json(200, &value),
        Err(trouble) => trouble.to_json(),
    }
}

fn call(visit: &Visit, name: &str) -> Result<Value, Trouble> {
    let method = match visit.request.method.as_str() {
        "HEAD" => "GET",
        method => method,
    };
    let mut named = CALLS.iter().filter(|call| call.name == name).peekable();
    if named.peek().is_none() {
        return Err(Trouble::NotFound);
    }
    let call = named.find(|call| call.method == method).ok_or(Trouble::Method)?;
    visit.require(call.role)?;
    if visit.request.is_write() {
        let kind = visit.request.header("content-type").unwrap_or_default();
        if kind.split(';').next().is_none_or(|kind| kind.trim() != "application/json") {
            return Err(Trouble::Wrong("send Content-Type: application/json".to_owned()));
        }
    }
    (call.answer)(visit)
}

impl Visit<'_> {
    /// The object that a call was sent; an empty one for an empty body.
    pub fn sent(&self) -> Result<Value, Trouble> {
        if self.request.body.is_empty() {
            return Ok(json!({}));
        }
        match serde_json::from_slice(&self.request.body) {
            Ok(value @ Value::Object(_)) => Ok(value),
            Ok(_) => Err(Trouble::Wrong("the body is no object".to_owned())),
            Err(error) => Err(Trouble::Wrong(format!("the body is no JSON: {error}"))),
        }
    }
}
