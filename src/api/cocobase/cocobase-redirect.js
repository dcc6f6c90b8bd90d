// Points the hosts that are compiled into the Cocobase JavaScript library at a Coir server. A page loads it from that
// server, before the library; where there is no page, COCOBASE_URL says where the server is (see docs/guide/from-cocobase.md).
// It also lets the library's watchers resume: after a reconnect they get what they missed. An app can ask whether the script
// was loaded: COCOBASE_REDIRECT.server is the server then.
(() => {
	const HOSTS = /^(api|cloud)\.cocobase\.(cc|buzz|com)$/;
	const script = globalThis.document?.currentScript;
	const server = script?.dataset.server ?? globalThis.COCOBASE_URL ?? globalThis.process?.env?.COCOBASE_URL ?? (script?.src && new URL(script.src).origin);
	if (!server) throw new Error("cocobase-redirect.js: set COCOBASE_URL to the address of the Coir server, such as http://127.0.0.1:8080");
	const http = new URL(server).href.replace(/\/$/, "");
	globalThis.COCOBASE_REDIRECT = { server: http };
	const bases = { "http:": http, "https:": http, "ws:": http.replace(/^http/, "ws"), "wss:": http.replace(/^http/, "ws") };

	/** The same address on this server, if it is one of the compiled-in hosts. */
	function redirect(address) {
		const url = parse(address);
		return url && HOSTS.test(url.hostname) && bases[url.protocol] ? bases[url.protocol] + url.pathname + url.search + url.hash : address;
	}

	function parse(address) {
		try {
			return new URL(address);
		} catch {
			return null; // Relative: not one of the hosts.
		}
	}

	const { fetch } = globalThis;
	globalThis.fetch = function (input, options) {
		const isRequest = typeof Request === "function" && input instanceof Request;
		const address = redirect(isRequest ? input.url : input);
		return fetch.call(globalThis, isRequest ? (address === input.url ? input : new Request(address, input)) : address, options);
	};

	const WATCHER = /\/realtime\/collections\/[^/]+$/;
	/** What the server adds to a message for this script, at its end. */
	const POSITION = /,"cursor":"[\w-]*"(,"resumed":(true|false))?\}$/;
	/** What each watcher knows, by its handler: the library gives every new connection of a watcher the same one. */
	const watchers = new WeakMap();

	/** Lets a watcher go on after the last event that it had. The library has no way to say where it was. */
	function resume(socket) {
		let handler = null;
		let known = { cursor: "" };
		Object.defineProperty(socket, "onmessage", {
			configurable: true,
			get: () => handler,
			set(value) {
				handler = value;
				if (typeof value !== "function") return;
				known = watchers.get(value) ?? known;
				watchers.set(value, known);
			},
		});
		socket.send = (first) => {
			// Only the first message says who is asking, and from where on.
			delete socket.send;
			socket.send(introduce(first, known));
		};
		socket.addEventListener("message", (message) => {
			const { event, cursor, resumed } = parseMessage(message.data);
			// The app sees what it would see without the script.
			const data = cursor ? message.data.replace(POSITION, "}") : message.data;
			handler?.call(socket, { type: "message", target: socket, data });
			// Only now, so that an event which the handler has not taken comes again.
			known.cursor = cursor ?? known.cursor;
			if (event === "connected" && resumed === false) tellLost(socket, handler);
		});
		return socket;
	}

	function introduce(first, { cursor }) {
		const message = parseMessage(first);
		return message.api_key ? JSON.stringify({ ...message, since: cursor }) : first;
	}

	/** The log does not reach back to the cursor. The removal of a document that never was makes an app look again. */
	function tellLost(socket, handler) {
		const document = { id: "", data: {} };
		handler?.call(socket, { data: JSON.stringify({ event: "delete", data: document, document }) });
	}

	function parseMessage(text) {
		try {
			return JSON.parse(text) ?? {};
		} catch {
			return {};
		}
	}

	const redirected = (WebSocket) =>
		new Proxy(WebSocket, {
			construct(target, [address, ...rest]) {
				const to = redirect(address);
				const socket = Reflect.construct(target, [to, ...rest]);
				return to !== address && WATCHER.test(parse(to).pathname) ? resume(socket) : socket;
			},
		});
	if (globalThis.WebSocket) {
		globalThis.WebSocket = redirected(globalThis.WebSocket);
	} else {
		// Older versions of Node.js have none: whoever brings one along may do so later.
		Object.defineProperty(globalThis, "WebSocket", {
			configurable: true,
			get: () => undefined,
			set: (WebSocket) => Object.defineProperty(globalThis, "WebSocket", { configurable: true, writable: true, value: redirected(WebSocket) }),
		});
	}
})();
