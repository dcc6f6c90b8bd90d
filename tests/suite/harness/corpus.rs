//! Random documents, a round at a time. Each field has few values, so that filters find some of the documents.

use proptest::{prelude::*, sample::select};
use serde_json::{Map, Value, json};

/// How many documents a round has.
pub const DOCUMENTS: usize = 60;

/// The fields of the documents: the name in a filter, and the place in the document.
pub const FIELDS: [(&str, &[&str]); 6] = [
    ("n", &["n"]),
    ("a.b", &["a", "b"]),
    ("Major Genre", &["Major Genre"]),
    (r"it's\.\\x\.", &["it's.\\x."]),
    (r"é.\0", &["é", "0"]),
    ("q\"q", &["q\"q"]),
];

/// The data of one round's documents, and the values of each field.
pub fn corpus() -> impl Strategy<Value = (Vec<Vec<Value>>, Vec<Value>)> {
    prop::collection::vec(palette(), FIELDS.len()).prop_flat_map(|palettes| {
        let fields: Vec<_> =
            palettes.iter().map(|values| prop::option::weighted(0.85, select(values.clone()))).collect();
        let document = fields.prop_map(|values| {
            let mut data = Map::new();
            for ((_, path), value) in FIELDS.iter().zip(values) {
                let Some(value) = value else { continue };
                match path {
                    [key] => drop(data.insert((*key).to_owned(), value)),
                    [outer, inner] => drop(data.insert((*outer).to_owned(), json!({ *inner: value }))),
                    _ => unreachable!(),
                }
            }
            Value::Object(data)
        });
        (Just(palettes), prop::collection::vec(document, DOCUMENTS))
    })
}

fn integer() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3..30_i64).prop_map(Value::from),
        select(vec![
            i64::MIN,
            i64::MAX,
            9_007_199_254_740_992,
            9_007_199_254_740_993,
            -9_007_199_254_740_993
        ])
        .prop_map(Value::from),
    ]
}

fn double() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-300..3000_i64).prop_map(|hundredths| json!((hundredths * 2 + 1) as f64 / 200.0)),
        select(vec![1e300, -1e300, 5e-324, 1.5e-7, 9.3e18, 1e19, 0.1, 0.3]).prop_map(Value::from),
        any::<f64>()
            .prop_filter("whole doubles are integers", |double| double.fract() != 0.0)
            .prop_map(Value::from),
    ]
}

fn string() -> impl Strategy<Value = Value> {
    prop_oneof![
        select(vec![
            "",
            " ",
            "a",
            "A",
            "ab",
            "Drama",
            "drama",
            "é",
            "É",
            "😀",
            "\u{ffff}",
            "5",
            "5.0",
            "true",
            "null",
            "[1]",
            "%",
            "_",
            "50%",
            "it's",
            "\"q\"",
            "back\\slash",
            "line\nfeed",
            "tab\t",
            "2026-01-31",
            "ﬀ",
            "İ",
            "ſ",
            "K",
        ])
        .prop_map(Value::from),
        "[a-cA-C]{1,6}".prop_map(Value::from),
        any::<String>().prop_map(|text| Value::from(text.replace('\0', "0"))),
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), integer(), double(), string()]
}

fn array() -> impl Strategy<Value = Value> {
    let element = prop_oneof![
        6 => scalar(),
        2 => prop::collection::vec(scalar(), 0..3).prop_map(Value::from),
        2 => scalar().prop_map(|value| json!({ "k": value })),
    ];
    prop::collection::vec(element, 0..4).prop_map(Value::from)
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-c]|é|'", scalar(), 0..3)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

/// Returns the values that a field has in one round: a few of one type, and one of any type.
fn palette() -> impl Strategy<Value = Vec<Value>> {
    let of = |kind: BoxedStrategy<Value>| prop::collection::vec(kind, 2..4).boxed();
    let themed = prop_oneof![
        Just(vec![Value::Null]).boxed(),
        Just(vec![json!(true), json!(false)]).boxed(),
        of(integer().boxed()),
        of(double().boxed()),
        of(string().boxed()),
        of(array().boxed()),
        of(object().boxed()),
    ];
    (themed, prop_oneof![scalar().boxed(), array().boxed(), object().boxed()]).prop_map(
        |(mut values, other)| {
            values.push(other);
            values
        },
    )
}
