//! Collections: creates, lists, changes and removes them.

use actix_web::{HttpResponse, web::Path};
use serde::Deserialize;
use serde_json::json;

use crate::{
    api::{
        cocobase::{
            body,
            permissions::{self, NewPermissions},
            response::deleted,
        },
        error::{ApiError, ErrorCode},
        headers::add_cursor,
        request::{Body, Caller, Parameters, body::json_object},
        rest::settings,
        state::State,
    },
    auth::Principal,
    domain::{Collection, CollectionName},
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
    permissions: Option<NewPermissions>,
}

/// `POST /collections/` `{"name","permissions"?}`, also in `{"data":…}` → 201 with the collection; 400 if the name is taken.
/// Permissions that limit something take a secret key.
pub async fn create(state: State, Caller(principal): Caller, body: Body) -> Result<HttpResponse, ApiError> {
    let (name, permissions) = parse(&body)?;
    let name = name.ok_or_else(|| refuse("`name` is missing"))?;
    // Somebody who may set no rules may still say that nothing is to be limited.
    let may_set_rules = state.collections.check_change(&principal).is_ok();
    let permissions = permissions.filter(|permissions| may_set_rules || !permissions.are_open());
    let rules = permissions.map(|permissions| permissions.to_rules(None)).transpose()?;
    let committed =
        state.collections.create(&principal, name, None, (Vec::new(), rules)).await.map_err(taken)?;
    let mut response = HttpResponse::Created();
    add_cursor(&mut response, &principal, &committed);
    let Some(Outcome::Collection(collection)) = committed.outcomes.last() else {
        return Ok(response.finish());
    };
    Ok(response.json(described(&state, &principal, collection).await?))
}

/// Describes a collection, with its permissions to those who may see rules.
async fn described(
    state: &State,
    principal: &Principal,
    collection: &Collection,
) -> Result<CollectionBody, ApiError> {
    let rules = state.collections.rules(principal, collection.id.as_str()).await?;
    Ok(CollectionBody::with_permissions(collection, permissions::shown(rules.as_deref())))
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
    let described = list.collections.iter().zip(&list.rules).map(|(collection, rules)| {
        CollectionBody::with_permissions(collection, permissions::shown(rules.as_deref()))
    });
    let bodies: Vec<_> = described.collect();
    Ok(HttpResponse::Ok().json(bodies))
}

/// `PATCH /collections/{collection}` `{"name"?,"permissions"?}`, also in `{"data":…}` → 200 with the changed collection, in the
/// members of both doors. Takes a secret key.
pub async fn change(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let (name, permissions) = parse(&body)?;
    state.collections.check_change(&principal)?;
    if name.is_none() && permissions.is_none() {
        return Err(refuse("the body changes nothing; it has `name` or `permissions`"));
    }
    let rules = match permissions {
        None => None,
        Some(permissions) => {
            let before = state.collections.rules(&principal, &collection).await?;
            Some(Some(permissions.to_rules(before.as_deref())?))
        }
    };
    let change = SettingsChange { name, rules, ..SettingsChange::default() };
    let committed =
        state.collections.change(&principal, collection.into_inner(), change).await.map_err(taken)?;
    let mut response = HttpResponse::Ok();
    add_cursor(&mut response, &principal, &committed);
    let Some(Outcome::Collection(collection)) = committed.outcomes.last() else {
        return Ok(response.finish());
    };
    let mut members = json!(described(&state, &principal, collection).await?);
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

fn parse(body: &Body) -> Result<(Option<CollectionName>, Option<NewPermissions>), ApiError> {
    let settings: Settings = json_object(body::members(body))?;
    if settings.webhook_url.is_some() {
        return Err(refuse("this server has no webhooks yet; leave `webhook_url` out"));
    }
    let name = |name: String| {
        CollectionName::parse(&name)
            .map_err(|err| ApiError::new(ErrorCode::InvalidCollectionName, err.to_string()))
    };
    Ok((settings.name.map(name).transpose()?, settings.permissions))
}

fn refuse(message: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidBody, message)
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
