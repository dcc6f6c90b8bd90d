//! A socket as the requests on it see it.

use std::{net::IpAddr, sync::Arc};

use super::{
    limits::Sockets,
    state::{Fate, SocketState},
};
use crate::shares::Account;

/// A socket as the requests on it see it. Cheap to clone.
#[derive(Clone)]
pub struct SocketHandle {
    pub(super) state: Arc<SocketState>,
    pub(super) sockets: Arc<Sockets>,
}

/// A request on a socket that is in progress until this is dropped.
pub struct RequestInProgress(Arc<SocketState>);

impl SocketHandle {
    /// Admits a new socket as a stranger, and closes others if there are too many. `None` if there is no room.
    pub fn admit(sockets: &Arc<Sockets>, address: Option<IpAddr>) -> Option<Self> {
        let state = sockets.admit(address)?;
        Some(Self { state, sockets: sockets.clone() })
    }

    /// Notes that a good key came over the socket, which is no stranger any more. Returns false if its account has too many
    /// sockets; then it stays a stranger.
    pub fn authenticate(&self, account: &Account) -> bool {
        self.sockets.authenticate(&self.state, account)
    }

    /// Closes the socket as soon as no request is in progress on it and its last answer has left.
    pub fn end(&self) {
        self.state.decide(Fate::End);
    }

    /// Closes the socket at once.
    pub fn abort(&self) {
        self.state.decide(Fate::Abort);
    }

    /// Notes that a request has begun.
    pub fn begin_request(&self) -> RequestInProgress {
        self.state.begin_request();
        RequestInProgress(self.state.clone())
    }
}

impl RequestInProgress {
    /// Notes that the answer has a known length. Its peer must take it at a minimum rate.
    pub fn set_measured(&self) {
        self.0.set_measured();
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.0.end_request();
    }
}
