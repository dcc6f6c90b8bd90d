//! Order, and the place from which a page goes on.

use sea_orm::{
    DbBackend, Order,
    sea_query::{BinOper, Expr, ExprTrait},
};

use crate::{
    query::{
        Field,
        page::{Direction, Place, Sort},
    },
    store::sql::key::{key_columns, key_values},
};

impl From<Direction> for Order {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Ascending => Self::Asc,
            Direction::Descending => Self::Desc,
        }
    }
}

/// What a statement orders by, the first of them before all; the last is the id.
pub fn sort_columns(sort: &Sort, backend: DbBackend) -> Vec<(Expr, Direction)> {
    let by_id = (Field::Id, sort.by_id);
    let terms = sort.terms.iter().chain([&by_id]);
    let columns = terms.flat_map(|(field, direction)| {
        key_columns(field, backend).into_iter().map(move |column| (column, *direction))
    });
    columns.collect()
}

/// The documents after a place, as conditions of which each document fulfils one at most: each is a range of an index over
/// the sort's fields, where their alternative would be none. With each, in how many of the first terms its documents are alike.
pub fn beyond(sort: &Sort, place: &Place, backend: DbBackend) -> Vec<(usize, Expr)> {
    let mut terms: Vec<_> = sort
        .terms
        .iter()
        .zip(&place.keys)
        .map(|((field, direction), key)| {
            (key_columns(field, backend), key_values(field, key, backend), *direction)
        })
        .collect();
    terms.push((key_columns(&Field::Id, backend), vec![Expr::val(place.id.as_str())], sort.by_id));

    if sort.is_uniform() {
        let columns: Vec<_> = terms.iter().flat_map(|(columns, ..)| columns.clone()).collect();
        let values: Vec<_> = terms.iter().flat_map(|(_, values, _)| values.clone()).collect();
        return vec![(0, after(columns, values, sort.by_id))];
    }
    let alternatives = (0..terms.len()).map(|level| {
        let (columns, values, direction) = terms[level].clone();
        let same = terms[..level].iter().flat_map(|(columns, values, _)| columns.iter().zip(values));
        let condition = same
            .map(|(column, value)| column.clone().eq(value.clone()))
            .fold(after(columns, values, direction), ExprTrait::and);
        (level, condition)
    });
    alternatives.collect()
}

/// `(a, b) > (1, 2)`, with `a >= 1` beside it, without which SQLite walks from the start.
fn after(columns: Vec<Expr>, values: Vec<Expr>, direction: Direction) -> Expr {
    let (beyond, not_before) = match direction {
        Direction::Ascending => (BinOper::GreaterThan, BinOper::GreaterThanOrEqual),
        Direction::Descending => (BinOper::SmallerThan, BinOper::SmallerThanOrEqual),
    };
    if let ([column], [value]) = (&columns[..], &values[..]) {
        return column.clone().binary(beyond, value.clone());
    }
    let first = columns[0].clone().binary(not_before, values[0].clone());
    first.and(Expr::tuple(columns).binary(beyond, Expr::tuple(values)))
}
