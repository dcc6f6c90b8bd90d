//! Documents: creates, lists, gets, merges and deletes them.

use actix_web::{HttpRequest, HttpResponse, web::Path};
use serde_json::json;

use crate::{
    api::{
        cocobase::{
            body,
            error::NoFiles,
            response::{Shape, answer_too_large, bounded_json, deleted, written},
            shape::ShownBody,
        },
        error::{ApiError, ErrorCode},
        headers::add_cursor,
        request::{
            Body, Caller, Parameters, Visitor,
            idempotency::request_key,
            list::{ListParameters, ListStyle, View},
            path::existing_key,
            precondition::{precondition, refuse_precondition},
        },
        response::too_many,
        state::State,
    },
    auth::Principal,
    domain::Patch,
    query::{page::Direction, parse::Names},
    service::ServiceError,
    store::documents::list::Cut,
    wire::cocobase::CollectionBody,
};

/// The parameters of a list in this door. The libraries expect descending order unless they ask for another.
const STYLE: ListStyle = ListStyle {
    served: &[
        "limit",
        "offset",
        "sort",
        "sort_by",
        "orderBy",
        "order",
        "sort_order",
        "select",
        "populate",
        "filters",
    ],
    default_limit: 100,
    direction: Some(Direction::Descending),
    names: Names::Lenient,
};

/// `POST /collections/documents?collection={name or id}` → 201 with the document. The Python library takes no other status.
pub async fn create_named(
    _: NoFiles,
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    parameters: Parameters,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let Some(collection) = parameters.single("collection")? else {
        let message = "the parameter `collection` is missing: POST /collections/documents?collection=posts";
        return Err(ApiError::new(ErrorCode::InvalidBody, message));
    };
    create_in(&state, &request, &principal, collection.to_owned(), &body).await
}

/// `POST /collections/{collection}/documents` → 201 with the document.
pub async fn create(
    _: NoFiles,
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    create_in(&state, &request, &principal, collection.into_inner(), &body).await
}

async fn create_in(
    state: &State,
    request: &HttpRequest,
    principal: &Principal,
    collection: String,
    body: &Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(request)?;
    let key = request_key(request, &body.bytes)?;
    let committed = state.documents.create(principal, collection, body::document(body)?, key).await?;
    written(state, HttpResponse::Created(), principal, &committed, Shape::First).await
}

/// `GET /collections/{collection}/documents` → 200 with a bare array. A collection that does not exist has no documents.
pub async fn list(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let ListParameters { filter, page, view } =
        ListParameters::parse(&parameters, &STYLE, state.limits.page)?;
    let list = match state.documents.list(&principal, &collection, filter, page).await {
        Ok(list) => list,
        Err(ServiceError::UnknownCollection) => return Ok(HttpResponse::Ok().json(json!([]))),
        Err(err) => return Err(err.into()),
    };
    // A bare array cannot say that it is cut. The client would take a short page for the last one.
    match list.listed.cut {
        None => {}
        Some(Cut::TooLarge) => return Err(answer_too_large()),
        Some(Cut::NoRoom) => return Err(too_many()),
    }
    let found = list.listed.documents.as_slice();
    let shown = (&list.collection, found);
    let relations = state.documents.populate(&principal, shown, &view.populate, &list.scan).await?.relations;
    let collection = CollectionBody::new(&list.collection);
    let shown = |(document, relations)| ShownBody {
        document,
        collection: &collection,
        selection: view.selection.as_ref(),
        relations,
    };
    let relations = relations.iter().map(Vec::as_slice);
    let bodies: Vec<_> = found.iter().zip(relations).map(shown).collect();
    bounded_json(&bodies, list.scan)
}

/// `GET /collections/{collection}/documents/{id}` → 200 with the document; `select` and `populate` as in a list.
pub async fn get(
    state: State,
    Caller(principal): Caller,
    path: Path<(String, String)>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let view = View::of_document(&parameters, Names::Lenient)?;
    let (collection, id) = existing_key(path)?;
    let (collection, document) = state.documents.get(&principal, &collection, &id).await?;
    let mut body = ShownBody {
        document: &document,
        collection: &CollectionBody::new(&collection),
        selection: view.selection.as_ref(),
        relations: &[],
    };
    if view.populate.is_empty() {
        return Ok(HttpResponse::Ok().json(body));
    }
    let scan = state.documents.scans.begin(&principal).await?;
    let shown = (&collection, std::slice::from_ref(&document));
    let relations = state.documents.populate(&principal, shown, &view.populate, &scan).await?.relations;
    body.relations = relations.first().map_or(&[][..], |relations| relations.as_slice());
    bounded_json(&body, scan)
}

/// `PATCH /collections/{collection}/documents/{id}` with top-level members and operators → 200 with the whole document.
pub async fn merge(
    _: NoFiles,
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    path: Path<(String, String)>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let key = existing_key(path)?;
    let patch = Patch::from_data(body::patch(&body)?)?;
    let (precondition, request_key) = (precondition(&request)?, request_key(&request, &body.bytes)?);
    let committed = state.documents.merge(&principal, key, patch, precondition, request_key).await?;
    written(&state, HttpResponse::Ok(), &principal, &committed, Shape::First).await
}

/// `DELETE /collections/{collection}/documents/{id}` → 200 with a body: the JavaScript library always parses one.
pub async fn delete(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    path: Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let key = existing_key(path)?;
    let (precondition, request_key) = (precondition(&request)?, request_key(&request, b"")?);
    let committed = state.documents.delete(&principal, key, precondition, request_key).await?;
    let mut response = HttpResponse::Ok();
    add_cursor(&mut response, &principal, &committed);
    Ok(response.json(deleted("Document")))
}
