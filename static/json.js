// @ts-check
// JSON that keeps every digit: an integer that a double cannot hold becomes a BigInt.

/** @param {string} text */
export function parse(text) {
	return /\d{16}/.test(text) ? JSON.parse(text, keepDigits) : JSON.parse(text);
}

/** @this {any} Browsers that do not pass the source keep the rounded number. */
function keepDigits(_key, value, { source = "" } = {}) {
	const isRounded = typeof value === "number" && !Number.isSafeInteger(value);
	return isRounded && /^-?\d+$/.test(source) ? BigInt(source) : value;
}

/** @param {number} [indent] */
export function stringify(value, indent) {
	return JSON.stringify(value, (_key, part) => (typeof part === "bigint" ? raw(part) : part), indent);
}

function raw(number) {
	return /** @type {any} */ (JSON).rawJSON(`${number}`);
}
