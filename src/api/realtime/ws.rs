//! WebSocket `/realtime`: bytes in and out of a [`Connection`].

use std::{cell::Cell, rc::Rc};

use actix_web::{HttpRequest, HttpResponse, body::MessageBody, web};
use actix_ws::{AggregatedMessage, ProtocolError};
use futures_util::{Stream, StreamExt};

use super::{
    ConnectionPermit, OutboxBody, Realtime, check_origin,
    connection::{Connection, Incoming},
    guard::{Breach, MAX_MESSAGE, guarded},
    opener, parts,
};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::Parameters,
    },
    wire::{CloseCode, Form, frames},
};

/// `GET /realtime` → 101. Credentials may come in the handshake; bad ones are an error message on the stream, since a
/// browser shows its page no status.
pub async fn open(
    request: HttpRequest,
    payload: web::Payload,
    parameters: Parameters,
) -> Result<HttpResponse, actix_web::Error> {
    let (realtime, shard) = parts(&request)?;
    let (response, incoming) = accept(&request, &realtime, payload).await?;
    let permit = realtime.connections.acquire();
    let refused = permit.is_none();
    let mut connection = Connection::new(
        realtime.clone(),
        shard,
        Form::WebSocket,
        permit.unwrap_or_else(ConnectionPermit::none),
    );
    let outbox = connection.outbox().clone();
    if refused {
        outbox.finish(Form::WebSocket.close(CloseCode::TryAgain, "too many connections"));
    } else {
        let opener = opener(&request, &realtime, &parameters).await;
        match opener.and_then(|opener| opener.map_or(Ok(()), |principal| connection.set_principal(principal)))
        {
            Ok(()) => {}
            Err(error) => connection.refuse_auth(&error),
        }
        actix_web::rt::spawn(connection.run(incoming));
    }
    Ok(response.map_body(|_, kept| OutboxBody::new(outbox, Some(kept)).boxed()))
}

/// Does the handshake, and gives what comes in.
///
/// # Errors
/// `FORBIDDEN` for a page that may not, or `INVALID_BODY` for a request that is no handshake.
pub(in crate::api) async fn accept(
    request: &HttpRequest,
    realtime: &Realtime,
    payload: web::Payload,
) -> Result<(HttpResponse, impl Stream<Item = Incoming> + use<>), actix_web::Error> {
    check_origin(request, realtime)?;
    let (payload, breach) = guarded(request, payload).await?;
    let handshake = actix_ws::handle(request, payload);
    let (response, _, messages) = handshake.map_err(|_| {
        ApiError::new(ErrorCode::InvalidBody, "this is a WebSocket: connect to it with ws:// or wss://")
    })?;
    let messages = messages.aggregate_continuations().max_continuation_size(MAX_MESSAGE as usize);
    Ok((response, incoming(messages, breach)))
}

fn incoming(
    messages: impl Stream<Item = Result<AggregatedMessage, ProtocolError>>,
    breach: Rc<Cell<Option<Breach>>>,
) -> impl Stream<Item = Incoming> {
    let ended = futures_util::stream::once(async { Incoming::Close(CloseCode::Normal, "") });
    messages.map(move |message| read(message, breach.get())).chain(ended)
}

fn read(message: Result<AggregatedMessage, ProtocolError>, breach: Option<Breach>) -> Incoming {
    match message {
        Ok(AggregatedMessage::Text(text)) => Incoming::Text(text.into()),
        Ok(AggregatedMessage::Binary(_)) => Incoming::Binary,
        Ok(AggregatedMessage::Ping(payload)) => Incoming::Answer(frames::pong_frame(&payload)),
        Ok(AggregatedMessage::Pong(_)) => Incoming::SignOfLife,
        Ok(AggregatedMessage::Close(_)) => Incoming::Close(CloseCode::Normal, ""),
        Err(_) if breach == Some(Breach::TooBig) => {
            Incoming::Close(CloseCode::TooBig, "a message is at most 64 KiB in 64 fragments")
        }
        Err(_) if breach == Some(Breach::ReservedBits) => {
            Incoming::Close(CloseCode::Protocol, "no extension was agreed on (RFC 6455)")
        }
        Err(ProtocolError::Overflow) => Incoming::Close(CloseCode::TooBig, "a message is at most 64 KiB"),
        Err(ProtocolError::Io(err)) if err.kind() == std::io::ErrorKind::InvalidData => {
            Incoming::Close(CloseCode::InvalidData, "text is UTF-8")
        }
        Err(_) => Incoming::Close(CloseCode::Protocol, "not WebSocket (RFC 6455)"),
    }
}
