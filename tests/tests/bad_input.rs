//! Whatever is wrong gets its own code, one log line and the right status, and nothing falls over.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;
use sclera_superserver::{Options, Running, Superserver};
use sclera_tests::certificates::{Ca, Leaf, Pair};
use sclera_tests::host::{self, Run};
use sclera_tests::peer;
use tempfile::TempDir;

/// A directory with a CSP.ini whose `[LOCAL]` section holds these lines.
struct Scene {
    directory: TempDir,
}

impl Scene {
    fn new() -> Scene {
        Scene { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes CSP.ini and sends one request.
    fn get(&self, server: &str) -> Run {
        self.get_with("", server, "/csp/demo/echo")
    }

    fn get_with(&self, system: &str, server: &str, target: &str) -> Run {
        let text = format!(
            "[SYSTEM]\n{system}\n[SYSTEM_INDEX]\nLOCAL=Enabled\n[LOCAL]\nIp_Address=127.0.0.1\n{server}\n\
             [APP_PATH_INDEX]\n/=Enabled\n[APP_PATH:/]\nDefault_Server=LOCAL\n"
        );
        let config = self.path().join("CSP.ini");
        fs::write(&config, text).expect("writing CSP.ini");
        host::get(&config, target)
    }
}

/// The run ended with this code and status, the code stands in exactly one log line, and the page says nothing more.
fn assert_failure(run: &Run, code: u16, status: u16) {
    let code = format!("SCLERA-{code}");
    assert_eq!(run.status(), status, "{run:?}");
    assert_eq!(run.codes(), [code.as_str()], "{run:?}");
    assert!(run.stdout.contains(&code), "{run:?}");
    assert!(!run.stdout.contains("127.0.0.1"), "the page names an internal address: {run:?}");
}

#[test]
fn an_absent_or_unusable_csp_ini_answers_503() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("CSP.ini");
    let status_and_code = |what: &str| {
        let run = host::get(&config, "/csp/");
        assert_eq!(run.status(), 503, "{what}: {run:?}");
        run.codes().last().map(|code| (*code).to_owned()).unwrap_or_default()
    };
    assert_eq!(status_and_code("absent"), "SCLERA-100");
    assert!(!config.exists(), "only the first start of a web server makes one");
    fs::write(&config, b"").unwrap();
    assert_eq!(status_and_code("empty"), "SCLERA-101");
    fs::write(&config, [0, 159, 146, 150, 0, 1, 2]).unwrap();
    assert_eq!(status_and_code("binary"), "SCLERA-101");
    fs::write(&config, b"[SYSTEM\0]\nA=\xff\n").unwrap();
    assert_eq!(status_and_code("with a NUL"), "SCLERA-101");
    let huge = fs::File::create(&config).unwrap();
    huge.set_len(100 * 1024 * 1024).unwrap();
    assert_eq!(status_and_code("of 100 MB"), "SCLERA-101");
    fs::remove_file(&config).unwrap();
    fs::create_dir_all(config.join("CSP.ini")).unwrap();
    assert_eq!(status_and_code("a directory"), "SCLERA-100");
}

#[test]
fn a_port_on_which_nothing_listens_is_told_from_a_name_that_does_not_exist() {
    let scene = Scene::new();
    assert_failure(&scene.get(&format!("TCP_Port={}", peer::closed_port())), 201, 502);
    assert_failure(&scene.get("Ip_Address=no-such-host.invalid\nTCP_Port=1"), 200, 502);
}

/// A superserver with TLS, its authority, and the lines that make a gateway meet it.
struct Tls {
    scene: Scene,
    ca: Ca,
    server: Running,
    gateway: Pair,
}

impl Tls {
    /// `extra`: properties of the TLS configuration, such as `TLSMaxVersion=16`.
    fn with(leaf: &Leaf, extra: &str, cn: &str) -> Tls {
        let scene = Scene::new();
        let ca = Ca::new(scene.path(), "ca");
        let pair = ca.issue("superserver", leaf);
        let gateway = ca.issue("gateway", &Leaf::gateway(cn));
        let actions = format!(
            "CreateSSLConfig:Name=S,Type=1,Enabled=1,VerifyPeer=3,CAFile={},CertificateFile={},PrivateKeyFile={}{extra}\n\
             CreateServer:Port=0,BindAddress=127.0.0.1,EnableCSP=1,SSLSupportLevel=2,SSLConfig=S\n\
             ModifyService:Name=%Service_WebGateway,Enabled=1,AutheEnabled=$$$AutheMutualTLS\n\
             CreateUser:Name=gwuser\n",
            ca.file.display(),
            pair.certificate.display(),
            pair.key.display(),
        );
        let server = Superserver::start(Options::actions(&actions)).expect("the superserver starts");
        Tls { scene, ca, server, gateway }
    }

    fn new() -> Tls {
        Tls::with(&Leaf::server(), "", "gwuser")
    }

    fn lines(&self, ca: &Path, gateway: Option<&Pair>) -> String {
        let own = gateway.map_or_else(String::new, |pair| {
            let (certificate, key) = (pair.certificate.display(), pair.key.display());
            format!("SSLCC_Certificate_File={certificate}\nSSLCC_Certificate_Key_File={key}\n")
        });
        let (port, ca) = (self.server.port(), ca.display());
        format!(
            "TCP_Port={port}\nConnection_Security_Level=10\nSSLCC_Verify_Peer=1\nSSLCC_CA_Certificate_File={ca}\n{own}"
        )
    }

    fn good_lines(&self) -> String {
        self.lines(&self.ca.file, Some(&self.gateway))
    }
}

#[test]
fn the_good_case_that_all_others_differ_from_works() {
    let tls = Tls::new();
    let run = tls.scene.get(&tls.good_lines());
    assert_eq!(run.status(), 200, "{run:?}");
    assert!(run.stdout.contains("Login identity: gwuser"), "{run:?}");
}

#[test]
fn a_superserver_that_cannot_be_trusted_is_refused_for_its_own_reason() {
    let tls = Tls::new();
    let other = Ca::new(tls.scene.path(), "other");
    assert_failure(&tls.scene.get(&tls.lines(&other.file, Some(&tls.gateway))), 303, 502);
    let expired = Tls::with(&Leaf { valid: (-10, -1), ..Leaf::server() }, "", "gwuser");
    assert_failure(&expired.scene.get(&expired.good_lines()), 304, 502);
    let early = Tls::with(&Leaf { valid: (1, 10), ..Leaf::server() }, "", "gwuser");
    assert_failure(&early.scene.get(&early.good_lines()), 305, 502);
    let named = Tls::with(&Leaf { names: &["elsewhere.example"], ..Leaf::server() }, "", "gwuser");
    assert_failure(&named.scene.get(&named.good_lines()), 306, 502);
    let run = named.scene.get(&format!("{}Sclera_Verify_Name=0", named.good_lines()));
    assert_eq!(run.status(), 200, "{run:?}");
}

#[test]
fn without_verification_the_connection_is_made_and_what_was_found_is_a_warning() {
    let tls = Tls::new();
    let other = Ca::new(tls.scene.path(), "other");
    let lines = tls.lines(&other.file, Some(&tls.gateway)).replace("SSLCC_Verify_Peer=1\n", "");
    let run = tls.scene.get(&lines);
    assert_eq!(run.status(), 200, "{run:?}");
    assert!(run.stderr.contains("SSLCC_Verify_Peer"), "{run:?}");
}

#[test]
fn a_refused_client_certificate_is_told_by_its_reason_in_both_versions_of_tls() {
    for version in ["", ",TLSMaxVersion=16"] {
        let tls = Tls::with(&Leaf::server(), version, "gwuser");
        assert_failure(&tls.scene.get(&tls.lines(&tls.ca.file, None)), 308, 502);
        let other = Ca::new(tls.scene.path(), "other");
        let foreign = other.issue("foreign", &Leaf::gateway("gwuser"));
        let run = tls.scene.get(&tls.lines(&tls.ca.file, Some(&foreign)));
        assert_eq!(run.status(), 502, "{run:?}");
        assert!(matches!(run.codes()[..], ["SCLERA-309" | "SCLERA-311"]), "{run:?}");
    }
}

#[test]
fn versions_of_tls_that_do_not_overlap_are_told() {
    let tls = Tls::with(&Leaf::server(), ",TLSMaxVersion=16", "gwuser");
    assert_failure(&tls.scene.get(&format!("{}SSLCC_Protocol_Min=32", tls.good_lines())), 301, 502);
}

#[test]
fn a_cn_that_is_no_user_is_refused_and_the_audit_says_why() {
    let tls = Tls::with(&Leaf::server(), "", "stranger");
    assert_failure(&tls.scene.get(&tls.good_lines()), 400, 502);
    let records = tls.server.store().login_failures().expect("the audit");
    assert_eq!(records.len(), 1, "{records:?}");
    assert!(format!("{records:?}").contains("838"), "{records:?}");
}

#[test]
fn a_leftover_password_wins_over_the_certificate_and_the_log_warns_of_it() {
    let tls = Tls::new();
    let run = tls.scene.get(&format!("{}Username=gwuser\nPassword=wrong", tls.good_lines()));
    assert_eq!(run.status(), 502, "{run:?}");
    assert!(run.codes().contains(&"SCLERA-406"), "{run:?}");
    assert!(run.stderr.contains("win over mutual TLS"), "{run:?}");
    let records = tls.server.store().login_failures().expect("the audit");
    assert!(format!("{records:?}").contains("947"), "{records:?}");
}

#[test]
fn each_unusable_file_of_the_identity_has_its_own_code() {
    let tls = Tls::new();
    let write = |name: &str, content: &[u8]| -> PathBuf {
        let path = tls.scene.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let good = &tls.gateway;
    let pair = |certificate: &Path, key: &Path| Pair { certificate: certificate.to_owned(), key: key.to_owned() };
    let missing = tls.scene.path().join("missing.pem");
    let garbage = write("garbage.pem", b"\x30\x82 this is no PEM");
    let other = tls.ca.issue("other-pair", &Leaf::gateway("gwuser"));
    let expired = tls.ca.issue("expired", &Leaf { valid: (-10, -1), ..Leaf::gateway("gwuser") });
    let early = tls.ca.issue("early", &Leaf { valid: (1, 10), ..Leaf::gateway("gwuser") });
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    let server_only = tls.ca.issue("server-only", &Leaf { usage, ..Leaf::gateway("gwuser") });
    for (pair, code) in [
        (pair(&missing, &good.key), "SCLERA-110"),
        (pair(&garbage, &good.key), "SCLERA-111"),
        (expired, "SCLERA-112"),
        (early, "SCLERA-113"),
        (server_only, "SCLERA-114"),
        (pair(&good.certificate, &missing), "SCLERA-115"),
        (pair(&good.certificate, &garbage), "SCLERA-116"),
        (pair(&good.certificate, &other.key), "SCLERA-118"),
    ] {
        let run = tls.scene.get(&tls.lines(&tls.ca.file, Some(&pair)));
        assert_eq!(run.status(), 503, "{code}: {run:?}");
        assert_eq!(run.codes().last(), Some(&code), "{run:?}");
        assert!(run.stderr.contains("CSP.ini:"), "no place in CSP.ini is named: {run:?}");
    }
}

#[test]
fn tls_and_plain_that_meet_are_told_apart() {
    let tls = Tls::new();
    let run = tls.scene.get(&format!("TCP_Port={}", tls.server.port()));
    assert_eq!(run.status(), 502, "{run:?}");
    assert!(matches!(run.codes()[..], ["SCLERA-404" | "SCLERA-403"]), "{run:?}");
    let actions = "CreateServer:Port=0,BindAddress=127.0.0.1,EnableCSP=1\nCreateUser:Name=gw,Password=x";
    let plain = Superserver::start(Options::actions(actions)).expect("the superserver starts");
    let lines = tls.good_lines().replace(&tls.server.port().to_string(), &plain.port().to_string());
    assert_failure(&tls.scene.get(&lines), 300, 502);
}

#[test]
fn a_server_of_another_protocol_is_no_superserver() {
    let scene = Scene::new();
    let ssh = peer::listen(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n");
        let _ = stream.read(&mut [0; 100]);
    });
    assert_failure(&scene.get(&format!("TCP_Port={ssh}")), 500, 502);
    let huge = peer::listen(|stream| {
        let mut server = peer::Superserver::new(stream);
        server.message();
        server.send(&[0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        server.hold();
    });
    assert_failure(&scene.get(&format!("TCP_Port={huge}")), 500, 502);
}

#[test]
fn a_server_that_closes_at_any_step_is_told_by_the_step() {
    let scene = Scene::new();
    let at_accept = peer::listen(|stream| drop(stream.shutdown(Shutdown::Both)));
    assert_failure(&scene.get(&format!("TCP_Port={at_accept}")), 403, 502);
    let at_handshake = peer::listen(|stream| {
        let mut server = peer::Superserver::new(stream);
        server.message();
        server.close();
    });
    assert_failure(&scene.get(&format!("TCP_Port={at_handshake}")), 403, 502);
    let at_login = peer::listen(|stream| {
        let mut server = peer::Superserver::new(stream);
        server.handshake();
        server.message();
        server.close();
    });
    assert_failure(&scene.get(&format!("TCP_Port={at_login}")), 403, 502);
    let at_call = peer::listen(|stream| {
        let mut server = peer::Superserver::new(stream);
        server.await_call();
        server.close();
    });
    assert_failure(&scene.get(&format!("TCP_Port={at_call}")), 600, 502);
}

#[test]
fn an_answer_that_breaks_after_its_head_is_cut() {
    let scene = Scene::new();
    let port = peer::listen(|stream| {
        let mut server = peer::Superserver::new(stream);
        let Some(call) = server.await_call() else { return };
        let mut answer = Vec::new();
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this much";
        sclera::wire::frame::write_message(
            &mut answer,
            call.sequence,
            0,
            sclera::wire::frame::Code::native_status(0),
            |out| {
                sclera::wire::element::write_bytes(&[head.as_slice(), &[b'x'; 100]].concat(), out);
            },
        );
        server.send(&answer[..14 + 2 + head.len()]);
        server.close();
    });
    let run = scene.get(&format!("TCP_Port={port}"));
    assert!(!run.success && run.stdout.contains("only this much"), "{run:?}");
    assert_eq!(run.codes(), ["SCLERA-601"], "{run:?}");
}

#[test]
fn a_server_that_announces_too_much_or_speaks_out_of_turn_is_refused() {
    let scene = Scene::new();
    let wrong_number = peer::listen(|stream| {
        let mut server = peer::Superserver::new(stream);
        let Some(mut call) = server.await_call() else { return };
        call.sequence += 2;
        server.give_back(&call, b"HTTP/1.1 200 OK\r\n\r\n");
        server.hold();
    });
    assert_failure(&scene.get(&format!("TCP_Port={wrong_number}")), 502, 502);
    let asks_to_leave = peer::listen(|stream| {
        let mut server = peer::Superserver::new(stream);
        server.await_call();
        server.send(&[0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'Y', b'4']);
        server.hold();
    });
    assert_failure(&scene.get(&format!("TCP_Port={asks_to_leave}")), 606, 502);
}

#[test]
fn malformed_response_heads_are_refused() {
    fn answering(head: &'static [u8]) -> u16 {
        // `listen` wants a function that can be copied; the head is carried by a leaked reference.
        let head: &'static &'static [u8] = Box::leak(Box::new(head));
        peer::listen(move |stream| {
            let mut server = peer::Superserver::new(stream);
            if let Some(call) = server.await_call() {
                server.give_back(&call, head);
                server.hold();
            }
        })
    }
    let scene = Scene::new();
    for (head, code) in [
        (&b"HTTP/1.1 200 OK\r\nX-A: b\x01\r\n\r\n"[..], 603),
        (b"HTTP/1.1 200 OK\r\nSet-Cookie: a\0b\r\n\r\n", 603),
        (b"no head at all", 603),
        (b"", 603),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 604),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nabcd", 604),
    ] {
        assert_failure(&scene.get(&format!("TCP_Port={}", answering(head))), code, 502);
    }
    for body in
        [&b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd"[..], b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcd"]
    {
        let run = scene.get(&format!("TCP_Port={}", answering(body)));
        assert!(!run.success, "{run:?}");
        assert_eq!(run.codes(), ["SCLERA-604"], "{run:?}");
    }
}

#[test]
fn a_server_that_sends_one_byte_at_a_time_runs_into_the_limit_of_the_login() {
    let scene = Scene::new();
    let port = peer::listen(|mut stream| {
        for byte in [13u8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0].iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    assert_failure(&scene.get(&format!("TCP_Port={port}\nSclera_Connect_Timeout=1")), 402, 504);
}

#[test]
fn an_application_that_says_nothing_and_one_that_trickles_its_head_run_into_the_response_timeout() {
    let silent = peer::listen(|stream| {
        let mut server = peer::Superserver::new(stream);
        server.await_call();
        server.hold();
    });
    let trickling = peer::listen(|stream| {
        let mut server = peer::Superserver::new(stream);
        if server.await_call().is_none() {
            return;
        }
        let head = b"HTTP/1.1 200 OK\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x'));
        for (number, byte) in (1..).zip(head) {
            let mut message = Vec::new();
            sclera::wire::frame::write_message(&mut message, number * 2, 0, sclera::wire::frame::Code::INVOKE, |out| {
                sclera::wire::message::Invoke::write_output(&[*byte], out);
            });
            server.send(&message);
            if server.message().is_none() {
                return;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    std::thread::scope(|threads| {
        for port in [silent, trickling] {
            threads.spawn(move || {
                let scene = Scene::new();
                let lines = format!("TCP_Port={port}\nServer_Response_Timeout=5");
                assert_failure(&scene.get(&lines), 602, 504);
            });
        }
    });
}

#[test]
fn disabled_servers_and_paths_and_unknown_servers_answer_503() {
    let scene = Scene::new();
    let config = scene.path().join("CSP.ini");
    for (text, code) in [
        (
            "[SYSTEM_INDEX]\nLOCAL=Disabled\n[LOCAL]\nIp_Address=127.0.0.1\n[APP_PATH_INDEX]\n/=Enabled\n[APP_PATH:/]\nDefault_Server=LOCAL\n",
            "SCLERA-103",
        ),
        (
            "[SYSTEM_INDEX]\nLOCAL=Enabled\n[LOCAL]\nIp_Address=127.0.0.1\n[APP_PATH_INDEX]\n/=Disabled\n[APP_PATH:/]\nDefault_Server=LOCAL\n",
            "SCLERA-104",
        ),
        (
            "[SYSTEM_INDEX]\nLOCAL=Enabled\n[LOCAL]\nIp_Address=127.0.0.1\n[APP_PATH_INDEX]\n/=Enabled\n[APP_PATH:/]\nDefault_Server=GONE\n",
            "SCLERA-102",
        ),
    ] {
        fs::write(&config, text).unwrap();
        let run = host::get(&config, "/csp/");
        assert_eq!(run.status(), 503, "{run:?}");
        assert_eq!(run.codes().last(), Some(&code), "{run:?}");
    }
    let kerberos = scene.get("TCP_Port=1\nConnection_Security_Level=2");
    assert_eq!((kerberos.status(), kerberos.codes().last()), (503, Some(&"SCLERA-105")), "{kerberos:?}");
    let old = scene.get("TCP_Port=1\nConnection_Security_Level=10\nSSLCC_Protocol_Min=4\nSSLCC_Protocol_Max=8");
    assert_eq!((old.status(), old.codes().last()), (503, Some(&"SCLERA-106")), "{old:?}");
}
