//! The table of error codes: the status over HTTP, and the word on the wire.

use actix_web::http::StatusCode;

/// The kind of an error, which programs compare by its word on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The credential is missing, unknown or revoked.
    Unauthorized,
    /// The caller is known, but may not do this.
    Forbidden,
    /// The collection does not exist.
    InvalidCollection,
    /// No collection can have this name.
    InvalidCollectionName,
    DocumentNotFound,
    /// The body, a header or a message is not valid.
    InvalidBody,
    /// A filter or another parameter is not valid, or the answer would be too large.
    InvalidFilter,
    /// The query takes the database too long.
    QueryTooCostly,
    InvalidCursor,
    /// No route has this path.
    NotFound,
    /// The route does not have this method.
    MethodNotAllowed,
    /// A name, an id or a value is taken, or an operator does not fit the document.
    Conflict,
    /// The document is not in the state that the request names.
    PreconditionFailed,
    PayloadTooLarge,
    /// The document does not fit the schema or the indexes of its collection.
    SchemaViolation,
    /// The caller asks too often. It should try again later.
    RateLimited,
    /// A bound is reached, or the database is away. The client should try again.
    Overloaded,
    /// The server failed; its log has the cause.
    Internal,
}

impl ErrorCode {
    /// The table of all codes: the status over HTTP, and the word on the wire.
    fn entry(self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "FORBIDDEN"),
            Self::InvalidCollection => (StatusCode::NOT_FOUND, "INVALID_COLLECTION"),
            Self::InvalidCollectionName => (StatusCode::BAD_REQUEST, "INVALID_COLLECTION"),
            Self::DocumentNotFound => (StatusCode::NOT_FOUND, "DOCUMENT_NOT_FOUND"),
            Self::InvalidBody => (StatusCode::BAD_REQUEST, "INVALID_BODY"),
            Self::InvalidFilter => (StatusCode::BAD_REQUEST, "INVALID_FILTER"),
            Self::QueryTooCostly => (StatusCode::BAD_REQUEST, "QUERY_TOO_COSTLY"),
            Self::InvalidCursor => (StatusCode::BAD_REQUEST, "INVALID_CURSOR"),
            Self::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::Conflict => (StatusCode::CONFLICT, "CONFLICT"),
            Self::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED"),
            Self::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE"),
            Self::SchemaViolation => (StatusCode::UNPROCESSABLE_ENTITY, "SCHEMA_VIOLATION"),
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
        }
    }

    pub fn status(self) -> StatusCode {
        self.entry().0
    }

    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        self.entry().1
    }
}
