//! How the gateway logs in to a server: one pure function from the profile to the credential.

use std::path::PathBuf;

use crate::profile::{Secret, Security, Server, Setting};

/// How the gateway will log in, and where each part came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// User name and password, of which one may be empty. Over TLS the certificate, if any, is still presented when
    /// the superserver asks for it; it then guards the transport only.
    Password {
        /// `Username`.
        username: &'a Setting<String>,
        /// `Password`.
        password: &'a Setting<Secret>,
        /// The certificate that does not decide the login because user name or password are set.
        hidden_certificate: Option<&'a Setting<PathBuf>>,
    },
    /// The certificate's CN is the user.
    MutualTls {
        /// `SSLCC_Certificate_File`.
        certificate: &'a Setting<PathBuf>,
    },
    /// Neither; the superserver decides whether it allows that.
    Unauthenticated,
}

/// The credential of a server. User name and password win over mutual TLS; mutual TLS applies only when both are empty;
/// otherwise the login is unauthenticated.
///
/// A server that [`Server::unusable`] refuses is not logged in to at all, whatever this says.
pub fn credential(server: &Server) -> Credential<'_> {
    let certificate = match server.security.value {
        Security::Tls => server.tls.certificate_file.as_ref(),
        Security::Password | Security::Kerberos(_) => None,
    };
    if !server.username.value.is_empty() || !server.password.value.is_empty() {
        return Credential::Password {
            username: &server.username,
            password: &server.password,
            hidden_certificate: certificate,
        };
    }
    match certificate {
        Some(certificate) => Credential::MutualTls { certificate },
        None => Credential::Unauthenticated,
    }
}

impl Credential<'_> {
    /// A short name for pages and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Credential::Password { .. } => "password",
            Credential::MutualTls { .. } => "mutual TLS",
            Credential::Unauthenticated => "unauthenticated",
        }
    }

    /// What to warn of: a password that hides a certificate. Names the certificate and the lines to clear.
    pub fn warning(&self) -> Option<String> {
        let Credential::Password { username, password, hidden_certificate: Some(certificate) } = self else {
            return None;
        };
        let mut lines = Vec::new();
        if !username.value.is_empty() {
            lines.push(username.place("Username"));
        }
        if !password.value.is_empty() {
            lines.push(password.place("Password"));
        }
        Some(format!(
            "{}={} does not decide the login, because user name and password win over mutual TLS; to log in with the \
             certificate, clear {}",
            certificate.place("SSLCC_Certificate_File"),
            certificate.value.display(),
            lines.join(" and "),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::profile::Profile;

    fn server(level: &str, username: &str, password: &str, certificate: &str) -> Server {
        let content = format!(
            "[SYSTEM_INDEX]\nA=Enabled\n[A]\nIp_Address=a\nConnection_Security_Level={level}\nUsername={username}\n\
             Password={password}\nSSLCC_Certificate_File={certificate}\nSSLCC_Certificate_Key_File={certificate}\n"
        );
        Profile::parse(Path::new("/etc/CSP.ini"), content.as_bytes()).unwrap().profile.servers.remove(0)
    }

    #[test]
    fn user_name_and_password_win_then_the_certificate_then_nothing() {
        let (none, user, word, cert) = ("", "joe", "secret", "/gateway.pem");
        for (level, username, password, certificate, expected, warned) in [
            ("10", none, none, none, "unauthenticated", false),
            ("10", none, none, cert, "mutual TLS", false),
            ("10", none, word, none, "password", false),
            ("10", none, word, cert, "password", true),
            ("10", user, none, none, "password", false),
            ("10", user, none, cert, "password", true),
            ("10", user, word, none, "password", false),
            ("10", user, word, cert, "password", true),
            ("4", none, none, cert, "mutual TLS", false),
            ("10", none, "]]]", cert, "mutual TLS", false),
            ("10", none, "]]]***", cert, "password", true),
            ("10", none, "{pass iris}", cert, "password", true),
            ("0", none, none, none, "unauthenticated", false),
            ("0", none, none, cert, "unauthenticated", false),
            ("0", none, word, none, "password", false),
            ("0", none, word, cert, "password", false),
            ("0", user, none, none, "password", false),
            ("0", user, none, cert, "password", false),
            ("0", user, word, none, "password", false),
            ("0", user, word, cert, "password", false),
        ] {
            let server = server(level, username, password, certificate);
            let credential = credential(&server);
            let row = format!("{level} {username} {password} {certificate}");
            assert_eq!(credential.name(), expected, "{row}");
            assert_eq!(credential.warning().is_some(), warned, "{row}");
        }
    }

    #[test]
    fn the_warning_names_the_ignored_certificate_and_the_two_lines_to_clear() {
        let server = server("10", "joe", "secret", "/gateway.pem");
        assert_eq!(
            credential(&server).warning().unwrap(),
            "/etc/CSP.ini:8 [A] SSLCC_Certificate_File=/gateway.pem does not decide the login, because user name and \
             password win over mutual TLS; to log in with the certificate, clear /etc/CSP.ini:6 [A] Username and \
             /etc/CSP.ini:7 [A] Password"
        );
        assert!(!format!("{:?}", credential(&server)).contains("secret"));
    }
}
