//! Tables: comma-separated values (RFC 4180), and those that spreadsheets separate by `;` or a tab.
//!
//! A table has no types, so a column's cells together say what they are. A column is one of numbers only if each cell is the text of
//! its number, so that nothing is lost: `007`, `1.10`, `1e5` and digits beyond 15 may be codes, versions or card numbers.

use std::collections::HashSet;

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use serde_json::{Number, Value};

use super::record::Record;
use crate::domain::{data::canonicalise, json};

/// The columns with which an export begins, before the fields of the documents.
const OWN_COLUMNS: [&str; 4] = ["id", "createdAt", "updatedAt", "version"];
/// Digits that a double can hold in any number.
const EXACT_DIGITS: usize = 15;

/// The type of the cells of a column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Boolean,
    Text,
}

/// A table: its records, and the fields that its first line names.
pub(super) struct Table {
    pub(super) names: Vec<String>,
    pub(super) records: Vec<Record<'static>>,
}

/// Reads a table whose first line has the names of the fields. A cell that is empty is a field that the record lacks.
///
/// # Errors
/// A sentence about the first line that is wrong.
pub(super) fn read(text: &str) -> Result<Table, String> {
    let separator = separator_of(text);
    if let Some(line) = open_quote(text, separator) {
        return Err(format!(
            "line {line}: the quote that begins here has no end, so that all that follows would be one cell; a `\"` in a cell is \
             written `\"\"`"
        ));
    }
    let mut reader = ReaderBuilder::new().delimiter(separator).from_reader(text.as_bytes());
    let heading = reader.headers().map_err(|err| describe(&err))?;
    let is_export = heading.iter().take(4).eq(OWN_COLUMNS);
    let names = names_of(heading, is_export)?;
    let rows = reader.into_records().collect::<Result<Vec<_>, _>>().map_err(|err| describe(&err))?;
    let kinds: Vec<_> = (0..names.len()).map(|column| kind_of(&rows, column)).collect();
    let first = if is_export { OWN_COLUMNS.len() } else { 0 };
    let records = rows.iter().map(|row| to_record(row, &names, &kinds, first)).collect();
    Ok(Table { names, records })
}

/// Finds the line of a quote that is open where the text ends. The reader would take all behind it for one cell.
fn open_quote(text: &str, separator: u8) -> Option<usize> {
    enum Place {
        Begin,
        Cell,
        Quoted(usize),
        /// Behind a quote in quotes, which may end them.
        Quote(usize),
    }
    let (mut place, mut line) = (Place::Begin, 1);
    for byte in text.bytes() {
        place = match (place, byte) {
            (Place::Begin, b'"') => Place::Quoted(line),
            (Place::Quoted(begun), b'"') => Place::Quote(begun),
            (Place::Quote(begun), b'"') => Place::Quoted(begun),
            (Place::Quoted(begun), _) => Place::Quoted(begun),
            (_, byte) if byte == separator || matches!(byte, b'\r' | b'\n') => Place::Begin,
            _ => Place::Cell,
        };
        line += usize::from(byte == b'\n');
    }
    match place {
        Place::Quoted(begun) => Some(begun),
        _ => None,
    }
}

fn to_record(row: &StringRecord, names: &[String], kinds: &[Kind], first: usize) -> Record<'static> {
    let mut data = serde_json::Map::new();
    for ((cell, name), kind) in
        row.iter().zip(names).zip(kinds).skip(first).filter(|((cell, _), _)| !cell.is_empty())
    {
        // An export calls a field so that has the name of one of its own columns.
        let own = name.strip_prefix("data.").filter(|name| first > 0 && OWN_COLUMNS.contains(name));
        data.insert(own.unwrap_or(name).to_owned(), to_value(cell, *kind));
    }
    let line = row.position().map_or(0, |position| usize::try_from(position.line()).unwrap_or(usize::MAX));
    let id = (first > 0).then(|| row.get(0).unwrap_or_default().to_owned());
    Record { line, number: 0, id, data: Value::Object(data).to_string().into() }
}

/// Finds what separates the names: a comma, unless the first line has none but another separator.
fn separator_of(text: &str) -> u8 {
    let heading = text.lines().next().unwrap_or_default();
    if heading.contains(',') {
        return b',';
    }
    [b'\t', b';'].into_iter().find(|separator| heading.as_bytes().contains(separator)).unwrap_or(b',')
}

fn names_of(heading: &StringRecord, is_export: bool) -> Result<Vec<String>, String> {
    let mut seen = HashSet::new();
    for name in heading {
        // A field of an export may have any name.
        if name.is_empty() && !is_export {
            return Err("line 1: a column has no name; the first line must name every column".to_owned());
        }
        if !is_export && is_value(name) {
            return Err(format!(
                "line 1: `{name}` is no name of a column, so the file seems to lack the line with the names; the first line must \
                 name every column"
            ));
        }
        if !seen.insert(name) {
            return Err(format!("line 1: two columns have the name `{name}`"));
        }
    }
    match seen.is_empty() {
        true => Err("it is empty; the first line must name the columns".to_owned()),
        false => Ok(heading.iter().map(str::to_owned).collect()),
    }
}

/// Whether a text is a value rather than the name of a column. A year may be either.
fn is_value(text: &str) -> bool {
    let is_year =
        text.len() == 4 && text.starts_with(['1', '2']) && text.bytes().all(|byte| byte.is_ascii_digit());
    matches!(text, "true" | "false") || (text.parse::<f64>().is_ok_and(f64::is_finite) && !is_year)
}

fn kind_of(rows: &[StringRecord], column: usize) -> Kind {
    let mut cells = rows.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty()).peekable();
    if cells.peek().is_none() {
        return Kind::Text;
    }
    if cells.clone().all(|cell| to_number(cell).is_some()) {
        return Kind::Number;
    }
    match cells.all(|cell| matches!(cell, "true" | "false")) {
        true => Kind::Boolean,
        false => Kind::Text,
    }
}

/// Reads a number whose text comes back exactly as it is from the server.
fn to_number(cell: &str) -> Option<Number> {
    let digits = cell.bytes().filter(u8::is_ascii_digit).count();
    let mut value =
        Value::Number((digits <= EXACT_DIGITS).then(|| serde_json::from_str(cell).ok()).flatten()?);
    canonicalise(&mut value, 0).ok()?;
    match value {
        Value::Number(number) if number.to_string() == cell => Some(number),
        _ => None,
    }
}

fn to_value(cell: &str, kind: Kind) -> Value {
    let text = || Value::String(cell.to_owned());
    match kind {
        Kind::Number => to_number(cell).map_or_else(text, Value::Number),
        Kind::Boolean => Value::Bool(cell == "true"),
        // An export writes arrays and objects as JSON.
        Kind::Text if cell.starts_with(['{', '[']) => json::parse(cell.as_bytes()).unwrap_or_else(|_| text()),
        Kind::Text => text(),
    }
}

fn describe(err: &csv::Error) -> String {
    let line = err.position().map_or(1, csv::Position::line);
    match err.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("line {line}: it has {len} cells, and the first line has {expected_len}")
        }
        _ => format!("line {line}: {err}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str) -> Vec<String> {
        read(text).unwrap().records.into_iter().map(|record| record.data.into_owned()).collect()
    }

    #[test]
    fn a_column_says_what_its_cells_are() {
        for (why, text, expected) in [
            ("numbers", "n\n1\n-2.5\n", vec![r#"{"n":1}"#, r#"{"n":-2.5}"#]),
            ("a version", "n\n1.9\n1.10\n", vec![r#"{"n":"1.9"}"#, r#"{"n":"1.10"}"#]),
            ("an exponent", "n\n1\n1e5\n", vec![r#"{"n":"1"}"#, r#"{"n":"1e5"}"#]),
            ("a whole number with a point", "n\n1.0\n", vec![r#"{"n":"1.0"}"#]),
            ("a sign", "n\n+1\n", vec![r#"{"n":"+1"}"#]),
            ("a negative zero", "n\n-0\n", vec![r#"{"n":"-0"}"#]),
            ("spaces", "n\n 1\n", vec![r#"{"n":" 1"}"#]),
            ("years as names", "country,1990\nTogo,4\n", vec![r#"{"1990":4,"country":"Togo"}"#]),
            ("quotes in a cell", "a\n\"x\"\"y\"\n5\" disk\n", vec![r#"{"a":"x\"y"}"#, r#"{"a":"5\" disk"}"#]),
            ("postal codes", "zip\n01234\n12345\n", vec![r#"{"zip":"01234"}"#, r#"{"zip":"12345"}"#]),
            ("a long number", "card\n4111111111111111\n", vec![r#"{"card":"4111111111111111"}"#]),
            ("a mixed column", "n\n1\nmany\n", vec![r#"{"n":"1"}"#, r#"{"n":"many"}"#]),
            ("booleans", "b\ntrue\nfalse\n", vec![r#"{"b":true}"#, r#"{"b":false}"#]),
            ("an empty cell", "a,b\n1,\n,x\n", vec![r#"{"a":1}"#, r#"{"b":"x"}"#]),
            ("arrays", "a\n\"[1,2]\"\n[\n", vec![r#"{"a":[1,2]}"#, r#"{"a":"["}"#]),
            ("semicolons", "a;b\n1;x\n", vec![r#"{"a":1,"b":"x"}"#]),
            ("tabs", "a\tb\n1\tx\n", vec![r#"{"a":1,"b":"x"}"#]),
            ("lines in a cell", "a\r\n\"x\ny\"\r\n", vec![r#"{"a":"x\ny"}"#]),
            ("a name with a dot", "data.id\n1\n", vec![r#"{"data.id":1}"#]),
        ] {
            assert_eq!(data(text), expected, "{why}");
        }
    }

    #[test]
    fn an_export_keeps_its_ids() {
        let text = "id,createdAt,updatedAt,version,data.id,n,\"\",17\nx1,2026-11-27T00:00:00.000Z,2026-11-27T00:00:00.000Z,3,7,1,e,s\n";
        let records = read(text).unwrap().records;
        assert_eq!((records[0].id.as_deref(), records[0].line), (Some("x1"), 2));
        assert_eq!(records[0].data, r#"{"":"e","17":"s","id":7,"n":1}"#);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, told) in [
            ("a,b\n1,2\n1,2,3\n", "line 3: it has 3 cells"),
            ("a,a\n", "two columns"),
            ("a,,b\n", "no name"),
            ("a,b\n1,2\n3,\"4\n5,6\n", "line 3: the quote that begins here has no end"),
            ("a\n\"x\ny\"\n\"", "line 4: the quote that begins here has no end"),
            ("\"a,b\n1,2\n", "line 1: the quote"),
            ("1,Dune,1965\n2,Emma,1815\n", "line 1: `1` is no name"),
            ("Dune,true\n", "line 1: `true` is no name"),
            ("Dune,-2.5\n", "line 1: `-2.5` is no name"),
            ("", "is empty"),
        ] {
            let Err(reason) = read(text) else { panic!("{text:?}") };
            assert!(reason.contains(told), "{text:?}: {reason}");
        }
    }
}
