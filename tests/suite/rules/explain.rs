//! `POST /collections/{collection}/explain`: the decision of the rules about somebody else's request.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{as_guest, as_user, random, set_rules};
use crate::{
    harness::{
        Answer, PUBLISHABLE_KEY, TestApp,
        dice::{Dice, seed, setting},
        on_both_databases,
    },
    users::{Signed, sign_up},
};

async fn explain(app: &TestApp, collection: &str, question: Value) -> Answer {
    app.post(&format!("/collections/{collection}/explain"), question).await
}

/// Asks, and returns whether it is allowed and by which clause.
async fn verdict(app: &TestApp, question: Value) -> (bool, Value) {
    let answer = explain(app, "posts", question.clone()).await;
    assert_eq!(answer.status, 200, "{question}: {answer:?}");
    let data = answer.data();
    (data["allowed"].as_bool().unwrap(), data["clause"].clone())
}

on_both_databases! {
    async fn explain_names_the_clause_that_decides(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let rules = json!({
            "let": { "own": { "owner": "$user.id" } },
            "read": { "$or": [{ "public": true }, "@own"] },
            "create": "@user",
            "update": [
                { "before": "@own", "unchanged": ["team"] },
                { "before": "@user", "only": ["likes"] },
                { "before": { "$user.roles__array_contains": "editor" } },
            ],
            "fields": { "rank": { "write": false } },
            "stamp": { "create": { "owner": "$user.id", "badge": "$user.profile.badge" } },
        });
        set_rules(app, "posts", rules).await;
        app.put("/collections/posts/p", json!({ "owner": ada.id, "public": true, "team": 1 })).await;
        app.put("/collections/posts/hidden", json!({ "owner": bob.id })).await;
        app.patch(&format!("/users/{}", bob.id), json!({ "profile": { "badge": "b" } })).await;
        let (as_ada, as_bob, guest) = (json!({ "user": ada.id }), json!({ "user": bob.id }), json!({ "guest": true }));
        let ask = async |who: &Value, action: &str, rest: Value| {
            let mut question = json!({ "as": who, "action": action });
            question.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            verdict(app, question).await
        };
        for (who, action, rest, allowed, clause, why) in [
            (&guest, "read", json!({}), true, "rules.read", "some documents are public"),
            (&guest, "read", json!({ "id": "hidden" }), false, "rules.read", "a hidden document"),
            (&as_bob, "read", json!({ "id": "hidden" }), true, "rules.read", "its owner"),
            (&guest, "read", json!({ "data": { "public": true } }), true, "rules.read", "an imagined document"),
            (&guest, "create", json!({ "data": {} }), false, "rules.stamp.create.badge", "a stamp without a value"),
            (&as_ada, "create", json!({ "data": {} }), false, "rules.stamp.create.badge", "the profile lacks it"),
            (&as_bob, "create", json!({ "data": {} }), true, "rules.create", "a user"),
            (&as_bob, "create", json!({ "id": "new", "data": { "rank": 1 } }), false, "rules.fields.rank.write", "a field"),
            (&as_ada, "update", json!({ "id": "p", "data": { "title": "x" } }), true, "rules.update[0]", "the owner"),
            (&as_ada, "update", json!({ "id": "p", "data": { "team": 2 } }), false, "rules.update[1].only", "the nearest alternative"),
            (&as_bob, "update", json!({ "id": "p", "data": { "$inc": { "likes": 1 } } }), true, "rules.update[1]", "likes"),
            (&guest, "update", json!({ "id": "p", "data": { "likes": 1 } }), false, "rules.update[0].before", "a guest"),
            (&as_ada, "update", json!({ "id": "hidden", "data": {} }), false, "rules.read", "what may not be read is not there"),
            (&as_ada, "delete", json!({ "id": "p" }), false, "rules.delete", "no rule about it"),
            (&as_ada, "delete", json!({ "data": { "owner": ada.id } }), false, "rules.delete", "an imagined document"),
        ] {
            assert_eq!(ask(who, action, rest.clone()).await, (allowed, json!(clause)), "{why}: {action} {rest}");
        }
        // Nothing was written.
        assert_eq!(app.get("/collections/posts/query/count").await.data()["count"], 2);
        assert_eq!(app.get("/collections/posts/p").await.data()["version"], 1);
    }

    async fn explain_shows_the_values_of_the_clause_and_no_secret(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let rules = json!({
            "read": { "owner": "$user.id", "code": "$param.code", "hash": "$paramHash.code" },
            "create": { "$user.roles__array_contains": "editor" },
            "update": { "before": { "until__gt": "$now" } },
        });
        set_rules(app, "posts", rules).await;
        let question = json!({ "as": { "user": ada.id }, "action": "read", "params": { "code": "abc", "other": 1 } });
        let answer = explain(app, "posts", question).await;
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let values = json!({ "$user.id": ada.id, "$param.code": "(sent)", "$paramHash.code": hash });
        assert_eq!(answer.data()["values"], values);
        assert_eq!(answer.data()["fields"], json!([]));
        assert_eq!(answer.header("cache-control"), "no-store");
        let answer = explain(app, "posts", json!({ "as": { "guest": true }, "action": "read" })).await;
        assert_eq!(answer.data()["values"], json!({ "$user.id": null, "$param.code": null, "$paramHash.code": null }));
        let create = json!({ "as": { "user": ada.id }, "action": "create", "data": {} });
        assert_eq!(explain(app, "posts", create.clone()).await.data()["values"], json!({ "$user.roles": [] }));
        app.patch(&format!("/users/{}", ada.id), json!({ "roles": ["editor"] })).await;
        let answer = explain(app, "posts", create).await;
        assert_eq!((&answer.data()["allowed"], &answer.data()["values"]), (&json!(true), &json!({ "$user.roles": ["editor"] })));
    }

    async fn explain_names_the_fields_that_are_hidden(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let rules = json!({
            "read": true, "create": true, "update": true, "delete": true,
            "fields": { "phone": { "read": { "owner": "$user.id" } }, "secret": { "read": false } },
        });
        set_rules(app, "posts", rules).await;
        app.put("/collections/posts/p", json!({ "owner": ada.id, "phone": 1, "secret": 2 })).await;
        for (question, fields, why) in [
            (json!({ "as": { "guest": true }, "action": "read" }), json!(["phone", "secret"]), "in some documents"),
            (json!({ "as": { "guest": true }, "action": "read", "id": "p" }), json!(["phone", "secret"]), "a guest"),
            (json!({ "as": { "user": ada.id }, "action": "read", "id": "p" }), json!(["secret"]), "the owner"),
            (json!({ "as": { "user": ada.id }, "action": "update", "id": "p", "data": {} }), json!(["secret"]), "a change"),
            (json!({ "as": { "user": ada.id }, "action": "create", "data": {} }), json!(["phone", "secret"]), "another document"),
        ] {
            let answer = explain(app, "posts", question.clone()).await;
            assert_eq!((&answer.data()["allowed"], &answer.data()["fields"]), (&json!(true), &fields), "{why}: {question}");
        }
    }

    async fn explain_refuses_what_it_can_not_answer(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        set_rules(app, "posts", json!({ "read": true, "create": true, "update": true })).await;
        app.put("/collections/posts/p", json!({ "n": 1 })).await;
        app.patch("/collections/posts/settings", json!({ "schema": { "properties": { "n": { "type": "number" } } } })).await;
        let guest = json!({ "guest": true });
        for (question, status, code, why) in [
            (json!({ "as": {}, "action": "read" }), 400, "INVALID_BODY", "nobody"),
            (json!({ "as": { "guest": true, "user": ada.id }, "action": "read" }), 400, "INVALID_BODY", "two"),
            (json!({ "as": { "user": "nobody" }, "action": "read" }), 400, "INVALID_BODY", "an unknown user"),
            (json!({ "as": guest, "action": "list" }), 400, "INVALID_BODY", "no action"),
            (json!({ "as": guest, "action": "update", "id": "p" }), 400, "INVALID_BODY", "no data"),
            (json!({ "as": guest, "action": "read", "id": "p", "data": {} }), 400, "INVALID_BODY", "two documents"),
            (json!({ "as": guest, "action": "read", "params": 1 }), 400, "INVALID_BODY", "parameters are an object"),
            (json!({ "as": guest, "action": "read", "more": 1 }), 400, "INVALID_BODY", "an unknown member"),
            (json!({ "as": guest, "action": "read", "id": "none" }), 404, "DOCUMENT_NOT_FOUND", "no such document"),
            (json!({ "as": guest, "action": "update", "id": "none", "data": {} }), 404, "DOCUMENT_NOT_FOUND", "no such document"),
            (json!({ "as": guest, "action": "create", "id": "p", "data": {} }), 409, "CONFLICT", "the id is taken"),
            (json!({ "as": guest, "action": "create", "data": { "n": "x" } }), 422, "SCHEMA_VIOLATION", "the schema"),
            (json!({ "as": guest, "action": "update", "id": "p", "data": { "n": "x" } }), 422, "SCHEMA_VIOLATION", "the schema"),
        ] {
            assert_eq!(explain(app, "posts", question.clone()).await.error(), (status, code), "{why}: {question}");
        }
        let question = json!({ "as": guest, "action": "read" });
        assert_eq!(explain(app, "none", question.clone()).await.error(), (404, "INVALID_COLLECTION"));
        // Users have rules as well.
        let users = explain(app, "_users", question.clone()).await;
        assert_eq!((&users.data()["allowed"], &users.data()["clause"]), (&json!(false), &json!("rules.read")), "{users:?}");
        let of_ada = json!({ "as": { "user": ada.id }, "action": "update", "id": ada.id, "data": { "profile": { "n": 1 } } });
        let users = explain(app, "_users", of_ada).await;
        assert_eq!((&users.data()["allowed"], &users.data()["clause"]), (&json!(true), &json!("rules.update")), "{users:?}");
        let answer = as_guest(app, Method::POST, "/collections/posts/explain", question.clone()).await;
        assert_eq!(answer.error(), (403, "FORBIDDEN"));
        let answer = as_user(app, &ada, Method::POST, "/collections/posts/explain", question.clone()).await;
        assert_eq!(answer.error(), (403, "FORBIDDEN"));
        app.patch(&format!("/users/{}", ada.id), json!({ "disabled": true })).await;
        let disabled = json!({ "as": { "user": ada.id }, "action": "read" });
        assert_eq!(explain(app, "posts", disabled).await.error(), (400, "INVALID_BODY"));
        // A document may still have this id.
        assert_eq!(app.put("/collections/posts/explain", json!({ "n": 1 })).await.status, 201);
        assert_eq!(app.get("/collections/posts/explain").await.status, 200);
        // No rule decides in a collection without rules, but whether the project is open.
        app.patch("/collections/posts/settings", json!({ "rules": null })).await;
        let create = json!({ "as": guest, "action": "create", "data": { "n": 1 } });
        for is_open in [true, false] {
            app.patch("/settings", json!({ "open": is_open })).await;
            for question in [&question, &create] {
                assert_eq!(verdict(app, question.clone()).await, (is_open, Value::Null), "{question}");
            }
        }
    }

    /// `COIR_TEST_EXPLAIN_CASES` asks for more requests than this.
    async fn explain_equals_the_decision(app: &TestApp) {
        let mut dice = Dice::new(seed("explain"));
        let world = World::begin(app).await;
        let (mut asked, mut allowed) = (0, 0);
        while asked < setting("COIR_TEST_EXPLAIN_CASES", 240) {
            let rules = random::rules(&mut dice);
            set_rules(app, "posts", rules.clone()).await;
            for _ in 0..12 {
                let request = world.draw(&mut dice);
                for (id, data) in &request.documents {
                    app.put(&format!("/collections/posts/{id}"), data.clone()).await;
                }
                let (explained, clause) = verdict(app, request.question.clone()).await;
                let real = world.send(&request).await;
                let told = format!("{rules} {:?} {} -> {explained} {clause}, {real:?}", request.documents, request.question);
                match (real.status.is_success(), request.question["action"].as_str().unwrap()) {
                    (is_done, _) if explained || is_done => assert_eq!(explained, is_done, "{told}"),
                    (_, "read") => assert!([403, 404].contains(&real.status.as_u16()), "{told}"),
                    _ if clause == "rules.read" => assert_eq!(real.status, StatusCode::NOT_FOUND, "{told}"),
                    _ => {
                        assert_eq!(real.status, StatusCode::FORBIDDEN, "{told}");
                        let place = format!("`{}`", clause.as_str().unwrap());
                        assert!(real.body["error"]["message"].as_str().unwrap().contains(&place), "{told}");
                    }
                }
                (asked, allowed) = (asked + 1, allowed + usize::from(explained));
            }
        }
        assert!(allowed * 10 > asked && allowed * 10 < asked * 9, "{allowed} of {asked} say little");
    }
}

/// Users, memberships, and requests of theirs.
struct World<'a> {
    app: &'a TestApp,
    users: Vec<Signed>,
}

struct Request {
    /// The documents as they are before it.
    documents: Vec<(&'static str, Value)>,
    question: Value,
    /// `None` for a guest.
    user: Option<usize>,
}

impl<'a> World<'a> {
    async fn begin(app: &'a TestApp) -> Self {
        let users = vec![sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await];
        let editor = json!({ "roles": ["editor"], "profile": { "level": 1 } });
        app.patch(&format!("/users/{}", users[0].id), editor).await;
        for (id, user, team) in [("a", 0, "red"), ("b", 0, "blue"), ("c", 1, "blue")] {
            let member = json!({ "user": users[user].id, "team": team });
            app.put(&format!("/collections/members/{id}"), member).await;
        }
        Self { app, users }
    }

    fn draw(&self, dice: &mut Dice) -> Request {
        let owners: Vec<_> = self.users.iter().map(|user| user.id.clone()).collect();
        let user = [None, Some(0), Some(1)][dice.under(3)];
        let mut question = match dice.under(9) {
            0 => json!({ "action": "read" }),
            1 | 2 => json!({ "action": "read", "id": "p" }),
            3 => json!({ "action": "create", "data": random::data(dice, &owners) }),
            4 => json!({ "action": "create", "id": "new", "data": random::data(dice, &owners) }),
            5 | 6 => json!({ "action": "update", "id": "p", "data": random::patch(dice, &owners) }),
            7 => json!({ "action": "update", "id": "p", "data": {} }),
            _ => json!({ "action": "delete", "id": "p" }),
        };
        question["as"] = user.map_or(json!({ "guest": true }), |user: usize| json!({ "user": owners[user] }));
        if dice.under(2) == 0 {
            question["params"] = json!({ "code": random::CODE });
        }
        Request { documents: vec![("p", random::data(dice, &owners))], question, user }
    }

    /// Sends the request itself.
    async fn send(&self, request: &Request) -> Answer {
        let Request { question, user, .. } = request;
        let id = question["id"].as_str();
        let path = match id {
            Some(id) => format!("/collections/posts/{id}"),
            None => "/collections/posts".to_owned(),
        };
        let method = match (question["action"].as_str().unwrap(), id) {
            ("read", _) => Method::GET,
            ("create", Some(_)) => Method::PUT,
            ("create", None) => Method::POST,
            ("update", _) => Method::PATCH,
            _ => Method::DELETE,
        };
        let token = user.map_or(PUBLISHABLE_KEY, |user| &self.users[user].access);
        let mut sent = self.app.request_as(token, method, &path);
        if let Some(data) = question.get("data") {
            sent = sent.json(data);
        }
        if let Some(params) = question.get("params") {
            sent = sent.header("X-Coir-Params", params.to_string());
        }
        let answer = self.app.send(sent).await;
        if id == Some("new") {
            self.app.delete("/collections/posts/new").await;
        }
        answer
    }
}
