// A to-do list on the Cocobase library (npm: cocobase, 1.6.0), written as its README says. To run on Coir it needs the option
// `baseURL` and one line in index.html.

const main = document.querySelector("main");
const form = document.querySelector("#add");
const list = document.querySelector("ul");
const error = document.querySelector("#error");

/** The publishable key (pk_…): from the link that the server printed, or typed. Only this tab keeps it. */
function findKey() {
	const given = new URLSearchParams(location.search).get("key") ?? location.hash.slice(1);
	if (given) sessionStorage.setItem("key", given);
	if (location.hash) history.replaceState(null, "", location.pathname + location.search);
	return sessionStorage.getItem("key");
}

function start(server, apiKey) {
	const db = new CocobaseSDK.Cocobase({ apiKey, baseURL: server });
	main.hidden = false;

	/** Does a write, and says if it fails. */
	const attempt = (write) =>
		write.then(
			() => {
				error.textContent = "";
				return true;
			},
			({ message }) => {
				error.textContent = `Not saved: ${message}`;
				return false;
			},
		);

	form.addEventListener("submit", async (event) => {
		event.preventDefault();
		const field = form.elements.text;
		const text = field.value;
		// At once: the next task may be typed before the answer is here.
		form.reset();
		const isStored = await attempt(db.createDocument("todos", { text, done: false }));
		if (!isStored && field.value === "") field.value = text;
	});

	const row = ({ id, data }) => {
		const item = document.createElement("li");
		const box = document.createElement("input");
		box.type = "checkbox";
		box.checked = data.done;
		box.onchange = () => attempt(db.updateDocument("todos", id, { done: box.checked }));
		const label = document.createElement("label");
		label.append(box, ` ${data.text}`);
		label.className = data.done ? "done" : "";
		const remove = document.createElement("button");
		remove.textContent = "Delete";
		remove.ariaLabel = `Delete ${data.text}`;
		remove.onclick = () => attempt(db.deleteDocument("todos", id));
		item.append(label, remove);
		return item;
	};

	db.onSnapshot("todos", { sort: "created_at", order: "asc" }, (todos) => {
		list.replaceChildren(...todos.map(row));
		document.querySelector("#open").textContent = todos.filter(({ data }) => !data.done).length;
	});
}

const key = findKey();
const server = globalThis.COCOBASE_REDIRECT?.server;
if (!server) {
	// Without the script the library would talk to the host that is compiled into it.
	error.textContent = "The script cocobase-redirect.js is missing. Load it from your Coir server, before the library.";
} else if (key) {
	start(server, key);
} else {
	document.querySelector("#enter").hidden = false;
}
document.querySelector("#enter").addEventListener("submit", (event) => {
	event.preventDefault();
	const typed = event.target.elements.key.value.trim();
	sessionStorage.setItem("key", typed);
	event.target.hidden = true;
	start(server, typed);
});
