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
		return { at: scanner.at, line: 1, column: 1, message: "The document is nested too deeply" };
	}
}

class Scanner {
	at = 0;

	constructor(text) {
		this.text = text;
	}

	document() {
		if (this.#next() !== "{") this.#fail("A document must begin with {");
		this.#value();
		if (this.#next()) this.#fail("Nothing may follow the last }");
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
		const message = at < this.text.length ? words : `${words}, but the text ends`;
		throw { at, line: lines.length, column: lines.at(-1).length + 1, message };
	}

	#value() {
		const first = this.text[this.at];
		if (first === "{" || first === "[") return this.#group(first === "{" ? "}" : "]");
		if (first === '"') return this.#string();
		if (this.#take(SCALAR)) return;
		const [word] = /^[^\s,{}[\]:"]*/.exec(this.text.slice(this.at, this.at + 20));
		this.#fail(word ? `${word} is not a value; put text in double quotes` : "A value is missing here");
	}

	#string() {
		const start = this.at;
		if (this.#take(STRING)[1]) return;
		if (this.text[this.at] === "\\") this.#fail("Unknown escape; write a backslash as \\\\");
		this.#fail("The closing quote is missing", start);
	}

	#group(end) {
		let comma = -1;
		for (this.at++; this.#next() !== end; ) {
			if (end === "}") this.#name();
			this.#value();
			comma = -1;
			if (this.#next() === end) break;
			if (this.#next() !== ",") this.#fail(`A comma or ${end} is missing here`);
			comma = this.at++;
		}
		if (comma >= 0) this.#fail(`No comma is allowed before ${end}`, comma);
		this.at++;
	}

	#name() {
		if (this.#next() !== '"') this.#fail("A name in double quotes is missing here");
		this.#string();
		if (this.#next() !== ":") this.#fail("A colon is missing here");
		this.at++;
		this.#next();
	}
}
