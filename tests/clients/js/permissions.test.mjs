// Permissions of a collection: the roles that each action takes.

import assert from "node:assert/strict";
import { test } from "node:test";

import { client, fresh, library, SECRET, URL_ } from "./coir.mjs";

/** Sends a request that the library has no call for, as a server. */
async function asServer(method, path, body) {
	const headers = { "content-type": "application/json", "x-api-key": SECRET };
	const answer = await fetch(URL_ + path, { method, headers, body: JSON.stringify(body) });
	assert.ok(answer.ok, await answer.clone().text());
	return answer.json();
}

test("an action takes one of its roles", async () => {
	const posts = fresh("posts");
	const permissions = { create: ["editor"], read: [], update: ["editor"], delete: ["admin"] };
	const made = await asServer("POST", "/collections/", { name: posts, permissions });
	assert.deepEqual(made.permissions, permissions);

	const guest = client();
	const user = client();
	const email = `${fresh("ada")}@example.com`;
	const { user: account } = await user.auth.register({ email, password: "correct horse" });
	await assert.rejects(guest.createDocument(posts, { n: 1 }), library.UnauthorizedError);
	await assert.rejects(user.createDocument(posts, { n: 1 }), library.ForbiddenError);

	await asServer("PATCH", `/users/${account.id}`, { roles: ["editor"] });
	const { id } = await user.createDocument(posts, { n: 1 });
	await user.updateDocument(posts, id, { n: 2 });
	await assert.rejects(user.deleteDocument(posts, id), library.ForbiddenError);
	assert.deepEqual(
		(await guest.listDocuments(posts)).map((document) => document.data),
		[{ n: 2 }],
	);
});
