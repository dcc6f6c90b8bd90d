//! The device from which a request comes.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use super::KeyId;

/// The beginning of an [`AskedFrom`] that is a server.
const SERVER: &str = "key ";

/// The device from which a request comes, for lists of sessions, for audit entries, and for limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How the device calls itself.
    pub device: Option<String>,
    pub address: Option<IpAddr>,
    /// Whether a server says that this is the address of the user for whom it asks.
    pub is_told: bool,
}

impl Seen {
    /// Returns the address as text.
    pub fn address_text(&self) -> Option<String> {
        self.address.map(|address| address.to_string())
    }
}

/// Stands for whoever asks where those who ask are told apart: a network, or a server that does not say for whom it asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AskedFrom(Arc<str>);

impl AskedFrom {
    pub fn of_address(address: IpAddr) -> Self {
        Self(network_of(address).to_string().into())
    }

    pub fn of_server(key: &KeyId) -> Self {
        Self(format!("{SERVER}{key}").into())
    }

    /// Takes a text that [`AskedFrom::as_str`] has returned.
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a server, which asks for many.
    pub fn is_server(&self) -> bool {
        self.0.starts_with(SERVER)
    }

    /// Whether an address, as text, belongs to it.
    pub fn has(&self, address: &str) -> bool {
        address.parse().is_ok_and(|address| Self::of_address(address) == *self)
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
