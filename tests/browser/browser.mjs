// Debian's Chromium with the live page in it. A test fails if the page throws, or writes a warning to the console.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { KEY, Server } from "./server.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
export const SCREENSHOTS = fileURLToPath(new URL("../../target/screenshots/", import.meta.url));
export const TRANSPORTS = ["WebSocket", "SSE"];
/** The text that Chromium writes to the console while a server is down. */
const DOWN = new RegExp(
	[
		"ERR_CONNECTION_REFUSED",
		"ERR_CONNECTION_RESET",
		"ERR_EMPTY_RESPONSE",
		"ERR_INCOMPLETE_CHUNKED_ENCODING",
		"ERR_INTERNET_DISCONNECTED",
		"ERR_SOCKET_NOT_CONNECTED",
		"WebSocket connection to",
	].join("|"),
);
const ARGUMENTS = [
	"--headless",
	"--no-sandbox",
	"--disable-gpu",
	"--disable-quic",
	"--no-first-run",
	"--disable-background-networking",
	"--disable-component-update",
	"--disable-sync",
];

/**
 * Tests a claim with a fresh server and a fresh browser: `pageTest("…", async ({ t, server, open }) => …)`.
 * Browser options, and the server's `args` and `settings`, may stand before the claim.
 *
 * `open(hash)` opens the page. After `expectDown()`, the console may say that the server is down. After
 * `expectStatus(412)`, it may say that an answer had this status.
 */
export function pageTest(name, ...rest) {
	const claim = rest.pop();
	const [options = {}] = rest;
	test(name, async (t) => {
		const { args, settings, ...browserOptions } = options;
		const server = await Server.start(args, settings);
		const profile = await mkdtemp(join(tmpdir(), "coir-profile-"));
		const context = await openBrowser(profile, browserOptions);
		const errors = [];
		const expected = [];
		const open = async (hash = `#${KEY}`) => {
			const page = await context.newPage();
			collectErrors(page, errors, expected);
			await page.goto(`${server.url}/${hash}`);
			return page;
		};
		const expectDown = () => expected.push(DOWN);
		const expectStatus = (status) => expected.push(new RegExp(`status of ${status} `));
		try {
			await claim({ t, server, open, expectDown, expectStatus });
			assert.deepEqual(errors, [], "the console is silent");
		} finally {
			await context.close();
			await server.stop();
			await rm(profile, { recursive: true, force: true });
		}
	});
}

async function openBrowser(profile, options) {
	const context = await chromium.launchPersistentContext(profile, {
		executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
		args: ARGUMENTS,
		viewport: { width: 1280, height: 800 },
		...options,
	});
	context.setDefaultTimeout(15_000);
	return context;
}

function collectErrors(page, errors, expected) {
	page.on("pageerror", (error) => errors.push(error.stack));
	page.on("console", (message) => {
		if (!["error", "warning"].includes(message.type())) return;
		if (expected.some((pattern) => pattern.test(message.text()))) return;
		errors.push(`${message.text()} (${message.location().url})`);
	});
}

/** Waits until the pane is live; `index` counts panes. */
export async function live(page, index = 0) {
	await page.locator(".pane").nth(index).and(page.locator("[data-state=live]")).waitFor();
}

/** Runs code in the page until it returns something true. */
export function waitUntil(page, code, argument) {
	return page.waitForFunction(code, argument);
}

export function row(page, text, pane = 0) {
	return page.locator(".pane").nth(pane).locator(".documents .rows .row").filter({ hasText: text });
}

/** Returns the text as a person sees it, with line breaks and without what is hidden. */
export function textOf(locator) {
	// biome-ignore lint/performance/useDomNodeTextContent: hidden text must not count
	return locator.innerText();
}

/** Chooses the transport: `WebSocket`, `SSE` or `Both`. */
export async function choose(page, transport) {
	await page.getByText(transport, { exact: true }).first().click();
}

/** Replaces the text in the editor. */
export async function fill(page, text) {
	await page.locator("textarea").fill(text);
}

export async function screenshot(page, name) {
	await mkdir(SCREENSHOTS, { recursive: true });
	await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
}

/** Fails if axe finds something serious or critical. */
export async function checkAccessibility(page, where) {
	await page.evaluate(AXE);
	const { violations } = await page.evaluate(() => globalThis.axe.run(document));
	const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
	const found = serious.map(({ impact, id, nodes }) => {
		const details = nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`);
		return `${impact} ${id}: ${details.join("\n")}`;
	});
	assert.deepEqual(found, [], where);
}
