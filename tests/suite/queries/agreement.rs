//! SQLite, PostgreSQL and the matcher give the same answer to the same question.
//!
//! Documents, filters and sorts are generated (`harness::corpus`, `harness::questions`). The full run has
//! `COIR_TEST_AGREEMENT_PAIRS=100000` for each database. `COIR_TEST_SEED` replays a run. `--nocapture` shows the table.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashSet},
    env,
};

use coir::{
    domain::{Data, Document, DocumentId, Timestamp},
    query::page::{Direction, Sort},
};
use futures_util::{StreamExt, future, stream};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};

use crate::harness::{
    Database, TestApp,
    corpus::corpus,
    path_with,
    questions::{Asked, filters, sort_text},
};

/// Counts how often each operator was true and false for each type of value.
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

    /// Returns the ids of a list, in the list's order.
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

/// Returns the documents of a list, with the times that the server gave them.
fn documents_of(answer: &Value) -> Vec<Document> {
    let time = |value: &Value| Timestamp::parse(value.as_str().unwrap()).unwrap().floor;
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
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
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
            let filters: Vec<_> = filters.iter().map(|asked| asked.with_time(&documents)).collect();
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
    // A cell with few pairs says nothing, so it isn't checked.
    for ((operator, kind), [no, yes]) in table.cells.iter().filter(|(_, [no, yes])| no + yes >= 1200) {
        let share = *yes as f64 / (no + yes) as f64;
        assert!((0.1..=0.9).contains(&share), "{operator} of {kind} is true in {share:.2} of its pairs");
    }
    for app in round.apps {
        app.stop().await;
    }
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
                    let terms =
                        sort.terms.iter().map(|term| term.direction).zip(one.keys.iter().zip(&two.keys));
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
async fn pages_of_any_sort_show_each_lasting_document_once() {
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
                // Between two pages, documents are created, deleted and changed in fields that are not sorted by.
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
            assert_eq!(unique.len(), met.len(), "by {text}, a document was listed twice: {met:?}");
            let missed: Vec<_> =
                round.documents.iter().filter(|document| !unique.contains(document.id.as_str())).collect();
            assert!(
                missed.is_empty(),
                "by {text} on {}, these were not listed: {missed:?}",
                app.config.database_url
            );
        }
    }
    for app in round.apps {
        app.stop().await;
    }
}
