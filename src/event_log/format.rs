//! One event as one line: the original's structured form (web gateway reference, section 8.2), or JSON.
//!
//! Where the reference is silent: in a quoted value `"` and `\` have a `\` before them, and line breaks and other control
//! characters are `\n`, `\r`, `\t` and `\xHH`. Fields that the original does not have follow after its own.

use std::time::SystemTime;

use super::clock::{Local, utc};
use super::{Event, Level};

/// `Sclera_Log_Format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `name="value"` pairs.
    #[default]
    Native,
    /// One JSON object a line.
    Json,
}

/// What a line says beside its event.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub when: SystemTime,
    pub build: &'a str,
    /// The number of the verbose level in force.
    pub number: u8,
    pub process: u32,
    pub thread: u64,
}

/// The longest details of a line, in bytes; longer ones are cut. Escaped they may be four times as long.
const LONGEST_DETAILS: usize = 512 * 1024;

/// Appends the line, with its line break.
pub fn write(format: Format, event: &Event, context: &Context, out: &mut Vec<u8>) {
    match format {
        Format::Native => native(event, context, out),
        Format::Json => json(event, context, out),
    }
    out.push(b'\n');
}

/// The word for a level.
pub fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "SEVERE",
        Level::Warning => "WARNING",
        Level::Notice | Level::Info => "INFO",
        Level::Debug => "DEBUG",
    }
}

fn native(event: &Event, context: &Context, out: &mut Vec<u8>) {
    pair("local-time", &Local::of(context.when).ctime(), out);
    pair("wg-build", context.build, out);
    pair("wg-log-level", &context.number.to_string(), out);
    pair("when", &utc(context.when), out);
    pair("level", word(event.level), out);
    pair("event", event.name, out);
    pair("pid", &context.process.to_string(), out);
    pair("thread-id", &context.thread.to_string(), out);
    pair("text", event.text, out);
    pair("details", cut(event.details), out);
    let code = event.code.map(|code| code.to_string());
    for (name, value) in further(event, code.as_deref()) {
        pair(name, value, out);
    }
}

/// The fields that only Sclera has, where there is something to say.
fn further<'a>(event: &'a Event, code: Option<&'a str>) -> impl Iterator<Item = (&'static str, &'a str)> {
    let all = [("request-id", event.request_id), ("server", event.server), ("code", code.unwrap_or_default())];
    all.into_iter().filter(|(_, value)| !value.is_empty())
}

fn json(event: &Event, context: &Context, out: &mut Vec<u8>) {
    let mut object = serde_json::Map::new();
    let mut put = |name: &str, value: serde_json::Value| object.insert(name.to_owned(), value);
    put("when", (utc(context.when).replacen(' ', "T", 1) + "Z").into());
    put("level", word(event.level).into());
    put("event", event.name.into());
    put("pid", context.process.into());
    put("thread-id", context.thread.into());
    put("text", event.text.into());
    put("details", cut(event.details).into());
    let code = event.code.map(|code| code.to_string());
    for (name, value) in further(event, code.as_deref()) {
        put(name, value.into());
    }
    put("wg-build", context.build.into());
    put("wg-log-level", context.number.into());
    // A map of texts and numbers can always be written.
    let _ = serde_json::to_writer(out, &object);
}

fn pair(name: &str, value: &str, out: &mut Vec<u8>) {
    if out.last().is_some_and(|&last| last != b'\n') {
        out.push(b' ');
    }
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@/+".contains(&byte);
    if !value.is_empty() && value.bytes().all(is_plain) {
        return out.extend_from_slice(value.as_bytes());
    }
    out.push(b'"');
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 | 0x7f => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn cut(details: &str) -> &str {
    &details[..details.floor_char_boundary(LONGEST_DETAILS)]
}

/// Bytes that may be anything as text: what is not printable is `\xHH`.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' | '\r' | '\t' => text.push(character),
                control if control.is_control() => text += &format!("\\x{:02x}", u32::from(control)),
                character => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;
    use std::time::{Duration, UNIX_EPOCH};

    fn context() -> Context<'static> {
        let when = UNIX_EPOCH + Duration::from_millis(1_755_168_385_602);
        Context { when, build: "Sclera 0.1.0 (linux/nginx/1.22.1)", number: 2, process: 40, thread: 41 }
    }

    fn line(format: Format, event: &Event) -> String {
        let mut out = Vec::new();
        write(format, event, &context(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_has_the_originals_fields_in_its_order_and_quotes_where_needed() {
        let event =
            Event::new(Level::Info, "WebGateway.StartUp", "Initialization").details("a \"b\" \\ c\r\n\u{1b}[31m ü");
        let line = line(Format::Native, &event);
        let (local, rest) = line.split_once(" wg-build").unwrap();
        assert!(local.starts_with("local-time=\"") && local.ends_with(" 2025\""), "{local}");
        assert_eq!(
            rest,
            "=\"Sclera 0.1.0 (linux/nginx/1.22.1)\" wg-log-level=2 when=\"2025-08-14 10:46:25.602\" level=INFO \
             event=WebGateway.StartUp pid=40 thread-id=41 text=Initialization \
             details=\"a \\\"b\\\" \\\\ c\\r\\n\\x1b[31m ü\"\n"
        );
    }

    #[test]
    fn request_server_and_code_follow_where_there_are_any() {
        let event = Event::new(Level::Error, "WebGateway.Error", "t")
            .request("ab12")
            .server("MY IRIS")
            .code(Code::ConnectRefused);
        assert!(
            line(Format::Native, &event)
                .ends_with("text=t details=\"\" request-id=ab12 server=\"MY IRIS\" code=SCLERA-201\n")
        );
        let value: serde_json::Value = serde_json::from_str(&line(Format::Json, &event)).unwrap();
        assert_eq!(value["when"], "2025-08-14T10:46:25.602Z");
        assert_eq!((&value["level"], &value["code"]), (&"SEVERE".into(), &"SCLERA-201".into()));
    }

    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        assert_eq!(escaped(b"a\0\xff\n\xc3\xbc"), "a\\x00\\xff\n\u{fc}");
    }
}
