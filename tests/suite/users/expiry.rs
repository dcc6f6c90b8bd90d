//! What has expired is deleted.

use std::time::Instant;

use reqwest::Method;
use serde_json::json;

use super::{ask, mails, post, sign_in, sign_up, status_of};
use crate::harness::{TestApp, on_each_database};

on_each_database! {
    async fn expired_sessions_codes_states_and_mails_are_deleted(database) {
        let app = TestApp::start(database).await;
        let ada = sign_up(&app, "ada@example.com").await;
        sign_in(&app, "ada@example.com").await;
        post(&app, "/users/login/code", json!({ "email": "ada@example.com" })).await;
        post(&app, "/users/password/forgot", json!({ "email": "ada@example.com" })).await;
        mails(&app, 2).await;
        let sid = ask(&app, &ada.access, Method::GET, "/users/me/sessions", serde_json::Value::Null).await;
        let own = sid.data().as_array().unwrap().iter().find(|session| session["current"] == true).unwrap();
        let own = own["id"].as_str().unwrap();
        let mut sql = app.sql().await;
        let yesterday = 25 * 3_600_000;
        for change in [
            format!("UPDATE sessions SET expires_at = created_at - {yesterday} WHERE id <> '{own}'"),
            format!("UPDATE codes SET expires_at = created_at - {yesterday} WHERE purpose = 'sign-in'"),
            "INSERT INTO used_states (hash, expires_at) VALUES ('old', 7), ('new', 9000000000000000)".to_owned(),
            format!("UPDATE mails SET created_at = created_at - {yesterday} WHERE kind = 'sign-in'"),
        ] {
            sql.execute(&change).await;
        }
        drop(sql);
        let app = app.restart().await;
        let mut sql = app.sql().await;
        let begun = Instant::now();
        let counts = "SELECT COUNT(*) FROM sessions UNION ALL SELECT COUNT(*) FROM codes UNION ALL SELECT COUNT(*) FROM mails \
                      UNION ALL SELECT COUNT(*) FROM used_states";
        while sql.integers(counts).await != [1, 1, 1, 1] {
            assert!(begun.elapsed().as_secs() < 20, "{:?}", sql.integers(counts).await);
            tokio::task::yield_now().await;
        }
        drop(sql);
        assert_eq!(status_of(&app, &ada.access).await, 200);
        app.stop().await;
    }
}
