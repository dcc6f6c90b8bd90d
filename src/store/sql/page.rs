//! Sorts, and the ranges of documents after a place in a sort.

use sea_orm::{
    DbBackend, Order,
    sea_query::{BinOper, Expr, ExprTrait},
};

use crate::{
    query::{
        Field,
        key::Key,
        page::{Direction, Place, Sort, SortTerm},
    },
    store::sql::{
        filter::source_of,
        key::{Source, key_columns, key_values},
    },
};

impl From<Direction> for Order {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Ascending => Self::Asc,
            Direction::Descending => Self::Desc,
        }
    }
}

/// An expression to order by.
pub struct SortColumn {
    pub column: Expr,
    pub direction: Direction,
}

/// Returns the expressions of a sort, the most significant first. The last is the id.
pub fn sort_columns(sort: &Sort, backend: DbBackend) -> Vec<SortColumn> {
    let by_id = SortTerm { field: Field::Id, direction: sort.by_id };
    let columns = |term: &SortTerm| {
        let direction = term.direction;
        key_columns(&source_of(&term.field, backend), backend)
            .into_iter()
            .map(move |column| SortColumn { column, direction })
    };
    sort.terms.iter().chain([&by_id]).flat_map(columns).collect()
}

/// A range of the documents after a place.
pub struct RangeAfter {
    /// The number of leading terms in which the documents of the range equal the place.
    pub equal_terms: usize,
    pub condition: Expr,
}

/// The key of a place in one term of a sort.
#[derive(Clone)]
struct PlacedTerm {
    columns: Vec<Expr>,
    values: Vec<Expr>,
    direction: Direction,
}

/// Splits the documents after a place into ranges of an index over the sort's fields. No document is in two ranges.
///
/// If all directions are the same, there is one range. Otherwise the documents after the place are not one range of any
/// index, but one for each number of leading terms in which they equal the place.
pub fn ranges_after(sort: &Sort, place: &Place, backend: DbBackend) -> Vec<RangeAfter> {
    let placed = |(term, key): (&SortTerm, &Key)| {
        let source = source_of(&term.field, backend);
        PlacedTerm {
            columns: key_columns(&source, backend),
            values: key_values(&source, key, backend),
            direction: term.direction,
        }
    };
    let mut terms: Vec<_> = sort.terms.iter().zip(&place.keys).map(placed).collect();
    terms.push(PlacedTerm {
        columns: key_columns(&Source::Id, backend),
        values: vec![Expr::val(place.id.as_str())],
        direction: sort.by_id,
    });
    if sort.is_uniform() {
        let columns = terms.iter().flat_map(|term| term.columns.clone()).collect();
        let values = terms.iter().flat_map(|term| term.values.clone()).collect();
        let condition = after(PlacedTerm { columns, values, direction: sort.by_id });
        return vec![RangeAfter { equal_terms: 0, condition }];
    }
    let range = |equal_terms: usize| {
        let equal = terms[..equal_terms].iter().flat_map(|term| term.columns.iter().zip(&term.values));
        let condition = equal
            .map(|(column, value)| column.clone().eq(value.clone()))
            .fold(after(terms[equal_terms].clone()), ExprTrait::and);
        RangeAfter { equal_terms, condition }
    };
    (0..terms.len()).map(range).collect()
}

/// Returns `(a, b) > (1, 2)`, and `a >= 1` beside it, because SQLite would otherwise walk from the start of the index.
fn after(PlacedTerm { columns, values, direction }: PlacedTerm) -> Expr {
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
