// @ts-check
// The filter: terms that must all hold.

import { el, say } from "./element.js";
import { findMistake } from "./mistake.js";

/** @import { Term } from "./types" */

/** How an operator reads, and its suffix in the API. */
const OPERATORS = {
	is: "eq",
	"is not": "ne",
	"is above": "gt",
	"is below": "lt",
	contains: "contains",
};

export class Filters {
	/** @type {Term[]} */
	#terms = [];

	/** `changed` is called with `text`. @param {HTMLElement} form @param {(text: string | null) => void} changed */
	constructor(form, changed) {
		this.changed = changed;
		this.field = input("field", "Field");
		const words = Object.keys(OPERATORS).map((words) => new Option(words));
		this.operator = el("select", { ariaLabel: "Comparison" }, ...words);
		this.value = input('open, 7 or "7"', "Value: text, or JSON such as 7, true, null");
		this.chips = el("span.chips");
		this.error = el("span.error", { role: "alert" });
		const add = el("button", {}, "Add filter");
		add.type = "submit";
		form.append(this.field, this.operator, this.value, add, this.chips, this.error);
		form.onsubmit = (event) => {
			event.preventDefault();
			this.#add();
		};
	}

	/** The filter as JSON text, or null if there is none. */
	get text() {
		const terms = this.#terms.map(({ key, json }) => `${JSON.stringify(key)}:${json}`);
		return terms.length ? `{${terms}}` : null;
	}

	clear() {
		this.#show([]);
	}

	/** @param {Term[]} terms */
	#show(terms) {
		this.#terms = terms;
		this.chips.replaceChildren(...terms.map((term) => this.#chip(term)));
		say(`Filters: ${terms.length}`);
	}

	#chip(term) {
		const remove = () => {
			this.#show(this.#terms.filter((other) => other !== term));
			this.field.focus();
			this.changed(this.text);
		};
		const properties = { ariaLabel: `Remove the filter ${term.words}`, onclick: remove };
		return el("button.chip", properties, el("bdi", {}, term.words), " ×");
	}

	#add() {
		const field = this.field.value.trim();
		this.error.textContent = field ? "" : "Enter a field";
		this.field.focus();
		if (!field) return;
		const suffix = OPERATORS[this.operator.value];
		// Equality needs no suffix, unless the name of the field could end with one.
		const key = suffix === "eq" && !field.includes("_") ? field : `${field}__${suffix}`;
		const typed = this.value.value.trim();
		const json = findMistake(`{"v":${typed}}`) ? JSON.stringify(typed) : typed;
		this.field.value = "";
		this.value.value = "";
		const words = `${field} ${this.operator.value} ${json}`;
		this.#show([...this.#terms.filter((term) => term.key !== key), { key, json, words }]);
		this.changed(this.text);
	}
}

function input(placeholder, ariaLabel) {
	const plain = { spellcheck: false, autocapitalize: "off", autocomplete: "off", dir: "auto" };
	return el("input", { placeholder, ariaLabel, ...plain });
}
