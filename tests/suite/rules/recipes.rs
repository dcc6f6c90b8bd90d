//! The rules of the guide, as they stand there, do what the guide says.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ids, set_rules};
use crate::{
    harness::{PUBLISHABLE_KEY, TestApp, on_both_databases},
    users::{Signed, ask, sign_up},
};

const GUIDE: &str = include_str!("../../../docs/guide/rules.md");

/// Returns the rules under a heading of the guide, in the order of the blocks.
fn recipes(heading: &str) -> Vec<Value> {
    let section = GUIDE.split("\n### ").find(|section| section.starts_with(heading)).expect(heading);
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```json\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.map(|block| serde_json::from_str(block).unwrap()).collect()
}

/// A guest and some users, by name, with the collection `docs` under the rules of the guide.
struct Cast<'a> {
    app: &'a TestApp,
    users: Vec<(&'static str, Signed)>,
}

impl<'a> Cast<'a> {
    async fn new(app: &'a TestApp, heading: &str, names: &[&'static str]) -> Self {
        let mut users = Vec::new();
        for name in names {
            users.push((*name, sign_up(app, &format!("{name}@example.com")).await));
        }
        set_rules(app, "docs", recipes(heading).remove(0)).await;
        Self { app, users }
    }

    fn id(&self, name: &str) -> &str {
        &self.users.iter().find(|(other, _)| *other == name).unwrap().1.id
    }

    async fn role(&self, name: &str, role: &str) {
        let path = format!("/users/{}", self.id(name));
        assert_eq!(self.app.patch(&path, json!({ "roles": [role] })).await.status, 200);
    }

    /// Sends a request about a document of `docs`, and returns the status.
    async fn send(&self, who: &str, method: Method, id: &str, body: Value) -> u16 {
        let token = self.users.iter().find(|(name, _)| *name == who);
        let token = token.map_or(PUBLISHABLE_KEY, |(_, user)| &user.access);
        ask(self.app, token, method, &format!("/collections/docs/{id}"), body).await.status.as_u16()
    }

    async fn get(&self, who: &str, id: &str) -> u16 {
        self.send(who, Method::GET, id, Value::Null).await
    }

    async fn put(&self, who: &str, id: &str, body: Value) -> u16 {
        self.send(who, Method::PUT, id, body).await
    }

    async fn patch(&self, who: &str, id: &str, body: Value) -> u16 {
        self.send(who, Method::PATCH, id, body).await
    }

    async fn delete(&self, who: &str, id: &str) -> u16 {
        self.send(who, Method::DELETE, id, Value::Null).await
    }
}

on_both_databases! {
    async fn private_fields_are_seen_by_their_owner(app: &TestApp) {
        let cast = Cast::new(app, "Private fields", &["ada", "bob"]).await;
        let profile = json!({ "owner": cast.id("ada"), "name": "Ada", "phone": "5" });
        assert_eq!(cast.put("ada", "p", profile.clone()).await, 201);
        app.patch("/collections/docs/p", json!({ "rating": 3 })).await;
        let seen = async |who: &str| {
            let token = cast.users.iter().find(|(name, _)| *name == who).map_or(PUBLISHABLE_KEY, |(_, user)| &user.access);
            ask(app, token, Method::GET, "/collections/docs/p", Value::Null).await.data()["data"].clone()
        };
        assert_eq!(seen("ada").await, profile);
        for other in ["bob", "guest"] {
            assert_eq!(seen(other).await, json!({ "owner": cast.id("ada"), "name": "Ada" }), "{other}");
        }
        let found = ask(app, &cast.users[1].1.access, Method::GET, "/collections/docs?phone=5", Value::Null).await;
        assert!(ids(&found).is_empty(), "{found:?}");
        assert_eq!(cast.send("ada", Method::PATCH, "p", json!({ "rating": 5 })).await, 403);
    }

    async fn the_owner(app: &TestApp) {
        let cast = Cast::new(app, "The owner", &["ada", "bob"]).await;
        assert_eq!(cast.put("guest", "d", json!({})).await, 403);
        assert_eq!(cast.put("ada", "d", json!({ "owner": cast.id("bob") })).await, 201);
        assert_eq!((cast.get("ada", "d").await, cast.get("bob", "d").await, cast.get("guest", "d").await), (200, 404, 403));
        assert_eq!(cast.patch("ada", "d", json!({ "title": "x" })).await, 200);
        assert_eq!(cast.patch("ada", "d", json!({ "owner": cast.id("bob") })).await, 403);
        assert_eq!(cast.patch("bob", "d", json!({ "title": "x" })).await, 404);
        assert_eq!((cast.delete("bob", "d").await, cast.delete("ada", "d").await), (404, 200));
    }

    async fn a_team_through_another_collection(app: &TestApp) {
        assert_eq!(app.post("/collections", json!({ "name": "members" })).await.status, 201);
        let cast = Cast::new(app, "A team", &["ada", "bob"]).await;
        set_rules(app, "members", recipes("A team").remove(1)).await;
        let member = json!({ "user": cast.id("ada"), "team": "red" });
        app.put("/collections/members/m", member.clone()).await;
        assert_eq!(cast.put("ada", "d", json!({ "team": "red" })).await, 201);
        assert_eq!(cast.put("bob", "e", json!({ "team": "red" })).await, 403);
        assert_eq!((cast.get("ada", "d").await, cast.get("bob", "d").await), (200, 403));
        assert_eq!(cast.patch("ada", "d", json!({ "team": "blue" })).await, 403);
        let join = ask(app, &cast.users[1].1.access, Method::PUT, "/collections/members/n", member).await;
        assert_eq!(join.error().0, 403);
        assert_eq!((cast.delete("bob", "d").await, cast.delete("ada", "d").await), (404, 200));
    }

    async fn everybody_reads_and_the_author_writes(app: &TestApp) {
        let cast = Cast::new(app, "Everybody reads", &["ada", "bob"]).await;
        assert_eq!(cast.put("bob", "d", json!({ "author": cast.id("ada") })).await, 403);
        assert_eq!(cast.put("ada", "d", json!({ "author": cast.id("ada"), "likes": 0 })).await, 201);
        assert_eq!(cast.get("guest", "d").await, 200);
        assert_eq!(cast.patch("bob", "d", json!({ "$inc": { "likes": 1 } })).await, 200);
        assert_eq!(cast.patch("guest", "d", json!({ "$inc": { "likes": 1 } })).await, 403);
        assert_eq!(cast.patch("bob", "d", json!({ "title": "x" })).await, 403);
        assert_eq!(cast.patch("ada", "d", json!({ "title": "x" })).await, 200);
        assert_eq!(cast.delete("bob", "d").await, 403);
    }

    async fn roles(app: &TestApp) {
        let cast = Cast::new(app, "Roles", &["ada", "bob"]).await;
        cast.role("ada", "editor").await;
        assert_eq!((cast.put("bob", "d", json!({})).await, cast.put("ada", "d", json!({})).await), (403, 201));
        assert_eq!((cast.get("guest", "d").await, cast.delete("ada", "d").await), (200, 403));
        cast.role("bob", "admin").await;
        assert_eq!(cast.delete("bob", "d").await, 200);
    }

    async fn states_of_moderation(app: &TestApp) {
        let cast = Cast::new(app, "States", &["ada", "bob", "mod"]).await;
        cast.role("mod", "moderator").await;
        let new = |state: &str| json!({ "author": cast.id("ada"), "state": state });
        assert_eq!(cast.put("ada", "d", new("approved")).await, 403);
        assert_eq!(cast.put("ada", "d", new("waiting")).await, 201);
        assert_eq!((cast.get("ada", "d").await, cast.get("mod", "d").await, cast.get("bob", "d").await), (200, 200, 404));
        assert_eq!(cast.patch("ada", "d", json!({ "text": "x" })).await, 200);
        assert_eq!(cast.patch("ada", "d", json!({ "state": "approved" })).await, 403);
        assert_eq!(cast.patch("mod", "d", json!({ "state": "gone" })).await, 403);
        assert_eq!(cast.patch("mod", "d", json!({ "state": "approved", "text": "y" })).await, 403);
        assert_eq!(cast.patch("mod", "d", json!({ "state": "approved" })).await, 200);
        assert_eq!((cast.get("guest", "d").await, cast.patch("ada", "d", json!({ "text": "z" })).await), (200, 403));
    }

    async fn fields_that_never_change(app: &TestApp) {
        let cast = Cast::new(app, "Fields", &["ada"]).await;
        assert_eq!(cast.put("ada", "d", json!({ "isbn": "1", "rating": 5 })).await, 403);
        assert_eq!(cast.put("ada", "d", json!({ "isbn": "1" })).await, 201);
        assert_eq!(cast.patch("ada", "d", json!({ "isbn": "2" })).await, 403);
        assert_eq!(cast.patch("ada", "d", json!({ "isbn": "1", "title": "x" })).await, 200);
        assert_eq!(app.patch("/collections/docs/d", json!({ "rating": 5 })).await.status, 200);
        assert_eq!(cast.put("ada", "d", json!({ "isbn": "1", "rating": 5 })).await, 200);
        assert_eq!(cast.put("ada", "d", json!({ "isbn": "1" })).await, 403);
    }

    async fn a_window_of_time(app: &TestApp) {
        let cast = Cast::new(app, "A window", &[]).await;
        for (id, opens, closes, expected) in [
            ("open", "2020-01-01T00:00:00.000Z", "2120-01-01T00:00:00.000Z", 200),
            ("early", "2119-01-01T00:00:00.000Z", "2120-01-01T00:00:00.000Z", 403),
            ("late", "2019-01-01T00:00:00.000Z", "2020-01-01T00:00:00.000Z", 403),
        ] {
            app.put(&format!("/collections/docs/{id}"), json!({ "opensAt": opens, "closesAt": closes })).await;
            assert_eq!(cast.patch("guest", id, json!({ "answers": 1 })).await, expected, "{id}");
            assert_eq!(cast.patch("guest", id, json!({ "closesAt": "2121-01-01T00:00:00.000Z" })).await, 403, "{id}");
        }
    }

    async fn an_invitation_by_a_link(app: &TestApp) {
        let cast = Cast::new(app, "An invitation", &[]).await;
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        app.put("/collections/docs/r", json!({ "inviteHash": hash })).await;
        app.put("/collections/docs/s", json!({})).await;
        let list = async |invite: &str| {
            let request = app.request_as(PUBLISHABLE_KEY, Method::GET, "/collections/docs");
            app.send(request.header("X-Coir-Params", json!({ "invite": invite }).to_string())).await
        };
        assert_eq!((ids(&list("abc").await), ids(&list("abd").await)), (vec!["r"], vec![]));
        assert_eq!(cast.get("guest", "r").await, 403);
    }

    async fn documents_that_are_only_hidden(app: &TestApp) {
        let cast = Cast::new(app, "Documents", &["ada"]).await;
        assert_eq!(cast.put("ada", "d", json!({ "owner": cast.id("ada") })).await, 201);
        assert_eq!(cast.patch("ada", "d", json!({ "title": "x" })).await, 200);
        assert_eq!(cast.patch("ada", "d", json!({ "deletedAt": "2026-01-01T00:00:00Z" })).await, 200);
        assert_eq!(cast.get("ada", "d").await, 404);
        assert_eq!(cast.patch("ada", "d", json!({ "deletedAt": null })).await, 404);
        assert_eq!(app.get("/collections/docs/d").await.status, 200);
    }
}
