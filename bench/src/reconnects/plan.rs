//! What the returning clients of a run are to do, and what their tasks share.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::account::{Account, Rooms};
use crate::http::Site;
use crate::report::Latencies;
use crate::stream::Transport;

/// Who returns, and what each client asks for.
pub struct Plan {
    pub site: Site,
    pub clients: usize,
    pub rooms: Rooms,
    pub request: Request,
    /// What each client is to get.
    pub account: Account,
}

/// What a client returns with.
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

/// What the clients got.
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

/// What all clients of the thread share.
pub struct Shared {
    pub plan: Plan,
    pub received: RefCell<Received>,
    pub scratch: RefCell<Vec<u8>>,
    pub start: Instant,
}
