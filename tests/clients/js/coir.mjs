// The npm library, unmodified, with its compiled-in hosts pointed at the server under test as the documentation says. It
// reaches the server through a proxy, so that connections can be cut.

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { runInThisContext } from "node:vm";

import WebSocket from "ws";

export const KEY = process.env.COIR_KEY;
export const SECRET = process.env.COIR_SECRET;
const server = new URL(process.env.COIR_URL);
const pairs = new Set();

const proxy = createServer((client) => {
	const upstream = connect(Number(server.port), server.hostname);
	const pair = [client, upstream];
	pairs.add(pair);
	for (const [from, to] of [pair, [upstream, client]]) {
		from.on("error", () => {}).on("close", () => (to.destroy(), pairs.delete(pair)));
		from.pipe(to);
	}
});
await once(proxy.listen(0, "127.0.0.1"), "listening");
proxy.unref();
/** Where the server is to the library. */
export const URL_ = `http://127.0.0.1:${proxy.address().port}`;

/** Cuts every connection that is open. */
export function cut() {
	for (const pair of pairs) pair.forEach((socket) => socket.destroy());
}

globalThis.COCOBASE_URL = URL_;
runInThisContext(await (await fetch(`${URL_}/cocobase-redirect.js`)).text());
globalThis.WebSocket ??= WebSocket;

/** The library is loaded after the script. */
export const { Cocobase, ...library } = await import("cocobase");

/** A client as an app makes it. */
export function client(apiKey = KEY, options = {}) {
	return new Cocobase({ apiKey, baseURL: URL_, ...options });
}

let count = 0;
/** A collection that no other test uses. */
export function fresh(name) {
	return `${name}${process.pid}x${++count}`;
}

/** The publishable key of a new project. */
export function otherProject() {
	const coir = (...args) => execFileSync(process.env.COIR_BINARY, args, { encoding: "utf8", env: { ...process.env, COIR_LOG: "warn" }, stdio: ["ignore", "pipe", "ignore"] });
	const name = fresh("project");
	coir("projects", "create", name);
	return coir("keys", "create", "publishable", "--project", name).trim();
}

/** Everything that is waited for comes within this time, or the test fails. */
const PATIENCE = 20_000;

/** Fails when the promise takes too long. */
export async function soon(promise, what) {
	let timer;
	const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`${what} did not come`)), PATIENCE)));
	return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What callbacks were given, one after the other. */
export function inbox() {
	const [calls, waiting] = [[], []];
	return {
		put: (call) => (waiting.length ? waiting.shift()(call) : calls.push(call)),
		next: () => (calls.length ? Promise.resolve(calls.shift()) : soon(new Promise((resolve) => waiting.push(resolve)), "the next call")),
		/** The first one from here on that fits. */
		async until(fits) {
			for (;;) {
				const call = await this.next();
				if (fits(call)) return call;
			}
		},
	};
}
