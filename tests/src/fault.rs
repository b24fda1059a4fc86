//! A network that misbehaves: a proxy on the loopback that passes bytes on, until a fault strikes. It works below TLS.
//!
//! Which fault strikes the n-th connection, and at which byte, is a pure function of the seed ([`Plan::of`]). What happens
//! to all connections at once (a stall, a restart) is asked for by the test.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};

/// What strikes a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Reset as soon as it has been accepted, before any byte.
    Refuse,
    /// That direction pauses once.
    Delay(Duration),
    /// That direction passes so many bytes a second, for the next 16 KiB.
    Slow(u32),
    /// Reset on both sides.
    Reset,
    /// Open, but nothing passes any more, in neither direction, until the gateway gives it up.
    HalfOpen,
    /// Closed in good order on both sides; the bytes at hand are lost.
    Drop,
    /// That direction ends exactly there, mostly in the middle of a record; the other goes on.
    Truncate,
}

/// A way through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToGateway,
}

/// What happens to one connection: `fault` strikes after so many bytes in that direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    pub fault: Option<Fault>,
    pub direction: Direction,
    pub after: u64,
}

/// How rough it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Of a thousand connections so many meet a fault.
    pub permille: u32,
    /// It strikes within so many bytes; early bytes are as likely as all of ten times as many later ones.
    pub reach: u64,
}

impl Weather {
    /// No fault.
    pub const CALM: Weather = Weather { permille: 0, reach: 1 };
    /// Every second connection is struck within 4 MiB, many of them in handshake and login.
    pub const ROUGH: Weather = Weather { permille: 500, reach: 4 << 20 };
}

impl Fault {
    /// How long it lasts; `None`: as long as its connection.
    fn lasts(self) -> Option<Duration> {
        match self {
            Fault::Refuse => Some(Duration::ZERO),
            Fault::Delay(time) => Some(time),
            Fault::Slow(rate) => Some(Duration::from_secs_f64(SLOW_BYTES as f64 / f64::from(rate))),
            Fault::Reset | Fault::HalfOpen | Fault::Drop | Fault::Truncate => None,
        }
    }
}

impl Plan {
    /// The plan of the `connection`-th connection.
    pub fn of(seed: u64, connection: u64, weather: Weather) -> Plan {
        let mut dice = dice(seed, connection);
        let struck = dice.u32(0..1000) < weather.permille;
        let fault = match dice.u32(0..15) {
            0 => Fault::Refuse,
            1..=3 => Fault::Delay(Duration::from_millis(dice.u64(10..400))),
            4..=5 => Fault::Slow(dice.u32(4_000..100_000)),
            6..=8 => Fault::Reset,
            9 => Fault::HalfOpen,
            10..=11 => Fault::Drop,
            _ => Fault::Truncate,
        };
        let direction = if dice.bool() { Direction::ToServer } else { Direction::ToGateway };
        let after = (weather.reach.max(2) as f64).powf(dice.f64()) as u64;
        Plan { fault: struck.then_some(fault), direction, after }
    }
}

/// Random numbers that depend on a seed and a number alone.
pub fn dice(seed: u64, number: u64) -> fastrand::Rng {
    let mut first = fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    fastrand::Rng::with_seed(first.u64(..))
}

/// A fault that has struck, or an end that somebody asked for.
#[derive(Clone, Debug)]
pub struct Strike {
    /// Number of the connection, from 0.
    pub connection: u64,
    /// The proxy's port towards the superserver, by which an application knows its connection; 0 if there was none.
    pub port: u16,
    /// `None`: the end was asked for.
    pub fault: Option<Fault>,
    pub at: Instant,
    /// The connection was usable again, or at its end.
    pub until: Option<Instant>,
}

/// The proxy. It ends with this value.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    accepting: Option<Accepting>,
}

struct Accepting {
    listener: Arc<TcpListener>,
    thread: JoinHandle<()>,
}

struct Shared {
    seed: u64,
    planning: Mutex<Planning>,
    upstream: AtomicU16,
    stalled: AtomicBool,
    links: Mutex<HashMap<u64, Arc<Link>>>,
    accepted: AtomicU64,
    most: AtomicUsize,
    /// Moments with more than this are noted.
    limit: AtomicUsize,
    excesses: Mutex<Vec<(Instant, usize)>>,
    strikes: Mutex<Vec<Strike>>,
}

#[derive(Clone, Copy)]
enum Planning {
    Weather(Weather),
    Always(Plan),
}

/// One connection through the proxy.
struct Link {
    gateway: TcpStream,
    server: TcpStream,
    /// Becomes readable when the link's thread has to look around.
    wake: rustix::fd::OwnedFd,
    ending: AtomicBool,
    port: u16,
}

/// The bytes of one direction.
struct Way {
    direction: Direction,
    /// What is to strike after so many bytes.
    strike: Option<(Fault, u64)>,
    passed: u64,
    /// Received and not passed on yet: `buffer[at..length]`.
    buffer: Box<[u8]>,
    at: usize,
    length: usize,
    /// Nothing passes before.
    not_before: Option<Instant>,
    /// Passes so many bytes a second up to this byte.
    slow: Option<(u32, u64)>,
    /// Nothing more is received.
    ended: bool,
}

/// How a link goes on after a step.
enum Next {
    Goes,
    /// Nothing passes until the gateway gives it up.
    Silent,
    Over,
    Reset,
}

const BUFFER: usize = 64 * 1024;
const SLOW_BYTES: u64 = 16 * 1024;

impl Proxy {
    /// Listens on a free port of the loopback and passes on to this port of it.
    pub fn start(upstream: u16, seed: u64, weather: Weather) -> Proxy {
        let shared = Shared {
            seed,
            planning: Mutex::new(Planning::Weather(weather)),
            upstream: AtomicU16::new(upstream),
            stalled: AtomicBool::new(false),
            links: Mutex::default(),
            accepted: AtomicU64::new(0),
            most: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            excesses: Mutex::default(),
            strikes: Mutex::default(),
        };
        let mut proxy = Proxy { shared: Arc::new(shared), port: 0, accepting: None };
        proxy.listen();
        proxy
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// New connections are planned for this weather.
    pub fn set_weather(&self, weather: Weather) {
        *lock(&self.shared.planning) = Planning::Weather(weather);
    }

    /// New connections all have this plan.
    pub fn set_plan(&self, plan: Plan) {
        *lock(&self.shared.planning) = Planning::Always(plan);
    }

    /// New connections are refused by the system, as when no server runs.
    pub fn refuse(&mut self) {
        if let Some(Accepting { listener, thread }) = self.accepting.take() {
            rustix::net::shutdown(&*listener, rustix::net::Shutdown::Both).expect("a listener can be shut down");
            thread.join().expect("the proxy accepts");
        }
    }

    /// Accepts again, on the same port.
    pub fn listen(&mut self) {
        if self.accepting.is_some() {
            return;
        }
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("the proxy's own port");
        self.port = listener.local_addr().expect("a listener has an address").port();
        let (listener, shared) = (Arc::new(listener), self.shared.clone());
        let accepting = listener.clone();
        let thread = thread::spawn(move || shared.accept(&accepting));
        self.accepting = Some(Accepting { listener, thread });
    }

    /// Nothing passes on any connection, or everything does again. A connection that the gateway gives up meanwhile ends.
    pub fn stall(&self, stalled: bool) {
        self.shared.stalled.store(stalled, Ordering::SeqCst);
        lock(&self.shared.links).values().for_each(|link| link.wake());
    }

    /// Ends every connection, as when the server's machine goes down in good order.
    pub fn close_all(&self) {
        for link in lock(&self.shared.links).values() {
            link.ending.store(true, Ordering::SeqCst);
            link.wake();
        }
    }

    /// Ends every connection, refuses new ones for a while, and comes back.
    pub fn restart(&mut self, pause: Duration) {
        self.refuse();
        self.close_all();
        thread::sleep(pause);
        self.listen();
    }

    /// How many connections the gateway has open at this moment. Exact: a connection counts until the gateway closes it,
    /// whatever the proxy has noticed of that.
    pub fn open(&self) -> usize {
        self.shared.open(&lock(&self.shared.links))
    }

    /// The most that were ever open at once; exact, since it is counted whenever one comes.
    pub fn most(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// From now on notes when there are more than so many at once.
    pub fn watch_limit(&self, limit: usize) {
        self.shared.limit.store(limit, Ordering::SeqCst);
    }

    /// When there were more, and how many.
    pub fn excesses(&self) -> Vec<(Instant, usize)> {
        lock(&self.shared.excesses).clone()
    }

    /// How many connections have come.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Every fault so far.
    pub fn strikes(&self) -> Vec<Strike> {
        lock(&self.shared.strikes).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.refuse();
        self.close_all();
    }
}

impl Shared {
    fn accept(self: &Arc<Shared>, listener: &TcpListener) {
        while let Ok((gateway, _)) = listener.accept() {
            let connection = self.accepted.fetch_add(1, Ordering::SeqCst);
            let plan = match *lock(&self.planning) {
                Planning::Weather(weather) => Plan::of(self.seed, connection, weather),
                Planning::Always(plan) => plan,
            };
            if plan.fault == Some(Fault::Refuse) {
                self.strike(connection, 0, plan.fault, Some(Instant::now()));
                reset(&gateway);
                continue;
            }
            let upstream = SocketAddr::from(([127, 0, 0, 1], self.upstream.load(Ordering::SeqCst)));
            let Ok(link) = TcpStream::connect(upstream).and_then(|server| Link::new(gateway, server)) else {
                // Closing says what a server that does not listen would.
                self.strike(connection, 0, None, Some(Instant::now()));
                continue;
            };
            let link = Arc::new(link);
            {
                let mut links = lock(&self.links);
                links.insert(connection, link.clone());
                let open = self.open(&links);
                self.most.fetch_max(open, Ordering::SeqCst);
                if open > self.limit.load(Ordering::SeqCst) {
                    lock(&self.excesses).push((Instant::now(), open));
                }
            }
            let shared = self.clone();
            let carry = move || shared.carry(connection, link, plan);
            thread::Builder::new().stack_size(128 * 1024).spawn(carry).expect("a thread for a connection");
        }
    }

    fn open(&self, links: &HashMap<u64, Arc<Link>>) -> usize {
        let mut polled: Vec<_> = links.values().map(|link| PollFd::new(&link.gateway, PollFlags::RDHUP)).collect();
        retry(|| poll(&mut polled, Some(&NOW)));
        polled.iter().filter(|fd| !fd.revents().intersects(GONE)).count()
    }

    fn strike(&self, connection: u64, port: u16, fault: Option<Fault>, until: Option<Instant>) {
        lock(&self.strikes).push(Strike { connection, port, fault, at: Instant::now(), until });
    }

    /// The last strike on this connection is over.
    fn heal(&self, connection: u64) {
        let mut strikes = lock(&self.strikes);
        if let Some(strike) = strikes.iter_mut().rev().find(|strike| strike.connection == connection) {
            strike.until.get_or_insert_with(Instant::now);
        }
    }

    fn carry(&self, connection: u64, link: Arc<Link>, plan: Plan) {
        let next = self.carry_on(connection, &link, plan);
        // Nobody may hold it any longer, or closing would not close it.
        lock(&self.links).remove(&connection);
        if matches!(next, Next::Reset) {
            reset(&link.gateway);
            reset(&link.server);
        }
        drop(link);
        self.heal(connection);
    }

    fn carry_on(&self, connection: u64, link: &Link, plan: Plan) -> Next {
        let mut ways = [Direction::ToServer, Direction::ToGateway].map(|direction| Way::new(direction, plan));
        let mut silent = false;
        loop {
            if link.ending.load(Ordering::SeqCst) {
                self.strike(connection, link.port, None, None);
                return Next::Over;
            }
            let held = silent || self.stalled.load(Ordering::SeqCst);
            let Ok(gateway_left) = link.wait(&ways, held) else { return Next::Over };
            if gateway_left {
                return Next::Over;
            }
            if held {
                continue;
            }
            for way in &mut ways {
                let now = Instant::now();
                let planned = way.strike;
                let next = way.step(link, now).unwrap_or(Next::Over);
                if let (Some((fault, _)), None) = (planned, way.strike) {
                    self.strike(connection, link.port, Some(fault), fault.lasts().map(|time| now + time));
                }
                match next {
                    Next::Goes => {}
                    Next::Silent => {
                        silent = true;
                        break;
                    }
                    next => return next,
                }
            }
            if ways.iter().all(|way| way.ended && way.at == way.length) {
                return Next::Over;
            }
        }
    }
}

const GONE: PollFlags = PollFlags::RDHUP.union(PollFlags::HUP).union(PollFlags::ERR);
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

impl Link {
    fn new(gateway: TcpStream, server: TcpStream) -> io::Result<Link> {
        for stream in [&gateway, &server] {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
        }
        let port = server.local_addr()?.port();
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Link { gateway, server, wake, ending: AtomicBool::new(false), port })
    }

    fn wake(&self) {
        // A full counter says the same.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn ends(&self, direction: Direction) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        match direction {
            Direction::ToServer => (self.gateway.as_fd(), self.server.as_fd()),
            Direction::ToGateway => (self.server.as_fd(), self.gateway.as_fd()),
        }
    }

    /// Waits until one of the ways can go on, or while everything is held until the gateway leaves: whether it has left.
    fn wait(&self, ways: &[Way; 2], held: bool) -> Result<bool, Errno> {
        let now = Instant::now();
        let (mut gateway, mut server) = (PollFlags::empty(), PollFlags::empty());
        let mut until: Option<Instant> = None;
        if held {
            gateway = PollFlags::RDHUP;
        } else {
            for way in ways {
                let (source, sink) = match way.direction {
                    Direction::ToServer => (&mut gateway, &mut server),
                    Direction::ToGateway => (&mut server, &mut gateway),
                };
                match way.not_before.filter(|&then| then > now) {
                    Some(then) => until = Some(until.map_or(then, |until| until.min(then))),
                    None if way.at < way.length => *sink |= PollFlags::OUT,
                    None if !way.ended => *source |= PollFlags::IN,
                    None => {}
                }
            }
        }
        // Whoever is not waited for is left out: poll(2) would tell of its end again and again.
        let mut polled = vec![PollFd::new(&self.wake, PollFlags::IN)];
        if !gateway.is_empty() {
            polled.push(PollFd::new(&self.gateway, gateway));
        }
        if !server.is_empty() {
            polled.push(PollFd::new(&self.server, server));
        }
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(now);
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let woken = !polled[0].revents().is_empty();
        let gateway_left = held && !gateway.is_empty() && polled[1].revents().intersects(GONE);
        if woken {
            let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        }
        Ok(gateway_left)
    }
}

impl Way {
    fn new(direction: Direction, plan: Plan) -> Way {
        let fault = plan.fault.filter(|_| plan.direction == direction);
        Way {
            direction,
            strike: fault.map(|fault| (fault, plan.after)),
            passed: 0,
            buffer: vec![0; BUFFER].into(),
            at: 0,
            length: 0,
            not_before: None,
            slow: None,
            ended: false,
        }
    }

    /// Passes on what can be passed on now, up to the strike.
    fn step(&mut self, link: &Link, now: Instant) -> Result<Next, Errno> {
        if self.not_before.is_some_and(|then| then > now) {
            return Ok(Next::Goes);
        }
        let (source, sink) = link.ends(self.direction);
        if self.at == self.length {
            if self.ended {
                return Ok(Next::Goes);
            }
            self.length = match recv(source, &mut *self.buffer, RecvFlags::empty()) {
                Ok((_, 0)) => {
                    self.end(sink);
                    return Ok(Next::Goes);
                }
                Ok((_, count)) => count,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(Next::Goes),
                Err(error) => {
                    self.length = self.at;
                    return Err(error);
                }
            };
            self.at = 0;
        }
        if let Some((fault, after)) = self.strike
            && self.passed + (self.length - self.at) as u64 >= after
        {
            self.strike = None;
            match fault {
                Fault::Reset => return Ok(Next::Reset),
                Fault::Drop => return Ok(Next::Over),
                Fault::HalfOpen => return Ok(Next::Silent),
                Fault::Delay(time) => {
                    self.not_before = Some(now + time);
                    return Ok(Next::Goes);
                }
                Fault::Slow(rate) => self.slow = Some((rate, after + SLOW_BYTES)),
                Fault::Truncate => {
                    self.length = self.at + (after - self.passed) as usize;
                    self.ended = true;
                }
                Fault::Refuse => {}
            }
        }
        let mut end = self.length;
        if let Some((rate, until)) = self.slow {
            match self.passed < until {
                true => end = end.min(self.at + (rate as usize / 50).max(1)),
                false => self.slow = None,
            }
        }
        match send(sink, &self.buffer[self.at..end], SendFlags::NOSIGNAL) {
            Ok(count) => {
                self.at += count;
                self.passed += count as u64;
                if let Some((rate, _)) = self.slow {
                    self.not_before = Some(now + Duration::from_secs_f64(count as f64 / f64::from(rate)));
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        if self.ended && self.at == self.length {
            self.end(sink);
        }
        Ok(Next::Goes)
    }

    fn end(&mut self, sink: BorrowedFd<'_>) {
        self.ended = true;
        // It may have gone already.
        let _ = rustix::net::shutdown(sink, rustix::net::Shutdown::Write);
    }
}

/// Makes the close that follows a reset.
pub fn reset(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> T {
    loop {
        match call() {
            Ok(value) => return value,
            Err(Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with the proxy's tables")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::process::wait_until;

    #[test]
    fn the_plan_of_a_connection_is_a_function_of_seed_and_number() {
        let plans = |seed| (0..500).map(|number| Plan::of(seed, number, Weather::ROUGH)).collect::<Vec<_>>();
        assert_eq!(plans(7), plans(7));
        assert_ne!(plans(7), plans(8));
        let struck = plans(7).iter().filter(|plan| plan.fault.is_some()).count();
        assert!((200..300).contains(&struck), "{struck} of 500 connections are struck");
        let kinds: Vec<_> =
            plans(7).iter().filter_map(|plan| plan.fault.map(|fault| std::mem::discriminant(&fault))).collect();
        assert_eq!(kinds.iter().collect::<std::collections::HashSet<_>>().len(), 7);
        let early = plans(7).iter().filter(|plan| plan.after < 2048).count();
        assert!((200..300).contains(&early), "{early} of 500 are struck in their first half, as powers count");
        assert!((0..500).all(|number| Plan::of(7, number, Weather::CALM).fault.is_none()));
    }

    /// A server behind a proxy that treats its only connection like this: the two ends, and the proxy.
    fn struck(fault: Option<Fault>, direction: Direction, after: u64) -> (TcpStream, TcpStream, Proxy) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let proxy = Proxy::start(listener.local_addr().expect("its address").port(), 1, Weather::CALM);
        proxy.set_plan(Plan { fault, direction, after });
        let gateway = TcpStream::connect(("127.0.0.1", proxy.port())).expect("the proxy accepts");
        let (server, _) = listener.accept().expect("the proxy connects");
        assert!(wait_until(|| (proxy.most() == 1).then_some(())).is_some());
        for stream in [&gateway, &server] {
            stream.set_read_timeout(Some(crate::process::PATIENCE)).expect("a socket has timeouts");
        }
        (gateway, server, proxy)
    }

    /// All that comes until the end, and how that comes.
    fn rest(mut stream: &TcpStream) -> (usize, Option<io::ErrorKind>) {
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes).err().map(|error| error.kind());
        (bytes.len(), end)
    }

    #[test]
    fn a_calm_connection_passes_everything_and_its_end() {
        let (mut gateway, mut server, proxy) = struck(None, Direction::ToServer, 0);
        let sent = vec![7; 300_000];
        thread::scope(|scope| {
            scope.spawn(|| server.write_all(&sent).expect("it goes through"));
            let mut got = vec![0; 300_000];
            gateway.read_exact(&mut got).expect("it comes");
            assert!(got == sent);
        });
        assert_eq!((proxy.open(), proxy.most()), (1, 1));
        gateway.write_all(b"farewell").expect("it goes through");
        drop(gateway);
        assert_eq!(rest(&server), (8, None));
        drop(server);
        assert!(wait_until(|| lock(&proxy.shared.links).is_empty().then_some(())).is_some());
        assert!(proxy.strikes().is_empty());
    }

    #[test]
    fn a_truncation_passes_exactly_so_many_bytes() {
        let (gateway, mut server, proxy) = struck(Some(Fault::Truncate), Direction::ToGateway, 1_000);
        server.write_all(&[1; 5_000]).expect("the proxy takes it");
        assert_eq!(rest(&gateway), (1_000, None));
        // The end reaches the gateway a moment before the proxy writes down that it struck.
        let struck = wait_until(|| proxy.strikes().first().map(|strike| strike.port));
        assert_eq!(struck, Some(server.peer_addr().expect("an address").port()));
        // The other direction goes on.
        (&gateway).write_all(b"still there").expect("it goes through");
        let mut got = [0; 11];
        server.read_exact(&mut got).expect("it comes");
    }

    #[test]
    fn a_reset_a_drop_and_an_end_that_was_asked_for_are_told_apart() {
        let (gateway, server, _proxy) = struck(Some(Fault::Reset), Direction::ToServer, 100);
        (&gateway).write_all(&[1; 100]).expect("the proxy takes it");
        assert_eq!(rest(&gateway), (0, Some(io::ErrorKind::ConnectionReset)));
        assert_eq!(rest(&server), (0, Some(io::ErrorKind::ConnectionReset)));

        let (gateway, server, _proxy) = struck(Some(Fault::Drop), Direction::ToServer, 100);
        (&gateway).write_all(&[1; 100]).expect("the proxy takes it");
        assert_eq!((rest(&gateway), rest(&server)), ((0, None), (0, None)));

        let (gateway, server, proxy) = struck(None, Direction::ToServer, 0);
        proxy.close_all();
        assert_eq!((rest(&gateway), rest(&server)), ((0, None), (0, None)));
        assert_eq!(wait_until(|| proxy.strikes().first().map(|strike| strike.fault)), Some(None));
    }

    #[test]
    fn a_half_open_connection_is_silent_until_the_gateway_gives_it_up() {
        let (mut gateway, mut server, proxy) = struck(Some(Fault::HalfOpen), Direction::ToServer, 4);
        gateway.write_all(b"ping").expect("the proxy takes it");
        assert!(wait_until(|| (!proxy.strikes().is_empty()).then_some(())).is_some());
        server.write_all(b"pong").expect("the system takes it");
        gateway.set_nonblocking(true).expect("a socket");
        assert_eq!(gateway.read(&mut [0; 4]).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
        assert_eq!(proxy.open(), 1);
        drop(gateway);
        // What it had received goes with it.
        assert_eq!(rest(&server).0, 0);
        assert!(wait_until(|| (proxy.open() == 0 && proxy.strikes()[0].until.is_some()).then_some(())).is_some());
    }

    #[test]
    fn a_stalled_proxy_passes_nothing_until_it_goes_on() {
        let (mut gateway, mut server, proxy) = struck(None, Direction::ToServer, 0);
        proxy.stall(true);
        gateway.write_all(b"ping").expect("the system takes it");
        server.set_nonblocking(true).expect("a socket");
        assert_eq!(server.read(&mut [0; 4]).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
        server.set_nonblocking(false).expect("a socket");
        proxy.stall(false);
        server.read_exact(&mut [0; 4]).expect("it comes");
    }

    #[test]
    fn a_slow_or_delayed_connection_loses_nothing() {
        for fault in [Fault::Slow(200_000), Fault::Delay(Duration::from_millis(50))] {
            let (gateway, mut server, proxy) = struck(Some(fault), Direction::ToGateway, 10);
            server.write_all(&[1; 40_000]).expect("the proxy takes it");
            drop(server);
            assert_eq!(rest(&gateway), (40_000, None), "{fault:?}");
            let strike = &proxy.strikes()[0];
            assert!(strike.until.is_some_and(|until| until > strike.at), "{strike:?}");
        }
    }

    #[test]
    fn a_proxy_that_refuses_does_not_listen_and_comes_back_on_its_port() {
        let (_gateway, _server, mut proxy) = struck(None, Direction::ToServer, 0);
        proxy.refuse();
        let port = proxy.port();
        let refused = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(io::ErrorKind::ConnectionRefused));
        proxy.listen();
        TcpStream::connect(("127.0.0.1", port)).expect("it listens again");
        let (gateway, _server, mut proxy) = struck(None, Direction::ToServer, 0);
        proxy.restart(Duration::from_millis(1));
        assert_eq!(rest(&gateway), (0, None));
        TcpStream::connect(("127.0.0.1", proxy.port())).expect("it is back");
    }
}
