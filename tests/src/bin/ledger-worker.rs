//! A worker of `tests/ledger.rs`: takes rights and turns of sessions in a named ledger, passes them on and gives them back,
//! at random, until it is killed. It prints a line whenever it has held rights a hundred times.
//!
//! `ledger-worker CSP_INI RUNTIME_DIRECTORY WITNESSES SEED`
//!
//! Each seat, and each turn that a session may have, has a file among the witnesses, whose record lock a holder takes: the
//! kernel, and not the ledger, says whether two have one seat, or a session has more turns. If so, it ends with status 3.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::exit;
use std::time::Duration;

use fastrand::Rng;
use rustix::fs::{FlockOperation, fcntl_lock};
use sclera::ledger::{InsteadOf, Lacking, Ledger, Limits, Line, Member, Rights, Turn, now_ms};

/// The most connections of all, and to each of the two servers.
const ALL: u32 = 4;
/// `Maximum_Session_Connections` of the two sessions.
const TURNS: u32 = 2;
const LIMITS: [Limits; 2] = [Limits { server: Some(3), all: ALL }, Limits { server: Some(2), all: ALL }];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [csp_ini, directory, witnesses, seed] = arguments.as_slice() else {
        eprintln!("usage: ledger-worker CSP_INI RUNTIME_DIRECTORY WITNESSES SEED");
        exit(2);
    };
    // Opened before the ledger: a killed process gives up its locks in this order.
    let open = |seat| File::options().create(true).append(true).open(format!("{witnesses}/{seat}")).expect("a witness");
    let witnesses: Vec<File> = (0..ALL).map(open).collect();
    let of_sessions: Vec<Vec<File>> =
        (1..3).map(|session| (0..TURNS).map(|turn| open(100 * session + turn)).collect()).collect();
    let (ledger, why) = Ledger::of(Path::new(csp_ini), Path::new(directory)).expect("a ledger");
    assert!(why.is_none(), "{why:?}");
    let servers = ["ONE", "TWO"].map(|name| ledger.server(name).expect("a row"));
    let member = Member::join(&ledger).expect("a row");
    let lines = servers.map(|_| member.new_line());
    let mut chance = Rng::with_seed(seed.parse().expect("a number"));
    for held in 1u64.. {
        let which = chance.usize(..2);
        let (server, limits) = (servers[which], LIMITS[which]);
        let rights = match member.claim(server, limits) {
            Ok(rights) => rights,
            Err(lacking) => queue(&member, lines[which], server, limits, lacking),
        };
        hold(&witnesses[rights.seat() as usize], chance.usize(..2000));
        match member.next_in_turn(server, InsteadOf::Nothing) {
            Some(next) if chance.usize(..4) > 0 => member.pass(server, rights, next),
            _ => member.release(server, rights),
        }
        if member.takes_granted() {
            member.return_grants();
        }
        let session = chance.usize(..of_sessions.len());
        take_a_turn(&member, session as u64, &of_sessions[session], chance.usize(..2000));
        if held % 100 == 0 {
            println!("{held}");
            std::io::stdout().flush().expect("somebody reads");
        }
    }
}

/// Waits for rights as a pool does.
fn queue(member: &Member, line: Line, server: usize, limits: Limits, mut lacking: Lacking) -> Rights {
    let since = now_ms();
    let rights = loop {
        let rung = member.rung();
        member.wait(line, server, lacking, 1, since);
        match member.collect(server, limits) {
            Ok(rights) => break rights,
            Err(other) if other != lacking => lacking = other,
            Err(_) => {
                // A worker that was killed rings nobody.
                member.sleep(rung, Some(Duration::from_millis(20)));
                member.reclaim(0);
            }
        }
    };
    member.stop_waiting(line, server);
    member.return_grants();
    rights
}

/// Has one of a session's turns for a moment, and no more have one than may.
fn take_a_turn(member: &Member, session: u64, witnesses: &[File], steps: usize) {
    let turn = loop {
        match member.take_turn(session, TURNS) {
            Turn::Taken(turn) => break turn,
            Turn::Free => return,
            Turn::Wait => {
                std::thread::sleep(Duration::from_micros(200));
                // One that was killed gives nothing back.
                member.reclaim(0);
            }
        }
    };
    let free = |witness: &&File| fcntl_lock(witness, FlockOperation::NonBlockingLockExclusive).is_ok();
    let Some(witness) = witnesses.iter().find(free) else {
        eprintln!("the session has more turns than it may");
        exit(3);
    };
    (0..steps).for_each(|_| std::hint::spin_loop());
    fcntl_lock(witness, FlockOperation::Unlock).expect("unlocking");
    member.end_turn(turn);
}

/// Has the seat for a moment, and nobody else has it.
fn hold(witness: &File, steps: usize) {
    if fcntl_lock(witness, FlockOperation::NonBlockingLockExclusive).is_err() {
        eprintln!("another process has this seat");
        exit(3);
    }
    (0..steps).for_each(|_| std::hint::spin_loop());
    fcntl_lock(witness, FlockOperation::Unlock).expect("unlocking");
}
