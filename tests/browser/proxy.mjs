// A web server as it stands in front of Coir: it serves the files of an app, and passes everything else on.

import { readFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import { connect } from "node:net";

const TYPES = { html: "text/html", js: "text/javascript" };

/** Serves `files` (path → file, or text) and passes the rest on to `upstream`; resolves to its own address. */
export async function serve(t, files, upstream) {
	const { hostname, port } = new URL(upstream);
	const server = createServer(async (incoming, outgoing) => {
		const { pathname } = new URL(incoming.url, upstream);
		if (pathname in files) {
			const file = files[pathname];
			outgoing.setHeader("content-type", TYPES[(file instanceof URL ? file.pathname : pathname).split(".").pop()] ?? TYPES.html);
			return outgoing.end(file instanceof URL ? await readFile(file) : file);
		}
		const passed = request({ hostname, port, path: incoming.url, method: incoming.method, headers: incoming.headers }, (answer) => {
			outgoing.writeHead(answer.statusCode, answer.headers);
			answer.pipe(outgoing);
		});
		passed.on("error", () => outgoing.destroy());
		incoming.pipe(passed);
	});
	server.on("upgrade", ({ url, rawHeaders }, client, head) => {
		const socket = connect(port, hostname, () => {
			const headers = rawHeaders.map((text, place) => (place % 2 ? `${text}\r\n` : `${text}: `)).join("");
			socket.write(`GET ${url} HTTP/1.1\r\n${headers}\r\n`);
			socket.write(head);
			socket.pipe(client).pipe(socket);
		});
		for (const [one, other] of [[socket, client], [client, socket]]) one.on("error", () => {}).on("close", () => other.destroy());
	});
	await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => (server.closeAllConnections(), server.close()));
	return `http://127.0.0.1:${server.address().port}`;
}
