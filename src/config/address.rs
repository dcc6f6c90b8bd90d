//! The address to listen on, in each form that people type.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// Reads `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`, `8080` or `:8080`.
///
/// A port alone is on 127.0.0.1: serving other machines must be asked for, with `0.0.0.0:8080`. A host name is resolved;
/// of several addresses the first IPv4 one is taken, because clients that are told `127.0.0.1` must find the server too.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let example = SocketAddr::new(ip, 8080);
        return Err(format!("`{text}` has no port; write {example}"));
    }
    let Some((host, port)) = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()) else {
        return Err(format!(
            "`{text}` is not a valid address; write a port such as 8080, or an address such as 127.0.0.1:8080 or localhost:8080"
        ));
    };
    if port.parse::<u16>().is_err() {
        return Err(format!("`{port}` in `{text}` is not a valid port; it must be a number from 0 to 65535"));
    }
    let found: Vec<_> = text.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| {
        format!("the host `{host}` in `{text}` is unknown; write an address such as 127.0.0.1:{port}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_people_type_is_an_address() {
        for (text, address) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("8099", "127.0.0.1:8099"),
            (":8099", "127.0.0.1:8099"),
            ("0", "127.0.0.1:0"),
            ("localhost:8099", "127.0.0.1:8099"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(parse_address(text), Ok(address.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_an_example() {
        for (text, told) in [
            ("127.0.0.1", "127.0.0.1:8080"),
            ("::1", "[::1]:8080"),
            ("[::1]", "[::1]:8080"),
            ("localhost", "127.0.0.1:8080"),
            ("65536", "127.0.0.1:8080"),
            ("localhost:http", "0 to 65535"),
            ("127.0.0.1:65536", "0 to 65535"),
            ("", "127.0.0.1:8080"),
        ] {
            let reason = parse_address(text).unwrap_err();
            assert!(reason.contains(told), "{text}: {reason}");
        }
    }
}
