// @ts-check
// Copies text, and requests as other programs write them. The key is never copied.

import { say } from "./element.js";

/** Copies a text, and says so on the button that asked for it. @param {HTMLButtonElement} button @param {string} text */
export async function copy(button, text) {
	const label = button.textContent;
	try {
		await navigator.clipboard.writeText(text);
	} catch {
		// Browsers refuse it to pages that come over plain HTTP from another machine.
		prompt("Copy this text:", text);
		return;
	}
	say("Copied");
	button.textContent = "Copied";
	setTimeout(() => {
		button.textContent = label;
	}, 1500);
}

/** The request for a list, for a shell. The key is in $COIR_KEY. @param {URL} url @param {string | null} filters */
export function toCurl(url, filters) {
	const parts = [`curl -H "Authorization: Bearer $COIR_KEY" --get ${quote(url.href)}`];
	if (filters) parts.push(`--data-urlencode ${quote(`filters=${filters}`)}`);
	return parts.join(" \\\n  ");
}

/** The request for a list, for JavaScript. @param {URL} url @param {string | null} filters */
export function toFetch(url, filters) {
	const lines = [`const url = new URL(${JSON.stringify(url.href)});`];
	if (filters) lines.push(`url.searchParams.set("filters", ${JSON.stringify(filters)});`);
	lines.push(
		'const response = await fetch(url, { headers: { "x-api-key": "pk_…" } });',
		"const { data } = await response.json();",
	);
	return lines.join("\n");
}

function quote(text) {
	return `'${text.replaceAll("'", `'\\''`)}'`;
}
