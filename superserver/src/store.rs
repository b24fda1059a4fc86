//! Where security objects and audit records live: one SQLite database.
//!
//! An object is the set of its stored properties, a row each; what has no row has the default of its table in
//! [`crate::security`]. Several processes may use the database at once: what one changes, a running server sees at its
//! next connection.

use crate::audit::{self, Filter, Record};
use crate::merge::{Action, Remark, Verb};
use crate::security::{
    Corrupt, Form, Kind, Mechanisms, PASSWORD_SET, Property, Server, Service, ServiceName, SslConfig, System, User,
    Values, gives_use, user_key,
};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

/// The database of one instance.
pub struct Store {
    connection: Mutex<Connection>,
    place: String,
}

/// The name of the database file in its directory.
pub const FILE_NAME: &str = "superserver.db";

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS security (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        property TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (kind, key, property)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS account (
        user TEXT PRIMARY KEY,
        last_login TEXT NOT NULL,
        invalid_attempts INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
";

/// How long a process waits for another one that is writing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the database did not do what was asked.
#[derive(Debug)]
pub struct StoreError(String);

/// Why a merge was not applied; then nothing of it was.
#[derive(Debug)]
pub enum ApplyError {
    /// Actions that cannot be done, all of them.
    Actions(Vec<Remark>),
    /// The database failed.
    Store(StoreError),
}

impl Store {
    /// Opens the database in `directory`, making both if need be. The file is readable by its owner only: it holds
    /// password hashes.
    pub fn open(directory: &Path) -> Result<Store, StoreError> {
        let path = directory.join(FILE_NAME);
        let place = path.display().to_string();
        prepare_file(directory, &path).map_err(|error| StoreError(format!("cannot make {place}: {error}")))?;
        let connection =
            Connection::open(&path).map_err(|error| StoreError(format!("cannot open {place}: {error}")))?;
        Self::prepare(connection, place)
    }

    /// A database that ends with the process, for tests.
    pub fn in_memory() -> Result<Store, StoreError> {
        let connection = Connection::open_in_memory().map_err(|error| StoreError(error.to_string()))?;
        Self::prepare(connection, "database in memory".to_owned())
    }

    fn prepare(connection: Connection, place: String) -> Result<Store, StoreError> {
        let store = Store { connection: Mutex::new(connection), place };
        store.with(|connection| {
            connection.busy_timeout(PATIENCE)?;
            connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
            connection.execute_batch("PRAGMA synchronous = NORMAL")?;
            connection.execute_batch(SCHEMA)?;
            connection.execute_batch(audit::SCHEMA)
        })?;
        Ok(store)
    }

    /// Applies the actions in order, all or none; returns for each what was done.
    pub fn apply(&self, actions: &[Action], today: Date) -> Result<Vec<Remark>, ApplyError> {
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(|error| ApplyError::Store(self.error(error)))?;
        let mut done = Vec::new();
        let mut problems = Vec::new();
        for action in actions {
            match apply_one(&transaction, action, today) {
                Ok(Ok(text)) => done.push(Remark { line: action.line, text }),
                Ok(Err(text)) => problems.push(Remark { line: action.line, text }),
                Err(error) => return Err(ApplyError::Store(self.error(error))),
            }
        }
        if !problems.is_empty() {
            return Err(ApplyError::Actions(problems));
        }
        transaction.commit().map_err(|error| ApplyError::Store(self.error(error)))?;
        drop(connection);
        for (action, remark) in actions.iter().zip(&done) {
            self.write_audit(&audit::change(OffsetDateTime::now_utc(), action, &remark.text))
                .map_err(ApplyError::Store)?;
        }
        Ok(done)
    }

    /// All superservers, by port and address.
    pub fn servers(&self) -> Result<Vec<Server>, StoreError> {
        self.keys(Kind::Server)?
            .iter()
            .filter_map(|key| self.object(Kind::Server, key, Server::from_values).transpose())
            .collect()
    }

    /// The superserver of this configured port and address.
    pub fn server(&self, port: u16, bind_address: &str) -> Result<Option<Server>, StoreError> {
        self.object(Kind::Server, &format!("{port}|{bind_address}"), Server::from_values)
    }

    /// The TLS configuration of this name.
    pub fn ssl_config(&self, name: &str) -> Result<Option<SslConfig>, StoreError> {
        self.object(Kind::SslConfig, name, SslConfig::from_values)
    }

    /// The rules of a service.
    pub fn service(&self, name: ServiceName) -> Result<Service, StoreError> {
        let values = self.values(Kind::Service, &name.to_string())?;
        Service::from_values(&values).map_err(|corrupt| self.corrupt(corrupt))
    }

    /// The settings of the instance.
    pub fn system(&self) -> Result<System, StoreError> {
        let values = self.values(Kind::System, "")?;
        System::from_values(&values).map_err(|corrupt| self.corrupt(corrupt))
    }

    /// The user of this name; case does not count.
    pub fn user(&self, name: &str) -> Result<Option<User>, StoreError> {
        let key = user_key(name);
        let account = self.with(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT last_login, invalid_attempts FROM account WHERE user = ?1")?;
            statement.query_row([&key], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).optional()
        })?;
        let Some((last_login, invalid_attempts)) = account else { return Ok(None) };
        let last_login = Date::parse(&last_login, format_description!("[year]-[month]-[day]"))
            .map_err(|_| self.corrupt(Corrupt(format!("user {name} last logged in at {last_login:?}"))))?;
        let user = self.object(Kind::User, &key, |values| User::from_values(values, last_login, invalid_attempts))?;
        let Some(mut user) = user else { return Ok(None) };
        for role in &user.roles {
            let stored = self.stored(Kind::Role, role)?;
            let gives = stored.get("Resources").map_or("", String::as_str);
            let services = [ServiceName::WebGateway, ServiceName::Bindings];
            user.services.extend(services.into_iter().filter(|service| gives_use(gives, &service.to_string())));
        }
        Ok(Some(user))
    }

    /// Notes that a user has logged in.
    pub fn note_login(&self, user: &str, today: Date) -> Result<(), StoreError> {
        self.with(|connection| {
            // Writes only what changes: most logins are not the first of their day.
            connection
                .prepare_cached(
                    "UPDATE account SET last_login = ?2, invalid_attempts = 0
                     WHERE user = ?1 AND (last_login <> ?2 OR invalid_attempts <> 0)",
                )?
                .execute(params![user_key(user), today.to_string()])
                .map(drop)
        })
    }

    /// Notes that a login as this user has failed; does nothing if there is no such user.
    pub fn note_failure(&self, user: &str) -> Result<(), StoreError> {
        self.with(|connection| {
            connection
                .prepare_cached("UPDATE account SET invalid_attempts = invalid_attempts + 1 WHERE user = ?1")?
                .execute([user_key(user)])
                .map(drop)
        })
    }

    /// Counts the event of a record, and writes the record if auditing and its event are enabled; says whether it did.
    pub fn write_audit(&self, record: &Record) -> Result<bool, StoreError> {
        let write = self.system()?.audit && self.event_enabled(record)?;
        let written = match write {
            true => self.with(|connection| audit::insert(connection, record)).map(|_| true),
            false => Ok(false),
        };
        let lost = u32::from(written.is_err());
        let key = audit::event_key(record);
        self.with(|connection| audit::count(connection, &key, u32::from(write) - lost, lost))?;
        written
    }

    /// How often each event has happened since the start, and how often it was written or lost.
    pub fn audit_counters(&self) -> Result<Vec<audit::Counter>, StoreError> {
        self.with(audit::counters)
    }

    /// Begins to count anew, as a start does.
    pub fn reset_audit_counters(&self) -> Result<(), StoreError> {
        self.with(|connection| connection.execute("DELETE FROM audit_counter", []).map(drop))
    }

    /// The keys of all objects of a kind, in their order.
    pub fn keys(&self, kind: Kind) -> Result<Vec<String>, StoreError> {
        self.with(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT DISTINCT key FROM security WHERE kind = ?1 ORDER BY key")?;
            statement.query_map([kind.word()], |row| row.get(0))?.collect()
        })
    }

    /// Every property of an object with its value, that of its default included; secrets as `(set)` or nothing. `None` if
    /// there is no such object.
    pub fn properties(&self, kind: Kind, key: &str) -> Result<Option<Vec<(&'static str, String)>>, StoreError> {
        let stored = self.stored(kind, key)?;
        if stored.is_empty() && !kind.is_built_in() {
            return Ok(None);
        }
        let shown = |property: &Property| {
            let value = stored.get(property.name).map_or(property.default, String::as_str);
            let secret = matches!(property.form, Form::Password | Form::Secret) && !value.is_empty();
            let value = match property.form {
                _ if secret => "(set)".to_owned(),
                Form::Mechanisms => Mechanisms(value.parse().unwrap_or(0)).to_string(),
                _ => value.to_owned(),
            };
            (property.name, value)
        };
        Ok(Some(kind.properties().iter().filter(|property| property.used).map(shown).collect()))
    }

    fn event_enabled(&self, record: &Record) -> Result<bool, StoreError> {
        let stored = self.stored(Kind::Event, &audit::event_key(record))?;
        let by_default = record.event == "LoginFailure" || record.kind == "%Security";
        Ok(stored.get("Enabled").map_or(by_default, |enabled| enabled == "1"))
    }

    /// The audit records that pass the filter, oldest first.
    pub fn audit(&self, filter: &Filter) -> Result<Vec<Record>, StoreError> {
        self.with(|connection| audit::select(connection, filter))
    }

    /// All audit records of failed logins, oldest first.
    pub fn login_failures(&self) -> Result<Vec<Record>, StoreError> {
        self.audit(&Filter { event: Some("LoginFailure".to_owned()), ..Filter::default() })
    }

    fn object<T>(
        &self,
        kind: Kind,
        key: &str,
        view: impl FnOnce(&Values) -> Result<T, Corrupt>,
    ) -> Result<Option<T>, StoreError> {
        let stored = self.stored(kind, key)?;
        if stored.is_empty() {
            return Ok(None);
        }
        view(&Values::new(kind, stored)).map(Some).map_err(|corrupt| self.corrupt(corrupt))
    }

    fn values(&self, kind: Kind, key: &str) -> Result<Values, StoreError> {
        Ok(Values::new(kind, self.stored(kind, key)?))
    }

    fn stored(&self, kind: Kind, key: &str) -> Result<HashMap<String, String>, StoreError> {
        self.with(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT property, value FROM security WHERE kind = ?1 AND key = ?2")?;
            statement.query_map([kind.word(), key], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        work(&self.lock()).map_err(|error| self.error(error))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere leaves no half-done change behind: SQLite rolls an unfinished transaction back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, error: rusqlite::Error) -> StoreError {
        StoreError(format!("{}: {error}", self.place))
    }

    fn corrupt(&self, corrupt: Corrupt) -> StoreError {
        StoreError(format!("{}: {}", self.place, corrupt.0))
    }
}

/// Today, as the rules about accounts count days: in UTC.
pub fn today() -> Date {
    OffsetDateTime::now_utc().date()
}

fn prepare_file(directory: &Path, path: &PathBuf) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::create_dir_all(directory)?;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop)
}

/// Does one action; the inner result is what it did, or why it cannot be done.
fn apply_one(transaction: &Transaction<'_>, action: &Action, today: Date) -> rusqlite::Result<Result<String, String>> {
    let Action { verb, kind, key, values, .. } = action;
    let name = describe(*kind, key);
    let exists: bool = transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM security WHERE kind = ?1 AND key = ?2)")?
        .query_row([kind.word(), key], |row| row.get(0))?;
    if *verb != Verb::Create && !exists && !kind.is_built_in() {
        return Ok(Err(format!("{verb}{}: {name} does not exist", kind.word())));
    }
    if *verb == Verb::Delete {
        transaction.execute("DELETE FROM security WHERE kind = ?1 AND key = ?2", [kind.word(), key])?;
        if *kind == Kind::User {
            transaction.execute("DELETE FROM account WHERE user = ?1", [key])?;
        }
        return Ok(Ok(format!("deleted {name}")));
    }
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO security (kind, key, property, value) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET value = excluded.value",
    )?;
    for (property, value) in values {
        upsert.execute([kind.word(), key, property, value])?;
    }
    if *kind == Kind::User && values.iter().any(|(property, _)| *property == "Password") {
        upsert.execute([kind.word(), key, PASSWORD_SET, &today.to_string()])?;
    }
    if *kind == Kind::User {
        transaction.execute(
            "INSERT INTO account (user, last_login) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![key, today.to_string()],
        )?;
    }
    Ok(Ok(match (verb, exists) {
        (Verb::Create, false) => format!("created {name}"),
        (Verb::Create, true) => format!("{name} exists already; changed it"),
        _ => format!("changed {name}"),
    }))
}

fn describe(kind: Kind, key: &str) -> String {
    match kind {
        Kind::System => "the system settings".to_owned(),
        Kind::Server => {
            let (port, address) = key.split_once('|').unwrap_or((key, ""));
            format!("Server {}:{port}", if address.is_empty() { "*" } else { address })
        }
        Kind::Event => format!("Event {}", key.replace('|', "/")),
        _ => format!("{} {key}", kind.word()),
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Peer;
    use crate::login::Reason;
    use crate::merge;
    use crate::security::{ClientVerification, Mechanisms, TlsSupport};
    use time::macros::{date, datetime};

    const TODAY: Date = date!(2026 - 11 - 23);

    fn actions(text: &str) -> Vec<Action> {
        merge::parse(&format!("[Actions]\n{text}"), Path::new("/etc/sclera")).expect("a good merge").actions
    }

    fn apply(store: &Store, text: &str) -> Vec<String> {
        store.apply(&actions(text), TODAY).expect("applies").into_iter().map(|remark| remark.text).collect()
    }

    #[test]
    fn a_fresh_database_allows_passwords_and_audits_failures() {
        let store = Store::in_memory().unwrap();
        for name in [ServiceName::WebGateway, ServiceName::Bindings] {
            let service = store.service(name).unwrap();
            assert!(service.enabled && service.public);
            assert_eq!(service.mechanisms, Mechanisms::PASSWORD);
        }
        assert!(store.system().unwrap().audit);
        assert!(store.servers().unwrap().is_empty());
        assert!(store.user("UnknownUser").unwrap().is_none());
    }

    #[test]
    fn what_was_created_is_read_back_with_defaults_for_the_rest() {
        let store = Store::in_memory().unwrap();
        apply(
            &store,
            "CreateSSLConfig:Name=GW,Type=1,VerifyPeer=1,CAFile=ca.pem\n\
             CreateServer:Port=1973,BindAddress=127.0.0.1,EnableCSP=1,SSLSupportLevel=2,SSLConfig=GW\n\
             CreateUser:Name=Gateway,Roles=\"a,b\",ExpirationDate=2027-01-31",
        );
        let config = store.ssl_config("GW").unwrap().unwrap();
        assert_eq!(config.verification, ClientVerification::Request);
        assert_eq!(config.ca_file, Some("/etc/sclera/ca.pem".into()));
        assert_eq!(config.certificate_file, None);
        let server = store.server(1973, "127.0.0.1").unwrap().unwrap();
        assert_eq!((server.tls, server.enable_clients), (TlsSupport::Required, true));
        assert_eq!(store.servers().unwrap(), [server]);
        let user = store.user("GATEWAY").unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.expires), ("Gateway", Some(date!(2027 - 01 - 31))));
        assert!(user.holds("B") && user.password.is_none() && user.last_login == TODAY);
    }

    #[test]
    fn creating_what_exists_changes_it_and_says_so() {
        let store = Store::in_memory().unwrap();
        assert_eq!(apply(&store, "CreateUser:Name=a,Roles=r"), ["created User a"]);
        assert_eq!(apply(&store, "CreateUser:Name=A,Enabled=0"), ["User a exists already; changed it"]);
        let user = store.user("a").unwrap().unwrap();
        assert!(!user.enabled && user.holds("r"));
        assert_eq!(apply(&store, "DeleteUser:Name=a"), ["deleted User a"]);
        assert!(store.user("a").unwrap().is_none());
    }

    #[test]
    fn a_merge_with_an_impossible_action_changes_nothing_and_names_all_of_them() {
        let store = Store::in_memory().unwrap();
        let actions = actions("CreateUser:Name=a\nModifyUser:Name=b,Enabled=0\nDeleteSSLConfig:Name=c");
        let Err(ApplyError::Actions(problems)) = store.apply(&actions, TODAY) else { panic!("must fail") };
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [3, 4]);
        assert!(store.user("a").unwrap().is_none());
    }

    #[test]
    fn logins_and_failures_are_noted_with_the_account() {
        let store = Store::in_memory().unwrap();
        apply(&store, "CreateUser:Name=Gw");
        store.note_failure("gw").unwrap();
        store.note_failure("GW").unwrap();
        store.note_failure("nobody").unwrap();
        assert_eq!(store.user("gw").unwrap().unwrap().invalid_attempts, 2);
        let tomorrow = TODAY.next_day().unwrap();
        store.note_login("Gw", tomorrow).unwrap();
        let user = store.user("gw").unwrap().unwrap();
        assert_eq!((user.invalid_attempts, user.last_login), (0, tomorrow));
    }

    #[test]
    fn nothing_is_audited_with_auditing_or_the_event_switched_off() {
        let store = Store::in_memory().unwrap();
        let reason = Reason { number: 952, text: "Invalid password".into() };
        let time = datetime!(2026-11-23 12:00 UTC);
        let record = audit::login_failure(time, "%Service_Bindings", "a", None, &reason, &Peer::default());
        assert!(store.write_audit(&record).unwrap());
        apply(&store, "ModifyEvent:Source=%System,Type=%Login,Name=LoginFailure,Enabled=0");
        assert!(!store.write_audit(&record).unwrap());
        apply(
            &store,
            "ModifyEvent:Source=%System,Type=%Login,Name=LoginFailure,Enabled=1\nModifySystem:AuditEnabled=0",
        );
        assert!(!store.write_audit(&record).unwrap());
        assert_eq!(store.login_failures().unwrap().len(), 1);
    }

    #[test]
    fn a_second_opener_changes_what_the_first_one_reads() {
        let directory = tempfile::tempdir().unwrap();
        let running = Store::open(directory.path()).unwrap();
        assert!(running.user("a").unwrap().is_none());
        apply(&Store::open(directory.path()).unwrap(), "CreateUser:Name=a");
        assert!(running.user("a").unwrap().is_some());
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(directory.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
