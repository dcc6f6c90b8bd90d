// The one module that talks to the server: REST, WebSocket, server-sent events. It knows nothing of the page.

/** Documents of a view when it begins: the newest. */
export const MOST = 10_000;
/** Milliseconds. Browsers hide the pings that the server sends every 15 s, so a WebSocket asks for a `pong`. */
const SILENCE = 45_000, BEAT = 20_000, RETRY_MOST = 5000;
const SILENT = "The server does not answer.";
const PING = '{"type":"ping"}';

/** The server's code and sentence, or `UNREACHABLE`. */
export class ApiError extends Error {
	constructor(code, message) {
		super(message);
		this.code = code;
		this.isPassing = ["UNREACHABLE", "OVERLOADED", "RATE_LIMITED", "INTERNAL"].includes(code);
	}
}

/** Reads JSON; integers that a double can't hold become BigInts, if the browser gives their source. */
export function parse(text) {
	if (!/\d{16}/.test(text)) return JSON.parse(text);
	return JSON.parse(text, (_, value, { source } = {}) => (typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source) ? BigInt(source) : value));
}

export function stringify(value, indent) {
	return JSON.stringify(value, (_, part) => (typeof part === "bigint" ? JSON.rawJSON(`${part}`) : part), indent);
}

export class Api {
	#key;
	#base;

	constructor(key, base = new URL("./", location.href)) {
		this.#key = key;
		this.#base = base;
	}

	/** Every failure is an `ApiError`. */
	async fetch(path, { headers, ...rest }) {
		headers = { ...headers, authorization: `Bearer ${this.#key}` };
		const response = await fetch(new URL(path, this.#base), { ...rest, headers, cache: "no-store" }).catch(unreachable);
		if (response.ok) return response;
		const { error } = await response.json().catch(unreachable);
		throw new ApiError(error.code, error.message);
	}

	/** → `{ data, etag }` */
	async request(method, path, options) {
		const response = await this.fetch(path, { method, ...options });
		return { ...parse(await response.text().catch(unreachable)), etag: response.headers.get("etag") };
	}

	async collections() {
		return (await this.request("GET", "collections")).data.map(({ name }) => name);
	}

	createCollection(name) {
		return this.request("POST", "collections", { body: stringify({ name }) });
	}

	/** `POST` takes no id; `options` are `body`, which is JSON text, and `headers`. */
	document(method, collection, id, options) {
		return this.request(method, id ? path(collection, id) : path(collection), options);
	}

	/** Rejects if the key is unknown. A WebSocket's refusal is no failed request. */
	check() {
		let socket;
		const answer = new Promise((resolve, fail) => (socket = this.#openSocket({ fail }, (send) => send(PING), resolve)));
		return answer.finally(() => socket.close());
	}

	/**
	 * Keeps a view of a collection right: a snapshot, then its changes; what a cut kept away comes out of the log.
	 *
	 * `on.state(state, error)`: `connecting`, `listing`, `live`, `waiting` or `ended`. `on.documents(page)` of a snapshot,
	 * `on.listed(isComplete)` at its end: what was not in it is gone. `on.event(event)`. `on.frame(direction, text)`.
	 */
	watch(collection, { transport, filters, on }) {
		return new Watch(this, transport === "sse" ? this.#openStream : this.#openNamed, { collection, filters, on });
	}

	#openSocket({ fail, frame, signal }, opened, received) {
		const url = new URL("realtime", this.#base);
		url.protocol = url.protocol.replace("http", "ws");
		const socket = new WebSocket(url);
		const send = (text, shown = text) => (socket.send(text), frame?.("out", shown));
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
			const words = code === 1001 ? "The server was stopped." : "The connection was lost.";
			fail(new ApiError(code === 1008 ? "UNAUTHORIZED" : "UNREACHABLE", words));
		};
		signal?.addEventListener("abort", () => {
			socket.onmessage = socket.onclose = null;
			// Closed any earlier, browsers report a failure.
			if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
			else socket.close();
		});
		return socket;
	}

	#openNamed(watch) {
		this.#openSocket(watch, (send) => {
			const { collection, cursor } = watch;
			send(`{"type":"subscribe","id":"page","collection":${stringify(collection)},"snapshot":true,"filters":${watch.filter ?? "{}"}${cursor ? `,"since":"${cursor}"` : ""}}`);
			watch.ping = () => send(PING);
		}, (message) => watch.take(message.type, message, message.cursor));
	}

	/** By `fetch`: `EventSource` sends no header, hides the status, and gives up on any but 200. */
	async #openStream(watch) {
		const { signal, cursor, filter } = watch;
		const url = `realtime/sse/${watch.collection}?${new URLSearchParams({ snapshot: true, ...(filter && { filters: filter }) })}`;
		watch.frame("out", `GET /${url}${cursor ? `\nLast-Event-ID: ${cursor}` : ""}`);
		const response = await this.fetch(url, { headers: cursor ? { "last-event-id": cursor } : {}, signal });
		watch.take("subscribed", {}, cursor);
		let rest = "";
		const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
		for (;;) {
			const { value, done } = await reader.read().catch(unreachable);
			if (signal.aborted) return;
			if (done) unreachable();
			const blocks = (rest + value).split("\n\n");
			rest = blocks.pop();
			for (const block of blocks) {
				watch.frame("in", block);
				const { event, data, id } = Object.fromEntries(block.split("\n").map((line) => /^([^:]*):? ?(.*)$/.exec(line).slice(1)));
				const message = data && parse(data);
				if (event === "error") throw new ApiError(message.code, message.message);
				watch.take(event ?? message?.type, message, id);
			}
		}
	}
}

class Watch {
	#api;
	#on;
	#isClosed;
	#isLive;
	#connection;
	#heard;
	/** Documents from then on are shown, if there are too many. */
	#since;
	#wake;

	constructor(api, open, { collection, filters, on }) {
		Object.assign(this, { collection, filters });
		this.#api = api;
		this.#on = on;
		this.#run(open);
	}

	fail = (error) => this.#connection.abort(error);

	frame = (direction, text) => {
		if (direction === "in") this.#heard = Date.now();
		if (!this.#isClosed) this.#on.frame(direction, text);
	};

	/** Waits no longer. */
	retry = () => this.#wake?.();

	close() {
		this.#isClosed = true;
		this.fail();
		this.retry();
	}

	async #run(open) {
		for (let failures = 0; !this.#isClosed; ) {
			this.#on.state("connecting");
			const connection = (this.#connection = new AbortController());
			const signal = (this.signal = connection.signal);
			this.#heard = Date.now();
			const beat = setInterval(() => {
				if (Date.now() - this.#heard > SILENCE) this.fail(new ApiError("UNREACHABLE", SILENT));
				else this.ping?.();
			}, BEAT);
			await new Promise((ended) => {
				signal.addEventListener("abort", ended);
				this.#begin(open).catch((error) => connection.abort(error));
			});
			clearInterval(beat);
			this.ping = null;
			if (this.#isClosed) return;
			const error = signal.reason;
			failures = this.#isLive ? 1 : failures + 1;
			this.#isLive = false;
			const delay = Math.min(RETRY_MOST, 250 * 2 ** failures) * (0.75 + Math.random() / 4);
			// Under the same name there may be another collection next time.
			if (!error.isPassing) this.cursor = "";
			this.#on.state(error.isPassing ? "waiting" : "ended", error);
			await new Promise((wake) => {
				this.#wake = wake;
				if (error.isPassing) setTimeout(wake, delay);
			});
		}
	}

	async #begin(open) {
		const { collection, filters, signal } = this;
		if (!this.cursor) {
			const query = new URLSearchParams({ limit: 1, offset: MOST - 1, select: "id", ...(filters && { filters }) });
			this.#since = (await this.#api.request("GET", `${path(collection)}?${query}`, { signal })).data[0]?.createdAt;
			this.filter = this.#since ? `{"$and":[${filters ?? "{}"},{"createdAt__gte":"${this.#since}"}]}` : filters;
		}
		await open.call(this.#api, this);
	}

	/** A message of either transport, and the cursor that came with it: an empty one has no past. */
	take(type, message, cursor) {
		this.cursor = cursor ?? this.cursor;
		if (type === "event") this.#on.event(message);
		if (type === "snapshot") this.#on.documents(message.documents);
		if (type === "resync") this.cursor = "";
		if (type === "resync" || (type === "subscribed" && !cursor)) this.#on.state("listing");
		if (type === "ready") this.#on.listed(!this.#since);
		if (type !== "ready" && (type !== "subscribed" || !cursor)) return;
		this.#isLive = true;
		this.#on.state("live");
	}
}

function path(...parts) {
	return ["collections", ...parts].map(encodeURIComponent).join("/");
}

function unreachable(error) {
	throw error instanceof ApiError ? error : new ApiError("UNREACHABLE", SILENT);
}
