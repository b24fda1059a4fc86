//! Applications that a test holds in its hand.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Poll, Waker};

use sclera_superserver::application::{Application, Exchange, Handling, Request};

use crate::process::PATIENCE;

/// Answers `through` once the gate is open. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<Waiting>, Condvar)>);

#[derive(Debug, Default)]
struct Waiting {
    open: bool,
    arrived: usize,
    wakers: VecDeque<Waker>,
}

impl Gate {
    /// Waits until so many requests have come to the gate.
    pub fn wait_for(&self, count: usize) {
        let (waiting, changed) = &*self.0;
        let waiting = waiting.lock().expect("no test panics at the gate");
        let (waiting, _) = changed
            .wait_timeout_while(waiting, PATIENCE, |waiting| waiting.arrived < count)
            .expect("no test panics at the gate");
        assert!(waiting.arrived >= count, "{} of {count} requests have come to the gate", waiting.arrived);
    }

    pub fn open(&self) {
        let mut waiting = self.0.0.lock().expect("no test panics at the gate");
        waiting.open = true;
        waiting.wakers.drain(..).for_each(Waker::wake);
    }
}

impl Application for Gate {
    fn handle<'a>(&'a self, _: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
        Box::pin(async move {
            let (waiting, changed) = &*self.0;
            waiting.lock().expect("no test panics at the gate").arrived += 1;
            changed.notify_all();
            poll_fn(|context| {
                let mut waiting = waiting.lock().expect("no test panics at the gate");
                if waiting.open {
                    return Poll::Ready(());
                }
                waiting.wakers.push_back(context.waker().clone());
                Poll::Pending
            })
            .await;
            exchange.respond(200, "text/plain", b"through\n").await
        })
    }
}

/// Answers with these headers and this body.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    pub status: u16,
    pub headers: &'static [(&'static str, &'static str)],
    pub body: &'static [u8],
}

impl Application for Fixed {
    fn handle<'a>(&'a self, _: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
        Box::pin(async move {
            exchange.head(self.status, self.headers).await?;
            exchange.write(self.body).await
        })
    }
}
