// @ts-check
// Subscribes to a collection over WebSocket or server-sent events.

import { ApiError, unreachable } from "./error.js";
import { parse, stringify } from "./json.js";

/** @import { Api } from "./api.js" */
/** @import { Watch } from "./watch.js" */

/** Feeds the watch until its connection ends. @param {Api} api @param {Watch} watch */
export async function subscribe(api, watch) {
	if (watch.transport === "sse") return readStream(api, watch);
	const { fail, frame, signal } = watch;
	const received = (message) => watch.take(message.type, message, message.cursor);
	api.openSocket({
		fail,
		frame,
		signal,
		received,
		opened: (send) => {
			send(subscription(watch));
			watch.ping = () => send('{"type":"ping"}');
		},
	});
}

/** Joined by hand: the filter is JSON text already, and keeps its digits. */
function subscription({ collection, cursor, filter }) {
	const since = cursor ? `,"since":"${cursor}"` : "";
	const name = stringify(collection);
	return `{"type":"subscribe","id":"page","collection":${name},"snapshot":true,"filters":${filter ?? "{}"}${since}}`;
}

/** With `fetch`, because `EventSource` sends no header, hides the status and gives up on any but 200. */
async function readStream(api, watch) {
	const { collection, signal, cursor, filter } = watch;
	const query = new URLSearchParams({ snapshot: "true", ...(filter && { filters: filter }) });
	const url = `realtime/sse/${collection}?${query}`;
	watch.frame("out", `GET /${url}${cursor ? `\nLast-Event-ID: ${cursor}` : ""}`);
	const response = await api.fetch(url, { headers: cursor ? { "last-event-id": cursor } : {}, signal });
	watch.take("subscribed", {}, cursor);
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	for (let rest = ""; ; ) {
		const { value, done } = await reader.read().catch(unreachable);
		if (signal.aborted) return;
		if (done) throw new ApiError("UNREACHABLE", "The server was stopped.");
		const blocks = (rest + value).split("\n\n");
		rest = blocks.pop();
		for (const block of blocks) takeBlock(watch, block);
	}
}

function takeBlock(watch, block) {
	watch.frame("in", block);
	const fields = block.split("\n").map((line) => /^([^:]*):? ?(.*)$/.exec(line).slice(1));
	const { event, data, id } = Object.fromEntries(fields);
	const message = data && parse(data);
	if (event === "error") throw new ApiError(message.code, message.message);
	watch.take(event ?? message?.type, message, id);
}
