//! The sockets of this door. Each is about one topic, which its path names.

use actix_web::{HttpRequest, HttpResponse, body::MessageBody, web};

use super::{
    introduction::{Introduction, Topic},
    rooms::{bus::Place, conversation::Visit},
    watch::Watched,
};
use crate::{
    api::realtime::{
        connection::{Connection, OutboxBody},
        local_shard::parts,
        pace::Pace,
        session::Session,
        ws::accept,
    },
    wire::Form,
};

/// `GET /realtime/collections/{collection}` → 101.
pub async fn watch(
    request: HttpRequest,
    payload: web::Payload,
    collection: web::Path<String>,
) -> Result<HttpResponse, actix_web::Error> {
    open(request, payload, Watched { collection: collection.into_inner() }).await
}

/// `GET /realtime/broadcast` → 101.
pub async fn broadcast(
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, actix_web::Error> {
    open(request, payload, Visit { place: Place::Broadcast }).await
}

/// `GET /realtime/rooms/{room}` → 101.
pub async fn room(
    request: HttpRequest,
    payload: web::Payload,
    room: web::Path<String>,
) -> Result<HttpResponse, actix_web::Error> {
    open(request, payload, Visit { place: Place::Room(room.into_inner()) }).await
}

async fn open<T: Topic + 'static>(
    request: HttpRequest,
    payload: web::Payload,
    topic: T,
) -> Result<HttpResponse, actix_web::Error> {
    let parts = parts(&request)?;
    let (response, incoming) = accept(&request, &parts.realtime, payload).await?;
    let connection = Connection::open(parts, Form::Library);
    let outbox = connection.outbox.clone();
    let introduction = Introduction::new(connection.clone(), topic);
    actix_web::rt::spawn(Session::paced(connection, introduction, Pace::limited()).run(incoming));
    Ok(response.map_body(|_, kept| OutboxBody::new(outbox, Some(kept)).boxed()))
}
