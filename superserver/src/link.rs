//! One connection's bytes: messages in, messages out, and what the server itself asks of the client during a call.
//!
//! Redirected output is pipelined: up to [`WINDOW`] messages may be unanswered, and several go out with one write. The
//! window is what bounds memory and lets a slow browser slow the application down.

use sclera::wire::WireError;
use sclera::wire::element::{Value, write_bytes, write_bytes_head};
use sclera::wire::frame::{Assembler, Code, Message, write_message};
use sclera::wire::message::{Invoke, InvokeAnswer, OUTPUT_METHOD, OUTPUT_TARGET, reason};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Most output messages that may be unanswered.
pub const WINDOW: usize = 8;

/// Most bytes of one output message, of one piece of a request body, and of an answer that is one message.
pub const PIECE: usize = 32 * 1024;

/// Queued bytes that are worth a write of their own.
const WRITE_AT: usize = 2 * PIECE;

/// Bytes read from the socket at a time.
const READ_AT_ONCE: usize = 32 * 1024;

/// A plain or TLS connection.
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why a connection is of no more use.
#[derive(Debug)]
pub enum LinkError {
    /// The socket or TLS failed, or the client closed in the middle of something.
    Io(io::Error),
    /// The client broke the protocol.
    Wire(WireError),
}

/// Why something that was asked of the client during a call did not happen.
#[derive(Debug)]
pub enum AskError {
    /// The connection is of no more use.
    Link(LinkError),
    /// The client refused with an exception of this text; the connection stays usable.
    Refused(String),
}

/// The connection of one client.
pub struct Link {
    stream: Stream,
    assembler: Assembler,
    input: Box<[u8]>,
    /// What of `input` has arrived and not been taken yet.
    arrived: std::ops::Range<usize>,
    output: Vec<u8>,
    /// Numbers of output messages that the client has not answered yet, oldest first.
    unanswered: VecDeque<u32>,
    /// Number of the next message that the server starts: even.
    next_sequence: u32,
}

impl Link {
    /// `limit`: most payload bytes of a message.
    pub fn new(stream: Stream, limit: usize) -> Link {
        Link {
            stream,
            assembler: Assembler::new(limit),
            input: vec![0; READ_AT_ONCE].into_boxed_slice(),
            arrived: 0..0,
            output: Vec::new(),
            unanswered: VecDeque::with_capacity(WINDOW),
            next_sequence: 2,
        }
    }

    /// Changes the limit for messages that begin from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.assembler.set_limit(limit);
    }

    /// The next message that is no answer to redirected output; `None` when the client has closed between two messages.
    pub async fn next_request(&mut self) -> Result<Option<Message>, LinkError> {
        loop {
            match self.next_message().await? {
                // Answers to the last output of a call may come after the call's own answer has gone out.
                Some(message) if self.settle(&message) => {}
                other => return Ok(other),
            }
        }
    }

    /// Queues a message.
    pub fn queue(&mut self, sequence: u32, code: Code, payload: impl FnOnce(&mut Vec<u8>)) {
        write_message(&mut self.output, sequence, 0, code, payload);
    }

    /// Sends what is queued.
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await?;
            self.output.clear();
            // One large burst must not hold its memory for the rest of a connection's life.
            self.output.shrink_to(4 * PIECE);
        }
        Ok(())
    }

    /// Ends the connection in the way of its transport, so that what was sent arrives.
    pub async fn close(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Redirects `data` and what follows it, together at most [`PIECE`] bytes, as one output message to the client, waiting
    /// for answers to earlier ones if there are too many. Queues; [`Link::flush`] makes sure that it has gone. Two slices,
    /// so that large output is not copied once more only to stand in one place.
    pub async fn redirect(&mut self, data: &[u8], following: &[u8]) -> Result<(), AskError> {
        while self.unanswered.len() >= WINDOW {
            self.flush().await?;
            self.wait_for_answer().await?;
        }
        let sequence = self.take_sequence();
        self.unanswered.push_back(sequence);
        self.queue(sequence, Code::INVOKE, |out| {
            Value::Integer(0).write(out);
            write_bytes(OUTPUT_TARGET, out);
            write_bytes(OUTPUT_METHOD, out);
            Value::Integer(1).write(out);
            write_bytes_head(data.len() + following.len(), out);
            out.extend_from_slice(data);
            out.extend_from_slice(following);
        });
        if self.output.len() >= WRITE_AT {
            self.flush().await?;
        }
        Ok(())
    }

    /// Calls `Read` of the client's object `handle`: at most `most` bytes of the request's body; empty at its end.
    pub async fn read_body(&mut self, handle: &[u8], most: usize) -> Result<Vec<u8>, AskError> {
        let sequence = self.take_sequence();
        let invoke = Invoke {
            released: Vec::new(),
            target: Value::Bytes(Cow::Borrowed(handle)),
            method: Cow::Borrowed(b"Read"),
            arguments: vec![Value::Integer(most as i64).into()],
        };
        self.queue(sequence, Code::INVOKE, |out| invoke.write(out));
        self.flush().await?;
        loop {
            let message = self.expect_message().await?;
            if message.sequence == sequence {
                return piece(&message, most);
            }
            self.take_answer(&message)?;
        }
    }

    fn take_sequence(&mut self) -> u32 {
        let sequence = self.next_sequence;
        // Stays even and never 0, which stands for messages without an answer.
        self.next_sequence = match sequence.wrapping_add(2) {
            0 => 2,
            next => next,
        };
        sequence
    }

    /// Waits for an answer to output, and takes what else has already arrived with it.
    async fn wait_for_answer(&mut self) -> Result<(), AskError> {
        let message = self.expect_message().await?;
        self.take_answer(&message)?;
        while let Some(message) = self.arrived_message()? {
            self.take_answer(&message)?;
        }
        Ok(())
    }

    /// Takes a message that came during a call.
    fn take_answer(&mut self, message: &Message) -> Result<(), AskError> {
        if self.settle(message) {
            return if message.code == Code::EXCEPTION {
                Err(AskError::Refused(reason(&message.payload)))
            } else {
                Ok(())
            };
        }
        let got = format!("message {:?} number {}", message.code, message.sequence);
        Err(LinkError::Wire(WireError::Unexpected { expected: "an answer to the server's message", got }).into())
    }

    /// Whether the message answers redirected output; then it and all older ones count as answered.
    fn settle(&mut self, message: &Message) -> bool {
        match self.unanswered.iter().position(|sequence| *sequence == message.sequence) {
            Some(place) => {
                self.unanswered.drain(..=place);
                true
            }
            None => false,
        }
    }

    async fn expect_message(&mut self) -> Result<Message, LinkError> {
        self.next_message().await?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }

    async fn next_message(&mut self) -> Result<Option<Message>, LinkError> {
        loop {
            if let Some(message) = self.arrived_message()? {
                return Ok(Some(message));
            }
            let count = self.stream.read(&mut self.input).await?;
            if count == 0 {
                return match self.assembler.is_at_rest() {
                    true => Ok(None),
                    false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                };
            }
            self.arrived = 0..count;
        }
    }

    /// The next message out of the bytes that have arrived already.
    fn arrived_message(&mut self) -> Result<Option<Message>, LinkError> {
        if self.arrived.is_empty() {
            return Ok(None);
        }
        let (used, message) = self.assembler.push(&self.input[self.arrived.clone()])?;
        self.arrived.start += used;
        Ok(message)
    }
}

/// The piece of the body that an answer to `Read` holds.
fn piece(message: &Message, most: usize) -> Result<Vec<u8>, AskError> {
    if message.code == Code::EXCEPTION {
        return Err(AskError::Refused(reason(&message.payload)));
    }
    let answer = InvokeAnswer::read(&message.payload).map_err(LinkError::Wire)?;
    let piece = match answer.value {
        None | Some(Value::Undefined) => Vec::new(),
        Some(Value::Bytes(bytes)) => bytes.into_owned(),
        Some(other) => other.to_text().into_bytes(),
    };
    if piece.len() > most {
        let error = WireError::TooLong { what: "piece of a body", length: piece.len() as u64, limit: most as u64 };
        return Err(LinkError::Wire(error).into());
    }
    Ok(piece)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> LinkError {
        LinkError::Io(error)
    }
}

impl From<WireError> for LinkError {
    fn from(error: WireError) -> LinkError {
        LinkError::Wire(error)
    }
}

impl From<LinkError> for AskError {
    fn from(error: LinkError) -> AskError {
        AskError::Link(error)
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Io(error) => write!(f, "{error}"),
            LinkError::Wire(error) => write!(f, "the client broke the protocol: {error}"),
        }
    }
}
