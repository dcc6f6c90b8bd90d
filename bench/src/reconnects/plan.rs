//! The plan of a run's returning clients, and the state that their tasks share.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::account::{Account, Rooms};
use crate::http::Site;
use crate::report::Latencies;
use crate::stream::Transport;

/// The clients that return, and the request of each.
pub struct Plan {
    pub site: Site,
    pub clients: usize,
    pub rooms: Rooms,
    pub request: Request,
    /// The documents that each client is to get.
    pub account: Account,
}

/// The request with which a client returns.
pub enum Request {
    /// With its cursor. It has caught up when it has the first writer's documents up to `until`.
    Cursor { cursor: String, until: u64 },
    /// With nothing: it takes a snapshot.
    Snapshot,
}

impl Plan {
    /// Returns how client `index` is connected: every second one by WebSocket.
    pub fn transport_of(&self, index: usize) -> Transport {
        if index.is_multiple_of(2) { Transport::Ws } else { Transport::Sse }
    }

    /// Returns the filter of all clients; `None` if they ask for everything.
    pub fn filters(&self) -> Option<Value> {
        self.rooms.chosen.map(|room| json!({ "room": format!("r{room}") }))
    }
}

/// The documents that the clients got.
pub struct Received {
    /// By client.
    pub accounts: Vec<Account>,
    /// From the start until a client had caught up.
    pub caught_up: Latencies,
    /// From the end of all writes until the last client had all of them.
    pub rest: Duration,
    /// Bytes that were read from all connections.
    pub bytes: u64,
    /// Clients whose connection ended, or could not be made, by reason.
    pub ended: BTreeMap<String, u64>,
}

impl Received {
    pub fn new(accounts: Vec<Account>) -> Self {
        Self {
            accounts,
            caught_up: Latencies::default(),
            rest: Duration::ZERO,
            bytes: 0,
            ended: BTreeMap::new(),
        }
    }
}

/// The state that all clients of the thread share.
pub struct Shared {
    pub plan: Plan,
    pub received: RefCell<Received>,
    pub scratch: RefCell<Vec<u8>>,
    pub start: Instant,
}
