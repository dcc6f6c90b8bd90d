// A kanban board on the unmodified npm library `cocobase`. `coir serve --public examples` serves it at /kanban/, and the link
// that the command prints has the key.

const COLUMNS = ["To do", "Doing", "Done"];
const error = document.querySelector("#error");
const given = location.hash.slice(1);
if (given) sessionStorage.setItem("key", given);
history.replaceState(null, "", location.pathname);
const apiKey = sessionStorage.getItem("key") ?? prompt("Publishable key (pk_…)") ?? "";

function start(server) {
	const db = new CocobaseSDK.Cocobase({ apiKey, baseURL: server });
	const attempt = (write) =>
		write.then(
			() => {
				error.textContent = "";
			},
			({ message }) => {
				error.textContent = `Not saved: ${message}`;
			},
		);

	const lists = COLUMNS.map((name, column) => {
		const section = document.createElement("section");
		const heading = document.createElement("h2");
		heading.textContent = name;
		const list = document.createElement("ul");
		list.ariaLabel = name;
		section.append(heading, list);
		document.querySelector("main").append(section);
		return { column, list };
	});

	const card = ({ id, data }) => {
		const item = document.createElement("li");
		item.append(`${data.title} `);
		if (data.column < COLUMNS.length - 1) {
			const move = document.createElement("button");
			move.textContent = "→";
			move.ariaLabel = `Move ${data.title}`;
			move.onclick = () => attempt(db.updateDocument("cards", id, { column: data.column + 1 }));
			item.append(move);
		}
		return item;
	};

	document.querySelector("form").addEventListener("submit", (event) => {
		event.preventDefault();
		const { title } = event.target.elements;
		attempt(db.createDocument("cards", { title: title.value, column: 0 }));
		title.value = "";
	});

	// The collection need not exist yet: the first card creates it.
	db.onSnapshot("cards", { sort: "created_at", order: "asc" }, (cards) => {
		for (const { column, list } of lists) {
			list.replaceChildren(...cards.filter(({ data }) => data.column === column).map(card));
		}
	});
}

const server = globalThis.COCOBASE_REDIRECT?.server;
if (server) start(server);
else error.textContent = "The script cocobase-redirect.js is missing. Load it from your Coir server, before the library.";
