// A to-do list on the Cocobase library (npm: cocobase, 1.6.0), written as its README says. To run on Coir it needs the option
// `baseURL` and one line in index.html.

const { Cocobase } = CocobaseSDK;
const db = new Cocobase({
	apiKey: new URLSearchParams(location.search).get("key"), // a publishable key (pk_…)
	baseURL: location.origin,
});

const form = document.querySelector("form");
const list = document.querySelector("ul");

form.addEventListener("submit", async (event) => {
	event.preventDefault();
	const text = form.elements.text.value;
	form.reset();
	await db.createDocument("todos", { text, done: false });
});

function row({ id, data }) {
	const item = document.createElement("li");
	const box = document.createElement("input");
	box.type = "checkbox";
	box.checked = data.done;
	box.onchange = () => db.updateDocument("todos", id, { done: box.checked });
	const label = document.createElement("label");
	label.append(box, ` ${data.text}`);
	label.className = data.done ? "done" : "";
	const remove = document.createElement("button");
	remove.textContent = "Delete";
	remove.ariaLabel = `Delete ${data.text}`;
	remove.onclick = () => db.deleteDocument("todos", id);
	item.append(label, remove);
	return item;
}

db.onSnapshot("todos", { sort: "created_at", order: "asc" }, (todos) => {
	list.replaceChildren(...todos.map(row));
	document.querySelector("#open").textContent = todos.filter(({ data }) => !data.done).length;
});
