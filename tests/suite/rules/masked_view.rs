//! The law of masks on all doors that read: the answer to a masked caller is the answer over documents from which the fields were
//! taken away by hand.

use reqwest::Method;
use serde_json::{Value, json};

use super::{as_user, set_rules};
use crate::{
    harness::{
        Dice, TestApp, TestStream,
        dice::{seed, setting},
        on_both_databases,
    },
    users::{
        Signed, sign_up,
        streams::{socket, sse},
    },
};

const DOCUMENTS: usize = 24;
const FIELDS: [&str; 10] =
    ["kind", "owner", "level", "phone", "pay", "home", "home.city", "home.door", "tags", ODD];
/// A name that SQL and JSON have to escape.
const ODD: &str = r#"o'd"d{}"#;
/// Nobody but servers reads it.
const HIDDEN: &str = "score";

/// Returns a random document. `owner` is who may read most of it.
fn document(dice: &mut Dice, owner: &str) -> Value {
    let any = |dice: &mut Dice, values: &[Value]| values[dice.under(values.len())].clone();
    let mut data = json!({
        "kind": any(dice, &[json!("a"), json!("b"), json!(1)]),
        "owner": if dice.under(2) == 0 { owner } else { "bob" },
        "level": dice.under(4),
    });
    for (name, values) in [
        ("phone", vec![json!("5"), json!("6"), json!(5), json!(null)]),
        ("pay", vec![json!(1), json!(2.5), json!("x"), json!([1, 2]), json!({ "a": 1 })]),
        ("score", vec![json!(1), json!(2)]),
        (ODD, vec![json!("x"), json!(1)]),
        ("tags", vec![json!(["x"]), json!(["x", "y"]), json!([])]),
        (
            "home",
            vec![
                json!({ "city": "X", "door": 1 }),
                json!({ "city": "Y", "door": { "n": 2 } }),
                json!({ "door": 1 }),
                json!("X"),
                json!([1]),
            ],
        ),
    ] {
        if dice.under(4) > 0 {
            data[name] = any(dice, &values);
        }
    }
    data
}

fn rules() -> Value {
    json!({
        "let": { "mine": { "owner": "$user.id" } },
        "read": { "level__lt": 3 }, "create": true, "update": true, "delete": true,
        "fields": {
            "phone": { "read": "@mine" },
            "pay": { "read": { "$or": ["@mine", { "level__gte": 2 }] } },
            "home.door": { "read": { "kind": "a" } },
            "tags": { "read": { "team__in": { "$from": "members", "select": "team", "where": { "user": "$user.id" } } } },
            "score": { "read": false },
            (ODD): { "read": { "kind__in": ["a", 1] } },
        },
    })
}

/// Returns what the user sees of a document, by the rules above.
fn seen(data: &Value, user: &str) -> Value {
    let mut seen = data.as_object().unwrap().clone();
    let is_mine = data["owner"] == user;
    for (name, is_shown) in [
        ("phone", is_mine),
        ("pay", is_mine || data["level"].as_u64().unwrap() >= 2),
        ("tags", data["team"] == "red"),
        ("score", false),
        (ODD, data["kind"] != "b"),
    ] {
        if !is_shown {
            seen.remove(name);
        }
    }
    if data["kind"] != "a"
        && let Some(home) = seen.get_mut("home").and_then(Value::as_object_mut)
    {
        home.remove("door");
    }
    Value::Object(seen)
}

/// Returns a random filter.
fn filter(dice: &mut Dice) -> Value {
    if dice.under(4) == 0 {
        let inner = [filter(dice), filter(dice)];
        return match dice.under(3) {
            0 => json!({ "$and": inner }),
            1 => json!({ "$or": inner }),
            _ => json!({ "$not": inner[0] }),
        };
    }
    let field = if dice.under(30) == 0 { HIDDEN } else { FIELDS[dice.under(FIELDS.len())] };
    let values = [
        json!("5"),
        json!("a"),
        json!("x"),
        json!("X"),
        json!(1),
        json!(2),
        json!(2.5),
        json!(null),
        json!([1, 2]),
        json!({ "a": 1 }),
        json!({ "city": "X" }),
        json!({ "city": "X", "door": 1 }),
        json!({}),
    ];
    let value = values[dice.under(values.len())].clone();
    let (ending, value) = match dice.under(9) {
        0 => ("__ne", value),
        1 => ("__in", json!([value, values[dice.under(values.len())]])),
        2 => ("__notin", json!([value, values[dice.under(values.len())]])),
        3 => ("__gt", json!(dice.under(3))),
        4 => ("__lte", json!("5")),
        5 => ("__contains", json!("x")),
        6 => ("__array_contains", json!("x")),
        7 => ("__isnull", json!(dice.under(2) == 0)),
        _ => ("", value),
    };
    json!({ format!("{field}{ending}"): value })
}

/// A request, without the collection.
struct Asked {
    method: Method,
    path: String,
    body: Value,
}

fn asked(dice: &mut Dice) -> Asked {
    let field = |dice: &mut Dice| if dice.under(40) == 0 { HIDDEN } else { FIELDS[dice.under(FIELDS.len())] };
    let filters = filter(dice);
    let text = filters.to_string();
    let in_url = |rest: String| {
        let text = url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        format!("{rest}filters={text}")
    };
    let (method, path, body) = match dice.under(6) {
        0 => (Method::GET, in_url("/query/count?".to_owned()), Value::Null),
        1 => {
            let operation = ["count", "sum", "avg", "min", "max"][dice.under(5)];
            (
                Method::GET,
                in_url(format!("/query/aggregate?operation={operation}&field={}&", field(dice))),
                Value::Null,
            )
        }
        2 => {
            let of = match dice.under(2) {
                0 => String::new(),
                _ => format!("&operation={}&of={}", ["sum", "max", "count"][dice.under(3)], field(dice)),
            };
            (Method::GET, in_url(format!("/query/group-by?field={}{of}&", field(dice))), Value::Null)
        }
        3 => {
            let format = ["ndjson", "csv"][dice.under(2)];
            (Method::GET, in_url(format!("/export?format={format}&orderBy={},id&", field(dice))), Value::Null)
        }
        _ => {
            let sign = ["", "-"][dice.under(2)];
            let mut body = json!({ "filters": filters, "orderBy": [format!("{sign}{}", field(dice)), "id"], "limit": 1 + dice.under(9) });
            if dice.under(4) == 0 {
                body["select"] = json!([field(dice), field(dice)]);
            }
            (Method::POST, "/query".to_owned(), body)
        }
    };
    Asked { method, path, body }
}

/// Asks the same of a collection, page by page, and returns all that is told of documents.
async fn ask_all(
    app: &TestApp,
    user: &Signed,
    collection: &str,
    asked: &Asked,
) -> Result<Vec<Value>, (u16, String)> {
    let path = format!("/collections/{collection}{}", asked.path);
    if asked.path.starts_with("/export") {
        let answer = app.request_as(&user.access, Method::GET, &path).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        if status != 200 {
            return Err((status, text));
        }
        return Ok(text.lines().map(of_line).collect());
    }
    let (mut all, mut body) = (Vec::new(), asked.body.clone());
    loop {
        let answer = as_user(app, user, asked.method.clone(), &path, body.clone()).await;
        if answer.status != 200 {
            return Err((answer.status.as_u16(), answer.body["error"]["message"].to_string()));
        }
        match answer.data() {
            Value::Array(found) => all.extend(found.iter().map(without_times)),
            one => all.push(one.clone()),
        }
        match &answer.body["nextCursor"] {
            Value::String(next) => body["after"] = json!(next),
            _ => return Ok(all),
        }
    }
}

fn of_line(line: &str) -> Value {
    match serde_json::from_str::<Value>(line) {
        Ok(document @ Value::Object(_)) => without_times(&document),
        // The times are the second and the third column of CSV.
        _ => json!(
            line.split(',')
                .enumerate()
                .filter(|(column, _)| ![1, 2].contains(column))
                .map(|(_, text)| text)
                .collect::<Vec<_>>()
        ),
    }
}

fn without_times(document: &Value) -> Value {
    let mut rest = document.clone();
    if let Value::Object(members) = &mut rest {
        members
            .retain(|name, _| !["createdAt", "updatedAt", "version", "collection"].contains(&name.as_str()));
    }
    rest
}

on_both_databases! {
    async fn every_answer_is_that_over_stripped_documents(app: &TestApp) {
        let mut dice = Dice::new(seed("every_answer_is_that_over_stripped_documents"));
        let ada = sign_up(app, "ada@example.com").await;
        app.put("/collections/members/m", json!({ "team": "red", "user": ada.id })).await;
        set_rules(app, "masked", rules()).await;
        set_rules(app, "plain", json!({ "read": { "level__lt": 3 } })).await;
        for place in 0..DOCUMENTS {
            let mut data = document(&mut dice, &ada.id);
            if dice.under(2) == 0 {
                data["team"] = json!(["red", "blue"][dice.under(2)]);
            }
            let id = format!("d{place:02}");
            assert_eq!(app.put(&format!("/collections/masked/{id}"), data.clone()).await.status, 201);
            assert_eq!(app.put(&format!("/collections/plain/{id}"), seen(&data, &ada.id)).await.status, 201);
        }
        let (mut refused, mut compared) = (0, 0);
        for _ in 0..setting("COIR_TEST_MASKED_REQUESTS", 300) {
            let asked = asked(&mut dice);
            let masked = ask_all(app, &ada, "masked", &asked).await;
            let plain = ask_all(app, &ada, "plain", &asked).await;
            match masked {
                Err((403, message)) => {
                    refused += 1;
                    assert!(message.contains("`score`"), "{} {}: {message}", asked.path, asked.body);
                    assert!(format!("{} {}", asked.path, asked.body).contains(HIDDEN));
                }
                masked => {
                    compared += 1;
                    assert_eq!(masked, plain, "{} {}", asked.path, asked.body);
                }
            }
        }
        assert!(refused > 0 && compared > refused, "{refused} refused, {compared} compared");
    }

    async fn every_stream_shows_what_one_of_stripped_documents_shows(app: &TestApp) {
        let mut dice = Dice::new(seed("every_stream_shows_what_one_of_stripped_documents_shows"));
        let ada = sign_up(app, "ada@example.com").await;
        app.put("/collections/members/m", json!({ "team": "red", "user": ada.id })).await;
        set_rules(app, "masked", rules()).await;
        set_rules(app, "plain", json!({ "read": { "level__lt": 3 } })).await;
        set_rules(app, "ends", json!({ "read": true })).await;
        let mut sockets = Vec::new();
        for _ in 0..setting("COIR_TEST_MASKED_STREAMS", 12) {
            let filters = loop {
                let filters = filter(&mut dice);
                if !filters.to_string().contains(HIDDEN) {
                    break filters;
                }
            };
            let mut both = Vec::new();
            for collection in ["masked", "plain"] {
                let mut socket = socket(app, &ada.access).await;
                socket.subscribe(collection, filters.clone()).await;
                socket.subscribe("ends", json!({})).await;
                both.push(socket);
            }
            sockets.push((filters, both));
        }
        let mut streams = Vec::new();
        for collection in ["masked", "plain"] {
            let mut stream = TestStream::open(sse(app, &ada.access, collection)).await;
            stream.opened().await;
            streams.push(stream);
        }
        for _ in 0..setting("COIR_TEST_MASKED_CHANGES", 60) {
            let id = format!("d{}", dice.under(6));
            let mut data = document(&mut dice, &ada.id);
            if dice.under(2) == 0 {
                data["team"] = json!(["red", "blue"][dice.under(2)]);
            }
            let before = app.get(&format!("/collections/masked/{id}")).await;
            // A change of what is hidden only is none of the stripped document.
            let is_seen = before.status != 200
                || seen(&before.data()["data"], &ada.id) != seen(&data, &ada.id)
                || before.data()["data"] == data;
            app.put(&format!("/collections/masked/{id}"), data.clone()).await;
            if is_seen {
                app.put(&format!("/collections/plain/{id}"), seen(&data, &ada.id)).await;
            }
        }
        for collection in ["masked", "plain"] {
            app.put(&format!("/collections/{collection}/last"), json!({ "level": 0, "kind": "a", "home": { "door": 1 } })).await;
            app.delete(&format!("/collections/{collection}/last")).await;
        }
        app.put("/collections/ends/end", json!({})).await;
        let told = |event: &Value| json!([event["event"], event["document"]["id"], event["document"]["data"]]);
        let mut shown = [Vec::new(), Vec::new()];
        for (events, stream) in shown.iter_mut().zip(&mut streams) {
            loop {
                let event = stream.next_event().await.json();
                events.push(told(&event));
                if event["document"]["id"] == "last" && event["event"] == "deleted" {
                    break;
                }
            }
        }
        assert_eq!(shown[0], shown[1]);
        for (filters, both) in &mut sockets {
            let mut shown = [Vec::new(), Vec::new()];
            for (events, socket) in shown.iter_mut().zip(both) {
                loop {
                    let message = socket.next().await;
                    if message["document"]["id"] == "end" {
                        break;
                    }
                    events.push(told(&message));
                }
            }
            assert_eq!(shown[0], shown[1], "{filters}");
        }
    }
}
