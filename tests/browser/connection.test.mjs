// The live page and its connection: both transports, raw frames, and servers that are killed or cut off.

import assert from "node:assert/strict";

import { checkAccessibility, choose, live, pageTest, row, screenshot, TRANSPORTS, textOf } from "./browser.mjs";
import { KEY } from "./server.mjs";

pageTest("both transports show the same documents side by side", async ({ server, open }) => {
	await server.create("posts", { title: "Old" });
	const page = await open();
	await choose(page, "Both");
	await live(page, 0);
	await live(page, 1);
	await server.create("posts", { title: "New" });
	await row(page, "New", 0).waitFor();
	await row(page, "New", 1).waitFor();
	await screenshot(page, "both");
	await checkAccessibility(page, "both");
});

pageTest("the raw frames can be read, paused and cleared", async ({ server, open }) => {
	await server.create("posts", { title: "Old" });
	const page = await open();
	await live(page);
	await page.getByRole("button", { name: "Frames" }).click();
	const frames = page.locator(".frames .rows");
	const sent = '{"type":"subscribe","id":"page","collection":"posts","snapshot":true,"filters":{}}';
	await frames.getByText(sent).waitFor();
	assert.ok(!(await textOf(frames)).includes(KEY), "the key is not shown");
	await page.getByRole("button", { name: "Pause" }).click();
	await server.create("posts", { title: "Unseen" });
	await row(page, "Unseen").waitFor();
	await page.getByText("1 more").waitFor();
	assert.equal(await frames.getByText("Unseen").count(), 0);
	await page.getByRole("button", { name: "Pause" }).click();
	await frames.getByText("Unseen").click();
	await page.locator(".wire pre").getByText('"event": "created"').waitFor();
	await screenshot(page, "frames");
	await checkAccessibility(page, "frames");
	await page.getByRole("button", { name: "Clear" }).click();
	await frames.getByText("Unseen").waitFor({ state: "detached" });
});

for (const transport of TRANSPORTS) {
	pageTest(`after a kill the page catches up over ${transport}`, async ({ server, open, expectDown }) => {
		const kept = await server.create("posts", { title: "Kept" });
		const gone = await server.create("posts", { title: "Gone" });
		const page = await open();
		await choose(page, transport);
		await live(page);
		await row(page, "Gone").waitFor();
		expectDown();
		await server.kill();
		await page.getByText("Disconnected").first().waitFor();
		await screenshot(page, `disconnected-${transport.toLowerCase()}`);
		await checkAccessibility(page, "disconnected");
		assert.equal(await row(page, "Kept").count(), 1, "known documents stay visible");

		// The page is held offline, so it cannot reconnect before these writes.
		await page.context().setOffline(true);
		await server.run();
		await server.create("posts", { title: "Missed" });
		await server.request("PATCH", `/collections/posts/${kept.id}`, { title: "Kept and changed" });
		await server.request("DELETE", `/collections/posts/${gone.id}`);
		await page.context().setOffline(false);
		await tryNow(page);
		await live(page);
		await row(page, "Missed").waitFor();
		await row(page, "Kept and changed").waitFor();
		await row(page, "Gone").waitFor({ state: "detached" });
		await page.getByText("Reconnected. Nothing was missed.").first().waitFor();
		await server.create("posts", { title: "Live again" });
		await row(page, "Live again").waitFor();
	});

	pageTest(
		`the table is right after kills during 1,000 writes over ${transport}`,
		async ({ server, open, expectDown }) => {
			await server.request("POST", "/collections", { name: "posts" });
			const page = await open();
			await choose(page, transport);
			await live(page);
			expectDown();
			const expected = new Map();
			const writers = Promise.all(Array.from({ length: 8 }, (_, first) => writeEighth(server, first, expected)));
			await waitForSize(expected, 150);
			await server.kill();
			await server.run();
			await waitForSize(expected, 400);
			await page.context().setOffline(true);
			await waitForSize(expected, 600);
			await page.context().setOffline(false);
			await waitForSize(expected, 700);
			await server.kill();
			await server.run();
			await writers;

			const loads = await page.evaluate(() => performance.getEntriesByType("navigation").length);
			await page.locator("footer", { hasText: new RegExp(`^${expected.size} documents`) }).waitFor();
			await live(page);
			// Deleted documents stay visible for a moment. The header is a row, too.
			await page.locator(`.documents[aria-rowcount="${expected.size + 1}"]`).waitFor();
			assert.deepEqual(new Map(await shownTitles(page)), new Map([...expected].sort()));
			assert.equal(loads, 1, "without a reload");
		},
	);
}

/** Presses "Try now" if it is still there: the page may have reconnected by itself. */
async function tryNow(page) {
	const button = page.getByRole("button", { name: "Try now" });
	await button.click({ timeout: 500 }).catch(() => {});
}

/** Writes every eighth of 1,000 documents, beginning with `first`, and notes in `expected` what must remain. */
async function writeEighth(server, first, expected) {
	for (let n = first; n < 1000; n += 8) {
		const titles = n % 5 === 0 ? [`Number ${n}`, `Changed ${n}`] : [`Number ${n}`];
		for (const title of titles) await writeUntilAnswered(server, "PUT", `d${n}`, { title });
		if (n % 7 === 0) await writeUntilAnswered(server, "DELETE", `d${n}`);
		else expected.set(`d${n}`, titles.at(-1));
	}
}

/** Repeats a write until the server answers it: the server may be down, or may have died after it had committed. */
async function writeUntilAnswered(server, method, id, data) {
	const isDone = (error) => method === "DELETE" && error.message.includes("DOCUMENT_NOT_FOUND");
	const write = () => server.request(method, `/collections/posts/${id}`, data).then(() => true, isDone);
	while (!(await write()));
}

async function waitForSize(map, size) {
	while (map.size < size) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Scrolls through the whole list and returns id and title of each row, in the order of ids. */
async function shownTitles(page) {
	const shown = await page.evaluate(async () => {
		const list = document.querySelector(".documents");
		const titles = new Map();
		for (let top = 0; top < list.scrollHeight; top += list.clientHeight / 2) {
			list.scrollTop = top;
			await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
			for (const { item } of list.querySelectorAll(".rows .row")) titles.set(item.id, item.data.title);
		}
		return [...titles];
	});
	return shown.sort();
}

pageTest("the page says that the server was stopped", async ({ server, open, expectDown }) => {
	await server.create("posts", { title: "Kept" });
	const page = await open();
	await live(page);
	expectDown();
	await server.kill("SIGTERM");
	await page.getByText("The server was stopped.").first().waitFor();
	await page.getByText("This page continues when the server is back").waitFor();
	await screenshot(page, "stopped");
});
