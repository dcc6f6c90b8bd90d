//! Indexes that a collection declares, and what they are to a query. Their SQL is in [`sql::index`](crate::store::sql::index).

use std::{collections::HashSet, sync::Arc};

use serde_json::Value;

use crate::{
    domain::{Document, IndexId},
    query::{
        Field, Filter,
        page::{Direction, Sort},
        parse::parse_field,
    },
};

/// The most fields of an index.
pub const MAX_FIELDS: usize = 8;
/// The longest string that an indexed field may have, in bytes: PostgreSQL can't index much longer ones.
pub const MAX_TEXT_BYTES: usize = 1024;
/// The most that all strings of one document in one index may have together, for the same reason.
pub const MAX_TEXTS_BYTES: usize = 2048;
/// Values of one comparison that are asked for one by one.
const MAX_SPLIT: usize = 4;
/// Parts of one query.
const MAX_PARTS: usize = 8;

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

/// Parts a filter so that an index serves each part in its order: a field that may have one of a few values is no range of an
/// index, and each of these values is. Every document matches one part at most. One part if there is nothing to gain.
pub fn split(filter: &Filter, indexes: &[Arc<Index>]) -> Vec<Filter> {
    let terms = filter.terms();
    let ready = indexes.iter().filter(|index| index.state == IndexState::Ready);
    let best = ready.map(|index| served_terms(terms, index)).max_by_key(|(fields, _)| *fields);
    let mut parts = vec![terms.to_vec()];
    for place in best.into_iter().flat_map(|(_, places)| places) {
        let alternatives = alternatives(&terms[place]);
        if alternatives.len() < 2
            || alternatives.len() > MAX_SPLIT
            || parts.len() * alternatives.len() > MAX_PARTS
        {
            continue;
        }
        let with = |part: &Vec<Filter>, alternative: &Filter| {
            let mut part = part.clone();
            part[place] = alternative.clone();
            part
        };
        parts = parts.iter().flat_map(|part| alternatives.iter().map(move |one| with(part, one))).collect();
    }
    parts.into_iter().map(Filter::And).collect()
}

/// Whether an index narrows a filter: one of these, or that by age, which every collection has.
pub fn is_narrowed(filter: &Filter, indexes: &[Arc<Index>]) -> bool {
    let terms = filter.terms();
    let by_age = |term: &Filter| {
        matches!(term, Filter::Equals(Field::CreatedAt, _) | Filter::Compares(Field::CreatedAt, ..))
    };
    let mut ready = indexes.iter().filter(|index| index.state == IndexState::Ready);
    terms.iter().any(by_age) || ready.any(|index| served_terms(terms, index).0 > 0)
}

/// How many fields of an index the terms narrow, and which terms do.
fn served_terms(terms: &[Filter], index: &Index) -> (usize, Vec<usize>) {
    let mut places = Vec::new();
    for (field, _) in &index.definition.fields {
        if let Some(place) =
            terms.iter().position(|term| matches!(term, Filter::Equals(own, _) if own == field))
        {
            places.push(place);
            continue;
        }
        let is_range = |term: &Filter| matches!(term, Filter::Compares(own, ..) if own == field);
        // Both ends of a range, of which each may be of two types.
        places.extend((0..terms.len()).filter(|place| is_range(&terms[*place])));
        break;
    }
    (places.len(), places)
}

/// One filter for each value.
fn alternatives(term: &Filter) -> Vec<Filter> {
    match term {
        Filter::Equals(field, values) => {
            let mut seen = HashSet::new();
            let distinct = values.iter().filter(|value| seen.insert(value.to_string()));
            distinct.map(|value| Filter::Equals(field.clone(), vec![value.clone()])).collect()
        }
        Filter::Compares(field, comparison, values) => {
            let one = |value: &Value| Filter::Compares(field.clone(), *comparison, vec![value.clone()]);
            match values.as_slice() {
                // Of two types, so no document is in both.
                [one_value, other] if one_value.is_number() != other.is_number() => {
                    vec![one(one_value), one(other)]
                }
                _ => vec![term.clone()],
            }
        }
        other => vec![other.clone()],
    }
}

/// The fields of the index that would help a query: those that must equal something, then a range or the sort.
pub fn helpful_fields(filter: &Filter, sort: Option<&Sort>) -> Vec<String> {
    let terms = filter.terms();
    let mut wanted: Vec<(&Field, Direction)> = Vec::new();
    wanted.extend(terms.iter().filter_map(|term| match term {
        Filter::Equals(field, _) => Some((field, Direction::Ascending)),
        _ => None,
    }));
    let range = terms.iter().find_map(|term| match term {
        Filter::Compares(field, ..) => Some(field),
        _ => None,
    });
    let sorted = sort.map_or(&[][..], |sort| &sort.terms);
    match range {
        // A sort goes on only if it begins with the range.
        Some(field) if sorted.first().is_none_or(|(first, _)| first != field) => {
            wanted.push((field, Direction::Ascending));
        }
        _ => wanted.extend(sorted.iter().map(|(field, direction)| (field, *direction))),
    }
    let mut fields: Vec<(&Field, Direction)> = Vec::new();
    for (field, direction) in wanted {
        let is_new = *field != Field::Id && fields.iter().all(|(other, _)| *other != field);
        if is_new && fields.len() < MAX_FIELDS {
            fields.push((field, direction));
        }
    }
    let written = |(field, direction): &(&Field, Direction)| match direction {
        Direction::Ascending => field.to_string(),
        Direction::Descending => format!("-{field}"),
    };
    fields.iter().map(written).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::parse::{parse_json, parse_pairs};

    fn definition(names: &[&str]) -> Result<IndexDefinition, IndexError> {
        IndexDefinition::parse(names.iter().map(|name| (*name).to_owned()).collect(), false)
    }

    fn ready(names: &[&str]) -> Arc<Index> {
        let definition = definition(names).unwrap();
        Arc::new(Index { id: IndexId::generate(), definition, state: IndexState::Ready })
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

    #[test]
    fn a_field_of_few_values_is_split_where_an_index_has_it() {
        let parts = |pairs: &[(&str, &str)], index: &[&str]| {
            split(&parse_pairs(pairs.iter().copied()).unwrap(), &[ready(index)]).len()
        };
        for (pairs, index, expected, why) in [
            (&[("room", "7")][..], &["room"][..], 2, "the number and the string"),
            (&[("room", "x")], &["room"], 1, "a string only"),
            (&[("room", "7")], &["other"], 1, "another index"),
            (&[("room", "7")], &["other", "room"], 1, "not a leading field"),
            (&[("room", "7"), ("floor", "1")], &["room", "floor"], 4, "each with each"),
            (&[("room__gte", "7")], &["room"], 2, "numbers, then strings"),
            (&[("a", "7"), ("room__gte", "7")], &["a", "room"], 4, "a range behind it"),
            (&[("room__in", "1,2,3")], &["room"], 1, "six values are too many"),
        ] {
            assert_eq!(parts(pairs, index), expected, "{why}");
        }
        let or = parse_json(r#"{"$or":[{"room":7},{"room":8}]}"#).unwrap();
        assert_eq!(split(&or, &[ready(&["room"])]).len(), 1, "one of several");
        let list = parse_json(r#"{"room__in":["a","a","b"]}"#).unwrap();
        assert_eq!(split(&list, &[ready(&["room"])]).len(), 2, "a value that is there twice");
    }

    #[test]
    fn the_index_that_would_help_is_named() {
        let fields = |filter: serde_json::Value, sort: &str| {
            let sort = Sort::parse(sort, None).unwrap();
            helpful_fields(&parse_json(&filter.to_string()).unwrap(), Some(&sort)).join(" ")
        };
        assert_eq!(fields(json!({"status": "a"}), "-createdAt"), "status -createdAt");
        assert_eq!(fields(json!({"n__gt": 5, "status": "a"}), "-createdAt"), "status n");
        assert_eq!(fields(json!({"n__gt": 5}), "-n,m"), "-n m");
        assert_eq!(fields(json!({"data.id": 5}), "a\\.b"), "data.id a\\.b");
    }
}
