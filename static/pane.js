// One live view of a collection over one transport: state, plot, documents, frames.

import { Columns } from "./columns.js";
import { el, say } from "./element.js";
import { Frames } from "./frames.js";
import { VirtualList } from "./list.js";
import { KINDS, Plot } from "./plot.js";
import { Rows } from "./rows.js";

const NAMES = { ws: "WebSocket", sse: "Server-sent events" };

export class Pane {
	#rows;
	#columns = new Columns();
	#isAsked;
	/** When the connection was lost; 0 while it is there. */
	#downSince = 0;
	#missed;
	#missedUntil = 0;

	/** `on`: `open(row)`, `remove(id)`, `make()`, `sample()`, `event(kind, document)`, `refused()`. */
	constructor({ api, collection, transport, filters, on }) {
		const name = NAMES[transport];
		Object.assign(this, { api, collection, transport, on, name });
		this.list = new VirtualList({
			label: `Documents of ${collection} over ${name}`, name: "documents", rowHeight: 40, head: this.#columns.head,
			draw: (...args) => this.#columns.draw(...args), on: { ...on, remove: (row) => this.#remove(row) },
		});
		this.frames = new Frames(name);
		this.plot = new Plot(el("canvas", { role: "img", ariaLabel: "Events" }));
		const wire = el("button", { ariaPressed: false, onclick: () => (wire.ariaPressed = this.frames.toggle()) }, "Frames");
		const kept = (property, name, ...children) => (this[property] = el(name, {}, ...children));
		const totals = KINDS.map((kind) => el("span.total " + kind, {}, kept(kind, "b"), el("span", {}, ` ${kind}`)));
		this.element = el("section.pane", { ariaLabel: `Live over ${name}` },
			el("header", {}, el("div", {}, el("h2", {}, name), kept("state", "p.state")),
				el("figure", {}, this.plot.canvas, el("figcaption", {}, kept("rate", "b"), "events/s")), wire),
			kept("notice", "p.notice", kept("words", "span"), kept("now", "button", "Try now")),
			el("div.stage", {}, this.list.element, kept("cover", "div.cover")), this.frames.element,
			el("footer", {}, kept("counter", "span"), ...totals));
		this.now.onclick = () => this.watch.retry();
		this.live = new Promise((isLive) => (this.isLive = isLive));
		this.timer = setInterval(() => this.#tick(Date.now()), 500);
		this.refilter(filters);
	}

	refilter(filters) {
		const { api, collection, transport, on } = this;
		this.filters = filters;
		this.watch?.close();
		this.#rows = new Rows();
		this.watch = api.watch(collection, { transport, filters, on: {
			state: (state, error) => this.#state(state, error),
			documents: (documents) => (this.#rows.list(documents), this.#ask()),
			listed: (isComplete) => this.#rows.finish(isComplete),
			event: ({ event, document }) => {
				this.#rows.apply(event, document);
				this.plot.count(event);
				on.event(event, document);
				this.#ask();
			},
			frame: (direction, text) => (this.frames.add(direction, text), this.#ask()),
		} });
	}

	close() {
		this.watch.close();
		clearInterval(this.timer);
		this.element.remove();
	}

	#state(state, error) {
		// While it is down, the first reason tells most.
		if (error && (!this.#downSince || state === "ended")) this.error = error;
		this.is = state;
		this.element.dataset.state = state;
		if (state === "listing") this.#rows.begin();
		if (state === "waiting" && !this.#downSince) {
			this.#downSince = Date.now();
			say(error.message);
		}
		if (state === "live") {
			this.isLive();
			if (this.#downSince) this.#tellMissed();
		}
		if (state === "ended" && error.code === "UNAUTHORIZED") return this.on.refused();
		this.#ask();
	}

	#tellMissed() {
		const parts = Object.entries(this.#rows.missed).filter(([, count]) => count).map((part) => part.reverse().join(" "));
		this.#missed = `Connected again. ${parts.length ? `Meanwhile: ${parts.join(", ")}.` : "Nothing was missed."}`;
		this.#missedUntil = Date.now() + 8000;
		this.#downSince = 0;
		this.#rows.missed = {};
		say(this.#missed);
	}

	#remove(row) {
		if (row.isArmed) return this.on.remove(row.id);
		row.isArmed = Date.now();
		say("Delete again to delete this document");
		this.#ask();
	}

	#ask() {
		if (this.#isAsked) return;
		this.#isAsked = true;
		requestAnimationFrame(() => ((this.#isAsked = false), this.#render()));
	}

	#tick(now) {
		// A second press of Delete comes soon, or not.
		for (const row of this.#rows.all) if (now - row.isArmed > 3000) row.isArmed = 0;
		this.#rows.sweep(now);
		this.plot.draw();
		this.#render();
	}

	#render() {
		const { all, size, isComplete } = this.#rows;
		const { plot, is } = this;
		const list = this.list.element, show = (number) => number.toLocaleString("en");
		this.#columns.choose(all, list);
		this.list.show(all);
		this.frames.render();
		this.rate.textContent = plot.rate;
		this.counter.textContent = `${show(size)} document${size === 1 ? "" : "s"}${isComplete ? "" : ", the newest"}`;
		for (const kind of KINDS) this[kind].textContent = show(plot.totals[kind]);
		const words = { connecting: "Connecting…", listing: `Loading ${show(size)}…`, live: "Live", ended: "Stopped" };
		this.state.textContent = this.#downSince && is !== "listing" ? "Disconnected" : words[is];
		list.ariaBusy = is !== "live";
		this.#renderNotice(Date.now());
		this.#renderCover(is === "ended" ? this.error.code : size || is === "waiting" ? "" : is !== "live" ? "loading" : this.filters ? "none" : "empty");
	}

	#renderNotice(now) {
		const isDown = this.#downSince && this.is !== "ended";
		const help = now - this.#downSince > 4000 ? "Once the server runs, this page goes on." : "Trying again…";
		const words = isDown ? `${this.error.message} ${help}` : now < this.#missedUntil ? this.#missed : "";
		this.notice.hidden = !words;
		this.notice.classList.toggle("good", !isDown);
		this.now.hidden = !isDown;
		this.words.textContent = words;
	}

	#renderCover(kind) {
		const { cover, collection, on, api } = this;
		if (cover.dataset.kind === kind) return;
		cover.dataset.kind = kind;
		cover.hidden = !kind;
		if (kind === "loading") return cover.replaceChildren(...Array.from("12345", () => el("i")));
		const retry = () => this.watch.retry();
		const make = () => api.createCollection(collection).then(retry, retry);
		const [title, words, ...buttons] = {
			empty: [`${collection} is empty`, "What is written to it appears here at once.", ["New document", on.make], ["Start sample data", on.sample]],
			none: ["No document matches", "One that comes to match appears here."],
			INVALID_COLLECTION: [`There is no collection ${collection}`, "It was removed, or never made.", ["Make it", make]],
		}[kind] ?? ["The server refused", this.error?.message, ["Try again", retry]];
		cover.replaceChildren(el("h3", {}, title), el("p", {}, words), el("div.group", {}, ...buttons.map(([label, onclick]) => el("button", { onclick }, label))));
	}
}
