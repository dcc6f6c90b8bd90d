//! Judges which index serves a query, from the filter and the declared indexes alone. The database decides in the end:
//! the explanation of a list, which is the store's, asks it.

use std::{collections::HashSet, sync::Arc};

use serde_json::Value;

use crate::query::{
    Field, Filter,
    index_definition::{Index, IndexState, MAX_FIELDS},
    page::{Direction, Sort, SortTerm},
};

/// The most values of one comparison that are searched for one by one.
const MAX_SPLIT: usize = 4;
/// The most parts that a filter is split into.
const MAX_PARTS: usize = 8;

/// Splits a filter into parts, each of which is one range of an index. No document matches two parts.
///
/// A field that may have one of a few values is several ranges of an index. An index gives one range in its order, so a
/// sorted page of each range can be read without sorting the rest. Returns one part if there is nothing to gain.
pub fn split(filter: &Filter, indexes: &[Arc<Index>]) -> Vec<Filter> {
    let terms = filter.terms();
    let ready = indexes.iter().filter(|index| index.state == IndexState::Ready);
    let best = ready.map(|index| served_terms(terms, index)).max_by_key(Vec::len);
    let mut parts = vec![terms.to_vec()];
    for place in best.into_iter().flatten() {
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

/// Whether an index narrows a filter: one of `indexes`, or the index by creation time that every collection has.
pub fn is_narrowed(filter: &Filter, indexes: &[Arc<Index>]) -> bool {
    let terms = filter.terms();
    let by_age = |term: &Filter| {
        matches!(term, Filter::Equals(Field::CreatedAt, _) | Filter::Compares(Field::CreatedAt, ..))
    };
    let mut ready = indexes.iter().filter(|index| index.state == IndexState::Ready);
    terms.iter().any(by_age) || ready.any(|index| !served_terms(terms, index).is_empty())
}

/// Returns the places of the terms that narrow a search in an index: equality on its first fields, then one range.
fn served_terms(terms: &[Filter], index: &Index) -> Vec<usize> {
    let mut places = Vec::new();
    for SortTerm { field, .. } in &index.definition.fields {
        if let Some(place) =
            terms.iter().position(|term| matches!(term, Filter::Equals(own, _) if own == field))
        {
            places.push(place);
            continue;
        }
        let is_range = |term: &Filter| matches!(term, Filter::Compares(own, ..) if own == field);
        // A range has up to two ends.
        places.extend((0..terms.len()).filter(|place| is_range(&terms[*place])));
        break;
    }
    places
}

/// Splits a term into one filter for each of its values.
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
                // The values have two types, so no document matches both.
                [one_value, other] if one_value.is_number() != other.is_number() => {
                    vec![one(one_value), one(other)]
                }
                _ => vec![term.clone()],
            }
        }
        other => vec![other.clone()],
    }
}

/// Returns the fields of the index that would serve a query best: fields compared for equality first, then a range or the
/// sort. Empty if no index would help.
pub fn helpful_fields(filter: &Filter, sort: Option<&Sort>) -> Vec<String> {
    let terms = filter.terms();
    let ascending = |field: &Field| SortTerm { field: field.clone(), direction: Direction::Ascending };
    let equal = terms.iter().filter_map(|term| match term {
        Filter::Equals(field, _) => Some(ascending(field)),
        _ => None,
    });
    let range = terms.iter().find_map(|term| match term {
        Filter::Compares(field, ..) => Some(field),
        _ => None,
    });
    let sorted = sort.map_or(&[][..], |sort| &sort.terms);
    let rest = match range {
        // Behind a range, an index gives the order of the range's field only.
        Some(field) if sorted.first().is_none_or(|first| first.field != *field) => vec![ascending(field)],
        _ => sorted.to_vec(),
    };
    let mut fields: Vec<SortTerm> = Vec::new();
    for wanted in equal.chain(rest) {
        let is_new = wanted.field != Field::Id && fields.iter().all(|other| other.field != wanted.field);
        if is_new && fields.len() < MAX_FIELDS {
            fields.push(wanted);
        }
    }
    fields.iter().map(ToString::to_string).collect()
}

/// How far a database follows the fields of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexUse {
    /// The number of leading fields that it searches by equality.
    pub equal_fields: usize,
    /// Whether it searches the next field by a range.
    pub has_range: bool,
}

/// Returns the part of a filter that narrows the search in an index over `fields`, of which the database makes this use.
/// The documents that match it are those that the search looks at.
pub fn narrowing_part(filter: &Filter, fields: &[Field], used: IndexUse) -> Filter {
    let terms = filter.terms();
    let equal = fields
        .iter()
        .take(used.equal_fields)
        .filter_map(|field| terms.iter().find(|term| matches!(term, Filter::Equals(own, _) if own == field)));
    let range = fields.get(used.equal_fields).filter(|_| used.has_range);
    let range = terms.iter().filter(|term| matches!(term, Filter::Compares(own, ..) if Some(own) == range));
    Filter::And(equal.chain(range).cloned().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        domain::IndexId,
        query::{
            index_definition::IndexDefinition,
            parse::{parse_field, parse_json, parse_pairs},
        },
    };

    fn ready(names: &[&str]) -> Arc<Index> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let definition = IndexDefinition::parse(names, false).unwrap();
        Arc::new(Index { id: IndexId::generate(), definition, state: IndexState::Ready })
    }

    #[test]
    fn a_field_with_few_values_is_split_if_an_index_has_it() {
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
    fn an_index_that_would_help_has_equality_first_and_then_a_range_or_the_sort() {
        let fields = |filter: serde_json::Value, sort: &str| {
            let sort = Sort::parse(sort, None).unwrap();
            helpful_fields(&parse_json(&filter.to_string()).unwrap(), Some(&sort)).join(" ")
        };
        assert_eq!(fields(json!({"status": "a"}), "-createdAt"), "status -createdAt");
        assert_eq!(fields(json!({"n__gt": 5, "status": "a"}), "-createdAt"), "status n");
        assert_eq!(fields(json!({"n__gt": 5}), "-n,m"), "-n m");
        assert_eq!(fields(json!({"data.id": 5}), "a\\.b"), "data.id a\\.b");
    }
    #[test]
    fn the_narrowing_part_is_what_the_database_searches_the_index_by() {
        let fields: Vec<_> = ["status", "n", "m"].iter().map(|name| parse_field(name).unwrap()).collect();
        let filter = parse_json(r#"{"m":1,"n__lt":9,"n__gt":5,"other":1,"status":"a"}"#).unwrap();
        for (equal_fields, has_range, expected, why) in [
            (0, false, "{}", "all of the index is walked"),
            (1, false, r#"{"status":"a"}"#, "the first field"),
            (1, true, r#"{"status":"a","n__lt":9,"n__gt":5}"#, "both ends of a range"),
        ] {
            let part = narrowing_part(&filter, &fields, IndexUse { equal_fields, has_range });
            let mut found = part.terms().to_vec();
            let mut expected = parse_json(expected).unwrap().terms().to_vec();
            found.sort_by_key(|term| format!("{term:?}"));
            expected.sort_by_key(|term| format!("{term:?}"));
            assert_eq!(found, expected, "{why}");
        }
    }
}
