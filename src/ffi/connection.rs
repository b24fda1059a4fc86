//! A logged-in connection for hosts that make calls of their own. These functions block, within the server's timeouts.

use std::ffi::c_char;

use super::answer::{sclera_answer, sclera_value};
use super::worker::sclera_worker;
use super::{exclusive, export, failed, give, invalid, sclera_result, shared, slice, take, text};
use crate::failure::{Code, Failure};
use crate::pool::session::Session;

/// A logged-in connection taken from the pool. One thread at a time.
pub struct sclera_connection {
    session: Session,
}

export! {
    /// Takes a connection to the server of this name in CSP.ini out of the pool, or makes one; waits within the server's
    /// limits. Give it back with sclera_connection_give_back.
    fn sclera_connection_get(
        worker: *mut sclera_worker,
        server: *const c_char,
        out: *mut *mut sclera_connection,
    ) -> sclera_result {
        // SAFETY: the contract.
        let (worker, server) = unsafe { (shared(worker), text(server)) };
        let Some(worker) = worker else { return invalid("worker is NULL") };
        let Some(server) = server else { return invalid("server is NULL or not UTF-8") };
        match Session::get(&worker.worker, server) {
            // SAFETY: the contract.
            Ok(session) => unsafe { give(out, sclera_connection { session }) },
            Err(failure) => failed(sclera_result::SCLERA_FAILED, &failure.to_string()),
        }
    }
}

export! {
    /// Calls a class method and waits for its end; free the answer with sclera_answer_free. SCLERA_FAILED is an error of
    /// the method, which leaves the connection usable; after SCLERA_BROKEN it can only be given back.
    fn sclera_connection_call(
        connection: *mut sclera_connection,
        class_name: *const c_char,
        method: *const c_char,
        arguments: *const sclera_value,
        count: usize,
        out: *mut *mut sclera_answer,
    ) -> sclera_result {
        // SAFETY: the contract.
        let (connection, class, method) = unsafe { (exclusive(connection), text(class_name), text(method)) };
        let Some(connection) = connection else { return invalid("connection is NULL") };
        let (Some(class), Some(method)) = (class, method) else {
            return invalid("class_name or method is NULL or not UTF-8");
        };
        // SAFETY: the contract.
        let arguments = unsafe { slice(arguments, count) };
        // SAFETY: the contract, for the bytes of each argument.
        let elements: Option<Vec<_>> = arguments.iter().map(|argument| unsafe { argument.to_element() }).collect();
        let Some(elements) = elements else { return invalid("an argument has an unknown kind, or text that is not UTF-8") };
        match connection.session.call(class, method, elements) {
            // SAFETY: the contract.
            Ok(answer) => unsafe { give(out, sclera_answer::new(answer)) },
            Err(failure) if failure.code == Code::ApplicationError => failed(sclera_result::SCLERA_FAILED, &failure.to_string()),
            Err(failure) => broken(&failure),
        }
    }
}

export! {
    /// Sends bytes as they are, all of them, for a host that speaks on the connection in its own way.
    fn sclera_connection_write(connection: *mut sclera_connection, data: *const u8, length: usize) -> sclera_result {
        // SAFETY: the contract.
        let (connection, bytes) = unsafe { (exclusive(connection), slice(data, length)) };
        let Some(connection) = connection else { return invalid("connection is NULL") };
        match connection.session.write(bytes) {
            Ok(()) => sclera_result::SCLERA_OK,
            Err(failure) => broken(&failure),
        }
    }
}

export! {
    /// Receives at least one byte and at most `capacity`; writes how many to `out_length`, 0 if the server has closed.
    fn sclera_connection_read(
        connection: *mut sclera_connection,
        data: *mut u8,
        capacity: usize,
        out_length: *mut usize,
    ) -> sclera_result {
        // SAFETY: the contract.
        let (connection, out_length) = unsafe { (exclusive(connection), exclusive(out_length)) };
        let (Some(connection), Some(out_length)) = (connection, out_length) else {
            return invalid("connection or out_length is NULL");
        };
        if data.is_null() || capacity == 0 {
            return invalid("data is NULL or capacity is 0");
        }
        // SAFETY: the contract; the bytes are only written to.
        let buffer = unsafe {
            data.write_bytes(0, capacity);
            std::slice::from_raw_parts_mut(data, capacity)
        };
        match connection.session.read(buffer) {
            Ok(count) => {
                *out_length = count;
                sclera_result::SCLERA_OK
            }
            Err(failure) => broken(&failure),
        }
    }
}

export! {
    /// Gives a connection back. `at_rest`: nothing of a message is under way, so that it can serve again; otherwise it is
    /// closed. NULL is fine.
    fn sclera_connection_give_back(connection: *mut sclera_connection, at_rest: bool) -> () {
        // SAFETY: the contract.
        if let Some(connection) = unsafe { take(connection) } {
            connection.session.give_back(at_rest);
        }
    }
}

fn broken(failure: &Failure) -> sclera_result {
    failed(sclera_result::SCLERA_BROKEN, &failure.to_string())
}
