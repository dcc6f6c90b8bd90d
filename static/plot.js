// @ts-check
// Events per second in the last minute, as bars of created, updated and deleted.

const SECONDS = 60;
/** @type {import("./types").Kind[]} */
export const KINDS = ["created", "updated", "deleted"];

export class Plot {
	totals = { created: 0, updated: 0, deleted: 0 };
	/** Counts by kind, for each second. */
	#bins = new Map();

	/** @param {HTMLCanvasElement} canvas */
	constructor(canvas) {
		this.canvas = canvas;
	}

	/** @param {import("./types").Kind} kind */
	count(kind) {
		const now = Math.floor(Date.now() / 1000);
		if (!this.#bins.has(now)) this.#bins.set(now, { created: 0, updated: 0, deleted: 0 });
		this.#bins.get(now)[kind]++;
		this.totals[kind]++;
	}

	/** Events per second, over this second and the one before. */
	get rate() {
		const now = Date.now() / 1000;
		const second = Math.floor(now);
		return Math.round((sum(this.#bins.get(second)) + sum(this.#bins.get(second - 1))) / (1 + now - second));
	}

	draw() {
		const { canvas } = this;
		const now = Math.floor(Date.now() / 1000);
		for (const second of this.#bins.keys()) if (second <= now - SECONDS) this.#bins.delete(second);
		canvas.width = canvas.clientWidth * devicePixelRatio;
		canvas.height = canvas.clientHeight * devicePixelRatio;
		const line = Math.max(1, Math.round(devicePixelRatio));
		const most = Math.max(4, ...[...this.#bins.values()].map(sum));
		const paint = painter(canvas);
		paint("line", 0, canvas.height - line, canvas.width, line);
		const step = canvas.width / SECONDS;
		const width = Math.max(line, Math.round(step) - line);
		for (const [second, bin] of this.#bins) {
			const left = Math.round(canvas.width - (now - second + 1) * step);
			let bottom = canvas.height - line;
			for (const kind of KINDS) {
				const height = Math.ceil((bin[kind] / most) * (canvas.height - 2 * line));
				bottom -= height;
				paint(kind, left, bottom, width, height);
			}
		}
		canvas.ariaLabel = `Events per second in the last minute: now ${this.rate}, at most ${most}`;
	}
}

/** Returns a function that fills a box with a colour of the style sheet. */
function painter(canvas) {
	const context = canvas.getContext("2d");
	const style = getComputedStyle(canvas);
	return (color, ...box) => {
		context.fillStyle = style.getPropertyValue(`--${color}`);
		context.fillRect(...box);
	};
}

function sum(bin) {
	return bin ? bin.created + bin.updated + bin.deleted : 0;
}
