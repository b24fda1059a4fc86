//! The client's state during a call. What the server sends is told as events while it arrives, so that an answer of any
//! size needs no more memory than the bytes at hand.
//!
//! The server may start messages of its own meanwhile. Answered are redirected output, `Read` of the one object that we
//! handed out, ping and disconnect; everything else is refused with an exception. Nothing that a server names is run.

use super::WireError;
use super::conversation::Conversation;
use super::element::{Element, Head, Kind, Value};
use super::frame::{Code, Header, write_message};
use super::message::{InvokeAnswer, OUTPUT_METHOD, OUTPUT_TARGET, reason};
use super::reader::Reader;

/// A call on its way.
#[derive(Debug)]
pub struct InCall {
    conversation: Conversation,
    sequence: u32,
    code: Code,
    answer: AnswerMode,
    own_object: Vec<u8>,
    header: [u8; Header::LENGTH],
    header_have: usize,
    /// The frame being read; its message goes on in another one if `more` is set.
    frame: Option<Header>,
    frame_left: u32,
    stage: Stage,
    end: End,
    /// Bytes of the message that were dropped.
    dropped: usize,
}

/// What is wanted of the answer.
#[derive(Clone, Copy, Debug)]
pub enum AnswerMode {
    /// The return value alone, in pieces as it arrives.
    Stream,
    /// The whole payload, refused beyond `limit` bytes.
    Whole { limit: usize },
}

/// What arrived.
#[derive(Debug, PartialEq)]
pub enum Event<'a> {
    /// Everything given has been taken; more bytes are needed.
    NeedsInput,
    /// The next piece of the answer (redirected output, or the return value after it), as bytes.
    Data(&'a [u8]),
    /// The same, converted from wide text or a number.
    Text(String),
    /// Output has been acknowledged, or the server asked whether we are alive or for something that was refused; an
    /// answer has been queued.
    Busy,
    /// The server asks for at most `most` bytes of the request body: answer with [`InCall::answer_read`].
    Read { most: usize },
    /// The call has ended well. In [`AnswerMode::Whole`] this is its payload.
    Finished(Vec<u8>),
    /// The call has ended with an error; the connection stays usable.
    Failed { status: u16, text: String },
    /// The server ends the connection; its answer has been queued.
    Disconnected,
}

/// What the payload bytes at hand belong to.
#[derive(Debug)]
enum Stage {
    /// A server's call, collected until it is clear what it asks for.
    Invoke(Vec<u8>),
    /// The head of the return value.
    ReturnHead(Vec<u8>),
    /// Data of an element that is passed on as it arrives.
    Data { left: u32, wide: Option<Utf16> },
    /// Data of a short element that is converted to text.
    Short { head: Head, bytes: Vec<u8> },
    /// The payload is kept; beyond `limit` it is refused, or cut if `cut` is set.
    Collect { bytes: Vec<u8>, limit: usize, cut: bool },
    /// The rest of the payload does not matter; it is bounded all the same.
    Skip,
}

/// What is to be done when the payload is complete.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Which it is will be known from the payload.
    Undecided,
    AcknowledgeOutput,
    Read {
        most: usize,
    },
    Refuse,
    Pong,
    Disconnect,
    Finish,
    Fail {
        status: u16,
    },
}

/// The most bytes of a server's call that may come before its purpose is clear.
const INVOKE_LIMIT: usize = 512;
/// The most bytes of an error text that are kept.
const ERROR_TEXT_LIMIT: usize = 8 * 1024;
/// The most bytes of one message that are dropped.
const DROPPED_LIMIT: usize = 64 * 1024;

impl InCall {
    pub(super) fn new(
        conversation: Conversation,
        sequence: u32,
        code: Code,
        answer: AnswerMode,
        own_object: Vec<u8>,
    ) -> InCall {
        InCall {
            conversation,
            sequence,
            code,
            answer,
            own_object,
            header: [0; Header::LENGTH],
            header_have: 0,
            frame: None,
            frame_left: 0,
            stage: Stage::Skip,
            end: End::Undecided,
            dropped: 0,
        }
    }

    /// Takes bytes from `input` until there is something to tell; gives how many were taken. Answers to the server are
    /// appended to `out`. An output message is acknowledged by the call that follows the one which told its last byte,
    /// so a caller that holds data back holds the server back.
    pub fn receive<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Result<(usize, Event<'a>), WireError> {
        let mut used = 0;
        loop {
            let Some(frame) = self.frame.filter(|_| self.header_have == Header::LENGTH) else {
                used += self.take_header(&input[used..])?;
                if self.header_have < Header::LENGTH {
                    return Ok((used, Event::NeedsInput));
                }
                continue;
            };
            if self.frame_left == 0 {
                self.header_have = 0;
                if frame.more {
                    continue;
                }
                self.frame = None;
                match self.finish_message(frame.sequence, out)? {
                    Some(event) => return Ok((used, event)),
                    None => continue,
                }
            }
            let left = usize::try_from(self.frame_left).unwrap_or(usize::MAX);
            let chunk = &input[used..used + left.min(input.len() - used)];
            if chunk.is_empty() {
                return Ok((used, Event::NeedsInput));
            }
            let (taken, event) = self.take_payload(chunk)?;
            self.frame_left -= taken as u32;
            used += taken;
            if let Some(event) = event {
                return Ok((used, event));
            }
        }
    }

    /// Appends the answer to [`Event::Read`]; an empty piece is the end of the request body.
    pub fn answer_read(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let answer = InvokeAnswer { value: Some(Value::bytes(piece)) };
        write_message(out, self.server_sequence(), 0, Code::INVOKE, |out| answer.write(out));
    }

    /// The connection at rest again, after [`Event::Finished`] or [`Event::Failed`].
    pub fn into_conversation(self) -> Conversation {
        self.conversation
    }

    /// Number of the server's message that is being answered; its header is still at hand.
    fn server_sequence(&self) -> u32 {
        Header::parse(&self.header).sequence
    }

    fn take_header(&mut self, input: &[u8]) -> Result<usize, WireError> {
        let taken = (Header::LENGTH - self.header_have).min(input.len());
        self.header[self.header_have..self.header_have + taken].copy_from_slice(&input[..taken]);
        self.header_have += taken;
        if self.header_have == Header::LENGTH {
            let next = Header::parse(&self.header);
            match self.frame {
                None => {
                    (self.stage, self.end) = self.start_message(&next)?;
                    self.dropped = 0;
                }
                Some(open) if open.continues_with(&next) => {}
                Some(_) => {
                    let got = format!("{:?}", next.code);
                    return Err(WireError::Unexpected { expected: "the next fragment", got });
                }
            }
            self.frame_left = next.length;
            self.frame = Some(next);
        }
        Ok(taken)
    }

    fn start_message(&self, header: &Header) -> Result<(Stage, End), WireError> {
        if header.sequence == self.sequence {
            let status = match self.code {
                Code::MAKE_PROXY if header.code == Code::MAKE_PROXY => 0,
                Code::MAKE_PROXY => header.code.word(),
                _ => header.code.to_native_status(),
            };
            return Ok(match (status, self.answer) {
                (0, AnswerMode::Stream) => (Stage::ReturnHead(Vec::new()), End::Finish),
                (0, AnswerMode::Whole { limit }) => (collect(limit, false), End::Finish),
                (status, _) => (collect(ERROR_TEXT_LIMIT, true), End::Fail { status }),
            });
        }
        if header.sequence % 2 == 1 {
            let got = format!("number {}", header.sequence);
            return Err(WireError::Unexpected { expected: "the answer to our call", got });
        }
        Ok(match header.code {
            Code::INVOKE => (Stage::Invoke(Vec::new()), End::Undecided),
            Code::PING => (Stage::Skip, End::Pong),
            Code::SERVER_DISCONNECT => (Stage::Skip, End::Disconnect),
            Code([b'Y', _]) => (Stage::Skip, End::Refuse),
            other => {
                return Err(WireError::Unexpected { expected: "a server's message", got: format!("{other:?}") });
            }
        })
    }

    /// Takes at least one byte of `chunk`, which is not empty.
    fn take_payload<'a>(&mut self, chunk: &'a [u8]) -> Result<(usize, Option<Event<'a>>), WireError> {
        match &mut self.stage {
            Stage::Skip => {
                self.drop_bytes(chunk.len())?;
                Ok((chunk.len(), None))
            }
            Stage::Collect { bytes, limit, cut } => {
                let room = *limit - bytes.len();
                if chunk.len() > room && !*cut {
                    let length = (bytes.len() + chunk.len()) as u64;
                    return Err(WireError::TooLong { what: "answer", length, limit: *limit as u64 });
                }
                let kept = chunk.len().min(room);
                bytes.extend_from_slice(&chunk[..kept]);
                self.drop_bytes(chunk.len() - kept)?;
                Ok((chunk.len(), None))
            }
            Stage::Data { left, wide } => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(chunk.len());
                let data = &chunk[..taken];
                *left -= taken as u32;
                let event = match wide {
                    None => Event::Data(data),
                    Some(decoder) => Event::Text(decoder.push(data)),
                };
                if *left == 0 {
                    self.stage = Stage::Skip;
                }
                Ok((taken, Some(event)))
            }
            Stage::Short { head, bytes } => {
                let taken = (head.length as usize - bytes.len()).min(chunk.len());
                bytes.extend_from_slice(&chunk[..taken]);
                if bytes.len() < head.length as usize {
                    return Ok((taken, None));
                }
                let text = head.value(bytes)?.to_text();
                self.stage = Stage::Skip;
                Ok((taken, Some(Event::Text(text))))
            }
            Stage::ReturnHead(bytes) => {
                let had = bytes.len();
                let seen = chunk.len().min(Head::LONGEST - had);
                bytes.extend_from_slice(&chunk[..seen]);
                match Head::parse(bytes)? {
                    None => Ok((seen, None)),
                    Some((head, used)) => {
                        let (stage, event) = data_stage(head)?;
                        self.stage = stage;
                        Ok((used - had, event))
                    }
                }
            }
            Stage::Invoke(bytes) => {
                let had = bytes.len();
                let seen = chunk.len().min(INVOKE_LIMIT - had);
                bytes.extend_from_slice(&chunk[..seen]);
                match Request::read(bytes, &self.own_object) {
                    Ok((request, used)) => {
                        let event;
                        (self.stage, event, self.end) = match request {
                            Request::Output(head) => {
                                let (stage, event) = data_stage(head)?;
                                (stage, event, End::AcknowledgeOutput)
                            }
                            Request::Read { most } => (Stage::Skip, None, End::Read { most }),
                            Request::Other => (Stage::Skip, None, End::Refuse),
                        };
                        Ok((used - had, event))
                    }
                    Err(WireError::Truncated { .. }) if bytes.len() < INVOKE_LIMIT => Ok((seen, None)),
                    // Too long to be anything that we answer.
                    Err(WireError::Truncated { .. }) => {
                        (self.stage, self.end) = (Stage::Skip, End::Refuse);
                        Ok((seen, None))
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn drop_bytes(&mut self, count: usize) -> Result<(), WireError> {
        self.dropped += count;
        match self.dropped <= DROPPED_LIMIT {
            true => Ok(()),
            false => {
                let (length, limit) = (self.dropped as u64, DROPPED_LIMIT as u64);
                Err(WireError::TooLong { what: "message of no use", length, limit })
            }
        }
    }

    /// The payload is complete: does what is due. `None` if there is nothing to tell.
    fn finish_message<'a>(&mut self, sequence: u32, out: &mut Vec<u8>) -> Result<Option<Event<'a>>, WireError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Skip);
        let unfinished = match &stage {
            // A method without a value gives an empty payload.
            Stage::ReturnHead(bytes) => !bytes.is_empty(),
            Stage::Invoke(_) => true,
            Stage::Data { left, .. } => *left > 0,
            Stage::Short { head, bytes } => bytes.len() < head.length as usize,
            Stage::Collect { .. } | Stage::Skip => false,
        };
        if unfinished {
            return Err(WireError::Truncated { what: "message payload" });
        }
        let collected = match stage {
            Stage::Collect { bytes, .. } => bytes,
            _ => Vec::new(),
        };
        Ok(match self.end {
            End::AcknowledgeOutput => {
                let answer = InvokeAnswer { value: Some(Value::bytes(&[])) };
                write_message(out, sequence, 0, Code::INVOKE, |out| answer.write(out));
                Some(Event::Busy)
            }
            End::Read { most } => Some(Event::Read { most }),
            End::Refuse => {
                let text = Value::text("Sclera answers only writeOutput, Read, ping and disconnect");
                write_message(out, sequence, 0, Code::EXCEPTION, |out| text.write(out));
                Some(Event::Busy)
            }
            End::Pong => {
                write_message(out, sequence, 0, Code::PING, |out| Value::bytes(&[]).write(out));
                Some(Event::Busy)
            }
            End::Disconnect => {
                write_message(out, sequence, 0, Code::SERVER_DISCONNECT, |_| {});
                Some(Event::Disconnected)
            }
            End::Finish => Some(Event::Finished(collected)),
            End::Fail { status } => Some(Event::Failed { status, text: reason(&collected) }),
            End::Undecided => return Err(WireError::Truncated { what: "server's call" }),
        })
    }
}

/// What a server's call asks for.
enum Request {
    /// Redirected output; the data of this head follows.
    Output(Head),
    Read {
        most: usize,
    },
    Other,
}

impl Request {
    /// Reads just enough of a server's call; gives how many bytes that took. [`WireError::Truncated`] asks for more.
    fn read(bytes: &[u8], own_object: &[u8]) -> Result<(Request, usize), WireError> {
        let mut reader = Reader::new(bytes);
        let released = Element::read(&mut reader)?.value.to_integer().unwrap_or(0);
        for _ in 0..released {
            Element::read(&mut reader)?;
        }
        let target = Element::read(&mut reader)?.value;
        let method = Element::read(&mut reader)?.value;
        let count = Element::read(&mut reader)?.value;
        let is = |value: &Value, text: &[u8]| match value {
            Value::Bytes(bytes) | Value::Handle(bytes) => **bytes == *text,
            _ => false,
        };
        let request = if count != Value::Integer(1) {
            Request::Other
        } else if is(&target, OUTPUT_TARGET) && is(&method, OUTPUT_METHOD) {
            let (head, used) = Head::parse(reader.rest())?.ok_or(WireError::Truncated { what: "server's call" })?;
            reader.take(used, "server's call")?;
            Request::Output(head)
        } else if !own_object.is_empty() && is(&target, own_object) && is(&method, b"Read") {
            let most = Element::read(&mut reader)?.value.to_integer().unwrap_or(0);
            Request::Read { most: usize::try_from(most).unwrap_or(0) }
        } else {
            Request::Other
        };
        Ok((request, reader.used()))
    }
}

fn collect(limit: usize, cut: bool) -> Stage {
    Stage::Collect { bytes: Vec::new(), limit, cut }
}

/// How the data that belongs to `head` is passed on, and what can be told at once.
fn data_stage<'a>(head: Head) -> Result<(Stage, Option<Event<'a>>), WireError> {
    Ok(match (head.kind, head.length) {
        (Kind::Undefined, _) => (Stage::Skip, None),
        (Kind::Bytes | Kind::Handle | Kind::Wide | Kind::WideHandle, 0) => (Stage::Skip, None),
        (Kind::Bytes | Kind::Handle, left) => (Stage::Data { left, wide: None }, None),
        (Kind::Wide | Kind::WideHandle, left) => (Stage::Data { left, wide: Some(Utf16::default()) }, None),
        // Zero and minus one are numbers without data bytes.
        (_, 0) => (Stage::Skip, Some(Event::Text(head.value(&[])?.to_text()))),
        _ => (Stage::Short { head, bytes: Vec::new() }, None),
    })
}

/// Turns little-endian UTF-16 into UTF-8, however it is cut. Lone surrogates become U+FFFD.
#[derive(Debug, Default)]
struct Utf16 {
    odd: Option<u8>,
    high: Option<u16>,
}

impl Utf16 {
    fn push(&mut self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len());
        for &byte in bytes {
            let Some(low) = self.odd.take() else {
                self.odd = Some(byte);
                continue;
            };
            let unit = u16::from_le_bytes([low, byte]);
            let pair = self.high.take().into_iter().chain([unit]);
            if (0xd800..0xdc00).contains(&unit) && pair.clone().count() == 1 {
                self.high = Some(unit);
            } else {
                text.extend(char::decode_utf16(pair).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
            }
        }
        text
    }
}
