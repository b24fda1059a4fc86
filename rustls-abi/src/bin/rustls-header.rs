//! Writes `rustls.h`, the C interface of rustls-ffi, from the source of the release that this library is built with. It is
//! not kept here: it is rustls' own.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let target = PathBuf::from(std::env::args_os().nth(1).expect("usage: rustls-header FILE"));
    let source = source_of("rustls-ffi");
    let config = cbindgen::Config::from_file(source.join("cbindgen.toml")).expect("its cbindgen.toml");
    let mut files = Vec::new();
    collect(&source.join("src"), &mut files);
    files.sort();
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = files.into_iter().fold(builder, |builder, file| builder.with_src(file));
    let bindings = builder.generate().expect("its source can be read");
    if let Some(directory) = target.parent() {
        std::fs::create_dir_all(directory).expect("the directory of the header");
    }
    bindings.write_to_file(target);
}

/// Where cargo keeps the source of a package that the workspace depends on.
fn source_of(package: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = Command::new(cargo)
        .args(["metadata", "--locked", "--format-version", "1", "--manifest-path", manifest])
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let found = packages.iter().find(|it| it["name"] == package).expect("the package is a dependency");
    let manifest = Path::new(found["manifest_path"].as_str().expect("a path")).to_owned();
    manifest.parent().expect("a directory").to_owned()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a source directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
