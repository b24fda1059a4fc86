//! Certificates that are about to end: who is told, and when.

use std::collections::HashMap;
use std::time::SystemTime;

use super::Identity;
use super::inspect::Facts;

/// Days before its end at which a certificate is warned of, latest first.
pub const WARNING_DAYS: [i64; 4] = [1, 7, 14, 30];

/// Whose certificate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The gateway's own.
    Gateway,
    /// A CA of the CA file.
    Authority,
    /// The superserver's, as it was last seen.
    Superserver,
}

/// The warning that is due for a certificate with so many whole days left; negative once it has ended.
pub fn due(days_left: i64) -> Option<i64> {
    WARNING_DAYS.into_iter().find(|days| days_left < *days)
}

/// Remembers what has been told, so that each certificate is warned of once at each of [`WARNING_DAYS`].
#[derive(Debug, Default)]
pub struct Reminder(HashMap<(String, Owner, String), i64>);

impl Reminder {
    /// What is to be told now of the certificates of a server's identity.
    pub fn due(&mut self, server: &str, identity: &Identity, now: SystemTime) -> Vec<String> {
        let mut told = Vec::new();
        for (owner, facts) in identity.certificates() {
            let days_left = facts.days_left(now);
            let Some(days) = due(days_left) else { continue };
            let key = (server.to_owned(), owner, facts.serial.clone());
            if self.0.insert(key, days) != Some(days) {
                told.push(format!("server {server}: {}", sentence(owner, &facts, days_left)));
            }
        }
        told
    }
}

fn sentence(owner: Owner, facts: &Facts, days_left: i64) -> String {
    let (whose, remedy) = match owner {
        Owner::Gateway => ("the gateway's certificate", "renew SSLCC_Certificate_File"),
        Owner::Authority => ("the CA certificate", "put its successor into SSLCC_CA_Certificate_File"),
        Owner::Superserver => ("the superserver's certificate", "renew it on the superserver"),
    };
    let end = match days_left {
        ..0 => "has expired".to_owned(),
        0 => "expires within a day".to_owned(),
        1 => "expires in 1 day".to_owned(),
        days => format!("expires in {days} days"),
    };
    format!("{whose} ({}) {end}; {remedy}", facts.subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_due_at_30_14_7_and_1_days_and_after_the_end() {
        for (left, expected) in [
            (400, None),
            (30, None),
            (29, Some(30)),
            (14, Some(30)),
            (13, Some(14)),
            (7, Some(14)),
            (6, Some(7)),
            (1, Some(7)),
            (0, Some(1)),
            (-5, Some(1)),
        ] {
            assert_eq!(due(left), expected, "{left} days");
        }
    }
}
