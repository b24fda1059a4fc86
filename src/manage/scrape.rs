//! The metrics page, for programs that watch the gateway: who may read it, and in which form.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Request, Response, access};
use crate::ledger::Ledger;
use crate::pool::view::View;
use crate::pool::worker::Worker;
use crate::status::Status;
use crate::status::metrics::{Form, Numbers, certificates};

/// What answering needs of a worker.
pub struct Scrape {
    view: Arc<View>,
    ledger: Arc<Ledger>,
}

impl Scrape {
    pub fn of(worker: &Worker) -> Scrape {
        Scrape { view: worker.view(), ledger: worker.ledger().clone() }
    }

    /// Answers a request for the metrics. Takes some milliseconds at most.
    pub fn answer(&self, request: &Request) -> Response {
        let Ok(profile) = self.view.profile() else {
            return Response::plain(503, "There is no configuration.");
        };
        let clients = &profile.system.monitoring.metrics_clients.value;
        if access::admit(clients, profile.system.management.accept_forwarded, request).is_none() {
            return Response::plain(403, "You are not authorized to read the metrics.");
        }
        if request.is_write() {
            return Response::plain(405, "The metrics can only be read.").with("Allow", "GET, HEAD");
        }
        let form = Form::of(request.header("accept").unwrap_or_default());
        let numbers = Numbers {
            status: Status::of(&self.ledger.snapshot(), Some(profile)),
            certificates: certificates(&self.view, SystemTime::now()),
        };
        match numbers.page(form) {
            Ok(page) => Response::new(200, form.content_type(), page),
            Err(error) => Response::plain(500, &format!("The metrics cannot be written: {error}")),
        }
    }
}
