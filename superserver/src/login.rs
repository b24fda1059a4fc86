//! The login decision: one pure function from what is known about an attempt to the user it becomes, or the reason
//! why it becomes nobody.
//!
//! The order of the checks is the evaluation order of an instance; the numbers are its error numbers. Credentials win
//! over a certificate: whoever offers a user name or a password is judged by them alone, and a wrong password never
//! falls back to the certificate. The certificate counts only where none are offered and the service allows it.

use crate::password::PasswordHash;
use crate::security::{Mechanisms, Service, ServiceName, System, User, is_reserved_user};
use std::fmt;
use std::net::IpAddr;
use std::sync::LazyLock;
use time::Date;

/// One attempt to log in.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The service that the connection asks for.
    pub service: ServiceName,
    /// Whether the superserver that took the connection serves this service (EnableCSP, EnableClients).
    pub served_here: bool,
    /// Where the connection comes from.
    pub address: IpAddr,
    /// Offered user name; empty for none.
    pub user: &'a str,
    /// Offered password; empty for none.
    pub password: Secret<'a>,
    /// The common names of the verified client certificate's subject; `None` without a certificate.
    pub common_names: Option<&'a [String]>,
    /// The day of the attempt.
    pub today: Date,
}

/// A password on its way to being checked; prints as nothing.
#[derive(Clone, Copy)]
pub struct Secret<'a>(pub &'a str);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How a login was made, or attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// User name and password.
    Password,
    /// Common name of the client certificate.
    MutualTls,
    /// No credentials; the user is `UnknownUser`.
    Unauthenticated,
}

/// A login that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The user's name as it was created.
    pub username: String,
    /// What the login rests on.
    pub mechanism: Mechanism,
}

/// A login that failed. Only the audit says why; the peer reads [`Refused::told_to_peer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The user that was tried; as offered, or the certificate's common name, or `UnknownUser`.
    pub username: String,
    /// The mechanism that was tried, if the attempt came that far.
    pub mechanism: Option<Mechanism>,
    /// Why.
    pub reason: Reason,
}

/// Why a login failed: the error number and text of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The error number; match on this, never on the text.
    pub number: u16,
    /// One sentence with the values at hand.
    pub text: String,
}

/// Who an unauthenticated login becomes.
pub const UNKNOWN_USER: &str = "UnknownUser";

/// Decides one attempt. `find_user` looks a name up without regard to case.
pub fn decide(
    attempt: &Attempt<'_>,
    service: &Service,
    system: &System,
    find_user: &dyn Fn(&str) -> Option<User>,
) -> Result<Granted, Refused> {
    let offered = if attempt.user.is_empty() { UNKNOWN_USER } else { attempt.user };
    admit(attempt, service).map_err(|reason| Refused { username: offered.to_owned(), mechanism: None, reason })?;

    let has_credentials = !attempt.user.is_empty() || !attempt.password.0.is_empty();
    if has_credentials {
        by_password(attempt, service, system, find_user).map_err(|reason| Refused {
            username: offered.to_owned(),
            mechanism: Some(Mechanism::Password),
            reason,
        })
    } else if let Some(names) = attempt.common_names.filter(|_| allows_certificates(attempt, service)) {
        by_certificate(names, attempt, service, system, find_user).map_err(|reason| Refused {
            username: if names.is_empty() { UNKNOWN_USER.to_owned() } else { names.join(" ") },
            mechanism: Some(Mechanism::MutualTls),
            reason,
        })
    } else {
        without_credentials(attempt, service, system).map_err(|reason| Refused {
            username: UNKNOWN_USER.to_owned(),
            mechanism: None,
            reason,
        })
    }
}

/// The rules that hold before anybody's credentials are looked at.
fn admit(attempt: &Attempt<'_>, service: &Service) -> Result<(), Reason> {
    let name = attempt.service;
    if !attempt.served_here {
        let setting = match name {
            ServiceName::WebGateway => "EnableCSP",
            ServiceName::Bindings => "EnableClients",
        };
        return Err(reason(800, format!("Logins for Service {name} are disabled on this superserver ({setting}=0)")));
    }
    if !service.enabled {
        return Err(reason(800, format!("Logins for Service {name} are disabled")));
    }
    if !service.addresses.allow(attempt.address) {
        let address = attempt.address.to_canonical();
        return Err(reason(817, format!("Client IP Address {address} not authorized for service {name}")));
    }
    Ok(())
}

fn allows_certificates(attempt: &Attempt<'_>, service: &Service) -> bool {
    attempt.service == ServiceName::WebGateway && service.mechanisms.allow(Mechanisms::MUTUAL_TLS)
}

fn by_password(
    attempt: &Attempt<'_>,
    service: &Service,
    system: &System,
    find_user: &dyn Fn(&str) -> Option<User>,
) -> Result<Granted, Reason> {
    if !service.mechanisms.allow(Mechanisms::PASSWORD) {
        return Err(reason(947, format!("Password logins not allowed for service {}", attempt.service)));
    }
    if attempt.user.is_empty() {
        return Err(reason(824, "Invalid Username or Password: a password came without a user name".to_owned()));
    }
    let user = find_user(attempt.user).filter(|user| !is_reserved_user(&user.name));
    // The hash is computed in every case, so that the time taken does not tell which users exist.
    let hash = user.as_ref().and_then(|user| user.password.as_ref());
    let fits = hash.unwrap_or(&NOBODYS_PASSWORD).matches(attempt.password.0) && hash.is_some();
    let user = user.ok_or_else(|| reason(838, format!("User {} does not exist", attempt.user)))?;
    check_account(&user, attempt.today, system)?;
    if !fits {
        return Err(reason(952, "Invalid password".to_owned()));
    }
    let age = user.password_set.map_or(0, |set| (attempt.today - set).whole_days());
    if system.password_days > 0 && age > i64::from(system.password_days) {
        return Err(reason(992, "Password has expired".to_owned()));
    }
    if user.change_password {
        return Err(reason(935, "Password change required.".to_owned()));
    }
    check_rights(&user, attempt.service, service, system)?;
    Ok(Granted { username: user.name, mechanism: Mechanism::Password })
}

static NOBODYS_PASSWORD: LazyLock<PasswordHash> =
    LazyLock::new(|| PasswordHash::of("nobody's password").expect("the system gives random numbers"));

fn by_certificate(
    names: &[String],
    attempt: &Attempt<'_>,
    service: &Service,
    system: &System,
    find_user: &dyn Fn(&str) -> Option<User>,
) -> Result<Granted, Reason> {
    let [name] = names else {
        let count = names.len();
        let text = format!(
            "User {} does not exist: the certificate's subject holds {count} common names, not one",
            names.join(" ")
        );
        return Err(reason(838, text));
    };
    let user = find_user(name).filter(|user| !is_reserved_user(&user.name));
    let user = user.ok_or_else(|| reason(838, format!("User {name} does not exist")))?;
    check_account(&user, attempt.today, system)?;
    check_rights(&user, attempt.service, service, system)?;
    Ok(Granted { username: user.name, mechanism: Mechanism::MutualTls })
}

fn without_credentials(attempt: &Attempt<'_>, service: &Service, system: &System) -> Result<Granted, Reason> {
    if !service.mechanisms.allow(Mechanisms::UNAUTHENTICATED) {
        return Err(nothing_allowed(attempt, service));
    }
    if !system.required_role.is_empty() {
        return Err(role_missing(system));
    }
    if !service.public {
        return Err(not_authorized(attempt.service));
    }
    Ok(Granted { username: UNKNOWN_USER.to_owned(), mechanism: Mechanism::Unauthenticated })
}

/// The refusal of a peer that offered nothing usable, with a hint at the usual mistakes.
fn nothing_allowed(attempt: &Attempt<'_>, service: &Service) -> Reason {
    let name = attempt.service;
    if service.mechanisms.is_unusable() {
        return reason(963, format!("No authentication enabled for service {name}"));
    }
    let hint = match attempt.common_names {
        Some(_) if name == ServiceName::Bindings => {
            " (the client certificate guards the transport only; this service wants a user name and a password)"
        }
        Some(_) => " (a client certificate came, but MutualTLS is not in AutheEnabled)",
        None if allows_certificates(attempt, service) => {
            " (MutualTLS is in AutheEnabled, but no client certificate came)"
        }
        None => "",
    };
    reason(951, format!("Unauthenticated access for service {name} is disabled{hint}"))
}

fn check_account(user: &User, today: Date, system: &System) -> Result<(), Reason> {
    let name = &user.name;
    if user.kind != "Password" {
        return Err(reason(974, format!("User {name} is not an IRIS user (its type is {})", user.kind)));
    }
    if !user.enabled {
        return Err(reason(828, format!("User {name} account is disabled")));
    }
    if user.expires.is_some_and(|last_day| today > last_day) {
        return Err(reason(959, format!("User {name} account has expired")));
    }
    let idle_days = (today - user.last_login).whole_days();
    if !user.never_inactive && system.inactive_limit > 0 && idle_days > i64::from(system.inactive_limit) {
        return Err(reason(960, format!("User {name} account is inactive")));
    }
    let limit = system.invalid_login_limit;
    if system.lock_out && limit > 0 && user.invalid_attempts >= limit {
        return Err(reason(1418, format!("User {name} account has reached the invalid login limit")));
    }
    Ok(())
}

fn check_rights(user: &User, name: ServiceName, service: &Service, system: &System) -> Result<(), Reason> {
    if !system.required_role.is_empty() && !user.holds(&system.required_role) {
        return Err(role_missing(system));
    }
    if !service.public && !user.holds("%All") && !user.services.contains(&name) {
        return Err(not_authorized(name));
    }
    Ok(())
}

fn role_missing(system: &System) -> Reason {
    reason(978, format!("System requires that the user must own the {} role to connect", system.required_role))
}

fn not_authorized(name: ServiceName) -> Reason {
    reason(815, format!("User not authorized for service {name}"))
}

fn reason(number: u16, text: String) -> Reason {
    Reason { number, text }
}

impl Refused {
    /// The text that goes to the peer: it does not say what was wrong.
    pub fn told_to_peer(&self) -> &'static str {
        match self.reason.number {
            935 => "Password change required",
            _ => "Access Denied",
        }
    }
}

impl fmt::Display for Reason {
    /// `ERROR #838: User gateway does not exist`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR #{}: {}", self.number, self.text)
    }
}

impl fmt::Display for Mechanism {
    /// The name in the audit and in `AutheEnabled`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mechanism::Password => "Password",
            Mechanism::MutualTls => "MutualTLS",
            Mechanism::Unauthenticated => "Unauthenticated",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::{AllowedAddresses, same_user};
    use time::macros::date;

    const TODAY: Date = date!(2026 - 11 - 23);
    const PASSWORD: Mechanisms = Mechanisms::PASSWORD;
    const UNAUTHENTICATED: Mechanisms = Mechanisms::UNAUTHENTICATED;
    const MUTUAL: Mechanisms = Mechanisms::MUTUAL_TLS;
    const NOTHING: Mechanisms = Mechanisms(0);

    fn user(name: &str, password: &str) -> User {
        User {
            name: name.to_owned(),
            password: Some(PasswordHash::quick(password)),
            enabled: true,
            expires: None,
            never_inactive: false,
            change_password: false,
            roles: Vec::new(),
            services: Vec::new(),
            kind: "Password".to_owned(),
            password_set: Some(TODAY),
            last_login: TODAY,
            invalid_attempts: 0,
        }
    }

    fn service(mechanisms: Mechanisms) -> Service {
        Service { enabled: true, mechanisms, addresses: AllowedAddresses::default(), public: true }
    }

    fn system() -> System {
        System {
            password_days: 0,
            audit: true,
            inactive_limit: 90,
            invalid_login_limit: 5,
            lock_out: false,
            required_role: String::new(),
        }
    }

    fn attempt<'a>(user: &'a str, password: &'a str, common_names: Option<&'a [String]>) -> Attempt<'a> {
        Attempt {
            service: ServiceName::WebGateway,
            served_here: true,
            address: "127.0.0.1".parse().unwrap(),
            user,
            password: Secret(password),
            common_names,
            today: TODAY,
        }
    }

    /// `Ok("user by mechanism")` or `Err(number)`, with the users `GWUser` (password `right`) and `Other` (`other`).
    fn outcome(attempt: &Attempt<'_>, service: &Service, system: &System) -> Result<String, u16> {
        outcome_with(attempt, service, system, &[user("GWUser", "right"), user("Other", "other")])
    }

    fn outcome_with(attempt: &Attempt<'_>, service: &Service, system: &System, users: &[User]) -> Result<String, u16> {
        let find = |name: &str| users.iter().find(|user| same_user(&user.name, name)).cloned();
        decide(attempt, service, system, &find)
            .map(|granted| format!("{} by {}", granted.username, granted.mechanism))
            .map_err(|refused| refused.reason.number)
    }

    #[test]
    fn credentials_certificate_and_mechanisms_lead_to_the_documented_outcomes() {
        type Case = (&'static str, &'static str, Option<&'static str>, Mechanisms, Result<&'static str, u16>);
        let cases: &[Case] = &[
            // user, password, common name, mechanisms, outcome
            ("", "", Some("GWUser"), MUTUAL, Ok("GWUser by MutualTLS")),
            ("", "", Some("gwuser"), MUTUAL, Ok("GWUser by MutualTLS")),
            ("Other", "other", Some("GWUser"), PASSWORD | MUTUAL, Ok("Other by Password")),
            ("Other", "wrong", Some("GWUser"), PASSWORD | MUTUAL, Err(952)),
            ("Other", "other", Some("GWUser"), MUTUAL, Err(947)),
            ("GWUser", "", Some("GWUser"), MUTUAL, Err(947)),
            ("GWUser", "", Some("GWUser"), PASSWORD | MUTUAL, Err(952)),
            ("", "right", Some("GWUser"), PASSWORD | MUTUAL, Err(824)),
            ("", "", None, MUTUAL, Err(951)),
            ("", "", None, MUTUAL | UNAUTHENTICATED, Ok("UnknownUser by Unauthenticated")),
            ("", "", Some("nobody"), MUTUAL, Err(838)),
            ("", "", Some("nobody"), MUTUAL | UNAUTHENTICATED, Err(838)),
            ("", "", Some("GWUser"), PASSWORD, Err(951)),
            ("", "", Some("GWUser"), NOTHING, Err(963)),
            ("", "", None, NOTHING, Err(963)),
            ("", "", None, PASSWORD, Err(951)),
            ("", "", Some("GWUser"), PASSWORD | UNAUTHENTICATED, Ok("UnknownUser by Unauthenticated")),
            ("gwuser", "right", None, PASSWORD, Ok("GWUser by Password")),
            ("gwuser", "right", None, UNAUTHENTICATED, Err(947)),
            ("gwuser", "wrong", None, PASSWORD | UNAUTHENTICATED, Err(952)),
            ("nobody", "right", None, PASSWORD, Err(838)),
            ("", "", Some("UnknownUser"), MUTUAL, Err(838)),
            ("", "", Some(" GWUser"), MUTUAL, Err(838)),
            ("", "", Some("GWUser@domain"), MUTUAL, Err(838)),
        ];
        for (user, password, name, mechanisms, expected) in cases {
            let names = name.map(|name| vec![name.to_owned()]);
            let got = outcome(&attempt(user, password, names.as_deref()), &service(*mechanisms), &system());
            let place = format!("{user}/{password}, certificate {name:?}, {mechanisms}");
            assert_eq!(got, expected.map(str::to_owned), "{place}");
        }
    }

    #[test]
    fn a_certificate_never_logs_in_to_the_bindings_service() {
        let names = ["GWUser".to_owned()];
        let attempt = Attempt { service: ServiceName::Bindings, ..attempt("", "", Some(&names)) };
        assert_eq!(outcome(&attempt, &service(PASSWORD | MUTUAL), &system()), Err(951));
    }

    #[test]
    fn a_subject_with_no_or_several_common_names_is_nobody() {
        let several = ["GWUser".to_owned(), "Other".to_owned()];
        assert_eq!(outcome(&attempt("", "", Some(&several)), &service(MUTUAL), &system()), Err(838));
        assert_eq!(outcome(&attempt("", "", Some(&[])), &service(MUTUAL | UNAUTHENTICATED), &system()), Err(838));
    }

    #[test]
    fn superserver_service_and_address_are_asked_before_the_credentials() {
        let good = attempt("GWUser", "right", None);
        let open = service(PASSWORD);
        let elsewhere = Attempt { served_here: false, ..good };
        assert_eq!(outcome(&elsewhere, &open, &system()), Err(800));
        let disabled = Service { enabled: false, ..open.clone() };
        assert_eq!(outcome(&good, &disabled, &system()), Err(800));
    }

    #[test]
    fn every_state_of_an_account_has_its_number_and_the_first_one_wins() {
        let yesterday = TODAY.previous_day().unwrap();
        type Change = fn(&mut User, Date);
        let cases: [(Change, u16); 6] = [
            (|user, _| user.enabled = false, 828),
            (|user, yesterday| user.expires = Some(yesterday), 959),
            (|user, _| user.last_login = date!(2026 - 08 - 24), 960),
            (|user, _| user.invalid_attempts = 5, 1418),
            (|user, _| user.password = None, 952),
            (|user, _| user.change_password = true, 935),
        ];
        let locking = System { lock_out: true, ..system() };
        let mut all = user("GWUser", "right");
        let mut expected = Vec::new();
        for (change, number) in cases.into_iter().rev() {
            let mut one = user("GWUser", "right");
            change(&mut one, yesterday);
            let got = outcome_with(&attempt("GWUser", "right", None), &service(PASSWORD), &locking, &[one]);
            assert_eq!(got, Err(number));
            change(&mut all, yesterday);
            expected.push(outcome_with(
                &attempt("GWUser", "right", None),
                &service(PASSWORD),
                &locking,
                std::slice::from_ref(&all),
            ));
        }
        assert_eq!(expected, [935, 952, 1418, 960, 959, 828].map(Err));
    }

    #[test]
    fn limits_include_their_last_day_and_exemptions_hold() {
        let names = ["GWUser".to_owned()];
        let by_certificate = attempt("", "", Some(&names));
        let fine: [fn(&mut User); 4] = [
            |user| user.expires = Some(TODAY),
            |user| user.last_login = date!(2026 - 08 - 25),
            |user| {
                user.last_login = date!(2020 - 01 - 01);
                user.never_inactive = true;
            },
            |user| user.invalid_attempts = 99,
        ];
        for change in fine {
            let mut user = user("GWUser", "right");
            change(&mut user);
            let got = outcome_with(&by_certificate, &service(MUTUAL), &system(), &[user]);
            assert_eq!(got.as_deref(), Ok("GWUser by MutualTLS"));
        }
    }

    #[test]
    fn a_certificate_login_needs_no_password_and_no_password_change() {
        let names = ["GWUser".to_owned()];
        let mut user = user("GWUser", "right");
        user.password = None;
        user.change_password = true;
        let got = outcome_with(&attempt("", "", Some(&names)), &service(MUTUAL), &system(), &[user]);
        assert_eq!(got.as_deref(), Ok("GWUser by MutualTLS"));
    }

    #[test]
    fn required_role_and_private_services_hold_for_every_mechanism() {
        let names = ["GWUser".to_owned()];
        let attempts = [attempt("GWUser", "right", None), attempt("", "", Some(&names)), attempt("", "", None)];
        let open = service(PASSWORD | MUTUAL | UNAUTHENTICATED);
        let strict = System { required_role: "Gateway".to_owned(), ..system() };
        let private = Service { public: false, ..open.clone() };
        for attempt in &attempts {
            assert_eq!(outcome(attempt, &open, &strict), Err(978));
            assert_eq!(outcome(attempt, &private, &system()), Err(815));
        }
        let mut privileged = user("GWUser", "right");
        privileged.roles = vec!["%All".to_owned()];
        let got = outcome_with(&attempts[0], &private, &strict, &[privileged]);
        assert_eq!(got.as_deref(), Ok("GWUser by Password"));
    }

    #[test]
    fn the_peer_learns_nothing_but_the_need_of_a_new_password() {
        let refused = |number| Refused { username: "x".into(), mechanism: None, reason: reason(number, "why".into()) };
        assert_eq!(refused(838).told_to_peer(), "Access Denied");
        assert_eq!(refused(952).told_to_peer(), "Access Denied");
        assert_eq!(refused(935).told_to_peer(), "Password change required");
    }
}
