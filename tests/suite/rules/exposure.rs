//! `GET /exposure` and `coir rules exposure`: what is open.

use reqwest::Method;
use serde_json::{Value, json};

use super::{as_guest, random, set_rules};
use crate::{
    harness::{
        PUBLISHABLE_KEY, SECRET_KEY, TestApp,
        dice::{Dice, seed, setting},
        on_both_databases,
        process::command,
    },
    operations::keys::coir,
    users::sign_up,
};

async fn exposure_of(app: &TestApp, collection: &str) -> Value {
    let answer = app.get("/exposure").await;
    let all = answer.data()["collections"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
    all.iter().find(|one| one["name"] == collection).unwrap_or_else(|| panic!("{answer:?}")).clone()
}

fn reaches(read: &str, create: &str, update: &str, delete: &str) -> Value {
    json!({ "read": read, "create": create, "update": update, "delete": delete })
}

on_both_databases! {
    async fn exposure_says_what_guests_and_users_may_do_at_most(app: &TestApp) {
        for (rules, guest, user, why) in [
            (json!({ "read": true }), reaches("all", "none", "none", "none"), reaches("all", "none", "none", "none"), "public"),
            (
                json!({ "read": "@user", "create": "@user", "update": { "owner": "$user.id" }, "delete": { "$user.roles__array_contains": "editor" } }),
                reaches("none", "none", "none", "none"),
                reaches("all", "all", "some", "some"),
                "users only",
            ),
            (
                json!({ "read": { "code": "$param.code" }, "create": { "$not": { "owner": "$user.id" } }, "update": { "before": true, "only": ["likes"] } }),
                reaches("some", "none", "some", "none"),
                reaches("some", "some", "some", "none"),
                "a parameter may be known, and an opposite without a value is unknown",
            ),
            (
                json!({ "read": true, "create": true, "update": true, "delete": true, "stamp": { "create": { "owner": "$user.id" } }, "fields": { "n": { "write": "create" } } }),
                reaches("all", "none", "some", "all"),
                reaches("all", "all", "some", "all"),
                "a stamp without a value denies, and a field limits changes",
            ),
            (
                json!({ "create": true, "update": true, "delete": true }),
                reaches("none", "all", "none", "none"),
                reaches("none", "all", "none", "none"),
                "what may not be read is not there to be changed",
            ),
            (
                json!({ "read": { "team__notin": { "$from": "members", "select": "team", "where": { "user": "$user.id" } } } }),
                reaches("none", "none", "none", "none"),
                reaches("some", "none", "none", "none"),
                "a set that is not certain excludes everything",
            ),
        ] {
            app.post("/collections", json!({ "name": "members" })).await;
            set_rules(app, "posts", rules.clone()).await;
            let exposure = exposure_of(app, "posts").await;
            assert_eq!(exposure["declared"], true);
            assert_eq!((&exposure["guest"], &exposure["user"], &exposure["key"]), (&guest, &user, &guest), "{why}: {rules}");
        }
        let fields = json!({ "a": { "read": true }, "b": { "read": "@user" }, "c": { "read": false }, "d": { "write": false } });
        set_rules(app, "posts", json!({ "read": true, "fields": fields })).await;
        assert_eq!(exposure_of(app, "posts").await["hidden"], json!(["b", "c"]));
        let open = reaches("all", "all", "all", "all");
        assert_eq!(exposure_of(app, "_users").await, json!({
            "name": "_users", "declared": true, "guest": reaches("none", "none", "none", "none"),
            "user": reaches("some", "none", "some", "none"), "key": reaches("none", "none", "none", "none"), "hidden": [],
        }));
        assert_eq!(exposure_of(app, "members").await, json!({
            "name": "members", "declared": false, "guest": open, "user": open, "key": open, "hidden": [],
        }));
        let first = app.get("/exposure?limit=1").await;
        assert_eq!(first.data()["collections"][0]["name"], "_users");
        let next = first.body["nextCursor"].as_str().unwrap();
        let first = app.get(&format!("/exposure?limit=1&after={next}")).await;
        assert_eq!(first.data()["collections"][0]["name"], "members");
        let next = first.body["nextCursor"].as_str().unwrap();
        let second = app.get(&format!("/exposure?limit=1&after={next}")).await;
        assert_eq!((&second.data()["collections"][0]["name"], &second.body["nextCursor"]), (&json!("posts"), &Value::Null));
        assert_eq!(as_guest(app, Method::GET, "/exposure", Value::Null).await.error(), (403, "FORBIDDEN"));
    }

    async fn exposure_knows_the_scopes_of_keys_and_closed_projects(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let (open, nothing) = (reaches("all", "all", "all", "all"), reaches("none", "none", "none", "none"));
        assert_eq!(exposure_of(app, "posts").await["guest"], open);
        coir(app, &["keys", "create", "publishable", "--scope", "documents:read"]).await;
        coir(app, &["keys", "revoke", PUBLISHABLE_KEY]).await;
        let exposure = exposure_of(app, "posts").await;
        let statement = (&exposure["guest"], &exposure["user"], &exposure["key"]);
        assert_eq!(statement, (&reaches("all", "none", "none", "none"), &open, &open));
        app.patch("/settings", json!({ "open": false })).await;
        let exposure = exposure_of(app, "posts").await;
        assert_eq!((&exposure["guest"], &exposure["user"], &exposure["key"]), (&nothing, &nothing, &nothing));
    }

    async fn the_command_fails_for_an_open_collection_without_rules(app: &TestApp) {
        set_rules(app, "posts", json!({ "read": true })).await;
        let run = async |arguments: &[&str]| {
            let mut command = command(&[&["rules", "exposure"], arguments].concat());
            command.env("COIR_URL", &app.url).env("COIR_KEY", SECRET_KEY);
            let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            (output.status.success(), text(&output.stdout[..]), text(&output.stderr[..]))
        };
        let (is_good, printed, _) = run(&["--check"]).await;
        assert!(is_good && printed.contains("posts"), "{printed}");
        app.post("/collections", json!({ "name": "drafts" })).await;
        let (is_good, _, told) = run(&["--check"]).await;
        assert!(!is_good && told.contains("drafts") && !told.contains("posts,"), "{told}");
        assert!(run(&[]).await.0);
        assert!(run(&["--check", "--allow", "drafts"]).await.0);
        let (is_good, _, told) = run(&["--check", "--allow", "draft"]).await;
        assert!(!is_good && told.contains("no such collection"), "{told}");
    }

    /// `COIR_TEST_EXPOSURE_RULES` asks for more rule sets than this.
    async fn guests_and_users_find_nothing_beyond_the_exposure(app: &TestApp) {
        let mut dice = Dice::new(seed("exposure"));
        let ada = sign_up(app, "ada@example.com").await;
        app.patch(&format!("/users/{}", ada.id), json!({ "roles": ["editor"], "profile": { "level": 2 } })).await;
        app.put("/collections/members/m", json!({ "user": ada.id, "team": "red" })).await;
        let owners = [ada.id.clone(), "other".to_owned()];
        for _ in 0..setting("COIR_TEST_EXPOSURE_RULES", 12) {
            let rules = random::rules(&mut dice);
            set_rules(app, "posts", rules.clone()).await;
            let exposure = exposure_of(app, "posts").await;
            for (who, token) in [("guest", PUBLISHABLE_KEY), ("user", ada.access.as_str())] {
                let data = random::data(&mut dice, &owners);
                for door in doors(&mut dice, &owners) {
                    app.put("/collections/posts/p", data.clone()).await;
                    app.put("/collections/links/l", json!({ "post_id": "p" })).await;
                    let may = door.open(app, token).await;
                    let stated = exposure[who][door.action].as_str().unwrap();
                    let told = format!("{who} {} {}: {stated} {data} {rules}", door.method, door.path);
                    assert!(!may || stated != "none", "{told}");
                    assert!(may || stated != "all", "{told}");
                }
            }
        }
    }
}

/// A request that does something if it is allowed.
struct Door {
    action: &'static str,
    method: Method,
    path: &'static str,
    body: Value,
}

fn doors(dice: &mut Dice, owners: &[String]) -> Vec<Door> {
    let (data, patch) = (random::data(dice, owners), random::patch(dice, owners));
    let step = |step: Value| json!({ "operations": [step] });
    let door = |action, method, path, body| Door { action, method, path, body };
    vec![
        door("read", Method::GET, "/collections/posts", Value::Null),
        door("read", Method::GET, "/collections/posts/p", Value::Null),
        door("read", Method::POST, "/collections/posts/query", json!({})),
        door("read", Method::GET, "/collections/posts/query/count", Value::Null),
        door("read", Method::GET, "/collections/posts/query/group-by?field=id", Value::Null),
        door(
            "read",
            Method::GET,
            "/collections/posts/query/aggregate?operation=max&field=createdAt",
            Value::Null,
        ),
        door("read", Method::GET, "/collections/posts/export?format=json", Value::Null),
        door("read", Method::GET, "/collections/posts/documents", Value::Null),
        door("read", Method::GET, "/collections/posts/documents/p", Value::Null),
        door("read", Method::GET, "/collections/links/l?populate=post:posts", Value::Null),
        door("create", Method::POST, "/collections/posts", data.clone()),
        door("create", Method::PUT, "/collections/posts/new", data.clone()),
        door("create", Method::POST, "/collections/posts/batch", json!({ "documents": [data] })),
        door("create", Method::POST, "/collections/posts/documents", json!({ "data": data })),
        door(
            "create",
            Method::POST,
            "/transactions",
            step(json!({ "op": "create", "collection": "posts", "data": data })),
        ),
        door("update", Method::PATCH, "/collections/posts/p", patch.clone()),
        door("update", Method::PATCH, "/collections/posts/p", json!({})),
        door("update", Method::PUT, "/collections/posts/p", data.clone()),
        door("update", Method::PATCH, "/collections/posts/documents/p", json!({ "n": 3 })),
        door(
            "update",
            Method::POST,
            "/transactions",
            step(json!({ "op": "update", "collection": "posts", "id": "p", "data": { "n": 1 } })),
        ),
        door("delete", Method::DELETE, "/collections/posts/p", Value::Null),
        door("delete", Method::DELETE, "/collections/posts/documents/p", Value::Null),
        door(
            "delete",
            Method::POST,
            "/transactions",
            step(json!({ "op": "delete", "collection": "posts", "id": "p" })),
        ),
        door("delete", Method::POST, "/collections/posts/batch-delete", json!({ "ids": ["p"] })),
    ]
}

impl Door {
    /// Sends the request, and returns whether it did or showed something.
    async fn open(&self, app: &TestApp, token: &str) -> bool {
        let mut request = app.request_as(token, self.method.clone(), self.path);
        if !self.body.is_null() {
            request = request.json(&self.body);
        }
        let answer = request
            .header("X-Coir-Params", json!({ "code": random::CODE }).to_string())
            .send()
            .await
            .unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        app.delete("/collections/posts/new").await;
        assert!(
            [200, 201, 401, 403, 404].contains(&status.as_u16()),
            "{} {}: {status} {text}",
            self.method,
            self.path
        );
        if !status.is_success() {
            return false;
        }
        match self.action {
            "delete" => app.get("/collections/posts/p").await.status == 404,
            "read" => {
                let answer: Value = serde_json::from_str(&text).unwrap();
                let shown = answer.get("data").unwrap_or(&answer);
                match shown {
                    _ if self.path.contains("populate") => !shown["data"]["post"].is_null(),
                    _ if self.path.contains("aggregate") => !shown["result"].is_null(),
                    _ if self.path.contains("count") => shown["count"] != 0,
                    Value::Array(documents) => !documents.is_empty(),
                    document => document.is_object(),
                }
            }
            _ => true,
        }
    }
}
