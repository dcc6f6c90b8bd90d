//! What a subscriber makes of its events: the documents, and the places in the log.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Client;
use serde_json::Value;

use super::{Block, SECRET_KEY};

/// A collection as its events tell it. Every event must fit on what came before.
#[derive(Debug, Default)]
pub struct View {
    /// The data of each document, by id.
    pub documents: BTreeMap<String, Value>,
    /// Of the events on a stream that shows them, in the order in which they came.
    pub sequences: Vec<i64>,
}

impl View {
    /// Takes a block of an event stream; one without an event changes nothing.
    pub fn take(&mut self, block: &Block) {
        assert_eq!(block.event, None, "{block:?}");
        if block.data.is_none() {
            return;
        }
        let sequence = sequence_of(block.id.as_ref().expect("every event has an id"));
        assert!(
            self.sequences.last().is_none_or(|last| *last < sequence),
            "again or out of order: {block:?}"
        );
        self.sequences.push(sequence);
        self.apply(&block.json());
    }

    /// Takes an event of either transport.
    pub fn apply(&mut self, event: &Value) {
        assert_eq!(event["type"], "event", "{event}");
        let id = event["document"]["id"].as_str().unwrap().to_owned();
        let before = match event["event"].as_str().unwrap() {
            "deleted" => self.documents.remove(&id),
            _ => self.documents.insert(id, event["document"]["data"].clone()),
        };
        assert_eq!(
            before.is_some(),
            event["event"] != "created",
            "an event was missed or came twice: {event}"
        );
    }
}

/// The place in the log that a cursor stands for.
pub fn sequence_of(cursor: &str) -> i64 {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap();
    i64::from_be_bytes(bytes[13..21].try_into().unwrap())
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

/// Every document of a collection, page by page, by id.
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

/// The data of each document that [`list_all`] found.
pub fn data_of(documents: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    documents.iter().map(|(id, document)| (id.clone(), document["data"].clone())).collect()
}
