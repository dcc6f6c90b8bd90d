// @ts-check
// Covers the list of a pane when there is nothing to list, and says what to do.

import { el } from "./element.js";

export class Cover {
	element = el("div.cover");
	#kind = "";

	/** @param {{ collection: string, make(): void, sample(): void, retry(): void, create(): void }} options */
	constructor(options) {
		this.options = options;
	}

	/** `kind`: empty, `loading`, `empty`, `none` or an error's code. @param {string} kind @param {string} [message] */
	show(kind, message) {
		if (kind === this.#kind) return;
		this.#kind = kind;
		this.element.hidden = !kind;
		if (kind === "loading") this.element.replaceChildren(...Array.from("12345", () => el("i")));
		else this.#say(...this.#text(kind, message));
	}

	#text(kind, message) {
		const { collection, make, sample, retry, create } = this.options;
		if (kind === "none") return ["No document matches", "A document appears here when it matches."];
		if (kind === "empty") {
			const buttons = [
				["New document", make],
				["Start sample data", sample],
			];
			return [`${collection} is empty`, "New documents appear here at once.", ...buttons];
		}
		if (kind === "INVALID_COLLECTION") {
			return [`There is no collection ${collection}`, "It was deleted or never created.", ["Create it", create]];
		}
		return ["The server refused the request", message, ["Try again", retry]];
	}

	#say(title, words, ...buttons) {
		const made = buttons.map(([label, onclick]) => el("button", { onclick }, label));
		this.element.replaceChildren(el("h3", {}, title), el("p", {}, words ?? ""), el("div.group", {}, ...made));
	}
}
