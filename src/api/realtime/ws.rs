//! WebSocket `/realtime`, and the handshake of every WebSocket.

use std::{cell::Cell, rc::Rc};

use actix_web::{HttpRequest, HttpResponse, body::MessageBody, web};
use actix_ws::{AggregatedMessage, ProtocolError};
use futures_util::{Stream, StreamExt};

use super::{
    connection::{Connection, OutboxBody},
    guard::{Breach, MAX_MESSAGE, guarded},
    local_shard::parts,
    protocol::Protocol,
    session::{Incoming, Session},
    state::Realtime,
};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::{Parameters, unknown::refuse_unknown},
        traffic::note_stream,
    },
    wire::{CloseCode, Form, frames},
};

/// `GET /realtime` → 101. Credentials may come with the handshake. Bad ones are an error message on the stream, since a page in
/// a browser doesn't see the status.
pub async fn open(
    request: HttpRequest,
    payload: web::Payload,
    parameters: Parameters,
) -> Result<HttpResponse, actix_web::Error> {
    let parts = parts(&request)?;
    let (response, incoming) = accept(&request, &parts.realtime, payload).await?;
    let connection = Connection::open(parts, Form::WebSocket);
    let outbox = connection.outbox.clone();
    let mut protocol = Protocol::new(connection.clone());
    let opener = connection.realtime.admission.opener(&request, &parameters).await;
    let known = opener.and_then(|opener| opener.map_or(Ok(()), |opener| protocol.set_principal(opener)));
    if let Err(error) = known {
        protocol.refuse_auth(&error);
    }
    note_stream(&request, connection.taken());
    // A page in a browser would not see a status.
    if let Err(error) = refuse_unknown(&parameters, &["token", "ticket"]) {
        protocol.refuse(&ApiError::new(
            error.code,
            format!(
                "{}; a message subscribes, as in {{\"type\":\"subscribe\",\"collection\":\"books\"}}",
                error.message
            ),
        ));
    }
    actix_web::rt::spawn(Session::new(connection, protocol).run(incoming));
    Ok(response.map_body(|_, kept| OutboxBody::new(outbox, Some(kept)).boxed()))
}

/// Does the handshake, and returns the response with the stream of what comes in.
///
/// # Errors
/// `FORBIDDEN` for a page whose origin isn't allowed, or `INVALID_BODY` for a request that is not a handshake.
pub async fn accept(
    request: &HttpRequest,
    realtime: &Realtime,
    payload: web::Payload,
) -> Result<(HttpResponse, impl Stream<Item = Incoming> + use<>), actix_web::Error> {
    realtime.admission.check_origin(request)?;
    let (payload, breach) = guarded(request, payload).await?;
    let handshake = actix_ws::handle(request, payload);
    let (response, _, messages) = handshake.map_err(|_| {
        ApiError::new(ErrorCode::InvalidBody, "this path is a WebSocket; connect to it with ws:// or wss://")
    })?;
    let messages = messages.aggregate_continuations().max_continuation_size(MAX_MESSAGE as usize);
    Ok((response, incoming(messages, breach)))
}

fn incoming(
    messages: impl Stream<Item = Result<AggregatedMessage, ProtocolError>>,
    breach: Rc<Cell<Option<Breach>>>,
) -> impl Stream<Item = Incoming> {
    let ended = futures_util::stream::once(async { Incoming::Goodbye });
    messages.map(move |message| read(message, breach.get())).chain(ended)
}

fn read(message: Result<AggregatedMessage, ProtocolError>, breach: Option<Breach>) -> Incoming {
    match message {
        Ok(AggregatedMessage::Text(text)) => Incoming::Text(text.into()),
        Ok(AggregatedMessage::Binary(_)) => Incoming::Binary,
        Ok(AggregatedMessage::Ping(payload)) => Incoming::Answer(frames::pong_frame(&payload)),
        Ok(AggregatedMessage::Pong(_)) => Incoming::SignOfLife,
        Ok(AggregatedMessage::Close(_)) => Incoming::Goodbye,
        Err(_) if breach == Some(Breach::TooBig) => {
            Incoming::Breach(CloseCode::TooBig, "a message is at most 64 KiB in 64 fragments")
        }
        Err(_) if breach == Some(Breach::ReservedBits) => {
            Incoming::Breach(CloseCode::Protocol, "no extension was agreed on (RFC 6455)")
        }
        Err(ProtocolError::Overflow) => Incoming::Breach(CloseCode::TooBig, "a message is at most 64 KiB"),
        Err(ProtocolError::Io(err)) if err.kind() == std::io::ErrorKind::InvalidData => {
            Incoming::Breach(CloseCode::InvalidData, "text is UTF-8")
        }
        Err(_) => Incoming::Breach(CloseCode::Protocol, "not WebSocket (RFC 6455)"),
    }
}
