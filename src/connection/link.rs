//! A socket with or without TLS: plaintext is queued and read, ciphertext is what moves.
//!
//! Buffers stay below one TLS record each way and are given up while a connection idles, so a pool of idle connections
//! costs little, and a request in flight less than 64 KiB.

use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Arc, Weak};

use rustix::io::Errno;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState};
use rustls_pki_types::ServerName;
use zeroize::Zeroize;

use super::socket::{Moved, Socket};

/// One TCP connection, protected or not.
#[derive(Debug)]
pub struct Link {
    socket: Socket,
    channel: Channel,
    /// Bytes from the socket that have not been understood yet. Without TLS it stays empty.
    received: Vec<u8>,
    /// Plaintext that has been received; from `plain_at` on it has not been read yet.
    plain: Vec<u8>,
    plain_at: usize,
    /// Bytes for the socket; from `outgoing_at` on they have not been sent yet.
    outgoing: Vec<u8>,
    outgoing_at: usize,
    /// The peer has closed its side, after all that has been received.
    peer_closed: bool,
    /// The socket said that it would block; it is not asked again until the host has been told to wait for it.
    drained: bool,
    /// The last receive filled its buffer.
    large: bool,
    /// Bytes given to the socket so far.
    sent: u64,
    /// Bytes taken from the socket so far.
    taken: u64,
}

enum Channel {
    Plain,
    Tls(Box<UnbufferedClientConnection>),
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Channel::Plain => f.write_str("Plain"),
            Channel::Tls(_) => f.write_str("Tls"),
        }
    }
}

/// Whether an operation is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Done,
    /// The socket would block.
    Blocked,
    /// The peer has closed its side.
    Closed,
}

/// Why a link is broken. What it means depends on what was being done: see [`super::diagnosis`].
#[derive(Clone, Debug, PartialEq)]
pub enum LinkError {
    Io(Errno),
    Tls(rustls::Error),
    /// The peer closed the connection where more was expected.
    Closed,
}

/// Room that an idle connection may keep, and that a small answer fits into.
const SMALL_CAPACITY: usize = 2 * 1024;
/// Room for one TLS record of the largest size and the start of the next.
const RECEIVE_CAPACITY: usize = 18 * 1024;
/// Handshake messages may span records; rustls refuses longer ones.
const HANDSHAKE_CAPACITY: usize = 72 * 1024;
/// The most plaintext of one TLS record, and what TLS adds to it at most.
const RECORD: usize = 16 * 1024;
const RECORD_OVERHEAD: usize = 64;

impl Link {
    /// A link without TLS over a connected socket.
    pub fn plain(socket: Socket) -> Link {
        Link::new(socket, Channel::Plain)
    }

    /// A link with TLS over a connected socket; the handshake is done by [`Link::handshake`].
    pub fn tls(socket: Socket, config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Link, LinkError> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(LinkError::Tls)?;
        Ok(Link::new(socket, Channel::Tls(Box::new(connection))))
    }

    fn new(socket: Socket, channel: Channel) -> Link {
        Link {
            socket,
            channel,
            received: Vec::new(),
            plain: Vec::new(),
            plain_at: 0,
            outgoing: Vec::new(),
            outgoing_at: 0,
            peer_closed: false,
            drained: false,
            large: false,
            sent: 0,
            taken: 0,
        }
    }

    /// Goes on with the TLS handshake until it is done or the socket would block. Done says that we are satisfied; a
    /// TLS 1.3 server may still refuse our certificate, which only the first read tells.
    pub fn handshake(&mut self) -> Result<Flow, LinkError> {
        loop {
            self.process(&[])?;
            let flushed = self.flush()?;
            match &self.channel {
                Channel::Plain => return Ok(Flow::Done),
                Channel::Tls(tls) if !tls.is_handshaking() => return Ok(Flow::Done),
                Channel::Tls(_) if flushed == Flow::Blocked => return Ok(Flow::Blocked),
                Channel::Tls(_) => {}
            }
            match self.receive()? {
                Flow::Done => {}
                Flow::Blocked => return Ok(Flow::Blocked),
                Flow::Closed => return Err(LinkError::Closed),
            }
        }
    }

    /// Queues plaintext; [`Link::flush`] sends it.
    pub fn queue(&mut self, plaintext: &[u8]) -> Result<(), LinkError> {
        match self.channel {
            Channel::Plain => self.outgoing.extend_from_slice(plaintext),
            Channel::Tls(_) => self.process(plaintext)?,
        }
        Ok(())
    }

    /// Sends what is queued. If that fails, the reason that the peer may have sent before it closed is looked for, since
    /// it says more than the failed write.
    pub fn flush(&mut self) -> Result<Flow, LinkError> {
        while self.outgoing_at < self.outgoing.len() {
            match self.socket.send(&self.outgoing[self.outgoing_at..]) {
                Ok(Moved::Bytes(count)) => {
                    self.outgoing_at += count;
                    self.sent += count as u64;
                }
                Ok(_) => return Ok(Flow::Blocked),
                Err(error) => return Err(self.last_words().unwrap_or(LinkError::Io(error))),
            }
        }
        self.outgoing.clear();
        self.outgoing_at = 0;
        if self.outgoing.capacity() > RECORD + RECORD_OVERHEAD {
            self.outgoing = Vec::new();
        }
        Ok(Flow::Done)
    }

    /// Overwrites what has been sent: a login's bytes may hold a password, and without TLS they stand here in clear.
    pub fn wipe_sent(&mut self) {
        if !self.has_unsent() {
            self.outgoing.zeroize();
            self.outgoing_at = 0;
        }
    }

    /// Receives more plaintext. What was received before must have been read.
    pub fn fill(&mut self) -> Result<Flow, LinkError> {
        debug_assert!(self.unread().is_empty(), "plaintext has not been read yet");
        self.plain.clear();
        self.plain_at = 0;
        loop {
            self.process(&[])?;
            if !self.plain.is_empty() {
                return Ok(Flow::Done);
            }
            match self.receive()? {
                Flow::Done if !self.plain.is_empty() => return Ok(Flow::Done),
                Flow::Done => {}
                other => return Ok(other),
            }
        }
    }

    /// Plaintext that has been received and not been read.
    pub fn unread(&self) -> &[u8] {
        &self.plain[self.plain_at..]
    }

    /// Marks the first `count` bytes of [`Link::unread`] as read.
    pub fn mark_read(&mut self, count: usize) {
        self.plain_at = (self.plain_at + count).min(self.plain.len());
    }

    /// The last `count` bytes that were marked as read; they stay where they are until the next [`Link::fill`].
    pub fn just_read(&self, count: usize) -> &[u8] {
        &self.plain[self.plain_at.saturating_sub(count)..self.plain_at]
    }

    /// Whether the connection can be used again: nothing sent by the peer is waiting, and the peer has not closed. TLS
    /// messages without data, such as session tickets, are taken in and do no harm.
    pub fn is_quiet(&mut self) -> bool {
        self.drained = false;
        self.unread().is_empty() && self.outgoing.is_empty() && matches!(self.fill(), Ok(Flow::Blocked))
    }

    /// Whether everything received has been read and everything queued has been sent.
    pub fn is_settled(&self) -> bool {
        self.unread().is_empty() && !self.has_unsent()
    }

    /// Gives large buffers up while the connection idles.
    pub fn shrink(&mut self) {
        for buffer in [&mut self.plain, &mut self.received, &mut self.outgoing] {
            if buffer.capacity() > SMALL_CAPACITY && buffer.is_empty() {
                *buffer = Vec::new();
            }
        }
        if self.plain.capacity() > SMALL_CAPACITY && self.unread().is_empty() {
            self.plain = Vec::new();
            self.plain_at = 0;
        }
        self.large = false;
    }

    /// The next receive asks the socket, whatever it said before.
    pub fn set_readable(&mut self) {
        self.drained = false;
    }

    /// Says goodbye without waiting: `farewell` and the TLS close, if the socket takes them.
    pub fn close(mut self, farewell: &[u8]) {
        if self.queue(farewell).is_ok() {
            if let Channel::Tls(tls) = &mut self.channel {
                let mut alert = [0; 64];
                // What has been received must be given again: a part of a handshake message may lie there.
                if let UnbufferedStatus { state: Ok(ConnectionState::WriteTraffic(mut traffic)), .. } =
                    tls.process_tls_records(&mut self.received)
                    && let Ok(length) = traffic.queue_close_notify(&mut alert)
                {
                    self.outgoing.extend_from_slice(&alert[..length]);
                }
            }
            let _ = self.flush();
        }
    }

    /// Whether bytes wait to be sent.
    pub fn has_unsent(&self) -> bool {
        self.unsent() > 0
    }

    /// How many bytes wait to be sent.
    pub fn unsent(&self) -> usize {
        self.outgoing.len() - self.outgoing_at
    }

    /// Bytes given to the socket since the link was made.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes taken from the socket since the link was made.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// What TLS has negotiated; `None` without TLS.
    pub fn tls_state(&self) -> Option<&CommonState> {
        match &self.channel {
            Channel::Plain => None,
            Channel::Tls(tls) => Some(tls),
        }
    }

    pub fn raw_fd(&self) -> RawFd {
        self.socket.raw_fd()
    }

    /// See [`Socket::handle`].
    pub fn socket(&self) -> Weak<OwnedFd> {
        self.socket.handle()
    }

    /// See [`Socket::peer`].
    pub fn peer(&self) -> SocketAddr {
        self.socket.peer()
    }

    /// See [`Socket::link`].
    pub fn number(&self) -> u64 {
        self.socket.link()
    }

    /// One receive from the socket, decrypted.
    fn receive(&mut self) -> Result<Flow, LinkError> {
        if self.peer_closed {
            return Ok(Flow::Closed);
        }
        if self.drained {
            return Ok(Flow::Blocked);
        }
        let buffer = match self.channel {
            Channel::Plain => &mut self.plain,
            Channel::Tls(_) => &mut self.received,
        };
        let capacity = match buffer.len() {
            0..SMALL_CAPACITY if !self.large => SMALL_CAPACITY,
            0..RECEIVE_CAPACITY => RECEIVE_CAPACITY,
            _ => HANDSHAKE_CAPACITY,
        };
        let room = capacity.saturating_sub(buffer.len());
        if room == 0 {
            return Err(LinkError::Tls(rustls::InvalidMessage::MessageTooLarge.into()));
        }
        buffer.reserve_exact(room);
        let room = buffer.capacity() - buffer.len();
        match self.socket.receive(buffer) {
            Ok(Moved::Bytes(count)) => {
                // A receive that was filled asks for a larger buffer; most answers are small and never do.
                self.large = count == room;
                self.taken += count as u64;
                self.process(&[])?;
                Ok(Flow::Done)
            }
            Ok(Moved::WouldBlock) => {
                self.drained = true;
                Ok(Flow::Blocked)
            }
            Ok(Moved::Closed) => {
                self.peer_closed = true;
                Ok(Flow::Closed)
            }
            Err(error) => Err(LinkError::Io(error)),
        }
    }

    /// Lets TLS work on what has been received and, once it may, encrypt `plaintext` into the outgoing bytes.
    fn process(&mut self, plaintext: &[u8]) -> Result<(), LinkError> {
        let Channel::Tls(tls) = &mut self.channel else { return Ok(()) };
        if plaintext.is_empty() && self.received.is_empty() && !tls.is_handshaking() {
            return Ok(());
        }
        loop {
            let UnbufferedStatus { mut discard, state } = tls.process_tls_records(&mut self.received);
            let mut at_rest = false;
            let mut failed = None;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                self.plain.extend_from_slice(record.payload);
                                discard += record.discard;
                            }
                            Err(error) => failed = Some(error),
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut encode)) => {
                    let at = self.outgoing.len();
                    if let Err(EncodeError::InsufficientSize(size)) = encode.encode(&mut []) {
                        self.outgoing.resize(at + size.required_size, 0);
                        let written = encode.encode(&mut self.outgoing[at..]).unwrap_or(0);
                        self.outgoing.truncate(at + written);
                    }
                }
                // What was encoded stands in `outgoing`, which keeps it until it is sent.
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    if !plaintext.is_empty() {
                        let at = self.outgoing.len();
                        let records = plaintext.len().div_ceil(RECORD);
                        self.outgoing.resize(at + plaintext.len() + records * RECORD_OVERHEAD, 0);
                        match traffic.encrypt(plaintext, &mut self.outgoing[at..]) {
                            Ok(written) => self.outgoing.truncate(at + written),
                            Err(EncryptError::EncryptExhausted) | Err(EncryptError::InsufficientSize(_)) => {
                                self.outgoing.truncate(at);
                                failed = Some(rustls::Error::EncryptError);
                            }
                        }
                    }
                    at_rest = true;
                }
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => at_rest = true,
                // Early data is for servers; the enum may grow.
                Ok(_) => at_rest = true,
                Err(error) => failed = Some(error),
            }
            self.received.drain(..discard);
            if let Some(error) = failed {
                self.encode_alert();
                return Err(LinkError::Tls(error));
            }
            if at_rest {
                return Ok(());
            }
        }
    }

    /// After an error TLS wants to tell the peer why; it is sent if the socket takes it.
    fn encode_alert(&mut self) {
        let Channel::Tls(tls) = &mut self.channel else { return };
        // Without something to send, TLS would look at the received bytes again.
        if !tls.wants_write() {
            return;
        }
        if let Ok(ConnectionState::EncodeTlsData(mut encode)) = tls.process_tls_records(&mut self.received).state {
            let mut alert = [0; 128];
            if let Ok(written) = encode.encode(&mut alert) {
                self.outgoing.extend_from_slice(&alert[..written]);
                let _ = self.socket.send(&self.outgoing[self.outgoing_at..]);
            }
        }
    }

    /// What the peer said before a write to it failed: often the alert that explains why it closed.
    fn last_words(&mut self) -> Option<LinkError> {
        self.drained = false;
        loop {
            match self.receive() {
                Ok(Flow::Done) => {}
                Ok(_) => return None,
                Err(error @ LinkError::Tls(_)) => return Some(error),
                Err(_) => return None,
            }
        }
    }
}
