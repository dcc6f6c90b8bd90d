//! Rules of the built-in collection of users.

use reqwest::Method;
use serde_json::{Value, json};

use super::{as_guest, as_user, ids};
use crate::{
    harness::{TestStream, on_both_databases},
    users::{sign_up, streams::sse},
};

const USERS: &str = "/collections/_users";

on_both_databases! {
    async fn without_rules_users_see_and_change_themselves(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let settings = app.get("/collections/_users/settings").await;
        assert_eq!(settings.data()["rules"]["read"], json!({ "id": "$user.id" }), "{settings:?}");
        assert_eq!(ids(&as_user(app, &ada, Method::GET, USERS, Value::Null).await), [&*ada.id]);
        let patch = json!({ "profile": { "name": "Ada" } });
        let mine = as_user(app, &ada, Method::PATCH, &format!("{USERS}/{}", ada.id), patch.clone()).await;
        assert_eq!(mine.data()["data"]["profile"]["name"], "Ada", "{mine:?}");
        assert_eq!(mine.data()["data"]["email"], "ada@example.com");
        let others = as_user(app, &ada, Method::PATCH, &format!("{USERS}/{}", bob.id), patch).await;
        assert_eq!(others.error(), (404, "DOCUMENT_NOT_FOUND"));
        assert_eq!(as_guest(app, Method::GET, USERS, Value::Null).await.error(), (403, "FORBIDDEN"));
    }

    async fn an_app_shows_profiles_and_no_addresses(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let name = json!({ "profile": { "name": "Bob", "phone": "5" } });
        as_user(app, &bob, Method::PATCH, "/users/me", name).await;
        let mut stream = TestStream::open(sse(app, &ada.access, "_users")).await;
        stream.opened().await;
        let rules = json!({ "rules": { "read": "@user", "fields": { "profile.phone": { "read": { "id": "$user.id" } } } } });
        let set = app.patch("/collections/_users/settings", rules.clone()).await;
        assert_eq!((set.status.as_u16(), &set.data()["rules"]), (200, &rules["rules"]), "{set:?}");
        let get = async |path: &str| as_user(app, &ada, Method::GET, path, Value::Null).await;
        assert_eq!(get(USERS).await.data().as_array().unwrap().len(), 2);
        let seen = get(&format!("{USERS}/{}", bob.id)).await;
        assert_eq!(seen.data()["data"], json!({ "profile": { "name": "Bob" } }), "{seen:?}");
        let mine = get(&format!("{USERS}/{}", ada.id)).await;
        assert_eq!(mine.data()["data"]["email"], "ada@example.com");
        assert_eq!(ids(&get(&format!("{USERS}?email=bob@example.com")).await), [""; 0]);
        assert_eq!(ids(&get(&format!("{USERS}?email=Ada@Example.com")).await), [&*ada.id]);
        assert_eq!(get(&format!("{USERS}/query/count?profile.phone=5")).await.data()["count"], 0);
        // Joined users are masked in the same way.
        app.put("/collections/posts/p", json!({ "author_id": bob.id })).await;
        let post = get("/collections/posts/p?populate=author:_users").await;
        assert_eq!(post.data()["data"]["author"]["data"], json!({ "profile": { "name": "Bob" } }), "{post:?}");
        // A stream follows the new rules, and does not tell of what is private.
        app.patch(&format!("/users/{}", bob.id), json!({ "roles": ["editor"] })).await;
        as_user(app, &bob, Method::PATCH, "/users/me", json!({ "profile": { "name": "Bobby" } })).await;
        let event = stream.next_event().await.json();
        assert_eq!(event["document"]["data"], json!({ "profile": { "name": "Bobby" } }), "{event}");
        // Only the profile of oneself can be changed, however the rules read.
        let roles = json!({ "roles": ["admin"] });
        let refused = as_user(app, &ada, Method::PATCH, &format!("{USERS}/{}", ada.id), roles.clone()).await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));
        let refused = as_user(app, &ada, Method::PATCH, &format!("{USERS}/{}", bob.id), roles).await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));
        let refused = as_user(app, &ada, Method::PATCH, &format!("{USERS}/{}", bob.id), json!({ "profile": { "x": 1 } })).await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));
        // `null` brings the default back.
        assert_eq!(app.patch("/collections/_users/settings", json!({ "rules": null })).await.status, 200);
        assert_eq!(ids(&get(USERS).await), [&*ada.id]);
        assert_eq!(get("/users/me").await.data()["data"]["email"], "ada@example.com");
    }

    async fn a_rule_on_profiles_binds_every_door(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let rules = json!({ "rules": { "update": { "before": { "id": "$user.id" }, "unchanged": ["profile.plan"] } } });
        app.patch("/collections/_users/settings", rules).await;
        for path in ["/users/me".to_owned(), format!("{USERS}/{}", ada.id)] {
            let refused = as_user(app, &ada, Method::PATCH, &path, json!({ "profile": { "plan": "gold" } })).await;
            assert_eq!(refused.error(), (403, "FORBIDDEN"), "{path}");
            let changed = as_user(app, &ada, Method::PATCH, &path, json!({ "profile": { "name": path } })).await;
            assert_eq!(changed.status, 200, "{changed:?}");
        }
        for (rules, place) in [(json!({ "create": true }), "rules.create"), (json!({ "stamp": {} }), "rules.stamp")] {
            let refused = app.patch("/collections/_users/settings", json!({ "rules": rules })).await;
            assert_eq!(refused.error(), (400, "INVALID_BODY"));
            assert!(refused.body["error"]["message"].as_str().unwrap().contains(place), "{refused:?}");
        }
        let refused = app.patch("/collections/_users/settings", json!({ "name": "people" })).await;
        assert_eq!(refused.error().0, 403);
    }
}
