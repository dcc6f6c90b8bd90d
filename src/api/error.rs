//! The errors of every door, and the one map from failures of the inside to their codes.
//!
//! REST, WebSocket and SSE send the same codes and messages. No match here has a `_` arm, so that every new failure must be
//! given a code.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde_json::{Value, json};

pub use super::error_code::ErrorCode;
use crate::{
    auth::{AuthError, Forbidden, OriginRefused, PasswordError, TicketError, limits::Limited},
    domain::{DataError, DocumentId, PatchError, SchemaError, Violation, name::NameError},
    live::LiveError,
    providers::{ProviderError, error::StateError},
    query::{index_definition::IndexError, page::KeyTooLong, parse::FilterError},
    service::ServiceError,
    store::{StoreError, Trouble},
    writer::WriteError,
};

/// An error as a client gets it.
#[derive(Clone, Debug)]
pub struct ApiError {
    pub code: ErrorCode,
    /// A sentence that says what is wrong, where, and what to do next.
    pub message: String,
    /// Values for programs that need more than the code, such as the places in a document.
    pub details: Option<Value>,
    /// A sentence that says more, where the specification fixes the message. REST shows it.
    pub hint: Option<String>,
    /// The methods that the route has, for the header `Allow`.
    pub allow: Option<&'static str>,
    /// The limit that is reached, for the headers.
    pub limited: Option<Box<Limited>>,
    /// The seconds after which to try again, if the message says so.
    pub retry_after: Option<u16>,
    /// Whether the rules of a collection refuse the request.
    pub is_by_rules: bool,
}

/// The message of the specification for missing and for bad credentials.
pub const UNAUTHORIZED: &str = "Invalid or missing authentication token";
/// The message of the specification for an unknown collection.
pub const UNKNOWN_COLLECTION: &str = "Collection does not exist";
pub const UNKNOWN_DOCUMENT: &str = "Document does not exist";
/// The hint for a token whose session has ended.
const SESSION_ENDED: &str = "the session of this token has ended; sign in again";
/// The hint for a key that no project has.
const UNKNOWN_KEY: &str = "this server has no such key, or it was revoked; `coir keys list` shows the keys, `coir keys create` makes one";

impl ApiError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
            hint: None,
            allow: None,
            limited: None,
            retry_after: None,
            is_by_rules: false,
        }
    }

    /// Adds a sentence to a message that the specification fixes.
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Names the item of a batch that the error is about: `documents[3]: …`.
    pub fn about(self, item: &str) -> Self {
        Self { message: format!("{item}: {}", self.message), ..self }
    }

    /// Returns the body of the answer in the documented API.
    pub fn body(&self) -> Value {
        let mut error = json!({ "code": self.code.as_str(), "message": self.message });
        if let Some(details) = &self.details {
            error["details"] = details.clone();
        }
        if let Some(hint) = &self.hint {
            error["hint"] = hint.as_str().into();
        }
        json!({ "success": false, "error": error })
    }

    pub fn unauthorized() -> Self {
        Self::new(ErrorCode::Unauthorized, UNAUTHORIZED)
    }

    /// The query took the database too long. An index of `fields` would help, if there are any.
    fn too_costly(fields: &[String]) -> Self {
        if fields.is_empty() {
            let message = "the query takes too long; ask for fewer documents, or with a narrower filter";
            return Self::new(ErrorCode::QueryTooCostly, message);
        }
        let index = json!({ "fields": fields });
        let message = format!(
            "the query takes too long; an index would help: PATCH the collection's settings with {{\"indexes\":[{index}]}} \
             beside the indexes that it has, or ask with a narrower filter"
        );
        Self { details: Some(json!({ "index": index })), ..Self::new(ErrorCode::QueryTooCostly, message) }
    }

    /// The server failed. The cause goes to the log, and the client gets an id by which the log line can be found.
    fn internal(cause: &dyn fmt::Display) -> Self {
        let id = uuid::Uuid::now_v7().to_string();
        tracing::error!(request = %id, "request {id} failed: {cause}");
        Self {
            details: Some(json!({ "requestId": id })),
            ..Self::new(
                ErrorCode::Internal,
                format!("the server failed; its log has the cause under request {id}"),
            )
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
        if let Some(limited) = &self.limited {
            let Limited { limit, retry_after, reset, .. } = &**limited;
            response
                .insert_header((header::RETRY_AFTER, retry_after.as_secs()))
                .insert_header(("X-RateLimit-Limit", limit.to_string()))
                .insert_header(("X-RateLimit-Remaining", "0"))
                .insert_header(("X-RateLimit-Reset", reset.as_secs().to_string()));
        } else if matches!(self.code, ErrorCode::Overloaded | ErrorCode::RateLimited) {
            response.insert_header((header::RETRY_AFTER, u32::from(self.retry_after.unwrap_or(1))));
        }
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, allow));
        }
        if self.code == ErrorCode::Unauthorized {
            // The specification fixes the message in the body, so the advice is here.
            response.insert_header((
                header::WWW_AUTHENTICATE,
                "Bearer realm=\"Coir\", error_description=\"send a key of this server here or in x-api-key; \
                 coir keys list shows the keys, coir keys create makes one\"",
            ));
        }
        response.json(self.body())
    }
}

impl From<StoreError> for ApiError {
    fn from(err: StoreError) -> Self {
        if err.is_statement_error() || err.is_panic() {
            return Self::internal(&err);
        }
        if err.is_timeout() {
            return Self::too_costly(&[]);
        }
        if err.is_busy() {
            return Self::new(ErrorCode::Overloaded, "too many reads are waiting; try again");
        }
        // The log has it already, once for all requests.
        tracing::debug!("the database cannot be reached: {err}");
        let message = match err.trouble() {
            trouble @ (Trouble::NoDescriptors | Trouble::DiskFull) => format!("{trouble}; try again"),
            _ => "the database cannot be reached; try again".to_owned(),
        };
        Self::new(ErrorCode::Overloaded, message)
    }
}

impl From<AuthError> for ApiError {
    fn from(err: AuthError) -> Self {
        match err {
            AuthError::Unknown => Self::unauthorized().with_hint(UNKNOWN_KEY),
            AuthError::SessionEnded => Self::unauthorized().with_hint(SESSION_ENDED),
            AuthError::OtherProject
            | AuthError::KeyRevoked
            | AuthError::KeyOfSessionExpired
            | AuthError::KeyExpired
            | AuthError::KeyChanged
            | AuthError::Token(_) => Self::unauthorized().with_hint(err.to_string()),
            AuthError::Foreign(hint) => Self::unauthorized().with_hint(hint),
            AuthError::Awaited(_) => Self::new(ErrorCode::Overloaded, err.to_string()),
            AuthError::Store(err) => err.into(),
        }
    }
}

impl From<Limited> for ApiError {
    fn from(limited: Limited) -> Self {
        let message = limited.to_string();
        Self { limited: Some(Box::new(limited)), ..Self::new(ErrorCode::RateLimited, message) }
    }
}

impl From<TicketError> for ApiError {
    fn from(err: TicketError) -> Self {
        match err {
            TicketError::Expired | TicketError::Unknown => Self::unauthorized().with_hint(err.to_string()),
            TicketError::NotSigned => Self::internal(&err),
        }
    }
}

impl From<ServiceError> for ApiError {
    fn from(err: ServiceError) -> Self {
        match err {
            ServiceError::Forbidden(err) => Self {
                is_by_rules: err == Forbidden::Rule,
                ..Self::new(ErrorCode::Forbidden, err.to_string())
            },
            ServiceError::UnknownCollection => Self::new(ErrorCode::InvalidCollection, UNKNOWN_COLLECTION),
            ServiceError::UnknownDocument => Self::new(ErrorCode::DocumentNotFound, UNKNOWN_DOCUMENT),
            ServiceError::Unfit(unfit) => {
                let documents: Vec<_> =
                    unfit.told.iter().map(|(id, violations)| unfit_body(id, violations)).collect();
                let message = match unfit.count {
                    1 => "1 document doesn't fit the schema; the schema was not set".to_owned(),
                    count => format!("{count} documents don't fit the schema; the schema was not set"),
                };
                let details = Some(json!({ "documents": documents, "count": unfit.count }));
                Self { details, ..Self::new(ErrorCode::SchemaViolation, message) }
            }
            ServiceError::UnknownRelation(message) | ServiceError::UnknownField(message) => {
                Self::new(ErrorCode::InvalidFilter, message)
            }
            ServiceError::Untried(message) => Self::new(ErrorCode::InvalidBody, message),
            ServiceError::TooLarge(message) => Self::new(ErrorCode::InvalidFilter, message),
            ServiceError::Credentials => Self::new(ErrorCode::Unauthorized, err.to_string()),
            ServiceError::WrongPassword
            | ServiceError::PasswordNeeded
            | ServiceError::NoPassword
            | ServiceError::Concealed
            | ServiceError::RecentSignIn => Self::new(ErrorCode::Forbidden, err.to_string()),
            ServiceError::OtherProject => AuthError::OtherProject.into(),
            ServiceError::Auth(err) => err.into(),
            ServiceError::Stolen | ServiceError::NoUser => Self::unauthorized().with_hint(err.to_string()),
            ServiceError::UnknownSession | ServiceError::UnknownInvitation => {
                Self::new(ErrorCode::NotFound, err.to_string())
            }
            ServiceError::NoAddress => Self::new(ErrorCode::Conflict, err.to_string()),
            ServiceError::Provider(ref cause) | ServiceError::AtProvider { ref cause, .. } => {
                of_provider(cause, err.to_string())
            }
            ServiceError::UnknownProvider(_) => Self::new(ErrorCode::NotFound, err.to_string()),
            ServiceError::Redirect => Self::new(ErrorCode::InvalidFilter, err.to_string()),
            ServiceError::StaleSignIn => Self::new(ErrorCode::Forbidden, err.to_string()),
            ServiceError::Mails(err) => Self::new(ErrorCode::RateLimited, err.to_string()),
            ServiceError::Token(err) => AuthError::Token(err).into(),
            ServiceError::Password(PasswordError::Crowded) => {
                Self::new(ErrorCode::RateLimited, err.to_string())
            }
            ServiceError::Password(PasswordError::Length) => {
                Self::new(ErrorCode::InvalidBody, err.to_string())
            }
            ServiceError::Password(PasswordError::Failed) => Self::internal(&err),
            ServiceError::Limited(limited) => limited.into(),
            ServiceError::Random => Self::internal(&err),
            ServiceError::Busy(message) => Self::new(ErrorCode::Overloaded, message),
            ServiceError::TooCostly(fields) => Self::too_costly(&fields),
            ServiceError::Write(err) => err.into(),
            ServiceError::Store(err) => err.into(),
        }
    }
}

fn of_provider(err: &ProviderError, message: String) -> ApiError {
    let code = match err {
        ProviderError::Crowded | ProviderError::Away | ProviderError::BadAnswer(_) => ErrorCode::Overloaded,
        ProviderError::Address { .. } | ProviderError::ClientRefused => ErrorCode::Conflict,
        ProviderError::State(StateError::Challenge) => ErrorCode::InvalidFilter,
        ProviderError::State(StateError::NotSigned) => return ApiError::internal(err),
        ProviderError::CodeRefused
        | ProviderError::Token(_)
        | ProviderError::State(_)
        | ProviderError::OtherIssuer
        | ProviderError::NoIssuer
        | ProviderError::WrongVerifier
        | ProviderError::NoVerifier => ErrorCode::Unauthorized,
    };
    ApiError::new(code, message)
}

impl From<LiveError> for ApiError {
    fn from(err: LiveError) -> Self {
        match err {
            LiveError::Forbidden(err) => Self::new(ErrorCode::Forbidden, err.to_string()),
            LiveError::UnknownCollection => Self::new(ErrorCode::InvalidCollection, UNKNOWN_COLLECTION),
            LiveError::KeyEnded(end) => AuthError::from(end).into(),
            LiveError::SessionEnded => AuthError::SessionEnded.into(),
            LiveError::Removed => Self::new(ErrorCode::InvalidCollection, err.to_string()),
            LiveError::TooManySubscriptions { .. }
            | LiveError::TooManyFilters
            | LiveError::TooManyBytes(_)
            | LiveError::TooManyBytesOfConnection { .. } => Self::new(ErrorCode::Overloaded, err.to_string()),
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
            WriteError::KeyEnded(end) => return AuthError::from(*end).into(),
            WriteError::SessionEnded => return Self::unauthorized().with_hint(SESSION_ENDED),
            WriteError::Denied(_) => {
                return Self { is_by_rules: true, ..Self::new(ErrorCode::Forbidden, err.to_string()) };
            }
            WriteError::BuiltIn(_)
            | WriteError::BuiltInRules(_)
            | WriteError::ProfileOnly
            | WriteError::Forbidden(_)
            | WriteError::OwnRelation
            | WriteError::Grant(_)
            | WriteError::Disabled
            | WriteError::WrongCode
            | WriteError::EmailNotVerified
            | WriteError::SecondFactor(_)
            | WriteError::SignUp(_) => ErrorCode::Forbidden,
            WriteError::User(_) | WriteError::Settings(_) => ErrorCode::InvalidBody,
            WriteError::StateUsed => ErrorCode::Unauthorized,
            WriteError::UnknownIdentity | WriteError::UnknownKey => ErrorCode::NotFound,
            WriteError::LastKey
            | WriteError::KeyRotated(_)
            | WriteError::RotatedTooLate
            | WriteError::TooManyKeys => ErrorCode::Conflict,
            WriteError::UnknownSource(_) | WriteError::Rules(_) => ErrorCode::InvalidBody,
            WriteError::AccountChanged
            | WriteError::AskedByRules(_)
            | WriteError::IdentityTaken
            | WriteError::ProviderLinked
            | WriteError::LastWayIn => ErrorCode::Conflict,
            WriteError::TooManyCodes | WriteError::TooManyTries => ErrorCode::RateLimited,
            WriteError::SecondFactorExists | WriteError::NoSecondFactor => ErrorCode::Conflict,
            WriteError::EmailTaken
            | WriteError::NotAnonymous
            | WriteError::HasPassword
            | WriteError::CredentialsChanged => ErrorCode::Conflict,
            WriteError::AtOperation { cause, .. } => return (**cause).clone().into(),
            WriteError::UniqueViolation { name: Some(name), fields } => {
                let details = Some(json!({ "index": name, "fields": fields }));
                return Self { details, ..Self::new(ErrorCode::Conflict, err.to_string()) };
            }
            WriteError::SchemaViolation(violations) | WriteError::IndexedText(violations) => {
                let details = Some(violations_body(violations));
                return Self { details, ..Self::new(ErrorCode::SchemaViolation, err.to_string()) };
            }
            // `service::schemas` turns this into its own error with more details before it gets here.
            WriteError::Unfit { .. } => ErrorCode::SchemaViolation,
            WriteError::BadCollectionName(_) => ErrorCode::InvalidCollectionName,
            WriteError::CollectionExists(_)
            | WriteError::DocumentExists(_)
            | WriteError::Operator(_)
            | WriteError::IdempotencyConflict
            | WriteError::TooManyIndexes { .. }
            | WriteError::TooManyCollections { .. }
            | WriteError::UniqueViolation { .. } => ErrorCode::Conflict,
            WriteError::PreconditionFailed => ErrorCode::PreconditionFailed,
            WriteError::TooLarge { .. } | WriteError::TooManyBytes { .. } | WriteError::TooMuchChecking => {
                ErrorCode::PayloadTooLarge
            }
            WriteError::Data(_) => ErrorCode::InvalidBody,
            WriteError::QueueFull
            | WriteError::Stopping
            | WriteError::Clock(_)
            | WriteError::IndexAwaited
            | WriteError::Unavailable(_)
            | WriteError::SchemaBehind
            | WriteError::RightsBehind
            | WriteError::TooManyIdempotencyKeys { .. } => ErrorCode::Overloaded,
        };
        Self { retry_after: err.retry_after(), ..Self::new(code, err.to_string()) }
    }
}

/// Mistakes of callers, whose messages say all there is to say.
macro_rules! mistakes {
    ($($error:ty => $code:ident),* $(,)?) => {
        $(impl From<$error> for ApiError {
            fn from(err: $error) -> Self {
                Self::new(ErrorCode::$code, err.to_string())
            }
        })*
    };
}

mistakes! {
    OriginRefused => Forbidden,
    DataError => InvalidBody,
    IndexError => InvalidBody,
    PatchError => InvalidBody,
    SchemaError => InvalidBody,
    NameError => InvalidBody,
    KeyTooLong => InvalidFilter,
    FilterError => InvalidFilter,
}
