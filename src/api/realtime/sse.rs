//! Server-sent events `/realtime/sse/{collection}`: a [`Connection`] that watches one collection and hears nothing.

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, body::MessageBody, http::header, web::Path};

use super::{
    OutboxBody, check_origin,
    connection::{Connection, Incoming},
    opener, parts,
    subscriptions::Wanted,
};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::Parameters,
    },
    wire::{self, Form},
};

/// `GET /realtime/sse/{collection}` → 200 and a stream that ends when its reader, its collection or the server goes.
///
/// `Last-Event-ID`, or `since`, says where to go on; one that can't be used is said on the stream, since a browser's
/// `EventSource` gives up on every status but 200. So one that reconnects while the server can't serve it gets a stream
/// that ends at once, and comes back.
pub async fn open(
    request: HttpRequest,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    match open_stream(&request, &collection, &parameters).await {
        Err(error)
            if error.code == ErrorCode::Overloaded && request.headers().contains_key(LAST_EVENT_ID) =>
        {
            Ok(event_stream().body(wire::sse::retry()))
        }
        outcome => outcome,
    }
}

const LAST_EVENT_ID: &str = "Last-Event-ID";

async fn open_stream(
    request: &HttpRequest,
    collection: &str,
    parameters: &Parameters,
) -> Result<HttpResponse, ApiError> {
    let (realtime, shard) = parts(request)?;
    check_origin(request, &realtime)?;
    let principal = opener(request, &realtime, parameters).await?.ok_or_else(ApiError::unauthorized)?;
    let filter = parameters.filter()?;
    parameters.refuse_all_but(&["filters", "since", "snapshot", "ticket", "token"])?;
    let permit = realtime
        .connections
        .acquire()
        .ok_or_else(|| ApiError::new(ErrorCode::Overloaded, "too many connections; try again"))?;
    let since = last_event_id(request, parameters)?;
    let snapshot = match parameters.single("snapshot")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(ApiError::new(ErrorCode::InvalidFilter, "`snapshot` is true or false")),
    };
    let mut connection = Connection::new(realtime.clone(), shard, Form::Sse, permit);
    connection.set_principal(principal.clone())?;
    connection.outbox().push(wire::sse::retry());

    let collection = collection.to_owned();
    connection.subscribe(Wanted { collection, filter, id: None, since, snapshot }).await?;
    let outbox = connection.outbox().clone();
    actix_web::rt::spawn(connection.run(futures_util::stream::pending::<Incoming>()));
    Ok(event_stream().body(OutboxBody::new(outbox, None).boxed()))
}

fn event_stream() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        // nginx would hold events back.
        .insert_header(("X-Accel-Buffering", "no"));
    response
}

fn last_event_id(request: &HttpRequest, parameters: &Parameters) -> Result<Option<String>, ApiError> {
    let header =
        request.headers().get(LAST_EVENT_ID).map(|value| String::from_utf8_lossy(value.as_bytes()).into());
    let since = parameters.single("since")?.map(str::to_owned);
    // An empty one is what a client sends that has none.
    let given = |text: &String| !text.is_empty();
    Ok(header.filter(given).or(since.filter(given)))
}
