//! 6xx: the answer.

use sclera::failure::Code;
use sclera::wire::element::{Value, write_bytes};
use sclera::wire::frame::{self, write_message};
use sclera_tests::peer;

use crate::trouble::{Case, case};

pub fn cases() -> Vec<Case> {
    vec![
        case(Code::ConnectionLost, "the connection ends before the answer", |it| {
            it.plain_port(peer::listen(|stream| {
                let mut server = peer::Superserver::new(stream);
                server.await_call();
                server.close();
            }));
        })
        .for_requests_only(),
        case(Code::AnswerCut, "the connection ends in the answer", |it| {
            it.plain_port(peer::listen(|stream| {
                let mut server = peer::Superserver::new(stream);
                let Some(call) = server.await_call() else { return };
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this much";
                let mut answer = Vec::new();
                write_message(&mut answer, call.sequence, 0, frame::Code::native_status(0), |out| {
                    write_bytes(&[head.as_slice(), &[b'x'; 100]].concat(), out);
                });
                server.send(&answer[..14 + 2 + head.len()]);
                server.close();
            }));
        })
        .for_requests_only(),
        case(Code::ResponseTimeout, "the application says nothing", |it| {
            it.set("Server_Response_Timeout", "5");
            it.plain_port(peer::listen(|stream| {
                let mut server = peer::Superserver::new(stream);
                server.await_call();
                server.hold();
            }));
        })
        .for_requests_only(),
        case(Code::ResponseHeadInvalid, "a head with a control character", |it| {
            it.plain_port(answering(b"HTTP/1.1 200 OK\r\nX-A: b\x01\r\n\r\n"));
        })
        .for_requests_only(),
        case(Code::ResponseLengthConflict, "two lengths", |it| {
            it.plain_port(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"));
        })
        .for_requests_only(),
        case(Code::ApplicationError, "the call ends with an error", |it| {
            it.plain_port(peer::listen(|stream| {
                let mut server = peer::Superserver::new(stream);
                let Some(call) = server.await_call() else { return };
                let text = Value::text("<DIVIDE>");
                server.answer(&call, frame::Code::native_status(5001), |out| text.write(out));
                server.hold();
            }));
        })
        .for_requests_only(),
        case(Code::ServerDisconnected, "the superserver takes its leave", |it| {
            it.plain_port(peer::listen(|stream| {
                let mut server = peer::Superserver::new(stream);
                server.await_call();
                server.send(&[0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'Y', b'4']);
                server.hold();
            }));
        })
        .for_requests_only(),
    ]
}

/// A superserver that answers every request like this.
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
