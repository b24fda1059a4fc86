//! `echo`: tells as JSON what arrived.

use crate::application::{Application, Exchange, Handling, Pairs, Request};
use crate::password::hex;
use aws_lc_rs::digest;
use serde_json::{Map, Value, json};

/// Answers with everything of the request, and of its body the length and the SHA-256.
pub struct Echo;

impl Application for Echo {
    fn handle<'a>(&'a self, request: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
        Box::pin(async move {
            let mut digest = digest::Context::new(&digest::SHA256);
            let mut length: u64 = 0;
            loop {
                let piece = exchange.read().await?;
                if piece.is_empty() {
                    break;
                }
                digest.update(&piece);
                length += piece.len() as u64;
            }
            let login = &request.connection.login;
            let answer = json!({
                "method": text(&request.method),
                "target": text(&request.target),
                "protocol": text(&request.protocol),
                "variables": object(&request.variables),
                "system": object(&request.system),
                "body": { "length": length, "sha256": hex(digest.finish().as_ref()) },
                "login": { "user": login.username, "mechanism": login.mechanism.to_string() },
                "process": request.connection.process,
            });
            exchange.respond(200, "application/json", format!("{answer}\n").as_bytes()).await
        })
    }
}

/// One member for each name; of a name that stands twice the last value.
fn object(pairs: &Pairs<'_>) -> Value {
    let members: Map<String, Value> = pairs.iter().map(|(name, value)| (text(name), text(value).into())).collect();
    members.into()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
