//! The settings of the management pages in `[SYSTEM]`: who may see them, and how one logs in.
//!
//! The password is `Password` in `[SYSTEM]`.
//! Ours are stored as Argon2id hashes in the usual text form (`$argon2id$...`). The original stores `1` and 27 characters
//! of base64, or `PBKDF2|` and more; how they are made is not public, so they cannot be checked: the password has to be
//! set anew.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use zeroize::Zeroizing;

use super::clients::Clients;
use super::finding::Setting;

/// The settings of the management pages.
#[derive(Clone, Debug)]
pub struct Management {
    /// `SM_Forms`: whether there are any.
    pub forms: bool,
    /// `Username`.
    pub username: Setting<String>,
    /// `Password`.
    pub password: Setting<ManagementPassword>,
    /// `Sclera_Manage_Users`: the file of further users.
    pub users_file: Option<Setting<PathBuf>>,
    /// `SM_Timeout`: how long a login may idle.
    pub timeout: Duration,
    /// `Custom_SM_Login_Form`: a file, or a path of the web server.
    pub login_form: Option<String>,
    /// `System_Manager`: from where they may be seen.
    pub clients: Setting<Clients>,
    /// `Accept_X_Forwarded_For`.
    pub accept_forwarded: bool,
    /// `System_Manager_UNPW_Override`: the machines of `System_Manager` need no login.
    pub no_login_for_listed: bool,
    /// `Sclera_Manage_Role`: what clients without a login may do.
    pub role_without_login: Role,
    /// `Sclera_Manage_Hosts`: names by which clients without a login may call the pages, in small letters.
    pub hosts: Vec<String>,
}

/// What somebody may do on the management pages. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    View,
    /// Also test, and act on connections.
    Operate,
    /// Also change settings.
    Edit,
}

impl Role {
    /// Every role, in order.
    pub const ALL: [Role; 3] = [Role::View, Role::Operate, Role::Edit];

    /// The role's word in settings.
    pub fn word(self) -> &'static str {
        match self {
            Role::View => "view",
            Role::Operate => "operate",
            Role::Edit => "edit",
        }
    }

    /// The role of a word.
    pub fn of(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.word().eq_ignore_ascii_case(word))
    }
}

impl Management {
    /// Whether anybody can be asked to log in: a user name or a password is set.
    pub fn has_login(&self) -> bool {
        !self.username.value.is_empty() || self.password.value != ManagementPassword::None || self.users_file.is_some()
    }
}

/// The password of the management pages as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub enum ManagementPassword {
    /// None is set.
    None,
    /// In clear text.
    Clear(Zeroizing<String>),
    /// An Argon2id hash.
    Hashed(String),
    /// A hash of the original's, which cannot be checked.
    Unverifiable,
}

impl fmt::Debug for ManagementPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ManagementPassword::None => "None",
            ManagementPassword::Clear(_) => "Clear(..)",
            ManagementPassword::Hashed(_) => "Hashed(..)",
            ManagementPassword::Unverifiable => "Unverifiable",
        })
    }
}

/// What stands before each kind of hash.
const ARGON2ID: &str = "$argon2id$";
const PBKDF2: &str = "PBKDF2|";

impl ManagementPassword {
    /// Reads the form that stands in the file.
    pub fn from_stored(stored: &str) -> ManagementPassword {
        let is_base64 = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte));
        if stored.is_empty() {
            return ManagementPassword::None;
        }
        if stored.starts_with(ARGON2ID) && PasswordHash::new(stored).is_ok() {
            return ManagementPassword::Hashed(stored.to_owned());
        }
        let legacy = stored.strip_prefix('1').is_some_and(|rest| rest.len() == 27 && is_base64(rest));
        if legacy || stored.starts_with(PBKDF2) || stored.starts_with(ARGON2ID) {
            return ManagementPassword::Unverifiable;
        }
        ManagementPassword::Clear(Zeroizing::new(stored.to_owned()))
    }

    /// The form to store a password in. Takes some tens of milliseconds and 19 MiB: not for an event loop.
    ///
    /// # Errors
    ///
    /// The system gave no random salt, or the password is empty or longer than 512 bytes.
    pub fn hash(password: &str) -> Result<String, String> {
        if password.is_empty() || password.len() > LONGEST {
            return Err(format!("a management password has from 1 to {LONGEST} bytes"));
        }
        let hash = Argon2::default().hash_password(password.as_bytes());
        hash.map(|hash| hash.to_string()).map_err(|error| format!("the password cannot be hashed: {error}"))
    }

    /// Whether `password` is the one. Takes as long as [`ManagementPassword::hash`] if there is a hash.
    pub fn verify(&self, password: &str) -> bool {
        if password.len() > LONGEST {
            return false;
        }
        match self {
            ManagementPassword::None | ManagementPassword::Unverifiable => false,
            ManagementPassword::Clear(stored) => equal(stored.as_bytes(), password.as_bytes()),
            ManagementPassword::Hashed(stored) => PasswordHash::new(stored)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
        }
    }
}

/// The longest password that is looked at, in bytes.
const LONGEST: usize = 512;

/// Compares without telling by the time it takes where the difference lies.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stored_form_is_recognised() {
        let hash = ManagementPassword::hash("secret").unwrap();
        for (stored, expected) in [
            ("", "None"),
            ("secret", "Clear(..)"),
            ("1234", "Clear(..)"),
            (hash.as_str(), "Hashed(..)"),
            ("1Aq5XbCdEfGhIjKlMnOpQrStUvWx", "Unverifiable"),
            ("PBKDF2|whatever", "Unverifiable"),
            ("$argon2id$damaged", "Unverifiable"),
        ] {
            assert_eq!(format!("{:?}", ManagementPassword::from_stored(stored)), expected, "{stored}");
        }
    }

    #[test]
    fn only_the_password_itself_is_accepted() {
        let hash = ManagementPassword::hash("secret").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$") && !hash.contains("secret"));
        assert_ne!(hash, ManagementPassword::hash("secret").unwrap(), "each has its own salt");
        for (stored, password, expected) in [
            (hash.as_str(), "secret", true),
            (hash.as_str(), "Secret", false),
            (hash.as_str(), "", false),
            ("secret", "secret", true),
            ("secret", "secrets", false),
            ("", "", false),
            ("PBKDF2|whatever", "PBKDF2|whatever", false),
        ] {
            assert_eq!(ManagementPassword::from_stored(stored).verify(password), expected, "{stored} {password}");
        }
        assert!(ManagementPassword::hash("").is_err() && ManagementPassword::hash(&"x".repeat(513)).is_err());
    }
}
