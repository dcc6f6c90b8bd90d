//! Which part of a result is wanted, and in which order.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    Field, Filter,
    key::Key,
    parse::{FilterError, parse_field},
};
use crate::domain::{Document, DocumentId, data::canonicalise};

/// The most fields of a sort.
const MAX_TERMS: usize = 8;
/// The longest text of a cursor, in bytes: it shall fit into a URL.
const MAX_CURSOR_BYTES: usize = 16 * 1024;

/// A part of a sorted result.
#[derive(Clone, Debug)]
pub struct Page {
    /// What comes first.
    pub sort: Sort,
    /// At most this many documents.
    pub limit: u64,
    /// So many are left out first.
    pub offset: u64,
    /// Only what comes after this place.
    pub after: Option<Place>,
}

/// Which end of a sort comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The least first.
    Ascending,
    /// The greatest first.
    Descending,
}

/// An order of documents. It ends with their ids, so no two are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// By these fields, the first of them before all; none is `id`, and none is there twice.
    pub terms: Vec<(Field, Direction)>,
    /// By id, in this direction.
    pub by_id: Direction,
}

/// A place in a sorted result: the sort keys of the last document that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// One for each term of the sort.
    pub keys: Vec<Key>,
    /// The document's id.
    pub id: DocumentId,
}

/// A page can't be gone on from: a sort key of its last document is too long for a cursor.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the next page can't be named, since a value of the sort is too long; sort by another field, or use `offset`"
)]
pub struct KeyTooLong;

impl Sort {
    /// By creation time: the default is newest first.
    pub fn by_age(direction: Direction) -> Self {
        Self { terms: vec![(Field::CreatedAt, direction)], by_id: direction }
    }

    /// Reads `status,-createdAt`: fields as in a filter, parted by commas (`\,` is a comma in a name), `-` for the greatest
    /// first. `all`, if it is there, is the direction of every term.
    ///
    /// # Errors
    /// [`FilterError`] for a term that is no field, or too many of them.
    pub fn parse(text: &str, all: Option<Direction>) -> Result<Self, FilterError> {
        let mut terms: Vec<(Field, Direction)> = Vec::new();
        for name in split_names(text) {
            let (name, written) = match name.strip_prefix('-') {
                Some(name) => (name.to_owned(), Direction::Descending),
                None => (name, Direction::Ascending),
            };
            if name.is_empty() {
                return Err(FilterError::new("a sort names fields, as in `orderBy=status,-createdAt`"));
            }
            let field =
                parse_field(&name).map_err(|err| FilterError::new(format!("the sort by `{name}`: {err}")))?;
            if !terms.iter().any(|(other, _)| *other == field) {
                terms.push((field, all.unwrap_or(written)));
            }
        }
        if terms.len() > MAX_TERMS {
            return Err(FilterError::new(format!("a sort has at most {MAX_TERMS} fields")));
        }
        let by_id = terms.iter().find(|(field, _)| *field == Field::Id).or(terms.last());
        let by_id = by_id.map_or(Direction::Descending, |(_, direction)| *direction);
        // Nothing is alike in its id: what comes after it decides nothing.
        let terms = terms.into_iter().take_while(|(field, _)| *field != Field::Id).collect();
        Ok(Self { terms, by_id })
    }

    /// The same order among documents that `filter` selects, and the place from which it goes on: a field that all of them
    /// have alike decides nothing. An index gives an order only without it, since SQLite doesn't see that. `None` if no
    /// document comes after the place.
    pub fn within(&self, filter: &Filter, after: Option<&Place>) -> Option<(Self, Option<Place>)> {
        let fixed = |field: &Field| {
            filter.terms().iter().find_map(|term| match term {
                Filter::Equals(own, values) if own == field && values.len() == 1 => {
                    Some(Key::of(values.first()))
                }
                _ => None,
            })
        };
        let (mut terms, mut keys, mut after) = (Vec::new(), Vec::new(), after);
        for (place, (field, direction)) in self.terms.iter().enumerate() {
            let key = after.map(|after| &after.keys[place]);
            match (fixed(field), key) {
                (Some(_), None) => {}
                (Some(fixed), Some(key)) if fixed == *key => {}
                // Nothing before it tells documents apart: they come after the place all, or none.
                (Some(fixed), Some(key)) if terms.is_empty() => {
                    let is_after =
                        if *direction == Direction::Ascending { fixed > *key } else { fixed < *key };
                    if !is_after {
                        return None;
                    }
                    after = None;
                }
                _ => {
                    terms.push((field.clone(), *direction));
                    keys.extend(key.cloned());
                }
            }
        }
        let after = after.map(|after| Place { keys, id: after.id.clone() });
        Some((Self { terms, by_id: self.by_id }, after))
    }

    /// Whether all terms have one direction.
    pub fn is_uniform(&self) -> bool {
        self.terms.iter().all(|(_, direction)| *direction == self.by_id)
    }

    /// Where a document stands in this order.
    pub fn place_of(&self, document: &Document) -> Place {
        let key = |(field, _): &(Field, Direction)| Key::of(field.value_in(document).as_deref());
        Place { keys: self.terms.iter().map(key).collect(), id: document.id.clone() }
    }

    /// What a cursor has of its sort, so that another sort's is known: its terms as text.
    fn signature(&self) -> String {
        let sign = |direction| if direction == Direction::Ascending { '+' } else { '-' };
        let mut text = String::new();
        for (field, direction) in &self.terms {
            text.push(sign(*direction));
            text.push_str(&format!("{field:?}"));
        }
        text.push(sign(self.by_id));
        text
    }

    fn check(&self) -> u32 {
        crate::domain::cursor::checksum(self.signature().as_bytes())
    }

    /// The cursor text from which the page after `last` goes on.
    ///
    /// # Errors
    /// [`KeyTooLong`].
    pub fn cursor_after(&self, last: &Document) -> Result<String, KeyTooLong> {
        let Place { keys, id } = self.place_of(last);
        let keys: Vec<_> = keys.iter().map(Key::to_value).collect();
        let text = URL_SAFE_NO_PAD.encode(json!([self.check(), keys, id.as_str()]).to_string());
        if text.len() > MAX_CURSOR_BYTES { Err(KeyTooLong) } else { Ok(text) }
    }

    /// Reads a page cursor; `None` if the text is none, or one of another sort.
    pub fn parse_cursor(&self, text: &str) -> Option<Place> {
        let mut value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        canonicalise(&mut value, 1).ok()?;
        let parts = value.as_array()?;
        let [check, Value::Array(keys), Value::String(id)] = parts.as_slice() else { return None };
        if check.as_u64() != Some(u64::from(self.check())) || keys.len() != self.terms.len() {
            return None;
        }
        let keys: Vec<_> = keys.iter().map(|key| Key::of(Some(key))).collect();
        let is_time = |field: &Field| matches!(field, Field::CreatedAt | Field::UpdatedAt);
        let fits = |((field, _), key): (&(Field, Direction), &Key)| match key {
            Key::Number(number) => !is_time(field) || number.is_i64(),
            _ => !is_time(field),
        };
        let all_fit = self.terms.iter().zip(&keys).all(fits);
        all_fit.then(|| DocumentId::parse(id).ok())?.map(|id| Place { keys, id })
    }
}

/// Parts at commas; `\,` is a comma, and any other escape is left to the path.
pub(super) fn split_names(text: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut escaped = false;
    for next in text.chars() {
        match (next, escaped) {
            (',', false) => names.push(String::new()),
            _ => {
                let name = names.last_mut().expect("there is always one");
                if next == ',' {
                    name.pop();
                }
                name.push(next);
            }
        }
        escaped = next == '\\' && !escaped;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Data, Timestamp};

    fn sort(text: &str) -> Sort {
        Sort::parse(text, None).unwrap()
    }

    #[test]
    fn a_sort_ends_with_the_id_in_the_direction_of_its_last_term() {
        use Direction::{Ascending, Descending};
        for (text, directions, by_id) in [
            ("price", vec![Ascending], Ascending),
            ("status,-createdAt", vec![Ascending, Descending], Descending),
            ("-price,price", vec![Descending], Descending),
            ("-id,price", vec![], Descending),
            (r"a\,b", vec![Ascending], Ascending),
        ] {
            let sort = sort(text);
            assert_eq!(
                sort.terms.iter().map(|(_, direction)| *direction).collect::<Vec<_>>(),
                directions,
                "{text}"
            );
            assert_eq!(sort.by_id, by_id, "{text}");
        }
        for text in ["", "-", "a,,b", "a..b", "1,2,3,4,5,6,7,8,9"] {
            assert!(Sort::parse(text, None).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_cursor_reads_back_for_its_own_sort_only() {
        let document = |name: &str| Document {
            id: DocumentId::parse("a").unwrap(),
            data: Data::from_value(json!({ "price": 1.5, "name": name, "tags": [1] })).unwrap(),
            created_at: Timestamp(7),
            updated_at: Timestamp(8),
            version: 1,
        };
        let by_all = sort("price,-name,tags,gone,createdAt");
        let text = by_all.cursor_after(&document("é")).unwrap();
        assert_eq!(by_all.parse_cursor(&text), Some(by_all.place_of(&document("é"))));
        assert_eq!(sort("price,name,tags,gone,createdAt").parse_cursor(&text), None, "another direction");
        assert_eq!(sort("price").parse_cursor(&text), None, "another sort");
        assert_eq!(by_all.parse_cursor(""), None);
        assert_eq!(by_all.cursor_after(&document(&"x".repeat(20_000))), Err(KeyTooLong));
        let forged = URL_SAFE_NO_PAD.encode(json!([sort("createdAt").check(), ["x"], "a"]).to_string());
        assert_eq!(sort("createdAt").parse_cursor(&forged), None, "a time is a number");
    }
}
