//! Server-sent events `/realtime/sse/{collection}`: a [`Connection`] that watches one collection and hears nothing.

use actix_web::{HttpRequest, HttpResponse, body::MessageBody, http::header, web::Path};

use super::{
    OutboxBody, check_origin,
    connection::{Connection, Incoming},
    opener, parts, protocol,
};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        extract::Parameters,
        rest::documents::parse_filter,
    },
    hub::Form,
    query::cursor::Cursor,
    service::streams::Resume,
};

/// `GET /realtime/sse/{collection}` → 200 and a stream that ends when its reader, its collection or the server goes.
///
/// `Last-Event-ID`, or `since`, says where to go on; one that can't be used is said on the stream, since a browser's
/// `EventSource` gives up on every status but 200.
pub async fn open(
    request: HttpRequest,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let (realtime, shard) = parts(&request)?;
    check_origin(&request, &realtime)?;
    let principal = opener(&request, &parameters).await?.ok_or_else(ApiError::unauthorized)?;
    let filter = parse_filter(&parameters)?;
    parameters.refuse(&[
        "limit",
        "offset",
        "after",
        "orderBy",
        "order",
        "sort",
        "sort_by",
        "sort_order",
        "select",
    ])?;
    parameters.refuse(&["populate", "field", "operation", "format", "snapshot"])?;
    let permit = realtime
        .connections
        .acquire()
        .ok_or_else(|| ApiError::new(ErrorCode::Overloaded, "too many connections; try again"))?;
    let since = last_event_id(&request, &parameters)?;
    let mut connection = Connection::new(realtime.clone(), shard, Form::Sse, permit);
    connection.set_principal(principal.clone())?;
    connection.outbox().push(protocol::sse_retry());

    let cursor = since.map(|text| Cursor::decode(&text, &principal.project)).transpose();
    let (from, lost) = match cursor {
        Ok(None) => (None, None),
        Ok(Some(cursor)) => match realtime.streams.resume(&principal.project, cursor).await? {
            Resume::From(position) => (Some(Cursor { epoch: cursor.epoch, position }), None),
            Resume::Expired(_) => (None, Some("CURSOR_EXPIRED")),
        },
        Err(_) => (None, Some("INVALID_CURSOR")),
    };
    let slot = connection.subscribe(&collection, filter, from).await?;
    if let Some(cursor) = slot.cursor() {
        let id = cursor.encode(&principal.project);
        connection.outbox().push(match lost {
            Some(code) => protocol::sse_resync(code, &id),
            None => protocol::sse_id(&id),
        });
    }
    let outbox = connection.outbox().clone();
    actix_web::rt::spawn(connection.run(futures_util::stream::pending::<Incoming>()));
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        // nginx would hold events back.
        .insert_header(("X-Accel-Buffering", "no"))
        .body(OutboxBody::new(outbox, None).boxed()))
}

fn last_event_id(request: &HttpRequest, parameters: &Parameters) -> Result<Option<String>, ApiError> {
    let header =
        request.headers().get("Last-Event-ID").map(|value| String::from_utf8_lossy(value.as_bytes()).into());
    let since = parameters.single("since")?.map(str::to_owned);
    // An empty one is what a client sends that has none.
    let given = |text: &String| !text.is_empty();
    Ok(header.filter(given).or(since.filter(given)))
}
