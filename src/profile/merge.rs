//! Merge files, as containers use them: a staged file with some keys is laid into the CSP.ini that is there.
//!
//! `ISC_CSP_INI_FILE` names the staged file. Each of its keys is set in CSP.ini; other keys stay, nothing is removed, and
//! `RELOAD=1` is added. What was merged is remembered as `CSP.ini.last_merge` beside CSP.ini, and is not merged again.
//! With `ISC_DATA_DIRECTORY`, CSP.ini is the one in `webgateway/` below it.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::edit::{Change, Document, EditError};
use super::file::read_bounded;
use super::store::{self, Saved, StoreError};
use super::text::LARGEST_FILE;

/// Where a container says the files are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The staged file.
    pub staged: Option<PathBuf>,
    /// The CSP.ini to use, whatever the web server's directives say.
    pub csp_ini: Option<PathBuf>,
}

impl Places {
    /// What the environment says, through `lookup`.
    pub fn of(lookup: impl Fn(&str) -> Option<OsString>) -> Places {
        let path = |name| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Places {
            staged: path("ISC_CSP_INI_FILE"),
            csp_ini: path("ISC_DATA_DIRECTORY").map(|directory| directory.join("webgateway/CSP.ini")),
        }
    }
}

/// Sets every key of `staged` in `document`. How many lines changed; if any did, `RELOAD=1` is set too.
///
/// # Errors
///
/// A name, key or value that cannot be written; the document may have been changed in part.
pub fn merge(document: &mut Document, staged: &Document) -> Result<usize, EditError> {
    let mut changed = 0;
    for (section, key, _) in staged.entries_of_all() {
        // Of a key that stands several times, the value that counts.
        let Some(value) = staged.get(&section, &key) else { continue };
        let change = document.set(&section, &key, &value)?;
        changed += usize::from(change != Change::Nothing);
    }
    if changed > 0 {
        document.set("SYSTEM", "RELOAD", "1")?;
    }
    Ok(changed)
}

/// Merges the staged file into CSP.ini, unless it is the one that was merged last. How many lines changed; `None` if there
/// was nothing to do.
pub fn apply(csp_ini: &Path, staged: &Path) -> Result<Option<usize>, StoreError> {
    let content =
        read_bounded(staged, LARGEST_FILE).map_err(|error| StoreError::Read(staged.to_owned(), error.to_string()))?;
    let mut remembered = csp_ini.as_os_str().to_owned();
    remembered.push(".last_merge");
    let remembered = PathBuf::from(remembered);
    if read_bounded(&remembered, LARGEST_FILE).is_ok_and(|last| *last == *content) {
        return Ok(None);
    }
    let mut opened = store::open(csp_ini)?;
    let staged_document = Document::new(content.clone());
    let changed =
        merge(&mut opened.document, &staged_document).map_err(|error| StoreError::Edit(staged.to_owned(), error))?;
    let saved = opened.save()?;
    remember(&remembered, &content)
        .map_err(|error| StoreError::Write(remembered, "remembering what was merged", error))?;
    Ok(if saved == Saved::Unchanged { None } else { Some(changed) })
}

/// Replaces the file as a whole; nobody else may read it, since passwords may stand in it.
fn remember(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staged_keys_are_added_or_replace_and_nothing_is_removed() {
        let base = "[SYSTEM]\n[SYSTEM_INDEX]\nLOCAL=Enabled\n[LOCAL]\nIp_Address=127.0.0.1\nTCP_Port=1972\n";
        let staged = "[LOCAL]\nIp_Address=iris\n[SYSTEM_INDEX]\nIRIS2=Enabled\n[IRIS2]\nIp_Address=b\n";
        let mut document = Document::new(base.as_bytes().to_vec());
        assert_eq!(merge(&mut document, &Document::new(staged.as_bytes().to_vec())), Ok(3));
        assert_eq!(
            std::str::from_utf8(document.bytes()).unwrap(),
            "[SYSTEM]\nRELOAD=1\n[SYSTEM_INDEX]\nLOCAL=Enabled\nIRIS2=Enabled\n[LOCAL]\nIp_Address=iris\nTCP_Port=1972\n\
             \n[IRIS2]\nIp_Address=b\n"
        );
        assert_eq!(merge(&mut document, &Document::new(staged.as_bytes().to_vec())), Ok(0));
    }

    #[test]
    fn a_staged_file_is_merged_once_and_again_when_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let (csp_ini, staged) = (directory.path().join("CSP.ini"), directory.path().join("staged.ini"));
        fs::write(&csp_ini, "[LOCAL]\nTCP_Port=1\n").unwrap();
        fs::write(&staged, "[LOCAL]\nTCP_Port=2\n").unwrap();
        assert_eq!(apply(&csp_ini, &staged).unwrap(), Some(1));
        fs::write(&csp_ini, "[LOCAL]\nTCP_Port=3\n").unwrap();
        assert_eq!(apply(&csp_ini, &staged).unwrap(), None, "edited since, and the staged file is the same");
        assert_eq!(fs::read_to_string(&csp_ini).unwrap(), "[LOCAL]\nTCP_Port=3\n");
        fs::write(&staged, "[LOCAL]\nTCP_Port=4\n").unwrap();
        assert_eq!(apply(&csp_ini, &staged).unwrap(), Some(1));
        assert!(fs::read_to_string(&csp_ini).unwrap().starts_with("[LOCAL]\nTCP_Port=4\n"));
        assert!(apply(&csp_ini, &directory.path().join("absent")).is_err());
    }

    #[test]
    fn the_environment_names_the_places() {
        let places = Places::of(|name| match name {
            "ISC_CSP_INI_FILE" => Some("/staged/CSP.ini".into()),
            "ISC_DATA_DIRECTORY" => Some("/durable".into()),
            _ => None,
        });
        assert_eq!(places.staged.as_deref(), Some(Path::new("/staged/CSP.ini")));
        assert_eq!(places.csp_ini.as_deref(), Some(Path::new("/durable/webgateway/CSP.ini")));
        assert_eq!(Places::of(|_| Some(OsString::new())), Places::default());
    }
}
