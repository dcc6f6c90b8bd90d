//! The requests of an import. Each writes a batch of records, all or nothing. A batch that is refused is halved, until the record
//! that is wrong stands alone.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde_json::{Value, json};

use super::{error::ImportError, record::Record};
use crate::cli::{
    answer::{describe, path_url},
    target::TargetError,
};

/// How often a request is tried again while the server says that it is busy or can't be reached.
const MAX_TRIES: u32 = 8;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why the server took no record.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) line: usize,
    pub(super) message: String,
    /// It will take none of the others either.
    pub(super) is_final: bool,
}

/// Where records go.
pub(super) struct Delivery {
    client: Client,
    key: String,
    collection: String,
    list: Url,
    transactions: Url,
    /// The beginning of this run's idempotency keys: a batch whose answer was lost is not written twice.
    run: String,
}

impl Delivery {
    /// # Errors
    /// [`ImportError`] if the URL is none or there can be no HTTP client.
    pub(super) fn new(url: &str, collection: &str, key: String) -> Result<Self, ImportError> {
        let bad_url = || TargetError::BadUrl(url.to_owned());
        Ok(Self {
            client: Client::builder().timeout(TIMEOUT).build().map_err(ImportError::Client)?,
            key,
            collection: collection.to_owned(),
            list: path_url(url, &["collections", collection]).ok_or_else(bad_url)?,
            transactions: path_url(url, &["transactions"]).ok_or_else(bad_url)?,
            run: uuid::Uuid::now_v7().simple().to_string(),
        })
    }

    /// Asks whether the server takes the key and the collection's name.
    pub(super) async fn check(&self) -> Result<(), Refusal> {
        let mut list = self.list.clone();
        list.query_pairs_mut().append_pair("limit", "1");
        let answer = self.send(Method::GET, list, None, None).await?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        // The first document creates the collection.
        if status.is_success() || (status == StatusCode::NOT_FOUND && code_of(&text) == "INVALID_COLLECTION")
        {
            return Ok(());
        }
        Err(Refusal { line: 0, message: describe(status, &text), is_final: true })
    }

    /// Writes records in their order. Returns those that were refused.
    pub(super) fn write<'a>(&'a self, records: &'a [Record<'a>]) -> BoxFuture<'a, Vec<Refusal>> {
        async move {
            let Err(refusal) = self.write_together(records).await else { return Vec::new() };
            if refusal.is_final || records.len() == 1 {
                return vec![refusal];
            }
            let (first, second) = records.split_at(records.len() / 2);
            let mut refusals = self.write(first).await;
            if !refusals.iter().any(|refusal| refusal.is_final) {
                refusals.extend(self.write(second).await);
            }
            refusals
        }
        .boxed()
    }

    /// Writes all of the records or none.
    async fn write_together(&self, records: &[Record<'_>]) -> Result<(), Refusal> {
        let Some(Record { line, id, data }) = records.first() else { return Ok(()) };
        let name = format!("{}-{line}-{}", self.run, records.len());
        let answer = match (records.len(), id) {
            // So that the message speaks of the record alone.
            (1, None) => {
                self.send(Method::POST, self.list.clone(), Some(name), Some(data.as_ref().into())).await?
            }
            (1, Some(id)) => {
                let mut document = self.list.clone();
                if let Ok(mut path) = document.path_segments_mut() {
                    path.push(id);
                }
                self.send(Method::PUT, document, Some(name), Some(data.as_ref().into())).await?
            }
            _ => {
                let operations: Vec<_> = records.iter().map(|record| self.operation(record)).collect();
                let body = format!(r#"{{"operations":[{}]}}"#, operations.join(","));
                self.send(Method::POST, self.transactions.clone(), Some(name), Some(body)).await?
            }
        };
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text = answer.text().await.unwrap_or_default();
        let is_final = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            || code_of(&text) == "INVALID_COLLECTION";
        Err(Refusal { line: *line, message: describe(status, &text), is_final })
    }

    fn operation(&self, Record { id, data, .. }: &Record<'_>) -> String {
        let collection = json!(self.collection);
        match id {
            Some(id) => {
                format!(r#"{{"op":"replace","collection":{collection},"id":{},"data":{data}}}"#, json!(id))
            }
            None => format!(r#"{{"op":"create","collection":{collection},"data":{data}}}"#),
        }
    }

    /// Sends a request until it is answered with anything but 503.
    async fn send(
        &self,
        method: Method,
        url: Url,
        idempotency_key: Option<String>,
        body: Option<String>,
    ) -> Result<Response, Refusal> {
        let mut wait = Duration::from_millis(100);
        let give_up = |message| Err(Refusal { line: 0, message, is_final: true });
        for attempt in 1.. {
            let mut request = self.client.request(method.clone(), url.clone()).bearer_auth(&self.key);
            if let Some(key) = &idempotency_key {
                request = request.header("Idempotency-Key", key).header("Prefer", "return=minimal");
            }
            if let Some(body) = &body {
                request = request.header("Content-Type", "application/json").body(body.clone());
            }
            match request.send().await {
                Ok(answer) if answer.status() != StatusCode::SERVICE_UNAVAILABLE => return Ok(answer),
                Ok(answer) if attempt == MAX_TRIES => {
                    return give_up(format!("the server stays busy ({})", answer.status()));
                }
                Err(err) if attempt == MAX_TRIES => {
                    let err = err.without_url();
                    return give_up(format!("the server can't be reached any more: {err}. Is it running?"));
                }
                _ => {}
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(2));
        }
        give_up("the server stays busy".to_owned())
    }
}

/// The code of an answer that is an error.
fn code_of(body: &str) -> String {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    answer["error"]["code"].as_str().unwrap_or_default().to_owned()
}
