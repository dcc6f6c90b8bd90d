// The unmodified npm library, pointed at the server under test as the documentation says. It reaches the server through
// a proxy, so that tests can cut its connections.

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
		from.on("error", () => {});
		from.on("close", () => {
			to.destroy();
			pairs.delete(pair);
		});
		from.pipe(to);
	}
});
await once(proxy.listen(0, "127.0.0.1"), "listening");
proxy.unref();
/** The address of the server, as the library sees it. */
export const URL_ = `http://127.0.0.1:${proxy.address().port}`;

/** Cuts every open connection. */
export function cut() {
	for (const socket of [...pairs].flat()) socket.destroy();
}

globalThis.COCOBASE_URL = URL_;
runInThisContext(await (await fetch(`${URL_}/cocobase-redirect.js`)).text());
globalThis.WebSocket ??= WebSocket;

/** The library must load after the redirect script. */
export const { Cocobase, ...library } = await import("cocobase");

/** Creates a client as an app does. */
export function client(apiKey = KEY, options = {}) {
	return new Cocobase({ apiKey, baseURL: URL_, ...options });
}

let count = 0;
/** Returns the name of a collection that no other test uses. */
export function fresh(name) {
	return `${name}${process.pid}x${++count}`;
}

/** Creates a project and returns its publishable key. */
export function otherProject() {
	const env = { ...process.env, COIR_LOG: "warn" };
	const options = { encoding: "utf8", env, stdio: ["ignore", "pipe", "ignore"] };
	const coir = (...args) => execFileSync(process.env.COIR_BINARY, args, options);
	const name = fresh("project");
	coir("projects", "create", "--open", name);
	return coir("keys", "create", "publishable", "--project", name).trim();
}

/** Milliseconds that a test waits for anything. */
const TIMEOUT = 20_000;

/** Resolves as the promise does, or rejects after the timeout. */
export async function soon(promise, name) {
	let timer;
	const timeout = new Promise((_, reject) => {
		timer = setTimeout(() => reject(new Error(`${name} did not arrive`)), TIMEOUT);
	});
	return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}

/** Queues the arguments of a callback, so that a test can wait for the next call. */
export function inbox() {
	const [calls, waiting] = [[], []];
	return {
		put: (call) => (waiting.length ? waiting.shift()(call) : calls.push(call)),
		next: () =>
			calls.length
				? Promise.resolve(calls.shift())
				: soon(new Promise((resolve) => waiting.push(resolve)), "the next call"),
		/** Skips calls until one matches, and returns it. */
		async until(matches) {
			for (;;) {
				const call = await this.next();
				if (matches(call)) return call;
			}
		},
	};
}
