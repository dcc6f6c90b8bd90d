// @ts-check
// A list that draws only the visible rows. To the keyboard and to screen readers it is a grid.

import { el } from "./element.js";

/** Rows that are drawn above and below the visible ones. */
const OVERSCAN = 4;
let serial = 0;

/** @template {{ id: string | number }} Item */
export class VirtualList {
	/** @type {Item} */
	active = null;
	/** @type {Item[]} */
	#items = [];
	/** @type {Map<Item["id"], any>} */
	#drawn = new Map();
	/** Index and item of the first row that is drawn. */
	#first = [];
	#prefix = `list${serial++}-`;
	/** The last press as item and action: rows may move before the click. */
	#pressed;

	/**
	 * `draw` fills a row's element, also for the second time. `on` may have `open(item)`, `remove(item)`, `make()`.
	 *
	 * @param {{ label: string, name: string, rowHeight: number, head?: HTMLElement,
	 *   draw(row: any, item: Item): void, on: object }} options
	 */
	constructor({ label, name, rowHeight, head, draw, on }) {
		this.rowHeight = rowHeight;
		this.head = head;
		this.draw = draw;
		this.on = on;
		this.body = el("div.rows", { role: "rowgroup" });
		this.body.onpointerdown = ({ target }) => this.#press(target);
		this.body.onclick = ({ target }) => this.#click(target);
		const grid = { role: "grid", tabIndex: 0, ariaLabel: label };
		this.element = el("div.list", grid, ...(head ? [head] : []), this.body);
		this.element.classList.add(name);
		this.element.onscroll = () => this.render();
		this.element.onkeydown = (event) => this.#key(event);
		this.element.onfocus = () => this.active ?? this.activate(this.#items[0]);
		new ResizeObserver(() => this.render()).observe(this.element);
	}

	/** Shows other items. The visible rows stay in their place, unless the top is visible. @param {Item[]} items */
	show(items) {
		const { element, rowHeight } = this;
		const [first, anchor] = this.#first;
		// A copy, because the owner changes its list.
		this.#items = [...items];
		this.body.style.height = `${items.length * rowHeight}px`;
		const moved = items[first] === anchor ? first : items.indexOf(anchor);
		if (element.scrollTop > rowHeight / 2 && moved >= 0) element.scrollTop += (moved - first) * rowHeight;
		this.render();
	}

	render() {
		const { rowHeight, head, element } = this;
		const { scrollTop, clientHeight } = element;
		const first = Math.max(0, Math.floor(scrollTop / rowHeight) - OVERSCAN);
		const last = Math.ceil((scrollTop + clientHeight) / rowHeight) + OVERSCAN;
		this.#first = [first, this.#items[first]];
		element.ariaRowCount = this.#items.length + (head ? 1 : 0);
		this.body.classList.toggle("slides", scrollTop < rowHeight);
		const old = this.#drawn;
		this.#drawn = new Map();
		const rows = this.#items.slice(first, last).map((item, offset) => this.#place(item, first + offset, old));
		this.#replaceRows(rows, old);
		const isDrawn = this.#drawn.has(this.active?.id);
		element.setAttribute("aria-activedescendant", isDrawn ? this.#prefix + this.active.id : "");
	}

	/** Draws one row, in its old element if it has one. */
	#place(item, index, old) {
		const row = old.get(item.id) ?? el("div.row", { role: "row", id: this.#prefix + item.id });
		old.delete(item.id);
		this.#drawn.set(item.id, row);
		row.item = item;
		row.style.transform = `translateY(${index * this.rowHeight}px)`;
		row.ariaRowIndex = index + (this.head ? 2 : 1);
		row.ariaSelected = item.id === this.active?.id;
		this.draw(row, item);
		return row;
	}

	/** Leaves rows in place where it can: a row that is moved in the document loses its animation. */
	#replaceRows(rows, old) {
		for (const row of old.values()) row.remove();
		let next = this.body.firstChild;
		for (const row of rows) {
			if (row === next) next = next.nextSibling;
			else this.body.insertBefore(row, next);
		}
	}

	/** Selects an item and scrolls to it. @param {Item} item */
	activate(item) {
		this.active = item;
		const top = this.#items.indexOf(item) * this.rowHeight;
		const space = this.element.clientHeight - (this.head?.offsetHeight ?? 0) - this.rowHeight;
		this.element.scrollTop = Math.min(top, Math.max(this.element.scrollTop, top - space));
		this.render();
	}

	#press(target) {
		this.#pressed = [target.closest(".row")?.item, target.closest(".remove") ? "remove" : "open"];
	}

	#click(target) {
		if (!this.#pressed) this.#press(target);
		const [item, action] = this.#pressed;
		this.#pressed = null;
		if (!item) return;
		this.active = item;
		this.on[action]?.(item);
		this.render();
	}

	#key(event) {
		// Headings are buttons with keys of their own.
		if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest(".head")) return;
		const page = Math.ceil(this.element.clientHeight / this.rowHeight / 2);
		const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
		const step = steps[event.key];
		const action = { Enter: "open", Delete: "remove", n: "make" }[event.key];
		if (!step && !this.on[action]) return;
		event.preventDefault();
		if (action === "make" || (action && this.active)) this.on[action](this.active);
		else if (step) this.activate(this.#items[this.#clamp(this.#items.indexOf(this.active) + step)]);
	}

	#clamp(index) {
		return Math.min(this.#items.length - 1, Math.max(0, index));
	}
}
