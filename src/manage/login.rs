//! Logging in and out, and who a request is from.
//!
//! The fields are those of the original's form (`CSPSYS=17`, `CSPUNM`, `CSPPWD`, `CSPSYSbOK`), so that login pages and
//! scripts made for it work. Attempts are counted before they are looked at, for the address and for the user, and
//! refused while the delay lasts that grows with each failure. A login begins a session with an id of its own, whatever
//! cookie the browser had before.

use std::path::Path;
use std::sync::OnceLock;

use askama::Template;
use base64ct::{Base64, Encoding};
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::access::{self, Client, Need};
use super::form::Form;
use super::language::Language;
use super::visit::{COOKIE, Visit, Who, cookie};
use super::{Manage, PAGES, Place, Request, Response, role_of, text, token};
use crate::event_log::Level;
use crate::ledger::session::{Whose, name_of_session, random};
use crate::profile::file::read_bounded;
use crate::profile::{Management, ManagementPassword, Role, UsersFile};

/// What the query calls the end of a session.
pub const LOGOUT: &str = "logout";

/// Somebody whose name and password are right.
struct Known {
    user: String,
    role: Role,
    /// Of the credential: it changes when the password or the role does.
    mark: u64,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    language: Language,
    /// What went wrong; empty at first.
    message: String,
    /// Nobody can log in, because the password cannot be checked.
    unverifiable: bool,
    /// The page to go to afterwards.
    page: String,
    insecure: bool,
}

/// Whether a request is an attempt to log in by a form.
pub fn is_attempt(request: &Request, place: &Place, form: &Form) -> bool {
    request.method == "POST" && matches!(place, Place::Page(_)) && form.get("CSPSYS") == Some("17")
}

/// Who a request is from; `None` if that has to be asked first.
pub fn identify(
    manage: &Manage,
    settings: &Management,
    request: &Request,
    place: &Place,
    client: &Client,
) -> Result<Who, Unknown> {
    let address = client.address;
    let cookie = request.cookie(COOKIE).filter(|value| is_id(value));
    let found = cookie.and_then(|id| {
        let (idle, longest) = Manage::session_times(settings);
        let session = manage.sessions().find(id, manage.now(), idle, longest)?;
        // A password that has been changed ends the sessions that it began.
        let known = known(settings, &session.user)?;
        (known.mark == session.mark && known.role == role_of(session.role)).then(|| Who {
            user: Some(session.user),
            role: known.role,
            address,
            cookie: id.to_owned(),
            is_new: false,
        })
    });
    if let Some(found) = found {
        return Ok(found);
    }
    if matches!(place, Place::Api(_))
        && let Some((user, password)) = basic(request)
    {
        let known = match remembered(manage, settings, &user, &password) {
            Some(known) => known,
            None => match check(manage, settings, client, &user, &password) {
                Ok(known) => remember(manage, known, &user, &password),
                Err(Denied::Wait(milliseconds)) => return Err(Unknown::Wait(milliseconds)),
                Err(Denied::Wrong) => return Err(Unknown::LogIn),
            },
        };
        // No cookie, and so no session and no form: a browser never sends this by itself, since it is never asked to.
        return Ok(Who { user: Some(known.user), role: known.role, address, cookie: String::new(), is_new: true });
    }
    match access::need(settings, client) {
        Need::Login => Err(Unknown::LogIn),
        Need::Nothing(role) => {
            let is_new = cookie.is_none();
            let cookie = cookie.map_or_else(new_id, str::to_owned);
            Ok(Who { user: None, role, address, cookie, is_new })
        }
    }
}

/// Why it is not known who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    LogIn,
    /// Too many attempts have failed; milliseconds to wait.
    Wait(u64),
}

/// Says for how long a program has to wait before it may try to log in again.
pub fn wait(milliseconds: u64, language: Language) -> Response {
    let seconds = milliseconds.div_ceil(1000).to_string();
    let message = text::LOCKED_OUT.with(language, &[&seconds]);
    Response::json(429, &json!({ "error": message })).with("Retry-After", &seconds)
}

/// Asks for a login.
pub fn ask(settings: &Management, request: &Request, place: &Place, _: &Client, language: Language) -> Response {
    if let Place::Api(_) = place {
        return Response::json(401, &json!({ "error": "log in first" })).with("WWW-Authenticate", CHALLENGE);
    }
    if let Some(form) = &settings.login_form {
        return own_form(form);
    }
    page(settings, request, String::new(), 401, language)
}

/// No browser knows this scheme, so none asks for a password in a window of its own.
const CHALLENGE: &str = "Sclera realm=\"management\"";

/// Looks at an attempt to log in.
pub fn attempt(
    manage: &Manage,
    settings: &Management,
    request: &Request,
    client: &Client,
    form: &Form,
    language: Language,
) -> Response {
    let (user, password) = (form.get("CSPUNM").unwrap_or_default(), form.get("CSPPWD").unwrap_or_default());
    match check(manage, settings, client, user, password) {
        Ok(known) => {
            let old = request.cookie(COOKIE).filter(|value| is_id(value));
            old.iter().for_each(|id| manage.sessions().end(id));
            let id = manage.sessions().begin(&known.user, known.role as u8, known.mark, manage.now());
            manage.audit(Level::Notice, &format!("{} at {} has logged in", known.user, client.address));
            let page = form.get("next").filter(|name| PAGES.iter().any(|page| page.name == *name)).unwrap_or("about");
            Response::go_to(&format!("?page={page}")).with("Set-Cookie", &cookie(request, &id))
        }
        Err(Denied::Wait(milliseconds)) => {
            let seconds = milliseconds.div_ceil(1000).to_string();
            let message = text::LOCKED_OUT.with(language, &[&seconds]);
            page(settings, request, message, 429, language).with("Retry-After", &seconds)
        }
        Err(Denied::Wrong) => page(settings, request, language.say(text::LOGIN_WRONG).to_owned(), 401, language),
    }
}

/// Ends the session.
pub fn end(visit: &Visit) -> Response {
    visit.manage.sessions().end(&visit.who.cookie);
    visit.audit("has logged out");
    let gone = format!("{}; Max-Age=0", cookie(visit.request, ""));
    Response::go_to("?page=about").with("Set-Cookie", &gone)
}

enum Denied {
    /// Nothing was looked at; milliseconds to wait.
    Wait(u64),
    Wrong,
}

fn check(manage: &Manage, settings: &Management, client: &Client, user: &str, password: &str) -> Result<Known, Denied> {
    let now = manage.now();
    let from = client.network();
    let subject = user.to_lowercase();
    // Whoever is kept waiting because of others does not lock himself out by it.
    if let Some(wait) = [(Whose::User, &subject), (Whose::Address, &from)]
        .map(|(whose, who)| manage.sessions().wait(whose, who, now))
        .into_iter()
        .max()
        .filter(|wait| *wait > 0)
    {
        return Err(Denied::Wait(wait));
    }
    manage.sessions().attempt(Whose::Address, &from, now).map_err(Denied::Wait)?;
    manage.sessions().attempt(Whose::User, &subject, now).map_err(Denied::Wait)?;
    let found = stored(settings, user);
    // A name that nobody has takes as long as a wrong password.
    let good = match &found {
        Some((stored, _)) => stored.verify(password),
        None => {
            ManagementPassword::from_stored(NOBODY).verify(password);
            false
        }
    };
    match found.filter(|_| good) {
        Some(_) => {
            manage.sessions().succeeded(Whose::Address, &from, now);
            manage.sessions().succeeded(Whose::User, &subject, now);
            known(settings, user).ok_or(Denied::Wrong)
        }
        None => {
            let shown: String = user.chars().take(64).collect();
            manage.audit(Level::Warning, &format!("a login as {shown:?} from {} has failed", client.address));
            Err(Denied::Wrong)
        }
    }
}

/// Programs give their password with each call, and looking at it costs tens of milliseconds: a worker remembers for a
/// while which ones were right, by signatures with a key that only this process has.
static REMEMBERED: Mutex<Vec<Right>> = Mutex::new(Vec::new());
static OWN_KEY: OnceLock<[u8; 32]> = OnceLock::new();

/// A user and password that were right.
struct Right {
    signature: String,
    mark: u64,
    until: u64,
}

/// The most that are remembered, and for how many milliseconds.
const MOST_REMEMBERED: usize = 16;
const REMEMBERED_FOR: u64 = 300_000;

fn signature(user: &str, password: &str) -> String {
    let key = OWN_KEY.get_or_init(random);
    token::sign(key, "login", format!("{}:{user}{password}", user.len()).as_bytes())
}

fn remembered(manage: &Manage, settings: &Management, user: &str, password: &str) -> Option<Known> {
    let (signature, now) = (signature(user, password), manage.now());
    let known = known(settings, user)?;
    let all = REMEMBERED.lock();
    let is_right = all.iter().any(|it| it.signature == signature && it.mark == known.mark && it.until > now);
    is_right.then_some(known)
}

fn remember(manage: &Manage, known: Known, user: &str, password: &str) -> Known {
    let now = manage.now();
    let right = Right { signature: signature(user, password), mark: known.mark, until: now + REMEMBERED_FOR };
    let mut all = REMEMBERED.lock();
    all.retain(|it| it.until > now && it.signature != right.signature);
    if all.len() >= MOST_REMEMBERED {
        all.remove(0);
    }
    all.push(right);
    known
}

/// The hash of a password that nobody knows.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2NsZXJhLW5vYm9keQ$Wm9ndqg1E2cWyy0dRYtpzW8y3l5Bt9YqQ2YJkB8pC5I";

/// The user of `[SYSTEM]` may do everything; those of the file what their lines say.
fn stored(settings: &Management, user: &str) -> Option<(ManagementPassword, Role)> {
    let has_own = !settings.username.value.is_empty() || settings.password.value != ManagementPassword::None;
    if has_own && is_same(&settings.username.value, user) {
        return Some((settings.password.value.clone(), Role::Edit));
    }
    let file = settings.users_file.as_ref()?;
    let users = UsersFile::read(&file.value).ok()?.users;
    users.into_iter().find(|it| is_same(&it.name, user)).map(|it| (it.password, it.role))
}

/// Whether two names are one user's, as far as a session remembers names.
fn is_same(name: &str, other: &str) -> bool {
    name_of_session(name).eq_ignore_ascii_case(name_of_session(other))
}

fn known(settings: &Management, user: &str) -> Option<Known> {
    let (password, role) = stored(settings, user)?;
    let text = match &password {
        ManagementPassword::Clear(clear) => clear.as_str(),
        ManagementPassword::Hashed(hash) => hash.as_str(),
        ManagementPassword::None | ManagementPassword::Unverifiable => return None,
    };
    let mut hash = Sha256::new();
    for part in [name_of_session(user).to_ascii_lowercase().as_str(), role.word(), text] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mark = hash.finalize().iter().take(8).fold(0, |word, &byte| word << 8 | u64::from(byte));
    Some(Known { user: name_of_session(user).to_owned(), role, mark })
}

/// Whether somebody of the users' file may change settings.
pub fn has_editor(path: &Path) -> bool {
    UsersFile::read(path).is_ok_and(|file| file.users.iter().any(|user| user.role == Role::Edit))
}

fn page(settings: &Management, request: &Request, message: String, status: u16, language: Language) -> Response {
    let page = LoginPage {
        language,
        message,
        unverifiable: settings.password.value == ManagementPassword::Unverifiable,
        page: request.query_value("page").unwrap_or_default(),
        insecure: !request.https && !request.client.is_some_and(|client| client.to_canonical().is_loopback()),
    };
    let response = Response::page(status, &page);
    if status == 401 { response.with("WWW-Authenticate", CHALLENGE) } else { response }
}

/// The site's own login page: a file that is sent, or a path that the browser is sent to.
fn own_form(form: &str) -> Response {
    const LARGEST: u64 = 256 * 1024;
    match read_bounded(Path::new(form), LARGEST) {
        Ok(bytes) => Response::new(401, "text/html; charset=utf-8", bytes.to_vec()).with("WWW-Authenticate", CHALLENGE),
        Err(_) => Response::new(303, "text/plain; charset=utf-8", "").with("Location", form),
    }
}

fn basic(request: &Request) -> Option<(String, String)> {
    let (scheme, encoded) = request.header("authorization")?.split_once(' ')?;
    let bytes = scheme.eq_ignore_ascii_case("basic").then(|| Base64::decode_vec(encoded.trim()).ok())??;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn new_id() -> String {
    random().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_id(value: &str) -> bool {
    value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Client {
    /// What failures are counted for: whoever has an IPv6 address has 2^64 of them.
    fn network(&self) -> String {
        match self.address {
            std::net::IpAddr::V4(address) => address.to_string(),
            std::net::IpAddr::V6(address) => format!("{:x?}", &address.segments()[..4]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn settings(path: &Path, lines: &str) -> Management {
        let text = format!("[SYSTEM]\n{lines}\n");
        Profile::parse(path, text.as_bytes()).unwrap().profile.system.management
    }

    #[test]
    fn a_name_that_nobody_has_takes_as_long_as_a_wrong_password() {
        assert!(matches!(ManagementPassword::from_stored(NOBODY), ManagementPassword::Hashed(_)));
    }

    #[test]
    fn users_are_those_of_the_system_and_of_the_file_and_their_marks_follow_password_and_role() {
        let directory = tempfile::tempdir().unwrap();
        let (file, users) = (directory.path().join("CSP.ini"), directory.path().join("users"));
        let hash = ManagementPassword::hash("secret").unwrap();
        let line = |role: &str| {
            format!("# people\n\nLooker:{role}:{hash}\nbroken\nclear:edit:secret\n:edit:{hash}\nx:root:{hash}\n")
        };
        std::fs::write(&users, line("view")).unwrap();
        let of = |lines: &str| settings(&file, lines);
        let all = "Username=Admin\nPassword=a\nSclera_Manage_Users=users";
        for (lines, user, expected) in [
            (all, "admin", Some(Role::Edit)),
            (all, "looker", Some(Role::View)),
            (all, "", None),
            (all, "clear", None),
            (all, "x", None),
            ("Username=Admin", "admin", None),
            ("Password=a", "", Some(Role::Edit)),
            ("Password=a", "admin", None),
            ("Username=Admin\nPassword=PBKDF2|x", "admin", None),
            ("", "", None),
        ] {
            assert_eq!(known(&of(lines), user).map(|it| it.role), expected, "{lines:?} {user:?}");
        }
        let long = "n".repeat(40);
        let found = known(&of(&format!("Username={long}\nPassword=a")), &long).unwrap();
        assert_eq!(known(&of(&format!("Username={long}\nPassword=a")), &found.user).unwrap().mark, found.mark);
        let mark = |lines: &str, user: &str| known(&of(lines), user).unwrap().mark;
        assert_eq!(mark("Username=a\nPassword=b", "A"), mark("Username=A\nPassword=b", "a"));
        assert_ne!(mark("Username=a\nPassword=b", "a"), mark("Username=a\nPassword=c", "a"));
        let before = mark(all, "looker");
        std::fs::write(&users, line("edit")).unwrap();
        assert_ne!(mark(all, "looker"), before, "another role is another mark");
    }
}
