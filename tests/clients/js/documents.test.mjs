// Documents, one at a time and in batches.

import assert from "node:assert/strict";
import { test } from "node:test";

import { client, fresh, KEY, library, otherProject, SECRET } from "./coir.mjs";

const db = client();

test("a document is created, read, updated, replaced and deleted", async () => {
	const posts = fresh("posts");
	const created = await db.createDocument(posts, { title: "First", tags: ["a"], n: 1 });
	assert.match(created.id, /^[0-9a-f-]{36}$/);
	assert.deepEqual(created.data, { title: "First", tags: ["a"], n: 1 });
	assert.match(created.created_at, /Z$/, "JavaScript reads a time without a zone as local time");
	assert.ok(Math.abs(new Date(created.created_at) - Date.now()) < 3_600_000);
	assert.equal(created.collection.name, posts);
	assert.equal(created.collection.id, created.collection_id);
	assert.deepEqual(created.collection.permissions, { create: [], read: [], update: [], delete: [] });

	assert.deepEqual(await db.getDocument(posts, created.id), created);
	assert.deepEqual(await db.getDocument(created.collection_id, created.id), created, "by the collection's id");

	const updated = await db.updateDocument(posts, created.id, { title: "Changed", extra: null });
	assert.deepEqual(updated.data, { title: "Changed", tags: ["a"], n: 1, extra: null });
	const replaced = await db.replaceDocument(posts, created.id, { title: "Merged" });
	assert.deepEqual(
		replaced.data,
		{ title: "Merged", tags: ["a"], n: 1, extra: null },
		"the library's replace is a merge",
	);
	const appended = await db.updateDocument(posts, created.id, { $append: { tags: ["b"] }, $remove: { tags: "a" } });
	assert.deepEqual(appended.data.tags, ["b"]);
	const nested = await db.updateDocument(posts, created.id, { data: { inside: true } });
	assert.deepEqual(nested.data.data, { inside: true }, "a field named data is kept");

	const deleted = await db.deleteDocument(posts, created.id);
	assert.equal(deleted.success, true);
	assert.equal(deleted.status, "success");
	await assert.rejects(db.getDocument(posts, created.id), library.NotFoundError);
});

test("documents are created, updated and deleted in batches", async () => {
	const posts = fresh("posts");
	const created = await db.createDocuments(posts, [{ n: 1 }, { n: 2 }, { n: 3 }]);
	assert.deepEqual(
		created.map(({ data }) => data),
		[{ n: 1 }, { n: 2 }, { n: 3 }],
	);
	const [first, second, third] = created.map(({ id }) => id);
	const updated = await db.updateDocuments(posts, { [second]: { seen: true }, [first]: { n: 10 } });
	assert.deepEqual(
		updated.map(({ id, data }) => [id, data]),
		[
			[second, { n: 2, seen: true }],
			[first, { n: 10 }],
		],
	);
	const deleted = await db.deleteDocuments(posts, [first, third, "not-there"]);
	assert.equal(deleted.status, "success");
	assert.equal(deleted.count, 2);
	assert.deepEqual(
		(await db.listDocuments(posts)).map(({ id }) => id),
		[second],
	);
	await assert.rejects(db.createDocuments(posts, []), { statusCode: 400 });
	await assert.rejects(db.updateDocuments(posts, { [second]: { n: 9 }, missing: { n: 9 } }), library.NotFoundError);
	assert.equal((await db.getDocument(posts, second)).data.n, 2, "all or nothing");
});

test("errors have the library's classes and the server's detail", async () => {
	const posts = fresh("posts");
	const { id } = await db.createDocument(posts, { n: 1 });
	const detail = (text) => (error) => {
		assert.match(error.detail.detail, text);
		return true;
	};
	await assert.rejects(db.getDocument(posts, "nothing"), (error) => {
		assert.ok(error instanceof library.NotFoundError);
		assert.equal(error.statusCode, 404);
		return detail(/^Document not found$/)(error);
	});
	await assert.rejects(db.getDocument(fresh("nothing"), id), library.NotFoundError);
	await assert.rejects(db.updateDocument(posts, "nothing", { n: 2 }), library.NotFoundError);
	await assert.rejects(db.deleteDocument(posts, "nothing"), library.NotFoundError);
	for (const key of [undefined, "", "pk_0000000000000000nobody", "nonsense"]) {
		await assert.rejects(client(key ?? "").listDocuments(posts), library.UnauthorizedError, `key ${key}`);
	}
	await assert.rejects(db.createDocument(posts, [1, 2]), (error) => {
		assert.equal(error.statusCode, 400);
		return detail(/a document must be a JSON object; this is an array/)(error);
	});
	await assert.rejects(db.createDocument("no name!", { n: 1 }), { statusCode: 400 });
	await assert.rejects(db.updateDocument(posts, id, { $inc: { n: "x" } }), { statusCode: 400 });
	await assert.rejects(
		db.listDocuments(posts, { limit: 100_000 }),
		detail(/`limit` must be a whole number from 1 to 1000/),
	);
	await assert.rejects(db.listDocuments(posts, { filters: { "a..b": 1 } }), { statusCode: 400 });
	await assert.rejects(client(KEY, { timeout: 1, baseURL: "http://127.0.0.1:9" }).listDocuments(posts));
	await assert.rejects(
		db.createDocumentWithFiles(posts, { n: 1 }, { photo: new Blob(["x"]) }),
		/doesn't store files yet/,
	);
	await assert.rejects(
		db.updateDocumentWithFiles(posts, id, { n: 1 }, { photo: new Blob(["x"]) }),
		/doesn't store files yet/,
	);
	await assert.rejects(library.uploadFile(db, new Blob(["x"])), /File upload failed/);
});

test("an unknown collection has no documents", async () => {
	assert.deepEqual(await db.listDocuments(fresh("nothing")), []);
});

test("a secret key creates and reads documents, too", async () => {
	const posts = fresh("posts");
	const { id } = await client(SECRET).createDocument(posts, { n: 1 });
	assert.equal((await db.getDocument(posts, id)).data.n, 1);
});

test("collections of the same name in two projects are separate", async () => {
	const posts = fresh("posts");
	const other = client(otherProject());
	const mine = await db.createDocument(posts, { whose: "mine" });
	const theirs = await other.createDocument(posts, { whose: "theirs" });
	assert.notEqual(mine.collection_id, theirs.collection_id);
	assert.deepEqual(
		(await db.listDocuments(posts)).map(({ data }) => data.whose),
		["mine"],
	);
	assert.deepEqual(
		(await other.listDocuments(posts)).map(({ data }) => data.whose),
		["theirs"],
	);
	await assert.rejects(other.getDocument(posts, mine.id), library.NotFoundError);
	await assert.rejects(other.getDocument(mine.collection_id, mine.id), library.NotFoundError);
	await assert.rejects(other.updateDocument(posts, mine.id, { whose: "theirs" }), library.NotFoundError);
	await assert.rejects(other.deleteDocument(posts, mine.id), library.NotFoundError);
	assert.equal((await other.deleteDocuments(posts, [mine.id])).count, 0);
	assert.equal((await db.getDocument(posts, mine.id)).data.whose, "mine");
	for (const each of [db, other]) assert.deepEqual(await each.countDocuments(posts), { count: 1 });
});
