//! Response headers that both doors send.

use actix_web::{HttpResponseBuilder, http::header};

use crate::{auth::Principal, writer::Committed};

/// Adds `X-Cursor` to the answer to a write: the position of its last change in the log, from which a stream can resume.
pub fn add_cursor(response: &mut HttpResponseBuilder, principal: &Principal, committed: &Committed) {
    response.insert_header(("X-Cursor", committed.cursor.encode(&principal.project)));
}

/// Adds `ETag`, which `If-Match` and `If-None-Match` take.
pub fn add_entity_tag(response: &mut HttpResponseBuilder, tag: String) {
    response.insert_header((header::ETAG, tag));
}
