//! Populate joins related documents in the syntax of the client libraries, with one query for each relation and level.

use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, on_both_databases, path_with};

async fn write(app: &TestApp, path: &str, data: Value) {
    let answer = app.put(&format!("/collections/{path}"), data).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

async fn ask(app: &TestApp, path: &str, populate: &[&str]) -> Answer {
    let parameters: Vec<_> = populate.iter().map(|text| ("populate", *text)).collect();
    app.get(&path_with(&format!("/collections/{path}"), &parameters)).await
}

/// Writes a small blog: authors, teams, posts, tags and comments.
async fn write_blog(app: &TestApp) {
    for (path, data) in [
        ("authors/ada", json!({ "name": "Ada", "team_id": "red" })),
        ("authors/bob", json!({ "name": "Bob", "team_id": "none" })),
        ("teams/red", json!({ "colour": "red" })),
        ("people/ada", json!({ "name": "Ada in person" })),
        ("categories/sea", json!({ "title": "Sea" })),
        ("tags/x", json!({ "tag": "x" })),
        ("tags/y", json!({ "tag": "y" })),
        ("tags/7", json!({ "tag": "seven" })),
        (
            "posts/first",
            json!({ "title": "1", "author_id": "ada", "category_id": "sea", "tags_ids": ["y", "gone", 7, "x", null] }),
        ),
        ("posts/second", json!({ "title": "2", "author_id": "bob", "category_id": null, "tags_ids": [] })),
        (
            "posts/third",
            json!({ "title": "3", "author_id": "ada", "author": "overwritten", "tags_ids": "no list" }),
        ),
        ("posts/fourth", json!({ "title": "4", "author_id": "nobody" })),
        ("posts/fifth", json!({ "title": "5", "author_id": { "not": "an id" } })),
        ("posts/sixth", json!({ "title": "6" })),
        ("comments/c1", json!({ "text": "one", "post_id": "first", "author_id": "bob" })),
        ("comments/c2", json!({ "text": "two", "post_id": "first", "author_id": "ada" })),
        ("comments/c3", json!({ "text": "three", "post_id": "second" })),
        ("comments/c4", json!({ "text": "reply", "comment_id": "c1" })),
    ] {
        write(app, path, data).await;
    }
}

/// Returns the ids of a list of documents.
fn ids(documents: &Value) -> Vec<&str> {
    documents.as_array().unwrap().iter().map(|document| document["id"].as_str().unwrap()).collect()
}

on_both_databases! {
    async fn populate_joins_the_document_that_the_relation_names(app: &TestApp) {
        write_blog(app).await;
        let ada = app.get("/collections/authors/ada").await.data().clone();
        let first = ask(app, "posts/first", &["author"]).await;
        assert_eq!(first.data()["data"]["author"], ada);
        assert_eq!(first.data()["data"]["title"], "1");
        assert_eq!(first.data()["data"]["author_id"], "ada");
        assert!(first.headers.get("etag").is_none(), "an entity tag would not cover the joined document");
        for (post, expected) in [("second", json!("bob")), ("third", json!("ada")), ("fourth", json!(null)), ("fifth", json!(null)), ("sixth", json!(null))] {
            let post = ask(app, &format!("posts/{post}"), &["author"]).await;
            let author = post.data()["data"].get("author").expect("a populated relation is always present");
            assert_eq!(author.get("id").unwrap_or(&Value::Null), &expected, "{author}");
        }
        let forced = ask(app, "posts/first", &["author:people"]).await;
        assert_eq!(forced.data()["data"]["author"]["data"], json!({ "name": "Ada in person" }));
        let unknown = ask(app, "posts/first", &["author:nowhere", "category:users"]).await;
        for name in ["author", "category"] {
            assert_eq!(unknown.data()["data"].get(name), Some(&Value::Null), "{name}");
        }
        let refused = ask(app, "posts/first", &["moon"]).await;
        assert_eq!(refused.error(), (400, "INVALID_FILTER"), "neither a field nor a collection");
        let selected = app.get("/collections/posts/first?select=title&populate=author").await;
        assert_eq!(selected.data()["data"], json!({ "title": "1", "author": ada }));
    }

    async fn lists_reverse_relations_and_several_levels_come_in_one_answer(app: &TestApp) {
        write_blog(app).await;
        let first = ask(app, "posts/first", &["tags", "category"]).await;
        assert_eq!(ids(&first.data()["data"]["tags"]), ["y", "7", "x"], "in the order of the list, without missing documents");
        assert_eq!(first.data()["data"]["category"]["data"]["title"], "Sea");
        assert_eq!(ask(app, "posts/second", &["tags"]).await.data()["data"]["tags"], json!([]));
        assert_eq!(ask(app, "posts/third", &["tags"]).await.data()["data"]["tags"], json!([]));

        // Reverse relations come newest first. Their field is named after the singular of this collection, or of the relation.
        let comments = ask(app, "posts/first", &["comments"]).await;
        assert_eq!(ids(&comments.data()["data"]["comments"]), ["c2", "c1"]);
        assert_eq!(ask(app, "posts/fourth", &["comments"]).await.data()["data"]["comments"], json!([]));
        assert_eq!(ids(&ask(app, "comments/c1", &["comments"]).await.data()["data"]["comments"]), ["c4"]);
        assert_eq!(ids(&ask(app, "posts/first", &["notes:comments"]).await.data()["data"]["notes"]), ["c2", "c1"]);

        let listed = app.get(&path_with("/collections/posts", &[("populate", "author.team,category,comments.author"), ("order", "asc"), ("limit", "2")])).await;
        let [first, second] = [0, 1].map(|place| &listed.data()[place]["data"]);
        assert_eq!(first["author"]["data"]["team"]["data"], json!({ "colour": "red" }));
        assert_eq!(second["author"]["data"]["team"], json!(null));
        assert_eq!(first["comments"][0]["data"]["author"]["id"], "ada");
        assert_eq!(first["comments"][1]["data"]["author"]["id"], "bob");
        assert_eq!(second["comments"][0]["data"]["author"], json!(null));
        assert_eq!((&first["category"]["id"], &second["category"]), (&json!("sea"), &json!(null)));
        assert!(listed.body["nextCursor"].is_string());
    }

    async fn joined_documents_are_bounded_and_impossible_relations_are_refused(app: &TestApp) {
        write_blog(app).await;
        let documents: Vec<_> = (0..120).map(|n| json!({ "n": n, "author_id": "ada" })).collect();
        assert_eq!(app.post("/collections/books/batch", json!({ "documents": documents })).await.status, 201);
        let authors = ask(app, "authors", &["books"]).await;
        let ada = authors.data().as_array().unwrap().iter().find(|author| author["id"] == "ada").unwrap();
        assert_eq!(ada["data"]["books"].as_array().unwrap().len(), 100, "the newest hundred");

        // Every document of the page names the same large document.
        write(app, "authors/long", json!({ "text": "x".repeat(1_000_000) })).await;
        let documents: Vec<_> = (0..40).map(|_| json!({ "author_id": "long" })).collect();
        assert_eq!(app.post("/collections/novels/batch", json!({ "documents": documents })).await.status, 201);
        let refused = app.get("/collections/novels?populate=author&limit=40").await;
        assert!(refused.body["error"]["message"].as_str().unwrap().contains("limit"), "{:?}", refused.error());
        assert_eq!(app.get("/collections/novels?populate=author&limit=3").await.status, 200);

        for populate in ["", "*", "author,,tags", "a.b.c.d", "author:", ":people", "author:people,author:authors", "tags.0", "a,b,c,d,e,f,g,h,i,j,k"] {
            for path in ["posts", "posts/first"] {
                assert_eq!(ask(app, path, &[populate]).await.error(), (400, "INVALID_FILTER"), "{populate}");
            }
        }
    }
}
