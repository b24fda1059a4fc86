//! A server of CSP.ini, made ready to be tried out.

use std::os::unix::fs::MetadataExt;

use super::machine::ThisMachine;
use super::workers::{self, Worker};
use crate::pool::configuration;
use crate::privileges::{Hands, User};
use crate::profile::merge::Places;
use crate::profile::{Environment, Profile, Server};

/// The server with its commands' passwords. If this is root, the commands run as the user of the web server's workers,
/// as they do there; and if others than root can write CSP.ini, no key log that it asks for is written.
pub fn server(profile: &Profile, position: usize, workers: &[Worker]) -> Server {
    let workers = workers.first().map(Worker::account).or_else(|| owner_of(profile));
    let places = Places::of(|name| std::env::var_os(name));
    let hands = configuration::hands_for(&profile.path, &Environment::of_process(), &places, workers);
    let mut profile = profile.clone();
    profile.run_commands_of(position, hands.workers());
    let mut server = profile.servers.swap_remove(position);
    if matches!(hands, Hands::Workers(_)) {
        server.tls.key_log_file = None;
    }
    server
}

/// The same where nobody has said who the workers are.
pub fn server_for_any_worker(profile: &Profile, position: usize) -> Server {
    server(profile, position, &workers::find(&ThisMachine))
}

/// On a machine without a web server, CSP.ini is its owner's; but root does nobody's bidding who may write it.
fn owner_of(profile: &Profile) -> Option<User> {
    const NOBODY: u32 = 65_534;
    let found = profile.path.metadata().ok()?;
    let (uid, gid) = if found.uid() == 0 { (NOBODY, NOBODY) } else { (found.uid(), found.gid()) };
    Some(User { uid, gid, groups: Vec::new() })
}
