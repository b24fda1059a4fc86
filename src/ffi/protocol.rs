//! The client protocol for hosts that own their sockets and their TLS: bytes in, bytes out. CSP.ini still says where to
//! connect and how to log in, and a failure is still a row of the table.

use std::ffi::{CString, c_char};
use std::sync::Arc;

use super::answer::{sclera_answer, sclera_value};
use super::exchange::sclera_failure;
use super::worker::sclera_worker;
use super::{
    c_string, exclusive, export, failed, fill, give, invalid, sclera_result, sclera_slice, shared, slice, take, text,
};
use crate::connection::dialogue::{Dialogue, Standing};
use crate::pool::Pool;
use crate::pool::session::Answer;
use crate::profile::Security;
use crate::wire::message::Call;

/// Where a server is, and what its link needs. Fill `size` before it is filled.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct sclera_target {
    /// sizeof(sclera_target).
    pub size: usize,
    /// Name or address to connect to. Valid until the protocol object is freed.
    pub host: *const c_char,
    /// Name that the certificate must be issued to, and for SNI. Valid until the protocol object is freed.
    pub server_name: *const c_char,
    pub port: u16,
    /// Whether the link is TLS. The host must then not speak without.
    pub tls: bool,
    /// Changes when the gateway's certificates do: connections made with another one are to be retired.
    pub generation: u64,
}

/// One conversation. One thread at a time.
pub struct sclera_protocol {
    dialogue: Dialogue,
    pool: Arc<Pool>,
    host: CString,
    server_name: CString,
    message: Option<CString>,
}

/// What a conversation waits for. Whatever it is, send what sclera_protocol_unsent gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum sclera_protocol_state {
    /// Bytes of the superserver: sclera_protocol_receive.
    SCLERA_PROTOCOL_NEEDS_INPUT = 0,
    /// Logged in and at rest: sclera_protocol_call may begin a call.
    SCLERA_PROTOCOL_READY = 1,
    /// A call has been answered: sclera_protocol_answer.
    SCLERA_PROTOCOL_ANSWERED = 2,
    /// It is over: sclera_protocol_failure says why.
    SCLERA_PROTOCOL_FAILED = 3,
}

export! {
    /// Begins to log in to the server of this name, with user name and password if the profile has them, else as whom the
    /// link's certificate names. Nothing is sent: connect as sclera_protocol_target says, then send what
    /// sclera_protocol_unsent gives. Free it with sclera_protocol_free.
    fn sclera_protocol_begin(
        worker: *const sclera_worker,
        server: *const c_char,
        out: *mut *mut sclera_protocol,
    ) -> sclera_result {
        // SAFETY: the contract.
        let (worker, server) = unsafe { (shared(worker), text(server)) };
        let Some(worker) = worker else { return invalid("worker is NULL") };
        let Some(server) = server else { return invalid("server is NULL or not UTF-8") };
        let begun = worker.worker.pool_by_name(server).and_then(|pool| {
            // A certificate that cannot be used is told before anything is sent.
            pool.identity()?;
            Ok((Dialogue::begin(pool.server())?, pool))
        });
        match begun {
            Ok((dialogue, pool)) => {
                let server = pool.server();
                let host = c_string(&server.address.value);
                let name = server.tls.server_name.as_ref().unwrap_or(&server.address);
                let server_name = c_string(&name.value);
                // SAFETY: the contract.
                unsafe { give(out, sclera_protocol { dialogue, pool, host, server_name, message: None }) }
            }
            Err(failure) => failed(sclera_result::SCLERA_FAILED, &failure.to_string()),
        }
    }
}

export! {
    /// Where to connect, and how.
    fn sclera_protocol_target(protocol: *const sclera_protocol, out: *mut sclera_target) -> sclera_result {
        // SAFETY: the contract.
        let Some(protocol) = (unsafe { shared(protocol) }) else { return invalid("protocol is NULL") };
        let server = protocol.pool.server();
        let target = sclera_target {
            size: 0,
            host: protocol.host.as_ptr(),
            server_name: protocol.server_name.as_ptr(),
            port: server.port.value,
            tls: server.security.value == Security::Tls,
            generation: protocol.pool.identity().map_or(0, |identity| identity.generation),
        };
        // SAFETY: the contract.
        unsafe { fill(out, "target", target) }
    }
}

export! {
    /// The bytes to send now; empty if there are none. Valid until the next call with this object. They may hold a
    /// password: without TLS they are readable on the way.
    fn sclera_protocol_unsent(protocol: *const sclera_protocol) -> sclera_slice {
        // SAFETY: the contract.
        unsafe { shared(protocol) }.map_or(sclera_slice::EMPTY, |it| sclera_slice::of(it.dialogue.unsent()))
    }
}

export! {
    /// The first `count` of these bytes have been sent.
    fn sclera_protocol_sent(protocol: *mut sclera_protocol, count: usize) -> () {
        // SAFETY: the contract.
        if let Some(protocol) = unsafe { exclusive(protocol) } {
            protocol.dialogue.mark_sent(count);
        }
    }
}

export! {
    /// Takes bytes that came from the superserver, all of them, and says what is waited for now.
    fn sclera_protocol_receive(protocol: *mut sclera_protocol, data: *const u8, length: usize) -> sclera_protocol_state {
        // SAFETY: the contract.
        let (protocol, bytes) = unsafe { (exclusive(protocol), slice(data, length)) };
        let Some(protocol) = protocol else { return sclera_protocol_state::SCLERA_PROTOCOL_FAILED };
        protocol.dialogue.receive(bytes);
        protocol.state()
    }
}

export! {
    /// The link has broken, `shaking_hands` if TLS was not done yet. `alert` is the number of the TLS alert that the
    /// superserver sent, such as 48, or negative if it sent none. Over TLS 1.3 a refused certificate shows only here, after the handshake. Afterwards
    /// sclera_protocol_failure says what it means.
    fn sclera_protocol_broken(protocol: *mut sclera_protocol, shaking_hands: bool, alert: i32) -> () {
        // SAFETY: the contract.
        if let Some(protocol) = unsafe { exclusive(protocol) } {
            protocol.dialogue.broken(shaking_hands, u8::try_from(alert).ok());
        }
    }
}

export! {
    /// What is waited for.
    fn sclera_protocol_standing(protocol: *const sclera_protocol) -> sclera_protocol_state {
        // SAFETY: the contract.
        unsafe { shared(protocol) }.map_or(sclera_protocol_state::SCLERA_PROTOCOL_FAILED, sclera_protocol::state)
    }
}

export! {
    /// Begins a call of a class method; SCLERA_WRONG_STATE if the conversation is not at rest.
    fn sclera_protocol_call(
        protocol: *mut sclera_protocol,
        class_name: *const c_char,
        method: *const c_char,
        arguments: *const sclera_value,
        count: usize,
    ) -> sclera_result {
        // SAFETY: the contract.
        let (protocol, class, method) = unsafe { (exclusive(protocol), text(class_name), text(method)) };
        let Some(protocol) = protocol else { return invalid("protocol is NULL") };
        let (Some(class), Some(method)) = (class, method) else {
            return invalid("class_name or method is NULL or not UTF-8");
        };
        // SAFETY: the contract.
        let arguments = unsafe { slice(arguments, count) };
        // SAFETY: the contract, for the bytes of each argument.
        let elements: Option<Vec<_>> = arguments.iter().map(|argument| unsafe { argument.to_element() }).collect();
        let Some(arguments) = elements else { return invalid("an argument has an unknown kind, or text that is not UTF-8") };
        let call = Call { class: class.as_bytes().into(), method: method.as_bytes().into(), arguments };
        match protocol.dialogue.call(&call) {
            true => sclera_result::SCLERA_OK,
            false => failed(sclera_result::SCLERA_WRONG_STATE, "the conversation is not at rest"),
        }
    }
}

export! {
    /// Takes the answer of the call; free it with sclera_answer_free. SCLERA_FAILED is an error of the method, which
    /// sclera_last_error tells. The conversation is at rest again in both cases.
    fn sclera_protocol_answer(protocol: *mut sclera_protocol, out: *mut *mut sclera_answer) -> sclera_result {
        // SAFETY: the contract.
        let Some(protocol) = (unsafe { exclusive(protocol) }) else { return invalid("protocol is NULL") };
        let (payload, output) = match protocol.dialogue.take_answer() {
            Some(Ok(outcome)) => outcome,
            Some(Err(failure)) => return failed(sclera_result::SCLERA_FAILED, &failure.to_string()),
            None => return failed(sclera_result::SCLERA_WRONG_STATE, "no call has been answered"),
        };
        match Answer::read(&payload, output) {
            // SAFETY: the contract.
            Ok(answer) => unsafe { give(out, sclera_answer::new(answer)) },
            Err(error) => failed(sclera_result::SCLERA_FAILED, &error.to_string()),
        }
    }
}

export! {
    /// Why the conversation is over; false if it is not. The message is valid until the object is freed.
    fn sclera_protocol_failure(protocol: *mut sclera_protocol, out: *mut sclera_failure) -> bool {
        // SAFETY: the contract.
        let Some(protocol) = (unsafe { exclusive(protocol) }) else { return false };
        let Some(failure) = protocol.dialogue.failure() else { return false };
        let code = failure.code;
        let message = protocol.message.get_or_insert_with(|| c_string(&failure.to_string()));
        // SAFETY: the contract.
        unsafe { fill(out, "failure", sclera_failure::of(code, message)) == sclera_result::SCLERA_OK }
    }
}

export! {
    /// Frees a conversation; the link is the host's to close. NULL is fine.
    fn sclera_protocol_free(protocol: *mut sclera_protocol) -> () {
        // SAFETY: the contract.
        drop(unsafe { take(protocol) });
    }
}

impl sclera_protocol {
    fn state(&self) -> sclera_protocol_state {
        match self.dialogue.standing() {
            Standing::NeedsInput => sclera_protocol_state::SCLERA_PROTOCOL_NEEDS_INPUT,
            Standing::Ready => sclera_protocol_state::SCLERA_PROTOCOL_READY,
            Standing::Answered => sclera_protocol_state::SCLERA_PROTOCOL_ANSWERED,
            Standing::Failed => sclera_protocol_state::SCLERA_PROTOCOL_FAILED,
        }
    }
}
