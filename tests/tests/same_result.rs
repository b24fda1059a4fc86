//! The same request has the same result through Nginx, through Apache with each MPM, and from a C program.

use sclera_tests::apache::{Apache, Mpm};
use sclera_tests::host;
use sclera_tests::http::Client;
use sclera_tests::nginx::Nginx;
use sclera_tests::peer;
use sclera_tests::scene::Scene;
use sclera_tests::web_server::WebServer;
use serde_json::Value;

const LOCATION: &str = "/csp/demo/echo/a%2Fb%25?x=%2F&y";

/// What does not depend on who carried the request.
fn essence(echo: &Value) -> Value {
    let parts = ["method", "target", "protocol", "login", "body"].map(|name| (name.to_owned(), echo[name].clone()));
    let variables = ["REQUEST_URI", "SCRIPT_NAME", "QUERY_STRING", "REMOTE_ADDR", "HTTPS"];
    let variables = variables.map(|name| (name.to_owned(), echo["variables"][name].clone()));
    Value::Object(parts.into_iter().chain(variables).collect())
}

#[test]
fn nginx_apache_and_a_c_program_get_the_same_answer() {
    let scene = Scene::new();
    let nginx = Nginx::start(&scene, "location /csp { CSP on; }");
    let wanted = essence(&nginx.get(LOCATION).json());
    assert_eq!(wanted["target"], LOCATION);
    assert_eq!(wanted["login"]["user"], "WebUser");
    assert_eq!(wanted["login"]["mechanism"], "MutualTLS");
    for mpm in Mpm::ALL {
        let apache = Apache::start_with(&scene, mpm, "<Location /csp>\nCSP On\n</Location>");
        assert_eq!(essence(&apache.get(LOCATION).json()), wanted, "{mpm:?}");
    }
    let run = host::get(&scene.csp_ini(), LOCATION);
    let body = run.stdout.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no JSON in {run:?}"));
    assert_eq!(essence(&serde_json::from_str(body).expect("JSON")), wanted);
}

/// More than Content-Length said comes in one piece with the head: nothing of it has left the web server yet.
#[test]
fn an_answer_that_is_wrong_before_any_of_it_has_left_becomes_the_page_of_its_failure() {
    let port = peer::listen(|stream| {
        let mut server = peer::Superserver::new(stream);
        let Some(call) = server.await_call() else { return };
        server.give_back(
            &call,
            b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nSet-Cookie: c=d\r\nContent-Length: 2\r\n\r\nlong",
        );
        server.message();
    });
    let scene = Scene::without_superserver();
    scene.edit_csp_ini(|_| {
        format!(
            "[SYSTEM]\nSclera_Runtime_Directory=run\n[SYSTEM_INDEX]\nLOCAL=Enabled\n[LOCAL]\nIp_Address=127.0.0.1\n\
             TCP_Port={port}\n[APP_PATH_INDEX]\n/=Enabled\n[APP_PATH:/]\nDefault_Server=LOCAL\n"
        )
    });
    let is_honest = |mut client: Client| {
        // On one connection, so that the first answer has the length that it says.
        for _ in 0..2 {
            let answer = client.request("GET", "/csp/x").answer();
            assert!(answer.status == 502 && answer.complete, "{answer:?}");
            assert_eq!((answer.header("Set-Cookie"), answer.all("Content-Length").len()), (None, 1), "{answer:?}");
            assert_eq!(answer.header("Content-Type"), Some("text/html; charset=utf-8"), "{answer:?}");
            assert!(answer.text().contains("SCLERA-604"), "{answer:?}");
        }
    };
    let nginx = Nginx::start(&scene, "location /csp { CSP on; }");
    is_honest(nginx.connect());
    for mpm in Mpm::ALL {
        let apache = Apache::start_with(&scene, mpm, "<Location /csp>\nCSP On\n</Location>");
        is_honest(apache.connect());
    }
}
