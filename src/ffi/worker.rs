//! The worker: pools and caretaker of one process, started after the fork.

use std::ffi::c_void;
use std::sync::Arc;

use super::gateway::sclera_gateway;
use super::{export, failed, give, invalid, sclera_result, shared, take};
use rustls::ClientConfig;

use crate::failure::Failure;
use crate::pool::worker::Worker;

/// One worker process's pools and its caretaker thread. Any thread may use it.
pub struct sclera_worker {
    pub(super) worker: Arc<Worker>,
}

impl sclera_worker {
    /// What TLS connections to a server are made with now; `None` if it does not use TLS. Not a C function: the library
    /// for hosts that own their sockets hands it out.
    pub fn tls_config(&self, server: &str) -> Result<Option<Arc<ClientConfig>>, Failure> {
        let identity = self.worker.pool_by_name(server)?.identity()?;
        Ok(identity.tls.as_ref().map(|tls| tls.config.clone()))
    }
}

export! {
    /// Starts a worker after the fork, as the user the process will stay: it loads the certificates and keys, and starts
    /// the caretaker thread with all signals blocked. A server whose files cannot be used does not fail the start; its
    /// requests are answered with 503 and the code. Stop it with sclera_worker_stop.
    fn sclera_worker_start(gateway: *const sclera_gateway, out: *mut *mut sclera_worker) -> sclera_result {
        // SAFETY: the contract.
        let Some(gateway) = (unsafe { shared(gateway) }) else { return invalid("gateway is NULL") };
        match Worker::start(&gateway.configuration, gateway.software.clone(), gateway.log.clone()) {
            // SAFETY: the contract.
            Ok(worker) => unsafe { give(out, sclera_worker { worker: Arc::new(worker) }) },
            Err(error) => failed(sclera_result::SCLERA_SYSTEM, &format!("the worker cannot start: {error}")),
        }
    }
}

export! {
    /// The wake descriptor: readable (level-triggered) while sclera_worker_drive has exchanges to list. It belongs to the
    /// worker: watch it, and neither read nor close it. -1 for NULL.
    fn sclera_worker_wake_fd(worker: *const sclera_worker) -> i32 {
        // SAFETY: the contract.
        unsafe { shared(worker) }.map_or(-1, |worker| worker.worker.ready().raw_fd())
    }
}

export! {
    /// Writes the userdata of up to `capacity` exchanges that are to be driven now to `userdata`, and returns how many.
    /// Ask for one at a time if driving one exchange may free another.
    fn sclera_worker_drive(worker: *mut sclera_worker, userdata: *mut *mut c_void, capacity: usize) -> usize {
        // SAFETY: the contract.
        let Some(worker) = (unsafe { shared(worker) }) else { return 0 };
        if userdata.is_null() {
            return 0;
        }
        let ready = worker.worker.ready().take(capacity);
        for (place, exchange) in ready.iter().enumerate() {
            // SAFETY: at most `capacity` are listed, and the contract gives that many places.
            unsafe { *userdata.add(place) = std::ptr::with_exposed_provenance_mut(*exchange) };
        }
        ready.len()
    }
}

export! {
    /// Ends a worker: joins the caretaker, says goodbye on idle connections and closes them. Every exchange and
    /// connection of it must have been freed or given back. NULL is fine.
    fn sclera_worker_stop(worker: *mut sclera_worker) -> () {
        // SAFETY: the contract.
        drop(unsafe { take(worker) });
    }
}
