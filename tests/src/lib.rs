//! What the tests of the whole product share: certificates, a C host, hostile peers, web servers.

pub mod apache;
pub mod browser;
pub mod certificates;
pub mod chaos;
pub mod counting;
pub mod fault;
pub mod gate;
pub mod gateway;
pub mod host;
pub mod http;
pub mod load;
pub mod manager;
pub mod nginx;
pub mod openssl;
pub mod peer;
pub mod process;
pub mod scene;
pub mod web_server;

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's root")
}

/// Where the library is that the tests load: beside the build directory of the profile that is tested.
pub fn library_directory() -> PathBuf {
    std::env::var_os("SCLERA_LIB_DIR").map_or_else(|| root().join("target/debug"), PathBuf::from)
}

/// A program of the workspace.
pub fn program(name: &str) -> PathBuf {
    let path = library_directory().join(name);
    assert!(path.exists(), "{} is missing: run `make build`", path.display());
    path
}
