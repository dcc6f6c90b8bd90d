// @ts-check
// The user who is signed in on this page. Only this tab keeps the tokens, as it keeps the key.

import { parse, stringify } from "./json.js";

const STORED = "user";
/** An access token that is good for less than this is replaced before it is used, in milliseconds. */
const MARGIN = 30_000;

export class User {
	#send;
	#welcome;
	#renewing;
	#isForgotten = false;

	/** @param {(path: string, body: object) => Promise<any>} send posts with the key alone @param {any} welcome the answer to a sign-in */
	constructor(send, welcome) {
		this.#send = send;
		this.#use(welcome);
	}

	/** Who was signed in before this page was loaded again. @param {(path: string, body: object) => Promise<any>} send */
	static stored(send) {
		const text = sessionStorage.getItem(STORED);
		return text ? new User(send, parse(text)) : null;
	}

	static forgetStored() {
		sessionStorage.removeItem(STORED);
	}

	/** This page keeps the tokens no longer. The session goes on. */
	forget() {
		this.#isForgotten = true;
		User.forgetStored();
	}

	/** @returns {string} */
	get name() {
		return this.#welcome.user.data.email ?? "Guest";
	}

	/** An access token that is good for a while. Rejects with `UNAUTHORIZED` when the session is over. */
	async token(mustRenew = false) {
		if (mustRenew || Date.parse(this.#welcome.expiresAt) - Date.now() < MARGIN) {
			this.#renewing ??= this.#renew().finally(() => {
				this.#renewing = null;
			});
			await this.#renewing;
		}
		return this.#welcome.accessToken;
	}

	async #renew() {
		this.#use(await this.#send("users/refresh", { refreshToken: this.#welcome.refreshToken }));
	}

	#use(welcome) {
		this.#welcome = welcome;
		if (!this.#isForgotten) sessionStorage.setItem(STORED, stringify(welcome));
	}
}
