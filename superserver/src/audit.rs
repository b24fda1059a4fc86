//! The audit: what is written about a login that failed, how it is kept, found again and shown.
//!
//! Fields, texts and error numbers are those of an instance's audit database, so that what finds a cause there finds
//! it here: `Description` is `<service> login failure`, `EventData` the stacked statuses, the generic one first, and
//! lines about the process, each ended by CR LF.

use crate::login::{Mechanism, Reason};
use crate::merge::Action;
use crate::security::{Form, Kind};
use rusqlite::{Connection, Row, ToSql, named_params};
use serde_json::json;
use std::fmt::Write;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

/// The table, one column for each field.
pub const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS audit (
        AuditIndex INTEGER PRIMARY KEY AUTOINCREMENT,
        UTCTimeStamp TEXT NOT NULL,
        SystemID TEXT NOT NULL,
        EventSource TEXT NOT NULL,
        EventType TEXT NOT NULL,
        Event TEXT NOT NULL,
        Username TEXT NOT NULL,
        Description TEXT NOT NULL,
        EventData TEXT NOT NULL,
        Authentication TEXT NOT NULL,
        Pid INTEGER NOT NULL,
        ClientIPAddress TEXT NOT NULL,
        StartupClientIPAddress TEXT NOT NULL,
        ClientExecutableName TEXT NOT NULL,
        OSUsername TEXT NOT NULL,
        Namespace TEXT NOT NULL,
        Status TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS audit_by_time ON audit (UTCTimeStamp);
    CREATE TABLE IF NOT EXISTS audit_counter (
        event TEXT PRIMARY KEY,
        total INTEGER NOT NULL,
        written INTEGER NOT NULL,
        lost INTEGER NOT NULL
    ) WITHOUT ROWID;
";

/// How often an event has happened since the start. It counts while auditing is off, too: a total that rises beside an
/// empty audit says that auditing is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Source, type and name, joined by `/`.
    pub event: String,
    pub total: u32,
    pub written: u32,
    /// Records that could not be written.
    pub lost: u32,
}

/// One audit record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Number of the record; given when it is written.
    pub index: i64,
    /// `YYYY-MM-DD hh:mm:ss.mmm`, UTC.
    pub utc: String,
    /// Machine and instance.
    pub system_id: String,
    /// `%System`
    pub source: String,
    /// `%Login`
    pub kind: String,
    /// `LoginFailure`
    pub event: String,
    /// The user that was tried.
    pub username: String,
    /// What happened, in a few words.
    pub description: String,
    /// The statuses and the context, lines ended by CR LF.
    pub event_data: String,
    /// The mechanism that was tried.
    pub authentication: String,
    /// Process number of the connection.
    pub pid: u32,
    /// The client's address as the client told it.
    pub client_address: String,
    /// The client's address as the socket shows it.
    pub startup_client_address: String,
    /// The client's program as the client told it.
    pub client_executable: String,
    /// The client's operating system user as the client told it.
    pub os_username: String,
    /// Always `%SYS` for logins.
    pub namespace: String,
    /// The first status, or empty.
    pub status: String,
}

/// What a peer said about itself before it was logged in, and what is known about its connection.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Process number of the connection.
    pub process: u32,
    /// Port of the superserver.
    pub port: u16,
    /// The address that the socket shows.
    pub address: String,
    /// The address that it told.
    pub told_address: String,
    /// The program name that it told.
    pub executable: String,
    /// The operating system user that it told.
    pub os_user: String,
}

/// The record of a failed login. `service` is the service's name, `%Service_SuperServer` before one was chosen.
pub fn login_failure(
    now: OffsetDateTime,
    service: &str,
    username: &str,
    mechanism: Option<Mechanism>,
    reason: &Reason,
    peer: &Peer,
) -> Record {
    let mut statuses = Vec::new();
    if let Some(mechanism) = mechanism {
        statuses.push(format!("ERROR #798: {mechanism} login failed"));
    }
    // Names that peers offer stand in the text; they must not write lines of their own.
    statuses.push(reason.to_string().replace(char::is_control, "\u{fffd}"));
    let device = format!("|TCP|{}|{}", peer.port, peer.process);
    let mut event_data = String::from("Error message: ");
    for line in statuses.iter().chain([&format!("$I: {device}"), &format!("$P: {device}")]) {
        event_data.push_str(line);
        event_data.push_str("\r\n");
    }
    Record {
        index: 0,
        utc: timestamp(now),
        system_id: format!("{}:SCLERA", host_name()),
        source: "%System".to_owned(),
        kind: "%Login".to_owned(),
        event: "LoginFailure".to_owned(),
        username: cut(username, 160),
        description: cut(&format!("{service} login failure"), 128),
        event_data,
        authentication: mechanism.map(|mechanism| mechanism.to_string()).unwrap_or_default(),
        pid: peer.process,
        client_address: cut(&peer.told_address, 64),
        startup_client_address: peer.address.clone(),
        client_executable: cut(&peer.executable, 128),
        os_username: cut(&peer.os_user, 64),
        namespace: "%SYS".to_owned(),
        status: statuses.swap_remove(0),
    }
}

/// The record of a login that was granted, or of the end of its connection (`Login`, `Logout`).
pub fn login_event(
    now: OffsetDateTime,
    event: &str,
    service: &str,
    user: &str,
    mechanism: Mechanism,
    peer: &Peer,
) -> Record {
    Record {
        utc: timestamp(now),
        system_id: format!("{}:SCLERA", host_name()),
        source: "%System".to_owned(),
        kind: "%Login".to_owned(),
        event: event.to_owned(),
        username: cut(user, 160),
        description: cut(&format!("{service} {}", event.to_lowercase()), 128),
        event_data: format!("$I: |TCP|{0}|{1}\r\n", peer.port, peer.process),
        authentication: mechanism.to_string(),
        pid: peer.process,
        client_address: cut(&peer.told_address, 64),
        startup_client_address: peer.address.clone(),
        client_executable: cut(&peer.executable, 128),
        os_username: cut(&peer.os_user, 64),
        namespace: "%SYS".to_owned(),
        ..Record::default()
    }
}

/// The record of a changed security object: which properties were given which values, secrets hidden.
pub fn change(now: OffsetDateTime, action: &Action, done: &str) -> Record {
    let word = match action.kind {
        Kind::SslConfig => "SSLConfigChange",
        Kind::Server => "ServerChange",
        Kind::Service => "ServiceChange",
        Kind::User => "UserChange",
        Kind::Role => "RoleChange",
        Kind::Event => "AuditChange",
        Kind::System => "SystemChange",
    };
    let mut event_data = String::new();
    for (property, value) in &action.values {
        let form = action.kind.property(property).map(|property| property.form);
        let value = if matches!(form, Some(Form::Password | Form::Secret)) { "(hidden)" } else { value.as_str() };
        let value = value.replace(char::is_control, "\u{fffd}");
        write!(event_data, "{property}: {value}\r\n").expect("a string takes text");
    }
    Record {
        utc: timestamp(now),
        system_id: format!("{}:SCLERA", host_name()),
        source: "%System".to_owned(),
        kind: "%Security".to_owned(),
        event: word.to_owned(),
        description: cut(done, 128),
        event_data,
        pid: std::process::id(),
        namespace: "%SYS".to_owned(),
        ..Record::default()
    }
}

/// The key of a record's event, as `ModifyEvent` names it.
pub fn event_key(record: &Record) -> String {
    format!("{}|{}|{}", record.source, record.kind, record.event)
}

/// Counts one event.
pub fn count(connection: &Connection, key: &str, written: u32, lost: u32) -> rusqlite::Result<()> {
    let event = key.replace('|', "/");
    connection
        .prepare_cached(
            "INSERT INTO audit_counter (event, total, written, lost) VALUES (?1, 1, ?2, ?3)
             ON CONFLICT DO UPDATE SET total = total + 1, written = written + ?2, lost = lost + ?3",
        )?
        .execute((event, written, lost))
        .map(drop)
}

/// All counters, by event.
pub fn counters(connection: &Connection) -> rusqlite::Result<Vec<Counter>> {
    let mut statement =
        connection.prepare_cached("SELECT event, total, written, lost FROM audit_counter ORDER BY event")?;
    let counter =
        |row: &Row<'_>| Ok(Counter { event: row.get(0)?, total: row.get(1)?, written: row.get(2)?, lost: row.get(3)? });
    statement.query_map([], counter)?.collect()
}

/// Which records are wanted; the default is all of them.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name of the event, such as `LoginFailure`; case does not count.
    pub event: Option<String>,
    /// Name of the user; case does not count.
    pub user: Option<String>,
    /// Only records written at or after this time.
    pub since: Option<OffsetDateTime>,
}

/// Writes a record; returns its index.
pub fn insert(connection: &Connection, record: &Record) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO audit (UTCTimeStamp, SystemID, EventSource, EventType, Event, Username, Description, EventData,
             Authentication, Pid, ClientIPAddress, StartupClientIPAddress, ClientExecutableName, OSUsername, Namespace,
             Status)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    )?;
    let values: [&dyn ToSql; 16] = [
        &record.utc,
        &record.system_id,
        &record.source,
        &record.kind,
        &record.event,
        &record.username,
        &record.description,
        &record.event_data,
        &record.authentication,
        &record.pid,
        &record.client_address,
        &record.startup_client_address,
        &record.client_executable,
        &record.os_username,
        &record.namespace,
        &record.status,
    ];
    statement.insert(values)
}

/// The records that pass the filter, oldest first.
pub fn select(connection: &Connection, filter: &Filter) -> rusqlite::Result<Vec<Record>> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM audit
         WHERE (:event IS NULL OR Event = :event COLLATE NOCASE)
           AND (:since IS NULL OR UTCTimeStamp >= :since)
         ORDER BY AuditIndex",
    )?;
    let since = filter.since.map(timestamp);
    let rows = statement.query_map(named_params! { ":event": filter.event, ":since": since }, record)?;
    // Compared here, because SQLite folds the case of ASCII letters only.
    let wanted =
        |record: &Record| filter.user.as_ref().is_none_or(|user| crate::security::same_user(user, &record.username));
    rows.filter(|row| row.as_ref().map_or(true, wanted)).collect()
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        index: row.get("AuditIndex")?,
        utc: row.get("UTCTimeStamp")?,
        system_id: row.get("SystemID")?,
        source: row.get("EventSource")?,
        kind: row.get("EventType")?,
        event: row.get("Event")?,
        username: row.get("Username")?,
        description: row.get("Description")?,
        event_data: row.get("EventData")?,
        authentication: row.get("Authentication")?,
        pid: row.get("Pid")?,
        client_address: row.get("ClientIPAddress")?,
        startup_client_address: row.get("StartupClientIPAddress")?,
        client_executable: row.get("ClientExecutableName")?,
        os_username: row.get("OSUsername")?,
        namespace: row.get("Namespace")?,
        status: row.get("Status")?,
    })
}

/// Records for people, at most 80 columns wide as long as no word is longer.
pub fn as_text(records: &[Record]) -> String {
    let mut text = String::new();
    for record in records {
        let seconds = record.utc.get(..19).unwrap_or(&record.utc);
        let head = format!("{:>5}  {seconds}Z  {}  {}", record.index, record.event, shown(&record.username));
        wrap(&mut text, &head, "       ");
        let mut about = record.description.clone();
        for (label, value) in [
            ("by", &record.authentication),
            ("from", &record.startup_client_address),
            ("program", &record.client_executable),
        ] {
            if !value.is_empty() {
                write!(about, ", {label} {value}").expect("a string takes text");
            }
        }
        wrap(&mut text, &format!("       {}", shown(&about)), "         ");
        for line in record.event_data.lines() {
            wrap(&mut text, &format!("       {}", shown(line)), "         ");
        }
    }
    text
}

/// Text of a peer without anything that would move a terminal's cursor.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Appends `line`, broken at spaces to 80 columns; what follows a break is indented.
fn wrap(text: &mut String, line: &str, indent: &str) {
    let body = line.trim_start();
    let mut column = line.len() - body.len();
    text.push_str(&line[..column]);
    for (number, word) in body.split(' ').enumerate() {
        let width = word.chars().count();
        if number > 0 && column + 1 + width > 80 {
            text.push('\n');
            text.push_str(indent);
            column = indent.len();
        } else if number > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}

/// Records for programs: one JSON object a line, with the field names of an instance.
pub fn as_json_lines(records: &[Record]) -> String {
    let mut lines = String::new();
    for record in records {
        let object = json!({
            "AuditIndex": record.index,
            "UTCTimeStamp": record.utc,
            "SystemID": record.system_id,
            "EventSource": record.source,
            "EventType": record.kind,
            "Event": record.event,
            "Username": record.username,
            "Description": record.description,
            "EventData": record.event_data,
            "Authentication": record.authentication,
            "Pid": record.pid,
            "ClientIPAddress": record.client_address,
            "StartupClientIPAddress": record.startup_client_address,
            "ClientExecutableName": record.client_executable,
            "OSUsername": record.os_username,
            "Namespace": record.namespace,
            "Status": record.status,
        });
        writeln!(lines, "{object}").expect("a string takes text");
    }
    lines
}

/// A time as people write it: `2026-11-23`, `2026-11-23 18:30`, `2026-11-23T18:30:05Z` (always UTC), or how long ago:
/// `30s`, `15m`, `2h`, `7d`.
pub fn parse_time(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, String> {
    if let Some(ago) = duration(text) {
        return now.checked_sub(ago).ok_or_else(|| format!("{text:?} is too long ago"));
    }
    let plain = text.trim_end_matches('Z').replacen('T', " ", 1);
    let full = match plain.len() {
        10 => format!("{plain} 00:00:00"),
        16 => format!("{plain}:00"),
        _ => plain,
    };
    PrimitiveDateTime::parse(&full, format_description!("[year]-[month]-[day] [hour]:[minute]:[second]"))
        .map(PrimitiveDateTime::assume_utc)
        .map_err(|_| {
            format!("{text:?} is no time; write 2026-11-23, \"2026-11-23 18:30\" (UTC), or 15m, 2h, 7d for ago")
        })
}

fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u32 = digits.parse().ok()?;
    let number = i64::from(number);
    match unit {
        "s" => Some(Duration::seconds(number)),
        "m" => Some(Duration::minutes(number)),
        "h" => Some(Duration::hours(number)),
        "d" => Some(Duration::days(number)),
        _ => None,
    }
}

const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");

fn timestamp(time: OffsetDateTime) -> String {
    time.to_offset(time::UtcOffset::UTC).format(&TIMESTAMP).expect("a time has all the parts of its format")
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-23 18:30:05.25 UTC);

    fn failure(username: &str, time: OffsetDateTime) -> Record {
        let reason = Reason { number: 838, text: format!("User {username} does not exist") };
        let peer = Peer { process: 4711, port: 1973, address: "127.0.0.1".into(), ..Peer::default() };
        login_failure(time, "%Service_WebGateway", username, Some(Mechanism::MutualTls), &reason, &peer)
    }

    #[test]
    fn a_login_failure_stacks_its_statuses_and_ends_each_line_with_cr_lf() {
        let record = failure("gateway", NOW);
        assert_eq!(record.description, "%Service_WebGateway login failure");
        assert_eq!(
            record.event_data,
            "Error message: ERROR #798: MutualTLS login failed\r\nERROR #838: User gateway does not exist\r\n\
             $I: |TCP|1973|4711\r\n$P: |TCP|1973|4711\r\n"
        );
        assert_eq!(record.utc, "2026-11-23 18:30:05.250");
    }

    #[test]
    fn records_are_found_by_event_user_and_time() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        for (name, minutes) in [("anna", 0), ("Ärger", 1), ("anna", 2)] {
            insert(&connection, &failure(name, NOW + Duration::minutes(minutes))).unwrap();
        }
        let indexes = |filter: Filter| -> Vec<i64> {
            select(&connection, &filter).unwrap().iter().map(|record| record.index).collect()
        };
        assert_eq!(indexes(Filter::default()), [1, 2, 3]);
        assert_eq!(indexes(Filter { user: Some("ANNA".into()), ..Filter::default() }), [1, 3]);
        assert_eq!(indexes(Filter { user: Some("ärger".into()), ..Filter::default() }), [2]);
        assert_eq!(indexes(Filter { event: Some("loginfailure".into()), ..Filter::default() }), [1, 2, 3]);
        assert_eq!(indexes(Filter { event: Some("Login".into()), ..Filter::default() }), [0; 0]);
        assert_eq!(indexes(Filter { since: Some(NOW + Duration::minutes(1)), ..Filter::default() }), [2, 3]);
    }

    #[test]
    fn the_list_stays_within_80_columns_and_shows_no_control_characters() {
        let record = failure(&format!("evil\u{1b}[2J {}", "word ".repeat(30)), NOW);
        let text = as_text(&[record]);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("ERROR #838"));
    }

    #[test]
    fn times_are_written_as_days_moments_or_ages() {
        let cases = [
            ("2026-11-23", datetime!(2026-11-23 00:00 UTC)),
            ("2026-11-23 18:30", datetime!(2026-11-23 18:30 UTC)),
            ("2026-11-23T18:30:05Z", datetime!(2026-11-23 18:30:05 UTC)),
            ("15m", NOW - Duration::minutes(15)),
            ("7d", NOW - Duration::days(7)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_time(text, NOW), Ok(expected), "{text}");
        }
        for bad in ["", "yesterday", "2026-13-01", "m", "é"] {
            assert!(parse_time(bad, NOW).is_err(), "{bad}");
        }
    }
}
