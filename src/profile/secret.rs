//! Passwords: decoded from the form in the file, wiped from memory when dropped, never printed.

use std::fmt;

use std::time::Duration;

use base64ct::{Base64, Base64Unpadded, Encoding};
use zeroize::Zeroizing;

use super::ManagementPassword;
use super::command::{self, CommandFailure};
use super::edit::{Change, Document, EditError};
use super::parameter::{self as row, Kind, Parameter, SectionKind};
use crate::privileges::User;

/// A password as the profile holds it. Has no `Display`, and its `Debug` prints nothing of it.
///
/// The file may hold clear text, or `]]]` and base64 of the clear text; either may turn out to be `{command}`, a shell
/// command whose output is the password. It is run when somebody says so: [`Secret::run_command`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Content);

/// Why a password cannot be used, though something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is a `{command}`, which has not been run.
    Command,
    /// It is a `{command}`, which was run and gave no password.
    CommandFailed(CommandFailure),
    /// What stands after `]]]` is not base64.
    NotBase64,
}

#[derive(Clone, PartialEq, Eq)]
enum Content {
    Clear(Zeroizing<String>),
    Command(Zeroizing<String>),
    CommandFailed(CommandFailure),
    NotBase64,
}

/// What stands before an encoded password.
const ENCODED: &str = "]]]";

impl Secret {
    /// No password.
    pub fn empty() -> Secret {
        Secret::clear(String::new())
    }

    /// A password given in clear.
    pub fn clear(text: String) -> Secret {
        Secret(Content::Clear(Zeroizing::new(text)))
    }

    /// Reads the form that stands in the file.
    pub fn from_stored(stored: &str) -> Secret {
        let clear = match stored.strip_prefix(ENCODED) {
            None => Zeroizing::new(stored.to_owned()),
            Some(encoded) => match decode(encoded) {
                Some(clear) => clear,
                None => return Secret(Content::NotBase64),
            },
        };
        if clear.len() >= 2 && clear.starts_with('{') && clear.ends_with('}') {
            return Secret(Content::Command(Zeroizing::new(clear[1..clear.len() - 1].to_owned())));
        }
        Secret(Content::Clear(clear))
    }

    /// Whether nothing is written. A password that cannot be used is not empty.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Content::Clear(text) if text.is_empty())
    }

    /// The form that stands in the file for this clear text: `]]]` and base64. It is no protection, only no clear text.
    pub fn encode(clear: &str) -> Zeroizing<String> {
        Zeroizing::new(format!("{ENCODED}{}", Base64::encode_string(clear.as_bytes())))
    }

    /// Whether what stands in the file is clear text, or a command in clear text, where `]]]` and base64 could stand.
    pub fn is_clear_in_file(stored: &str) -> bool {
        !stored.is_empty() && !stored.starts_with(ENCODED)
    }

    /// Runs the `{command}`, if it is one, and is its output from then on; within `limit`, or a failure.
    /// As [`command::run`] says, as `user`.
    pub(super) fn run_command(&mut self, limit: Duration, user: Option<&User>) {
        if let Content::Command(command) = &self.0 {
            self.0 = match command::run(command, limit, user) {
                Ok(password) => Content::Clear(password),
                Err(failure) => Content::CommandFailed(failure),
            };
        }
    }

    /// The password itself; keep it as short as possible, and out of every message.
    pub fn reveal(&self) -> Result<&str, Unusable> {
        match &self.0 {
            Content::Clear(text) => Ok(text),
            Content::Command(_) => Err(Unusable::Command),
            Content::CommandFailed(failure) => Err(Unusable::CommandFailed(*failure)),
            Content::NotBase64 => Err(Unusable::NotBase64),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Encodes every password that stands in clear text in the file, if `Sclera_Encode_Passwords=1` asks for it: those of
/// servers as `]]]` and base64, the one of the management pages as a hash. How many there were.
pub(crate) fn encode_all(document: &mut Document) -> Result<usize, EditError> {
    if document.get("SYSTEM", row::SCLERA_ENCODE_PASSWORDS.key).is_none_or(|value| value.as_str() != "1") {
        return Ok(0);
    }
    let mut encoded = 0;
    for (section, key, _) in document.entries_of_all() {
        // Of a key that stands several times, the value that counts.
        let Some(value) = document.get(&section, &key) else { continue };
        if let Some(stored) = to_store(SectionKind::of(&section), &key, &value) {
            encoded += usize::from(document.set(&section, &key, &stored)? != Change::Nothing);
        }
    }
    Ok(encoded)
}

/// The form in which a value in clear text is to be stored; `None` if it is no password, or is stored so already.
pub fn to_store(section: SectionKind, key: &str, value: &str) -> Option<Zeroizing<String>> {
    let row = Parameter::find(section, key).filter(|row| row.kind == Kind::Secret)?;
    if row.section == SectionKind::System {
        return match ManagementPassword::from_stored(value) {
            ManagementPassword::Clear(clear) => ManagementPassword::hash(&clear).ok().map(Zeroizing::new),
            _ => None,
        };
    }
    Secret::is_clear_in_file(value).then(|| Secret::encode(value))
}

/// The clear text behind `]]]`. Bytes that are not UTF-8 are read as Latin-1, the character set such files had.
fn decode(encoded: &str) -> Option<Zeroizing<String>> {
    let encoded = encoded.trim();
    let bytes = Base64::decode_vec(encoded).or_else(|_| Base64Unpadded::decode_vec(encoded)).ok()?;
    let bytes = Zeroizing::new(bytes);
    Some(Zeroizing::new(match std::str::from_utf8(&bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stored_form_gives_its_password() {
        for (stored, expected) in [
            ("", Ok("")),
            ("SYS", Ok("SYS")),
            ("]]]U1lT", Ok("SYS")),
            ("]]]cGFzc3dvcmQ=", Ok("password")),
            ("]]]cGFzc3dvcmQ", Ok("password")),
            ("]]]", Ok("")),
            ("]]]/A==", Ok("\u{fc}")),
            ("]]]***", Err(Unusable::NotBase64)),
            ("{pass show iris}", Err(Unusable::Command)),
            ("]]]e2NtZH0=", Err(Unusable::Command)),
            ("{}", Err(Unusable::Command)),
            ("{", Ok("{")),
        ] {
            let secret = Secret::from_stored(stored);
            assert_eq!(secret.reveal(), expected, "{stored}");
            assert_eq!(secret.is_empty(), expected == Ok(""), "{stored}");
        }
    }

    #[test]
    fn a_command_is_run_once_and_becomes_its_output_or_a_failure() {
        for (stored, expected) in [
            ("{echo secret}", Ok("secret")),
            ("]]]e2VjaG8gc2VjcmV0fQ==", Ok("secret")),
            ("{exit 4}", Err(Unusable::CommandFailed(CommandFailure::Status(4)))),
            ("{}", Err(Unusable::CommandFailed(CommandFailure::Empty))),
            ("echo secret", Ok("echo secret")),
        ] {
            let mut secret = Secret::from_stored(stored);
            secret.run_command(Duration::from_secs(20), None);
            assert_eq!(secret.reveal(), expected, "{stored}");
            assert!(!secret.is_empty());
        }
    }

    #[test]
    fn what_is_encoded_is_read_again_as_it_was() {
        for clear in ["", "SYS", "]]]U1lT", "{not a command", "p\u{e4}ss = #1"] {
            assert_eq!(Secret::from_stored(&Secret::encode(clear)).reveal(), Ok(clear));
        }
        assert_eq!(Secret::encode("SYS").as_str(), "]]]U1lT");
        assert!(
            Secret::is_clear_in_file("SYS") && !Secret::is_clear_in_file("]]]U1lT") && !Secret::is_clear_in_file("")
        );
    }

    #[test]
    fn passwords_in_clear_text_are_encoded_only_if_the_file_asks_for_it() {
        let lines = "[SYSTEM]\nPassword=secret\n[A]\nPassword=SYS\nUsername=u\nSSLCC_Private_Key_Password=]]]U1lT\n";
        let mut document = Document::new(lines.as_bytes().to_vec());
        assert_eq!(encode_all(&mut document), Ok(0));
        document.set("SYSTEM", "Sclera_Encode_Passwords", "1").unwrap();
        assert_eq!(encode_all(&mut document), Ok(2));
        assert_eq!(document.get("A", "Password").unwrap().as_str(), "]]]U1lT");
        assert_eq!(document.get("A", "Username").unwrap().as_str(), "u");
        assert!(document.get("SYSTEM", "Password").unwrap().starts_with("$argon2id$"));
        assert_eq!(encode_all(&mut document), Ok(0), "they are stored so now");
    }

    #[test]
    fn debug_prints_nothing_of_it() {
        let printed = format!("{:?}", Secret::clear("secret".into()));
        assert_eq!(printed, "Secret(..)");
    }
}
