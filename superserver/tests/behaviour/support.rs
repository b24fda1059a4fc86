//! A gateway of a few lines, a certificate authority, and servers that take one line to set up.

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sclera::wire::conversation::handle_number;
use sclera::wire::element::{Element, Value, write_bytes};
use sclera::wire::frame::{Assembler, Code, Message, write_message};
use sclera::wire::login::APPLICATION_NAME;
use sclera::wire::message::{Call, Connect, ConnectAnswer, Handshake, Invoke, InvokeAnswer, reason};
use sclera_superserver::{Options, Running, Superserver};
use std::borrow::Cow;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use tempfile::TempDir;

/// A plain superserver that takes gateway `gw` with password `right`, and the class `Test`.
pub fn plain() -> Running {
    start(
        "CreateServer:Port=1,BindAddress=127.0.0.1,EnableCSP=1\n\
         CreateUser:Name=gw,Password=right",
    )
}

/// A superserver with these actions, on ports that the system chooses.
pub fn start(actions: &str) -> Running {
    Superserver::start(Options::actions(actions).port(0).class_test()).expect("the superserver starts")
}

/// A directory with `ca.pem`, `superserver.pem` and `.key`, and whatever is issued besides.
pub struct Pki {
    pub directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    pub fn new() -> Pki {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let directory = tempfile::tempdir().unwrap();
        // Authorities of one name would be taken for each other, and another alert would come.
        params.distinguished_name.push(DnType::CommonName, format!("CA of {}", directory.path().display()));
        std::fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let pki = Pki { directory, issuer: Issuer::new(params, key) };
        pki.issue("superserver", "superserver", ExtendedKeyUsagePurpose::ServerAuth);
        pki
    }

    /// Issues `NAME.pem` and `NAME.key` for a client with this common name.
    pub fn client(&self, file: &str, common_name: &str) {
        self.issue(file, common_name, ExtendedKeyUsagePurpose::ClientAuth);
    }

    fn issue(&self, file: &str, common_name: &str, usage: ExtendedKeyUsagePurpose) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    /// Writes a revocation list with that certificate in it.
    pub fn revoke(&self, file: &str, list: &str) {
        let der = CertificateDer::from_pem_file(self.path(&format!("{file}.pem"))).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        let revoked = rcgen::RevokedCertParams {
            serial_number: rcgen::SerialNumber::from_slice(certificate.raw_serial()),
            revocation_time: rcgen::date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2025, 1, 1),
            next_update: rcgen::date_time_ymd(2099, 1, 1),
            crl_number: rcgen::SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        std::fs::write(self.path(list), params.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// A superserver that verifies client certificates (0, 1, 3), with further actions.
    pub fn start(&self, verify_peer: u32, support: u32, actions: &str) -> Running {
        let actions = format!(
            "CreateSSLConfig:Name=GW,Type=1,VerifyPeer={verify_peer},CAFile=ca.pem,CertificateFile=superserver.pem,\
             PrivateKeyFile=superserver.key\n\
             CreateServer:Port=1,BindAddress=127.0.0.1,EnableCSP=1,SSLSupportLevel={support},SSLConfig=GW\n\
             {actions}"
        );
        let options = Options::actions_in(&actions, self.directory.path()).port(0).class_test();
        Superserver::start(options).expect("the superserver starts")
    }

    /// A client's TLS configuration, with the certificate of that name or without one.
    pub fn tls(&self, client: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match client {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::pem_file_iter(self.path(&format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain.collect::<Result<_, _>>().unwrap(), key).unwrap()
            }
        })
    }
}

pub trait Transport: Read + Write + Send {}
impl<T: Read + Write + Send> Transport for T {}

/// A client's end of a connection.
pub struct Client {
    pub stream: Box<dyn Transport>,
    assembler: Assembler,
    arrived: Vec<u8>,
    sequence: u32,
    /// The gateway object's handle, once it was asked for.
    handle: Option<Vec<u8>>,
}

/// How a login or a call failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Refused with this status and text.
    Refused(u16, String),
    /// The connection ended.
    Closed,
    /// TLS ended it with an alert.
    Alert(String),
}

/// Whom a client says it is.
#[derive(Clone, Copy)]
pub struct Who<'a> {
    pub application: &'a str,
    pub user: &'a str,
    pub password: &'a str,
}

pub const NOBODY: Who<'_> = Who { application: APPLICATION_NAME, user: "", password: "" };
pub const GATEWAY: Who<'_> = Who { application: APPLICATION_NAME, user: "gw", password: "right" };
pub const ALICE: Who<'_> = Who { application: "driver", user: "alice", password: "secret" };

impl Client {
    pub fn plain(address: SocketAddr) -> Client {
        Client::over(Box::new(connect(address)))
    }

    pub fn tls(address: SocketAddr, config: &Arc<ClientConfig>) -> Client {
        let name = ServerName::from(address.ip());
        let connection = ClientConnection::new(config.clone(), name).unwrap();
        Client::over(Box::new(StreamOwned::new(connection, connect(address))))
    }

    pub fn over(stream: Box<dyn Transport>) -> Client {
        Client { stream, assembler: Assembler::new(1 << 26), arrived: Vec::new(), sequence: 3, handle: None }
    }

    /// Handshake and login; gives the process number.
    pub fn log_in(&mut self, who: Who<'_>) -> Result<String, Failure> {
        self.send(1, Code::HANDSHAKE, |out| Handshake { version: 69 }.write(out))?;
        self.receive()?;
        let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>().into();
        let connect = Connect {
            namespace: Value::text("USER"),
            username: units(who.user),
            password: units(who.password),
            os_user: Value::text("nobody\0"),
            host_name: Value::text("here\0"),
            application: Value::text(who.application),
            client: Value::text(""),
            address: Value::text("192.0.2.1"),
            event_class: Value::text(""),
            autocommit: Value::Integer(1),
            isolation: Value::Integer(0),
            options: Value::Integer(32),
        };
        self.send(3, Code::CONNECT, |out| connect.write(out))?;
        let answer = self.receive()?;
        match answer.code {
            Code::OK => Ok(ConnectAnswer::read(&answer.payload).unwrap().process),
            refused => Err(Failure::Refused(refused.word(), reason(&answer.payload))),
        }
    }

    /// Calls a class method, printing to `printed`; gives the elements of the answer.
    pub fn call(
        &mut self,
        class: &str,
        method: &str,
        arguments: Vec<Element<'_>>,
        printed: &mut Vec<u8>,
    ) -> Result<Vec<Value<'static>>, Failure> {
        let call = Call { class: bytes(class.as_bytes()), method: bytes(method.as_bytes()), arguments };
        let sequence = self.next_sequence();
        self.send(sequence, Code::CALL_VALUE, |out| call.write(out))?;
        self.finish(sequence, &mut &[][..], printed)
    }

    /// A web request with a body that is sent along if it is short, as a gateway does; gives the whole response.
    pub fn get(&mut self, target: &str) -> Result<Vec<u8>, Failure> {
        self.web(1, target, Some(b""), &mut &[][..])
    }

    /// A web request whose body the application pulls.
    pub fn post(&mut self, target: &str, body: &mut dyn Read) -> Result<Vec<u8>, Failure> {
        self.web(1, target, None, body)
    }

    pub fn web(
        &mut self,
        version: i64,
        target: &str,
        inline: Option<&[u8]>,
        body: &mut dyn Read,
    ) -> Result<Vec<u8>, Failure> {
        if self.handle.is_none() {
            let sequence = self.next_sequence();
            self.send(sequence, Code::MAKE_PROXY, |out| {
                Value::Integer(1).write(out);
                write_bytes(b"%Net.Remote.Object", out);
            })?;
            let answer = self.receive()?;
            let elements = Element::read_all(&answer.payload).unwrap();
            let Value::Handle(handle) = &elements[0].value else { panic!("no handle in {answer:?}") };
            self.handle = Some(handle_number(handle).to_vec());
        }
        let list = |items: &[&[u8]]| {
            let mut list = Vec::new();
            items.iter().for_each(|item| write_bytes(item, &mut list));
            list
        };
        let variables = list(&[b"REQUEST_METHOD", b"POST", b"HTTP_X", b"\xff\x00"]);
        let mut head = Vec::new();
        Value::Integer(version).write(&mut head);
        for item in [b"POST", target.as_bytes(), b"HTTP/1.1", &variables, &list(&[b"build", b"1"])] {
            write_bytes(item, &mut head);
        }
        let handle = Value::Handle(Cow::Owned(self.handle.clone().unwrap()));
        let body_value = inline.map_or(Value::Undefined, Value::bytes);
        let arguments: Vec<Element<'_>> = vec![Value::bytes(&head).into(), body_value.into(), handle.into()];
        let call = Call { class: bytes(b"Sclera.Gateway"), method: bytes(b"Request"), arguments };
        let sequence = self.next_sequence();
        self.send(sequence, Code::CALL_VALUE, |out| call.write(out))?;
        let mut response = Vec::new();
        let rest = self.finish(sequence, body, &mut response)?;
        if let [Value::Bytes(rest)] = &rest[..] {
            response.extend_from_slice(rest);
        }
        Ok(response)
    }

    /// Serves what the server asks for until the answer comes.
    fn finish(
        &mut self,
        sequence: u32,
        body: &mut dyn Read,
        printed: &mut Vec<u8>,
    ) -> Result<Vec<Value<'static>>, Failure> {
        loop {
            let message = self.receive()?;
            if message.sequence == sequence {
                return match message.code.to_native_status() {
                    0 => Ok(Element::read_all(&message.payload)
                        .unwrap()
                        .into_iter()
                        .map(|e| e.value.into_owned())
                        .collect()),
                    status => Err(Failure::Refused(status, reason(&message.payload))),
                };
            }
            assert_eq!(message.sequence % 2, 0, "server messages have even numbers");
            let invoke = Invoke::read(&message.payload).unwrap();
            let argument = &invoke.arguments[0].value;
            let value = match (&*invoke.method, argument) {
                (b"writeOutput", Value::Bytes(data)) => {
                    assert!(data.len() <= 32 * 1024);
                    printed.extend_from_slice(data);
                    Vec::new()
                }
                (b"Read", Value::Integer(most)) => {
                    assert!(*most <= 32 * 1024);
                    let mut piece = vec![0; *most as usize];
                    let count = body.read(&mut piece).unwrap();
                    piece.truncate(count);
                    piece
                }
                other => panic!("the server asked for {other:?}"),
            };
            let answer = InvokeAnswer { value: Some(Value::bytes(&value)) };
            self.send(message.sequence, Code::INVOKE, |out| answer.write(out))?;
        }
    }

    pub fn next_sequence(&mut self) -> u32 {
        self.sequence += 2;
        self.sequence
    }

    pub fn send(&mut self, sequence: u32, code: Code, payload: impl FnOnce(&mut Vec<u8>)) -> Result<(), Failure> {
        let mut out = Vec::new();
        write_message(&mut out, sequence, 0, code, payload);
        self.stream.write_all(&out).and_then(|()| self.stream.flush()).map_err(|_| Failure::Closed)
    }

    pub fn receive(&mut self) -> Result<Message, Failure> {
        loop {
            let (used, message) = self.assembler.push(&self.arrived).unwrap();
            self.arrived.drain(..used);
            if let Some(message) = message {
                return Ok(message);
            }
            let mut piece = [0; 65536];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(Failure::Closed),
                Err(error) if error.to_string().contains("alert") => return Err(Failure::Alert(error.to_string())),
                Err(_) => return Err(Failure::Closed),
                Ok(count) => self.arrived.extend_from_slice(&piece[..count]),
            }
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

fn bytes(bytes: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(bytes)
}

/// Head and body of a response.
pub fn split(response: &[u8]) -> (&str, &[u8]) {
    let end = response.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    (std::str::from_utf8(&response[..end]).unwrap(), &response[end..])
}

/// The error numbers in the audit, oldest first.
pub fn audited(server: &Running) -> Vec<String> {
    let failures = server.store().login_failures().unwrap();
    failures.iter().map(|record| format!("{} {}", record.username, numbers(&record.event_data))).collect()
}

fn numbers(event_data: &str) -> String {
    let after = event_data.split("ERROR #").skip(1).filter_map(|part| part.split(':').next());
    after.collect::<Vec<_>>().join("+")
}
