//! The rest of the security objects, each with its effect on the next connection.

use crate::support::{Client, Failure, GATEWAY, NOBODY, Pki, audited};
use sclera_superserver::{Options, Superserver};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

const MUTUAL: &str = "ModifyService:Name=%Service_WebGateway,AutheEnabled=$$$AuthePassword+$$$AutheMutualTLS\n\
                      CreateUser:Name=Gateway,Password=right";

fn denied() -> Failure {
    Failure::Refused(417, "Access Denied".to_owned())
}

/// Waits for what another thread does.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn each_state_of_a_user_refuses_with_its_own_number() {
    let pki = Pki::new();
    pki.client("gateway", "gateway");
    let server = pki.start(3, 2, MUTUAL);
    let tls = pki.tls(Some("gateway"));
    let log_in = || Client::tls(server.address(), &tls).log_in(NOBODY).map(drop);
    log_in().unwrap();
    let mut expected = Vec::new();
    for (wrong, right, number) in [
        ("ModifyUser:Name=Gateway,Enabled=0", "ModifyUser:Name=Gateway,Enabled=1", 828),
        ("ModifyUser:Name=Gateway,ExpirationDate=2020-01-01", "ModifyUser:Name=Gateway,ExpirationDate=\"\"", 959),
        ("ModifyUser:Name=Gateway,Type=LDAP", "ModifyUser:Name=Gateway,Type=Password", 974),
        ("ModifySystem:RequiredRole=Gateways", "ModifyUser:Name=Gateway,Roles=Gateways", 978),
        (
            "ModifyService:Name=%Service_WebGateway,Public=0",
            "CreateRole:Name=Gateways,Resources=\"%Service_WebGateway:U,%Development:RW\"",
            815,
        ),
    ] {
        server.apply(wrong).unwrap();
        assert_eq!(log_in(), Err(denied()), "{wrong}");
        expected.push(format!("Gateway 798+{number}").replace("Gateway", "gateway"));
        assert_eq!(audited(&server), expected);
        server.apply(right).unwrap();
        assert_eq!(log_in(), Ok(()), "{right}");
    }
    // What concerns a password does not concern who comes without one.
    server.apply("ModifyUser:Name=Gateway,ChangePassword=1").unwrap();
    assert_eq!(log_in(), Ok(()));
}

#[test]
fn after_too_many_wrong_passwords_an_account_is_locked() {
    let pki = Pki::new();
    let server =
        pki.start(1, 1, "ModifySystem:InvalidLoginLimit=2,InvalidLoginAction=1\nCreateUser:Name=gw,Password=other");
    for _ in 0..3 {
        assert_eq!(Client::plain(server.address()).log_in(GATEWAY), Err(denied()));
    }
    assert_eq!(audited(&server), ["gw 798+952", "gw 798+952", "gw 798+1418"]);
}

#[test]
fn tls_configurations_heed_key_password_suites_directory_and_depth() {
    let pki = Pki::new();
    pki.client("gateway", "gateway");
    let key = pki.path("superserver.key");
    let lock = ["pkcs8", "-topk8", "-passout", "pass:canary", "-in", key.to_str().unwrap(), "-out"];
    let locked = pki.path("locked.key");
    if !Command::new("openssl").args(lock).arg(&locked).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: needs the openssl command");
        return;
    }
    std::fs::create_dir(pki.path("cas")).unwrap();
    std::fs::copy(pki.path("ca.pem"), pki.path("cas/ca.pem")).unwrap();
    let server = pki.start(3, 2, MUTUAL);
    let tls = pki.tls(Some("gateway"));
    let change = |properties: &str| server.apply(&format!("ModifySSLConfig:Name=GW,{properties}")).unwrap();
    let page = || {
        let mut client = Client::tls(server.address(), &tls);
        client.log_in(NOBODY).map(|_| String::from_utf8(client.get("/csp/demo/").unwrap()).unwrap())
    };
    change(&format!("PrivateKeyFile={},PrivateKeyPassword=canary", locked.display()));
    assert!(page().is_ok());
    change("Ciphersuites=TLS_CHACHA20_POLY1305_SHA256");
    assert!(page().unwrap().contains("TLS_CHACHA20_POLY1305_SHA256"));
    change("TLSMaxVersion=16,CipherList=ECDHE+AES128");
    assert!(page().unwrap().contains("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"));
    change(&format!("TLSMaxVersion=32,CAFile=\"\",CAPath={}", pki.path("cas").display()));
    assert!(page().is_ok());
    change("VerifyDepth=0");
    assert!(matches!(page(), Err(Failure::Alert(_))));
    let told = change("CipherList=AES256:RC4-MD5");
    assert!(told.iter().any(|line| line.contains("RC4-MD5 selects nothing")), "{told:?}");
}

#[test]
fn a_revoked_certificate_is_refused_with_its_own_alert() {
    let pki = Pki::new();
    pki.client("gateway", "gateway");
    pki.revoke("gateway", "crl.pem");
    let server = pki.start(3, 2, MUTUAL);
    let tls = pki.tls(Some("gateway"));
    Client::tls(server.address(), &tls).log_in(NOBODY).unwrap();
    server.apply(&format!("ModifySSLConfig:Name=GW,CRLFile={}", pki.path("crl.pem").display())).unwrap();
    let refused = Client::tls(server.address(), &tls).log_in(NOBODY);
    assert_eq!(refused, Err(Failure::Alert("received fatal alert: CertificateRevoked".to_owned())));
}

#[test]
fn superservers_come_and_go_while_the_others_serve() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (first, second) = (free(), free());
    let create = |port: u16| format!("CreateServer:Port={port},BindAddress=127.0.0.1,EnableCSP=1");
    let actions = format!("{}\nCreateUser:Name=gw,Password=right", create(first));
    let server = Superserver::start(Options::actions(&actions)).unwrap();
    let listens = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(listens(first) && !listens(second));
    server.apply(&create(second)).unwrap();
    eventually("the second port", || listens(second));
    let mut client = Client::plain(([127, 0, 0, 1], second).into());
    client.log_in(GATEWAY).unwrap();
    server.apply(&format!("ModifyServer:Port={second},BindAddress=127.0.0.1,Enabled=0")).unwrap();
    eventually("the end of the second port", || !listens(second));
    assert!(listens(first));
    assert!(client.get("/csp/demo/status/204").is_ok(), "who is logged in stays");
}
