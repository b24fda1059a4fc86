//! Whether the gateway lives and is ready, for what watches it from outside. The answers cost next to nothing, so that they
//! are given on the event loop, and tell strangers nothing but themselves.

use std::sync::atomic::Ordering;

use crate::ledger::now_ms;
use crate::pool::Pool;
use crate::pool::health::{Admission, Health, Policy, Wish};
use crate::pool::view::View;

/// Status and body of an answer.
type Answer = (u16, &'static str);

/// This process lives: it answers.
pub const LIVE: Answer = (200, "live\n");

/// Whether requests can be answered: there is a configuration, and at least one enabled server can be used.
pub fn ready(view: &View) -> Answer {
    let now = now_ms();
    match view.profile().is_ok() && view.pools().iter().any(|pool| is_usable(pool, now)) {
        true => (200, "ready\n"),
        false => (503, "not ready\n"),
    }
}

/// A server that may be tried out again counts as usable: if nothing were sent to a gateway that is not ready, nothing would
/// ever find out that its only server has come back.
fn is_usable(pool: &Pool, now: u64) -> bool {
    let server = pool.server();
    let row = pool.member().server_row(pool.row());
    let wish = Wish::from(row.wish.load(Ordering::Acquire));
    let health = Health::unpack(row.health.load(Ordering::Acquire));
    server.enabled
        && wish == Wish::Enabled
        && pool.identity().is_ok()
        && health.admits(now, &Policy::of(&server)) != Admission::No
}
