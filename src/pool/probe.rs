//! An active check of a server: a login, and the request for our gateway object's handle as its ping, which needs nothing
//! on the server. The connection is closed after it, for what each check left behind would add up to all that may be.

use std::sync::Arc;
use std::time::Instant;

use super::health::Event;
use super::names::Names;
use super::wake::{ReadyList, Sleeper};
use super::{Acquire, Lease, Pool};
use crate::connection::diagnosis::Stage;
use crate::connection::{Connection, TalkError, Told, wait_for};
use crate::failure::{Code, Failure};
use crate::ledger::now_ms;
use crate::wire::element::Element;
use crate::wire::reader::Reader;

/// Checks a server and tells its health. Blocks within `Sclera_Connect_Timeout`, twice at most, and if all connections are
/// in use and the server is ejected within `Queued_Request_Timeout` besides.
pub(super) fn check(pool: &Arc<Pool>, names: &Names) {
    let begun = now_ms();
    let acquire = match pool.spare_permit() {
        Some(permit) => Way::With(permit),
        // The others are at work with all connections that may be: it is needed, and waits as a request does.
        None if pool.is_ejected() => Way::Queue(pool.clone()),
        // There is nothing to spare for a check, and no need of one.
        None => return,
    };
    let event = match connect(acquire, names).and_then(ping) {
        Ok((permit, connection)) => {
            // In this order: the right to a connection is free when the connection has gone.
            connection.close();
            drop(permit);
            Event::CheckPassed { begun }
        }
        Err(failure) => Event::CheckFailed { begun, code: failure.code },
    };
    pool.tell(event);
}

/// How a check comes by a connection.
enum Way {
    With(super::Permit),
    Queue(Arc<Pool>),
}

fn connect(way: Way, names: &Names) -> Result<Lease, Failure> {
    let ready = ReadyList::new().map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    let sleeper = Sleeper::new(ready, None);
    let waker = sleeper.waker();
    let mut acquire = match way {
        Way::With(permit) => Acquire::reopen(permit, names, &waker, Instant::now())?,
        Way::Queue(pool) => Acquire::start(pool, Instant::now()),
    };
    loop {
        if let Some(lease) = acquire.drive(names, &waker, Instant::now())? {
            return Ok(lease);
        }
        let wants = acquire.wants();
        match wants.fd {
            None => sleeper.sleep(wants.deadline),
            Some(_) => wait_for(wants).map_err(|error| Failure::new(Code::Internal, error.to_string()))?,
        }
    }
}

fn ping(lease: Lease) -> Result<(super::Permit, Connection), Failure> {
    let Lease { connection, permit, .. } = lease;
    let pool = permit.pool().clone();
    let deadline = Instant::now() + pool.server().connect_timeout;
    let broken = |error: &TalkError| pool.broken(error, Stage::AwaitAnswer);
    let mut talk = connection
        .begin(|conversation, out| conversation.make_proxy(out))
        .map_err(|error| broken(&TalkError::Link(error)))?;
    loop {
        talk.set_ready();
        match talk.drive().map_err(|error| broken(&error))? {
            Told::Wait if Instant::now() >= deadline => {
                return Err(pool.failure(Code::LoginTimeout, "it did not answer a check"));
            }
            Told::Wait => {
                let waited = wait_for(talk.wants(Some(deadline)));
                waited.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
            }
            Told::Finished(payload) => {
                let handle = Element::read(&mut Reader::new(&payload));
                handle.map_err(|error| pool.failure(Code::ProtocolViolation, &error.to_string()))?;
                let strange = || pool.failure(Code::ProtocolViolation, "bytes follow the answer to a check");
                return Ok((permit, talk.finish().ok_or_else(strange)?));
            }
            _ => return Err(pool.failure(Code::ProtocolViolation, "it did not answer a check as it should")),
        }
    }
}
