// The first minutes with the live page: keys, sample data, collections.

import assert from "node:assert/strict";

import { checkAccessibility, choose, live, pageTest, row, screenshot, textOf, waitUntil } from "./browser.mjs";
import { KEY, SECRET } from "./server.mjs";

pageTest("one click on sample data shows live events", async ({ server, open }) => {
	const page = await open();
	await page.getByText("No collections yet").waitFor();
	assert.equal(page.url(), `${server.url}/`, "the key is not left in the address");
	await checkAccessibility(page, "no collection");
	await screenshot(page, "no-collection");
	await page.getByRole("button", { name: "Start sample data" }).first().click();
	await live(page);
	await waitUntil(page, () => {
		const totals = [...document.querySelectorAll(".total b")];
		return totals.length === 3 && totals.every(({ textContent }) => Number(textContent) > 2);
	});
	assert.ok(Number(await textOf(page.locator("figcaption b"))) > 0, "the plot counts");
	await screenshot(page, "sample-data");
	await checkAccessibility(page, "sample data");
	await page.getByRole("button", { name: "Stop sample data" }).click();
	await page.getByRole("button", { name: "Sample data", exact: true }).waitFor();
});

pageTest("a wrong key is refused with advice", async ({ open }) => {
	const page = await open("#pk_thisKeyIsOfAnotherServer");
	await page.getByText("This server does not know that key").waitFor();
	assert.ok(!page.url().includes("pk_"));
	await page.getByLabel("Key").fill("secret");
	await page.getByRole("button", { name: "Open" }).click();
	await page.getByText("Did you copy all of it?").waitFor();
	await screenshot(page, "wrong-key");
	await checkAccessibility(page, "wrong key");
	await page.reload();
	assert.equal(await textOf(page.locator("#key-error")), "", "the wrong key is forgotten");
	await page.getByLabel("Key").fill(KEY);
	await page.getByRole("button", { name: "Open" }).click();
	await page.getByText("No collections yet").waitFor();
	await page.reload();
	await page.getByText("No collections yet").waitFor();
	assert.equal(await page.evaluate(() => localStorage.length), 0);
});

pageTest("a secret key works and never appears in a URL", async ({ server, open }) => {
	await server.create("posts", { title: "Old" });
	const page = await open(`#${SECRET}`);
	const addresses = [];
	page.on("request", (request) => addresses.push(request.url()));
	page.on("websocket", (socket) => addresses.push(socket.url()));
	await choose(page, "Both");
	await live(page, 0);
	await live(page, 1);
	await row(page, "Old", 1).waitFor();
	assert.ok(addresses.length > 2 && addresses.every((address) => !address.includes("sk_")), `${addresses}`);
});

pageTest("a collection can be created here, and a new one opens by itself", async ({ server, open }) => {
	const page = await open();
	await page.getByText("No collections yet").waitFor();
	await server.create("theirs", { title: "First" });
	await row(page, "First").waitFor();
	await page.getByRole("button", { name: "Create a collection" }).click();
	await page.getByLabel("Name of the new collection").fill("mine");
	await page.keyboard.press("Enter");
	await page.getByText("mine is empty").waitFor();
	await page.getByLabel("Collection", { exact: true }).selectOption("theirs");
	await row(page, "First").waitFor();
	await server.request("DELETE", "/collections/theirs");
	await page.getByText("There is no collection theirs").waitFor();
	await screenshot(page, "removed");
	await checkAccessibility(page, "removed");
	await page.getByRole("button", { name: "Create it" }).click();
	await page.getByText("theirs is empty").waitFor();
});
