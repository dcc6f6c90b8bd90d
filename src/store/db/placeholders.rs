//! Placeholders of bound values, when several statements become one text.

use crate::store::db::statement::Param;

const MARKS: [char; 2] = ['?', '$'];

/// Appends a statement for SQLite, with each placeholder as `?`. Returns the values in the order of the placeholders.
///
/// Numbered placeholders would have to count on from statement to statement. But SQLite gives a statement that begins at
/// `?7` seven parameters. The driver takes six of them for parameters without a number, and leaves the others NULL.
pub(super) fn append_unnumbered(text: &mut String, statement: &str, params: Vec<Param>) -> Vec<Param> {
    let (mut rest, mut placed) = (statement, Vec::new());
    while let Some(place) = rest.find(MARKS) {
        let split = split_at_mark(rest, place);
        text.push_str(split.before);
        match split.number {
            Some(number) => {
                text.push('?');
                placed.extend(params.get(number - 1).cloned());
            }
            // A placeholder of many rows, which has no number, or a mark in a JSON path.
            None => text.push_str(&rest[place..=place]),
        }
        rest = split.after;
    }
    text.push_str(rest);
    // A statement has either numbers or none.
    if placed.is_empty() { params } else { placed }
}

/// Appends a statement for PostgreSQL whose placeholders count on after those that are `bound` already.
pub(super) fn append_renumbered(text: &mut String, statement: &str, bound: usize) {
    let mut rest = statement;
    while let Some(place) = rest.find(MARKS) {
        let split = split_at_mark(rest, place);
        text.push_str(split.before);
        match split.number {
            Some(number) => text.push_str(&format!("${}", number + bound)),
            None => text.push_str(&rest[place..=place]),
        }
        rest = split.after;
    }
    text.push_str(rest);
}

/// A text, split at a mark.
struct Split<'a> {
    before: &'a str,
    /// The number behind the mark, from 1, if there is one.
    number: Option<usize>,
    after: &'a str,
}

fn split_at_mark(text: &str, place: usize) -> Split<'_> {
    let (before, after) = text.split_at(place);
    let after = &after[1..];
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    let number = after[..digits].parse().ok().filter(|number| *number > 0);
    Split { before, number, after: &after[digits..] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_statements_keep_their_own_parameters() {
        for (statement, sqlite, postgres) in [
            ("SELECT ?1, ?12", "SELECT ?, ?", "SELECT $3, $14"),
            ("SELECT $2, $1", "SELECT ?, ?", "SELECT $4, $3"),
            ("VALUES (?,?)", "VALUES (?,?)", "VALUES (?,?)"),
            ("jsonb_extract(value, '$[6]')", "jsonb_extract(value, '$[6]')", "jsonb_extract(value, '$[6]')"),
            ("COMMIT", "COMMIT", "COMMIT"),
        ] {
            let (mut for_sqlite, mut for_postgres) = (String::new(), String::new());
            append_unnumbered(&mut for_sqlite, statement, Vec::new());
            append_renumbered(&mut for_postgres, statement, 2);
            assert_eq!((for_sqlite.as_str(), for_postgres.as_str()), (sqlite, postgres));
        }
    }

    #[test]
    fn values_follow_the_order_of_their_placeholders() {
        let params = vec![Param::Integer(1), Param::Integer(2)];
        let placed = append_unnumbered(&mut String::new(), "SELECT $2, $1, $2", params);
        let numbers: Vec<_> = placed.iter().map(|param| format!("{param:?}")).collect();
        assert_eq!(numbers, ["Integer(2)", "Integer(1)", "Integer(2)"]);
    }
}
