// Event streams with the clients that everybody has: Chromium's own EventSource, and npm's `eventsource`. Both reconnect by
// themselves, through a server that is killed and one that is stopped, and miss and repeat nothing.

import assert from "node:assert/strict";
import { test } from "node:test";

import { EventSource } from "eventsource";

import { withPage } from "./browser.mjs";
import { SECRET, Server } from "./server.mjs";

/** Every status that a reader of this code may see: what `onmessage` got, and how often the stream opened. */
function watch(url, EventSource) {
	const seen = { events: [], ids: [], resyncs: 0, opened: 0, closed: false };
	const source = new EventSource(url);
	source.onopen = () => seen.opened++;
	source.onerror = () => (seen.closed = source.readyState === EventSource.CLOSED);
	source.addEventListener("resync", () => seen.resyncs++);
	source.onmessage = ({ data, lastEventId }) => {
		const { event, document } = JSON.parse(data);
		seen.events.push(`${event} ${document.data.n}`);
		seen.ids.push(lastEventId);
	};
	return { seen, source };
}

async function ticketUrl(server) {
	await server.request("POST", "/collections", { name: "posts" });
	const { ticket } = await server.request("POST", "/realtime/tickets", { collection: "posts" });
	return `${server.url}/realtime/sse/posts?ticket=${ticket}&filters=${encodeURIComponent('{"shown":true}')}`;
}

/** Looks until it is so; fails when that takes too long. */
async function until(what, isSo) {
	for (const begun = Date.now(); !(await isSo()); ) {
		if (Date.now() - begun > 30_000) assert.fail(`not within 30 s: ${what}`);
		await new Promise((resolve) => setTimeout(resolve, 20));
	}
}

/** Writes, and ends the server twice, each time writing again before the stream is back; `look` tells what was seen. */
async function followThroughRestarts(server, look) {
	const expected = [];
	const write = async (count) => {
		for (let n = expected.length; count > 0; n++, count--) {
			await server.create("posts", { n: `hidden ${n}`, shown: false });
			await server.create("posts", { n, shown: true });
			expected.push(`created ${n}`);
		}
	};
	await until("it is open", async () => (await look()).opened === 1);
	await write(20);
	await until("the first events", async () => (await look()).events.length === expected.length);
	let opened = 1;
	for (const signal of ["SIGKILL", "SIGTERM"]) {
		await server.kill(signal);
		await server.run();
		await write(20);
		opened++;
		await until(`it has come back after ${signal}`, async () => (await look()).opened >= opened);
		await write(5);
		await until(`the events after ${signal}`, async () => (await look()).events.length >= expected.length);
	}
	const seen = await look();
	assert.deepEqual(seen.events, expected, "each once and in order");
	assert.equal(new Set(seen.ids).size, expected.length, "each has a cursor of its own");
	assert.equal(seen.resyncs, 0);
}

test("npm's eventsource goes on through restarts by itself", async () => {
	const server = await Server.start();
	const { seen, source } = watch(await ticketUrl(server), EventSource);
	try {
		await followThroughRestarts(server, () => seen);
	} finally {
		source.close();
		await server.stop();
	}
});

test("Chromium's EventSource goes on through restarts by itself", withPage(async ({ server, open, expectDown }) => {
	const url = await ticketUrl(server);
	const page = await open("");
	expectDown();
	await page.evaluate(`globalThis.watched = (${watch})(${JSON.stringify(url)}, EventSource)`);
	await followThroughRestarts(server, () => page.evaluate("watched.seen"));
	await page.evaluate("watched.source.close()");
}));

test("npm's eventsource takes a key in a header, and is told what can't be replayed", async () => {
	const server = await Server.start();
	await server.request("POST", "/collections", { name: "posts" });
	const withKey = (input, init) => fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${SECRET}` } });
	const source = new EventSource(`${server.url}/realtime/sse/posts?since=garbled`, { fetch: withKey });
	try {
		const resync = await new Promise((resolve) => source.addEventListener("resync", resolve));
		assert.equal(JSON.parse(resync.data).code, "INVALID_CURSOR");
		const live = new Promise((resolve) => (source.onmessage = resolve));
		const document = await server.create("posts", { n: 1 });
		assert.equal(JSON.parse((await live).data).document.id, document.id);
	} finally {
		source.close();
		await server.stop();
	}
});
