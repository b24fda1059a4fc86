//! The files of a server: what they hold, whether it belongs together, for whom and how long.

use std::time::SystemTime;

use super::{Check, Verdict, named};
use crate::failure::Failure;
use crate::identity::{Checked, Facts, Identity, expiry, implausible_user};
use crate::profile::Server;

pub(super) fn checks(server: &Server, now: SystemTime) -> Vec<Check> {
    let (identity, checked) = Identity::inspect(server, now);
    let mut checks = files(server, &checked);
    if let Some(own) = &identity.facts {
        let subject = server.tls.certificate_file.as_ref().map(|it| named(it.place("file"), &it.value));
        let subject = subject.unwrap_or_default();
        checks.push(user(&subject, own));
        checks.extend(chain(&subject, own, &identity));
        checks.push(days(&subject, "dates", own, now));
    }
    if let Some(file) = &server.tls.ca_file {
        let subject = named(file.place("file"), &file.value);
        checks.extend(authorities(&subject, &identity.authorities));
        checks.extend(identity.authorities.iter().map(|it| days(&subject, "CA dates", it, now)));
    }
    checks
}

/// What keeps the files from being used, told by the very code that uses them.
fn files(server: &Server, checked: &Checked) -> Vec<Check> {
    let bad = |failure: &Failure| {
        Check {
            code: Some(failure.code),
            ..Check::new("files", "what the SSLCC_ settings name", Verdict::Bad, failure.detail.clone())
        }
        .remedy(failure.code.remedy())
    };
    let mut checks: Vec<Check> = checked.errors.iter().chain(&checked.warnings).map(bad).collect();
    let told = |verdict: Verdict| move |text: &String| Check::new("files", "what they hold", verdict, text.clone());
    checks.extend(checked.alarms.iter().map(told(Verdict::Warning)));
    checks.extend(checked.notices.iter().map(told(Verdict::Note)));
    if checks.is_empty() {
        let count = server.tls.files().count();
        let evidence = match (&server.tls.certificate_file, count) {
            (Some(_), _) => format!("{count} are PEM and can be read; certificate and key belong together"),
            (None, _) => format!("{count} are PEM and can be read; there is no certificate to log in with"),
        };
        checks.push(Check::good("files", "what the SSLCC_ settings name", evidence));
    }
    checks
}

/// The CN is the IRIS user.
fn user(subject: &str, own: &Facts) -> Check {
    match &own.common_name {
        None => Check::new("user", subject, Verdict::Bad, "its subject does not hold exactly one CN")
            .remedy("reissue it with the name of an IRIS user as its only CN"),
        Some(cn) => match implausible_user(cn) {
            Some(reason) => {
                Check::new("user", subject, Verdict::Bad, format!("CN={cn} cannot be an IRIS user: it {reason}"))
                    .remedy("reissue it with the name of an IRIS user as its CN")
            }
            None => {
                Check::good("user", subject, format!("CN={cn}: an IRIS user of that name must exist and be enabled"))
            }
        },
    }
}

/// Each certificate must be followed by the one that signed it.
fn chain(subject: &str, own: &Facts, identity: &Identity) -> Vec<Check> {
    let mut last = own;
    for (position, next) in identity.intermediates.iter().enumerate() {
        if last.issuer != next.subject {
            let evidence = format!(
                "certificate {} of the file ({}) did not sign the one before it, which {} signed",
                position + 2,
                next.subject,
                last.issuer
            );
            return vec![Check::new("chain", subject, Verdict::Bad, evidence).remedy(
                "put the certificates into the file in their order: the gateway's, then who signed it, and so on",
            )];
        }
        last = next;
    }
    let evidence = if last.issuer == last.subject {
        "complete, up to a root".to_owned()
    } else {
        format!(
            "{} certificate(s); the superserver's CA file must hold {}",
            identity.intermediates.len() + 1,
            last.issuer
        )
    };
    vec![Check::good("chain", subject, evidence)]
}

fn days(subject: &str, name: &'static str, facts: &Facts, now: SystemTime) -> Check {
    let left = facts.days_left(now);
    let evidence = format!("{}: {left} days left", facts.subject);
    match expiry::due(left) {
        _ if left < 0 => Check::new(name, subject, Verdict::Bad, format!("{}: has expired", facts.subject))
            .remedy("renew it; new files are taken up while the web server runs"),
        None => Check::good(name, subject, evidence),
        Some(_) => Check::new(name, subject, Verdict::Warning, evidence)
            .remedy("renew it; new files are taken up while the web server runs"),
    }
}

fn authorities(subject: &str, all: &[Facts]) -> Vec<Check> {
    let mut checks = Vec::new();
    for facts in all.iter().filter(|facts| !facts.is_authority && facts.version > 1) {
        let evidence = format!("{} is no CA, and so vouches for nobody", facts.subject);
        checks.push(
            Check::new("CA", subject, Verdict::Warning, evidence)
                .remedy("put the certificate of the CA there that signed the superserver's certificate"),
        );
    }
    let root = all.iter().any(|facts| facts.subject == facts.issuer);
    match (root, all.is_empty()) {
        (true, _) => {
            checks.push(Check::good("CA", subject, format!("holds {} certificate(s), a root among them", all.len())))
        }
        // Why the file cannot be used is told already.
        (false, true) => {}
        (false, false) => checks.push(
            Check::new("CA", subject, Verdict::Note, "holds no root; that is enough for Sclera, not for every program")
                .remedy("add the self-signed root to the file"),
        ),
    }
    checks
}
