//! The parameters of lists and queries.

use crate::{
    api::{
        error::{ApiError, ErrorCode},
        extract::Parameters,
    },
    config::Limits,
    query::page::{Direction, Page, Sort},
};

/// Documents of a list, if nothing is said.
const DEFAULT_LIMIT: u64 = 100;
/// Further than this, nobody pages.
const MAX_OFFSET: u64 = 1_000_000;
/// What each library, and each generation of the documentation, calls a sort.
const SORTS: [&str; 3] = ["sort", "sort_by", "orderBy"];
const ORDERS: [&str; 2] = ["order", "sort_order"];
/// The parameters of a list that are no filters.
pub const LISTED: [&str; 10] =
    ["limit", "offset", "sort", "sort_by", "orderBy", "order", "sort_order", "select", "populate", "filters"];

/// Which part of the documents a list wants, and in which order: newest first if nothing is said, and descending too by
/// another field.
///
/// # Errors
/// `INVALID_FILTER`, which names the parameter.
pub fn page(parameters: &Parameters, limits: &Limits) -> Result<Page, ApiError> {
    let mut direction = Direction::Descending;
    for name in ORDERS {
        direction = match parameters.single(name)? {
            None => direction,
            Some("asc") => Direction::Ascending,
            Some("desc") => Direction::Descending,
            Some(_) => {
                return Err(ApiError::new(ErrorCode::InvalidFilter, format!("`{name}` is asc or desc")));
            }
        };
    }
    let mut sorts = Vec::new();
    for (name, text) in parameters.pairs() {
        if SORTS.contains(&name) {
            sorts.push(text);
        }
    }
    let sort = match sorts.as_slice() {
        [] => Sort::by_age(direction),
        texts => Sort::parse(&texts.join(","), Some(direction))?,
    };
    let offset = parameters.number("offset", 0, 0, MAX_OFFSET)?;
    let limit = parameters.number("limit", DEFAULT_LIMIT.min(limits.page), 1, limits.page)?;
    Ok(Page { sort, limit, offset, after: None })
}
