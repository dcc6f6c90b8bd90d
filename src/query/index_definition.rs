//! Indexes that a collection declares, and what they are to a query. Their SQL is in [`sql::index`](crate::store::sql::index).

use serde_json::Value;

use crate::{
    domain::{Document, IndexId},
    query::{Field, page::Direction, parse::parse_field},
};

/// The most fields of an index.
pub const MAX_FIELDS: usize = 8;
/// The longest string that an indexed field may have, in bytes: PostgreSQL can't index much longer ones.
pub const MAX_TEXT_BYTES: usize = 1024;
/// The most that all strings of one document in one index may have together, for the same reason.
pub const MAX_TEXTS_BYTES: usize = 2048;

/// What an index is of.
#[derive(Clone, Debug)]
pub struct IndexDefinition {
    /// The first of them before all; the order of the last is also that of the ids of documents which are alike.
    pub fields: Vec<(Field, Direction)>,
    /// The fields as they were declared.
    pub names: Vec<String>,
    /// Whether documents that have a value in each field must differ.
    pub unique: bool,
}

/// A declared index.
#[derive(Clone, Debug)]
pub struct Index {
    /// Stays while the definition does.
    pub id: IndexId,
    /// What it is of.
    pub definition: IndexDefinition,
    /// How far it is.
    pub state: IndexState,
}

/// How far an index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// Not there yet. What must not be written once it is, may not be written already.
    Building,
    /// Queries use it.
    Ready,
    /// It can't be built, for this reason. It doesn't matter to anything.
    Failed(String),
}

/// Why a declaration is no index; a sentence for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IndexError(String);

/// What the spelling of names is not, decides.
impl PartialEq for IndexDefinition {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields && self.unique == other.unique
    }
}

impl IndexDefinition {
    /// Reads field names, each with `-` before it for descending.
    ///
    /// # Errors
    /// [`IndexError`] for what is no field, none or too many of them, one that is there twice, or `id`.
    pub fn parse(names: Vec<String>, unique: bool) -> Result<Self, IndexError> {
        if names.is_empty() || names.len() > MAX_FIELDS {
            return Err(IndexError(format!(
                "an index has 1 to {MAX_FIELDS} fields, as in {{\"fields\":[\"status\",\"-createdAt\"]}}"
            )));
        }
        let mut fields: Vec<(Field, Direction)> = Vec::new();
        for written in &names {
            let (name, direction) = match written.strip_prefix('-') {
                Some(name) => (name, Direction::Descending),
                None => (written.as_str(), Direction::Ascending),
            };
            if name.is_empty() {
                return Err(IndexError("an index names fields; this name is empty".to_owned()));
            }
            let field =
                parse_field(name).map_err(|err| IndexError(format!("the index field `{name}`: {err}")))?;
            if field == Field::Id {
                return Err(IndexError(
                    "`id` needs no index: documents are found by it anyway, and every index ends with it"
                        .to_owned(),
                ));
            }
            if fields.iter().any(|(other, _)| *other == field) {
                return Err(IndexError(format!("an index has the field `{name}` twice")));
            }
            fields.push((field, direction));
        }
        Ok(Self { fields, names, unique })
    }

    /// The direction of the ids of documents that are alike.
    pub fn by_id(&self) -> Direction {
        self.fields.last().map_or(Direction::Ascending, |(_, direction)| *direction)
    }

    /// Finds what of a document is too long to be indexed: the first field, and a sentence.
    pub fn find_too_long(&self, document: &Document) -> Option<(&Field, String)> {
        let mut sum = 0;
        for (field, _) in &self.fields {
            let Field::Data(_) = field else { continue };
            let Some(value) = field.value_in(document) else { continue };
            let Value::String(text) = &*value else { continue };
            if text.len() > MAX_TEXT_BYTES {
                let why = format!(
                    "a string in an indexed field has at most {MAX_TEXT_BYTES} bytes; this one has {}",
                    text.len()
                );
                return Some((field, why));
            }
            sum += text.len();
            if sum > MAX_TEXTS_BYTES {
                let why = format!(
                    "the strings in the fields of one index ({}) have at most {MAX_TEXTS_BYTES} bytes together",
                    self.names.join(", ")
                );
                return Some((field, why));
            }
        }
        None
    }
}

impl Index {
    /// What it is called; also what the database calls it.
    pub fn name(&self) -> String {
        format!("coir_index_{}", self.id.as_str().replace('-', ""))
    }

    /// What the database calls the index that refuses doubles, if there is one.
    pub fn unique_name(&self) -> Option<String> {
        self.definition.unique.then(|| format!("coir_unique_{}", self.id.as_str().replace('-', "")))
    }

    /// Whether it bounds what may be written: it is there, or is being built.
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
