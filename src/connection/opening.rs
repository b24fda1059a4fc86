//! A connection being made: name, TCP, TLS, handshake, login, within one time limit. Sans blocking: the caller drives it
//! when the socket is ready or the time has come.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use rustls::{CipherSuite, CommonState, NamedGroup, ProtocolVersion};
use zeroize::Zeroizing;

use super::diagnosis::{self, Stage};
use super::link::{Flow, Link, LinkError};
use super::resolve::{Lookup, Resolver, literal};
use super::socket::Socket;
use super::{Connection, Wants};
use crate::failure::{Code, Failure};
use crate::identity::{Credential, Identity, Tls, credential};
use crate::profile::Server;
use crate::wire::WireError;
use crate::wire::frame::{Assembler, Message};
use crate::wire::login::{self, ExpectConnectAnswer, ExpectHandshakeAnswer, HandshakeError, Login, LoginRequest};

/// A connection on its way to being logged in.
pub struct Opening {
    server: Arc<Server>,
    identity: Arc<Identity>,
    started: Instant,
    deadline: Instant,
    /// Addresses that have not been tried yet.
    addresses: VecDeque<SocketAddr>,
    /// The address being tried, for messages.
    address: Option<SocketAddr>,
    milestones: Milestones,
    state: State,
}

/// What an opening has reached, and when.
#[derive(Clone, Debug, Default)]
pub struct Milestones {
    /// The addresses are known.
    pub resolved: Option<Instant>,
    /// TCP is connected, to this address.
    pub connected: Option<(Instant, SocketAddr)>,
    /// TLS is satisfied on our side; the superserver may still refuse our certificate.
    pub secured: Option<(Instant, Negotiated)>,
}

/// What TLS has agreed on.
#[derive(Clone, Copy, Debug)]
pub struct Negotiated {
    pub version: ProtocolVersion,
    pub suite: CipherSuite,
    /// `None` if a session was resumed without a new key exchange.
    pub group: Option<NamedGroup>,
}

impl Negotiated {
    fn of(state: &CommonState) -> Option<Negotiated> {
        let group = state.negotiated_key_exchange_group().map(|group| group.name());
        Some(Negotiated { version: state.protocol_version()?, suite: state.negotiated_cipher_suite()?.suite(), group })
    }
}

/// States are named after what they wait for.
enum State {
    Addresses(Arc<Lookup>),
    Connected { socket: Socket, until: Instant },
    TlsDone(Box<Link>),
    HandshakeAnswer { link: Box<Link>, assembler: Assembler, next: ExpectHandshakeAnswer },
    ConnectAnswer { link: Box<Link>, assembler: Assembler, next: ExpectConnectAnswer },
    Over,
}

/// A state goes on, waits, or is done.
enum Turn {
    Go(State),
    Wait(State),
    Done(Box<Connection>),
}

impl Opening {
    /// Starts to connect. `waker` is woken when a name has been resolved.
    pub fn start(
        server: Arc<Server>,
        identity: Arc<Identity>,
        resolver: &dyn Resolver,
        waker: &Waker,
        now: Instant,
    ) -> Opening {
        let (host, port) = (server.address.value.as_str(), server.port.value);
        let lookup = Lookup::new(host, port, waker.clone());
        let addresses: VecDeque<SocketAddr> = literal(host, port).into_iter().collect();
        if addresses.is_empty() {
            resolver.submit(lookup.clone());
        }
        let deadline = now + server.connect_timeout;
        Opening {
            server,
            identity,
            started: now,
            deadline,
            addresses,
            address: None,
            milestones: Milestones::default(),
            state: State::Addresses(lookup),
        }
    }

    /// Goes on as far as possible. `None`: see [`Opening::wants`].
    ///
    /// # Errors
    ///
    /// Why the server cannot be used; the detail names the server and its address, and belongs into the log.
    pub fn drive(&mut self, now: Instant) -> Result<Option<Connection>, Failure> {
        loop {
            let state = std::mem::replace(&mut self.state, State::Over);
            if now >= self.deadline {
                return Err(self.timed_out(&state));
            }
            match self.turn(state, now)? {
                Turn::Go(state) => self.state = state,
                Turn::Wait(state) => {
                    self.state = state;
                    return Ok(None);
                }
                Turn::Done(connection) => return Ok(Some(*connection)),
            }
        }
    }

    /// What has been reached so far, also after a failure.
    pub fn milestones(&self) -> &Milestones {
        &self.milestones
    }

    /// What has to happen before driving makes sense.
    pub fn wants(&self) -> Wants {
        match &self.state {
            State::Addresses(_) | State::Over => Wants::until(Some(self.deadline)),
            State::Connected { socket, until } => Wants {
                fd: Some(socket.raw_fd()),
                link: socket.link(),
                read: false,
                write: true,
                deadline: Some((*until).min(self.deadline)),
            },
            State::TlsDone(link) | State::HandshakeAnswer { link, .. } | State::ConnectAnswer { link, .. } => {
                link.wants(Some(self.deadline))
            }
        }
    }

    fn turn(&mut self, state: State, now: Instant) -> Result<Turn, Failure> {
        match state {
            State::Addresses(lookup) => {
                if self.addresses.is_empty() {
                    match lookup.result() {
                        None => return Ok(Turn::Wait(State::Addresses(lookup))),
                        Some(Ok(found)) => self.addresses.extend(found),
                        Some(Err(reason)) => return Err(self.failure(Code::NameNotResolved, &reason)),
                    }
                }
                self.milestones.resolved = Some(Instant::now());
                self.try_next_address(LinkError::Closed, now)
            }
            State::Connected { socket, until } => match socket.connect_result() {
                None if now >= until => self.try_next_address(LinkError::Io(rustix::io::Errno::TIMEDOUT), now),
                None => Ok(Turn::Wait(State::Connected { socket, until })),
                Some(Ok(())) => self.start_link(socket),
                Some(Err(errno)) => self.try_next_address(LinkError::Io(errno), now),
            },
            State::TlsDone(mut link) => {
                link.set_readable();
                match link.handshake() {
                    Ok(Flow::Done) => {
                        let negotiated = link.tls_state().and_then(Negotiated::of);
                        self.milestones.secured = negotiated.map(|negotiated| (Instant::now(), negotiated));
                        self.start_login(link)
                    }
                    Ok(_) => Ok(Turn::Wait(State::TlsDone(link))),
                    Err(error) => Err(self.broken(&error, Stage::Tls { heard: link.taken() > 0 })),
                }
            }
            State::HandshakeAnswer { mut link, mut assembler, next } => {
                match self.next_message(&mut link, &mut assembler, true)? {
                    None => Ok(Turn::Wait(State::HandshakeAnswer { link, assembler, next })),
                    Some(answer) => {
                        // The connect message may hold a password; growing would leave copies behind.
                        let mut out = Zeroizing::new(Vec::with_capacity(4096));
                        let next = next.handle(&answer, &mut out).map_err(|error| match error {
                            HandshakeError::Wire(error) => self.misspoken(&error, true),
                            HandshakeError::VersionTooOld(version) => {
                                self.failure(Code::ProtocolVersion, &format!("it speaks version {}", version.0))
                            }
                        })?;
                        link.queue(&out).map_err(|error| self.broken(&error, Stage::Login))?;
                        Ok(Turn::Go(State::ConnectAnswer { link, assembler, next }))
                    }
                }
            }
            State::ConnectAnswer { mut link, mut assembler, next } => {
                match self.next_message(&mut link, &mut assembler, false)? {
                    None => Ok(Turn::Wait(State::ConnectAnswer { link, assembler, next })),
                    Some(answer) => match next.handle(&answer).map_err(|error| self.misspoken(&error, false))? {
                        Login::Granted(conversation) => {
                            link.wipe_sent();
                            let connection = Connection::new(*link, conversation, self.identity.generation);
                            Ok(Turn::Done(Box::new(connection)))
                        }
                        Login::Refused { status, reason } => Err(self.refused(status, &reason)),
                    },
                }
            }
            State::Over => Err(self.failure(Code::Internal, "it was driven after its end")),
        }
    }

    /// Connects to the next address; `last` is why the one before did not do.
    fn try_next_address(&mut self, mut last: LinkError, now: Instant) -> Result<Turn, Failure> {
        while let Some(address) = self.addresses.pop_front() {
            self.address = Some(address);
            match Socket::connect(address) {
                Ok(socket) => {
                    // The addresses share what is left of the time.
                    let share = (self.deadline - now) / (self.addresses.len() as u32 + 1);
                    return Ok(Turn::Wait(State::Connected { socket, until: now + share }));
                }
                Err(errno) => last = LinkError::Io(errno),
            }
        }
        match self.address {
            Some(_) => Err(self.broken(&last, Stage::Connect)),
            None => Err(self.failure(Code::NameNotResolved, "the name has no address")),
        }
    }

    fn start_link(&mut self, socket: Socket) -> Result<Turn, Failure> {
        self.milestones.connected = self.address.map(|address| (Instant::now(), address));
        match &self.identity.tls {
            None => self.start_login(Box::new(Link::plain(socket))),
            Some(tls) => match Link::tls(socket, tls.config.clone(), tls.server_name.clone()) {
                Ok(link) => Ok(Turn::Go(State::TlsDone(Box::new(link)))),
                Err(error) => Err(self.broken(&error, Stage::Tls { heard: true })),
            },
        }
    }

    fn start_login(&self, mut link: Box<Link>) -> Result<Turn, Failure> {
        let request = login_request(&self.server)
            .ok_or_else(|| self.failure(Code::PasswordUnusable, "its password cannot be used"))?;
        let mut out = Vec::new();
        let next = login::start(request, &mut out);
        link.queue(&out).map_err(|error| self.broken(&error, Stage::Login))?;
        let assembler = Assembler::new(login::LOGIN_MESSAGE_LIMIT);
        Ok(Turn::Go(State::HandshakeAnswer { link, assembler, next }))
    }

    fn next_message(
        &self,
        link: &mut Link,
        assembler: &mut Assembler,
        before_handshake_answer: bool,
    ) -> Result<Option<Message>, Failure> {
        let broken = |error: LinkError| self.broken(&error, Stage::Login);
        link.set_readable();
        link.flush().map_err(broken)?;
        loop {
            if before_handshake_answer && link.tls_state().is_none() && link.unread().starts_with(&TLS_ALERT) {
                return Err(self.failure(Code::TlsRequired, "it answered in TLS, the profile speaks without"));
            }
            let (used, message) =
                assembler.push(link.unread()).map_err(|error| self.misspoken(&error, before_handshake_answer))?;
            link.mark_read(used);
            if message.is_some() {
                return Ok(message);
            }
            match link.fill().map_err(broken)? {
                Flow::Done => {}
                Flow::Blocked => return Ok(None),
                Flow::Closed => return Err(broken(LinkError::Closed)),
            }
        }
    }

    fn timed_out(&self, state: &State) -> Failure {
        let code = match state {
            State::Addresses(_) => Code::NameNotResolved,
            State::Connected { .. } => Code::ConnectTimeout,
            _ => Code::LoginTimeout,
        };
        let limit = self.server.connect_timeout;
        self.failure(code, &format!("no result within {} (Sclera_Connect_Timeout)", seconds(limit)))
    }

    fn refused(&self, status: u16, reason: &str) -> Failure {
        let credential = credential(&self.server);
        let asked = self.identity.tls.as_ref().is_some_and(Tls::was_asked);
        let code = diagnosis::code_of_refusal(&credential, asked, reason);
        let how = credential.name();
        self.failure(code, &format!("login by {how} was refused with status {status}: {reason:?}"))
    }

    fn broken(&self, error: &LinkError, stage: Stage) -> Failure {
        let has_certificate = self.server.tls.certificate_file.is_some();
        self.failure(diagnosis::code_of(error, stage, has_certificate), &diagnosis::describe(error))
    }

    fn misspoken(&self, error: &WireError, before_handshake_answer: bool) -> Failure {
        let code = diagnosis::code_of_wire(error, Stage::Login, before_handshake_answer);
        self.failure(code, &error.to_string())
    }

    fn failure(&self, code: Code, what: &str) -> Failure {
        let waited = seconds(self.started.elapsed());
        Failure::new(code, format!("{}: {what} (after {waited})", describe_server(&self.server, self.address)))
    }
}

/// What to log in with: user name and password, or neither, as [`credential`] decides. `None` if the password cannot be
/// used.
pub fn login_request(server: &Server) -> Option<LoginRequest> {
    let (username, password) = match credential(server) {
        Credential::Password { username, password, .. } => (username.value.as_str(), password.value.reveal().ok()?),
        Credential::MutualTls { .. } | Credential::Unauthenticated => ("", ""),
    };
    let name = rustix::system::uname();
    Some(LoginRequest {
        namespace: server.namespace.clone(),
        username: Zeroizing::new(username.to_owned()),
        password: Zeroizing::new(password.to_owned()),
        host_name: name.nodename().to_string_lossy().into_owned(),
    })
}

/// How a TLS server answers a client that speaks without TLS: the start of an alert record.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];

/// Server name, configured address and the line that gave it: the start of every detail.
pub fn describe_server(server: &Server, address: Option<SocketAddr>) -> String {
    let place = server.address.place("Ip_Address");
    let target = format!("{}:{}", server.address.value, server.port.value);
    match address {
        Some(address) if address.to_string() != target => {
            format!("server {} ({target}, tried {address}, set at {place})", server.name)
        }
        _ => format!("server {} ({target}, set at {place})", server.name),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}
