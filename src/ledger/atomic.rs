//! The atomics of the ledger, in one place: `models/` puts loom's here to try every order of events.

pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
