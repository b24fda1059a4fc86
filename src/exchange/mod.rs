//! One HTTP request's way through a connection, as a state machine that never blocks: drive it, do what the step says,
//! and when it waits ask it what for.
//!
//! The application pulls the request body and pushes the response; both go through in pieces, so memory does not grow
//! with either. Whatever fails before the response head has been told becomes a small error page; afterwards the web
//! server is told to cut the answer. A connection goes back to the pool only from the end of an answer.

mod managed;
mod page;
pub mod request;
pub mod response;
pub mod retry;
pub mod session;

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use managed::{Managed, Progress};
use request::{BodyLength, Request};
use response::{HEAD_LIMIT, ResponseHead};

use crate::connection::diagnosis::{self, Stage};
use crate::connection::opening::describe_server;
use crate::connection::{self, Connection, Talk, TalkError, Told, Wants};
use crate::failure::{Code, Failure};
use crate::pool::wake::Sleeper;
use crate::pool::worker::Worker;
use crate::pool::{Acquire, Lease, Permit};
use crate::wire::conversation::handle_number;
use crate::wire::element::Element;
use crate::wire::reader::Reader;

/// What the host is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// See [`Exchange::wants`].
    Wait,
    /// Give request body: [`Exchange::give_body`].
    NeedBody,
    /// The response head is complete: [`Exchange::response`]. Told once.
    Head,
    /// Response body is at hand: [`Exchange::body`], [`Exchange::consume`].
    Body,
    /// The response is complete.
    Done,
    /// The response cannot be completed: cut the browser's connection.
    Abort,
}

/// One request being answered.
pub struct Exchange {
    worker: Arc<Worker>,
    sleeper: Arc<Sleeper>,
    waker: Waker,
    request_id: String,
    /// The head argument of the web call.
    head: Vec<u8>,
    /// The response has a head only.
    head_only: bool,
    body: RequestBody,
    state: State,
    response: Option<ResponseHead>,
    failure: Option<Failure>,
    /// The connection at rest, to be given back when the host has stopped watching it.
    at_rest: Option<(Permit, Connection)>,
}

enum RequestBody {
    /// Short enough to go with the call; `missing` bytes have not come yet.
    Inline { bytes: Vec<u8>, missing: usize },
    /// Pulled by the application; `ended` once the last piece has been given.
    Pulled { ended: bool },
}

enum State {
    /// The whole of a short body is awaited before a connection is taken.
    CollectBody(Acquire),
    Acquire(Acquire),
    /// A management page is asked for, which no server answers.
    Manage(Box<Managed>),
    /// The connection asks for the handle of our gateway object, once in its life.
    MakeProxy {
        talk: Box<Talk>,
        permit: Permit,
        reused: bool,
        deadline: Instant,
    },
    Call(Box<Calling>),
    /// An error page, of which `at` bytes have been consumed.
    Page {
        body: Vec<u8>,
        at: usize,
        head_told: bool,
    },
    Done,
    Aborted,
}

/// The call under way.
struct Calling {
    talk: Talk,
    permit: Permit,
    reused: bool,
    /// The response timeout counts from here.
    since: Instant,
    timeout: Duration,
    /// Response head bytes that have come so far.
    head: Vec<u8>,
    head_complete: bool,
    /// Data told by `talk` from here on has not been consumed.
    at: usize,
    /// Body bytes passed on so far.
    passed: u64,
    /// Body bytes that came although the response has none.
    dropped: usize,
    /// The application asks for this many bytes of request body.
    wanted: Option<usize>,
}

/// A body up to this size goes with the call (`docs/web-call.md`).
pub const INLINE_BODY: u64 = 32 * 1024;
/// The most bytes of body in one answer to the application. Smaller than an inline body, because a piece exists twice,
/// in clear and encrypted, and a request in flight must stay below 64 KiB.
pub const BODY_PIECE: usize = 16 * 1024;
/// The most bytes of a body that a response must not have which are read for the sake of the connection.
const DROPPED_BODY: usize = 64 * 1024;

impl Exchange {
    /// Takes a request. Everything needed of it is copied. `userdata`: what the worker's ready list calls it by.
    pub fn begin(
        worker: Arc<Worker>,
        request: &Request,
        request_id: &[u8],
        userdata: Option<usize>,
        now: Instant,
    ) -> Exchange {
        let request_id = request_id_of(request_id, &worker);
        let sleeper = Sleeper::new(worker.ready().clone(), userdata);
        let body = match request.length {
            BodyLength::Known(length @ 0..=INLINE_BODY) => {
                RequestBody::Inline { bytes: Vec::new(), missing: length as usize }
            }
            _ => RequestBody::Pulled { ended: false },
        };
        let mut exchange = Exchange {
            waker: sleeper.waker(),
            sleeper,
            head: Vec::new(),
            head_only: request.method == b"HEAD",
            body,
            state: State::Done,
            response: None,
            failure: None,
            at_rest: None,
            request_id,
            worker,
        };
        match exchange.accept(request, now) {
            Ok(state) => exchange.state = state,
            Err(failure) => exchange.fail(failure),
        }
        exchange
    }

    fn accept(&mut self, request: &Request, now: Instant) -> Result<State, Failure> {
        if let Some(objection) = request.objection() {
            return Err(Failure::new(Code::RequestInvalid, objection));
        }
        // Paths that are not UTF-8 can match no prefix but those that are.
        let path = request.routing_path();
        let path = String::from_utf8_lossy(&path);
        if let Some(managed) = Managed::of(request, &path, &self.request_id) {
            return Ok(State::Manage(Box::new(managed)));
        }
        let pool = self.worker.pool_for_path(request.host(), &path)?;
        self.head = request.to_head(self.worker.software(), &self.request_id);
        Ok(State::CollectBody(Acquire::start(pool, now)))
    }

    /// Goes on as far as possible, without blocking.
    pub fn drive(&mut self, now: Instant) -> Step {
        // Whatever happened since, the socket is asked again: a host's descriptor may have become ready unseen.
        if let State::Call(calling) = &mut self.state {
            calling.talk.set_ready();
        }
        loop {
            let state = std::mem::replace(&mut self.state, State::Aborted);
            match self.turn(state, now) {
                Ok((state, step)) => {
                    self.state = state;
                    if let Some(step) = step {
                        return step;
                    }
                }
                Err(failure) => self.fail(failure),
            }
        }
    }

    /// What has to happen before driving makes sense, after [`Step::Wait`]. At any other time its `link` tells whether
    /// the descriptor is still open, so that a host knows whether there is one to stop watching.
    pub fn wants(&self) -> Wants {
        match &self.state {
            State::CollectBody(_) | State::Manage(_) | State::Page { .. } | State::Done | State::Aborted => {
                self.at_rest.as_ref().map_or(Wants::until(None), |(_, connection)| connection.wants())
            }
            State::Acquire(acquire) => acquire.wants(),
            State::MakeProxy { talk, deadline, .. } => talk.wants(Some(*deadline)),
            State::Call(calling) => calling.talk.wants(Some(calling.since + calling.timeout)),
        }
    }

    /// How many bytes of request body are taken now, after [`Step::NeedBody`].
    pub fn body_wanted(&self) -> usize {
        match (&self.state, &self.body) {
            (State::Manage(managed), _) => managed.body_wanted(),
            (State::CollectBody(_), RequestBody::Inline { missing, .. }) => *missing,
            (State::Call(calling), _) => calling.wanted.unwrap_or(0),
            _ => 0,
        }
    }

    /// Gives request body; gives back how many bytes were taken. `last` says that nothing follows `piece`, and counts
    /// only if all of it is taken.
    pub fn give_body(&mut self, piece: &[u8], last: bool, now: Instant) -> usize {
        let taken = piece.len().min(self.body_wanted());
        let last = last && taken == piece.len();
        match (&mut self.state, &mut self.body) {
            (State::Manage(managed), _) => managed.give_body(&piece[..taken], last),
            (State::CollectBody(_), RequestBody::Inline { bytes, missing }) => {
                bytes.extend_from_slice(&piece[..taken]);
                *missing -= taken;
                if last && *missing > 0 {
                    let missing = *missing;
                    self.fail(Failure::new(Code::RequestBodyBroken, format!("{missing} bytes of it are missing")));
                }
            }
            (State::Call(calling), RequestBody::Pulled { ended })
                if calling.wanted.is_some() && (taken > 0 || last) =>
            {
                *ended = last;
                calling.wanted = None;
                calling.since = now;
                if let Err(error) = calling.talk.answer_read(&piece[..taken]) {
                    let failure = calling.broken(error);
                    self.fail(failure);
                }
            }
            _ => return 0,
        }
        taken
    }

    /// The request body broke on the browser's side.
    pub fn body_failed(&mut self) {
        self.fail(Failure::new(Code::RequestBodyBroken, "the web server could not read the rest of it"));
    }

    /// The response head, from [`Step::Head`] on.
    pub fn response(&self) -> Option<&ResponseHead> {
        self.response.as_ref()
    }

    /// Response body at hand, after [`Step::Body`]; it stands until the next drive.
    pub fn body(&self) -> &[u8] {
        match &self.state {
            State::Call(calling) => calling.talk.data().get(calling.at..).unwrap_or_default(),
            State::Page { body, at, .. } => body.get(*at..).unwrap_or_default(),
            _ => &[],
        }
    }

    /// The first `count` bytes of [`Exchange::body`] have been passed on.
    pub fn consume(&mut self, count: usize, now: Instant) {
        let count = count.min(self.body().len());
        match &mut self.state {
            State::Call(calling) => {
                calling.at += count;
                calling.passed += count as u64;
                calling.since = now;
            }
            State::Page { at, .. } => *at += count,
            _ => {}
        }
    }

    /// Why the exchange failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The id under which the request is found in the log: the host's, or one of ours.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// For hosts with threads: sleeps until driving makes sense, after [`Step::Wait`].
    pub fn wait(&self) -> std::io::Result<()> {
        let wants = self.wants();
        match wants.fd {
            None => {
                self.sleeper.sleep(wants.deadline);
                Ok(())
            }
            Some(_) => connection::wait_for(wants),
        }
    }

    fn turn(&mut self, state: State, now: Instant) -> Result<(State, Option<Step>), Failure> {
        match state {
            State::CollectBody(acquire) => match &self.body {
                RequestBody::Inline { missing: 1.., .. } => Ok((State::CollectBody(acquire), Some(Step::NeedBody))),
                _ => Ok((State::Acquire(acquire), None)),
            },
            State::Manage(mut managed) => match managed.drive(&self.worker, &self.waker)? {
                Progress::NeedBody => Ok((State::Manage(managed), Some(Step::NeedBody))),
                Progress::Wait => Ok((State::Manage(managed), Some(Step::Wait))),
                Progress::Answer(head, body) => {
                    self.response = Some(head);
                    Ok((State::Page { body, at: 0, head_told: false }, None))
                }
            },
            State::Acquire(mut acquire) => match acquire.drive(self.worker.names(), &self.waker, now)? {
                None => Ok((State::Acquire(acquire), Some(Step::Wait))),
                Some(lease) => Ok((self.use_lease(lease, now)?, None)),
            },
            State::MakeProxy { talk, permit, reused, deadline } => {
                self.make_proxy(*talk, permit, reused, deadline, now)
            }
            State::Call(calling) => self.go_on(calling, now),
            State::Page { body, at, head_told: false } => {
                Ok((State::Page { body, at, head_told: true }, Some(Step::Head)))
            }
            State::Page { body, at, .. } if at < body.len() && !self.head_only => {
                Ok((State::Page { body, at, head_told: true }, Some(Step::Body)))
            }
            State::Page { .. } | State::Done => Ok((State::Done, Some(Step::Done))),
            State::Aborted => Ok((State::Aborted, Some(Step::Abort))),
        }
    }

    /// The connection is ours: asks for our object's handle if it has none yet, else makes the call.
    fn use_lease(&mut self, lease: Lease, now: Instant) -> Result<State, Failure> {
        let Lease { connection, permit, reused } = lease;
        if connection.facts().gateway_object.is_some() {
            return self.call(connection, permit, reused, now);
        }
        let server = permit.pool().server();
        let deadline = now + server.connect_timeout;
        match connection.begin(|conversation, out| conversation.make_proxy(out)) {
            Ok(talk) => Ok(State::MakeProxy { talk: Box::new(talk), permit, reused, deadline }),
            Err(error) => Err(broken(&permit, &TalkError::Link(error), Stage::AwaitAnswer)),
        }
    }

    fn make_proxy(
        &mut self,
        mut talk: Talk,
        permit: Permit,
        reused: bool,
        deadline: Instant,
        now: Instant,
    ) -> Result<(State, Option<Step>), Failure> {
        talk.set_ready();
        match talk.drive() {
            Ok(Told::Wait) if now < deadline => {
                Ok((State::MakeProxy { talk: Box::new(talk), permit, reused, deadline }, Some(Step::Wait)))
            }
            Ok(Told::Wait) => Err(failure(&permit, Code::LoginTimeout, "it did not give our gateway object a handle")),
            Ok(Told::Finished(payload)) => {
                let handle = Element::read(&mut Reader::new(&payload));
                let handle = handle.map_err(|error| failure(&permit, Code::ProtocolViolation, &error.to_string()))?;
                let text = handle.value.to_text();
                let Some(mut connection) = talk.finish() else {
                    return Err(failure(&permit, Code::ProtocolViolation, "bytes follow the gateway object's handle"));
                };
                connection.facts_mut().gateway_object = Some(handle_number(text.as_bytes()).to_vec());
                Ok((self.call(connection, permit, reused, now)?, None))
            }
            Ok(Told::Failed { status, text }) => {
                Err(failure(&permit, Code::ApplicationError, &format!("no gateway object: status {status}, {text:?}")))
            }
            Ok(_) => Err(failure(&permit, Code::ProtocolViolation, "it did not give our gateway object a handle")),
            // The request itself has not been sent, so a stale connection costs nothing but the time.
            Err(_) if reused => Ok((self.reopen(permit, now)?, None)),
            Err(error) => Err(broken(&permit, &error, Stage::AwaitAnswer)),
        }
    }

    fn call(&mut self, connection: Connection, permit: Permit, reused: bool, now: Instant) -> Result<State, Failure> {
        let object = connection.facts().gateway_object.clone().unwrap_or_default();
        let body = match &self.body {
            RequestBody::Inline { bytes, .. } => Some(bytes.as_slice()),
            RequestBody::Pulled { .. } => None,
        };
        let head = &self.head;
        let talk = connection.begin(|conversation, out| {
            conversation.call_streamed(object.clone(), out, |out| request::write_call(head, body, &object, out))
        });
        let timeout = permit.pool().server().response_timeout;
        let sent = match talk {
            Err(error) => Err(TalkError::Link(error)),
            Ok(mut talk) => match talk.send() {
                Ok(()) => Ok(talk),
                Err(error) if talk.has_sent() => {
                    return Err(broken(&permit, &TalkError::Link(error), Stage::AwaitAnswer));
                }
                Err(error) => Err(TalkError::Link(error)),
            },
        };
        if sent.as_ref().is_ok_and(Talk::has_sent) {
            // It will not be sent again, so nobody needs it any more.
            self.head = Vec::new();
            if let RequestBody::Inline { bytes, .. } = &mut self.body {
                *bytes = Vec::new();
            }
        }
        match sent {
            Ok(talk) => Ok(State::Call(Box::new(Calling {
                talk,
                permit,
                reused,
                since: now,
                timeout,
                head: Vec::new(),
                head_complete: false,
                at: 0,
                passed: 0,
                dropped: 0,
                wanted: None,
            }))),
            // Nothing reached the server.
            Err(_) if reused => self.reopen(permit, now),
            Err(error) => Err(broken(&permit, &error, Stage::AwaitAnswer)),
        }
    }

    /// A connection that had served before turned out to be dead before anything reached the server: a new one is made.
    fn reopen(&mut self, permit: Permit, now: Instant) -> Result<State, Failure> {
        Ok(State::Acquire(Acquire::reopen(permit, self.worker.names(), &self.waker, now)?))
    }

    fn go_on(&mut self, mut calling: Box<Calling>, now: Instant) -> Result<(State, Option<Step>), Failure> {
        if self.response.is_some() && calling.at < calling.talk.data().len() {
            let at_hand = calling.talk.data().len() - calling.at;
            if !self.head_only && !self.response.as_ref().is_some_and(ResponseHead::is_bodyless) {
                self.check_length(&calling, at_hand)?;
                return Ok((State::Call(calling), Some(Step::Body)));
            }
            calling.at += at_hand;
            calling.dropped += at_hand;
            calling.since = now;
            if calling.dropped > DROPPED_BODY {
                // The response is complete; the connection is not worth reading all that.
                return Ok((State::Done, Some(Step::Done)));
            }
        }
        if calling.wanted.is_some() {
            return match self.body {
                RequestBody::Pulled { ended: false } => Ok((State::Call(calling), Some(Step::NeedBody))),
                _ => {
                    calling.wanted = None;
                    match calling.talk.answer_read(&[]) {
                        Ok(()) => Ok((State::Call(calling), None)),
                        Err(error) => Err(calling.broken(error)),
                    }
                }
            };
        }
        match calling.talk.drive() {
            Ok(Told::Wait) if now >= calling.since + calling.timeout => Err(calling.timed_out()),
            Ok(Told::Wait) => Ok((State::Call(calling), Some(Step::Wait))),
            Ok(Told::Data) => {
                calling.at = 0;
                match self.response {
                    Some(_) => Ok((State::Call(calling), None)),
                    None => self.take_head(calling, now),
                }
            }
            Ok(Told::Read { most }) => {
                calling.wanted = Some(most.clamp(1, BODY_PIECE));
                calling.since = now;
                Ok((State::Call(calling), None))
            }
            Ok(Told::Finished(_)) => self.finish(*calling),
            Ok(Told::Failed { status, text }) => {
                let Calling { talk, permit, .. } = *calling;
                let failure = failure(&permit, Code::ApplicationError, &format!("status {status}, {text:?}"));
                self.at_rest = talk.finish().map(|connection| (permit, connection));
                Err(failure)
            }
            Ok(Told::Disconnected) => Err(calling.failure(Code::ServerDisconnected, "it asked to disconnect")),
            Err(_) if calling.reused && !calling.talk.has_sent() => Ok((self.reopen(calling.permit, now)?, None)),
            Err(error) => Err(calling.broken(error)),
        }
    }

    /// Data has come and the head is not complete yet.
    fn take_head(&mut self, mut calling: Box<Calling>, now: Instant) -> Result<(State, Option<Step>), Failure> {
        let before = calling.head.len();
        let data = calling.talk.data();
        let seen = data.len().min(HEAD_LIMIT.saturating_sub(before));
        let parsed = if before == 0 {
            ResponseHead::parse(&data[..seen])
        } else {
            calling.head.extend_from_slice(&data[..seen]);
            ResponseHead::parse(&calling.head)
        };
        match parsed.map_err(|failure| calling.failure(failure.code, &failure.detail))? {
            None => {
                if before == 0 {
                    calling.head.extend_from_slice(&data[..seen]);
                }
                calling.at = seen;
                Ok((State::Call(calling), None))
            }
            Some((head, length)) => {
                calling.at = length - before;
                calling.head = Vec::new();
                calling.head_complete = true;
                calling.since = now;
                self.response = Some(head);
                Ok((State::Call(calling), Some(Step::Head)))
            }
        }
    }

    fn finish(&mut self, calling: Calling) -> Result<(State, Option<Step>), Failure> {
        let Some(response) = &self.response else {
            let what = "the response head is invalid: the answer ended before it did";
            return Err(calling.failure(Code::ResponseHeadInvalid, what));
        };
        let has_body = !self.head_only && !response.is_bodyless();
        if let Some(length) = response.length.filter(|&length| has_body && length != calling.passed) {
            let what = format!("Content-Length said {length} bytes, {} came", calling.passed);
            return Err(calling.failure(Code::ResponseLengthConflict, &what));
        }
        let Calling { talk, permit, .. } = calling;
        self.at_rest = talk.finish().map(|connection| (permit, connection));
        Ok((State::Done, Some(Step::Done)))
    }

    /// Refuses body beyond what Content-Length said: it would become the start of the browser's next response.
    fn check_length(&self, calling: &Calling, more: usize) -> Result<(), Failure> {
        match self.response.as_ref().and_then(|response| response.length) {
            Some(length) if calling.passed + more as u64 > length => {
                let what = format!("Content-Length said {length} bytes, more came");
                Err(calling.failure(Code::ResponseLengthConflict, &what))
            }
            _ => Ok(()),
        }
    }

    /// Ends the exchange: with a page while nothing of an answer has been told, else by cutting it.
    fn fail(&mut self, failure: Failure) {
        self.state = match self.response {
            Some(_) => State::Aborted,
            None => {
                let (head, body) = page::page(failure.code, &self.request_id);
                self.response = Some(head);
                State::Page { body, at: 0, head_told: false }
            }
        };
        self.failure = Some(failure);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.sleeper.retire();
        if let Some((permit, connection)) = self.at_rest.take() {
            permit.put_back(connection);
        }
    }
}

impl Calling {
    fn stage(&self) -> Stage {
        if self.head_complete || !self.head.is_empty() { Stage::Answer } else { Stage::AwaitAnswer }
    }

    fn broken(&self, error: TalkError) -> Failure {
        broken(&self.permit, &error, self.stage())
    }

    fn failure(&self, code: Code, what: &str) -> Failure {
        failure(&self.permit, code, what)
    }

    fn timed_out(&self) -> Failure {
        let what = format!("nothing came for {} s (Server_Response_Timeout)", self.timeout.as_secs());
        self.failure(Code::ResponseTimeout, &what)
    }
}

fn broken(permit: &Permit, error: &TalkError, stage: Stage) -> Failure {
    let has_certificate = permit.pool().server().tls.certificate_file.is_some();
    match error {
        TalkError::Link(error) => {
            failure(permit, diagnosis::code_of(error, stage, has_certificate), &diagnosis::describe(error))
        }
        TalkError::Wire(error) => failure(permit, diagnosis::code_of_wire(error, stage, false), &error.to_string()),
    }
}

fn failure(permit: &Permit, code: Code, what: &str) -> Failure {
    Failure::new(code, format!("{}: {what}", describe_server(&permit.pool().server(), None)))
}

/// The host's id if it can stand in a page and a log line, else one of the worker's.
fn request_id_of(given: &[u8], worker: &Worker) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(byte);
    match !given.is_empty() && given.len() <= 64 && given.iter().all(is_plain) {
        true => String::from_utf8_lossy(given).into_owned(),
        false => worker.next_request_id(),
    }
}
