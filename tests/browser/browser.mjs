// Debian's Chromium and the page in it. Whatever the page says in the console, or throws, fails the test at its end.

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";

import { chromium } from "playwright-core";

import { KEY, Server } from "./server.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
export const SCREENSHOTS = fileURLToPath(new URL("../../target/screenshots/", import.meta.url));
/** What Chromium says of a server that is down. */
const DOWN = /ERR_CONNECTION_REFUSED|ERR_INTERNET_DISCONNECTED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_SOCKET_NOT_CONNECTED|WebSocket connection to/;
const ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** Runs a claim against a fresh server and browser: `withPage(async ({ page, server, open, expectDown }) => …)`. */
export function withPage(claim, options = {}) {
	return async () => {
		const profile = await mkdtemp(join(tmpdir(), "coir-profile-"));
		const server = await Server.start();
		const context = await chromium.launchPersistentContext(profile, {
			executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
			args: ARGUMENTS,
			viewport: { width: 1280, height: 800 },
			...options,
		});
		const errors = [];
		let isDownExpected = false;
		context.setDefaultTimeout(15_000);
		const open = async (hash = `#${KEY}`) => {
			const page = await context.newPage();
			page.on("pageerror", (error) => errors.push(error.stack));
			page.on("console", (message) => {
				if (!["error", "warning"].includes(message.type())) return;
				if (!isDownExpected || !DOWN.test(message.text())) errors.push(`${message.text()} (${message.location().url})`);
			});
			await page.goto(`${server.url}/${hash}`);
			return page;
		};
		try {
			await claim({ server, open, expectDown: () => (isDownExpected = true) });
			assert.deepEqual(errors, [], "the console is silent");
		} finally {
			await context.close();
			await server.stop();
			await rm(profile, { recursive: true, force: true });
		}
	};
}

/** Waits until the pane is live; `index` counts panes. */
export async function live(page, index = 0) {
	await page.locator(".pane").nth(index).and(page.locator("[data-state=live]")).waitFor();
}

export function row(page, text, pane = 0) {
	return page.locator(".pane").nth(pane).locator(".documents .rows .row").filter({ hasText: text });
}

export async function screenshot(page, name) {
	await mkdir(SCREENSHOTS, { recursive: true });
	await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
}

/** Fails if axe finds something serious or critical. */
export async function checkAccessibility(page, where) {
	await page.evaluate(AXE);
	const { violations } = await page.evaluate(() => globalThis.axe.run(document));
	const found = violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`).join("\n")}`);
	assert.deepEqual(found.filter((text) => /^(serious|critical)/.test(text)), [], where);
}
