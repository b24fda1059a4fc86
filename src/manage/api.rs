//! The same for programs: JSON under `Module.cxw/api/`, or `Module.cxw?page=api/` where the web server hands on by file
//! type. `docs/openapi.json` describes every call.
//!
//! A call that changes something takes `Content-Type: application/json`, which a page of another site cannot send
//! unasked, so it needs no token.

use serde_json::{Value, json};

use super::{
    Response, Trouble, Visit, about, event_log, last_change, mutual_tls, profile_call, system_status, testing, trace,
};
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
pub const CALLS: &[Call] = &[
    Call { method: "GET", name: "about", role: Role::View, answer: about::call },
    Call { method: "GET", name: "defaults", role: Role::View, answer: profile_call::defaults },
    Call { method: "PUT", name: "defaults", role: Role::Edit, answer: profile_call::put_defaults },
    Call { method: "GET", name: "servers", role: Role::View, answer: profile_call::servers },
    Call { method: "POST", name: "servers", role: Role::Edit, answer: profile_call::post_server },
    Call { method: "GET", name: "server", role: Role::View, answer: profile_call::server },
    Call { method: "PUT", name: "server", role: Role::Edit, answer: profile_call::put_server },
    Call { method: "DELETE", name: "server", role: Role::Edit, answer: profile_call::delete_server },
    Call { method: "GET", name: "applications", role: Role::View, answer: profile_call::applications },
    Call { method: "POST", name: "applications", role: Role::Edit, answer: profile_call::post_application },
    Call { method: "GET", name: "application", role: Role::View, answer: profile_call::application },
    Call { method: "PUT", name: "application", role: Role::Edit, answer: profile_call::put_application },
    Call { method: "DELETE", name: "application", role: Role::Edit, answer: profile_call::delete_application },
    Call { method: "GET", name: "status", role: Role::View, answer: system_status::call },
    Call { method: "POST", name: "close", role: Role::Operate, answer: system_status::call_close },
    Call { method: "POST", name: "order", role: Role::Operate, answer: system_status::call_order },
    Call { method: "POST", name: "test", role: Role::Operate, answer: testing::call },
    Call { method: "GET", name: "mutual-tls", role: Role::View, answer: mutual_tls::call },
    Call { method: "GET", name: "event-log", role: Role::View, answer: event_log::call },
    Call { method: "DELETE", name: "event-log", role: Role::Edit, answer: event_log::call_clear },
    Call { method: "GET", name: "trace", role: Role::View, answer: trace::call },
    Call { method: "DELETE", name: "trace", role: Role::Operate, answer: trace::call_clear },
    Call { method: "GET", name: "last-change", role: Role::View, answer: last_change::call },
    Call { method: "POST", name: "undo", role: Role::Edit, answer: last_change::call_undo },
];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_described_and_every_description_is_a_call() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut described = Vec::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let name = path.strip_prefix("/api/").unwrap();
                described.push(format!("{} {name} {}", method.to_uppercase(), operation["x-role"].as_str().unwrap()));
            }
        }
        let mut calls: Vec<String> =
            CALLS.iter().map(|it| format!("{} {} {}", it.method, it.name, it.role.word())).collect();
        described.sort();
        calls.sort();
        assert_eq!(described, calls);
    }
}
