//! Bounds the memory of large answers while their peers read them.
//!
//! An answer stays in memory until its peer has read it. So a large answer takes its bytes from a budget and goes out in
//! pieces. A peer that reads nothing for a while loses its answer, because it would keep the budget from others.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    Error, ResponseError,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::Method,
    middleware::Next,
};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    api::{
        error::{ApiError, ErrorCode},
        state::State,
    },
    live::budget::BudgetPermit,
};

/// A smaller answer takes nothing of the budget: the number of connections bounds how many there are.
const FREE_BYTES: usize = 64 * 1024;
/// How much the HTTP server takes of an answer at once.
const PIECE_BYTES: usize = 64 * 1024;
/// How long a peer may read nothing.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Middleware: takes the bytes of large answers from the budget. If too few are left, a read is answered `OVERLOADED`. The
/// answer to a write is sent all the same, because the write was done.
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
        Ok(bytes) => match state.response_bodies.take(bytes.len()) {
            Err(_) if is_read => {
                let message = "too many large answers are being sent; try again";
                return Ok(ServiceResponse::new(
                    request,
                    ApiError::new(ErrorCode::Overloaded, message).error_response(),
                ));
            }
            permit => Answer::new(bytes, permit.ok()).boxed(),
        },
        Err(body) => body,
    };
    Ok(ServiceResponse::new(request, response.set_body(body)))
}

/// A response body that goes out in pieces.
struct Answer {
    size: u64,
    rest: Rc<Rest>,
    /// Dropped with the answer, which ends [`watch`].
    _watched: oneshot::Sender<()>,
}

/// The part of an answer that the peer has not read yet.
struct Rest {
    bytes: RefCell<Bytes>,
    permit: Cell<Option<BudgetPermit>>,
    /// Whether the peer read anything since [`watch`] last looked.
    is_taken: Cell<bool>,
    is_given_up: Cell<bool>,
}

impl Answer {
    fn new(bytes: Bytes, permit: Option<BudgetPermit>) -> Self {
        let size = bytes.len() as u64;
        let rest = Rc::new(Rest {
            bytes: RefCell::new(bytes),
            permit: Cell::new(permit),
            is_taken: Cell::new(false),
            is_given_up: Cell::new(false),
        });
        let (watched, gone) = oneshot::channel();
        actix_web::rt::spawn(watch(Rc::downgrade(&rest), gone));
        Self { size, rest, _watched: watched }
    }
}

/// Drops an answer whose peer reads nothing. The connection cannot be closed from here. It is closed when it is polled
/// again.
async fn watch(rest: Weak<Rest>, mut gone: oneshot::Receiver<()>) {
    while tokio::time::timeout(TIMEOUT, &mut gone).await.is_err() {
        let Some(rest) = rest.upgrade() else { return };
        if !rest.is_taken.replace(false) {
            rest.is_given_up.set(true);
            rest.bytes.take();
            rest.permit.take();
            return;
        }
    }
}

impl MessageBody for Answer {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.size)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.rest.is_given_up.get() {
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        }
        self.rest.is_taken.set(true);
        let mut bytes = self.rest.bytes.borrow_mut();
        let length = bytes.len().min(PIECE_BYTES);
        Poll::Ready((length > 0).then(|| Ok(bytes.split_to(length))))
    }
}
