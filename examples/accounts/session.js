// Keeps a user signed in, over reloads and in all tabs of the browser. Copy this module into your app: it knows nothing of the
// page, and uses nothing but Coir's API.

const STORED = "coir-session";
/** An access token that is good for less than this is replaced before it is used, in milliseconds. */
const MARGIN = 30_000;
/** Between two tries to connect, in milliseconds. */
const RETRY = 2000;

export class ApiError extends Error {
	constructor(status, { code, message }) {
		super(message);
		this.status = status;
		this.code = code;
	}
}

/** Fires `change` whenever a user signs in or out, in this tab or in another one. */
export class Session extends EventTarget {
	#server;
	#key;
	#tokens = JSON.parse(localStorage.getItem(STORED));
	#refreshing;

	/** @param {string} server the server's address @param {string} key the publishable key, `pk_…` */
	constructor(server, key) {
		super();
		this.#server = server;
		this.#key = key;
		addEventListener("storage", ({ key, newValue }) => {
			if (key === STORED || key === null) this.#use(JSON.parse(newValue));
		});
	}

	/** The id of the user who is signed in. @returns {string | undefined} */
	get userId() {
		return this.#tokens?.userId;
	}

	/** Does a request as the user, or with the key alone. Resolves to the answer's `data`. */
	async request(method, path, body) {
		const token = await this.#freshToken();
		try {
			return await this.#send(method, path, body, token);
		} catch (error) {
			if (error.status !== 401 || !token || token === (await this.#freshToken(true))) throw error;
			return this.#send(method, path, body, this.#tokens?.accessToken);
		}
	}

	/**
	 * Does a request that signs in, or up. Resolves to undefined when the user is signed in. Otherwise resolves to what is missing:
	 * `{ mfa: { ticket } }` for `POST /users/login/mfa`, or `{ confirm: "mail" }`, if a link in a mail ends the sign-up.
	 */
	async signIn(path, body) {
		const data = await this.#send("POST", path, body);
		if (!data.user) return data;
		this.#store(data);
	}

	async signOut() {
		const token = await this.#freshToken().catch(() => null);
		// First of all here and in the other tabs, which then do not come back when the server ends their streams.
		this.#store(null);
		if (token) await this.#send("POST", "/users/logout", undefined, token).catch(() => {});
	}

	/**
	 * Watches documents as the user: `on.message` gets the snapshot, and every change after it. The connection outlives access
	 * tokens and outages. Returns the function that ends it.
	 */
	watch(collection, on) {
		let socket;
		let timer;
		let isEnded = false;
		const connect = async () => {
			const token = await this.#freshToken().catch(() => null);
			if (isEnded) return;
			if (!token) {
				if (this.#tokens) timer = setTimeout(connect, RETRY);
				return;
			}
			socket = new WebSocket(`${this.#server.replace(/^http/, "ws")}/realtime`);
			socket.onopen = () => {
				this.#authenticate(socket, token);
				socket.send(JSON.stringify({ type: "subscribe", id: "watch", collection, snapshot: true }));
			};
			socket.onmessage = ({ data }) => on.message(JSON.parse(data));
			socket.onclose = async ({ code }) => {
				clearInterval(renewal);
				if (isEnded) return;
				// The server closes with 1008 when the session is over. This finds out whether it is.
				if (code === 1008) await this.#freshToken(true).catch(() => {});
				timer = setTimeout(connect, RETRY);
			};
			// Another token before the old one expires: the stream goes on without a gap.
			let sent = token;
			const renewal = setInterval(async () => {
				const next = await this.#freshToken().catch(() => null);
				if (!next || next === sent || socket.readyState !== WebSocket.OPEN) return;
				sent = next;
				this.#authenticate(socket, next);
			}, 1000);
		};
		connect();
		return () => {
			isEnded = true;
			clearTimeout(timer);
			socket?.close();
		};
	}

	#authenticate(socket, token) {
		socket.send(JSON.stringify({ type: "auth", token: this.#key, user: token }));
	}

	/** Resolves to an access token that is good for a while; to undefined if nobody is signed in. */
	async #freshToken(must = false) {
		if (!this.#tokens) return undefined;
		if (must || Date.parse(this.#tokens.expiresAt) - Date.now() < MARGIN) {
			this.#refreshing ??= this.#refresh().finally(() => {
				this.#refreshing = null;
			});
			await this.#refreshing;
		}
		return this.#tokens?.accessToken;
	}

	/** All tabs may do this at once: for 30 seconds, an old refresh token gives the same new one. */
	async #refresh() {
		const { refreshToken } = this.#tokens;
		try {
			const data = await this.#send("POST", "/users/refresh", { refreshToken });
			if (this.#tokens) this.#store(data);
		} catch (error) {
			// Another tab may have been faster, or has signed somebody else in.
			const stored = JSON.parse(localStorage.getItem(STORED));
			if (stored?.refreshToken !== refreshToken) this.#use(stored);
			else if (error.status === 401) this.#store(null);
			else throw error;
		}
	}

	async #send(method, path, body, token) {
		const headers = { "x-api-key": this.#key };
		if (token) headers.authorization = `Bearer ${token}`;
		const response = await fetch(this.#server + path, {
			method,
			headers,
			body: body && JSON.stringify(body),
		}).catch(() => {
			throw new ApiError(0, { code: "UNREACHABLE", message: "The server can't be reached. Try again." });
		});
		const answer = await response.json().catch(() => ({}));
		if (response.ok) return answer.data;
		const unknown = { code: "UNKNOWN", message: `The server answered with ${response.status}.` };
		throw new ApiError(response.status, answer.error ?? unknown);
	}

	#store(data) {
		const tokens = data && {
			userId: data.user.id,
			accessToken: data.accessToken,
			refreshToken: data.refreshToken,
			expiresAt: data.expiresAt,
		};
		if (tokens) localStorage.setItem(STORED, JSON.stringify(tokens));
		else localStorage.removeItem(STORED);
		this.#use(tokens);
	}

	#use(tokens) {
		const isOther = tokens?.userId !== this.userId;
		this.#tokens = tokens;
		if (isOther) this.dispatchEvent(new Event("change"));
	}
}
