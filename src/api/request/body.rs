//! The body of a request: decompressed, bounded while it arrives, and read as a document or as JSON of known members.

use std::{future::Future, pin::Pin, rc::Rc};

use actix_web::{
    FromRequest, HttpRequest,
    dev::{Decompress, Payload},
    error::PayloadError,
    http::header::{self, HeaderMap},
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::caller::account_of,
        state::State,
    },
    domain::{Data, data::estimate_weight, json_mistake::explain},
    shares::{BudgetPermit, MinimumRate},
    writer::WriteError,
};

/// A smaller body takes nothing of the budget: the number of connections bounds how many there are.
const FREE_BYTES: usize = 64 * 1024;
/// The most memory that the values of a body may take, by [`estimate_weight`].
const MAX_WEIGHT: usize = 64 * 1024 * 1024;
/// The most that is decompressed at once; see [`in_pieces`].
const COMPRESSED_PIECE_BYTES: usize = 2048;

/// A request's whole body, decompressed. Holds its share of the budget until it is dropped.
pub struct Body {
    /// The bytes that the client sent, decompressed.
    pub bytes: Bytes,
    max_document_bytes: usize,
    /// The `Content-Type` as it was sent, in lower case.
    content_type: String,
    _permit: Option<BudgetPermit>,
}

impl FromRequest for Body {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let announced: Option<usize> =
            request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Err(err) = check_encoding(request.headers()) {
            return Box::pin(std::future::ready(Err(err)));
        }
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_ascii_lowercase();
        let stream =
            Decompress::from_headers(in_pieces(payload.take(), request.headers()), request.headers());
        let request = request.clone();
        Box::pin(async move {
            // `app` registers the state before any route.
            let state = request
                .app_data::<State>()
                .ok_or_else(|| ApiError::new(ErrorCode::Overloaded, "the server is stopping"))?;
            let limit = state.limits.body_bytes;
            if announced.is_some_and(|announced| announced > limit) {
                return Err(too_large(limit));
            }
            let new_permit = || state.request_bodies.empty_permit(&account_of(state, &request));
            let stream = stream.map(|part| part.map_err(|err| unreadable(&err, request.headers())));
            let (bytes, permit) = read(stream, limit, announced, new_permit).await?;
            Ok(Self { bytes, max_document_bytes: state.limits.document_bytes, content_type, _permit: permit })
        })
    }
}

/// Cuts a compressed body into small pieces. Each is decompressed as a whole, to up to a thousand times its length, before
/// anybody can compare the result with the limit.
fn in_pieces(
    payload: Payload,
    headers: &HeaderMap,
) -> impl Stream<Item = Result<Bytes, PayloadError>> + Unpin + use<> {
    let is_compressed = headers.contains_key(header::CONTENT_ENCODING);
    let most = if is_compressed { COMPRESSED_PIECE_BYTES } else { usize::MAX };
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

/// Reads a body to its end; stops as soon as it is over the limit or the budget, or arrives too slowly.
async fn read(
    mut stream: impl Stream<Item = Result<Bytes, ApiError>> + Unpin,
    limit: usize,
    announced: Option<usize>,
    new_permit: impl Fn() -> BudgetPermit,
) -> Result<(Bytes, Option<BudgetPermit>), ApiError> {
    let mut whole: Option<Bytes> = None;
    let mut parts = BytesMut::new();
    let mut permit: Option<BudgetPermit> = None;
    let mut rate = MinimumRate::begin();
    loop {
        let Ok(next) = tokio::time::timeout_at(rate.ends_at(), stream.next()).await else {
            if rate.next_window() {
                continue;
            }
            return Err(ApiError::new(ErrorCode::InvalidBody, "the body must arrive at 2 KiB/s or faster"));
        };
        let Some(part) = next else { break };
        let part = part?;
        rate.note(part.len());
        // Most bodies come in one piece, which needs no copy.
        match whole.take() {
            None if parts.is_empty() => whole = Some(part),
            first => {
                if parts.is_empty() {
                    parts.reserve(announced.unwrap_or(0));
                }
                parts.extend_from_slice(&first.unwrap_or_default());
                parts.extend_from_slice(&part);
            }
        }
        let bytes = whole.as_ref().map_or(parts.len(), Bytes::len);
        if bytes > limit {
            return Err(too_large(limit));
        }
        if bytes > FREE_BYTES {
            grow(permit.get_or_insert_with(&new_permit), bytes)?;
        }
    }
    let whole = whole.unwrap_or_else(|| parts.freeze());
    if let Some(permit) = &mut permit {
        let weight = estimate_weight(&whole);
        if weight > MAX_WEIGHT.max(4 * limit) {
            return Err(ApiError::new(
                ErrorCode::PayloadTooLarge,
                "the body has too many values for one request; send it in parts",
            ));
        }
        grow(permit, whole.len() + weight)?;
        take_turn().await;
    }
    Ok((whole, permit))
}

/// Explains why a body can't be read: the decompression and the connection fail in the same way.
fn unreadable(err: &PayloadError, headers: &HeaderMap) -> ApiError {
    tracing::debug!("a body can't be read: {err}");
    match headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()) {
        Some(encoding) if !encoding.trim().eq_ignore_ascii_case("identity") => Body::invalid(&format!(
            "the body is not valid {}, as `Content-Encoding` says it is; compress it again, or send it without this header",
            encoding.trim().to_ascii_lowercase()
        )),
        _ => Body::invalid(
            "the body ended before its announced end, or its chunks are not valid; send it again",
        ),
    }
}

fn grow(permit: &mut BudgetPermit, bytes: usize) -> Result<(), ApiError> {
    let busy = "too many large requests are being read; try again";
    permit.grow_to(bytes).map_err(|_| ApiError::new(ErrorCode::Overloaded, busy))
}

/// Waits until this thread may parse another large body. Parsing takes milliseconds, in which the thread serves nobody else, so
/// everyone else has a turn between two of them.
async fn take_turn() {
    thread_local! {
        static TURNS: Rc<Semaphore> = Rc::new(Semaphore::new(1));
    }
    let turns = TURNS.with(Rc::clone);
    // The semaphore is never closed, so a permit always comes.
    let _turn = turns.acquire().await;
    tokio::task::yield_now().await;
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(ErrorCode::PayloadTooLarge, format!("the body must have at most {limit} bytes"))
}

impl Body {
    /// Reads the body as a document's data.
    ///
    /// # Errors
    /// `INVALID_BODY` for anything but a JSON object; `PAYLOAD_TOO_LARGE` as [`Body::part`].
    pub fn document(&self) -> Result<Data, ApiError> {
        self.parse(&self.bytes)
    }

    /// Reads a part of the body as a document's data.
    ///
    /// # Errors
    /// `INVALID_BODY` for anything but a JSON object; `PAYLOAD_TOO_LARGE` before anything is parsed, because parsed JSON takes
    /// many times the memory of its text.
    pub fn part(&self, raw: &RawValue) -> Result<Data, ApiError> {
        self.parse(raw.get().as_bytes())
    }

    fn parse(&self, json: &[u8]) -> Result<Data, ApiError> {
        let (actual, limit) = (json.len(), self.max_document_bytes);
        // The limit counts canonical text. Twice as much leaves room for white space and escapes.
        if actual > 2 * limit {
            return Err(WriteError::TooLarge { actual, limit }.into());
        }
        Data::parse(json).map_err(|err| self.explained(err.into()))
    }

    /// Reads the body as the data of a new document, or of one that is replaced.
    ///
    /// # Errors
    /// As [`Body::document`], and `INVALID_BODY` as [`check_new`].
    pub fn new_document(&self) -> Result<Data, ApiError> {
        let data = self.document()?;
        check_new(&data)?;
        Ok(data)
    }

    /// Reads the body as the change of a document.
    ///
    /// # Errors
    /// As [`Body::document`], and `INVALID_BODY` as [`check_patch`].
    pub fn patch(&self) -> Result<Data, ApiError> {
        let data = self.document()?;
        check_patch(&data)?;
        Ok(data)
    }

    /// Says what the body is, where it is plainly no JSON.
    fn explained(&self, err: ApiError) -> ApiError {
        match find_other_format(&self.bytes, &self.content_type) {
            Some(message) if err.code == ErrorCode::InvalidBody => Self::invalid(message),
            _ => err,
        }
    }

    fn invalid(message: &str) -> ApiError {
        ApiError::new(ErrorCode::InvalidBody, message)
    }

    /// Reads a JSON object of known members.
    ///
    /// # Errors
    /// `INVALID_BODY`, which says where the body differs.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ApiError> {
        json_object(&self.bytes).map_err(|err| self.explained(err))
    }
}

/// Refuses members that a new document would store, although something else was most likely meant: operators, and the wrapping
/// of the client libraries.
///
/// # Errors
/// `INVALID_BODY`, with the remedy.
pub fn check_new(data: &Data) -> Result<(), ApiError> {
    let fields = data.fields();
    if let Some(name) = fields.keys().find(|name| name.starts_with('$')) {
        let name: String = name.chars().take(60).collect();
        return Err(Body::invalid(&format!(
            "the member `{name}` begins with `$`, as operators of a change do; send operators with PATCH, or give the field a name without `$`"
        )));
    }
    if is_wrapped(data) {
        return Err(Body::invalid(
            "the body must be the document itself, without `data` around it: {\"title\":\"Hello\"} and not {\"data\":{\"title\":\"Hello\"}}",
        ));
    }
    Ok(())
}

/// Refuses the wrapping of the client libraries around the members of a change.
///
/// # Errors
/// `INVALID_BODY`, with the remedy.
pub fn check_patch(data: &Data) -> Result<(), ApiError> {
    if is_wrapped(data) {
        return Err(Body::invalid(
            "the body must have the members to change, without `data` around them: {\"title\":\"Hello\"} and not {\"data\":{\"title\":\"Hello\"}}; a field of this name is changed by {\"data\":{…},\"$unset\":[]}",
        ));
    }
    Ok(())
}

fn is_wrapped(data: &Data) -> bool {
    let fields = data.fields();
    fields.len() == 1 && fields.get("data").is_some_and(serde_json::Value::is_object)
}

/// Refuses a compression that this server can't undo.
fn check_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default().trim().to_ascii_lowercase();
    match text.as_str() {
        "" | "identity" | "gzip" | "x-gzip" | "deflate" => Ok(()),
        _ => Err(Body::invalid(&format!(
            "the body has `Content-Encoding: {}`, which this server can't undo; send it uncompressed, or with gzip or deflate",
            text.chars().take(60).collect::<String>()
        ))),
    }
}

/// Returns what a body is that is plainly no JSON, and what to send instead.
fn find_other_format(body: &[u8], content_type: &str) -> Option<&'static str> {
    let begin = body.trim_ascii_start();
    if body.starts_with(b"\xef\xbb\xbf") {
        Some(
            "the body begins with a byte order mark (BOM), which is not allowed in JSON; save the file as UTF-8 without BOM",
        )
    } else if body.starts_with(b"\xff\xfe") || body.starts_with(b"\xfe\xff") {
        Some("the body is UTF-16; JSON must be UTF-8")
    } else if body.starts_with(b"\x1f\x8b") {
        Some("the body is compressed; say so with the header `Content-Encoding: gzip`")
    } else if begin.starts_with(b"--") || content_type.starts_with("multipart/") {
        Some(
            "the body is a form with parts (multipart/form-data), and this route takes JSON: send an object such as {\"title\":\"Hello\"}; files can't be stored yet",
        )
    } else if begin.starts_with(b"<") || content_type.contains("xml") {
        Some(
            "the body is XML or HTML, and this route takes JSON: send an object such as {\"title\":\"Hello\"}",
        )
    } else if is_form(begin) {
        Some(
            "the body is a form (`title=Hello`), and this route takes JSON: send an object such as {\"title\":\"Hello\"}",
        )
    } else {
        None
    }
}

/// Whether a text looks like `title=Hello&year=1968`.
fn is_form(text: &[u8]) -> bool {
    let name =
        text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_-.[]%+".contains(byte)).count();
    name > 0 && text.get(name) == Some(&b'=')
}

/// Reads a JSON object of known members.
///
/// # Errors
/// `INVALID_BODY`, which says where the text differs.
pub fn json_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, ApiError> {
    // serde would also read the members from an array, in their order.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(Body::invalid("the body is not valid: it must be a JSON object"));
    }
    serde_json::from_slice(json).map_err(|err| invalid_body(&err))
}

/// The error of a body, in the words of [`explain`].
pub fn invalid_body(err: &serde_json::Error) -> ApiError {
    let kind = if err.is_data() { "valid" } else { "valid JSON" };
    Body::invalid(&format!("the body is not {kind}: {}", explain(err)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::shares::{Account, Budget};

    /// Reads a body of 200 KiB that arrives at so many bytes a second.
    async fn read_at(rate: usize) -> Result<usize, ApiError> {
        let part = Bytes::from(vec![b'x'; rate]);
        let parts = stream::iter(std::iter::repeat_n(part, 200 * 1024 / rate)).then(|part| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(part)
        });
        let budget = Budget::new(1 << 20);
        let new_permit = || budget.empty_permit(&Account::anonymous());
        read(Box::pin(parts), 1 << 20, None, new_permit).await.map(|(body, _)| body.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_arrives_below_the_minimum_rate_is_refused() {
        assert_eq!(read_at(2560).await.unwrap(), 200 * 1024);
        assert_eq!(read_at(2000).await.unwrap_err().code, ErrorCode::InvalidBody);
    }
}
