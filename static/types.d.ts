// The shapes that the page's modules share. Editors and `tsc` read them; browsers never do.

import type { ApiError } from "./error.js";

/** The fields of a document: any JSON, with a BigInt for an integer that a double cannot hold. */
// biome-ignore lint/suspicious/noExplicitAny: its members are JSON values
export type Data = Record<string, any>;

export interface Document {
	id: string;
	data: Data;
	createdAt: string;
	updatedAt: string;
}

export type Kind = "created" | "updated" | "deleted";

/** What a row shows of the latest change: `fields` for an update, `at` in milliseconds. */
export interface Mark {
	kind: Kind;
	fields?: string[];
	at: number;
}

export interface Row {
	id: string;
	data: Data;
	createdAt: string;
	/** Milliseconds. */
	changedAt: number;
	/** Counts the changes that this page has seen. */
	version: number;
	mark?: Mark;
	/** When Delete was pressed once, in milliseconds; else 0 or absent. */
	armedAt?: number;
}

/** `listing`: a snapshot is being read. `waiting`: the next attempt comes by itself. `ended`: it does not. */
export type State = "connecting" | "listing" | "live" | "waiting" | "ended";

/** What a view of a collection tells its owner. */
export interface Listener {
	state(state: State, error?: ApiError): void;
	/** One part of a snapshot. */
	documents(documents: Document[]): void;
	/** The snapshot ends: documents that were not in it are gone. */
	listed(isComplete: boolean): void;
	event(event: { event: Kind; document: Document }): void;
	frame(direction: Direction, text: string): void;
}

export type Direction = "in" | "out" | "end";

export interface Frame {
	id: number;
	at: Date;
	direction: Direction;
	text: string;
}

export type Transport = "ws" | "sse";

/** `filters` is JSON text, or null for every document. */
export interface View {
	collection: string;
	transport: Transport;
	filters: string | null;
	on: Listener;
}

/** What the page does when a pane asks for it. */
export interface PaneListener {
	open(row: Row): void;
	make(): void;
	remove(id: string): void;
	sample(): void;
	event(kind: Kind, document: Document): void;
	/** The view is live, for the first time or again. */
	live(): void;
	refused(): void;
}

/** The first mistake in a text: `at` is an index, line and column count from 1. */
export interface Mistake {
	at: number;
	line: number;
	column: number;
	message: string;
}

/** One comparison of a filter: its name in the API and its value as JSON text. */
export interface Alternative {
	key: string;
	json: string;
}
