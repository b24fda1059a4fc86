//! A connection being made: name, TCP, TLS, handshake, login, within one time limit. Sans blocking: the caller drives it
//! when the socket is ready or the time has come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use rustls::{CipherSuite, CommonState, NamedGroup, ProtocolVersion};
use zeroize::Zeroizing;

use super::attempts::{self, Attempts, Miss, Progress};
use super::diagnosis::{self, Stage};
use super::link::{Flow, Link, LinkError};
use super::resolve::{Addresses, Lookup, Resolver, literal};
use super::socket::Socket;
use super::{Connection, Facts, Wants};
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
    /// The address that is connected, or the only one there is; for messages.
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
    /// The addresses that were tried before or beside, and what came of that.
    pub missed: Vec<Miss>,
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
    Connected(Attempts),
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
        let lookup = match literal(host, port) {
            Some(address) => Lookup::done(Ok([address].into())),
            None => resolver.resolve(host, server.resolve_interval, waker),
        };
        let deadline = now + server.connect_timeout;
        Opening {
            server,
            identity,
            started: now,
            deadline,
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

    /// Lets the resolver know which addresses of the name did not answer, or not in time.
    pub fn report(&self, resolver: &dyn Resolver) {
        let missed: Vec<SocketAddr> = self.milestones.missed.iter().map(|miss| with_port(miss.address, 0)).collect();
        if !missed.is_empty() {
            resolver.note_silent(&self.server.address.value, &missed);
        }
    }

    /// What has to happen before driving makes sense.
    pub fn wants(&self) -> Wants {
        match &self.state {
            State::Addresses(_) | State::Over => Wants::until(Some(self.deadline)),
            State::Connected(attempts) => attempts.wants(),
            State::TlsDone(link) | State::HandshakeAnswer { link, .. } | State::ConnectAnswer { link, .. } => {
                link.wants(Some(self.deadline))
            }
        }
    }

    fn turn(&mut self, state: State, now: Instant) -> Result<Turn, Failure> {
        match state {
            State::Addresses(lookup) => match lookup.result() {
                None => Ok(Turn::Wait(State::Addresses(lookup))),
                Some(Ok(found)) => Ok(Turn::Go(State::Connected(self.attempts(&found, now)))),
                Some(Err(reason)) => Err(self.failure(Code::NameNotResolved, &reason)),
            },
            State::Connected(mut attempts) => match attempts.drive(now) {
                Progress::Waiting => Ok(Turn::Wait(State::Connected(attempts))),
                Progress::Connected(socket) => {
                    self.milestones.missed = attempts.missed();
                    self.start_link(socket)
                }
                Progress::Failed => {
                    let missed = attempts.missed();
                    let error = attempts::telling(&missed);
                    let code = diagnosis::code_of(&error, Stage::Connect, false);
                    Err(self.not_connected(code, diagnosis::describe(&error), missed))
                }
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
                            let facts = Facts {
                                generation: self.identity.generation,
                                begun: self.started,
                                gateway_object: None,
                                calls: 0,
                            };
                            let connection = Connection::new(*link, conversation, facts);
                            Ok(Turn::Done(Box::new(connection)))
                        }
                        Login::Refused { status, reason } => Err(self.refused(status, &reason)),
                    },
                }
            }
            State::Over => Err(self.failure(Code::Internal, "it was driven after its end")),
        }
    }

    fn attempts(&mut self, found: &Addresses, now: Instant) -> Attempts {
        self.milestones.resolved = Some(Instant::now());
        let port = self.server.port.value;
        let addresses: Vec<SocketAddr> = found.iter().map(|it| with_port(*it, port)).collect();
        self.address = addresses.first().copied().filter(|_| addresses.len() == 1);
        Attempts::new(addresses, now, self.deadline)
    }

    fn start_link(&mut self, socket: Socket) -> Result<Turn, Failure> {
        self.milestones.connected = Some((Instant::now(), socket.peer()));
        self.address = Some(socket.peer());
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

    fn timed_out(&mut self, state: &State) -> Failure {
        let limit = self.server.connect_timeout;
        let what = format!("no result within {} (Sclera_Connect_Timeout)", seconds(limit));
        match state {
            State::Addresses(_) => self.failure(Code::NameNotResolved, &what),
            State::Connected(attempts) => self.not_connected(Code::ConnectTimeout, what, attempts.missed()),
            _ => self.failure(Code::LoginTimeout, &what),
        }
    }

    /// `what` tells it all if there is one address; of several it is told what came of each.
    fn not_connected(&mut self, code: Code, what: String, missed: Vec<Miss>) -> Failure {
        let each: Vec<String> = missed.iter().map(Miss::to_string).collect();
        let what = if missed.len() > 1 { format!("{what}; tried {}", each.join("; ")) } else { what };
        self.milestones.missed = missed;
        self.failure(code, &what)
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

/// The same address with this port; the interface of a link-local one stays.
fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}
