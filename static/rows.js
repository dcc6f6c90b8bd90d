// The documents of one view, newest first, and what has just happened to each.

import { MOST, stringify } from "./api.js";

/** How long a deleted document stays to be seen, in milliseconds. */
const FAREWELL = 900;

export class Rows {
	/** Of `{ id, createdAt, data, changedAt, version, mark }`, where `version` counts what this page saw. */
	all = [];
	isComplete = true;
	#byId = new Map();
	#unseen = new Set();
	#isFirst = true;
	/** What a listing found that no event told. */
	missed = {};

	get size() {
		return this.#byId.size;
	}

	/** A listing begins. */
	begin() {
		this.#unseen = new Set(this.#byId.keys());
		this.missed = { new: 0, changed: 0, gone: 0 };
	}

	list(documents) {
		for (const document of documents) {
			const row = this.#byId.get(document.id);
			this.#unseen.delete(document.id);
			if (!row) {
				const made = this.#insert(document, Date.parse(document.updatedAt));
				if (this.#isFirst) continue;
				this.#mark(made, "created");
				this.missed.new++;
			} else if (stringify(row.data) !== stringify(document.data)) {
				this.#update(row, document.data);
				this.missed.changed++;
			}
		}
	}

	finish(isComplete) {
		for (const id of this.#unseen) this.#delete(id);
		this.missed.gone = this.#unseen.size;
		this.#unseen.clear();
		this.#isFirst = false;
		this.isComplete = isComplete;
	}

	apply(kind, document) {
		const { id, data } = document;
		const row = this.#byId.get(id);
		this.#unseen.delete(id);
		if (kind === "deleted") this.#delete(id);
		else if (row) this.#update(row, data);
		else this.#mark(this.#insert(document), "created");
		if (this.size <= MOST * 1.2) return;
		for (const { id } of this.all.splice(MOST)) this.#byId.delete(id);
		this.isComplete = false;
	}

	/** Lets go of the deleted ones that have been seen. */
	sweep(now) {
		if (this.all.length > this.size) this.all = this.all.filter(({ mark }) => mark?.kind !== "deleted" || now - mark.at < FAREWELL);
	}

	#insert({ id, data, createdAt }, changedAt) {
		// It may be made again during its farewell.
		if (this.all.length > this.size) this.all = this.all.filter((row) => row.id !== id);
		const row = { id, data, createdAt, changedAt, version: 0 };
		// What a listing brings belongs at the end, what is made now at the top.
		const isLast = this.all.length && isBefore(this.all.at(-1), row);
		const place = isLast ? this.all.length : Math.max(0, this.all.findIndex((other) => isBefore(row, other)));
		this.all.splice(place, 0, row);
		this.#byId.set(id, row);
		return row;
	}

	#update(row, data) {
		const names = Object.keys({ ...row.data, ...data });
		this.#mark(row, "updated", names.filter((name) => stringify(row.data[name]) !== stringify(data[name])));
		row.data = data;
	}

	#delete(id) {
		const row = this.#byId.get(id);
		if (row) this.#mark(row, "deleted");
		this.#byId.delete(id);
	}

	#mark(row, kind, fields) {
		row.changedAt = Date.now();
		row.mark = { kind, fields, at: row.changedAt };
		row.version++;
	}
}

function isBefore(a, b) {
	return a.createdAt === b.createdAt ? a.id > b.id : a.createdAt > b.createdAt;
}
