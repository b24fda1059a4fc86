//! The one table of failures: what can go wrong, whose fault it is, and what to do.
//!
//! A row has a number that never changes and is never reused, a name, the side at fault, whether the request may have
//! run, the HTTP status a browser sees, and the remedy an administrator reads. The number's hundreds are the [`Stage`].
//! `docs/failures.md` is written from here.

use std::ffi::CStr;
use std::fmt;

/// A literal that ends with NUL, as C wants it.
const fn c_literal(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => c"",
    }
}

/// Whose fault a failure is: the first question support asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// CSP.ini, or a file that it names.
    Configuration,
    /// The way to the superserver: names, routes, firewalls.
    Network,
    /// The superserver, its certificate or its settings.
    Server,
    /// The application that the superserver ran.
    Application,
    /// The browser, or whoever sent the request.
    Client,
    /// More requests than the configured limits allow.
    Capacity,
    /// Sclera itself.
    Sclera,
}

/// How far things had come; the hundreds of the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// 1xx: reading CSP.ini and the files that it names.
    Configuration,
    /// 2xx: resolving the name, and connecting.
    Connect,
    /// 3xx: TLS.
    Tls,
    /// 4xx: the login.
    Login,
    /// 5xx: the protocol with the superserver.
    Protocol,
    /// 6xx: the application's answer.
    Answer,
    /// 7xx: waiting for a free connection.
    Queue,
    /// 8xx: the browser's request.
    Request,
    /// 9xx: in Sclera itself.
    Internal,
}

/// Whether the request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing of it has reached an application.
    Safe,
    /// An application may have run it: only a request that does no harm twice may be repeated.
    Unsafe,
}

macro_rules! failures {
    ($($number:literal $variant:ident $name:literal $fault:ident $retry:ident $status:literal $remedy:literal;)*) => {
        /// A failure's stable code. The number is also the value in the C ABI (`sclera.h`, `sclera_failure.code`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        // Sections such as [SYSTEM] are no links.
        #[allow(rustdoc::broken_intra_doc_links)]
        pub enum Code { $(#[doc = $remedy] $variant = $number,)* }

        impl Code {
            /// Every row of the table, in the order of the numbers.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The stable name, in words joined by hyphens.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// Whose fault it is.
            pub fn fault(self) -> Fault {
                match self { $(Code::$variant => Fault::$fault,)* }
            }

            /// Whether the request may be sent again.
            pub fn retry(self) -> Retry {
                match self { $(Code::$variant => Retry::$retry,)* }
            }

            /// The HTTP status that the browser receives, if nothing of an answer has been sent yet.
            pub fn http_status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// What to do about it, in one sentence that names the setting.
            pub fn remedy(self) -> &'static str {
                match self { $(Code::$variant => $remedy,)* }
            }

            /// The same for C.
            pub fn c_remedy(self) -> &'static CStr {
                match self { $(Code::$variant => c_literal(concat!($remedy, "\0")),)* }
            }
        }
    };
}

failures! {
    100 ConfigurationUnreadable "configuration-unreadable" Configuration Safe 503
        "Make CSP.ini exist at the path given (CSPConfigPath, --config) and readable by the web server's user.";
    101 ConfigurationInvalid "configuration-invalid" Configuration Safe 503
        "Correct the lines of CSP.ini that the error log names; `sclera check` lists them all.";
    102 NoServerForPath "no-server-for-path" Configuration Safe 503
        "Give the application path a Default_Server, or set Default_Server in [SYSTEM], and list that server in [SYSTEM_INDEX].";
    103 ServerDisabled "server-disabled" Configuration Safe 503
        "Set the server to Enabled in [SYSTEM_INDEX].";
    104 ApplicationDisabled "application-disabled" Configuration Safe 503
        "Set the application path to Enabled in [APP_PATH_INDEX].";
    105 SecurityLevelUnsupported "security-level-unsupported" Configuration Safe 503
        "Kerberos is not available in Sclera; set Connection_Security_Level to 10 (TLS) or 0 (password).";
    106 TlsRangeUnsupported "tls-range-unsupported" Configuration Safe 503
        "Sclera speaks TLS 1.2 and 1.3 only; set SSLCC_Protocol_Min=16 and SSLCC_Protocol_Max=32.";
    107 AddressMissing "address-missing" Configuration Safe 503
        "Set Ip_Address of the server to its name or address.";
    110 CertificateUnreadable "certificate-unreadable" Configuration Safe 503
        "Correct SSLCC_Certificate_File, or let the web server's user read that file and every directory above it.";
    111 CertificateNotPem "certificate-not-pem" Configuration Safe 503
        "Put a PEM certificate into SSLCC_Certificate_File (convert DER with `openssl x509 -inform der`).";
    112 CertificateExpired "certificate-expired" Configuration Safe 503
        "Issue a new certificate for SSLCC_Certificate_File, or correct this machine's clock.";
    113 CertificateNotYetValid "certificate-not-yet-valid" Configuration Safe 503
        "Wait until the certificate in SSLCC_Certificate_File becomes valid, or correct this machine's clock.";
    114 CertificateNotForClients "certificate-not-for-clients" Configuration Safe 503
        "Reissue the certificate in SSLCC_Certificate_File with extended key usage clientAuth.";
    115 KeyUnreadable "key-unreadable" Configuration Safe 503
        "Correct SSLCC_Certificate_Key_File, or let the web server's user read that file and every directory above it.";
    116 KeyNotPem "key-not-pem" Configuration Safe 503
        "Put a PEM private key (PKCS#8, PKCS#1 or SEC1) into SSLCC_Certificate_Key_File.";
    117 KeyEncrypted "key-encrypted" Configuration Safe 503
        "Set SSLCC_Private_Key_Password to the password of the key, or store the key without one (`openssl pkey`).";
    118 KeyMismatch "key-mismatch" Configuration Safe 503
        "Pair SSLCC_Certificate_Key_File with the certificate in SSLCC_Certificate_File; they do not belong together.";
    119 KeyMissing "key-missing" Configuration Safe 503
        "Set both SSLCC_Certificate_File and SSLCC_Certificate_Key_File, or neither.";
    120 CaMissing "ca-missing" Configuration Safe 503
        "Set SSLCC_CA_Certificate_File to the CA that signed the superserver's certificate; SSLCC_Verify_Peer=1 needs it.";
    121 CaUnreadable "ca-unreadable" Configuration Safe 503
        "Correct SSLCC_CA_Certificate_File, or let the web server's user read that file and every directory above it.";
    122 CaNotPem "ca-not-pem" Configuration Safe 503
        "Put PEM CA certificates into SSLCC_CA_Certificate_File (convert DER with `openssl x509 -inform der`).";
    123 PasswordUnusable "password-unusable" Configuration Safe 503
        "Write the password again: after ]]] there must be base64; a {command} must end with status 0 and print the password and nothing else.";
    124 ManagementAbsent "management-absent" Configuration Safe 404
        "Set SM_Forms=Enabled in [SYSTEM] by hand: the management pages are switched off.";
    125 KeyPasswordWrong "key-password-wrong" Configuration Safe 503
        "Correct SSLCC_Private_Key_Password: it does not open the key of SSLCC_Certificate_Key_File.";
    126 KeyEncryptionUnsupported "key-encryption-unsupported" Configuration Safe 503
        "Protect the key anew with `openssl pkcs8 -topk8 -v2 aes-256-cbc`, or store it without a password.";
    127 PinnedKeyMissing "pinned-key-missing" Configuration Safe 503
        "Set Sclera_Pinned_Key to sha256// and the digest of the superserver's public key, which `sclera test` shows; Sclera_Verification=key needs it.";
    128 CrlUnreadable "crl-unreadable" Configuration Safe 503
        "Correct Sclera_CRL_File, or let the web server's user read that file and every directory above it.";
    129 CrlNotPem "crl-not-pem" Configuration Safe 503
        "Put PEM revocation lists into Sclera_CRL_File (convert DER with `openssl crl -inform der`).";
    130 Pkcs11Unusable "pkcs11-unusable" Configuration Safe 503
        "Correct the pkcs11: URI in SSLCC_Certificate_Key_File: module, token, object and PIN must lead to one private key.";
    131 ServerNameInvalid "server-name-invalid" Configuration Safe 503
        "Set Sclera_Server_Name to a DNS name or an IP address, or remove it.";
    132 CiphersEmpty "ciphers-empty" Configuration Safe 503
        "Let SSLCC_Cipher_Suites or SSLCC_Cipher_Suites_1_3 name a suite that Sclera has for the protocol range.";

    200 NameNotResolved "name-not-resolved" Network Safe 502
        "Correct Ip_Address, or make this machine's resolver know that name.";
    201 ConnectRefused "connect-refused" Network Safe 502
        "Start the superserver, or correct Ip_Address and TCP_Port; nothing listens there.";
    202 ConnectTimeout "connect-timeout" Network Safe 504
        "Open the way to Ip_Address and TCP_Port in the firewalls and routes between; nothing answered.";
    203 ConnectFailed "connect-failed" Network Safe 502
        "Check the route to Ip_Address and TCP_Port.";
    204 ConnectForbidden "connect-forbidden" Network Safe 502
        "Let the web server connect: with SELinux run `setsebool -P httpd_can_network_connect 1`, and see firewall rules for its user.";
    205 NoLocalMeans "no-local-means" Capacity Safe 503
        "Raise the limit of open files (LimitNOFILE) or the range of local ports of this machine; the web server could open no further connection.";

    300 TlsNotSpoken "tls-not-spoken" Server Safe 502
        "Bind a TLS configuration to that superserver (SSLSupportLevel 1 or 2), or correct TCP_Port; the answer was not TLS.";
    301 TlsVersion "tls-version" Server Safe 502
        "Let SSLCC_Protocol_Min/Max and the superserver's minimum and maximum protocol version overlap.";
    302 TlsCipher "tls-cipher" Server Safe 502
        "Let the cipher suites of the profile and of the superserver's TLS configuration overlap.";
    303 ServerCertificateUntrusted "server-certificate-untrusted" Server Safe 502
        "Put the CA that signed the superserver's certificate into SSLCC_CA_Certificate_File, and intermediates into the superserver's certificate file.";
    304 ServerCertificateExpired "server-certificate-expired" Server Safe 502
        "Renew the superserver's certificate, or correct this machine's clock.";
    305 ServerCertificateNotYetValid "server-certificate-not-yet-valid" Server Safe 502
        "Wait until the superserver's certificate becomes valid, or correct this machine's clock.";
    306 ServerCertificateName "server-certificate-name" Server Safe 502
        "Reissue the superserver's certificate with Ip_Address as subject alternative name, or set Ip_Address to a name it holds.";
    307 ServerCertificateInvalid "server-certificate-invalid" Server Safe 502
        "Reissue the superserver's certificate as an X.509 version 3 server certificate (serverAuth, not a CA, strong signature).";
    308 ClientCertificateRequired "client-certificate-required" Configuration Safe 502
        "Set SSLCC_Certificate_File and SSLCC_Certificate_Key_File; the superserver requires a client certificate.";
    309 ClientCertificateUnknownCa "client-certificate-unknown-ca" Server Safe 502
        "Add the CA of the gateway's certificate to the CA file of the superserver's TLS configuration, or send the intermediate in SSLCC_Certificate_File.";
    310 ClientCertificateExpired "client-certificate-expired" Configuration Safe 502
        "Renew the certificate in SSLCC_Certificate_File; the superserver says it is expired.";
    311 ClientCertificateRefused "client-certificate-refused" Server Safe 502
        "Reissue the certificate in SSLCC_Certificate_File (clientAuth use, CA known to the superserver); the superserver refused it.";
    312 TlsFailed "tls-failed" Server Safe 502
        "Compare the TLS settings of the profile with the superserver's TLS configuration; the log line holds the TLS error.";
    313 ClientCertificateRevoked "client-certificate-revoked" Configuration Safe 502
        "Issue a new certificate for SSLCC_Certificate_File; the superserver says that the one shown is revoked.";
    314 ServerCertificateRevoked "server-certificate-revoked" Server Safe 502
        "Give the superserver a new certificate; Sclera_CRL_File lists the one it shows as revoked.";
    315 RevocationUnknown "revocation-unknown" Configuration Safe 502
        "Put a revocation list of every CA of the superserver's chain into Sclera_CRL_File.";
    316 ServerNameUnknown "server-name-unknown" Configuration Safe 502
        "Set Sclera_Server_Name to a name that the superserver, or what stands before it, knows.";
    320 ServerCertificateNameInCn "server-certificate-name-in-cn" Server Safe 502
        "Reissue the superserver's certificate with its name as subject alternative name; until then Sclera_Verify_Name=0 checks the chain alone.";
    321 ServerCertificateVersion1 "server-certificate-version-1" Server Safe 502
        "Reissue the superserver's certificate as X.509 version 3; until then Sclera_Verification=chain accepts it.";
    322 ServerCertificateIsCa "server-certificate-is-ca" Server Safe 502
        "Reissue the superserver's certificate with CA:FALSE; until then Sclera_Verification=chain accepts it.";
    323 ServerCertificateSha1 "server-certificate-sha1" Server Safe 502
        "Reissue the superserver's certificate with a SHA-256 signature; until then pin its key with Sclera_Verification=key.";
    324 ServerCertificateWeakKey "server-certificate-weak-key" Server Safe 502
        "Give the superserver a key of at least 2048 bits (RSA), or ECDSA; a shorter one is never accepted.";
    325 ServerCertificateNotForServers "server-certificate-not-for-servers" Server Safe 502
        "Reissue the superserver's certificate with extended key usage serverAuth; until then Sclera_Verification=chain accepts it.";
    326 PinnedKeyDiffers "pinned-key-differs" Server Safe 502
        "Find out why the superserver has a new key; if that is right, set Sclera_Pinned_Key to what `sclera test` shows.";

    400 LoginRefused "login-refused" Server Safe 502
        "Search the superserver's audit for LoginFailure: the certificate's CN must be an enabled IRIS user (#838, #828, #959), and %Service_WebGateway must allow mutual TLS, this address and this user (#951, #817, #815); nothing there: switch auditing on.";
    401 NoLicence "no-licence" Server Safe 503
        "Free or add licence units on the instance.";
    402 LoginTimeout "login-timeout" Server Safe 504
        "See why the superserver does not answer the login; it accepted the connection but did not finish in time.";
    403 LoginConnectionLost "login-connection-lost" Server Safe 502
        "See the superserver's messages.log and audit: it closed the connection before the login was answered (a TLS-only port closes plain connections).";
    404 TlsRequired "tls-required" Configuration Safe 502
        "Set Connection_Security_Level=10 and the SSLCC_ parameters; that superserver speaks TLS only.";
    405 PasswordRefused "password-refused" Configuration Safe 502
        "Correct Username and Password (audit: #952 wrong password, #838 no such user, #947 passwords not allowed), or clear both and use a certificate.";
    406 PasswordHidesCertificate "password-hides-certificate" Configuration Safe 502
        "Clear Username and Password: they win over the certificate in SSLCC_Certificate_File, and the superserver refused them.";
    407 NothingOffered "nothing-offered" Configuration Safe 502
        "Set SSLCC_Certificate_File and SSLCC_Certificate_Key_File for mutual TLS, or Username and Password; the superserver lets nobody in without.";
    408 CertificateNotRequested "certificate-not-requested" Server Safe 502
        "Set VerifyPeer of the superserver's TLS configuration to 1 (Request) or 3 (Require): it did not ask for the gateway's certificate.";
    409 PasswordChangeRequired "password-change-required" Server Safe 502
        "Change the password of that user on the instance, then set Password; or clear both and use a certificate.";

    500 NotASuperserver "not-a-superserver" Server Safe 502
        "Correct Ip_Address and TCP_Port; what answers there does not speak the superserver protocol.";
    501 ProtocolVersion "protocol-version" Server Safe 502
        "Use a superserver that speaks client protocol version 61 or later.";
    502 ProtocolViolation "protocol-violation" Server Unsafe 502
        "Report it with the log line: the superserver sent a message that its protocol does not allow here.";
    503 MessageTooLarge "message-too-large" Server Unsafe 502
        "Report it with the log line: the superserver announced a message beyond the limit.";

    600 ConnectionLost "connection-lost" Server Unsafe 502
        "See the superserver's messages.log: the connection ended before the answer began.";
    601 AnswerCut "answer-cut" Server Unsafe 502
        "See the superserver's messages.log: the connection ended in the middle of the answer.";
    602 ResponseTimeout "response-timeout" Server Unsafe 504
        "Raise Server_Response_Timeout, or see why the application sent nothing for so long.";
    603 ResponseHeadInvalid "response-head-invalid" Application Unsafe 502
        "Correct the application: its response head is not a valid HTTP header block.";
    604 ResponseLengthConflict "response-length-conflict" Application Unsafe 502
        "Correct the application: it gave conflicting lengths, or sent another number of bytes than its Content-Length.";
    605 ApplicationError "application-error" Application Unsafe 502
        "See the application error in the log line; the call ended with an error instead of an answer.";
    606 ServerDisconnected "server-disconnected" Server Unsafe 502
        "See the superserver's messages.log: it ended the connection on purpose during the request.";

    700 QueueTimeout "queue-timeout" Capacity Safe 503
        "Raise Maximum_Server_Connections or Queued_Request_Timeout, or make the application faster; all connections were in use.";
    701 QueueFull "queue-full" Capacity Safe 503
        "Raise Sclera_Queue_Limit or Maximum_Server_Connections, or make the application faster; too many requests were waiting already.";
    702 SessionBusy "session-busy" Capacity Safe 503
        "Raise Maximum_Session_Connections or Queued_Request_Timeout; this session's other requests took all the connections that it may have.";

    800 ClientAborted "client-aborted" Client Unsafe 499
        "Nothing: the browser left before its answer was complete.";
    801 RequestInvalid "request-invalid" Client Safe 400
        "Nothing on this side: the request line or a header of the browser's request cannot be passed on.";
    802 RequestBodyBroken "request-body-broken" Client Unsafe 400
        "Nothing on this side: the browser's request body ended early or broke the web server's limits.";

    900 Internal "internal" Sclera Unsafe 500
        "Report it with the log line: this is a fault in Sclera.";
    901 WorkerStopping "worker-stopping" Sclera Safe 503
        "Repeat the request: this worker was about to end.";
    902 ManagementBusy "management-busy" Capacity Safe 503
        "Repeat the request: this worker is busy with other requests for management pages, or with connection tests.";
    903 Interrupted "interrupted" Sclera Unsafe 503
        "Nothing: an administrator ended its connection in the middle (System Status, or `sclera connections close --interrupt`).";
}

impl Fault {
    /// Whose fault, in a word.
    pub fn word(self) -> &'static str {
        self.c_name().to_str().unwrap_or_default()
    }

    /// The same for C.
    pub fn c_name(self) -> &'static CStr {
        match self {
            Fault::Configuration => c"configuration",
            Fault::Network => c"network",
            Fault::Server => c"superserver",
            Fault::Application => c"application",
            Fault::Client => c"browser",
            Fault::Capacity => c"load",
            Fault::Sclera => c"Sclera",
        }
    }
}

impl Stage {
    /// What is being done at this stage, in a few words.
    pub fn name(self) -> &'static str {
        self.c_name().to_str().unwrap_or_default()
    }

    /// The same for C.
    pub fn c_name(self) -> &'static CStr {
        match self {
            Stage::Configuration => c"configuration",
            Stage::Connect => c"reaching the superserver",
            Stage::Tls => c"TLS",
            Stage::Login => c"login",
            Stage::Protocol => c"the superserver's protocol",
            Stage::Answer => c"the answer",
            Stage::Queue => c"waiting for a connection",
            Stage::Request => c"the browser's request",
            Stage::Internal => c"Sclera itself",
        }
    }
}

impl Code {
    /// How far things had come.
    pub fn stage(self) -> Stage {
        match self as u16 / 100 {
            1 => Stage::Configuration,
            2 => Stage::Connect,
            3 => Stage::Tls,
            4 => Stage::Login,
            5 => Stage::Protocol,
            6 => Stage::Answer,
            7 => Stage::Queue,
            8 => Stage::Request,
            _ => Stage::Internal,
        }
    }
}

impl fmt::Display for Code {
    /// The form for pages and logs, such as `SCLERA-303`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SCLERA-{}", *self as u16)
    }
}

/// One failure: its row of the table and what happened this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The row of the table.
    pub code: Code,
    /// What failed with which value and from which setting (file and line). Goes to the log, never to a browser; holds
    /// no secret.
    pub detail: String,
}

impl Failure {
    /// A failure of this code; `detail` must hold no secret.
    pub fn new(code: Code, detail: impl Into<String>) -> Failure {
        Failure { code, detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    /// The log line: code, name, detail, remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}. {}", self.code, self.code.name(), self.detail, self.code.remedy())
    }
}

impl std::error::Error for Failure {}

/// The reference page `docs/failures.md`, in Markdown.
#[cfg(test)]
fn page() -> String {
    let mut page = String::from(
        "# Failures\n\n\
         Every failure has one row here and one code, which stands in the web server's error log, in what `sclera test`,\n\
         `sclera doctor` and `sclera check` print, in the C interface, and on the page that the browser sees. This page is written from\n\
         the table in the source (`src/failure.rs`); `make docs` writes it anew.\n\n\
         *Repeat*: `safe` means that nothing of the request has reached an application; `unsafe`, that one may have run it.\n",
    );
    let mut stage = None;
    for &code in Code::ALL {
        if stage != Some(code.stage()) {
            stage = Some(code.stage());
            page += &format!("\n## {}xx: {}\n\n", code as u16 / 100, code.stage().name());
            page +=
                "| code | name | whose fault | repeat | status | what to do |\n| --- | --- | --- | --- | --- | --- |\n";
        }
        let retry = if code.retry() == Retry::Safe { "safe" } else { "unsafe" };
        let (name, fault) = (code.name(), code.fault().word());
        page += &format!("| {code} | {name} | {fault} | {retry} | {} | {} |\n", code.http_status(), code.remedy());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_reference_page_is_what_the_table_says() {
        crate::profile::reference::compare("docs/failures.md", &page());
    }

    #[test]
    fn no_number_and_no_name_stands_twice_and_each_remedy_is_a_sentence() {
        let mut numbers = HashSet::new();
        let mut names = HashSet::new();
        for &code in Code::ALL {
            assert!(numbers.insert(code as u16), "{code} stands twice");
            assert!(names.insert(code.name()), "{} stands twice", code.name());
            assert!(code.remedy().ends_with('.'), "{code} has no sentence");
        }
    }

    #[test]
    fn numbers_stand_in_rising_order_so_that_the_stage_can_be_read_from_them() {
        assert!(Code::ALL.windows(2).all(|pair| (pair[0] as u16) < (pair[1] as u16)));
    }
}
