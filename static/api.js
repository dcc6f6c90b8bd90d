// The one module that talks to the server: REST, WebSocket, server-sent events. It knows nothing of the page.

/** Documents listed at most. */
export const MOST = 10_000;
const MOST_BYTES = 64e6, PAGE_BYTES = 1e6;
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

	/** → `{ data, nextCursor, etag, size }` */
	async request(method, path, options) {
		const response = await this.fetch(path, { method, ...options });
		const text = await response.text().catch(unreachable);
		return { ...parse(text), etag: response.headers.get("etag"), size: text.length };
	}

	async collections() {
		return (await this.request("GET", "collections")).data.map(({ name }) => name);
	}

	createCollection(name) {
		return this.request("POST", "collections", { body: stringify({ name }) });
	}

	list(collection, { filters, limit, after, signal }) {
		const query = new URLSearchParams({ limit, ...(filters && { filters }), ...(after && { after }) });
		return this.request("GET", `${path(collection)}?${query}`, { signal });
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
	 * Keeps a view of a collection right: lists it, follows its changes, gets over every loss of the connection.
	 *
	 * `on.state(state, error)`: `connecting`, `listing`, `live`, `waiting` or `ended`. `on.documents(page)` of a listing,
	 * `on.listed(isComplete)` at its end: what was not in it is gone. `on.event(event)`. `on.frame(direction, text)`.
	 */
	watch(collection, { transport, filters, on }) {
		const open = (watch) => (transport === "sse" ? this.#openStream(watch) : this.#watchSocket(watch));
		return new Watch(this, open, { collection, filters, on });
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

	/** Messages are handled in order: the first `pong` tells that the subscription is live. */
	async #watchSocket(watch) {
		let isLive = false;
		const opened = (send) => {
			const filters = watch.filters ? `,"filters":${watch.filters}` : "";
			send(`{"type":"subscribe","collection":${stringify(watch.collection)}${filters}}`);
			watch.ping = () => send(PING);
			watch.ping();
		};
		this.#openSocket(watch, opened, (message) => {
			if (message.type === "event") return watch.event(message);
			if (!isLive) watch.subscribed();
			isLive = true;
		});
	}

	/** By `fetch`: `EventSource` sends no header, hides the status, and gives up on any but 200. */
	async #openStream(watch) {
		const { signal, filters } = watch;
		const url = `realtime/sse/${watch.collection}${filters ? `?${new URLSearchParams({ filters })}` : ""}`;
		const lastId = watch.isListed && watch.lastId;
		watch.frame("out", `GET /${url}${lastId ? `\nLast-Event-ID: ${lastId}` : ""}`);
		const response = await this.fetch(url, { headers: lastId ? { "last-event-id": lastId } : {}, signal });
		let rest = "", mustList = !lastId, isNew = true;
		const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
		for (;;) {
			const { value, done } = await reader.read().catch(unreachable);
			if (signal.aborted) return;
			if (done) unreachable();
			const blocks = (rest + value).split("\n\n");
			rest = blocks.pop();
			for (const block of blocks) {
				watch.frame("in", block);
				const fields = Object.fromEntries(block.split("\n").map((line) => /^([^:]*):? ?(.*)$/.exec(line).slice(1)));
				const message = fields.data && parse(fields.data);
				if (fields.event === "error") throw new ApiError(message.code, message.message);
				if (fields.event === "resync") mustList = true;
				else if (message) watch.event(message);
				if (fields.id === undefined) continue;
				watch.lastId = fields.id;
				if (mustList) watch.subscribed();
				else if (isNew) watch.resumed();
				mustList = isNew = false;
			}
		}
	}
}

/** What a view missed during a cut is replayed (SSE) or listed again. */
class Watch {
	#api;
	#on;
	#isClosed;
	#isLive;
	#connection;
	#heard;
	/** Ids of events during a listing: they are newer than its pages, or newer ones come. */
	#touched;
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
				open(this).catch((error) => connection.abort(error));
			});
			clearInterval(beat);
			this.ping = this.#touched = null;
			if (this.#isClosed) return;
			const error = signal.reason;
			failures = this.#isLive ? 1 : failures + 1;
			this.#isLive = false;
			const delay = Math.min(RETRY_MOST, 250 * 2 ** failures) * (0.75 + Math.random() / 4);
			this.#on.state(error.isPassing ? "waiting" : "ended", error);
			await new Promise((wake) => {
				this.#wake = wake;
				if (error.isPassing) setTimeout(wake, delay);
			});
		}
	}

	/** What is listed from now on and the events are everything. */
	async subscribed() {
		const { signal, collection, filters } = this;
		const touched = (this.#touched = new Set());
		this.isListed = false;
		this.#on.state("listing");
		try {
			let after, count = 0, bytes = 0, limit = 20;
			do {
				const { data, size, nextCursor } = await this.#api.list(collection, { filters, limit, after, signal });
				if (touched !== this.#touched) return;
				this.#on.documents(data.filter(({ id }) => !touched.has(id)));
				count += data.length;
				bytes += size;
				after = nextCursor;
				limit = Math.max(1, Math.min(1000, Math.floor((PAGE_BYTES * data.length) / size)));
			} while (after && count < MOST && bytes < MOST_BYTES);
			this.#touched = null;
			this.isListed = true;
			this.#on.listed(!after);
			this.resumed();
		} catch (error) {
			if (touched === this.#touched) this.fail(error);
		}
	}

	resumed() {
		this.#isLive = true;
		this.#on.state("live");
	}

	event(event) {
		this.#touched?.add(event.document.id);
		this.#on.event(event);
	}
}

function path(...parts) {
	return ["collections", ...parts].map(encodeURIComponent).join("/");
}

function unreachable(error) {
	throw error instanceof ApiError ? error : new ApiError("UNREACHABLE", SILENT);
}
