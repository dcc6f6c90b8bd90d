//! Stream tickets.

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde::{Deserialize, Serialize};

use super::success::Success;
use crate::{
    api::{
        error::ApiError,
        request::{Body, Caller, unknown::refuse_in_write},
        state::State,
    },
    auth::TicketCollection,
    domain::CollectionName,
    live::LiveError,
};

/// The body of the request. Unknown members are refused, because ignoring them would mislead.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    collection: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TicketBody {
    ticket: String,
    expires_at: String,
}

/// `POST /realtime/tickets` `{"collection"?}` → 201 with a ticket that opens live streams for an hour, with the caller's rights.
pub async fn create(
    state: State,
    request: HttpRequest,
    Caller(principal): Caller,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_in_write(&request)?;
    let wanted: Wanted = if body.bytes.is_empty() { Wanted::default() } else { body.json()? };
    let streams = &state.realtime.streams;
    let collection = match &wanted.collection {
        Some(name) => {
            Some(match (streams.open_readable(&principal, name).await, CollectionName::parse(name)) {
                // A stream may wait for its first write.
                (Err(LiveError::UnknownCollection), Ok(name)) => TicketCollection::Awaited(name),
                (found, _) => TicketCollection::Existing(found?.id.clone()),
            })
        }
        None => {
            streams.check(&principal).map_err(LiveError::from)?;
            None
        }
    };
    let ticket = state.realtime.admission.tickets.issue(&principal, collection.as_ref())?;
    let body = TicketBody { ticket: ticket.text, expires_at: ticket.expires_at.to_string() };
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(Success::new(body)))
}
