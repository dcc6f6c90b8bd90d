// JSON as people type it: where the first mistake is.

const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*("?)/y;
const SCALAR = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.])/y;

/** `{ at, line, column, message }`, or null if the text is a JSON object. */
export function findMistake(text) {
	let at = 0;
	const take = (pattern) => {
		pattern.lastIndex = at;
		const found = pattern.exec(text);
		if (found) at = pattern.lastIndex;
		return found;
	};
	const fail = (words, place = at) => {
		const lines = text.slice(0, place).split("\n");
		const message = place < text.length ? words : `${words}, but the text ends`;
		throw { at: place, line: lines.length, column: lines.at(-1).length + 1, message };
	};
	const string = () => {
		const start = at;
		if (take(STRING)[1]) return;
		if (text[at] === "\\") fail("There is no such escape; a backslash is written \\\\");
		fail("The closing quote is missing", start);
	};
	const value = () => {
		if (text[at] === "{" || text[at] === "[") return group(text[at] === "{");
		if (text[at] === '"') return string();
		if (take(SCALAR)) return;
		const [word] = /^[^\s,{}[\]:"]*/.exec(text.slice(at, at + 20));
		fail(word ? `${word} is no value; text takes double quotes` : "A value is missing here");
	};
	const group = (isObject) => {
		const end = isObject ? "}" : "]";
		let comma = -1;
		for (at++; take(SPACE), text[at] !== end; ) {
			if (isObject) {
				if (text[at] !== '"') fail("A name in double quotes is missing here");
				string();
				take(SPACE);
				if (text[at++] !== ":") fail("A colon is missing here", at - 1);
				take(SPACE);
			}
			value();
			take(SPACE);
			comma = -1;
			if (text[at] === end) break;
			if (text[at] !== ",") fail(`A comma or ${end} is missing here`);
			comma = at++;
		}
		if (comma >= 0) fail(`There is no comma before ${end}`, comma);
		at++;
	};
	try {
		take(SPACE);
		if (text[at] !== "{") fail("A document begins with {");
		value();
		take(SPACE);
		if (at < text.length) fail("Nothing follows the last }");
		return null;
	} catch (mistake) {
		if (mistake instanceof Error) return { at, line: 1, column: 1, message: "This is nested too deep" };
		return mistake;
	}
}
