// The code of the guide for sign-ins with other providers, in a real browser, against a provider that knows nothing of Coir.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import { OAuth2Server } from "oauth2-mock-server";

import { pageTest } from "./browser.mjs";
import { KEY } from "./server.mjs";

const EMAIL = "ada@example.com";
const ALLOWED = { settings: { COIR_PRIVATE_PROVIDERS: "localhost" } };

/** The first block of JavaScript in the guide, for this server. */
function guide(server) {
	const text = readFileSync(new URL("../../docs/guide/sign-in-with.md", import.meta.url), "utf8");
	const [, code] = /```javascript\n(.*?)```/s.exec(text);
	assert.ok(code.includes('"https://api.example.com"') && code.includes('"pk_…"'));
	return code.replace("https://api.example.com", server.url).replace("pk_…", KEY);
}

/** Serves a page with a script until the test ends, and returns its address. */
async function serve(t, script) {
	const html = `<!doctype html><title>App</title><link rel="icon" href="data:,"><script type="module">${script}</script>`;
	const app = createServer((_, response) => {
		response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
		response.end(html);
	});
	await new Promise((resolve) => app.listen(0, "localhost", resolve));
	t.after(() => {
		app.closeAllConnections();
		app.close();
	});
	return `http://localhost:${app.address().port}/in`;
}

/** Starts a provider whose ID tokens have these claims until the test ends. */
async function startProvider(t, claims) {
	const provider = new OAuth2Server();
	await provider.issuer.keys.generate("RS256");
	await provider.start(0, "localhost");
	provider.service.on("beforeTokenSigning", (token) => Object.assign(token.payload, claims));
	t.after(() => provider.stop());
	return provider;
}

pageTest(
	"the page of the guide signs a user in with a provider",
	ALLOWED,
	async ({ t, server, open, expectStatus }) => {
		const provider = await startProvider(t, { sub: "1815", email: EMAIL, email_verified: true, name: "Ada" });
		const acme = { issuer: provider.issuer.url, clientId: "app", clientSecret: "a secret" };
		await server.request("PATCH", "/settings", { oauth: { acme } });
		const address = await serve(
			t,
			`${guide(server)}
		globalThis.signInWith = signInWith;
		finishSignIn().then(
			(data) => { globalThis.finished = { data }; },
			(error) => { globalThis.finished = { error: error.message }; },
		);`,
		);
		const page = await open();
		const finished = async () => (await page.waitForFunction(() => globalThis.finished)).jsonValue();

		await page.goto(address);
		assert.equal((await finished()).data, null, "nobody has begun a sign-in");
		await page.evaluate(() => void globalThis.signInWith("acme"));
		// The browser goes to the provider, which sends it back.
		await page.waitForFunction(() => globalThis.finished?.data ?? globalThis.finished?.error);
		const { data, error } = await finished();
		assert.equal(error, undefined);
		assert.equal(data.user.data.email, EMAIL);
		assert.equal(page.url(), address, "the code is gone from the address");
		const headers = { authorization: `Bearer ${data.accessToken}` };
		const me = await (await fetch(`${server.url}/users/me`, { headers })).json();
		assert.equal(me.data.id, data.user.id);

		// A page that somebody else leads to the end of a sign-in of their own has none that it began.
		await page.goto(`${address}?code=stolen&state=stolen`);
		assert.equal((await finished()).data, null);
		// With the state of another browser, the server refuses it.
		expectStatus(401);
		await page.evaluate(() => {
			sessionStorage.setItem("sign-in", JSON.stringify({ provider: "acme", verifier: "of another browser" }));
		});
		await page.goto(`${address}?code=stolen&state=stolen`);
		await page.waitForFunction(() => globalThis.finished?.error);
		assert.match((await finished()).error, /state/);
	},
);
