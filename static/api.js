// @ts-check
// Talks to the server. No other module of the page does.

import { ApiError, unreachable } from "./error.js";
import { parse, stringify } from "./json.js";
import { Watch } from "./watch.js";

/** @import { View } from "./types" */

export class Api {
	#key;
	#base;

	/** @param {string} key */
	constructor(key, base = new URL(location.pathname.endsWith("/_/") ? "../" : "./", location.href)) {
		this.#key = key;
		this.#base = base;
	}

	/** Like the browser's `fetch`, with the key. Throws `ApiError`. @param {string} path @param {RequestInit} init */
	async fetch(path, { headers, ...rest }) {
		headers = { ...headers, authorization: `Bearer ${this.#key}` };
		const url = new URL(path, this.#base);
		const response = await fetch(url, { ...rest, headers, cache: "no-store" }).catch(unreachable);
		if (response.ok) return response;
		const { error } = await response.json().catch(unreachable);
		throw new ApiError(error.code, error.message);
	}

	/** Resolves to `{ data, etag }`. @param {string} method @param {string} path @param {RequestInit} [options] */
	async request(method, path, options) {
		const response = await this.fetch(path, { method, ...options });
		return { ...parse(await response.text().catch(unreachable)), etag: response.headers.get("etag") };
	}

	/** @returns {Promise<string[]>} */
	async collections() {
		const names = [];
		for (let page = "collections"; page; ) {
			const { data, nextCursor } = await this.request("GET", page);
			names.push(...data.map(({ name }) => name));
			page = nextCursor && `collections?after=${nextCursor}`;
		}
		return names;
	}

	/** @param {string} name */
	createCollection(name) {
		return this.request("POST", "collections", { body: stringify({ name }) });
	}

	/**
	 * `POST` takes no id.
	 *
	 * @param {string} method @param {string} collection @param {string} id @param {RequestInit} [options]
	 */
	document(method, collection, id, options) {
		return this.request(method, id ? path(collection, id) : path(collection), options);
	}

	/** The newest documents: one, after the first `offset`. @param {string} collection @param {RequestInit} options */
	async documentAt(offset, collection, filters, options) {
		const query = new URLSearchParams({ limit: "1", offset, select: "id", ...(filters && { filters }) });
		return (await this.request("GET", `${path(collection)}?${query}`, options)).data[0];
	}

	/** How many documents match. @param {string} collection */
	async count(collection, filters) {
		const query = new URLSearchParams(filters ? { filters } : {});
		return (await this.request("GET", `${path(collection)}/query/count?${query}`)).data.count;
	}

	/** The address of a collection's list. @param {string} collection */
	listUrl(collection) {
		return new URL(path(collection), this.#base);
	}

	/** Rejects if the server does not know the key. A refused request would show in the console, a WebSocket does not. */
	async check() {
		/** @type {WebSocket} */
		let socket;
		const pong = new Promise((received, fail) => {
			socket = this.openSocket({ fail, received, opened: (send) => send('{"type":"ping"}') });
		});
		await pong.finally(() => socket.close());
	}

	/** Keeps a view of a collection up to date until it is closed. @param {View} view */
	watch(view) {
		return new Watch(this, view);
	}

	/**
	 * Opens an authenticated WebSocket.
	 *
	 * @param {{ opened(send: (text: string) => void): void, received(message: any): void, fail(error: ApiError): void,
	 *   frame?(direction: string, text: string): void, signal?: AbortSignal }} on
	 */
	openSocket({ opened, received, fail, frame, signal }) {
		const url = new URL("realtime", this.#base);
		url.protocol = url.protocol.replace("http", "ws");
		const socket = new WebSocket(url);
		const send = (text, shown = text) => {
			socket.send(text);
			frame?.("out", shown);
		};
		socket.onopen = () => {
			const auth = (token) => stringify({ type: "auth", token });
			send(auth(this.#key), auth(`${this.#key.slice(0, 6)}…`));
			opened(send);
		};
		socket.onmessage = ({ data }) => {
			frame?.("in", data);
			const message = parse(data);
			if (message.type === "error") fail(new ApiError(message.code, message.message));
			else received(message);
		};
		socket.onclose = ({ code, reason }) => {
			frame?.("end", `closed, ${code} ${reason}`);
			fail(closeError(code));
		};
		signal?.addEventListener("abort", () => abandon(socket));
		return socket;
	}
}

function closeError(code) {
	const message = code === 1001 ? "The server was stopped." : "The connection was lost.";
	return new ApiError(code === 1008 ? "UNAUTHORIZED" : "UNREACHABLE", message);
}

function abandon(socket) {
	socket.onmessage = socket.onclose = null;
	// Browsers report a failure if a socket is closed before it is open.
	if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
	else socket.close();
}

function path(...parts) {
	return ["collections", ...parts].map(encodeURIComponent).join("/");
}
