//! Which connections may serve on: none that is too old, and none to an address that the server's name no longer has.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use crate::connection::Connection;
use crate::connection::resolve::Addresses;

/// What the connections of one pool are measured by.
#[derive(Debug)]
pub struct Fresh {
    maximum_age: Option<Duration>,
    /// `None` for a literal address, and as long as the name has not been looked up.
    named: RwLock<Option<Named>>,
}

/// The addresses of a name, and when they were found.
#[derive(Clone, Debug)]
pub struct Named {
    pub since: Instant,
    pub addresses: Addresses,
}

impl Fresh {
    pub fn new(maximum_age: Option<Duration>) -> Fresh {
        Fresh { maximum_age, named: RwLock::new(None) }
    }

    /// The addresses that the server's name has now.
    pub fn set_named(&self, named: Named) {
        *self.named.write() = Some(named);
    }

    /// Whether a connection may serve a further request.
    pub fn admits(&self, connection: &Connection) -> bool {
        let begun = connection.facts().begun;
        let limit = self.maximum_age.map(|age| spread(age, connection.number()));
        limit.is_none_or(|limit| begun.elapsed() < limit)
            && self.named.read().as_ref().is_none_or(|named| is_named(connection.peer(), begun, named))
    }

    /// How often idle connections are to be looked at for their age.
    pub fn period(&self) -> Option<Duration> {
        self.maximum_age.map(|age| age / 20)
    }
}

/// Connections that were made together are not to end together: each has its own limit, up to a tenth below the maximum.
fn spread(maximum: Duration, number: u64) -> Duration {
    maximum - maximum / 160 * (number % 16) as u32
}

/// A connection that was begun after the look-up has one of its addresses, or one of a later look-up.
fn is_named(peer: SocketAddr, begun: Instant, named: &Named) -> bool {
    begun >= named.since || named.addresses.iter().any(|address| address.ip() == peer.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_age_are_spread_below_the_maximum() {
        let maximum = Duration::from_secs(160);
        let limits: Vec<u64> = (0..17).map(|number| spread(maximum, number).as_secs()).collect();
        assert_eq!(limits, [160, 159, 158, 157, 156, 155, 154, 153, 152, 151, 150, 149, 148, 147, 146, 145, 160]);
        assert!(spread(Duration::from_secs(1), 15) > Duration::from_millis(900));
    }

    #[test]
    fn only_a_connection_older_than_the_look_up_can_have_lost_its_address() {
        let peer = |host: u8| SocketAddr::from(([10, 0, 0, host], 1972));
        let since = Instant::now();
        let addresses: Vec<SocketAddr> = [1, 2].map(|host| SocketAddr::from(([10, 0, 0, host], 0))).to_vec();
        let named = Named { since, addresses: addresses.into() };
        let (before, after) = (since - Duration::from_secs(1), since + Duration::from_secs(1));
        for (host, begun, expected) in
            [(1, before, true), (2, after, true), (3, before, false), (3, after, true), (3, since, true)]
        {
            assert_eq!(is_named(peer(host), begun, &named), expected, "{host}");
        }
    }
}
