// @ts-check
// Makes elements. Text becomes text nodes, never markup.

/**
 * `el("button.main", { onclick }, "Save")`: tag and class, properties or attributes, children.
 *
 * @param {string} name @param {object} [properties] @param {...(Node | string)} children @returns {any}
 */
export function el(name, properties, ...children) {
	const [tag, className = ""] = name.split(".", 2);
	const made = Object.assign(document.createElement(tag), { className });
	if (made instanceof HTMLButtonElement) made.type = "button";
	for (const [key, value] of Object.entries(properties ?? {})) {
		if (key in made) made[key] = value;
		else made.setAttribute(key, value);
	}
	made.append(...children);
	return made;
}

/** Tells screen readers. @param {string} text */
export function say(text) {
	document.getElementById("said").textContent = text;
}
