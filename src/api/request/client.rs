//! The client behind a request: its address, and how it calls itself. This is the only place that decides which address that is.

use std::net::IpAddr;

use actix_web::{HttpRequest, http::header};

use crate::{api::state::State, domain::Seen};

/// The most characters of a `User-Agent` that are kept.
const MAX_DEVICE: usize = 200;
/// The header in which each proxy adds the address that it was asked from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Returns the device from which a request comes.
pub fn seen(request: &HttpRequest) -> Seen {
    let device = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    Seen {
        device: device.map(|text| text.chars().take(MAX_DEVICE).collect()),
        address: client_address(request),
    }
}

fn client_address(request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip().to_canonical();
    let proxies = &request.app_data::<State>()?.proxies;
    let forwarded = request.headers().get_all(FORWARDED_FOR).filter_map(|value| value.to_str().ok());
    let forwarded: Vec<_> = forwarded.collect();
    if !forwarded.is_empty() && !proxies.trusts(peer) {
        proxies.warn_of_unknown();
    }
    Some(proxies.find_client(peer, &forwarded))
}
