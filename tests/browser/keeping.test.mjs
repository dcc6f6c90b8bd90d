// What the live page must not lose: unsaved text, ids, the place in the address, the order of columns.

import assert from "node:assert/strict";

import { checkAccessibility, choose, fill, live, pageTest, row, screenshot, textOf, waitUntil } from "./browser.mjs";
import { SECRET } from "./server.mjs";

/** Answers the page's questions with `answer`, and collects them. */
function answering(page, answer) {
	const questions = [];
	page.on("dialog", async (dialog) => {
		questions.push(dialog.message());
		await (answer.is ? dialog.accept() : dialog.dismiss());
	});
	return questions;
}

pageTest("unsaved text is never lost without a question", async ({ server, open }) => {
	await server.create("posts", { title: "One" });
	await server.create("posts", { title: "Two" });
	await server.create("other", { title: "Elsewhere" });
	const page = await open();
	await page.getByLabel("Collection", { exact: true }).selectOption("posts");
	await live(page);
	const answer = { is: false };
	const questions = answering(page, answer);
	const text = page.locator("textarea");
	await row(page, "One").click();
	await page.getByText("Version 1").waitFor();
	await page.getByRole("button", { name: "Close" }).click();
	assert.deepEqual(questions, [], "text that was not changed may go");

	await row(page, "One").click();
	await page.getByText("Version 1").waitFor();
	await fill(page, '{"title": "Mine"}');
	const ways = [
		["another document", () => row(page, "Two").click()],
		["a new document", () => page.getByRole("button", { name: "New document" }).click()],
		["the button", () => page.getByRole("button", { name: "Close" }).click()],
		["Escape", () => text.press("Escape")],
		["another collection", () => page.getByLabel("Collection", { exact: true }).selectOption("other")],
		["sample data", () => page.getByRole("button", { name: "Sample data" }).click()],
		["another key", () => page.getByRole("button", { name: "Change key" }).click()],
		["Back", () => page.evaluate(() => history.back())],
	];
	for (const [way, go] of ways) {
		const before = questions.length;
		await go();
		await waitUntil(page, (old) => document.querySelector("textarea").value === old, '{"title": "Mine"}');
		for (let tries = 0; questions.length === before && tries < 100; tries++) await page.waitForTimeout(20);
		assert.equal(questions.length, before + 1, way);
		assert.match(questions.at(-1), /not saved. Discard it\?/, way);
		assert.equal(await page.getByLabel("Collection", { exact: true }).inputValue(), "posts", way);
	}
	// What does not touch the text asks nothing.
	const before = questions.length;
	await row(page, "One").click();
	await choose(page, "SSE");
	await live(page);
	assert.equal(await text.inputValue(), '{"title": "Mine"}');
	assert.equal(questions.length, before);
	// The browser asks when the page is left.
	const leave = page.waitForEvent("dialog");
	await page.evaluate(() => setTimeout(() => location.reload()));
	assert.equal((await leave).type(), "beforeunload");
	answer.is = true;
	await page.getByRole("button", { name: "New document" }).click();
	await waitUntil(page, () => document.querySelector("textarea").value.includes("Hello"));
});

pageTest("unsaved text survives a key that was revoked", async ({ server, open }) => {
	await server.create("posts", { title: "One" });
	const page = await open();
	await row(page, "One").click();
	await page.getByText("Version 1").waitFor();
	await fill(page, '{"title": "Mine"}');
	await server.runCommand(["keys", "revoke", "pk_01234567"]);
	await page.getByText("This server does not know that key").waitFor();
	await page.getByLabel("Key").fill(SECRET);
	await page.getByRole("button", { name: "Open" }).click();
	await live(page);
	assert.equal(await page.locator("textarea").inputValue(), '{"title": "Mine"}');
	await page.getByRole("button", { name: "Save" }).click();
	await row(page, "Mine").waitFor();
});

pageTest("a full id can be seen and copied, and given to a new document", async ({ server, open, expectStatus }) => {
	expectStatus(412);
	const { id } = await server.create("posts", { title: "One" });
	const page = await open();
	await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
	await row(page, "One").click();
	await page.locator("aside h2", { hasText: id }).waitFor();
	await page.getByRole("button", { name: "Copy id" }).click();
	await page.getByRole("button", { name: "Copied" }).waitFor();
	assert.equal(await page.evaluate(() => navigator.clipboard.readText()), id);
	assert.equal(await row(page, "One").locator(".id").getAttribute("title"), id);
	await checkAccessibility(page, "a document's id");
	await page.getByRole("button", { name: "New document" }).click();
	await page.getByLabel("Id", { exact: true }).fill("my-own_id");
	await fill(page, '{"title": "Named"}');
	await screenshot(page, "new-id");
	await checkAccessibility(page, "a new document");
	await page.getByRole("button", { name: "Save" }).click();
	await row(page, "Named").waitFor();
	assert.equal((await server.request("GET", "/collections/posts/my-own_id")).data.title, "Named");

	await page.getByRole("button", { name: "New document" }).click();
	await page.getByLabel("Id", { exact: true }).fill("my-own_id");
	await page.getByRole("button", { name: "Save" }).click();
	await page.getByText("there is a document my-own_id already").waitFor();
	assert.equal((await server.request("GET", "/collections/posts/my-own_id")).version, 1);
});

pageTest("collection, transport and filter live in the address", async ({ server, open }) => {
	await server.create("posts", { title: "Draft", status: "draft" });
	await server.create("posts", { title: "Shown", status: "live" });
	await server.create("others", { title: "Elsewhere" });
	const page = await open();
	await page.getByLabel("Collection", { exact: true }).selectOption("posts");
	await choose(page, "SSE");
	await page.getByLabel("Field").fill("status");
	await page.getByLabel("Value").fill("live");
	await page.getByRole("button", { name: "Add filter" }).click();
	await row(page, "Draft").waitFor({ state: "detached" });
	const address = new URL(page.url());
	assert.ok(!page.url().includes("pk_"));

	await page.reload();
	await live(page);
	await row(page, "Shown").waitFor();
	assert.equal(await row(page, "Draft").count(), 0);
	assert.ok(await page.getByLabel("SSE").isChecked());
	await page.getByRole("button", { name: 'Remove the filter status is "live"' }).waitFor();
	// Whoever gets the link sees the same.
	const other = await open(`#/posts${address.hash.slice("#/posts".length)}`);
	await other.getByLabel("Key").fill(SECRET);
	await other.getByRole("button", { name: "Open" }).click();
	await row(other, "Shown").waitFor();
	assert.equal(await row(other, "Draft").count(), 0);

	await page.goBack();
	await row(page, "Draft").waitFor();
	assert.equal(await page.locator(".chip").count(), 0);
	await page.goForward();
	await row(page, "Draft").waitFor({ state: "detached" });
	const broken = await open("#/posts?filters={");
	await broken.getByLabel("Key").fill(SECRET);
	await broken.getByRole("button", { name: "Open" }).click();
	await broken.getByText("The filter in the address is not valid JSON").waitFor();
	await row(broken, "Draft").waitFor();
});

pageTest("columns keep their places while documents change", async ({ server, open }) => {
	const { id } = await server.create("posts", { alpha: 1, beta: 2, gamma: 3 });
	const page = await open();
	await live(page);
	const titles = () => page.locator(".head [role=columnheader]").allInnerTexts();
	await row(page, "1").waitFor();
	assert.deepEqual(await titles(), ["id", "alpha", "beta", "gamma", "changed"]);
	await row(page, "1").click();
	await page.getByText("Version 1").waitFor();
	await fill(page, '{"gamma": 3, "title": "New"}');
	await page.getByRole("button", { name: "Save" }).click();
	await page.getByText("Saved as version 2").waitFor();
	await row(page, "New").waitFor();
	assert.deepEqual((await titles()).slice(1, 4), ["alpha", "beta", "gamma"]);
	await server.request("PUT", `/collections/posts/${id}`, { title: "Back", beta: 2, alpha: 1, gamma: 3 });
	await row(page, "Back").waitFor();
	assert.deepEqual((await titles()).slice(1, 4), ["alpha", "beta", "gamma"]);
});

pageTest("buttons do not touch sentences", async ({ server, open, expectStatus }) => {
	expectStatus(412);
	const { id } = await server.create("posts", { title: "One" });
	const page = await open();
	await row(page, "One").click();
	await page.getByText("Version 1").waitFor();
	await fill(page, '{"title": "Mine"}');
	await server.request("PATCH", `/collections/posts/${id}`, { title: "Theirs" });
	await page.getByText("Someone else changed this document.").waitFor();
	await page.getByRole("button", { name: "Save" }).click();
	await page.getByRole("button", { name: "Keep mine" }).waitFor();
	const gaps = await page.evaluate(() => {
		const boxes = [...document.querySelector(".note").childNodes].map((node) => {
			const range = document.createRange();
			range.selectNode(node);
			return node instanceof Element ? node.getBoundingClientRect() : range.getBoundingClientRect();
		});
		return boxes.slice(1).map((box, i) => Math.max(box.left - boxes[i].right, box.top - boxes[i].bottom));
	});
	assert.equal(gaps.length, 2);
	assert.ok(
		gaps.every((gap) => gap >= 5),
		`${gaps}`,
	);
	assert.match(await textOf(page.locator(".note")), /changed this document/);
});
