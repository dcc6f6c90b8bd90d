// The example of a sign-in page, in a real browser: accounts, mails, second factors, and several tabs of one user.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { fileURLToPath } from "node:url";

import { checkAccessibility, pageTest, screenshot } from "./browser.mjs";
import { KEY } from "./server.mjs";

const ACCOUNTS = { args: ["serve", "--public", fileURLToPath(new URL("../../examples", import.meta.url))] };
const EMAIL = "ada@example.com";
const PASSWORD = "correct horse";

const button = (page, name) => page.getByRole("button", { name, exact: true });
const openPage = (open) => open(`accounts/#${KEY}`);

async function enter(page, action, password = PASSWORD) {
	await page.getByLabel("E-mail").fill(EMAIL);
	await page.locator("#sign-in").getByLabel("Password").fill(password);
	await button(page, action).click();
}

async function isSignedIn(page) {
	await page.locator("#who", { hasText: EMAIL }).waitFor();
}

async function isSignedOut(page) {
	await page.getByLabel("E-mail").waitFor();
}

/** Waits for the next mail to the user, and returns its text. Mails that were read are in `known`. */
async function mail(server, known) {
	for (const begun = Date.now(); Date.now() - begun < 15_000; ) {
		const next = (await server.request("GET", "/outbox")).find(({ id }) => !known.has(id));
		if (next) {
			known.add(next.id);
			return next.text;
		}
	}
	throw new Error("no mail came");
}

/** The fragment of the link in a mail. */
function fragment(text) {
	return /#(coir=\S+)/.exec(text)[1];
}

/** The code of an authenticator app (RFC 6238) at a moment, in seconds. */
function totp(secret, seconds) {
	const bits = [...secret].map((letter) =>
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0"),
	);
	const key = Buffer.from(
		bits
			.join("")
			.match(/.{8}/g)
			.map((byte) => Number.parseInt(byte, 2)),
	);
	const counter = Buffer.alloc(8);
	counter.writeBigUInt64BE(BigInt(Math.floor(seconds / 30)));
	const digest = createHmac("sha1", key).update(counter).digest();
	const number = digest.readUInt32BE(digest[19] & 15) & 0x7fffffff;
	return String(number % 1_000_000).padStart(6, "0");
}

pageTest("a user signs up, out and in, in all tabs at once", ACCOUNTS, async ({ open, expectStatus }) => {
	const [here, there] = [await openPage(open), await openPage(open)];
	await checkAccessibility(here, "sign in");
	await enter(here, "Create an account");
	for (const page of [here, there]) await isSignedIn(page);
	await here.getByLabel("Name").fill("Ada");
	await button(here, "Save").click();
	await there.locator("#who", { hasText: `Ada, ${EMAIL}` }).waitFor();
	assert.equal(await here.getByRole("list", { name: "Sessions" }).getByRole("listitem").count(), 1);
	await checkAccessibility(here, "account");
	await screenshot(here, "accounts");
	await here.reload();
	await isSignedIn(here);
	await button(there, "Sign out").click();
	for (const page of [here, there]) await isSignedOut(page);
	expectStatus(401);
	await enter(here, "Sign in", "wrong horse");
	await here.getByText("Invalid e-mail address or password").waitFor();
	await enter(here, "Sign in");
	for (const page of [here, there]) await isSignedIn(page);
});

pageTest("links and codes of mails work", ACCOUNTS, async ({ server, open, expectStatus }) => {
	const known = new Set();
	// A new password ends the session in the other tabs, which find out by a refresh.
	expectStatus(401);
	const page = await openPage(open);
	await enter(page, "Create an account");
	await isSignedIn(page);
	await button(page, "Mail me a link to verify the address").click();
	const link = await open(`accounts/#${fragment(await mail(server, known))}`);
	await link.getByText("Your address is verified.").waitFor();
	await page.getByText("The address is verified.", { exact: true }).waitFor();
	await button(page, "Sign out").click();
	await page.getByLabel("E-mail").fill(EMAIL);
	await button(page, "Mail me a code").click();
	await page.getByLabel("Code from the mail").fill(/\b\d{6}\b/.exec(await mail(server, known))[0]);
	await page.locator("#code").getByRole("button").click();
	await isSignedIn(page);
	await button(page, "Sign out").click();
	await page.getByLabel("E-mail").fill(EMAIL);
	await button(page, "I forgot my password").click();
	const reset = await open(`accounts/#${fragment(await mail(server, known))}`);
	await reset.locator("#new-password").getByLabel("New password").fill("another horse");
	await button(reset, "Set the password").click();
	await reset.getByText("Sign in with the new password.").waitFor();
	await enter(reset, "Sign in", "another horse");
	await isSignedIn(reset);
});

pageTest("an invitation is taken, and a sign-up may end by mail", ACCOUNTS, async ({ server, open }) => {
	const known = new Set();
	await server.request("PATCH", "/settings", { signup: { mode: "invitation" } });
	await server.request("POST", "/users/invitations", { email: EMAIL, roles: ["editor"] });
	const invited = await open(`accounts/#${fragment(await mail(server, known))}`);
	await invited.getByLabel("Publishable key").fill(KEY);
	await button(invited, "Open").click();
	await invited.getByText("You are invited.").waitFor();
	await enter(invited, "Create an account");
	await isSignedIn(invited);
	assert.deepEqual((await server.request("GET", "/users"))[0].data.roles, ["editor"]);
	await button(invited, "Sign out").click();
	await isSignedOut(invited);
	await server.request("PATCH", "/settings", { signup: { mode: "open", conceal: true } });
	await invited.getByLabel("E-mail").fill("bob@example.com");
	await invited.locator("#sign-in").getByLabel("Password").fill(PASSWORD);
	await button(invited, "Create an account").click();
	await invited.getByText("A link is on its way").waitFor();
	const link = await open(`accounts/#${fragment(await mail(server, known))}`);
	await link.locator("#new-password").getByLabel("New password").fill(PASSWORD);
	await button(link, "Set the password").click();
	await link.locator("#who", { hasText: "bob@example.com" }).waitFor();
	await link.getByText("The address is verified.", { exact: true }).waitFor();
});

pageTest("a link that verifies waits for the sign-in", ACCOUNTS, async ({ server, open }) => {
	const page = await openPage(open);
	await enter(page, "Create an account");
	await isSignedIn(page);
	await button(page, "Mail me a link to verify the address").click();
	const link = fragment(await mail(server, new Set()));
	await button(page, "Sign out").click();
	await isSignedOut(page);
	const later = await open(`accounts/#${link}`);
	await later.getByText("Sign in, and your address is verified.").waitFor();
	await enter(later, "Sign in");
	await later.getByText("The address is verified.", { exact: true }).waitFor();
	await isSignedIn(later);
});

pageTest("a second factor is asked for, and a recovery code stands for it", ACCOUNTS, async ({ server, open }) => {
	const page = await openPage(open);
	await enter(page, "Create an account");
	await isSignedIn(page);
	const [{ id }] = await server.request("GET", "/users");
	await server.request("PATCH", `/users/${id}`, { emailVerified: true });
	await button(page, "Set up an authenticator app").click();
	const secret = await page.locator("#totp-secret code").textContent();
	await page
		.locator("#totp")
		.getByLabel("Code of the app")
		.fill(totp(secret, Date.now() / 1000));
	await button(page, "Turn on").click();
	const codes = page.getByRole("list", { name: "Recovery codes" }).getByRole("listitem");
	await codes.first().waitFor();
	assert.equal(await codes.count(), 10);
	const code = await codes.first().textContent();
	await button(page, "Sign out").click();
	await enter(page, "Sign in");
	await page.getByLabel("Code of your authenticator app").fill(code);
	await page.locator("#second-factor").getByRole("button").click();
	await isSignedIn(page);
});

pageTest(
	"a session that is ended elsewhere is signed out at once",
	ACCOUNTS,
	async ({ server, open, expectStatus }) => {
		const page = await openPage(open);
		await enter(page, "Create an account");
		await isSignedIn(page);
		const [{ id }] = await server.request("GET", "/users");
		expectStatus(401);
		await server.request("POST", `/users/${id}/logout`);
		await isSignedOut(page);
	},
);
