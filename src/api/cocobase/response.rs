//! Answers that several resources of this door share.

use std::io;

use actix_web::{HttpResponse, HttpResponseBuilder, http::header::ContentType};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    api::{
        cocobase::shape::DocumentBody,
        error::{ApiError, ErrorCode},
    },
    auth::Principal,
    service::Collections,
    wire::cocobase::CollectionBody,
    writer::{Committed, Outcome},
};

/// Returns the answer to a delete. It has the members of the vendor's server and those of the libraries' types.
pub fn deleted(what: &str) -> Value {
    json!({ "success": true, "status": "success", "message": format!("{what} deleted successfully") })
}

/// Returns the documents that a write answers with, each as JSON text.
pub async fn written(
    collections: &Collections,
    principal: &Principal,
    committed: &Committed,
) -> Result<Vec<String>, ApiError> {
    let mut bodies = Vec::with_capacity(committed.outcomes.len());
    let mut last = None;
    for outcome in &committed.outcomes {
        let (collection, stamp, data) = match outcome {
            Outcome::Document { collection, document, .. } => {
                (collection, document.stamp(), Some(&document.data))
            }
            Outcome::WithoutData { collection, stamp, .. } => (collection, stamp.clone(), None),
            _ => continue,
        };
        // All documents of a batch are in one collection.
        let body = match last.take() {
            Some(body) => body,
            None => match collections.find_written(principal, collection).await? {
                Some(found) => CollectionBody::new(&found),
                None => CollectionBody::gone(collection, stamp.created_at),
            },
        };
        let text = serde_json::to_string(&DocumentBody::new(&stamp, data, &body));
        bodies.push(text.expect("strings and JSON text can be written"));
        last = Some(body);
    }
    Ok(bodies)
}

/// The most bytes of an answer. A joined document is in it two or more times.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A buffer that refuses to grow past [`MAX_ANSWER`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_ANSWER {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers a body as JSON.
///
/// # Errors
/// `INVALID_FILTER` if the answer would be too large.
pub fn bounded_json(body: &impl Serialize) -> Result<HttpResponse, ApiError> {
    let mut text = Bounded(Vec::new());
    serde_json::to_writer(&mut text, body).map_err(|_| answer_too_large())?;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(text.0))
}

pub fn answer_too_large() -> ApiError {
    ApiError::new(ErrorCode::InvalidFilter, "the answer is too large; ask with a smaller `limit`")
}

/// Answers a JSON text.
pub fn json_text(mut response: HttpResponseBuilder, text: String) -> HttpResponse {
    response.content_type(ContentType::json()).body(text)
}

/// Returns the only document of a write to one document.
pub fn first(bodies: Vec<String>) -> String {
    bodies.into_iter().next().unwrap_or_else(|| "null".to_owned())
}
