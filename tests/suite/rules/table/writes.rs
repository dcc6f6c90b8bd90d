//! The doors that write. After each, a server looks whether it was done, and whether it was the same as on the other doors.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Caller, Cell, Row, Run, World, reads, restore, state_of, without};
use crate::harness::{TestApp, process};

type State = BTreeMap<String, Value>;

/// How a door is used.
struct Attempt {
    door: &'static str,
    method: Method,
    path: String,
    body: Option<Value>,
    /// Where the data of the written document is in the answer; empty if it is not there.
    data: &'static str,
}

fn attempt(door: &'static str, method: Method, path: String, body: Value, data: &'static str) -> Attempt {
    Attempt { door, method, path, body: (!body.is_null()).then_some(body), data }
}

/// Returns the doors that can carry the row, but for `import`, `explain` and `access`.
fn attempts(world: &World, row: &Row, cell: &Cell) -> Vec<Attempt> {
    let Row { set, id, data, .. } = row;
    let here = format!("/collections/{set}");
    let transaction = |op: &str, id: &str, data: &Value| {
        let mut operation = json!({ "op": op, "collection": set, "id": id });
        if !data.is_null() {
            operation["data"] = data.clone();
        }
        json!({ "operations": [operation] })
    };
    let (post, patch, put, delete) = (Method::POST, Method::PATCH, Method::PUT, Method::DELETE);
    match row.action.as_str() {
        "create" => vec![
            attempt("POST", post.clone(), here.clone(), data.clone(), "/data/data"),
            attempt("PUT that creates", put, format!("{here}/new"), data.clone(), "/data/data"),
            attempt(
                "batch that creates",
                post.clone(),
                format!("{here}/batch"),
                json!({ "documents": [data] }),
                "/data/0/data",
            ),
            attempt(
                "transaction that creates",
                post.clone(),
                "/transactions".into(),
                transaction("create", "new", data),
                "/data/0/data",
            ),
            attempt(
                "transaction that creates",
                post.clone(),
                "/transactions".into(),
                transaction("replace", "new", data),
                "/data/0/data",
            ),
            attempt(
                "Cocobase create",
                post.clone(),
                format!("{here}/documents"),
                json!({ "data": data }),
                "/data",
            ),
            attempt(
                "Cocobase batch",
                post,
                format!("{here}/batch/documents/create"),
                json!({ "documents": [data] }),
                "/0/data",
            ),
        ],
        "update" => {
            let mut all = vec![
                attempt("PATCH", patch.clone(), format!("{here}/{id}"), data.clone(), "/data/data"),
                attempt(
                    "batch that changes",
                    patch.clone(),
                    format!("{here}/batch"),
                    json!({ "updates": { id: data } }),
                    "/data/0/data",
                ),
                attempt(
                    "transaction that changes",
                    post,
                    "/transactions".into(),
                    transaction("update", id, data),
                    "/data/0/data",
                ),
                attempt(
                    "Cocobase change",
                    patch.clone(),
                    format!("{here}/documents/{id}"),
                    json!({ "data": data }),
                    "/data",
                ),
                attempt(
                    "Cocobase batch",
                    patch,
                    format!("{here}/batch/documents/update"),
                    json!({ "updates": [{ "id": id, "data": data }] }),
                    "",
                ),
            ];
            let members = data.as_object().unwrap();
            // A replacement has no operators. Its author sends what they see, with the change.
            if members.keys().all(|name| !name.starts_with('$')) {
                let mut whole = match cell {
                    Cell::Yes(hidden) => without(&world.documents[id], hidden),
                    Cell::No(_) => world.documents[id].clone(),
                };
                whole.as_object_mut().unwrap().extend(members.clone());
                all.push(attempt(
                    "transaction that changes",
                    Method::POST,
                    "/transactions".into(),
                    transaction("replace", id, &whole),
                    "/data/0/data",
                ));
                all.push(attempt("PUT that replaces", put, format!("{here}/{id}"), whole, "/data/data"));
            }
            all
        }
        "delete" => vec![
            attempt("DELETE", delete.clone(), format!("{here}/{id}"), Value::Null, ""),
            attempt("batch-delete", post.clone(), format!("{here}/batch-delete"), json!({ "ids": [id] }), ""),
            attempt(
                "transaction that deletes",
                post,
                "/transactions".into(),
                transaction("delete", id, &Value::Null),
                "",
            ),
            attempt("Cocobase change", delete, format!("{here}/documents/{id}"), Value::Null, ""),
            attempt(
                "Cocobase batch",
                Method::POST,
                format!("{here}/batch/documents/delete"),
                json!({ "document_ids": [id] }),
                "",
            ),
        ],
        other => panic!("{other}"),
    }
}

/// Gives a new document a name of which no door knows.
fn named(mut state: State, world: &World) -> State {
    let new: Vec<_> = state.keys().filter(|id| !world.documents.contains_key(*id)).cloned().collect();
    for id in new {
        let data = state.remove(&id).unwrap_or_default();
        state.insert("(new)".to_owned(), data);
    }
    state
}

pub async fn try_doors(app: &TestApp, world: &World, caller: &Caller, row: &Row, cell: &Cell, run: &mut Run) {
    let mut first: Option<State> = None;
    for Attempt { door, method, path, body, data } in attempts(world, row, cell) {
        let told = row.told(caller, door);
        let answer = caller.ask(app, method, &path, body).await;
        let state = state_of(app, world).await;
        let is_done = state != world.documents;
        restore(app, world, &state).await;
        // Several documents that may not be read count as not there, and an empty change changes nothing.
        let found = match reads::status(&answer, !door.starts_with("Cocobase")) {
            200..=299 if is_done => Ok(()),
            200..=299 => Err(404),
            status => Err(status),
        };
        let expected = match cell {
            Cell::Yes(_) => Ok(()),
            Cell::No(status) => Err(*status),
        };
        run.compare(door, &told, &expected, &found);
        run.compare(door, &format!("{told}: is it done"), &expected.is_ok(), &is_done);
        let state = named(state, world);
        if let (Cell::Yes(hidden), Ok(()), false) = (cell, found, data.is_empty()) {
            let stored = state.get(&row.id).or(state.get("(new)")).cloned().unwrap_or_default();
            run.compare(
                door,
                &format!("{told}: its answer"),
                &Some(&without(&stored, hidden)),
                &answer.body.pointer(data),
            );
        }
        if found.is_ok() {
            let first = first.get_or_insert_with(|| state.clone());
            run.compare(door, &format!("{told}: the same as on other doors"), first, &state);
        }
    }
    if row.action == "create" && caller.user.is_none() && caller.params.is_none() {
        let is_done = import(app, caller, row).await;
        let state = state_of(app, world).await;
        restore(app, world, &state).await;
        let told = row.told(caller, "import");
        let expected = (matches!(cell, Cell::Yes(_)), matches!(cell, Cell::Yes(_)));
        run.compare("import", &told, &expected, &(is_done, state != world.documents));
        if let (true, Some(first)) = (is_done, &first) {
            run.compare("import", &format!("{told}: the same"), first, &named(state, world));
        }
    }
    explain(app, caller, row, cell, run).await;
    if row.action == "delete" {
        let answer = caller.get(app, &format!("/collections/{}/{}?access=true", row.set, row.id)).await;
        // It is told of what may be read.
        if answer.status.is_success() {
            let told = row.told(caller, "access");
            let access = &answer.data()["access"]["delete"];
            run.compare("access", &told, &json!(matches!(cell, Cell::Yes(_))), access);
        }
    }
}

/// Imports a file with the document, which takes a key. Returns whether the command says that it is done.
async fn import(app: &TestApp, caller: &Caller, row: &Row) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("one.ndjson");
    std::fs::write(&file, format!("{}\n", row.data)).unwrap();
    let mut command = process::command(&["import", &row.set, file.to_str().unwrap(), "--url", &app.url]);
    command.env("COIR_KEY", &caller.key);
    tokio::task::spawn_blocking(move || command.output().unwrap().status.success()).await.unwrap()
}

/// Asks a server's `explain`, which does not know of the scopes of a key.
async fn explain(app: &TestApp, caller: &Caller, row: &Row, cell: &Cell, run: &mut Run) {
    let Some(who) = caller.explained().filter(|_| caller.name != "reader") else { return };
    let params = caller.params.clone().unwrap_or(json!({}));
    let mut question = json!({ "as": who, "action": row.action, "params": params });
    if !row.id.is_empty() {
        question["id"] = json!(row.id);
    }
    if !row.data.is_null() {
        question["data"] = row.data.clone();
    }
    let answer = app.post(&format!("/collections/{}/explain", row.set), question).await;
    let allowed = answer.data()["allowed"].as_bool().unwrap();
    run.compare("explain a write", &row.told(caller, "explain"), &matches!(cell, Cell::Yes(_)), &allowed);
}
