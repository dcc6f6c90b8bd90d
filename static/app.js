// @ts-check
// The page: which key, which collection, and which panes show it.

import { Api } from "./api.js";
import { Editor } from "./editor.js";
import { say } from "./element.js";
import { Filters } from "./filters.js";
import { Pane } from "./pane.js";
import { Sample } from "./sample.js";

const SAMPLE = "coffee-orders";
const REFUSED =
	"This server does not know that key. It may belong to another server, or was revoked. “coir keys list” lists the keys.";
const MALFORMED = "A key is pk_ or sk_ and at least 16 letters or digits. Did you copy all of it?";
/** Between two looks for the first collection, in milliseconds. */
const LOOK = 1500;

/** @type {(id: string) => any} */
const $ = (id) => document.getElementById(id);
/** @type {NodeListOf<HTMLButtonElement>} */
const samples = document.querySelectorAll("[data-sample]");

/** @type {Api} */
let api;
/** @type {string} */
let collection;
/** @type {Sample} */
let sample;
/** @type {Pane[]} */
let panes = [];
const filters = new Filters($("filters"), (text) => {
	for (const pane of panes) pane.refilter(text);
});
const editor = new Editor($("editor"), () => panes[0]?.list.element.focus());

/** Shows one of the three views. */
function show(view) {
	for (const other of ["enter", "none", "workspace"]) $(other).hidden = other !== view;
	$("transports").hidden = view !== "workspace";
	$("where").hidden = view === "enter";
	$("who").hidden = view === "enter";
	$("making").hidden = true;
}

function askForKey(error = "") {
	closePanes();
	if (sample) sample.isStopped = true;
	api = null;
	sessionStorage.removeItem("key");
	show("enter");
	$("key-error").textContent = error;
	$("key-input").focus();
}

async function useKey(key) {
	if (!/^[ps]k_\w{16,128}$/.test(key)) return askForKey(MALFORMED);
	sessionStorage.setItem("key", key);
	closePanes();
	const asked = new Api(key);
	api = asked;
	try {
		await asked.check();
	} catch (error) {
		if (error.code === "UNAUTHORIZED") return askForKey(REFUSED);
	}
	$("key").textContent = `${key.slice(0, 8)}…`;
	$("key-input").value = "";
	findCollections(asked);
}

/** Opens the collection in the address, or the first one; waits until there is one. */
async function findCollections(asked) {
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
	setTimeout(() => {
		if (asked === api && !panes.length) findCollections(asked);
	}, LOOK);
}

/** Fills the menu of collections. */
function list(names) {
	const select = $("collection");
	const known = [...select.options].map(({ value }) => value);
	const current = collection ?? names?.[0] ?? [];
	const all = [...new Set([names ?? known, current].flat())].sort();
	if (`${all}` !== `${known}`) select.replaceChildren(...all.map((name) => new Option(name)));
	select.value = collection;
}

/** The collection in the address. */
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
	const chosen = document.querySelector("[name=transport]:checked").getAttribute("value");
	panes = (chosen === "both" ? ["ws", "sse"] : [chosen]).map(openPane);
	$("panes").append(...panes.map(({ element }) => element));
	$("panes").dataset.count = panes.length;
}

function openPane(transport, index) {
	const name = collection;
	const on = {
		open: ({ id }) => editor.open(api, name, id),
		make: () => editor.open(api, name),
		remove: (id) => api.document("DELETE", name, id).catch((error) => say(error.message)),
		sample: toggleSample,
		event: (kind, document) => index || editor.changed(kind, document),
		refused: () => askForKey(REFUSED),
	};
	return new Pane({ api, collection, transport, filters: filters.text, on });
}

function closePanes() {
	for (const pane of panes) pane.close();
	panes = [];
	editor.close();
}

function choose(name) {
	filters.clear();
	open(name);
}

async function toggleSample() {
	if (sample) {
		sample.isStopped = true;
		return;
	}
	sample = new Sample(api, SAMPLE);
	try {
		await runSample();
	} catch (error) {
		filters.error.textContent = `Sample data: ${error.message}`;
	}
	sample = null;
	labelSamples("Sample data");
}

async function runSample() {
	labelSamples("Stop sample data");
	await api.createCollection(SAMPLE).catch((error) => {
		if (error.code !== "CONFLICT") throw error;
	});
	if (collection !== SAMPLE || !panes.length) choose(SAMPLE);
	await panes[0].live;
	await sample.run((part) => labelSamples(`Stop sample data (${Math.floor(part * 100)} %)`));
}

function labelSamples(text) {
	for (const button of samples) button.textContent = text;
}

function toggleMaking() {
	const isOpen = $("making").hidden;
	$("make").ariaExpanded = isOpen;
	$("making").hidden = !isOpen;
	$(isOpen ? "name" : "make").focus();
}

async function makeCollection() {
	const name = $("name").value.trim();
	try {
		await api.createCollection(name);
		toggleMaking();
		choose(name);
	} catch (error) {
		$("name-error").textContent = error.message;
	}
}

/** Takes the key out of the address, where it must not stay. */
function takeKey() {
	const key = /^#([ps]k_.*)$/.exec(location.hash)?.[1];
	if (key) history.replaceState(null, "", location.pathname);
	return key;
}

$("enter").onsubmit = (event) => {
	event.preventDefault();
	useKey($("key-input").value.trim());
};
$("making").onsubmit = (event) => {
	event.preventDefault();
	makeCollection();
};
$("making").onkeydown = ({ key }) => {
	if (key === "Escape") toggleMaking();
};
$("forget").onclick = () => askForKey();
$("new").onclick = () => editor.open(api, collection);
$("make").onclick = toggleMaking;
const refreshList = () => api.collections().then(list, () => {});
$("collection").onfocus = refreshList;
$("collection").onpointerenter = refreshList;
$("collection").onchange = (event) => choose(event.target.value);
$("transports").onchange = () => open(collection);
for (const button of samples) button.onclick = toggleSample;
addEventListener("hashchange", () => {
	const key = takeKey();
	if (key) useKey(key);
});

const key = takeKey() ?? sessionStorage.getItem("key");
if (key) useKey(key);
else askForKey();
