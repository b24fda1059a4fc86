//! `examples/host.c` as the documentation promises it: one request, the login identity, and nothing left behind.

use std::process::Command;

use sclera_tests::backend::Backend;
use sclera_tests::host::{self, run};

#[test]
fn it_prints_the_answer_and_the_login_identity() {
    let backend = Backend::start();
    let run = host::get(&backend.config(), "/csp/demo/echo/a%2Fb?x=%25");
    assert!(run.success, "{run:?}");
    assert_eq!(run.status(), 200);
    assert!(run.stdout.contains("\"target\":\"/csp/demo/echo/a%2Fb?x=%25\""), "{run:?}");
    assert!(run.stdout.ends_with("\nLogin identity: gateway\n"), "{run:?}");
}

#[test]
fn it_leaks_nothing_and_touches_no_foreign_memory() {
    let backend = Backend::start();
    for target in ["/csp/demo/echo", "/csp/demo/big?bytes=300000", "/csp/demo/fail?after=0"] {
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--error-exitcode=9", "--leak-check=full"]);
        let run = run(command.arg(host::program()).arg(backend.config()).arg("GET").arg(target));
        assert!(!run.stderr.contains("=="), "{target}: {run:?}");
        assert_eq!(run.success, !target.contains("fail"), "{target}: {run:?}");
    }
}

#[test]
fn a_superserver_that_is_away_is_a_failure_that_it_reports() {
    let backend = Backend::start();
    let config = backend.config();
    let text = std::fs::read_to_string(&config).expect("CSP.ini");
    let port = format!("TCP_Port={}", backend.server.port());
    std::fs::write(&config, text.replace(&port, &format!("TCP_Port={}", sclera_tests::peer::closed_port())))
        .expect("writing");
    let run = host::get(&config, "/csp/demo/echo");
    assert!(!run.success, "{run:?}");
    assert_eq!((run.status(), run.codes()), (502, vec!["SCLERA-201"]));
}
