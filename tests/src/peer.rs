//! Peers that do not behave: what a gateway meets when the port is wrong, the network bad or the server hostile.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::thread;

use rustix::net::{AddressFamily, SocketType};
use sclera::wire::element::{Value, write_bytes};
use sclera::wire::frame::{Assembler, Code, Message, write_message};
use sclera::wire::message::{Call, ConnectAnswer, HandshakeAnswer};

/// A server on a free loopback port that does `serve` with each connection, on a thread of its own. It ends with the
/// test's process.
pub fn listen(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // What is sent has arrived when the call returns.
            stream.set_nodelay(true).expect("a TCP option");
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// A port on which nothing listens. It stays taken until the test's process ends, so that nobody else comes to listen there.
pub fn closed_port() -> u16 {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = rustix::net::getsockname(&socket).expect("its address");
    std::mem::forget(socket);
    SocketAddrV4::try_from(address).expect("an IPv4 address").port()
}

/// The superserver's side of a plain connection, spoken step by step.
pub struct Superserver {
    stream: TcpStream,
    assembler: Assembler,
    unread: Vec<u8>,
}

impl Superserver {
    pub fn new(stream: TcpStream) -> Superserver {
        Superserver { stream, assembler: Assembler::new(1 << 20), unread: Vec::new() }
    }

    /// The next message; `None` when the client has closed.
    pub fn message(&mut self) -> Option<Message> {
        loop {
            let (used, message) = self.assembler.push(&self.unread).expect("the gateway's own bytes");
            self.unread.drain(..used);
            if message.is_some() {
                return message;
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
            }
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // The gateway may have closed already, which is its right.
        let _ = self.stream.write_all(bytes);
    }

    pub fn answer(&mut self, request: &Message, code: Code, payload: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write_message(&mut out, request.sequence, 0, code, payload);
        self.send(&out);
    }

    /// Answers the handshake.
    pub fn handshake(&mut self) -> Option<()> {
        let request = self.message()?;
        let answer = HandshakeAnswer { version: 69, features: 1, locale: "UNICODE".to_owned() };
        self.answer(&request, Code::OK, |out| answer.write(out));
        Some(())
    }

    /// Answers handshake and login, and gives the gateway object its handle.
    pub fn log_in(&mut self) -> Option<()> {
        self.handshake()?;
        let request = self.message()?;
        let answer = ConnectAnswer { server_version: "peer".to_owned(), process: "1".to_owned(), options: 32 };
        self.answer(&request, Code::OK, |out| answer.write(out));
        let request = self.message()?;
        self.answer(&request, Code::MAKE_PROXY, |out| Value::Handle((*b"3@Gateway").as_slice().into()).write(out));
        Some(())
    }

    /// Logs in and waits for the call of a web request.
    pub fn await_call(&mut self) -> Option<Message> {
        self.log_in()?;
        let call = self.message()?;
        Call::read(&call.payload).expect("a call");
        Some(call)
    }

    /// Answers a call with a return value.
    pub fn give_back(&mut self, call: &Message, value: &[u8]) {
        self.answer(call, Code::native_status(0), |out| write_bytes(value, out));
    }

    /// Answers and ends in one segment: whoever has the answer sees the end too.
    pub fn give_back_and_close(mut self, call: &Message, value: &[u8]) {
        rustix::net::sockopt::set_tcp_cork(&self.stream, true).expect("a TCP option");
        self.give_back(call, value);
        self.close();
    }

    pub fn close(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Keeps the connection open until the gateway closes it.
    pub fn hold(mut self) {
        while self.message().is_some() {}
    }
}
