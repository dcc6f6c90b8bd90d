//! The index against asking every filter, and its bounds.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    domain::{CollectionId, Data, DocumentId, ProjectId, Timestamp},
    hub::{Audience, Interests},
    query::parse::{Typing, parse_value},
    wire::Form,
};

fn document(data: Value) -> Document {
    Document {
        id: DocumentId::parse("a").unwrap(),
        data: Data::from_value(data).unwrap(),
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        version: 1,
    }
}

fn recipient(filter: &Filter, id: SubscriptionId, key: &str) -> Recipient {
    let audience = Audience {
        project: ProjectId::from_stored("p"),
        collection: CollectionId::from_stored("c"),
        form: Form::Sse,
        label: "c".into(),
        key: KeyId::from_stored(key),
        mask: None,
    };
    let interest = Interests::new(usize::MAX).get(audience, filter.clone()).unwrap();
    Recipient { id, interest }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_i64).prop_map(Value::from),
        text().prop_map(Value::from),
        prop::collection::vec((0..3_i64).prop_map(Value::from), 0..3).prop_map(Value::from),
        // A list that is not compared element by element.
        (0..3_i64).prop_map(|n| (0..20).map(|_| n).collect()),
    ]
}

/// Short texts, which are parts of each other in any case, and some that are too long for an automaton.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[abAB]{0,4}",
        1 => "[aB]{30,36}",
        1 => (28..36_usize).prop_map(|length| "a".repeat(length)),
    ]
}

fn fields() -> impl Strategy<Value = Value> {
    prop::collection::hash_map("[xyz]", value(), 0..3)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

fn filter() -> impl Strategy<Value = Value> {
    let ordered = prop_oneof![(0..3_i64).prop_map(Value::from), text().prop_map(Value::from)];
    let term = prop_oneof![
        ("[xyz](__ne|__array_contains)?", value()),
        ("[xyz]__(gt|gte|lt|lte)", ordered),
        ("[xyz]__in", prop::collection::vec(value(), 0..3).prop_map(Value::from)),
        ("[xyz]__(contains|contains|contains|startswith|endswith)", text().prop_map(Value::from)),
        ("x__or__y__contains", text().prop_map(Value::from)),
    ];
    let object =
        prop::collection::vec(term, 0..3).prop_map(|terms| Value::Object(terms.into_iter().collect()));
    object.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|members| json!({ "$or": members })),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|members| json!({ "$and": members })),
            inner.prop_map(|member| json!({ "$not": member })),
        ]
    })
}

proptest! {
    /// The index finds exactly those filters that match when each is asked, also after others were removed.
    #[test]
    fn the_index_agrees_with_asking_every_filter(
        filters in prop::collection::vec(filter(), 0..60), removed in prop::collection::vec(any::<bool>(), 60),
        data in fields(),
    ) {
        let mut index = FilterIndex::default();
        let filters: Vec<_> = filters.into_iter().map(|json| parse_value(json, Typing::Typed).unwrap()).collect();
        let id = |place: usize| SubscriptionId { shard: 0, serial: place as u64 };
        for (place, filter) in filters.iter().enumerate() {
            index.insert(recipient(filter, id(place), "k")).unwrap();
        }
        for (place, gone) in removed.iter().enumerate() {
            if *gone { index.remove(id(place)); }
        }
        let document = document(data);
        let keys = matching(&index, &document);
        let mut found: Vec<_> =
            keys.iter().flat_map(|key| index.recipients_of(*key)).map(|s| s.id.serial as usize).collect();
        found.sort_unstable();
        let expected: Vec<_> = filters.iter().enumerate()
            .filter(|(place, filter)| !removed[*place] && filter.matches(&document))
            .map(|(place, _)| place).collect();
        prop_assert_eq!(found, expected);
        (0..filters.len()).for_each(|place| index.remove(id(place)));
        assert_forgotten(&index);
    }
}

/// Nothing is left of filters that everyone left.
fn assert_forgotten(index: &FilterIndex) {
    assert!(index.is_empty() && index.filters.is_empty() && index.by_filter.is_empty());
    assert!(index.postings.is_empty() && index.crowds.is_empty() && index.residue.is_empty());
    assert!(index.fields.is_empty() && index.texts.is_empty());
    assert!(index.cost == 0 && index.costs.is_empty());
}

fn matching(index: &FilterIndex, document: &Document) -> Vec<usize> {
    let mut search = index.search(document);
    while !search.step() {}
    search.found()
}

/// Inserts a filter for a key, as the subscription `serial`.
fn insert(index: &mut FilterIndex, serial: u64, key: &str, json: Value) -> Result<(), TooMuchWork> {
    let filter = parse_value(json, Typing::Typed).unwrap();
    index.insert(recipient(&filter, SubscriptionId { shard: 0, serial }, key))
}

/// Inserts filters until one is refused, and returns how many were not.
fn fill(index: &mut FilterIndex, key: &str, filter: impl Fn(u64) -> Value) -> u64 {
    let first = index.seats.len() as u64;
    let refused = (first..).find(|serial| insert(index, *serial, key, filter(*serial)).is_err());
    refused.unwrap() - first
}

#[test]
fn only_filters_near_a_document_are_candidates() {
    let mut index = FilterIndex::default();
    for n in 0..100_u64 {
        let filter = json!({ "$or": [{ "room": n }, { "price__gt": n, "price__lt": n }, { "text__contains": format!("<{n}>") }] });
        insert(&mut index, n, "k", filter).unwrap();
    }
    assert!(index.residue.is_empty());
    let place = document(json!({ "room": 7, "price": 50, "text": "<8><9> <10" }));
    assert_eq!(matching(&index, &place).len(), 3);
}

#[test]
fn filters_count_by_the_terms_that_no_anchor_decides() {
    let (of_key, crowd) = (u64::from(MAX_COST_OF_KEY), FREE_COST_OF_ANCHOR);
    type Filters = fn(u64) -> Value;
    let cases: [(&str, Filters, u64); 5] = [
        ("each is asked", |n| json!({ "a__ne": n }), of_key),
        ("its terms count", |n| json!({ "a__ne": n, "$not": { "b": 1, "c": 2, "d": 3 } }), of_key / 4),
        ("so do those behind a common anchor", |n| json!({ "k": 1, "a__ne": n }), of_key + crowd),
        ("and behind thresholds", |n| json!({ "k__gt": n, "a__ne": n }), of_key + crowd),
        (
            "and long texts, which are looked for one by one",
            |n| json!({ "a__contains": format!("{}{n}", "x".repeat(40)) }),
            (of_key + crowd) / 20,
        ),
    ];
    for (why, filter, expected) in cases {
        let mut index = FilterIndex::default();
        assert_eq!(fill(&mut index, "k", filter), expected, "{why}");
        (0..expected).for_each(|serial| index.remove(SubscriptionId { shard: 0, serial }));
        assert_forgotten(&index);
    }
}

#[test]
fn filters_that_a_value_or_a_text_selects_are_free() {
    let mut index = FilterIndex::default();
    for n in 0..30_000_u64 {
        let filter = match n % 5 {
            0 => json!({ "room": n }),
            1 => json!({ "room": n, "status__ne": "gone" }),
            2 => json!({ "members__array_contains": n }),
            3 => json!({ "k": 1, "body__contains": format!("text {n}") }),
            _ => json!({ "price__gt": n }),
        };
        insert(&mut index, n, "k", filter).unwrap();
    }
    assert_eq!(index.cost, 0);
}

#[test]
fn a_key_leaves_room_for_the_others_and_a_common_filter_counts_for_one_that_has_it() {
    let mut index = FilterIndex::default();
    let of_one = fill(&mut index, "one", |n| json!({ "a__ne": n }));
    let of_two = fill(&mut index, "two", |n| json!({ "a__ne": n }));
    assert_eq!((of_one, of_two), (u64::from(MAX_COST_OF_KEY), u64::from(MAX_COST - MAX_COST_OF_KEY)));
    let common = 1_000_000;
    insert(&mut index, common, "two", json!({ "a__ne": 0 })).unwrap();
    index.remove(SubscriptionId { shard: 0, serial: 0 });
    assert_eq!(index.costs[&KeyId::from_stored("one")], MAX_COST_OF_KEY - 1);
    assert_eq!(index.costs[&KeyId::from_stored("two")], MAX_COST - MAX_COST_OF_KEY + 1);
}

#[test]
fn fields_beyond_the_bound_are_no_anchors() {
    let mut index = FilterIndex::default();
    for n in 0..1100_u64 {
        insert(&mut index, n, "k", json!({ format!("f{n}"): 1 })).unwrap();
    }
    assert_eq!((index.fields.iter().count(), index.residue.len()), (1000, 100));
    assert_eq!(matching(&index, &document(json!({ "f5": 1, "f1050": 1 }))).len(), 2);
    let alternatives: Vec<_> = (0..50).map(|n| json!({ format!("g{n}"): 1 })).collect();
    insert(&mut index, 2000, "k", json!({ "$or": alternatives })).unwrap();
    assert_eq!(index.cost, 150, "its fifty terms are asked");
}

#[test]
fn a_document_that_reaches_many_filters_is_matched_in_steps() {
    let mut index = FilterIndex::default();
    for number in 0..20_000 {
        insert(&mut index, number, "k", json!({ "tags__array_contains": number, "n__ne": number })).unwrap();
    }
    let document = document(json!({ "n": 7, "tags": (0..30_000).collect::<Vec<_>>() }));
    let mut search = index.search(&document);
    let mut steps = 1;
    while !search.step() {
        steps += 1;
    }
    assert_eq!((search.found().len(), steps), (19_999, 40));
}

#[test]
fn an_element_that_is_repeated_is_looked_up_once() {
    let mut index = FilterIndex::default();
    for number in 0..200 {
        insert(&mut index, number, "k", json!({ "tags__array_contains": 1, "n__ne": number })).unwrap();
    }
    let document = document(json!({ "n": 7, "tags": vec![1; 100_000] }));
    assert_eq!(index.candidates(&document, &Judge::new(&document, &index.texts)).len(), 200);
}
