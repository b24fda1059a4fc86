//! From a superserver's settings to accepted connections: bind, accept, recognise TLS by its first byte, shake hands.

use crate::audit::Peer;
use crate::instance::Instance;
use crate::link::Stream;
use crate::login::Reason;
use crate::security::{Server, SslConfig, TlsSupport};
use crate::session::{self, Arrival, refuse_silently};
use crate::tls::{TlsFacts, TlsKeeper};
use rustls::ServerConfig;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsAcceptor;

/// How long a client may take from the TCP connection to its login message.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 1024;

/// How much of a client whose handshake failed is still read, and for how long.
const LINGER_BYTES: u64 = 256 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(1);

/// The first byte of a TLS handshake record; no message of ours begins like that.
const TLS_HANDSHAKE: u8 = 0x16;

/// A superserver that listens.
pub struct Listener {
    socket: TcpListener,
    place: Arc<Place>,
}

/// What its connections share. They do not hold the socket: it closes with the listener, whoever is still connected.
struct Place {
    /// The superserver's settings when it was bound. What else they say is asked again for each connection.
    bound: Server,
    address: SocketAddr,
    keeper: TlsKeeper,
}

/// What a connection that speaks TLS can be given.
enum Tls {
    /// SSLSupportLevel is 0.
    Off,
    /// It should be, but its configuration is missing, disabled, incomplete or of no use.
    Unusable(Reason),
    Ready(Arc<ServerConfig>),
}

impl Listener {
    /// Binds the address of `server`, or its address with another `port`. Needs a running tokio.
    pub fn bind(server: Server, port: Option<u16>) -> Result<Listener, String> {
        let port = port.unwrap_or(server.port);
        let failed = |error: io::Error| {
            let place = if server.bind_address.is_empty() { "every address" } else { &server.bind_address };
            format!(
                "Server Port={} BindAddress={:?}: cannot listen on {place}, port {port}: {error}",
                server.port, server.bind_address
            )
        };
        let socket = match server.bind_address.as_str() {
            "" => listen(([0u16; 8], port).into()).or_else(|_| listen(([0u8; 4], port).into())),
            name => (name, port).to_socket_addrs().and_then(|mut addresses| {
                let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                addresses.next().ok_or_else(none).and_then(listen)
            }),
        };
        let socket = socket.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let place = Arc::new(Place { bound: server, address, keeper: TlsKeeper::default() });
        Ok(Listener { socket, place })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.place.address
    }

    /// Its settings when it was bound.
    pub fn server(&self) -> &Server {
        &self.place.bound
    }

    /// Checks the TLS configuration that new connections would get; all that is wrong with it comes together.
    pub fn check(&self, instance: &Instance) -> Result<(), Vec<String>> {
        if self.place.bound.tls == TlsSupport::Disabled {
            return Ok(());
        }
        self.place.tls_config(instance, &self.place.bound).map(drop)
    }

    /// Accepts connections for ever.
    pub async fn run(self, instance: Arc<Instance>) {
        loop {
            match self.socket.accept().await {
                Ok((socket, address)) => {
                    instance.counters.connections.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(self.place.clone().receive(socket, address, instance.clone()));
                }
                Err(error) => {
                    instance.log(&format!("cannot accept on {}: {error}", self.place.address));
                    // Mostly too many open files: trying again at once would only burn the processor.
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Place {
    async fn receive(self: Arc<Self>, socket: TcpStream, address: SocketAddr, instance: Arc<Instance>) {
        let deadline = Instant::now() + HEADER_TIMEOUT;
        let process = instance.new_process();
        let _ = socket.set_nodelay(true);
        let (listener, asked) = (self.clone(), instance.clone());
        let settings = tokio::task::spawn_blocking(move || listener.current_settings(&asked)).await;
        let Ok(Some((server, tls))) = settings else { return };
        let port = self.address.port();
        let peer = || Peer { process, port, address: address.ip().to_canonical().to_string(), ..Peer::default() };

        let is_tls = match timeout_at(deadline, first_byte(&socket)).await {
            Ok(Ok(Some(byte))) => byte == TLS_HANDSHAKE,
            Ok(_) => return,
            Err(_) => {
                let text = "Unable to get full header of message within timeout".to_owned();
                return refuse_silently(&instance, Reason { number: 949, text }, peer()).await;
            }
        };
        let arrival = |stream, tls, server| Arrival { stream, tls, address, server, port, process, deadline };
        match (is_tls, tls) {
            (false, _) if server.tls == TlsSupport::Required => {
                let text = "SSL/TLS is required for incoming connections".to_owned();
                refuse_silently(&instance, Reason { number: 995, text }, peer()).await;
            }
            (false, _) => session::serve(&instance, arrival(Stream::Plain(socket), None, server)).await,
            (true, Tls::Off) => {
                let text = "SSL/TLS is not configured for incoming connections".to_owned();
                refuse_silently(&instance, Reason { number: 996, text }, peer()).await;
            }
            (true, Tls::Unusable(reason)) => refuse_silently(&instance, reason, peer()).await,
            (true, Tls::Ready(config)) => match shake_hands(socket, config, deadline).await {
                Ok((stream, facts)) => session::serve(&instance, arrival(stream, Some(facts), server)).await,
                Err(problem) => {
                    instance.counters.tls_failures.fetch_add(1, Ordering::Relaxed);
                    instance.log(&format!("TLS handshake with {address} on port {port} failed: {problem}"));
                }
            },
        }
    }

    /// The superserver's settings as they are now, with the TLS configuration if it has a usable one; `None` if it has been
    /// deleted or disabled. Waits for database and files.
    fn current_settings(&self, instance: &Instance) -> Option<(Server, Tls)> {
        let server = match instance.store.server(self.bound.port, &self.bound.bind_address) {
            Ok(server) => server.filter(|server| server.enabled)?,
            Err(error) => {
                instance.log(&format!("connection refused, because the database failed: {error}"));
                return None;
            }
        };
        if server.tls == TlsSupport::Disabled {
            return Some((server, Tls::Off));
        }
        let tls = self.tls_config(instance, &server).map_or_else(
            |problems| {
                problems.iter().for_each(|problem| instance.log(problem));
                Tls::Unusable(why_unusable(&problems))
            },
            Tls::Ready,
        );
        Some((server, tls))
    }

    fn tls_config(&self, instance: &Instance, server: &Server) -> Result<Arc<ServerConfig>, Vec<String>> {
        let place = format!("Server {}, SSLConfig={}", self.address, server.ssl_config);
        let named = |problems: Vec<String>| problems.iter().map(|problem| format!("{place}: {problem}")).collect();
        let config: Option<SslConfig> =
            instance.store.ssl_config(&server.ssl_config).map_err(|error| vec![error.to_string()])?;
        let Some(config) = config else {
            let text = "there is no such TLS configuration (#979); make one with CreateSSLConfig".to_owned();
            return Err(named(vec![text]));
        };
        let (config, problems) = self.keeper.current(&config).map_err(named)?;
        for problem in problems.map(named).unwrap_or_default() {
            instance.log(&format!("{problem}; the files read before stay in use"));
        }
        Ok(config)
    }
}

/// The reason that the audit gives, with an instance's number where the first problem that has one tells it; 980 says
/// that the configuration cannot be activated.
fn why_unusable(problems: &[String]) -> Reason {
    let numbered = |problem: &String| {
        let (_, rest) = problem.split_once("(#")?;
        let number = rest.split(')').next()?.parse().ok()?;
        Some(Reason { number, text: problem.clone() })
    };
    let whole = || Reason { number: 980, text: problems.join("; ") };
    problems.iter().find_map(numbered).unwrap_or_else(whole)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The first byte that a client sends, left in place; `None` if it closes without one.
async fn first_byte(socket: &TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let count = socket.peek(&mut byte).await?;
    Ok((count > 0).then_some(byte[0]))
}

async fn shake_hands(
    socket: TcpStream,
    config: Arc<ServerConfig>,
    deadline: Instant,
) -> Result<(Stream, TlsFacts), String> {
    let handshake = TlsAcceptor::from(config).accept(socket).into_fallible();
    match timeout_at(deadline, handshake).await {
        Ok(Ok(stream)) => {
            let facts = TlsFacts::of(stream.get_ref().1, SystemTime::now())?;
            Ok((Stream::Tls(Box::new(stream)), facts))
        }
        Ok(Err((error, socket))) => {
            linger(socket).await;
            Err(error.to_string())
        }
        Err(_) => Err("it did not finish in time".to_owned()),
    }
}

/// Lets the alert of a failed handshake reach the client. A TLS 1.3 client may have sent its first message by now, and
/// closing with that unread would reset the connection and take the alert with it.
async fn linger(mut socket: TcpStream) {
    let drain = async {
        socket.shutdown().await?;
        tokio::io::copy(&mut socket.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    let _ = timeout_at(Instant::now() + LINGER_TIME, drain).await;
}
