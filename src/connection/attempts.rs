//! Several addresses tried in parallel order, after RFC 8305 ("happy eyeballs"): a further attempt is begun when the ones
//! before have not answered for a moment, or at once when one has failed; the first that connects wins.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;

use super::Wants;
use super::link::LinkError;
use super::{diagnosis, socket};
use socket::Socket;

/// How long an attempt is waited for before the next one is begun beside it: the "Connection Attempt Delay" that RFC 8305
/// recommends in section 8.
const DELAY: Duration = Duration::from_millis(250);
/// The least that RFC 8305 allows there, for when there are many addresses and little time.
const LEAST_DELAY: Duration = Duration::from_millis(10);

/// Attempts to connect to one of several addresses.
#[derive(Debug)]
pub struct Attempts {
    /// Addresses that have not been tried yet.
    left: VecDeque<SocketAddr>,
    running: Vec<Socket>,
    missed: Vec<Miss>,
    /// When the next attempt is to be begun.
    next: Instant,
    deadline: Instant,
    /// Used if there are several addresses, and then from the first on: a host that watches a descriptor may take another
    /// one in its place for the sign that the first has been closed.
    joint: Option<Joint>,
}

/// How attempts stand.
#[derive(Debug)]
pub enum Progress {
    /// See [`Attempts::wants`].
    Waiting,
    Connected(Socket),
    /// Every address has failed: [`Attempts::missed`] is not empty.
    Failed,
}

/// An address to which no connection came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    pub address: SocketAddr,
    /// The error; `None` if it had not answered when it was given up.
    pub error: Option<Errno>,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error {
            Some(errno) => write!(f, "{}: {}", self.address, diagnosis::describe(&LinkError::Io(errno))),
            None => write!(f, "{}: no answer", self.address),
        }
    }
}

impl Attempts {
    /// Addresses to be tried in this order, at least one.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>, now: Instant, deadline: Instant) -> Attempts {
        let left = addresses.into_iter().collect();
        Attempts { left, running: Vec::new(), missed: Vec::new(), next: now, deadline, joint: None }
    }

    /// Goes on as far as possible.
    pub fn drive(&mut self, now: Instant) -> Progress {
        loop {
            if let Some(socket) = self.take_connected(now) {
                return Progress::Connected(socket);
            }
            if now < self.next && !self.running.is_empty() {
                return Progress::Waiting;
            }
            let Some(address) = self.left.pop_front() else {
                return if self.running.is_empty() { Progress::Failed } else { Progress::Waiting };
            };
            match self.begin(address) {
                Ok(socket) => {
                    self.running.push(socket);
                    let share = self.deadline.saturating_duration_since(now) / (self.left.len() as u32 + 1);
                    self.next = now + DELAY.min(share).max(LEAST_DELAY);
                }
                Err(errno) => self.missed.push(Miss { address, error: Some(errno) }),
            }
        }
    }

    /// What has to happen before driving makes sense.
    pub fn wants(&self) -> Wants {
        let deadline = Some(if self.left.is_empty() { self.deadline } else { self.next.min(self.deadline) });
        match (&self.joint, self.running.first()) {
            (Some(joint), Some(_)) => {
                Wants { fd: Some(joint.epoll.as_raw_fd()), link: joint.link, read: true, write: false, deadline }
            }
            (None, Some(socket)) => {
                Wants { fd: Some(socket.raw_fd()), link: socket.link(), read: false, write: true, deadline }
            }
            (_, None) => Wants::until(deadline),
        }
    }

    /// The addresses to which no connection has come about, in the order in which that was noticed; those of which
    /// nothing is known yet come last.
    pub fn missed(&self) -> Vec<Miss> {
        let running = self.running.iter().map(|socket| Miss { address: socket.peer(), error: None });
        self.missed.iter().cloned().chain(running).collect()
    }

    /// The first attempt that has connected; those that have failed are closed, and the next one's time has come.
    fn take_connected(&mut self, now: Instant) -> Option<Socket> {
        let mut at = 0;
        while let Some(socket) = self.running.get(at) {
            match socket.connect_result() {
                None => at += 1,
                Some(Ok(())) => return Some(self.running.remove(at)),
                Some(Err(errno)) => {
                    self.missed.push(Miss { address: socket.peer(), error: Some(errno) });
                    self.running.remove(at);
                    self.next = now;
                }
            }
        }
        None
    }

    fn begin(&mut self, address: SocketAddr) -> Result<Socket, Errno> {
        if self.joint.is_none() && !self.left.is_empty() && self.running.is_empty() {
            self.joint = Some(Joint::new()?);
        }
        let socket = Socket::connect(address)?;
        if let Some(joint) = &self.joint {
            let data = epoll::EventData::new_u64(0);
            epoll::add(&joint.epoll, &socket, data, epoll::EventFlags::OUT)?;
        }
        Ok(socket)
    }
}

/// The error that tells most of why no address could be connected to.
pub fn telling(missed: &[Miss]) -> LinkError {
    let rank = |error: &Option<Errno>| match error {
        // What this machine lacks says nothing of the server.
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL) => 0,
        Some(Errno::CONNREFUSED) => 1,
        Some(Errno::ACCESS | Errno::PERM) => 2,
        Some(Errno::TIMEDOUT) | None => 3,
        Some(_) => 4,
    };
    let telling = missed.iter().map(|miss| miss.error).min_by_key(rank);
    telling.map_or(LinkError::Closed, |error| LinkError::Io(error.unwrap_or(Errno::TIMEDOUT)))
}

/// One descriptor for several sockets: it is readable when one of them has connected or failed. An epoll instance may
/// itself be watched by poll and by another epoll, so each host can do that.
#[derive(Debug)]
struct Joint {
    epoll: OwnedFd,
    link: u64,
}

impl Joint {
    fn new() -> Result<Joint, Errno> {
        Ok(Joint { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, link: socket::next_link() })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::connection::wait_for;

    /// Addresses with one port: `.1` accepts, others refuse, and `silent` ones drop what comes.
    struct Loopback {
        listener: TcpListener,
        _full: Vec<(OwnedFd, Vec<Socket>)>,
    }

    impl Loopback {
        fn new(silent: &[u8]) -> Loopback {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let mut it = Loopback { listener, _full: Vec::new() };
            for &host in silent {
                let full = it.full(host);
                it._full.push(full);
            }
            it
        }

        fn address(&self, host: u8) -> SocketAddr {
            SocketAddr::from(([127, 0, 0, host], self.listener.local_addr().unwrap().port()))
        }

        /// A listener whose queue is full: the kernel drops what further clients send.
        fn full(&self, host: u8) -> (OwnedFd, Vec<Socket>) {
            use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
            let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            bind(&fd, &self.address(host)).unwrap();
            listen(&fd, 0).unwrap();
            let first = Socket::connect(self.address(host)).unwrap();
            let wants = Wants { fd: Some(first.raw_fd()), write: true, ..Wants::until(None) };
            wait_for(wants).unwrap();
            assert_eq!(first.connect_result(), Some(Ok(())));
            // A second one may still be taken, depending on the kernel.
            let second = Socket::connect(self.address(host)).unwrap();
            (fd, vec![first, second])
        }

        fn attempts(&self, hosts: &[u8], start: Instant) -> Attempts {
            let deadline = start + Duration::from_secs(3600);
            Attempts::new(hosts.iter().map(|host| self.address(*host)), start, deadline)
        }
    }

    /// Drives without letting time pass, waiting for the descriptor alone.
    fn run(attempts: &mut Attempts, now: Instant) -> Result<SocketAddr, Vec<Miss>> {
        loop {
            match attempts.drive(now) {
                Progress::Connected(socket) => return Ok(socket.peer()),
                Progress::Failed => return Err(attempts.missed()),
                Progress::Waiting => {
                    let wants = attempts.wants();
                    assert!(wants.fd.is_some() && wants.link != 0);
                    wait_for(Wants { deadline: Some(Instant::now() + Duration::from_secs(20)), ..wants }).unwrap();
                }
            }
        }
    }

    #[test]
    fn addresses_that_refuse_cost_no_time() {
        let net = Loopback::new(&[]);
        let now = Instant::now();
        let mut attempts = net.attempts(&[2, 3, 1, 4], now);
        assert_eq!(run(&mut attempts, now), Ok(net.address(1)));
        let refused = |host| Miss { address: net.address(host), error: Some(Errno::CONNREFUSED) };
        assert_eq!(attempts.missed(), [refused(2), refused(3)]);
    }

    #[test]
    fn a_silent_address_is_overtaken_after_a_moment_and_by_none_before() {
        let net = Loopback::new(&[2, 3]);
        let start = Instant::now();
        let mut attempts = net.attempts(&[2, 3, 1], start);
        for (moment, running, next) in [(0, 1, 250), (249, 1, 250), (250, 2, 500), (499, 2, 500)] {
            assert!(matches!(attempts.drive(start + Duration::from_millis(moment)), Progress::Waiting), "{moment}");
            assert_eq!(attempts.running.len(), running, "{moment}");
            assert_eq!(attempts.wants().deadline, Some(start + Duration::from_millis(next)), "{moment}");
        }
        assert_eq!(run(&mut attempts, start + Duration::from_millis(500)), Ok(net.address(1)));
        let silent = |host| Miss { address: net.address(host), error: None };
        assert_eq!(attempts.missed(), [silent(2), silent(3)]);
    }

    #[test]
    fn the_watched_descriptor_stays_the_same_while_attempts_come_and_go() {
        let net = Loopback::new(&[2, 4]);
        let start = Instant::now();
        let mut attempts = net.attempts(&[2, 3, 4, 1], start);
        assert!(matches!(attempts.drive(start), Progress::Waiting));
        let (fd, link) = (attempts.wants().fd, attempts.wants().link);
        assert!(attempts.wants().read && attempts.running.iter().all(|socket| socket.link() != link));
        // The third address, which refuses, lets the fourth begin at once, or is waited for.
        assert!(matches!(attempts.drive(start + DELAY), Progress::Waiting));
        assert_eq!((attempts.wants().fd, attempts.wants().link), (fd, link));
        assert_eq!(run(&mut attempts, start + DELAY * 3), Ok(net.address(1)));
    }

    #[test]
    fn one_address_is_watched_by_itself() {
        let net = Loopback::new(&[2]);
        let now = Instant::now();
        let mut attempts = net.attempts(&[2], now);
        assert!(matches!(attempts.drive(now), Progress::Waiting));
        let wants = attempts.wants();
        assert_eq!(wants.link, attempts.running[0].link());
        assert!(wants.write && !wants.read);
    }

    #[test]
    fn when_every_address_fails_each_is_told() {
        let net = Loopback::new(&[]);
        let now = Instant::now();
        let missed = run(&mut net.attempts(&[2, 3], now), now).unwrap_err();
        let told: Vec<String> = missed.iter().map(Miss::to_string).collect();
        let refused = |host| format!("{}: Connection refused (os error 111)", net.address(host));
        assert_eq!(told, [refused(2), refused(3)]);
    }

    #[test]
    fn little_time_is_shared_among_the_addresses() {
        let net = Loopback::new(&[2]);
        let start = Instant::now();
        let mut attempts = Attempts::new([2, 3, 4, 5, 6].map(|host| net.address(host)), start, start + DELAY);
        assert!(matches!(attempts.drive(start), Progress::Waiting));
        assert_eq!(attempts.wants().deadline, Some(start + DELAY / 5));
    }

    #[test]
    fn the_most_telling_error_is_told() {
        let miss = |error| Miss { address: SocketAddr::from(([10, 0, 0, 1], 1972)), error };
        for (errors, told) in [
            (vec![Some(Errno::NETUNREACH), Some(Errno::CONNREFUSED)], Errno::CONNREFUSED),
            (vec![None, Some(Errno::NETUNREACH)], Errno::TIMEDOUT),
            (vec![Some(Errno::CONNREFUSED), Some(Errno::MFILE)], Errno::MFILE),
            (vec![Some(Errno::TIMEDOUT), Some(Errno::PERM)], Errno::PERM),
            (vec![Some(Errno::HOSTUNREACH), Some(Errno::NETUNREACH)], Errno::HOSTUNREACH),
        ] {
            let missed: Vec<Miss> = errors.into_iter().map(miss).collect();
            assert_eq!(telling(&missed), LinkError::Io(told), "{missed:?}");
        }
    }
}
