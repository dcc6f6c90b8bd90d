// Sign-ins with an OpenID provider from the registry, which knows nothing of Coir.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";

import { OAuth2Server } from "oauth2-mock-server";

import { client, fresh, KEY, SECRET, URL_ } from "./coir.mjs";

const PAGE = "http://localhost:5173/in";
const CLIENT = "client-of-the-mock";
const provider = new OAuth2Server();
const name = `mock-${process.pid}`;
/** The claims of the next ID token. */
let claims = {};

before(async () => {
	await provider.issuer.keys.generate("RS256");
	await provider.start(0, "localhost");
	provider.service.on("beforeTokenSigning", (token) => Object.assign(token.payload, claims));
	const settings = { issuer: provider.issuer.url, clientId: CLIENT, clientSecret: "a secret" };
	const answer = await send(SECRET, "PATCH", "/settings", { oauth: { [name]: settings, google: settings } });
	assert.equal(answer.status, 200);
});

after(() => provider.stop());

async function send(key, method, path, body) {
	const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
	const response = await fetch(URL_ + path, { method, headers, body: body && JSON.stringify(body) });
	return { status: response.status, ...(await response.json()) };
}

/** Returns where an address leads. */
async function follow(url) {
	const response = await fetch(url, { redirect: "manual" });
	assert.equal(response.status, 302, await response.text());
	return response.headers.get("location");
}

/** Goes through a sign-in as a browser does, and returns what its page gets. */
async function goThrough(query = {}) {
	const parameters = new URLSearchParams({ redirectTo: PAGE, token: KEY, ...query });
	const away = await follow(`${URL_}/users/oauth/${name}/start?${parameters}`);
	assert.ok(away.startsWith(provider.issuer.url), away);
	const back = new URL(await follow(away));
	assert.equal(back.origin + back.pathname, PAGE);
	return { code: back.searchParams.get("code"), state: back.searchParams.get("state") };
}

test("a user signs in with a provider, and is the same one the next time", async () => {
	const email = `${fresh("ada")}@example.com`;
	claims = { sub: fresh("subject"), email, email_verified: true, name: "Ada" };
	const verifier = randomBytes(32).toString("base64url");
	const codeChallenge = createHash("sha256").update(verifier).digest("base64url");
	const returned = await goThrough({ codeChallenge });
	const refused = await send(KEY, "POST", `/users/oauth/${name}`, returned);
	assert.equal(refused.status, 401);
	const first = await send(KEY, "POST", `/users/oauth/${name}`, { ...returned, codeVerifier: verifier });
	assert.equal(first.status, 200, JSON.stringify(first));
	assert.deepEqual(first.data.user.data, { email, emailVerified: true, roles: [], profile: { name: "Ada" } });
	const me = await send(first.data.accessToken, "GET", "/users/me");
	assert.equal(me.data.id, first.data.user.id);
	const second = await send(KEY, "POST", `/users/oauth/${name}`, await goThrough());
	assert.equal(second.data.user.id, first.data.user.id);
	const again = await send(KEY, "POST", `/users/oauth/${name}`, { ...returned, codeVerifier: verifier });
	assert.equal(again.status, 401);
});

test("what the provider signs for another sign-in, client or issuer is refused", async () => {
	for (const wrong of [
		{ nonce: "of another sign-in" },
		{ aud: "somebody else" },
		{ iss: "https://login.evil.example" },
		{ exp: Math.floor(Date.now() / 1000) - 300 },
	]) {
		claims = { sub: fresh("subject"), ...wrong };
		const answer = await send(KEY, "POST", `/users/oauth/${name}`, await goThrough());
		assert.equal(answer.status, 401, JSON.stringify(wrong));
	}
	claims = { sub: fresh("subject"), email: `${fresh("eve")}@example.com`, email_verified: false };
	assert.equal((await send(KEY, "POST", `/users/oauth/${name}`, await goThrough())).status, 403);
	const { state } = await goThrough();
	assert.equal((await send(KEY, "POST", `/users/oauth/${name}`, { code: "of nobody", state })).status, 401);
});

test("the library signs in with an ID token of Google, once", async () => {
	const email = `${fresh("ada")}@example.com`;
	claims = { aud: CLIENT, sub: fresh("subject"), email, email_verified: true };
	const idToken = await provider.issuer.buildToken({
		scopesOrTransform: (_, payload) => Object.assign(payload, claims),
	});
	const db = client();
	const user = await db.auth.loginWithGoogle({ idToken });
	assert.equal(user.email, email);
	assert.equal(user.email_verified, true);
	assert.equal((await db.auth.getCurrentUser()).id, user.id);
	await assert.rejects(client().auth.loginWithGoogle({ idToken }));
	await assert.rejects(client().auth.loginWithGoogle({ idToken: "nothing" }));
});
