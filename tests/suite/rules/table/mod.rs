//! One table of callers, rules, documents and actions, and what each door must answer about them.
//!
//! `worlds.json` has the rule sets with their documents, and `rows.txt` what the reference says about them: written by hand, one
//! line for an action, with a column for each caller. A cell is `yes`, `yes` with the fields that the answer lacks, or the status of
//! the refusal. Every cell goes through every door that can carry it.

mod reads;
mod streams;
mod writes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use futures_util::{StreamExt, stream};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::set_rules;
use crate::{
    harness::{Answer, PUBLISHABLE_KEY, SECRET_KEY, TestApp, on_both_databases},
    users::sign_up,
};

/// The columns of the table.
const CALLERS: [&str; 7] = ["guest", "reader", "linked", "ada", "bob", "server", "for-ada"];

/// Every door. The test fails if one was never used.
const DOORS: [&str; 39] = [
    "get",
    "list",
    "list by POST",
    "select",
    "filter",
    "count",
    "aggregate",
    "group-by",
    "export",
    "populate",
    "explain a read",
    "Cocobase get",
    "Cocobase list",
    "Cocobase count",
    "Cocobase group-by",
    "WebSocket",
    "snapshot",
    "replay",
    "SSE",
    "SSE by ticket",
    "SSE replay",
    "Cocobase watch",
    "POST",
    "PUT that creates",
    "batch that creates",
    "transaction that creates",
    "import",
    "Cocobase create",
    "Cocobase batch",
    "PATCH",
    "PUT that replaces",
    "batch that changes",
    "transaction that changes",
    "Cocobase change",
    "DELETE",
    "batch-delete",
    "transaction that deletes",
    "access",
    "explain a write",
];

pub struct Caller {
    name: &'static str,
    key: String,
    /// The token of a user, and the user's id.
    user: Option<(String, String)>,
    params: Option<Value>,
}

impl Caller {
    /// Begins a request as every door takes it, of either dialect.
    fn request(&self, app: &TestApp, method: Method, path: &str) -> RequestBuilder {
        let mut request =
            app.http.request(method, format!("{}{path}", app.url)).header("x-api-key", &self.key);
        if let Some((token, _)) = &self.user {
            request = request.bearer_auth(token);
        }
        match &self.params {
            Some(params) => request.header("X-Coir-Params", params.to_string()),
            None => request,
        }
    }

    async fn ask(&self, app: &TestApp, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = self.request(app, method, path);
        app.send(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    async fn get(&self, app: &TestApp, path: &str) -> Answer {
        self.ask(app, Method::GET, path, None).await
    }

    /// Returns how `explain` names the caller; `None` for servers, whom it does not answer for.
    fn explained(&self) -> Option<Value> {
        match (&self.user, self.name) {
            (Some((_, id)), _) => Some(json!({ "user": id })),
            (None, "server") => None,
            (None, _) => Some(json!({ "guest": true })),
        }
    }
}

/// What the table says about one caller.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cell {
    /// Allowed; the caller does not see these fields.
    Yes(Vec<String>),
    /// Refused with this status.
    No(u16),
}

#[derive(Debug)]
struct Row {
    set: String,
    action: String,
    /// The document, unless it is a creation.
    id: String,
    data: Value,
    cells: Vec<Cell>,
}

impl Row {
    fn told(&self, caller: &Caller, door: &str) -> String {
        format!("{} | {} {} {} | {} | {door}", self.set, self.action, self.id, self.data, caller.name)
    }
}

struct World {
    set: String,
    rules: Value,
    documents: BTreeMap<String, Value>,
}

/// The state of a run: which doors were used, and what was answered wrongly.
#[derive(Default)]
struct Run {
    used: BTreeSet<&'static str>,
    rows: usize,
    asked: usize,
    wrong: Vec<String>,
}

impl Run {
    fn add(&mut self, other: Self) {
        self.used.extend(other.used);
        self.rows += other.rows;
        self.asked += other.asked;
        self.wrong.extend(other.wrong);
    }

    fn compare<T: PartialEq + std::fmt::Debug>(
        &mut self,
        door: &'static str,
        told: &str,
        expected: &T,
        found: &T,
    ) {
        assert!(DOORS.contains(&door), "{door}");
        self.used.insert(door);
        self.asked += 1;
        if expected != found {
            self.wrong.push(format!("{told}\n    expected {expected:?}\n    found    {found:?}"));
        }
    }
}

fn read_world(set: &str, world: &Value) -> World {
    let mut documents = BTreeMap::new();
    for (id, data) in world["documents"].as_object().unwrap() {
        let mut data = data.clone();
        data["name"] = json!(id);
        documents.insert(id.clone(), data);
    }
    World { set: set.to_owned(), rules: world["rules"].clone(), documents }
}

fn read_file(name: &str, names: &[(&str, &str)]) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/suite/rules/table").join(name);
    let text = fs::read_to_string(path).unwrap();
    names.iter().fold(text, |text, (name, id)| text.replace(name, id))
}

fn read_rows(text: &str) -> Vec<Row> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(read_row).collect()
}

fn read_row(line: &str) -> Row {
    let columns: Vec<_> = line.split('|').map(str::trim).collect();
    let [set, action, subject, cells @ ..] = &columns[..] else { panic!("{line}") };
    assert_eq!(cells.len(), CALLERS.len(), "{line}");
    let (id, data) = match subject.find('{') {
        Some(begin) => (subject[..begin].trim(), serde_json::from_str(&subject[begin..]).unwrap()),
        None => (*subject, Value::Null),
    };
    let cells = cells.iter().map(|cell| match cell.strip_prefix("yes") {
        Some(hidden) => Cell::Yes(
            hidden.split_whitespace().map(|field| field.trim_start_matches('-').to_owned()).collect(),
        ),
        None => Cell::No(cell.parse().unwrap_or_else(|_| panic!("{cell}: {line}"))),
    });
    let cells = cells.collect();
    Row { set: set.to_string(), action: action.to_string(), id: id.to_owned(), data, cells }
}

/// Takes fields away. A dot leads into an object.
fn without(data: &Value, hidden: &[String]) -> Value {
    let mut data = data.clone();
    for field in hidden {
        let (path, last) = field.rsplit_once('.').map_or(("".to_owned(), field.as_str()), |(path, last)| {
            (format!("/{}", path.replace('.', "/")), last)
        });
        if let Some(object) = data.pointer_mut(&path).and_then(Value::as_object_mut) {
            object.remove(last);
        }
    }
    data
}

/// Writes the documents of a world as they were, and removes all others.
async fn restore(app: &TestApp, world: &World, state: &BTreeMap<String, Value>) {
    for (id, data) in &world.documents {
        if state.get(id) != Some(data) {
            let answer = app.put(&format!("/collections/{}/{id}", world.set), data.clone()).await;
            assert!(answer.status.is_success(), "{answer:?}");
        }
    }
    for id in state.keys().filter(|id| !world.documents.contains_key(*id)) {
        app.delete(&format!("/collections/{}/{id}", world.set)).await;
    }
}

/// Returns the documents of a world as a server sees them.
async fn state_of(app: &TestApp, world: &World) -> BTreeMap<String, Value> {
    let answer = app.get(&format!("/collections/{}?limit=100", world.set)).await;
    reads::documents(answer.data())
}

async fn callers(app: &TestApp, ada: (String, String), bob: (String, String)) -> Vec<Caller> {
    let reader = json!({ "kind": "publishable", "scopes": ["documents:read", "realtime"] });
    let reader = app.post("/keys", reader).await.data()["key"].as_str().unwrap().to_owned();
    let of = |name, key: &str, user, params| Caller { name, key: key.to_owned(), user, params };
    vec![
        of("guest", PUBLISHABLE_KEY, None, None),
        of("reader", &reader, None, None),
        of("linked", PUBLISHABLE_KEY, None, Some(json!({ "invite": "abc" }))),
        of("ada", PUBLISHABLE_KEY, Some(ada.clone()), None),
        of("bob", PUBLISHABLE_KEY, Some(bob), None),
        of("server", SECRET_KEY, None, None),
        of("for-ada", SECRET_KEY, Some(ada), None),
    ]
}

on_both_databases! {
    async fn every_door_gives_the_answer_of_the_table(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let editor = json!({ "roles": ["editor"], "profile": { "level": 2 } });
        assert_eq!(app.patch(&format!("/users/{}", bob.id), editor).await.status, 200);
        let names = [("<ada>", ada.id.as_str()), ("<bob>", bob.id.as_str())];
        let callers = callers(app, (ada.access.clone(), ada.id.clone()), (bob.access.clone(), bob.id.clone())).await;
        assert!(callers.iter().map(|caller| caller.name).eq(CALLERS));
        let worlds: Value = serde_json::from_str(&read_file("worlds.json", &names)).unwrap();
        let rows = read_rows(&read_file("rows.txt", &names));
        assert!(rows.len() * CALLERS.len() >= 300, "{} rows", rows.len());

        for (id, user, team) in [("a", &ada.id, "red"), ("b", &bob.id, "blue")] {
            app.put(&format!("/collections/members/{id}"), json!({ "user": user, "team": team })).await;
        }
        set_rules(app, "members", json!({ "read": { "user": "$user.id" } })).await;
        let mut run = Run::default();
        for is_open in [true, false] {
            app.patch("/settings", json!({ "open": is_open })).await;
            let of_phase = worlds.as_object().unwrap().iter().filter(|(_, world)| (world["closed"] == true) != is_open);
            let tries = of_phase.map(|(set, world)| try_world(app, read_world(set, world), &callers, &rows));
            let runs: Vec<_> = stream::iter(tries).buffer_unordered(5).collect().await;
            runs.into_iter().for_each(|other| run.add(other));
        }
        assert_eq!(run.rows, rows.len(), "a row names no world");
        println!("{} rows, {} answers", rows.len() * CALLERS.len(), run.asked);
        assert!(run.wrong.is_empty(), "{} of {} answers are wrong:\n{}", run.wrong.len(), run.asked, run.wrong.join("\n"));
        let unused: Vec<_> = DOORS.iter().filter(|door| !run.used.contains(*door)).collect();
        assert!(unused.is_empty(), "no row went through {unused:?}");
    }
}

async fn try_world(app: &TestApp, world: World, callers: &[Caller], rows: &[Row]) -> Run {
    let world = &world;
    let rows: Vec<_> = rows.iter().filter(|row| row.set == world.set).collect();
    let mut run = Run { rows: rows.len(), ..Run::default() };
    app.post("/collections", json!({ "name": world.set })).await;
    let links = format!("links_{}", world.set);
    for public in [&links, &format!("fence_{}", world.set)] {
        set_rules(app, public, json!({ "read": true })).await;
    }
    if !world.rules.is_null() {
        set_rules(app, &world.set, world.rules.clone()).await;
    }
    for (id, data) in &world.documents {
        app.put(&format!("/collections/{}/{id}", world.set), data.clone()).await;
        app.put(&format!("/collections/{links}/{id}"), json!({ "target_id": id })).await;
    }
    let reads: Vec<_> = rows.iter().copied().filter(|row| row.action == "read").collect();
    if !reads.is_empty() {
        let read: Vec<_> = reads.iter().map(|row| &row.id).collect();
        assert!(
            world.documents.keys().all(|id| read.contains(&id)),
            "{} lacks a row for a document",
            world.set
        );
        for (place, caller) in callers.iter().enumerate() {
            let cells: BTreeMap<_, _> =
                reads.iter().map(|row| (row.id.clone(), row.cells[place].clone())).collect();
            reads::try_doors(app, world, caller, &cells, &mut run).await;
        }
        streams::try_doors(app, world, callers, &reads, &mut run).await;
        restore(app, world, &state_of(app, world).await).await;
    }
    for row in rows.iter().filter(|row| row.action != "read") {
        for (place, caller) in callers.iter().enumerate() {
            writes::try_doors(app, world, caller, row, &row.cells[place], &mut run).await;
        }
    }
    run
}
