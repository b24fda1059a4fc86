//! What the pool and the ledger cost on the way of a request, uncontended: `make bench-pool`.
//!
//! Times are of the wall clock, the median of many batches, so that another program's turn does not count. The exchange is a
//! whole one, in this process, over plain TCP on loopback to the embedded superserver: the shortest that there is, so the
//! shares are the largest.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use sclera::event_log::Log;
use sclera::exchange::request::{BodyLength, Request};
use sclera::exchange::{Exchange, Step};
use sclera::ledger::{Counter, InsteadOf, Ledger, Limits, Member, Rights, Turn, now_ms};
use sclera::pool::configuration::Configuration;
use sclera::pool::worker::Worker;
use sclera::pool::{Checkout, Lease};
use sclera::profile::Profile;
use sclera_superserver::{Options, Superserver};

const BATCHES: usize = 101;

fn main() {
    let member = alone();
    let server = member.ledger().server("LOCAL").expect("a row");
    println!("ledger");
    let updates = updates(&member, server);
    for in_use in [8, 1000] {
        claim_and_release(&member, server, in_use);
    }
    turn(&member, 500);
    looking(&member, server);
    println!("pool");
    requests(updates);
}

/// A worker in a ledger of its own.
fn alone() -> Member {
    Member::join(&Ledger::anonymous().expect("memory to share")).expect("a row")
}

/// Each of the ledger's updates on the way of a request. Gives their sum.
fn updates(member: &Member, server: usize) -> f64 {
    let path = member.ledger().path_row("/csp").expect("a row");
    let limits = Limits { server: Some(50), all: 8192 };
    let rights = member.claim(server, limits).expect("the first");
    let row = member.connection(&rights);
    let mut sum = 0.0;
    let mut update = |name, work: &dyn Fn()| sum += print(name, 10_000, work);
    update("count_answer", &|| member.count_answer(Some(server), Some(path), black_box(200), black_box(1500)));
    update("connection busy", &|| row.busy(black_box(now_ms())));
    update("connection idle", &|| row.idle(black_box(7), black_box(now_ms())));
    update("begin_request", &|| member.begin_request(black_box(server)));
    update("end_request", &|| member.end_request(black_box(server)));
    update("who is next in turn", &|| {
        black_box(member.next_in_turn(black_box(server), InsteadOf::Idling));
    });
    print("count", 10_000, &|| member.count(black_box(server), Counter::Queued));
    print("now_ms", 10_000, &|| {
        black_box(now_ms());
    });
    member.release(server, rights);
    sum
}

/// The right to a connection, with so many in use.
fn claim_and_release(member: &Member, server: usize, in_use: usize) {
    let limits = Limits { server: Some(4000), all: 8192 };
    let held: Vec<Rights> = (0..in_use).map(|_| member.claim(server, limits).expect("below the limit")).collect();
    let work = || member.release(server, member.claim(server, limits).expect("below the limit"));
    print(&format!("claim and release, {in_use} in use"), 1000, &work);
    held.into_iter().for_each(|rights| member.release(server, rights));
}

/// A session's right to one more connection, while other sessions have theirs.
fn turn(member: &Member, sessions: u64) {
    let take = |session: u64| match member.take_turn(black_box(session.wrapping_mul(0x9e37_79b9_7f4a_7c15)), 3) {
        Turn::Taken(turn) => turn,
        other => panic!("{other:?} for the first of three turns"),
    };
    let held: Vec<u32> = (0..sessions).map(take).collect();
    print(&format!("a session's turn taken and ended, {sessions} sessions at work"), 1000, &|| {
        member.end_turn(take(sessions + 1));
    });
    held.into_iter().for_each(|turn| member.end_turn(turn));
}

/// What looks at everything.
fn looking(member: &Member, server: usize) {
    let limits = Limits { server: Some(4000), all: 8192 };
    let held: Vec<Rights> = (0..1000).map(|_| member.claim(server, limits).expect("below the limit")).collect();
    print("snapshot, 1000 connections", 1, &|| {
        black_box(member.ledger().snapshot());
    });
    print("reclaim, nobody lost, 1000 connections", 1, &|| {
        black_box(member.reclaim(0));
    });
    held.into_iter().for_each(|rights| member.release(server, rights));
}

/// Checkout and return, and what a whole request costs beside it.
fn requests(updates: f64) {
    let actions = "CreateServer:Port=0,BindAddress=127.0.0.1,EnableCSP=1\n\
        ModifyService:Name=%Service_WebGateway,Enabled=1,AutheEnabled=$$$AutheUnauthenticated";
    let superserver = Superserver::start(Options::actions(actions)).expect("the superserver starts");
    let text = format!(
        "[SYSTEM_INDEX]\nLOCAL=Enabled\n[LOCAL]\nIp_Address=127.0.0.1\nTCP_Port={}\nMaximum_Server_Connections=50\n\
         [APP_PATH_INDEX]\n/=Enabled\n[APP_PATH:/]\nDefault_Server=LOCAL\n",
        superserver.port()
    );
    let profile = Profile::parse(Path::new("CSP.ini"), text.as_bytes()).expect("a good CSP.ini").profile;
    let configuration = Configuration::fixed(profile).expect("memory to share");
    let worker = Arc::new(Worker::start(&configuration, "bench".to_owned(), Log::silent()).expect("a worker"));
    // Makes the connection.
    get(&worker);
    let pool = worker.pool_by_name("LOCAL").expect("the server");
    let lease = || match pool.checkout(Waker::noop()) {
        Checkout::Idle(lease) => *lease,
        other => panic!("the idle connection, not {other:?}"),
    };
    let checkout = print("checkout and return", 1000, &|| {
        let Lease { connection, permit, .. } = lease();
        permit.put_back(connection);
    });
    let Lease { mut connection, permit, .. } = lease();
    look_at_socket(&mut connection);
    permit.put_back(connection);
    let exchange = print("whole request, loopback, no TLS", 20, &|| get(&worker));
    println!("ratios to the whole request");
    println!("  {:<42} {:.4}", "checkout and return", checkout / exchange);
    println!("  {:<42} {:.4}", "all of the ledger's updates", updates / exchange);
}

/// The look at the socket before a connection is used again: a system call, and no part of the checkout itself.
fn look_at_socket(connection: &mut sclera::connection::Connection) {
    let mut times: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let begun = Instant::now();
            (0..1000).for_each(|_| assert!(black_box(connection.is_usable())));
            begun.elapsed().as_secs_f64() * 1e9 / 1000.0
        })
        .collect();
    show("is_usable (one recv)", &mut times);
}

fn get(worker: &Arc<Worker>) {
    let request = Request {
        method: b"GET",
        target: b"/csp/demo/status/200",
        protocol: b"HTTP/1.1",
        length: BodyLength::Known(0),
        ..Request::default()
    };
    let mut exchange = Exchange::begin(worker.clone(), &request, b"", None, Instant::now());
    loop {
        match exchange.drive(Instant::now()) {
            Step::Wait => exchange.wait().expect("waiting"),
            Step::NeedBody => {
                exchange.give_body(b"", true, Instant::now());
            }
            Step::Head => assert_eq!(exchange.response().expect("a head").status, 200),
            Step::Body => exchange.consume(exchange.body().len(), Instant::now()),
            Step::Done => return,
            Step::Abort => panic!("the answer was cut"),
        }
    }
}

/// Nanoseconds of one piece of work: the median over the batches.
fn print(name: &str, batch: usize, work: &dyn Fn()) -> f64 {
    let mut times: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let begun = Instant::now();
            (0..batch).for_each(|_| work());
            begun.elapsed().as_secs_f64() * 1e9 / batch as f64
        })
        .collect();
    show(name, &mut times)
}

fn show(name: &str, times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    let (median, least) = (times[times.len() / 2], times[0]);
    println!("  {name:<42} {median:>10.1} ns ({least:.1} at least)");
    median
}
