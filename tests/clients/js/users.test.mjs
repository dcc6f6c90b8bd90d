// Users: sign-up, sign-in, one's own account, and the list of users.

import assert from "node:assert/strict";
import { test } from "node:test";

import { client, fresh, KEY, library, SECRET, soon, URL_ } from "./coir.mjs";

const PASSWORD = "correct horse";

/** Returns an address that no other test uses. */
const address = () => `${fresh("ada")}@example.com`;

/** Creates a client whose user has just signed up. */
async function signedUp(data = {}, options = {}) {
	const db = client(KEY, options);
	const email = address();
	const { requires_2fa, user } = await db.auth.register({ email, password: PASSWORD, data });
	assert.equal(requires_2fa, false);
	return { db, email, user };
}

/** Returns what a promise is rejected with. */
async function refusal(promise, type) {
	let refused;
	await assert.rejects(promise, (err) => {
		refused = err;
		return err instanceof type;
	});
	return refused;
}

test("a user signs up, in and out", async () => {
	const db = client();
	const events = [];
	db.auth.onAuthEvent({ onRegister: () => events.push("register"), onLogin: () => events.push("login") });
	const email = address();
	const { user } = await db.auth.register({ email, password: PASSWORD, data: { username: "ada" } });
	assert.deepEqual([user.email, user.data, user.roles], [email, { username: "ada" }, []]);
	assert.match(user.created_at, /Z$/);
	assert.ok(user.client_id);
	assert.equal(db.auth.isAuthenticated(), true);
	assert.equal(db.auth.isTokenExpired(), false);
	const days = (db.auth.getTokenExpiry() - Date.now()) / 86_400_000;
	assert.ok(days > 1.99 && days <= 2, `the token is good for ${days} days`);
	assert.equal(db.auth.hasRole("admin"), false);
	assert.deepEqual(await db.auth.getCurrentUser(), user);
	db.auth.logout();
	assert.equal(db.auth.isAuthenticated(), false);

	const again = await db.auth.login({ email: email.toUpperCase(), password: PASSWORD });
	assert.deepEqual(again, { requires_2fa: false, user });
	assert.deepEqual(events, ["register", "login"]);
	assert.deepEqual(await (await client().login({ email, password: PASSWORD })).user, user, "the deprecated way");
});

test("a sign-in that fails says nothing about who there is", async () => {
	const { email } = await signedUp();
	const wrong = await refusal(client().auth.login({ email, password: "wrong horse" }), library.UnauthorizedError);
	const unknown = await refusal(
		client().auth.login({ email: address(), password: PASSWORD }),
		library.UnauthorizedError,
	);
	assert.deepEqual(wrong.detail, { detail: "Invalid e-mail address or password" });
	assert.deepEqual(unknown.detail, wrong.detail);
});

test("an address is taken once, and nobody gives themselves a role", async () => {
	const { email } = await signedUp();
	const taken = await refusal(client().auth.register({ email, password: PASSWORD }), library.CocobaseError);
	assert.equal(taken.statusCode, 400);
	assert.match(taken.detail.detail, /another user has this e-mail address/);
	const admin = client().auth.register({ email: address(), password: PASSWORD, roles: ["admin"] });
	assert.match((await refusal(admin, library.CocobaseError)).detail.detail, /secret key/);
	const number = await client().auth.register({ email: address(), password: PASSWORD, phone_number: "+44 20" });
	assert.deepEqual(number.user.data, { phone_number: "+44 20" });
});

test("a session is restored, and one that has ended is cleared", async () => {
	const storage = library.memoryStorageAdapter();
	const { db, user } = await signedUp({ n: 1 }, { storage });
	const token = db.auth.getToken();
	const restored = client(KEY, { storage });
	assert.deepEqual(await restored.auth.initAuth(), { user, token, isAuthenticated: true });
	assert.deepEqual(await restored.auth.waitForAuth(), user);
	const other = client();
	assert.deepEqual((await other.auth.initAuth(token)).user, user, "on a server, with the token of a cookie");

	const elsewhere = library.memoryStorageAdapter();
	await db.auth.updateUser({ password: "battery staple" });
	const login = await client().auth.login({ email: user.email, password: "battery staple" });
	assert.equal(login.user.id, user.id);
	// The session that changed the password goes on; one that the server doesn't know is cleared.
	assert.equal((await client().auth.initAuth(token)).isAuthenticated, true);
	const forged = `${token.slice(0, -4)}AAAA`;
	const cleared = client(KEY, { storage: elsewhere });
	assert.deepEqual(await cleared.auth.initAuth(forged), { user: undefined, token: undefined, isAuthenticated: false });
	assert.equal(elsewhere.getItem("cocobase-token"), null);
});

test("a user changes the account", async () => {
	const { db, email, user } = await signedUp({ name: "Ada", n: 1 });
	const changed = await db.auth.updateUser({ data: { n: 2 } });
	assert.deepEqual([changed.id, changed.data], [user.id, { name: "Ada", n: 2 }]);
	const next = address();
	const moved = await db.auth.updateUser({ email: next, password: "battery staple" });
	assert.deepEqual([moved.email, moved.email_verified, moved.data], [next, false, changed.data]);
	assert.deepEqual(await db.auth.getCurrentUser(), moved);
	assert.equal((await client().auth.login({ email: next, password: "battery staple" })).user.id, user.id);
	await refusal(client().auth.login({ email, password: PASSWORD }), library.UnauthorizedError);
	await refusal(client().auth.login({ email: next, password: PASSWORD }), library.UnauthorizedError);
});

test("a server lists and finds users, and a user only themselves", async () => {
	const team = fresh("team");
	const [{ db, user: ada }, { user: bob }] = [await signedUp({ team, age: 36 }), await signedUp({ team, age: 9 })];
	const server = client(SECRET);
	const ids = async (filters, query = {}) =>
		(await server.auth.listUsers({ filters: { "data.team": team, ...filters }, ...query })).data.map(({ id }) => id);
	for (const [why, filters, expected] of [
		["all", {}, [bob, ada]],
		["an address", { email: ada.email }, [ada]],
		["a part of it", { email_contains: "@EXAMPLE" }, [bob, ada]],
		["a field of the data", { "data.age_gte": 18 }, [ada]],
		["one of several", { "[or]data.age_lt": 10, "[or]email": ada.email }, [bob, ada]],
		["a role that nobody has", { roles_contains: "admin" }, []],
		["a time", { created_at_gte: "2020-01-01" }, [bob, ada]],
		["any of several fields", { "email__or__data.team_contains": ada.email }, [ada]],
	]) {
		assert.deepEqual(
			await ids(filters),
			expected.map(({ id }) => id),
			why,
		);
	}
	assert.deepEqual(await ids({}, { sort: "data.age", order: "asc" }), [bob.id, ada.id]);
	const page = await server.auth.listUsers({ filters: { "data.team": team }, limit: 1 });
	assert.deepEqual(page, { data: [bob], total: 2, limit: 1, offset: 0, has_more: true });
	assert.deepEqual(await server.auth.getUserById(ada.id), ada);
	await refusal(server.auth.getUserById("nobody"), library.NotFoundError);

	const own = await db.auth.listUsers({ filters: { "data.team": team } });
	assert.deepEqual([own.data, own.total, own.has_more], [[ada], 1, false]);
	assert.deepEqual(await db.auth.getUserById(ada.id), ada);
	await refusal(db.auth.getUserById(bob.id), library.NotFoundError);
	await refusal(client().auth.listUsers(), library.ForbiddenError);
});

test("documents are written and read with a user's token beside the key", async () => {
	const { db, user } = await signedUp({ name: "Ada" });
	const posts = fresh("posts");
	const post = await db.createDocument(posts, { author_id: user.id });
	const [joined] = await db.listDocuments(posts, { populate: "author:appuser" });
	assert.deepEqual([joined.id, joined.author.email, joined.data.author.name], [post.id, user.email, "Ada"]);
	const guest = await client().listDocuments(posts, { populate: "author:appuser" });
	assert.equal(guest[0].data.author, null, "a key alone sees no user");
	db.auth.setToken("a.b.c");
	await refusal(db.listDocuments(posts), library.UnauthorizedError);
	await db.auth.login({ email: user.email, password: PASSWORD });
	assert.equal((await db.listDocuments(posts)).length, 1);
});

/** Waits for the newest mail to an address, and returns what stands behind a text in it. */
async function mailed(email, behind) {
	const find = async () => {
		for (;;) {
			const answer = await fetch(`${URL_}/outbox`, { headers: { "x-api-key": SECRET } });
			const mail = (await answer.json()).data.find(({ to, text }) => to === email && text.includes(behind));
			if (mail) return mail.text.split(behind)[1].match(/^\S+/)[0];
		}
	};
	return soon(find(), `a mail to ${email}`);
}

test("a user verifies the address, and gets a link for a new password and a code", async () => {
	const { db, email, user } = await signedUp();
	assert.equal((await db.auth.requestEmailVerification()).expires_in_hours, 24);
	assert.ok((await db.auth.resendVerificationEmail()).message);
	const verified = await db.auth.verifyEmail(await mailed(email, "coir=verify-email&token="));
	assert.equal(verified.email_verified, true);
	assert.equal((await db.auth.getCurrentUser()).email_verified, true);
	assert.equal((await refusal(db.auth.verifyEmail("x"), library.CocobaseError)).statusCode, 400);

	const guest = client();
	assert.ok((await guest.auth.send2FACode(email)).message);
	const code = (await mailed(email, "Your code is ")).slice(0, 6);
	assert.equal((await guest.auth.verify2FALogin({ email, code })).id, user.id);
	assert.equal((await guest.auth.getCurrentUser()).id, user.id);
	assert.equal((await refusal(guest.auth.verify2FALogin({ email, code }), library.CocobaseError)).statusCode, 400);
	assert.ok((await db.auth.enable2FA()).message);
	assert.equal((await client().auth.login({ email, password: PASSWORD })).requires_2fa, true);
	await guest.auth.send2FACode(email);
	let second = code;
	while (second === code) second = (await mailed(email, "Your code is ")).slice(0, 6);
	assert.equal((await guest.auth.verify2FALogin({ email, code: second })).id, user.id);
	assert.ok((await guest.auth.disable2FA()).message);
	assert.equal((await client().auth.login({ email, password: PASSWORD })).requires_2fa, false);

	assert.deepEqual(await guest.auth.requestPasswordReset(email), await guest.auth.requestPasswordReset(address()));
	assert.ok(await mailed(email, "coir=reset-password&token="));
});

test("what is not there yet is an error that the library shows", async () => {
	const { db } = await signedUp();
	for (const [call, part] of [
		[() => db.auth.loginWithGithub({ code: "x", redirectUri: "http://127.0.0.1/", platform: "web" }), /GitHub/],
		[() => db.auth.registerWithFiles({ email: address(), password: PASSWORD, data: {}, files: {} }), /files yet/],
		[() => db.auth.updateUserWithFiles({ data: {}, files: { photo: new Blob(["x"]) } }), /files yet/],
	]) {
		await assert.rejects(call(), (err) => part.test(err.message), String(call));
	}
});
