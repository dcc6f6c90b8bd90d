//! Batches: writes to several documents of one collection, all or nothing.

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web::Path};
use serde::{Deserialize, Serialize};

use super::written::Written;
use crate::{
    api::{
        error::ApiError,
        request::{
            Body, Visitor,
            batch::{Items, Members, Patches, name_item, place_in},
            body::{check_new, check_patch},
            idempotency::request_key,
            precondition::refuse_precondition,
            unknown::refuse_in_write,
        },
        state::State,
        traffic::count_operations,
    },
    auth::Principal,
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
struct Ids<'a> {
    #[serde(borrow)]
    ids: Items<'a>,
}

#[derive(Serialize)]
struct Deleted<'a> {
    /// The ids of the documents that existed.
    deleted: Vec<&'a str>,
    count: usize,
}

/// `POST /collections/{collection}/batch` `{"documents":[…]}` → 201 with the documents, in the order of the request.
pub async fn create(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(&request)?;
    refuse_in_write(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let NewDocuments { documents: items } = body.json()?;
    let all = items.parse_checked("documents", state.limits.batch, &body, check_new)?;
    count_operations(&request, &state, all.len());
    let created = state.documents.create_many(&principal, collection.into_inner(), all, key).await;
    let committed = created.map_err(|err| name_item(err, place_in("documents")))?;
    Ok(written(&state, (&request, HttpResponse::Created()), &principal, committed))
}

/// `PATCH /collections/{collection}/batch` `{"updates":{"<id>":{…}}}` → 200 with the documents, in the order of the request.
pub async fn merge(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(&request)?;
    refuse_in_write(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let Updates { updates } = body.json()?;
    let (all, name) =
        Patches::parse(&updates, state.limits.batch, &body, |raw| raw, check_patch)?.into_named();
    count_operations(&request, &state, all.len());
    let merged = state.documents.merge_many(&principal, collection.into_inner(), all, key).await;
    let committed = merged.map_err(|err| name_item(err, name))?;
    Ok(written(&state, (&request, HttpResponse::Ok()), &principal, committed))
}

/// `POST /collections/{collection}/batch-delete` `{"ids":[…]}` → 200 with the ids of the documents that existed, each once.
pub async fn delete(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(&request)?;
    refuse_in_write(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let Ids { ids } = body.json()?;
    let all = ids.parse_ids("ids", state.limits.batch)?;
    count_operations(&request, &state, all.len());
    let deleted = state.documents.delete_many(&principal, collection.into_inner(), all, key).await;
    let committed = deleted.map_err(|err| name_item(err, place_in("ids")))?;
    let written = Written::new(&state, &request, &principal, committed);
    let mut deleted = Vec::new();
    for outcome in &written.committed.outcomes {
        if let Outcome::Deleted { id, .. } = outcome {
            deleted.push(id.as_str());
        }
    }
    Ok(written.respond(HttpResponse::Ok(), Deleted { count: deleted.len(), deleted }))
}

fn written(
    state: &State,
    (request, response): (&HttpRequest, HttpResponseBuilder),
    principal: &Principal,
    committed: Committed,
) -> HttpResponse {
    let written = Written::new(state, request, principal, committed);
    written.respond(response, written.documents())
}
