//! The law of masks: a masked caller's question has the answer of the same question about stripped documents.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Mask, Masked};
use crate::{
    domain::{Data, Document, DocumentId, FieldPath, Timestamp},
    query::{
        Field, Filter,
        page::Sort,
        parse::{Typing, parse_field, parse_value},
    },
};

fn document(data: Value) -> Document {
    Document {
        id: DocumentId::from_stored("d"),
        data: Data::from_value(data).unwrap(),
        created_at: Timestamp(1),
        updated_at: Timestamp(1),
        version: 1,
    }
}

fn filter(value: &Value) -> Option<Filter> {
    parse_value(value.clone(), Typing::Typed).ok()
}

const FIELDS: [&str; 6] = ["a", "b", "b.c", "b.c.d", "b.e", "f"];

fn value() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!(1),
        json!(2),
        json!("x"),
        json!("xy"),
        json!(true),
        json!([1, "x"]),
        json!({}),
        json!({ "e": 1 }),
        json!({ "c": { "d": 1 }, "e": "x" }),
        json!({ "c": { "d": 2 } }),
        json!({ "c": {} }),
        json!({ "d": 1 }),
        json!([{ "c": 1 }]),
    ])
}

fn documents() -> impl Strategy<Value = Document> {
    prop::collection::btree_map(prop::sample::select(vec!["a", "b", "f"]), value(), 0..4)
        .prop_map(|fields| document(json!(fields)))
}

fn filters() -> impl Strategy<Value = Value> {
    let ending = prop::sample::select(vec![
        "",
        "__ne",
        "__in",
        "__notin",
        "__gt",
        "__lte",
        "__contains",
        "__startswith",
        "__array_contains",
        "__isnull",
    ]);
    let term = (prop::sample::select(&FIELDS[..]), ending, value(), value()).prop_map(
        |(field, ending, one, two)| {
            let value = if ending.ends_with("in") { json!([one, two]) } else { one };
            json!({ format!("{field}{ending}"): value })
        },
    );
    term.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({ "$and": all })),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|any| json!({ "$or": any })),
            inner.prop_map(|one| json!({ "$not": one })),
        ]
    })
}

fn masks() -> impl Strategy<Value = Mask> {
    let except = prop_oneof![1 => Just(None), 4 => filters().prop_map(Some)];
    let hides = prop::collection::btree_map(prop::sample::select(&FIELDS[..]), except, 0..4);
    hides.prop_map(|hides| {
        Mask::new(hides.into_iter().map(|(path, except)| {
            let except = except.map_or(Some(Filter::nothing()), |except| filter(&except));
            (FieldPath::parse(path).unwrap(), except.unwrap_or(Filter::nothing()))
        }))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_matches_what_it_matches_without_the_hidden_fields(
        mask in masks(), asked in filters(), document in documents()
    ) {
        // Some values fit no operator.
        if let Some(asked) = filter(&asked) {
            let stripped = mask.strip(document.clone());
            match mask.filter(asked.clone()) {
                Ok(masked) => prop_assert_eq!(masked.matches(&document), asked.matches(&stripped), "{:?}", masked),
                Err(Masked::Hidden(path)) => {
                    let is_always = mask.hides().iter().any(|hide| hide.path == path && hide.is_constant());
                    prop_assert!(is_always && stripped.data.fields().get(&path.to_string()).is_none());
                }
                Err(Masked::TooLarge) => prop_assert!(false),
            }
        }
    }

    #[test]
    fn a_field_has_the_value_that_it_has_in_the_stripped_document(
        mask in masks(), field in prop::sample::select(&FIELDS[..]), document in documents()
    ) {
        let field = parse_field(field).unwrap();
        let stripped = mask.strip(document.clone());
        let seen = mask.field(field.clone());
        prop_assert_eq!(seen.value_in(&document), field.value_in(&stripped));
        if let Ok(sort) = mask.sort(Sort::parse(&field.to_string(), None).unwrap()) {
            prop_assert_eq!(sort.place_of(&document).keys, Sort::parse(&field.to_string(), None).unwrap().place_of(&stripped).keys);
        }
    }

    #[test]
    fn a_change_is_seen_if_it_changes_what_is_seen(mask in masks(), before in documents(), after in documents()) {
        let (before, after) = (Arc::new(before), Arc::new(after));
        let images = (Some(&before), Some(&after));
        let (seen_before, seen_after) = (mask.strip_shared(&before), mask.strip_shared(&after));
        match mask.hidden_in_images(images).strip(images) {
            Some(seen) => prop_assert_eq!(seen, (Some(seen_before), Some(seen_after))),
            None => prop_assert!(seen_before.data == seen_after.data && before.data != after.data),
        }
    }

    #[test]
    fn what_a_caller_sends_back_keeps_what_is_hidden(mask in masks(), document in documents()) {
        let seen = mask.strip(document.clone());
        prop_assert_eq!(mask.keep(&document, seen.data, |_| true), document.data);
    }
}

/// 1000 random cases each, or as many as the environment asks for.
fn cases() -> u32 {
    std::env::var("COIR_TEST_MASK_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

#[test]
fn a_question_about_a_field_that_is_always_hidden_is_refused() {
    let mask = Mask::new([(FieldPath::parse("b.c").unwrap(), Filter::nothing())]);
    for asked in [
        json!({ "b.c": 1 }),
        json!({ "$not": { "b.c.d__gt": 1 } }),
        json!({ "$or": [{ "a": 1 }, { "b.c__isnull": true }] }),
    ] {
        assert_eq!(
            mask.filter(filter(&asked).unwrap()),
            Err(Masked::Hidden(FieldPath::parse("b.c").unwrap()))
        );
    }
    assert!(mask.filter(filter(&json!({ "b": { "c": 1 } })).unwrap()).is_ok(), "its parent may be asked for");
    assert!(mask.sort(Sort::parse("a,-b.c", None).unwrap()).is_err());
    assert_eq!(mask.field(Field::Id), Field::Id);
    assert!(Mask::new([(FieldPath::parse("a").unwrap(), Filter::all())]).is_empty());
}

#[test]
fn a_filter_that_a_mask_makes_too_large_is_refused() {
    let names: Vec<_> = (0..5000).map(|n| format!("user-{n:04}")).collect();
    let owner = parse_field("owner").unwrap();
    let except = Filter::Equals(owner, names.into_iter().map(Value::from).collect());
    let mask = Mask::new([(FieldPath::parse("a").unwrap(), except)]);
    let many: Vec<_> = (0..50).map(|n| json!({ "a": n })).collect();
    assert!(mask.filter(filter(&json!({ "$or": many[..10] })).unwrap()).is_ok());
    assert_eq!(mask.filter(filter(&json!({ "$or": many })).unwrap()), Err(Masked::TooLarge));
}
