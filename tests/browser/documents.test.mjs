// Documents in the live page: they appear, change, are edited, filtered and deleted.

import assert from "node:assert/strict";

import {
	checkAccessibility,
	choose,
	fill,
	live,
	pageTest,
	row,
	screenshot,
	TRANSPORTS,
	textOf,
	waitUntil,
} from "./browser.mjs";

for (const transport of TRANSPORTS) {
	pageTest(`documents appear, change and disappear over ${transport}`, async ({ server, open }) => {
		const first = await server.create("posts", { title: "First", n: 1 });
		const page = await open();
		await choose(page, transport);
		await live(page);
		await row(page, "First").waitFor();
		await server.create("posts", { title: "Second" });
		await row(page, "Second").waitFor();
		assert.match(await textOf(page.locator(".rows .row").first()), /Second/, "the newest is on top");
		await server.request("PATCH", `/collections/posts/${first.id}`, { title: "Changed" });
		await row(page, "Changed").waitFor();
		assert.equal(await row(page, "First").count(), 0);
		await server.request("DELETE", `/collections/posts/${first.id}`);
		await row(page, "Changed").waitFor({ state: "detached" });
		assert.match(await textOf(page.locator("footer")), /1 document\n.*1 created.*1 updated.*1 deleted/s);
	});

	pageTest(`a document can be created, edited and deleted over ${transport}`, async ({ server, open }) => {
		await server.request("POST", "/collections", { name: "posts" });
		const page = await open();
		await choose(page, transport);
		await page.getByText("posts is empty").waitFor();
		await page.locator(".cover").getByRole("button", { name: "New document" }).click();
		await fill(page, '{"title": "Made", "big": 9007199254740993}');
		await page.getByRole("button", { name: "Save" }).click();
		await row(page, "Made").waitFor();
		assert.match(await textOf(row(page, "Made")), /9007199254740993/, "integers keep their digits");

		await row(page, "Made").click();
		await page.getByText("Version 1").waitFor();
		assert.match(await page.locator("textarea").inputValue(), /9007199254740993/);
		await fill(page, '{\n  "title": "Made",\n  "n": 01\n}');
		assert.match(await textOf(page.locator("#mistake")), /Line 3, column 8: 01 is not a value/);
		await page.getByRole("button", { name: "Save" }).click();
		const selected = await page.locator("textarea").evaluate(({ value, selectionStart, selectionEnd }) => {
			return value.slice(selectionStart, selectionEnd);
		});
		assert.equal(selected, "0", "the mistake is selected");
		await screenshot(page, "mistake");
		await fill(page, '{"title": "Edited"}');
		await page.getByRole("button", { name: "Save" }).click();
		await page.getByText("Saved as version 2").waitFor();
		await row(page, "Edited").waitFor();

		// Someone else writes the document while it is open in the editor.
		const { id } = (await server.request("GET", "/collections/posts"))[0];
		await fill(page, '{"title": "Mine"}');
		await server.request("PATCH", `/collections/posts/${id}`, { title: "Theirs" });
		await page.getByText("Someone else changed this document").waitFor();
		await page.getByRole("button", { name: "Show theirs" }).click();
		await waitUntil(page, () => document.querySelector("textarea").value.includes("Theirs"));

		await page.locator("aside").getByRole("button", { name: "Delete" }).click();
		await page.getByRole("button", { name: "Delete for good?" }).click();
		await row(page, "Theirs").waitFor({ state: "detached" });
		await page.getByText("posts is empty").waitFor();
		await checkAccessibility(page, "empty");
	});

	pageTest(`a filter shows documents that match, now or later, over ${transport}`, async ({ server, open }) => {
		const draft = await server.create("posts", { title: "Draft", status: "draft", room: 7, checked_in: true });
		await server.create("posts", { title: "Shown", status: "live", room: "7", checked_in: false });
		const page = await open();
		await choose(page, transport);
		await row(page, "Draft").waitFor();
		const add = async (field, value) => {
			await page.getByLabel("Field").fill(field);
			await page.getByLabel("Value").fill(value);
			await page.getByRole("button", { name: "Add filter" }).click();
		};
		await add("status", "live");
		await row(page, "Draft").waitFor({ state: "detached" });
		await row(page, "Shown").waitFor();
		await live(page);
		await server.request("PATCH", `/collections/posts/${draft.id}`, { status: "live" });
		await row(page, "Draft").waitFor();
		await add("room", "7");
		await row(page, "Shown").waitFor({ state: "detached" });
		await add("checked_in", "true");
		await live(page);
		await row(page, "Draft").waitFor();
		for (let left = 3; left > 0; left--) await page.locator(".chip").first().click();
		await row(page, "Shown").waitFor();
		await add("title", "None");
		await page.getByText("No document matches").waitFor();
	});
}

pageTest("a document written in one page appears in another", async ({ server, open }) => {
	await server.request("POST", "/collections", { name: "posts" });
	const [one, other] = [await open(), await open()];
	await live(one);
	await live(other);
	await one.getByRole("button", { name: "New document" }).first().click();
	await fill(one, '{"title":"From one"}');
	await one.keyboard.press("Control+Enter");
	await row(other, "From one").waitFor();
	await row(other, "From one").hover();
	await row(other, "From one").locator(".remove").click();
	await row(other, "From one").locator(".remove").click();
	await row(one, "From one").waitFor({ state: "detached" });
});

pageTest("markup in a document is shown as text", async ({ server, open }) => {
	const markup = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script><b>bold</b>`;
	const long = "Donaudampfschifffahrt".repeat(200);
	await server.create("posts", {
		title: markup,
		[markup]: [markup],
		status: markup,
		long,
		rtl: "مرحبا بالعالم",
		__proto__x: { constructor: 1 },
	});
	const page = await open();
	await row(page, "<b>bold</b>").waitFor();
	await page.getByRole("button", { name: "Frames" }).click();
	await row(page, "<b>bold</b>").first().click();
	await page.getByText("Version 1").waitFor();
	await page.getByLabel("Field").fill(markup);
	await page.getByLabel("Value").fill(markup);
	await page.getByRole("button", { name: "Add filter" }).click();
	await screenshot(page, "markup");
	assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
	assert.equal(await page.locator("main img, main script, main b:text('bold')").count(), 0);
	const fits = await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
	assert.ok(fits, "nothing is wider than the window");
});
