//! The keys of a project. The text of a key is in the answer that makes it, and nowhere else.

use std::time::Duration;

use actix_web::{HttpResponse, http::header, web::Path};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::success::Success;
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::{Body, Parameters, Visitor, unknown::refuse_unknown},
        state::State,
    },
    auth::{KeyKind, Scopes},
    domain::{KeyId, Origins, Timestamp, json},
    service::project_keys::{NewKey, WantedKey, check_name},
    store::access::keys::StoredKey,
    writer::key_operation::KeyPatch,
};

/// How long a key that was rotated stays good, unless the request says otherwise.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);
/// The longest that a key which was rotated stays good.
pub const MAX_GRACE: Duration = Duration::from_secs(90 * 24 * 3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewBody {
    kind: String,
    #[serde(default, deserialize_with = "json::member")]
    name: Option<Value>,
    #[serde(default, deserialize_with = "json::member")]
    scopes: Option<Value>,
    #[serde(default, deserialize_with = "json::member")]
    origins: Option<Value>,
    #[serde(default, deserialize_with = "json::member")]
    expires_at: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ChangeBody {
    #[serde(default, deserialize_with = "given")]
    name: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    scopes: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    origins: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    expires_at: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RotateBody {
    grace_seconds: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyBody<'a> {
    id: &'a str,
    name: Option<&'a str>,
    kind: &'a str,
    begins_with: &'a str,
    /// `null` for all of them.
    scopes: Option<Vec<&'a str>>,
    origins: Vec<String>,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    revoked_at: Option<String>,
    successor: Option<&'a str>,
    /// The key itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageBody<'a> {
    #[serde(flatten)]
    page: Success<Vec<KeyBody<'a>>>,
    next_cursor: Option<&'a str>,
}

impl<'a> KeyBody<'a> {
    fn new(key: &'a StoredKey, text: Option<&'a str>) -> Self {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        Self {
            id: key.id.as_str(),
            name: key.name.as_deref(),
            kind: &key.kind,
            begins_with: &key.prefix,
            scopes: key.scopes.as_ref().map(|scopes| scopes.split(',').collect()),
            origins: Origins::from_stored(key.origins.as_deref()).into_vec(),
            created_at: key.created_at.to_string(),
            expires_at: time(key.expires_at),
            last_used_at: time(key.last_used_at),
            revoked_at: time(key.revoked_at),
            successor: key.successor.as_ref().map(KeyId::as_str),
            key: text,
        }
    }
}

/// Tells `null` from a missing member.
fn given<'de, D: serde::Deserializer<'de>>(json: D) -> Result<Option<Value>, D::Error> {
    json::member(json).map(|value| Some(value.unwrap_or(Value::Null)))
}

/// `GET /keys` → 200 with a page of the project's keys, the oldest first: `limit`, and `after`, which takes the `nextCursor` of the
/// page before.
pub async fn list(
    state: State,
    Visitor(principal): Visitor,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    refuse_unknown(&parameters, &["limit", "after"])?;
    let limit = parameters.number("limit", state.limits.page, 1, state.limits.page)?;
    let after = parameters.single("after")?.map(parse_cursor).transpose()?;
    let mut keys = state.keys.list(&principal, after, limit + 1).await?;
    let has_more = keys.len() as u64 > limit;
    keys.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = keys.last().filter(|_| has_more).map(|key| key.id.as_str());
    let page = Success::new(keys.iter().map(|key| KeyBody::new(key, None)).collect());
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(PageBody { page, next_cursor }))
}

fn parse_cursor(text: &str) -> Result<String, ApiError> {
    match uuid::Uuid::try_parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => {
            Err(ApiError::new(ErrorCode::InvalidCursor, "`after` must be the `nextCursor` of a page of keys"))
        }
    }
}

/// `GET /keys/{id}` → 200 with the key, without its text.
pub async fn get(
    state: State,
    Visitor(principal): Visitor,
    id: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    refuse_unknown(&parameters, &[])?;
    let key = state.keys.get(&principal, KeyId::from_stored(&id)).await?;
    Ok(answer(HttpResponse::Ok(), &key, None))
}

/// `POST /keys` `{"name"?,"kind","scopes"?,"origins"?,"expiresAt"?}` → 201 with the key and its text.
pub async fn create(state: State, Visitor(principal): Visitor, body: Body) -> Result<HttpResponse, ApiError> {
    let new: NewBody = body.json()?;
    let kind =
        KeyKind::parse(&new.kind).ok_or_else(|| invalid("`kind` must be `publishable` or `secret`"))?;
    let wanted = WantedKey {
        name: new.name.map(parse_name).transpose()?,
        kind,
        scopes: new.scopes.map_or(Ok(Scopes::all()), parse_scopes)?,
        origins: new.origins.map_or(Ok(Origins::default()), parse_origins)?,
        expires_at: new.expires_at.map(parse_expiry).transpose()?,
    };
    let NewKey { text, stored } = state.keys.create(&principal, wanted).await?;
    Ok(answer(HttpResponse::Created(), &stored, Some(&text)))
}

/// `PATCH /keys/{id}` `{"name"?,"scopes"?,"origins"?,"expiresAt"?}` → 200 with the key. `null` takes a limit away, or the name.
pub async fn change(
    state: State,
    Visitor(principal): Visitor,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let change: ChangeBody = body.json()?;
    let value = |value: Value| Some(value).filter(|value| !value.is_null());
    let patch = KeyPatch {
        name: change.name.map(|name| value(name).map(parse_name).transpose()).transpose()?,
        scopes: change
            .scopes
            .map(|scopes| value(scopes).map_or(Ok(Scopes::all()), parse_scopes))
            .transpose()?,
        origins: change
            .origins
            .map(|origins| value(origins).map_or(Ok(Origins::default()), parse_origins))
            .transpose()?,
        expires_at: change.expires_at.map(|end| value(end).map(parse_expiry).transpose()).transpose()?,
    };
    if patch.members().is_empty() {
        return Err(invalid(
            "the body changes nothing; the members are `name`, `scopes`, `origins` and `expiresAt`",
        ));
    }
    let key = state.keys.change(&principal, KeyId::from_stored(&id), patch).await?;
    Ok(answer(HttpResponse::Ok(), &key, None))
}

/// `POST /keys/{id}/rotate` `{"graceSeconds"?}` → 201 with a successor and its text. The key expires after the grace.
pub async fn rotate(
    state: State,
    Visitor(principal): Visitor,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let wanted: RotateBody = if body.bytes.is_empty() { RotateBody::default() } else { body.json()? };
    let grace = wanted.grace_seconds.map_or(GRACE, Duration::from_secs);
    if grace > MAX_GRACE {
        return Err(invalid(format!("`graceSeconds` must be 0 to {}", MAX_GRACE.as_secs())));
    }
    let NewKey { text, stored } = state.keys.rotate(&principal, KeyId::from_stored(&id), grace).await?;
    Ok(answer(HttpResponse::Created(), &stored, Some(&text)))
}

/// `DELETE /keys/{id}` → 200. The key is revoked, and its connections end.
pub async fn revoke(
    state: State,
    Visitor(principal): Visitor,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let key = state.keys.revoke(&principal, KeyId::from_stored(&id)).await?;
    Ok(answer(HttpResponse::Ok(), &key, None))
}

fn answer(mut response: actix_web::HttpResponseBuilder, key: &StoredKey, text: Option<&str>) -> HttpResponse {
    response.insert_header((header::CACHE_CONTROL, "no-store")).json(Success::new(KeyBody::new(key, text)))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidBody, message)
}

fn parse_name(value: Value) -> Result<String, ApiError> {
    let text = value.as_str().unwrap_or_default();
    check_name(text).map(str::to_owned).map_err(invalid)
}

fn parse_texts(value: Value, name: &str) -> Result<Vec<String>, ApiError> {
    serde_json::from_value(value).map_err(|_| invalid(format!("`{name}` must be an array of texts")))
}

fn parse_scopes(value: Value) -> Result<Scopes, ApiError> {
    let words = parse_texts(value, "scopes")?;
    if words.is_empty() {
        return Err(invalid("`scopes` must have a member; leave it out, or write null, for all scopes"));
    }
    Scopes::of_words(&words).map_err(|err| invalid(err.to_string()))
}

fn parse_origins(value: Value) -> Result<Origins, ApiError> {
    Origins::parse(&parse_texts(value, "origins")?).map_err(|err| invalid(err.to_string()))
}

fn parse_expiry(value: Value) -> Result<Timestamp, ApiError> {
    let parsed = value.as_str().and_then(Timestamp::parse).map(|time| time.floor);
    parsed.filter(|time| *time > Timestamp::now()).ok_or_else(|| {
        invalid("`expiresAt` must be a time in the future such as 2030-01-31T09:00:00Z; DELETE revokes a key at once")
    })
}
