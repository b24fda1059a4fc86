//! Calls on logged-in connections: web requests, applications, the class `Test`, and what is refused.

use crate::support::{ALICE, Client, Failure, GATEWAY, plain, split};
use proptest::prelude::*;
use sclera::wire::element::{Element, Value};
use sclera::wire::frame::Code;
use sclera::wire::message::Call;
use sclera_superserver::application::{Application, Exchange, Handling, Request, Stop};
use sclera_superserver::{Options, Running, Superserver};
use std::io::Read;

fn gateway(server: &Running) -> Client {
    let mut client = Client::plain(server.address());
    client.log_in(GATEWAY).unwrap();
    client
}

fn alice(server: &Running) -> Client {
    let mut client = Client::plain(server.address());
    client.log_in(ALICE).unwrap();
    client
}

fn refused(text: &str) -> Failure {
    Failure::Refused(5002, text.to_owned())
}

#[test]
fn echo_tells_what_arrived_whether_the_body_came_along_or_was_pulled() {
    let server = plain();
    let mut client = gateway(&server);
    let pulled = client.post("/csp/demo/echo/x?y=%20", &mut &b"hello"[..]).unwrap();
    let inline = client.web(1, "/csp/demo/echo/x?y=%20", Some(b"hello"), &mut &[][..]).unwrap();
    assert_eq!(pulled, inline);
    let (head, body) = split(&inline);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "), "{head}");
    let told: serde_json::Value = serde_json::from_slice(body).unwrap();
    assert_eq!(told["method"], "POST");
    assert_eq!(told["target"], "/csp/demo/echo/x?y=%20");
    assert_eq!(told["variables"]["REQUEST_METHOD"], "POST");
    assert_eq!(told["variables"]["HTTP_X"], "\u{fffd}\0");
    assert_eq!(told["system"]["build"], "1");
    assert_eq!(told["body"]["length"], 5);
    assert_eq!(told["body"]["sha256"], "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_eq!(told["login"]["user"], "gw");
    assert_eq!(told["login"]["mechanism"], "Password");
    assert_eq!(server.counts().requests, 2);
}

#[test]
fn a_body_of_many_pieces_is_pulled_to_its_end() {
    let server = plain();
    let response = gateway(&server).post("/csp/demo/echo", &mut std::io::repeat(7).take(3_000_000)).unwrap();
    let told: serde_json::Value = serde_json::from_slice(split(&response).1).unwrap();
    assert_eq!(told["body"]["length"], 3_000_000);
}

#[test]
fn big_answers_count_their_bytes_and_arrive_whole_at_every_size() {
    let server = plain();
    let mut client = gateway(&server);
    for size in [0, 1, 12, 32_000, 32_767, 32_768, 32_769, 65_536, 1_000_000] {
        let response = client.get(&format!("/csp/demo/big?bytes={size}")).unwrap();
        let (head, body) = split(&response);
        assert!(head.contains(&format!("Content-Length: {size}\r\n")), "{head}");
        assert!(body.len() == size && body.iter().enumerate().all(|(k, byte)| *byte == k as u8), "{size} bytes");
    }
    let response = client.get("/csp/demo/big?bytes=10&nolength=1").unwrap();
    assert!(!split(&response).0.contains("Content-Length"));
}

#[test]
fn a_small_answer_is_one_message_and_a_flushed_one_is_output() {
    let server = plain();
    let mut client = gateway(&server);
    let target = "/csp/demo/slow?ms=0";
    let sequence = send_request(&mut client, head(target));
    let answer = client.receive().unwrap();
    assert_eq!(answer.sequence, sequence, "the first message after {target} is its answer");
    let sequence = send_request(&mut client, head("/csp/demo/stream?n=2&bytes=3"));
    let output = client.receive().unwrap();
    assert_ne!(output.sequence, sequence);
    assert_eq!(output.code, Code::INVOKE);
}

/// The head of a request without variables.
fn head(target: &str) -> Vec<u8> {
    let mut head = Vec::new();
    Value::Integer(1).write(&mut head);
    for text in ["GET", target, "HTTP/1.1", "", ""] {
        Value::text(text).write(&mut head);
    }
    head
}

fn send_request(client: &mut Client, head: Vec<u8>) -> u32 {
    let call = Call {
        class: b"Sclera.Gateway".into(),
        method: b"Request".into(),
        arguments: vec![Value::bytes(&head).into(), Value::bytes(&[]).into()],
    };
    let sequence = client.next_sequence();
    client.send(sequence, Code::CALL_VALUE, |out| call.write(out)).unwrap();
    sequence
}

#[test]
fn at_most_eight_output_messages_wait_for_their_answers() {
    let server = plain();
    let mut client = gateway(&server);
    send_request(&mut client, head("/csp/demo/big?bytes=10000000"));
    let first: Vec<u32> = (0..8).map(|_| client.receive().unwrap().sequence).collect();
    assert_eq!(first, [2, 4, 6, 8, 10, 12, 14, 16]);
    // Had a ninth been sent, it would arrive before the answer to the call that this exception ends.
    client.send(2, Code::EXCEPTION, |out| Value::text("the browser has left").write(out)).unwrap();
    let answer = client.receive().unwrap();
    assert_eq!(answer.code, Code::native_status(5002));
    assert!(client.get("/csp/demo/status/418").is_ok(), "the connection stays usable");
}

#[test]
fn statuses_are_answered_as_asked_for() {
    let server = plain();
    let mut client = gateway(&server);
    for (path, line) in [
        ("status/404", "HTTP/1.1 404 Not Found\r\n"),
        ("status/204", "HTTP/1.1 204 No Content\r\n"),
        ("status/599", "HTTP/1.1 599 Status\r\n"),
        ("status/1000", "HTTP/1.1 400 Bad Request\r\n"),
        ("nothing", "HTTP/1.1 404 Not Found\r\n"),
    ] {
        let response = client.get(&format!("/csp/demo/{path}")).unwrap();
        assert!(split(&response).0.starts_with(line), "{path}");
    }
    assert!(split(&client.get("/elsewhere").unwrap()).0.starts_with("HTTP/1.1 404"));
}

#[test]
fn fail_breaks_the_connection_after_the_bytes_asked_for() {
    let server = plain();
    let mut client = gateway(&server);
    send_request(&mut client, head("/csp/demo/fail?after=100"));
    let output = client.receive().unwrap();
    assert!(output.payload.len() > 100);
    assert_eq!(client.receive().err(), Some(Failure::Closed));
    assert_eq!(gateway(&server).get("/csp/demo/fail?after=0"), Err(Failure::Closed));
}

#[test]
fn a_stream_is_as_long_as_asked_for() {
    let server = plain();
    let response = gateway(&server).get("/csp/demo/stream?n=20&bytes=40000").unwrap();
    assert_eq!(split(&response).1.len(), 800_000);
}

struct Stopping;

impl Application for Stopping {
    fn handle<'a>(&'a self, request: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
        Box::pin(async move {
            exchange.write(b"never seen").await?;
            Err(Stop::Error(format!("cannot answer {}", String::from_utf8_lossy(request.path()))))
        })
    }
}

#[test]
fn an_application_of_the_caller_may_fail_and_the_connection_stays() {
    let actions = "CreateServer:Port=0,BindAddress=127.0.0.1,EnableCSP=1\nCreateUser:Name=gw,Password=right";
    let server = Superserver::start(Options::actions(actions).application("/mine", Stopping)).unwrap();
    let mut client = gateway(&server);
    assert_eq!(client.get("/mine/x"), Err(refused("cannot answer /mine/x")));
    assert!(client.get("/csp/demo/").is_ok());
}

#[test]
fn another_convention_and_bad_heads_are_errors_and_the_connection_stays() {
    let server = plain();
    let mut client = gateway(&server);
    let answer = client.web(2, "/csp/demo/", Some(b""), &mut &[][..]);
    assert_eq!(answer, Err(refused("<PARAMETER> web call convention version \"2\" is not understood, only version 1")));
    let mut none = Vec::new();
    for arguments in [vec![], vec![Value::Integer(1).into()], vec![Value::bytes(b"\xff\xff\xff").into()]] {
        assert!(matches!(
            client.call("Sclera.Gateway", "Request", arguments, &mut none),
            Err(Failure::Refused(5002, _))
        ));
    }
    assert!(client.get("/csp/demo/").is_ok());
}

#[test]
fn classes_are_served_by_service_and_unknown_ones_named() {
    let server = plain();
    let (mut gateway, mut alice, mut out) = (gateway(&server), alice(&server), Vec::new());
    let name = |client: &mut Client| client.call("%SYSTEM.Process", "UserName", vec![], &mut Vec::new()).unwrap();
    assert_eq!(name(&mut gateway), [Value::text("gw")]);
    assert_eq!(name(&mut alice), [Value::text("alice")]);
    assert_eq!(alice.call("No.Such", "M", vec![], &mut out), Err(refused("<CLASS DOES NOT EXIST> *No.Such")));
    assert_eq!(alice.call("Test", "M", vec![], &mut out), Err(refused("<METHOD DOES NOT EXIST> *M,Test")));
    assert_eq!(gateway.call("Test", "Len", vec![], &mut out), Err(refused("<CLASS DOES NOT EXIST> *Test")));
    assert!(matches!(alice.call("Sclera.Gateway", "Request", vec![], &mut out), Err(Failure::Refused(5002, _))));
}

#[test]
fn the_class_test_does_what_its_methods_are_named_for() {
    let server = plain();
    let (mut alice, mut out) = (alice(&server), Vec::new());
    let mut call = |method: &str, arguments: Vec<Element<'static>>| alice.call("Test", method, arguments, &mut out);
    for value in [
        Value::Undefined,
        Value::text("hé"),
        Value::text("ł"),
        Value::Integer(-257),
        Value::Double(0.1),
        Value::CompactDouble(1.5),
        Value::Decimal { mantissa: 15, exponent: -1 },
    ] {
        assert_eq!(call("Echo", vec![value.clone().into()]), Ok(vec![value]));
    }
    assert_eq!(call("Len", vec![Value::text("hello").into()]), Ok(vec![Value::Integer(5)]));
    let Ok([Value::Bytes(big)]) =
        call("Big", vec![Value::Integer(70_000).into()]).map(|all| <[_; 1]>::try_from(all).unwrap())
    else {
        panic!("bytes");
    };
    assert!(big.len() == 70_000 && big.iter().enumerate().all(|(k, byte)| *byte == k as u8));
    assert_eq!(call("Nothing", vec![]), Ok(vec![Value::Undefined]));
    assert!(matches!(call("Error", vec![]), Err(Failure::Refused(5002, text)) if text.starts_with("<DIVIDE>")));
    let by_reference = |text: &str| Element { value: Value::text(text), by_reference: true };
    let answer = call("ByRef", vec![by_reference("a"), Value::text("plain").into(), by_reference("b")]);
    assert_eq!(answer, Ok(vec![Value::text("ret"), Value::text("new-0"), Value::text("new-1")]));
    let written =
        vec![Value::text("a").into(), Value::Integer(2).into(), Value::Bytes(vec![b'x'; 40_000].into()).into()];
    assert_eq!(call("Write", written), Ok(vec![Value::Integer(1)]));
    assert_eq!((&out[..2], out.len()), (&b"a2"[..], 40_002));
}

#[test]
fn a_call_without_value_gets_no_element_and_pings_are_answered() {
    let server = plain();
    let mut alice = alice(&server);
    let call = Call { class: b"Test".into(), method: b"Nothing".into(), arguments: vec![] };
    alice.send(5, Code::CALL_VOID, |out| call.write(out)).unwrap();
    let answer = alice.receive().unwrap();
    assert!(answer.payload.is_empty() && answer.code == Code::native_status(0));
    alice.send(7, Code::PING, |_| {}).unwrap();
    assert_eq!(alice.receive().unwrap().code, Code::PING);
    alice.send(9, Code(*b"DQ"), |_| {}).unwrap();
    assert_eq!(alice.receive().unwrap().code, Code::status(400));
    alice.send(0, Code::DISCONNECT, |_| {}).unwrap();
    assert_eq!(alice.receive().err(), Some(Failure::Closed));
}

#[test]
fn a_message_beyond_the_limit_ends_the_connection_before_its_bytes_come() {
    use std::io::Write;
    let server = plain();
    let mut alice = alice(&server);
    alice.stream.write_all(b"\xff\xff\xff\xff\x05\0\0\0\0\0\0\0\x4b\xc2").unwrap();
    assert_eq!(alice.receive().err(), Some(Failure::Closed));
    assert!(self::alice(&server).call("Test", "Nothing", vec![], &mut Vec::new()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_a_logged_in_peer_sends_the_next_one_is_served(
        messages in proptest::collection::vec(
            (any::<u32>(), prop_oneof![Just(*b"YU"), Just([0x4b, 0xc2]), any::<[u8; 2]>()], ".{0,40}"), 1..4)
    ) {
        static SERVER: std::sync::LazyLock<Running> = std::sync::LazyLock::new(plain);
        let mut client = gateway(&SERVER);
        for (sequence, code, payload) in messages {
            let _ = client.send(sequence, Code(code), |out| out.extend_from_slice(payload.as_bytes()));
        }
        drop(client);
        prop_assert!(gateway(&SERVER).get("/csp/demo/status/204").is_ok());
    }
}
