//! Who gets in, over real sockets and real TLS, and what the audit says about the others.

use crate::support::{ALICE, Client, Failure, GATEWAY, NOBODY, Pki, Who, audited, plain, start};
use sclera_superserver::audit::Filter;
use sclera_superserver::{Options, StartError, Superserver};
use std::io::{Read, Write};
use std::net::TcpStream;

const MUTUAL: &str = "ModifyService:Name=%Service_WebGateway,AutheEnabled=$$$AuthePassword+$$$AutheMutualTLS\n\
                      CreateUser:Name=Gateway,Password=right";

fn denied() -> Failure {
    Failure::Refused(417, "Access Denied".to_owned())
}

#[test]
fn a_certificate_whose_common_name_is_a_user_logs_in_as_that_user_whatever_the_case() {
    let pki = Pki::new();
    pki.client("gateway", "gateWAY");
    let server = pki.start(3, 2, MUTUAL);
    let mut client = Client::tls(server.address(), &pki.tls(Some("gateway")));
    client.log_in(NOBODY).unwrap();
    let page = String::from_utf8(client.get("/csp/demo/").unwrap()).unwrap();
    assert!(page.contains("<li>Login identity: Gateway (mutual TLS)</li>"), "{page}");
    assert!(page.contains("<li>Client certificate: CN=gateWAY, serial "), "{page}");
    assert!(page.contains("<li>TLS: TLSv1.3, TLS_"), "{page}");
    assert_eq!(audited(&server), [""; 0]);
    assert_eq!(server.counts().logins, 1);
}

#[test]
fn a_password_wins_over_the_certificate_and_a_wrong_one_never_falls_back_to_it() {
    let pki = Pki::new();
    pki.client("gateway", "gateway");
    let server = pki.start(3, 2, &format!("{MUTUAL}\nCreateUser:Name=other,Password=right"));
    let tls = pki.tls(Some("gateway"));
    let mut client = Client::tls(server.address(), &tls);
    client.log_in(Who { user: "other", ..GATEWAY }).unwrap();
    let page = String::from_utf8(client.get("/csp/demo/").unwrap()).unwrap();
    assert!(page.contains("<li>Login identity: other (password)</li>"), "{page}");

    let wrong = Who { user: "other", password: "wrong", ..GATEWAY };
    assert_eq!(Client::tls(server.address(), &tls).log_in(wrong), Err(denied()));
    assert_eq!(audited(&server), ["other 798+952"]);
}

#[test]
fn an_unknown_common_name_is_refused_without_a_reason_and_audited_with_it() {
    let pki = Pki::new();
    pki.client("stranger", "stranger");
    let server = pki.start(1, 1, MUTUAL);
    assert_eq!(Client::tls(server.address(), &pki.tls(Some("stranger"))).log_in(NOBODY), Err(denied()));
    let [record] = &server.store().login_failures().unwrap()[..] else { panic!("one record") };
    assert_eq!(record.description, "%Service_WebGateway login failure");
    assert!(record.event_data.contains("ERROR #838: User stranger does not exist\r\n"), "{}", record.event_data);
    assert_eq!((record.username.as_str(), record.authentication.as_str()), ("stranger", "MutualTLS"));
    assert_eq!((record.client_address.as_str(), record.os_username.as_str()), ("192.0.2.1", "nobody"));
}

#[test]
fn under_request_a_client_without_certificate_goes_on_and_needs_a_password() {
    let pki = Pki::new();
    let server = pki.start(1, 2, MUTUAL);
    let tls = pki.tls(None);
    assert_eq!(Client::tls(server.address(), &tls).log_in(NOBODY), Err(denied()));
    let gateway = Who { user: "gateway", ..GATEWAY };
    assert!(Client::tls(server.address(), &tls).log_in(gateway).is_ok());
    assert_eq!(audited(&server), ["UnknownUser 951"]);
}

#[test]
fn under_require_the_handshake_fails_without_certificate_and_nothing_is_audited() {
    let pki = Pki::new();
    let server = pki.start(3, 2, MUTUAL);
    let alert = |name: &str| Err(Failure::Alert(format!("received fatal alert: {name}")));
    assert_eq!(Client::tls(server.address(), &pki.tls(None)).log_in(NOBODY), alert("CertificateRequired"));
    let stranger = Pki::new();
    stranger.client("gateway", "gateway");
    std::fs::copy(pki.path("ca.pem"), stranger.path("ca.pem")).unwrap();
    assert_eq!(Client::tls(server.address(), &stranger.tls(Some("gateway"))).log_in(NOBODY), alert("UnknownCA"));
    // The server counts after it has sent the alert.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while server.counts().tls_failures < 2 && std::time::Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(server.counts().tls_failures, 2);
    assert_eq!(audited(&server), [""; 0]);
}

#[test]
fn a_resumed_session_still_knows_the_certificate() {
    let pki = Pki::new();
    pki.client("gateway", "gateway");
    let server = pki.start(3, 2, MUTUAL);
    let tls = pki.tls(Some("gateway"));
    for _ in 0..3 {
        let mut client = Client::tls(server.address(), &tls);
        client.log_in(NOBODY).unwrap();
        client.get("/csp/demo/status/204").unwrap();
    }
    assert_eq!(server.counts().logins, 3);
}

#[test]
fn on_the_bindings_service_the_certificate_guards_the_transport_only() {
    let pki = Pki::new();
    pki.client("alice", "alice");
    let server = pki.start(3, 2, MUTUAL);
    let tls = pki.tls(Some("alice"));
    let driver = Who { application: "driver", ..NOBODY };
    assert_eq!(Client::tls(server.address(), &tls).log_in(driver), Err(denied()));
    assert!(Client::tls(server.address(), &tls).log_in(ALICE).is_ok());
    assert_eq!(audited(&server), ["UnknownUser 951"]);
}

#[test]
fn plain_on_a_tls_port_and_tls_on_a_plain_port_are_refused_with_their_own_numbers() {
    let pki = Pki::new();
    let secure = pki.start(0, 2, "");
    assert_eq!(Client::plain(secure.address()).log_in(GATEWAY), Err(Failure::Closed));
    assert_eq!(audited(&secure), [" 995"]);
    let open = plain();
    assert_eq!(Client::tls(open.address(), &pki.tls(None)).log_in(GATEWAY), Err(Failure::Closed));
    assert_eq!(audited(&open), [" 996"]);
    assert_eq!(open.store().login_failures().unwrap()[0].description, "%Service_SuperServer login failure");
}

#[test]
fn support_level_enabled_takes_both() {
    let pki = Pki::new();
    let server = pki.start(0, 1, "CreateUser:Name=gw,Password=right");
    assert!(Client::plain(server.address()).log_in(GATEWAY).is_ok());
    assert!(Client::tls(server.address(), &pki.tls(None)).log_in(GATEWAY).is_ok());
}

#[test]
fn changes_hold_for_the_next_connection() {
    let server = plain();
    let mut first = Client::plain(server.address());
    first.log_in(GATEWAY).unwrap();
    server.apply("ModifyUser:Name=GW,Enabled=0").unwrap();
    assert_eq!(Client::plain(server.address()).log_in(GATEWAY), Err(denied()));
    server.apply("ModifyUser:Name=gw,Enabled=1\nModifyService:Name=%Service_WebGateway,Enabled=0").unwrap();
    assert_eq!(Client::plain(server.address()).log_in(GATEWAY), Err(denied()));
    server.apply("ModifyService:Name=%Service_WebGateway,Enabled=1,ClientSystems=192.0.2.0/24").unwrap();
    assert_eq!(Client::plain(server.address()).log_in(GATEWAY), Err(denied()));
    server.apply("ModifyService:Name=%Service_WebGateway,ClientSystems=\"\"").unwrap();
    server.apply("ModifyServer:Port=1,BindAddress=127.0.0.1,EnableCSP=0").unwrap();
    assert_eq!(Client::plain(server.address()).log_in(GATEWAY), Err(denied()));
    server.apply("ModifyUser:Name=gw,ChangePassword=1\nModifyServer:Port=1,BindAddress=127.0.0.1,EnableCSP=1").unwrap();
    let change = Failure::Refused(417, "Password change required".to_owned());
    assert_eq!(Client::plain(server.address()).log_in(GATEWAY), Err(change));
    assert_eq!(audited(&server), ["gw 798+828", "gw 800", "gw 817", "gw 800", "gw 798+935"]);
    assert!(first.get("/csp/demo/status/204").is_ok(), "a connection that is logged in stays");
    let disabled = Filter { user: Some("GW".into()), event: Some("LoginFailure".into()), since: None };
    assert_eq!(server.store().audit(&disabled).unwrap().len(), 5);
}

#[test]
fn what_does_not_begin_like_a_client_is_refused_and_audited() {
    for (bytes, number) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], " 948"), (b"\x02\0\0\0\x01", " 949")] {
        let server = plain();
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.write_all(bytes).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        assert!(rest.is_empty());
        assert_eq!(audited(&server), [number]);
    }
}

#[test]
fn a_name_that_is_too_long_or_would_write_lines_of_its_own_is_nobody_in_log_and_audit() {
    use std::sync::{Arc, Mutex};
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    let actions = "CreateServer:Port=0,BindAddress=127.0.0.1,EnableCSP=1";
    let options = Options::actions(actions).log(move |line| log.lock().unwrap().push(line.to_owned()));
    let server = Superserver::start(options).unwrap();
    let name = format!("x\nforged line {}", "y".repeat(20_000));
    assert_eq!(Client::plain(server.address()).log_in(Who { user: &name, ..GATEWAY }), Err(denied()));
    let lines = lines.lock().unwrap();
    assert!(lines.len() == 1 && lines[0].len() < 400 && !lines[0].contains('\n'), "{lines:?}");
    let event_data = &server.store().login_failures().unwrap()[0].event_data;
    assert!(event_data.len() < 500 && event_data.lines().count() == 4, "{event_data}");
}

#[test]
fn a_probe_that_connects_and_leaves_is_no_login_failure() {
    let server = plain();
    drop(TcpStream::connect(server.address()).unwrap());
    assert!(Client::plain(server.address()).log_in(GATEWAY).is_ok());
    assert_eq!(audited(&server), [""; 0]);
}

#[test]
fn mistakes_in_the_settings_end_the_start_and_are_told_together() {
    let actions = "CreateSSLConfig:Name=GW,Type=1,VerifyPeer=3,CertificateFile=absent.pem,PrivateKeyFile=absent.key\n\
                   CreateServer:Port=1,BindAddress=127.0.0.1,SSLSupportLevel=2,SSLConfig=GW\n\
                   CreateServer:Port=2,BindAddress=127.0.0.1,SSLSupportLevel=1,SSLConfig=nothing";
    let directory = tempfile::tempdir().unwrap();
    let Err(StartError::Settings(problems)) =
        Superserver::start(Options::actions_in(actions, directory.path()).port(0))
    else {
        panic!("must not start");
    };
    let expected = ["/absent.pem cannot be read", "/absent.key cannot be read", "CAFile is missing", "#979"];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, part) in problems.iter().zip(expected) {
        assert!(problem.contains(part), "{problem}");
    }
    assert!(matches!(Superserver::start(Options::actions("CreateUsr:Name=x")), Err(StartError::Merge(_, _))));
    assert!(matches!(
        Superserver::start(Options::merge_file(directory.path().join("absent.cpf"))),
        Err(StartError::Unreadable(..))
    ));
    assert!(matches!(Superserver::start(Options::actions("")), Err(StartError::Settings(_))));
}

#[test]
fn each_superserver_has_its_own_address_and_stopping_closes_them() {
    let server = start(
        "CreateServer:Port=1,BindAddress=127.0.0.1,EnableCSP=1\n\
         CreateServer:Port=2,BindAddress=127.0.0.1,EnableClients=0\n\
         CreateServer:Port=3,BindAddress=127.0.0.1,Enabled=0",
    );
    let addresses = [server.address_of(1).unwrap(), server.address_of(2).unwrap()];
    assert_eq!((server.listening().len(), server.address_of(3)), (2, None));
    let mut alice = Client::plain(addresses[0]);
    alice.log_in(ALICE).unwrap();
    assert_eq!(Client::plain(addresses[1]).log_in(ALICE), Err(denied()));
    server.stop();
    assert!(addresses.iter().all(|address| TcpStream::connect(address).is_err()));
    assert_eq!(alice.receive().err(), Some(Failure::Closed));
}
