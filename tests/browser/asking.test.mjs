// What the live page can ask and say: comparisons, sorted columns, requests to copy, counts, mistakes, and a server that closes.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { checkAccessibility, choose, fill, live, pageTest, row, screenshot, TRANSPORTS, textOf } from "./browser.mjs";
import { SECRET } from "./server.mjs";

async function add(page, field, comparison, value, join) {
	if (join) await page.getByLabel("Join").selectOption(join);
	await page.getByLabel("Field").fill(field);
	await page.getByLabel("Comparison").selectOption(comparison);
	await page.getByLabel("Value").fill(value);
	await page.getByRole("button", { name: "Add filter" }).click();
}

async function removeAll(page) {
	while (await page.locator(".chip").count()) await page.locator(".chip").first().click();
}

/** Waits until exactly these documents are shown, in any order. */
async function shows(page, ...titles) {
	const count = `${titles.length} document${titles.length === 1 ? "" : "s"}`;
	for (const title of titles) await row(page, title).waitFor();
	await page.locator("footer > :first-child", { hasText: new RegExp(`^${count}$`) }).waitFor();
}

pageTest("filters compare, list values and have alternatives", async ({ server, open }) => {
	for (const [title, n] of [
		["One", 1],
		["Two", 2],
		["Three", 3],
		["Four", 4],
	]) {
		await server.create("posts", { title, n });
	}
	const page = await open();
	await live(page);
	await add(page, "n", "is at least", "3");
	await shows(page, "Three", "Four");
	await add(page, "n", "is at most", "3");
	await shows(page, "Three");
	await removeAll(page);
	await add(page, "n", "is one of", "1, 4, none");
	await shows(page, "One", "Four");
	await removeAll(page);
	await add(page, "title", "is one of", '["Two", "Three"]');
	await shows(page, "Two", "Three");
	await add(page, "title", "is", "One", "or");
	await shows(page, "One", "Two", "Three");
	await page.getByText('title is one of ["Two", "Three"] or title is "One"').waitFor();
	await add(page, "n", "is above", "2", "and");
	await shows(page, "Three");
	await add(page, "n", "is", "1", "or");
	await shows(page, "One", "Three");
	await screenshot(page, "alternatives");
	await checkAccessibility(page, "alternatives");
	await page.reload();
	await shows(page, "One", "Three");
	assert.equal(await page.locator(".chip").count(), 2);
	await server.create("posts", { title: "Two", n: 1 });
	await shows(page, "One", "Three", "Two");
});

pageTest("the list of a view can be copied as curl and as fetch", async ({ server, open }) => {
	await server.create("posts", { title: "It's shown", n: 1 });
	await server.create("posts", { title: "Hidden", n: 2 });
	const page = await open();
	await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
	await live(page);
	await add(page, "title", "is", "It's shown");
	await shows(page, "It's shown");
	const copied = async (name) => {
		await page.getByRole("button", { name }).click();
		await page.getByRole("button", { name: "Copied" }).waitFor();
		const text = await page.evaluate(() => navigator.clipboard.readText());
		await page.getByRole("button", { name }).waitFor();
		assert.ok(!text.includes("pk_0123"), "the key is not copied");
		return text;
	};
	const command = await copied("Copy as curl");
	const run = promisify(execFile)("sh", ["-c", command], { env: { ...process.env, COIR_KEY: SECRET } });
	const titles = (documents) => documents.map(({ data }) => data.title);
	assert.deepEqual(titles(JSON.parse((await run).stdout).data), ["It's shown"], command);
	const code = (await copied("Copy as fetch")).replace("pk_…", SECRET);
	const data = await page.evaluate(`(async () => { ${code}; return data; })()`);
	assert.deepEqual(titles(data), ["It's shown"], code);
});

pageTest("a heading sorts", async ({ server, open }) => {
	for (const [title, n] of [
		["b", 10],
		["c", 9],
		["a", "text"],
	])
		await server.create("posts", { title, n });
	await server.create("posts", { title: "d" });
	const page = await open();
	await live(page);
	await page.getByText("4 documents").waitFor();
	const order = async () => (await page.locator(".rows .row span:nth-child(2)").allInnerTexts()).join("");
	const heading = (name) => page.getByRole("columnheader", { name: new RegExp(`^${name}\\b`) });
	const press = (name) => heading(name).getByRole("button").click();
	assert.equal(await order(), "dacb", "the newest first");
	await press("title");
	assert.equal(await order(), "abcd");
	assert.equal(await heading("title").getAttribute("aria-sort"), "ascending");
	await press("title");
	assert.equal(await order(), "dcba");
	await press("n");
	assert.equal(await order(), "dcba", "missing, numbers, text");
	await server.create("posts", { title: "e", n: 9.5 });
	await row(page, "9.5").waitFor();
	assert.equal(await order(), "dceba", "a new document comes to its place");
	await checkAccessibility(page, "sorted");
	await heading("n").getByRole("button").focus();
	await page.keyboard.press("Enter");
	assert.equal(await order(), "abecd");
	await page.keyboard.press("Enter");
	assert.equal(await order(), "edacb", "the third press ends it");
	assert.ok(await page.locator("#editor").isHidden(), "the key opened no document");
});

pageTest("a mistake in JSON says what to do, and a doubled name is one", async ({ server, open }) => {
	await server.create("posts", { title: "One" });
	const page = await open();
	await row(page, "One").click();
	await page.getByText("Version 1").waitFor();
	for (const [text, told] of [
		['{\n  "a": 1,\n}', "Line 2, column 9: Remove the comma before }"],
		['{"a": [1, 2,]}', "Line 1, column 12: Remove the comma before ]"],
		['{"a": 1\n"b": 2}', "Line 2, column 1: Add a comma or } here"],
		["{a: 1}", "Line 1, column 2: Write a name in double quotes here"],
		["{\"a\": 'x'}", "Line 1, column 7: 'x' is not a value; put text in double quotes"],
		['{"a" 1}', "Line 1, column 6: Add a colon here"],
		['{"a": "x}', "Line 1, column 7: Add the closing quote"],
		['{"a": 1} x', "Line 1, column 10: Remove what follows the last }"],
		['{"a": 1, "b": {"a": 1}, "\\u0061": 2}', 'Line 1, column 25: Rename or remove "\\u0061": the name is there twice'],
	]) {
		await fill(page, text);
		assert.equal(await textOf(page.locator("#mistake")), told, text);
	}
	await page.getByRole("button", { name: "Save" }).click();
	assert.equal((await server.request("GET", "/collections/posts"))[0].version, 1, "nothing was sent");
});

pageTest("the count is exact where the view has the newest documents only", async ({ server, open }) => {
	const write = (from, to) =>
		server.request("POST", "/collections/many/batch", {
			documents: Array.from({ length: to - from }, (_, i) => ({ n: from + i, kind: (from + i) % 2 ? "odd" : "even" })),
		});
	for (let from = 0; from < 10_500; from += 500) await write(from, from + 500);
	const page = await open();
	const footer = page.locator("footer > :first-child");
	await footer.filter({ hasText: /^10,\d\d\d documents, the newest of 10,500$/ }).waitFor();
	await write(10_500, 10_600);
	await footer.filter({ hasText: /of 10,600$/ }).waitFor();
	await add(page, "kind", "is", "odd");
	await footer.filter({ hasText: /^5,300 documents$/ }).waitFor();
});

for (const transport of TRANSPORTS) {
	pageTest(`a server that is closed is shown at once over ${transport}`, async ({ server, open, expectDown }) => {
		await server.create("posts", { title: "One" });
		const page = await open();
		await choose(page, transport);
		await live(page);
		expectDown();
		const shown = page.getByText("Disconnected").first().waitFor({ timeout: 2000 });
		const closing = server.kill("SIGTERM");
		await shown;
		await page.getByText("The server was stopped.").first().waitFor({ timeout: 2000 });
		await closing;

		// What failed meanwhile, and said so, says nothing any more when the server is back.
		await page.getByRole("button", { name: "Sample data" }).waitFor();
		await page.getByRole("button", { name: "New document" }).click();
		await page.getByRole("button", { name: "Save" }).click();
		await page.getByText("Not saved: The server does not answer.").waitFor();
		await page.getByRole("button", { name: "Sample data" }).click();
		await page.locator("#filters .error", { hasText: "The server does not answer" }).waitFor();
		await server.run();
		await live(page);
		assert.equal(await textOf(page.locator("#filters .error")), "");
		assert.equal(await page.getByText("Not saved").count(), 0);
		assert.match(await page.locator("textarea").inputValue(), /Hello/, "the text is still there");
	});
}

pageTest(
	"a server that is closed is shown where there is no collection yet, too",
	async ({ server, open, expectDown }) => {
		const page = await open();
		await page.getByText("No collections yet").waitFor();
		expectDown();
		await server.kill("SIGTERM");
		await page.getByText("The server does not answer. This page continues when the server is back.").waitFor();
		await server.run();
		await page.locator("#none-error", { hasText: /^$/ }).waitFor({ state: "hidden" });
	},
);
