//! How many connections the process may have: one takes a file descriptor, and others need descriptors as well.

use crate::{api::sockets::SocketLimits, config::Limits};

/// Descriptors that are kept for other things: the database's connections and files, the log, the listening socket.
const RESERVE: usize = 128;
/// Descriptors that each worker thread needs for itself.
const PER_WORKER: usize = 8;
/// The most strangers, unless a setting says otherwise.
const MOST_UNAUTHENTICATED: usize = 1024;
/// The share of all connections that strangers may have.
const UNAUTHENTICATED_SHARE: usize = 8;
/// The share of all connections that is kept for requests, so that streams don't take them all.
const REQUESTS_SHARE: usize = 8;
/// More than any process needs. The system's own limit may be higher or infinite.
const MOST: u64 = 1 << 24;

/// How many connections of each kind there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionLimits {
    /// The most descriptors of the process.
    pub(super) descriptors: usize,
    /// Connections for which there are descriptors. Accepting stops there.
    pub(super) accepted: usize,
    /// The bounds of connections, below that.
    pub(super) sockets: SocketLimits,
    /// Streams.
    pub(super) streams: usize,
}

/// Raises the number of descriptors that the process may open as far as the system allows, and returns it.
pub(super) fn raise() -> usize {
    let most = rlimit::increase_nofile_limit(MOST).unwrap_or_else(|err| {
        tracing::warn!(
            "the number of file descriptors cannot be raised: {err}; raise it with `ulimit -n` or LimitNOFILE="
        );
        rlimit::Resource::NOFILE.get_soft().unwrap_or(1024).min(MOST)
    });
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Divides the descriptors.
pub(super) fn divide(descriptors: usize, workers: usize, limits: &Limits) -> ConnectionLimits {
    // However few there are, half of them are connections.
    let reserve = (RESERVE + PER_WORKER * workers).min(descriptors / 2);
    let accepted = (descriptors - reserve).max(4);
    // A connection that was closed for another one keeps its descriptor until its thread has noticed.
    let open = accepted - accepted / 16 - 1;
    let unauthenticated =
        limits.unauthenticated.unwrap_or(MOST_UNAUTHENTICATED.min(open / UNAUTHENTICATED_SHARE));
    let unauthenticated = unauthenticated.clamp(2, open.max(2));
    ConnectionLimits {
        descriptors,
        accepted,
        sockets: SocketLimits {
            open,
            unauthenticated,
            unauthenticated_per_address: unauthenticated.div_ceil(2),
        },
        streams: limits.connections.min(open - open / REQUESTS_SHARE),
    }
}

impl ConnectionLimits {
    /// Tells the log what the limits are, and what to do if they are lower than the settings.
    pub(super) fn log(&self, limits: &Limits) {
        let Self { descriptors, sockets, streams, .. } = self;
        tracing::info!(
            descriptors,
            connections = sockets.open,
            unauthenticated = sockets.unauthenticated,
            streams,
            "{descriptors} file descriptors allow {} connections: at most {} without a good key, and {streams} streams",
            sockets.open,
            sockets.unauthenticated,
        );
        if *streams < limits.connections {
            tracing::info!(
                "these are fewer streams than COIR_MAX_CONNECTIONS={}; for more, raise the hard limit of file \
                 descriptors (LimitNOFILE= in systemd, `ulimit -Hn`)",
                limits.connections,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Given};

    fn limits() -> Limits {
        Config::read(&Given::from_variables(|_| None)).unwrap().limits
    }

    #[test]
    fn every_kind_of_connection_fits_into_the_descriptors() {
        for descriptors in [16, 64, 256, 1024, 4096, 65_536, 1 << 20] {
            for unauthenticated in [None, Some(2), Some(1_000_000)] {
                let divided = divide(descriptors, 2, &Limits { unauthenticated, ..limits() });
                let SocketLimits { open, unauthenticated, unauthenticated_per_address } = divided.sockets;
                assert!(divided.accepted < descriptors, "{divided:?}");
                assert!(open < divided.accepted && divided.streams <= open, "{divided:?}");
                assert!((2..=open).contains(&unauthenticated), "{divided:?}");
                assert!((1..=unauthenticated).contains(&unauthenticated_per_address), "{divided:?}");
            }
        }
    }

    #[test]
    fn with_many_descriptors_the_settings_hold() {
        let divided = divide(1 << 20, 4, &limits());
        assert_eq!((divided.streams, divided.sockets.unauthenticated), (20_000, 1024));
        let set = divide(1 << 20, 4, &Limits { unauthenticated: Some(64), ..limits() });
        assert_eq!((set.sockets.unauthenticated, set.sockets.unauthenticated_per_address), (64, 32));
    }
}
