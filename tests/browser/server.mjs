// A Coir process with a data directory of its own, and an HTTP client for it.

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
	/** `args` are the command's; without them it serves. `settings` are the server's. @param {string[]} args */
	static async start(args = [], settings = {}) {
		const server = new Server();
		server.args = args;
		server.settings = settings;
		server.directory = await mkdtemp(join(tmpdir(), "coir-browser-"));
		server.port = await freePort();
		server.url = `http://127.0.0.1:${server.port}`;
		await server.run();
		return server;
	}

	/** Starts the process, on the same port and data each time, and waits until it is ready. */
	async run() {
		this.process = spawn(BINARY, this.args, {
			env: this.#environment(),
			cwd: this.directory,
			stdio: ["ignore", "ignore", "inherit"],
		});
		this.ended = new Promise((resolve) => this.process.once("exit", resolve));
		for (const begun = Date.now(); !(await this.#isReady()); ) {
			if (Date.now() - begun > 20_000) throw new Error("the server is not ready after 20 s");
			await new Promise((resolve) => setTimeout(resolve, 50));
		}
	}

	/** Leaves out the settings of the person who runs the tests. */
	#environment() {
		const others = Object.entries(process.env).filter(([name]) => !/^(COIR_|DATABASE_URL$)/.test(name));
		return {
			...Object.fromEntries(others),
			COIR_LISTEN: `127.0.0.1:${this.port}`,
			COIR_DATA_DIR: this.directory,
			COIR_API_KEY: SECRET,
			COIR_PUBLISHABLE_KEY: KEY,
			COIR_LOG: "warn",
			...this.settings,
		};
	}

	async #isReady() {
		const response = await fetch(`${this.url}/health/ready`).catch(() => null);
		return response?.ok;
	}

	/** Runs another command on the same data, to its end. */
	async runCommand(args) {
		const command = spawn(BINARY, args, { env: this.#environment(), cwd: this.directory, stdio: "inherit" });
		const code = await new Promise((resolve) => command.once("exit", resolve));
		if (code !== 0) throw new Error(`coir ${args.join(" ")} ended with ${code}`);
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
		const response = await fetch(this.url + path, {
			method,
			headers: { authorization: `Bearer ${SECRET}` },
			body: body && JSON.stringify(body),
		});
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
