//! From what was seen on a link to the row of the failure table: pure functions of the stage and the error.

use rustix::io::Errno;
use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use super::link::LinkError;
use crate::failure::Code;
use crate::identity::{self, Credential, Flaw};
use crate::wire::WireError;

/// What was being done when a link broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Connect,
    /// TLS before our side is satisfied. `heard`: whether the peer had sent anything at all.
    Tls {
        heard: bool,
    },
    /// After TLS, until the login is answered. Over TLS 1.3 this is where a refused client certificate shows.
    Login,
    /// A call is under way and nothing of its answer has been told.
    AwaitAnswer,
    /// Some of the answer has been told.
    Answer,
}

/// The code for a broken link. `has_certificate`: whether the profile has a client certificate to present.
pub fn code_of(error: &LinkError, stage: Stage, has_certificate: bool) -> Code {
    match error {
        LinkError::Tls(error) => code_of_tls(error, stage, has_certificate),
        LinkError::Io(Errno::CONNREFUSED) if stage == Stage::Connect => Code::ConnectRefused,
        LinkError::Io(Errno::TIMEDOUT) if stage == Stage::Connect => Code::ConnectTimeout,
        LinkError::Io(Errno::ACCESS | Errno::PERM) if stage == Stage::Connect => Code::ConnectForbidden,
        LinkError::Io(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL)
            if stage == Stage::Connect =>
        {
            Code::NoLocalMeans
        }
        LinkError::Io(_) | LinkError::Closed => match stage {
            Stage::Connect => Code::ConnectFailed,
            // A server without TLS closes at the first bytes of ours, which it cannot read.
            Stage::Tls { heard: false } => Code::TlsNotSpoken,
            Stage::Tls { heard: true } => Code::TlsFailed,
            _ => lost(stage),
        },
    }
}

/// The code for bytes that are not the protocol's. `expected`: what was awaited when they came.
pub fn code_of_wire(error: &WireError, stage: Stage, before_handshake_answer: bool) -> Code {
    match error {
        // Bytes of another protocol make a nonsensical header, which most often announces a huge message.
        _ if before_handshake_answer => Code::NotASuperserver,
        WireError::TooLong { .. } => Code::MessageTooLarge,
        _ if stage == Stage::Connect => Code::NotASuperserver,
        _ => Code::ProtocolViolation,
    }
}

/// One phrase for the log line; it holds no secret.
pub fn describe(error: &LinkError) -> String {
    match error {
        LinkError::Io(errno) => std::io::Error::from(*errno).to_string(),
        LinkError::Tls(rustls::Error::AlertReceived(alert)) => format!("the superserver sent TLS alert {alert:?}"),
        LinkError::Tls(error) => identity::describe(error),
        LinkError::Closed => "the superserver closed the connection".to_owned(),
    }
}

fn code_of_tls(error: &rustls::Error, stage: Stage, has_certificate: bool) -> Code {
    match error {
        rustls::Error::InvalidCertificate(error) => code_of_certificate(error),
        rustls::Error::AlertReceived(alert) => code_of_alert(*alert, has_certificate),
        rustls::Error::PeerIncompatible(reason) => match reason {
            PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoKxGroupsInCommon => Code::TlsCipher,
            _ => Code::TlsVersion,
        },
        rustls::Error::InvalidMessage(_) if matches!(stage, Stage::Tls { .. }) => Code::TlsNotSpoken,
        rustls::Error::InvalidCertRevocationList(_) => Code::RevocationUnknown,
        rustls::Error::NoCertificatesPresented => Code::ServerCertificateUntrusted,
        _ if matches!(stage, Stage::AwaitAnswer | Stage::Answer) => lost(stage),
        _ => Code::TlsFailed,
    }
}

fn code_of_certificate(error: &CertificateError) -> Code {
    use CertificateError::*;
    if let Some(flaw) = Flaw::of(error) {
        return code_of_flaw(flaw);
    }
    match error {
        UnknownIssuer => Code::ServerCertificateUntrusted,
        Expired | ExpiredContext { .. } => Code::ServerCertificateExpired,
        NotValidYet | NotValidYetContext { .. } => Code::ServerCertificateNotYetValid,
        NotValidForName | NotValidForNameContext { .. } => Code::ServerCertificateName,
        Revoked => Code::ServerCertificateRevoked,
        UnknownRevocationStatus => Code::RevocationUnknown,
        _ => Code::ServerCertificateInvalid,
    }
}

fn code_of_flaw(flaw: &Flaw) -> Code {
    match flaw {
        Flaw::NameInCommonName => Code::ServerCertificateNameInCn,
        Flaw::Version1 => Code::ServerCertificateVersion1,
        Flaw::IsAuthority => Code::ServerCertificateIsCa,
        Flaw::Sha1 => Code::ServerCertificateSha1,
        Flaw::WeakKey { .. } => Code::ServerCertificateWeakKey,
        Flaw::NotForServers => Code::ServerCertificateNotForServers,
        Flaw::PinnedKeyDiffers { .. } => Code::PinnedKeyDiffers,
    }
}

/// What alerts mean is measured in the security reference, section 2.2.
fn code_of_alert(alert: AlertDescription, has_certificate: bool) -> Code {
    match alert {
        AlertDescription::ProtocolVersion => Code::TlsVersion,
        AlertDescription::CertificateRequired => Code::ClientCertificateRequired,
        // TLS 1.2 says no more than this when it misses our certificate.
        AlertDescription::HandshakeFailure if !has_certificate => Code::ClientCertificateRequired,
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => Code::TlsCipher,
        AlertDescription::UnknownCA => Code::ClientCertificateUnknownCa,
        AlertDescription::CertificateExpired => Code::ClientCertificateExpired,
        AlertDescription::CertificateRevoked => Code::ClientCertificateRevoked,
        AlertDescription::UnrecognisedName => Code::ServerNameUnknown,
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => Code::ClientCertificateRefused,
        _ => Code::TlsFailed,
    }
}

/// The code for a login that the superserver has answered with a refusal. It gives no reason to strangers, so what was
/// offered decides what to look at first. `asked`: whether the superserver has ever asked for the certificate.
pub fn code_of_refusal(credential: &Credential<'_>, asked: bool, reason: &str) -> Code {
    let reason = reason.to_ascii_lowercase();
    if ["licence", "license"].iter().any(|word| reason.contains(word)) {
        return Code::NoLicence;
    }
    if reason.contains("password change") {
        return Code::PasswordChangeRequired;
    }
    match credential {
        Credential::Password { hidden_certificate: Some(_), .. } => Code::PasswordHidesCertificate,
        Credential::Password { hidden_certificate: None, .. } => Code::PasswordRefused,
        Credential::MutualTls { .. } if !asked => Code::CertificateNotRequested,
        Credential::MutualTls { .. } => Code::LoginRefused,
        Credential::Unauthenticated => Code::NothingOffered,
    }
}

fn lost(stage: Stage) -> Code {
    match stage {
        Stage::AwaitAnswer => Code::ConnectionLost,
        Stage::Answer => Code::AnswerCut,
        _ => Code::LoginConnectionLost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_code() {
        let alert = |alert| LinkError::Tls(rustls::Error::AlertReceived(alert));
        let certificate = |error| LinkError::Tls(rustls::Error::InvalidCertificate(error));
        let tls = Stage::Tls { heard: true };
        for (error, stage, has_certificate, code) in [
            (LinkError::Io(Errno::CONNREFUSED), Stage::Connect, true, Code::ConnectRefused),
            (LinkError::Io(Errno::TIMEDOUT), Stage::Connect, true, Code::ConnectTimeout),
            (LinkError::Io(Errno::ACCESS), Stage::Connect, true, Code::ConnectForbidden),
            (LinkError::Io(Errno::MFILE), Stage::Connect, true, Code::NoLocalMeans),
            (LinkError::Io(Errno::HOSTUNREACH), Stage::Connect, true, Code::ConnectFailed),
            (LinkError::Closed, Stage::Tls { heard: false }, true, Code::TlsNotSpoken),
            (LinkError::Io(Errno::CONNRESET), Stage::Tls { heard: false }, true, Code::TlsNotSpoken),
            (LinkError::Closed, tls, true, Code::TlsFailed),
            (certificate(CertificateError::UnknownIssuer), tls, true, Code::ServerCertificateUntrusted),
            (certificate(CertificateError::Expired), tls, true, Code::ServerCertificateExpired),
            (certificate(CertificateError::NotValidForName), tls, true, Code::ServerCertificateName),
            (certificate(CertificateError::BadEncoding), tls, true, Code::ServerCertificateInvalid),
            (certificate(CertificateError::Revoked), tls, true, Code::ServerCertificateRevoked),
            (LinkError::Tls(Flaw::Version1.into()), tls, true, Code::ServerCertificateVersion1),
            (alert(AlertDescription::CertificateRevoked), Stage::Login, true, Code::ClientCertificateRevoked),
            (alert(AlertDescription::UnrecognisedName), tls, true, Code::ServerNameUnknown),
            (alert(AlertDescription::CertificateRequired), Stage::Login, false, Code::ClientCertificateRequired),
            (alert(AlertDescription::HandshakeFailure), tls, false, Code::ClientCertificateRequired),
            (alert(AlertDescription::HandshakeFailure), tls, true, Code::TlsCipher),
            (alert(AlertDescription::UnknownCA), Stage::Login, true, Code::ClientCertificateUnknownCa),
            (alert(AlertDescription::CertificateExpired), Stage::Login, true, Code::ClientCertificateExpired),
            (alert(AlertDescription::UnsupportedCertificate), Stage::Login, true, Code::ClientCertificateRefused),
            (alert(AlertDescription::ProtocolVersion), tls, true, Code::TlsVersion),
            (LinkError::Closed, Stage::Login, true, Code::LoginConnectionLost),
            (LinkError::Closed, Stage::AwaitAnswer, true, Code::ConnectionLost),
            (LinkError::Closed, Stage::Answer, true, Code::AnswerCut),
        ] {
            assert_eq!(code_of(&error, stage, has_certificate), code, "{error:?} at {stage:?}");
        }
    }
}
