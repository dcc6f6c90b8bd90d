"""The unmodified PyPI library against the server under test."""

import io
import itertools
import os
import unittest
from datetime import datetime, timezone

from cocobase_client import CocobaseError, CocoBaseClient, QueryBuilder

URL, KEY, SECRET = (os.environ[name] for name in ("COIR_URL", "COIR_KEY", "COIR_SECRET"))
NUMBERS = itertools.count(1)


def fresh(name):
    """Returns the name of a collection that no other test uses."""
    return f"{name}{os.getpid()}x{next(NUMBERS)}"


class LibraryTest(unittest.TestCase):
    def setUp(self):
        self.db = CocoBaseClient(api_key=KEY, base_url=URL)
        self.admin = CocoBaseClient(api_key=SECRET, base_url=URL)


class Documents(LibraryTest):
    def test_a_document_is_created_read_updated_and_deleted(self):
        posts = fresh("posts")
        created = self.db.create_document(posts, {"title": "First", "n": 1})
        self.assertEqual(created.data, {"title": "First", "n": 1}, "the library wraps data twice, so the server unwraps it twice")
        self.assertEqual(created.createdAt.utcoffset().total_seconds(), 0)
        self.assertLess(abs((datetime.now(timezone.utc) - created.createdAt).total_seconds()), 3600)
        self.assertEqual(created.collection["name"], posts)
        self.assertEqual(created.collection["id"], created.collectionId)

        read = self.db.get_document(posts, created.id)
        self.assertEqual((read.id, read.data), (created.id, created.data))
        updated = self.db.update_document(posts, created.id, {"title": "Changed"})
        self.assertEqual(updated.data, {"title": "Changed", "n": 1})
        self.assertEqual(self.db.update_document(posts, created.id, {}).data, updated.data)
        self.assertTrue(self.db.delete_document(posts, created.id))
        with self.assertRaisesRegex(CocobaseError, "Document not found"):
            self.db.get_document(posts, created.id)

    def test_documents_are_found_by_their_fields(self):
        posts = fresh("posts")
        self.db.create_document(posts, {"title": "First"})
        self.db.create_document(posts, {"title": "Second"})
        found = self.db.list_documents(posts, QueryBuilder().eq("title", "First"))
        self.assertEqual([record["title"] for record in found], ["First"])

    def test_documents_are_created_updated_and_deleted_in_batches(self):
        posts = fresh("posts")
        created = self.db.create_documents(posts, [{"n": 1}, {"n": 2}])
        self.assertEqual([record["n"] for record in created], [1, 2])
        first, second = (record.id for record in created)
        updated = self.db.update_documents(posts, {second: {"seen": True}, first: {"n": 10}})
        self.assertEqual([(r.id, r.data) for r in updated], [(second, {"n": 2, "seen": True}), (first, {"n": 10})])
        deleted = self.db.delete_documents(posts, [first, "not-there"])
        self.assertEqual((deleted["status"], deleted["count"]), ("success", 1))
        self.assertEqual([record.id for record in self.db.list_documents(posts)], [second])


class Queries(LibraryTest):
    def setUp(self):
        super().setUp()
        self.people = fresh("people")
        self.db.create_documents(
            self.people,
            [
                {"name": "Ada", "age": 36, "active": True, "role": "admin"},
                {"name": "Grace", "age": 45, "active": False, "role": "user"},
                {"name": "Linus", "age": 9, "active": True, "role": "moderator", "left": "2024-05-05"},
            ],
        )

    def names(self, query):
        return sorted(record["name"] for record in self.db.list_documents(self.people, query))

    def test_each_operator_finds_the_documents_that_match(self):
        build = QueryBuilder
        for query, expected in [
            (build().eq("role", "admin"), ["Ada"]),
            (build().eq("age", 36), ["Ada"]),
            (build().eq("active", True), ["Ada", "Linus"]),  # sent as `True`
            (build().eq("active", False), ["Grace"]),
            (build().contains("name", "A"), ["Ada", "Grace"]),
            (build().gt("age", 36), ["Grace"]),
            (build().gte("age", 36), ["Ada", "Grace"]),
            (build().lt("age", 36), ["Linus"]),
            (build().lte("age", 36), ["Ada", "Linus"]),
            (build().gte("age", 10).eq("active", True), ["Ada"]),
            (build().from_dict({"role_in": "admin,user"}), ["Ada", "Grace"]),
            (build().from_dict({"role_notin": "admin,user"}), ["Linus"]),
            (build().from_dict({"role_ne": "admin"}), ["Grace", "Linus"]),
            (build().from_dict({"left_isnull": True}), ["Ada", "Grace"]),
            (build().from_dict({"left_isnull": False}), ["Linus"]),
            (build().from_dict({"name_startswith": "li"}), ["Linus"]),
            (build().from_dict({"name_endswith": "CE"}), ["Grace"]),
            (build().from_dict({"name__or__role_contains": "ad"}), ["Ada"]),
            (build().from_dict({"[or]age_gt": 40, "[or]role": "admin"}), ["Ada", "Grace"]),
            (build().from_dict({"[or:a]age_gt": 40, "[or:a]role": "admin", "[or:b]active": True}), ["Ada"]),
            (build().eq("role", "nobody"), []),
        ]:
            with self.subTest(query.build()):
                self.assertEqual(self.names(query), expected)

    def test_limit_offset_and_sort_select_a_page(self):
        by_age = QueryBuilder().from_dict({"sort": "age", "order": "asc"})
        listed = self.db.list_documents(self.people, by_age.limit(1).offset(1))
        self.assertEqual([record["name"] for record in listed], ["Ada"])

    def test_count_and_aggregates_ignore_limit(self):
        self.assertEqual(self.db.count_documents(self.people), {"count": 3})
        active = QueryBuilder().eq("active", True).limit(1)
        self.assertEqual(self.db.count_documents(self.people, active), {"count": 2})
        for operation, result in [("count", 3), ("sum", 90), ("avg", 30), ("min", 9), ("max", 45)]:
            answer = self.db.aggregate_documents(self.people, "age", operation)
            expected = {"field": "age", "operation": operation, "result": result, "collection": self.people}
            self.assertEqual(answer, expected)
        self.assertEqual(self.db.aggregate_documents(self.people, "age", "sum", active)["result"], 45)
        with self.assertRaisesRegex(CocobaseError, "count, sum, avg, min or max"):
            self.db.aggregate_documents(self.people, "age", "median")

    def test_select_and_populate_work_together(self):
        authors, books = fresh("authors"), fresh("books")
        ada = self.db.create_document(authors, {"name": "Ada"})
        self.db.create_document(books, {"title": "Notes", "author_id": ada.id})
        joined = QueryBuilder().from_dict({"populate": f"author:{authors}", "select": "title"})
        [record] = self.db.list_documents(books, joined)
        self.assertEqual((record["title"], record["author"]["name"]), ("Notes", "Ada"))
        self.assertNotIn("author_id", record.data)

    def test_an_unknown_collection_has_no_documents(self):
        self.assertEqual(self.db.list_documents(fresh("nothing")), [])


class Collections(LibraryTest):
    def test_a_collection_is_created_renamed_and_deleted(self):
        name, other = fresh("made"), fresh("renamed")
        made = self.db.create_collection(name)
        self.assertEqual((made.name, made.createdAt.utcoffset().total_seconds()), (name, 0))
        with self.assertRaisesRegex(CocobaseError, "Invalid Request"):
            self.db.create_collection(name)
        renamed = self.admin.update_collection(made.id, collection_name=other)
        self.assertEqual((renamed["id"], renamed["name"]), (made.id, other))
        with self.assertRaisesRegex(CocobaseError, "403"):
            self.db.update_collection(made.id, collection_name=name)
        with self.assertRaisesRegex(CocobaseError, "403"):
            self.db.delete_collection(made.id)
        self.assertTrue(self.admin.delete_collection(other))
        with self.assertRaisesRegex(CocobaseError, "Collection not found"):
            self.admin.delete_collection(other)
        with self.assertRaisesRegex(CocobaseError, "Collection not found"):
            self.admin.update_collection(other, collection_name=name)

    def test_a_webhook_is_refused(self):
        with self.assertRaisesRegex(CocobaseError, "no webhooks yet"):
            self.db.create_collection(fresh("made"), webhookurl="https://example.com/hook")


class Errors(LibraryTest):
    def test_each_error_status_raises_the_librarys_error(self):
        posts = fresh("posts")
        for key in ["pk_0000000000000000nobody", "nonsense", None]:
            with self.assertRaisesRegex(CocobaseError, "401"):
                CocoBaseClient(api_key=key, base_url=URL).list_documents(posts)
        record = self.db.create_document(posts, {"n": 1})
        for call in [
            lambda: self.db.get_document(posts, "nothing"),
            lambda: self.db.update_document(posts, "nothing", {"n": 1}),
            lambda: self.db.delete_document(posts, "nothing"),
        ]:
            with self.assertRaisesRegex(CocobaseError, "Document not found"):
                call()
        with self.assertRaisesRegex(CocobaseError, "Invalid Request"):
            self.db.create_document("9 bad name", {"n": 1})
        with self.assertRaisesRegex(CocobaseError, "Invalid Request"):
            self.db.list_documents(posts, QueryBuilder().limit(100000))
        with self.assertRaisesRegex(CocobaseError, "store files yet"):
            self.db.create_document_with_files(posts, {"n": 1}, {"photo": io.BytesIO(b"x")})
        with self.assertRaisesRegex(CocobaseError, "store files yet"):
            self.db.update_document_with_files(posts, record.id, {"n": 1}, {"photo": io.BytesIO(b"x")})
        with self.assertRaisesRegex(CocobaseError, "File upload failed"):
            self.db.upload_file(io.BytesIO(b"x"))


if __name__ == "__main__":
    unittest.main()
