//! `examples/host.c` as the documentation promises it: one request, the login identity, and nothing left behind.

use std::process::Command;

use sclera_tests::host::{self, run};
use sclera_tests::scene::Scene;

#[test]
fn it_prints_the_answer_and_the_login_identity() {
    let scene = Scene::new();
    let run = host::get(&scene.csp_ini(), "/csp/demo/echo/a%2Fb?x=%25");
    assert!(run.success, "{run:?}");
    assert_eq!(run.status(), 200);
    assert!(run.stdout.contains("\"target\":\"/csp/demo/echo/a%2Fb?x=%25\""), "{run:?}");
    assert!(run.stdout.ends_with("\nLogin identity: WebUser\n"), "{run:?}");
}

#[test]
fn it_leaks_nothing_and_touches_no_foreign_memory() {
    let scene = Scene::new();
    for target in ["/csp/demo/echo", "/csp/demo/big?bytes=300000", "/csp/demo/fail?after=0"] {
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--error-exitcode=9", "--leak-check=full"]);
        let run = run(command.arg(host::program()).arg(scene.csp_ini()).arg("GET").arg(target));
        assert!(!run.stderr.contains("=="), "{target}: {run:?}");
        assert_eq!(run.success, !target.contains("fail"), "{target}: {run:?}");
    }
}

#[test]
fn a_superserver_that_is_away_is_a_failure_that_it_reports() {
    let scene = Scene::without_superserver();
    let run = host::get(&scene.csp_ini(), "/csp/demo/echo");
    assert!(!run.success, "{run:?}");
    assert_eq!((run.status(), run.codes()), (502, vec!["SCLERA-201"]));
}
