//! The original's small programs, for scripts that call them: `cvtcfg setparameter` and `CSPpwd`.
//!
//! `sclera` is each of them too if it is called by that name, as through a link.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use sclera::profile::{ManagementPassword, Secret};

use crate::{Outcome, complain, edit};

/// `cvtcfg`.
#[derive(Debug, Subcommand)]
pub enum Cvtcfg {
    /// Set a value: cvtcfg setparameter "CSP.ini" "[SECTION]" "Key" "Value".
    #[command(name = "setparameter")]
    SetParameter {
        /// The file.
        file: PathBuf,
        /// The section, in brackets.
        section: String,
        /// The key.
        key: String,
        /// The value.
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
}

/// `CSPpwd`.
#[derive(Debug, Args)]
pub struct Csppwd {
    /// The original's library; not looked at.
    pub library: String,
    /// 0: the password of the management pages. 2: one of a server.
    pub context: u8,
    /// The password in clear text.
    #[arg(allow_hyphen_values = true)]
    pub password: String,
}

/// Sets a value.
pub fn cvtcfg(command: &Cvtcfg, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let Cvtcfg::SetParameter { file, section, key, value } = command;
    let bare = section.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(section);
    edit::set_value(file, bare, key, value, true, out, err)
}

/// Prints the form of a password for the file.
pub fn csppwd(options: &Csppwd, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let stored = match options.context {
        0 => match ManagementPassword::hash(&options.password) {
            Ok(hash) => hash,
            Err(reason) => return complain(err, [reason]),
        },
        2 => Secret::encode(&options.password).to_string(),
        other => return complain(err, [format!("context {other} is not known; use 0 (management) or 2 (server)")]),
    };
    writeln!(out, "{stored}")?;
    Ok(Outcome::Well)
}

/// The arguments as `sclera` takes them: called as `cvtcfg` or `CSPpwd`, that is the first word.
pub fn renamed(arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments.first().map(Path::new).and_then(Path::file_name).and_then(|name| name.to_str());
    match name.map(str::to_ascii_lowercase).as_deref() {
        Some(name @ ("cvtcfg" | "csppwd")) => {
            let words = ["sclera".into(), name.into()];
            words.into_iter().chain(arguments.into_iter().skip(1)).collect()
        }
        _ => arguments,
    }
}
