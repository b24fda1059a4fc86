//! Whether a request that failed may be sent again, to the same server or to the next: only if that cannot run anything
//! twice, can help, and does not add a storm of repetitions to whatever made it fail.

use crate::failure::{Code, Fault};
use crate::pool::health::Blame;

/// How far a request had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Not one byte of its call has left.
    Nothing,
    /// Some of it has, so that the application may have run.
    Something,
    /// The answer's head has been read.
    HeadSeen,
}

/// Whether the request's body is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none, or it is at hand, or nothing has been asked of the browser yet.
    Replayable,
    /// Some of it has been passed on and is gone.
    Gone,
}

/// Whether a request may be sent again. `sent_again`: how often it has been already; `most`: `Sclera_Retries`. If it may, a
/// [`crate::pool::Budget`] must have room too.
///
/// After a response timeout it never is: the application is still at work on it, and the browser has waited long
/// enough. After a timeout in the queue it is not either, nor after anything that another try would not change.
pub fn may_retry(method: &[u8], sent: Sent, body: Body, code: Code, sent_again: u32, most: u32) -> bool {
    let harmless = match sent {
        Sent::Nothing => true,
        Sent::Something => is_idempotent(method),
        Sent::HeadSeen => false,
    };
    harmless && body == Body::Replayable && sent_again < most && may_help(code)
}

/// Methods that do the same when they are done twice (RFC 9110, section 9.2.2).
pub fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

/// Whether another try can end better.
fn may_help(code: Code) -> bool {
    code != Code::ResponseTimeout && code.fault() != Fault::Application && Blame::of(code) != Blame::None
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHODS: [&str; 8] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH"];

    /// Whether each failure may be followed by another try of a GET and of a POST. `make docs` writes it anew.
    #[test]
    fn each_failure_may_be_followed_by_another_try_as_before() {
        let mut table = String::new();
        for &code in Code::ALL {
            let may = |method: &str, sent| match may_retry(method.as_bytes(), sent, Body::Replayable, code, 0, 1) {
                true => "again",
                false => "-",
            };
            let row = [Sent::Nothing, Sent::Something].map(|sent| METHODS.map(|method| may(method, sent)));
            assert!(row[0].iter().all(|it| *it == row[0][0]), "{code}: before anything is sent methods are alike");
            table += &format!("{code} {}: nothing sent {}", code.name(), row[0][0]);
            table += &format!(
                ", something sent GET {} POST {}\n",
                may("GET", Sent::Something),
                may("POST", Sent::Something)
            );
        }
        crate::profile::reference::compare("src/exchange/retry.golden.txt", &table);
    }

    #[test]
    fn nothing_runs_twice_and_nothing_follows_what_the_browser_has_seen() {
        for &code in Code::ALL {
            for method in ["POST", "PATCH", "get", "CONNECT", "", "PROPFIND"] {
                assert!(
                    !may_retry(method.as_bytes(), Sent::Something, Body::Replayable, code, 0, 5),
                    "{code} {method}"
                );
            }
            for method in METHODS {
                let may =
                    |sent, body, sent_again, most| may_retry(method.as_bytes(), sent, body, code, sent_again, most);
                assert!(!may(Sent::HeadSeen, Body::Replayable, 0, 5), "{code} {method}");
                assert!(!may(Sent::Nothing, Body::Gone, 0, 5), "{code} {method}");
                assert!(!may(Sent::Nothing, Body::Replayable, 0, 0), "{code} {method}");
                assert!(!may(Sent::Nothing, Body::Replayable, 5, 5), "{code} {method}");
            }
        }
        for code in [Code::ResponseTimeout, Code::QueueTimeout, Code::ClientAborted, Code::ApplicationError] {
            assert!(!may_retry(b"GET", Sent::Nothing, Body::Replayable, code, 0, 5), "{code}");
        }
        for code in [Code::ConnectRefused, Code::LoginTimeout, Code::ConnectionLost, Code::ServerDisconnected] {
            assert!(may_retry(b"POST", Sent::Nothing, Body::Replayable, code, 1, 2), "{code}");
        }
        assert!(may_retry(b"GET", Sent::Something, Body::Replayable, Code::ConnectionLost, 1, 2));
    }
}
