//! Many HTTP/1.1 clients in one thread: connections that send tagged requests one after another, check every byte of the
//! answers, leave when their requests' shapes say so, and are replaced by fresh ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::epoll;

use crate::counting::{Manners, PATH, Place, Shape, Tally, fill, fits, leave, letters};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// 200, complete, every byte of this tag.
    Answered,
    /// A failure's page, with this number.
    Failed(u16),
    /// Another status, without a number of ours.
    Refused(u16),
    /// The client left, as planned.
    Cut,
    /// The connection ended before the answer was complete.
    Lost,
    /// The web server closed a connection that had served before, without a byte of an answer: a client whose request
    /// crosses with the end of its connection sends it again (RFC 9112, 9.3.1).
    Untaken,
    /// No answer in [`PATIENCE`].
    Silent,
    /// An answer with bytes of another tag.
    Crossed,
    /// No HTTP.
    Malformed,
}

/// A request with another outcome than `Answered`.
#[derive(Clone, Debug)]
pub struct Exception {
    pub tag: u64,
    pub outcome: Outcome,
    /// The client's port.
    pub port: u16,
    pub connected: Instant,
    pub began: Instant,
    pub ended: Instant,
    /// Bytes of the answer that came.
    pub received: usize,
}

/// What all clients did.
#[derive(Debug, Default)]
pub struct Report {
    pub began: u64,
    pub answered: u64,
    pub exceptions: Vec<Exception>,
    /// Connections that were made.
    pub connections: u64,
    /// Connections that could not be made, and why the last could not.
    pub refused: (u64, Option<String>),
    /// Which tags were answered.
    pub tags: Vec<bool>,
}

/// What is sent, and until when.
pub struct Load {
    /// The web server's port.
    pub port: u16,
    pub seed: u64,
    pub manners: Manners,
    /// Connections at once.
    pub connections: usize,
    /// Tags come from here.
    pub next: Arc<AtomicU64>,
    /// Ends when this tag has been reached ...
    pub limit: u64,
    /// ... or this is set. Requests under way are finished.
    pub stop: Arc<AtomicBool>,
    /// Counts the answers, for whoever watches.
    pub answered: Arc<AtomicUsize>,
}

/// A request that has no answer by then has none.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How long a client rests after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

struct Client {
    stream: TcpStream,
    port: u16,
    connected: Instant,
    /// Requests that it has sent before.
    served: u32,
    writable: bool,
    state: State,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
}

enum State {
    Idle,
    Asking(Box<Asking>),
}

/// A request under way.
struct Asking {
    tag: u64,
    letters: [u8; 16],
    shape: Shape,
    /// The client leaves when it has sent so much.
    cut_sent: Option<usize>,
    began: Instant,
    received: usize,
    head: Option<Head>,
    /// Body bytes so far.
    body: usize,
    crossed: bool,
    /// The failure's page.
    page: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Head {
    status: u16,
    framing: Framing,
    /// The web server closes the connection after it.
    close: bool,
}

#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    /// Bytes left of this chunk, with its line end; `None`: its length comes next.
    Chunked(Option<usize>),
    UntilClose,
}

/// What reading has brought.
enum Read1 {
    More,
    Complete,
    Ended(Outcome),
}

impl Load {
    /// Clients that never leave, and send at most so many requests.
    pub fn steady(port: u16, seed: u64, connections: usize, limit: u64) -> Load {
        Load {
            port,
            seed,
            manners: Manners { cuts: 0 },
            connections,
            next: Arc::default(),
            limit,
            stop: Arc::default(),
            answered: Arc::default(),
        }
    }

    /// Sends requests while `act` goes on, which is given the number of answers so far.
    pub fn during(&self, act: impl FnOnce(&AtomicUsize)) -> Report {
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| self.run());
            // Also when `act` panics.
            let stop = Stop(&self.stop);
            act(&self.answered);
            drop(stop);
            sending.join().expect("the clients run to their end")
        })
    }

    /// Sends requests until the end has come.
    pub fn run(&self) -> Report {
        Crowd::new(self).run()
    }
}

/// Ends the sending with itself.
struct Stop<'l>(&'l AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Crowd<'l> {
    load: &'l Load,
    epoll: rustix::fd::OwnedFd,
    clients: Vec<Option<Client>>,
    /// Clients that rest until then.
    resting: BinaryHeap<Reverse<(Instant, usize)>>,
    report: Report,
}

impl<'l> Crowd<'l> {
    fn new(load: &'l Load) -> Crowd<'l> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        let clients = (0..load.connections).map(|_| None).collect();
        let report = Report { tags: vec![false; load.limit as usize], ..Report::default() };
        Crowd { load, epoll, clients, resting: BinaryHeap::new(), report }
    }

    fn over(&self) -> bool {
        self.load.stop.load(Ordering::Relaxed) || self.load.next.load(Ordering::Relaxed) >= self.load.limit
    }

    fn run(mut self) -> Report {
        let start = Instant::now();
        (0..self.clients.len()).for_each(|slot| self.resting.push(Reverse((start, slot))));
        let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
        let mut looked = start;
        loop {
            let mut now = Instant::now();
            while let Some(&Reverse((then, slot))) = self.resting.peek() {
                if then > now {
                    break;
                }
                self.resting.pop();
                self.begin(slot, now);
            }
            if now.duration_since(looked) > Duration::from_millis(500) {
                looked = now;
                self.give_up(now);
            }
            let busy = self.clients.iter().flatten().any(|client| matches!(client.state, State::Asking(_)));
            if self.over() && !busy {
                return self.report;
            }
            let timeout = self.resting.peek().map_or(Duration::from_millis(100), |Reverse((then, _))| {
                then.saturating_duration_since(now).min(Duration::from_millis(100))
            });
            let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: i64::from(timeout.subsec_nanos()) };
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("epoll: {error}"),
            }
            now = Instant::now();
            for event in &events {
                self.look(event.data.u64() as usize, now);
            }
        }
    }

    /// The next request of this client, on its connection or a fresh one.
    fn begin(&mut self, slot: usize, now: Instant) {
        if self.over() {
            self.clients[slot] = None;
            return;
        }
        if self.clients[slot].is_none() {
            match self.connect(slot, now) {
                Ok(client) => self.clients[slot] = Some(client),
                Err(error) => {
                    self.report.refused.0 += 1;
                    self.report.refused.1 = Some(error.to_string());
                    self.resting.push(Reverse((now + Duration::from_millis(20), slot)));
                    return;
                }
            }
        }
        let tag = self.load.next.fetch_add(1, Ordering::Relaxed);
        let Some(client) = self.clients[slot].as_mut().filter(|_| tag < self.load.limit) else {
            self.clients[slot] = None;
            return;
        };
        self.report.began += 1;
        client.ask(tag, Shape::of(self.load.seed, tag, self.load.manners), now);
        self.go_on(slot, now);
    }

    fn connect(&mut self, slot: usize, now: Instant) -> io::Result<Client> {
        // On the loopback a connection is made at once, or not at all.
        let stream = TcpStream::connect(("127.0.0.1", self.load.port))?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let port = stream.local_addr()?.port();
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(slot as u64), epoll::EventFlags::IN)?;
        self.report.connections += 1;
        Ok(Client {
            stream,
            port,
            connected: now,
            served: 0,
            writable: false,
            state: State::Idle,
            out: Vec::new(),
            sent: 0,
            input: Vec::new(),
        })
    }

    /// Something has happened on this client's connection.
    fn look(&mut self, slot: usize, now: Instant) {
        match &self.clients[slot] {
            Some(Client { state: State::Asking(_), .. }) => self.go_on(slot, now),
            // Whatever comes at rest is the end of the connection.
            Some(_) => self.clients[slot] = None,
            None => {}
        }
    }

    fn go_on(&mut self, slot: usize, now: Instant) {
        let Some(client) = &mut self.clients[slot] else { return };
        let State::Asking(_) = client.state else { return };
        let told = match client.send() {
            Some(outcome) => Read1::Ended(outcome),
            None => client.receive(),
        };
        match told {
            Read1::More => client.watch(&self.epoll, slot),
            Read1::Complete => {
                let State::Asking(asking) = std::mem::replace(&mut client.state, State::Idle) else { return };
                let outcome = asking.outcome();
                let unsent = client.sent < client.out.len();
                let keep = !asking.shape.last && !asking.head.is_some_and(|head| head.close) && !unsent;
                client.served += 1;
                client.watch(&self.epoll, slot);
                let (port, connected) = (client.port, client.connected);
                if !keep {
                    self.clients[slot] = None;
                }
                // Whoever meets a failure does not ask again at once.
                let rest = if matches!(outcome, Outcome::Failed(_)) { AFTER_FAILURE } else { asking.shape.rest };
                self.note(&asking, outcome, port, connected);
                self.resting.push(Reverse((now + rest, slot)));
            }
            Read1::Ended(outcome) => self.end(slot, outcome, now),
        }
    }

    /// The connection is at its end, with the request on it.
    fn end(&mut self, slot: usize, outcome: Outcome, now: Instant) {
        let Some(client) = self.clients[slot].take() else { return };
        let State::Asking(asking) = client.state else { return };
        let untaken = outcome == Outcome::Lost && asking.received == 0 && client.served > 0;
        let outcome = if untaken { Outcome::Untaken } else { outcome };
        if let (Outcome::Cut, Some(cut)) = (outcome, asking.shape.cut) {
            leave(client.stream, cut);
        }
        self.note(&asking, outcome, client.port, client.connected);
        self.resting.push(Reverse((now, slot)));
    }

    fn note(&mut self, asking: &Asking, outcome: Outcome, port: u16, connected: Instant) {
        if outcome == Outcome::Answered {
            self.report.answered += 1;
            self.report.tags[asking.tag as usize] = true;
            self.load.answered.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let &Asking { tag, began, received, .. } = asking;
        self.report.exceptions.push(Exception {
            tag,
            outcome,
            port,
            connected,
            began,
            ended: Instant::now(),
            received,
        });
    }

    fn give_up(&mut self, now: Instant) {
        for slot in 0..self.clients.len() {
            if let Some(Client { state: State::Asking(asking), .. }) = &self.clients[slot]
                && now.duration_since(asking.began) > PATIENCE
            {
                self.end(slot, Outcome::Silent, now);
            }
        }
    }
}

impl Client {
    fn ask(&mut self, tag: u64, shape: Shape, now: Instant) {
        let letters = letters(tag);
        self.out.clear();
        self.sent = 0;
        self.input.clear();
        let text = std::str::from_utf8(&letters).expect("letters");
        let method = if shape.post { "POST" } else { "GET" };
        write!(self.out, "{method} {PATH}/{text} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Tag: {text}\r\n")
            .expect("memory takes bytes");
        if shape.last {
            self.out.extend_from_slice(b"Connection: close\r\n");
        }
        match (shape.post, shape.chunked) {
            (false, _) => self.out.extend_from_slice(b"\r\n"),
            (true, false) => {
                write!(self.out, "Content-Length: {}\r\n\r\n", shape.body).expect("memory takes bytes");
                fill(&letters, 0, shape.body, &mut self.out);
            }
            (true, true) => {
                self.out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                let mut at = 0;
                while at < shape.body {
                    let piece = (shape.body - at).min(7_000);
                    write!(self.out, "{piece:x}\r\n").expect("memory takes bytes");
                    fill(&letters, at, piece, &mut self.out);
                    self.out.extend_from_slice(b"\r\n");
                    at += piece;
                }
                self.out.extend_from_slice(b"0\r\n\r\n");
            }
        }
        let cut_sent = shape.cut.and_then(|cut| match cut.place {
            Place::Sending(share) => Some((self.out.len() as f64 * share) as usize),
            Place::Sent => Some(self.out.len()),
            Place::Receiving(_) => None,
        });
        let asking = Asking {
            tag,
            letters,
            shape,
            cut_sent,
            began: now,
            received: 0,
            head: None,
            body: 0,
            crossed: false,
            page: Vec::new(),
        };
        self.state = State::Asking(Box::new(asking));
    }

    /// Sends what can be sent.
    fn send(&mut self) -> Option<Outcome> {
        let State::Asking(asking) = &self.state else { return None };
        let end = asking.cut_sent.unwrap_or(self.out.len());
        while self.sent < end {
            match self.stream.write(&self.out[self.sent..end]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // There may be an answer all the same.
                Err(_) => {
                    self.sent = self.out.len();
                    return None;
                }
            }
        }
        asking.cut_sent.map(|_| Outcome::Cut)
    }

    fn watch(&mut self, epoll: &rustix::fd::OwnedFd, slot: usize) {
        let writable = matches!(self.state, State::Asking(_)) && self.sent < self.out.len();
        if writable != self.writable {
            self.writable = writable;
            let out = if writable { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let flags = epoll::EventFlags::IN | out;
            epoll::modify(epoll, &self.stream, epoll::EventData::new_u64(slot as u64), flags).expect("epoll");
        }
    }

    fn receive(&mut self) -> Read1 {
        let mut buffer = [0; 65536];
        loop {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return self.at_end(),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Read1::More,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Read1::Ended(Outcome::Lost),
            };
            let State::Asking(asking) = &mut self.state else { return Read1::More };
            asking.received += count;
            if let Some(cut) = asking.shape.cut
                && let Place::Receiving(after) = cut.place
                && asking.received > after
            {
                return Read1::Ended(Outcome::Cut);
            }
            match asking.take(&mut self.input, &buffer[..count]) {
                Read1::More => {}
                told => return told,
            }
        }
    }

    fn at_end(&mut self) -> Read1 {
        match &self.state {
            State::Asking(asking) if asking.head.is_some_and(|head| matches!(head.framing, Framing::UntilClose)) => {
                Read1::Complete
            }
            _ => Read1::Ended(Outcome::Lost),
        }
    }
}

impl Asking {
    /// Takes bytes of the answer.
    fn take(&mut self, input: &mut Vec<u8>, bytes: &[u8]) -> Read1 {
        if self.head.is_some() {
            return match input.is_empty() {
                true => self.body(bytes, input),
                false => {
                    input.extend_from_slice(bytes);
                    let bytes = std::mem::take(input);
                    self.body(&bytes, input)
                }
            };
        }
        input.extend_from_slice(bytes);
        let length = match self.read_head(input) {
            Ok(None) => return Read1::More,
            Ok(Some(length)) => length,
            Err(()) => return Read1::Ended(Outcome::Malformed),
        };
        let bytes = std::mem::take(input);
        if self.head.is_some_and(|head| head.status == 100) {
            self.head = None;
            return self.take(input, &bytes[length..]);
        }
        self.body(&bytes[length..], input)
    }

    fn read_head(&mut self, input: &[u8]) -> Result<Option<usize>, ()> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut answer = httparse::Response::new(&mut headers);
        let length = match answer.parse(input) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(()),
        };
        let status = answer.code.ok_or(())?;
        let mut head = Head { status, framing: Framing::UntilClose, close: false };
        let mut tagged = false;
        for header in answer.headers.iter() {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("Content-Length") {
                let text = std::str::from_utf8(header.value).map_err(|_| ())?;
                head.framing = Framing::Length(text.parse().map_err(|_| ())?);
            } else if is("Transfer-Encoding") {
                head.framing = Framing::Chunked(None);
            } else if is("Connection") {
                head.close = header.value.eq_ignore_ascii_case(b"close");
            } else if is("X-Tag") {
                tagged = true;
                self.crossed |= header.value != self.letters;
            }
        }
        self.crossed |= status == 200 && !tagged;
        head.close |= matches!(head.framing, Framing::UntilClose);
        self.head = Some(head);
        Ok(Some(length))
    }

    /// Takes bytes of the body; what is not whole yet stays in `rest`.
    fn body(&mut self, mut bytes: &[u8], rest: &mut Vec<u8>) -> Read1 {
        let Some(mut head) = self.head else { return Read1::More };
        loop {
            match head.framing {
                Framing::UntilClose => {
                    self.content(bytes, head.status);
                    return Read1::More;
                }
                Framing::Length(length) => {
                    if bytes.len() > length - self.body {
                        return Read1::Ended(Outcome::Malformed);
                    }
                    self.content(bytes, head.status);
                    return if self.body == length { Read1::Complete } else { Read1::More };
                }
                Framing::Chunked(Some(left)) => {
                    if bytes.is_empty() {
                        return Read1::More;
                    }
                    let count = left.min(bytes.len());
                    // The last two bytes are the chunk's line end.
                    let content = left.saturating_sub(2).min(count);
                    self.content(&bytes[..content], head.status);
                    bytes = &bytes[count..];
                    head.framing = Framing::Chunked((count < left).then(|| left - count));
                    self.head = Some(head);
                }
                Framing::Chunked(None) => {
                    let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") else {
                        rest.extend_from_slice(bytes);
                        return Read1::More;
                    };
                    let text = std::str::from_utf8(&bytes[..end]).ok();
                    let Some(length) = text.and_then(|text| usize::from_str_radix(text, 16).ok()) else {
                        return Read1::Ended(Outcome::Malformed);
                    };
                    if length == 0 {
                        if bytes.len() < end + 4 {
                            rest.extend_from_slice(bytes);
                            return Read1::More;
                        }
                        return if bytes.len() == end + 4 { Read1::Complete } else { Read1::Ended(Outcome::Malformed) };
                    }
                    bytes = &bytes[end + 2..];
                    head.framing = Framing::Chunked(Some(length + 2));
                    self.head = Some(head);
                }
            }
        }
    }

    fn content(&mut self, bytes: &[u8], status: u16) {
        match status {
            200 => self.crossed |= !fits(&self.letters, self.body, bytes),
            _ => self.page.extend_from_slice(&bytes[..bytes.len().min(2_000usize.saturating_sub(self.page.len()))]),
        }
        self.body += bytes.len();
    }

    /// The outcome of a complete answer.
    fn outcome(&self) -> Outcome {
        let status = self.head.map_or(0, |head| head.status);
        match status {
            _ if self.crossed => Outcome::Crossed,
            200 if self.body == self.shape.answer => Outcome::Answered,
            // An answer without a length whose connection was closed early looks complete, but is not.
            200 if self.head.is_some_and(|head| matches!(head.framing, Framing::UntilClose)) => Outcome::Lost,
            200 => Outcome::Crossed,
            _ => {
                let page = String::from_utf8_lossy(&self.page);
                let number = page.split_once("SCLERA-").and_then(|(_, rest)| rest.get(..3)?.parse().ok());
                number.map_or(Outcome::Refused(status), Outcome::Failed)
            }
        }
    }
}

/// The answered tags that were never run, and POSTs that were run twice.
pub fn audit(report: &Report, tally: &Tally, seed: u64, manners: Manners) -> (Vec<u64>, Vec<u64>, u64, u64) {
    let (mut invented, mut doubled, mut executions, mut repeated) = (Vec::new(), Vec::new(), 0, 0);
    for (tag, answered) in (0..tally.capacity()).zip(&report.tags) {
        let count = tally.executions(tag).count;
        executions += u64::from(count);
        if *answered && count == 0 {
            invented.push(tag);
        }
        if count > 1 {
            match Shape::of(seed, tag, manners).post {
                true => doubled.push(tag),
                false => repeated += u64::from(count) - 1,
            }
        }
    }
    (invented, doubled, executions, repeated)
}
