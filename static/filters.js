// The filter: terms that must all hold. Another operator is one more line of `OPERATORS`.

import { el, say } from "./element.js";
import { findMistake } from "./json.js";

/** How an operator reads, and how it is written after the field on the wire. */
const OPERATORS = [["is", "eq"], ["is not", "ne"], ["is over", "gt"], ["is under", "lt"], ["contains", "contains"]].map(([words, suffix]) => ({ words, suffix }));

export class Filters {
	#terms = [];

	/** `changed(text)` hears of the filter as JSON text, or null for everything. */
	constructor(form, changed) {
		this.changed = changed;
		const input = (placeholder, ariaLabel) => el("input", { placeholder, ariaLabel, spellcheck: false, autocapitalize: "off", autocomplete: "off", dir: "auto" });
		this.field = input("field", "Field");
		this.operator = el("select", { ariaLabel: "Comparison" }, ...OPERATORS.map(({ words }) => new Option(words)));
		this.value = input('open, 7 or "7"', "Value: text, or JSON such as 7, true, null");
		this.chips = el("span.chips");
		this.error = el("span.error", { role: "alert" });
		form.append(this.field, this.operator, this.value, el("button", { type: "submit" }, "Add filter"), this.chips, this.error);
		form.onsubmit = (event) => (event.preventDefault(), this.#add());
	}

	get text() {
		return this.#terms.length ? `{${this.#terms.map(({ key, json }) => `${JSON.stringify(key)}:${json}`)}}` : null;
	}

	set(terms) {
		this.#terms = terms;
		const remove = (term) => (this.set(terms.filter((other) => other !== term)), this.field.focus(), this.changed(this.text));
		this.chips.replaceChildren(...terms.map((term) => el("button.chip", { ariaLabel: `Remove the filter ${term.words}`, onclick: () => remove(term) }, el("bdi", {}, term.words), " ×")));
		say(`Filters: ${terms.length}`);
	}

	#add() {
		const field = this.field.value.trim(), typed = this.value.value.trim();
		const { words, suffix } = OPERATORS[this.operator.selectedIndex];
		// Equality needs no suffix, unless the field's own name could end with one.
		const key = suffix === "eq" && !field.includes("_") ? field : `${field}__${suffix}`;
		this.error.textContent = field ? "" : "Which field?";
		this.field.focus();
		if (!field) return;
		// What is no JSON is text.
		const json = findMistake(`{"v":${typed}}`) ? JSON.stringify(typed) : typed;
		this.field.value = this.value.value = "";
		this.set([...this.#terms.filter((term) => term.key !== key), { key, json, words: `${field} ${words} ${json}` }]);
		this.changed(this.text);
	}
}
