// The example app on the unmodified npm library, in a real browser. All its requests and streams must go to the server
// under test, although the library has other hosts compiled in.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

import { checkAccessibility, pageTest, screenshot, textOf } from "./browser.mjs";
import { serve } from "./proxy.mjs";
import { KEY } from "./server.mjs";

const EXAMPLE = new URL("../../examples/todo/", import.meta.url);
const PUBLIC = { args: ["serve", "--public", fileURLToPath(EXAMPLE)] };
const LIBRARY = pathToFileURL(createRequire(import.meta.url).resolve("cocobase/browser"));
const FILES = {
	"/todo/": new URL("index.html", EXAMPLE),
	"/todo/todo.js": new URL("todo.js", EXAMPLE),
	"/todo/cocobase.min.js": LIBRARY,
};

pageTest("two windows show the same to-do list, live", async ({ t, server, open }) => {
	const site = await serve(t, FILES, server.url);
	const foreign = [];
	const [here, there] = [await open(""), await open("")];
	for (const page of [here, there]) await openTodo(page, site, foreign);
	const item = (page, text) => page.locator("li").filter({ hasText: text });
	for (const text of ["Milk", "Bread"]) {
		await here.getByLabel("New task").fill(text);
		await here.getByRole("button", { name: "Add" }).click();
		await item(there, text).waitFor();
	}
	await there.locator("#open", { hasText: /^2$/ }).waitFor();
	await item(there, "Milk").getByRole("checkbox").check();
	await here.locator("li .done", { hasText: "Milk" }).waitFor();
	await here.locator("#open", { hasText: /^1$/ }).waitFor();
	await checkAccessibility(here, "to-do list");
	await screenshot(here, "todo");
	await here.getByRole("button", { name: "Delete Milk" }).click();
	await item(there, "Milk").waitFor({ state: "detached" });
	assert.equal(await there.locator("li").count(), 1);
	assert.deepEqual(foreign, [], "no other host is asked");
});

/** Opens the app, waits until it watches, and collects the URLs of requests that go to another host. */
async function openTodo(page, site, foreign) {
	page.on("request", (request) => !request.url().startsWith(site) && foreign.push(request.url()));
	const sockets = site.replace("http", "ws");
	page.on("websocket", (socket) => !socket.url().startsWith(sockets) && foreign.push(socket.url()));
	const watching = page.waitForEvent("websocket").then((socket) => {
		return socket.waitForEvent("framereceived", ({ payload }) => String(payload).includes('"connected"'));
	});
	await page.goto(`${site}/todo/?key=${KEY}`);
	await watching;
}

pageTest("a page of another origin needs the redirect script and nothing else", async ({ t, server, open }) => {
	const html = `<!doctype html>
		<link rel="icon" href="data:,">
		<script src="${server.url}/cocobase-redirect.js"></script>
		<script src="cocobase.min.js"></script>`;
	const site = await serve(t, { "/": html, "/cocobase.min.js": LIBRARY }, server.url);
	const page = await open("");
	await page.goto(site);
	const [total, created] = await page.evaluate(async (key) => {
		// Without `baseURL`: the script redirects the compiled-in host, too.
		const db = new CocobaseSDK.Cocobase({ apiKey: key });
		const { total } = await db.realtime.listRooms();
		const watcher = db.realtime.collection("posts", { n: 1 });
		const created = new Promise((resolve) => watcher.onCreate(({ document }) => resolve(document.data)));
		const connected = new Promise((resolve) => watcher.onConnected(resolve));
		watcher.connect();
		await connected;
		await db.createDocument("posts", { n: 1 });
		return [total, await created];
	}, KEY);
	assert.equal(total, 0);
	assert.deepEqual(created, { n: 1 });
	const [{ data }] = await server.request("GET", "/collections/posts");
	assert.deepEqual(data, { n: 1 });
});

pageTest("one command serves the app, from an empty server and through a restart", PUBLIC, async (test) => {
	const { server, open, expectDown } = test;
	assert.deepEqual(
		await readFile(new URL("cocobase.min.js", EXAMPLE)),
		await readFile(LIBRARY),
		"it is the library itself",
	);
	const [here, there] = [await open(), await open()];
	const sent = [];
	here.on("websocket", (socket) => socket.on("framesent", ({ payload }) => sent.push(JSON.parse(payload))));
	await here.getByLabel("New task").fill("Milk");
	await here.getByRole("button", { name: "Add" }).click();
	for (const page of [here, there]) await page.locator("li", { hasText: "Milk" }).waitFor();
	assert.equal(new URL(here.url()).hash, "", "the key is not left in the address");
	await here.reload();
	await here.locator("li", { hasText: "Milk" }).waitFor();

	// The pages are held offline, so they cannot reconnect before these writes.
	expectDown();
	await server.kill("SIGTERM");
	await here.context().setOffline(true);
	await server.run();
	const [{ id }] = await server.request("GET", "/collections/todos");
	await server.create("todos", { text: "Bread", done: false });
	await server.request("DELETE", `/collections/todos/${id}`);
	await here.context().setOffline(false);
	for (const page of [here, there]) {
		await page.locator("li", { hasText: "Bread" }).waitFor({ timeout: 30_000 });
		await page.locator("li", { hasText: "Milk" }).waitFor({ state: "detached" });
	}
	assert.ok(
		sent.some(({ since }) => since),
		"the watcher has resumed by its cursor",
	);
});

pageTest("the live page is beside the app", PUBLIC, async ({ server, open }) => {
	await server.create("todos", { text: "Milk" });
	const page = await open("_/#pk_0123456789abcdefPUBLISHABLE");
	await page.locator(".documents .rows .row", { hasText: "Milk" }).waitFor();
	await server.create("todos", { text: "Bread" });
	await page.locator(".documents .rows .row", { hasText: "Bread" }).waitFor();
});

pageTest(
	"without the redirect script the app says so and asks no other host",
	PUBLIC,
	async ({ open, expectStatus }) => {
		expectStatus(404);
		const page = await open("");
		const foreign = [];
		page.on("request", (request) => !request.url().includes("127.0.0.1") && foreign.push(request.url()));
		page.on("websocket", (socket) => foreign.push(socket.url()));
		await page.route("**/cocobase-redirect.js", (route) => route.fulfill({ status: 404, body: "" }));
		await page.goto(`${new URL(page.url()).origin}/?key=${KEY}`);
		await page.getByText("cocobase-redirect.js is missing").waitFor();
		assert.ok(await page.getByLabel("New task").isHidden());
		assert.deepEqual(foreign, []);
	},
);

pageTest("the app asks for a key, and says why a write failed", PUBLIC, async ({ open, expectStatus }) => {
	expectStatus(401);
	const page = await open("");
	await page.getByLabel("Publishable key").fill("pk_0123456789abcdefUNKNOWN");
	await page.getByRole("button", { name: "Open" }).click();
	await page.getByLabel("New task").fill("Milk");
	await page.getByRole("button", { name: "Add" }).click();
	await page.getByText("Not saved:").waitFor();
	assert.equal(await page.getByLabel("New task").inputValue(), "Milk", "what was typed is still there");
	assert.match(await textOf(page.locator("#error")), /[Tt]oken|key/);
	await checkAccessibility(page, "to-do list with an error");
});
