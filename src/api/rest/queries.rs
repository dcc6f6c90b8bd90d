//! Queries: a list by POST, count, aggregate, group by, and how a list is read.

use actix_web::{HttpResponse, web::Path};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    documents::{LIST_STYLE, list_page},
    success::Success,
};
use crate::{
    api::{
        error::ApiError,
        request::{
            Body, Caller, Parameters,
            list::{ListParameters, MAX_OFFSET},
            parameters::{invalid_parameter, missing_parameter},
        },
        state::State,
    },
    query::{aggregate::Operation, parse::Names},
    store::documents::aggregates::{GroupAggregate, Grouping},
};

/// `POST /collections/{collection}/query` with the parameters of a list as JSON → 200 with the same answer.
pub async fn list(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    parameters: Parameters,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    if !parameters.is_empty() {
        return Err(invalid_parameter(
            "this route takes no parameters in the URL; they stand in the body, as in {\"filters\":{\"genre\":\"Fantasy\"},\"limit\":50}",
        ));
    }
    let (parameters, wants_access) = ListParameters::of_body(&body, &LIST_STYLE, state.limits.page)?;
    list_page(&state, &principal, &collection, (parameters, wants_access)).await
}

/// `GET /collections/{collection}/query/count` → 200 with `{"count"}` of the documents that match.
///
/// `limit` and `offset` change nothing, but client libraries always send them.
pub async fn count(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    parameters.refuse_all_but(&["filters", "limit", "offset"])?;
    check_page(&parameters)?;
    let count = state.documents.count(&principal, &collection, parameters.filter()?).await?;
    Ok(HttpResponse::Ok().json(Success::new(json!({ "count": count }))))
}

#[derive(Serialize)]
struct AggregateBody<'a> {
    field: Option<&'a str>,
    operation: &'static str,
    result: Value,
}

/// `GET /collections/{collection}/query/aggregate?operation=…&field=…` → 200 with `{"field","operation","result"}`.
///
/// `limit` and `offset` change nothing, but client libraries always send them.
pub async fn aggregate(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    parameters.refuse_all_but(&["filters", "field", "operation", "limit", "offset"])?;
    check_page(&parameters)?;
    let operation = parameters.single("operation")?;
    let operation = Operation::parse(operation.unwrap_or_default())?;
    let field = parameters.field("field", Names::Strict)?;
    match &field {
        Some(field) => operation.check(field)?,
        None if operation == Operation::Count => {}
        None => return Err(missing_parameter("field")),
    }
    let filter = parameters.filter()?;
    let result = state.documents.aggregate(&principal, &collection, filter, operation, field).await?;
    let body = AggregateBody { field: parameters.single("field")?, operation: operation.as_str(), result };
    Ok(HttpResponse::Ok().json(Success::new(body)))
}

#[derive(Serialize)]
struct GroupBody {
    value: Value,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
}

/// `GET /collections/{collection}/query/group-by?field=…` → 200 with `[{"value","count"}]`, the largest group first; with
/// `operation=…&of=…` each has a `result` as well.
pub async fn group_by(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    parameters.refuse_all_but(&["filters", "field", "operation", "of", "limit", "offset"])?;
    let field = parameters.field("field", Names::Strict)?.ok_or_else(|| missing_parameter("field"))?;
    let of = match (parameters.single("operation")?, parameters.field("of", Names::Strict)?) {
        (None, None) => None,
        (Some(operation), Some(field)) => {
            let operation = Operation::parse(operation)?;
            operation.check(&field)?;
            Some(GroupAggregate { operation, field })
        }
        (Some(_), None) => return Err(missing_parameter("of")),
        (None, Some(_)) => return Err(missing_parameter("operation")),
    };
    let grouping = Grouping {
        field,
        of,
        limit: parameters.number("limit", state.limits.page, 1, state.limits.page)?,
        offset: parameters.number("offset", 0, 0, MAX_OFFSET)?,
    };
    let groups = state.documents.group(&principal, &collection, parameters.filter()?, grouping).await?;
    let bodies: Vec<_> = groups
        .into_iter()
        .map(|group| GroupBody { value: group.value, count: group.count, result: group.result })
        .collect();
    Ok(HttpResponse::Ok().json(Success::new(bodies)))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExplanationBody {
    plan: &'static str,
    index: Option<String>,
    wanted: Option<Vec<String>>,
    rows_read: u64,
}

/// `GET /collections/{collection}/query/explain?…` with the parameters of a list → 200 with
/// `{"plan","index","wanted","rowsRead"}`: how the database reads that list. Takes a secret key.
pub async fn explain(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let ListParameters { filter, page, .. } =
        ListParameters::parse(&parameters, &LIST_STYLE, state.limits.page)?;
    let explanation = state.documents.explain(&principal, &collection, filter, page).await?;
    let body = ExplanationBody {
        plan: explanation.plan.as_str(),
        index: explanation.index.map(|index| index.name),
        wanted: explanation.wanted,
        rows_read: explanation.rows_read,
    };
    Ok(HttpResponse::Ok().json(Success::new(body)))
}

/// Refuses a `limit` or `offset` that is no number, although they change nothing here.
fn check_page(parameters: &Parameters) -> Result<(), ApiError> {
    for name in ["limit", "offset"] {
        parameters.number(name, 0, 0, u64::MAX)?;
    }
    Ok(())
}
