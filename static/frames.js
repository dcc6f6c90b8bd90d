// What goes over the wire, as it is: newest first, to be paused and cleared.

import { parse, stringify } from "./api.js";
import { el } from "./element.js";
import { VirtualList } from "./list.js";

const MOST = 500;
const ARROWS = { in: ["↓", "received"], out: ["↑", "sent"], end: ["×", "closed"] };

export class Frames {
	#frames = [];
	#shown = [];
	#count = 0;
	/** How many there were when it was paused; null while it runs. */
	#paused = null;

	constructor(name) {
		const ariaLabel = `Frames of ${name}`;
		this.list = new VirtualList({ label: ariaLabel, name: "frames", rowHeight: 24, draw, on: { open: ({ text }) => {
			this.whole.hidden = false;
			this.whole.textContent = text[0] === "{" ? stringify(parse(text), 2) : text;
		} } });
		this.pause = el("button", { ariaPressed: false, onclick: () => {
			this.#paused = this.#paused === null ? this.#count : null;
			this.pause.ariaPressed = this.#paused !== null;
			this.render();
		} }, "Pause");
		this.counter = el("span.small");
		this.whole = el("pre", { hidden: true, tabIndex: 0, role: "region", ariaLabel: "The whole frame", dir: "auto" });
		const clear = () => {
			this.#frames = this.#shown = [];
			this.whole.hidden = true;
			this.render();
		};
		this.element = el("section.wire", { hidden: true, ariaLabel },
			el("div.group", {}, el("h3", {}, "Frames"), this.counter, el("i.end"), this.pause, el("button", { onclick: clear }, "Clear")),
			this.list.element, this.whole);
	}

	add(direction, text) {
		this.#frames = [{ id: this.#count++, at: new Date(), direction, text }, ...this.#frames.slice(0, MOST)];
	}

	toggle() {
		this.element.hidden = !this.element.hidden;
		this.render();
		return !this.element.hidden;
	}

	render() {
		if (this.element.hidden) return;
		if (this.#paused === null) this.#shown = this.#frames;
		this.counter.textContent = this.#paused === null ? `${this.#count} so far` : `${this.#count - this.#paused} more`;
		this.list.show(this.#shown);
	}
}

function draw(row, { at, direction, text }) {
	if (row.firstChild) return;
	const [arrow, ariaLabel] = ARROWS[direction], role = "gridcell";
	row.append(el("span.time", { role }, at.toISOString().slice(11, 23)), el(`span.${direction}`, { role, ariaLabel }, arrow),
		el("code", { role, dir: "auto" }, text.slice(0, 400)));
}
