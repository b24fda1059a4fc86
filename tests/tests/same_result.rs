//! The same request has the same result through Nginx, through Apache with each MPM, and from a C program.

use sclera_tests::apache::{Apache, Mpm};
use sclera_tests::host;
use sclera_tests::nginx::Nginx;
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
