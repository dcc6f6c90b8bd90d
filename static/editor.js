// @ts-check
// Edits one document as JSON. A document that someone else changed is overwritten only on request, and text that is not saved
// is given up only on request.

import { copy } from "./copy.js";
import { el, say } from "./element.js";
import { parse, stringify } from "./json.js";
import { findMistake } from "./mistake.js";

/** @import { Api } from "./api.js" */
/** @import { Document, Kind } from "./types" */

const SURE = "Delete for good?";
const LEAVE = "The document in the editor has text that is not saved. Discard it?";

export class Editor {
	/** @type {Api} */
	#api;
	#collection;
	/** Empty for a new document. */
	#id = "";
	#etag;
	/** The text as the server has it. */
	#saved = "";
	#found;
	/** The error that the note tells of, if it does. */
	#error;

	/** `closed` is called when the editor closes. @param {HTMLElement} aside @param {() => void} closed */
	constructor(aside, closed) {
		this.aside = aside;
		this.closed = closed;
		this.#build();
		aside.onkeydown = ({ key, ctrlKey, metaKey }) => {
			if (key === "Escape") this.close();
			if (key === "Enter" && (ctrlKey || metaKey)) this.#save();
		};
	}

	#build() {
		this.title = el("h2");
		const copyId = button("Copy id", () => copy(copyId, this.#id));
		this.copyId = copyId;
		this.newId = el("input", {
			id: "new-id",
			placeholder: "the server draws one",
			spellcheck: false,
			autocomplete: "off",
		});
		this.naming = el("div.group", {}, el("label", { htmlFor: "new-id" }, "Id"), this.newId);
		this.lines = el("pre", { ariaHidden: "true" });
		this.mistake = button("", () => this.#goToMistake(), { id: "mistake" });
		this.note = el("p.small note", { role: "status" });
		this.remove = button("Delete", () => this.#remove(), { className: "error" });
		const text = { spellcheck: false, wrap: "off", ariaLabel: "JSON", "aria-describedby": "mistake" };
		this.area = el("textarea", { ...text, oninput: () => this.#check() });
		this.area.onscroll = () => {
			this.lines.scrollTop = this.area.scrollTop;
		};
		const close = button("×", () => this.close(), { ariaLabel: "Close", title: "Esc" });
		const save = button("Save", () => this.#save(), { className: "main", title: "Ctrl+Enter" });
		this.aside.append(
			el("div.group", {}, this.title, copyId, el("i.end"), close),
			this.naming,
			el("div.code", {}, this.lines, this.area),
			this.mistake,
			this.note,
			el("div.group", {}, save, el("i.end"), this.remove),
		);
	}

	/** Whether there is text that only this page has. */
	get isUnsaved() {
		return !this.aside.hidden && (this.area.value !== this.#saved || (!this.#id && this.newId.value !== ""));
	}

	/** Asks before text is lost. Returns whether it may be. */
	mayLeave() {
		return !this.isUnsaved || confirm(LEAVE);
	}

	/** Opens a document, or a new one without an id. @param {Api} api @param {string} collection @param {string} [id] */
	async open(api, collection, id = "") {
		const isOpen = !this.aside.hidden && id && id === this.#id && collection === this.#collection;
		if (isOpen || !this.mayLeave()) return this.area.focus();
		this.#api = api;
		this.#collection = collection;
		this.#id = id;
		this.#etag = null;
		this.aside.hidden = false;
		this.remove.hidden = this.copyId.hidden = !id;
		this.naming.hidden = Boolean(id);
		this.newId.value = "";
		this.remove.textContent = "Delete";
		this.title.textContent = id || "New document";
		this.#tell("");
		// Until it is there, it can neither be edited nor overwritten.
		this.area.readOnly = Boolean(id);
		this.#fill(id ? "{}" : '{\n  "title": "Hello"\n}');
		if (id) await this.#load();
		this.area.focus();
		if (!id) this.area.setSelectionRange(14, 19);
	}

	/** Closes, unless there is unsaved text that the person wants to keep. */
	close() {
		if (this.mayLeave()) this.drop();
	}

	/** Closes whatever there is. */
	drop() {
		if (this.aside.hidden) return;
		this.aside.hidden = true;
		this.#id = "";
		this.closed();
	}

	/** The connection is there (again): what failed without it is done now, or its error is stale. @param {Api} api */
	connected(api) {
		if (this.aside.hidden) return;
		this.#api = api;
		const isStale = this.#error?.isPassing || this.#error?.code === "UNAUTHORIZED";
		if (!isStale) return;
		if (this.#id && !this.#etag && !this.isUnsaved) this.#load();
		else this.#tell("");
	}

	/** Call this for every change: it may be one of the open document. @param {Kind} kind @param {Document} document */
	changed(kind, { id, data }) {
		if (!id || id !== this.#id) return;
		if (kind === "deleted") {
			this.#etag = null;
			this.#tell("Someone deleted this document. Save creates it again.");
			return;
		}
		if (stringify(data) === stringify(parse(this.#saved))) return;
		if (this.isUnsaved) this.#tellTheirs();
		else this.#load();
	}

	#fill(text) {
		this.area.value = text;
		this.#saved = text;
		this.#check();
	}

	/** Reads the document. Text that was typed meanwhile stays, unless the person asked for theirs. */
	async #load(isAsked = false) {
		const id = this.#id;
		try {
			const { data, etag } = await this.#api.document("GET", this.#collection, id);
			if (id !== this.#id) return;
			if (this.isUnsaved && !isAsked) return this.#tellTheirs();
			this.#etag = etag;
			this.area.readOnly = false;
			this.#fill(stringify(data.data, 2));
			this.#tell(`Version ${data.version}, created ${new Date(data.createdAt).toLocaleString()}`);
		} catch (error) {
			if (id === this.#id) this.#fail(error);
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
		if (this.area.readOnly) return;
		if (this.#found) return this.#goToMistake();
		if (!this.#id) return this.#create();
		const body = this.area.value;
		const before = this.#saved;
		// The event arrives before the answer, and must not be taken for someone else's change.
		this.#saved = body;
		try {
			const saved = await this.#api.document("PUT", this.#collection, this.#id, { body, headers });
			say("Saved");
			this.#etag = saved.etag;
			this.#tell(`Saved as version ${saved.data.version}`);
		} catch (error) {
			this.#saved = before;
			if (error.code === "PRECONDITION_FAILED") this.#tellConflict();
			else this.#fail(error, "Not saved: ");
		}
	}

	async #create() {
		const body = this.area.value;
		const id = this.newId.value.trim();
		const headers = id ? { "if-none-match": "*" } : {};
		try {
			await this.#api.document(id ? "PUT" : "POST", this.#collection, id, { body, headers });
			say("Saved");
			this.#saved = body;
			this.newId.value = "";
			this.close();
		} catch (error) {
			const isTaken = id && error.code === "PRECONDITION_FAILED";
			if (isTaken) this.#tell(`Not saved: there is a document ${id} already. Choose another id.`);
			else this.#fail(error, "Not saved: ");
		}
	}

	#tellTheirs() {
		this.#tell("Someone else changed this document.", ["Show theirs", () => this.#load(true)]);
	}

	#tellConflict() {
		const choices = [
			["Show theirs", () => this.#load(true)],
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
			this.drop();
		} catch (error) {
			this.#fail(error);
		}
	}

	#fail(error, words = "") {
		this.#tell(words + error.message);
		this.#error = error;
	}

	#tell(words, ...choices) {
		this.#error = null;
		this.note.replaceChildren(el("span", {}, words), ...choices.map(([label, onclick]) => button(label, onclick)));
	}
}

function button(label, onclick, properties) {
	return el("button", { onclick, ...properties }, label);
}
