//! Bounds the memory of large answers while their peers read them.
//!
//! An answer stays in memory until its peer has read it. So a large answer takes its bytes from a budget, which keys share,
//! and goes out in pieces. A peer that reads too slowly loses its answer, because it would keep the budget from others.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpResponse, HttpResponseBuilder, ResponseError,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, header::ContentType},
    middleware::Next,
};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::{
    api::{error::ApiError, request::caller::account_of, state::State},
    service::scans::NO_ROOM,
    shares::{BudgetPermit, MinimumRate},
};

/// A smaller answer takes nothing of the budget: the number of connections bounds how many there are.
pub const FREE_BYTES: usize = 64 * 1024;
/// How much the HTTP server takes of an answer at once. Small, so that a slow peer is seen to take something.
const PIECE_BYTES: usize = 16 * 1024;

/// Middleware: takes the bytes of large answers from the budget, unless their handler has done it. If too few are left, a read
/// is answered `OVERLOADED`. The answer to a write is sent all the same, because the write was done.
///
/// # Errors
/// The handler's own.
pub async fn bound_answers(
    state: State,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let response = next.call(request).await?;
    match response.response().body().size() {
        BodySize::Sized(size) if size > FREE_BYTES as u64 => {}
        _ => return Ok(response),
    }
    let (request, response) = response.into_parts();
    let (response, body) = response.into_parts();
    let body = match body.try_into_bytes() {
        Ok(bytes) => {
            let account = account_of(&state, &request);
            match state.response_bodies.take(&account, bytes.len()) {
                Err(_) if is_read => return Ok(ServiceResponse::new(request, too_many().error_response())),
                permit => {
                    let permit = permit.unwrap_or_else(|_| state.response_bodies.empty_permit(&account));
                    Answer::new(bytes, permit).boxed()
                }
            }
        }
        // The body of a handler that has taken its bytes.
        Err(body) => body,
    };
    Ok(ServiceResponse::new(request, response.set_body(body)))
}

/// Makes the error for a read whose answer finds no room.
pub fn too_many() -> ApiError {
    NO_ROOM.into()
}

/// Answers small JSON, which takes about so many bytes: a buffer that grows is copied each time.
pub fn small_json(
    mut response: HttpResponseBuilder,
    body: &impl Serialize,
    expected_bytes: usize,
) -> HttpResponse {
    let mut text = Vec::with_capacity(expected_bytes.min(FREE_BYTES));
    serde_json::to_writer(&mut text, body).expect("strings and JSON text can be written");
    response.content_type(ContentType::json()).body(text)
}

/// Answers JSON of at most `most_bytes`. The permit holds as many, unless they are at most [`FREE_BYTES`]; the rest of it is
/// given back at once.
pub fn json(
    response: HttpResponseBuilder,
    body: &impl Serialize,
    most_bytes: usize,
    permit: BudgetPermit,
) -> HttpResponse {
    let mut text = Vec::with_capacity(most_bytes);
    serde_json::to_writer(&mut text, body).expect("strings and JSON text can be written");
    json_text(response, text, permit)
}

/// Answers a JSON text, whose bytes the permit holds.
pub fn json_text(
    mut response: HttpResponseBuilder,
    mut text: Vec<u8>,
    mut permit: BudgetPermit,
) -> HttpResponse {
    response.content_type(ContentType::json());
    if text.len() <= FREE_BYTES {
        return response.body(text);
    }
    text.shrink_to_fit();
    permit.shrink_to(text.len());
    response.body(Answer::new(text.into(), permit))
}

/// A response body that is in memory and goes out in pieces.
struct Answer {
    size: u64,
    outgoing: Outgoing,
}

impl Answer {
    fn new(bytes: Bytes, permit: BudgetPermit) -> Self {
        let size = bytes.len() as u64;
        let outgoing = Outgoing::default();
        outgoing.put(bytes, permit);
        Self { size, outgoing }
    }
}

impl MessageBody for Answer {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.size)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(self.outgoing.next_piece().transpose())
    }
}

/// Bytes on their way to a peer, in pieces. If the peer takes them too slowly they are dropped, and their permit with them.
pub struct Outgoing {
    rest: Rc<Rest>,
    /// Dropped with the bytes, which ends [`watch`].
    _watched: oneshot::Sender<()>,
}

/// The part that the peer has not taken yet.
#[derive(Default)]
struct Rest {
    bytes: RefCell<Bytes>,
    permit: Cell<Option<BudgetPermit>>,
    /// The bytes that the peer took since [`watch`] last looked.
    taken: Cell<usize>,
    /// Whether the peer had taken everything since then, and waited for more.
    has_waited: Cell<bool>,
    is_given_up: Cell<bool>,
}

impl Default for Outgoing {
    fn default() -> Self {
        let rest = Rc::new(Rest::default());
        let (watched, gone) = oneshot::channel();
        actix_web::rt::spawn(watch(Rc::downgrade(&rest), gone));
        Self { rest, _watched: watched }
    }
}

impl Outgoing {
    /// Puts bytes in the place of those that were taken.
    pub fn put(&self, bytes: Bytes, permit: BudgetPermit) {
        self.rest.bytes.replace(bytes);
        self.rest.permit.set(Some(permit));
    }

    /// Takes the next piece; `None` if everything was taken.
    ///
    /// # Errors
    /// The peer was given up.
    pub fn next_piece(&self) -> io::Result<Option<Bytes>> {
        let rest = &self.rest;
        if rest.is_given_up.get() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut bytes = rest.bytes.borrow_mut();
        let length = bytes.len().min(PIECE_BYTES);
        rest.taken.set(rest.taken.get() + length);
        if length == 0 {
            rest.has_waited.set(true);
            rest.permit.take();
            return Ok(None);
        }
        Ok(Some(bytes.split_to(length)))
    }
}

/// Drops bytes whose peer takes them too slowly. The connection cannot be closed from here. It is closed when it is polled
/// again.
async fn watch(rest: Weak<Rest>, mut gone: oneshot::Receiver<()>) {
    let mut rate = MinimumRate::begin();
    while tokio::time::timeout_at(rate.ends_at(), &mut gone).await.is_err() {
        let Some(rest) = rest.upgrade() else { return };
        rate.note(rest.taken.take());
        let (is_kept, has_waited) = (rate.next_window(), rest.has_waited.take());
        if !is_kept && !has_waited {
            rest.is_given_up.set(true);
            rest.bytes.take();
            rest.permit.take();
            return;
        }
    }
}
