//! A request for a management page or for metrics: collected as a whole, answered by an errand, since that may block, and
//! given to the web server as the page it is.

use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

use super::BODY_PIECE;
use super::request::{BodyLength, Request};
use super::response::ResponseHead;
use crate::failure::{Code, Failure};
use crate::manage::{self, Manage, Response, Scrape};
use crate::pool::errand::{Errand, Refused};
use crate::pool::worker::Worker;
use crate::profile::{Probe, management_place};

/// See the module.
pub struct Managed {
    what: What,
    state: State,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Pages,
    Metrics,
}

/// How far it has come.
pub enum Progress {
    NeedBody,
    /// The errand has not been done; it wakes whoever drives.
    Wait,
    Answer(ResponseHead, Vec<u8>),
}

enum State {
    /// The rest of the body is awaited, of which at most so many bytes come.
    Collect {
        request: manage::Request,
        missing: usize,
        /// The body ends with these bytes, and not only when the browser says so.
        known: bool,
    },
    /// The body has come.
    Collected(manage::Request),
    TooLarge,
    Errand(Arc<Slot>),
}

/// Where the errand leaves its answer.
type Slot = Mutex<Option<Result<Response, Failure>>>;

/// Leaves an answer in any case, also if the errand panics or is never begun.
struct Promise {
    slot: Arc<Slot>,
    waker: Waker,
}

impl Managed {
    /// The request, if its [path](crate::profile::routing_path) is one of the management pages, or that of the metrics.
    pub fn of(request: &Request, path: &str, probe: Option<Probe>, request_id: &str) -> Option<Managed> {
        let (what, place) = match (management_place(path), probe) {
            (Some(place), _) => (What::Pages, place),
            (None, Some(Probe::Metrics)) => (What::Metrics, ""),
            _ => return None,
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let query = request.target.get(request.path().len() + 1..).unwrap_or_default();
        let owned = manage::Request {
            method: text(request.method),
            base: path[..path.len() - place.len()].to_owned(),
            place: place.to_owned(),
            query: text(query),
            headers: request.headers.iter().map(|(name, value)| (text(name), text(value))).collect(),
            client: text(request.remote_address).parse().ok(),
            https: request.https,
            body: Vec::new(),
            id: request_id.to_owned(),
        };
        let limit = manage::BODY_LIMIT;
        let state = match request.length {
            BodyLength::Known(0) => State::Collected(owned),
            BodyLength::Known(length) if length > limit as u64 => State::TooLarge,
            BodyLength::Known(length) => State::Collect { request: owned, missing: length as usize, known: true },
            // One byte more than allowed tells that it is too large.
            BodyLength::Unknown => State::Collect { request: owned, missing: limit + 1, known: false },
        };
        Some(Managed { what, state })
    }

    /// Goes on as far as possible.
    ///
    /// # Errors
    ///
    /// Why no page can be given.
    pub fn drive(&mut self, worker: &Worker, waker: &Waker) -> Result<Progress, Failure> {
        match std::mem::replace(&mut self.state, State::TooLarge) {
            State::Collect { request, missing, known } => {
                self.state = State::Collect { request, missing, known };
                Ok(Progress::NeedBody)
            }
            State::Collected(request) => {
                let slot = Arc::new(Slot::default());
                let promise = Promise { slot: slot.clone(), waker: waker.clone() };
                let errand: Errand = match self.what {
                    What::Pages => {
                        let manage = Manage::of(worker)?;
                        Box::new(move || promise.keep(manage.answer(&request)))
                    }
                    What::Metrics => {
                        let scrape = Scrape::of(worker);
                        Box::new(move || promise.keep(scrape.answer(&request)))
                    }
                };
                worker.errands().submit(errand).map_err(refused)?;
                self.state = State::Errand(slot);
                Ok(Progress::Wait)
            }
            State::TooLarge => Ok(answer(Response::plain(413, "The request is too large."))),
            State::Errand(slot) => match slot.lock().take() {
                Some(outcome) => outcome.map(answer),
                None => {
                    self.state = State::Errand(slot.clone());
                    Ok(Progress::Wait)
                }
            },
        }
    }

    /// Whether a management page is asked for, and not metrics.
    pub fn is_page(&self) -> bool {
        self.what == What::Pages
    }

    /// How many bytes of request body are taken now.
    pub fn body_wanted(&self) -> usize {
        match &self.state {
            State::Collect { missing, .. } => (*missing).min(BODY_PIECE),
            _ => 0,
        }
    }

    /// Takes request body; `last` if none follows.
    pub fn give_body(&mut self, piece: &[u8], last: bool) {
        let State::Collect { request, missing, known } = &mut self.state else { return };
        request.body.extend_from_slice(piece);
        *missing -= piece.len().min(*missing);
        if !last && *missing > 0 {
            return;
        }
        let whole = if *known { *missing == 0 } else { *missing > 0 };
        let request = std::mem::take(request);
        // A body that ends early is as useless as one that is too large, and nobody waits for its page.
        self.state = if whole { State::Collected(request) } else { State::TooLarge };
    }
}

impl Promise {
    fn keep(self, response: Response) {
        *self.slot.lock() = Some(Ok(response));
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let broken = || Err(Failure::new(Code::Internal, "the errand of a management page did not end"));
        self.slot.lock().get_or_insert_with(broken);
        self.waker.wake_by_ref();
    }
}

fn refused(reason: Refused) -> Failure {
    match reason {
        Refused::Stopping => Failure::new(Code::WorkerStopping, "a management page was asked for"),
        Refused::Full => Failure::new(Code::ManagementBusy, "too many wait already"),
        Refused::NoThread => Failure::new(Code::ManagementBusy, "the system gives no thread"),
    }
}

/// The answer to a question that costs nothing.
pub fn at_once((status, body): (u16, &'static str)) -> (ResponseHead, Vec<u8>) {
    let headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).to_vec();
    let length = Some(body.len() as u64);
    (ResponseHead { status, reason: String::new(), headers, length }, body.as_bytes().to_vec())
}

fn answer(response: Response) -> Progress {
    let headers = response.headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
    let length = Some(response.body.len() as u64);
    let head = ResponseHead { status: response.status, reason: String::new(), headers, length };
    Progress::Answer(head, response.body)
}
