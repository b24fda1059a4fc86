//! How the gateway logs in, and whether that is what was meant.

use super::{Check, Verdict};
use crate::identity::{Credential, credential};
use crate::profile::{Server, Unusable};

pub(super) fn checks(server: &Server) -> Vec<Check> {
    let credential = credential(server);
    let mut checks = vec![match &credential {
        Credential::MutualTls { certificate } => {
            let place = certificate.place("SSLCC_Certificate_File");
            Check::good("login", place, "the certificate decides: user name and password are empty")
        }
        Credential::Password { username, hidden_certificate: None, .. } => {
            Check::good("login", username.place("Username"), format!("by password, as {:?}", username.value))
        }
        Credential::Password { username, hidden_certificate: Some(_), .. } => {
            let evidence = credential.warning().unwrap_or_default();
            Check::new("login", username.place("Username"), Verdict::Warning, evidence)
                .remedy("clear Username and Password, if the certificate is to decide")
        }
        Credential::Unauthenticated => {
            let place = server.username.place("Username");
            let (evidence, remedy) = match server.tls.certificate_file.is_some() {
                true => (
                    "neither user name nor password, and without TLS no certificate: the superserver must let everybody in",
                    "set Connection_Security_Level=10, so that the certificate is shown",
                ),
                false => (
                    "neither user name, nor password, nor certificate: the superserver must let everybody in",
                    "set SSLCC_Certificate_File and SSLCC_Certificate_Key_File, or Username and Password",
                ),
            };
            Check::new("login", place, Verdict::Warning, evidence).remedy(remedy)
        }
    }];
    let secrets =
        [("Password", Some(&server.password)), ("SSLCC_Private_Key_Password", server.tls.key_password.as_ref())];
    for (key, secret) in secrets {
        if secret.is_some_and(|secret| secret.value.reveal() == Err(Unusable::Command)) {
            let place = secret.map(|secret| secret.place(key)).unwrap_or_default();
            let evidence = "is a {command}, whose password is not known before it has run, for the connection below";
            checks.push(Check::new("login", place, Verdict::Unknown, evidence));
        }
    }
    checks
}
