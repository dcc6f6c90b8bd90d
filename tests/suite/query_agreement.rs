//! SQLite, PostgreSQL and the matcher give the same answer to the same question.
//!
//! Documents and filters are generated; the values of a filter are mostly drawn from those of the documents, so that each
//! operator is often true and often false of each type. `COIR_TEST_AGREEMENT_PAIRS=100000` is the full run (of each
//! database), `COIR_TEST_SEED` replays one; `--nocapture` shows the table.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashSet},
    env,
};

use coir::{
    domain::{Data, Document, DocumentId, Timestamp},
    query::{
        Filter,
        key::Key,
        page::{Direction, Sort},
        parse::{Typing, parse_pairs, parse_value},
    },
};
use futures_util::{StreamExt, future, stream};
use proptest::{
    prelude::*,
    sample::{Index, select},
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Map, Value, json};

use crate::harness::{Database, TestApp, path_with};

/// Documents and filters of one round.
const DOCUMENTS: usize = 60;
const FILTERS: usize = 80;

/// Fields of the documents: as a filter names them, and where they are.
const FIELDS: [(&str, &[&str]); 6] = [
    ("n", &["n"]),
    ("a.b", &["a", "b"]),
    ("Major Genre", &["Major Genre"]),
    (r"it's\.\\x\.", &["it's.\\x."]),
    (r"é.\0", &["é", "0"]),
    ("q\"q", &["q\"q"]),
];

/// What a filter asks, and how it is asked.
#[derive(Clone, Debug)]
enum Question {
    Json(Value),
    Url(Vec<(String, String)>),
}

/// One filter, and the cell of the table that it belongs to, if it is a single comparison.
#[derive(Clone, Debug)]
struct Asked {
    cell: Option<(String, &'static str)>,
    question: Question,
}

impl Asked {
    fn filter(&self) -> Filter {
        match &self.question {
            Question::Json(json) => parse_value(json.clone(), Typing::Typed).unwrap(),
            Question::Url(pairs) => {
                parse_pairs(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))).unwrap()
            }
        }
    }

    fn parameters(&self) -> Vec<(String, String)> {
        match &self.question {
            Question::Json(json) => vec![("filters".to_owned(), json.to_string())],
            Question::Url(pairs) => pairs.clone(),
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "double",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
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

/// The values that a field has in one round: a few of one type, and one of any type.
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

/// The documents' data of one round, and the values of each field.
fn corpus() -> impl Strategy<Value = (Vec<Vec<Value>>, Vec<Value>)> {
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

const ORDERED: [&str; 4] = ["gt", "gte", "lt", "lte"];
const TEXTS: [&str; 3] = ["contains", "startswith", "endswith"];

/// A part of a string, in either case.
fn part_of(text: &str, from: Index, to: Index, operator: &str) -> String {
    let chars: Vec<_> = text.chars().collect();
    let (mut first, mut last) = (from.index(chars.len() + 1), to.index(chars.len() + 1));
    if first > last {
        std::mem::swap(&mut first, &mut last);
    }
    match operator {
        "startswith" => first = 0,
        "endswith" => last = chars.len(),
        _ => {}
    }
    let part: String = chars[first..last].iter().collect();
    if from.index(2) == 0 { part.to_ascii_uppercase() } else { part }
}

/// One comparison of a field with one of its own values.
fn comparison(palettes: Vec<Vec<Value>>) -> impl Strategy<Value = (String, Value, Asked)> {
    let chosen = (0..FIELDS.len(), any::<Index>(), any::<Index>(), any::<[Index; 2]>(), any::<bool>());
    chosen.prop_map(move |(field, value, operator, [other, to], as_text)| {
        let (name, values) = (FIELDS[field].0, &palettes[field]);
        let value = value.get(values).clone();
        let mut operators = vec!["eq", "ne", "in", "notin", "isnull"];
        let mut literal = value.clone();
        match &value {
            Value::Number(_) => operators.extend(ORDERED),
            Value::String(_) => operators.extend(ORDERED.iter().chain(&TEXTS)),
            Value::Array(elements) if !elements.is_empty() => operators.extend(["array_contains"; 5]),
            _ => {}
        }
        let operator = *operator.get(&operators);
        match (operator, &value) {
            ("in" | "notin", _) => literal = json!([value, other.get(values)]),
            // Of two values the one that more of them are beyond.
            ("gt" | "gte" | "lt" | "lte", _) => {
                let another = other.get(values);
                let order = Key::of(Some(another)).cmp(&Key::of(Some(&value)));
                let wanted = if operator.starts_with('g') { Ordering::Less } else { Ordering::Greater };
                if kind_of(another) == kind_of(&value) && order == wanted {
                    literal = another.clone();
                }
            }
            ("isnull", _) => literal = Value::Bool(other.index(2) == 0),
            ("array_contains", Value::Array(elements)) => {
                literal = other.get(elements).clone();
            }
            (operator, Value::String(text)) if TEXTS.contains(&operator) => {
                literal = Value::from(part_of(text, other, to, operator));
            }
            _ => {}
        }
        let kind = match (operator, &literal) {
            ("in" | "notin", _) => kind_of(&value),
            ("isnull", _) => "any",
            (_, literal) => kind_of(literal),
        };
        let key = format!("{name}__{operator}");
        let is_list = matches!(operator, "in" | "notin");
        let text = if as_text && is_list == literal.is_array() { url_text(&literal) } else { None };
        let (cell, question) = match text {
            Some(text) => (format!("{operator}="), Question::Url(vec![(key.clone(), text)])),
            None => (operator.to_owned(), Question::Json(json!({ key.clone(): literal.clone() }))),
        };
        (key, literal, Asked { cell: Some((cell, kind)), question })
    })
}

/// How a URL says a value, if it can.
fn url_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(items) => {
            let items = items.iter().map(|item| match item {
                Value::Array(_) => None,
                item => url_text(item).filter(|text| !text.contains(',') && text.trim() == text),
            });
            items.collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// Filters of one round: single comparisons, and what groups make of them.
fn filters(palettes: &[Vec<Value>]) -> impl Strategy<Value = Vec<Asked>> + use<> {
    let single = comparison(palettes.to_vec());
    let object =
        || comparison(palettes.to_vec()).prop_map(|(key, literal, _)| json!({ key: literal })).boxed();
    let nested = object().prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|members| json!({ "$and": members })),
            prop::collection::vec(inner.clone(), 0..4).prop_map(|members| json!({ "$or": members })),
            inner.prop_map(|member| json!({ "$not": member })),
        ]
    });
    let nested = nested.prop_map(|json| Asked { cell: None, question: Question::Json(json) });
    let several =
        prop::collection::vec((object(), select(vec!["", "[or]", "[or:x]"])), 1..5).prop_map(|terms| {
            let mut json = Map::new();
            for (term, group) in terms {
                json.extend(
                    term.as_object()
                        .unwrap()
                        .iter()
                        .map(|(key, value)| (format!("{group}{key}"), value.clone())),
                );
            }
            Asked { cell: None, question: Question::Json(Value::Object(json)) }
        });
    let across = comparison(palettes.to_vec()).prop_map(|(key, literal, _)| Asked {
        cell: None,
        question: Question::Json(json!({ format!("n__or__a.b__or__{key}"): literal })),
    });
    let own = (select(vec!["id", "createdAt", "updatedAt"]), select(ORDERED.to_vec()), any::<Index>());
    let own = own.prop_map(|(field, operator, place)| Asked {
        cell: None,
        question: Question::Url(vec![(
            format!("{field}__{operator}"),
            format!("@{}", place.index(DOCUMENTS)),
        )]),
    });
    let asked = prop_oneof![12 => single.prop_map(|(.., asked)| asked), 3 => nested, 2 => several, 1 => across, 1 => own];
    prop::collection::vec(asked, FILTERS)
}

/// Which pairs of an operator and a type were true and false.
#[derive(Default)]
struct Table {
    cells: BTreeMap<(String, &'static str), [usize; 2]>,
    pairs: usize,
}

impl Table {
    fn count(&mut self, asked: &Asked, is_true: bool) {
        self.pairs += 1;
        if let Some(cell) = &asked.cell {
            self.cells.entry(cell.clone()).or_default()[usize::from(is_true)] += 1;
        }
    }

    fn print(&self) {
        println!("{:<18}{:<10}{:>8}{:>8}", "operator", "type", "pairs", "true");
        for ((operator, kind), [no, yes]) in &self.cells {
            println!("{operator:<18}{kind:<10}{:>8}{:>7}%", no + yes, 100 * yes / (no + yes));
        }
    }
}

struct Round {
    apps: [TestApp; 2],
    runner: TestRunner,
    collection: String,
    documents: Vec<Document>,
}

impl Round {
    fn draw<S: Strategy>(&mut self, strategy: &S) -> S::Value {
        strategy.new_tree(&mut self.runner).unwrap().current()
    }

    /// Writes the documents to both databases, under the same ids, and reads them back.
    async fn write(&mut self, data: &[Value]) {
        for app in &self.apps {
            let write = async |place: usize, data: &Value| {
                app.put(&format!("/collections/{}/d{place}", self.collection), data.clone()).await
            };
            let writes = data.iter().enumerate().map(|(place, data)| write(place, data));
            let answers: Vec<_> = stream::iter(writes).buffer_unordered(16).collect().await;
            assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
        }
        self.documents = data
            .iter()
            .enumerate()
            .map(|(place, data)| Document {
                id: DocumentId::parse(&format!("d{place}")).unwrap(),
                data: Data::from_value(data.clone()).unwrap(),
                created_at: Timestamp(0),
                updated_at: Timestamp(0),
                version: 1,
            })
            .collect();
    }

    async fn list(&self, app: &TestApp, parameters: &[(String, String)]) -> Value {
        let parameters: Vec<_> =
            parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let answer = app.get(&path_with(&format!("/collections/{}", self.collection), &parameters)).await;
        assert_eq!(answer.status, 200, "{parameters:?}: {answer:?}");
        answer.body
    }

    /// The ids of a list, in its order.
    async fn ids(&self, app: &TestApp, mut parameters: Vec<(String, String)>) -> Vec<String> {
        parameters.push(("limit".to_owned(), "1000".to_owned()));
        ids_of(&self.list(app, &parameters).await)
    }
}

fn ids_of(answer: &Value) -> Vec<String> {
    answer["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|document| document["id"].as_str().unwrap().to_owned())
        .collect()
}

/// The documents of a list, with the times that the server gave them.
fn documents_of(answer: &Value) -> Vec<Document> {
    let time = |value: &Value| Timestamp::parse(value.as_str().unwrap()).unwrap().0;
    let read = |document: &Value| Document {
        id: DocumentId::parse(document["id"].as_str().unwrap()).unwrap(),
        data: Data::from_value(document["data"].clone()).unwrap(),
        created_at: time(&document["createdAt"]),
        updated_at: time(&document["updatedAt"]),
        version: document["version"].as_u64().unwrap(),
    };
    answer["data"].as_array().unwrap().iter().map(read).collect()
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

async fn start() -> Round {
    let seed = setting("COIR_TEST_SEED", 20_261_124);
    println!("COIR_TEST_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    Round {
        apps: [TestApp::start(Database::Sqlite).await, TestApp::start(Database::Postgres).await],
        runner: TestRunner::new_with_rng(Config::default(), rng),
        collection: String::new(),
        documents: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_means_the_same_to_both_databases_and_the_matcher() {
    let mut round = start().await;
    let mut table = Table::default();
    let wanted = setting("COIR_TEST_AGREEMENT_PAIRS", 10_000) as usize;
    let mut number = 0;
    while table.pairs < wanted {
        number += 1;
        round.collection = format!("round{number}");
        let (palettes, data) = round.draw(&corpus());
        round.write(&data).await;
        let filters = round.draw(&filters(&palettes));
        for (database, app) in round.apps.iter().enumerate() {
            let whole = round.list(app, &[("limit".to_owned(), "1000".to_owned())]).await;
            let documents = documents_of(&whole);
            let filters: Vec<_> = filters.iter().map(|asked| with_time(asked, &documents)).collect();
            let lists = filters.iter().map(|asked| round.ids(app, asked.parameters()));
            let lists: Vec<_> = stream::iter(lists).buffered(8).collect().await;
            for (asked, list) in filters.iter().zip(lists) {
                let filter = asked.filter();
                let listed: HashSet<_> = list.iter().map(String::as_str).collect();
                for document in &documents {
                    let (matches, is_listed) =
                        (filter.matches(document), listed.contains(document.id.as_str()));
                    assert_eq!(
                        matches,
                        is_listed,
                        "the matcher and the list of {} differ over {:?} of {}",
                        app.config.database_url,
                        asked.question,
                        document.data.text()
                    );
                    if database == 0 {
                        table.count(asked, matches);
                    }
                }
            }
        }
    }
    table.print();
    println!("{} pairs of a document and a filter, asked of both databases and the matcher", table.pairs);
    // A cell that few filters are in says nothing.
    for ((operator, kind), [no, yes]) in table.cells.iter().filter(|(_, [no, yes])| no + yes >= 1200) {
        let share = *yes as f64 / (no + yes) as f64;
        assert!((0.1..=0.9).contains(&share), "{operator} of {kind} is true in {share:.2} of its pairs");
    }
    for app in round.apps {
        app.stop().await;
    }
}

/// The same question, with the place of a document (`@7`) made its value.
fn with_time(asked: &Asked, documents: &[Document]) -> Asked {
    let mut asked = asked.clone();
    if let Question::Url(pairs) = &mut asked.question
        && asked.cell.is_none()
    {
        for (key, value) in pairs {
            let Some(place) = value.strip_prefix('@') else { continue };
            let document = &documents[place.parse::<usize>().unwrap()];
            *value = match key.split("__").next() {
                Some("id") => document.id.to_string(),
                Some("createdAt") => document.created_at.to_string(),
                _ => document.updated_at.to_string(),
            };
        }
    }
    asked
}

fn sort_text() -> impl Strategy<Value = String> {
    let names: Vec<_> = FIELDS.iter().map(|(name, _)| *name).chain(["createdAt", "id"]).collect();
    prop::collection::vec((any::<bool>(), select(names)), 1..4).prop_map(|terms| {
        let terms = terms.iter().map(|(down, name)| format!("{}{name}", if *down { "-" } else { "" }));
        terms.collect::<Vec<_>>().join(",")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sort_and_its_pages_are_the_same_on_both_databases_and_in_memory() {
    let mut round = start().await;
    let rounds = setting("COIR_TEST_AGREEMENT_PAIRS", 10_000) / 2_500;
    let mut compared = 0;
    for number in 0..rounds {
        round.collection = format!("round{number}");
        let (_, data) = round.draw(&corpus());
        round.write(&data).await;
        for _ in 0..12 {
            let (text, limit) = round.draw(&(sort_text(), 1..20_usize));
            let sort = Sort::parse(&text, None).unwrap();
            for app in &round.apps {
                let whole = round.list(app, &[("limit".to_owned(), "1000".to_owned())]).await;
                let mut documents = documents_of(&whole);
                documents.sort_by(|one, two| {
                    let (one, two) = (sort.place_of(one), sort.place_of(two));
                    let terms = sort
                        .terms
                        .iter()
                        .map(|(_, direction)| *direction)
                        .zip(one.keys.iter().zip(&two.keys));
                    let by = |direction, order: Ordering| match direction {
                        Direction::Ascending => order,
                        Direction::Descending => order.reverse(),
                    };
                    let by_terms = terms.map(|(direction, (one, two))| by(direction, one.cmp(two)));
                    by_terms
                        .fold(Ordering::Equal, Ordering::then)
                        .then(by(sort.by_id, one.id.as_str().cmp(two.id.as_str())))
                });
                let expected: Vec<_> = documents.iter().map(|document| document.id.to_string()).collect();
                let by = ("orderBy".to_owned(), text.clone());
                assert_eq!(
                    round.ids(app, vec![by.clone()]).await,
                    expected,
                    "{text} on {}",
                    app.config.database_url
                );
                let (mut paged, mut after) = (Vec::new(), None::<String>);
                loop {
                    let mut parameters = vec![by.clone(), ("limit".to_owned(), limit.to_string())];
                    parameters.extend(after.map(|after| ("after".to_owned(), after)));
                    let page = round.list(app, &parameters).await;
                    paged.extend(ids_of(&page));
                    match page["nextCursor"].as_str() {
                        Some(next) => after = Some(next.to_owned()),
                        None => break,
                    }
                }
                assert_eq!(paged, expected, "pages of {limit} by {text} on {}", app.config.database_url);
                compared += 1;
            }
        }
    }
    println!("{compared} sorts, each whole and in pages");
    for app in round.apps {
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_meet_everything_that_stayed_once_while_others_write() {
    let mut round = start().await;
    round.collection = "busy".to_owned();
    let (palettes, data) = round.draw(&corpus());
    round.write(&data).await;
    for app in &round.apps {
        let collection = &round.collection;
        for text in ["n,-a.b", "-n,-a.b", "Major Genre", "-q\"q,n"] {
            let (mut met, mut after) = (Vec::new(), None::<String>);
            for number in 0.. {
                let mut parameters =
                    vec![("orderBy".to_owned(), text.to_owned()), ("limit".to_owned(), "7".to_owned())];
                parameters.extend(after.map(|after| ("after".to_owned(), after)));
                let page = round.list(app, &parameters).await;
                met.extend(ids_of(&page));
                // Between two pages documents come, go and change in what is not sorted by.
                let other = palettes[0][number % palettes[0].len()].clone();
                let last = met.last().unwrap().clone();
                let path = format!("/collections/{collection}");
                let answers = future::join(
                    app.post(&path, json!({ "n": other, "late": true })),
                    app.post(&path, json!({ "Major Genre": other, "q\"q": other })),
                )
                .await;
                assert!(answers.0.status == 201 && answers.1.status == 201, "{answers:?}");
                let late = answers.0.data()["id"].as_str().unwrap();
                let answer =
                    app.patch(&format!("/collections/{collection}/{last}"), json!({ "seen": number })).await;
                assert!(answer.status == 200, "{answer:?}");
                assert_eq!(app.delete(&format!("/collections/{collection}/{late}")).await.status, 200);
                match page["nextCursor"].as_str() {
                    Some(next) => after = Some(next.to_owned()),
                    None => break,
                }
            }
            let unique: HashSet<_> = met.iter().cloned().collect();
            assert_eq!(unique.len(), met.len(), "by {text}, one was met twice: {met:?}");
            let missed: Vec<_> =
                round.documents.iter().filter(|document| !unique.contains(document.id.as_str())).collect();
            assert!(missed.is_empty(), "by {text} on {}, not met: {missed:?}", app.config.database_url);
        }
    }
    for app in round.apps {
        app.stop().await;
    }
}
