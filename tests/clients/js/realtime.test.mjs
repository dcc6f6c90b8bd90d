// Watchers, live queries, broadcasts and rooms, also after their connections were cut.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import { client, cut, fresh, inbox, KEY, otherProject, soon } from "./coir.mjs";

const db = client();

/** Connects a watcher and returns an inbox of `[kind, event]`. */
async function watch(t, collection, filters, of = db) {
	const events = inbox();
	const watcher = of.realtime.collection(collection, filters);
	watcher.onConnected((event) => events.put(["connected", event]));
	watcher.onCreate((event) => events.put(["create", event]));
	watcher.onUpdate((event) => events.put(["update", event]));
	watcher.onDelete((event) => events.put(["delete", event]));
	watcher.onReconnect(() => events.put(["reconnect"]));
	watcher.connect();
	t.after(() => watcher.disconnect());
	const [kind, connected] = await events.next();
	assert.equal(kind, "connected");
	assert.equal(connected.collection_id, collection);
	return Object.assign(events, { watcher, connected });
}

test("a watcher is told when documents are created, updated and deleted", async (t) => {
	const posts = fresh("posts");
	await db.createDocument(posts, { title: "Before" });
	const events = await watch(t, posts);
	const created = await db.createDocument(posts, { title: "First", n: 1 });
	const [kind, event] = await events.next();
	assert.equal(kind, "create");
	assert.deepEqual(event, { event: "create", collection_id: posts, data: created, document: created });

	const updated = await db.updateDocument(posts, created.id, { n: 2 });
	assert.deepEqual(await events.next(), [
		"update",
		{ event: "update", collection_id: posts, data: updated, document: updated, old_data: { title: "First", n: 1 } },
	]);

	await db.deleteDocument(posts, created.id);
	const [, deleted] = await events.next();
	assert.equal(deleted.event, "delete");
	assert.equal(deleted.document.id, created.id);
	assert.deepEqual(deleted.data.data, { title: "First", n: 2 });
	assert.equal("old_data" in deleted, false);
});

test("documents enter and leave the set of a watched filter", async (t) => {
	const posts = fresh("posts");
	await db.createDocument(posts, { published: false });
	const events = await watch(t, posts, { published: true });
	assert.deepEqual(events.connected.filters, { published: true });
	const { id } = await db.createDocument(posts, { title: "Draft", secret: "x", published: false });
	await db.updateDocument(posts, id, { secret: "y", published: true });
	const [kind, entered] = await events.next();
	assert.equal(kind, "create", "the document was not in the set before");
	assert.equal(entered.document.data.title, "Draft");
	assert.equal("old_data" in entered, false, "the earlier image was not in the set, so it is not shown");
	await db.updateDocument(posts, id, { secret: "z", published: false });
	const [gone, left] = await events.next();
	assert.equal(gone, "delete");
	assert.equal(left.document.data.secret, "y", "the last image in the set");
});

for (const [why, filters, inside, outside] of [
	["equal", { n: 7 }, { n: 7 }, { n: 8 }],
	["text matches the number, too", { n: "7" }, { n: 7 }, { n: 8 }],
	["a number matches its text, too", { n: 7 }, { n: "7" }, { n: "8" }],
	["a boolean", { on: true }, { on: true }, { on: false }],
	["ne", { n_ne: 7 }, {}, { n: 7 }],
	["gt", { n_gt: 7 }, { n: 8 }, { n: 7 }],
	["gte", { n_gte: "7" }, { n: 7 }, { n: 6.5 }],
	["lt", { n_lt: 7 }, { n: -1 }, { n: 7 }],
	["lte", { n_lte: 7 }, { n: 7 }, { n: 7.5 }],
	["contains", { t_contains: "AB" }, { t: "xabx" }, { t: "ba" }],
	["startswith", { t_startswith: "ab" }, { t: "ABc" }, { t: "cab" }],
	["endswith", { t_endswith: "ab" }, { t: "cAB" }, { t: "abc" }],
	["in", { t_in: "a, b" }, { t: "b" }, { t: "c" }],
	["in, with an array", { t_in: ["a", "b"] }, { t: "b" }, { t: "c" }],
	["notin", { t_notin: "a,b" }, { t: "c" }, { t: "a" }],
	["isnull", { t_isnull: true }, { t: null }, { t: 0 }],
	["isnull=false", { t_isnull: "false" }, { t: 0 }, {}],
	["any of several fields", { a__or__b_contains: "x" }, { b: "x" }, { c: "x" }],
	["one or-group", { "[or]n_gt": 7, "[or]t": "a" }, { t: "a" }, { n: 7, t: "b" }],
	[
		"named or-groups",
		{ "[or:x]n": 1, "[or:x]n_gt": 5, "[or:y]t": "a", "[or:y]u": "a" },
		{ n: 6, u: "a" },
		{ n: 6, u: "b" },
	],
	["null is ignored, as in a list", { n: 7, t: null }, { n: 7, t: "x" }, { n: 8 }],
]) {
	test(`a watched filter agrees with the list: ${why}`, async (t) => {
		const posts = fresh("posts");
		const events = await watch(t, posts, filters);
		await db.createDocument(posts, { ...outside, is: "outside" });
		const { id } = await db.createDocument(posts, { ...inside, is: "inside" });
		const [kind, { document }] = await events.next();
		assert.equal(kind, "create");
		assert.equal(document.id, id, JSON.stringify(document.data));
		assert.deepEqual(
			(await db.listDocuments(posts, { filters })).map(({ id }) => id),
			[id],
		);
	});
}

test("a collection can be watched before it exists", async (t) => {
	const posts = fresh("posts");
	const events = await watch(t, posts, { n: 1 });
	await db.createDocument(fresh("another"), { n: 1 });
	await db.createDocument(posts, { n: 2 });
	const { id } = await db.createDocument(posts, { n: 1 });
	const [kind, event] = await events.next();
	assert.equal(kind, "create");
	assert.equal(event.document.id, id);
});

test("a watcher reconnects after a cut and is told about new documents", async (t) => {
	const posts = fresh("posts");
	const events = await watch(t, posts);
	cut();
	await events.until(([kind]) => kind === "reconnect");
	await events.until(([kind]) => kind === "connected");
	const { id } = await db.createDocument(posts, { n: 1 });
	const [kind, event] = await events.next();
	assert.equal(kind, "create");
	assert.equal(event.document.id, id);
});

test("onSnapshot returns the documents again after each change", async (t) => {
	const todos = fresh("todos");
	const snapshots = inbox();
	const stop = db.onSnapshot(todos, { filters: { done: false }, sort: "created_at", order: "asc" }, (all) =>
		snapshots.put(all.map(({ data }) => data.text)),
	);
	t.after(stop);
	const until = (...texts) => snapshots.until((all) => all.join() === texts.join());
	await until();
	// The library lists and connects its watcher at the same time. A change before the watcher is connected shows up
	// with the next change only.
	const first = await appears(snapshots, async () => db.createDocument(todos, { text: "Milk", done: false }));
	const second = await db.createDocument(todos, { text: "Bread", done: false });
	await until(...Array(first.length).fill("Milk"), "Bread");
	await db.updateDocument(todos, second.id, { text: "Rye bread" });
	await until(...Array(first.length).fill("Milk"), "Rye bread");
	await db.updateDocument(todos, second.id, { done: true });
	await until(...Array(first.length).fill("Milk"));
	for (const { id } of first) await db.deleteDocument(todos, id);
	await until();
});

/** Repeats a creation every two seconds until a snapshot shows all created documents; returns them. */
async function appears(snapshots, make) {
	const made = [];
	const shown = snapshots.until((all) => made.length > 0 && all.length === made.length).then(() => true);
	do made.push(await make());
	while (!(await Promise.race([shown, delay(2000)])));
	return made;
}

test("watchers of two projects are separate, even if collections have the same name", async (t) => {
	const posts = fresh("posts");
	const other = client(otherProject());
	const [mine, theirs] = [await watch(t, posts), await watch(t, posts, undefined, other)];
	await db.createDocument(posts, { whose: "mine" });
	await other.createDocument(posts, { whose: "theirs" });
	await db.createDocument(posts, { whose: "mine again" });
	for (const expected of ["mine", "mine again"]) assert.equal((await mine.next())[1].document.data.whose, expected);
	await other.createDocument(posts, { whose: "theirs again" });
	for (const expected of ["theirs", "theirs again"])
		assert.equal((await theirs.next())[1].document.data.whose, expected);
});

test("a wrong key is refused, and the library reconnects", async () => {
	const watcher = client("pk_0000000000000000nobody").realtime.collection("posts");
	const reconnected = new Promise((resolve) => watcher.onReconnect(resolve));
	watcher.onConnected(() => assert.fail("connected"));
	watcher.connect();
	await soon(reconnected, "another try");
	watcher.disconnect();
});

/** Connects a broadcast channel and waits until it receives its own message. */
async function broadcast(t, name, of = db) {
	const messages = inbox();
	const channel = of.realtime.broadcast(`id-${name}`, name);
	channel.onMessage(messages.put);
	channel.connect();
	t.after(() => channel.disconnect());
	// The library drops what is sent before its socket is open.
	const heard = messages.until(({ user_name }) => user_name === name).then(() => true);
	do channel.send("hello");
	while (!(await Promise.race([heard, delay(100)])));
	return Object.assign(messages, { channel });
}

test("a broadcast reaches every client of the project and no other", async (t) => {
	const [ada, grace] = [await broadcast(t, "Ada"), await broadcast(t, "Grace")];
	const stranger = await broadcast(t, "Stranger", client(otherProject()));
	stranger.channel.send({ text: "from another project" });
	ada.channel.send({ text: "Hello", list: [1, null] });
	for (const messages of [ada, grace]) {
		const message = await messages.until(({ data }) => data !== "hello");
		assert.deepEqual(message.data, { text: "Hello", list: [1, null] });
		assert.deepEqual([message.type, message.user_id, message.user_name], ["message", "id-Ada", "Ada"]);
		assert.match(message.timestamp, /Z$/);
	}
	assert.equal((await stranger.until(({ data }) => data !== "hello")).data.text, "from another project");
});

/** Enters a room and returns an inbox of its messages, joins and leaves. */
async function enter(t, id, name, enter, of = db) {
	const events = inbox();
	const room = of.realtime.room(id, `id-${name}`, name);
	for (const kind of ["joined", "user_joined", "message", "user_left"]) room.on(kind, events.put);
	enter(room);
	t.after(() => room.leave());
	const joined = await events.next();
	assert.equal(joined.event, "joined");
	return Object.assign(events, { room, joined });
}

test("a room exists until its last participant leaves", async (t) => {
	const id = fresh("room");
	const ada = await enter(t, id, "Ada", (room) => room.create("Chat"));
	assert.deepEqual(ada.joined, {
		event: "joined",
		room_id: id,
		room_title: "Chat",
		participants: 1,
		user_id: "id-Ada",
	});
	assert.equal((await ada.next()).user_name, "Ada", "everyone is told about a new participant, the participant too");
	const grace = await enter(t, id, "Grace", (room) => room.join());
	assert.equal(grace.joined.participants, 2);
	for (const events of [ada, grace]) {
		const { timestamp, ...came } = await events.next();
		assert.match(timestamp, /Z$/);
		assert.deepEqual(came, {
			type: "user_joined",
			user_id: "id-Grace",
			user_name: "Grace",
			room_info: { id, title: "Chat", participants: 2 },
		});
	}
	const { rooms } = await db.realtime.listRooms();
	const { created_at, ...listed } = rooms.find((room) => room.id === id);
	assert.ok(Math.abs(new Date(created_at) - Date.now()) < 3_600_000);
	assert.deepEqual(listed, {
		id,
		title: "Chat",
		created_by: "id-Ada",
		participants: 2,
		participant_list: [
			{ id: "id-Ada", name: "Ada" },
			{ id: "id-Grace", name: "Grace" },
		],
	});

	grace.room.sendMessage({ text: "Hi" });
	for (const events of [ada, grace]) {
		const { timestamp, ...said } = await events.next();
		assert.deepEqual(said, {
			type: "message",
			user_id: "id-Grace",
			user_name: "Grace",
			content: { text: "Hi" },
			room_info: { id, title: "Chat", participants: 2 },
		});
	}
	grace.room.leave();
	const left = await ada.next();
	assert.deepEqual([left.type, left.user_name, left.room_info.participants], ["user_left", "Grace", 1]);
	ada.room.leave();
	for (;;) if (!(await db.realtime.listRooms()).rooms.some((room) => room.id === id)) break;
});

test("creating an existing room joins it, and rooms of two projects are separate", async (t) => {
	const id = fresh("room");
	const other = client(otherProject());
	const ada = await enter(t, id, "Ada", (room) => room.create("Chat"));
	const grace = await enter(t, id, "Grace", (room) => room.create("Another title"));
	assert.deepEqual([grace.joined.room_title, grace.joined.participants], ["Chat", 2]);
	const stranger = await enter(t, id, "Stranger", (room) => room.create("Theirs"), other);
	assert.deepEqual([stranger.joined.room_title, stranger.joined.participants], ["Theirs", 1]);
	stranger.room.sendMessage("from another project");
	ada.room.sendMessage("mine");
	assert.equal((await ada.until(({ type }) => type === "message")).content, "mine");
	assert.deepEqual(
		(await other.realtime.listRooms()).rooms.map(({ title }) => title),
		["Theirs"],
	);
});

test("a participant is back in the room after a cut", async (t) => {
	const id = fresh("room");
	const ada = await enter(t, id, "Ada", (room) => room.create("Chat"));
	cut();
	await ada.until(({ event }) => event === "joined");
	ada.room.sendMessage("Back");
	assert.equal((await ada.until(({ type }) => type === "message")).content, "Back");
	await assert.rejects(client("pk_0000000000000000nobody").realtime.listRooms(), /Failed to list rooms/);
	assert.ok(KEY);
});
