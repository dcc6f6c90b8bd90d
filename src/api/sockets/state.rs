//! The part of a socket that others than its reader and writer see.

use std::{
    net::IpAddr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
};

use futures_util::task::AtomicWaker;

use crate::{domain::seen::network_of, shares::BudgetPermit};

/// The part of a socket that others see: the requests on it, and whoever has to decide which socket must go.
///
/// Only the socket's own thread changes the counts of requests. Every thread may look at them.
pub(super) struct SocketState {
    /// The place in the order of arrival.
    pub(super) serial: u64,
    pub(super) origin: Origin,
    /// When it was accepted, in milliseconds since the server's start.
    pub(super) arrived: u64,
    /// Wakes the task that reads and writes.
    pub(super) waker: AtomicWaker,
    /// Requests that have begun so far. It wraps around.
    begun: AtomicU32,
    in_progress: AtomicU32,
    /// Whether the answer of the request in progress has a known length: it is no stream, which may wait for its peer.
    is_measured: AtomicBool,
    /// Its part of the sockets of its account, once a good key came.
    known: OnceLock<BudgetPermit>,
    fate: AtomicU8,
    /// Since when the server waits for the peer, in milliseconds since the server's start; 0 while it doesn't.
    waits_since: AtomicU64,
}

/// The end that was decided for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    None,
    /// It ends when no request is in progress, and after the answer has left.
    End,
    /// It ends at once.
    Abort,
}

/// The part of an address that one party is likely to hold alone: an IPv4 address, or the first 64 bits of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin(Option<IpAddr>);

impl Origin {
    pub(super) fn of(address: Option<IpAddr>) -> Self {
        Self(address.map(network_of))
    }
}

impl SocketState {
    pub(super) fn new(serial: u64, origin: Origin, arrived: u64) -> Self {
        Self {
            serial,
            origin,
            arrived,
            waker: AtomicWaker::new(),
            begun: AtomicU32::new(0),
            in_progress: AtomicU32::new(0),
            is_measured: AtomicBool::new(false),
            known: OnceLock::new(),
            fate: AtomicU8::new(0),
            waits_since: AtomicU64::new(0),
        }
    }

    pub(super) fn begin_request(&self) {
        self.begun.store(self.begun().wrapping_add(1), Ordering::Relaxed);
        self.in_progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the answer to the request in progress has a known length.
    pub(super) fn set_measured(&self) {
        self.is_measured.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_measured(&self) -> bool {
        self.is_measured.load(Ordering::Relaxed)
    }

    pub(super) fn end_request(&self) {
        self.is_measured.store(false, Ordering::Relaxed);
        self.in_progress.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether a request is in progress: its answer has not been handed over wholly.
    pub(super) fn is_busy(&self) -> bool {
        self.in_progress.load(Ordering::Relaxed) > 0
    }

    pub(super) fn is_known(&self) -> bool {
        self.known.get().is_some()
    }

    /// Returns the part of the sockets of its account that it has, if a good key came.
    pub(super) fn permit(&self) -> Option<&BudgetPermit> {
        self.known.get()
    }

    /// Notes that a good key came. Returns whether it is the first one.
    pub(super) fn set_known(&self, permit: BudgetPermit) -> bool {
        self.known.set(permit).is_ok()
    }

    pub(super) fn fate(&self) -> Fate {
        match self.fate.load(Ordering::Acquire) {
            0 => Fate::None,
            1 => Fate::End,
            _ => Fate::Abort,
        }
    }

    /// Decides the end, and wakes the task that carries it out. An end that was decided before is not taken back.
    pub(super) fn decide(&self, fate: Fate) {
        self.fate.fetch_max(fate as u8, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn waits_since(&self) -> u64 {
        self.waits_since.load(Ordering::Relaxed)
    }

    pub(super) fn set_waits_since(&self, since: u64) {
        self.waits_since.store(since, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::of(Some(text.parse().unwrap()))
    }

    #[test]
    fn an_origin_is_an_ipv4_address_or_the_network_of_an_ipv6_address() {
        for (one, other, is_same, why) in [
            ("192.0.2.1", "192.0.2.1", true, "the same IPv4 address"),
            ("192.0.2.1", "192.0.2.2", false, "neighbours in IPv4"),
            ("192.0.2.1", "::ffff:192.0.2.1", true, "the same address on a socket of both kinds"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false, "neighbours on a socket of both kinds"),
            ("2001:db8::1", "2001:db8::ffff:1:2:3", true, "the same /64"),
            ("2001:db8::1", "2001:db8:0:1::1", false, "another /64"),
        ] {
            assert_eq!(origin(one) == origin(other), is_same, "{why}");
        }
    }
}
