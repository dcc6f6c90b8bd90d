// Lists: every operator with documents that match and documents that do not; or-groups, sorting, pages.

import assert from "node:assert/strict";
import { before, test } from "node:test";

import { client, fresh } from "./coir.mjs";

const db = client();
const people = fresh("people");

before(async () => {
	await db.createDocuments(people, [
		{ name: "Ada", email: "ada@example.com", age: 36, code: 36, role: "admin", active: true, joined: "2024-01-05" },
		{ name: "Grace", email: "grace@navy.mil", age: 45, role: "user", active: false, joined: "2024-03-01", left: null },
		{
			name: "Linus",
			email: "linus@example.com",
			age: 9,
			role: "moderator",
			active: true,
			joined: "2024-02-01",
			left: "2024-05-05",
		},
		{ name: "100%", email: "percent@example.com", code: "36", role: "user", active: true, joined: "2023-12-31" },
	]);
});

async function names(filters, query = {}) {
	return (await db.listDocuments(people, { filters, ...query })).map(({ data }) => data.name).sort();
}

for (const [why, filters, expected] of [
	["equal text", { role: "admin" }, ["Ada"]],
	["eq", { role_eq: "admin" }, ["Ada"]],
	["text from a URL is the number or the string", { code: 36 }, ["100%", "Ada"]],
	["a boolean", { active: true }, ["100%", "Ada", "Linus"]],
	["the other boolean", { active: false }, ["Grace"]],
	["ne", { role_ne: "user" }, ["Ada", "Linus"]],
	["ne of a missing field", { left_ne: "2024-05-05" }, ["100%", "Ada", "Grace"]],
	["gt", { age_gt: 36 }, ["Grace"]],
	["gte", { age_gte: 45 }, ["Grace"]],
	["lt", { age_lt: 36 }, ["Linus"]],
	["lte", { age_lte: 9 }, ["Linus"]],
	["dates compare as text", { joined_gte: "2024-02-01" }, ["Grace", "Linus"]],
	["contains, whatever the case", { name_contains: "A" }, ["Ada", "Grace"]],
	["a percent sign is itself", { name_contains: "%" }, ["100%"]],
	["an underscore is itself", { name_contains: "_" }, []],
	["startswith", { email_startswith: "LIN" }, ["Linus"]],
	["endswith", { email_endswith: "@example.com" }, ["100%", "Ada", "Linus"]],
	["in", { role_in: "admin, moderator" }, ["Ada", "Linus"]],
	["in, with an array", { role_in: ["admin", "moderator"] }, ["Ada", "Linus"]],
	["notin", { role_notin: "admin,moderator" }, ["100%", "Grace"]],
	["isnull: null or missing", { left_isnull: true }, ["100%", "Ada", "Grace"]],
	["isnull=false", { left_isnull: false }, ["Linus"]],
	["several filters must all match", { active: true, age_gte: 10 }, ["Ada"]],
	["null and undefined are left out", { role: "admin", left: null, other: undefined }, ["Ada"]],
	["any of several fields", { name__or__email_contains: "navy" }, ["Grace"]],
	["one or-group", { "[or]age_gte": 40, "[or]role": "admin" }, ["Ada", "Grace"]],
	[
		"named or-groups and a plain filter",
		{ "[or:a]role": "admin", "[or:a]age_gt": 40, "[or:b]active": true, "[or:b]name": "Nobody", email_contains: "@" },
		["Ada"],
	],
	["created_at is the document's own time", { created_at_gte: "2020-01-01" }, ["100%", "Ada", "Grace", "Linus"]],
	["created_at in the future", { created_at_gte: "2999-01-01" }, []],
	["no document matches", { role: "nobody" }, []],
]) {
	test(`filter: ${why}`, async () => {
		assert.deepEqual(await names(filters), expected);
	});
}

test("documents are sorted newest first, or by a field", async () => {
	const listed = async (query) => (await db.listDocuments(people, query)).map(({ data }) => data.name);
	const oldestFirst = await listed({ sort: "created_at", order: "asc" });
	assert.deepEqual(await listed(), [...oldestFirst].reverse());
	assert.deepEqual(
		await listed({ sort: "age", filters: { age_gte: 0 } }),
		["Grace", "Ada", "Linus"],
		"descending by default; numbers by value",
	);
	assert.deepEqual(await listed({ sort: "name", order: "asc" }), ["100%", "Ada", "Grace", "Linus"]);
});

test("limit and offset select a page, and the pager moves between pages", async () => {
	const query = { sort: "name", order: "asc" };
	assert.deepEqual(await names({}, { ...query, limit: 2, offset: 1 }), ["Ada", "Grace"]);
	const pager = db.paginate(people, query, 3);
	const first = await pager.nextPage();
	assert.deepEqual(
		first.data.map(({ data }) => data.name),
		["100%", "Ada", "Grace"],
	);
	assert.equal(first.hasMore, true);
	const last = await pager.nextPage();
	assert.deepEqual(
		last.data.map(({ data }) => data.name),
		["Linus"],
	);
	assert.equal(last.hasMore, false);
	assert.deepEqual((await pager.prevPage()).data, first.data);
	assert.deepEqual((await pager.goToPage(1)).data, last.data);
});

test("count and aggregates ignore limit, offset and sort", async () => {
	assert.deepEqual(await db.countDocuments(people), { count: 4 });
	assert.deepEqual(
		await db.countDocuments(people, {
			filters: { active: true },
			limit: 1,
			offset: 3,
			sort: "age",
			populate: "x",
			select: ["name"],
		}),
		{ count: 3 },
	);
	assert.deepEqual(await db.countDocuments(people, { filters: { "[or]age_gte": 40, "[or]role": "admin" } }), {
		count: 2,
	});
	assert.deepEqual(await db.countDocuments(fresh("nothing")), { count: 0 });
	for (const [operation, result] of [
		["count", 3],
		["sum", 90],
		["avg", 30],
		["min", 9],
		["max", 45],
	]) {
		assert.deepEqual(
			await db.aggregateDocuments(people, { field: "age", operation }),
			{ field: "age", operation, result, collection: people },
			operation,
		);
	}
	assert.equal(
		(
			await db.aggregateDocuments(people, {
				field: "age",
				operation: "sum",
				query: { filters: { active: true }, limit: 1, sort: "age" },
			})
		).result,
		45,
	);
	for (const [operation, result] of [
		["count", 0],
		["sum", 0],
		["avg", null],
		["min", null],
	]) {
		assert.equal(
			(await db.aggregateDocuments(fresh("nothing"), { field: "age", operation })).result,
			result,
			operation,
		);
		assert.equal(
			(await db.aggregateDocuments(people, { field: "age", operation, query: { filters: { name: "nobody" } } })).result,
			result,
			operation,
		);
	}
	await assert.rejects(db.aggregateDocuments(people, { field: "age", operation: "median" }), { statusCode: 400 });
	await assert.rejects(db.aggregateDocuments(people, { field: "", operation: "sum" }), { statusCode: 400 });
});

test("select keeps the named fields", async () => {
	const [ada] = await db.listDocuments(people, { filters: { name: "Ada" }, select: ["name", "age"] });
	assert.deepEqual(ada.data, { name: "Ada", age: 36 });
	assert.match(ada.id, /^[0-9a-f-]{36}$/);
});

test("populate joins the documents that others name", async () => {
	const [authors, books] = [fresh("authors"), fresh("books")];
	const ada = await db.createDocument(authors, { name: "Ada" });
	const book = await db.createDocument(books, { title: "Notes", author_id: ada.id, note: "x" });
	await db.createDocument(books, { title: "Anonymous" });
	for (const populate of [`author:${authors}`, [`author:${authors}`]]) {
		const [anonymous, notes] = await db.listDocuments(books, { populate });
		assert.equal(notes.data.title, "Notes");
		for (const author of [notes.data.author, notes.author]) {
			assert.equal(author.id, ada.id);
			assert.equal(author.name, "Ada", "beside the id, as Cocobase's server returns it");
			assert.equal(author.data.name, "Ada", "and in data, as the library's types declare it");
		}
		assert.equal(notes.data.author_id, ada.id);
		assert.equal(anonymous.data.title, "Anonymous");
		assert.equal(anonymous.author, null);
	}
	const [selected] = await db.listDocuments(books, {
		filters: { title: "Notes" },
		populate: `author:${authors}`,
		select: ["title"],
	});
	assert.deepEqual(Object.keys(selected.data).sort(), ["author", "title"]);
	assert.equal(book.data.note, "x");
});
