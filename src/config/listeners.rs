//! `[listeners]`: the addresses that the server listens on.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use super::{
    problem::Problem,
    setting::{Presence, Section, Setting},
    typed::Reader,
};

/// The addresses that the server listens on.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// Where the client API is served.
    pub client: Vec<SocketAddr>,
    /// Where the federation API is served. When empty, that is wherever the client API is.
    pub federation: Vec<SocketAddr>,
    /// Where metrics are served, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
}

/// A range of IP addresses, as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Whether the address is in this range. An IPv4 address that is written as an IPv6 one counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (ours.to_bits() ^ theirs.to_bits()).checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                (ours.to_bits() ^ theirs.to_bits()).checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(drop)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), |prefix| prefix.parse().map_err(drop))?;
        if prefix <= most { Ok(Self { address, prefix }) } else { Err(()) }
    }
}

const ADDRESSES: &str = "a list of addresses, each an IP address and a port, such as \"0.0.0.0:8008\" or \"[::]:8008\"";

static CLIENT: Setting<Vec<SocketAddr>> = Setting {
    key: "client",
    about: "Where the client API is served.",
    allowed: ADDRESSES,
    presence: Presence::Default("[\"127.0.0.1:8008\"]"),
    secret: false,
    read: |value| value.list(|item| item.parsed()).filter(|list| !list.is_empty()),
};

static FEDERATION: Setting<Vec<SocketAddr>> = Setting {
    key: "federation",
    about: "Where the federation API is served. When this is empty, it is served wherever the client API is.",
    allowed: ADDRESSES,
    presence: Presence::Default("[]"),
    secret: false,
    read: |value| value.list(|item| item.parsed()),
};

static METRICS: Setting<SocketAddr> = Setting {
    key: "metrics",
    about: "Where metrics are served in the format of Prometheus, under `/metrics`. They tell much about the server, \
            so this address should not be reachable from the outside.",
    allowed: "an IP address and a port",
    presence: Presence::Optional("\"127.0.0.1:9008\""),
    secret: false,
    read: |value| value.parsed(),
};

static TRUSTED_PROXIES: Setting<Vec<Network>> = Setting {
    key: "trusted_proxies",
    about: "The reverse proxies in front of this server: when a request comes from one of these, the client's address \
            is taken from `X-Forwarded-For`. Rate limits and the last-seen addresses of devices rest on it.",
    allowed: "a list of IP addresses or ranges, such as \"10.0.0.0/8\"",
    presence: Presence::Default("[\"127.0.0.0/8\", \"::1\"]"),
    secret: false,
    read: |value| value.list(|item| item.parsed()),
};

pub(super) static SECTION: Section = Section {
    name: "listeners",
    about: "The addresses that the server listens on.",
    settings: &[&CLIENT, &FEDERATION, &METRICS, &TRUSTED_PROXIES],
};

impl Listeners {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        Ok(Self {
            client: reader.get(&CLIENT)?,
            federation: reader.get(&FEDERATION)?,
            metrics: reader.find(&METRICS)?,
            trusted_proxies: reader.get(&TRUSTED_PROXIES)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network:?} {address}");
        }
        for bad in ["10.0.0.0/33", "::/129", "10.0.0", "example.org", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(bad.parse::<Network>(), Err(()), "{bad}");
        }
    }
}
