// @ts-check
// The filter: terms that must all hold. A term may have alternatives, of which one must hold.

import { el, say } from "./element.js";
import { parse, stringify } from "./json.js";

/** @import { Alternative } from "./types" */

/** How an operator reads, and its suffix in the API. */
const OPERATORS = {
	is: "eq",
	"is not": "ne",
	"is above": "gt",
	"is at least": "gte",
	"is below": "lt",
	"is at most": "lte",
	"is one of": "in",
	contains: "contains",
};
const WORDS = Object.fromEntries(Object.entries(OPERATORS).map(([words, suffix]) => [suffix, words]));

export class Filters {
	/** @type {Alternative[][]} */
	#terms = [];

	/** `changed` is called when the person has changed the filter. @param {HTMLElement} form @param {() => void} changed */
	constructor(form, changed) {
		this.changed = changed;
		this.join = select("Join", ["and", "or"]);
		this.field = input("field", "Field");
		this.operator = select("Comparison", Object.keys(OPERATORS));
		this.value = input('open, 7 or "7"', "Value: text, or JSON such as 7, true, null; several with commas");
		this.chips = el("span.chips");
		this.error = el("span.error", { role: "alert" });
		const add = el("button", {}, "Add filter");
		add.type = "submit";
		form.append(this.join, this.field, this.operator, this.value, add, this.chips, this.error);
		form.onsubmit = (event) => {
			event.preventDefault();
			this.#add();
		};
		this.#show([]);
	}

	/** The filter as JSON text, or null if there is none. */
	get text() {
		const single = this.#terms.filter((term) => term.length === 1).map(([one]) => write(one));
		const several = this.#terms.filter((term) => term.length > 1).map((term) => `"$or":[${term.map(braced)}]`);
		const parts =
			several.length > 1 ? [...single, `"$and":[${several.map((or) => `{${or}}`)}]`] : [...single, ...several];
		return parts.length ? `{${parts}}` : null;
	}

	/** Shows another filter. One that is no JSON object is none. @param {string | null} text */
	set text(text) {
		this.error.textContent = "";
		try {
			this.#show(text ? read(parse(text)) : []);
		} catch {
			this.#show([]);
			this.error.textContent = "The filter in the address is not valid JSON.";
		}
	}

	/** @param {Alternative[][]} terms */
	#show(terms) {
		this.#terms = terms;
		this.join.hidden = !terms.length;
		this.chips.replaceChildren(...terms.map((term) => this.#chip(term)));
		say(`Filters: ${terms.length}`);
	}

	#chip(term) {
		const words = term.map(describe).join(" or ");
		const onclick = () => {
			this.#show(this.#terms.filter((other) => other !== term));
			this.field.focus();
			this.changed();
		};
		return el("button.chip", { ariaLabel: `Remove the filter ${words}`, onclick }, el("bdi", {}, words), " ×");
	}

	#add() {
		const field = this.field.value.trim();
		this.error.textContent = field ? "" : "Enter a field";
		this.field.focus();
		if (!field) return;
		const suffix = OPERATORS[this.operator.value];
		// Equality needs no suffix, unless the name of the field could end with one.
		const key = suffix === "eq" && !/_|^\$/.test(field) ? field : `${field}__${suffix}`;
		const typed = this.value.value.trim();
		const added = { key, json: suffix === "in" ? list(typed) : value(typed) };
		this.field.value = "";
		this.value.value = "";
		const last = this.#terms.at(-1);
		if (this.join.value === "or" && last) this.#show([...this.#terms.slice(0, -1), [...last, added]]);
		else this.#show([...this.#terms.filter((term) => term.length > 1 || term[0].key !== key), [added]]);
		this.join.value = "and";
		this.changed();
	}
}

/** JSON stays as it is, with all its digits; any other text becomes a string. */
function value(typed) {
	try {
		JSON.parse(typed);
		return typed;
	} catch {
		return JSON.stringify(typed);
	}
}

/** A JSON array, or values with commas between them. */
function list(typed) {
	const json = value(typed);
	return json.startsWith("[") ? json : `[${typed.split(",").map((part) => value(part.trim()))}]`;
}

function write({ key, json }) {
	return `${JSON.stringify(key)}:${json}`;
}

function braced(alternative) {
	return `{${write(alternative)}}`;
}

/** The terms of a filter. What this form cannot make is shown as it is. @returns {Alternative[][]} */
function read(filter) {
	return Object.entries(filter).flatMap(([key, found]) => {
		if (key === "$or" && found.every(isSingle)) return [found.map(first)];
		if (key === "$and" && found.every(({ $or }) => $or?.every(isSingle))) return found.map(({ $or }) => $or.map(first));
		return [[{ key, json: stringify(found) }]];
	});
}

function isSingle(part) {
	return Object.keys(part).length === 1;
}

function first(part) {
	const [[key, found]] = Object.entries(part);
	return { key, json: stringify(found) };
}

/** @param {Alternative} alternative */
function describe({ key, json }) {
	const [, field, suffix] = /^(.+?)__([a-z]+)$/.exec(key) ?? [null, key, "eq"];
	return WORDS[suffix] ? `${field} ${WORDS[suffix]} ${json}` : `${key} ${json}`;
}

function select(ariaLabel, words) {
	return el("select", { ariaLabel }, ...words.map((word) => new Option(word)));
}

function input(placeholder, ariaLabel) {
	const plain = { spellcheck: false, autocapitalize: "off", autocomplete: "off", dir: "auto" };
	return el("input", { placeholder, ariaLabel, ...plain });
}
