//! The doors that answer what a caller may read now.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};

use super::{Caller, Cell, Run, World, without};
use crate::harness::{Answer, TestApp};

/// The documents that a caller sees, or the status of the refusal.
pub type View = Result<BTreeMap<String, Value>, u16>;

/// Returns the data of documents by id.
pub fn documents(list: &Value) -> BTreeMap<String, Value> {
    let list = list.as_array().unwrap_or_else(|| panic!("{list}"));
    list.iter()
        .map(|document| (document["id"].as_str().unwrap().to_owned(), document["data"].clone()))
        .collect()
}

/// Returns what the cells of a caller say about a whole collection.
pub fn expected(world: &World, cells: &BTreeMap<String, Cell>) -> View {
    if cells.values().all(|cell| *cell == Cell::No(403)) {
        return Err(403);
    }
    let seen = cells.iter().filter_map(|(id, cell)| match cell {
        Cell::Yes(hidden) => Some((id.clone(), without(&world.documents[id], hidden))),
        Cell::No(_) => None,
    });
    Ok(seen.collect())
}

/// The client libraries' door tells a guest 401 where the documented one tells 403.
pub fn status(answer: &Answer, is_documented: bool) -> u16 {
    match answer.status.as_u16() {
        401 if !is_documented => 403,
        status => status,
    }
}

fn view(answer: &Answer, list: &Value, is_documented: bool) -> View {
    if answer.status.is_success() { Ok(documents(list)) } else { Err(status(answer, is_documented)) }
}

pub async fn try_doors(
    app: &TestApp,
    world: &World,
    caller: &Caller,
    cells: &BTreeMap<String, Cell>,
    run: &mut Run,
) {
    let set = &world.set;
    let expected = expected(world, cells);
    let told = |door: &str| format!("{set} | read | {} | {door}", caller.name);
    let ids = expected.clone().map(|seen| seen.into_keys().collect::<BTreeSet<_>>());

    let list = caller.get(app, &format!("/collections/{set}?limit=100")).await;
    run.compare("list", &told("list"), &expected, &view(&list, &list.body["data"], true));
    let list = caller.ask(app, Method::POST, &format!("/collections/{set}/query"), Some(json!({}))).await;
    run.compare("list by POST", &told("list by POST"), &expected, &view(&list, &list.body["data"], true));
    let fields: BTreeSet<_> =
        world.documents.values().flat_map(|data| data.as_object().unwrap().keys()).collect();
    let select = fields.iter().map(|field| field.as_str()).collect::<Vec<_>>().join(",");
    let list = caller.get(app, &format!("/collections/{set}?select={select}")).await;
    run.compare("select", &told("select"), &expected, &view(&list, &list.body["data"], true));
    let list = caller.get(app, &format!("/collections/{set}/documents?limit=100")).await;
    run.compare("Cocobase list", &told("Cocobase list"), &expected, &view(&list, &list.body, false));
    run.compare("export", &told("export"), &expected, &export(app, set, caller).await);

    // To whom nothing is shown, joins show nothing.
    let links = caller.get(app, &format!("/collections/links_{set}?populate=target:{set}")).await;
    let joined = documents(links.data()).into_values().filter(|data| !data["target"].is_null());
    let joined = joined
        .map(|data| (data["target"]["id"].as_str().unwrap().to_owned(), data["target"]["data"].clone()));
    let shown = expected.clone().unwrap_or_default();
    run.compare("populate", &told("populate"), &shown, &joined.collect());

    for (door, path, is_documented) in [
        ("group-by", format!("/collections/{set}/query/group-by?field=name"), true),
        ("Cocobase group-by", format!("/collections/{set}/query/documents/group-by?field=name"), false),
    ] {
        let answer = caller.get(app, &path).await;
        let groups = if is_documented { &answer.body["data"] } else { &answer.body };
        let found = if answer.status.is_success() {
            Ok(groups
                .as_array()
                .unwrap()
                .iter()
                .map(|group| group["value"].as_str().unwrap().to_owned())
                .collect())
        } else {
            Err(status(&answer, is_documented))
        };
        run.compare(door, &told(door), &ids, &found);
    }
    for (id, cell) in cells {
        of_one(app, world, caller, (id, cell), (&ids, cells), run).await;
    }
}

async fn export(app: &TestApp, set: &str, caller: &Caller) -> View {
    let request = caller.request(app, Method::GET, &format!("/collections/{set}/export?format=ndjson"));
    let response = request.send().await.unwrap();
    if !response.status().is_success() {
        return Err(response.status().as_u16());
    }
    let text = response.text().await.unwrap();
    Ok(documents(&text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect()))
}

/// The doors that are asked about each document.
async fn of_one(
    app: &TestApp,
    world: &World,
    caller: &Caller,
    (id, cell): (&String, &Cell),
    (ids, cells): (&Result<BTreeSet<String>, u16>, &BTreeMap<String, Cell>),
    run: &mut Run,
) {
    let set = &world.set;
    let told = |door: &str| format!("{set} | read {id} | {} | {door}", caller.name);
    let expected = match cell {
        Cell::Yes(hidden) => Ok(without(&world.documents[id], hidden)),
        Cell::No(status) => Err(*status),
    };
    let found = |answer: &Answer, data: &Value, is_documented| {
        if answer.status.is_success() { Ok(data.clone()) } else { Err(status(answer, is_documented)) }
    };
    let get = caller.get(app, &format!("/collections/{set}/{id}")).await;
    run.compare("get", &told("get"), &expected, &found(&get, &get.body["data"]["data"], true));
    let get = caller.get(app, &format!("/collections/{set}/documents/{id}")).await;
    run.compare("Cocobase get", &told("Cocobase get"), &expected, &found(&get, &get.body["data"], false));

    let count = ids.clone().map(|_| json!(usize::from(expected.is_ok())));
    for (door, path, pointer, is_documented) in [
        ("count", format!("query/count?name={id}"), "/data/count", true),
        ("aggregate", format!("query/aggregate?operation=count&field=name&name={id}"), "/data/result", true),
        ("Cocobase count", format!("query/documents/count?name={id}"), "/count", false),
    ] {
        let answer = caller.get(app, &format!("/collections/{set}/{path}")).await;
        let counted = answer.body.pointer(pointer).cloned().unwrap_or_default();
        run.compare(door, &told(door), &count, &found(&answer, &counted, is_documented));
    }
    let masked = world.rules["fields"].as_object().into_iter().flatten();
    for (field, _) in masked.filter(|(_, rule)| rule.get("read").is_some()) {
        let shows = |cell: &Cell| matches!(cell, Cell::Yes(hidden) if !hidden.contains(field));
        // Whom no document shows the field is told so.
        let expected = if cells.values().any(shows) { Ok(json!(usize::from(shows(cell)))) } else { Err(403) };
        let answer =
            caller.get(app, &format!("/collections/{set}/query/count?name={id}&{field}__isnull=false")).await;
        let door = told(&format!("filter by {field}"));
        run.compare("filter", &door, &expected, &found(&answer, &answer.body["data"]["count"], true));
    }
    if let Some(who) = caller.explained() {
        let params = caller.params.clone().unwrap_or(json!({}));
        let question = json!({ "as": who, "action": "read", "id": id, "params": params });
        let answer = app.post(&format!("/collections/{set}/explain"), question).await;
        let data = answer.data();
        let mut fields: Vec<_> = match cell {
            Cell::Yes(_) => data["fields"]
                .as_array()
                .unwrap()
                .iter()
                .map(|field| field.as_str().unwrap().to_owned())
                .collect(),
            Cell::No(_) => Vec::new(),
        };
        let mut hidden = match cell {
            Cell::Yes(hidden) => hidden.clone(),
            Cell::No(_) => Vec::new(),
        };
        fields.sort_unstable();
        hidden.sort_unstable();
        let found = (data["allowed"].as_bool().unwrap(), fields);
        run.compare("explain a read", &told("explain"), &(expected.is_ok(), hidden), &found);
    }
}
