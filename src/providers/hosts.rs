//! Where requests to providers may go.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;
use url::{Host, Url};

use super::ProviderError;

/// The hosts that may have private addresses. Cheap to clone.
///
/// Names are looked up and their addresses checked for each connection, so that a name can't lead elsewhere after it was checked.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// Host names and addresses, in lower case; `*` stands for all.
    private: Arc<[String]>,
}

/// Why the server makes no requests to an address that is not one of the internet.
const PRIVATE: &str =
    "its address is private; the operator allows it by naming the host in COIR_PRIVATE_PROVIDERS";

/// A host has private addresses only.
#[derive(Debug, thiserror::Error)]
#[error("the host has no public address")]
struct NoPublicAddress(String);

/// Returns the refusal of a host whose addresses are private, if that is why a request failed.
pub(super) fn refusal_in(err: &(dyn std::error::Error + 'static)) -> Option<ProviderError> {
    let mut cause = Some(err);
    while let Some(err) = cause {
        let inner = err.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(NoPublicAddress(host)) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(ProviderError::Address { host: host.clone(), why: PRIVATE });
        }
        cause = err.source();
    }
    None
}

impl Hosts {
    pub fn new(private: &[String]) -> Self {
        Self { private: private.iter().map(|host| host.to_lowercase()).collect() }
    }

    /// Whether the operator lets this host have a private address.
    pub fn may_be_private(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        self.private.iter().any(|own| own == "*" || *own == host)
    }

    /// Reads a URL to which a request may go: `https`, or `http` on this machine if the operator names the host.
    ///
    /// # Errors
    /// [`ProviderError::Address`]; [`ProviderError::BadAnswer`] for what is no URL.
    pub fn check(&self, text: &str) -> Result<Url, ProviderError> {
        let url =
            Url::parse(text).map_err(|_| ProviderError::BadAnswer("it names an address that is no URL"))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let refuse = |why| Err(ProviderError::Address { host: host.clone(), why });
        let is_named = self.may_be_private(&host);
        let (is_public, is_loopback) = match url.host() {
            Some(Host::Ipv4(address)) => (is_public(address.into()), address.is_loopback()),
            Some(Host::Ipv6(address)) => (is_public(address.into()), address.is_loopback()),
            Some(Host::Domain(name)) => (name != "localhost", name == "localhost"),
            None => return refuse("it is no host"),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("the URL has a user name or a password");
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback && is_named => {}
            "http" if is_loopback => return refuse(PRIVATE),
            _ => return refuse("the URL must begin with https://"),
        }
        if !is_public && !is_named {
            return refuse(PRIVATE);
        }
        Ok(url)
    }
}

/// Looks names up for the HTTP client.
impl Service<Name> for Hosts {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let is_named = self.may_be_private(name.as_str());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let good: Vec<_> = found.filter(|address| is_named || is_public(address.ip())).collect();
            match good.is_empty() {
                true => Err(io::Error::other(NoPublicAddress(name.as_str().to_owned()))),
                false => Ok(good.into_iter()),
            }
        })
    }
}

/// Whether an address is one of the public internet (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped().or_else(|| embedded_v4(address)) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || first == 0
        || first >= 240
        // Carriers' translation, protocol assignments, 6to4 relays and benchmarks.
        || (first == 100 && (64..128).contains(&second))
        || (first == 192 && second == 0 && third == 0)
        || (first == 192 && second == 88 && third == 99)
        || (first == 198 && (18..20).contains(&second)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Global unicast, without the blocks for documentation and benchmarks.
    (0x2000..0x4000).contains(&segments[0])
        && !(segments[0] == 0x2001 && (segments[1] < 0x0200 || segments[1] == 0x0db8))
        && segments[0] != 0x3fff
}

/// Returns the address of the older protocol to which one of these leads: NAT64 and 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_to_public_addresses_over_tls_and_to_what_the_operator_names() {
        let hosts =
            Hosts::new(&["127.0.0.1".to_owned(), "Keycloak.internal".to_owned(), "10.0.0.7".to_owned()]);
        for good in [
            "https://accounts.google.com",
            "https://8.8.8.8/keys",
            "http://127.0.0.1:9000/",
            "https://keycloak.internal/realms/a",
            "https://10.0.0.7/",
            "https://[2606:4700::1111]/",
        ] {
            assert!(hosts.check(good).is_ok(), "{good}");
        }
        for bad in [
            "http://accounts.google.com",
            "http://localhost:9000",
            "https://localhost",
            "http://10.0.0.7/",
            "https://10.0.0.8/",
            "https://192.168.1.1/",
            "https://169.254.169.254/latest",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.8]/",
            "https://[64:ff9b::a00:8]/",
            "https://[fd00::1]/",
            "https://[fe80::1]/",
            // Other ways to write 127.0.0.2.
            "https://2130706434/",
            "https://0x7f.2/",
            "https://ada:secret@example.com/",
            "file:///etc/passwd",
            "ftp://example.com/",
            "nothing",
        ] {
            assert!(hosts.check(bad).is_err(), "{bad}");
        }
    }
}
