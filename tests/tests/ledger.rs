//! The ledger among real processes that are killed at any instruction.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use fastrand::Rng;
use sclera::ledger::{InsteadOf, Ledger, Limits, Member, Turn, path_of};
use sclera_tests::apache::{Apache, Mpm};
use sclera_tests::nginx::Nginx;
use sclera_tests::process::wait_until;
use sclera_tests::scene::Scene;
use sclera_tests::web_server::WebServer;

const WORKERS: u64 = 5;
const KILLS: usize = 60;

struct Worker {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Worker {
    fn start(directory: &Path, seed: u64) -> Worker {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ledger-worker"));
        command.arg(directory.join("CSP.ini")).arg(directory.join("run")).arg(directory).arg(seed.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the worker starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Worker { child, lines }
    }

    /// Waits until it has got on: it holds rights again and again.
    fn gets_on(&mut self) {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("readable");
        assert!(!line.is_empty(), "it ended: {:?}", self.child.wait());
    }

    fn kill(mut self) {
        self.child.kill().expect("it runs");
        let status = self.child.wait().expect("its end");
        assert_eq!(status.signal(), Some(9), "it has not ended by itself: {status}");
    }
}

#[test]
fn no_seat_has_two_holders_no_session_too_many_turns_and_none_is_lost_however_workers_are_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, why) = Ledger::of(&directory.path().join("CSP.ini"), &directory.path().join("run")).unwrap();
    assert!(why.is_none(), "{why:?}");
    let member = Member::join(&ledger).unwrap();
    let servers = ["ONE", "TWO"].map(|name| ledger.server(name).unwrap());
    let mut chance = Rng::with_seed(4);
    let mut workers: Vec<Worker> = (0..WORKERS).map(|seed| Worker::start(directory.path(), seed)).collect();
    workers.iter_mut().for_each(Worker::gets_on);
    for kill in 0..KILLS {
        let victim = chance.usize(..workers.len());
        workers[victim].gets_on();
        let next = Worker::start(directory.path(), 100 + kill as u64);
        std::mem::replace(&mut workers[victim], next).kill();
        let open = ledger.snapshot().connections.len();
        assert!(open <= 4, "{open} connections of 4");
        if kill % 7 == 0 {
            member.reclaim(0);
        }
    }
    workers.iter_mut().for_each(Worker::gets_on);
    workers.into_iter().for_each(Worker::kill);

    member.reclaim(0);
    let now = ledger.snapshot();
    assert!(now.connections.is_empty(), "{:?}", now.connections);
    assert_eq!(now.workers.len(), 1);
    assert_eq!(now.servers.iter().map(|server| server.queued).sum::<u32>(), 0);
    let lost = now.tallies.iter().find(|(tally, _)| *tally == sclera::ledger::Tally::WorkersLost);
    assert_eq!(lost.map(|(_, count)| *count), Some(KILLS as u64 + WORKERS), "each was found once");
    for session in 0..2 {
        let turns = [0; 2].map(|_| member.take_turn(session, 2));
        assert!(turns.iter().all(|turn| matches!(turn, Turn::Taken(_))), "all are free: {turns:?}");
    }
    for (server, most) in servers.into_iter().zip([3, 2]) {
        assert!(member.next_in_turn(server, InsteadOf::Nothing).is_none());
        let limits = Limits { server: Some(most), all: 4 };
        let all: Vec<_> = (0..most).map(|_| member.claim(server, limits).expect("all are free")).collect();
        all.into_iter().for_each(|rights| member.release(server, rights));
    }
}

#[test]
fn nothing_more_is_passed_on_to_a_worker_that_was_killed_while_it_waited() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, why) = Ledger::of(&directory.path().join("CSP.ini"), &directory.path().join("run")).unwrap();
    assert!(why.is_none(), "{why:?}");
    let member = Member::join(&ledger).unwrap();
    let servers = ["ONE", "TWO"].map(|name| ledger.server(name).unwrap());
    let limits = |server| Limits { server: Some(if server == servers[0] { 3 } else { 2 }), all: 4 };
    let claim = |server| member.claim(server, limits(server)).expect("it is free");
    let mut held = servers.map(|server| vec![claim(server), claim(server)]);

    let worker = Worker::start(directory.path(), 1);
    let waits = || {
        let next = |(at, server)| Some((at, member.next_in_turn(server, InsteadOf::Nothing)?));
        servers.into_iter().enumerate().find_map(next)
    };
    let (at, to) = wait_until(waits).expect("it waits for a right");
    worker.kill();
    // Nobody has noticed yet.
    member.pass(servers[at], held[at].pop().unwrap(), to);
    assert_eq!(member.reclaim(600_000), 0, "the superserver may not have heard of its end");
    assert_eq!(waits(), None, "it gets nothing more");
    held[at].push(claim(servers[at]));
    assert_eq!(ledger.snapshot().connections.len(), 4, "what it was given is free again");
    for (server, rights) in servers.into_iter().zip(held) {
        rights.into_iter().for_each(|rights| member.release(server, rights));
    }
}

#[test]
fn threads_of_one_process_that_join_reclaim_and_leave_do_not_take_each_others_rows() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::of(&directory.path().join("CSP.ini"), &directory.path().join("run")).unwrap();
    let watcher = Member::join(&ledger).unwrap();
    let server = ledger.server("ONE").unwrap();
    // Other processes, whose reclaiming would find a row of ours that has lost its lock.
    let mut others: Vec<Worker> = (0..2).map(|seed| Worker::start(directory.path(), seed)).collect();
    let limits = Limits { server: None, all: 8 };
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                for _ in 0..300 {
                    let member = Member::join(&ledger).unwrap();
                    watcher.reclaim(0);
                    let held = member.claim(server, limits).ok();
                    let is_there = |row| ledger.snapshot().workers.iter().any(|worker| worker.row == row);
                    assert!(is_there(member.row()), "somebody thought it dead");
                    if let Some(rights) = held {
                        member.release(server, rights);
                    }
                }
            });
        }
        others.iter_mut().for_each(Worker::gets_on);
    });
    others.into_iter().for_each(Worker::kill);
    wait_until(|| (watcher.reclaim(0) == 0).then_some(())).expect("all are found");
    assert!(ledger.snapshot().connections.is_empty());
}

#[test]
fn whoever_comes_in_the_same_instant_finds_one_ledger() {
    for round in 0..10 {
        come_in_the_same_instant(tempfile::tempdir().unwrap().path(), round);
    }
}

#[test]
fn whoever_comes_in_the_same_instant_finds_one_ledger_beside_old_workers_of_another_release() {
    for round in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path().join("run");
        std::fs::create_dir(&run).unwrap();
        let mut old = File::create(path_of(&directory.path().join("CSP.ini"), &run)).unwrap();
        old.write_all(b"smaller").unwrap();
        old.lock_shared().unwrap();
        come_in_the_same_instant(directory.path(), round);
    }
}

fn come_in_the_same_instant(directory: &Path, round: u64) {
    let mut workers: Vec<Worker> = (0..6).map(|worker| Worker::start(directory, 10 * round + worker)).collect();
    workers.iter_mut().for_each(Worker::gets_on);
    for worker in &workers {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", worker.child.id())).unwrap();
        let ledgers: Vec<_> = maps.lines().filter(|line| line.contains(".ledger")).collect();
        assert!(!ledgers.is_empty() && ledgers.iter().all(|line| !line.ends_with("(deleted)")), "{ledgers:?}");
    }
    workers.into_iter().for_each(Worker::kill);
}

#[test]
fn a_ledger_is_kept_while_anybody_takes_part_in_it_and_made_anew_after_that() {
    let directory = tempfile::tempdir().unwrap();
    let (csp_ini, run) = (directory.path().join("CSP.ini"), directory.path().join("run"));
    let started = || Ledger::look(&csp_ini, &run).unwrap().workers.len();
    let mut first = Worker::start(directory.path(), 1);
    first.gets_on();
    let mut second = Worker::start(directory.path(), 2);
    second.gets_on();
    first.kill();
    let mut third = Worker::start(directory.path(), 3);
    third.gets_on();
    assert!(started() >= 2, "the third has found the ledger of the second");
    [second, third].into_iter().for_each(Worker::kill);
    let mut fourth = Worker::start(directory.path(), 4);
    fourth.gets_on();
    assert_eq!(started(), 1, "nothing is left of those before");
    fourth.kill();
}

/// The names in a runtime directory.
fn ledgers(scene: &Scene) -> Vec<String> {
    let entries = std::fs::read_dir(scene.directory().join("run")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// It stays while the web server reloads and loses workers, and goes with it.
fn goes_with_its_web_server<S: WebServer>(scene: &Scene, server: S) {
    assert_eq!(server.get("/csp/demo/echo").status, 200);
    let before = ledgers(scene);
    assert!(before.len() == 1 && before[0].ends_with(".ledger"), "{before:?}");
    let counted = || scene.sclera("status --json").1.matches("\"path\"").count();
    assert!(counted() > 0, "somebody who only looks takes nothing along");
    assert!(server.reload());
    assert_eq!(server.get("/csp/demo/echo").status, 200);
    let killed = server.workers();
    for &worker in &killed {
        let worker = rustix::process::Pid::from_raw(worker as i32).unwrap();
        rustix::process::kill_process(worker, rustix::process::Signal::KILL).unwrap();
    }
    let others = || Some(server.workers()).filter(|now| !now.is_empty() && killed.iter().all(|it| !now.contains(it)));
    assert!(wait_until(others).is_some(), "{:?}", server.workers());
    assert_eq!(server.get("/csp/demo/echo").status, 200);
    assert_eq!(ledgers(scene), before);
    assert!(server.stop());
    assert_eq!(ledgers(scene), [""; 0]);
}

#[test]
fn a_ledger_goes_with_its_web_server_and_not_before() {
    let scene = Scene::new();
    goes_with_its_web_server(&scene, Nginx::start(&scene, "location /csp { CSP on; }"));
    for mpm in [Mpm::Prefork, Mpm::Event] {
        goes_with_its_web_server(&scene, Apache::start_with(&scene, mpm, "<Location /csp>\nCSP On\n</Location>"));
    }
}
