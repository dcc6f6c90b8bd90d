// The live page to eyes, fingers and screen readers: long lists, the keyboard, dark mode, phones.

import assert from "node:assert/strict";

import { checkAccessibility, fill, live, pageTest, row, screenshot, textOf, waitUntil } from "./browser.mjs";
import { KEY } from "./server.mjs";

pageTest("the page draws only the visible rows of 10,000 documents", async ({ server, open }) => {
	for (let done = 0; done < 10_000; done += 500) {
		await Promise.all(
			Array.from({ length: 500 }, (_, i) => server.create("many", { title: `Number ${done + i}`, n: done + i })),
		);
	}
	const page = await open();
	await page.locator("footer", { hasText: /^10,000 documents/ }).waitFor();
	await live(page);
	const list = page.locator(".documents");
	const drawn = () => page.locator(".rows .row").count();
	assert.ok((await drawn()) < 40, `${await drawn()} rows are drawn`);
	assert.equal(await list.getAttribute("aria-rowcount"), "10001");
	const elements = await page.locator("*").count();
	assert.ok(elements < 800, `${elements} elements`);
	await list.evaluate((element) => {
		element.scrollTop = 5000 * 40;
	});
	await waitUntil(page, () => Number(document.querySelector(".rows .row")?.ariaRowIndex) > 4900);
	const visible = await textOf(page.locator(".rows .row").nth(8).locator("span").nth(1));
	await screenshot(page, "many");

	// Documents that arrive at the top do not move the visible rows.
	const top = async () => (await row(page, visible).first().boundingBox()).y;
	const before = await top();
	for (let i = 0; i < 20; i++) await server.create("many", { title: `New ${i}` });
	await page.locator("footer", { hasText: /^10,020 documents/ }).waitFor();
	assert.ok(Math.abs((await top()) - before) < 2, `${before} → ${await top()}`);
	assert.ok((await drawn()) < 40);
	await list.focus();
	await page.keyboard.press("End");
	await page.locator('.rows .row[aria-rowindex="10021"]').waitFor();
	assert.ok((await drawn()) < 40);
});

pageTest("the page can be used with the keyboard alone", async ({ server, open }) => {
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
});

const DATA = [
	{ guest: "Ada", status: "ready", price: 3.8, extras: ["oat milk"] },
	{ guest: "ليلى", status: "brewing", price: 3, extras: [] },
	{ guest: "Tomáš", status: "ordered", price: 4.4, extras: [] },
];

const PHONE = { viewport: { width: 360, height: 700 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

for (const [name, options] of [
	["dark", { colorScheme: "dark" }],
	["phone", PHONE],
	["dark-phone", { ...PHONE, colorScheme: "dark" }],
]) {
	pageTest(`the page fits the window and is accessible: ${name}`, options, async ({ server, open }) => {
		const fresh = await open("");
		await fresh.getByText("See your documents change").waitFor();
		await screenshot(fresh, `${name}-no-key`);
		await checkAccessibility(fresh, "no key");
		for (const data of DATA) await server.create("orders", data);
		const page = await open();
		await live(page);
		await row(page, "Ada").waitFor();
		assert.ok(await fits(page), "the page fits the window");
		await checkAccessibility(page, "list");
		await screenshot(page, `${name}-list`);
		await page.getByRole("button", { name: "Frames" }).click();
		await row(page, "Tomáš").click();
		await page.getByText("Version 1").waitFor();
		await fill(page, "{");
		assert.ok(await fits(page), "the editor fits the window");
		await checkAccessibility(page, "editor");
		await screenshot(page, `${name}-editor`);
		await page.getByRole("button", { name: "Close" }).click();
		await server.create("orders", { guest: "New" });
		await row(page, "New").waitFor();
	});
}

function fits(page) {
	return page.evaluate(() => {
		const { scrollWidth, scrollHeight } = document.documentElement;
		return scrollWidth <= innerWidth && scrollHeight <= innerHeight;
	});
}
