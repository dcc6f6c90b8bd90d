// The page: which key, which collection, over what.

import { Api } from "./api.js";
import { Editor } from "./editor.js";
import { say } from "./element.js";
import { Filters } from "./filters.js";
import { Pane } from "./pane.js";
import { Sample } from "./sample.js";

const SAMPLE = "coffee-orders";
const REFUSED = "This server does not know that key: is it another server's, or revoked? “coir keys list” shows its keys.";
const $ = (id) => document.getElementById(id);
const kept = sessionStorage;
const samples = document.querySelectorAll("[data-sample]");

let api, collection, sample;
let panes = [];
const filters = new Filters($("filters"), (text) => panes.forEach((pane) => pane.refilter(text)));
const editor = new Editor($("editor"), () => panes[0]?.list.element.focus());

function show(view) {
	for (const other of ["enter", "none", "workspace"]) $(other).hidden = other !== view;
	$("transports").hidden = view !== "workspace";
	$("where").hidden = $("who").hidden = view === "enter";
	$("making").hidden = true;
}

function askForKey(error = "") {
	closePanes();
	if (sample) sample.isStopped = true;
	api = null;
	kept.removeItem("key");
	show("enter");
	$("key-error").textContent = error;
	$("key-input").focus();
}

async function useKey(key) {
	if (!/^[ps]k_\w{16,128}$/.test(key)) return askForKey("A key is pk_ or sk_ and at least 16 letters. Was it copied whole?");
	kept.setItem("key", key);
	closePanes();
	const asked = (api = new Api(key));
	try {
		await asked.check();
	} catch (error) {
		if (error.code === "UNAUTHORIZED") return askForKey(REFUSED);
	}
	$("key").textContent = `${key.slice(0, 8)}…`;
	$("key-input").value = "";
	findCollections(asked);
}

/** Opens the collection that the address names, or the first; waits until there is one. */
async function findCollections(asked = api) {
	try {
		const names = await asked.collections();
		if (asked !== api || panes.length) return;
		list(names);
		const name = named() ?? names[0];
		if (name) return open(name);
		show("none");
	} catch (error) {
		if (asked === api && !error.isPassing) return askForKey(error.message);
	}
	setTimeout(() => asked === api && !panes.length && findCollections(), 1500);
}

function list(names) {
	const select = $("collection"), known = [...select.options].map(({ value }) => value);
	const all = [...new Set([...(names ?? known), collection ?? names[0] ?? []].flat())].sort();
	if (`${all}` !== `${known}`) select.replaceChildren(...all.map((name) => new Option(name)));
	select.value = collection;
}

function named() {
	return /^#\/([\w-]+)$/.exec(location.hash)?.[1];
}

function open(name) {
	closePanes();
	collection = name;
	list();
	if (named() !== name) history.replaceState(null, "", `#/${name}`);
	document.title = `${name} · Coir`;
	show("workspace");
	const { value } = document.querySelector("[name=transport]:checked");
	panes = (value === "both" ? ["ws", "sse"] : [value]).map((transport, index) => new Pane({ api, collection, transport, filters: filters.text, on: {
		open: ({ id }) => editor.open(api, name, id),
		make: () => editor.open(api, name),
		remove: (id) => api.document("DELETE", name, id).catch((error) => say(error.message)),
		sample: startSample,
		event: (kind, document) => index || editor.changed(kind, document),
		refused: () => askForKey(REFUSED),
	} }));
	$("panes").append(...panes.map(({ element }) => element));
	$("panes").dataset.count = panes.length;
}

function closePanes() {
	panes.forEach((pane) => pane.close());
	panes = [];
	editor.close();
}

function choose(name) {
	filters.set([]);
	open(name);
}

async function startSample() {
	if (sample) return (sample.isStopped = true);
	const label = (text) => samples.forEach((button) => button.replaceChildren(text));
	sample = new Sample(api, SAMPLE);
	label("Stop sample data");
	try {
		await api.createCollection(SAMPLE).catch((error) => {
			if (error.code !== "CONFLICT") throw error;
		});
		if (collection !== SAMPLE || !panes.length) choose(SAMPLE);
		await panes[0].live;
		await sample.run((part) => label(`Stop sample data (${Math.floor(part * 100)} %)`));
	} catch (error) {
		filters.error.textContent = `Sample data: ${error.message}`;
	}
	sample = null;
	label("Sample data");
}

function toggleMaking() {
	const isOpen = ($("make").ariaExpanded = $("making").hidden);
	$("making").hidden = !$("making").hidden;
	$(isOpen ? "name" : "make").focus();
}

/** From the address, where it must not stay. */
function takeKey() {
	const key = /^#([ps]k_.*)$/.exec(location.hash)?.[1];
	if (key) history.replaceState(null, "", location.pathname);
	return key;
}

$("enter").onsubmit = (event) => (event.preventDefault(), useKey($("key-input").value.trim()));
$("forget").onclick = () => askForKey();
$("new").onclick = () => editor.open(api, collection);
$("make").onclick = toggleMaking;
$("making").onkeydown = ({ key }) => {
	if (key === "Escape") toggleMaking();
};
$("making").onsubmit = async (event) => {
	event.preventDefault();
	const name = $("name").value.trim();
	try {
		await api.createCollection(name);
		toggleMaking();
		choose(name);
	} catch (error) {
		$("name-error").textContent = error.message;
	}
};
$("collection").onchange = (event) => choose(event.target.value);
$("collection").onfocus = $("collection").onpointerenter = () => api.collections().then(list).catch(() => {});
$("transports").onchange = () => open(collection);
for (const button of samples) button.onclick = startSample;
addEventListener("hashchange", () => {
	const key = takeKey();
	if (key) useKey(key);
});

const key = takeKey() ?? kept.getItem("key");
if (key) useKey(key);
else askForKey();
