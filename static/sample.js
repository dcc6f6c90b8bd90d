// @ts-check
// Sample data: orders of a coffee bar, written in waves.

import { stringify } from "./json.js";

const ORDERS = 240;
/** Orders that are open at the same time. */
const OPEN_MOST = 14;
/** Writes a second, on average. */
const PACE = 12;
const STATES = ["ordered", "brewing", "ready", "collected"];
const GUESTS =
	"Ada Bruno Chidi Dalia Emre Freya Hannah Inês Jun Kofi Lucía Ngozi Olena Priya Søren Tomáš Zoë ليلى נועה".split(" ");
const DRINKS = {
	Espresso: 2.4,
	"Flat white": 3.8,
	Cappuccino: 3.6,
	Filter: 3,
	Cortado: 3.2,
	"Iced latte": 4.4,
	Chai: 3.9,
};
const EXTRAS = [[], [], ["oat milk"], ["extra shot", "cinnamon"]];

export class Sample {
	isStopped = false;
	#open = [];
	#made = 0;

	/** @param {import("./api.js").Api} api @param {string} collection */
	constructor(api, collection) {
		this.write = (method, id, data) => api.document(method, collection, id, { body: stringify(data) });
	}

	/** Writes until all is written or `isStopped` is set. @param {(part: number) => void} progress From 0 to 1. */
	async run(progress) {
		while (!this.isStopped && (this.#made < ORDERS || this.#open.length)) {
			await this.#write().catch((error) => {
				// Someone else may delete an order, and a server may stop for a while.
				if (!error.isPassing && error.code !== "DOCUMENT_NOT_FOUND") throw error;
			});
			progress((this.#made - this.#open.length) / ORDERS);
			const wave = 1 + 0.8 * Math.sin(Date.now() / 2500);
			const pause = (1000 / PACE) * (0.3 + Math.random() * 1.4) * wave;
			await new Promise((wake) => setTimeout(wake, pause));
		}
	}

	#write() {
		const { length } = this.#open;
		const isNew = this.#made < ORDERS && length < OPEN_MOST && (length < 6 || Math.random() < 0.3);
		return isNew ? this.#order() : this.#serve(pick(this.#open));
	}

	async #order() {
		const [drink, price] = pick(Object.entries(DRINKS));
		const extras = pick(EXTRAS);
		const { data } = await this.write("POST", null, {
			order: 100 + this.#made,
			guest: pick(GUESTS),
			drink,
			extras,
			status: STATES[0],
			table: 1 + Math.floor(Math.random() * 12),
			price: price + extras.length / 2,
		});
		this.#made++;
		this.#open.push({ id: data.id, state: 0 });
	}

	async #serve(order) {
		order.state++;
		const status = STATES[order.state];
		if (status === "collected") {
			this.#open = this.#open.filter((other) => other !== order);
			if (Math.random() < 0.5) setTimeout(() => this.write("DELETE", order.id).catch(() => {}), 1500);
		}
		await this.write("PATCH", order.id, { status });
	}
}

function pick(list) {
	return list[Math.floor(Math.random() * list.length)];
}
