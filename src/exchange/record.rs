//! What is remembered of one request for the event log and the HTTP trace.
//!
//! The exchange tells each step; nothing is kept, formatted or allocated unless somebody has asked for it. Whatever is kept
//! has lost its secrets before it is written: heads by their structure, everything by the values that the request itself has
//! shown to be secret.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::request::{Request, write_call};
use super::response::ResponseHead;
use crate::connection::Connection;
use crate::event_log::format::escaped;
use crate::event_log::level::{Levels, Verbose};
use crate::event_log::mask::{self, Secrets};
use crate::event_log::trace::{self, Entry};
use crate::event_log::{Event, Level, Log, Settings, kinds};
use crate::failure::{Code, Failure};
use crate::profile::Server;

/// See the module.
pub struct Record {
    log: Log,
    levels: Levels,
    server: Option<Arc<Server>>,
    code: Option<Code>,
    detail: Option<Box<Detail>>,
}

/// What is kept of a request that somebody wants to see.
struct Detail {
    request_id: String,
    /// Of the settings, when the request began.
    settings: Arc<Settings>,
    /// Whether it is traced.
    traced: bool,
    began: SystemTime,
    times: Times,
    /// The connection was made for this request.
    new_connection: bool,
    secrets: Secrets,
    /// Session tokens of the request: names and fingerprints.
    tokens: Vec<String>,
    client: String,
    method: String,
    target: Vec<u8>,
    /// The head argument of the call as it would be without secrets, for buffers.
    call: Option<Vec<u8>>,
    request: Message,
    response: Message,
    status: u16,
}

/// When each stage ended.
struct Times {
    start: Instant,
    obtained: Option<Instant>,
    sent: Option<Instant>,
    head: Option<Instant>,
}

/// One direction.
#[derive(Default)]
struct Message {
    head: Vec<u8>,
    content_type: Vec<u8>,
    /// The first `most` bytes.
    body: Zeroizing<Vec<u8>>,
    most: usize,
    /// All bytes.
    length: u64,
}

/// `t`: so much of a buffer.
const BUFFER: usize = 256;

impl Record {
    /// Begins with a request whose server is not known yet: what `[SYSTEM]` asks for is recorded.
    pub fn begin(log: &Log, request: &Request, request_id: &str, software: &str, now: Instant) -> Record {
        let mut record = Record { log: log.clone(), levels: log.levels(), server: None, code: None, detail: None };
        record.take(record.levels, request, request_id, software, now);
        record
    }

    /// A server that may be asked, which may want more to be recorded.
    pub fn candidate(&mut self, server: &Server, request: &Request, request_id: &str, software: &str, now: Instant) {
        if server.log_levels.is_some() {
            self.take(self.log.levels_for(server.log_levels), request, request_id, software, now);
        }
    }

    /// A request that is nobody's to see: from now on only its failure is recorded.
    pub fn forget(&mut self) {
        self.detail = None;
    }

    /// The server that is asked now. Another one may follow.
    pub fn server(&mut self, server: Arc<Server>) {
        self.levels = self.log.levels_for(server.log_levels);
        self.server = Some(server);
        let Some(detail) = &self.detail else { return };
        let verbose = self.levels.verbose;
        if verbose.number > 0 {
            let details = format!("{} {} from {}", detail.method, detail.shown_target(), detail.client);
            self.put(Level::Info, kinds::REQUEST, "Request", &details);
        }
        if verbose.headers() {
            self.put(Level::Debug, kinds::DATA, "Request headers", &escaped(&detail.request.head));
        }
        for token in detail.tokens.iter().filter(|_| self.levels.sessions) {
            self.put(Level::Info, kinds::SESSION, "Session token taken from the cookie", token);
        }
    }

    /// A connection has been had.
    pub fn obtained(&mut self, connection: &mut Connection, reused: bool, now: Instant) {
        let Some(detail) = &mut self.detail else { return };
        detail.times.obtained = Some(now);
        detail.new_connection = !reused;
        if reused {
            return;
        }
        if self.levels.verbose.connections() {
            let number = connection.wants().link;
            self.put(Level::Info, kinds::CONNECTION, "Connection started", &format!("connection {number}"));
        }
        if self.levels.tls
            && let Some(state) = connection.link_mut().tls_state()
        {
            let version = state.protocol_version().and_then(|version| version.as_str().map(str::to_owned));
            let suite = state.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str().map(str::to_owned));
            let details = format!("{}, {}", version.unwrap_or_default(), suite.unwrap_or_default());
            self.put(Level::Info, kinds::CONNECTION, "TLS", &details);
        }
    }

    /// The call has been sent.
    pub fn sent(&mut self, now: Instant) {
        if let Some(detail) = &mut self.detail {
            detail.times.sent = Some(now);
        }
    }

    /// Request body has been taken.
    pub fn request_body(&mut self, piece: &[u8]) {
        if let Some(detail) = &mut self.detail {
            detail.request.take(piece);
        }
    }

    /// What was told of the response has been taken back: nothing of it has left.
    pub fn retracted(&mut self) {
        if let Some(detail) = &mut self.detail {
            detail.response.body.clear();
            detail.response.length = 0;
        }
    }

    /// The response head is complete; `bytes` are those that the application sent, empty for a page of ours.
    pub fn head(&mut self, bytes: &[u8], head: &ResponseHead, now: Instant) {
        let Some(detail) = &mut self.detail else { return };
        detail.times.head = Some(now);
        detail.status = head.status;
        let of_type = |(name, _): &&(String, Vec<u8>)| name.eq_ignore_ascii_case("content-type");
        detail.response.content_type = head.headers.iter().find(of_type).map(|it| it.1.clone()).unwrap_or_default();
        for (name, value) in &head.headers {
            detail.secrets.note_header(name.as_bytes(), value);
        }
        // An application may give back in a header what it got in a form.
        detail.note_request_body();
        let masked = match bytes {
            [] => {
                let status = format!("HTTP/1.1 {} {}\r\n", head.status, head.reason);
                let headers = head.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
                head_of(status.as_bytes(), headers)
            }
            bytes => masked_head(bytes),
        };
        detail.response.head = detail.secrets.mask(&masked, false);
        if self.levels.sessions {
            let set = head.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
            for token in set.flat_map(|(_, value)| tokens_of(value)) {
                self.put(Level::Info, kinds::SESSION, "Session token given to the browser", &token);
            }
        }
        if self.levels.verbose.headers()
            && let Some(detail) = &self.detail
        {
            self.put(Level::Debug, kinds::DATA, "Response headers", &escaped(&detail.response.head));
        }
    }

    /// Whether response bodies are to be told at all: they would have to be copied.
    pub fn wants_response(&self) -> bool {
        self.detail.is_some()
    }

    /// Response body has been passed on.
    pub fn response_body(&mut self, piece: &[u8]) {
        if let Some(detail) = &mut self.detail {
            detail.response.take(piece);
        }
    }

    /// The exchange has failed.
    pub fn failed(&mut self, failure: &Failure, request_id: &str) {
        self.code = Some(failure.code);
        if self.levels.errors {
            let text = failure.to_string();
            let event = Event::new(Level::Error, kinds::ERROR, failure.code.name()).details(&text);
            self.log.record(event.request(request_id).server(self.server_name()).code(failure.code));
        }
    }

    /// The name of the server that answers; empty while it is not known.
    pub fn server_name(&self) -> &str {
        self.server.as_ref().map_or("", |server| server.name.as_str())
    }

    /// The exchange is over. `complete`: the browser got all that there was; `kept`: its connection can be used again.
    pub fn end(&mut self, complete: bool, kept: bool, now: Instant) {
        let Some(mut detail) = self.detail.take() else { return };
        detail.note_request_body();
        let took = now.saturating_duration_since(detail.times.start);
        let writer = Writer { log: &self.log, detail: &detail, server: self.server_name() };
        writer.dialogue(self.levels, complete, self.code, took);
        if self.levels.verbose.connections() && detail.times.obtained.is_some() && !kept {
            writer.put(Level::Info, kinds::CONNECTION, "Connection closed", "it cannot be used for another request");
        }
        let slow = self.levels.timing.filter(|timing| took >= timing.longer_than);
        if let Some(timing) = slow {
            let stages = detail.times.stages(now, detail.new_connection, timing.finer);
            writer.put(Level::Info, kinds::TIMING, "Timing", &stages);
        }
        let own = self.levels.verbose;
        match slow.map(|timing| timing.verbose).filter(|slow| slow.number > 0 && own.number == 0) {
            Some(verbose) => {
                if verbose.headers() {
                    writer.put(Level::Debug, kinds::DATA, "Request headers", &escaped(&detail.request.head));
                    writer.put(Level::Debug, kinds::DATA, "Response headers", &escaped(&detail.response.head));
                }
                writer.bodies(verbose);
            }
            None => writer.bodies(own),
        }
        writer.buffers(self.levels);
        if detail.traced {
            self.trace(&detail, now, took);
        }
    }

    /// Begins to keep what these levels ask for, unless that is nothing, or lets more be kept.
    fn take(&mut self, levels: Levels, request: &Request, request_id: &str, software: &str, now: Instant) {
        if self.detail.is_some() {
            return self.widen(levels, request, request_id, software);
        }
        let traced = self.log.traces(request.path(), request.remote_address);
        if !traced && !levels.watch_requests() {
            return;
        }
        let Some(settings) = self.log.settings() else { return };
        let mut secrets = Secrets::default();
        request.headers.iter().for_each(|(name, value)| secrets.note_header(name, value));
        secrets.note_target(request.target);
        secrets.note(request.auth_password);
        let target = secrets.mask(&mask::target(request.target), false);
        let line = [request.method, b" ", &target, b" ", request.protocol, b"\r\n"].concat();
        let head = head_of(&line, request.headers.iter().copied());
        let content_type = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"content-type"));
        let request_head = Message {
            head: secrets.mask(&head, false),
            content_type: content_type.map(|it| it.1.to_vec()).unwrap_or_default(),
            ..Message::default()
        };
        self.detail = Some(Box::new(Detail {
            request_id: request_id.to_owned(),
            settings,
            traced,
            began: SystemTime::now(),
            times: Times { start: now, obtained: None, sent: None, head: None },
            new_connection: false,
            secrets,
            tokens: Vec::new(),
            client: String::from_utf8_lossy(request.remote_address).into_owned(),
            method: String::from_utf8_lossy(request.method).into_owned(),
            target,
            call: None,
            request: request_head,
            response: Message::default(),
            status: 0,
        }));
        self.widen(levels, request, request_id, software);
    }

    /// Lets bodies and buffers be kept as far as the levels and the trace want them.
    fn widen(&mut self, levels: Levels, request: &Request, request_id: &str, software: &str) {
        let Some(detail) = &mut self.detail else { return };
        let largest = detail.settings.largest_body;
        let slow = levels.timing.map_or(Verbose::default(), |timing| timing.verbose);
        let raw = if levels.raw.whole { largest } else { BUFFER * 4 };
        let size = |wanted: bool, raw_wanted: bool| {
            let traced = if detail.traced { detail.settings.trace.body } else { 0 };
            let logged = if wanted { largest } else { 0 };
            traced.max(logged).max(if raw_wanted { raw } else { 0 })
        };
        let sides = (levels.raw.server, levels.raw.client);
        let requests = levels.verbose.request_data() || slow.request_data();
        let responses = levels.verbose.response_data() || slow.response_data();
        let most = size(requests, sides.0.request || sides.1.request);
        detail.request.most = detail.request.most.max(most);
        let most = size(responses, sides.0.response || sides.1.response);
        detail.response.most = detail.response.most.max(most);
        if levels.sessions && detail.tokens.is_empty() {
            let sent = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"cookie"));
            detail.tokens = sent.flat_map(|(_, value)| tokens_of(value)).collect();
        }
        if sides.0.request && detail.call.is_none() {
            let headers: Vec<_> =
                request.headers.iter().map(|(name, value)| (*name, mask::header(name, value))).collect();
            let headers: Vec<(&[u8], &[u8])> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
            let auth_password = if request.auth_password.is_empty() { b"" } else { mask::MASK };
            let target = detail.target.clone();
            let masked = Request { headers: &headers, target: &target, auth_password, ..request.clone() };
            detail.call = Some(masked.to_head(software, request_id));
        }
    }

    fn put(&self, level: Level, name: &'static str, text: &str, details: &str) {
        if let Some(detail) = &self.detail {
            Writer { log: &self.log, detail, server: self.server_name() }.put(level, name, text, details);
        }
    }

    fn trace(&self, detail: &Detail, now: Instant, took: Duration) {
        let most = detail.settings.trace.body;
        let message = |message: &Message| trace::Message {
            head: message.head.clone(),
            body: message.masked(&detail.secrets, most),
            missing: message.length.saturating_sub(message.body.len().min(most) as u64),
        };
        let entry = Entry {
            request_id: detail.request_id.clone(),
            began: detail.began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
            took: took.as_micros() as u64,
            client: detail.client.clone(),
            method: detail.method.clone(),
            target: detail.shown_target(),
            server: self.server_name().to_owned(),
            status: detail.status,
            code: self.code.map(|code| code.to_string()).unwrap_or_default(),
            stages: detail.times.stages(now, detail.new_connection, false),
            request: message(&detail.request),
            response: message(&detail.response),
        };
        let Settings { trace, .. } = &*detail.settings;
        self.log.traced(trace::save(&trace.directory, &entry, trace.entries), &trace.directory);
    }
}

/// Writes the events of one request.
struct Writer<'a> {
    log: &'a Log,
    detail: &'a Detail,
    server: &'a str,
}

impl Writer<'_> {
    fn put(&self, level: Level, name: &'static str, text: &str, details: &str) {
        let event = Event::new(level, name, text).details(details);
        self.log.record(event.request(&self.detail.request_id).server(self.server));
    }

    /// How it ended.
    fn dialogue(&self, levels: Levels, complete: bool, code: Option<Code>, took: Duration) {
        let Detail { status, response, request, .. } = self.detail;
        if levels.verbose.number > 0 {
            let code = code.map(|code| format!(", {code}")).unwrap_or_default();
            let details = format!(
                "status {status}{code}, {} bytes of request body, {} bytes of response body, {}",
                request.length,
                response.length,
                milliseconds(took)
            );
            self.put(Level::Info, kinds::REQUEST, "Response", &details);
        }
        if levels.verbose.connections() && !complete && code.is_none() {
            let details = "the browser went away before the answer was complete";
            self.put(Level::Info, kinds::REQUEST, "Browser interrupt", details);
        }
    }

    fn bodies(&self, verbose: Verbose) {
        let Detail { request, response, secrets, settings, .. } = self.detail;
        let is_multipart = request.content_type.to_ascii_lowercase().starts_with(b"multipart/");
        if verbose.request_data() {
            let details = match is_multipart && !verbose.multipart {
                false => request.shown(secrets, settings.largest_body),
                true => format!("{} bytes of a multipart body", request.length),
            };
            self.put(Level::Debug, kinds::DATA, "Request data", &details);
        }
        if verbose.response_data() {
            self.put(Level::Debug, kinds::DATA, "Response data", &response.shown(secrets, settings.largest_body));
        }
    }

    fn buffers(&self, levels: Levels) {
        let Detail { request, response, secrets, settings, call, .. } = self.detail;
        let raw = levels.raw;
        let most = if raw.whole { settings.largest_body } else { BUFFER };
        let put = |text: &str, mut bytes: Vec<u8>| {
            bytes.truncate(most);
            let text = format!("{text} ({} bytes)", bytes.len());
            self.put(Level::Debug, kinds::DATA, &text, &escaped(&bytes));
        };
        let both = |message: &Message| [&*message.head, &message.masked(secrets, message.most)].concat();
        if raw.client.request {
            put("Buffer from the browser", both(request));
        }
        if let Some(head) = call.as_ref().filter(|_| raw.server.request) {
            let body = request.masked(secrets, request.most);
            let mut bytes = Vec::new();
            write_call(head, Some(&body), b"", &mut bytes);
            put("Buffer to the superserver", secrets.mask(&bytes, false));
        }
        if raw.server.response {
            put("Buffer from the superserver", both(response));
        }
        if raw.client.response {
            put("Buffer to the browser", both(response));
        }
    }
}

impl Detail {
    /// Takes note of what is secret in the request's body, as far as it has come.
    fn note_request_body(&mut self) {
        let Detail { secrets, request, .. } = self;
        secrets.note_body(&request.content_type, &request.body);
    }

    fn shown_target(&self) -> String {
        escaped(&self.target)
    }
}

impl Message {
    fn take(&mut self, piece: &[u8]) {
        self.length += piece.len() as u64;
        let room = self.most.saturating_sub(self.body.len());
        self.body.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// At most `most` bytes of the body without its secrets.
    fn masked(&self, secrets: &Secrets, most: usize) -> Vec<u8> {
        let cut = self.length > self.body.len() as u64;
        let mut masked = secrets.mask_body(&self.content_type, &self.body, cut);
        masked.truncate(most);
        masked
    }

    fn shown(&self, secrets: &Secrets, most: usize) -> String {
        let masked = self.masked(secrets, most);
        let more = match self.length.saturating_sub(self.body.len() as u64) {
            0 => String::new(),
            more => format!("\n({more} more bytes)"),
        };
        escaped(&masked) + &more
    }
}

impl Times {
    fn stages(&self, now: Instant, new: bool, finer: bool) -> String {
        let between = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
            (Some(from), Some(to)) => milliseconds(to.saturating_duration_since(from)),
            _ => "none".to_owned(),
        };
        let new = if new { " [NEW]" } else { "" };
        let mut text = format!(
            "total {}, obtain connection{new} {}, send {}, processing {}, receive {}",
            milliseconds(now.saturating_duration_since(self.start)),
            between(Some(self.start), self.obtained),
            between(self.obtained, self.sent),
            between(self.sent, self.head),
            between(self.head, Some(now)),
        );
        if finer {
            let until = self.obtained.or(self.head).unwrap_or(now);
            text += &format!(
                ", pre-processing and connection {}",
                milliseconds(until.saturating_duration_since(self.start))
            );
        }
        text
    }
}

/// Session tokens in the value of a header: names and fingerprints.
fn tokens_of(value: &[u8]) -> Vec<String> {
    let told = |(name, token): (&[u8], &[u8])| format!("{} {}", escaped(name), mask::fingerprint(token));
    mask::session_cookies(value).into_iter().map(told).collect()
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1000.0)
}

/// A first line and headers without their secrets, as they are on the wire.
fn head_of<'a>(line: &[u8], headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut head = line.to_vec();
    for (name, value) in headers {
        head.extend_from_slice(&[name, b": ", &mask::header(name, value), b"\r\n"].concat());
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The bytes of a head without its secrets; everything else stays as it is, line breaks and spaces included.
fn masked_head(bytes: &[u8]) -> Vec<u8> {
    let mut head = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            head.extend_from_slice(line);
            continue;
        };
        let (name, rest) = (&line[..colon], &line[colon + 1..]);
        let value = rest.trim_ascii();
        let start = rest.len() - rest.trim_ascii_start().len();
        head.extend_from_slice(&line[..colon + 1 + start]);
        head.extend_from_slice(&mask::header(name, value));
        head.extend_from_slice(&rest[start + value.len()..]);
    }
    head
}
