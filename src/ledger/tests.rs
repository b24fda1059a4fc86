use std::collections::HashSet;

use super::*;

const TWO: Limits = Limits { server: Some(2), all: 3 };
const NO_LIMIT: Limits = Limits { server: None, all: 3 };

fn ledger() -> (Arc<Ledger>, usize) {
    let ledger = Ledger::anonymous().unwrap();
    let server = ledger.server("LOCAL").unwrap();
    (ledger, server)
}

fn take(member: &Member, server: usize, limits: Limits, count: usize) -> Vec<Rights> {
    (0..count).map(|_| member.claim(server, limits).unwrap()).collect()
}

#[test]
fn limits_hold_over_all_workers_and_say_which_of_them_is_in_the_way() {
    let (ledger, server) = ledger();
    let other_server = ledger.server("OTHER").unwrap();
    let (one, two) = (Member::join(&ledger).unwrap(), Member::join(&ledger).unwrap());
    let mut rights = take(&one, server, TWO, 1);
    rights.extend(take(&two, server, TWO, 1));
    assert_eq!(one.claim(server, TWO).err(), Some(Lacking::Server));
    let third = two.claim(other_server, TWO).unwrap();
    assert_eq!(one.claim(other_server, TWO).err(), Some(Lacking::All));
    assert_eq!(one.claim(other_server, NO_LIMIT).err(), Some(Lacking::All));
    two.release(other_server, third);
    let again = one.claim(other_server, NO_LIMIT).unwrap();
    one.release(other_server, again);
    rights.pop().into_iter().for_each(|rights| two.release(server, rights));
    rights.pop().into_iter().for_each(|rights| one.release(server, rights));
    assert!(ledger.snapshot().connections.is_empty());
}

#[test]
fn rights_go_to_whoever_has_waited_longest_and_have_to_be_collected() {
    let (ledger, server) = ledger();
    let members: Vec<Member> = (0..3).map(|_| Member::join(&ledger).unwrap()).collect();
    let lines: Vec<Line> = members.iter().map(Member::new_line).collect();
    let mut held = take(&members[0], server, TWO, 2);
    for (member, since) in [(1, 200), (2, 100)] {
        members[member].wait(lines[member], server, Lacking::Server, 1, since);
    }
    let waits = |mine| members[0].next_in_turn(server, mine).map(Holder::row);
    assert_eq!(waits(InsteadOf::Nothing), Some(2));
    assert_eq!(waits(InsteadOf::Mine(150)), None, "not for so short a time");
    assert_eq!(waits(InsteadOf::Mine(100_000)), Some(2));
    let to = members[0].next_in_turn(server, InsteadOf::Nothing).unwrap();
    members[0].pass(server, held.pop().unwrap(), to);
    assert!(members[1].collect(server, TWO).is_err());
    let got = members[2].collect(server, TWO).unwrap();
    members[2].stop_waiting(lines[2], server);
    assert_eq!(waits(InsteadOf::Nothing), Some(1));
    members[2].release(server, got);
    held.pop().into_iter().for_each(|rights| members[0].release(server, rights));
}

#[test]
fn an_idle_connection_is_kept_for_a_moment_while_another_worker_waits_and_then_not_any_more() {
    let (ledger, server) = ledger();
    let (one, two) = (Member::join(&ledger).unwrap(), Member::join(&ledger).unwrap());
    let line = two.new_line();
    two.wait(line, server, Lacking::Server, 1, now_ms() + 10_000);
    assert_eq!(one.next_in_turn(server, InsteadOf::Idling), None);
    assert!(one.next_in_turn(server, InsteadOf::Nothing).is_some());
    two.wait(line, server, Lacking::Server, 1, now_ms() - HOLD - 1);
    assert!(one.next_in_turn(server, InsteadOf::Idling).is_some());
}

#[test]
fn what_was_passed_to_a_worker_that_has_lost_interest_goes_back() {
    let (ledger, server) = ledger();
    let (one, two) = (Member::join(&ledger).unwrap(), Member::join(&ledger).unwrap());
    let line = two.new_line();
    two.wait(line, server, Lacking::Server, 1, 1);
    let mut held = take(&one, server, TWO, 2);
    let to = one.next_in_turn(server, InsteadOf::Nothing).unwrap();
    held.drain(..).for_each(|rights| one.pass(server, rights, to));
    two.stop_waiting(line, server);
    assert!(two.takes_granted() && !two.takes_granted());
    two.return_grants();
    drop(take(&one, server, TWO, 2));
}

#[test]
fn a_member_that_leaves_takes_everything_along() {
    let (ledger, server) = ledger();
    let leaver = Member::join(&ledger).unwrap();
    let row = leaver.row();
    drop(take(&leaver, server, TWO, 2));
    assert_eq!(leaver.take_turn(7, 1), Turn::Taken(ledger_turn(&leaver)));
    leaver.wait(leaver.new_line(), server, Lacking::Server, 1, 1);
    drop(leaver);
    let next = Member::join(&ledger).unwrap();
    assert_eq!(next.row(), row);
    assert!(next.next_in_turn(server, InsteadOf::Nothing).is_none());
    assert!(matches!(next.take_turn(7, 1), Turn::Taken(_)));
    take(&next, server, TWO, 2).into_iter().for_each(|rights| next.release(server, rights));
}

/// The place of a turn that was just taken: it is the only one.
fn ledger_turn(member: &Member) -> u32 {
    let turns = &member.ledger().layout().turns;
    turns.iter().position(|turn| turn.load(Ordering::Relaxed) != 0).unwrap() as u32
}

#[test]
fn a_session_has_so_many_turns_and_no_more() {
    let (ledger, _) = ledger();
    let (one, two) = (Member::join(&ledger).unwrap(), Member::join(&ledger).unwrap());
    let Turn::Taken(first) = one.take_turn(42, 2) else { panic!("a free turn") };
    assert!(matches!(two.take_turn(42, 2), Turn::Taken(_)));
    assert_eq!(one.take_turn(42, 2), Turn::Wait);
    assert!(matches!(one.take_turn(43, 2), Turn::Taken(_)), "another session has its own");
    one.end_turn(first);
    assert!(matches!(two.take_turn(42, 2), Turn::Taken(_)));
}

#[test]
fn an_idle_connection_of_another_worker_is_asked_for_once_the_oldest_first() {
    let (ledger, server) = ledger();
    let (one, two) = (Member::join(&ledger).unwrap(), Member::join(&ledger).unwrap());
    let held = take(&one, server, NO_LIMIT, 3);
    let now = now_ms();
    for (rights, since) in held.iter().zip([now + 10_000, now - HOLD - 1, now - HOLD]) {
        one.connection(rights).idle(1, since);
    }
    let asked = || held.iter().map(|rights| one.connection(rights).is_to_close()).collect::<Vec<_>>();
    two.ask_for_idle(server, Lacking::All);
    assert_eq!(asked(), [false, true, false]);
    two.ask_for_idle(server, Lacking::All);
    assert_eq!(asked(), [false, true, true]);
    two.ask_for_idle(server, Lacking::All);
    assert_eq!(asked(), [false, true, true], "one that has just begun to idle is kept for its worker's next request");
    assert_eq!(one.rank(server, held[2].seat()), 2);
    held.into_iter().for_each(|rights| one.release(server, rights));
}

#[test]
fn every_answer_is_counted_once_by_server_path_and_status() {
    let (ledger, server) = ledger();
    let path = ledger.path_row("/csp").unwrap();
    let members: Vec<Member> = (0..10).map(|_| Member::join(&ledger).unwrap()).collect();
    for (number, member) in members.iter().enumerate() {
        for _ in 0..100 {
            member.count_answer(Some(server), Some(path), 200, 1500 * number as u64);
        }
        member.count_answer(None, None, 503, 0);
        member.count_failure(201);
    }
    drop(members);
    let now = ledger.snapshot();
    assert_eq!((now.servers[0].requests, now.paths[0].requests), (1000, 1000));
    assert_eq!(now.servers[0].latency.iter().sum::<u64>(), 1000);
    assert_eq!(now.servers[0].latency[..3], [100, 100, 200]);
    assert_eq!(now.failures, [(201, 10)]);
    let of_nobody = now.answers.iter().find(|series| series.server.is_none()).unwrap();
    assert_eq!((of_nobody.status, of_nobody.count), (503, 10));
}

#[test]
fn servers_and_paths_are_found_again_and_names_of_servers_have_no_case() {
    let (ledger, server) = ledger();
    assert_eq!(ledger.server("local"), Some(server));
    assert_ne!(ledger.server("other"), Some(server));
    assert_ne!(ledger.path_row("/csp"), ledger.path_row("/CSP"));
    assert_eq!(ledger.snapshot().paths.iter().map(|path| path.path.as_str()).collect::<Vec<_>>(), ["/csp", "/CSP"]);
    assert!((0..SERVERS).all(|number| ledger.server(&format!("s{number}")).is_some() == (number < SERVERS - 2)));
}

#[test]
fn a_ring_before_the_sleep_is_heard() {
    let (ledger, _) = ledger();
    let member = Member::join(&ledger).unwrap();
    let rung = member.rung();
    member.ring();
    member.sleep(rung, None);
}

#[test]
fn a_named_ledger_is_found_by_its_file_and_one_that_cannot_be_made_has_no_name() {
    let directory = tempfile::tempdir().unwrap();
    let csp_ini = directory.path().join("CSP.ini");
    let run = directory.path().join("run");
    assert!(Ledger::look(&csp_ini, &run).is_err());
    let (ledger, why) = Ledger::of(&csp_ini, &run).unwrap();
    assert!(why.is_none() && ledger.path().is_some_and(Path::exists));
    let (again, _) = Ledger::of(&csp_ini, &run).unwrap();
    assert!(Arc::ptr_eq(&ledger, &again), "a reload finds it");
    ledger.server("LOCAL");
    assert_eq!(Ledger::look(&csp_ini, &run).unwrap().servers[0].name, "LOCAL");

    let (nameless, why) = Ledger::of(&csp_ini, Path::new("/proc/none")).unwrap();
    assert!(nameless.path().is_none() && why.is_some());
}

#[test]
fn no_two_files_have_one_ledger() {
    let of = |csp_ini: &str| path_of(Path::new(csp_ini), Path::new("/run/sclera"));
    assert_eq!(of("/opt/webgateway/bin/CSP.ini"), Path::new("/run/sclera/opt-webgateway-bin-CSP.ini.ledger"));
    let alike = ["/a-b/CSP.ini", "/a/b/CSP.ini", "/a/-b/CSP.ini", "/a-/b/CSP.ini", "/a%2db/CSP.ini"].map(of);
    assert_eq!(HashSet::from(alike).len(), 5);
}

#[test]
fn one_probe_at_a_time_and_connections_from_before_a_restart_are_known() {
    let (ledger, server) = ledger();
    let row = ledger.server_row(server);
    assert!(row.claim_probe(100, 50));
    assert!(!row.claim_probe(149, 50));
    assert!(row.claim_probe(150, 50));
    row.end_probe();
    assert!(row.claim_probe(151, 50));
    row.note_restart(1000);
    row.note_restart(500);
    assert!(row.is_from_before_restart(1000) && !row.is_from_before_restart(1001));
}

#[test]
fn whoever_is_passed_something_after_losing_interest_gives_it_back() {
    let (ledger, server) = ledger();
    let (one, two) = (Member::join(&ledger).unwrap(), Member::join(&ledger).unwrap());
    let line = two.new_line();
    two.wait(line, server, Lacking::All, 1, 1);
    let mut held = take(&one, server, NO_LIMIT, 3);
    let to = one.next_in_turn(server, InsteadOf::Nothing).unwrap();
    // The request leaves while it is being served.
    two.stop_waiting(line, server);
    two.return_grants();
    held.drain(..).for_each(|rights| one.pass(server, rights, to));
    assert_eq!(one.claim(server, NO_LIMIT).err(), Some(Lacking::All));
    assert!(two.takes_granted(), "it has been told");
    two.return_grants();
    drop(take(&one, server, NO_LIMIT, 3));
}

#[test]
fn grants_are_kept_for_a_pool_that_still_waits_when_another_of_its_worker_stops() {
    let (ledger, server) = ledger();
    let other_server = ledger.server("OTHER").unwrap();
    let (one, two) = (Member::join(&ledger).unwrap(), Member::join(&ledger).unwrap());
    let held = take(&one, server, NO_LIMIT, 3);
    // Two pools of one server, before and after a reload, and one of another server.
    let (before, after, other) = (two.new_line(), two.new_line(), two.new_line());
    two.wait(before, server, Lacking::All, 1, 50);
    two.wait(after, server, Lacking::All, 2, 70);
    two.wait(other, other_server, Lacking::All, 1, 60);
    assert_eq!(ledger.snapshot().servers[server].queued, 3);
    two.stop_waiting(before, server);
    assert_eq!(ledger.snapshot().servers[server].queued, 2);
    let to = one.next_in_turn(server, InsteadOf::Nothing).expect("the other two still wait");
    assert_eq!(one.next_in_turn(server, InsteadOf::Mine(61 + 100)), Some(to), "since 60");
    assert_eq!(one.next_in_turn(server, InsteadOf::Mine(60 + 100)), None);
    two.stop_waiting(other, other_server);
    held.into_iter().for_each(|rights| one.pass(server, rights, to));
    two.return_grants();
    let rights = two.collect(server, NO_LIMIT).unwrap();
    two.stop_waiting(after, server);
    assert!(one.next_in_turn(server, InsteadOf::Nothing).is_none());
    two.return_grants();
    drop(take(&one, server, NO_LIMIT, 2));
    two.release(server, rights);
}

#[test]
fn neither_those_who_wait_for_a_server_nor_those_who_wait_for_any_starve_the_others() {
    let (ledger, server) = ledger();
    let other_server = ledger.server("OTHER").unwrap();
    let members: Vec<Member> = (0..3).map(|_| Member::join(&ledger).unwrap()).collect();
    members[1].wait(members[1].new_line(), server, Lacking::Server, 1, 200);
    members[2].wait(members[2].new_line(), other_server, Lacking::All, 1, 100);
    let first = |mine| members[0].next_in_turn(server, mine).map(Holder::row);
    assert_eq!(first(InsteadOf::Nothing), Some(2));
    assert_eq!(first(InsteadOf::Mine(250)), Some(2));
    assert_eq!(first(InsteadOf::Mine(200)), None);
}

#[test]
fn which_limit_is_in_the_way_may_change_while_a_request_waits() {
    let (ledger, server) = ledger();
    let other_server = ledger.server("OTHER").unwrap();
    let (one, two) = (Member::join(&ledger).unwrap(), Member::join(&ledger).unwrap());
    let mut held = take(&one, server, TWO, 2);
    assert_eq!(two.collect(server, TWO).err(), Some(Lacking::Server));
    one.release(server, held.pop().unwrap());
    held.extend(take(&one, other_server, NO_LIMIT, 2));
    assert_eq!(two.collect(server, TWO).err(), Some(Lacking::All));
    drop(one.claim(server, Limits { all: 4, ..TWO }).expect("no place is lost"));
}

#[test]
fn what_is_passed_to_a_worker_that_has_gone_is_found() {
    let (ledger, server) = ledger();
    let (one, two) = (Member::join(&ledger).unwrap(), Member::join(&ledger).unwrap());
    two.wait(two.new_line(), server, Lacking::All, 1, 1);
    let mut held = take(&one, server, NO_LIMIT, 3);
    let to = one.next_in_turn(server, InsteadOf::Nothing).unwrap();
    drop(two);
    held.drain(..).for_each(|rights| one.pass(server, rights, to));
    assert_eq!(one.claim(server, NO_LIMIT).err(), Some(Lacking::All));
    assert_eq!(one.reclaim(0), 0, "nobody was killed");
    drop(take(&one, server, NO_LIMIT, 3));
}

const FIRST: Holder = Holder::of_row(0);
const SECOND: Holder = Holder::of_row(1);

fn free_turns(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

#[test]
fn a_session_has_its_turns_and_no_more_wherever_others_have_theirs() {
    // So few words that every window is all of them.
    let words = free_turns(16);
    for session in 0..4 {
        for worker in [FIRST, SECOND, FIRST] {
            assert!(matches!(turns::take(&words, worker, session, 3), Turn::Taken(_)), "{session}");
        }
        assert_eq!(turns::take(&words, SECOND, session, 3), Turn::Wait, "{session}");
    }
    let Turn::Taken(turn) = turns::take(&words, FIRST, 9, 1) else { panic!("a free word") };
    turns::end(&words, turn, SECOND);
    assert_eq!(turns::take(&words, FIRST, 9, 1), Turn::Wait, "a turn is given back by whose it is");
    turns::end(&words, turn, FIRST);
    assert!(matches!(turns::take(&words, SECOND, 9, 1), Turn::Taken(_)));
}

#[test]
fn where_others_have_all_the_words_nobody_waits_for_them() {
    let words = free_turns(4);
    (0..4).for_each(|session| assert!(matches!(turns::take(&words, FIRST, session, 1), Turn::Taken(_))));
    assert_eq!(turns::take(&words, SECOND, 4, 1), Turn::Free);
    assert_eq!(turns::take(&words, SECOND, 3, 1), Turn::Wait);
}

#[test]
fn what_a_dead_worker_had_is_free_again_and_nothing_else() {
    let words = free_turns(64);
    assert!(matches!(turns::take(&words, FIRST, 7, 2), Turn::Taken(_)));
    assert!(matches!(turns::take(&words, SECOND, 7, 2), Turn::Taken(_)));
    turns::take_away(&words, FIRST);
    assert!(matches!(turns::take(&words, SECOND, 7, 2), Turn::Taken(_)));
    assert_eq!(turns::take(&words, SECOND, 7, 2), Turn::Wait);
}

#[test]
fn a_session_whose_number_is_0_is_told_from_a_free_word() {
    let words = free_turns(64);
    assert!(matches!(turns::take(&words, FIRST, 0, 1), Turn::Taken(_)));
    assert_eq!(turns::take(&words, SECOND, 0, 1), Turn::Wait);
}
