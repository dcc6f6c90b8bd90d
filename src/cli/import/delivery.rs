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
    pub(super) number: usize,
    pub(super) message: String,
    /// It will take none of the others either.
    pub(super) is_final: bool,
}

/// The fate of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Write,
    /// The server checks them as if it wrote them.
    Try,
}

/// Where records go.
pub(super) struct Delivery {
    mode: Mode,
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
    pub(super) fn new(url: &str, collection: &str, key: String, mode: Mode) -> Result<Self, ImportError> {
        let bad_url = || TargetError::BadUrl(url.to_owned());
        Ok(Self {
            mode,
            client: Client::builder().timeout(TIMEOUT).build().map_err(ImportError::Client)?,
            key,
            collection: collection.to_owned(),
            list: path_url(url, &["collections", collection]).ok_or_else(bad_url)?,
            transactions: path_url(url, &["transactions"]).ok_or_else(bad_url)?,
            run: uuid::Uuid::now_v7().simple().to_string(),
        })
    }

    /// Writes records in their order. Returns those that were refused.
    pub(super) fn deliver<'a>(&'a self, records: &'a [Record<'a>]) -> BoxFuture<'a, Vec<Refusal>> {
        async move {
            let together = match self.mode {
                Mode::Write => self.write_together(records).await,
                Mode::Try => self.try_together(records).await,
            };
            let Err(refusal) = together else { return Vec::new() };
            if refusal.is_final || records.len() == 1 {
                return vec![refusal];
            }
            let (first, second) = records.split_at(records.len() / 2);
            let mut refusals = self.deliver(first).await;
            if !refusals.iter().any(|refusal| refusal.is_final) {
                refusals.extend(self.deliver(second).await);
            }
            refusals
        }
        .boxed()
    }

    /// Writes all of the records or none.
    async fn write_together(&self, records: &[Record<'_>]) -> Result<(), Refusal> {
        let Some(Record { line, number, id, data }) = records.first() else { return Ok(()) };
        let name = format!("{}-{number}-{}", self.run, records.len());
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
        Err(refusal((*line, *number), status, &answer.text().await.unwrap_or_default()))
    }

    /// Has the server check all of the records. They are a transaction whose last operation deletes a document that doesn't exist, so
    /// that nothing of it happens. If this operation is the one that is refused, none before it was.
    async fn try_together(&self, records: &[Record<'_>]) -> Result<(), Refusal> {
        let Some(first) = records.first() else { return Ok(()) };
        let missing = uuid::Uuid::now_v7().simple().to_string();
        let last = json!({ "op": "delete", "collection": self.collection, "id": missing }).to_string();
        let operations: Vec<_> = records.iter().map(|record| self.operation(record)).chain([last]).collect();
        let body = format!(r#"{{"operations":[{}]}}"#, operations.join(","));
        let answer = self.send(Method::POST, self.transactions.clone(), None, Some(body)).await?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        let error = error_of(&text);
        let is_last =
            error["message"].as_str().is_some_and(|message| place_of(message) == Some(records.len()));
        match is_last && error["code"] == "DOCUMENT_NOT_FOUND" {
            true => Ok(()),
            false => Err(refusal((first.line, first.number), status, &text)),
        }
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
        let give_up = |message| Err(Refusal { line: 0, number: 0, message, is_final: true });
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

/// The error of an answer.
fn error_of(body: &str) -> Value {
    serde_json::from_str(body).map(|mut answer: Value| answer["error"].take()).unwrap_or_default()
}

/// The operation of a transaction that a message is about.
fn place_of(message: &str) -> Option<usize> {
    message.strip_prefix(OPERATION)?.split_once("]: ")?.0.parse().ok()
}

/// How a message about an operation begins.
const OPERATION: &str = "operations[";

/// Describes why the server took no record. Its place in the request means nothing to the reader, who is told the line.
fn refusal((line, number): (usize, usize), status: StatusCode, body: &str) -> Refusal {
    let described = describe(status, body);
    let message = match described.split_once(": ") {
        Some((code, message)) if place_of(message).is_some() => {
            let (_, message) = message.split_once("]: ").unwrap_or_default();
            format!("{code}: {message}")
        }
        _ => described,
    };
    let is_final = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        || error_of(body)["code"] == "INVALID_COLLECTION";
    Refusal { line, number, message, is_final }
}
