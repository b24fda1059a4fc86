//! One HTTP request's way through a connection, as a state machine that never blocks: drive it, do what the step says,
//! and when it waits ask it what for.
//!
//! The application pulls the request body and pushes the response; both go through in pieces, so memory does not grow
//! with either. Whatever fails before the response head has been told becomes a small error page; afterwards the web
//! server is told to cut the answer. A connection goes back to the pool only from the end of an answer.

mod managed;
mod page;
mod record;
pub mod request;
pub mod response;
pub mod retry;
pub mod session;

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use managed::{Managed, Progress};
use record::Record;
use request::{BodyLength, Request};
use response::{HEAD_LIMIT, ResponseHead};
use retry::{Body, Sent, is_idempotent, may_retry};
use session::{Claims, SessionKey, WebServerId};

use crate::connection::diagnosis::Stage;
use crate::connection::{self, Connection, Talk, TalkError, Told, Wants};
use crate::failure::{Code, Failure};
use crate::ledger::{Counter, Tally, now_ms};
use crate::pool::choice::Session;
use crate::pool::health::Event;
use crate::pool::plan::Plan;
use crate::pool::wake::Sleeper;
use crate::pool::worker::Worker;
use crate::pool::{Acquire, Asked, Lease, Permit, PlaceInLine, Pool, Serving, SessionTurn};
use crate::profile::Probe;
use crate::status::probe;
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
    /// The response cannot be completed: cut the browser's connection, or [`Exchange::retract`] what was told.
    Abort,
}

/// One request being answered.
pub struct Exchange {
    worker: Arc<Worker>,
    sleeper: Arc<Sleeper>,
    waker: Waker,
    request_id: String,
    started: Instant,
    method: Vec<u8>,
    /// What the request says of its session.
    claims: Claims,
    /// The body may name the session, if nothing else does.
    is_form: bool,
    /// The servers that may answer; `None` if none is asked.
    plan: Option<Plan>,
    /// The server that is asked.
    serving: Option<Serving>,
    /// It is for the management pages, the metrics, or asks whether the gateway is well.
    is_own: bool,
    /// One of the connections that the session may have.
    turn: Option<SessionTurn>,
    /// When the server that is asked was chosen, in the ledger's time.
    begun: u64,
    /// How often the request has been sent again.
    sent_again: u32,
    /// The head argument of the web call; empty once it is certain that it is not sent again.
    head: Vec<u8>,
    /// The response has a head only.
    head_only: bool,
    body: RequestBody,
    state: State,
    response: Option<ResponseHead>,
    failure: Option<Failure>,
    record: Record,
    /// The connection at rest, to be given back when the host has stopped watching it.
    at_rest: Option<(Permit, Connection)>,
}

enum RequestBody {
    /// Short enough to go with the call; `missing` bytes have not come yet.
    Inline { bytes: Vec<u8>, missing: usize },
    /// Pulled by the application; `begun` once a piece has been given, `ended` once the last has.
    Pulled { begun: bool, ended: bool },
}

enum State {
    /// The whole of a short body is awaited before a connection is taken.
    CollectBody,
    /// The session has as many connections as it may.
    AwaitTurn {
        pool: Arc<Pool>,
        session: SessionKey,
        until: Instant,
        /// `None` before it has asked.
        place: Option<PlaceInLine>,
    },
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
            _ => RequestBody::Pulled { begun: false, ended: false },
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
            record: Record::begin(worker.log(), request, &request_id, worker.software(), now),
            at_rest: None,
            request_id,
            started: now,
            method: request.method.to_vec(),
            claims: session::claims(request),
            is_form: session::is_form(request),
            plan: None,
            serving: None,
            is_own: false,
            turn: None,
            begun: 0,
            sent_again: 0,
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
        let view = self.worker.view();
        let probe = view.profile().as_ref().ok().and_then(|profile| profile.probe(&path));
        if let Some(managed) = Managed::of(request, &path, probe, &self.request_id) {
            self.is_own = true;
            // What administrators type has an audit of its own.
            self.record.forget();
            if managed.is_page() {
                self.worker.member().tally(Tally::Management);
            }
            return Ok(State::Manage(Box::new(managed)));
        }
        if let Some(probe) = probe {
            let answer = if probe == Probe::Live { probe::LIVE } else { probe::ready(&view) };
            let (head, body) = managed::at_once(answer);
            self.response = Some(head);
            self.is_own = true;
            self.record.forget();
            return Ok(State::Page { body, at: 0, head_told: false });
        }
        let plan = Plan::of(view, request.host(), &path)?;
        for pool in plan.pools() {
            self.record.candidate(&pool.server(), request, &self.request_id, self.worker.software(), now);
        }
        self.plan = Some(plan);
        self.head = request.to_head(self.worker.software(), &self.request_id);
        Ok(State::CollectBody)
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
            State::CollectBody | State::Manage(_) | State::Page { .. } | State::Done | State::Aborted => {
                self.at_rest.as_ref().map_or(Wants::until(None), |(_, connection)| connection.wants())
            }
            State::AwaitTurn { until, .. } => Wants::until(Some(*until)),
            State::Acquire(acquire) => acquire.wants(),
            State::MakeProxy { talk, deadline, .. } => talk.wants(Some(*deadline)),
            State::Call(calling) => calling.talk.wants(Some(calling.since + calling.timeout)),
        }
    }

    /// How many bytes of request body are taken now, after [`Step::NeedBody`].
    pub fn body_wanted(&self) -> usize {
        match (&self.state, &self.body) {
            (State::Manage(managed), _) => managed.body_wanted(),
            (State::CollectBody, RequestBody::Inline { missing, .. }) => *missing,
            (State::Call(calling), _) => calling.wanted.unwrap_or(0),
            _ => 0,
        }
    }

    /// Gives request body; gives back how many bytes were taken. `last` says that nothing follows `piece`, and counts
    /// only if all of it is taken.
    pub fn give_body(&mut self, piece: &[u8], last: bool, now: Instant) -> usize {
        let taken = piece.len().min(self.body_wanted());
        self.record.request_body(&piece[..taken]);
        let last = last && taken == piece.len();
        match (&mut self.state, &mut self.body) {
            (State::Manage(managed), _) => managed.give_body(&piece[..taken], last),
            (State::CollectBody, RequestBody::Inline { bytes, missing }) => {
                bytes.extend_from_slice(&piece[..taken]);
                *missing -= taken;
                if last && *missing > 0 {
                    let missing = *missing;
                    self.fail(Failure::new(Code::RequestBodyBroken, format!("{missing} bytes of it are missing")));
                }
            }
            (State::Call(calling), RequestBody::Pulled { begun, ended })
                if calling.wanted.is_some() && (taken > 0 || last) =>
            {
                (*begun, *ended) = (true, last);
                calling.wanted = None;
                calling.since = now;
                if let Err(error) = calling.talk.answer_read(&piece[..taken]) {
                    let failure = calling.broken(error);
                    tell_failure(calling.permit.pool(), self.begun, &failure);
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
        if self.record.wants_response() {
            let piece = self.body()[..count].to_vec();
            self.record.response_body(&piece);
        }
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

    /// After [`Step::Abort`], if nothing of the response has left: takes back what was told of it. The exchange goes on with
    /// the page of its failure. Whether there is one.
    pub fn retract(&mut self) -> bool {
        let Some(failure) = self.failure.as_ref().filter(|_| matches!(self.state, State::Aborted)) else {
            return false;
        };
        let code = failure.code;
        self.record.retracted();
        self.show_page(code);
        true
    }

    /// Why the exchange failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The id under which the request is found in the log: the host's, or one of ours.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The name of the server that answers; empty while none has been found.
    pub fn server_name(&self) -> &str {
        self.record.server_name()
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
            State::CollectBody => match &self.body {
                RequestBody::Inline { missing: 1.., .. } => Ok((State::CollectBody, Some(Step::NeedBody))),
                _ => Ok((self.choose_server(now)?, None)),
            },
            State::AwaitTurn { pool, session, until, place } => {
                match pool.take_turn(session.0.get(), &self.waker, place) {
                    Asked::Taken(turn) => {
                        self.turn = Some(turn);
                        Ok((State::Acquire(Acquire::start(pool, now)), None))
                    }
                    Asked::Wait(_) if now >= until => {
                        Err(pool.failure(Code::SessionBusy, "its session had no connection to spare"))
                    }
                    Asked::Wait(place) => {
                        Ok((State::AwaitTurn { pool, session, until, place: Some(place) }, Some(Step::Wait)))
                    }
                    Asked::Full => {
                        Err(pool.failure(Code::QueueFull, "too many requests wait for a connection of their session"))
                    }
                }
            }
            State::Manage(mut managed) => match managed.drive(&self.worker, &self.waker)? {
                Progress::NeedBody => Ok((State::Manage(managed), Some(Step::NeedBody))),
                Progress::Wait => Ok((State::Manage(managed), Some(Step::Wait))),
                Progress::Answer(head, body) => {
                    self.response = Some(head);
                    Ok((State::Page { body, at: 0, head_told: false }, None))
                }
            },
            State::Acquire(mut acquire) => match acquire.drive(self.worker.names(), &self.waker, now) {
                Ok(None) => Ok((State::Acquire(acquire), Some(Step::Wait))),
                Ok(Some(lease)) => Ok((self.use_lease(lease, now)?, None)),
                Err(failure) => {
                    let pool = acquire.pool().clone();
                    Ok((self.again(&pool, failure, Sent::Nothing, now)?, None))
                }
            },
            State::MakeProxy { talk, permit, reused, deadline } => {
                let pool = permit.pool().clone();
                self.make_proxy(permit, *talk, reused, deadline, now)
                    .or_else(|failure| Ok((self.again(&pool, failure, Sent::Nothing, now)?, None)))
            }
            State::Call(calling) => {
                let pool = calling.permit.pool().clone();
                self.go_on(calling, now)
                    .or_else(|failure| Ok((self.again(&pool, failure, Sent::Something, now)?, None)))
            }
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

    /// The request is complete as far as it has to be: chooses the server.
    fn choose_server(&mut self, now: Instant) -> Result<State, Failure> {
        if self.is_form
            && self.claims.session.is_none()
            && let RequestBody::Inline { bytes, .. } = &self.body
        {
            self.claims.session = session::session_in_form(bytes);
        }
        let session = self.session_for_choice();
        let Some(plan) = &mut self.plan else {
            return Err(Failure::new(Code::Internal, "a server was to be chosen where none is asked"));
        };
        plan.choose(session);
        match plan.next_server() {
            Some(pool) => Ok(self.go_to(pool, now)),
            None => Err(plan.nobody()),
        }
    }

    /// What is known of the session's server.
    fn session_for_choice(&self) -> Session {
        let Some(SessionKey(key)) = self.claims.session else { return Session::New };
        let known = self.worker.ledger().sticky().find(key.get(), now_ms());
        match known.or(self.claims.web_server_id.map(|id| id.server)) {
            Some(mark) => Session::On(mark),
            None => Session::Forgotten(key.get()),
        }
    }

    /// Asks this server.
    fn go_to(&mut self, pool: Arc<Pool>, now: Instant) -> State {
        self.serving = Some(Serving::begin(&pool));
        self.record.server(pool.server());
        self.turn = None;
        self.begun = now_ms();
        match self.claims.session {
            Some(session) => State::AwaitTurn { until: now + pool.server().queue_timeout, pool, session, place: None },
            None => State::Acquire(Acquire::start(pool, now)),
        }
    }

    /// The request has failed at a server: tells all workers, and goes on with the same server or the next if that can do
    /// no harm.
    fn again(&mut self, pool: &Arc<Pool>, failure: Failure, sent: Sent, now: Instant) -> Result<State, Failure> {
        tell_failure(pool, self.begun, &failure);
        let sent = if self.response.is_some() { Sent::HeadSeen } else { sent };
        let body = match self.body {
            RequestBody::Pulled { begun: true, .. } => Body::Gone,
            _ if self.head.is_empty() => Body::Gone,
            _ => Body::Replayable,
        };
        let Some(plan) = &mut self.plan else { return Err(failure) };
        // To ask the next server when the first has not heard of the request is no repetition.
        let (sent_again, most) = match sent {
            Sent::Nothing => (0, 1),
            _ => (self.sent_again, plan.retries()),
        };
        if !may_retry(&self.method, sent, body, failure.code, sent_again, most) {
            return Err(failure);
        }
        let next = match sent == Sent::Nothing || plan.has_choice() && pool.is_ejected() {
            true => plan.next_server(),
            false => Some(pool.clone()),
        };
        let Some(next) = next else { return Err(failure) };
        if sent != Sent::Nothing {
            if !next.spend_retry() {
                return Err(failure);
            }
            self.sent_again += 1;
            next.member().count(next.row(), Counter::Retries);
        }
        Ok(self.go_to(next, now))
    }

    /// Nothing is sent again from now on, so what would be needed for it is given up.
    fn give_up_repeating(&mut self) {
        self.head = Vec::new();
        if let RequestBody::Inline { bytes, .. } = &mut self.body {
            *bytes = Vec::new();
        }
    }

    /// The connection is ours: asks for our object's handle if it has none yet, else makes the call.
    fn use_lease(&mut self, lease: Lease, now: Instant) -> Result<State, Failure> {
        let Lease { mut connection, permit, reused } = lease;
        self.record.obtained(&mut connection, reused, now);
        if connection.facts().gateway_object.is_some() {
            return self.call(connection, permit, reused, now);
        }
        let server = permit.pool().server();
        let deadline = now + server.connect_timeout;
        match connection.begin(|conversation, out| conversation.make_proxy(out)) {
            Ok(talk) => Ok(State::MakeProxy { talk: Box::new(talk), permit, reused, deadline }),
            Err(error) => self.not_sent(permit, &TalkError::Link(error), now),
        }
    }

    /// The permit stands before the talk, so that it is dropped after it: the socket is closed before another worker may
    /// use the right to it.
    fn make_proxy(
        &mut self,
        permit: Permit,
        mut talk: Talk,
        reused: bool,
        deadline: Instant,
        now: Instant,
    ) -> Result<(State, Option<Step>), Failure> {
        talk.set_ready();
        match talk.drive() {
            Ok(Told::Wait) if now < deadline => {
                Ok((State::MakeProxy { talk: Box::new(talk), permit, reused, deadline }, Some(Step::Wait)))
            }
            Ok(Told::Wait) => {
                Err(permit.pool().failure(Code::LoginTimeout, "it did not give our gateway object a handle"))
            }
            Ok(Told::Finished(payload)) => {
                let handle = Element::read(&mut Reader::new(&payload));
                let handle =
                    handle.map_err(|error| permit.pool().failure(Code::ProtocolViolation, &error.to_string()))?;
                let text = handle.value.to_text();
                let Some(mut connection) = talk.finish() else {
                    return Err(permit
                        .pool()
                        .failure(Code::ProtocolViolation, "bytes follow the gateway object's handle"));
                };
                connection.facts_mut().gateway_object = Some(handle_number(text.as_bytes()).to_vec());
                Ok((self.call(connection, permit, reused, now)?, None))
            }
            Ok(Told::Failed { status, text }) => Err(permit
                .pool()
                .failure(Code::ApplicationError, &format!("no gateway object: status {status}, {text:?}"))),
            Ok(_) => Err(permit.pool().failure(Code::ProtocolViolation, "it did not give our gateway object a handle")),
            // The request itself has not been sent, so a stale connection costs nothing but the time.
            Err(_) if reused && !permit.is_interrupted() => {
                drop(talk);
                Ok((self.reopen(permit, now)?, None))
            }
            Err(error) => Err(permit.broken(&error, Stage::AwaitAnswer)),
        }
    }

    /// The connection broke before anything of the request was sent on it.
    fn not_sent(&mut self, permit: Permit, error: &TalkError, now: Instant) -> Result<State, Failure> {
        let pool = permit.pool().clone();
        let failure = permit.broken(error, Stage::AwaitAnswer);
        drop(permit);
        self.again(&pool, failure, Sent::Nothing, now)
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
                    let pool = permit.pool().clone();
                    let failure = permit.broken(&TalkError::Link(error), Stage::AwaitAnswer);
                    drop((talk, permit));
                    return self.again(&pool, failure, Sent::Something, now);
                }
                Err(error) => Err(TalkError::Link(error)),
            },
        };
        if sent.as_ref().is_ok_and(Talk::has_sent) {
            self.record.sent(now);
            permit.pool().earn_retry();
            let may_repeat = is_idempotent(&self.method) && self.plan.as_ref().is_some_and(|plan| plan.retries() > 0);
            if !may_repeat {
                self.give_up_repeating();
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
            Err(error) => self.not_sent(permit, &error, now),
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
                RequestBody::Pulled { ended: false, .. } => Ok((State::Call(calling), Some(Step::NeedBody))),
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
                let failure = permit.pool().failure(Code::ApplicationError, &format!("status {status}, {text:?}"));
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
                let bytes = if before == 0 { calling.talk.data() } else { &calling.head };
                self.record.head(&bytes[..length], &head, now);
                calling.at = length - before;
                calling.head = Vec::new();
                calling.head_complete = true;
                calling.since = now;
                self.response = Some(self.with_session(head, calling.permit.pool()));
                calling.permit.pool().tell(Event::Answered { begun: self.begun });
                self.give_up_repeating();
                Ok((State::Call(calling), Some(Step::Head)))
            }
        }
    }

    /// Remembers the session that the head begins or goes on with, and lets the browser bring back which server it has.
    fn with_session(&self, mut head: ResponseHead, pool: &Arc<Pool>) -> ResponseHead {
        let Some(plan) = &self.plan else { return head };
        let learned = session::learned(&head);
        let mark = pool.server().mark;
        if plan.has_choice() {
            // A token of which no server has told is not learned: a browser could make up as many as it likes.
            let sticky = self.worker.ledger().sticky();
            let known = self.claims.session.filter(|SessionKey(key)| sticky.find(key.get(), now_ms()).is_some());
            if let Some(SessionKey(key)) = learned.or(known) {
                sticky.learn(key.get(), mark, now_ms());
            }
        }
        if let Some(gateway) = plan.gateway_mark() {
            let ours = WebServerId { gateway, server: mark };
            if session::sets_web_server_id(&self.claims, learned, ours) {
                head.headers.push(("Set-Cookie".to_owned(), ours.to_set_cookie()));
            }
        }
        head
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
        self.record.failed(&failure, &self.request_id);
        match self.response {
            Some(_) => self.state = State::Aborted,
            None => self.show_page(failure.code),
        }
        self.worker.member().count_failure(failure.code as u16);
        self.failure = Some(failure);
    }

    fn show_page(&mut self, code: Code) {
        let (head, body) = page::page(code, &self.request_id);
        self.record.head(&[], &head, Instant::now());
        self.response = Some(head);
        self.state = State::Page { body, at: 0, head_told: false };
    }
}

/// A browser that left before its answer had begun.
const CLIENT_LEFT: u16 = 499;

impl Drop for Exchange {
    fn drop(&mut self) {
        let status = self.response.as_ref().map_or(CLIENT_LEFT, |response| response.status);
        let server = self.serving.as_ref().map(|serving| serving.pool().row());
        let path = self.plan.as_ref().and_then(Plan::path);
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        // Who watches the gateway is not counted among those who use it.
        if !self.is_own {
            self.worker.member().count_answer(server, path, status, micros);
        }
        self.sleeper.retire();
        self.record.end(matches!(self.state, State::Done), self.at_rest.is_some(), Instant::now());
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
        self.permit.broken(&error, self.stage())
    }

    fn failure(&self, code: Code, what: &str) -> Failure {
        self.permit.pool().failure(code, what)
    }

    fn timed_out(&self) -> Failure {
        let what = format!("nothing came for {} s (Server_Response_Timeout)", self.timeout.as_secs());
        self.failure(Code::ResponseTimeout, &what)
    }
}

/// Failures after which the connections that were made before are not trusted: the server has probably been restarted.
/// Tells all workers of a failure at a server.
fn tell_failure(pool: &Pool, begun: u64, failure: &Failure) {
    pool.tell(Event::Failed { begun, code: failure.code });
    if smells_of_restart(failure.code) {
        pool.note_restart();
    }
}

fn smells_of_restart(code: Code) -> bool {
    matches!(code, Code::ConnectRefused | Code::ConnectionLost | Code::AnswerCut | Code::ServerDisconnected)
}

/// The host's id if it can stand in a page and a log line, else one of the worker's.
fn request_id_of(given: &[u8], worker: &Worker) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:@+/=".contains(byte);
    match !given.is_empty() && given.len() <= 64 && given.iter().all(is_plain) {
        true => String::from_utf8_lossy(given).into_owned(),
        false => worker.next_request_id(),
    }
}
