//! A connection for a caller with threads: taken from the pool, called on, given back. Every wait is bounded by the
//! server's timeouts.

use std::sync::Arc;
use std::time::Instant;

use super::wake::Sleeper;
use super::worker::Worker;
use super::{Acquire, Lease, Permit};
use crate::connection::diagnosis::{self, Stage};
use crate::connection::link::Flow;
use crate::connection::opening::describe_server;
use crate::connection::{Connection, TalkError, Told, Wants, wait_for};
use crate::failure::{Code, Failure};
use crate::profile::Server;
use crate::wire::WireError;
use crate::wire::element::{Element, Value};
use crate::wire::message::Call;

/// A logged-in connection that one caller has.
pub struct Session {
    /// `None` once it has broken.
    connection: Option<Connection>,
    server: Arc<Server>,
    /// Where it goes back to; `None` if it is of no pool.
    permit: Option<Permit>,
}

/// What a class method gave.
#[derive(Debug)]
pub struct Answer {
    /// The return value.
    pub value: Value<'static>,
    /// The by-reference arguments, in their order.
    pub references: Vec<Value<'static>>,
    /// What the method wrote meanwhile.
    pub output: Vec<u8>,
}

impl Answer {
    /// From the payload of a call's answer.
    pub fn read(payload: &[u8], output: Vec<u8>) -> Result<Answer, WireError> {
        let elements = Element::read_all(payload)?;
        let mut values = elements.into_iter().map(|element| element.value.into_owned());
        let value = values.next().unwrap_or(Value::Undefined);
        Ok(Answer { value, references: values.collect(), output })
    }
}

/// The most bytes of an answer, and of the output of one call.
pub const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

impl Session {
    /// Takes a connection to the server of this name; waits for one within the server's limits.
    pub fn get(worker: &Arc<Worker>, server: &str) -> Result<Session, Failure> {
        let pool = worker.pool_by_name(server)?;
        let sleeper = Sleeper::new(worker.ready().clone(), None);
        let waker = sleeper.waker();
        let mut acquire = Acquire::start(pool, Instant::now());
        loop {
            if let Some(Lease { connection, permit, .. }) = acquire.drive(worker.names(), &waker, Instant::now())? {
                let server = permit.pool().server();
                return Ok(Session { connection: Some(connection), server, permit: Some(permit) });
            }
            let wants = acquire.wants();
            match wants.fd {
                None => sleeper.sleep(wants.deadline),
                Some(_) => wait_for(wants).map_err(|error| Failure::new(Code::Internal, error.to_string()))?,
            }
        }
    }

    /// A connection that was made apart from the pools.
    pub fn alone(connection: Connection, server: Arc<Server>) -> Session {
        Session { connection: Some(connection), server, permit: None }
    }

    /// Calls a class method and waits for its end. An error of the method leaves the connection usable.
    pub fn call(&mut self, class: &str, method: &str, arguments: Vec<Element>) -> Result<Answer, Failure> {
        let connection = self.take()?;
        let references = arguments.iter().filter(|argument| argument.by_reference).count();
        let call = Call { class: class.as_bytes().into(), method: method.as_bytes().into(), arguments };
        let mut talk = connection
            .begin(|conversation, out| conversation.call(&call, true, ANSWER_LIMIT, out))
            .map_err(|error| self.broken(&TalkError::Link(error)))?;
        let timeout = self.server.response_timeout;
        let mut deadline = Instant::now() + timeout;
        let mut output = Vec::new();
        loop {
            talk.set_ready();
            match talk.drive().map_err(|error| self.broken(&error))? {
                Told::Wait if Instant::now() >= deadline => {
                    let what = format!("nothing came for {} s (Server_Response_Timeout)", timeout.as_secs());
                    return Err(self.failure(Code::ResponseTimeout, &what));
                }
                Told::Wait => {
                    let waited = wait_for(talk.wants(Some(deadline)));
                    waited.map_err(|error| self.failure(Code::Internal, &error.to_string()))?;
                }
                Told::Data => {
                    deadline = Instant::now() + timeout;
                    if output.len() + talk.data().len() > ANSWER_LIMIT {
                        return Err(self.failure(Code::MessageTooLarge, "the method writes more than 16 MiB"));
                    }
                    output.extend_from_slice(talk.data());
                }
                Told::Read { .. } => {
                    return Err(self.failure(Code::ProtocolViolation, "it reads a body that there is not"));
                }
                Told::Disconnected => return Err(self.failure(Code::ServerDisconnected, "it asked to disconnect")),
                Told::Failed { status, text } => {
                    self.connection = talk.finish();
                    return Err(self.failure(Code::ApplicationError, &format!("status {status}, {text:?}")));
                }
                Told::Finished(payload) => {
                    self.connection = talk.finish();
                    return self.read_answer(&payload, references, output);
                }
            }
        }
    }

    /// Sends bytes as they are, for a caller who speaks on the connection in its own way.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut connection = self.take()?;
        let deadline = Instant::now() + self.server.response_timeout;
        let link = connection.link_mut();
        for piece in bytes.chunks(16 * 1024) {
            link.queue(piece).map_err(|error| self.broken(&TalkError::Link(error)))?;
            while link.flush().map_err(|error| self.broken(&TalkError::Link(error)))? == Flow::Blocked {
                self.wait(Wants { read: false, write: true, ..link.wants(Some(deadline)) }, deadline)?;
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Receives at least one byte into `buffer` and gives how many; 0 if the server has closed.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let mut connection = self.take()?;
        let deadline = Instant::now() + self.server.response_timeout;
        let link = connection.link_mut();
        while link.unread().is_empty() {
            link.set_readable();
            match link.fill().map_err(|error| self.broken(&TalkError::Link(error)))? {
                Flow::Done => {}
                Flow::Closed => return Ok(0),
                Flow::Blocked => self.wait(link.wants(Some(deadline)), deadline)?,
            }
        }
        let count = link.unread().len().min(buffer.len());
        buffer[..count].copy_from_slice(&link.unread()[..count]);
        link.mark_read(count);
        self.connection = Some(connection);
        Ok(count)
    }

    /// Gives the connection back. `at_rest`: the caller has left the protocol between two calls; otherwise it is closed.
    pub fn give_back(self, at_rest: bool) {
        let Session { connection, permit, .. } = self;
        match (connection, permit) {
            (Some(connection), Some(permit)) if at_rest => permit.put_back(connection),
            (Some(connection), None) if at_rest => connection.close(),
            (connection, _) => drop(connection),
        }
    }

    fn take(&mut self) -> Result<Connection, Failure> {
        self.connection.take().ok_or_else(|| self.failure(Code::ConnectionLost, "this connection has broken before"))
    }

    fn wait(&self, wants: Wants, deadline: Instant) -> Result<(), Failure> {
        if Instant::now() >= deadline {
            return Err(self.failure(Code::ResponseTimeout, "nothing moved for Server_Response_Timeout"));
        }
        wait_for(wants).map_err(|error| self.failure(Code::Internal, &error.to_string()))
    }

    fn read_answer(&self, payload: &[u8], references: usize, output: Vec<u8>) -> Result<Answer, Failure> {
        let answer = Answer::read(payload, output).map_err(|error| self.broken(&TalkError::Wire(error)))?;
        let given = &answer.references;
        if given.len() != references {
            let what = format!("{} by-reference values came for {references} arguments", given.len());
            return Err(self.failure(Code::ProtocolViolation, &what));
        }
        Ok(answer)
    }

    fn broken(&self, error: &TalkError) -> Failure {
        let has_certificate = self.server.tls.certificate_file.is_some();
        let stage = Stage::AwaitAnswer;
        match error {
            TalkError::Link(error) => {
                self.failure(diagnosis::code_of(error, stage, has_certificate), &diagnosis::describe(error))
            }
            TalkError::Wire(error) => self.failure(diagnosis::code_of_wire(error, stage, false), &error.to_string()),
        }
    }

    fn failure(&self, code: Code, what: &str) -> Failure {
        Failure::new(code, format!("{}: {what}", describe_server(&self.server, None)))
    }
}
