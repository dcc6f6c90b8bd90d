// @ts-check
// Edits one document as JSON. A document that someone else changed is overwritten only on request.

import { el, say } from "./element.js";
import { parse, stringify } from "./json.js";
import { findMistake } from "./mistake.js";

/** @import { Api } from "./api.js" */
/** @import { Document, Kind } from "./types" */

const SURE = "Delete for good?";

export class Editor {
	/** @type {Api} */
	#api;
	#collection;
	#id;
	#etag;
	/** The text as the server has it. */
	#saved;
	#found;

	/** `closed` is called when the editor closes. @param {HTMLElement} aside @param {() => void} closed */
	constructor(aside, closed) {
		this.aside = aside;
		this.closed = closed;
		this.title = el("h2");
		this.lines = el("pre", { ariaHidden: "true" });
		this.mistake = button("", () => this.#goToMistake(), { id: "mistake" });
		this.note = el("p.small", { role: "status" });
		this.remove = button("Delete", () => this.#remove(), { className: "error" });
		const text = { spellcheck: false, wrap: "off", ariaLabel: "JSON", "aria-describedby": "mistake" };
		this.area = el("textarea", { ...text, oninput: () => this.#check() });
		this.area.onscroll = () => {
			this.lines.scrollTop = this.area.scrollTop;
		};
		const close = button("×", () => this.close(), { ariaLabel: "Close", title: "Esc" });
		const save = button("Save", () => this.#save(), { className: "main", title: "Ctrl+Enter" });
		aside.append(
			el("div.group", {}, this.title, el("i.end"), close),
			el("div.code", {}, this.lines, this.area),
			this.mistake,
			this.note,
			el("div.group", {}, save, el("i.end"), this.remove),
		);
		aside.onkeydown = ({ key, ctrlKey, metaKey }) => {
			if (key === "Escape") this.close();
			if (key === "Enter" && (ctrlKey || metaKey)) this.#save();
		};
	}

	/** Opens a document, or a new one without an id. @param {Api} api @param {string} collection @param {string} [id] */
	async open(api, collection, id) {
		this.#api = api;
		this.#collection = collection;
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

	/** Call this for every change: it may be one of the open document. @param {Kind} kind @param {Document} document */
	changed(kind, { id, data }) {
		if (id !== this.#id) return;
		if (kind === "deleted") {
			this.#etag = null;
			this.#tell("Someone deleted this document. Save creates it again.");
			return;
		}
		if (stringify(data) === stringify(parse(this.#saved))) return;
		if (this.area.value === this.#saved) this.#load();
		else this.#tell("Someone else changed this document.", ["Show theirs", () => this.#load()]);
	}

	#fill(text) {
		this.area.value = text;
		this.#saved = text;
		this.#check();
	}

	async #load() {
		const id = this.#id;
		try {
			const { data, etag } = await this.#api.document("GET", this.#collection, id);
			if (id !== this.#id) return;
			this.#etag = etag;
			this.#fill(stringify(data.data, 2));
			this.#tell(`Version ${data.version}, created ${new Date(data.createdAt).toLocaleString()}`);
		} catch (error) {
			if (id === this.#id) this.#tell(error.message);
		}
	}

	#check() {
		const { value } = this.area;
		const found = findMistake(value);
		this.#found = found;
		const line = (_, i) => el(i + 1 === found?.line ? "span.wrong" : "span", {}, `${i + 1}`);
		this.lines.replaceChildren(...value.split("\n").map(line));
		this.mistake.hidden = !found;
		this.mistake.textContent = found ? `Line ${found.line}, column ${found.column}: ${found.message}` : "";
		this.area.ariaInvalid = Boolean(found);
		this.area.onscroll();
	}

	#goToMistake() {
		this.area.focus();
		this.area.setSelectionRange(this.#found.at, this.#found.at + 1);
		say(this.mistake.textContent);
	}

	async #save(headers = this.#etag ? { "if-match": this.#etag } : {}) {
		if (this.#found) return this.#goToMistake();
		const id = this.#id;
		const body = this.area.value;
		const before = this.#saved;
		// The event arrives before the answer, and must not be taken for someone else's change.
		this.#saved = body;
		try {
			const saved = await this.#api.document(id ? "PUT" : "POST", this.#collection, id, { body, headers });
			say("Saved");
			if (!id) return this.close();
			this.#etag = saved.etag;
			this.#tell(`Saved as version ${saved.data.version}`);
		} catch (error) {
			this.#saved = before;
			if (error.code === "PRECONDITION_FAILED") this.#tellConflict();
			else this.#tell(`Not saved: ${error.message}`);
		}
	}

	#tellConflict() {
		const choices = [
			["Show theirs", () => this.#load()],
			["Keep mine", () => this.#save({})],
		];
		this.#tell("Not saved: someone else changed this document.", ...choices);
	}

	async #remove() {
		if (this.remove.textContent !== SURE) {
			this.remove.textContent = SURE;
			return;
		}
		try {
			await this.#api.document("DELETE", this.#collection, this.#id);
			this.close();
		} catch (error) {
			this.#tell(error.message);
		}
	}

	#tell(words, ...choices) {
		this.note.replaceChildren(words, ...choices.map(([label, onclick]) => button(label, onclick)));
	}
}

function button(label, onclick, properties) {
	return el("button", { onclick, ...properties }, label);
}
