//! `System_Manager`: which clients may see the management pages, by their addresses.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

/// The addresses that a list names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    rules: Vec<Rule>,
    given: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Everyone,
    /// One range for each octet of an IPv4 address.
    Octets([RangeInclusive<u8>; 4]),
    Network(IpNet),
}

impl Clients {
    /// Reads a list whose entries are separated by `,` or `+`, and what of it is no address. An entry is an IPv4 address
    /// each of whose octets may be a range (`4-6`) or `*`, an IPv6 address, a network with its prefix length
    /// (`10.0.0.0/8`, `fd00::/8`), or `*` for everyone; so is `*.*.*.*`.
    pub fn parse(text: &str) -> (Clients, Vec<String>) {
        let entries = || text.split([',', '+']).map(str::trim).filter(|entry| !entry.is_empty());
        let rules = entries().filter_map(Rule::parse).collect();
        let wrong = entries().filter(|entry| Rule::parse(entry).is_none()).map(str::to_owned).collect();
        (Clients { rules, given: entries().next().is_some() }, wrong)
    }

    /// Whether nothing is written: then only the machine itself is meant.
    pub fn is_empty(&self) -> bool {
        !self.given
    }

    /// Whether an address is among them.
    pub fn admit(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.rules.iter().any(|rule| match rule {
            Rule::Everyone => true,
            Rule::Network(network) => network.contains(&address),
            Rule::Octets(ranges) => match address {
                IpAddr::V4(address) => address.octets().iter().zip(ranges).all(|(octet, range)| range.contains(octet)),
                IpAddr::V6(_) => false,
            },
        })
    }

    /// Whether every address is among them.
    pub fn admit_everyone(&self) -> bool {
        self.rules.iter().any(|rule| match rule {
            Rule::Everyone => true,
            Rule::Network(network) => network.prefix_len() == 0,
            Rule::Octets(_) => false,
        })
    }
}

impl Rule {
    fn parse(entry: &str) -> Option<Rule> {
        if entry == "*" || entry == "*.*.*.*" {
            return Some(Rule::Everyone);
        }
        if let Ok(network) = entry.parse::<IpNet>() {
            return Some(Rule::Network(network));
        }
        if let Ok(address) = entry.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Some(Rule::Network(address.to_canonical().into()));
        }
        let octets: Vec<RangeInclusive<u8>> = entry.split('.').map(octet).collect::<Option<_>>()?;
        Some(Rule::Octets(octets.try_into().ok()?))
    }
}

fn octet(text: &str) -> Option<RangeInclusive<u8>> {
    if text == "*" {
        return Some(0..=255);
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u8>().ok())?;
    let range = number(from.trim())?..=number(to.trim())?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_an_entry_names_its_addresses_and_no_other() {
        for (list, address, expected) in [
            ("190.8.7.6", "190.8.7.6", true),
            ("190.8.7.6", "190.8.7.7", false),
            ("190.8.7.4-6", "190.8.7.5", true),
            ("190.8.7.4-6", "190.8.7.7", false),
            ("190.8.7.*", "190.8.7.255", true),
            ("190.8.*.6", "190.8.200.6", true),
            ("190.8.*.6", "190.9.200.6", false),
            ("10-11.0.0.1", "11.0.0.1", true),
            ("1.1.1.1, 2.2.2.2", "2.2.2.2", true),
            ("1.1.1.1+2.2.2.2", "2.2.2.2", true),
            (" 1.1.1.1 + , 2.2.2.2 ", "1.1.1.1", true),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::1", "::1", true),
            ("[::1]", "::1", true),
            ("2001:db8::5", "2001:db8:0::0:5", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "::10.0.0.1", false),
            ("*.*.*.*", "203.0.113.9", true),
            ("*.*.*.*", "2001:db8::1", true),
            ("*", "2001:db8::1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("", "127.0.0.1", false),
            ("nonsense", "127.0.0.1", false),
            ("*.*.*", "1.2.3.4", false),
            ("1.2.3.4.5", "1.2.3.4", false),
        ] {
            let (clients, _) = Clients::parse(list);
            assert_eq!(clients.admit(address.parse().unwrap()), expected, "{list:?} {address}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_and_does_not_turn_a_list_into_none() {
        for (list, wrong, empty, everyone) in [
            ("", vec![], true, false),
            (" , + ", vec![], true, false),
            ("nonsense", vec!["nonsense"], false, false),
            (
                "1.2.3.4, 1.2.3, 1.2.3.256, 1.2.3.6-4, 1.2.3.+4, 10.0.0.0/33",
                vec!["1.2.3", "1.2.3.256", "1.2.3.6-4", "1.2.3.", "4", "10.0.0.0/33"],
                false,
                false,
            ),
            ("gateway.example", vec!["gateway.example"], false, false),
            ("10.0.0.1,*.*.*.*", vec![], false, true),
            ("::/0", vec![], false, true),
        ] {
            let (clients, told) = Clients::parse(list);
            assert_eq!(told, wrong, "{list:?}");
            assert_eq!((clients.is_empty(), clients.admit_everyone()), (empty, everyone), "{list:?}");
        }
    }
}
