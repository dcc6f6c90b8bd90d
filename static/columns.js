// @ts-check
// Documents as a table: which fields are columns, and what a cell shows.

import { el } from "./element.js";
import { stringify } from "./json.js";

/** @import { Mark, Row } from "./types" */

const STATUS = /^(status|state|kind|type|role)$/i;
/** Names of fields that come first, because they say most. */
const FIRST = [/^(order|number)$/i, /^(title|name|guest)$/i, STATUS];
/** What the first and the last column show; no field has such a name, because names end before U+0000. */
const ID = "\0id";
const CHANGED = "\0changed";
/** How long a change lights up, in milliseconds. */
const FLASH = 1600;

export class Columns {
	/** Those that were once chosen stay, in their places, as long as there is room. */
	#names = [];
	/** @type {{ name: string, isDown: boolean } | null} */
	#sort = null;
	#hasMore = false;
	/** Names and `hasMore`, as text to compare. */
	#chosen = "";
	head = el("div.row", { role: "row", ariaRowIndex: 1 });

	/** `sorted` is called when another order was chosen. @param {() => void} sorted */
	constructor(sorted) {
		this.sorted = sorted;
	}

	/** Chooses the columns, by the width of `list`. @param {Row[]} rows @param {HTMLElement} list */
	choose(rows, list) {
		const ranked = rankNames(rows.slice(0, 99));
		const width = list.clientWidth;
		const most = Math.min(7, Math.max(3, (width - 170) >> 7));
		const added = ranked.filter((name) => !this.#names.includes(name));
		// A field that no document has any more makes room for one that some have.
		const gone = this.#names.filter((name) => !ranked.includes(name));
		gone.length = Math.min(gone.length, Math.max(0, this.#names.length + added.length - most));
		const names = [...this.#names.filter((name) => !gone.includes(name)), ...added];
		const hasMore = names.splice(most).length > 0 && width > 500;
		const chosen = stringify([names, hasMore, this.#sort]);
		if (chosen === this.#chosen) return;
		this.#hasMore = hasMore;
		this.#names = names;
		this.#chosen = chosen;
		const titles = names.map((name) => this.#heading(name, name));
		if (hasMore) titles.push(cell("more", "", "columnheader"));
		const focused = [...this.head.children].indexOf(document.activeElement?.parentElement);
		this.head.replaceChildren(this.#heading("id", ID), ...titles, this.#heading("changed", CHANGED));
		this.head.children[focused]?.querySelector("button")?.focus();
		this.head.firstChild.className = "id";
		this.head.classList.add("head");
		this.head.lastChild.className = "age";
		const widths = names.map(() => "1fr ").join("") || "1fr";
		list.style.setProperty("--columns", `${widths} ${hasMore ? "1.4fr" : ""} 3.8rem`);
	}

	/** The heading sorts upwards, then downwards, then no more. */
	#heading(title, name) {
		const { isDown } = this.#sort?.name === name ? this.#sort : { isDown: null };
		const arrow = { true: " ↓", false: " ↑" }[isDown] ?? "";
		const onclick = () => {
			this.#sort = isDown ? null : { name, isDown: isDown === false };
			this.sorted();
		};
		const made = cell(el("button.sort", { onclick }, title + arrow), "", "columnheader");
		made.ariaSort = { true: "descending", false: "ascending" }[isDown] ?? "none";
		return made;
	}

	/** The rows in the order that was chosen, or as they are. @param {Row[]} rows */
	order(rows) {
		if (!this.#sort) return rows;
		const { name, isDown } = this.#sort;
		const direction = isDown ? -1 : 1;
		return [...rows].sort((a, b) => direction * compare(sortKey(a, name), sortKey(b, name)));
	}

	/** Fills the element of a row, and flashes what has just changed. @param {any} element @param {Row} row */
	draw(element, row) {
		const drawn = `${this.#chosen}${row.version}${row.armedAt}`;
		if (element.drawn !== drawn) this.#fill(element, row);
		element.drawn = drawn;
		element.lastChild.previousSibling.textContent = ageOf(row.changedAt);
		if (!row.mark || element.mark === row.mark || Date.now() - row.mark.at > FLASH) return;
		element.mark = row.mark;
		this.#flash(element, row.mark);
	}

	/** @param {Row} row */
	#fill(element, row) {
		const { id, data, mark, armedAt } = row;
		const rest = Object.keys(data).filter((name) => !this.#names.includes(name));
		const more = rest.map((name) => `${name} ${short(data[name])}`).join(" · ");
		element.className = `row ${mark?.kind === "deleted" ? "gone" : ""} ${armedAt ? "armed" : ""}`;
		const remove = { role: "gridcell", tabIndex: -1, ariaLabel: `Delete ${id}` };
		element.replaceChildren(
			el("span.id", { role: "gridcell", title: id }, id.slice(-6)),
			...this.#names.map((name) => valueCell(name, data[name])),
			...(this.#hasMore ? [cell(more, "soft")] : []),
			cell("", "age"),
			el("button.remove", remove, armedAt ? "Delete?" : "×"),
		);
	}

	/** @param {Mark} mark */
	#flash(element, mark) {
		const { kind, fields } = mark;
		const backgroundColor = `var(--${kind}-tint)`;
		const frames = [{ backgroundColor }, { backgroundColor, offset: 0.3 }, { backgroundColor: "transparent" }];
		const flash = (part) => part.animate(frames, FLASH);
		if (kind !== "updated") return flash(element);
		const cells = element.children;
		for (const name of fields) flash(cells[this.#names.indexOf(name) + 1 || this.#names.length + 1]);
		flash(element.lastChild.previousSibling);
	}
}

/** Field names, the ones to show first before others. A field that is often an object counts less. */
function rankNames(rows) {
	const weights = {};
	for (const { data } of rows) {
		for (const name in data) weights[name] = (weights[name] ?? 0) + (typeof data[name] === "object" ? 0.4 : 1);
	}
	// `>>> 0` turns -1 (not found) into the largest number.
	const rank = (name) => FIRST.findIndex((pattern) => pattern.test(name)) >>> 0;
	return Object.keys(weights).sort((a, b) => rank(a) - rank(b) || weights[b] - weights[a] || (a < b ? -1 : 1));
}

/** @param {Row} row @param {string} name */
function sortKey(row, name) {
	if (name === ID) return row.id;
	return name === CHANGED ? -row.changedAt : row.data[name];
}

/** Orders values as the server does: missing, numbers, text, false, true, the rest. */
function compare(a, b) {
	const [one, other] = [rank(a), rank(b)];
	if (one !== other || one > 2) return one - other;
	return a < b ? -1 : Number(a > b);
}

function rank(value) {
	if (typeof value === "boolean") return value ? 4 : 3;
	if (typeof value === "object") return value ? 5 : 0;
	return { undefined: 0, number: 1, bigint: 1, string: 2 }[typeof value];
}

function cell(content, className = "", role = "gridcell") {
	return el(`span.${className}`, { role, dir: "auto" }, content);
}

function valueCell(name, value) {
	if (value === undefined) return cell("");
	if (typeof value === "string" && STATUS.test(name)) return cell(pill(value));
	return cell(short(value), value && typeof value !== "object" ? "" : "soft");
}

/** A label whose colour depends on its text. */
function pill(text) {
	const made = el("span.pill", {}, short(text));
	const hue = [...text].reduce((hash, letter) => (hash * 33 + letter.codePointAt(0)) % 360, 7);
	made.style.setProperty("--hue", hue);
	return made;
}

function short(value) {
	return (typeof value === "string" ? value : stringify(value)).slice(0, 200);
}

function ageOf(changedAt) {
	const seconds = Math.floor((Date.now() - changedAt) / 1000);
	if (seconds < 2) return "now";
	if (seconds < 60) return `${seconds} s`;
	if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
	if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
	return `${Math.floor(seconds / 86_400)} d`;
}
