// @ts-check
// The form to sign up and to sign in, and who is signed in.

import { el } from "./element.js";

/** @import { Api } from "./api.js" */

export class Account {
	#form;
	#button;
	#name;
	/** @type {() => Api} */
	#api;
	#on;
	#ticket;
	#error = el("p.error", { role: "alert" });

	/**
	 * @param {{ form: HTMLFormElement, button: HTMLButtonElement, name: HTMLElement }} elements
	 * @param {() => Api} api @param {() => void} on is called when another user, or nobody, is signed in
	 */
	constructor({ form, button, name }, api, on) {
		this.#form = form;
		this.#button = button;
		this.#name = name;
		this.#api = api;
		this.#on = on;
		button.onclick = () => this.#press();
		form.onsubmit = (event) => {
			event.preventDefault();
			const { value } = /** @type {HTMLButtonElement} */ (event.submitter);
			this.#submit(value);
		};
		form.onkeydown = ({ key }) => {
			if (key === "Escape") this.#press();
		};
	}

	/** Shows who is signed in, and closes the form. */
	show() {
		const { user } = this.#api();
		this.#name.textContent = user?.name ?? "";
		this.#button.textContent = user ? "Sign out" : "Sign in";
		this.#button.ariaExpanded = null;
		this.close();
	}

	close() {
		this.#form.hidden = true;
		this.#form.replaceChildren();
		this.#ticket = null;
	}

	#press() {
		const api = this.#api();
		if (api.user) {
			api.signOut();
			this.#changed();
		} else if (this.#form.hidden) {
			this.#ask();
			this.#button.ariaExpanded = "true";
		} else {
			this.show();
			this.#button.focus();
		}
	}

	/** Asks for address and password; with a ticket, for the second factor. */
	#ask() {
		const fields = this.#ticket
			? [field("code", "Code of your authenticator app", { autocomplete: "one-time-code" })]
			: [
					field("email", "E-mail", { type: "email", autocomplete: "username" }),
					field("password", "Password", { type: "password", autocomplete: "current-password" }),
				];
		const button = (name, label, value) => el(name, { type: "submit", value }, label);
		const buttons = [button("button.main", "Sign in", this.#ticket ? "users/login/mfa" : "users/login")];
		if (!this.#ticket) buttons.push(button("button", "Create an account", "users"));
		this.#error.textContent = "";
		this.#form.replaceChildren(...fields.flat(), el("div.group", {}, ...buttons), this.#error);
		this.#form.hidden = false;
		this.#form.querySelector("input").focus();
	}

	async #submit(path) {
		const fields = Object.fromEntries(new FormData(this.#form));
		if (this.#ticket) fields.ticket = this.#ticket;
		try {
			const missing = await this.#api().signIn(path, fields);
			if (missing?.confirm) {
				this.#error.textContent = "A link is on its way. Follow it, and choose a password there.";
				return;
			}
			this.#ticket = missing?.mfa.ticket;
			if (this.#ticket) this.#ask();
			else this.#changed();
		} catch (error) {
			this.#error.textContent = error.message;
		}
	}

	#changed() {
		this.show();
		this.#on();
	}
}

function field(name, label, properties) {
	const input = el("input", { id: `account-${name}`, name, required: true, spellcheck: false, ...properties });
	return [el("label", { for: input.id }, label), input];
}
