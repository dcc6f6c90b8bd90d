//! Server-sent events `/realtime/sse/{collection}`: a stream that has one subscription and hears nothing.

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, body::MessageBody, http::header, web::Path};

use super::{
    connection::{Connection, OutboxBody},
    local_shard::parts,
    protocol::Protocol,
    session::{Incoming, Session},
};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::{
            Parameters,
            credential::{IN_A_PAGE, NO_CREDENTIAL},
            parameters::invalid_parameter,
        },
        traffic::note_stream,
    },
    domain::{ProjectId, cursor::Cursor},
    live::NewSubscription,
    wire::{self, Form},
};

/// `GET /realtime/sse/{collection}` → 200 and a stream that ends when its reader, its collection or the server goes.
///
/// `Last-Event-ID`, `lastEventId` or `since` is the cursor to resume from. If it can't be used, the stream says so, because a browser's
/// `EventSource` gives up for ever on every status but 200. For the same reason a client that reconnects while the server is
/// overloaded, or after it has opened too many streams, gets a stream that ends at once, and comes back.
pub async fn open(
    request: HttpRequest,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    match open_stream(&request, &collection, &parameters).await {
        Err(error)
            if matches!(error.code, ErrorCode::Overloaded | ErrorCode::RateLimited)
                && is_back(&request, &parameters) =>
        {
            Ok(event_stream().body(wire::sse::retry_alone()))
        }
        outcome => outcome,
    }
}

const LAST_EVENT_ID: &str = "Last-Event-ID";
/// The names of the parameters that libraries put into the URL in place of the header: where a page may send it only if CORS
/// allows it, and so a browser asks first.
const LAST_EVENT_ID_PARAMETERS: [&str; 2] = ["lastEventId", LAST_EVENT_ID];

async fn open_stream(
    request: &HttpRequest,
    collection: &str,
    parameters: &Parameters,
) -> Result<HttpResponse, ApiError> {
    let parts = parts(request)?;
    let admission = &parts.realtime.admission;
    admission.check_origin(request)?;
    let opener = admission.opener(request, parameters).await.map_err(|error| in_a_page(error, parameters))?;
    let missing = || in_a_page(ApiError::unauthorized().with_hint(NO_CREDENTIAL), parameters);
    let principal = opener.ok_or_else(missing)?;
    refuse_foreign(parameters)?;
    let filter = parameters.filter()?;
    let [one, other] = LAST_EVENT_ID_PARAMETERS;
    parameters.refuse_all_but(&["filters", "since", "snapshot", "ticket", "token", one, other])?;
    let since = last_event_id(request, parameters, &principal.project)?;
    let snapshot = match parameters.single("snapshot")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(ApiError::new(ErrorCode::InvalidFilter, "`snapshot` is true or false")),
    };
    let connection = Connection::open(parts, Form::Sse);
    let outbox = connection.outbox.clone();
    let mut protocol = Protocol::new(connection.clone());
    protocol.set_principal(principal)?;
    note_stream(request, connection.taken());
    outbox.push(wire::sse::retry());

    let collection = collection.to_owned();
    protocol
        .subscribe(NewSubscription { collection, filter, id: None, since, snapshot, params: None })
        .await?;
    let session = Session::new(connection, protocol);
    actix_web::rt::spawn(session.run(futures_util::stream::pending::<Incoming>()));
    Ok(event_stream().body(OutboxBody::new(outbox, None).boxed()))
}

/// Parameters of other products' streams, with the advice for each. As filters they would make a stream that stays silent.
const FOREIGN: [(&[&str], &str); 3] = [
    (
        &["events", "event_types", "eventTypes"],
        "a stream has every `created`, `updated` and `deleted` event of its documents",
    ),
    (&["replay", "resume", "last_id", "lastId"], "did you mean `since`? It takes a cursor"),
    (
        &["snapshots", "initial", "include_snapshot", "includeSnapshot"],
        "did you mean `snapshot`? It takes true or false",
    ),
];

fn refuse_foreign(parameters: &Parameters) -> Result<(), ApiError> {
    for (name, _) in parameters.pairs() {
        if let Some((_, advice)) = FOREIGN.iter().find(|(names, _)| names.contains(&name)) {
            let end = if advice.ends_with('?') { "" } else { "." };
            return Err(invalid_parameter(format!(
                "unknown parameter `{name}`: {advice}{end} A field of this name is `{name}__eq`"
            )));
        }
    }
    Ok(())
}

/// Adds to a refused credential how a page gives one, unless it does so.
fn in_a_page(error: ApiError, parameters: &Parameters) -> ApiError {
    let gives_one = ["token", "ticket"].iter().any(|name| !matches!(parameters.single(name), Ok(None)));
    match &error.hint {
        Some(hint) if error.code == ErrorCode::Unauthorized && !gives_one => {
            let hint = format!("{hint}; {IN_A_PAGE}");
            error.with_hint(hint)
        }
        _ => error,
    }
}

fn event_stream() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        // When the server ends the stream, no request can follow on its socket.
        .force_close()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        // nginx would hold events back.
        .insert_header(("X-Accel-Buffering", "no"));
    response
}

/// Whether the client has had a stream before.
fn is_back(request: &HttpRequest, parameters: &Parameters) -> bool {
    request.headers().contains_key(LAST_EVENT_ID)
        || parameters.all(&LAST_EVENT_ID_PARAMETERS).next().is_some()
}

/// Returns the newest cursor of the header and the parameters. A library may repeat an old one in the URL that it was given.
/// If none is a cursor, returns the first text.
fn last_event_id(
    request: &HttpRequest,
    parameters: &Parameters,
    project: &ProjectId,
) -> Result<Option<String>, ApiError> {
    let header = request.headers().get(LAST_EVENT_ID);
    let header = header.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let all = parameters.all(&LAST_EVENT_ID_PARAMETERS).chain(parameters.single("since")?);
    // Some clients send an empty one when they have none.
    let texts = header.into_iter().chain(all.map(str::to_owned)).filter(|text| !text.is_empty());
    let mut newest: Option<(Option<Cursor>, String)> = None;
    for text in texts {
        let cursor = Cursor::decode(&text, project).ok();
        let is_newer = match (&newest, cursor) {
            (None, _) | (Some((None, _)), Some(_)) => true,
            // Sequences of another epoch say nothing about this one.
            (Some((Some(known), _)), Some(cursor)) => {
                cursor.epoch == known.epoch && cursor.position.sequence > known.position.sequence
            }
            (Some(_), None) => false,
        };
        if is_newer {
            newest = Some((cursor, text));
        }
    }
    Ok(newest.map(|(_, text)| text))
}
