"""The unmodified PyPI library against the server under test."""

import io
import itertools
import os
import time
import unittest
from datetime import datetime, timezone

import requests
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


class Permissions(LibraryTest):
    def test_an_action_takes_one_of_its_roles(self):
        posts = fresh("posts")
        # The library creates a collection without permissions, so a server limits it.
        made = self.db.create_collection(posts)
        limited = {"create": ["editor"], "read": [], "update": ["editor"], "delete": ["admin"]}
        answer = requests.patch(
            f"{URL}/collections/{made.id}", json={"permissions": limited}, headers={"x-api-key": SECRET}
        )
        self.assertEqual((answer.status_code, answer.json()["permissions"]), (200, limited))
        renamed = self.admin.update_collection(made.id, collection_name=fresh("posts"))
        self.assertEqual(renamed["permissions"], limited, "the library's own change keeps them")

        user = CocoBaseClient(api_key=KEY, base_url=URL)
        account = user.auth.register(f"{fresh('ada')}@example.com", Users.PASSWORD).user
        for status, db in [("401", self.db), ("403", user)]:
            with self.assertRaisesRegex(CocobaseError, status):
                db.create_document(made.id, {"n": 1})
        requests.patch(
            f"{URL}/users/{account.id}", json={"roles": ["editor"]}, headers={"x-api-key": SECRET}
        ).raise_for_status()
        document = user.create_document(made.id, {"n": 1})
        self.assertEqual(user.update_document(made.id, document.id, {"n": 2}).data, {"n": 2})
        self.assertEqual([record["n"] for record in self.db.list_documents(made.id)], [2])
        with self.assertRaisesRegex(CocobaseError, "403"):
            user.delete_document(made.id, document.id)


class Users(LibraryTest):
    PASSWORD = "correct horse"

    def sign_up(self, data=None):
        """Returns a client whose user has just signed up."""
        db = CocoBaseClient(api_key=KEY, base_url=URL)
        result = db.auth.register(f"{fresh('ada')}@example.com", self.PASSWORD, data)
        self.assertFalse(result.requires_2fa)
        return db, result.user

    def test_a_user_signs_up_in_and_out(self):
        db, user = self.sign_up({"username": "ada"})
        self.assertEqual((user.data, user.roles), ({"username": "ada"}, []))
        self.assertTrue(user.id and user.client_id and user.created_at)
        self.assertTrue(db.auth.is_authenticated())
        self.assertFalse(db.auth.has_role("admin"))
        self.assertEqual(db.auth.get_current_user().to_dict(), user.to_dict())
        db.auth.logout()
        self.assertFalse(db.auth.is_authenticated())
        again = db.auth.login(user.email, self.PASSWORD)
        self.assertEqual((again.requires_2fa, again.user.to_dict()), (False, user.to_dict()))

    def test_refusals_are_shown(self):
        _, user = self.sign_up()
        auth = self.db.auth
        for call, part in [
            (lambda: auth.login(user.email, "wrong horse"), "401 - .*Invalid e-mail address or password"),
            (lambda: auth.login("nobody@example.com", self.PASSWORD), "401 - .*Invalid e-mail address or password"),
            (lambda: auth.register(user.email, self.PASSWORD), "400 - .*another user has this e-mail address"),
            (lambda: auth.register("x@example.com", "short"), "400 - .*8 to 256 bytes"),
            (lambda: auth.register("x@example.com", self.PASSWORD, roles=["admin"]), "400 - .*secret key"),
            (lambda: auth.login_with_google("x"), "404 - .*Google"),
            (lambda: auth.login_with_github("x", "http://127.0.0.1/"), "404 - .*GitHub"),
            (lambda: auth.register_with_files("x@example.com", self.PASSWORD, files={"a": io.BytesIO(b"x")}), "files yet"),
            (lambda: auth.list_users(), "403"),
        ]:
            with self.assertRaisesRegex(CocobaseError, part):
                call()
        auth.set_token("a.b.c")
        with self.assertRaisesRegex(CocobaseError, "401"):
            auth.get_current_user()
        with self.assertRaisesRegex(CocobaseError, "401"):
            self.db.list_documents(fresh("posts"))
        self.assertEqual(auth.login(user.email, self.PASSWORD).user.id, user.id)

    def test_a_user_changes_the_account(self):
        db, user = self.sign_up({"name": "Ada", "n": 1})
        changed = db.auth.update_user({"n": 2})
        self.assertEqual((changed.id, changed.data), (user.id, {"name": "Ada", "n": 2}))
        email = f"{fresh('ada')}@example.com"
        moved = db.auth.update_user(email=email, password="battery staple")
        self.assertEqual((moved.email, moved.data), (email, changed.data))
        self.assertEqual(db.auth.update_user().to_dict(), moved.to_dict())
        self.assertEqual(self.db.auth.login(email, "battery staple").user.id, user.id)
        with self.assertRaisesRegex(CocobaseError, "files yet"):
            db.auth.update_user_with_files({"n": 3}, files={"photo": io.BytesIO(b"x")})

    def test_a_server_lists_and_finds_users_and_a_user_only_themselves(self):
        team = fresh("team")
        (db, ada), (_, bob) = self.sign_up({"team": team, "age": 36}), self.sign_up({"team": team, "age": 9})
        for query, expected in [
            ({}, [bob, ada]),
            ({"sort": "data.age", "order": "desc"}, [ada, bob]),
            ({"email": ada.email}, [ada]),
            ({"data.age_lt": 10}, [bob]),
            ({"email_verified": False}, [bob, ada]),
            ({"roles_contains": "admin"}, []),
        ]:
            found = self.admin.auth.list_users({"data.team": team, **query})
            self.assertEqual(found["data"], [user.to_dict() for user in expected], query)
            self.assertEqual((found["total"], found["offset"], found["has_more"]), (len(expected), 0, False))
        self.assertEqual(self.admin.auth.get_user_by_id(bob.id).to_dict(), bob.to_dict())
        self.assertEqual(db.auth.list_users()["data"], [ada.to_dict()])
        self.assertEqual(db.auth.get_user_by_id(ada.id).email, ada.email)
        with self.assertRaisesRegex(CocobaseError, "404 - .*User not found"):
            db.auth.get_user_by_id(bob.id)

    def mailed(self, email, behind):
        """Waits for the newest mail to an address, and returns what stands behind a text in it."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            for mail in requests.get(f"{URL}/outbox", headers={"x-api-key": SECRET}).json()["data"]:
                if mail["to"] == email and behind in mail["text"]:
                    return mail["text"].split(behind)[1].split()[0]
        self.fail(f"no mail to {email}")

    def test_a_user_verifies_the_address_and_signs_in_by_a_code(self):
        db, user = self.sign_up()
        self.assertEqual(db.auth.request_email_verification()["expires_in_hours"], 24)
        db.auth.resend_verification_email()
        verified = db.auth.verify_email(self.mailed(user.email, "coir=verify-email&token="))
        self.assertIs(verified["email_verified"], True)
        self.assertIs(db.auth.get_current_user().to_dict()["email_verified"], True)
        self.db.auth.send_2fa_code(user.email)
        code = self.mailed(user.email, "Your code is ")[:6]
        self.assertEqual(self.db.auth.verify_2fa_login(user.email, code).id, user.id)
        for call in [
            lambda: db.auth.verify_email("x"),
            lambda: self.db.auth.verify_2fa_login(user.email, code),
        ]:
            with self.assertRaisesRegex(CocobaseError, "400"):
                call()
        db.auth.enable_2fa()
        self.assertTrue(self.db.auth.login(user.email, self.PASSWORD).requires_2fa)
        self.db.auth.send_2fa_code(user.email)
        used = code
        while code == used:
            code = self.mailed(user.email, "Your code is ")[:6]
        self.assertEqual(self.db.auth.verify_2fa_login(user.email, code).id, user.id)
        self.db.auth.disable_2fa()
        self.assertFalse(self.db.auth.login(user.email, self.PASSWORD).requires_2fa)

    def test_documents_are_written_with_a_users_token_beside_the_key(self):
        db, user = self.sign_up({"name": "Ada"})
        posts = fresh("posts")
        db.create_document(posts, {"author_id": user.id})
        [record] = db.list_documents(posts, QueryBuilder().from_dict({"populate": "author:appuser"}))
        self.assertEqual((record["author"]["email"], record["author"]["name"]), (user.email, "Ada"))


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
