// Apps from an empty server, before any collection exists, and through a restart: a chat on EventSource and fetch, and a kanban
// board on the npm library.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

import { checkAccessibility, pageTest, screenshot } from "./browser.mjs";
import { KEY } from "./server.mjs";

const EXAMPLES = { args: ["serve", "--public", fileURLToPath(new URL("../../examples", import.meta.url))] };

/** Restarts the server. Writes come before the pages can reconnect. */
async function restart(page, server, write) {
	await server.kill("SIGTERM");
	await page.context().setOffline(true);
	await server.run();
	await write();
	await page.context().setOffline(false);
}

pageTest("a chat begins on an empty server and goes on after a restart", EXAMPLES, async (test) => {
	const { server, open, expectDown } = test;
	const [ada, ben] = [await open(`chat/#${KEY}`), await open(`chat/#${KEY}`)];
	const say = async (page, name, text) => {
		await page.getByLabel("Your name").fill(name);
		await page.getByLabel("Message", { exact: true }).fill(text);
		await page.getByRole("button", { name: "Send" }).click();
	};
	await say(ada, "Ada", "Is anybody there?");
	await ben.getByText("Ada: Is anybody there?").waitFor();
	await say(ben, "Ben", "I am.");
	await ada.getByText("Ben: I am.").waitFor();
	await checkAccessibility(ada, "chat");
	await screenshot(ada, "chat");
	expectDown();
	await restart(ada, server, () => server.create("chat", { name: "Cyd", text: "While you were away" }));
	for (const page of [ada, ben]) {
		await page.getByText("Cyd: While you were away").waitFor({ timeout: 30_000 });
		assert.equal(await page.locator("li").count(), 3);
	}
	await say(ada, "Ada", "Back again.");
	await ben.getByText("Ada: Back again.").waitFor();
});

pageTest("a kanban board begins on an empty server and goes on after a restart", EXAMPLES, async (test) => {
	const { server, open, expectDown } = test;
	const [here, there] = [await open(`kanban/#${KEY}`), await open(`kanban/#${KEY}`)];
	const column = (page, name) => page.getByRole("list", { name });
	await here.getByLabel("New card").fill("Write");
	await here.getByRole("button", { name: "Add" }).click();
	await column(there, "To do").getByText("Write").waitFor();
	await there.getByRole("button", { name: "Move Write" }).click();
	await column(here, "Doing").getByText("Write").waitFor();
	await checkAccessibility(here, "kanban");
	await screenshot(here, "kanban");
	expectDown();
	await restart(here, server, async () => {
		const [{ id }] = await server.request("GET", "/collections/cards");
		await server.request("PATCH", `/collections/cards/${id}`, { column: 2 });
	});
	for (const page of [here, there]) await column(page, "Done").getByText("Write").waitFor({ timeout: 40_000 });
	await here.getByLabel("New card").fill("Read");
	await here.getByRole("button", { name: "Add" }).click();
	await column(there, "To do").getByText("Read").waitFor();
});
