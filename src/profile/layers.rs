//! The layers that a value may come from, each over the one before: CSP.ini, the fragments in the directory
//! `CSP.ini.d` beside it, the environment, and secret files.
//!
//! - Fragments are the files `*.ini` of that directory in the order of their names. They may add sections and index
//!   lines, and replace values; nothing is removed.
//! - `SCLERA__SECTION__KEY=value` in the environment of the web server's start sets a value of a section that the files
//!   have, or of `[SYSTEM]`. Upper and lower case count as the same, and whatever in a section's name is neither letter
//!   nor digit is written `_`. Application sections have no such form, since paths would be ambiguous.
//! - `SCLERA__SECTION__KEY_FILE=/path` takes the value from a file, without its last line end; so does a credential of
//!   systemd named `sclera.SECTION.KEY`.
//!
//! The environment is read once, in the process that starts the web server: nginx's workers have none of it, and secret
//! files are often readable for root alone.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::file::{ReadError, read_bounded};
use super::finding::{Finding, Origin, Severity};
use super::parameter::{Kind, Parameter, SectionKind};
use super::text::{Text, fold_key, fold_section};
use crate::failure::Code;

/// The most bytes that a secret file may have.
const LARGEST_SECRET: u64 = 64 * 1024;

/// All layers as one set of sections.
pub(super) struct Layers {
    /// CSP.ini.
    pub file: Arc<Path>,
    /// In the order in which the layers name them first.
    pub sections: Vec<Section>,
    by_name: HashMap<String, usize>,
}

/// A section, joined from every layer.
pub(super) struct Section {
    /// The name without brackets, as first spelt.
    pub name: String,
    /// Where it stands first.
    pub origin: Origin,
    /// In the order in which the layers name them first.
    pub entries: Vec<Entry>,
    index: HashMap<String, usize>,
}

/// The value in force of one key.
pub(super) struct Entry {
    /// As spelt where the value stands.
    pub key: String,
    pub value: Zeroizing<String>,
    pub origin: Origin,
}

impl Section {
    /// The entry of this key; the case of letters counts only among application paths.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.index.get(&fold_key(&self.name, key)).map(|&position| &self.entries[position])
    }

    fn set(&mut self, entry: Entry) {
        let folded = fold_key(&self.name, &entry.key);
        match self.index.get(&folded) {
            Some(&position) => self.entries[position] = entry,
            None => {
                self.index.insert(folded, self.entries.len());
                self.entries.push(entry);
            }
        }
    }
}

impl Layers {
    /// Lays `fragments` over the text of CSP.ini, and the environment over both.
    pub fn new(main: &Text, fragments: &[Text], environment: &Environment, findings: &mut Vec<Finding>) -> Layers {
        let mut layers = Layers { file: main.file().clone(), sections: Vec::new(), by_name: HashMap::new() };
        for text in std::iter::once(main).chain(fragments) {
            for section in text.sections() {
                let target = layers.section(&section.name, || text.section_origin(section));
                for entry in &section.entries {
                    let value = Zeroizing::new(text.value(entry).into_owned());
                    target.set(Entry { key: entry.key.clone(), value, origin: text.origin(section, entry) });
                }
            }
        }
        findings.extend(environment.problems.iter().cloned());
        for variable in &environment.variables {
            layers.lay(variable, findings);
        }
        layers
    }

    fn section(&mut self, name: &str, origin: impl FnOnce() -> Origin) -> &mut Section {
        let position = *self.by_name.entry(fold_section(name)).or_insert_with(|| {
            let section =
                Section { name: name.to_owned(), origin: origin(), entries: Vec::new(), index: HashMap::new() };
            self.sections.push(section);
            self.sections.len() - 1
        });
        &mut self.sections[position]
    }

    fn lay(&mut self, variable: &Variable, findings: &mut Vec<Finding>) {
        let origin = |section: &str, key: &str| Origin {
            file: variable.source.clone(),
            line: None,
            section: section.to_owned(),
            key: key.to_owned(),
        };
        let system = variable.section.eq_ignore_ascii_case("SYSTEM");
        let meant: Vec<usize> = (0..self.sections.len())
            .filter(|&position| plain(&self.sections[position].name).eq_ignore_ascii_case(&plain(&variable.section)))
            .collect();
        let position = match meant[..] {
            [one] => one,
            [] if system => {
                self.section("SYSTEM", || origin("SYSTEM", ""));
                self.sections.len() - 1
            }
            [] => {
                let message = format!("names section {}, which no file has", variable.section);
                let remedy = "write that section into CSP.ini, or correct the name";
                let file = &variable.source;
                findings.push(Finding::about_file(Severity::Warning, None, file, message, remedy));
                return;
            }
            [..] => {
                let message = format!("names section {}, which could be several", variable.section);
                let remedy = "give the value in a file of CSP.ini.d instead";
                findings.push(Finding::about_file(Severity::Error, None, &variable.source, message, remedy));
                return;
            }
        };
        let section = &mut self.sections[position];
        // The key as documented, since variables are often in capitals.
        let row = Parameter::find(SectionKind::of(&section.name), &variable.key);
        let key = row.map_or(variable.key.as_str(), |row| row.key).to_owned();
        let origin = origin(&section.name, &key);
        section.set(Entry { key, value: variable.value.clone(), origin });
    }
}

/// What a section's name is compared by in the environment.
fn plain(name: &str) -> String {
    name.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '_' }).collect()
}

/// The texts of `CSP.ini.d/*.ini`, in the order of their names.
///
/// # Errors
///
/// What [`Text::read`] says of the first that cannot be read.
pub(super) fn fragments(main: &Path, findings: &mut Vec<Finding>) -> Result<Vec<Text>, Vec<Finding>> {
    fragment_files(main)
        .iter()
        .map(|path| {
            let (text, found) = Text::read(path)?;
            findings.extend(found);
            Ok(text)
        })
        .collect()
}

/// The files `CSP.ini.d/*.ini`, in the order of their names; none if there is no such directory.
pub fn fragment_files(main: &Path) -> Vec<PathBuf> {
    let mut directory = main.as_os_str().to_owned();
    directory.push(".d");
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "ini") && !hidden(path))
        .collect();
    files.sort();
    files
}

/// The values that the environment gives: variables, the files they name, and systemd's credentials.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<Variable>,
    problems: Vec<Finding>,
}

#[derive(Clone)]
struct Variable {
    /// `$NAME`, or the path of the file that held the value.
    source: Arc<Path>,
    /// The value is the content of `source`.
    from_file: bool,
    section: String,
    key: String,
    value: Zeroizing<String>,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.source.display())
    }
}

impl Environment {
    /// An environment that gives nothing.
    pub fn none() -> Environment {
        Environment::default()
    }

    /// This process's environment.
    pub fn of_process() -> Environment {
        Environment::of(std::env::vars_os())
    }

    /// The environment of these variables.
    pub fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        let mut environment = Environment::default();
        let mut named: Vec<(String, OsString)> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with(PREFIX) || name == "CREDENTIALS_DIRECTORY")
            .collect();
        named.sort();
        let (files, values): (Vec<_>, Vec<_>) = named.into_iter().partition(|(name, _)| names_a_file(name));
        for (name, value) in values {
            environment.variable(&name, value);
        }
        for (name, value) in files {
            match name.strip_prefix(PREFIX).and_then(|rest| rest.split_once("__")) {
                Some((section, key)) => {
                    let key = &key[..key.len() - FILE.len()];
                    environment.secret_file(Path::new(&value), section, key, Some(&name));
                }
                None => environment.credentials(Path::new(&value)),
            }
        }
        environment
    }

    /// The same environment with one more value over all others, which messages call `source`.
    pub fn with(mut self, source: &str, section: &str, key: &str, value: &str) -> Environment {
        let source: Arc<Path> = Path::new(source).into();
        let (section, key) = (section.to_owned(), key.to_owned());
        let value = Zeroizing::new(value.trim().to_owned());
        self.variables.push(Variable { source, from_file: false, section, key, value });
        self
    }

    /// The same environment with the files it names read again. A file that may no longer be read, since this process
    /// has become another user, keeps the value it had.
    pub fn refreshed(&self) -> Environment {
        let mut fresh = Environment::default();
        for variable in &self.variables {
            if !variable.from_file {
                fresh.variables.push(variable.clone());
                continue;
            }
            match read_value(&variable.source) {
                Ok(value) => fresh.variables.push(Variable { value, ..variable.clone() }),
                Err(_) => fresh.variables.push(variable.clone()),
            }
        }
        fresh
    }

    /// The files whose content counts.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.variables.iter().filter(|variable| variable.from_file).map(|variable| &*variable.source)
    }

    /// Those of them that say what is to be done, and do not only hold a password.
    pub fn deciding_files(&self) -> impl Iterator<Item = &Path> {
        let is_secret = |variable: &&Variable| {
            let row = Parameter::find(SectionKind::of(&variable.section), &variable.key);
            row.is_some_and(|row| row.kind == Kind::Secret)
        };
        let files = self.variables.iter().filter(|variable| variable.from_file);
        files.filter(move |variable| !is_secret(variable)).map(|variable| &*variable.source)
    }

    fn variable(&mut self, name: &str, value: OsString) {
        let source: Arc<Path> = PathBuf::from(format!("${name}")).into();
        let mut refuse = |message: &str, remedy: &str| {
            let code = Some(Code::ConfigurationInvalid);
            self.problems.push(Finding::about_file(Severity::Error, code, &source, message, remedy));
        };
        let Some((section, key)) =
            name[PREFIX.len()..].split_once("__").filter(|(section, key)| !section.is_empty() && !key.is_empty())
        else {
            return refuse("is not of the form SCLERA__SECTION__KEY", "correct the name");
        };
        let Ok(value) = value.into_string() else {
            return refuse("is not UTF-8", "correct the value");
        };
        let value = Zeroizing::new(value.trim().to_owned());
        let (section, key) = (section.to_owned(), key.to_owned());
        self.variables.push(Variable { source, from_file: false, section, key, value });
    }

    /// Every `sclera.SECTION.KEY` in the directory.
    fn credentials(&mut self, directory: &Path) {
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("sclera."));
            // A server's name may hold dots, a key does not.
            if let Some((section, key)) = name.and_then(|name| name.rsplit_once('.')) {
                let (section, key) = (section.to_owned(), key.to_owned());
                self.secret_file(&path, &section, &key, None);
            }
        }
    }

    fn secret_file(&mut self, path: &Path, section: &str, key: &str, named_by: Option<&str>) {
        match read_value(path) {
            Ok(value) => self.variables.push(Variable {
                source: path.into(),
                from_file: true,
                section: section.to_owned(),
                key: key.to_owned(),
                value,
            }),
            // Without its value the gateway would log in with less than was meant.
            Err(reason) => {
                let code = Some(Code::ConfigurationInvalid);
                let message = match named_by {
                    Some(name) => format!("${name}: {reason}"),
                    None => reason,
                };
                let remedy = "let the user who starts the web server read the file, or remove what names it";
                self.problems.push(Finding::about_file(Severity::Error, code, &path.into(), message, remedy));
            }
        }
    }
}

const PREFIX: &str = "SCLERA__";
const FILE: &str = "_FILE";

/// Whether a variable's value is the path of a file (or directory) that holds the value. `SSLCC_Certificate_File` and
/// others are settings of their own.
fn names_a_file(name: &str) -> bool {
    let Some((section, key)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once("__")) else {
        return name == "CREDENTIALS_DIRECTORY";
    };
    let kind = SectionKind::of(section);
    let ends =
        key.len() > FILE.len() && key.get(key.len() - FILE.len()..).is_some_and(|it| it.eq_ignore_ascii_case(FILE));
    ends && Parameter::find(kind, key).is_none()
}

/// The content of a file as a value.
fn read_value(path: &Path) -> Result<Zeroizing<String>, String> {
    let bytes = read_bounded(path, LARGEST_SECRET).map_err(|error: ReadError| error.to_string())?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.contains(['\n', '\r', '\0']) {
        return Err("holds more than one line".to_owned());
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::{Loaded, Profile};
    use super::*;

    const FILE: &str =
        "[SYSTEM_INDEX]\nLOCAL=Enabled\n[LOCAL]\nIp_Address=a\nTCP_Port=1972\n[db-1.example]\nIp_Address=b\n";

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::of(variables.iter().map(|&(name, value)| (name.into(), value.into())))
    }

    /// Loads [`FILE`] with these fragments and variables.
    fn load(fragments: &[(&str, &str)], environment: &Environment) -> Result<Loaded, Vec<Finding>> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("CSP.ini");
        std::fs::write(&file, FILE).unwrap();
        std::fs::create_dir(directory.path().join("CSP.ini.d")).unwrap();
        for (name, content) in fragments {
            std::fs::write(directory.path().join("CSP.ini.d").join(name), content).unwrap();
        }
        Profile::load(&file, environment)
    }

    /// Port of the first server, and the last part of its origin.
    fn port(fragments: &[(&str, &str)], variables: &[(&str, &str)]) -> (u16, String) {
        let profile = load(fragments, &environment(variables)).unwrap().profile;
        let port = &profile.servers[0].port;
        let origin = port.origin.as_ref().unwrap().to_string();
        (port.value, origin.rsplit('/').next().unwrap().to_owned())
    }

    #[test]
    fn each_layer_goes_over_the_one_before_and_says_where_its_value_stands() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("port");
        std::fs::write(&secret, "6\r\n").unwrap();
        let secret = secret.to_str().unwrap();
        let fragment = ("20.ini", "[local]\ntcp_port=3\n");
        for (fragments, variables, expected) in [
            (&[][..], &[][..], (1972, "CSP.ini:5 [LOCAL] TCP_Port")),
            (&[fragment], &[], (3, "20.ini:2 [local] tcp_port")),
            (&[("10.ini", "[LOCAL]\nTCP_Port=2\n"), fragment], &[], (3, "20.ini:2 [local] tcp_port")),
            (&[("30.ini", "[LOCAL]\nTCP_Port=2\n"), fragment], &[], (2, "30.ini:2 [LOCAL] TCP_Port")),
            (&[("10.txt", "not read"), (".10.ini", "not read")], &[], (1972, "CSP.ini:5 [LOCAL] TCP_Port")),
            (&[fragment], &[("SCLERA__LOCAL__TCP_PORT", "4")], (4, "$SCLERA__LOCAL__TCP_PORT [LOCAL] TCP_Port")),
            (
                &[fragment],
                &[("SCLERA__LOCAL__TCP_PORT", "4"), ("SCLERA__local__tcp_port_file", secret)],
                (6, "port [LOCAL] TCP_Port"),
            ),
        ] {
            assert_eq!(port(fragments, variables), (expected.0, expected.1.to_owned()));
        }
    }

    #[test]
    fn fragments_add_servers_and_paths() {
        let more = "[SYSTEM_INDEX]\nNEW=Enabled\n[NEW]\nIp_Address=n\n[APP_PATH_INDEX]\n/n=Enabled\n[APP_PATH:/n]\nDefault_Server=NEW\n";
        let profile = load(&[("new.ini", more)], &Environment::none()).unwrap().profile;
        assert!(profile.server("new").is_some_and(|index| profile.servers[index].enabled));
        assert_eq!(profile.applications[0].path, "/n");
    }

    #[test]
    fn variables_reach_servers_with_odd_names_and_settings_that_end_in_file() {
        let variables = [
            ("SCLERA__DB_1_EXAMPLE__TCP_Port", "7"),
            ("SCLERA__LOCAL__SSLCC_CERTIFICATE_FILE", "/tls/a.pem"),
            ("SCLERA__SYSTEM__Default_Server", "LOCAL"),
        ];
        let profile = load(&[], &environment(&variables)).unwrap().profile;
        assert_eq!(profile.servers[1].port.value, 7);
        let certificate = profile.servers[0].tls.certificate_file.as_ref().unwrap();
        assert_eq!(certificate.value, Path::new("/tls/a.pem"));
        let origin = profile.system.default_server.origin.unwrap();
        assert_eq!(origin.to_string(), "$SCLERA__SYSTEM__Default_Server [SYSTEM] Default_Server");
    }

    #[test]
    fn credentials_of_systemd_are_secret_files() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("sclera.db-1.example.Password"), "hunter2\n").unwrap();
        std::fs::write(directory.path().join("other.LOCAL.Password"), "no").unwrap();
        let given = environment(&[("CREDENTIALS_DIRECTORY", directory.path().to_str().unwrap())]);
        let profile = load(&[], &given).unwrap().profile;
        assert_eq!(profile.servers[1].password.value.reveal(), Ok("hunter2"));
        assert!(profile.servers[0].password.value.is_empty());
        assert!(!format!("{given:?}").contains("hunter2"));

        std::fs::write(directory.path().join("sclera.db-1.example.Password"), "changed\n").unwrap();
        let profile = load(&[], &given.refreshed()).unwrap().profile;
        assert_eq!(profile.servers[1].password.value.reveal(), Ok("changed"));
        drop(directory);
        let profile = load(&[], &given.refreshed()).unwrap().profile;
        assert_eq!(profile.servers[1].password.value.reveal(), Ok("hunter2"), "the value it had stays");
    }

    #[test]
    fn what_is_wrong_with_a_variable_is_reported_without_its_value() {
        for (name, value, fatal, expected) in [
            ("SCLERA__LOCAL", "hunter2", true, "$SCLERA__LOCAL: is not of the form SCLERA__SECTION__KEY"),
            ("SCLERA__NOWHERE__TCP_Port", "1", false, "names section NOWHERE, which no file has"),
            ("SCLERA__LOCAL__Password_FILE", "/nonexistent", true, "$SCLERA__LOCAL__Password_FILE: cannot be read"),
            ("SCLERA__LOCAL__TCP_Port", "x", true, "$SCLERA__LOCAL__TCP_Port: [LOCAL] TCP_Port=x: is not a TCP port"),
        ] {
            let findings = match load(&[], &environment(&[(name, value)])) {
                Ok(loaded) => {
                    assert!(!fatal, "{name}");
                    loaded.notices
                }
                Err(findings) => findings,
            };
            let text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
            assert!(text.contains(expected) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_broken_fragment_is_an_error_with_its_name() {
        let findings = load(&[("a.ini", "[LOCAL]\nTCP_Port=x\n")], &Environment::none()).unwrap_err();
        assert!(findings.iter().any(|finding| finding.to_string().contains("CSP.ini.d/a.ini:2: [LOCAL] TCP_Port=x")));
        let findings = load(&[("a.ini", "\0")], &Environment::none()).unwrap_err();
        assert!(findings[0].to_string().contains("CSP.ini.d/a.ini"));
    }
}
