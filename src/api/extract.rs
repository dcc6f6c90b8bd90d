//! What handlers receive: who is asking, a checked body, parsed headers. Never a token.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use actix_web::{
    FromRequest, HttpRequest,
    dev::{Decompress, Payload},
    error::PayloadError,
    http::header::{self, HeaderMap},
    web,
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{ApiError, ErrorCode};
use crate::{
    auth::{KeyRing, Principal},
    config::Limits,
    domain::Data,
    query::parse::PARAMETERS,
    service::documents::RequestKey,
    writer::{Precondition, WriteError},
};

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Who is asking: the holder of the key in `Authorization: Bearer` or `x-api-key`.
pub struct Caller(pub Arc<Principal>);

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let key = credential(request.headers())?.ok_or_else(ApiError::unauthorized)?;
            Ok(Self(key_ring(&request)?.authenticate(key).await?))
        })
    }
}

/// The keys that this server knows.
pub fn key_ring(request: &HttpRequest) -> Result<&web::Data<KeyRing>, ApiError> {
    // `app` registers it before any route.
    request.app_data().ok_or_else(ApiError::unauthorized)
}

/// The credential in the headers, if there is one.
///
/// # Errors
/// `UNAUTHORIZED` if two headers name two different ones, or one can't be read.
pub fn credential(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut found = None;
    let bearer = headers.get_all(header::AUTHORIZATION).map(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let keys = headers.get_all("x-api-key").map(|value| value.to_str().ok().map(str::trim));
    for credential in bearer.chain(keys) {
        let credential = credential.ok_or_else(ApiError::unauthorized)?;
        if found.is_some_and(|other| other != credential) {
            return Err(ApiError::unauthorized());
        }
        found = Some(credential);
    }
    Ok(found)
}

/// Bounds what the bodies of all requests at hand may take together. Cheap to clone.
#[derive(Clone)]
pub struct BodyBudget(Arc<Semaphore>);

/// Small bodies are not counted: the number of connections bounds them.
const FREE_BODY_BYTES: usize = 64 * 1024;
const BUDGET_UNIT: usize = 1024;

impl BodyBudget {
    /// At most `bytes` at a time.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / BUDGET_UNIT)))
    }

    /// Lets what is `held` count for a body of so many bytes.
    ///
    /// # Errors
    /// `OVERLOADED` if too much is held by others.
    fn grow(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), ApiError> {
        let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = (bytes / BUDGET_UNIT).saturating_sub(has);
        if bytes <= FREE_BODY_BYTES || more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).ok().and_then(|more| self.0.clone().try_acquire_many_owned(more).ok());
        let more = more.ok_or_else(|| {
            ApiError::new(ErrorCode::Overloaded, "too many large requests are being read; try again")
        })?;
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }
}

/// A request's whole body, decompressed.
pub struct Body {
    /// As it came.
    pub bytes: Bytes,
    max_document_bytes: usize,
    _held: Option<OwnedSemaphorePermit>,
}

impl FromRequest for Body {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let limits = request.app_data::<web::Data<Limits>>().map(|limits| limits.get_ref());
        let (limit, max_document_bytes) =
            limits.map_or((0, 0), |limits| (limits.body_bytes, limits.document_bytes));
        let announced =
            request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let stream =
            Decompress::from_headers(in_pieces(payload.take(), request.headers()), request.headers());
        let budget = request.app_data::<web::Data<BodyBudget>>().cloned();
        Box::pin(async move {
            if announced.is_some_and(|announced: u64| announced > limit as u64) {
                return Err(body_too_large(limit));
            }
            let read = tokio::time::timeout(BODY_TIMEOUT, read_body(stream, limit, budget.as_ref())).await;
            let late = || ApiError::new(ErrorCode::InvalidBody, "the body did not arrive in 30 s");
            let (bytes, held) = read.map_err(|_| late())??;
            Ok(Self { bytes, max_document_bytes, _held: held })
        })
    }
}

/// Cuts what comes in, if it is compressed: each piece is decompressed as a whole, to a thousand times its length, before
/// the limit can be looked at.
fn in_pieces(
    payload: Payload,
    headers: &HeaderMap,
) -> impl Stream<Item = Result<Bytes, PayloadError>> + Unpin + use<> {
    let most = if headers.contains_key(header::CONTENT_ENCODING) { 2048 } else { usize::MAX };
    payload.flat_map(move |part| {
        let (mut rest, failed) = match part {
            Ok(part) => (part, None),
            Err(err) => (Bytes::new(), Some(Err(err))),
        };
        let pieces =
            std::iter::from_fn(move || (!rest.is_empty()).then(|| Ok(rest.split_to(rest.len().min(most)))));
        stream::iter(pieces.chain(failed))
    })
}

async fn read_body(
    mut stream: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    limit: usize,
    budget: Option<&web::Data<BodyBudget>>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ApiError> {
    let (mut whole, mut held): (Option<Bytes>, _) = (None, None);
    let mut parts = BytesMut::new();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|err| {
            ApiError::new(ErrorCode::InvalidBody, format!("the body can't be read or decompressed: {err}"))
        })?;
        // Most bodies come in one piece, which needs no copy.
        match whole.take() {
            None if parts.is_empty() => whole = Some(part),
            first => {
                parts.extend_from_slice(&first.unwrap_or_default());
                parts.extend_from_slice(&part);
            }
        }
        let bytes = whole.as_ref().map_or(parts.len(), Bytes::len);
        if bytes > limit {
            return Err(body_too_large(limit));
        }
        if let Some(budget) = budget {
            budget.grow(&mut held, bytes)?;
        }
    }
    Ok((whole.unwrap_or_else(|| parts.freeze()), held))
}

fn body_too_large(limit: usize) -> ApiError {
    ApiError::new(ErrorCode::PayloadTooLarge, format!("the body is larger than {limit} bytes"))
}

impl Body {
    /// Reads a document from a body that is nothing else.
    ///
    /// # Errors
    /// `INVALID_BODY`, or `PAYLOAD_TOO_LARGE` before anything is parsed: parsed, a body takes many times its length.
    pub fn document(&self) -> Result<Data, ApiError> {
        // White space and escapes are not counted in the end, so there is some room for them.
        let (actual, limit) = (self.bytes.len(), self.max_document_bytes);
        if actual > 2 * limit {
            return Err(WriteError::TooLarge { actual, limit }.into());
        }
        Ok(Data::parse(&self.bytes)?)
    }

    /// Reads a document from a part of the body.
    ///
    /// # Errors
    /// As [`Body::document`].
    pub fn part(&self, raw: &RawValue) -> Result<Data, ApiError> {
        let (actual, limit) = (raw.get().len(), self.max_document_bytes);
        if actual > 2 * limit {
            return Err(WriteError::TooLarge { actual, limit }.into());
        }
        Ok(Data::parse(raw.get().as_bytes())?)
    }

    /// Reads a JSON body of known members.
    ///
    /// # Errors
    /// `INVALID_BODY`, which says what doesn't fit.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ApiError> {
        let refuse = |why: &dyn std::fmt::Display| {
            ApiError::new(ErrorCode::InvalidBody, format!("the body can't be understood: {why}"))
        };
        // serde would also read the members from an array, in their order.
        if self.bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(refuse(&"it is not a JSON object"));
        }
        serde_json::from_slice(&self.bytes).map_err(|err| refuse(&err))
    }
}

/// A header as text; `None` if it isn't there.
///
/// # Errors
/// `INVALID_BODY` if it is there more than once, or isn't ASCII.
fn header_text<'a>(request: &'a HttpRequest, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = request.headers().get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text.trim())),
        _ => Err(ApiError::new(ErrorCode::InvalidBody, format!("the header {name} can't be understood"))),
    }
}

/// `If-Match` and `If-None-Match` of a write.
///
/// # Errors
/// `INVALID_BODY` for a form that a write can't use.
pub fn precondition(request: &HttpRequest) -> Result<Precondition, ApiError> {
    let if_match = header_text(request, "If-Match")?;
    let if_none_match = header_text(request, "If-None-Match")?;
    let refuse = |message: &str| Err(ApiError::new(ErrorCode::InvalidBody, message));
    match (if_match, if_none_match) {
        (None, None) => Ok(Precondition::None),
        (Some("*"), None) => Ok(Precondition::Exists),
        (Some(tags), None) => match entity_tags(tags) {
            Some(tags) => Ok(Precondition::Tag(tags)),
            None => refuse("If-Match takes `*` or entity tags in quotes, as the header ETag gives them"),
        },
        (None, Some("*")) => Ok(Precondition::Absent),
        (None, Some(_)) => refuse("a write takes `If-None-Match: *` only"),
        (Some(_), Some(_)) => refuse("If-Match and If-None-Match can't both hold"),
    }
}

/// Refuses `If-Match` and `If-None-Match` where a write is of several documents: they would be ignored.
///
/// # Errors
/// `INVALID_BODY` if there is one.
pub fn refuse_precondition(request: &HttpRequest) -> Result<(), ApiError> {
    match precondition(request)? {
        Precondition::None => Ok(()),
        _ => {
            let message =
                "If-Match and If-None-Match are for writes to one document; a transaction takes `ifVersion`";
            Err(ApiError::new(ErrorCode::InvalidBody, message))
        }
    }
}

/// Whether `If-None-Match` of a read names this entity tag.
///
/// # Errors
/// `INVALID_BODY` if it can't be understood.
pub fn is_unchanged(request: &HttpRequest, entity_tag: &str) -> Result<bool, ApiError> {
    let Some(text) = header_text(request, "If-None-Match")? else { return Ok(false) };
    // RFC 9110, section 13.1.2: a weak comparison.
    Ok(text == "*" || text.split(',').any(|tag| tag.trim().trim_start_matches("W/") == entity_tag))
}

/// Reads `"a", "b"`; a weak tag stays as it is, and so equals none of ours.
fn entity_tags(text: &str) -> Option<Vec<String>> {
    let tag = |tag: &str| {
        let tag = tag.trim();
        let quoted = tag.strip_prefix("W/").unwrap_or(tag);
        (quoted.len() >= 2 && quoted.starts_with('"') && quoted.ends_with('"')).then(|| tag.to_owned())
    };
    text.split(',').map(tag).collect()
}

/// `Idempotency-Key` of a write, with the hash of the request.
///
/// # Errors
/// `INVALID_BODY` for a key that is empty, too long or not plain text.
pub fn request_key(request: &HttpRequest, body: &[u8]) -> Result<Option<RequestKey>, ApiError> {
    let Some(key) = header_text(request, "Idempotency-Key")? else { return Ok(None) };
    if key.is_empty() || key.len() > 255 {
        return Err(ApiError::new(ErrorCode::InvalidBody, "an Idempotency-Key is 1 to 255 characters"));
    }
    let mut hash = Sha256::new();
    let header = |name| request.headers().get(name).map_or(&b""[..], |value| value.as_bytes());
    for part in [
        request.method().as_str().as_bytes(),
        request.path().as_bytes(),
        request.query_string().as_bytes(),
        header("if-match"),
        header("if-none-match"),
        body,
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Ok(Some(RequestKey { key: key.to_owned(), request: format!("{:x}", hash.finalize()) }))
}

/// The parameters of a URL, decoded, in their order.
pub struct Parameters(Vec<(String, String)>);

impl FromRequest for Parameters {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
        let refuse =
            |err| ApiError::new(ErrorCode::InvalidFilter, format!("the query string can't be read: {err}"));
        std::future::ready(pairs.map(|pairs| Self(pairs.into_inner())).map_err(refuse))
    }
}

impl Parameters {
    /// All of them.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The values of those with one of these names.
    pub fn all<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.pairs().filter(|(name, _)| names.contains(name)).map(|(_, value)| value)
    }

    /// One that may be given once.
    ///
    /// # Errors
    /// `INVALID_FILTER` if it is given more than once.
    pub fn single(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.pairs().filter(|(key, _)| *key == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (_, Some(_)) => {
                Err(ApiError::new(ErrorCode::InvalidFilter, format!("`{name}` is given more than once")))
            }
            (value, None) => Ok(value),
        }
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// `INVALID_FILTER` for anything else.
    pub fn number(&self, name: &str, default: u64, least: u64, most: u64) -> Result<u64, ApiError> {
        let Some(text) = self.single(name)? else { return Ok(default) };
        text.parse().ok().filter(|number| (least..=most).contains(number)).ok_or_else(|| {
            ApiError::new(
                ErrorCode::InvalidFilter,
                format!("`{name}` is a whole number from {least} to {most}"),
            )
        })
    }

    /// Refuses the API's parameters that mean nothing here, so that they are never ignored; others are filters.
    ///
    /// # Errors
    /// `INVALID_FILTER` naming the first.
    pub fn refuse_all_but(&self, served: &[&str]) -> Result<(), ApiError> {
        let is_foreign = |name: &str| PARAMETERS.contains(&name) && !served.contains(&name);
        match self.pairs().find(|(name, _)| is_foreign(name)) {
            Some((name, _)) => {
                let message =
                    format!("`{name}` is not available here; `{name}__eq` filters by a field of this name");
                Err(ApiError::new(ErrorCode::InvalidFilter, message))
            }
            None => Ok(()),
        }
    }
}
