//! One link to a superserver: resolve, connect, TLS, login, calls, and the check before it is used again.
//!
//! The types are the states. [`Opening`] becomes a [`Connection`], which is logged in and at rest; a call turns it into a
//! [`Talk`], which is dirty: it becomes a connection again only by reaching the end of the answer, and closes otherwise.

pub mod attempts;
pub mod diagnosis;
pub mod dialogue;
pub mod link;
pub mod opening;
pub mod resolve;
pub mod socket;

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::Weak;
use std::time::{Duration, Instant};

use link::{Flow, Link, LinkError};
pub use opening::Opening;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustls::HandshakeKind;

use crate::wire::WireError;
use crate::wire::call::{Event, InCall};
use crate::wire::conversation::Conversation;

/// What something that cannot go on waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// The descriptor to watch; `None` while a wake-up is waited for.
    pub fd: Option<RawFd>,
    /// Number of the socket behind `fd`, unlike any other socket's of this process; 0 without one.
    pub link: u64,
    pub read: bool,
    pub write: bool,
    /// Drive again at this time at the latest.
    pub deadline: Option<Instant>,
}

impl Wants {
    /// Nothing but the time, or a wake-up.
    pub fn until(deadline: Option<Instant>) -> Wants {
        Wants { fd: None, link: 0, read: false, write: false, deadline }
    }
}

/// Sleeps until `wants` is fulfilled: the one place where a host with threads waits for a socket.
pub fn wait_for(wants: Wants) -> std::io::Result<()> {
    let Some(fd) = wants.fd else { return Ok(()) };
    // SAFETY: `wants` was given by the object that owns the descriptor and that its only user holds meanwhile.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, wants.read);
    flags.set(PollFlags::OUT, wants.write);
    let mut fds = [PollFd::new(&fd, flags)];
    let left = wants.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // A millisecond more, so that the deadline has passed when poll says so.
    let left = left.map(|left| Timespec::try_from(left + Duration::from_millis(1)).unwrap_or(LONGEST));
    match poll(&mut fds, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

const LONGEST: Timespec = Timespec { tv_sec: 86_400, tv_nsec: 0 };

impl Link {
    /// Writable while bytes wait to be sent; readable unless so many wait that no more may be answered.
    pub fn wants(&self, deadline: Option<Instant>) -> Wants {
        let (read, write) = (self.unsent() <= MOST_UNSENT, self.has_unsent());
        Wants { fd: Some(self.raw_fd()), link: self.number(), read, write, deadline }
    }
}

/// The most bytes that may wait for a server which asks without listening to the answers.
const MOST_UNSENT: usize = 16 * 1024;
/// The most messages in a row by which a server may ask for something without telling anything.
const MOST_EMPTY: usize = 1000;

/// A logged-in connection at rest.
#[derive(Debug)]
pub struct Connection {
    link: Link,
    conversation: Conversation,
    facts: Facts,
}

/// What stays with a connection through its calls.
#[derive(Debug)]
pub struct Facts {
    /// Generation of the identity it was made with.
    pub generation: u64,
    /// When it was begun.
    pub begun: Instant,
    /// Handle of our gateway object on the server, once it has been asked for.
    pub gateway_object: Option<Vec<u8>>,
    /// Calls that it has completed.
    pub calls: u64,
}

/// A connection during a call.
#[derive(Debug)]
pub struct Talk {
    link: Link,
    call: InCall,
    facts: Facts,
    /// Answers to the server that have not been encrypted yet.
    replies: Vec<u8>,
    /// Bytes that the link had sent before this call.
    sent_before: u64,
    /// Length of the data told last; it stands before the link's unread bytes.
    data: usize,
    text: Vec<u8>,
}

/// What a call told.
#[derive(Debug, PartialEq)]
pub enum Told {
    /// Nothing; see [`Talk::wants`].
    Wait,
    /// The next piece of the answer is at [`Talk::data`].
    Data,
    /// The server wants request body: [`Talk::answer_read`].
    Read { most: usize },
    /// The call ended well; the payload of a call that is collected whole.
    Finished(Vec<u8>),
    /// The call ended with an error of the application.
    Failed { status: u16, text: String },
    /// The server ended the connection on purpose.
    Disconnected,
}

/// Why a call cannot go on.
#[derive(Debug, PartialEq)]
pub enum TalkError {
    Link(LinkError),
    Wire(WireError),
}

impl Connection {
    /// Nothing is awaited at rest; what counts is which descriptor it has.
    pub fn wants(&self) -> Wants {
        Wants { fd: Some(self.link.raw_fd()), link: self.link.number(), read: false, write: false, deadline: None }
    }

    fn new(link: Link, conversation: Conversation, facts: Facts) -> Connection {
        Connection { link, conversation, facts }
    }

    /// Starts a call. `begin` appends its message; what it may call on is consumed.
    pub fn begin(self, begin: impl FnOnce(Conversation, &mut Vec<u8>) -> InCall) -> Result<Talk, LinkError> {
        let Connection { mut link, conversation, facts } = self;
        let mut message = Vec::with_capacity(2048);
        let call = begin(conversation, &mut message);
        let sent_before = link.sent();
        link.queue(&message)?;
        Ok(Talk { link, call, facts, replies: Vec::new(), sent_before, data: 0, text: Vec::new() })
    }

    /// The number of its socket, unlike any other's of this process.
    pub fn number(&self) -> u64 {
        self.link.number()
    }

    /// Where it leads.
    pub fn peer(&self) -> SocketAddr {
        self.link.peer()
    }

    /// Whether it can be used again: the peer has neither closed it nor sent anything.
    pub fn is_usable(&mut self) -> bool {
        self.link.is_quiet()
    }

    /// Whether it may go back into the pool: nothing received is unread, nothing queued is unsent.
    pub fn is_settled(&self) -> bool {
        self.link.is_settled()
    }

    /// How TLS was agreed on; `None` without TLS.
    pub fn handshake(&self) -> Option<HandshakeKind> {
        self.link.tls_state()?.handshake_kind()
    }

    /// See [`socket::Socket::handle`].
    pub fn socket(&self) -> Weak<OwnedFd> {
        self.link.socket()
    }

    /// Gives buffers up while it idles.
    pub fn rest(&mut self) {
        self.link.shrink();
    }

    /// Ends it with the protocol's and TLS's farewell, as far as the socket takes them at once.
    pub fn close(self) {
        let mut farewell = Vec::new();
        self.conversation.disconnect(&mut farewell);
        self.link.close(&farewell);
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    pub fn facts_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }

    /// The protocol's state, for its names: version, server, process.
    pub fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// The link itself, for hosts that speak on it in their own way.
    pub fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }
}

impl Talk {
    /// The most acknowledgements that are held back for a common record; a server may wait for the oldest.
    const HELD_REPLIES: usize = 160;

    /// Goes on until there is something to tell. Data told before has been taken by then.
    pub fn drive(&mut self) -> Result<Told, TalkError> {
        self.data = 0;
        self.text.clear();
        let mut empty = 0;
        loop {
            if self.link.unsent() > MOST_UNSENT {
                self.link.flush().map_err(TalkError::Link)?;
                if self.link.unsent() > MOST_UNSENT {
                    return Ok(Told::Wait);
                }
            }
            if self.replies.len() > Talk::HELD_REPLIES {
                self.send_replies()?;
            }
            let (used, event) = self.call.receive(self.link.unread(), &mut self.replies).map_err(TalkError::Wire)?;
            let told = match event {
                Event::NeedsInput => None,
                Event::Busy => {
                    empty += 1;
                    if empty > MOST_EMPTY {
                        let got = format!("{MOST_EMPTY} messages that say nothing");
                        return Err(TalkError::Wire(WireError::Unexpected { expected: "an answer", got }));
                    }
                    None
                }
                Event::Data(data) => {
                    self.data = data.len();
                    Some(Told::Data)
                }
                Event::Text(text) => {
                    self.text.extend_from_slice(text.as_bytes());
                    Some(Told::Data).filter(|_| !text.is_empty())
                }
                Event::Read { most } => Some(Told::Read { most }),
                Event::Finished(payload) => Some(Told::Finished(payload)),
                Event::Failed { status, text } => Some(Told::Failed { status, text }),
                Event::Disconnected => Some(Told::Disconnected),
            };
            self.link.mark_read(used);
            if let Some(told) = told {
                if !matches!(told, Told::Data) {
                    self.send_replies()?;
                }
                return Ok(told);
            }
            if !self.link.unread().is_empty() {
                continue;
            }
            if self.link.has_unsent() {
                self.link.flush().map_err(TalkError::Link)?;
            }
            match self.link.fill().map_err(TalkError::Link)? {
                Flow::Done => {}
                Flow::Closed => return Err(TalkError::Link(LinkError::Closed)),
                Flow::Blocked => {
                    // The server may be waiting for what was held back.
                    self.send_replies()?;
                    return Ok(Told::Wait);
                }
            }
        }
    }

    /// Sends the call itself. Kept apart from [`Talk::drive`] because a failure here can still be retried: see
    /// [`Talk::has_sent`].
    pub fn send(&mut self) -> Result<(), LinkError> {
        self.link.flush().map(|_| ())
    }

    /// Whether anything of this call may have reached the server.
    pub fn has_sent(&self) -> bool {
        self.link.sent() > self.sent_before
    }

    /// The piece that [`Told::Data`] told of; it stands until the next drive.
    pub fn data(&self) -> &[u8] {
        match self.text.is_empty() {
            true => self.link.just_read(self.data),
            false => &self.text,
        }
    }

    /// Answers [`Told::Read`]; an empty piece ends the body.
    pub fn answer_read(&mut self, piece: &[u8]) -> Result<(), TalkError> {
        self.call.answer_read(piece, &mut self.replies);
        self.send_replies()
    }

    /// The connection at rest again, after [`Told::Finished`] or [`Told::Failed`]; `None` if bytes follow that nobody
    /// asked for.
    pub fn finish(self) -> Option<Connection> {
        let Talk { link, call, mut facts, .. } = self;
        if !link.is_settled() {
            return None;
        }
        facts.calls += 1;
        Some(Connection { link, conversation: call.into_conversation(), facts })
    }

    /// The socket was reported ready.
    pub fn set_ready(&mut self) {
        self.link.set_readable();
    }

    pub fn wants(&self, deadline: Option<Instant>) -> Wants {
        self.link.wants(deadline)
    }

    fn send_replies(&mut self) -> Result<(), TalkError> {
        if !self.replies.is_empty() {
            self.link.queue(&self.replies).map_err(TalkError::Link)?;
            self.replies.clear();
            self.link.flush().map_err(TalkError::Link)?;
        }
        Ok(())
    }
}
