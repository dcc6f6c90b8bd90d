// Event streams read by two common clients: Chromium's own EventSource and npm's `eventsource`. Both reconnect by
// themselves after the server was killed or stopped, and must neither miss nor repeat an event.

import assert from "node:assert/strict";
import { test } from "node:test";

import { EventSource } from "eventsource";

import { pageTest } from "./browser.mjs";
import { SECRET, Server } from "./server.mjs";

test("npm's eventsource resumes after restarts", async () => {
	const server = await Server.start();
	const { seen, source } = watch(await ticketUrl(server), EventSource);
	try {
		await followThroughRestarts(server, () => seen);
	} finally {
		source.close();
		await server.stop();
	}
});

pageTest("Chromium's EventSource resumes after restarts", async ({ server, open, expectDown }) => {
	const url = await ticketUrl(server);
	const page = await open("");
	expectDown();
	await page.evaluate(`globalThis.watched = (${watch})(${JSON.stringify(url)}, EventSource)`);
	await followThroughRestarts(server, () => page.evaluate("watched.seen"));
	await page.evaluate("watched.source.close()");
});

test("npm's eventsource sends a key in a header and receives a resync", async () => {
	const server = await Server.start();
	await server.request("POST", "/collections", { name: "posts" });
	const withKey = (input, init) => {
		return fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${SECRET}` } });
	};
	const source = new EventSource(`${server.url}/realtime/sse/posts?since=garbled`, { fetch: withKey });
	try {
		const resync = await new Promise((resolve) => source.addEventListener("resync", resolve));
		assert.equal(JSON.parse(resync.data).code, "INVALID_CURSOR");
		const message = new Promise((resolve) => source.addEventListener("message", resolve));
		const document = await server.create("posts", { n: 1 });
		assert.equal(JSON.parse((await message).data).document.id, document.id);
	} finally {
		source.close();
		await server.stop();
	}
});

/** Opens a stream and records what arrives. It also runs in the page, so it uses nothing from this file. */
function watch(url, EventSource) {
	const seen = { events: [], ids: [], resyncs: 0, opened: 0 };
	const source = new EventSource(url);
	source.onopen = () => seen.opened++;
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

/** Writes documents and ends the server twice. Writes go on before the stream reconnects. `look` returns what was seen. */
async function followThroughRestarts(server, look) {
	const expected = [];
	const write = async (count) => {
		for (let n = expected.length; count > 0; n++, count--) {
			await server.create("posts", { n: `hidden ${n}`, shown: false });
			await server.create("posts", { n, shown: true });
			expected.push(`created ${n}`);
		}
	};
	await waitUntil("the stream is open", async () => (await look()).opened === 1);
	await write(20);
	await waitUntil("the first events arrive", async () => (await look()).events.length === expected.length);
	let opened = 1;
	for (const signal of ["SIGKILL", "SIGTERM"]) {
		await server.kill(signal);
		await server.run();
		await write(20);
		opened++;
		await waitUntil(`the stream reopens after ${signal}`, async () => (await look()).opened >= opened);
		await write(5);
		await waitUntil(`events arrive after ${signal}`, async () => (await look()).events.length >= expected.length);
	}
	const seen = await look();
	assert.deepEqual(seen.events, expected, "each event once and in order");
	assert.equal(new Set(seen.ids).size, expected.length, "each event has its own cursor");
	assert.equal(seen.resyncs, 0);
}

/** Asks until the condition holds; fails after 30 s. */
async function waitUntil(condition, holds) {
	for (const begun = Date.now(); !(await holds()); ) {
		if (Date.now() - begun > 30_000) assert.fail(`not within 30 s: ${condition}`);
		await new Promise((resolve) => setTimeout(resolve, 20));
	}
}
