//! The exchange: one HTTP request.

use std::ffi::{CStr, CString, c_char, c_void};
use std::time::Instant;

use super::worker::sclera_worker;
use super::{
    exclusive, export, failed, fill, give, invalid, sclera_pair, sclera_result, sclera_slice, shared, sized, slice,
    take,
};
use crate::exchange::request::{BodyLength, Request};
use crate::exchange::{Exchange, Step};
use crate::failure::{Code, Retry};

/// A request, as the web server has it. Nothing of it is needed after sclera_exchange_begin has returned.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct sclera_request {
    /// sizeof(sclera_request).
    pub size: usize,
    pub method: sclera_slice,
    /// Path and query as the browser sent them, not decoded.
    pub target: sclera_slice,
    /// Such as HTTP/1.1.
    pub protocol: sclera_slice,
    /// All headers in their order; repeated ones repeated.
    pub headers: *const sclera_pair,
    pub header_count: usize,
    /// Bytes of the body: 0 for none, -1 if it is not known beforehand.
    pub content_length: i64,
    /// The browser's address, as the web server's own trusted-proxy setting resolves it.
    pub remote_address: sclera_slice,
    pub remote_port: u16,
    pub server_name: sclera_slice,
    pub server_port: u16,
    pub https: bool,
    /// Whom the web server authenticated, and how; empty for nobody.
    pub remote_user: sclera_slice,
    pub auth_type: sclera_slice,
    /// The web server's id for the request (letters, digits and -_.:@+/=, at most 64); empty: one is made.
    pub request_id: sclera_slice,
    /// What sclera_worker_drive lists when the exchange is to be driven. NULL: the host waits with sclera_exchange_wait
    /// and the exchange is never listed.
    pub userdata: *mut c_void,
    /// The password of remote_user, where the application and not the web server checks it; empty anywhere else. It
    /// reaches the application as AUTH_PASSWORD and no log.
    pub auth_password: sclera_slice,
}

/// What the host is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum sclera_step {
    /// Wait for what sclera_exchange_wants names, or until the worker lists the exchange; then drive again.
    SCLERA_STEP_WAIT = 0,
    /// Give request body with sclera_exchange_give_body, then drive again.
    SCLERA_STEP_NEED_BODY = 1,
    /// The response head is complete: sclera_exchange_response. Comes once, also for the page of a failure.
    SCLERA_STEP_HEAD = 2,
    /// Response body is at hand: sclera_exchange_body and sclera_exchange_consume, then drive again.
    SCLERA_STEP_BODY = 3,
    /// The response is complete.
    SCLERA_STEP_DONE = 4,
    /// The response cannot be completed: cut the browser's connection, so that it sees a broken answer; or, if nothing of
    /// the response has left yet, sclera_exchange_retract.
    SCLERA_STEP_ABORT = 5,
}

/// Events of a descriptor, to be joined by `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum sclera_event {
    SCLERA_READ = 1,
    SCLERA_WRITE = 2,
}

/// What an exchange waits for.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct sclera_wants {
    /// sizeof(sclera_wants).
    pub size: usize,
    /// The descriptor to watch, which belongs to Sclera; -1 while only the worker or the time can tell. Watching it
    /// edge-triggered is safe: SCLERA_STEP_WAIT comes only after the socket would block.
    pub fd: i32,
    /// SCLERA_READ, SCLERA_WRITE or both.
    pub events: u32,
    /// Another number means another connection, even behind the same `fd`: the old one may be closed already. 0 without
    /// a descriptor.
    pub link: u64,
    /// Drive again after this time at the latest, in milliseconds; -1: no limit.
    pub timeout_ms: i64,
}

/// A response head. The pointers are valid until the response is retracted or the exchange freed.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct sclera_response {
    /// sizeof(sclera_response).
    pub size: usize,
    /// 200 to 599.
    pub status: u16,
    /// The application's words for the status; may be empty.
    pub reason: sclera_slice,
    /// Without Content-Length and without headers that belong to one hop.
    pub headers: *const sclera_pair,
    pub header_count: usize,
    /// Bytes of the body; -1 if the application did not say.
    pub content_length: i64,
}

/// Why an exchange failed.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct sclera_failure {
    /// sizeof(sclera_failure).
    pub size: usize,
    /// The row of the failure table, such as 303.
    pub code: u32,
    /// The status that belongs to it.
    pub http_status: u16,
    /// One line for the log: code, name, server, what happened, what to do, request id. No secret. Valid until the
    /// object that failed is freed. The host logs it, once.
    pub message: *const c_char,
    /// How far things had come, such as "TLS". Static.
    pub stage: *const c_char,
    /// Whose fault it is: "configuration", "network", "superserver", "application", "browser", "load" or "Sclera". Static.
    pub fault: *const c_char,
    /// What to do, in one sentence. Static.
    pub remedy: *const c_char,
    /// Nothing of the request has reached an application: it may be sent again.
    pub repeatable: bool,
}

impl Default for sclera_failure {
    fn default() -> sclera_failure {
        let none = std::ptr::null();
        sclera_failure {
            size: 0,
            code: 0,
            http_status: 0,
            message: none,
            stage: none,
            fault: none,
            remedy: none,
            repeatable: false,
        }
    }
}

impl sclera_failure {
    /// A failure as C sees it; the message lives as long as its owner.
    pub(super) fn of(code: Code, message: &CStr) -> sclera_failure {
        sclera_failure {
            size: 0,
            code: code as u32,
            http_status: code.http_status(),
            message: message.as_ptr(),
            stage: code.stage().c_name().as_ptr(),
            fault: code.fault().c_name().as_ptr(),
            remedy: code.c_remedy().as_ptr(),
            repeatable: code.retry() == Retry::Safe,
        }
    }
}

/// One request being answered. One thread at a time.
pub struct sclera_exchange {
    exchange: Exchange,
    /// The response's headers as C sees them, once it has a head.
    headers: Vec<sclera_pair>,
    message: Option<CString>,
}

export! {
    /// Takes a request; free the exchange with sclera_exchange_free. A request that cannot be answered, for whatever
    /// reason, does not fail here: the exchange then gives the page of its failure.
    fn sclera_exchange_begin(
        worker: *mut sclera_worker,
        request: *const sclera_request,
        out: *mut *mut sclera_exchange,
    ) -> sclera_result {
        // SAFETY: the contract.
        let Some(worker) = (unsafe { shared(worker) }) else { return invalid("worker is NULL") };
        // SAFETY: the contract.
        let raw = match unsafe { sized(request, "request") } {
            Ok(raw) => raw,
            Err(result) => return result,
        };
        // SAFETY: the contract, for every slice of the request.
        let (request, headers, id) = unsafe {
            let headers: Vec<(&[u8], &[u8])> =
                slice(raw.headers, raw.header_count).iter().map(|pair| (pair.name.bytes(), pair.value.bytes())).collect();
            let request = Request {
                method: raw.method.bytes(),
                target: raw.target.bytes(),
                protocol: raw.protocol.bytes(),
                headers: &[],
                length: u64::try_from(raw.content_length).map_or(BodyLength::Unknown, BodyLength::Known),
                remote_address: raw.remote_address.bytes(),
                remote_port: raw.remote_port,
                server_name: raw.server_name.bytes(),
                server_port: raw.server_port,
                https: raw.https,
                remote_user: raw.remote_user.bytes(),
                auth_type: raw.auth_type.bytes(),
                auth_password: raw.auth_password.bytes(),
            };
            (request, headers, raw.request_id.bytes())
        };
        let request = Request { headers: &headers, ..request };
        let userdata = Some(raw.userdata.expose_provenance()).filter(|&userdata| userdata != 0);
        let exchange = Exchange::begin(worker.worker.clone(), &request, id, userdata, Instant::now());
        // SAFETY: the contract.
        unsafe { give(out, sclera_exchange { exchange, headers: Vec::new(), message: None }) }
    }
}

export! {
    /// Goes on as far as possible and says what to do next. Never blocks.
    fn sclera_exchange_drive(exchange: *mut sclera_exchange) -> sclera_step {
        // SAFETY: the contract.
        let Some(exchange) = (unsafe { exclusive(exchange) }) else { return sclera_step::SCLERA_STEP_ABORT };
        let step = exchange.exchange.drive(Instant::now());
        exchange.note_failure();
        match step {
            Step::Wait => sclera_step::SCLERA_STEP_WAIT,
            Step::NeedBody => sclera_step::SCLERA_STEP_NEED_BODY,
            Step::Head => {
                exchange.note_headers();
                sclera_step::SCLERA_STEP_HEAD
            }
            Step::Body => sclera_step::SCLERA_STEP_BODY,
            Step::Done => sclera_step::SCLERA_STEP_DONE,
            Step::Abort => sclera_step::SCLERA_STEP_ABORT,
        }
    }
}

export! {
    /// What the exchange waits for, after SCLERA_STEP_WAIT. At any other time `link` tells whether a watched descriptor is
    /// still open: another number, or 0, and it has been closed already.
    fn sclera_exchange_wants(exchange: *const sclera_exchange, out: *mut sclera_wants) -> sclera_result {
        // SAFETY: the contract.
        let Some(exchange) = (unsafe { shared(exchange) }) else { return invalid("exchange is NULL") };
        let wants = exchange.exchange.wants();
        let mut events = 0;
        if wants.read {
            events |= sclera_event::SCLERA_READ as u32;
        }
        if wants.write {
            events |= sclera_event::SCLERA_WRITE as u32;
        }
        let timeout_ms = wants.deadline.map_or(-1, |deadline| {
            // Rounded up, so that the time has come when the host drives.
            let left = deadline.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
            i64::try_from(left).unwrap_or(i64::MAX)
        });
        let wants = sclera_wants { size: 0, fd: wants.fd.unwrap_or(-1), events, link: wants.link, timeout_ms };
        // SAFETY: the contract.
        unsafe { fill(out, "wants", wants) }
    }
}

export! {
    /// For hosts with threads: after SCLERA_STEP_WAIT, sleeps until driving makes sense. Only for exchanges whose request
    /// had no userdata.
    fn sclera_exchange_wait(exchange: *mut sclera_exchange) -> sclera_result {
        // SAFETY: the contract.
        let Some(exchange) = (unsafe { exclusive(exchange) }) else { return invalid("exchange is NULL") };
        match exchange.exchange.wait() {
            Ok(()) => sclera_result::SCLERA_OK,
            Err(error) => failed(sclera_result::SCLERA_SYSTEM, &format!("waiting failed: {error}")),
        }
    }
}

export! {
    /// After SCLERA_STEP_NEED_BODY: the most bytes of request body that are taken now, at most 32768.
    fn sclera_exchange_body_wanted(exchange: *const sclera_exchange) -> usize {
        // SAFETY: the contract.
        unsafe { shared(exchange) }.map_or(0, |exchange| exchange.exchange.body_wanted())
    }
}

export! {
    /// Gives request body after SCLERA_STEP_NEED_BODY and returns how many bytes were taken. `last` says that the body
    /// ends with these bytes; it counts only if all of them were taken. Length 0 with `last` ends the body.
    fn sclera_exchange_give_body(exchange: *mut sclera_exchange, data: *const u8, length: usize, last: bool) -> usize {
        // SAFETY: the contract.
        let Some(exchange) = (unsafe { exclusive(exchange) }) else { return 0 };
        // SAFETY: the contract.
        let piece = unsafe { slice(data, length) };
        exchange.exchange.give_body(piece, last, Instant::now())
    }
}

export! {
    /// The browser's request body broke. The exchange fails; a host that cannot answer any more may just free it.
    fn sclera_exchange_body_failed(exchange: *mut sclera_exchange) -> () {
        // SAFETY: the contract.
        if let Some(exchange) = unsafe { exclusive(exchange) } {
            exchange.exchange.body_failed();
        }
    }
}

export! {
    /// The response head, from SCLERA_STEP_HEAD on.
    fn sclera_exchange_response(exchange: *const sclera_exchange, out: *mut sclera_response) -> sclera_result {
        // SAFETY: the contract.
        let Some(exchange) = (unsafe { shared(exchange) }) else { return invalid("exchange is NULL") };
        let Some(head) = exchange.exchange.response() else {
            return failed(sclera_result::SCLERA_WRONG_STATE, "the response head has not come yet");
        };
        let response = sclera_response {
            size: 0,
            status: head.status,
            reason: sclera_slice::of(head.reason.as_bytes()),
            headers: exchange.headers.as_ptr(),
            header_count: exchange.headers.len(),
            content_length: head.length.map_or(-1, |length| i64::try_from(length).unwrap_or(i64::MAX)),
        };
        // SAFETY: the contract.
        unsafe { fill(out, "response", response) }
    }
}

export! {
    /// Response body at hand, after SCLERA_STEP_BODY. Valid until the next drive or free; after a consume ask again.
    fn sclera_exchange_body(exchange: *const sclera_exchange) -> sclera_slice {
        // SAFETY: the contract.
        unsafe { shared(exchange) }.map_or(sclera_slice::EMPTY, |exchange| sclera_slice::of(exchange.exchange.body()))
    }
}

export! {
    /// The first `length` bytes of the body at hand have been passed on.
    fn sclera_exchange_consume(exchange: *mut sclera_exchange, length: usize) -> () {
        // SAFETY: the contract.
        if let Some(exchange) = unsafe { exclusive(exchange) } {
            exchange.exchange.consume(length, Instant::now());
        }
    }
}

export! {
    /// After SCLERA_STEP_ABORT, if nothing of the response has left: takes back what was told of it, so that
    /// sclera_exchange_drive goes on with the head and body of the failure's page. SCLERA_WRONG_STATE at any other time;
    /// break the response then.
    fn sclera_exchange_retract(exchange: *mut sclera_exchange) -> sclera_result {
        // SAFETY: the contract.
        let Some(exchange) = (unsafe { exclusive(exchange) }) else { return invalid("exchange is NULL") };
        if !exchange.exchange.retract() {
            return failed(sclera_result::SCLERA_WRONG_STATE, "the exchange has not been aborted");
        }
        // Those of the answer have gone.
        exchange.note_headers();
        sclera_result::SCLERA_OK
    }
}

export! {
    /// Why the exchange failed; false if it did not.
    fn sclera_exchange_failure(exchange: *const sclera_exchange, out: *mut sclera_failure) -> bool {
        // SAFETY: the contract.
        let Some(exchange) = (unsafe { shared(exchange) }) else { return false };
        let (Some(failure), Some(message)) = (exchange.exchange.failure(), &exchange.message) else { return false };
        let failure = sclera_failure::of(failure.code, message);
        // SAFETY: the contract.
        unsafe { fill(out, "failure", failure) == sclera_result::SCLERA_OK }
    }
}

export! {
    /// The id under which the request stands in log lines and error pages. Valid until the exchange is freed.
    fn sclera_exchange_request_id(exchange: *const sclera_exchange) -> sclera_slice {
        // SAFETY: the contract.
        let exchange = unsafe { shared(exchange) };
        exchange.map_or(sclera_slice::EMPTY, |exchange| sclera_slice::of(exchange.exchange.request_id().as_bytes()))
    }
}

export! {
    /// The name of the server that answers, for the host's access log; empty while none has been found. Valid until the
    /// exchange is driven again or freed.
    fn sclera_exchange_server(exchange: *const sclera_exchange) -> sclera_slice {
        // SAFETY: the contract.
        let exchange = unsafe { shared(exchange) };
        exchange.map_or(sclera_slice::EMPTY, |exchange| sclera_slice::of(exchange.exchange.server_name().as_bytes()))
    }
}

export! {
    /// Frees an exchange at any time. Stop watching its descriptor before: at the end of an answer the connection goes
    /// back to the pool, anywhere else it is closed. NULL is fine.
    fn sclera_exchange_free(exchange: *mut sclera_exchange) -> () {
        // SAFETY: the contract.
        drop(unsafe { take(exchange) });
    }
}

impl sclera_exchange {
    fn note_headers(&mut self) {
        let Some(head) = self.exchange.response() else { return };
        let pairs = head.headers.iter().map(|(name, value)| sclera_pair {
            name: sclera_slice::of(name.as_bytes()),
            value: sclera_slice::of(value),
        });
        self.headers = pairs.collect();
    }

    fn note_failure(&mut self) {
        if let (None, Some(failure)) = (&self.message, self.exchange.failure()) {
            let line = format!("{failure} [request {}]", self.exchange.request_id());
            self.message = Some(super::c_string(&line.replace(char::is_control, " ")));
        }
    }
}
