//! What has expired is deleted.

use std::time::Instant;

use reqwest::Method;
use serde_json::json;

use super::{ask, mails, post, sign_in, sign_up, status_of};
use crate::harness::{Database, TestApp, on_each_database};

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

    async fn entries_of_the_audit_are_deleted_after_90_days_a_portion_at_a_time(database) {
        let app = TestApp::start(database).await;
        let ada = sign_up(&app, "ada@example.com").await;
        let mut sql = app.sql().await;
        let day = 24 * 3_600_000_i64;
        // Ada's entry is made old, and so are many copies of it. One is not old enough.
        sql.execute(&format!("UPDATE audit SET at = at - {} WHERE user_id = '{}'", 91 * day, ada.id)).await;
        let copy = |n: &str, days: i64| {
            format!(
                "INSERT INTO audit (id, project_id, event, user_id, count, at) \
                 SELECT 'copy ' || n, project_id, event, user_id, count, at + {} FROM audit, \
                 (WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 5000) \
                 SELECT n FROM numbers WHERE {n}) AS numbers WHERE user_id = '{}' AND id NOT LIKE 'copy%'",
                days * day, ada.id
            )
        };
        sql.execute(&copy("n < 5000", 0)).await;
        sql.execute(&copy("n = 5000", 2)).await;
        if database == Database::Postgres {
            sql.execute(
                "CREATE TABLE deletions (many BIGINT); \
                 CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN INSERT INTO deletions SELECT COUNT(*) FROM gone; RETURN NULL; END'; \
                 CREATE TRIGGER note AFTER DELETE ON audit REFERENCING OLD TABLE AS gone \
                 FOR EACH STATEMENT EXECUTE FUNCTION note()",
            )
            .await;
        }
        drop(sql);
        let app = app.restart().await;
        let mut sql = app.sql().await;
        let begun = Instant::now();
        let count = format!("SELECT COUNT(*) FROM audit WHERE user_id = '{}'", ada.id);
        while sql.integers(&count).await != [1] {
            assert!(begun.elapsed().as_secs() < 60, "{:?}", sql.integers(&count).await);
            tokio::task::yield_now().await;
        }
        assert_eq!(sql.texts("SELECT id FROM audit WHERE user_id IS NOT NULL").await, ["copy 5000"]);
        if database == Database::Postgres {
            assert_eq!(sql.integers("SELECT CAST(SUM(many) AS BIGINT) FROM deletions").await, [5000]);
            let most = sql.integers("SELECT MAX(many) FROM deletions").await[0];
            assert!((1..5000).contains(&most), "{most} in one transaction");
        }
        drop(sql);
        app.stop().await;
    }
}
