// A chat without a library: the browser's EventSource reads, and fetch writes. `coir serve --public examples` serves it at
// /chat/, and the link that the command prints has the key.

const given = location.hash.slice(1);
if (given) sessionStorage.setItem("key", given);
history.replaceState(null, "", location.pathname);
const key = sessionStorage.getItem("key") ?? prompt("Publishable key (pk_…)") ?? "";

const list = document.querySelector("ol");
const form = document.querySelector("form");
const state = document.querySelector("#state");
/** The messages by their ids. */
const messages = new Map();

function show() {
	const inOrder = [...messages.values()].sort((a, b) => a.createdAt.localeCompare(b.createdAt) || (a.id < b.id ? -1 : 1));
	list.replaceChildren(
		...inOrder.map(({ data }) => {
			const item = document.createElement("li");
			const name = document.createElement("b");
			name.textContent = data.name;
			item.append(name, `: ${data.text}`);
			return item;
		}),
	);
}

// First the messages that exist, then each new one. The browser resumes after a cut by itself. Nobody has written yet at the
// first time: the stream waits for the collection.
const events = new EventSource(`/realtime/sse/chat?snapshot=true&token=${encodeURIComponent(key)}`);
events.onopen = () => {
	state.textContent = "";
};
events.onerror = () => {
	state.textContent = events.readyState === EventSource.CLOSED ? "The server refused the key." : "Reconnecting…";
};
events.addEventListener("snapshot", ({ data }) => {
	for (const message of JSON.parse(data).documents) messages.set(message.id, message);
});
events.addEventListener("ready", show);
events.addEventListener("resync", () => messages.clear());
events.onmessage = ({ data }) => {
	const { event, document: message } = JSON.parse(data);
	if (event === "deleted") messages.delete(message.id);
	else messages.set(message.id, message);
	show();
};

form.onsubmit = async (event) => {
	event.preventDefault();
	const { name, text } = form.elements;
	const body = JSON.stringify({ name: name.value, text: text.value });
	const sent = await fetch("/collections/chat", { method: "POST", headers: { "x-api-key": key }, body }).catch(() => null);
	if (sent?.ok) text.value = "";
	else state.textContent = "Not sent. Try again.";
};
