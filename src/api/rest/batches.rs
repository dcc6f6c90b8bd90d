//! Several documents of one collection at once, all or none.

use std::collections::HashSet;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    web::{Data as State, Path},
};
use serde::{Deserialize, Serialize};

use super::{
    DocumentBody, Success, add_cursor,
    items::{self, Items, Members, name_item, parse_id},
};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        extract::{Body, Caller, refuse_precondition, request_key},
    },
    auth::Principal,
    config::Limits,
    domain::{DocumentId, Patch},
    service::Documents,
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

/// What a delete came to.
#[derive(Serialize)]
struct Deleted<'a> {
    /// Those that were there.
    deleted: Vec<&'a str>,
    count: usize,
}

/// `POST /collections/{collection}/batch` `{"documents":[…]}` → 201 with the documents, in the order of the request.
pub async fn create(
    documents: State<Documents>,
    limits: State<Limits>,
    request: HttpRequest,
    Caller(principal): Caller,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let name = |place: usize| format!("documents[{place}]");
    let NewDocuments { documents: items } = body.json()?;
    items.check_count("documents", limits.batch)?;
    let mut parser = items::Documents::new(&body);
    let mut all = Vec::with_capacity(items.all.len());
    for (place, raw) in items.all.iter().enumerate() {
        all.push(parser.parse(raw).map_err(|err| err.about(&name(place)))?);
    }
    let created = documents.create_many(&principal, collection.into_inner(), all, key).await;
    let committed = created.map_err(|err| name_item(err, name))?;
    Ok(written(HttpResponse::Created(), &principal, &committed))
}

/// `PATCH /collections/{collection}/batch` `{"updates":{"<id>":{…}}}` → 200 with the documents, in the order of the request.
pub async fn merge(
    documents: State<Documents>,
    limits: State<Limits>,
    request: HttpRequest,
    Caller(principal): Caller,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let name = |id: &str| format!("updates[{id:?}]");
    let Updates { updates } = body.json()?;
    updates.check_count("updates", limits.batch)?;
    let (mut parser, mut seen) = (items::Documents::new(&body), HashSet::new());
    let mut parse = |id: &str, raw| -> Result<(DocumentId, Patch), ApiError> {
        let id = DocumentId::parse(id)?;
        if !seen.insert(id.clone()) {
            return Err(ApiError::new(ErrorCode::InvalidBody, "this id is there more than once"));
        }
        Ok((id, Patch::from_data(parser.parse(raw)?)?))
    };
    let mut all = Vec::with_capacity(updates.all.len());
    for (id, raw) in &updates.all {
        all.push(parse(id, raw).map_err(|err| err.about(&name(id)))?);
    }
    let merged = documents.merge_many(&principal, collection.into_inner(), all, key).await;
    let committed = merged.map_err(|err| name_item(err, |place| name(&updates.all[place].0)))?;
    Ok(written(HttpResponse::Ok(), &principal, &committed))
}

/// `POST /collections/{collection}/batch-delete` `{"ids":[…]}` → 200 with the ids that were there, each once.
pub async fn delete(
    documents: State<Documents>,
    limits: State<Limits>,
    request: HttpRequest,
    Caller(principal): Caller,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let name = |place: usize| format!("ids[{place}]");
    let Ids { ids } = body.json()?;
    ids.check_count("ids", limits.batch)?;
    let mut all = Vec::with_capacity(ids.all.len());
    for (place, raw) in ids.all.iter().enumerate() {
        all.push(parse_id(raw).map_err(|err| err.about(&name(place)))?);
    }
    let deleted = documents.delete_many(&principal, collection.into_inner(), all, key).await;
    let committed = deleted.map_err(|err| name_item(err, name))?;
    let mut deleted = Vec::new();
    for outcome in &committed.outcomes {
        if let Outcome::Deleted { id, .. } = outcome {
            deleted.push(id.as_str());
        }
    }
    let mut response = HttpResponse::Ok();
    add_cursor(&mut response, &principal, &committed);
    Ok(response.json(Success::new(Deleted { count: deleted.len(), deleted })))
}

fn written(mut response: HttpResponseBuilder, principal: &Principal, committed: &Committed) -> HttpResponse {
    add_cursor(&mut response, principal, committed);
    let mut bodies = Vec::with_capacity(committed.outcomes.len());
    for outcome in &committed.outcomes {
        if let Outcome::Document { collection, document, .. } = outcome {
            bodies.push(DocumentBody::new(collection.as_str(), document));
        }
    }
    response.json(Success::new(bodies))
}
