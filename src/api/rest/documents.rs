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
        page::{Direction, Page, Sort},
        parse,
        populate::Populate,
        select::Selection,
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

/// `GET /collections/{collection}/{id}` → 200, or 304 if `If-None-Match` names its entity tag. `select` and `populate` as in
/// a list; what is joined is no part of the entity tag, so that an answer with it has none.
pub async fn get(
    documents: State<Documents>,
    request: HttpRequest,
    Caller(principal): Caller,
    path: Path<(String, String)>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    if let Some((name, _)) = parameters.pairs().find(|(name, _)| !matches!(*name, "select" | "populate")) {
        let message =
            format!("`{name}` is not available here; a document read by its id takes select and populate");
        return Err(ApiError::new(ErrorCode::InvalidFilter, message));
    }
    let view = View::parse(&parameters)?;
    let (collection, id) = path.into_inner();
    // What can't be an id is none that is there; but the collection is asked about first.
    let id = DocumentId::parse(&id).unwrap_or_else(|_| DocumentId::from_stored(""));
    let (collection, document) = documents.get(&principal, &collection, &id).await?;
    let is_unchanged = is_unchanged(&request, &document.entity_tag())? && view.populate.is_empty();
    let status = if is_unchanged { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut response = HttpResponse::build(status);
    if view.populate.is_empty() {
        add_entity_tag(&mut response, &document);
    }
    if is_unchanged {
        return Ok(response.finish());
    }
    let shown = std::slice::from_ref(&document);
    let relations = documents.populate(&principal, &collection, shown, &view.populate).await?;
    let relations = relations.first().map_or(&[][..], |relations| relations.as_slice());
    let body = DocumentBody::shown(collection.name.as_str(), &document, view.selection.as_ref(), relations);
    Ok(response.json(Success::new(body)))
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
/// `limit`, `offset` or `after`, `orderBy` (`status,-createdAt`; the default is `-createdAt`), `order`, `select`, `populate`,
/// `filters` as JSON; every other parameter is a filter. `nextCursor` is null on the last page; a page of large documents may have
/// fewer than `limit` of them, and goes on there. The header
/// `X-Query-Plan` tells secret keys whether an index serves it.
pub async fn list(
    documents: State<Documents>,
    limits: State<Limits>,
    Caller(principal): Caller,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let mut page = parse_page(&parameters, &limits)?;
    let view = View::parse(&parameters)?;
    let filter = parse_filter(&parameters)?;
    let wanted = page.limit;
    // One more than is shown tells whether there is a next page.
    page.limit += 1;
    let mut list = documents.list(&principal, &collection, filter, page.clone()).await?;
    let (collection, listed) = (&list.collection, &mut list.listed);
    let is_last = listed.documents.len() as u64 <= wanted && !listed.is_cut;
    listed.documents.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    let last = listed.documents.last().filter(|_| !is_last);
    let next_cursor = last.map(|last| page.sort.cursor_after(last)).transpose()?;
    let cursor = listed.ends.cursor().encode(&principal.project);
    let relations = documents.populate(&principal, collection, &listed.documents, &view.populate).await?;
    let name = collection.name.as_str();
    let shown =
        listed.documents.iter().zip(&relations).map(|(document, relations)| {
            DocumentBody::shown(name, document, view.selection.as_ref(), relations)
        });
    let bodies: Vec<_> = shown.collect();
    let answer = Success { success: true, data: bodies, page: Some(PageEnd { next_cursor, cursor }) };
    let mut response = HttpResponse::Ok();
    if let Some(plan) = list.plan {
        response.insert_header(("X-Query-Plan", plan.as_str()));
    }
    Ok(response.json(answer))
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

/// `orderBy` (or `sort`, `sort_by`) and `order` (or `sort_order`); newest first, if none is given.
///
/// # Errors
/// `INVALID_FILTER`, which names the term.
pub fn parse_sort(parameters: &Parameters) -> Result<Sort, ApiError> {
    let mut direction = None;
    for name in ["order", "sort_order"] {
        direction = match parameters.single(name)? {
            None => direction,
            Some("asc") => Some(Direction::Ascending),
            Some("desc") => Some(Direction::Descending),
            Some(_) => {
                let message = format!("`{name}` is asc or desc");
                return Err(ApiError::new(ErrorCode::InvalidFilter, message));
            }
        };
    }
    let sorts: Vec<_> = parameters.all(&["orderBy", "sort", "sort_by"]).collect();
    Ok(match sorts.as_slice() {
        [] => Sort::by_age(direction.unwrap_or(Direction::Descending)),
        texts => Sort::parse(&texts.join(","), direction)?,
    })
}

/// What is shown of each document, and beside it.
pub struct View {
    /// The fields that are kept; all, if none are named.
    pub selection: Option<Selection>,
    /// The relations that are followed.
    pub populate: Populate,
}

impl View {
    /// `select` and `populate`, both as often as wanted.
    ///
    /// # Errors
    /// `INVALID_FILTER`, which names the term.
    pub fn parse(parameters: &Parameters) -> Result<Self, ApiError> {
        let is_selected = parameters.all(&["select"]).next().is_some();
        let selection = is_selected.then(|| Selection::parse(parameters.all(&["select"]))).transpose()?;
        Ok(Self { selection, populate: Populate::parse(parameters.all(&["populate"]))? })
    }
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
        "select",
        "populate",
        "filters",
    ])?;
    let refuse = |message: String| ApiError::new(ErrorCode::InvalidFilter, message);
    let sort = parse_sort(parameters)?;
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
///
/// # Errors
/// `DOCUMENT_NOT_FOUND`.
pub fn existing_key(path: Path<(String, String)>) -> Result<(String, DocumentId), ApiError> {
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
