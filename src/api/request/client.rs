//! The client behind a request: its address, how it calls itself, and where it reaches this server. This is the only place that
//! decides which address, scheme and host these are.

use std::net::IpAddr;

use actix_web::{HttpRequest, http::header};

use super::credential::credentials;
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        state::State,
    },
    auth::KeyKind,
    domain::Seen,
};

/// The most characters of a `User-Agent` that are kept.
const MAX_DEVICE: usize = 200;
/// The header in which each proxy adds the address that it was asked from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The headers in which a proxy says what its client asked for.
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";
/// The header in which a server says for whom it asks.
const TOLD: &str = "x-coir-client-address";

/// Returns the device from which a request comes. A server may say from where its user asks.
pub fn seen(request: &HttpRequest) -> Seen {
    let device = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let told = told_address(request).ok().flatten();
    Seen {
        device: device.map(|text| text.chars().take(MAX_DEVICE).collect()),
        address: told.or_else(|| client_address(request)),
        is_told: told.is_some(),
    }
}

/// Returns the address of the user for whom a server asks, if it says that. Whether its key is good is seen elsewhere.
///
/// # Errors
/// `FORBIDDEN` for everybody but a server; `INVALID_BODY` for what is no address.
pub(super) fn told_address(request: &HttpRequest) -> Result<Option<IpAddr>, ApiError> {
    let Some(value) = request.headers().get(TOLD) else { return Ok(None) };
    let key = credentials(request.headers())?.key;
    if key.and_then(KeyKind::of_key) != Some(KeyKind::Secret) {
        let message = "the header `X-Coir-Client-Address` is taken from servers only, with a secret key (`sk_…`); leave it out";
        return Err(ApiError::new(ErrorCode::Forbidden, message));
    }
    let address = value.to_str().ok().and_then(|text| text.trim().parse::<IpAddr>().ok());
    let message = "the header `X-Coir-Client-Address` must be one IP address, such as `X-Coir-Client-Address: 203.0.113.7`";
    address
        .map(|address| Some(address.to_canonical()))
        .ok_or_else(|| ApiError::new(ErrorCode::InvalidBody, message))
}

/// Where a client reaches this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// With the port, if there is one. The empty text if the client says nothing that can be a host.
    pub host: String,
}

/// Returns where the client reaches this server: as the request says, or as a trusted proxy says it, whose client is told otherwise.
pub fn reached(request: &HttpRequest) -> Reached {
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    let proxies = request.app_data::<State>().map(|state| &state.proxies);
    let is_proxy = peer.zip(proxies).is_some_and(|(peer, proxies)| proxies.trusts(peer));
    // What stands before the last value may be made up by the client.
    let told = |name: &str| {
        let value = request.headers().get_all(name).filter_map(|value| value.to_str().ok()).last()?;
        is_proxy.then(|| value.rsplit(',').next().unwrap_or_default().trim().to_owned())
    };
    let is_host = |text: &String| {
        let is_good =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
        !text.is_empty() && text.bytes().all(is_good)
    };
    let asked = request.headers().get(header::HOST).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let is_secure = told(FORWARDED_PROTO).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    Reached {
        scheme: if is_secure { "https" } else { "http" },
        host: told(FORWARDED_HOST).filter(is_host).or(asked).filter(is_host).unwrap_or_default(),
    }
}

/// Returns the address from which a request comes, as a trusted proxy says it.
pub fn client_address(request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip().to_canonical();
    let proxies = &request.app_data::<State>()?.proxies;
    let forwarded = request.headers().get_all(FORWARDED_FOR).filter_map(|value| value.to_str().ok());
    let forwarded: Vec<_> = forwarded.collect();
    if !forwarded.is_empty() && !proxies.trusts(peer) {
        proxies.warn_of_unknown();
    }
    Some(proxies.find_client(peer, &forwarded))
}
