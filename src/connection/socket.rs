//! A TCP socket that never blocks.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// A connecting or connected socket.
#[derive(Debug)]
pub struct Socket {
    fd: Arc<OwnedFd>,
    link: u64,
    peer: SocketAddr,
}

/// How much of a send or receive was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// This many bytes, at least one.
    Bytes(usize),
    /// None; the socket would block.
    WouldBlock,
    /// None; the peer has closed its side.
    Closed,
}

/// A silent peer is probed after this time: sooner than firewalls and balancers of networks forget a connection, which
/// is 240 s at the earliest of those that are common.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;
/// How long a peer may leave what was sent without any sign: as long as one that is probed. Keepalive does not probe
/// while something is under way, and the system repeats that for a quarter of an hour.
const UNANSWERED: Duration = Duration::from_secs(120);

/// Numbers every socket of the process: a descriptor's number is used again, this one is not.
static NEXT_LINK: AtomicU64 = AtomicU64::new(1);

/// The number for a descriptor that hosts are to watch.
pub(super) fn next_link() -> u64 {
    NEXT_LINK.fetch_add(1, Ordering::Relaxed)
}

impl Socket {
    /// Starts to connect; [`Socket::connect_result`] tells the outcome once the socket is writable.
    pub fn connect(address: SocketAddr) -> Result<Socket, Errno> {
        let family = match address.ip() {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        sockopt::set_socket_keepalive(&fd, true)?;
        sockopt::set_tcp_keepidle(&fd, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&fd, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&fd, KEEPALIVE_PROBES)?;
        sockopt::set_tcp_user_timeout(&fd, UNANSWERED.as_millis() as u32)?;
        match rustix::net::connect(&fd, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(Socket { fd: Arc::new(fd), link: next_link(), peer: address })
    }

    /// `None` while the connection is being made, then how it ended.
    pub fn connect_result(&self) -> Option<Result<(), Errno>> {
        match sockopt::socket_error(&*self.fd) {
            Ok(Ok(())) => match rustix::net::getpeername(&*self.fd) {
                Ok(_) => Some(Ok(())),
                Err(Errno::NOTCONN) => None,
                Err(error) => Some(Err(error)),
            },
            Ok(Err(error)) | Err(error) => Some(Err(error)),
        }
    }

    /// Sends from the start of `bytes`.
    pub fn send(&self, bytes: &[u8]) -> Result<Moved, Errno> {
        loop {
            match rustix::net::send(&*self.fd, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => return Ok(Moved::Bytes(count)),
                Err(Errno::AGAIN) => return Ok(Moved::WouldBlock),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives into the spare capacity of `buffer`, which must have some.
    pub fn receive(&self, buffer: &mut Vec<u8>) -> Result<Moved, Errno> {
        loop {
            match rustix::net::recv(&*self.fd, spare_capacity(buffer), RecvFlags::empty()) {
                Ok((0, _)) => return Ok(Moved::Closed),
                Ok((count, _)) => return Ok(Moved::Bytes(count)),
                Err(Errno::AGAIN) => return Ok(Moved::WouldBlock),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The socket's own number, unlike any other socket's of this process.
    pub fn link(&self) -> u64 {
        self.link
    }

    /// The socket for somebody who may want to shut it down, as long as it is open.
    pub fn handle(&self) -> Weak<OwnedFd> {
        Arc::downgrade(&self.fd)
    }

    /// The address that it is connected to, or on its way to.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The descriptor, for the host to watch.
    pub fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_vanished_is_noticed_after_two_minutes_whether_something_is_under_way_or_not() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let socket = Socket::connect(listener.local_addr().unwrap()).unwrap();
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        let idle = sockopt::tcp_keepidle(&socket).unwrap();
        let probing = sockopt::tcp_keepintvl(&socket).unwrap() * sockopt::tcp_keepcnt(&socket).unwrap();
        let unanswered = Duration::from_millis(sockopt::tcp_user_timeout(&socket).unwrap().into());
        assert_eq!((idle + probing, unanswered), (Duration::from_secs(120), Duration::from_secs(120)));
    }
}
