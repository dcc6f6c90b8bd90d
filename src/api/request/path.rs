//! The place of a document in a path.

use actix_web::web::Path;

use crate::{api::error::ApiError, domain::DocumentId, service::ServiceError};

/// Reads collection and id of a document that must exist. Text that cannot be an id is no document.
///
/// # Errors
/// `DOCUMENT_NOT_FOUND`.
pub fn existing_key(path: Path<(String, String)>) -> Result<(String, DocumentId), ApiError> {
    let (collection, id) = path.into_inner();
    let id = DocumentId::parse(&id).map_err(|_| ServiceError::UnknownDocument)?;
    Ok((collection, id))
}
