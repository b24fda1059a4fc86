//! `libsclera_rustls`: the C interface of Sclera together with that of rustls (rustls-ffi), for C programs that own their
//! sockets and speak TLS through rustls. A program links this library or `libsclera`, never both; the web server modules
//! never load it.
//!
//! What it adds is one function: it hands the checked identity and trust of a server out as a `rustls_client_config`.

use std::ffi::{CStr, c_char};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_ffi::client::rustls_client_config;
use rustls_ffi::rustls_result;
use sclera::ffi::worker::sclera_worker;
use sclera::ffi::{failed, guard, sclera_result};

/// Gives the TLS configuration of a server as it is now: the gateway's certificate and key, the trusted CAs, what is
/// verified, versions, suites, and sessions for resumption. Free it with rustls_client_config_free. When
/// sclera_protocol_target tells another generation, ask again, and retire the connections made with the old one.
///
/// # Safety
///
/// The contract at the head of `include/sclera.h` holds for every pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sclera_rustls_client_config(
    worker: *const sclera_worker,
    server: *const c_char,
    out: *mut *const rustls_client_config,
) -> sclera_result {
    guard(|| {
        if worker.is_null() || server.is_null() || out.is_null() {
            return failed(sclera_result::SCLERA_INVALID_ARGUMENT, "worker, server or out is NULL");
        }
        // SAFETY: not NULL, and the contract.
        let (worker, server) = unsafe { (&*worker, CStr::from_ptr(server)) };
        let Ok(server) = server.to_str() else {
            return failed(sclera_result::SCLERA_INVALID_ARGUMENT, "server is not UTF-8");
        };
        match worker.tls_config(server) {
            Ok(Some(config)) => {
                // SAFETY: not NULL, and the contract.
                unsafe { *out = hand_out(config) };
                sclera_result::SCLERA_OK
            }
            Ok(None) => failed(sclera_result::SCLERA_WRONG_STATE, &format!("server {server} does not use TLS")),
            Err(failure) => failed(sclera_result::SCLERA_FAILED, &failure.to_string()),
        }
    })
}

/// The number of the TLS alert that a result of rustls stands for, as sclera_protocol_broken takes it; -1 if it stands for
/// none.
#[unsafe(no_mangle)]
pub extern "C" fn sclera_rustls_alert(result: u32) -> i32 {
    let found = ALERTS.iter().find(|(known, _)| *known as u32 == result);
    found.map_or(-1, |(_, alert)| i32::from(*alert))
}

/// Results and the alerts of RFC 8446, section 6, and of RFC 5246 before it.
const ALERTS: [(rustls_result, u8); 24] = [
    (rustls_result::AlertUnexpectedMessage, 10),
    (rustls_result::AlertBadRecordMac, 20),
    (rustls_result::AlertRecordOverflow, 22),
    (rustls_result::AlertHandshakeFailure, 40),
    (rustls_result::AlertNoCertificate, 41),
    (rustls_result::AlertBadCertificate, 42),
    (rustls_result::AlertUnsupportedCertificate, 43),
    (rustls_result::AlertCertificateRevoked, 44),
    (rustls_result::AlertCertificateExpired, 45),
    (rustls_result::AlertCertificateUnknown, 46),
    (rustls_result::AlertIllegalParameter, 47),
    (rustls_result::AlertUnknownCA, 48),
    (rustls_result::AlertAccessDenied, 49),
    (rustls_result::AlertDecodeError, 50),
    (rustls_result::AlertDecryptError, 51),
    (rustls_result::AlertProtocolVersion, 70),
    (rustls_result::AlertInsufficientSecurity, 71),
    (rustls_result::AlertInternalError, 80),
    (rustls_result::AlertInappropriateFallback, 86),
    (rustls_result::AlertMissingExtension, 109),
    (rustls_result::AlertUnsupportedExtension, 110),
    (rustls_result::AlertUnrecognisedName, 112),
    (rustls_result::AlertCertificateRequired, 116),
    (rustls_result::AlertNoApplicationProtocol, 120),
];

/// The pointer behind which rustls-ffi keeps a configuration: in the release that Cargo.toml pins, what `Arc::into_raw`
/// gives ("under the hood, this object corresponds to an `Arc<ClientConfig>`", src/client.rs). The tests below notice if
/// that changes.
fn hand_out(config: Arc<ClientConfig>) -> *const rustls_client_config {
    Arc::into_raw(config).cast()
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use rustls_ffi::connection::rustls_connection;

    use super::*;

    fn config() -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
    }

    #[test]
    fn a_configuration_of_ours_serves_rustls_ffi_and_is_freed_by_it() {
        let ours = config();
        let handed = hand_out(ours.clone());
        let mut connection: *mut rustls_connection = ptr::null_mut();
        let result =
            rustls_client_config::rustls_client_connection_new(handed, c"localhost".as_ptr(), &raw mut connection);
        assert_eq!(result, rustls_result::Ok);
        assert!(rustls_connection::rustls_connection_wants_write(connection), "it begins with a ClientHello");
        rustls_connection::rustls_connection_free(connection);
        assert_eq!(Arc::strong_count(&ours), 2);
        rustls_client_config::rustls_client_config_free(handed);
        assert_eq!(Arc::strong_count(&ours), 1);
    }

    #[test]
    fn alerts_have_the_numbers_of_the_standard() {
        assert_eq!(sclera_rustls_alert(rustls_result::AlertUnknownCA as u32), 48);
        assert_eq!(sclera_rustls_alert(rustls_result::Ok as u32), -1);
    }

    #[test]
    fn the_releases_are_those_that_this_was_written_for() {
        let lock = include_str!("../../Cargo.lock");
        let versions = |name: &str| -> Vec<&str> {
            let head = format!("name = \"{name}\"\nversion = \"");
            lock.split(&head).skip(1).filter_map(|rest| rest.split('"').next()).collect()
        };
        assert_eq!(versions("rustls-ffi"), ["0.15.7"], "read src/client.rs of the new one, then change this line");
        assert_eq!(versions("rustls").len(), 1, "both must use the same rustls");
    }
}
