//! What the messages hold, for both ends of a connection (protocol reference, sections 5 to 9).
//!
//! Each type reads and writes a payload; sequence numbers and codes belong to the frame and are the callers' business.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::WireError;
use super::element::{Element, Value, units, write_bytes};
use super::frame::Code;
use super::reader::Reader;
use super::scramble::{scramble, unscramble};

/// The highest protocol version we speak. Versions from 61 on look the same in all that we use (section 5).
pub const PROTOCOL_VERSION: u16 = 69;
/// Official clients refuse servers below this version (section 5).
pub const OLDEST_VERSION: u16 = 61;
/// Option bit of the connect message: output of a call comes to the client (section 6).
pub const REDIRECT_OUTPUT: i64 = 32;
/// Feature bit of the handshake answer: the server's text is Unicode (section 5).
pub const UNICODE_SERVER: u16 = 1;
/// Status of a refused connect message (section 6).
pub const STATUS_REFUSED: u16 = 417;

/// The object and method that redirected output is sent to (section 9).
pub const OUTPUT_TARGET: &[u8] = b"**Utility**";
pub const OUTPUT_METHOD: &[u8] = b"writeOutput";

/// The client's first message: the highest version it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    pub version: u16,
}

/// The server's answer: the version to use and what it can do.
#[derive(Clone, Debug, PartialEq)]
pub struct HandshakeAnswer {
    pub version: u16,
    pub features: u16,
    pub locale: String,
}

/// The login message. The fields that only describe the client are kept as they stand on the wire.
#[derive(Clone, PartialEq)]
pub struct Connect<'a> {
    pub namespace: Value<'a>,
    /// UTF-16; empty if no user name is offered.
    pub username: Zeroizing<Vec<u16>>,
    /// UTF-16; empty if no password is offered.
    pub password: Zeroizing<Vec<u16>>,
    pub os_user: Value<'a>,
    pub host_name: Value<'a>,
    pub application: Value<'a>,
    pub client: Value<'a>,
    pub address: Value<'a>,
    pub event_class: Value<'a>,
    pub autocommit: Value<'a>,
    pub isolation: Value<'a>,
    pub options: Value<'a>,
}

/// The server's answer to a successful login.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectAnswer {
    /// Product and version; an installation directory may follow a `|` and is never used.
    pub server_version: String,
    /// The server process that this connection is.
    pub process: String,
    pub options: i64,
}

/// Native call 11 or 12: a class method.
#[derive(Clone, Debug, PartialEq)]
pub struct Call<'a> {
    pub class: Cow<'a, [u8]>,
    pub method: Cow<'a, [u8]>,
    pub arguments: Vec<Element<'a>>,
}

/// A method that the server calls on the client's side.
#[derive(Clone, Debug, PartialEq)]
pub struct Invoke<'a> {
    /// Handles that the server no longer needs.
    pub released: Vec<Value<'a>>,
    /// A class name, or the handle of an object that the client handed out.
    pub target: Value<'a>,
    pub method: Cow<'a, [u8]>,
    pub arguments: Vec<Element<'a>>,
}

/// The client's answer to [`Invoke`].
#[derive(Clone, Debug, PartialEq)]
pub struct InvokeAnswer<'a> {
    /// `None` for a method that has no value.
    pub value: Option<Value<'a>>,
}

impl Handshake {
    pub fn read(payload: &[u8]) -> Result<Handshake, WireError> {
        let mut reader = Reader::new(payload);
        let version = u16::from_le_bytes(reader.array("handshake")?);
        reader.expect_end("handshake")?;
        Ok(Handshake { version })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_le_bytes());
    }
}

impl HandshakeAnswer {
    /// Elements after the locale are ignored, as official clients do.
    pub fn read(payload: &[u8]) -> Result<HandshakeAnswer, WireError> {
        let mut reader = Reader::new(payload);
        let version = u16::from_le_bytes(reader.array("handshake answer")?);
        let features = u16::from_le_bytes(reader.array("handshake answer")?);
        let locale = Element::read(&mut reader)?.value.to_text();
        Ok(HandshakeAnswer { version, features, locale })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.features.to_le_bytes());
        Value::text(&self.locale).write(out);
    }
}

impl<'a> Connect<'a> {
    pub fn read(payload: &'a [u8]) -> Result<Connect<'a>, WireError> {
        let mut reader = Reader::new(payload);
        let mut next = || Ok::<_, WireError>(Element::read(&mut reader)?.value);
        let connect = Connect {
            namespace: next()?,
            username: credential(next()?)?,
            password: credential(next()?)?,
            os_user: next()?,
            host_name: next()?,
            application: next()?,
            client: next()?,
            address: next()?,
            event_class: next()?,
            autocommit: next()?,
            isolation: next()?,
            options: next()?,
        };
        Ok(connect)
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        self.namespace.write(out);
        write_credential(&self.username, out);
        write_credential(&self.password, out);
        for value in [
            &self.os_user,
            &self.host_name,
            &self.application,
            &self.client,
            &self.address,
            &self.event_class,
            &self.autocommit,
            &self.isolation,
            &self.options,
        ] {
            value.write(out);
        }
    }
}

impl std::fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("namespace", &self.namespace)
            .field("application", &self.application)
            .finish_non_exhaustive()
    }
}

impl ConnectAnswer {
    /// All seven elements are required; more are ignored.
    pub fn read(payload: &[u8]) -> Result<ConnectAnswer, WireError> {
        let mut reader = Reader::new(payload);
        let mut fields: [Value; 7] = [const { Value::Undefined }; 7];
        for field in &mut fields {
            *field = Element::read(&mut reader)?.value;
        }
        let [server_version, _, _, _, process, _, options] = fields;
        Ok(ConnectAnswer {
            server_version: server_version.to_text(),
            process: process.to_text(),
            options: options.to_integer().unwrap_or(0),
        })
    }

    /// The fields that we do not use are written as 0.
    pub fn write(&self, out: &mut Vec<u8>) {
        Value::text(&self.server_version).write(out);
        for _ in 0..3 {
            Value::Integer(0).write(out);
        }
        match self.process.parse() {
            Ok(number) => Value::Integer(number).write(out),
            Err(_) => Value::text(&self.process).write(out),
        }
        Value::Integer(0).write(out);
        Value::Integer(self.options).write(out);
    }
}

impl<'a> Call<'a> {
    pub fn read(payload: &'a [u8]) -> Result<Call<'a>, WireError> {
        let mut reader = Reader::new(payload);
        let class = name(&mut reader, "class name")?;
        let method = name(&mut reader, "method name")?;
        let arguments = arguments(&mut reader)?;
        reader.expect_end("call")?;
        Ok(Call { class, method, arguments })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        write_bytes(&self.class, out);
        write_bytes(&self.method, out);
        write_arguments(&self.arguments, out);
    }
}

impl<'a> Invoke<'a> {
    pub fn read(payload: &'a [u8]) -> Result<Invoke<'a>, WireError> {
        let mut reader = Reader::new(payload);
        let released = arguments(&mut reader)?.into_iter().map(|element| element.value).collect();
        let target = Element::read(&mut reader)?.value;
        let method = name(&mut reader, "method name")?;
        let arguments = arguments(&mut reader)?;
        reader.expect_end("server's call")?;
        Ok(Invoke { released, target, method, arguments })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        Value::Integer(self.released.len() as i64).write(out);
        self.released.iter().for_each(|handle| handle.write(out));
        self.target.write(out);
        write_bytes(&self.method, out);
        write_arguments(&self.arguments, out);
    }

    /// Appends the payload that redirects `data` to the client.
    pub fn write_output(data: &[u8], out: &mut Vec<u8>) {
        Value::Integer(0).write(out);
        write_bytes(OUTPUT_TARGET, out);
        write_bytes(OUTPUT_METHOD, out);
        Value::Integer(1).write(out);
        write_bytes(data, out);
    }
}

impl<'a> InvokeAnswer<'a> {
    /// What captured standard output and error say after `end` is ignored.
    pub fn read(payload: &'a [u8]) -> Result<InvokeAnswer<'a>, WireError> {
        let mut reader = Reader::new(payload);
        let first = name(&mut reader, "answer to the server's call")?;
        let value = match &*first {
            b"value" => Some(Element::read(&mut reader)?.value),
            b"end" => None,
            other => {
                let got = String::from_utf8_lossy(other).into_owned();
                return Err(WireError::Unexpected { expected: "`value` or `end`", got });
            }
        };
        Ok(InvokeAnswer { value })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        if let Some(value) = &self.value {
            write_bytes(b"value", out);
            value.write(out);
        }
        write_bytes(b"end", out);
        Value::Undefined.write(out);
        Value::Undefined.write(out);
    }
}

/// The reason of a refused login or a failed call: one element of text, in full or cut.
pub fn reason(payload: &[u8]) -> String {
    Element::read(&mut Reader::new(payload)).map(|element| element.value.to_text()).unwrap_or_default()
}

/// The code of a call: 11 if its value is wanted, else 12.
pub fn call_code(wants_value: bool) -> Code {
    if wants_value { Code::CALL_VALUE } else { Code::CALL_VOID }
}

/// The most arguments we accept in one call; the protocol states no limit.
const MOST_ARGUMENTS: i64 = 1024;

fn name<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<Cow<'a, [u8]>, WireError> {
    match Element::read(reader)?.value {
        Value::Bytes(bytes) => Ok(bytes),
        other => Err(WireError::Unexpected { expected: what, got: format!("{other:?}") }),
    }
}

fn arguments<'a>(reader: &mut Reader<'a>) -> Result<Vec<Element<'a>>, WireError> {
    let count = match Element::read(reader)?.value {
        Value::Integer(count @ 0..=MOST_ARGUMENTS) => count,
        Value::Integer(count) => return Err(WireError::Invalid { what: "number of arguments", value: count as u64 }),
        other => return Err(WireError::Unexpected { expected: "number of arguments", got: format!("{other:?}") }),
    };
    (0..count).map(|_| Element::read(reader)).collect()
}

fn write_arguments(arguments: &[Element], out: &mut Vec<u8>) {
    Value::Integer(arguments.len() as i64).write(out);
    arguments.iter().for_each(|argument| argument.write(out));
}

fn credential(value: Value) -> Result<Zeroizing<Vec<u16>>, WireError> {
    match value {
        Value::Undefined => Ok(Zeroizing::default()),
        Value::Bytes(bytes) => {
            let scrambled: Zeroizing<Vec<u16>> = Zeroizing::new(bytes.iter().map(|&byte| byte.into()).collect());
            Ok(unscramble(&scrambled))
        }
        Value::Wide(bytes) => {
            let scrambled: Zeroizing<Vec<u16>> = Zeroizing::new(units(&bytes).collect());
            Ok(unscramble(&scrambled))
        }
        _ => Err(WireError::Unexpected { expected: "scrambled text", got: "another type".to_owned() }),
    }
}

fn write_credential(credential: &[u16], out: &mut Vec<u8>) {
    let scrambled = scramble(credential);
    if scrambled.iter().all(|&unit| unit < 0x100) {
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(scrambled.iter().map(|&unit| unit as u8).collect());
        Value::bytes(&bytes).write(out);
    } else {
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(scrambled.iter().flat_map(|unit| unit.to_le_bytes()).collect());
        Value::Wide(Cow::Borrowed(&bytes)).write(out);
    }
}
