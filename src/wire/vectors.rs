//! The codec against recorded bytes of official drivers (`tests/vectors/superserver`): an independent witness, because
//! two ends of ours could share one mistake.

use std::path::Path;

use super::call::Event;
use super::conversation::Conversation;
use super::element::Element;
use super::frame::{Assembler, Code, Header, Message};
use super::message::{Call, Connect, ConnectAnswer, Handshake, HandshakeAnswer, Invoke, InvokeAnswer};

const CLIENT: char = '>';
const SERVER: char = '<';

/// A recorded message: who sent it, and its bytes with all frames.
struct Recorded {
    from: char,
    bytes: Vec<u8>,
}

fn read(name: &str) -> Vec<Recorded> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/superserver").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut messages: Vec<Recorded> = Vec::new();
    let mut open = false;
    let mut continued = false;
    for line in text.lines() {
        let Some(from) = line.chars().next().filter(|&first| first == CLIENT || first == SERVER) else {
            open = open && line.starts_with('#');
            continue;
        };
        let bytes = line[1..].split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal byte"));
        let bytes: Vec<u8> = bytes.collect();
        if !open && !continued {
            messages.push(Recorded { from, bytes: Vec::new() });
        }
        if !open {
            continued = Header::parse(bytes[..Header::LENGTH].try_into().expect("a whole header")).more;
        }
        open = true;
        messages.last_mut().expect("just pushed").bytes.extend(bytes);
    }
    messages
}

fn files() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/superserver");
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let names = entries.map(|entry| entry.expect("directory entry").file_name().into_string().expect("UTF-8 name"));
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".txt")).collect();
    names.sort();
    assert!(names.len() > 80, "vectors are missing");
    names
}

fn assemble(bytes: &[u8]) -> Vec<Message> {
    let mut assembler = Assembler::new(1 << 20);
    let mut messages = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (used, message) = assembler.push(rest).expect("recorded frames");
        rest = &rest[used..];
        messages.extend(message);
    }
    assert!(assembler.is_at_rest(), "a recorded message is cut");
    messages
}

/// The payload, decoded into our types and written again.
fn rewritten(from: char, message: &Message) -> Vec<u8> {
    let payload = &message.payload;
    let mut out = Vec::new();
    match (from, message.code) {
        (CLIENT, Code::HANDSHAKE) => Handshake::read(payload).expect("handshake").write(&mut out),
        (CLIENT, Code::CONNECT) => Connect::read(payload).expect("connect").write(&mut out),
        (CLIENT, Code::CALL_VALUE | Code::CALL_VOID) => Call::read(payload).expect("call").write(&mut out),
        (CLIENT, Code::INVOKE) => InvokeAnswer::read(payload).expect("answer to YU").write(&mut out),
        (SERVER, Code::INVOKE) => Invoke::read(payload).expect("YU").write(&mut out),
        (SERVER, Code::OK) if message.sequence == 1 => {
            HandshakeAnswer::read(payload).expect("handshake answer").write(&mut out);
        }
        _ => Element::read_all(payload).expect("elements").iter().for_each(|element| element.write(&mut out)),
    }
    out
}

#[test]
fn every_recorded_message_decodes_and_is_encoded_again_byte_for_byte() {
    // The driver pads these two; we write the shortest form, so the rewritten payload is shorter.
    let padded = ["call-arg-int-255.txt", "call-arg-int-2p31.txt"];
    for name in files() {
        for recorded in read(&name) {
            for message in assemble(&recorded.bytes) {
                let out = rewritten(recorded.from, &message);
                if padded.contains(&name.as_str()) {
                    assert_eq!(out.len() + 1, message.payload.len(), "{name} {message:?}");
                    assert_eq!(
                        Element::read_all(&out).unwrap(),
                        Element::read_all(&message.payload).unwrap(),
                        "{name}"
                    );
                } else {
                    assert_eq!(out, message.payload, "{name} {:?}", message.code);
                }
                let one_frame = recorded.bytes.len() == message.payload.len() + Header::LENGTH;
                if one_frame {
                    let mut frame = Vec::new();
                    message.write(&mut frame);
                    assert_eq!(frame, recorded.bytes, "{name} {:?}", message.code);
                }
            }
        }
    }
}

#[test]
fn the_recorded_login_answers_are_understood() {
    let recorded = read("connect-01-user-password.txt");
    let connect = assemble(&recorded[2].bytes).remove(0);
    let connect = Connect::read(&connect.payload).unwrap();
    assert_eq!(String::from_utf16_lossy(&connect.username), "alice");
    assert_eq!(String::from_utf16_lossy(&connect.password), "secret");
    let answer = ConnectAnswer::read(&assemble(&recorded[3].bytes).remove(0).payload).unwrap();
    assert_eq!((answer.process.as_str(), answer.options), ("4711", 32));
}

/// Plays the server's side of a recording to a streamed call, cut in pieces of `cut` bytes. Gives what was told and what
/// the client sent back.
fn replay(name: &str, cut: usize) -> (String, Vec<u8>) {
    let from_server: Vec<u8> = read(name)
        .iter()
        .filter(|recorded| recorded.from == SERVER)
        .flat_map(|recorded| recorded.bytes.clone())
        .collect();
    let mut out = Vec::new();
    let conversation = Conversation::new(69, String::new(), String::new());
    let mut call = conversation.call_streamed(b"3".to_vec(), &mut Vec::new(), |_| {});
    let mut told = String::new();
    for piece in from_server.chunks(cut) {
        let mut rest = piece;
        loop {
            let (used, event) = call.receive(rest, &mut out).expect(name);
            rest = &rest[used..];
            match event {
                Event::NeedsInput => break,
                Event::Data(bytes) => told.extend(bytes.iter().map(|&byte| char::from(byte))),
                Event::Text(text) => told.push_str(&text),
                Event::Finished(_) => told.push_str("<end>"),
                Event::Failed { status, text } => told.push_str(&format!("<{status} {text}>")),
                Event::Disconnected => told.push_str("<disconnected>"),
                Event::Busy | Event::Read { .. } => {}
            }
        }
    }
    (told, out)
}

#[test]
fn a_streamed_call_tells_what_the_recorded_servers_sent_however_it_is_cut() {
    for (name, told) in [
        ("redirect-01-text.txt", "Hello\r\nseconddone<end>"),
        ("redirect-02-binary.txt", "\0\u{ff}\u{80}\r\ndone<end>"),
        ("redirect-03-unicode.txt", "ł€done<end>"),
        ("return-undefined.txt", "<end>"),
        ("call-arg-int-0.txt", "0<end>"),
        ("call-arg-int-minus257.txt", "-257<end>"),
        ("ping-during-call.txt", "done<end>"),
        ("error-01-status-5002.txt", "<5002 <DIVIDE>M+3^Test.1>"),
        ("server-disconnect-during-call.txt", "<disconnected>"),
    ] {
        for cut in [1, 7, 100_000] {
            assert_eq!(replay(name, cut).0, told, "{name} in pieces of {cut}");
        }
    }
}

#[test]
fn redirected_output_is_acknowledged_with_the_bytes_that_an_official_client_sends() {
    for name in
        ["redirect-01-text.txt", "redirect-02-binary.txt", "redirect-03-unicode.txt", "redirect-07-large-40000.txt"]
    {
        let recorded = read(name);
        let acknowledgements: Vec<u8> = recorded[1..]
            .iter()
            .filter(|recorded| recorded.from == CLIENT)
            .flat_map(|recorded| recorded.bytes.clone())
            .collect();
        assert_eq!(replay(name, 1000).1, acknowledgements, "{name}");
    }
}

#[test]
fn whatever_else_a_server_names_is_refused_with_an_exception() {
    let (told, out) = replay("redirect-06-unknown-class.txt", 1000);
    assert_eq!(told, "done<end>");
    assert_eq!(assemble(&out)[0].code, Code::EXCEPTION);
}

#[test]
fn a_fragmented_answer_is_joined() {
    let (told, _) = replay("large-return-fragmented.txt", 999);
    assert_eq!(told.chars().count(), 5000 + "<end>".len());
}
