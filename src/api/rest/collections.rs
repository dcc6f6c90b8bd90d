//! Collections: create, list, settings, remove.

use actix_web::{
    HttpResponse,
    web::{Data as State, Path},
};
use serde::Deserialize;
use serde_json::json;

use super::{CollectionBody, Success, add_cursor};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        extract::{Body, Caller},
    },
    auth::Principal,
    domain::CollectionName,
    service::Collections,
    writer::{Committed, Outcome},
};

/// What a collection can be made with, and what of it can be changed. Other members are refused, not ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    name: String,
}

/// `POST /collections` `{"name"}` → 201 with the collection; 409 if the name is taken.
pub async fn create(
    collections: State<Collections>,
    Caller(principal): Caller,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let name = parse_name(&body)?;
    let committed = collections.create(&principal, name).await?;
    Ok(answer(HttpResponse::Created(), &principal, &committed))
}

/// `GET /collections` → 200 with all collections, by name.
pub async fn list(
    collections: State<Collections>,
    Caller(principal): Caller,
) -> Result<HttpResponse, ApiError> {
    let all = collections.list(&principal).await?;
    let bodies: Vec<_> = all.iter().map(|collection| CollectionBody::new(collection)).collect();
    Ok(HttpResponse::Ok().json(Success::new(bodies)))
}

/// `GET /collections/{collection}/settings` → 200 with the collection.
pub async fn get(
    collections: State<Collections>,
    Caller(principal): Caller,
    collection: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let collection = collections.get(&principal, &collection).await?;
    Ok(HttpResponse::Ok().json(Success::new(CollectionBody::new(&collection))))
}

/// `PATCH /collections/{collection}/settings` `{"name"}` → 200 with the renamed collection.
pub async fn change(
    collections: State<Collections>,
    Caller(principal): Caller,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let name = parse_name(&body)?;
    let committed = collections.rename(&principal, collection.into_inner(), name).await?;
    Ok(answer(HttpResponse::Ok(), &principal, &committed))
}

/// `DELETE /collections/{collection}` → 200; takes a secret key.
pub async fn remove(
    collections: State<Collections>,
    Caller(principal): Caller,
    collection: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let committed = collections.remove(&principal, collection.into_inner()).await?;
    Ok(answer(HttpResponse::Ok(), &principal, &committed))
}

fn parse_name(body: &Body) -> Result<CollectionName, ApiError> {
    let settings: Settings = body.json()?;
    CollectionName::parse(&settings.name)
        .map_err(|err| ApiError::new(ErrorCode::InvalidCollectionName, err.to_string()))
}

fn answer(
    mut response: actix_web::HttpResponseBuilder,
    principal: &Principal,
    committed: &Committed,
) -> HttpResponse {
    add_cursor(&mut response, principal, committed);
    match committed.outcomes.first() {
        Some(Outcome::Collection(collection)) => response.json(Success::new(CollectionBody::new(collection))),
        Some(Outcome::Removed { collection }) => {
            response.json(Success::new(json!({ "id": collection.as_str() })))
        }
        _ => response.json(Success::new(())),
    }
}
