// Events per second over the last minute, as bars: created, updated, deleted.

const SECONDS = 60;
export const KINDS = ["created", "updated", "deleted"];

export class Plot {
	totals = { created: 0, updated: 0, deleted: 0 };
	#bins = new Map();

	constructor(canvas) {
		this.canvas = canvas;
	}

	count(kind) {
		const now = Math.floor(Date.now() / 1000);
		if (!this.#bins.has(now)) this.#bins.set(now, { created: 0, updated: 0, deleted: 0 });
		this.#bins.get(now)[kind]++;
		this.totals[kind]++;
	}

	get rate() {
		const now = Date.now() / 1000, second = Math.floor(now);
		return Math.round((sum(this.#bins.get(second)) + sum(this.#bins.get(second - 1))) / (1 + now - second));
	}

	draw() {
		const { canvas } = this;
		const now = Math.floor(Date.now() / 1000);
		for (const second of this.#bins.keys()) if (second <= now - SECONDS) this.#bins.delete(second);
		const line = Math.max(1, Math.round(devicePixelRatio));
		const width = (canvas.width = canvas.clientWidth * devicePixelRatio);
		const height = (canvas.height = canvas.clientHeight * devicePixelRatio) - line;
		const paint = canvas.getContext("2d"), style = getComputedStyle(canvas);
		const fill = (name, ...box) => ((paint.fillStyle = style.getPropertyValue(`--${name}`)), paint.fillRect(...box));
		const most = Math.max(4, ...[...this.#bins.values()].map(sum)), step = width / SECONDS;
		fill("line", 0, height, width, line);
		for (const [second, bin] of this.#bins) {
			let bottom = height;
			for (const kind of KINDS) {
				const tall = Math.ceil((bin[kind] / most) * (height - line));
				fill(kind, Math.round(width - (now - second + 1) * step), (bottom -= tall), Math.max(line, Math.round(step) - line), tall);
			}
		}
		canvas.ariaLabel = `Events per second in the last minute: now ${this.rate}, at most ${most}`;
	}
}

function sum(bin) {
	return bin ? bin.created + bin.updated + bin.deleted : 0;
}
