//! Queries without documents in their answers: count, aggregate, group by, schema. A collection that does not exist has no
//! documents.

use actix_web::{HttpResponse, web::Path};
use serde_json::{Map, Value, json};

use crate::{
    api::{
        cocobase::schema::describe,
        error::ApiError,
        request::{Caller, Parameters, list::MAX_OFFSET, parameters::missing_parameter},
        state::State,
    },
    query::{
        Field, Filter,
        aggregate::Operation,
        page::{Direction, Page, Sort},
        parse::Names,
    },
    service::ServiceError,
    store::documents::aggregates::Grouping,
};

/// Parameters that the libraries' query builders add to every query, though they change nothing here.
const IGNORED: [&str; 9] =
    ["limit", "offset", "sort", "sort_by", "orderBy", "order", "sort_order", "select", "populate"];
/// How many of the newest documents the schema is read from.
const SAMPLE: u64 = 100;

/// `GET /collections/{collection}/query/documents/count` → 200 with `{"count"}` of the documents that match.
pub async fn count(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    refuse_all_but(&parameters, &["filters"])?;
    let count = state.documents.count(&principal, &collection, parameters.filter_with(Names::Lenient)?).await;
    Ok(HttpResponse::Ok().json(json!({ "count": or_empty(count)? })))
}

/// `GET /collections/{collection}/query/documents/aggregate?field=…&operation=…` → 200 with `{"field","operation","result",
/// "collection"}`.
pub async fn aggregate(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    refuse_all_but(&parameters, &["filters", "field", "operation"])?;
    let operation = Operation::parse(parameters.single("operation")?.unwrap_or_default())?;
    let (name, field) = parse_named(&parameters)?;
    operation.check(&field)?;
    let filter = parameters.filter_with(Names::Lenient)?;
    let result =
        match state.documents.aggregate(&principal, &collection, filter, operation, Some(field)).await {
            // The result for no documents.
            Err(ServiceError::UnknownCollection)
                if matches!(operation, Operation::Count | Operation::Sum) =>
            {
                0.into()
            }
            result => or_empty(result)?,
        };
    Ok(HttpResponse::Ok().json(json!({
        "field": name,
        "operation": operation.as_str(),
        "result": result,
        "collection": *collection,
    })))
}

/// `GET /collections/{collection}/query/documents/group-by?field=…` → 200 with `[{"<field>","value","count"}]`, the largest
/// group first. Documents without a value are in no group.
pub async fn group_by(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    refuse_all_but(&parameters, &["filters", "field"])?;
    let (name, field) = parse_named(&parameters)?;
    let has_value = Filter::Equals(field.clone(), vec![Value::Null]).negate();
    let grouping = Grouping {
        field,
        of: None,
        limit: parameters.number("limit", state.limits.page, 1, state.limits.page)?,
        offset: parameters.number("offset", 0, 0, MAX_OFFSET)?,
    };
    let filter = parameters.filter_with(Names::Lenient)?.and(has_value);
    let groups = or_empty(state.documents.group(&principal, &collection, filter, grouping).await)?;
    let mut bodies = Vec::with_capacity(groups.len());
    for group in groups {
        let mut members = Map::new();
        members.insert(name.to_owned(), group.value.clone());
        members.insert("value".to_owned(), group.value);
        members.insert("count".to_owned(), group.count.into());
        bodies.push(members);
    }
    Ok(HttpResponse::Ok().json(bodies))
}

/// `GET /collections/{collection}/query/schema` → 200 with the fields of the newest documents.
pub async fn schema(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let count = or_empty(state.documents.count(&principal, &collection, Filter::all()).await)?;
    let sort = Sort::by_age(Direction::Descending);
    let page = Page { sort, limit: SAMPLE.min(state.limits.page), offset: 0, after: None };
    let sample = match state.documents.list(&principal, &collection, Filter::all(), page).await {
        Ok(list) => list.listed.documents,
        Err(ServiceError::UnknownCollection) => Vec::new(),
        Err(err) => return Err(err.into()),
    };
    Ok(HttpResponse::Ok().json(json!({
        "collection": *collection,
        "document_count": count,
        "analyzed_documents": sample.len(),
        "fields": describe(&sample),
    })))
}

fn or_empty<T: Default>(answer: Result<T, ServiceError>) -> Result<T, ApiError> {
    match answer {
        Err(ServiceError::UnknownCollection) => Ok(T::default()),
        answer => Ok(answer?),
    }
}

fn refuse_all_but(parameters: &Parameters, served: &[&str]) -> Result<(), ApiError> {
    parameters.refuse_all_but(&[served, &IGNORED].concat())
}

/// Reads the parameter `field`: its text, and the field that it names.
fn parse_named(parameters: &Parameters) -> Result<(&str, Field), ApiError> {
    match (parameters.single("field")?, parameters.field("field", Names::Lenient)?) {
        (Some(name), Some(field)) => Ok((name, field)),
        _ => Err(missing_parameter("field")),
    }
}
