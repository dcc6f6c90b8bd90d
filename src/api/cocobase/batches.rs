//! Batches: writes to several documents of one collection, all or nothing.

use actix_web::{HttpRequest, HttpResponse, web::Path};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    api::{
        cocobase::{
            body,
            response::{Shape, written},
        },
        error::{ApiError, ErrorCode},
        headers::add_cursor,
        request::{
            Body, Visitor,
            batch::{Items, Members, Patches, name_item, place_in},
            body::invalid_body,
            idempotency::request_key,
            precondition::refuse_precondition,
        },
        state::State,
        traffic::count_operations,
    },
    auth::Principal,
    domain::json,
    service::{Documents, documents::RequestKey},
    writer::{Committed, Outcome},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDocuments<'a> {
    #[serde(borrow)]
    documents: Items<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Updates<'a> {
    #[serde(borrow)]
    updates: Members<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedUpdates<'a> {
    #[serde(borrow)]
    updates: Items<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ids<'a> {
    #[serde(borrow, alias = "ids")]
    document_ids: Items<'a>,
}

/// `POST /collections/{collection}/batch/documents/create` `{"documents":[…]}` → 201 with the documents, in the order of the
/// request.
pub async fn create(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let NewDocuments { documents: items } = body.json()?;
    if items.is_empty() {
        return Err(ApiError::new(ErrorCode::InvalidBody, "`documents` is empty; it must have a document"));
    }
    let all = items.parse_documents("documents", state.limits.batch, &body)?;
    count_operations(&request, &state, all.len());
    let created = state.documents.create_many(&principal, collection.into_inner(), all, key).await;
    let committed = created.map_err(|err| name_item(err, place_in("documents")))?;
    written(&state, HttpResponse::Created(), &principal, &committed, Shape::All).await
}

/// `POST /collections/{collection}/batch/documents/update` `{"updates":{"<id>":{…}}}` → 200 with the documents, in the order
/// of the request.
pub async fn merge(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let Updates { updates } = body.json()?;
    let patches = Patches::parse(&updates, state.limits.batch, &body, body::batch_patch, |_| Ok(()))?;
    count_operations(&request, &state, patches.count());
    let committed = merge_all(&state.documents, &principal, collection.into_inner(), patches, key).await?;
    written(&state, HttpResponse::Ok(), &principal, &committed, Shape::All).await
}

/// `PATCH` on the same path with `{"updates":[{"id","data":{…}}]}`, which the Flutter library sends → 200 with `{"updated":n}`.
/// The members may also be beside `id`.
pub async fn merge_listed(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let ListedUpdates { updates } = body.json()?;
    let patches = Patches::parse_listed(&updates, state.limits.batch, &body, listed_update)?;
    count_operations(&request, &state, patches.count());
    let committed = merge_all(&state.documents, &principal, collection.into_inner(), patches, key).await?;
    let mut response = HttpResponse::Ok();
    add_cursor(&mut response, &principal, &committed);
    Ok(response.json(json!({ "updated": committed.outcomes.len() })))
}

async fn merge_all(
    documents: &Documents,
    principal: &Principal,
    collection: String,
    patches: Patches<'_>,
    key: Option<RequestKey>,
) -> Result<Committed, ApiError> {
    let (all, name) = patches.into_named();
    let merged = documents.merge_many(principal, collection, all, key).await;
    merged.map_err(|err| name_item(err, name))
}

/// Divides an update into the `id` of its document and its members.
fn listed_update(raw: &RawValue) -> Result<(String, Box<RawValue>), ApiError> {
    let value = json::parse(raw.get().as_bytes()).map_err(|err| invalid_body(&err))?;
    let split = || -> Option<_> {
        let Value::Object(mut members) = value else { return None };
        let Value::String(id) = members.remove("id")? else { return None };
        let members = serde_json::value::to_raw_value(&members).ok()?;
        Some((id, body::batch_patch(&members).to_owned()))
    };
    let message = "an update must be an object with the `id` of its document";
    split().ok_or_else(|| ApiError::new(ErrorCode::InvalidBody, message))
}

/// `POST /collections/{collection}/batch/documents/delete` `{"document_ids":[…]}` → 200 with the number of deleted documents.
/// An id that does not exist is no error.
pub async fn delete(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let Ids { document_ids: ids } = body.json()?;
    let all = ids.parse_ids("document_ids", state.limits.batch)?;
    count_operations(&request, &state, all.len());
    let deleted = state.documents.delete_many(&principal, collection.into_inner(), all, key).await;
    let committed = deleted.map_err(|err| name_item(err, place_in("document_ids")))?;
    Ok(deleted_answer(&principal, &committed))
}

fn deleted_answer(principal: &Principal, committed: &Committed) -> HttpResponse {
    let is_deleted = |outcome: &&Outcome| matches!(outcome, Outcome::Deleted { .. });
    let count = committed.outcomes.iter().filter(is_deleted).count();
    let mut response = HttpResponse::Ok();
    add_cursor(&mut response, principal, committed);
    // The Flutter library reads `deleted`.
    response.json(json!({
        "success": true,
        "status": "success",
        "message": format!("{count} documents deleted successfully"),
        "count": count,
        "deleted": count,
    }))
}
