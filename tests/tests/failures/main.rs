//! The failure table, provoked: each row that can be produced on one machine is, through Nginx and on the command line,
//! and what the browser, the log, the administrator and the superserver's audit get to see is compared with the table.

mod answer;
mod configuration;
mod login;
mod reach;
mod tls;
mod trouble;

use std::panic::catch_unwind;
use std::sync::Mutex;

use sclera::failure::Code;
use trouble::{Case, Trouble};

/// The rows that no test here provokes, and why.
const NOT_HERE: &[(Code, &str)] = &[
    (Code::ConnectForbidden, "needs a network namespace, and so root; reach.rs provokes it where there is one"),
    (Code::NoLocalMeans, "needs a process without descriptors or ports left; src/connection/diagnosis.rs maps it"),
    (Code::QueueTimeout, "needs several requests at once; tests/tests/pool.rs"),
    (Code::QueueFull, "the same"),
    (Code::SessionBusy, "the same, of one session"),
    (
        Code::ManagementBusy,
        "needs more requests for management pages at once than a browser makes; src/exchange/managed.rs",
    ),
    (Code::ClientAborted, "nobody is left to see a page; tests/tests/nginx.rs and apache.rs"),
    (Code::RequestInvalid, "the web servers refuse such requests themselves; tests/tests/host.rs"),
    (Code::RequestBodyBroken, "the browser is the one that broke; tests/tests/nginx.rs"),
    (Code::Internal, "a fault of ours, of which none is known"),
    (Code::Interrupted, "an administrator's order; tests/tests/availability.rs"),
    (Code::WorkerStopping, "a matter of microseconds at a worker's end"),
];

fn cases() -> Vec<Case> {
    [configuration::cases(), reach::cases(), tls::cases(), login::cases(), answer::cases()].concat()
}

#[test]
fn every_row_of_the_table_is_provoked_or_has_a_reason_not_to_be() {
    let cases = cases();
    for &code in Code::ALL {
        let provoked = cases.iter().filter(|case| case.code == code).count();
        let excused = NOT_HERE.iter().any(|(other, _)| *other == code);
        assert!((provoked > 0) != excused, "{code} {}: provoked {provoked} times, excused: {excused}", code.name());
    }
}

/// Several threads, since most of a case is waiting for processes. Every case is tried, whatever became of the others.
fn provoke(cases: Vec<Case>) {
    assert!(!cases.is_empty());
    let next = Mutex::new(cases.into_iter());
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some(case) = { next.lock().expect("no case panics with the lock").next() } {
            if catch_unwind(|| Trouble::provoke(&case)).is_err() {
                failed.lock().expect("no case panics with the lock").push((case.code.name(), case.what));
            }
        }
    };
    std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().expect("no case panics with the lock");
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn what_is_wrong_in_csp_ini_and_its_files_is_told_with_code_place_and_remedy() {
    provoke(configuration::cases());
}

#[test]
fn a_server_that_cannot_be_reached_is_told_by_the_reason() {
    provoke(reach::cases());
}

#[test]
fn a_connection_that_the_system_forbids_is_told_apart_from_one_that_fails() {
    reach::provoke_a_forbidden_one();
}

#[test]
fn what_is_wrong_between_the_two_in_tls_is_told_by_the_reason() {
    provoke(tls::cases());
}

#[test]
fn a_refused_login_is_told_by_what_was_offered_and_the_audit_has_the_reason() {
    provoke(login::cases());
}

#[test]
fn an_answer_that_is_none_is_told_by_what_is_wrong_with_it() {
    provoke(answer::cases());
}
