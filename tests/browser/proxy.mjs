// A web server in front of Coir, as an app would have it: it serves the app's files and forwards everything else.

import { readFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { extname } from "node:path";

/**
 * Serves `files` and forwards other requests to `upstream`, until the test `t` ends. Resolves to its own address.
 * `files` maps a path to a file's URL or to HTML.
 */
export async function serve(t, files, upstream) {
	return (await open(t, files, upstream)).url;
}

/** The same. Resolves to the address, a function that counts the event streams, and one that cuts all connections. */
export async function open(t, files, upstream) {
	const streams = new Set();
	const { hostname, port } = new URL(upstream);
	const server = createServer(async (incoming, outgoing) => {
		const { pathname } = new URL(incoming.url, upstream);
		if (pathname in files) await sendFile(outgoing, files[pathname]);
		else forward(incoming, outgoing, { hostname, port }, streams);
	});
	server.on("upgrade", (incoming, client, head) => forwardSocket(incoming, client, head, { hostname, port }));
	await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		server.closeAllConnections();
		server.close();
	});
	return {
		url: `http://127.0.0.1:${server.address().port}`,
		streams: () => streams.size,
		cut: () => {
			for (const stream of streams) stream.destroy();
		},
	};
}

async function sendFile(outgoing, file) {
	const isScript = file instanceof URL && extname(file.pathname) === ".js";
	outgoing.setHeader("content-type", isScript ? "text/javascript" : "text/html");
	outgoing.end(file instanceof URL ? await readFile(file) : file);
}

function forward(incoming, outgoing, target, streams) {
	const { url: path, method, headers } = incoming;
	const forwarded = request({ ...target, path, method, headers }, (answer) => {
		outgoing.writeHead(answer.statusCode, answer.headers);
		if (answer.headers["content-type"] === "text/event-stream") {
			streams.add(outgoing);
			outgoing.on("close", () => {
				streams.delete(outgoing);
				forwarded.destroy();
			});
		}
		answer.pipe(outgoing);
	});
	forwarded.on("error", () => outgoing.destroy());
	incoming.pipe(forwarded);
}

/** Repeats the upgrade request to the target, then copies bytes both ways. */
function forwardSocket({ url, rawHeaders }, client, head, { hostname, port }) {
	const socket = connect(port, hostname, () => {
		const headers = rawHeaders.map((text, index) => (index % 2 ? `${text}\r\n` : `${text}: `)).join("");
		socket.write(`GET ${url} HTTP/1.1\r\n${headers}\r\n`);
		socket.write(head);
		socket.pipe(client).pipe(socket);
	});
	socket.on("error", () => {}).on("close", () => client.destroy());
	client.on("error", () => {}).on("close", () => socket.destroy());
}
