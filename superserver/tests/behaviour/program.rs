//! The program: ready line, signals, changes to a running server's database, the audit list.

use crate::support::{Client, Failure, GATEWAY};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sclera-superserver");

fn program(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).current_dir(directory).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Starts a server and reads where it listens.
fn run(directory: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(PROGRAM)
        .current_dir(directory)
        .args(["run", "--merge", "superserver.cpf", "--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((words[0], &words[2..]), ("ready:", &["plain,", "serves", "CSP", "and", "clients"][..]));
    (child, words[1].parse().unwrap())
}

#[test]
fn a_running_server_takes_changes_of_another_process_and_stops_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("superserver.cpf", "[Actions]\nCreateServer:Port=51773,BindAddress=127.0.0.1,EnableCSP=1\n");
    write("user.cpf", "[Actions]\nCreateUser:Name=gw,Password=right\n");
    let (mut child, address) = run(directory.path());

    let denied = Err(Failure::Refused(417, "Access Denied".to_owned()));
    assert_eq!(Client::plain(address).log_in(GATEWAY), denied);
    let merged = program(directory.path(), &["merge", "--data", ".", "user.cpf"]);
    assert!(merged.status.success() && text(&merged.stderr).contains("user.cpf:2: created User gw"), "{merged:?}");
    assert!(Client::plain(address).log_in(GATEWAY).is_ok());

    let listed = program(directory.path(), &["audit", "list", "--user", "GW", "--since", "1h"]);
    assert!(text(&listed.stdout).contains("ERROR #838: User gw does not exist"), "{listed:?}");
    assert!(text(&listed.stdout).lines().all(|line| line.len() <= 80));
    let json = program(directory.path(), &["audit", "list", "--json", "--event", "LoginFailure"]);
    let record: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(record["Username"], "gw");
    let nothing = program(directory.path(), &["audit", "list", "--user", "nobody"]);
    assert!(nothing.status.success() && nothing.stdout.is_empty());

    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}

#[test]
fn mistakes_end_the_program_with_a_line_each() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bad.cpf"), "[Actions]\nCreateUsr:Name=x\nCreateUser:Nme=y\n").unwrap();
    let output = program(directory.path(), &["run", "--merge", "bad.cpf"]);
    assert!(!output.status.success() && output.stdout.is_empty());
    let lines: Vec<&str> = text(&output.stderr).lines().collect();
    assert!(lines[0].starts_with("sclera-superserver: bad.cpf:2: unknown action"), "{lines:?}");
    assert!(lines[1].starts_with("sclera-superserver: bad.cpf:3: CreateUser: unknown property"), "{lines:?}");
    let output = program(directory.path(), &["audit", "list", "--data", "nowhere"]);
    assert!(!output.status.success() && text(&output.stderr).contains("--data"));
}

#[test]
fn users_services_and_the_audit_are_changed_by_commands_and_live() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("superserver.cpf", "[Actions]\nCreateServer:Port=51773,BindAddress=127.0.0.1,EnableCSP=1\n");
    write("word", "right\n");
    let (mut child, address) = run(directory.path());
    let command = |arguments: &[&str]| {
        let output = program(directory.path(), arguments);
        assert!(output.status.success(), "{output:?}");
        assert!(text(&output.stdout).lines().all(|line| line.len() <= 80), "{output:?}");
        text(&output.stdout).to_owned()
    };
    let denied = Err(Failure::Refused(417, "Access Denied".to_owned()));
    command(&["audit", "disable"]);
    assert_eq!(Client::plain(address).log_in(GATEWAY), denied);
    assert!(!command(&["audit", "list"]).contains("LoginFailure"), "auditing is off");
    let counters = command(&["audit", "counters"]);
    assert!(
        counters.lines().any(|line| line.starts_with("%System/%Login/LoginFailure") && line.contains(" 1 ")),
        "{counters}"
    );
    command(&["audit", "enable"]);
    command(&["audit", "enable", "Login"]);

    command(&["user", "create", "gw", "--password-file", "word", "Roles=Gateways"]);
    assert!(command(&["user", "list"]).starts_with("gw "));
    assert!(command(&["user", "show", "GW"]).contains("Password=(set)"));
    assert!(Client::plain(address).log_in(GATEWAY).is_ok());
    assert!(command(&["audit", "list", "--event", "Login"]).contains("%Service_WebGateway login"));
    command(&["service", "modify", "%Service_WebGateway", "Public=0"]);
    assert_eq!(Client::plain(address).log_in(GATEWAY), denied);
    command(&["role", "create", "Gateways", "Resources=%Service_WebGateway:U"]);
    assert!(Client::plain(address).log_in(GATEWAY).is_ok());
    command(&["user", "delete", "gw"]);
    assert_eq!(Client::plain(address).log_in(GATEWAY), denied);
    let visible = program(directory.path(), &["user", "modify", "gw", "Password=x"]);
    assert!(!visible.status.success() && text(&visible.stderr).contains("--password-file"), "{visible:?}");

    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}
