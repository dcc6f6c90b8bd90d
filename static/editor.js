// One document as JSON, to be made, changed and deleted. Nobody overwrites another unasked.

import { parse, stringify } from "./api.js";
import { el, say } from "./element.js";
import { findMistake } from "./json.js";

const SURE = "Delete for good?";

export class Editor {
	#id;
	#etag;
	#saved;

	/** `closed()` hears that it is out of sight. */
	constructor(aside, closed) {
		Object.assign(this, { aside, closed });
		const button = (label, onclick, more) => el("button", { onclick, ...more }, label);
		this.title = el("h2");
		this.area = el("textarea", { spellcheck: false, wrap: "off", ariaLabel: "JSON", "aria-describedby": "mistake", oninput: () => this.#check(), onscroll: () => (this.lines.scrollTop = this.area.scrollTop) });
		this.lines = el("pre", { ariaHidden: "true" });
		this.mistake = button("", () => this.#goToMistake(), { id: "mistake" });
		this.note = el("p.small", { role: "status" });
		this.remove = button("Delete", () => this.#remove(), { className: "error" });
		aside.append(el("div.group", {}, this.title, el("i.end"), button("×", () => this.close(), { ariaLabel: "Close", title: "Esc" })),
			el("div.code", {}, this.lines, this.area), this.mistake, this.note,
			el("div.group", {}, button("Save", () => this.#save(), { className: "main", title: "Ctrl+Enter" }), el("i.end"), this.remove));
		aside.onkeydown = ({ key, ctrlKey, metaKey }) => {
			if (key === "Escape") this.close();
			if (key === "Enter" && (ctrlKey || metaKey)) this.#save();
		};
	}

	/** Opens a document, or without an id a new one. */
	async open(api, collection, id) {
		Object.assign(this, { api, collection });
		this.#id = id;
		this.#etag = null;
		this.aside.hidden = false;
		this.remove.hidden = !id;
		this.remove.textContent = "Delete";
		this.title.textContent = id ? `…${id.slice(-6)}` : "New document";
		this.#tell("");
		this.#fill(id ? "{}" : '{\n  "title": "Hello"\n}');
		if (id) await this.#load();
		this.area.focus();
		if (!id) this.area.setSelectionRange(14, 19);
	}

	close() {
		if (this.aside.hidden) return;
		this.aside.hidden = true;
		this.#id = null;
		this.closed();
	}

	/** Hears of every change: the open document may be another now. */
	changed(kind, { id, data }) {
		if (id !== this.#id) return;
		if (kind === "deleted") {
			this.#etag = null;
			this.#tell("It was deleted meanwhile. Save makes it again.");
		} else if (stringify(data) === stringify(parse(this.#saved))) return;
		else if (this.area.value === this.#saved) this.#load();
		else this.#tell("It was changed elsewhere meanwhile.", ["Show theirs", () => this.#load()]);
	}

	#fill(text) {
		this.area.value = this.#saved = text;
		this.#check();
	}

	async #load() {
		const id = this.#id;
		try {
			const { data, etag } = await this.api.document("GET", this.collection, id);
			if (id !== this.#id) return;
			this.#etag = etag;
			this.#fill(stringify(data.data, 2));
			this.#tell(`Version ${data.version}, made ${new Date(data.createdAt).toLocaleString()}`);
		} catch (error) {
			if (id === this.#id) this.#tell(error.message);
		}
	}

	#check() {
		const { value } = this.area;
		const found = (this.found = findMistake(value));
		this.lines.replaceChildren(...value.split("\n").map((_, i) => el(i + 1 === found?.line ? "span.wrong" : "span", {}, `${i + 1}`)));
		this.mistake.hidden = !found;
		this.mistake.textContent = found ? `Line ${found.line}, column ${found.column}: ${found.message}` : "";
		this.area.ariaInvalid = Boolean(found);
		this.area.onscroll();
	}

	#goToMistake() {
		this.area.focus();
		this.area.setSelectionRange(this.found.at, this.found.at + 1);
		say(this.mistake.textContent);
	}

	async #save(condition = this.#etag ? { "if-match": this.#etag } : {}) {
		if (this.found) return this.#goToMistake();
		const { value } = this.area, id = this.#id, before = this.#saved;
		// The event comes before the answer, and is no news.
		this.#saved = value;
		try {
			const made = await this.api.document(id ? "PUT" : "POST", this.collection, id, { body: value, headers: condition });
			say("Saved");
			if (!id) return this.close();
			this.#etag = made.etag;
			this.#tell(`Saved as version ${made.data.version}`);
		} catch (error) {
			this.#saved = before;
			if (error.code !== "PRECONDITION_FAILED") return this.#tell(`Not saved: ${error.message}`);
			this.#tell("Not saved: it was changed elsewhere.", ["Show theirs", () => this.#load()], ["Keep mine", () => this.#save({})]);
		}
	}

	async #remove() {
		if (this.remove.textContent !== SURE) return (this.remove.textContent = SURE);
		try {
			await this.api.document("DELETE", this.collection, this.#id);
			this.close();
		} catch (error) {
			this.#tell(error.message);
		}
	}

	#tell(words, ...choices) {
		this.note.replaceChildren(words, ...choices.map(([label, onclick]) => el("button", { onclick }, label)));
	}
}
