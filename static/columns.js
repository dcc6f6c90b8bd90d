// Documents as a table: which fields are columns, and what stands in a cell.

import { stringify } from "./api.js";
import { el } from "./element.js";

/** Fields that say most come first. */
const FIRST = [/^(order|number)$/i, /^(title|name|guest)$/i, /^(status|state|kind|type|role)$/i];
const FLASH = 1600;

export class Columns {
	#names = [];
	#chosen = "";
	head = el("div.row", { role: "row", ariaRowIndex: 1 });

	/** Chooses the columns anew. `list` is the element that is as wide as they are. */
	choose(rows, list) {
		const weights = {};
		for (const { data } of rows.slice(0, 99)) for (const name in data) weights[name] = (weights[name] ?? 0) + (typeof data[name] === "object" ? 0.4 : 1);
		const rank = (name) => FIRST.findIndex((pattern) => pattern.test(name)) >>> 0;
		const width = list.clientWidth, most = Math.min(7, Math.max(3, (width - 170) >> 7));
		const names = Object.keys(weights).sort((a, b) => rank(a) - rank(b) || weights[b] - weights[a] || (a < b ? -1 : 1));
		const hasMore = names.splice(most).length && width > 500;
		const chosen = stringify([names, hasMore]);
		if (chosen === this.#chosen) return;
		this.hasMore = hasMore;
		this.#names = names;
		this.#chosen = chosen;
		const titles = ["id", ...names, ...(hasMore ? ["more"] : []), "changed"];
		this.head.replaceChildren(...titles.map((title, i) => cell(title, i ? "" : "id", "columnheader")));
		this.head.classList.add("head");
		this.head.lastChild.className = "age";
		list.style.setProperty("--columns", `${names.map(() => "1fr ").join("") || "1fr"} ${hasMore ? "1.4fr" : ""} 3.8rem`);
	}

	/** Fills a row's element, and lets what has just changed light up. */
	draw(row, { id, data, version, changedAt, mark, isArmed }) {
		const drawn = `${this.#chosen}${version}${isArmed}`;
		if (row.drawn !== drawn) {
			row.drawn = drawn;
			row.className = `row ${mark?.kind === "deleted" ? "gone" : ""} ${isArmed ? "armed" : ""}`;
			const more = Object.keys(data).filter((name) => !this.#names.includes(name)).map((name) => `${name} ${short(data[name])}`);
			row.age = cell("", "age");
			row.replaceChildren(cell(id.slice(-6), "id"), ...this.#names.map((name) => valueCell(name, data[name])),
				...(this.hasMore ? [cell(more.join(" · "), "soft")] : []), row.age,
				el("button.remove", { role: "gridcell", tabIndex: -1, ariaLabel: `Delete ${id}` }, isArmed ? "Delete?" : "×"));
		}
		row.age.textContent = ageOf(changedAt);
		if (row.mark === mark || Date.now() - mark.at > FLASH) return;
		row.mark = mark;
		const backgroundColor = `var(--${mark.kind}-tint)`;
		const flash = (part) => part.animate([{ backgroundColor }, { backgroundColor, offset: 0.3 }, { backgroundColor: "transparent" }], FLASH);
		if (mark.kind !== "updated") return flash(row);
		for (const name of mark.fields) flash(row.children[this.#names.indexOf(name) + 1 || this.#names.length + 1]);
		flash(row.age);
	}
}

function cell(content, className = "", role = "gridcell") {
	return el(`span.${className}`, { role, dir: "auto" }, content);
}

function valueCell(name, value) {
	if (value === undefined) return cell("");
	if (typeof value !== "string" || !FIRST[2].test(name)) return cell(short(value), value && typeof value !== "object" ? "" : "soft");
	const pill = el("span.pill", {}, short(value));
	pill.style.setProperty("--hue", [...value].reduce((hash, letter) => (hash * 33 + letter.codePointAt()) % 360, 7));
	return cell(pill);
}

function short(value) {
	return (typeof value === "string" ? value : stringify(value)).slice(0, 200);
}

function ageOf(changedAt) {
	const seconds = Math.floor((Date.now() - changedAt) / 1000);
	if (seconds < 2) return "now";
	const [size, unit] = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([size]) => seconds >= size);
	return `${Math.floor(seconds / size)} ${unit}`;
}
