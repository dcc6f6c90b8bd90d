//! A collection as the events of a plain stream tell it, from its first document on; and positions in the log.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use coir_client::Cursor;
use reqwest::Client;
use serde_json::Value;

use super::{Block, Replica, SECRET_KEY};

/// A collection as its events tell it, from its first document on. A missed or doubled event fails the test.
#[derive(Debug)]
pub struct View {
    replica: Replica,
    /// The sequences of the events of an SSE stream, in the order in which they came.
    pub sequences: Vec<i64>,
}

impl Default for View {
    fn default() -> Self {
        Self { replica: Replica::of_nothing(), sequences: Vec::new() }
    }
}

impl View {
    /// The data of each document, by id.
    pub fn documents(&self) -> BTreeMap<String, Value> {
        let documents = self.replica.view().documents().values();
        documents.map(|document| (document.id.clone(), document.data.clone())).collect()
    }

    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.replica.len()
    }

    /// Whether a document is there.
    pub fn contains(&self, id: &str) -> bool {
        self.replica.view().documents().contains_key(id)
    }

    /// Takes a block of an event stream. One without an event changes no document.
    pub fn take(&mut self, block: &Block) {
        assert_eq!(block.event, None, "{block:?}");
        if block.data.is_some() {
            self.sequences.push(sequence_of(block.id.as_ref().expect("every event has an id")));
        }
        self.replica.take_block(block);
    }

    /// Takes an event of a WebSocket.
    pub fn apply(&mut self, event: &Value) {
        assert_eq!(event["type"], "event", "{event}");
        self.replica.take(event);
    }
}

/// The sequence in a cursor of the server.
pub fn sequence_of(cursor: &str) -> i64 {
    Cursor::from(cursor).sequence().unwrap_or_else(|| panic!("not a cursor of the server: {cursor}")) as i64
}

/// Changes the bytes of a cursor and makes its check fit again.
pub fn alter_cursor(cursor: &str, change: impl FnOnce(&mut [u8])) -> String {
    let mut bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap();
    change(&mut bytes);
    let check = bytes[..29]
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    bytes[29..].copy_from_slice(&check.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads every document of a collection, page by page, and returns them by id.
pub async fn list_all(http: &Client, url: &str, collection: &str) -> BTreeMap<String, Value> {
    let (mut all, mut after) = (BTreeMap::new(), String::new());
    loop {
        let page = format!("{url}/collections/{collection}?limit=500{after}");
        let answer = http.get(page).bearer_auth(SECRET_KEY).send().await.unwrap();
        let mut page: Value = answer.json().await.unwrap();
        for document in page["data"].take().as_array().unwrap_or_else(|| panic!("no list: {page}")) {
            let id = document["id"].as_str().unwrap().to_owned();
            assert_eq!(all.insert(id, document.clone()), None, "twice: {document}");
        }
        match page["nextCursor"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

/// Returns the data of each document that [`list_all`] found.
pub fn data_of(documents: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    documents.iter().map(|(id, document)| (id.clone(), document["data"].clone())).collect()
}
