//! Everything around the web servers breaks, for a short while; `make chaos` does the same for as long as one likes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sclera_tests::chaos::{Figures, Host, Round, Trouble, play};

/// Fixed, so that a change of what happens is a change of the code.
const SEED: u64 = 20;

fn played(host: Host, time: u64, trouble: Trouble) -> Figures {
    // A round that failed says so by itself.
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let time = Duration::from_secs(time);
    let figures = play(&Round { host, seed: SEED, requests: 400_000, time, limit: 12, trouble });
    println!("{}\n{figures}", host.name());
    assert!(figures.is_good(), "{}\n{figures}", host.name());
    assert!(figures.answered > 500, "{}: there was hardly any load\n{figures}", host.name());
    figures
}

/// Each round has the machine to itself.
static MACHINE: Mutex<()> = Mutex::new(());

#[test]
fn nothing_is_lost_crossed_or_doubled_whatever_breaks() {
    for host in Host::ALL {
        let figures = played(host, 15, Trouble::Everything);
        assert!(figures.killed > 0 && figures.strikes > 0 && figures.cut > 0, "{figures}");
    }
}

#[test]
fn a_reload_every_second_for_a_minute_fails_no_request_and_leaves_nothing_behind() {
    for host in Host::ALL {
        let figures = played(host, 60, Trouble::Reloads(Duration::from_secs(1)));
        assert!(figures.reloads >= 50, "{figures}");
    }
}
