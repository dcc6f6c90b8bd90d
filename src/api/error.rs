//! Error codes, and the one map from what went wrong to status, code and sentence. REST, WebSocket and SSE use it alike.

use std::fmt;

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde_json::{Value, json};

use crate::{
    auth::{AuthError, TicketError},
    domain::{DataError, DocumentId, PatchError, SchemaError, Violation, name::NameError},
    live::LiveError,
    query::{index_definition::IndexError, page::KeyTooLong, parse::FilterError},
    service::ServiceError,
    store::StoreError,
    writer::WriteError,
};

/// What went wrong, in a word that programs can compare. One list for every transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// 401: nobody is known to ask.
    Unauthorized,
    /// 403: the caller is known, but may not.
    Forbidden,
    /// 404: no such collection.
    InvalidCollection,
    /// 400: a name that no collection can have.
    InvalidCollectionName,
    /// 404: no such document.
    DocumentNotFound,
    /// 400: the body or message can't be understood.
    InvalidBody,
    /// 400: a filter or parameter can't be understood.
    InvalidFilter,
    /// 400: it takes the database too long.
    QueryTooCostly,
    /// 400: a cursor that is none.
    InvalidCursor,
    /// 404: no such route.
    NotFound,
    /// 405: the route has other methods.
    MethodNotAllowed,
    /// 409: taken, or in contradiction to what is there.
    Conflict,
    /// 412: a precondition doesn't hold.
    PreconditionFailed,
    /// 413: larger than a limit.
    PayloadTooLarge,
    /// 422: a document is not as its collection's schema says.
    SchemaViolation,
    /// 503: try again.
    Overloaded,
    /// 500: ours to mend.
    Internal,
}

impl ErrorCode {
    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::InvalidCollection | Self::DocumentNotFound | Self::NotFound => StatusCode::NOT_FOUND,
            Self::InvalidCollectionName
            | Self::InvalidBody
            | Self::InvalidFilter
            | Self::InvalidCursor
            | Self::QueryTooCostly => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SchemaViolation => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::InvalidCollection | Self::InvalidCollectionName => "INVALID_COLLECTION",
            Self::DocumentNotFound => "DOCUMENT_NOT_FOUND",
            Self::InvalidBody => "INVALID_BODY",
            Self::InvalidFilter => "INVALID_FILTER",
            Self::QueryTooCostly => "QUERY_TOO_COSTLY",
            Self::InvalidCursor => "INVALID_CURSOR",
            Self::NotFound => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::Conflict => "CONFLICT",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::SchemaViolation => "SCHEMA_VIOLATION",
            Self::Overloaded => "OVERLOADED",
            Self::Internal => "INTERNAL",
        }
    }
}

/// An answer that is an error: a code and a sentence that helps.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// The code.
    pub code: ErrorCode,
    /// The sentence.
    pub message: String,
    /// More for programs, if there is more.
    pub details: Option<Value>,
}

/// The sentence of the specification for missing and bad credentials alike.
pub const UNAUTHORIZED: &str = "Invalid or missing authentication token";
/// The sentence of the specification for an unknown collection.
pub const UNKNOWN_COLLECTION: &str = "Collection does not exist";
/// The sentence for an unknown document.
pub const UNKNOWN_DOCUMENT: &str = "Document does not exist";

impl ApiError {
    /// An error with a sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None }
    }

    /// The same error, with what it is about before the sentence: `documents[3]`.
    pub fn about(self, item: &str) -> Self {
        Self { message: format!("{item}: {}", self.message), ..self }
    }

    /// The body of its answer in the documented API.
    pub fn body(&self) -> Value {
        let mut error = json!({ "code": self.code.as_str(), "message": self.message });
        if let Some(details) = &self.details {
            error["details"] = details.clone();
        }
        json!({ "success": false, "error": error })
    }

    /// Nobody is known to ask.
    pub fn unauthorized() -> Self {
        Self::new(ErrorCode::Unauthorized, UNAUTHORIZED)
    }

    /// The same without saying why nobody is: the sentence of the protocol.
    pub fn without_reason(self) -> Self {
        if self.code == ErrorCode::Unauthorized { Self::unauthorized() } else { self }
    }

    /// A query took the database too long; an index of these fields would help, if there are any.
    fn too_costly(fields: &[String]) -> Self {
        if fields.is_empty() {
            let message = "the query takes too long; ask for less";
            return Self::new(ErrorCode::QueryTooCostly, message);
        }
        let index = json!({ "fields": fields });
        let message = format!(
            "the query takes too long; an index would help: PATCH the collection's settings with {{\"indexes\":[{index}]}} \
             (and those it has), or ask for less"
        );
        Self { details: Some(json!({ "index": index })), ..Self::new(ErrorCode::QueryTooCostly, message) }
    }

    /// A failure of ours: the cause goes to the log, and the caller gets an id to find it by.
    fn internal(cause: &dyn fmt::Display) -> Self {
        let id = uuid::Uuid::now_v7().to_string();
        tracing::error!(request = %id, "request {id} failed: {cause}");
        Self {
            code: ErrorCode::Internal,
            message: format!("the server failed; its log says why under request {id}"),
            details: Some(json!({ "requestId": id })),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if self.code == ErrorCode::Overloaded {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        if self.code == ErrorCode::Unauthorized {
            // The body's sentence is the protocol's; what to do stands here.
            response.insert_header((
                header::WWW_AUTHENTICATE,
                "Bearer realm=\"Coir\", error_description=\"send a key of this server here or in x-api-key; \
                 coir keys list shows which there are, coir keys create makes one\"",
            ));
        }
        response.json(self.body())
    }
}

impl From<StoreError> for ApiError {
    fn from(err: StoreError) -> Self {
        if err.is_statement_error() {
            return Self::internal(&err);
        }
        if err.is_timeout() {
            return Self::too_costly(&[]);
        }
        tracing::error!("the database can't be used: {err}");
        Self::new(ErrorCode::Overloaded, "the database can't be reached; try again")
    }
}

impl From<AuthError> for ApiError {
    fn from(err: AuthError) -> Self {
        match err {
            AuthError::Unknown => Self::unauthorized(),
            AuthError::Store(err) => err.into(),
        }
    }
}

impl From<TicketError> for ApiError {
    fn from(err: TicketError) -> Self {
        match err {
            TicketError::Expired => Self::new(ErrorCode::Unauthorized, err.to_string()),
            TicketError::Unknown => Self::unauthorized(),
            TicketError::NotSigned => Self::internal(&err),
        }
    }
}

impl From<ServiceError> for ApiError {
    fn from(err: ServiceError) -> Self {
        match err {
            ServiceError::Forbidden(err) => Self::new(ErrorCode::Forbidden, err.to_string()),
            ServiceError::UnknownCollection => Self::new(ErrorCode::InvalidCollection, UNKNOWN_COLLECTION),
            ServiceError::UnknownDocument => Self::new(ErrorCode::DocumentNotFound, UNKNOWN_DOCUMENT),
            ServiceError::Unfit(unfit) => {
                let documents: Vec<_> =
                    unfit.told.iter().map(|(id, violations)| unfit_body(id, violations)).collect();
                let message = match unfit.count {
                    1 => "1 document doesn't fit the schema, which was not set".to_owned(),
                    count => format!("{count} documents don't fit the schema, which was not set"),
                };
                let details = Some(json!({ "documents": documents, "count": unfit.count }));
                Self { details, ..Self::new(ErrorCode::SchemaViolation, message) }
            }
            ServiceError::TooLarge(message) => Self::new(ErrorCode::InvalidFilter, message),
            ServiceError::Busy(message) => Self::new(ErrorCode::Overloaded, message),
            ServiceError::TooCostly(fields) => Self::too_costly(&fields),
            ServiceError::Write(err) => err.into(),
            ServiceError::Store(err) => err.into(),
        }
    }
}

impl From<LiveError> for ApiError {
    fn from(err: LiveError) -> Self {
        match err {
            LiveError::Forbidden(err) => Self::new(ErrorCode::Forbidden, err.to_string()),
            LiveError::UnknownCollection => Self::new(ErrorCode::InvalidCollection, UNKNOWN_COLLECTION),
            LiveError::TooManySubscriptions { .. } | LiveError::TooManyFilters => {
                Self::new(ErrorCode::Overloaded, err.to_string())
            }
            LiveError::Store(err) => err.into(),
        }
    }
}

fn violations_body(violations: &[Violation]) -> Value {
    let body = |violation: &Violation| json!({ "pointer": violation.pointer, "message": violation.message });
    violations.iter().map(body).collect()
}

fn unfit_body(id: &DocumentId, violations: &[Violation]) -> Value {
    json!({ "id": id.as_str(), "violations": violations_body(violations) })
}

impl From<WriteError> for ApiError {
    fn from(err: WriteError) -> Self {
        let code = match &err {
            WriteError::UnknownCollection => return ServiceError::UnknownCollection.into(),
            WriteError::UnknownDocument => return ServiceError::UnknownDocument.into(),
            WriteError::Store(err) => return Self::internal(err),
            WriteError::AtOperation { cause, .. } => return (**cause).clone().into(),
            WriteError::UniqueViolation { name: Some(name), fields } => {
                let details = Some(json!({ "index": name, "fields": fields }));
                return Self { details, ..Self::new(ErrorCode::Conflict, err.to_string()) };
            }
            WriteError::SchemaViolation(violations) | WriteError::IndexedText(violations) => {
                let details = Some(violations_body(violations));
                return Self { details, ..Self::new(ErrorCode::SchemaViolation, err.to_string()) };
            }
            // `service::schemas` tells more; from elsewhere they don't come.
            WriteError::Unfit { .. } => ErrorCode::SchemaViolation,
            WriteError::BadCollectionName(_) => ErrorCode::InvalidCollectionName,
            WriteError::CollectionExists(_)
            | WriteError::DocumentExists(_)
            | WriteError::Operator(_)
            | WriteError::IdempotencyConflict
            | WriteError::TooManyIndexes { .. }
            | WriteError::UniqueViolation { .. } => ErrorCode::Conflict,
            WriteError::PreconditionFailed => ErrorCode::PreconditionFailed,
            WriteError::TooLarge { .. } | WriteError::TooManyBytes { .. } => ErrorCode::PayloadTooLarge,
            WriteError::Data(_) => ErrorCode::InvalidBody,
            WriteError::QueueFull | WriteError::Unavailable | WriteError::SchemaBehind => {
                ErrorCode::Overloaded
            }
        };
        Self::new(code, err.to_string())
    }
}

impl From<DataError> for ApiError {
    fn from(err: DataError) -> Self {
        Self::new(ErrorCode::InvalidBody, err.to_string())
    }
}

impl From<IndexError> for ApiError {
    fn from(err: IndexError) -> Self {
        Self::new(ErrorCode::InvalidBody, err.to_string())
    }
}

impl From<KeyTooLong> for ApiError {
    fn from(err: KeyTooLong) -> Self {
        Self::new(ErrorCode::InvalidFilter, err.to_string())
    }
}

impl From<PatchError> for ApiError {
    fn from(err: PatchError) -> Self {
        Self::new(ErrorCode::InvalidBody, err.to_string())
    }
}

impl From<SchemaError> for ApiError {
    fn from(err: SchemaError) -> Self {
        Self::new(ErrorCode::InvalidBody, err.to_string())
    }
}

impl From<FilterError> for ApiError {
    fn from(err: FilterError) -> Self {
        Self::new(ErrorCode::InvalidFilter, err.to_string())
    }
}

impl From<NameError> for ApiError {
    fn from(err: NameError) -> Self {
        Self::new(ErrorCode::InvalidBody, err.to_string())
    }
}

/// Answers a path that no route has.
pub async fn not_found(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(ApiError::new(
        ErrorCode::NotFound,
        format!("there is no route `{}`; docs/reference/rest.md lists the routes", request.path()),
    ))
}

/// Answers a method that the route doesn't have.
pub async fn method_not_allowed(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let message = format!("`{}` does not answer {}", request.path(), request.method());
    Err(ApiError::new(ErrorCode::MethodNotAllowed, message))
}
