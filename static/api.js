// @ts-check
// Talks to the server. No other module of the page does.

import { ApiError, unreachable } from "./error.js";
import { parse, stringify } from "./json.js";
import { User } from "./user.js";
import { Watch } from "./watch.js";

/** @import { View } from "./types" */

/** Between two looks whether a socket needs another token, in milliseconds. */
const RENEWAL = 5000;

export class Api {
	/** Who is signed in. @type {User | null} */
	user;
	/** Called when the session of the user has ended elsewhere. */
	signedOut = () => {};
	#key;
	#base;

	/** @param {string} key */
	constructor(key, base = new URL(location.pathname.endsWith("/_/") ? "../" : "./", location.href)) {
		this.#key = key;
		this.#base = base;
		this.user = User.stored(this.#post);
	}

	/** Like the browser's `fetch`, with the key and as the user. Throws `ApiError`. @param {string} path @param {RequestInit} init */
	async fetch(path, init) {
		const token = await this.#token();
		return this.#send(path, init, token);
	}

	/** @param {string} path @param {RequestInit} init @param {string} [token] the user's */
	async #send(path, { headers, ...rest }, token) {
		const credentials = token ? { "x-api-key": this.#key } : {};
		headers = { ...headers, ...credentials, authorization: `Bearer ${token ?? this.#key}` };
		const url = new URL(path, this.#base);
		const response = await fetch(url, { ...rest, headers, cache: "no-store" }).catch(unreachable);
		if (response.ok) return response;
		const { error } = await response.json().catch(unreachable);
		throw new ApiError(error.code, error.message);
	}

	/** Whether the key may do everything. */
	get isSecret() {
		return this.#key.startsWith("sk_");
	}

	/** Posts with the key alone. */
	#post = async (path, body) => {
		const response = await this.#send(path, { method: "POST", body: stringify(body) });
		return parse(await response.text().catch(unreachable)).data;
	};

	/**
	 * Signs in, or up. Resolves to what is missing, if anything is: `{ mfa: { ticket } }` for `users/login/mfa`, or
	 * `{ confirm: "mail" }`.
	 *
	 * @param {string} path @param {object} body
	 */
	async signIn(path, body) {
		const answer = await this.#post(path, body);
		if (!answer.user) return answer;
		this.user = new User(this.#post, answer);
	}

	/** The user is signed out at once, before the server ends the streams. Resolves when the server has ended the session. */
	async signOut() {
		const { user } = this;
		this.#forget();
		const token = await user.token().catch(() => null);
		if (token) await this.#send("users/logout", { method: "POST" }, token).catch(() => {});
	}

	/** Gets another token after one was refused. Resolves to false if nobody is signed in any more. */
	async renew() {
		if (!this.user) return false;
		return this.#token(true).then(
			() => this.user !== null,
			({ isPassing }) => isPassing,
		);
	}

	/** The user's token, if there is a user. A session that has ended leaves the key alone. */
	async #token(mustRenew = false) {
		const { user } = this;
		try {
			return await user?.token(mustRenew);
		} catch (error) {
			if (error.code !== "UNAUTHORIZED") throw error;
			if (user === this.user) {
				this.#forget();
				this.signedOut();
			}
		}
	}

	#forget() {
		this.user?.forget();
		this.user = null;
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
		let sent;
		const authenticate = async () => {
			const user = await this.#token();
			if (sent && user === sent.user) return;
			sent = { user };
			const shown = { type: "auth", token: `${this.#key.slice(0, 6)}…`, ...(user && { user: `${user.slice(0, 6)}…` }) };
			send(stringify({ type: "auth", token: this.#key, ...(user && { user }) }), stringify(shown));
		};
		// Another token in time lets a user's stream go on without a gap.
		const renewal = setInterval(() => sent && authenticate().catch(fail), RENEWAL);
		socket.onopen = () => authenticate().then(() => opened(send), fail);
		socket.onmessage = ({ data }) => {
			frame?.("in", data);
			const message = parse(data);
			if (message.type === "error") fail(new ApiError(message.code, message.message));
			else received(message);
		};
		socket.onclose = ({ code, reason }) => {
			clearInterval(renewal);
			frame?.("end", `closed, ${code} ${reason}`);
			fail(closeError(code));
		};
		signal?.addEventListener("abort", () => {
			clearInterval(renewal);
			abandon(socket);
		});
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
