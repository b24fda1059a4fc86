//! 4xx and 5xx: the login, and peers that are no superserver.

use std::io::{Read, Write};

use sclera::failure::Code;
use sclera::wire::element::Value;
use sclera::wire::frame;
use sclera::wire::message::HandshakeAnswer;
use sclera_tests::certificates::Leaf;
use sclera_tests::peer;
use sclera_tests::scene::USER;

use crate::trouble::{CANARY, Case, Trouble, case};

pub fn cases() -> Vec<Case> {
    vec![
        case(Code::LoginRefused, "a CN that is no user", |it| it.gateway(&Leaf::gateway("stranger"))).audited(838),
        case(Code::LoginRefused, "a user that is disabled", |it| user(it, "Enabled=0")).audited(828),
        case(Code::LoginRefused, "a user that has expired", |it| user(it, "ExpirationDate=2020-01-01")).audited(959),
        case(Code::LoginRefused, "a user who has not been seen for months", |it| {
            let long_ago = time::macros::date!(2020 - 01 - 01);
            it.scene.superserver().store().note_login(USER, long_ago).expect("the database");
        })
        .audited(960),
        case(Code::LoginRefused, "a user of another type", |it| user(it, "Type=LDAP")).audited(974),
        case(Code::LoginRefused, "an account that is locked", |it| {
            it.merge("ModifySystem:InvalidLoginLimit=1,InvalidLoginAction=1");
            it.scene.superserver().store().note_failure(USER).expect("the database");
        })
        .audited(1418),
        case(Code::LoginRefused, "mutual TLS is not among the service's mechanisms", |it| {
            service(it, "AutheEnabled=$$$AuthePassword");
        })
        .audited(951),
        case(Code::LoginRefused, "the service has no mechanism", |it| service(it, "AutheEnabled=0")).audited(963),
        case(Code::LoginRefused, "the service is disabled", |it| service(it, "Enabled=0")).audited(800),
        case(Code::LoginRefused, "the gateway's address is not allowed", |it| {
            service(it, "ClientSystems=192.0.2.1");
        })
        .audited(817),
        case(Code::LoginRefused, "the user may not use the service", |it| service(it, "Public=0")).audited(815),
        case(Code::LoginRefused, "a role is required", |it| it.merge("ModifySystem:RequiredRole=Gateways"))
            .audited(978),
        case(Code::LoginRefused, "the superserver serves no gateways", |it| {
            it.merge("ModifyServer:Port=51773,BindAddress=127.0.0.1,EnableCSP=0");
        })
        .audited(800),
        case(Code::LoginRefused, "auditing is off", |it| {
            it.merge("ModifySystem:AuditEnabled=0");
            it.gateway(&Leaf::gateway("stranger"));
        })
        .counted(),
        case(Code::NoLicence, "the superserver has no licence left", |it| {
            it.plain_port(peer::listen(|stream| {
                let mut server = peer::Superserver::new(stream);
                server.handshake();
                let Some(login) = server.message() else { return };
                let reason = Value::text("Licence limit exceeded");
                server.answer(&login, frame::Code::status(417), |out| reason.write(out));
                server.hold();
            }));
        }),
        case(Code::LoginTimeout, "the superserver says nothing", |it| {
            it.set("Sclera_Connect_Timeout", "1");
            it.plain_port(peer::listen(|stream| peer::Superserver::new(stream).hold()));
        }),
        case(Code::LoginConnectionLost, "the superserver closes at the login", |it| {
            it.plain_port(peer::listen(|stream| {
                let mut server = peer::Superserver::new(stream);
                server.handshake();
                server.message();
                server.close();
            }));
        }),
        case(Code::LoginConnectionLost, "no TLS against a superserver that wants it", |it| {
            it.set("Connection_Security_Level", "0");
        })
        .audited(995),
        case(Code::TlsRequired, "no TLS against a server that answers in TLS", |it| {
            it.plain_port(peer::listen(|mut stream| {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 70]);
            }));
        }),
        case(Code::PasswordRefused, "a wrong password, and no certificate", |it| {
            it.allow_passwords();
            it.merge_tls("VerifyPeer=1");
            it.set("SSLCC_Certificate_File", "");
            it.set("SSLCC_Certificate_Key_File", "");
            it.set("Username", USER);
            it.set("Password", CANARY);
        })
        .audited(952),
        case(Code::PasswordHidesCertificate, "a leftover password beside the certificate", |it| {
            it.allow_passwords();
            it.set("Username", USER);
            it.set("Password", CANARY);
        })
        .audited(952),
        case(Code::PasswordHidesCertificate, "a password where only certificates are allowed", |it| {
            it.set("Username", USER);
            it.set("Password", CANARY);
        })
        .audited(947),
        case(Code::NothingOffered, "neither certificate nor password", |it| {
            it.merge_tls("VerifyPeer=1");
            it.set("SSLCC_Certificate_File", "");
            it.set("SSLCC_Certificate_Key_File", "");
        })
        .audited(951),
        case(Code::CertificateNotRequested, "the superserver does not ask for a certificate", |it| {
            it.merge_tls("VerifyPeer=0");
        })
        .audited(951),
        case(Code::PasswordChangeRequired, "a password that must be changed first", |it| {
            it.allow_passwords();
            user(it, "ChangePassword=1");
            it.set("Username", USER);
            it.set("Password", "right");
        })
        .audited(935),
        case(Code::NotASuperserver, "a web server", |it| {
            it.plain_port(peer::listen(|mut stream| {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.read(&mut [0; 100]);
            }));
        }),
        case(Code::ProtocolVersion, "a superserver of 2010", |it| {
            it.plain_port(peer::listen(|stream| {
                let mut server = peer::Superserver::new(stream);
                let Some(request) = server.message() else { return };
                let answer = HandshakeAnswer { version: 40, features: 1, locale: "UNICODE".to_owned() };
                server.answer(&request, frame::Code::OK, |out| answer.write(out));
                server.hold();
            }));
        }),
        case(Code::ProtocolViolation, "an answer to something else", |it| {
            it.plain_port(peer::listen(|stream| {
                let mut server = peer::Superserver::new(stream);
                server.handshake();
                let Some(mut login) = server.message() else { return };
                login.sequence += 2;
                server.answer(&login, frame::Code::OK, |_| {});
                server.hold();
            }));
        }),
        case(Code::MessageTooLarge, "an answer of 4 GiB", |it| {
            it.plain_port(peer::listen(|stream| {
                let mut server = peer::Superserver::new(stream);
                server.handshake();
                server.message();
                server.send(&[0xff, 0xff, 0xff, 0x7f, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                server.hold();
            }));
        }),
    ]
}

fn user(it: &Trouble, properties: &str) {
    it.merge(&format!("ModifyUser:Name={USER},{properties}"));
}

fn service(it: &Trouble, properties: &str) {
    it.merge(&format!("ModifyService:Name=%Service_WebGateway,{properties}"));
}
