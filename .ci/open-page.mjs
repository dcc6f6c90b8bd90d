// Opens the HTML file that is named in Chromium and prints the text of the page each time that it changes.
// Whatever the page says in the console as an error, or throws, goes to standard error.
import { mkdtemp } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { chromium } = createRequire(new URL("../tests/package.json", import.meta.url))("playwright-core");
const context = await chromium.launchPersistentContext(
	await mkdtemp(join(process.env.CURL_HOME ?? tmpdir(), "chromium-")),
	{
		executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
		args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
	},
);
const page = await context.newPage();
page.on("pageerror", (error) => console.error(error.stack));
page.on("console", (message) => (message.type() === "error" ? console.error : console.log)(message.text()));
await page.goto(pathToFileURL(process.argv[2]).href);
for (let shown = ""; ; await page.waitForTimeout(100)) {
	// biome-ignore lint/performance/useDomNodeTextContent: hidden text must not count
	const text = await page.innerText("body");
	if (text !== shown) console.log(text);
	shown = text;
}
