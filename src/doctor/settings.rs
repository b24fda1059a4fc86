//! The settings of a server that make its link weaker than it could be.

use super::{Check, Verdict};
use crate::profile::{KeyType, Security, Server, TlsRange, Verification};

pub(super) fn checks(server: &Server) -> Vec<Check> {
    match server.security.value {
        Security::Tls => of_tls(server),
        Security::Password => vec![without_tls(server)],
        // The failure says it: such a server is not used at all.
        Security::Kerberos(_) => Vec::new(),
    }
}

fn without_tls(server: &Server) -> Check {
    let place = server.security.place("Connection_Security_Level");
    let has_tls = server.tls.files().next().is_some();
    let evidence = match has_tls {
        true => "the link is not protected, and the SSLCC_ settings have no effect",
        false => "the link is not protected: whoever can listen reads passwords and pages",
    };
    Check::new("protection", place, Verdict::Warning, evidence).remedy("set Connection_Security_Level=10")
}

fn of_tls(server: &Server) -> Vec<Check> {
    let tls = &server.tls;
    let mut checks = vec![match tls.verify_peer.value {
        true => Check::good("verification", tls.verify_peer.place("SSLCC_Verify_Peer"), "the superserver is verified"),
        false => Check::new(
            "verification",
            tls.verify_peer.place("SSLCC_Verify_Peer"),
            Verdict::Warning,
            "a superserver that cannot be verified is connected to all the same",
        )
        .remedy("set SSLCC_Verify_Peer=1, with SSLCC_CA_Certificate_File"),
    }];
    let lenient = match tls.verification.value {
        Verification::Full => None,
        Verification::Chain => Some("names, purpose and version of the superserver's certificate are not checked"),
        Verification::Key => Some("only the superserver's key is checked: renew the pin when the key is renewed"),
    };
    if let Some(evidence) = lenient {
        let place = tls.verification.place("Sclera_Verification");
        checks.push(Check::new("verification", place, Verdict::Note, evidence));
    }
    if !tls.verify_name.value && tls.verification.value == Verification::Full {
        let evidence = "a certificate of the CA for any other machine is accepted too";
        checks.push(
            Check::new("verification", tls.verify_name.place("Sclera_Verify_Name"), Verdict::Warning, evidence)
                .remedy("set Sclera_Verify_Name=1, or Sclera_Server_Name to the name that the certificate holds"),
        );
    }
    if tls.range.value == Some(TlsRange::Tls12) {
        let place = tls.range.place("SSLCC_Protocol_Max");
        checks.push(
            Check::new("versions", place, Verdict::Note, "TLS 1.3 is not allowed").remedy("set SSLCC_Protocol_Max=32"),
        );
    }
    if tls.key_type.value == KeyType::Dsa {
        let place = tls.key_type.place("SSLCC_Key_Type");
        let evidence = "says DSA, which TLS has given up; the key file itself decides";
        checks.push(Check::new("key type", place, Verdict::Note, evidence).remedy("set SSLCC_Key_Type=2 or 3"));
    }
    checks
}
