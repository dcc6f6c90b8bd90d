// Points the hosts that are compiled into the Cocobase JavaScript library at a Coir server. A page loads it from that
// server, before the library; where there is no page, COCOBASE_URL says where the server is (see docs/guide/from-cocobase.md).
(() => {
	const HOSTS = /^(api|cloud)\.cocobase\.(cc|buzz|com)$/;
	const script = globalThis.document?.currentScript;
	const server = script?.dataset.server ?? globalThis.COCOBASE_URL ?? globalThis.process?.env?.COCOBASE_URL ?? (script?.src && new URL(script.src).origin);
	if (!server) throw new Error("cocobase-redirect.js: set COCOBASE_URL to the address of the Coir server, such as http://127.0.0.1:8080");
	const http = new URL(server).href.replace(/\/$/, "");
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

	const redirected = (WebSocket) =>
		new Proxy(WebSocket, {
			construct: (target, [address, ...rest]) => Reflect.construct(target, [redirect(address), ...rest]),
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
