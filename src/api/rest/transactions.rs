//! Transactions: operations on any collections, all or nothing.

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::written::Written;
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        fallback::unknown_collection,
        request::{
            Body, Visitor,
            batch::{self, Items, name_item, place_in},
            body::{check_new, check_patch},
            idempotency::request_key,
            precondition::refuse_precondition,
            unknown::refuse_in_write,
        },
        state::State,
        traffic::count_operations,
    },
    domain::{Data, DocumentId, Patch, json_mistake::explain},
    service::{
        ServiceError,
        batches::{Step, StepAction},
    },
    writer::WriteError,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transaction<'a> {
    #[serde(borrow)]
    operations: Items<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OperationBody<'a> {
    op: Op,
    collection: String,
    #[serde(default, deserialize_with = "present")]
    id: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present")]
    if_version: Option<u64>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum Op {
    Create,
    Update,
    Replace,
    Delete,
}

/// Refuses `null` for an optional member: a condition that is `null` by mistake would silently hold.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// `POST /transactions` `{"operations":[{"op","collection","id"?,"data"?,"ifVersion"?}]}` → 200 with one result for each:
/// the document, or `{"id","collection"}` of one that was deleted.
pub async fn run(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_precondition(&request)?;
    refuse_in_write(&request)?;
    let key = request_key(&request, &body.bytes)?;
    let Transaction { operations } = body.json()?;
    let mut parser = batch::Documents::new(&body);
    let steps = operations.parse("operations", state.limits.batch, |raw| parse_step(&mut parser, raw))?;
    count_operations(&request, &state, steps.len());
    let collections: Vec<_> = steps.iter().map(|step| step.collection.clone()).collect();
    let done = state.documents.transact(&principal, steps, key).await;
    let committed = done.map_err(|err| {
        let unknown = match &err {
            ServiceError::Write(WriteError::AtOperation { place, cause })
                if matches!(**cause, WriteError::UnknownCollection) =>
            {
                collections.get(*place)
            }
            _ => None,
        };
        let error = name_item(err, place_in("operations"));
        match unknown {
            Some(name) => error.with_hint(unknown_collection(&state, &principal.project, name)),
            None => error,
        }
    })?;
    let written = Written::new(&state, &request, &principal, committed);
    Ok(written.respond(HttpResponse::Ok(), written.results()))
}

fn parse_step(parser: &mut batch::Documents<'_>, raw: &RawValue) -> Result<Step, ApiError> {
    let refuse = |why: &str| ApiError::new(ErrorCode::InvalidBody, why);
    // serde would also read the members from an array, in their order.
    if !raw.get().starts_with('{') {
        return Err(refuse("an operation must be a JSON object"));
    }
    let operation: OperationBody<'_> = serde_json::from_str(raw.get())
        .map_err(|err| refuse(&format!("the operation is not valid: {}", explain(&err))))?;
    let OperationBody { op, collection, id, data, if_version: version } = operation;
    let id = id.map(|id| DocumentId::parse(&id)).transpose()?;
    let data = match (op, data) {
        (Op::Delete, Some(_)) => return Err(refuse("`data` is not allowed in a `delete`")),
        (Op::Delete, None) => None,
        (_, None) => return Err(refuse("`data` is missing")),
        (_, Some(raw)) => Some(parser.parse(raw)?),
    };
    match (op, &data) {
        (Op::Create | Op::Replace, Some(data)) => check_new(data)?,
        (Op::Update, Some(data)) => check_patch(data)?,
        _ => {}
    }
    let missing_id = || refuse("`id` is missing");
    let action = match (op, id, data) {
        (Op::Create, ..) if version.is_some() => {
            return Err(refuse(
                "`ifVersion` is not allowed in a `create`, because the document must not exist yet",
            ));
        }
        (Op::Create, id, Some(data)) => StepAction::Create { id, data },
        (Op::Update, Some(id), Some(data)) => update(id, data, version)?,
        (Op::Replace, Some(id), Some(data)) => StepAction::Replace { id, data, version },
        (Op::Delete, Some(id), _) => StepAction::Delete { id, version },
        _ => return Err(missing_id()),
    };
    Ok(Step { collection, action })
}

fn update(id: DocumentId, data: Data, version: Option<u64>) -> Result<StepAction, ApiError> {
    Ok(StepAction::Update { id, patch: Patch::from_data(data)?, version })
}
