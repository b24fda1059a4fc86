//! OpenSSL cipher strings (ciphers(1)), as existing files have them, mapped to what rustls has for TLS 1.2.
//!
//! A string is a program over a list: words append suites, `-` takes them out, `!` for good, `+` moves them to the end.
//! rustls has six suites, all of them with forward secrecy and authenticated encryption, so most words can only select some
//! of these or nothing.

use rustls::CipherSuite;

/// What a string selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The suites, in the order of preference.
    pub suites: Vec<CipherSuite>,
    /// Words that would add suites, none of which rustls has.
    pub in_vain: Vec<String>,
    /// Words that mean nothing.
    pub unknown: Vec<String>,
}

/// One of the six.
struct Suite {
    suite: CipherSuite,
    /// OpenSSL's name.
    name: &'static str,
    authentication: Authentication,
    cipher: Cipher,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Authentication {
    Ecdsa,
    Rsa,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cipher {
    Aes256,
    ChaCha20,
    Aes128,
}

/// In OpenSSL's own order.
const SUITES: [Suite; 6] = {
    use Authentication::{Ecdsa, Rsa};
    use Cipher::{Aes128, Aes256, ChaCha20};
    const fn suite(suite: CipherSuite, name: &'static str, authentication: Authentication, cipher: Cipher) -> Suite {
        Suite { suite, name, authentication, cipher }
    }
    [
        suite(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", Ecdsa, Aes256),
        suite(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", Rsa, Aes256),
        suite(
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            Ecdsa,
            ChaCha20,
        ),
        suite(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", Rsa, ChaCha20),
        suite(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", Ecdsa, Aes128),
        suite(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", Rsa, Aes128),
    ]
};

/// Groups of suites none of which rustls has.
const WITHOUT: &str = "MEDIUM LOW EXP EXPORT EXPORT40 EXPORT56 eNULL NULL aNULL ADH AECDH kRSA RSA DH kDH kDHE DHE kEDH EDH kDHr \
     kDHd kECDHr kECDHe aDH aDSS DSS aECDH PSK kPSK aPSK kECDHEPSK kDHEPSK kRSAPSK SRP kSRP aSRP kGOST aGOST aGOST01 \
     aGOST12 GOST94 GOST89MAC GOST12 kGOST18 CAMELLIA CAMELLIA128 CAMELLIA256 ARIA ARIA128 ARIA256 ARIAGCM AESCCM AESCCM8 \
     SEED IDEA RC4 RC2 DES 3DES MD5 SHA SHA1 SHA256 SHA384 CBC SSLv2 SSLv3 TLSv1 TLSv1.0 COMPLEMENTOFALL \
     COMPLEMENTOFDEFAULT";

/// Runs a string.
pub fn select(text: &str) -> Selection {
    let mut selection = Selection::default();
    // Positions in SUITES.
    let mut active: Vec<usize> = Vec::new();
    let mut killed = [false; SUITES.len()];
    for word in text.split([':', ',', ' ', ';']).filter(|word| !word.is_empty()) {
        match word {
            "@STRENGTH" => active.sort_by_key(|&it| SUITES[it].cipher == Cipher::Aes128),
            _ if word.starts_with("@SECLEVEL=") => {}
            _ => {
                let (operator, names) = match word.split_at_checked(1) {
                    Some((operator @ ("!" | "-" | "+"), names)) => (operator, names),
                    _ => ("", word),
                };
                let Some(matching) = matching(names) else {
                    selection.unknown.push(word.to_owned());
                    continue;
                };
                match operator {
                    "!" => {
                        matching.iter().for_each(|&it| killed[it] = true);
                        active.retain(|it| !matching.contains(it));
                    }
                    "-" => active.retain(|it| !matching.contains(it)),
                    "+" => active.sort_by_key(|it| matching.contains(it)),
                    _ if matching.is_empty() => selection.in_vain.push(word.to_owned()),
                    _ => {
                        let new = matching.into_iter().filter(|it| !killed[*it] && !active.contains(it));
                        active.extend(new.collect::<Vec<_>>());
                    }
                }
            }
        }
    }
    selection.suites = active.into_iter().map(|it| SUITES[it].suite).collect();
    selection
}

/// The suites that all parts of `a+b` mean; `None` if one of them means nothing.
fn matching(names: &str) -> Option<Vec<usize>> {
    let mut all: Vec<usize> = (0..SUITES.len()).collect();
    for name in names.split('+') {
        let part = one(name)?;
        all.retain(|it| part.contains(it));
    }
    Some(all)
}

fn one(name: &str) -> Option<Vec<usize>> {
    let those = |wanted: &dyn Fn(&Suite) -> bool| (0..SUITES.len()).filter(|&it| wanted(&SUITES[it])).collect();
    Some(match name {
        "ALL" | "DEFAULT" | "HIGH" | "ECDHE" | "kECDHE" | "EECDH" | "kEECDH" | "ECDH" | "kECDH" | "TLSv1.2"
        | "AEAD" => those(&|_| true),
        "aRSA" => those(&|suite| suite.authentication == Authentication::Rsa),
        "aECDSA" | "ECDSA" => those(&|suite| suite.authentication == Authentication::Ecdsa),
        "AES" | "AESGCM" | "FIPS" => those(&|suite| suite.cipher != Cipher::ChaCha20),
        "AES256" => those(&|suite| suite.cipher == Cipher::Aes256),
        "AES128" => those(&|suite| suite.cipher == Cipher::Aes128),
        "CHACHA20" => those(&|suite| suite.cipher == Cipher::ChaCha20),
        _ => {
            let named = |suite: &Suite| suite.name == name || suite.suite.as_str() == Some(name);
            let found: Vec<usize> = those(&named);
            // The name of a suite has hyphens, or is one of the standard's.
            let is_suite = name.contains('-') || name.starts_with("TLS_");
            let is_group = WITHOUT.split_whitespace().any(|group| group == name);
            (!found.is_empty() || is_suite || is_group).then_some(found)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OpenSSL's names of what a string selects.
    fn names(text: &str) -> Vec<&'static str> {
        let name = |it: &CipherSuite| SUITES.iter().find(|suite| suite.suite == *it).unwrap().name;
        select(text).suites.iter().map(name).collect()
    }

    #[test]
    fn words_add_remove_kill_and_move() {
        let short = |text: &str| {
            let letter = |name: &&str| match *name {
                "ECDHE-ECDSA-AES256-GCM-SHA384" => 'A',
                "ECDHE-RSA-AES256-GCM-SHA384" => 'a',
                "ECDHE-ECDSA-CHACHA20-POLY1305" => 'C',
                "ECDHE-RSA-CHACHA20-POLY1305" => 'c',
                "ECDHE-ECDSA-AES128-GCM-SHA256" => 'S',
                _ => 's',
            };
            names(text).iter().map(letter).collect::<String>()
        };
        for (text, expected) in [
            ("ALL:!aNULL:!eNULL:!EXP:!SSLv2", "AaCcSs"),
            ("HIGH:!aNULL:!MD5", "AaCcSs"),
            ("", ""),
            ("AES128:AES256", "SsAa"),
            ("ALL:-AES128:AES128", "AaCcSs"),
            ("ALL:!AES128:AES128", "AaCc"),
            ("ALL:+AES256", "CcSsAa"),
            ("AES128:ALL:@STRENGTH", "AaCcSs"),
            ("ECDHE+AESGCM:!aECDSA", "as"),
            ("ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384", "cA"),
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "s"),
            ("kECDHE+aRSA+AES128, CHACHA20", "sCc"),
            ("ALL@SECLEVEL=2", ""),
            ("ALL:@SECLEVEL=2", "AaCcSs"),
        ] {
            assert_eq!(short(text), expected, "{text}");
        }
    }

    #[test]
    fn what_selects_nothing_and_what_means_nothing_is_told() {
        let selection = select("AES128-SHA:kRSA:!RC4:-DES:ECDHE+3DES:HIHG:AES256");
        assert_eq!(selection.in_vain, ["AES128-SHA", "kRSA", "ECDHE+3DES"]);
        assert_eq!(selection.unknown, ["HIHG"]);
        assert_eq!(selection.suites.len(), 2);
        assert_eq!(
            select("ALL:!aNULL:!eNULL:!EXP:!SSLv2"),
            Selection { suites: select("ALL").suites, ..Selection::default() }
        );
    }

    #[test]
    fn openssl_selects_the_same_in_the_same_order() {
        for text in [
            "ALL:!aNULL:!eNULL:!EXP:!SSLv2",
            "DEFAULT",
            "HIGH:!aNULL:!MD5",
            "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM",
            "AES128:AES256:+AES128:@STRENGTH",
            "ALL:-AES256:!aECDSA:AES256",
            "EECDH+AES256:EECDH+CHACHA20:!aRSA",
            "SHA384:SHA256:AESGCM",
            "FIPS:kRSA:RSA:aRSA",
            "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:!DSS",
            "TLSv1.2:!SHA1:!SHA256:+CHACHA20",
        ] {
            let run = std::process::Command::new("openssl").args(["ciphers", "-tls1_2", "-s", text]).output();
            let Some(output) = run.ok().filter(|output| output.status.success()) else {
                eprintln!("skipped: needs the openssl command");
                return;
            };
            let all = String::from_utf8_lossy(&output.stdout).into_owned();
            let known = |name: &&str| SUITES.iter().any(|suite| suite.name == *name);
            let expected: Vec<&str> = all.trim().split(':').filter(known).collect();
            assert_eq!(names(text), expected, "{text}");
        }
    }
}
