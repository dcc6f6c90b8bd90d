// @ts-check
// A live view of a collection: a snapshot, then its changes. After a cut it resumes from its cursor.

import { ApiError } from "./error.js";
import { subscribe } from "./transports.js";

/** @import { Api } from "./api.js" */
/** @import { View } from "./types" */

/** A view begins with at most this many documents, the newest. */
export const MOST = 10_000;
/** Milliseconds. Browsers hide the server's pings (every 15 s), so a WebSocket asks for pongs. */
const SILENCE = 45_000;
const BEAT = 20_000;
const RETRY_MOST = 5000;

export class Watch {
	/** Where the next connection resumes; empty to begin with a snapshot. */
	cursor = "";
	/** JSON text. */
	filter;
	/** @type {AbortSignal} */
	signal;
	/** Set by a transport that needs it. */
	ping;
	#api;
	#on;
	#isClosed = false;
	#isLive = false;
	/** @type {AbortController} */
	#connection;
	#heardAt = 0;
	/** If there are too many documents, only those created since then are shown. */
	#since;
	#wake;

	/** @param {Api} api @param {View} view */
	constructor(api, { collection, transport, filters, on }) {
		this.collection = collection;
		this.transport = transport;
		this.filters = filters;
		this.#api = api;
		this.#on = on;
		this.#run();
	}

	fail = (error) => this.#connection.abort(error);

	frame = (direction, text) => {
		if (direction === "in") this.#heardAt = Date.now();
		if (!this.#isClosed) this.#on.frame(direction, text);
	};

	/** Ends the wait for the next attempt. */
	retry = () => this.#wake?.();

	close() {
		this.#isClosed = true;
		this.fail();
		this.retry();
	}

	async #run() {
		for (let failures = 0; !this.#isClosed; ) {
			const error = await this.#connect();
			// The access token of a user expires; the key does not.
			const isPassing = error?.isPassing || (error?.code === "UNAUTHORIZED" && (await this.#api.renew()));
			if (this.#isClosed) return;
			failures = this.#isLive ? 1 : failures + 1;
			this.#isLive = false;
			// The next collection of this name may be another one.
			if (!isPassing) this.cursor = "";
			this.#on.state(isPassing ? "waiting" : "ended", error);
			const delay = Math.min(RETRY_MOST, 250 * 2 ** failures) * (0.75 + Math.random() / 4);
			await new Promise((wake) => {
				this.#wake = wake;
				if (isPassing) setTimeout(wake, delay);
			});
		}
	}

	/** Resolves to the error that ended the connection. */
	async #connect() {
		this.#on.state("connecting");
		const connection = new AbortController();
		this.#connection = connection;
		this.signal = connection.signal;
		this.#heardAt = Date.now();
		const beat = setInterval(() => this.#beat(), BEAT);
		await new Promise((ended) => {
			connection.signal.addEventListener("abort", ended);
			this.#begin().catch((error) => connection.abort(error));
		});
		clearInterval(beat);
		this.ping = null;
		return connection.signal.reason;
	}

	#beat() {
		if (Date.now() - this.#heardAt < SILENCE) this.ping?.();
		else this.fail(new ApiError("UNREACHABLE", "The server does not answer."));
	}

	async #begin() {
		const { collection, filters, signal } = this;
		if (!this.cursor) {
			const oldest = await this.#api.documentAt(MOST - 1, collection, filters, { signal });
			this.#since = oldest?.createdAt;
			this.filter = oldest ? `{"$and":[${filters ?? "{}"},{"createdAt__gte":"${this.#since}"}]}` : filters;
		}
		await subscribe(this.#api, this);
	}

	/** Takes a message of either transport, with its cursor: an empty one has no past. */
	take(type, message, cursor) {
		this.cursor = cursor ?? this.cursor;
		if (type === "event") this.#on.event(message);
		if (type === "snapshot") this.#on.documents(message.documents);
		if (type === "resync") this.cursor = "";
		const isFresh = type === "subscribed" && !cursor;
		if (type === "resync" || isFresh) this.#on.state("listing");
		if (type === "ready") this.#on.listed(!this.#since);
		if (type !== "ready" && (type !== "subscribed" || isFresh)) return;
		this.#isLive = true;
		this.#on.state("live");
	}
}
