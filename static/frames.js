// @ts-check
// The raw frames of one connection, newest first. The list can be paused and cleared.

import { el } from "./element.js";
import { parse, stringify } from "./json.js";
import { VirtualList } from "./list.js";

/** @import { Direction, Frame } from "./types" */

/** Frames that are kept. */
const MOST = 500;
const ARROWS = { in: ["↓", "received"], out: ["↑", "sent"], end: ["×", "closed"] };

export class Frames {
	/** @type {Frame[]} */
	#frames = [];
	/** @type {Frame[]} */
	#shown = [];
	#count = 0;
	/** The count when the list was paused; null while it runs. */
	#pausedAt = null;

	/** @param {string} name */
	constructor(name) {
		const ariaLabel = `Frames of ${name}`;
		const on = { open: (frame) => this.#open(frame) };
		/** @type {VirtualList<Frame>} */
		this.list = new VirtualList({ label: ariaLabel, name: "frames", rowHeight: 24, draw, on });
		this.pause = el("button", { ariaPressed: false, onclick: () => this.#togglePause() }, "Pause");
		this.counter = el("span.small");
		const whole = { hidden: true, tabIndex: 0, role: "region", ariaLabel: "The whole frame", dir: "auto" };
		this.whole = el("pre", whole);
		const clear = el("button", { onclick: () => this.#clear() }, "Clear");
		const bar = el("div.group", {}, el("h3", {}, "Frames"), this.counter, el("i.end"), this.pause, clear);
		this.element = el("section.wire", { hidden: true, ariaLabel }, bar, this.list.element, this.whole);
	}

	/** @param {Direction} direction @param {string} text */
	add(direction, text) {
		const frame = { id: this.#count++, at: new Date(), direction, text };
		this.#frames = [frame, ...this.#frames.slice(0, MOST)];
	}

	/** Shows or hides the list; returns whether it is shown. */
	toggle() {
		this.element.hidden = !this.element.hidden;
		this.render();
		return !this.element.hidden;
	}

	render() {
		if (this.element.hidden) return;
		const isPaused = this.#pausedAt !== null;
		if (!isPaused) this.#shown = this.#frames;
		this.counter.textContent = isPaused ? `${this.#count - this.#pausedAt} more` : `${this.#count} so far`;
		this.list.show(this.#shown);
	}

	#open({ text }) {
		this.whole.hidden = false;
		this.whole.textContent = text[0] === "{" ? stringify(parse(text), 2) : text;
	}

	#togglePause() {
		this.#pausedAt = this.#pausedAt === null ? this.#count : null;
		this.pause.ariaPressed = this.#pausedAt !== null;
		this.render();
	}

	#clear() {
		this.#frames = [];
		this.#shown = [];
		this.whole.hidden = true;
		this.render();
	}
}

/** @param {Frame} frame */
function draw(row, frame) {
	if (row.firstChild) return;
	const { at, direction, text } = frame;
	const [arrow, ariaLabel] = ARROWS[direction];
	const role = "gridcell";
	row.append(
		el("span.time", { role }, at.toISOString().slice(11, 23)),
		el(`span.${direction}`, { role, ariaLabel }, arrow),
		el("code", { role, dir: "auto" }, text.slice(0, 400)),
	);
}
