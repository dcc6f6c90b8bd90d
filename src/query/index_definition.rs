//! The indexes that a collection declares. The statements that build them are in the store.

use serde_json::Value;

use crate::{
    domain::{Document, IndexId},
    query::{
        Field,
        page::{Direction, SortTerm},
        parse::parse_field,
    },
};

/// The most fields of an index.
pub const MAX_FIELDS: usize = 8;
/// The longest string in an indexed field, in bytes. PostgreSQL can't index much longer ones.
pub const MAX_TEXT_BYTES: usize = 1024;
/// The longest strings of one document in one index, in bytes together, for the same reason.
pub const MAX_TEXTS_BYTES: usize = 2048;

/// The fields of an index, and whether it is unique.
#[derive(Clone, Debug)]
pub struct IndexDefinition {
    /// The fields, the most significant first. The index continues with the ids, in the direction of the last field.
    pub fields: Vec<SortTerm>,
    /// The fields as they were declared.
    pub names: Vec<String>,
    /// Whether documents that have a value in every field must differ.
    pub unique: bool,
}

/// A declared index.
#[derive(Clone, Debug)]
pub struct Index {
    /// Stays the same as long as the definition does.
    pub id: IndexId,
    pub definition: IndexDefinition,
    pub state: IndexState,
}

/// The state of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// It is unique, and was declared together with its collection. It is being built, and no document is written until then.
    Awaited,
    /// It is not used yet, but its rules hold for new writes already.
    Building,
    /// Queries use it.
    Ready,
    /// It could not be built, for this reason. It has no effect.
    Failed(String),
}

/// Why a declaration of an index is not valid. The message is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IndexError(String);

/// Compares the meaning. The spelling of the names does not matter.
impl PartialEq for IndexDefinition {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields && self.unique == other.unique
    }
}

impl IndexDefinition {
    /// Parses field names, with `-` before a name for descending.
    ///
    /// # Errors
    /// [`IndexError`] for a name that is not a field, no or too many fields, a field that occurs twice, or `id`.
    pub fn parse(names: Vec<String>, unique: bool) -> Result<Self, IndexError> {
        if names.is_empty() || names.len() > MAX_FIELDS {
            return Err(IndexError(format!(
                "an index must have 1 to {MAX_FIELDS} fields, as in {{\"fields\":[\"status\",\"-createdAt\"]}}"
            )));
        }
        let mut fields: Vec<SortTerm> = Vec::new();
        for written in &names {
            let (name, direction) = match written.strip_prefix('-') {
                Some(name) => (name, Direction::Descending),
                None => (written.as_str(), Direction::Ascending),
            };
            if name.is_empty() {
                return Err(IndexError("an index must name fields; one of these names is empty".to_owned()));
            }
            let field = parse_field(name)
                .map_err(|err| IndexError(format!("`{name}` is not a valid field to index: {err}")))?;
            if field == Field::Id {
                return Err(IndexError(
                    "an index must not have the field `id`; documents are found by it anyway, and every index ends with it"
                        .to_owned(),
                ));
            }
            if fields.iter().any(|other| other.field == field) {
                return Err(IndexError(format!("an index must not have the field `{name}` twice")));
            }
            fields.push(SortTerm { field, direction });
        }
        Ok(Self { fields, names, unique })
    }

    /// Returns the direction of the ids of documents that are equal in all fields.
    pub fn by_id(&self) -> Direction {
        self.fields.last().map_or(Direction::Ascending, |last| last.direction)
    }

    /// Finds the first field of a document whose string is too long for this index.
    pub fn find_too_long(&self, document: &Document) -> Option<TooLong<'_>> {
        let mut sum = 0;
        for SortTerm { field, .. } in &self.fields {
            let Field::Data(_) = field else { continue };
            let Some(value) = field.value_in(document) else { continue };
            let Value::String(text) = &*value else { continue };
            if text.len() > MAX_TEXT_BYTES {
                let why = format!(
                    "a string in an indexed field must have at most {MAX_TEXT_BYTES} bytes; this one has {}",
                    text.len()
                );
                return Some(TooLong { field, why });
            }
            sum += text.len();
            if sum > MAX_TEXTS_BYTES {
                let why = format!(
                    "the strings in the fields of one index ({}) must have at most {MAX_TEXTS_BYTES} bytes together",
                    self.names.join(", ")
                );
                return Some(TooLong { field, why });
            }
        }
        None
    }
}

/// A string of a document that is too long for an index.
pub struct TooLong<'a> {
    pub field: &'a Field,
    /// A message for the caller.
    pub why: String,
}

impl Index {
    /// Returns the name of the index, also in the database.
    pub fn name(&self) -> String {
        format!("coir_index_{}", self.id.as_str().replace('-', ""))
    }

    /// Returns the name of the index in the database that rejects duplicates, if this index is unique.
    pub fn unique_name(&self) -> Option<String> {
        self.definition.unique.then(|| format!("coir_unique_{}", self.id.as_str().replace('-', "")))
    }

    /// Whether the server still has to build it.
    pub fn is_being_built(&self) -> bool {
        matches!(self.state, IndexState::Awaited | IndexState::Building)
    }

    /// Whether its rules hold for writes: it is ready, or being built.
    pub fn counts(&self) -> bool {
        !matches!(self.state, IndexState::Failed(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(names: &[&str]) -> Result<IndexDefinition, IndexError> {
        IndexDefinition::parse(names.iter().map(|name| (*name).to_owned()).collect(), false)
    }

    #[test]
    fn a_declaration_names_each_field_once() {
        assert_eq!(definition(&["status", "-createdAt"]).unwrap().by_id(), Direction::Descending);
        assert_eq!(definition(&["data.status"]), definition(&["status"]));
        assert_ne!(definition(&["-status"]), definition(&["status"]));
        let nine: Vec<_> = (0..9).map(|number| format!("f{number}")).collect();
        let nine: Vec<_> = nine.iter().map(String::as_str).collect();
        for names in [&[][..], &[""], &["-"], &["id"], &["a", "-a"], &["a", "data.a"], &["a..b"], &nine] {
            assert!(definition(names).is_err(), "{names:?}");
        }
    }
}
