// Rates per second from counters that only grow.

const kept = 150; // points of each plot

// Rates keeps the last rates of named counters.
export class Rates {
	constructor(names) {
		this.list = new Map(names.map(name => [name, []]));
		this.last = undefined;
	}

	// add takes the counters at a time in milliseconds. Counters that have fallen are those of a proxy that has restarted:
	// no rate is known then.
	add(at, counters) {
		const last = this.last;
		this.last = {at, counters};
		if (!last || at <= last.at) return;
		for (const [name, points] of this.list) {
			const more = counters[name] - last.counters[name];
			if (!(more >= 0)) continue;
			points.push([at, more * 1000 / (at - last.at)]);
			if (points.length > kept) points.shift();
		}
	}

	points(name) {
		return this.list.get(name);
	}
}
