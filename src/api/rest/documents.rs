//! Documents: creates, gets, lists, replaces, merges and deletes them.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web::Path};
use serde_json::json;

use super::{
    shown::{DocumentBody, WrittenBody, most_bytes},
    success::{PageEnd, Success},
    written::Written,
};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        headers::add_entity_tag,
        request::{
            Body, Caller, Parameters, Visitor,
            idempotency::request_key,
            list::{ListParameters, ListStyle, View},
            parameters::invalid_parameter,
            path::existing_key,
            precondition::{is_unchanged, precondition},
            unknown::refuse_in_write,
        },
        response::{json, small_json},
        state::State,
    },
    auth::Principal,
    domain::{Data, DocumentId, Patch},
    query::{page::Page, parse::Names, rule},
    store::documents::list::Listed,
    writer::{Committed, Outcome},
};

/// The most bytes of the two cursors of a page, and of the members around the documents.
const PAGE_END_BYTES: usize = 20 * 1024;

/// The parameters of a list in this door.
pub(super) const LIST_STYLE: ListStyle = ListStyle {
    served: &[
        "limit",
        "offset",
        "after",
        "orderBy",
        "sort",
        "sort_by",
        "order",
        "sort_order",
        "select",
        "populate",
        "filters",
    ],
    default_limit: 20,
    direction: None,
    names: Names::Strict,
};

/// `POST /collections/{collection}` with a bare JSON object → 201 with the document.
pub async fn create(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_in_write(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let committed =
        state.documents.create(&principal, collection.into_inner(), body.new_document()?, key).await?;
    Ok(written(&state, &request, &principal, committed))
}

/// `GET /collections/{collection}/{id}` → 200, or 304 if `If-None-Match` names its entity tag.
///
/// Takes `select`, `populate` and `access`, as a list does. An entity tag says nothing about joined documents and rights, so an
/// answer with `populate` or `access` has none.
pub async fn get(
    state: State,
    request: HttpRequest,
    Caller(principal): Caller,
    path: Path<(String, String)>,
    mut parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let wants_access = take_access(&mut parameters)?;
    let view = View::of_document(&parameters, Names::Strict)?;
    let (collection, id) = path.into_inner();
    // Text that cannot be an id is no document. An unknown collection is still answered first.
    let id = DocumentId::parse(&id).unwrap_or_else(|_| DocumentId::from_stored(""));
    let (collection, document, access) = match wants_access {
        true => state.documents.get_with_access(&principal, &collection, &id).await?,
        false => {
            let (collection, document) = state.documents.get(&principal, &collection, &id).await?;
            (collection, document, None)
        }
    };
    let tag = document.entity_tag();
    let has_tag = view.populate.is_empty() && !wants_access;
    let is_unchanged = is_unchanged(&request, &tag)? && has_tag;
    let status = if is_unchanged { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut response = HttpResponse::build(status);
    if has_tag {
        add_entity_tag(&mut response, tag);
    }
    if is_unchanged {
        return Ok(response.finish());
    }
    let (name, selection) = (collection.name.as_str(), view.selection.as_ref());
    if view.populate.is_empty() {
        let body = DocumentBody::shown(name, &document, selection, &[]).with_access(access);
        return Ok(small_json(response, &Success::new(body), most_bytes(&document)));
    }
    let scan = state.documents.scans.begin(&principal).await?;
    let shown = (&collection, std::slice::from_ref(&document));
    let populated = state.documents.populate(&principal, shown, &view.populate, &scan).await?;
    let most_bytes = populated.text_bytes + most_bytes(&document);
    scan.count(most_bytes)?;
    let relations = populated.relations.first().map_or(&[][..], |relations| relations.as_slice());
    let body = DocumentBody::shown(name, &document, selection, relations).with_access(access);
    Ok(json(response, &Success::new(body), most_bytes, scan.into_memory()))
}

/// `PUT /collections/{collection}/{id}` with a bare JSON object → 201 if the document is new, else 200.
pub async fn put(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    path: Path<(String, String)>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_in_write(&request)?;
    let (collection, id) = path.into_inner();
    let data = body.new_document()?;
    refuse_rules(&id, &data)?;
    let key = (collection, DocumentId::parse(&id)?);
    let (precondition, request_key) = (precondition(&request)?, request_key(&request, &body.bytes)?);
    let committed = state.documents.put(&principal, key, data, precondition, request_key).await?;
    Ok(written(&state, &request, &principal, committed))
}

/// `PATCH /collections/{collection}/{id}` with top-level members and operators → 200 with the document. A `null` is stored.
pub async fn merge(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    path: Path<(String, String)>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_in_write(&request)?;
    let key = existing_key(path)?;
    let patch = Patch::from_data(body.patch()?)?;
    let (precondition, request_key) = (precondition(&request)?, request_key(&request, &body.bytes)?);
    let committed = state.documents.merge(&principal, key, patch, precondition, request_key).await?;
    Ok(written(&state, &request, &principal, committed))
}

/// `DELETE /collections/{collection}/{id}` → 200 with the id.
pub async fn delete(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    path: Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    refuse_in_write(&request)?;
    let key = existing_key(path)?;
    let (precondition, request_key) = (precondition(&request)?, request_key(&request, b"")?);
    let committed = state.documents.delete(&principal, key, precondition, request_key).await?;
    Ok(written(&state, &request, &principal, committed))
}

/// `GET /collections/{collection}` → 200 with a page of the documents that match.
///
/// `limit`, `offset` or `after`, `orderBy` (`status,-createdAt`; the default is `-createdAt`), `order`, `select`, `populate`,
/// `access`, `filters` as JSON; every other parameter is a filter. `nextCursor` is null on the last page. A page of large documents may
/// have fewer than `limit`, and the next page begins there.
pub async fn list(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    mut parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let wants_access = take_access(&mut parameters)?;
    let parameters = ListParameters::parse(&parameters, &LIST_STYLE, state.limits.page)?;
    list_page(&state, &principal, &collection, (parameters, wants_access)).await
}

/// Answers with a page of the documents that match.
pub(super) async fn list_page(
    state: &State,
    principal: &Principal,
    collection: &str,
    (parameters, wants_access): (ListParameters, bool),
) -> Result<HttpResponse, ApiError> {
    let ListParameters { filter, mut page, view } = parameters;
    // One document more than is shown tells whether there is a next page.
    page.limit += 1;
    let (mut list, access) = match wants_access {
        true => state.documents.list_with_access(principal, collection, filter, page.clone()).await?,
        false => (state.documents.list(principal, collection, filter, page.clone()).await?, Vec::new()),
    };
    let next_cursor = end_page(&mut list.listed, &page)?;
    let cursor = list.listed.ends.cursor().encode(&principal.project);
    let found = &list.listed.documents;
    let shown = (&list.collection, found.as_slice());
    let populated = state.documents.populate(principal, shown, &view.populate, &list.scan).await?;
    let most_bytes = populated.text_bytes + found.iter().map(most_bytes).sum::<usize>();
    list.scan.count(most_bytes)?;
    let mut access = access.into_iter();
    let (name, selection) = (list.collection.name.as_str(), view.selection.as_ref());
    let shown = found.iter().zip(&populated.relations);
    let bodies: Vec<_> = shown
        .map(|(document, relations)| {
            DocumentBody::shown(name, document, selection, relations).with_access(access.next())
        })
        .collect();
    let body = Success::with_page(bodies, PageEnd { next_cursor, cursor });
    Ok(json(HttpResponse::Ok(), &body, most_bytes + PAGE_END_BYTES, list.scan.into_memory()))
}

/// Refuses to write a document with the id `rules` that has nothing but the members of rules: they would bind nobody there.
fn refuse_rules(id: &str, data: &Data) -> Result<(), ApiError> {
    let fields = data.fields();
    if id == "rules" && !fields.is_empty() && fields.keys().all(|name| rule::MEMBERS.contains(&name.as_str()))
    {
        return Err(ApiError::new(
            ErrorCode::InvalidBody,
            "this would write a document with the id `rules`, which binds nobody; the rules of a collection are a setting: PATCH /collections/{collection}/settings {\"rules\":…}. POST /transactions writes such a document",
        ));
    }
    Ok(())
}

/// Takes out the parameter `access`, and returns whether it asks what the caller may do with each document.
fn take_access(parameters: &mut Parameters) -> Result<bool, ApiError> {
    match parameters.take("access").as_slice() {
        [] => Ok(false),
        [value] if value == "true" || value == "false" => Ok(value == "true"),
        _ => Err(invalid_parameter(
            "`access` must be `true` or `false`, once; to filter by a field of this name, use `access__eq`",
        )),
    }
}

/// Removes the document past the end of the page, and returns the cursor of the next page; `None` on the last one.
fn end_page(listed: &mut Listed, page: &Page) -> Result<Option<String>, ApiError> {
    let shown = page.limit - 1;
    let is_last = listed.documents.len() as u64 <= shown && listed.cut.is_none();
    listed.documents.truncate(usize::try_from(shown).unwrap_or(usize::MAX));
    let last = listed.documents.last().filter(|_| !is_last);
    Ok(last.map(|last| page.sort.cursor_after(last)).transpose()?)
}

pub(super) fn written(
    state: &State,
    request: &HttpRequest,
    principal: &Principal,
    committed: Committed,
) -> HttpResponse {
    let written = Written::new(state, request, principal, committed);
    let outcome = written.committed.outcomes.first();
    let (is_new, tag) = match outcome {
        Some(Outcome::Document { document, is_new, .. }) => (*is_new, Some(document.entity_tag())),
        Some(Outcome::WithoutData { stamp, is_new, .. }) => (*is_new, Some(stamp.entity_tag())),
        _ => (false, None),
    };
    let mut response = if is_new { HttpResponse::Created() } else { HttpResponse::Ok() };
    if let Some(tag) = tag {
        add_entity_tag(&mut response, tag);
    }
    match outcome {
        Some(Outcome::Deleted { id, .. }) => written.respond(response, json!({ "id": id.as_str() })),
        outcome => written.respond(response, outcome.and_then(WrittenBody::of)),
    }
}
