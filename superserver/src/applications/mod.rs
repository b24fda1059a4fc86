//! The applications that come along, mounted below `/csp/demo`: what shows that a gateway works, and what tries it hard.

mod demo;
mod echo;
mod trial;

use crate::application::Application;
use std::sync::Arc;

/// Path and application of each.
pub fn all() -> Vec<(&'static str, Arc<dyn Application>)> {
    vec![
        ("/csp/demo", Arc::new(demo::TestForm)),
        ("/csp/demo/echo", Arc::new(echo::Echo)),
        ("/csp/demo/stream", Arc::new(trial::Stream)),
        ("/csp/demo/slow", Arc::new(trial::Slow)),
        ("/csp/demo/big", Arc::new(trial::Big)),
        ("/csp/demo/status", Arc::new(trial::Status)),
        ("/csp/demo/fail", Arc::new(trial::Fail)),
    ]
}
