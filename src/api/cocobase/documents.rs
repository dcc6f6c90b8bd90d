//! Documents: create, list, get, merge, delete.

use std::io;

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, http::header::ContentType, web::Path};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    api::{
        cocobase::{
            body,
            error::NoFiles,
            shape::{DocumentBody, ShownBody},
        },
        error::{ApiError, ErrorCode},
        request::{
            Body, Caller, Parameters,
            idempotency::request_key,
            list::{ListParameters, ListStyle, View},
            precondition::{precondition, refuse_precondition},
        },
        rest::{add_cursor, documents::existing_key},
        state::State,
    },
    auth::Principal,
    domain::Patch,
    query::page::Direction,
    service::{Collections, Documents, ServiceError},
    wire::cocobase::CollectionBody,
    writer::{Committed, Outcome},
};

/// What lists of this door take: the libraries sort in descending order unless they are told otherwise.
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
};

/// `POST /collections/documents?collection={name or id}` → 201 with the document, which is the one status that the Python
/// library takes.
pub async fn create_named(
    _: NoFiles,
    state: State,
    request: HttpRequest,
    Caller(principal): Caller,
    parameters: Parameters,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let Some(collection) = parameters.single("collection")? else {
        let message = "`collection` is missing: POST /collections/documents?collection=posts";
        return Err(ApiError::new(ErrorCode::InvalidBody, message));
    };
    create_in(&state.documents, &state.collections, &request, &principal, collection.to_owned(), &body).await
}

/// `POST /collections/{collection}/documents` → 201 with the document.
pub async fn create(
    _: NoFiles,
    state: State,
    request: HttpRequest,
    Caller(principal): Caller,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    create_in(&state.documents, &state.collections, &request, &principal, collection.into_inner(), &body)
        .await
}

async fn create_in(
    documents: &Documents,
    collections: &Collections,
    request: &HttpRequest,
    principal: &Principal,
    collection: String,
    body: &Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(request)?;
    let key = request_key(request, &body.bytes)?;
    let committed = documents.create(principal, collection, body::document(body)?, key).await?;
    let bodies = written(collections, principal, &committed).await?;
    let mut response = HttpResponse::Created();
    add_cursor(&mut response, principal, &committed);
    Ok(json_text(response, first(bodies)))
}

/// `GET /collections/{collection}/documents` → 200 with a bare array; a collection that isn't there has no documents.
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
    // A client that counts what it asked for would take the rest for seen.
    if list.listed.is_cut {
        return Err(answer_too_large());
    }
    let found = &list.listed.documents;
    let relations = state.documents.populate(&principal, &list.collection, found, &view.populate).await?;
    let collection = CollectionBody::new(&list.collection);
    let shown = |(document, relations)| ShownBody {
        document,
        collection: &collection,
        selection: view.selection.as_ref(),
        relations,
    };
    let relations = relations.iter().map(Vec::as_slice);
    let bodies: Vec<_> = found.iter().zip(relations).map(shown).collect();
    bounded_json(&bodies)
}

/// `GET /collections/{collection}/documents/{id}` → 200 with the document; `select` and `populate` as in a list.
pub async fn get(
    state: State,
    Caller(principal): Caller,
    path: Path<(String, String)>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let view = View::of_document(&parameters)?;
    let (collection, id) = existing_key(path)?;
    let (collection, document) = state.documents.get(&principal, &collection, &id).await?;
    let shown = std::slice::from_ref(&document);
    let relations = state.documents.populate(&principal, &collection, shown, &view.populate).await?;
    bounded_json(&ShownBody {
        document: &document,
        collection: &CollectionBody::new(&collection),
        selection: view.selection.as_ref(),
        relations: relations.first().map_or(&[][..], |relations| relations.as_slice()),
    })
}

/// `PATCH /collections/{collection}/documents/{id}` with top-level members and operators → 200 with the whole document.
pub async fn merge(
    _: NoFiles,
    state: State,
    request: HttpRequest,
    Caller(principal): Caller,
    path: Path<(String, String)>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let key = existing_key(path)?;
    let patch = Patch::from_data(body::patch(&body)?)?;
    let (precondition, request_key) = (precondition(&request)?, request_key(&request, &body.bytes)?);
    let committed = state.documents.merge(&principal, key, patch, precondition, request_key).await?;
    let bodies = written(&state.collections, &principal, &committed).await?;
    let mut response = HttpResponse::Ok();
    add_cursor(&mut response, &principal, &committed);
    Ok(json_text(response, first(bodies)))
}

/// `DELETE /collections/{collection}/documents/{id}` → 200 with a body: the JavaScript library always parses one.
pub async fn delete(
    state: State,
    request: HttpRequest,
    Caller(principal): Caller,
    path: Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let key = existing_key(path)?;
    let (precondition, request_key) = (precondition(&request)?, request_key(&request, b"")?);
    let committed = state.documents.delete(&principal, key, precondition, request_key).await?;
    let mut response = HttpResponse::Ok();
    add_cursor(&mut response, &principal, &committed);
    Ok(response.json(deleted("Document")))
}

/// The answer to a delete, in the members of the server of the vendor and of the libraries' types.
pub fn deleted(what: &str) -> Value {
    json!({ "success": true, "status": "success", "message": format!("{what} deleted successfully") })
}

/// The documents that a write answers with, each as JSON text.
///
/// # Errors
/// The database's own, if the collections have to be read.
pub async fn written(
    collections: &Collections,
    principal: &Principal,
    committed: &Committed,
) -> Result<Vec<String>, ApiError> {
    let mut bodies = Vec::with_capacity(committed.outcomes.len());
    let mut last = None;
    for outcome in &committed.outcomes {
        let Outcome::Document { collection, document, .. } = outcome else { continue };
        // Of a batch, all are in the same one.
        let body = match last.take() {
            Some(body) => body,
            None => match collections.find_written(principal, collection).await? {
                Some(found) => CollectionBody::new(&found),
                None => CollectionBody::gone(collection, document),
            },
        };
        let text = serde_json::to_string(&DocumentBody::new(document, &body));
        bodies.push(text.expect("strings and JSON text can be written"));
        last = Some(body);
    }
    Ok(bodies)
}

/// The most bytes of an answer. What is joined is in it several times.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Bytes that are counted before they are kept.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_ANSWER {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn bounded_json(body: &impl Serialize) -> Result<HttpResponse, ApiError> {
    let mut text = Bounded(Vec::new());
    serde_json::to_writer(&mut text, body).map_err(|_| answer_too_large())?;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(text.0))
}

fn answer_too_large() -> ApiError {
    ApiError::new(ErrorCode::InvalidFilter, "the answer is too large; ask with a smaller `limit`")
}

/// An answer whose JSON is made already.
pub fn json_text(mut response: HttpResponseBuilder, text: String) -> HttpResponse {
    response.content_type(ContentType::json()).body(text)
}

fn first(bodies: Vec<String>) -> String {
    bodies.into_iter().next().unwrap_or_else(|| "null".to_owned())
}
