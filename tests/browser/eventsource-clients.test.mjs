// The clients that apps read event streams with, each through a proxy that cuts: npm's `eventsource` 2 and 3,
// `event-source-polyfill`, and `@microsoft/fetch-event-source`. They open the stream before the collection exists, and must
// neither miss nor repeat an event.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

import { EventSource as EventSource3 } from "eventsource3";

import { open as openProxy } from "./proxy.mjs";
import { KEY, Server } from "./server.mjs";

const require = createRequire(import.meta.url);
const EventSource2 = require("eventsource2");
const { EventSourcePolyfill } = require("event-source-polyfill");
const authorization = { Authorization: `Bearer ${KEY}` };

const withKey = (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...authorization } });

/** Each opens a stream with a key in a header, and returns how to close it. */
const CLIENTS = {
	"eventsource 2": (url, take) => watch(new EventSource2(url, { headers: authorization }), take),
	"eventsource 3": (url, take) => watch(new EventSource3(url, { fetch: withKey }), take),
	"event-source-polyfill": (url, take) => watch(new EventSourcePolyfill(url, { headers: authorization }), take),
	"@microsoft/fetch-event-source": fetchEvents,
};

for (const [name, open] of Object.entries(CLIENTS)) {
	test(`${name} resumes exactly through a proxy that cuts, from before the collection exists`, async (t) => {
		const server = await Server.start();
		t.after(() => server.stop());
		const proxy = await openProxy(t, {}, server.url);
		const seen = [];
		const take = (data) => {
			const message = JSON.parse(data);
			if (message.type === "event") seen.push(message.document.data.n);
		};
		const close = open(`${proxy.url}/realtime/sse/posts?n__gte=0`, take);
		t.after(close);
		await waitUntil("the stream is open", () => proxy.streams() > 0);
		proxy.cut();
		await waitUntil("the stream is cut", () => proxy.streams() === 0);
		await waitUntil("it comes back before the first write", () => proxy.streams() > 0);
		let count = 0;
		for (let round = 0; round < 3; round++) {
			for (let n = 0; n < 10; n++) await server.create("posts", { n: count++ });
			await waitUntil("the events arrive", () => seen.length === count);
			proxy.cut();
			// Written while nobody listens.
			for (let n = 0; n < 10; n++) await server.create("posts", { n: count++ });
			await waitUntil("the missed events arrive", () => seen.length === count);
		}
		assert.deepEqual(
			seen,
			Array.from({ length: count }, (_, n) => n),
		);
	});
}

function watch(source, take) {
	source.onmessage = ({ data }) => take(data);
	// Without a listener, some of them throw.
	source.onerror = () => {};
	return () => source.close();
}

/** The library is made for a browser, which tells it whether the page is visible. */
function fetchEvents(url, take) {
	globalThis.window ??= globalThis;
	globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} };
	const { fetchEventSource } = require("@microsoft/fetch-event-source");
	const closing = new AbortController();
	fetchEventSource(url, {
		headers: authorization,
		signal: closing.signal,
		onmessage: ({ event, data }) => event === "" && data && take(data),
		// It takes the end of a stream for its end.
		onclose() {
			throw new Error("come back");
		},
		onerror: () => 100,
	}).catch(() => {});
	return () => closing.abort();
}

/** Asks until the condition holds; fails after 30 s. */
async function waitUntil(condition, holds) {
	for (const begun = Date.now(); !holds(); ) {
		if (Date.now() - begun > 30_000) assert.fail(`not within 30 s: ${condition}`);
		await new Promise((resolve) => setTimeout(resolve, 20));
	}
}
