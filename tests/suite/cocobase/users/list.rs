//! The list of users, single users, and users who are joined to documents.

use reqwest::Method;
use serde_json::{Value, json};

use super::{call, detail, sign_up};
use crate::harness::{PUBLISHABLE_KEY, SECRET_KEY, on_both_databases};

on_both_databases! {
    async fn a_server_lists_and_finds_users_by_every_operator(app: &TestApp) {
        let mut ids = Vec::new();
        for (email, data) in [
            ("ada@example.com", json!({ "username": "ada", "age": 36, "tags": ["math"], "email": "x@other.org" })),
            ("bob@example.com", json!({ "username": "bob", "age": 9 })),
            ("cy@navy.mil", json!({ "username": "cy", "age": 45, "left": null })),
        ] {
            ids.push(sign_up(app, email, data).await.1["id"].as_str().unwrap().to_owned());
        }
        for (id, roles) in ids.iter().zip([json!(["admin", "Editor"]), json!(["user"]), json!([])]) {
            assert_eq!(app.patch(&format!("/users/{id}"), json!({ "roles": roles })).await.status, 200);
        }
        let list = async |query: &str| {
            let path = format!("/auth-collections/users?{query}");
            let answer = call(app, (SECRET_KEY, ""), Method::GET, &path, Value::Null).await;
            assert_eq!(answer.status, 200, "{query}: {answer:?}");
            answer.body
        };
        let (first, later) = (ids[0].clone(), "created_at_gte=2020-01-01T00:00:00Z");
        for (query, expected) in [
            ("", "ada bob cy"),
            ("limit=100&offset=0", "ada bob cy"),
            ("email=ADA@example.com", "ada"),
            ("email__eq=ada@example.com", "ada"),
            ("email_contains=EXAMPLE", "ada bob"),
            ("email_endswith=.mil", "cy"),
            ("email_in=ada@example.com,Cy@navy.mil", "ada cy"),
            ("email_notin=ada@example.com", "bob cy"),
            ("email_ne=ada@example.com", "bob cy"),
            ("data.email=x@other.org", "ada"),
            ("data.age_gte=36", "ada cy"),
            ("data.age__lt=36", "bob"),
            ("data.age_gt=9&data.age_lte=36", "ada"),
            ("data.username_startswith=B", "bob"),
            ("username=bob", "bob"),
            ("data.left_isnull=true", "ada bob cy"),
            ("data.tags_array_contains=math", "ada"),
            ("roles=admin", "ada"),
            ("role=admin", "ada"),
            ("roles_contains=Editor", "ada"),
            ("roles_in=admin,user", "ada bob"),
            ("roles_ne=admin", "bob cy"),
            ("email_verified=false", "ada bob cy"),
            ("email_verified=true", ""),
            (later, "ada bob cy"),
            ("created_at_lt=2020-01-01", ""),
            (&format!("id={first}"), "ada"),
            ("%5Bor%5Ddata.age_lt=10&%5Bor%5Droles=admin", "ada bob"),
            ("[or:a]username=ada&[or:a]username=cy&data.age_gt=40", "cy"),
            ("email__or__data.username_contains=bo", "bob"),
            ("data.nothing=1", ""),
        ] {
            let body = list(query).await;
            let mut names: Vec<_> =
                body["data"].as_array().unwrap().iter().map(|user| user["data"]["username"].as_str().unwrap()).collect();
            names.sort_unstable();
            assert_eq!(names.join(" "), expected, "{query}");
            assert_eq!(body["total"], names.len(), "{query}");
        }
        for (query, expected) in [
            ("", "cy bob ada"),
            ("sort=created_at&order=asc", "ada bob cy"),
            ("sort=data.age", "cy ada bob"),
            ("sort=data.age&order=asc", "bob ada cy"),
            ("sort=email&order=asc", "ada bob cy"),
            ("sort_by=username&sort_order=desc", "cy bob ada"),
        ] {
            let body = list(query).await;
            let names: Vec<_> =
                body["data"].as_array().unwrap().iter().map(|user| user["data"]["username"].as_str().unwrap()).collect();
            assert_eq!(names.join(" "), expected, "{query}");
        }
        let page = list("sort=email&order=asc&limit=1&offset=1").await;
        let rest = json!({ "total": 3, "limit": 1, "offset": 1, "has_more": true });
        for (member, expected) in rest.as_object().unwrap() {
            assert_eq!(&page[member], expected, "{member}");
        }
        let one = call(app, (SECRET_KEY, ""), Method::GET, &format!("/auth-collections/users/{}", ids[1]), Value::Null).await;
        assert_eq!(page["data"], json!([one.body]));
        assert_eq!(one.body["roles"], json!(["user"]));
        assert_eq!(list("offset=2").await["has_more"], false);
        for query in ["limit=0", "populate=team", "select=email", "created_at_gte=yesterday", "data.age_isnull=maybe", "order=up"] {
            let path = format!("/auth-collections/users?{query}");
            let refused = call(app, (SECRET_KEY, ""), Method::GET, &path, Value::Null).await;
            assert_eq!(detail(&refused).0, 400, "{query}");
        }
        for id in ["none", "a%2Fb", "%00"] {
            let missing = call(app, (SECRET_KEY, ""), Method::GET, &format!("/auth-collections/users/{id}"), Value::Null).await;
            assert_eq!(detail(&missing), (404, "User not found"), "{id}");
        }
    }

    async fn a_user_sees_only_themselves_and_a_key_alone_nobody(app: &TestApp) {
        let (token, ada) = sign_up(app, "ada@example.com", json!({ "n": 1 })).await;
        let (_, bob) = sign_up(app, "bob@example.com", json!({ "n": 2 })).await;
        for id in [&ada["id"], &bob["id"]] {
            app.create("posts", json!({ "author_id": id })).await;
        }
        let get = async |credentials, path: &str| call(app, credentials, Method::GET, path, Value::Null).await;
        for (credentials, who) in [
            ((PUBLISHABLE_KEY, token.as_str()), "a user"),
            (("", token.as_str()), "a token alone"),
            ((SECRET_KEY, token.as_str()), "a server for the user"),
        ] {
            for (query, seen) in [
                ("", json!([ada])),
                ("sort=email", json!([ada])),
                ("data.n_gte=1", json!([ada])),
                ("email=bob@example.com", json!([])),
                ("[or]email=bob@example.com&[or]data.n=2", json!([])),
            ] {
                let list = get(credentials, &format!("/auth-collections/users?{query}")).await;
                let total = seen.as_array().unwrap().len();
                assert_eq!((&list.body["data"], &list.body["total"]), (&seen, &json!(total)), "{who}: {query}");
            }
            let one = async |user: &Value| {
                get(credentials, &format!("/auth-collections/users/{}", user["id"].as_str().unwrap())).await
            };
            assert_eq!(one(&ada).await.body, ada, "{who}");
            assert_eq!(detail(&one(&bob).await), (404, "User not found"), "{who}");
            let posts = get(credentials, "/collections/posts/documents?populate=author:appuser&order=asc").await;
            let authors: Vec<_> = posts.body.as_array().unwrap().iter().map(|post| &post["author"]["email"]).collect();
            assert_eq!(authors, [&ada["email"], &Value::Null], "{who}");
        }
        let guest = (PUBLISHABLE_KEY, "");
        for path in ["/auth-collections/users", &format!("/auth-collections/users/{}", ada["id"].as_str().unwrap())] {
            assert_eq!(detail(&get(guest, path).await).0, 403, "{path}");
        }
        let posts = get(guest, "/collections/posts/documents?populate=author:appuser").await;
        assert_eq!(posts.body[0]["author"], Value::Null, "{posts:?}");
    }

    async fn an_author_who_is_a_user_is_joined(app: &TestApp) {
        let (_, ada) = sign_up(app, "ada@example.com", json!({ "name": "Ada", "email": "other" })).await;
        let post = app.create("posts", json!({ "author_id": ada["id"], "user_id": ada["id"], "reader_ids": [ada["id"]] })).await;
        let joined = json!({
            "id": ada["id"], "email": "ada@example.com", "created_at": ada["created_at"], "updated_at": ada["updated_at"],
            "roles": [], "email_verified": false, "name": "Ada", "data": { "name": "Ada", "email": "other" },
        });
        let one = format!("/collections/posts/documents/{}", post["id"].as_str().unwrap());
        for path in ["/collections/posts/documents", &one] {
            for (relation, name) in [
                ("author:appuser", "author"), ("author:users", "author"), ("author:app_users", "author"),
                ("author:appusers", "author"), ("user", "user"),
            ] {
                let path = format!("{path}?populate={relation}");
                let answer = call(app, (SECRET_KEY, ""), Method::GET, &path, Value::Null).await;
                let shown = answer.body.as_array().map_or(&answer.body, |list| &list[0]);
                assert_eq!((&shown["data"][name], &shown[name]), (&joined, &joined), "{path}: {answer:?}");
            }
        }
        let path = "/collections/posts/documents?populate=reader:appuser";
        let many = call(app, (SECRET_KEY, ""), Method::GET, path, Value::Null).await;
        assert_eq!(many.body[0]["data"]["reader"], json!([joined]));
        // A project's own collection of the name comes first.
        app.put(&format!("/collections/users/{}", ada["id"].as_str().unwrap()), json!({ "name": "own" })).await;
        for (relation, name) in [("author:users", "own"), ("author:appuser", "Ada")] {
            let path = format!("/collections/posts/documents?populate={relation}");
            let answer = call(app, (SECRET_KEY, ""), Method::GET, &path, Value::Null).await;
            assert_eq!(answer.body[0]["author"]["name"], name, "{relation}");
        }
        // The documented API has one name for the users.
        let answer = app.get("/collections/posts?populate=author:appuser").await;
        assert_eq!(answer.data()[0]["data"]["author"], Value::Null, "{answer:?}");
    }

    async fn a_key_and_a_users_token_go_together_on_every_route(app: &TestApp) {
        let (token, _) = sign_up(app, "ada@example.com", json!({})).await;
        let both = (PUBLISHABLE_KEY, token.as_str());
        let created = json!({ "data": { "n": 1 } });
        let created = call(app, both, Method::POST, "/collections/documents?collection=books", created).await;
        assert_eq!(created.status, 201, "{created:?}");
        let one = format!("/collections/books/documents/{}", created.body["id"].as_str().unwrap());
        let batch = json!({ "documents": [{ "n": 2 }] });
        for (method, path, body) in [
            (Method::GET, "/collections/books/documents", Value::Null),
            (Method::GET, &one, Value::Null),
            (Method::PATCH, &one, json!({ "data": { "n": 2 } })),
            (Method::POST, "/collections/books/batch/documents/create", batch),
            (Method::GET, "/collections/books/query/documents/count", Value::Null),
            (Method::GET, "/collections/books/query/documents/aggregate?field=n&operation=sum", Value::Null),
            (Method::GET, "/collections/books/query/schema", Value::Null),
            (Method::GET, "/collections/", Value::Null),
            (Method::GET, "/realtime/rooms", Value::Null),
            (Method::DELETE, &one, Value::Null),
        ] {
            let forged = call(app, (PUBLISHABLE_KEY, "a.b.c"), method.clone(), path, body.clone()).await;
            assert_eq!(forged.status, 401, "{method} {path}");
            let answer = call(app, both, method.clone(), path, body).await;
            assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
        }
    }
}
