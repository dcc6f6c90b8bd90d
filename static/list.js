// A list that draws only the rows in sight; a grid to the keyboard and to screen readers.

import { el } from "./element.js";

const OVERSCAN = 4;
let serial = 0;

export class VirtualList {
	active = null;
	#items = [];
	#drawn = new Map();
	/** Place and item of the first row that is drawn. */
	#first = [];
	#prefix = `list${serial++}-`;

	/** `draw(row, item)` fills a row's element, also again. `on` may have `open(item)`, `remove(item)`, `make()`. */
	constructor({ label, name, rowHeight, head, draw, on }) {
		Object.assign(this, { rowHeight, head, draw, on });
		this.body = el("div.rows", { role: "rowgroup" });
		this.element = el("div.list", {
			role: "grid", tabIndex: 0, ariaLabel: label,
			onscroll: () => this.render(), onkeydown: (event) => this.#press(event),
			onfocus: () => this.active ?? this.activate(this.#items[0]),
		}, ...(head ? [head] : []), this.body);
		this.element.classList.add(name);
		// Rows may move while the pointer is down.
		let pressed;
		const press = ({ target }) => (pressed = [target.closest(".row")?.item, target.closest(".remove") ? "remove" : "open"]);
		this.body.onpointerdown = press;
		this.body.onclick = (event) => (this.#click(...(pressed ?? press(event))), (pressed = null));
		new ResizeObserver(() => this.render()).observe(this.element);
	}

	/** Shows other items; what is looked at stays in its place, unless it is the top. */
	show(items) {
		const { scrollTop } = this.element, [first, anchor] = this.#first;
		// A copy: theirs changes before the next time.
		this.#items = [...items];
		this.body.style.height = `${items.length * this.rowHeight}px`;
		const moved = items[first] === anchor ? 0 : items.indexOf(anchor) - first;
		if (scrollTop > this.rowHeight / 2 && moved + first >= 0) this.element.scrollTop = scrollTop + moved * this.rowHeight;
		this.render();
	}

	render() {
		const { rowHeight, head } = this;
		const { scrollTop, clientHeight } = this.element;
		const first = Math.max(0, Math.floor(scrollTop / rowHeight) - OVERSCAN);
		const last = Math.min(this.#items.length, Math.ceil((scrollTop + clientHeight) / rowHeight) + OVERSCAN);
		this.#first = [first, this.#items[first]];
		this.element.ariaRowCount = this.#items.length + (head ? 1 : 0);
		this.body.classList.toggle("slides", scrollTop < rowHeight);
		const old = this.#drawn;
		this.#drawn = new Map();
		let next = this.body.firstChild;
		const rows = this.#items.slice(first, last).map((item, offset) => {
			const row = old.get(item.id) ?? el("div.row", { role: "row", id: this.#prefix + item.id });
			old.delete(item.id);
			this.#drawn.set(item.id, row);
			row.item = item;
			row.style.transform = `translateY(${(first + offset) * rowHeight}px)`;
			row.ariaRowIndex = first + offset + (head ? 2 : 1);
			row.ariaSelected = item.id === this.active?.id;
			this.draw(row, item);
			return row;
		});
		for (const row of old.values()) {
			if (row === next) next = next.nextSibling;
			row.remove();
		}
		// What stands right is not moved, which would end its animation.
		for (const row of rows) {
			if (row === next) next = next.nextSibling;
			else this.body.insertBefore(row, next);
		}
		const isDrawn = this.#drawn.has(this.active?.id);
		this.element.setAttribute("aria-activedescendant", isDrawn ? this.#prefix + this.active.id : "");
	}

	activate(item) {
		this.active = item;
		const top = this.#items.indexOf(item) * this.rowHeight;
		const space = this.element.clientHeight - (this.head?.offsetHeight ?? 0) - this.rowHeight;
		this.element.scrollTop = Math.min(top, Math.max(this.element.scrollTop, top - space));
		this.render();
	}

	#click(item, action) {
		if (!item) return;
		this.active = item;
		this.on[action]?.(item);
		this.render();
	}

	#press(event) {
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		const page = Math.ceil(this.element.clientHeight / this.rowHeight / 2);
		const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
		const action = { Enter: "open", Delete: "remove", n: "make" }[event.key];
		if (!step && !this.on[action]) return;
		event.preventDefault();
		if (action === "make" || (action && this.active)) return this.on[action](this.active);
		const place = Math.min(this.#items.length - 1, Math.max(0, this.#items.indexOf(this.active) + step));
		if (step) this.activate(this.#items[place]);
	}
}
