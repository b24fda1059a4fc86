//! 2xx: names, addresses, ports.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use rustix::thread::UnshareFlags;
use sclera::failure::Code;
use sclera_tests::peer;

use crate::trouble::{Case, Trouble, case};

pub fn cases() -> Vec<Case> {
    vec![
        case(Code::NameNotResolved, "a name that nobody knows", |it| it.set("Ip_Address", "no-such-name.invalid")),
        case(Code::ConnectRefused, "nothing listens", |it| it.port(peer::closed_port())),
        case(Code::ConnectTimeout, "nothing answers", |it| {
            it.set("Sclera_Connect_Timeout", "1");
            it.port(silent_port());
        }),
        // A multicast address has no route for TCP.
        case(Code::ConnectFailed, "an address that cannot be connected to", |it| it.set("Ip_Address", "224.0.0.1")),
    ]
}

/// As SELinux and firewalls forbid it: by EACCES, here of a route that prohibits. It is in a network of this thread and
/// the processes it starts, which only root can have.
pub fn provoke_a_forbidden_one() {
    let alone = std::thread::spawn(|| {
        // SAFETY: only this thread, which shares no descriptor table or memory map, changes its network.
        if unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.is_err() {
            return eprintln!("skipped: no network namespace can be made");
        }
        for words in ["link set lo up", "route add prohibit 192.0.2.1/32"] {
            let done = Command::new("ip").args(words.split(' ')).status().expect("ip runs");
            assert!(done.success(), "ip {words}");
        }
        let forbidden = |it: &mut Trouble| it.set("Ip_Address", "192.0.2.1");
        Trouble::provoke(&case(Code::ConnectForbidden, "a route that prohibits", forbidden));
    });
    assert!(alone.join().is_ok());
}

/// A port whose listener has no room for another connection: what comes is dropped, as by a firewall.
fn silent_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    rustix::net::listen(&listener, 0).expect("a smaller queue");
    let address: SocketAddr = listener.local_addr().expect("its address");
    let fill: Vec<TcpStream> = (0..2).filter_map(|_| connect_at_once(address)).collect();
    // They stay as they are until the test's process ends.
    std::mem::forget((listener, fill));
    address.port()
}

fn connect_at_once(address: SocketAddr) -> Option<TcpStream> {
    TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300)).ok()
}
