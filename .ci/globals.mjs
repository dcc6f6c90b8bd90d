// What browsers, and newer versions of Node.js, have without an import.
import { createRequire } from "node:module";

const require = createRequire(new URL("../tests/package.json", import.meta.url));
globalThis.EventSource ??= require("eventsource").EventSource;
globalThis.WebSocket ??= require("ws").WebSocket;
