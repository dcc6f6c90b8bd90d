//! Proxies in front of the server, which say from where they were asked.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
};

use ipnet::IpNet;

/// The proxies whose word about their clients' addresses is taken.
#[derive(Default)]
pub struct Proxies {
    networks: Vec<IpNet>,
    has_warned: AtomicBool,
}

impl Proxies {
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self { networks, has_warned: AtomicBool::new(false) }
    }

    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Returns the client's address: that of the peer, or where the peer is a trusted proxy, the last one of the list `forwarded` that
    /// is no trusted proxy itself. What is before it may be made up by the client.
    pub(super) fn find_client(&self, peer: IpAddr, forwarded: &[&str]) -> IpAddr {
        let mut client = peer.to_canonical();
        let addresses = forwarded.iter().rev().flat_map(|list| list.rsplit(','));
        for text in addresses {
            if !self.trusts(client) {
                return client;
            }
            let Some(address) = parse(text.trim()) else { return client };
            client = address;
        }
        client
    }

    /// Says once that a proxy is not known.
    pub(super) fn warn_of_unknown(&self) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a request has the header X-Forwarded-For, and COIR_TRUSTED_PROXIES does not name where it came from: \
                 behind a proxy, all users share the limits of its address until it does"
            );
        }
    }
}

/// Reads an address, which may have a port behind it.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_say_who_the_client_is() {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let proxies = Proxies::new(networks.to_vec());
        for (peer, forwarded, expected) in [
            ("203.0.113.7", &["198.51.100.1"][..], "203.0.113.7"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6", "198.51.100.1,fd00::2"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", &["6.6.6.6, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3"], "10.0.0.3"),
        ] {
            let client = proxies.find_client(peer.parse().unwrap(), forwarded);
            assert_eq!(client.to_string(), expected, "{peer} {forwarded:?}");
        }
    }
}
