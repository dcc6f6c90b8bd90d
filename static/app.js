// @ts-check
// The page: which key, which collection, and which panes show it.

import { Account } from "./account.js";
import { Api } from "./api.js";
import { copy, toCurl, toFetch } from "./copy.js";
import { Editor } from "./editor.js";
import { say } from "./element.js";
import { Filters } from "./filters.js";
import { Pane } from "./pane.js";
import { Sample } from "./sample.js";
import { User } from "./user.js";

/** The built-in collection of users. No list of collections names it. */
const USERS = "_users";
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
const filters = new Filters($("filters"), () => {
	write(true);
	for (const pane of panes) pane.refilter(filters.text);
});
const account = new Account({ form: $("account"), button: $("sign"), name: $("user") }, () => api, userChanged);
const editor = new Editor($("editor"), () => panes[0]?.list.element.focus());

/** Shows one of the three views. */
function show(view) {
	for (const other of ["enter", "none", "workspace"]) $(other).hidden = other !== view;
	$("transports").hidden = view !== "workspace";
	$("where").hidden = view === "enter";
	$("who").hidden = view === "enter";
	$("making").hidden = true;
	account.close();
}

/** Unsaved text stays in the editor, for the next key. */
function askForKey(error = "") {
	closePanes();
	if (!editor.isUnsaved) editor.drop();
	if (sample) sample.isStopped = true;
	api = null;
	sessionStorage.removeItem("key");
	User.forgetStored();
	show("enter");
	$("key-error").textContent = error;
	$("key-input").focus();
}

async function useKey(key) {
	if (!/^[ps]k_\w{16,128}$/.test(key)) return askForKey(MALFORMED);
	// A user belongs to the key's project.
	if (sessionStorage.getItem("key") !== key) User.forgetStored();
	sessionStorage.setItem("key", key);
	closePanes();
	const asked = new Api(key);
	api = asked;
	api.signedOut = () => {
		if (asked !== api) return;
		userChanged();
		say("You were signed out.");
	};
	try {
		await asked.check();
	} catch (error) {
		if (error.code === "UNAUTHORIZED") return askForKey(REFUSED);
	}
	account.show();
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
		$("none-error").textContent = "";
		if (name) return openAddress(name);
		show("none");
	} catch (error) {
		if (asked !== api) return;
		if (!error.isPassing) return askForKey(error.message);
		$("none-error").textContent = `${error.message} This page continues when the server is back.`;
	}
	setTimeout(() => {
		if (asked === api && !panes.length) findCollections(asked);
	}, LOOK);
}

/** Another user may read other documents, so all are read anew. */
function userChanged() {
	account.show();
	if (panes.length) open(collection);
}

/** Fills the menu of collections. */
function list(names) {
	const select = $("collection");
	const known = [...select.options].map(({ value }) => value).filter((name) => name !== USERS);
	const current = collection ?? names?.[0] ?? [];
	const users = api.user || api.isSecret ? USERS : [];
	const all = [...new Set([names ?? known, current, users].flat())].sort();
	if (`${all}` !== `${known}`) select.replaceChildren(...all.map((name) => new Option(name)));
	select.value = collection;
}

/** What the address says: collection, transport and filter. */
function address() {
	const [, name, query] = /^#\/([\w-]+)(?:\?(.*))?$/.exec(location.hash) ?? [];
	const parts = new URLSearchParams(query);
	return { name, transport: parts.get("transport"), filters: parts.get("filters") };
}

function named() {
	return address().name;
}

/** Writes what is shown into the address. With `isStep`, the browser's Back leads to what was shown before. */
function write(isStep = false) {
	const transport = chosenTransport();
	const parts = new URLSearchParams({
		...(transport !== "ws" && { transport }),
		...(filters.text && { filters: filters.text }),
	});
	const hash = `#/${collection}${parts.size ? `?${parts}` : ""}`;
	if (hash === location.hash) return;
	if (isStep) history.pushState(null, "", hash);
	else history.replaceState(null, "", hash);
}

/** Shows what the address says, or this collection if the address names none. */
function openAddress(name) {
	const { transport, filters: text, name: wanted } = address();
	if (wanted) filters.text = text;
	const radio = document.querySelector(`[name=transport][value="${CSS.escape(transport ?? "ws")}"]`);
	if (radio instanceof HTMLInputElement && wanted) radio.checked = true;
	open(wanted ?? name);
}

function chosenTransport() {
	return document.querySelector("[name=transport]:checked").getAttribute("value");
}

function open(name, isStep = false) {
	closePanes();
	if (name !== collection) editor.drop();
	collection = name;
	list();
	write(isStep);
	document.title = `${name} · Coir`;
	show("workspace");
	const chosen = chosenTransport();
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
		live: clearErrors,
		refused: () => askForKey(REFUSED),
	};
	return new Pane({ api, collection, transport, filters: filters.text, on });
}

/** The connection is there: errors of the time without it are stale. */
function clearErrors() {
	filters.error.textContent = "";
	$("name-error").textContent = "";
	editor.connected(api);
}

function closePanes() {
	for (const pane of panes) pane.close();
	panes = [];
}

/** Opens another collection, unless there is unsaved text that the person wants to keep. */
function choose(name) {
	if (name !== collection && !editor.mayLeave()) {
		list();
		return false;
	}
	filters.text = null;
	open(name, true);
	return true;
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
	if ((collection !== SAMPLE || !panes.length) && !choose(SAMPLE)) return;
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
$("forget").onclick = () => {
	if (!editor.mayLeave()) return;
	editor.drop();
	askForKey();
};
$("curl").onclick = ({ target }) => copy(target, toCurl(api.listUrl(collection), filters.text));
$("fetch").onclick = ({ target }) => copy(target, toFetch(api.listUrl(collection), filters.text));
$("new").onclick = () => editor.open(api, collection);
$("make").onclick = toggleMaking;
const refreshList = () => api.collections().then(list, () => {});
$("collection").onfocus = refreshList;
$("collection").onpointerenter = refreshList;
$("collection").onchange = (event) => choose(event.target.value);
$("transports").onchange = () => open(collection, true);
for (const button of samples) button.onclick = toggleSample;
addEventListener("hashchange", () => {
	const key = takeKey();
	if (key) return useKey(key);
	const { name } = address();
	if (!name || !panes.length) return;
	if (name === collection || editor.mayLeave()) openAddress();
	else write(true);
});
addEventListener("beforeunload", (event) => {
	if (editor.isUnsaved) event.preventDefault();
});

const key = takeKey() ?? sessionStorage.getItem("key");
if (key) useKey(key);
else askForKey();
