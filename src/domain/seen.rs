//! The device from which a request comes.

use std::net::{IpAddr, Ipv6Addr};

/// The device from which a request comes, for lists of sessions, for audit entries, and for limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How the device calls itself.
    pub device: Option<String>,
    pub address: Option<IpAddr>,
}

impl Seen {
    /// Returns the address as text.
    pub fn address_text(&self) -> Option<String> {
        self.address.map(|address| address.to_string())
    }
}

/// Returns what stands for an address where addresses are counted: itself, or the /64 network of an IPv6 address, of which one
/// machine may have all.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}
