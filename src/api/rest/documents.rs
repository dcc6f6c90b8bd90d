//! Documents: create, get, list, replace, merge, delete.

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Data as State, Path},
};
use serde_json::json;

use super::{DocumentBody, PageEnd, Success, add_cursor, add_entity_tag};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        extract::{Body, Caller, Parameters, is_unchanged, precondition, request_key},
    },
    auth::Principal,
    config::Limits,
    domain::{DocumentId, Patch},
    query::{
        Filter,
        cursor::Cursor,
        page::{Direction, Page, Sort},
        parse,
    },
    service::{Documents, ServiceError},
    writer::{Committed, Outcome},
};

/// Documents of a page, if nothing is said.
const DEFAULT_LIMIT: u64 = 20;
/// Further than this, `after` is the way.
const MAX_OFFSET: u64 = 1_000_000;

/// `POST /collections/{collection}` with a bare JSON object → 201 with the document.
pub async fn create(
    documents: State<Documents>,
    request: HttpRequest,
    Caller(principal): Caller,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let key = request_key(&request, &body.bytes)?;
    let committed = documents.create(&principal, collection.into_inner(), body.document()?, key).await?;
    Ok(written(&principal, &committed))
}

/// `GET /collections/{collection}/{id}` → 200, or 304 if `If-None-Match` names its entity tag.
pub async fn get(
    documents: State<Documents>,
    request: HttpRequest,
    Caller(principal): Caller,
    path: Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (collection, id) = path.into_inner();
    // What can't be an id is none that is there; but the collection is asked about first.
    let id = DocumentId::parse(&id).unwrap_or_else(|_| DocumentId::from_stored(""));
    let (collection, document) = documents.get(&principal, &collection, &id).await?;
    let status = if is_unchanged(&request, &document.entity_tag())? {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    };
    let mut response = HttpResponse::build(status);
    add_entity_tag(&mut response, &document);
    if status == StatusCode::NOT_MODIFIED {
        return Ok(response.finish());
    }
    Ok(response.json(Success::new(DocumentBody::new(collection.name.as_str(), &document))))
}

/// `PUT /collections/{collection}/{id}` with a bare JSON object → 201 if it is new, else 200.
pub async fn put(
    documents: State<Documents>,
    request: HttpRequest,
    Caller(principal): Caller,
    path: Path<(String, String)>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let (collection, id) = path.into_inner();
    let key = (collection, DocumentId::parse(&id)?);
    let (precondition, request_key) = (precondition(&request)?, request_key(&request, &body.bytes)?);
    let committed = documents.put(&principal, key, body.document()?, precondition, request_key).await?;
    Ok(written(&principal, &committed))
}

/// `PATCH /collections/{collection}/{id}` with top-level members and operators → 200 with the document; `null` stays null.
pub async fn merge(
    documents: State<Documents>,
    request: HttpRequest,
    Caller(principal): Caller,
    path: Path<(String, String)>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let key = existing_key(path)?;
    let patch = Patch::from_data(body.document()?)?;
    let (precondition, request_key) = (precondition(&request)?, request_key(&request, &body.bytes)?);
    let committed = documents.merge(&principal, key, patch, precondition, request_key).await?;
    Ok(written(&principal, &committed))
}

/// `DELETE /collections/{collection}/{id}` → 200 with the id.
pub async fn delete(
    documents: State<Documents>,
    request: HttpRequest,
    Caller(principal): Caller,
    path: Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let key = existing_key(path)?;
    let (precondition, request_key) = (precondition(&request)?, request_key(&request, b"")?);
    let committed = documents.delete(&principal, key, precondition, request_key).await?;
    Ok(written(&principal, &committed))
}

/// `GET /collections/{collection}` → 200 with a page of the documents that match.
///
/// `limit`, `offset` or `after`, `orderBy` (`createdAt`, or `-createdAt`, which is the default), `order`, `filters` as
/// JSON; every other parameter is a filter. `nextCursor` is null on the last page.
pub async fn list(
    documents: State<Documents>,
    limits: State<Limits>,
    Caller(principal): Caller,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let mut page = parse_page(&parameters, &limits)?;
    let filter = parse_filter(&parameters)?;
    let wanted = page.limit;
    // One more than is shown tells whether there is a next page.
    page.limit += 1;
    let (collection, mut listed) = documents.list(&principal, &collection, filter, page.clone()).await?;
    let is_last = listed.documents.len() as u64 <= wanted;
    listed.documents.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    let last = listed.documents.last().filter(|_| !is_last);
    let next_cursor = last.map(|last| page.sort.cursor_after(last)).transpose()?;
    let cursor = Cursor { epoch: listed.head.epoch, position: listed.head.head }.encode(&principal.project);
    let name = collection.name.as_str();
    let bodies: Vec<_> = listed.documents.iter().map(|document| DocumentBody::new(name, document)).collect();
    let answer = Success { success: true, data: bodies, page: Some(PageEnd { next_cursor, cursor }) };
    Ok(HttpResponse::Ok().json(answer))
}

/// `filters=<JSON>` and every parameter that is none of the API's, all of which must hold.
///
/// # Errors
/// `INVALID_FILTER`, which names the term.
pub fn parse_filter(parameters: &Parameters) -> Result<Filter, ApiError> {
    let from_json =
        parameters.single("filters")?.map(parse::parse_json).transpose()?.unwrap_or_else(Filter::all);
    let pairs = parse::parse_pairs(parameters.pairs())?;
    Ok(from_json.and(pairs))
}

fn parse_page(parameters: &Parameters, limits: &Limits) -> Result<Page, ApiError> {
    parameters.refuse_all_but(&[
        "limit",
        "offset",
        "after",
        "orderBy",
        "sort",
        "sort_by",
        "order",
        "sort_order",
        "filters",
    ])?;
    let refuse = |message: String| ApiError::new(ErrorCode::InvalidFilter, message);
    let mut direction = None;
    for name in ["order", "sort_order"] {
        direction = match parameters.single(name)? {
            None => direction,
            Some("asc") => Some(Direction::Ascending),
            Some("desc") => Some(Direction::Descending),
            Some(_) => return Err(refuse(format!("`{name}` is asc or desc"))),
        };
    }
    let is_sort = |name: &str| matches!(name, "orderBy" | "sort" | "sort_by");
    let sorts: Vec<_> = parameters.pairs().filter(|(name, _)| is_sort(name)).map(|(_, text)| text).collect();
    let sort = match sorts.as_slice() {
        [] => Sort::by_age(direction.unwrap_or(Direction::Descending)),
        texts => Sort::parse(&texts.join(","), direction)?,
    };
    let after = match parameters.single("after")? {
        None => None,
        Some(text) => Some(sort.parse_cursor(text).ok_or_else(|| {
            let message = "`after` takes the nextCursor of a page with the same order";
            ApiError::new(ErrorCode::InvalidCursor, message)
        })?),
    };
    let offset = parameters.number("offset", 0, 0, MAX_OFFSET)?;
    if after.is_some() && offset > 0 {
        return Err(refuse("`after` and `offset` can't both be given".to_owned()));
    }
    let limit = parameters.number("limit", DEFAULT_LIMIT.min(limits.page), 1, limits.page)?;
    Ok(Page { sort, limit, offset, after })
}

/// Where a document is that must be there already: what can't be an id is no document.
fn existing_key(path: Path<(String, String)>) -> Result<(String, DocumentId), ApiError> {
    let (collection, id) = path.into_inner();
    let id = DocumentId::parse(&id).map_err(|_| ServiceError::UnknownDocument)?;
    Ok((collection, id))
}

fn written(principal: &Principal, committed: &Committed) -> HttpResponse {
    let is_new = matches!(committed.outcomes.first(), Some(Outcome::Document { is_new: true, .. }));
    let mut response = if is_new { HttpResponse::Created() } else { HttpResponse::Ok() };
    add_cursor(&mut response, principal, committed);
    match committed.outcomes.first() {
        Some(Outcome::Document { collection, document, .. }) => {
            add_entity_tag(&mut response, document);
            response.json(Success::new(DocumentBody::new(collection.as_str(), document)))
        }
        Some(Outcome::Deleted { id, .. }) => response.json(Success::new(json!({ "id": id.as_str() }))),
        _ => response.json(Success::new(())),
    }
}
