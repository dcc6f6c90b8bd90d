// @ts-check
// One live view of a collection over one transport: state, plot, documents and frames.

import { Columns } from "./columns.js";
import { Cover } from "./cover.js";
import { el, say } from "./element.js";
import { Frames } from "./frames.js";
import { VirtualList } from "./list.js";
import { KINDS, Plot } from "./plot.js";
import { Rows } from "./rows.js";

/** @import { Api } from "./api.js" */
/** @import { PaneListener, Row, State, Transport } from "./types" */

const NAMES = { ws: "WebSocket", sse: "Server-sent events" };
/** Milliseconds. */
const ARMED = 3000;
const NOTICE = 8000;
const RECOUNT = 3000;

export class Pane {
	#rows;
	#columns = new Columns(() => this.#render());
	#isRenderAsked = false;
	/** When the connection was lost; 0 while it is there. */
	#downSince = 0;
	#missed = "";
	/** How many documents there are, where the view has the newest only; null while nobody knows. */
	#total = null;
	#countedAt = 0;
	#missedUntil = 0;
	/** @type {State} */
	#is;
	#error;

	/** @param {{ api: Api, collection: string, transport: Transport, filters: string, on: PaneListener }} options */
	constructor({ api, collection, transport, filters, on }) {
		this.api = api;
		this.collection = collection;
		this.transport = transport;
		this.on = on;
		/** Resolves when the view is live for the first time. */
		this.live = new Promise((resolve) => {
			this.isLive = () => resolve(null);
		});
		this.#build(NAMES[transport]);
		this.timer = setInterval(() => this.#tick(Date.now()), 500);
		this.refilter(filters);
	}

	#build(name) {
		const { api, collection, on } = this;
		/** @type {VirtualList<Row>} */
		this.list = new VirtualList({
			label: `Documents of ${collection} over ${name}`,
			name: "documents",
			rowHeight: 40,
			head: this.#columns.head,
			draw: (element, row) => this.#columns.draw(element, row),
			on: { ...on, remove: (row) => this.#remove(row) },
		});
		this.frames = new Frames(name);
		this.plot = new Plot(el("canvas", { role: "img", ariaLabel: "Events" }));
		const retry = () => this.watch.retry();
		const create = () => api.createCollection(collection).then(retry, retry);
		this.cover = new Cover({ collection, make: on.make, sample: on.sample, retry, create });
		this.state = el("p.state");
		this.words = el("span");
		this.now = el("button", { onclick: retry }, "Try now");
		this.notice = el("p.notice", {}, this.words, this.now);
		this.counter = el("span");
		this.totals = KINDS.map(() => el("b"));
		this.element = el(
			"section.pane",
			{ ariaLabel: `Live over ${name}` },
			this.#header(name),
			this.notice,
			el("div.stage", {}, this.list.element, this.cover.element),
			this.frames.element,
			this.#footer(),
		);
	}

	#header(name) {
		this.rate = el("b");
		const wire = el("button", { ariaPressed: false }, "Frames");
		wire.onclick = () => {
			wire.ariaPressed = this.frames.toggle();
		};
		const figure = el("figure", {}, this.plot.canvas, el("figcaption", {}, this.rate, "events/s"));
		return el("header", {}, el("div", {}, el("h2", {}, name), this.state), figure, wire);
	}

	#footer() {
		const total = (kind, i) => el(`span.total ${kind}`, {}, this.totals[i], el("span", {}, ` ${kind}`));
		return el("footer", {}, this.counter, ...KINDS.map(total));
	}

	/** Begins a new view. @param {string | null} filters JSON text. */
	refilter(filters) {
		const { api, collection, transport, on } = this;
		this.filters = filters;
		this.#total = null;
		this.#countedAt = 0;
		this.watch?.close();
		const rows = new Rows();
		this.#rows = rows;
		this.watch = api.watch({
			collection,
			transport,
			filters,
			on: {
				state: (state, error) => this.#state(state, error),
				documents: (documents) => {
					rows.list(documents);
					this.#askRender();
				},
				listed: (isComplete) => rows.finish(isComplete),
				event: ({ event, document }) => {
					rows.apply(event, document);
					this.plot.count(event);
					on.event(event, document);
					this.#askRender();
				},
				frame: (direction, text) => {
					this.frames.add(direction, text);
					this.#askRender();
				},
			},
		});
	}

	close() {
		this.watch.close();
		clearInterval(this.timer);
		this.element.remove();
	}

	#state(state, error) {
		// While the connection is down, the first reason says most.
		if (error && (!this.#downSince || state === "ended")) this.#error = error;
		this.#is = state;
		this.element.dataset.state = state;
		if (state === "listing") this.#rows.begin();
		if (state === "waiting" && !this.#downSince) {
			this.#downSince = Date.now();
			say(error.message);
		}
		if (state === "live") {
			this.isLive();
			this.on.live();
			if (this.#downSince) this.#tellMissed();
		}
		if (state === "ended" && error.code === "UNAUTHORIZED") this.on.refused();
		else this.#askRender();
	}

	#tellMissed() {
		const missed = Object.entries(this.#rows.missed).filter(([, count]) => count);
		const parts = missed.map(([kind, count]) => `${count} ${kind}`).join(", ");
		this.#missed = `Reconnected. ${parts ? `While disconnected: ${parts}.` : "Nothing was missed."}`;
		this.#missedUntil = Date.now() + NOTICE;
		this.#downSince = 0;
		this.#rows.missed = {};
		say(this.#missed);
	}

	#remove(row) {
		if (row.armedAt) return this.on.remove(row.id);
		row.armedAt = Date.now();
		say("Press Delete again to delete this document");
		this.#askRender();
	}

	#askRender() {
		if (this.#isRenderAsked) return;
		this.#isRenderAsked = true;
		requestAnimationFrame(() => {
			this.#isRenderAsked = false;
			this.#render();
		});
	}

	#tick(now) {
		for (const row of this.#rows.all) if (now - row.armedAt > ARMED) row.armedAt = 0;
		this.#rows.sweep(now);
		this.plot.draw();
		if (!this.#rows.isComplete && this.#is === "live" && now - this.#countedAt > RECOUNT) this.#count(now);
		this.#render();
	}

	/** Asks how many documents there are: the events tell only of the newest. */
	async #count(now) {
		const { filters } = this;
		this.#countedAt = now;
		const total = await this.api.count(this.collection, filters).catch(() => null);
		if (filters === this.filters) this.#total = total;
	}

	/** How many documents are shown, and of how many. */
	get #counted() {
		const { size, isComplete } = this.#rows;
		const documents = `${size.toLocaleString("en")} document${size === 1 ? "" : "s"}`;
		if (isComplete || this.#total === size) return documents;
		return `${documents}, the newest${this.#total > size ? ` of ${this.#total.toLocaleString("en")}` : ""}`;
	}

	#render() {
		const { all, size } = this.#rows;
		const count = size.toLocaleString("en");
		this.#columns.choose(all, this.list.element);
		this.list.show(this.#columns.order(all));
		this.list.element.ariaBusy = this.#is !== "live";
		this.frames.render();
		this.rate.textContent = this.plot.rate;
		this.counter.textContent = this.#counted;
		KINDS.forEach((kind, i) => {
			this.totals[i].textContent = this.plot.totals[kind].toLocaleString("en");
		});
		const words = { connecting: "Connecting…", listing: `Loading ${count}…`, live: "Live", ended: "Stopped" };
		const isDown = this.#downSince && this.#is !== "listing";
		this.state.textContent = isDown ? "Disconnected" : words[this.#is];
		this.#renderNotice(Date.now());
		this.cover.show(this.#coverKind(), this.#error?.message);
	}

	#renderNotice(now) {
		const isDown = this.#downSince && this.#is !== "ended";
		const help = now - this.#downSince > 4000 ? "This page continues when the server is back." : "Trying again…";
		const missed = now < this.#missedUntil ? this.#missed : "";
		const words = isDown ? `${this.#error.message} ${help}` : missed;
		this.notice.hidden = !words;
		this.notice.classList.toggle("good", !isDown);
		this.now.hidden = !isDown;
		this.words.textContent = words;
	}

	#coverKind() {
		if (this.#is === "ended") return this.#error.code;
		if (this.#rows.size || this.#is === "waiting") return "";
		if (this.#is !== "live") return "loading";
		return this.filters ? "none" : "empty";
	}
}
