//! The reference page `docs/csp-ini.md`, written from the table of parameters.

use super::parameter::{ALL, Effect, Inherits, Kind, Parameter, SectionKind, Verdict};

/// The page, in Markdown.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    for (kind, title, introduction) in SECTIONS {
        page += &format!("\n## {title}\n\n{introduction}\n\n");
        page += "| key | in the original's pages | values | default | |\n| --- | --- | --- | --- | --- |\n";
        for row in ALL.iter().filter(|row| row.section == *kind) {
            let default = if row.default.is_empty() { "none".to_owned() } else { format!("`{}`", row.default) };
            let key = row.key.replace('<', "&lt;").replace('>', "&gt;");
            page += &format!("| `{key}` | {} | {} | {default} | {} |\n", row.label, values(row.kind), notes(row));
        }
    }
    page.replace("&lt;n&gt;`", "N`")
}

const HEAD: &str = "\
# CSP.ini

Every setting that a CSP.ini may hold. This page is written from the table that the reader, the writer and the command line
use (`src/profile/parameter.rs`); `make docs` writes it anew.

- `[SECTION]` lines, then `key=value` lines; the first `=` splits. Lines that begin with `#` or `;` are comments; a `#` inside
  a value belongs to the value. Keys, section and server names are compared without regard to case, application paths with it.
- A blank value is no value: the default stands in, or for settings marked \"also in servers\" the value of `[SYSTEM]`; but of
  `No_Activity_Timeout` in `[SYSTEM]`, where it means for ever.
- Unknown keys are kept, have no effect, and are reported once; those that are nearly a setting's, in each section.
- Keys that begin with `Sclera_` are not known to the original gateway, which ignores them.
- Values come, each over the one before, from CSP.ini, from the files `*.ini` in the directory `CSP.ini.d` beside it, from
  variables `SCLERA__SECTION__KEY`, and from the files that `SCLERA__SECTION__KEY_FILE` or systemd credentials named
  `sclera.SECTION.KEY` give.
- A change of the files is in force within two seconds, in every worker, as a whole or not at all. What needs a restart of the
  web server is marked.
- A password may stand in clear text, as `]]]` and its base64 (which hides it from a glance, no more), or as `{command}`, a
  shell command whose output it is: run by the workers' user, at the start and when the
  file has changed; `-t` and `sclera check` do not run it. With `Sclera_Encode_Passwords=1` clear text is encoded at the start; the file is not
  written for it otherwise, as it is by the original.
";

const SECTIONS: &[(SectionKind, &str, &str)] = &[
    (SectionKind::System, "[SYSTEM]", "The gateway as a whole, and what servers inherit."),
    (
        SectionKind::Server,
        "[a server's name]",
        "One section for each server. It is in use if `[SYSTEM_INDEX]` has the line `name=Enabled`.",
    ),
    (
        SectionKind::Application,
        "[APP_PATH:/path]",
        "One section for each application path. It is in use if `[APP_PATH_INDEX]` has the line `/path=Enabled`; with \
         `/path=Disabled` its requests are answered with 503. The longest path by whole segments decides. A path that begins \
         with `//host` is for that host alone, and for `www.` and that host.",
    ),
];

fn values(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".into(),
        Kind::Address => "name or IP address".into(),
        Kind::Secret => "password".into(),
        Kind::File => "path of a file; a relative one from the directory of CSP.ini".into(),
        Kind::Status => "`Enabled`, `Disabled`".into(),
        Kind::Switch => "`Enabled` or `1`, `Disabled` or `0`".into(),
        Kind::Flag => "`1`, `0`".into(),
        Kind::Number { from, to } => format!("{from} to {to}"),
        Kind::Seconds { from, to } => format!("seconds, {from} to {to}"),
        Kind::Bytes { from: 0 } => "bytes, or `nK`, `nM`".into(),
        Kind::Bytes { from } => format!("bytes, or `nK`, `nM`; at least {}K", from / 1024),
        Kind::Port => "1 to 65535".into(),
        Kind::SecurityLevel => "`0`, `4` or `10`; `1` to `3`".into(),
        Kind::TlsVersion => "`4` TLS 1.0, `8` 1.1, `16` 1.2, `32` 1.3".into(),
        Kind::TlsVersions => "sum of `4`, `8`, `16` and `32`".into(),
        Kind::KeyType => "`1` DSA, `2` RSA, `3` ECDSA".into(),
        Kind::Alternative => "`1` or `0`, six `~`, a server's name".into(),
        Kind::PinnedKey => "`sha256//` and base64".into(),
        Kind::UrlPath => "path of the web server".into(),
        Kind::Clients => "client addresses, separated by `,` or `+`".into(),
        Kind::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
    }
}

/// The help sentence, and what is special about the row.
fn notes(row: &Parameter) -> String {
    let mut notes = vec![row.help.replace('|', "\\|")];
    if row.inherits == Inherits::ToServers {
        notes.push("Also in servers.".into());
    }
    match row.effect {
        Effect::Now => {}
        Effect::AtRestart => notes.push("Needs a restart.".into()),
        Effect::Later => notes.push("Not heeded yet.".into()),
        Effect::Without(reason) => notes.push(format!("**Without effect**: {reason}")),
    }
    let refused = |value: &str| match row.check(value) {
        Verdict::Refused(code) => Some(code),
        _ => None,
    };
    let example = match row.kind {
        Kind::SecurityLevel => refused("1").map(|code| format!("Kerberos (1 to 3) is refused at use: {code}.")),
        Kind::TlsVersions => {
            refused("12").map(|code| format!("A range without 1.2 and 1.3 is refused at use: {code}."))
        }
        _ => None,
    };
    notes.extend(example);
    notes.join(" ")
}

/// Compares a generated text with the file in the repository, or writes the file if `SCLERA_WRITE_DOCS` is set.
#[cfg(test)]
pub(crate) fn compare(file: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("SCLERA_WRITE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = checked_in.lines().zip(text.lines()).find(|(old, new)| old != new);
    assert!(checked_in == text, "{file} is not what `make docs` would write; the first difference: {differs:?}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_page_is_what_the_table_says() {
        super::compare("docs/csp-ini.md", &super::page());
    }
}
