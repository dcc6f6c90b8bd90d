// A complete sign-in page: accounts, codes and links by mail, second factors, sessions. `session.js` has what every app needs of it.

import { Session } from "./session.js";

/** @type {(selector: string) => any} */
const $ = (selector) => document.querySelector(selector);
const FORMS = ["#ask-key", "#sign-in", "#code", "#second-factor", "#new-password", "main"];

/** What the address says, which is then cleared: a link from a mail, or the key. */
const given = location.hash.slice(1);
if (given) history.replaceState(null, "", location.pathname);
const link = new URLSearchParams(given.startsWith("coir=") ? given : "");
if (given.startsWith("pk_")) localStorage.setItem("key", given);

/** @type {Session} */
let session;
let endWatch;
let email;
let ticket;

function show(selector) {
	for (const form of FORMS) $(form).hidden = form !== selector;
	for (const input of document.querySelectorAll("input:not([type=email])")) input.value = "";
}

/** Runs what a click or a form does, and says how it went. */
async function run(action) {
	$("#error").textContent = "";
	$("#said").textContent = "";
	try {
		const said = await action();
		if (said) $("#said").textContent = said;
	} catch (error) {
		$("#error").textContent = error.message;
	}
}

/** @param {(fields: Record<string, string>, button: string) => Promise<string | void>} action */
function onSubmit(selector, action) {
	$(selector).addEventListener("submit", (event) => {
		event.preventDefault();
		const fields = Object.fromEntries(new FormData(event.target));
		run(() => action(fields, event.submitter?.value));
	});
}

function onClick(selector, action) {
	$(selector).addEventListener("click", () => run(action));
}

/** Signs in, or asks for what is missing. */
async function signIn(path, body) {
	const missing = await session.signIn(path, body);
	if (missing?.confirm) return "A link is on its way. Follow it, and choose a password there.";
	ticket = missing?.mfa.ticket;
	if (ticket) show("#second-factor");
}

function open(key) {
	session = new Session(location.origin, key);
	session.addEventListener("change", showUser);
	showUser();
	if (link.has("token")) run(followLink);
}

const isVerification = () => ["verify-email", "change-email"].includes(link.get("coir"));

async function followLink() {
	const token = link.get("token");
	switch (link.get("coir")) {
		case "sign-in":
			return signIn("/users/login/code/verify", { token });
		case "verify-email":
		case "change-email":
			if (!session.userId) return "Sign in, and your address is verified. Is the account not yours? Ask for a new password.";
			link.delete("token");
			await session.request("POST", "/users/email/verify", { token });
			return "Your address is verified.";
		case "invitation":
			return "You are invited. Choose a password, and create an account with the address of the mail.";
		case "confirm-sign-up":
		case "reset-password":
			return show("#new-password");
	}
}

function showUser() {
	endWatch?.();
	if (!session.userId) return show("#sign-in");
	show("main");
	$("#totp-secret").hidden = true;
	$("#recovery").replaceChildren();
	// One's own document, live: a change from another device appears here.
	endWatch = session.watch("_users", {
		message: ({ type, documents, event, document }) => {
			const user = type === "snapshot" ? documents[0] : event === "updated" ? document : null;
			if (user) showDocument(user.data);
		},
	});
	run(showSessions);
	// A link that waited for the sign-in.
	if (isVerification() && link.has("token")) run(followLink);
}

function showDocument({ email, emailVerified, profile }) {
	$("#who").textContent = profile.name ? `${profile.name}, ${email}` : email;
	$("#verified").textContent = emailVerified ? "The address is verified." : "The address is not verified.";
	$("#verify").hidden = emailVerified;
	if (document.activeElement !== $("#profile").elements.name) $("#profile").elements.name.value = profile.name ?? "";
}

async function showSessions() {
	const sessions = await session.request("GET", "/users/me/sessions");
	const items = sessions.map(({ id, device, address, lastUsedAt, current }) => {
		const item = document.createElement("li");
		item.append(`${device ?? "Unknown device"}, ${address}, ${new Date(lastUsedAt).toLocaleString()} `);
		if (current) return item.append("(this one)"), item;
		const end = document.createElement("button");
		end.textContent = "Sign out there";
		end.onclick = () =>
			run(async () => {
				await session.request("DELETE", `/users/me/sessions/${id}`);
				await showSessions();
			});
		item.append(end);
		return item;
	});
	$("#sessions").replaceChildren(...items);
}

onSubmit("#ask-key", async ({ key }) => {
	localStorage.setItem("key", key.trim());
	open(key.trim());
});
onSubmit("#sign-in", async (fields, button) => {
	email = fields.email;
	switch (button) {
		case "sign-up": {
			if (link.get("coir") === "invitation") fields.invitation = link.get("token");
			const said = await signIn("/users", fields);
			// An invitation is good once.
			link.delete("coir");
			return said;
		}
		case "code":
			await session.request("POST", "/users/login/code", { email });
			show("#code");
			return "If the address has an account, a code is on its way.";
		case "forgot":
			await session.request("POST", "/users/password/forgot", { email });
			return "If the address has an account, a link is on its way.";
		default:
			return signIn("/users/login", fields);
	}
});
onSubmit("#code", ({ code }) => signIn("/users/login/code/verify", { email, code }));
onSubmit("#second-factor", ({ code }) => signIn("/users/login/mfa", { ticket, code }));
onSubmit("#new-password", async ({ password }) => {
	const token = link.get("token");
	if (link.get("coir") === "confirm-sign-up") return signIn("/users", { invitation: token, password });
	await session.request("POST", "/users/password/reset", { token, password });
	show("#sign-in");
	return "Sign in with the new password.";
});
onSubmit("#profile", async ({ name }) => {
	await session.request("PATCH", "/users/me", { profile: { name } });
	return "Saved.";
});
onSubmit("#password", async (fields) => {
	await session.request("POST", "/users/me/password", fields);
	$("#password").reset();
	await showSessions();
	return "The password is changed, and all other devices are signed out.";
});
onSubmit("#totp", async ({ code }, button) => {
	if (button === "off") {
		await session.request("DELETE", "/users/me/totp", { code });
		return "The second factor is off.";
	}
	const { recoveryCodes } = await session.request("POST", "/users/me/totp/confirm", { code });
	$("#totp-secret").hidden = true;
	const items = recoveryCodes.map((code) => {
		const item = document.createElement("li");
		item.textContent = code;
		return item;
	});
	$("#recovery").replaceChildren(...items);
	await showSessions();
	return "The second factor is on. Keep the recovery codes: they are shown this once.";
});
onClick("#totp-begin", async () => {
	const { secret, url } = await session.request("POST", "/users/me/totp", {});
	const key = document.createElement("code");
	key.textContent = secret;
	const address = document.createElement("a");
	address.href = url;
	address.textContent = "open your authenticator app";
	$("#totp-secret").replaceChildren("Type this key into your authenticator app, or ", address, ": ", key);
	$("#totp-secret").hidden = false;
});
onClick("#verify", async () => {
	await session.request("POST", "/users/email/verify/send", {});
	return "A link is on its way.";
});
onClick("#sign-out", () => session.signOut());

const key = localStorage.getItem("key");
if (key) open(key);
else show("#ask-key");
