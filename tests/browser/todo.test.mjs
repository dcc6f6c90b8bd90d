// The example app on the npm library, unmodified, in a real browser: its REST and realtime go to this server, whatever hosts
// are compiled in.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { checkAccessibility, screenshot, withPage } from "./browser.mjs";
import { serve } from "./proxy.mjs";
import { KEY } from "./server.mjs";

const EXAMPLE = new URL("../../examples/todo/", import.meta.url);
const LIBRARY = pathToFileURL(createRequire(import.meta.url).resolve("cocobase/browser"));

async function openTodo(page, site, strange) {
	page.on("request", (request) => !request.url().startsWith(site) && strange.push(request.url()));
	page.on("websocket", (socket) => !socket.url().startsWith(site.replace("http", "ws")) && strange.push(socket.url()));
	const watching = page.waitForEvent("websocket").then((socket) => socket.waitForEvent("framereceived", ({ payload }) => String(payload).includes('"connected"')));
	await page.goto(`${site}/todo/?key=${KEY}`);
	await watching;
}

test("two windows of the to-do list show the same, live", (t) => withPage(async ({ server, open }) => {
	const files = { "/todo/": new URL("index.html", EXAMPLE), "/todo/todo.js": new URL("todo.js", EXAMPLE), "/todo/cocobase.min.js": LIBRARY };
	const [site, strange] = [await serve(t, files, server.url), []];
	const [here, there] = [await open(""), await open("")];
	for (const page of [here, there]) await openTodo(page, site, strange);
	const item = (page, text) => page.locator("li").filter({ hasText: text });
	for (const text of ["Milk", "Bread"]) {
		await here.getByLabel("What is to be done").fill(text);
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
	assert.deepEqual(strange, [], "nobody else was asked");
})());

test("a page of another origin needs the script and nothing else", (t) => withPage(async ({ server, open }) => {
	const html = `<!doctype html><link rel="icon" href="data:,"><script src="${server.url}/cocobase-redirect.js"></script><script src="cocobase.min.js"></script>`;
	const site = await serve(t, { "/": html, "/cocobase.min.js": LIBRARY }, server.url);
	const page = await open("");
	await page.goto(site);
	const heard = await page.evaluate(async (key) => {
		// Without `baseURL`: the script redirects that host, too.
		const db = new CocobaseSDK.Cocobase({ apiKey: key });
		const { total } = await db.realtime.listRooms();
		const watcher = db.realtime.collection("posts", { n: 1 });
		const created = new Promise((resolve) => watcher.onCreate(({ document }) => resolve(document.data)));
		await new Promise((resolve) => (watcher.onConnected(resolve), watcher.connect()));
		await db.createDocument("posts", { n: 1 });
		return [total, await created];
	}, KEY);
	assert.deepEqual(heard, [0, { n: 1 }]);
	assert.deepEqual((await server.request("GET", "/collections/posts")).map(({ data }) => data), [{ n: 1 }]);
})());
