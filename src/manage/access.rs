//! Who may ask at all: rules about addresses, origins and hosts, as pure functions.
//!
//! - `System_Manager` names the clients; blank means the machine itself, which is a client whose address is a loopback
//!   address. A loopback client whose request has been forwarded by a proxy on this machine is not the machine itself.
//! - The client is the one that the web server sees. With `Accept_X_Forwarded_For=Enabled`, if that one is the machine
//!   itself or listed, it is taken for a proxy, and the client is the last address of `X-Forwarded-For`: the one that the
//!   proxy has seen. What stands before it was sent by the client, and is not believed.

use std::net::IpAddr;

use super::Request;
use crate::profile::{Clients, Management, Role};

/// A client that may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    pub way: Way,
    /// It called the pages by a name that no other site can give to a page of its own.
    pub by_own_name: bool,
}

/// Why it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `System_Manager` names nobody, and it is the machine itself.
    Machine,
    /// `System_Manager` names it.
    Listed,
}

/// What a client needs before it sees a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A login.
    Login,
    /// Nothing more; it has this role.
    Nothing(Role),
}

/// The client, if it may ask; `None` for strangers.
pub fn judge(settings: &Management, request: &Request) -> Option<Client> {
    let (address, way) = admit(&settings.clients.value, settings.accept_forwarded, request)?;
    let client = Client { address, way, by_own_name: is_own_host(request, &settings.hosts) };
    match need(settings, &client) {
        // Without a login, a page of another site whose name leads here would be let in with its reader's address. It is
        // not let in at all, or where administrators may use any name, it does no harm.
        Need::Nothing(_) if client.way == Way::Machine && !client.by_own_name => None,
        _ => Some(client),
    }
}

/// The client's address, if it is one of `clients`; if they are blank, if it is the machine itself.
pub fn admit(clients: &Clients, accept_forwarded: bool, request: &Request) -> Option<(IpAddr, Way)> {
    let peer = request.client?.to_canonical();
    let forwarded = request.all("x-forwarded-for").last().and_then(|list| list.split(',').next_back());
    let address = match forwarded {
        Some(last) if accept_forwarded => {
            if !peer.is_loopback() && !clients.admit(peer) {
                return None;
            }
            // What cannot be read is nobody.
            address_of(last)?
        }
        _ => peer,
    };
    let way = match clients.is_empty() {
        true if address.is_loopback() && (accept_forwarded && forwarded.is_some() || !is_forwarded(request)) => {
            Way::Machine
        }
        false if clients.admit(address) => Way::Listed,
        _ => return None,
    };
    Some((address, way))
}

/// Whether a client has to log in.
pub fn need(settings: &Management, client: &Client) -> Need {
    let exempt = settings.no_login_for_listed && client.way == Way::Listed;
    match settings.has_login() && !exempt {
        true => Need::Login,
        false if client.by_own_name => Need::Nothing(settings.role_without_login),
        false => Need::Nothing(Role::View),
    }
}

/// Whether a request that asks for a change comes from our own pages, as far as the browser tells. A program that is no
/// browser tells nothing.
pub fn is_same_origin(request: &Request) -> bool {
    if let Some(site) = request.header("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    match request.header("origin") {
        None => true,
        Some(origin) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some_and(|host| request.header("host").is_some_and(|own| own.eq_ignore_ascii_case(host)))
        }
    }
}

/// An address for the log.
pub fn describe(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "a client without an IP address".to_owned(), |address| address.to_canonical().to_string())
}

/// Whether a proxy has passed the request on.
fn is_forwarded(request: &Request) -> bool {
    ["x-forwarded-for", "forwarded", "x-real-ip", "via"].iter().any(|name| request.header(name).is_some())
}

/// Whether the browser was told an address, or a name of this machine that others cannot give to theirs.
fn is_own_host(request: &Request, hosts: &[String]) -> bool {
    let Some(host) = request.header("host") else { return true };
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let bare = bare.trim_end_matches('.').to_ascii_lowercase();
    let node = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok()
        || bare == "localhost"
        || bare.ends_with(".localhost")
        || bare == node
        || hosts.contains(&bare)
}

/// An address of `X-Forwarded-For`, which may have a port.
fn address_of(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None if text.matches(':').count() == 1 => text.split(':').next()?,
        None => text,
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn settings(lines: &str) -> Management {
        let text = format!("[SYSTEM]\n{lines}\n");
        Profile::parse(std::path::Path::new("CSP.ini"), text.as_bytes()).unwrap().profile.system.management
    }

    fn request(peer: &str, headers: &[(&str, &str)]) -> Request {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Request { client: peer.parse().ok(), headers, ..Request::default() }
    }

    #[test]
    fn a_client_is_judged_by_its_address_and_by_a_forwarded_one_only_from_a_trusted_peer() {
        const XFF: &str = "X-Forwarded-For";
        let accept = "Accept_X_Forwarded_For=Enabled";
        let both = "System_Manager=10.0.0.*\nAccept_X_Forwarded_For=Enabled";
        for (lines, peer, headers, expected) in [
            ("", "127.0.0.1", vec![], Some("127.0.0.1")),
            ("", "::1", vec![], Some("::1")),
            ("", "::ffff:127.0.0.1", vec![], Some("127.0.0.1")),
            ("", "10.0.0.1", vec![], None),
            ("", "unix:", vec![], None),
            ("", "10.0.0.1", vec![(XFF, "127.0.0.1")], None),
            ("", "127.0.0.1", vec![(XFF, "203.0.113.9")], None),
            ("", "127.0.0.1", vec![("Forwarded", "for=203.0.113.9")], None),
            ("", "127.0.0.1", vec![("Via", "1.1 proxy")], None),
            (accept, "127.0.0.1", vec![(XFF, "203.0.113.9")], None),
            (accept, "127.0.0.1", vec![(XFF, "127.0.0.1")], Some("127.0.0.1")),
            (accept, "127.0.0.1", vec![], Some("127.0.0.1")),
            (accept, "127.0.0.1", vec![("Forwarded", "for=203.0.113.9")], None),
            (accept, "127.0.0.1", vec![("Via", "1.1 proxy")], None),
            (accept, "127.0.0.1", vec![(XFF, "127.0.0.1, 203.0.113.9")], None),
            (accept, "127.0.0.1", vec![(XFF, "127.0.0.1"), (XFF, "203.0.113.9")], None),
            (accept, "127.0.0.1", vec![(XFF, "nonsense")], None),
            (accept, "127.0.0.1", vec![(XFF, "")], None),
            (accept, "203.0.113.9", vec![(XFF, "127.0.0.1")], None),
            ("System_Manager=10.0.0.*", "10.0.0.7", vec![], Some("10.0.0.7")),
            ("System_Manager=10.0.0.*", "10.0.0.7", vec![(XFF, "203.0.113.9")], Some("10.0.0.7")),
            ("System_Manager=10.0.0.*", "127.0.0.1", vec![], None),
            ("System_Manager=10.0.0.*", "203.0.113.9", vec![(XFF, "10.0.0.7")], None),
            (both, "10.0.0.7", vec![(XFF, "10.0.0.8")], Some("10.0.0.8")),
            (both, "10.0.0.7", vec![(XFF, "203.0.113.9")], None),
            (both, "10.0.0.7", vec![(XFF, "10.0.0.9, 203.0.113.9")], None),
            (both, "10.0.0.7", vec![(XFF, "203.0.113.9, 10.0.0.9:4711")], Some("10.0.0.9")),
            (both, "127.0.0.1", vec![(XFF, "10.0.0.8")], Some("10.0.0.8")),
            (both, "127.0.0.1", vec![], None),
            (both, "203.0.113.9", vec![(XFF, "10.0.0.8")], None),
            ("System_Manager=*.*.*.*", "203.0.113.9", vec![], Some("203.0.113.9")),
            ("System_Manager=*.*.*.*", "2001:db8::1", vec![], Some("2001:db8::1")),
            ("System_Manager=fd00::/8", "fd12::1", vec![], Some("fd12::1")),
            ("System_Manager=nonsense", "127.0.0.1", vec![], None),
        ] {
            let judged = judge(&settings(lines), &request(peer, &headers));
            let expected = expected.map(|it| it.parse::<IpAddr>().unwrap());
            assert_eq!(judged.map(|it| it.address), expected, "{lines:?} {peer} {headers:?}");
        }
    }

    #[test]
    fn a_name_that_somebody_else_gave_this_machine_does_not_make_its_reader_the_machine_itself() {
        for (lines, host, expected) in [
            ("", "127.0.0.1:8080", true),
            ("", "[::1]:8080", true),
            ("", "localhost", true),
            ("", "LOCALHOST.:80", true),
            ("", "evil.example", false),
            ("", "127.0.0.1.evil.example", false),
            ("Username=admin\nPassword=x", "evil.example", true),
            ("Sclera_Manage_Hosts=gateway.example", "Gateway.Example:8443", true),
            ("Sclera_Manage_Hosts=gateway.example", "evil.example", false),
        ] {
            let judged = judge(&settings(lines), &request("127.0.0.1", &[("Host", host)]));
            assert_eq!(judged.is_some(), expected, "{lines:?} {host}");
        }
        for (lines, host, expected) in [
            ("", "127.0.0.1", Need::Nothing(Role::Edit)),
            ("", "gateway.example", Need::Nothing(Role::View)),
            ("Sclera_Manage_Hosts=a.example, gateway.example", "gateway.example", Need::Nothing(Role::Edit)),
            ("Username=admin\nPassword=x", "gateway.example", Need::Login),
            (
                "Username=admin\nPassword=x\nSystem_Manager_UNPW_Override=1",
                "gateway.example",
                Need::Nothing(Role::View),
            ),
        ] {
            let settings = settings(&format!("System_Manager=127.0.0.1\n{lines}"));
            let client = judge(&settings, &request("127.0.0.1", &[("Host", host)])).unwrap();
            assert_eq!(need(&settings, &client), expected, "{lines:?} {host}");
        }
    }

    #[test]
    fn a_login_is_needed_as_soon_as_somebody_could_give_one() {
        let by = |way| Client { address: "10.0.0.7".parse().unwrap(), way, by_own_name: true };
        for (lines, way, expected) in [
            ("", Way::Machine, Need::Nothing(Role::Edit)),
            ("System_Manager=*", Way::Listed, Need::Nothing(Role::Edit)),
            ("System_Manager=*\nSclera_Manage_Role=view", Way::Listed, Need::Nothing(Role::View)),
            ("Username=a\nPassword=b", Way::Machine, Need::Login),
            ("Username=a", Way::Machine, Need::Login),
            ("Password=b", Way::Listed, Need::Login),
            ("Password=PBKDF2|of the original", Way::Listed, Need::Login),
            ("Sclera_Manage_Users=users", Way::Listed, Need::Login),
            ("Username=a\nPassword=b\nSystem_Manager_UNPW_Override=1", Way::Listed, Need::Nothing(Role::Edit)),
            ("Username=a\nPassword=b\nSystem_Manager_UNPW_Override=1", Way::Machine, Need::Login),
        ] {
            assert_eq!(need(&settings(lines), &by(way)), expected, "{lines:?} {way:?}");
        }
    }

    #[test]
    fn a_change_that_a_page_of_another_site_asks_for_is_told_apart() {
        for (headers, expected) in [
            (vec![], true),
            (vec![("Sec-Fetch-Site", "same-origin")], true),
            (vec![("Sec-Fetch-Site", "none")], true),
            (vec![("Sec-Fetch-Site", "same-site")], false),
            (vec![("Sec-Fetch-Site", "cross-site"), ("Origin", "http://gw")], false),
            (vec![("Origin", "http://gw"), ("Host", "gw")], true),
            (vec![("Origin", "https://GW:8443"), ("Host", "gw:8443")], true),
            (vec![("Origin", "http://gw:81"), ("Host", "gw")], false),
            (vec![("Origin", "http://evil.example"), ("Host", "gw")], false),
            (vec![("Origin", "null"), ("Host", "gw")], false),
            (vec![("Origin", "http://gw")], false),
        ] {
            assert_eq!(is_same_origin(&request("127.0.0.1", &headers)), expected, "{headers:?}");
        }
    }
}
