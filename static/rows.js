// @ts-check
// The documents of one view, newest first, and the latest change of each.

import { stringify } from "./json.js";
import { MOST } from "./watch.js";

/** @import { Document, Kind, Row } from "./types" */

/** How long a deleted document stays visible, in milliseconds. */
const FAREWELL = 900;

export class Rows {
	/** @type {Row[]} Includes deleted documents that are still visible. */
	all = [];
	isComplete = true;
	/** Counts the changes that a snapshot showed and no event had told, by kind. */
	missed = {};
	/** @type {Map<string, Row>} */
	#byId = new Map();
	/** Ids that the snapshot has not shown yet. */
	#unseen = new Set();
	#isFirst = true;

	get size() {
		return this.#byId.size;
	}

	/** A snapshot begins. */
	begin() {
		this.#unseen = new Set(this.#byId.keys());
		this.missed = { new: 0, changed: 0, gone: 0 };
	}

	/** @param {Document[]} documents A part of the snapshot. */
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

	/** The snapshot ends. @param {boolean} isComplete */
	finish(isComplete) {
		for (const id of this.#unseen) this.#delete(id);
		this.missed.gone = this.#unseen.size;
		this.#unseen.clear();
		this.#isFirst = false;
		this.isComplete = isComplete;
	}

	/** @param {Kind} kind @param {Document} document */
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

	/** Drops deleted documents that were visible long enough. @param {number} now */
	sweep(now) {
		if (this.all.length === this.size) return;
		this.all = this.all.filter(({ mark }) => mark?.kind !== "deleted" || now - mark.at < FAREWELL);
	}

	#insert({ id, data, createdAt }, changedAt = 0) {
		// A deleted document that is still visible may be created again.
		if (this.all.length > this.size) this.all = this.all.filter((row) => row.id !== id);
		/** @type {Row} */
		const row = { id, data, createdAt, changedAt, version: 0 };
		// A snapshot adds at the end, an event at the top.
		const isLast = this.all.length && isBefore(this.all.at(-1), row);
		const index = isLast
			? this.all.length
			: Math.max(
					0,
					this.all.findIndex((other) => isBefore(row, other)),
				);
		this.all.splice(index, 0, row);
		this.#byId.set(id, row);
		return row;
	}

	#update(row, data) {
		const names = Object.keys({ ...row.data, ...data });
		const fields = names.filter((name) => stringify(row.data[name]) !== stringify(data[name]));
		this.#mark(row, "updated", fields);
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
