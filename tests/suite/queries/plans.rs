//! Declared indexes are used: the tests ask the database for the plans of the statements that read lists.

use std::time::Duration;

use coir::{
    domain::DocumentId,
    query::{
        Filter,
        page::{Page, Sort},
        parse::{parse_json, parse_pairs},
    },
    store::{
        Db, Lane, ReadConnection,
        collections::catalog::Catalogs,
        documents::{
            explain::{self, Access, Explanation, ListPlan},
            list::{self, ListQuery, Listing, list_statement},
            snapshots::{self, AccessPath, SnapshotQuery},
        },
        log::{changes::PageSize, ends},
    },
};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::harness::{TestApp, indexes::declare, on_both_databases, path_with};

const DOCUMENTS: usize = 3000;

/// A filter as a client writes it.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Json(&'a str),
    Url(&'a [(&'a str, &'a str)]),
}

impl Asked<'_> {
    fn filter(self) -> Filter {
        match self {
            Self::Json(text) => parse_json(text).unwrap(),
            Self::Url(pairs) => parse_pairs(pairs.iter().copied()).unwrap(),
        }
    }
}

/// Reads the database of a server directly, beside the server.
struct Reader {
    db: Db,
    catalogs: Catalogs,
}

impl Reader {
    async fn connect(app: &TestApp) -> Self {
        let config = &app.config;
        let db = Db::connect(&config.database_url, config.durability, Duration::from_secs(10)).await.unwrap();
        Self { catalogs: Catalogs::new(db.clone()), db }
    }

    /// Returns how the database reads two pages of a list: the first one, and the one after some documents.
    async fn accesses(&self, collection: &str, asked: Asked<'_>, sort: &str) -> Vec<Vec<Access>> {
        let filter = asked.filter();
        let sort = Sort::parse(sort, None).unwrap();
        let mut page = Page { sort, limit: 21, offset: 0, after: None };
        let first = self.explain(collection, &filter, &page).await;
        let last = self.list(collection, &filter, &page).await;
        page.after = Some(page.sort.place_of(&last));
        vec![first, self.explain(collection, &filter, &page).await]
    }

    /// Returns whether a snapshot uses an index, and how the database reads its first page and a page after an id.
    async fn snapshot_accesses(&self, collection: &str, asked: Asked<'_>) -> (bool, Vec<Vec<Access>>) {
        let (catalog, project) = self.catalog().await;
        let (collection, filter) = (catalog.find(collection).unwrap().id.clone(), asked.filter());
        let read = move |db: ReadConnection| async move {
            let indexes = catalog.indexes_of(&collection);
            let path = snapshots::choose_path(&db, &collection, &filter, indexes).await?;
            let size = PageSize { entries: 128, bytes: 128 * 1024 };
            let after = DocumentId::parse("00000000-0000-0000-0000-000000000000").unwrap();
            let mut pages = Vec::new();
            for after in [None, Some(&after)] {
                let backend = db.get_database_backend();
                let query = SnapshotQuery {
                    project: &project,
                    collection: &collection,
                    filter: &filter,
                    indexes,
                    path,
                    after,
                    size,
                };
                let statement = snapshots::page_statement(query, backend);
                pages.push(explain::explain_statement(&db, &statement, indexes).await?);
            }
            Ok((path == AccessPath::ByIndex, pages))
        };
        self.db.read(Lane::Scan, read).await.unwrap()
    }

    async fn explain(&self, collection: &str, filter: &Filter, page: &Page) -> Vec<Access> {
        let (catalog, project) = self.catalog().await;
        let (collection, filter, page) =
            (catalog.find(collection).unwrap().id.clone(), filter.clone(), page.clone());
        let read = move |db: ReadConnection| async move {
            let indexes = catalog.indexes_of(&collection);
            let listing = Listing { collection: &collection, indexes, filter: &filter, page: &page };
            let query = ListQuery { project: &project, listing, max_bytes: usize::MAX };
            explain::explain_statement(&db, &list_statement(query, db.get_database_backend()), indexes).await
        };
        self.db.read(Lane::Scan, read).await.unwrap()
    }

    /// Returns how the database reads a list, as the explain route reports it.
    async fn explain_list(&self, collection: &str, filter: &Filter, page: &Page) -> Explanation {
        let (catalog, _) = self.catalog().await;
        let (collection, filter, page) =
            (catalog.find(collection).unwrap().id.clone(), filter.clone(), page.clone());
        let read = move |db: ReadConnection| async move {
            let indexes = catalog.indexes_of(&collection);
            let listing = Listing { collection: &collection, indexes, filter: &filter, page: &page };
            explain::explain_list(&db, listing).await
        };
        self.db.read(Lane::Scan, read).await.unwrap()
    }

    async fn list(&self, collection: &str, filter: &Filter, page: &Page) -> coir::domain::Document {
        let (catalog, project) = self.catalog().await;
        let (collection, filter, page) =
            (catalog.find(collection).unwrap().id.clone(), filter.clone(), page.clone());
        let read = move |db| async move {
            let indexes = catalog.indexes_of(&collection);
            let listing = Listing { collection: &collection, indexes, filter: &filter, page: &page };
            let query = ListQuery { project: &project, listing, max_bytes: usize::MAX };
            list::list(&db, query, |_| true).await
        };
        let listed = self.db.read(Lane::Scan, read).await.unwrap().unwrap();
        listed.documents.last().cloned().expect("every case finds documents")
    }

    async fn catalog(
        &self,
    ) -> (std::sync::Arc<coir::store::collections::catalog::Catalog>, coir::domain::ProjectId) {
        let heads = self.db.read(Lane::Point, |db| async move { ends::list(&db).await }).await.unwrap();
        let project = heads.ends[0].project.clone();
        (self.catalogs.get(&project).await.unwrap(), project)
    }
}

/// Fills a collection with documents whose fields have several types.
async fn fill(app: &TestApp, collection: &str) {
    for begin in (0..DOCUMENTS).step_by(500) {
        let document = |n: usize| {
            json!({
                "n": n,
                "name": format!("name {n:05}"),
                "status": (["draft", "review", "published"][n % 3]),
                "room": if n.is_multiple_of(2) { json!(n % 40) } else { json!((n % 40).to_string()) },
                "a": { "b": [n % 50] },
                "flag": n.is_multiple_of(7),
            })
        };
        let documents: Vec<_> = (begin..begin + 500).map(document).collect();
        let answer =
            app.post(&format!("/collections/{collection}/batch"), json!({ "documents": documents })).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
    if app.config.database_url.starts_with("postgres") {
        // PostgreSQL does this by itself from time to time.
        app.sql().await.execute("ANALYZE documents").await;
    }
}

on_both_databases! {
    async fn an_index_serves_equality_range_and_sort_both_ways(app: &TestApp) {
        fill(app, "others").await;
        fill(app, "things").await;
        let fields = [
            vec!["n"], vec!["name"], vec!["status", "-createdAt"], vec!["room", "n"], vec!["a.b.0"],
            vec!["flag", "-n", "name"],
        ];
        let indexes: Vec<_> = fields.iter().map(|fields| json!({ "fields": fields })).collect();
        declare(app, "things", json!(indexes)).await;
        let reader = Reader::connect(app).await;
        use Asked::{Json, Url};
        for (why, asked, sort) in [
            ("equality of a number", Json(r#"{"n":1500}"#), "n"),
            ("equality of a string", Json(r#"{"name":"name 00017"}"#), "name"),
            ("equality of text from a URL", Url(&[("n", "1500")]), "n"),
            ("a range", Json(r#"{"n__gte":100,"n__lt":400}"#), "n"),
            ("a range, the greatest first", Json(r#"{"n__gte":100,"n__lt":400}"#), "-n"),
            ("a range of strings", Json(r#"{"name__gt":"name 02"}"#), "name"),
            ("a range from a URL, of numbers and strings", Url(&[("n__gte", "100")]), "n"),
            ("the same range, the greatest first", Url(&[("n__gte", "100")]), "-n"),
            ("a sort alone", Json("{}"), "name"),
            ("a sort, the greatest first", Json("{}"), "-name"),
            ("a sort by a number", Json("{}"), "-n"),
            ("equality, then the newest", Json(r#"{"status":"draft"}"#), "-createdAt"),
            ("equality, then the oldest", Json(r#"{"status":"draft"}"#), "createdAt"),
            ("equality from a URL, then the newest", Url(&[("status", "draft")]), "-createdAt"),
            ("a number or string, then a sort", Url(&[("room", "8")]), "n"),
            ("a number or string, then the opposite sort", Url(&[("room", "8")]), "-n"),
            ("a number or string, then a range", Url(&[("room", "8"), ("n__gt", "5")]), "n"),
            ("a short list, then a sort", Json(r#"{"status__in":["draft","review"]}"#), "-createdAt"),
            ("inside arrays and objects", Json(r#"{"a.b.0":7}"#), "a.b.0"),
            ("a compound index, in two directions", Json(r#"{"flag":true}"#), "-n,name"),
            ("a compound index, in the opposite directions", Json(r#"{"flag":true}"#), "n,-name"),
            ("a sort by all fields of a compound index", Json("{}"), "flag,-n,name"),
            ("the order of all types", Json("{}"), "room,n"),
        ] {
            for (page, accesses) in reader.accesses("things", asked, sort).await.iter().enumerate() {
                assert!(!accesses.is_empty(), "{why}, page {page}");
                for (place, access) in accesses.iter().enumerate() {
                    let index = access.index.as_deref().unwrap_or_default();
                    // The page after a document of a sort in two directions has ranges that are equal in all but the last
                    // fields. They have so few documents that PostgreSQL may use another index and sort them.
                    let is_rest = page > 0 && place > 0 && app.config.database_url.starts_with("postgres");
                    assert!(index.starts_with("coir_index_") || is_rest, "{why}, page {page}: {accesses:?}");
                    assert!(!access.is_sorted || is_rest, "{why}, page {page}: {accesses:?}");
                    let is_filtered = !matches!(asked, Json("{}"));
                    assert!(access.is_narrowed || !is_filtered, "{why}, page {page}: {accesses:?}");
                }
            }
        }
        // A long list of values can't be read in the order of the sort, but the index finds its documents.
        let list = Json(r#"{"n__in":[1,2,3,5,8,13,21,34,55,89,144,233,377,610,987,1597,2584,1000,1001,1002,1003,1004]}"#);
        let accesses = reader.accesses("things", list, "n").await;
        assert!(accesses[0].iter().all(|access| access.is_narrowed), "{accesses:?}");
        assert!(accesses[0][0].index.as_deref().unwrap().starts_with("coir_index_"), "{accesses:?}");
        // A collection without declared indexes has none that narrows this filter.
        let accesses = reader.accesses("others", Json(r#"{"n__gte":100}"#), "-createdAt").await;
        assert!(!accesses[0][0].is_narrowed, "{accesses:?}");
    }

    async fn a_snapshot_of_few_documents_is_read_by_an_index_and_one_of_many_by_their_ids(app: &TestApp) {
        fill(app, "others").await;
        fill(app, "things").await;
        declare(app, "things", json!([{ "fields": ["room", "n"] }, { "fields": ["n"] }])).await;
        let reader = Reader::connect(app).await;
        use Asked::{Json, Url};
        for (why, asked, expected) in [
            ("equality", Json(r#"{"n":1500}"#), true),
            ("text from a URL", Url(&[("room", "8")]), true),
            ("a range", Json(r#"{"n__gte":100,"n__lt":400}"#), true),
            ("a range and a field without an index", Json(r#"{"n__gte":100,"status":"draft"}"#), true),
            ("the newest", Json(r#"{"createdAt__gt":"2999-01-01"}"#), true),
            ("no filter", Json("{}"), false),
            ("a field without an index", Json(r#"{"status":"draft"}"#), false),
            ("another field without an index", Json(r#"{"name":"name 00017"}"#), false),
        ] {
            let (few, pages) = reader.snapshot_accesses("things", asked).await;
            assert_eq!(few, expected, "{why}");
            for (page, accesses) in pages.iter().enumerate() {
                let (own, others): (Vec<_>, Vec<_>) = accesses.iter().partition(|access| {
                    let index = access.index.as_deref().unwrap_or_default();
                    index.starts_with("coir_index_") || index == "documents_by_age"
                });
                assert_eq!(own.is_empty(), !few, "{why}, page {page}: {accesses:?}");
                assert!(own.iter().all(|access| access.is_narrowed), "{why}, page {page}: {accesses:?}");
                // The other accesses read by id, and only the documents that the index found.
                assert!(others.iter().all(|access| access.index.is_some()), "{why}, page {page}: {accesses:?}");
                assert!(!few || others.iter().all(|access| access.is_narrowed), "{why}, page {page}: {accesses:?}");
            }
        }
    }

    async fn an_explanation_names_the_index_and_counts_the_documents_that_are_looked_at(app: &TestApp) {
        fill(app, "things").await;
        let is_postgres = app.config.database_url.starts_with("postgres");
        let reader = Reader::connect(app).await;
        let explain = async |reader: &Reader, filter: &str, sort: &str, offset: u64| {
            let page = Page { sort: Sort::parse(sort, None).unwrap(), limit: 20, offset, after: None };
            reader.explain_list("things", &parse_json(filter).unwrap(), &page).await
        };
        let wanted = |fields: &[&str]| Some(fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>());

        let explanation = explain(&reader, "{}", "-createdAt", 5).await;
        assert_eq!((explanation.plan, explanation.rows_read), (ListPlan::Index, 25), "the newest: {explanation:?}");
        assert_eq!(explanation.index.unwrap().fields, ["createdAt", "id"]);

        let explanation = explain(&reader, r#"{"n":1500}"#, "-createdAt", 0).await;
        assert_eq!((explanation.plan, explanation.rows_read), (ListPlan::Scan, 3000), "{explanation:?}");
        assert_eq!(explanation.wanted, wanted(&["n", "-createdAt"]));

        let explanation = explain(&reader, r#"{"status":"draft"}"#, "-createdAt", 0).await;
        assert_eq!(explanation.plan, ListPlan::Scan);
        // Every third document is a draft and the newest is not one, so twenty drafts are among the newest sixty documents.
        assert_eq!(explanation.rows_read, if is_postgres { explanation.rows_read } else { 60 });
        assert!(explanation.rows_read >= 60, "the scan ends once the page is full: {explanation:?}");

        declare(app, "things", json!([{ "fields": ["status", "n"] }, { "fields": ["room"] }])).await;
        let declared = "an index of two fields";
        let reader = Reader::connect(app).await;
        for (filter, sort, rows, why) in [
            (r#"{"status":"draft","n__gte":300,"n__lt":330}"#, "n", 10, "a range behind an equality"),
            (r#"{"status":"draft"}"#, "-n", 20, "equality and the index's order"),
            (r#"{"status":"draft","flag":true}"#, "n", 134, "the filter rejects six of seven documents"),
            (r#"{"status__in":["draft","review"]}"#, "n", 40, "two ranges, each as long as the page"),
        ] {
            let explanation = explain(&reader, filter, sort, 0).await;
            assert_eq!(explanation.plan, ListPlan::Index, "{why}: {explanation:?}");
            assert_eq!(explanation.wanted, None, "{why}: {explanation:?}");
            let index = explanation.index.clone().unwrap();
            assert!(index.name.starts_with("coir_index_"), "{why}: {explanation:?}");
            assert_eq!(index.fields, ["status", "n"], "{declared}, {why}");
            let is_less = is_postgres && explanation.rows_read <= rows;
            assert!(explanation.rows_read == rows || is_less, "{why}: {explanation:?}");
        }
    }

    async fn a_list_is_the_same_with_and_without_an_index(app: &TestApp) {
        fill(app, "things").await;
        let ids = async |parameters: &[(&str, &str)]| -> Vec<Value> {
            let answer = app.get(&path_with("/collections/things", parameters)).await;
            let ids = answer.data().as_array().unwrap().iter().map(|document| document["data"]["n"].clone());
            ids.collect()
        };
        let questions: [&[(&str, &str)]; 7] = [
            &[("room", "8"), ("orderBy", "n"), ("limit", "30"), ("offset", "5")],
            &[("room", "7"), ("orderBy", "-n"), ("limit", "30")],
            &[("room", "8"), ("n__gte", "100"), ("orderBy", "-n"), ("limit", "25")],
            &[("room__in", "8,9"), ("orderBy", "n"), ("limit", "25")],
            &[("n__gte", "100"), ("orderBy", "n"), ("offset", "7")],
            &[("n__lt", "100"), ("orderBy", "-n"), ("room", "7")],
            &[("room__gt", "7"), ("orderBy", "room,n"), ("limit", "200")],
        ];
        let mut before = Vec::new();
        for question in questions {
            before.push(ids(question).await);
        }
        declare(app, "things", json!([{ "fields": ["room", "n"] }, { "fields": ["-n"] }])).await;
        for (question, before) in questions.iter().zip(before) {
            assert!(!before.is_empty(), "{question:?}");
            assert_eq!(ids(question).await, before, "{question:?}");
        }
    }
}
