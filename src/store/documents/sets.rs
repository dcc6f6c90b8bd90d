//! The values that a field has in the documents that match: what a rule asks of another collection.

use std::{collections::HashSet, ops::ControlFlow};

use sea_orm::ConnectionTrait;
use serde_json::Value;

use crate::{
    domain::CollectionId,
    query::{Field, Filter},
    store::{
        ReadConnection, Result,
        documents::{
            aggregates::{read_value, value_text},
            table::select_matching,
        },
    },
};

/// The most values of a set, and their bytes as JSON.
pub const MAX_VALUES: usize = 10_000;
pub const MAX_BYTES: usize = 256 * 1024;

/// Returns the distinct values of a field, without null, in the documents that match. `None` if they are too many, or too long.
///
/// # Errors
/// A database failure.
pub async fn read(
    db: &ReadConnection,
    collection: &CollectionId,
    field: &Field,
    filter: &Filter,
) -> Result<Option<Vec<Value>>> {
    let backend = db.get_database_backend();
    let has_value = Filter::Equals(field.clone(), vec![Value::Null]).negate();
    let mut select = select_matching(collection, &filter.clone().and(has_value), backend);
    select.expr(value_text(field, backend)).distinct().limit(MAX_VALUES as u64 + 1);
    let (mut seen, mut values, mut bytes) = (HashSet::new(), Vec::new(), 0);
    db.visit(&select, |row| {
        let text = row.try_get_by_index::<String>(0)?;
        let value = read_value(field, &text)?;
        // One number may have several texts.
        if seen.insert(value.to_string()) {
            bytes += text.len();
            values.push(value);
        }
        let fits = values.len() <= MAX_VALUES && bytes <= MAX_BYTES;
        Ok(if fits { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
    .await?;
    Ok((values.len() <= MAX_VALUES && bytes <= MAX_BYTES).then_some(values))
}
