//! What tests ask of a web server, whichever it is.

use std::path::PathBuf;
use std::process::Command;

use crate::http::{Answer, Client};
use crate::root;
use crate::scene::Scene;

/// A web server in front of a scene. It ends with this value.
pub trait WebServer: Sized {
    /// Starts it, with this text for the locations of its one site, and waits until it accepts connections.
    fn start(scene: &Scene, locations: &str) -> Self;

    fn port(&self) -> u16;

    /// What it has logged so far.
    fn error_log(&self) -> String;

    /// Makes it read its configuration again. Waits for the outcome: whether the new one is in force.
    fn reload(&self) -> bool;

    /// Asks it to read its configuration again, and does not wait.
    fn ask_reload(&self);

    /// Ends it gracefully: requests under way are finished. Whether it did so by itself, without an error.
    fn stop(self) -> bool;

    /// The processes that serve requests.
    fn workers(&self) -> Vec<u32>;

    fn connect(&self) -> Client {
        Client::connect(self.port())
    }

    /// One GET on a connection of its own.
    fn get(&self, target: &str) -> Answer {
        self.connect().request("GET", target).answer()
    }

    /// The only worker.
    fn worker(&self) -> u32 {
        let workers = self.workers();
        assert_eq!(workers.len(), 1, "workers: {workers:?}");
        workers[0]
    }
}

/// Lets a web server load the library that `SCLERA_PRELOAD` names before all others, as `make asan` wants it.
pub fn preload(command: &mut Command) {
    if let Some(library) = std::env::var_os("SCLERA_PRELOAD") {
        command.env("LD_PRELOAD", library);
    }
}

/// A module of ours, as `make modules` leaves it; `SCLERA_BUILD_DIR` names another directory than `build`.
pub fn module(name: &str) -> PathBuf {
    let directory = std::env::var_os("SCLERA_BUILD_DIR").map_or_else(|| root().join("build"), PathBuf::from);
    let path = directory.join(name);
    assert!(path.exists(), "{} is missing: run `make modules`", path.display());
    path
}
