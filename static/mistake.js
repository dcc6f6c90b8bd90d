// @ts-check
// Finds the first mistake in JSON that a person types.

/** @import { Mistake } from "./types" */

const SPACE = /[ \t\n\r]*/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids them in strings
const STRING = /"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*("?)/y;
const SCALAR = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.])/y;

/** Returns null if the text is a JSON object. @param {string} text @returns {Mistake | null} */
export function findMistake(text) {
	const scanner = new Scanner(text);
	try {
		scanner.document();
		return null;
	} catch (mistake) {
		if (!(mistake instanceof Error)) return mistake;
		return { at: scanner.at, line: 1, column: 1, message: "Nest the document less deeply" };
	}
}

class Scanner {
	at = 0;

	constructor(text) {
		this.text = text;
	}

	document() {
		if (this.#next() !== "{") this.#fail("Begin the document with {");
		this.#value();
		if (this.#next()) this.#fail("Remove what follows the last }");
	}

	#take(pattern) {
		pattern.lastIndex = this.at;
		const found = pattern.exec(this.text);
		if (found) this.at = pattern.lastIndex;
		return found;
	}

	/** Skips space and returns the character after it. */
	#next() {
		this.#take(SPACE);
		return this.text[this.at];
	}

	/** @returns {never} */
	#fail(words, at = this.at) {
		const lines = this.text.slice(0, at).split("\n");
		const message = at < this.text.length ? words : `${words}: the text ends`;
		throw { at, line: lines.length, column: lines.at(-1).length + 1, message };
	}

	#value() {
		const first = this.text[this.at];
		if (first === "{" || first === "[") return this.#group(first === "{" ? "}" : "]");
		if (first === '"') return this.#string();
		if (this.#take(SCALAR)) return;
		const [word] = /^[^\s,{}[\]:"]*/.exec(this.text.slice(this.at, this.at + 20));
		this.#fail(word ? `${word} is not a value; put text in double quotes` : "Write a value here");
	}

	#string() {
		const start = this.at;
		if (this.#take(STRING)[1]) return;
		if (this.text[this.at] === "\\") this.#fail("Write the backslash as \\\\");
		this.#fail("Add the closing quote", start);
	}

	#group(end) {
		let comma = -1;
		const names = new Set();
		for (this.at++; this.#next() !== end; ) {
			if (end === "}") this.#name(names);
			this.#value();
			comma = -1;
			if (this.#next() === end) break;
			if (this.#next() !== ",") this.#fail(`Add a comma or ${end} here`);
			comma = this.at++;
		}
		if (comma >= 0) this.#fail(`Remove the comma before ${end}`, comma);
		this.at++;
	}

	#name(names) {
		if (this.#next() !== '"') this.#fail("Write a name in double quotes here");
		const start = this.at;
		this.#string();
		const text = this.text.slice(start, this.at);
		const name = JSON.parse(text);
		// The server would keep one of the two.
		if (names.has(name)) this.#fail(`Rename or remove ${text}: the name is there twice`, start);
		names.add(name);
		if (this.#next() !== ":") this.#fail("Add a colon here");
		this.at++;
		this.#next();
	}
}
