//! Answers that several resources of this door share.

use std::io;

use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;
use serde_json::Value;

use crate::{
    api::{
        cocobase::shape::DocumentBody,
        error::{ApiError, ErrorCode},
        headers::add_cursor,
        request::preference::APPLIED,
        response::{FREE_BYTES, json, json_text, too_many},
        state::ServerState,
    },
    auth::Principal,
    domain::{CollectionName, Data, DocumentStamp},
    service::scans::Scan,
    wire::cocobase::CollectionBody,
    writer::{Committed, Outcome},
};

/// Returns the answer to a delete. It has the members of the vendor's server and those of the libraries' types.
pub fn deleted(what: &str) -> Value {
    serde_json::json!({ "success": true, "status": "success", "message": format!("{what} deleted successfully") })
}

/// Whether a write is answered with its only document, or with an array of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    First,
    All,
}

/// The most bytes of a document's answer besides its data. Its collection is a part of it.
const ENVELOPE_BYTES: usize = 700;

/// Answers a write with its documents. If the answers that wait for their readers leave no room for them, their data is left
/// out: the write has happened, and the client should know.
pub async fn written(
    state: &ServerState,
    mut response: HttpResponseBuilder,
    principal: &Principal,
    committed: &Committed,
    shape: Shape,
) -> Result<HttpResponse, ApiError> {
    let documents: Vec<_> = committed.outcomes.iter().filter_map(written_document).collect();
    // All documents of a batch are in one collection.
    let collection = match documents.first() {
        None => None,
        Some((name, stamp, _)) => {
            let found = state.collections.find_written(principal, name).await?;
            let gone = || CollectionBody::gone(name, stamp.created_at);
            Some(found.map_or_else(gone, |found| CollectionBody::new(&found)))
        }
    };
    let text = |data: &Option<&Data>| data.map_or(0, |data| data.text().len());
    let most_bytes = documents.iter().map(|(.., data)| text(data) + ENVELOPE_BYTES).sum();
    let taken = if most_bytes > FREE_BYTES { most_bytes } else { 0 };
    let permit = state.response_bodies.take(&principal.account(), taken).ok();
    let is_minimal = permit.is_none() || committed.lacks_data();
    add_cursor(&mut response, principal, committed);
    if is_minimal {
        response.insert_header(APPLIED);
    }
    let bodies = documents.iter().zip(collection.iter().cycle());
    let mut bodies: Vec<_> = bodies
        .map(|((_, stamp, data), collection)| {
            DocumentBody::new(stamp, data.filter(|_| permit.is_some()), collection)
        })
        .collect();
    let permit = permit.unwrap_or_else(|| state.response_bodies.empty_permit(&principal.account()));
    Ok(match shape {
        Shape::All => json(response, &bodies, most_bytes, permit),
        Shape::First => json(response, &bodies.pop(), most_bytes, permit),
    })
}

/// The collection of a document that was written, what it is besides its data, and its data if there is any.
type WrittenDocument<'a> = (&'a CollectionName, DocumentStamp, Option<&'a Data>);

fn written_document(outcome: &Outcome) -> Option<WrittenDocument<'_>> {
    match outcome {
        Outcome::Document { collection, document, .. } => {
            Some((collection, document.stamp(), Some(&document.data)))
        }
        Outcome::WithoutData { collection, stamp, .. } => Some((collection, stamp.clone(), None)),
        Outcome::Deleted { .. }
        | Outcome::Absent { .. }
        | Outcome::Collection(_)
        | Outcome::Removed { .. }
        | Outcome::Revoked
        | Outcome::Key(_)
        | Outcome::SignedIn { .. }
        | Outcome::Stolen { .. }
        | Outcome::SessionsEnded { .. }
        | Outcome::SecondFactor(_)
        | Outcome::WrongCode
        | Outcome::Settings(_)
        | Outcome::EmailTaken
        | Outcome::Done
        | Outcome::ClockAccepted => None,
    }
}

/// The most bytes of an answer. A joined document is in it two or more times.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A buffer that refuses to grow past [`MAX_ANSWER`], or past what finds room in memory.
struct Bounded<'a> {
    text: Vec<u8>,
    scan: &'a Scan,
}

impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.text.len() + bytes.len();
        if length > MAX_ANSWER {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if length > self.text.capacity() {
            let capacity = length.max(2 * self.text.capacity());
            self.scan.count(capacity - self.text.capacity()).map_err(|_| io::ErrorKind::OutOfMemory)?;
            self.text.reserve_exact(capacity - self.text.len());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers a body of documents that were read with `scan` as JSON.
///
/// # Errors
/// `INVALID_FILTER` if the answer would be too large; `OVERLOADED` if it finds no room in memory.
pub fn bounded_json(body: &impl Serialize, scan: Scan) -> Result<HttpResponse, ApiError> {
    let mut bounded = Bounded { text: Vec::new(), scan: &scan };
    let written = serde_json::to_writer(&mut bounded, body);
    let text = bounded.text;
    match written {
        Ok(()) => Ok(json_text(HttpResponse::Ok(), text, scan.into_memory())),
        Err(err) if err.io_error_kind() == Some(io::ErrorKind::OutOfMemory) => Err(too_many()),
        Err(_) => Err(answer_too_large()),
    }
}

pub fn answer_too_large() -> ApiError {
    ApiError::new(ErrorCode::InvalidFilter, "the answer is too large; ask with a smaller `limit`")
}
