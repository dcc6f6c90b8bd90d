//! Trying the rules of a collection for somebody else.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Path};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use super::success::Success;
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::{
            Body, Caller,
            body::{check_new, check_patch},
            params::parse_params,
            unknown::refuse_in_write,
        },
        state::State,
    },
    domain::{Data, DocumentId, KeyId, Patch, json},
    query::rule::Params,
    service::trials::{Subject, Trial, Tried},
};

/// The body. Unknown members are refused, because ignoring them would mislead.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question<'a> {
    r#as: Asked,
    action: String,
    id: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object, such as {\"guest\":true}")]
struct Asked {
    user: Option<String>,
    #[serde(default)]
    guest: bool,
    key: Option<String>,
}

#[derive(Serialize)]
struct VerdictBody {
    allowed: bool,
    clause: Option<String>,
    values: Map<String, Value>,
    fields: Vec<String>,
}

/// `POST /collections/{collection}/explain` `{"as","action","id"?,"data"?,"params"?}` → 200 with
/// `{"allowed","clause","values","fields"}`: what the rules decide about such a request. Takes a secret key.
pub async fn explain(
    state: State,
    request: HttpRequest,
    Caller(principal): Caller,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_in_write(&request)?;
    let question: Question<'_> = body.json()?;
    let question = (tried(&question)?, trial(&question, &body)?);
    let limit = state.limits.document_bytes;
    let (verdict, hidden) = state.documents.try_rules(&principal, &collection, question, limit).await?;
    let body = VerdictBody {
        allowed: verdict.is_allowed,
        clause: verdict.clause.map(|clause| clause.to_string()),
        values: verdict.values,
        fields: hidden.iter().map(ToString::to_string).collect(),
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Success::new(body)))
}

fn tried(question: &Question<'_>) -> Result<Tried, ApiError> {
    let Asked { user, guest, key } = &question.r#as;
    if user.is_some() == *guest {
        return Err(refuse("`as` must be {\"user\":\"<id>\"} or {\"guest\":true}"));
    }
    let params = match question.params {
        None => Params::default(),
        Some(raw) => json::parse(raw.get().as_bytes())
            .map_err(|err| err.to_string())
            .and_then(parse_params)
            .map_err(|why| refuse(&format!("`params` {why}")))?,
    };
    Ok(Tried {
        // Text that cannot be an id is no user.
        user: user.as_deref().map(DocumentId::from_stored),
        key: key.as_deref().map(KeyId::from_stored),
        params,
    })
}

fn trial(question: &Question<'_>, body: &Body) -> Result<Trial, ApiError> {
    // Text that cannot be an id is no document.
    let stored = |id: &str| DocumentId::parse(id).unwrap_or_else(|_| DocumentId::from_stored(""));
    let data = question.data.map(|raw| body.part(raw)).transpose()?;
    let new = |data: Data| check_new(&data).map(|()| data);
    let subject = match (&question.id, &data) {
        (Some(_), Some(_)) | (None, None) => None,
        (Some(id), None) => Some(Subject::Stored(stored(id))),
        (None, Some(data)) => Some(Subject::Imagined(new(data.clone())?)),
    };
    match (question.action.as_str(), subject, &question.id, data) {
        ("read", None, None, None) => Ok(Trial::Read(None)),
        ("read", Some(subject), ..) => Ok(Trial::Read(Some(subject))),
        ("read", ..) => {
            Err(refuse("a `read` has `id`, or `data` of a document that there could be, or neither"))
        }
        ("create", _, None, Some(data)) => Ok(Trial::Create { id: None, data: new(data)? }),
        ("create", _, Some(id), Some(data)) => {
            Ok(Trial::Create { id: Some(DocumentId::parse(id)?), data: new(data)? })
        }
        ("create", ..) => Err(refuse("a `create` has `data`, and may have an `id`")),
        ("update", _, Some(id), Some(data)) => {
            check_patch(&data)?;
            Ok(Trial::Update { id: stored(id), patch: Patch::from_data(data)? })
        }
        ("update", ..) => Err(refuse("an `update` has an `id`, and `data` as a PATCH has it")),
        ("delete", Some(subject), ..) => Ok(Trial::Delete(subject)),
        ("delete", ..) => Err(refuse("a `delete` has `id`, or `data` of a document that there could be")),
        _ => Err(refuse("`action` must be `read`, `create`, `update` or `delete`")),
    }
}

fn refuse(message: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidBody, message)
}
