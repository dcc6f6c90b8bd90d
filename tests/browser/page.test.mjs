// The live page in a real browser, against the real server.

import assert from "node:assert/strict";
import { test } from "node:test";

import { checkAccessibility, live, row, screenshot, withPage } from "./browser.mjs";
import { KEY, SECRET } from "./server.mjs";

const TRANSPORTS = ["WebSocket", "SSE"];
/** Runs code in the page until it returns something true. */
const until = (page, code, argument) => page.waitForFunction(code, argument);
const textOf = (locator) => locator.innerText();

async function choose(page, transport) {
	await page.getByText(transport, { exact: true }).first().click();
}

async function fill(page, text) {
	await page.locator("textarea").fill(text);
}

test("from the printed link, one click on sample data shows live events", withPage(async ({ server, open }) => {
	const page = await open();
	await page.getByText("Nothing is here yet").waitFor();
	assert.equal(page.url(), `${server.url}/`, "the key is not left in the address");
	await checkAccessibility(page, "no collection");
	await screenshot(page, "no-collection");
	await page.getByRole("button", { name: "Start sample data" }).first().click();
	await live(page);
	await until(page, () => ["created", "updated", "deleted"].every((kind) => Number(document.querySelector(`.total.${kind} b`).textContent) > 2), null);
	assert.ok(Number(await textOf(page.locator("figcaption b"))) > 0, "the plot counts");
	await screenshot(page, "sample-data");
	await checkAccessibility(page, "sample data");
	await page.getByRole("button", { name: "Stop sample data" }).click();
	await page.getByRole("button", { name: "Sample data", exact: true }).waitFor();
}));

for (const transport of TRANSPORTS) {
	test(`documents come, change and go, over ${transport}`, withPage(async ({ server, open }) => {
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
	}));

	test(`a document is made, edited and deleted in place, over ${transport}`, withPage(async ({ server, open }) => {
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
		assert.match(await textOf(page.locator("#mistake")), /Line 3, column 8: 01 is no value/);
		await page.getByRole("button", { name: "Save" }).click();
		assert.equal(await page.evaluate(() => getSelection().toString() || document.activeElement.value.slice(document.activeElement.selectionStart, document.activeElement.selectionEnd)), "0", "the mistake is selected");
		await screenshot(page, "mistake");
		await fill(page, '{"title": "Edited"}');
		await page.getByRole("button", { name: "Save" }).click();
		await page.getByText("Saved as version 2").waitFor();
		await row(page, "Edited").waitFor();

		// Somebody else writes while it is edited here.
		const { id } = (await server.request("GET", "/collections/posts"))[0];
		await fill(page, '{"title": "Mine"}');
		await server.request("PATCH", `/collections/posts/${id}`, { title: "Theirs" });
		await page.getByText("It was changed elsewhere").waitFor();
		await page.getByRole("button", { name: "Show theirs" }).click();
		await until(page, () => document.querySelector("textarea").value.includes("Theirs"));

		await page.locator("aside").getByRole("button", { name: "Delete" }).click();
		await page.getByRole("button", { name: "Delete for good?" }).click();
		await row(page, "Theirs").waitFor({ state: "detached" });
		await page.getByText("posts is empty").waitFor();
		await checkAccessibility(page, "empty");
	}));

	test(`a filter shows what matches, also when it comes to match, over ${transport}`, withPage(async ({ server, open }) => {
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
	}));
}

test("both transports side by side show the same", withPage(async ({ server, open }) => {
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
}));

test("the raw frames can be read, paused and cleared", withPage(async ({ server, open }) => {
	await server.create("posts", { title: "Old" });
	const page = await open();
	await live(page);
	await page.getByRole("button", { name: "Frames" }).click();
	const frames = page.locator(".frames .rows");
	await frames.getByText('{"type":"subscribe","id":"page","collection":"posts","snapshot":true,"filters":{}}').waitFor();
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
}));

for (const transport of TRANSPORTS) {
	test(`a killed server is waited for, and what was missed is shown, over ${transport}`, withPage(async ({ server, open, expectDown }) => {
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
		assert.equal(await row(page, "Kept").count(), 1, "what was known stays in sight");

		// The page can't come back before these are written: its requests are held up.
		await page.context().setOffline(true);
		await server.run();
		await server.create("posts", { title: "Missed" });
		await server.request("PATCH", `/collections/posts/${kept.id}`, { title: "Kept and changed" });
		await server.request("DELETE", `/collections/posts/${gone.id}`);
		await page.context().setOffline(false);
		await page.getByRole("button", { name: "Try now" }).click({ timeout: 500 }).catch(() => {});
		await live(page);
		await row(page, "Missed").waitFor();
		await row(page, "Kept and changed").waitFor();
		await row(page, "Gone").waitFor({ state: "detached" });
		await page.getByText("Connected again. Nothing was missed.").first().waitFor();
		await server.create("posts", { title: "Live again" });
		await row(page, "Live again").waitFor();
	}));
}

for (const transport of TRANSPORTS) {
	test(`through a kill and a cut, while 1,000 documents are written, the table stays right, over ${transport}`, withPage(async ({ server, open, expectDown }) => {
		await server.request("POST", "/collections", { name: "posts" });
		const page = await open();
		await choose(page, transport);
		await live(page);
		expectDown();
		const expected = new Map();
		// A write is done again until it is answered: the server may be away.
		const write = async (method, id, data) => {
			while (!(await server.request(method, `/collections/posts/${id}`, data).then(() => true, ({ message }) => method === "DELETE" && message.includes("DOCUMENT_NOT_FOUND"))));
		};
		const writeAll = async (first) => {
			for (let n = first; n < 1000; n += 8) {
				await write("PUT", `d${n}`, { title: `Number ${n}` });
				if (n % 5 === 0) await write("PUT", `d${n}`, { title: `Changed ${n}` });
				if (n % 7 === 0) await write("DELETE", `d${n}`);
				else expected.set(`d${n}`, n % 5 === 0 ? `Changed ${n}` : `Number ${n}`);
			}
		};
		const writers = Promise.all(Array.from({ length: 8 }, (_, first) => writeAll(first)));
		const written = async (count) => { while (expected.size < count) await new Promise((resolve) => setTimeout(resolve, 5)); };
		await written(150);
		await server.kill();
		await server.run();
		await written(400);
		await page.context().setOffline(true);
		await written(600);
		await page.context().setOffline(false);
		await written(700);
		await server.kill();
		await server.run();
		await writers;

		const loads = await page.evaluate(() => performance.getEntriesByType("navigation").length);
		await until(page, (count) => document.querySelector("footer").textContent.startsWith(`${count} documents`), expected.size);
		await live(page);
		// Deleted documents stay in sight for a moment.
		await until(page, (rows) => document.querySelector(".documents").ariaRowCount === `${rows}`, expected.size + 1);
		const shown = await page.evaluate(async () => {
			const list = document.querySelector(".documents"), titles = new Map();
			for (let top = 0; top < list.scrollHeight; top += list.clientHeight / 2) {
				list.scrollTop = top;
				await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
				for (const { item } of list.querySelectorAll(".rows .row")) titles.set(item.id, item.data.title);
			}
			return [...titles];
		});
		assert.deepEqual(new Map(shown.sort()), new Map([...expected].sort()));
		assert.equal(loads, 1, "without a reload");
	}));
}

test("a server that stops says so", withPage(async ({ server, open, expectDown }) => {
	await server.create("posts", { title: "Kept" });
	const page = await open();
	await live(page);
	expectDown();
	await server.kill("SIGTERM");
	await page.getByText("The server was stopped.").first().waitFor();
	await page.getByText("Once the server runs").waitFor();
	await screenshot(page, "stopped");
}));

test("what one page writes, another one shows", withPage(async ({ server, open }) => {
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
}));

test("of 10,000 documents only those in sight are drawn", withPage(async ({ server, open }) => {
	for (let done = 0; done < 10_000; done += 500) {
		await Promise.all(Array.from({ length: 500 }, (_, i) => server.create("many", { title: `Number ${done + i}`, n: done + i })));
	}
	const page = await open();
	await until(page, () => document.querySelector("footer")?.textContent.startsWith("10,000 documents"));
	await live(page);
	const list = page.locator(".documents"), drawn = () => page.locator(".rows .row").count();
	assert.ok((await drawn()) < 40, `${await drawn()} rows are drawn`);
	assert.equal(await list.getAttribute("aria-rowcount"), "10001");
	const elements = await page.evaluate(() => document.querySelectorAll("*").length);
	assert.ok(elements < 800, `${elements} elements`);
	await list.evaluate((element) => (element.scrollTop = 5000 * 40));
	await until(page, () => Number(document.querySelector(".rows .row")?.ariaRowIndex) > 4900);
	const inSight = await page.locator(".rows .row").nth(8).locator("span").nth(1).innerText();
	await screenshot(page, "many");
	// What comes in at the top moves nothing here.
	const place = () => page.evaluate((text) => [...document.querySelectorAll(".rows .row")].find((row) => row.children[1].textContent === text)?.getBoundingClientRect().top, inSight);
	const before = await place();
	for (let i = 0; i < 20; i++) await server.create("many", { title: `New ${i}` });
	await until(page, () => document.querySelector("footer").textContent.startsWith("10,020 documents"));
	assert.ok(Math.abs((await place()) - before) < 2, `${before} → ${await place()}`);
	assert.ok((await drawn()) < 40);
	await list.focus();
	await page.keyboard.press("End");
	await until(page, () => [...document.querySelectorAll(".rows .row")].some(({ ariaRowIndex }) => ariaRowIndex === "10021"));
	assert.ok((await drawn()) < 40);
}));

test("a document full of markup is text", withPage(async ({ server, open }) => {
	const markup = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script><b>bold</b>`;
	const long = "Donaudampfschifffahrt".repeat(200);
	await server.create("posts", { title: markup, [markup]: [markup], status: markup, long, rtl: "مرحبا بالعالم", "__proto__x": { constructor: 1 } });
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
	assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than the window");
}));

test("everything works with the keyboard alone", withPage(async ({ server, open }) => {
	for (const title of ["Bottom", "Middle", "Top"]) await server.create("posts", { title });
	const page = await open("");
	await page.keyboard.type(KEY);
	await page.keyboard.press("Enter");
	await live(page);
	const focused = () => page.evaluate(() => document.activeElement.ariaLabel ?? document.activeElement.textContent);
	for (let i = 0; i < 20 && !(await focused()).startsWith("Documents"); i++) await page.keyboard.press("Tab");
	assert.match(await focused(), /^Documents of posts/);
	await page.keyboard.press("ArrowDown");
	assert.equal(await textOf(page.locator("[aria-selected=true] span").nth(1)), "Middle");
	const active = await page.locator(".documents").getAttribute("aria-activedescendant");
	assert.ok(await page.evaluate((id) => document.getElementById(id).ariaSelected, active));
	await page.keyboard.press("Enter");
	await page.getByText("Version 1").waitFor();
	await page.keyboard.press("Control+A");
	await page.keyboard.type('{"title":"Typed"}');
	await page.keyboard.press("Control+Enter");
	await page.getByText("Saved as version 2").waitFor();
	await page.keyboard.press("Escape");
	assert.match(await focused(), /^Documents of posts/, "focus returns to the list");
	await row(page, "Typed").waitFor();
	await page.keyboard.press("Delete");
	await page.keyboard.press("Delete");
	await row(page, "Typed").waitFor({ state: "detached" });
	await page.keyboard.press("n");
	await page.getByText("New document").last().waitFor();
	await page.keyboard.press("Control+Enter");
	await row(page, "Hello").waitFor();
	await page.keyboard.press("Shift+Tab");
	await checkAccessibility(page, "keyboard");
}));

test("a wrong key is answered with what to do", withPage(async ({ open }) => {
	const page = await open("#pk_thisKeyIsOfAnotherServer");
	await page.getByText("This server does not know that key").waitFor();
	assert.ok(!page.url().includes("pk_"));
	await page.getByLabel("Key").fill("secret");
	await page.getByRole("button", { name: "Open" }).click();
	await page.getByText("Was it copied whole?").waitFor();
	await screenshot(page, "wrong-key");
	await checkAccessibility(page, "wrong key");
	await page.reload();
	assert.equal(await textOf(page.locator("#key-error")), "", "the wrong key is forgotten");
	await page.getByLabel("Key").fill(KEY);
	await page.getByRole("button", { name: "Open" }).click();
	await page.getByText("Nothing is here yet").waitFor();
	await page.reload();
	await page.getByText("Nothing is here yet").waitFor();
	assert.equal(await page.evaluate(() => localStorage.length), 0);
}));

test("a secret key works too, and never stands in an address", withPage(async ({ server, open }) => {
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
}));

test("a collection is made here, or opens when somebody else makes it", withPage(async ({ server, open }) => {
	const page = await open();
	await page.getByText("Nothing is here yet").waitFor();
	await server.create("theirs", { title: "First" });
	await row(page, "First").waitFor();
	await page.getByRole("button", { name: "Make a collection" }).click();
	await page.getByLabel("Name of the new collection").fill("mine");
	await page.keyboard.press("Enter");
	await page.getByText("mine is empty").waitFor();
	await page.getByLabel("Collection", { exact: true }).selectOption("theirs");
	await row(page, "First").waitFor();
	await server.request("DELETE", "/collections/theirs");
	await page.getByText("There is no collection theirs").waitFor();
	await screenshot(page, "removed");
	await checkAccessibility(page, "removed");
	await page.getByRole("button", { name: "Make it" }).click();
	await page.getByText("theirs is empty").waitFor();
}));

const DATA = [{ guest: "Ada", status: "ready", price: 3.8, extras: ["oat milk"] }, { guest: "ليلى", status: "brewing", price: 3, extras: [] }, { guest: "Tomáš", status: "ordered", price: 4.4, extras: [] }];

for (const [name, options] of [
	["dark", { colorScheme: "dark" }],
	["a phone", { viewport: { width: 360, height: 700 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 }],
	["a dark phone", { colorScheme: "dark", viewport: { width: 360, height: 700 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 }],
]) {
	test(`it is whole and accessible on ${name}`, withPage(async ({ server, open }) => {
		const file = name.replace("a ", "").replace(" ", "-");
		const fresh = await open("");
		await fresh.getByText("See your documents change").waitFor();
		await screenshot(fresh, `${file}-no-key`);
		await checkAccessibility(fresh, "no key");
		for (const data of DATA) await server.create("orders", data);
		const page = await open();
		await live(page);
		await row(page, "Ada").waitFor();
		const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight);
		assert.ok(await fits(), "the page fits the window");
		await checkAccessibility(page, "list");
		await screenshot(page, `${file}-list`);
		await page.getByRole("button", { name: "Frames" }).click();
		await row(page, "Tomáš").click();
		await page.getByText("Version 1").waitFor();
		await fill(page, "{");
		assert.ok(await fits(), "the editor fits the window");
		await checkAccessibility(page, "editor");
		await screenshot(page, `${file}-editor`);
		await page.getByRole("button", { name: "Close" }).click();
		await server.create("orders", { guest: "New" });
		await row(page, "New").waitFor();
	}, options));
}
