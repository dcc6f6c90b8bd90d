//! Several documents of one collection at once, all or none.

use std::collections::HashSet;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data as State, Path},
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    body,
    documents::{json_text, written},
};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        extract::{Body, Caller, refuse_precondition, request_key},
        rest::{
            add_cursor,
            items::{self, Items, Members, name_item, parse_id},
        },
    },
    auth::Principal,
    config::Limits,
    domain::{DocumentId, Patch},
    service::{Collections, Documents},
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
    documents: State<Documents>,
    collections: State<Collections>,
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
    if items.all.is_empty() {
        return Err(ApiError::new(ErrorCode::InvalidBody, "`documents` is empty"));
    }
    let mut parser = items::Documents::new(&body);
    let mut all = Vec::with_capacity(items.all.len());
    for (place, raw) in items.all.iter().enumerate() {
        all.push(parser.parse(raw).map_err(|err| err.about(&name(place)))?);
    }
    let created = documents.create_many(&principal, collection.into_inner(), all, key).await;
    let committed = created.map_err(|err| name_item(err, name))?;
    let bodies = written(&collections, &principal, &committed).await?;
    let mut response = HttpResponse::Created();
    add_cursor(&mut response, &principal, &committed);
    Ok(json_text(response, format!("[{}]", bodies.join(","))))
}

/// `POST /collections/{collection}/batch/documents/update` `{"updates":{"<id>":{…}}}` → 200 with the documents, in the order
/// of the request.
pub async fn merge(
    documents: State<Documents>,
    collections: State<Collections>,
    limits: State<Limits>,
    request: HttpRequest,
    Caller(principal): Caller,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let Updates { updates } = body.json()?;
    updates.check_count("updates", limits.batch)?;
    let mut patches = Patches::new(&body);
    for (id, raw) in &updates.all {
        patches.add(id, body::batch_patch(raw))?;
    }
    let Patches { all, names, .. } = patches;
    let merged = documents.merge_many(&principal, collection.into_inner(), all, key).await;
    let committed = merged.map_err(|err| name_item(err, |place| names[place].clone()))?;
    let bodies = written(&collections, &principal, &committed).await?;
    let mut response = HttpResponse::Ok();
    add_cursor(&mut response, &principal, &committed);
    Ok(json_text(response, format!("[{}]", bodies.join(","))))
}

/// `PATCH` on the same path with `{"updates":[{"id","data":{…}}]}`, as the Flutter library sends it → 200 with
/// `{"updated":n}`. The members may also stand beside `id`.
pub async fn merge_listed(
    documents: State<Documents>,
    limits: State<Limits>,
    request: HttpRequest,
    Caller(principal): Caller,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let ListedUpdates { updates } = body.json()?;
    updates.check_count("updates", limits.batch)?;
    let mut patches = Patches::new(&body);
    for (place, raw) in updates.all.iter().enumerate() {
        let (id, raw) = listed_update(raw).ok_or_else(|| {
            let message = "an update is an object with the `id` of its document";
            ApiError::new(ErrorCode::InvalidBody, message).about(&format!("updates[{place}]"))
        })?;
        patches.add(&id, body::batch_patch(&raw))?;
    }
    let Patches { all, names, .. } = patches;
    let merged = documents.merge_many(&principal, collection.into_inner(), all, key).await;
    let committed = merged.map_err(|err| name_item(err, |place| names[place].clone()))?;
    let mut response = HttpResponse::Ok();
    add_cursor(&mut response, &principal, &committed);
    Ok(response.json(json!({ "updated": committed.outcomes.len() })))
}

fn listed_update(raw: &RawValue) -> Option<(String, Box<RawValue>)> {
    let mut members: Map<String, Value> = serde_json::from_str(raw.get()).ok()?;
    let Value::String(id) = members.remove("id")? else { return None };
    Some((id, serde_json::value::to_raw_value(&members).ok()?))
}

/// `POST /collections/{collection}/batch/documents/delete` `{"document_ids":[…]}` → 200 with how many there were. An id
/// that isn't there is no error.
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
    let name = |place: usize| format!("document_ids[{place}]");
    let Ids { document_ids: ids } = body.json()?;
    ids.check_count("document_ids", limits.batch)?;
    let mut all = Vec::with_capacity(ids.all.len());
    for (place, raw) in ids.all.iter().enumerate() {
        all.push(parse_id(raw).map_err(|err| err.about(&name(place)))?);
    }
    let deleted = documents.delete_many(&principal, collection.into_inner(), all, key).await;
    let committed = deleted.map_err(|err| name_item(err, name))?;
    Ok(deleted_answer(&principal, &committed))
}

fn deleted_answer(principal: &Principal, committed: &Committed) -> HttpResponse {
    let is_deleted = |outcome: &&Outcome| matches!(outcome, Outcome::Deleted { .. });
    let count = committed.outcomes.iter().filter(is_deleted).count();
    let mut response = HttpResponse::Ok();
    add_cursor(&mut response, principal, committed);
    // `deleted` is what the Flutter library reads.
    response.json(json!({
        "success": true,
        "status": "success",
        "message": format!("{count} documents deleted successfully"),
        "count": count,
        "deleted": count,
    }))
}

/// The updates of a request, in its order.
struct Patches<'a> {
    parser: items::Documents<'a>,
    seen: HashSet<DocumentId>,
    all: Vec<(DocumentId, Patch)>,
    /// What each is called in messages.
    names: Vec<String>,
}

impl<'a> Patches<'a> {
    fn new(body: &'a Body) -> Self {
        Self { parser: items::Documents::new(body), seen: HashSet::new(), all: Vec::new(), names: Vec::new() }
    }

    fn add(&mut self, id: &str, raw: &RawValue) -> Result<(), ApiError> {
        let name = format!("updates[{id:?}]");
        let parsed = self.parse(id, raw).map_err(|err| err.about(&name))?;
        self.all.push(parsed);
        self.names.push(name);
        Ok(())
    }

    fn parse(&mut self, id: &str, raw: &RawValue) -> Result<(DocumentId, Patch), ApiError> {
        let id = DocumentId::parse(id)?;
        if !self.seen.insert(id.clone()) {
            return Err(ApiError::new(ErrorCode::InvalidBody, "this id is there more than once"));
        }
        Ok((id, Patch::from_data(self.parser.parse(raw)?)?))
    }
}
