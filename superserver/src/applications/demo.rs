//! The test form at `/csp/demo/`: shows who the server takes the gateway for.

use crate::application::{Application, Connection, Exchange, Handling, Request};
use crate::session::{VERSION, identity};

/// Answers `/csp/demo` and `/csp/demo/`; what lies below and has no application of its own is not found.
pub struct TestForm;

impl Application for TestForm {
    fn handle<'a>(&'a self, request: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
        Box::pin(async move {
            match request.path() {
                b"/csp/demo" | b"/csp/demo/" => {
                    exchange.respond(200, "text/html; charset=utf-8", page(request.connection).as_bytes()).await
                }
                _ => exchange.respond(404, "text/plain", b"There is no such page below /csp/demo/.\n").await,
            }
        })
    }
}

/// The page. Each fact is one line of text, so that it can be searched for.
fn page(connection: &Connection) -> String {
    let mut facts = vec![
        format!("Server version: {VERSION}"),
        format!("Server process: {}", connection.process),
        format!("Login identity: {}", identity(&connection.login)),
        format!("Gateway address: {}", connection.peer),
        format!("Namespace: {}", connection.namespace),
    ];
    match &connection.tls {
        None => facts.push("TLS: none; the connection from the gateway is plain".to_owned()),
        Some(tls) => {
            facts.push(format!("TLS: {}, {}", tls.version, tls.suite));
            facts.push(match &tls.client {
                None => "Client certificate: none".to_owned(),
                Some(client) => {
                    format!("Client certificate: CN={}, serial {}", client.common_names.join(" CN="), client.serial)
                }
            });
        }
    }
    let lines: String = facts.iter().map(|fact| format!("<li>{}</li>\n", escaped(fact))).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>CSP Test Form</title>\n\
         <style>body {{ font: 16px/1.5 sans-serif; max-width: 44em; margin: 2em auto; padding: 0 1em }}</style>\n\
         </head>\n<body>\n<h1>CSP Test Form</h1>\n\
         <p>The gateway reached the superserver. This is what the superserver knows of the connection:</p>\n\
         <ul>\n{lines}</ul>\n\
         <p>Below this page: <a href=\"/csp/demo/echo\">echo</a>,\n\
         <a href=\"/csp/demo/stream?n=5&amp;bytes=100&amp;delay_ms=500\">stream</a>,\n\
         <a href=\"/csp/demo/slow?ms=1000\">slow</a>,\n\
         <a href=\"/csp/demo/big?bytes=1000000\">big</a>,\n\
         <a href=\"/csp/demo/status/418\">status</a>,\n\
         <a href=\"/csp/demo/fail?after=100\">fail</a></p>\n</body>\n</html>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::{Granted, Mechanism};
    use crate::tls::{ClientCertificate, TlsFacts};

    #[test]
    fn each_fact_stands_on_a_line_of_its_own_and_is_escaped() {
        let client = ClientCertificate { common_names: vec!["gw<1>".into()], serial: "0A".into(), not_after: 0 };
        let tls = TlsFacts { version: "TLSv1.3", suite: "TLS_AES_256_GCM_SHA384".into(), client: Some(client) };
        let page = page(&Connection {
            process: 4711,
            login: Granted { username: "gw<1>".into(), mechanism: Mechanism::MutualTls },
            tls: Some(tls),
            peer: "127.0.0.1:40000".parse().unwrap(),
            namespace: "USER".into(),
        });
        for line in [
            "<li>Login identity: gw&lt;1&gt; (mutual TLS)</li>",
            "<li>Server process: 4711</li>",
            "<li>TLS: TLSv1.3, TLS_AES_256_GCM_SHA384</li>",
            "<li>Client certificate: CN=gw&lt;1&gt;, serial 0A</li>",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line} is missing in {page}");
        }
    }
}
