//! Many rows in one statement.
//!
//! SQLite gets the rows as `VALUES` with bound values, which is four times as fast as JSON. They are padded with rows of
//! `NULL` up to a power of two, so that there are few statement texts, and each is prepared once. PostgreSQL gets an array for
//! each column, so that there is one statement text, and no text must be escaped and parsed again.

use serde::Serialize;

use crate::store::db::statement::{BoundStatement, Param};

/// The most rows of one statement, because SQLite counts parameters with 15 bits.
const MAX_ROWS: usize = 1024;

/// A constant statement over many rows, with one text for each database. `{rows}` stands for a query with the columns `column1`,
/// `column2` …
#[derive(Clone, Copy)]
pub(in crate::store) struct RowsSql {
    /// Some of its rows have `NULL` in all columns.
    pub(in crate::store) sqlite: &'static str,
    pub(in crate::store) postgres: &'static str,
}

impl RowsSql {
    pub(in crate::store) const fn same(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }
}

/// Rows, which must all have the same number of columns.
#[derive(Default)]
pub(in crate::store) struct Rows {
    cells: Vec<Cell>,
    columns: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Cell {
    Text(String),
    Integer(i64),
    Null,
}

/// A row of [`Rows`] that is being filled, column by column.
pub(in crate::store) struct Row<'a>(&'a mut Rows, usize);

impl Rows {
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Begins a new row.
    pub(in crate::store) fn row(&mut self) -> Row<'_> {
        let begin = self.cells.len();
        debug_assert!(begin == 0 || begin.is_multiple_of(self.columns), "all rows have as many columns");
        Row(self, begin)
    }

    /// Returns the statement for PostgreSQL. A column that has numbers is `bigint`, and any other one `text`.
    pub(super) fn into_statement(self, sql: RowsSql) -> BoundStatement {
        let columns = self.columns.max(1);
        let has_numbers = |column| {
            self.cells.iter().skip(column).step_by(columns).any(|cell| matches!(cell, Cell::Integer(_)))
        };
        let count = self.cells.len() / columns;
        let mut params: Vec<_> = (0..columns)
            .map(|column| match has_numbers(column) {
                true => Param::Integers(Vec::with_capacity(count)),
                false => Param::Texts(Vec::with_capacity(count)),
            })
            .collect();
        let (mut arrays, mut names) = (Vec::new(), Vec::new());
        for (place, param) in params.iter().enumerate() {
            let kind = if matches!(param, Param::Integers(_)) { "bigint" } else { "text" };
            arrays.push(format!("${}::{kind}[]", place + 1));
            names.push(format!("column{}", place + 1));
        }
        for (place, cell) in self.cells.into_iter().enumerate() {
            match (cell, &mut params[place % columns]) {
                (Cell::Text(value), Param::Texts(values)) => values.push(Some(value)),
                (Cell::Integer(value), Param::Integers(values)) => values.push(Some(value)),
                (_, Param::Texts(values)) => values.push(None),
                (_, Param::Integers(values)) => values.push(None),
                _ => {}
            }
        }
        let rows = format!("unnest({}) AS given ({})", arrays.join(","), names.join(","));
        BoundStatement { text: sql.postgres.replace("{rows}", &rows).into(), params }
    }

    /// Returns the statements for SQLite: more than one if there are very many rows.
    pub(super) fn into_statements(self, sql: RowsSql) -> Vec<BoundStatement> {
        let columns = self.columns.max(1);
        debug_assert!(self.cells.len().is_multiple_of(columns), "all rows have as many columns");
        let mut params: Vec<Param> = self.cells.into_iter().map(Param::from).collect();
        let mut statements = Vec::new();
        while !params.is_empty() {
            let rest = params.split_off(params.len().min(MAX_ROWS * columns));
            let mut part = std::mem::replace(&mut params, rest);
            let rows = (part.len() / columns).next_power_of_two();
            part.resize_with(rows * columns, || Param::OptionalText(None));
            let row = format!("({})", vec!["?"; columns].join(","));
            let values = format!("(VALUES {})", vec![row; rows].join(","));
            statements
                .push(BoundStatement { text: sql.sqlite.replace("{rows}", &values).into(), params: part });
        }
        statements
    }

    /// Returns the rows as JSON: `[[…],[…]]`.
    pub(in crate::store) fn to_json(&self) -> String {
        let rows: Vec<_> = self.cells.chunks(self.columns.max(1)).collect();
        // Texts and numbers can always be written.
        serde_json::to_string(&rows).unwrap_or_default()
    }
}

impl Row<'_> {
    fn push(self, cell: Cell) -> Self {
        self.0.cells.push(cell);
        self.0.columns = self.0.columns.max(self.0.cells.len() - self.1);
        self
    }

    pub(in crate::store) fn text(self, value: impl Into<String>) -> Self {
        self.push(Cell::Text(value.into()))
    }

    pub(in crate::store) fn optional_text(self, value: Option<impl Into<String>>) -> Self {
        self.push(value.map_or(Cell::Null, |value| Cell::Text(value.into())))
    }

    pub(in crate::store) fn null(self) -> Self {
        self.push(Cell::Null)
    }

    pub(in crate::store) fn integer(self, value: i64) -> Self {
        self.push(Cell::Integer(value))
    }
}

impl From<Cell> for Param {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Text(value) => Self::Text(value),
            Cell::Integer(value) => Self::Integer(value),
            Cell::Null => Self::OptionalText(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQL: RowsSql =
        RowsSql { sqlite: "INSERT INTO t SELECT column1 FROM {rows}", postgres: "DELETE FROM {rows}" };

    #[test]
    fn rows_are_padded_to_a_power_of_two_and_split_when_there_are_too_many() {
        let rows = |count: usize| {
            let mut rows = Rows::default();
            for place in 0..count {
                rows.row().integer(place as i64).null();
            }
            rows
        };
        let counts = |count| {
            let statements = rows(count).into_statements(SQL).into_iter();
            statements.map(|statement| statement.params.len()).collect::<Vec<_>>()
        };
        assert_eq!(counts(0), Vec::<usize>::new());
        assert_eq!(counts(3), [8]);
        assert_eq!(counts(MAX_ROWS + 1), [2 * MAX_ROWS, 2]);
        let statement = rows(2).into_statement(SQL);
        assert_eq!(statement.text, "DELETE FROM unnest($1::bigint[],$2::text[]) AS given (column1,column2)");
        let numbers: Vec<_> = statement.params.iter().map(|param| format!("{param:?}")).collect();
        assert_eq!(numbers, ["Integers([Some(0), Some(1)])", "Texts([None, None])"]);
        let text = &rows(1).into_statements(SQL)[0].text;
        assert_eq!(text, "INSERT INTO t SELECT column1 FROM (VALUES (?,?))");
        assert_eq!(rows(2).to_json(), "[[0,null],[1,null]]");
        assert_eq!(Rows::default().to_json(), "[]");
    }
}
