// Sample data: orders of a coffee bar, in waves that can be watched.

import { stringify } from "./api.js";

const ORDERS = 240, OPEN_MOST = 14;
/** Writes a second. */
const PACE = 12;
const STATES = ["ordered", "brewing", "ready", "collected"];
const GUESTS = "Ada Bruno Chidi Dalia Emre Freya Hannah Inês Jun Kofi Lucía Ngozi Olena Priya Søren Tomáš Zoë ليلى נועה".split(" ");
const DRINKS = { Espresso: 2.4, "Flat white": 3.8, Cappuccino: 3.6, Filter: 3, Cortado: 3.2, "Iced latte": 4.4, Chai: 3.9 };
const EXTRAS = [[], [], ["oat milk"], ["extra shot", "cinnamon"]];

export class Sample {
	#open = [];
	#made = 0;

	constructor(api, collection) {
		this.write = (method, id, body) => api.document(method, collection, id, { body: stringify(body) });
	}

	/** Until all is written or `isStopped` is set; `progress` hears of the part that is done. */
	async run(progress) {
		while (!this.isStopped && (this.#made < ORDERS || this.#open.length)) {
			const { length } = this.#open;
			const isNew = this.#made < ORDERS && length < OPEN_MOST && (length < 6 || Math.random() < 0.3);
			await (isNew ? this.#order() : this.#serve(pick(this.#open))).catch((error) => {
				// Others may delete orders, and servers stop for a while.
				if (!error.isPassing && error.code !== "DOCUMENT_NOT_FOUND") throw error;
			});
			progress((this.#made - length) / ORDERS);
			const wave = 1 + 0.8 * Math.sin(Date.now() / 2500);
			await new Promise((wake) => setTimeout(wake, (1000 / PACE) * (0.3 + Math.random() * 1.4) * wave));
		}
	}

	async #order() {
		const [drink, price] = pick(Object.entries(DRINKS)), extras = pick(EXTRAS);
		const table = 1 + Math.floor(Math.random() * 12), order = 100 + this.#made;
		const { data } = await this.write("POST", null, { order, guest: pick(GUESTS), drink, extras, status: STATES[0], table, price: price + extras.length / 2 });
		this.#made++;
		this.#open.push({ id: data.id, state: 0 });
	}

	async #serve(order) {
		const status = STATES[++order.state];
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
