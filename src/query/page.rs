//! Sorts, and pages of a sorted result.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    Field, Filter,
    key::Key,
    parse::{FilterError, Names, check_sort_term, parse_field},
};
use crate::domain::{Document, DocumentId, checksum::checksum, data::canonicalise, json};

/// The most fields of a sort.
const MAX_TERMS: usize = 8;
/// The longest text of a page cursor, in bytes, because it must fit into a URL.
const MAX_CURSOR_BYTES: usize = 16 * 1024;

/// A page of a sorted result.
#[derive(Clone, Debug)]
pub struct Page {
    pub sort: Sort,
    /// The most documents of the page.
    pub limit: u64,
    /// How many documents are skipped first.
    pub offset: u64,
    /// The page begins after this place.
    pub after: Option<Place>,
}

/// The direction of a sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// A field to sort by. As text, `-` before the field means descending: `-createdAt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortTerm {
    pub field: Field,
    pub direction: Direction,
}

/// An order of documents. It ends with their ids, so no two documents are equal in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The fields to sort by, the most significant first. None is `id`, and none occurs twice.
    pub terms: Vec<SortTerm>,
    /// The direction of the ids of documents that are equal in all terms.
    pub by_id: Direction,
}

/// A place in a sorted result: right after the document with these sort keys and this id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// One key for each term of the sort.
    pub keys: Vec<Key>,
    pub id: DocumentId,
}

/// The next page has no cursor, because a sort key of the last document is too long.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a value of the sort is too long for the cursor of the next page; sort by another field, or use `offset`"
)]
pub struct KeyTooLong;

impl fmt::Display for SortTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.direction {
            Direction::Ascending => write!(f, "{}", self.field),
            Direction::Descending => write!(f, "-{}", self.field),
        }
    }
}

/// A sort, and the place in it after which a page begins.
pub struct SortFrom {
    pub sort: Sort,
    pub after: Option<Place>,
}

impl Sort {
    /// Sorts by creation time.
    pub fn by_age(direction: Direction) -> Self {
        Self { terms: vec![SortTerm { field: Field::CreatedAt, direction }], by_id: direction }
    }

    /// Parses `status,-createdAt`: fields as in a filter, with commas between them (`\,` is a comma in a name), and `-` for
    /// descending. `all` overrides the direction of every term.
    ///
    /// # Errors
    /// [`FilterError`] for a term that is not a field, or too many terms.
    pub fn parse(text: &str, all: Option<Direction>) -> Result<Self, FilterError> {
        Self::parse_with(text, all, Names::Strict)
    }

    /// The same, and says how strictly names are read.
    ///
    /// # Errors
    /// As [`Sort::parse`].
    pub fn parse_with(text: &str, all: Option<Direction>, names: Names) -> Result<Self, FilterError> {
        let mut terms: Vec<SortTerm> = Vec::new();
        for name in split_names(text) {
            if names == Names::Strict {
                check_sort_term(&name).map_err(FilterError::new)?;
            }
            let (name, written) = match name.strip_prefix('-') {
                Some(name) => (name.to_owned(), Direction::Descending),
                None => (name, Direction::Ascending),
            };
            if name.is_empty() {
                return Err(FilterError::new(
                    "a sort must name fields, as in `orderBy=status,-createdAt`; one of these names is empty",
                ));
            }
            let field = parse_field(&name).map_err(|err| {
                FilterError::new(format!("`{name}` is not a valid field to sort by: {err}"))
            })?;
            if !terms.iter().any(|other| other.field == field) {
                terms.push(SortTerm { field, direction: all.unwrap_or(written) });
            }
        }
        if terms.len() > MAX_TERMS {
            return Err(FilterError::new(format!("a sort must have at most {MAX_TERMS} fields")));
        }
        let by_id = terms.iter().find(|term| term.field == Field::Id).or(terms.last());
        let by_id = by_id.map_or(Direction::Descending, |term| term.direction);
        // Ids are unique, so terms after the id decide nothing.
        let terms = terms.into_iter().take_while(|term| term.field != Field::Id).collect();
        Ok(Self { terms, by_id })
    }

    /// Returns the same order for documents that match `filter`, and the place in it that corresponds to `after`. Returns
    /// `None` if no such document comes after the place.
    ///
    /// A field in which all of them are equal decides nothing, so it is left out. SQLite does not see that by itself, and
    /// would sort although an index gives the order.
    pub fn within(&self, filter: &Filter, after: Option<&Place>) -> Option<SortFrom> {
        let fixed = |field: &Field| {
            filter.terms().iter().find_map(|term| match term {
                Filter::Equals(own, values) if own == field && values.len() == 1 => {
                    Some(Key::of(values.first()))
                }
                _ => None,
            })
        };
        let (mut terms, mut keys, mut after) = (Vec::new(), Vec::new(), after);
        for (place, SortTerm { field, direction }) in self.terms.iter().enumerate() {
            let key = after.map(|after| &after.keys[place]);
            match (fixed(field), key) {
                (Some(_), None) => {}
                (Some(fixed), Some(key)) if fixed == *key => {}
                // No field before this one differs, so all documents come after the place, or none does.
                (Some(fixed), Some(key)) if terms.is_empty() => {
                    let is_after =
                        if *direction == Direction::Ascending { fixed > *key } else { fixed < *key };
                    if !is_after {
                        return None;
                    }
                    after = None;
                }
                _ => {
                    terms.push(SortTerm { field: field.clone(), direction: *direction });
                    keys.extend(key.cloned());
                }
            }
        }
        let after = after.map(|after| Place { keys, id: after.id.clone() });
        Some(SortFrom { sort: Self { terms, by_id: self.by_id }, after })
    }

    /// Whether all terms and the id have the same direction.
    pub fn is_uniform(&self) -> bool {
        self.terms.iter().all(|term| term.direction == self.by_id)
    }

    /// Returns the place right after a document.
    pub fn place_of(&self, document: &Document) -> Place {
        let key = |term: &SortTerm| Key::of(term.field.value_in(document).as_deref());
        Place { keys: self.terms.iter().map(key).collect(), id: document.id.clone() }
    }

    /// Returns a checksum of the terms, by which a cursor of another sort is recognised.
    fn checksum(&self) -> u32 {
        let sign = |direction| if direction == Direction::Ascending { '+' } else { '-' };
        let mut text = String::new();
        for SortTerm { field, direction } in &self.terms {
            text.push(sign(*direction));
            text.push_str(&format!("{field:?}"));
        }
        text.push(sign(self.by_id));
        checksum(text.as_bytes())
    }

    /// Returns the cursor of the page after the document `last`.
    ///
    /// # Errors
    /// [`KeyTooLong`] if the cursor would not fit into a URL.
    pub fn cursor_after(&self, last: &Document) -> Result<String, KeyTooLong> {
        let Place { keys, id } = self.place_of(last);
        let keys: Vec<_> = keys.iter().map(Key::to_value).collect();
        let text = URL_SAFE_NO_PAD.encode(json!([self.checksum(), keys, id.as_str()]).to_string());
        if text.len() > MAX_CURSOR_BYTES { Err(KeyTooLong) } else { Ok(text) }
    }

    /// Parses a page cursor. Returns `None` if the text is not a cursor of this sort.
    pub fn parse_cursor(&self, text: &str) -> Option<Place> {
        let mut value = json::parse(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        canonicalise(&mut value, 1).ok()?;
        let parts = value.as_array()?;
        let [check, Value::Array(keys), Value::String(id)] = parts.as_slice() else { return None };
        if check.as_u64() != Some(u64::from(self.checksum())) || keys.len() != self.terms.len() {
            return None;
        }
        let keys: Vec<_> = keys.iter().map(|key| Key::of(Some(key))).collect();
        let is_time = |term: &SortTerm| matches!(term.field, Field::CreatedAt | Field::UpdatedAt);
        let fits = |(term, key): (&SortTerm, &Key)| match key {
            Key::Number(number) => !is_time(term) || number.is_i64(),
            _ => !is_time(term),
        };
        let all_fit = self.terms.iter().zip(&keys).all(fits);
        all_fit.then(|| DocumentId::parse(id).ok())?.map(|id| Place { keys, id })
    }
}

/// Splits at commas. `\,` is a comma, and any other escape is left to the parser of paths.
pub(super) fn split_names(text: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut escaped = false;
    for next in text.chars() {
        match (next, escaped) {
            (',', false) => names.push(String::new()),
            _ => {
                let name = names.last_mut().expect("the list begins with one name and only grows");
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
                sort.terms.iter().map(|term| term.direction).collect::<Vec<_>>(),
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
    fn a_page_cursor_is_valid_for_its_own_sort_only() {
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
        let forged = URL_SAFE_NO_PAD.encode(json!([sort("createdAt").checksum(), ["x"], "a"]).to_string());
        assert_eq!(sort("createdAt").parse_cursor(&forged), None, "a time is a number");
    }
}
