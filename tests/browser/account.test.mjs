// Users on the live page: sign up, sign in, and who sees what.

import assert from "node:assert/strict";

import { checkAccessibility, choose, live, pageTest, row, screenshot, textOf } from "./browser.mjs";
import { KEY, SECRET } from "./server.mjs";

const EMAIL = "ada@example.com";

async function enter(page, action) {
	await page.getByRole("button", { name: "Sign in", exact: true }).click();
	await page.getByLabel("E-mail").fill(EMAIL);
	await page.getByLabel("Password").fill("correct horse");
	await page.locator("#account").getByRole("button", { name: action }).click();
}

const isSignedIn = (page) => page.locator("#user", { hasText: EMAIL }).waitFor();
const isSignedOut = (page) => page.locator("#sign", { hasText: "Sign in" }).waitFor();

pageTest("a user signs up on the page, and sees their own document live", async ({ server, open, expectStatus }) => {
	await server.create("posts", { title: "Old" });
	await server.request("POST", "/users", { email: "bob@example.com", password: "battery staple" });
	const page = await open(`#${KEY}`);
	await live(page);
	await page.getByRole("button", { name: "Sign in", exact: true }).click();
	await checkAccessibility(page, "account");
	await page.keyboard.press("Escape");
	await enter(page, "Create an account");
	await isSignedIn(page);
	await row(page, "Old").waitFor();
	for (const transport of ["WebSocket", "SSE"]) {
		await page.locator("#collection").selectOption("_users");
		await choose(page, transport);
		await live(page);
		await row(page, EMAIL).waitFor();
		assert.equal(await page.locator(".documents .rows .row").count(), 1, "nobody else is there");
		const [ada] = (await server.request("GET", "/users")).filter(({ data }) => data.email === EMAIL);
		await server.request("PATCH", `/users/${ada.id}`, { profile: { name: `Ada of ${transport}` } });
		await row(page, `Ada of ${transport}`).waitFor();
	}
	await screenshot(page, "signed-in");
	await page.reload();
	await isSignedIn(page);
	await row(page, EMAIL).waitFor();
	expectStatus(403);
	await page.getByRole("button", { name: "Sign out" }).click();
	await isSignedOut(page);
	await row(page, EMAIL).waitFor({ state: "detached" });
	await page.reload();
	await isSignedOut(page);
	assert.equal(await page.evaluate(() => localStorage.length), 0);
});

pageTest("a session that ends elsewhere leaves the key alone", async ({ server, open, expectStatus }) => {
	await server.create("posts", { title: "Old" });
	const page = await open(`#${KEY}`);
	await live(page);
	await enter(page, "Create an account");
	await isSignedIn(page);
	await live(page);
	const [{ id }] = await server.request("GET", "/users");
	expectStatus(401);
	await server.request("POST", `/users/${id}/logout`);
	await isSignedOut(page);
	await live(page);
	await server.create("posts", { title: "New" });
	await row(page, "New").waitFor();
	await enter(page, "Sign in");
	await isSignedIn(page);
});

// Tokens that are good for less than 30 seconds are replaced.
const SHORT = { settings: { COIR_ACCESS_TOKEN_SECONDS: "32" } };

pageTest("a stream goes on with the next access token", SHORT, async ({ server, open }) => {
	await server.create("posts", { title: "Old" });
	const page = await open(`#${KEY}`);
	await live(page);
	const [sockets, tokens] = [[], new Set()];
	page.on("websocket", (socket) => {
		sockets.push(socket);
		socket.on("framesent", ({ payload }) => tokens.add(JSON.parse(String(payload)).user));
	});
	await enter(page, "Create an account");
	await isSignedIn(page);
	await live(page);
	const renewed = sockets.length;
	tokens.delete(undefined);
	for (const begun = Date.now(); tokens.size < 2 && Date.now() - begun < 15_000; ) {
		await new Promise((resolve) => setTimeout(resolve, 100));
	}
	assert.ok(tokens.size >= 2, "the socket has got another token");
	await server.create("posts", { title: "New" });
	await row(page, "New").waitFor();
	assert.equal(sockets.length, renewed, "on the same connection");
});

pageTest("a secret key shows all users", async ({ server, open }) => {
	await server.create("posts", {});
	for (const name of ["ada", "bob"]) {
		await server.request("POST", "/users", { email: `${name}@example.com`, password: "correct horse" });
	}
	const page = await open(`#${SECRET}`);
	await live(page);
	await page.locator("#collection").selectOption("_users");
	for (const name of ["ada", "bob"]) await row(page, name).waitFor();
	assert.equal(await textOf(page.locator("#user")), "");
});
