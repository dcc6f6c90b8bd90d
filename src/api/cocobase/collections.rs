//! Collections: creates, lists, renames and removes them.

use actix_web::{HttpResponse, web::Path};
use serde::Deserialize;
use serde_json::json;

use crate::{
    api::{
        cocobase::{body, response::deleted},
        error::{ApiError, ErrorCode},
        headers::add_cursor,
        request::{Body, Caller, Parameters, body::json_object},
        rest::settings,
        state::State,
    },
    domain::CollectionName,
    service::{
        ServiceError,
        collections::{CollectionPage, SettingsChange},
    },
    wire::cocobase::CollectionBody,
    writer::{Outcome, WriteError},
};

/// The most collections of a list: the greatest value of `COIR_MAX_COLLECTIONS`.
const MAX_COLLECTIONS: u64 = 1_000_000;

/// The body that the libraries send about a collection.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    name: Option<String>,
    webhook_url: Option<String>,
}

/// `POST /collections/` `{"name"}` or `{"data":{"name"}}` → 201 with the collection; 400 if the name is taken.
pub async fn create(state: State, Caller(principal): Caller, body: Body) -> Result<HttpResponse, ApiError> {
    let name = parse_name(&body)?;
    let committed =
        state.collections.create(&principal, name, None, (Vec::new(), None)).await.map_err(taken)?;
    let mut response = HttpResponse::Created();
    add_cursor(&mut response, &principal, &committed);
    let Some(Outcome::Collection(collection)) = committed.outcomes.first() else {
        return Ok(response.finish());
    };
    Ok(response.json(CollectionBody::new(collection)))
}

/// `GET /collections/` → 200 with the collections, by name: all of them, because the libraries don't ask for pages, or those
/// that `limit` and `offset` name.
pub async fn list(
    state: State,
    Caller(principal): Caller,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let offset = parameters.number("offset", 0, 0, MAX_COLLECTIONS)? as usize;
    let limit = parameters.number("limit", MAX_COLLECTIONS, 1, MAX_COLLECTIONS)? as usize;
    let list = state.collections.list(&principal, CollectionPage { after: None, offset, limit }).await?;
    let bodies: Vec<_> = list.collections.iter().map(|collection| CollectionBody::new(collection)).collect();
    Ok(HttpResponse::Ok().json(bodies))
}

/// `PATCH /collections/{collection}` `{"name"}` or `{"data":{"name"}}` → 200 with the renamed collection, in the members of
/// both doors. Takes a secret key.
pub async fn rename(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let name = parse_name(&body)?;
    let change = SettingsChange { name: Some(name), ..SettingsChange::default() };
    let committed =
        state.collections.change(&principal, collection.into_inner(), change).await.map_err(taken)?;
    let mut response = HttpResponse::Ok();
    add_cursor(&mut response, &principal, &committed);
    let Some(Outcome::Collection(collection)) = committed.outcomes.first() else {
        return Ok(response.finish());
    };
    let mut members = json!(CollectionBody::new(collection));
    members["success"] = true.into();
    members["data"] = json!(settings::CollectionBody::new(collection));
    Ok(response.json(members))
}

/// `DELETE /collections/{collection}` → 200 in the members of both doors. Takes a secret key.
pub async fn remove(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    parameters: Parameters,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let refuse = |code, what: &str| {
        Err(ApiError::new(
            code,
            format!(
                "this would remove the whole collection, so it takes no {what}; POST /collections/{{collection}}/batch-delete deletes documents by their ids"
            ),
        ))
    };
    if !parameters.is_empty() {
        return refuse(ErrorCode::InvalidFilter, "parameters");
    }
    // A client may send an empty object or null with every request.
    if !matches!(body.bytes.trim_ascii(), b"" | b"{}" | b"null") {
        return refuse(ErrorCode::InvalidBody, "body");
    }
    let committed = state.collections.remove(&principal, collection.into_inner()).await?;
    let mut response = HttpResponse::Ok();
    add_cursor(&mut response, &principal, &committed);
    let mut members = deleted("Collection");
    if let Some(Outcome::Removed { collection }) = committed.outcomes.first() {
        members["data"] = json!({ "id": collection.as_str() });
    }
    Ok(response.json(members))
}

fn parse_name(body: &Body) -> Result<CollectionName, ApiError> {
    let refuse = |message: &str| ApiError::new(ErrorCode::InvalidBody, message);
    let settings: Settings = json_object(body::members(body))?;
    if settings.webhook_url.is_some() {
        return Err(refuse("this server has no webhooks yet; leave `webhook_url` out"));
    }
    let name = settings.name.ok_or_else(|| refuse("`name` is missing"))?;
    CollectionName::parse(&name)
        .map_err(|err| ApiError::new(ErrorCode::InvalidCollectionName, err.to_string()))
}

/// Answers 400 instead of 409 for a name that is taken, because the libraries expect it.
fn taken(err: ServiceError) -> ApiError {
    let is_taken = |err: &WriteError| match err {
        WriteError::AtOperation { cause, .. } => matches!(**cause, WriteError::CollectionExists(_)),
        err => matches!(err, WriteError::CollectionExists(_)),
    };
    match err {
        ServiceError::Write(err) if is_taken(&err) => {
            ApiError { code: ErrorCode::InvalidBody, ..ApiError::from(err) }
        }
        err => err.into(),
    }
}
