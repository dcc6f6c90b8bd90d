//! Lists: order, pages, wrong parameters, and the cursor that a stream continues from.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, on_both_databases, path_with};

async fn list(app: &TestApp, parameters: &[(&str, &str)]) -> Answer {
    app.get(&path_with("/collections/posts", parameters)).await
}

fn ids(answer: &Answer) -> Vec<String> {
    let documents = answer.data().as_array().unwrap();
    documents.iter().map(|document| document["id"].as_str().unwrap().to_owned()).collect()
}

/// Creates `count` documents, one after the other, and returns their ids, oldest first.
async fn create_many(app: &TestApp, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(app.create("posts", json!({ "n": n })).await["id"].as_str().unwrap().to_owned());
    }
    ids
}

on_both_databases! {
    async fn a_list_has_the_newest_twenty_documents_by_default(app: &TestApp) {
        let mut created = create_many(app, 25).await;
        let oldest_first = created.clone();
        created.reverse();

        let page = list(app, &[]).await;
        assert_eq!(ids(&page), created[..20]);
        assert!(page.body["nextCursor"].is_string());
        for (why, parameters, expected) in [
            ("-createdAt is the default", vec![("orderBy", "-createdAt")], &created[..20]),
            ("createdAt is oldest first", vec![("orderBy", "createdAt")], &oldest_first[..20]),
            ("order asc", vec![("order", "asc")], &oldest_first[..20]),
            ("`order` overrides the direction of `orderBy`", vec![("orderBy", "createdAt"), ("order", "desc")], &created[..20]),
            ("the client libraries' names", vec![("sort", "created_at"), ("sort_order", "asc")], &oldest_first[..20]),
            ("limit", vec![("limit", "3")], &created[..3]),
            ("the largest limit", vec![("limit", "1000")], &created[..]),
            ("offset", vec![("offset", "4"), ("limit", "3")], &created[4..7]),
            ("an offset past the end", vec![("offset", "25")], &[]),
            ("the last page", vec![("offset", "20")], &created[20..]),
        ] {
            assert_eq!(ids(&list(app, &parameters).await), expected, "{why}");
        }
        let whole = list(app, &[("limit", "25")]).await;
        assert!(whole.body["nextCursor"].is_null(), "a page that is exactly full may be the last one");
    }

    async fn wrong_parameters_are_refused_by_name(app: &TestApp) {
        create_many(app, 3).await;
        let page = list(app, &[("limit", "1")]).await;
        let cursor = page.body["nextCursor"].as_str().unwrap();
        let garbled = format!("{}A", &cursor[..cursor.len() - 4]);
        let resume = page.body["cursor"].as_str().unwrap();
        for (parameters, code, named) in [
            (vec![("limit", "0")], "INVALID_FILTER", "limit"),
            (vec![("limit", "1001")], "INVALID_FILTER", "limit"),
            (vec![("limit", "-1")], "INVALID_FILTER", "limit"),
            (vec![("limit", "ten")], "INVALID_FILTER", "limit"),
            (vec![("limit", "99999999999999999999")], "INVALID_FILTER", "limit"),
            (vec![("limit", "1"), ("limit", "2")], "INVALID_FILTER", "limit"),
            (vec![("offset", "-1")], "INVALID_FILTER", "offset"),
            (vec![("offset", "")], "INVALID_FILTER", "offset"),
            (vec![("after", cursor), ("offset", "1")], "INVALID_FILTER", "offset"),
            (vec![("orderBy", "a..b")], "INVALID_FILTER", "a..b"),
            (vec![("orderBy", "")], "INVALID_FILTER", "orderBy"),
            (vec![("order", "up")], "INVALID_FILTER", "order"),
            (vec![("sort_order", "DESC")], "INVALID_FILTER", "sort_order"),
            (vec![("select", "a,,b")], "INVALID_FILTER", "select"),
            (vec![("populate", "a.b.c.d")], "INVALID_FILTER", "a.b.c.d"),
            (vec![("operation", "sum")], "INVALID_FILTER", "operation"),
            (vec![("format", "csv")], "INVALID_FILTER", "format"),
            (vec![("filters", "")], "INVALID_FILTER", "filters"),
            (vec![("filters", "[]")], "INVALID_FILTER", "filters"),
            (vec![("filters", "{}"), ("filters", "{}")], "INVALID_FILTER", "filters"),
            (vec![("after", "")], "INVALID_CURSOR", "after"),
            (vec![("after", "x")], "INVALID_CURSOR", "after"),
            (vec![("after", &garbled)], "INVALID_CURSOR", "after"),
            (vec![("after", resume)], "INVALID_CURSOR", "after"),
            (vec![("after", cursor), ("order", "asc")], "INVALID_CURSOR", "after"),
        ] {
            let answer = list(app, &parameters).await;
            assert_eq!(answer.error(), (400, code), "{parameters:?}");
            let message = answer.body["error"]["message"].as_str().unwrap();
            assert!(message.contains(named), "{parameters:?}: {message}");
        }
    }

    async fn pages_show_each_document_once_while_others_are_written(app: &TestApp) {
        let created: BTreeSet<_> = create_many(app, 30).await.into_iter().collect();
        for order in ["asc", "desc"] {
            let mut met = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let mut parameters = vec![("order", order), ("limit", "7")];
                parameters.extend(after.as_deref().map(|after| ("after", after)));
                let page = list(app, &parameters).await;
                let page_ids = ids(&page);
                met.extend(page_ids.clone());
                // A new document must not shift the documents of the later pages. The document that the cursor was made
                // from is updated as well, and keeps its place.
                if met.len() < 30 {
                    app.create("posts", json!({ "late": order })).await;
                    let last = page_ids.last().unwrap();
                    app.patch(&format!("/collections/posts/{last}"), json!({ "seen": order })).await;
                }
                match page.body["nextCursor"].as_str() {
                    Some(next) => after = Some(next.to_owned()),
                    None => break,
                }
            }
            let unique: BTreeSet<_> = met.iter().cloned().collect();
            assert_eq!(unique.len(), met.len(), "{order}: a document was listed twice");
            assert!(unique.is_superset(&created), "{order}: {:?} were not listed", created.difference(&unique));
        }
    }

    async fn paging_continues_after_the_last_document_of_a_page_was_deleted(app: &TestApp) {
        let created = create_many(app, 6).await;
        let page = list(app, &[("limit", "2"), ("order", "asc")]).await;
        app.delete(&format!("/collections/posts/{}", created[1])).await;
        let after = page.body["nextCursor"].as_str().unwrap();
        let next = list(app, &[("limit", "2"), ("order", "asc"), ("after", after)]).await;
        assert_eq!(ids(&next), created[2..4]);
    }

    async fn a_page_of_a_filtered_list_is_filtered_too(app: &TestApp) {
        for n in 0..20 {
            app.put(&format!("/collections/posts/p{n}"), json!({ "even": n % 2 == 0 })).await;
        }
        let mut met = Vec::new();
        let mut after = String::new();
        loop {
            let mut parameters = vec![("even", "true"), ("limit", "4"), ("order", "asc")];
            if !after.is_empty() {
                parameters.push(("after", &after));
            }
            let page = list(app, &parameters).await;
            met.extend(ids(&page));
            match page.body["nextCursor"].as_str() {
                Some(next) => after = next.to_owned(),
                None => break,
            }
        }
        let expected: Vec<_> = (0..20).step_by(2).map(|n| format!("p{n}")).collect();
        assert_eq!(met, expected);
    }

    async fn a_stream_continues_from_the_cursor_of_a_list_without_gap_or_duplicate(app: &TestApp) {
        create_many(app, 3).await;
        let listed = list(app, &[]).await;
        let cursor = listed.body["cursor"].as_str().unwrap();
        // An empty list has the same cursor.
        assert_eq!(list(app, &[("n", "none")]).await.body["cursor"], cursor);

        let later = create_many(app, 3).await;
        let mut stream = app.stream("/realtime/sse/posts", Some(cursor)).await;
        let latest = create_many(app, 2).await;
        for id in later.iter().chain(&latest) {
            let block = stream.next_event().await;
            assert_eq!((&block.json()["event"], &block.json()["document"]["id"]), (&json!("created"), &json!(id)));
        }
        let (listed, now) = (ids(&listed), ids(&list(app, &[]).await));
        assert_eq!(listed.len() + later.len() + latest.len(), now.len());

        let mut second = app.stream(&path_with("/realtime/sse/posts", &[("since", cursor)]), None).await;
        assert_eq!(second.next_event().await.json()["document"]["id"], Value::from(later[0].as_str()));
    }
}
