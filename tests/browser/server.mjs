// The built binary with a data directory of its own, and an HTTP client of it.

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const BINARY = process.env.COIR_BINARY ?? fileURLToPath(new URL("../../target/debug/coir", import.meta.url));
export const KEY = "pk_0123456789abcdefPUBLISHABLE";
export const SECRET = "sk_0123456789abcdefSECRET";

export class Server {
	static async start() {
		const server = new Server();
		server.directory = await mkdtemp(join(tmpdir(), "coir-browser-"));
		server.port = await freePort();
		server.url = `http://127.0.0.1:${server.port}`;
		await server.run();
		return server;
	}

	/** Starts it, again on the same port and data. */
	async run() {
		const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("COIR_") && name !== "DATABASE_URL");
		const env = { ...Object.fromEntries(kept), COIR_LISTEN: `127.0.0.1:${this.port}`, COIR_DATA_DIR: this.directory, COIR_API_KEY: SECRET, COIR_PUBLISHABLE_KEY: KEY, COIR_LOG: "warn" };
		this.process = spawn(BINARY, [], { env, cwd: this.directory, stdio: ["ignore", "ignore", "inherit"] });
		this.ended = new Promise((resolve) => this.process.once("exit", resolve));
		for (const begun = Date.now(); ; ) {
			if (await fetch(`${this.url}/health/ready`).then(({ ok }) => ok, () => false)) return;
			if (Date.now() - begun > 20_000) throw new Error("the server is not ready after 20 s");
			await new Promise((resolve) => setTimeout(resolve, 50));
		}
	}

	async kill(signal = "SIGKILL") {
		this.process.kill(signal);
		await this.ended;
	}

	async stop() {
		await this.kill();
		await rm(this.directory, { recursive: true });
	}

	async request(method, path, body) {
		const response = await fetch(this.url + path, { method, headers: { authorization: `Bearer ${SECRET}` }, body: body && JSON.stringify(body) });
		const answer = await response.json();
		if (!response.ok) throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
		return answer.data;
	}

	create(collection, data) {
		return this.request("POST", `/collections/${collection}`, data);
	}
}

function freePort() {
	return new Promise((resolve) => {
		const probe = createServer().listen(0, "127.0.0.1", () => {
			const { port } = probe.address();
			probe.close(() => resolve(port));
		});
	});
}
