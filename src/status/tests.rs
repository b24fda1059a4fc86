use std::path::Path;
use std::sync::Arc;

use super::command::{Asked, Order, Which, close, order};
use super::metrics::{Form, Numbers};
use super::*;
use crate::ledger::{Ledger, Limits, Member, Rights};

const CSP_INI: &str = "[SYSTEM]\nDefault_Server=ONE\n[SYSTEM_INDEX]\nONE=Enabled\nTWO=Enabled\nOFF=Disabled\n\
    [ONE]\nIp_Address=10.0.0.1\n[TWO]\nIp_Address=fd00::2\n[OFF]\nIp_Address=10.0.0.3\n\
    [APP_PATH_INDEX]\n/=Enabled\n/csp=Enabled\n/off=Disabled\n/lost=Enabled\n\
    [APP_PATH:/csp]\nAlternative_Servers=FailOver\nAlternative_Server_0=1~~~~~~TWO\n\
    [APP_PATH:/lost]\nDefault_Server=OFF\n";

fn profile() -> Profile {
    Profile::parse(Path::new("CSP.ini"), CSP_INI.as_bytes()).unwrap().profile
}

fn ledger() -> (Arc<Ledger>, Member) {
    let ledger = Ledger::anonymous().unwrap();
    ["ONE", "TWO", "OFF", "GONE"].iter().for_each(|name| assert!(ledger.server(name).is_some()));
    let member = Member::join(&ledger).unwrap();
    (ledger, member)
}

fn connect(member: &Member, server: usize) -> Rights {
    member.claim(server, Limits { server: None, all: 100 }).unwrap()
}

#[test]
fn each_server_has_the_state_that_file_and_wish_give_it() {
    let (ledger, _member) = ledger();
    let states = || {
        let servers = Status::of(&ledger.snapshot(), Some(&profile())).servers;
        servers.iter().map(|server| format!("{} {}", server.state(), server.health)).collect::<Vec<_>>()
    };
    assert_eq!(states(), ["enabled up", "enabled up", "disabled up", "removed up"]);
    assert!(order(&ledger, "one", Order::Drain) && order(&ledger, "TWO", Order::Disable));
    assert!(!order(&ledger, "NOBODY", Order::Disable));
    assert_eq!(states(), ["draining up", "stopped up", "disabled up", "removed up"]);
    assert!(order(&ledger, "ONE", Order::Enable) && order(&ledger, "TWO", Order::Enable));
    assert_eq!(states()[..2], ["enabled up", "enabled up"]);
    assert_eq!(ledger.snapshot().servers.len(), 4, "an order makes no row");
}

fn eject(ledger: &Ledger, server: usize) {
    let policy = Policy { eject_after: 1, ..UNKNOWN_POLICY };
    let event = crate::pool::health::Event::Failed { begun: 1, code: Code::ConnectRefused };
    let word = Health::default().after(event, now_ms(), &policy).pack();
    ledger.server_row(server).health.store(word, std::sync::atomic::Ordering::Release);
}

#[test]
fn a_server_out_of_use_is_offline_for_its_paths_and_comes_back_when_marked_online() {
    let (ledger, _member) = ledger();
    let told = || {
        let paths = Status::of(&ledger.snapshot(), Some(&profile())).paths;
        let current = |it: &PathStatus| if it.is_current { "*" } else { "" };
        paths
            .iter()
            .map(|it| format!("{} {} {}{}", it.path, it.server, it.state.word(), current(it)))
            .collect::<Vec<_>>()
    };
    let expected = ["/ ONE enabled*", "/csp ONE enabled*", "/csp TWO enabled", "/off  disabled", "/lost OFF disabled"];
    assert_eq!(told(), expected);
    eject(&ledger, 0);
    assert_eq!(Status::of(&ledger.snapshot(), Some(&profile())).servers[0].health, "ejected");
    assert_eq!(told()[1..3], ["/csp ONE offline", "/csp TWO enabled*"]);
    assert!(order(&ledger, "ONE", Order::Online));
    assert_eq!(told(), expected);
}

#[test]
fn a_connection_that_has_gone_on_is_neither_closed_nor_interrupted_for_what_it_was() {
    let (ledger, member) = ledger();
    let rights = connect(&member, 0);
    let (number, row) = (rights.seat(), member.connection(&rights));
    let mark = || ledger.snapshot().connections.into_iter().find(|it| it.seat == number).unwrap().mark;
    let first = mark();
    assert_eq!(first.to_string().parse(), Ok(first));
    // Another request on the same connection.
    row.idle(1, 1);
    row.busy(2);
    assert_eq!(close(&ledger, &Which::Marked(number, first), true), Asked::default());
    assert!(!row.is_to_close());
    assert_eq!(close(&ledger, &Which::Marked(number, first), false), Asked { idle: 0, busy: 1 }, "it is the same one");
    // Another connection.
    row.opened(7, 1, row.opened_at() + 1);
    assert_eq!(close(&ledger, &Which::Marked(number, first), false), Asked::default());
    assert_eq!(close(&ledger, &Which::Marked(number, mark()), true), Asked { idle: 0, busy: 1 });
    assert!(row.is_to_interrupt());
    member.release(0, rights);
}

#[test]
fn connections_are_closed_by_number_by_server_and_all() {
    let (ledger, member) = ledger();
    let all: Vec<Rights> = [0, 0, 1].map(|server| connect(&member, server)).into();
    member.connection(&all[0]).idle(1, 1);
    let asked = || all.iter().map(|it| member.connection(it).is_to_close()).collect::<Vec<_>>();
    assert_eq!(close(&ledger, &Which::Number(99), false), Asked::default());
    assert_eq!(close(&ledger, &Which::Server("NOBODY".into()), false), Asked::default());
    assert_eq!(asked(), [false, false, false]);
    assert_eq!(close(&ledger, &Which::Number(all[1].seat()), true), Asked { idle: 0, busy: 1 });
    assert!(member.connection(&all[1]).is_to_interrupt());
    assert_eq!(asked(), [false, true, false]);
    assert_eq!(close(&ledger, &Which::Server("one".into()), false), Asked { idle: 1, busy: 1 });
    assert_eq!(asked(), [true, true, false]);
    assert_eq!(close(&ledger, &Which::All, false), Asked { idle: 1, busy: 2 });
    assert_eq!(asked(), [true, true, true]);
    for (rights, server) in all.into_iter().zip([0, 0, 1]) {
        member.release(server, rights);
    }
}

#[test]
fn the_metrics_hold_what_was_counted_in_both_forms_and_harmless_labels() {
    let (ledger, member) = ledger();
    ledger.server("EVIL\"\n\\");
    let path = ledger.path_row("/csp");
    member.count_answer(Some(0), path, 200, 1_500);
    member.count_answer(Some(0), path, 200, 70_000_000);
    member.count_answer(None, None, 503, 0);
    member.count_failure(Code::ConnectRefused as u16);
    member.count(0, Counter::Ejections);
    let rights = connect(&member, 0);
    let page = |form| {
        let numbers = Numbers { status: Status::of(&ledger.snapshot(), Some(&profile())), certificates: Vec::new() };
        numbers.page(form).unwrap()
    };
    let (prometheus, open) = (page(Form::Prometheus), page(Form::OpenMetrics));
    for line in [
        "sclera_requests_total{server=\"ONE\",path=\"/csp\",status=\"200\"} 2",
        "sclera_requests_total{server=\"\",path=\"\",status=\"503\"} 1",
        "sclera_request_duration_seconds_count{server=\"ONE\"} 2",
        "sclera_connections{server=\"ONE\",state=\"opening\"} 1",
        "sclera_server_health{server=\"ONE\",state=\"up\"} 1",
        "sclera_server_wish{server=\"ONE\",wish=\"draining\"} 0",
        "sclera_failures_total{code=\"connect-refused\"} 1",
        "sclera_ejections_total{server=\"ONE\"} 1",
        "sclera_workers 1",
        "iris_csp_activity{id=\"10.0.0.1:1972\",server=\"ONE\"} 2",
        "iris_csp_actual_connections{id=\"[fd00::2]:1972\",server=\"TWO\"} 0",
        "sclera_connections_opened_total{server=\"EVIL\\\"\\n\\\\\"} 0",
    ] {
        assert!(prometheus.lines().any(|it| it == line), "{line} in {prometheus}");
        assert!(open.lines().any(|it| it == line), "{line} in {open}");
    }
    let bucket = |bound: &str, count: u64| {
        let line = format!("sclera_request_duration_seconds_bucket{{server=\"ONE\",le=\"{bound}\"}} {count}");
        assert!(prometheus.contains(&line), "{line} in {prometheus}");
    };
    bucket("0.001", 0);
    bucket("0.002", 1);
    bucket("+Inf", 2);
    assert!(open.ends_with("# EOF\n"));
    assert_eq!(Form::of(""), Form::Prometheus);
    assert_eq!(Form::of("text/plain, application/openmetrics-text;version=1.0.0;q=0.8"), Form::OpenMetrics);
    member.release(0, rights);
}
