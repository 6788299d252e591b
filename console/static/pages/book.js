// The book of devices and calls: what the API lists, kept true by its events. All pages share one.
import {get, onSession} from '../server.js';
import {openEvents} from '../events.js';

const page = 200; // devices of one request
const pause = 250; // milliseconds between two notices to the pages
const retry = 3000; // milliseconds after a request that failed
const ended = 300; // calls that are kept after their end
const recent = 500; // events that are kept

const collator = new Intl.Collator('en', {numeric: true});

// Book has the devices and calls that the identity may observe.
class Book {
	constructor() {
		this.listeners = new Set();
		this.forget();
	}

	forget() {
		this.devices = new Map(); // by number: {device, name, kind, model, link, available, calls}; calls by callID
		this.calls = new Map(); // by callID: {call, link, caller, called, since, cause, legs, over}; legs by device: state
		this.past = []; // calls that have ended, the newest last
		this.events = []; // the newest last
		this.links = [];
		this.listed = false; // whether all devices are
		this.failure = '';
		this.connection = 'closed';
		this.sorted = null;
	}

	// order returns the devices by number.
	order() {
		return this.sorted ??= [...this.devices.values()].sort((a, b) => collator.compare(a.device, b.device));
	}

	// living returns the calls, the newest first.
	living() {
		return [...this.calls.values()].sort((a, b) => (b.since > a.since) - (b.since < a.since));
	}

	// nameOf returns the name of a device, or ''.
	nameOf(number) {
		return this.devices.get(number)?.name ?? '';
	}

	// use has listener called after changes, and returns a function that ends this. The book is open while it is used.
	use(listener) {
		this.listeners.add(listener);
		if (this.listeners.size === 1) this.open();
		return () => {
			this.listeners.delete(listener);
			clearTimeout(this.idle);
			this.idle = setTimeout(() => this.listeners.size || this.close(), 30_000);
		};
	}

	open() {
		clearTimeout(this.idle);
		if (this.stream) return;
		this.stream = openEvents({devices: '*', snapshot: 'true'}, {
			onEvent: event => this.apply(event),
			onState: state => {
				this.connection = state;
				this.changed();
			},
		});
		this.list();
	}

	close() {
		this.stream?.close();
		this.stream = null;
		this.turn = null; // ends list
		this.forget();
	}

	// changed tells the listeners, at most every quarter of a second.
	changed() {
		this.notice ??= setTimeout(() => {
			this.notice = null;
			for (const listener of this.listeners) listener();
		}, pause);
	}

	// list reads all devices, page by page. It goes on where it was after a failure.
	async list() {
		const turn = this.turn = {};
		const seen = new Set();
		for (let next; next !== '';) {
			try {
				const list = await get('/v1/devices', {limit: page, page: next});
				if (this.turn !== turn) return;
				for (const device of list.devices) {
					seen.add(device.device);
					this.enter(device);
				}
				this.links = list.links;
				this.failure = '';
				next = list.next ?? '';
			} catch (err) {
				if (this.turn !== turn) return;
				if (err.status !== 429) this.failure = err.message;
				await new Promise(resolve => setTimeout(resolve, retry));
			}
			if (this.turn !== turn) return;
			this.changed();
		}
		const listed = new Set(this.links.filter(link => link.listed).map(link => link.name));
		for (const device of [...this.devices.values()]) {
			if (!seen.has(device.device) && listed.has(device.link)) this.drop(device.device);
		}
		this.listed = true;
		this.changed();
	}

	// enter adds a device, or what is new of it.
	enter({device, name = '', kind = '', model = '', link = '', available = true}) {
		const known = this.devices.get(device);
		if (known) {
			Object.assign(known, {name, kind, model, link, available});
			return;
		}
		this.devices.set(device, {device, name, kind, model, link, available, calls: new Map()});
		this.sorted = null;
	}

	// deviceOf returns the entry of a device that an event names.
	deviceOf(number, link) {
		if (!this.devices.has(number)) this.enter({device: number, link});
		return this.devices.get(number);
	}

	apply(event) {
		switch (event.type) {
		case 'ready':
		case 'heartbeat':
		case 'gap':
		case 'end':
		case 'slow':
			break;
		case 'snapshot':
			this.replace(event);
			break;
		case 'revoked':
			for (const number of event.devices) this.drop(number);
			break;
		case 'linkUp':
		case 'linkDown':
			this.switched(event);
			break;
		default:
			this.happened(event);
		}
		this.changed();
	}

	// happened applies an event of CSTA.
	happened(event) {
		if (this.events.push(event) > 2 * recent) this.events = this.events.slice(-recent);
		if (!event.call) return;
		const device = this.deviceOf(event.device, event.link);
		if (event.state === 'null') this.leave(device, event.call, event);
		else if (event.state) this.join(device, event);
	}

	// join records the state of a device in a call.
	join(device, {call, link, state, caller, called, cause, since, time, parties}) {
		device.calls.set(call, state);
		let known = this.calls.get(call);
		if (!known) this.calls.set(call, known = {call, link: link || device.link, caller: '', called: '', cause: '', since: since ?? time, legs: new Map()});
		known.legs.set(device.device, state);
		known.caller = caller || known.caller;
		known.called = called || known.called;
		known.cause = cause || known.cause;
		known.parties = parties ?? known.parties;
	}

	// leave records that a device has left a call, which ends when no device is left.
	leave(device, call, event) {
		device.calls.delete(call);
		const known = this.calls.get(call);
		if (!known) return;
		known.legs.delete(device.device);
		known.last = device.device;
		known.cause = event?.cause || known.cause;
		if (known.legs.size) return;
		this.calls.delete(call);
		known.over = event?.time ?? new Date().toISOString();
		if (this.past.push(known) > ended) this.past.shift();
	}

	// replace puts the calls of a snapshot in place of those that were known.
	replace({device: number, link, calls, time}) {
		const device = this.deviceOf(number, link);
		for (const call of [...device.calls.keys()]) {
			if (!calls.some(one => one.call === call)) this.leave(device, call, {time});
		}
		for (const one of calls) this.join(device, {link, time, ...one});
	}

	drop(number) {
		const device = this.devices.get(number);
		if (!device) return;
		for (const call of [...device.calls.keys()]) this.leave(device, call);
		this.devices.delete(number);
		this.sorted = null;
	}

	// switched records that a link came up, or went down.
	switched({type, link}) {
		const up = type === 'linkUp';
		for (const device of this.devices.values()) {
			if (device.link === link) device.available = up;
		}
		if (up) this.list();
	}
}

export const book = new Book();
onSession(session => {
	if (!session) book.close();
	else if (book.listeners.size) book.open();
});

// stateOf returns what a device does: idle, ringing, busy, or down with its link.
export function stateOf(device) {
	if (!device.available) return 'down';
	let state = 'idle';
	for (const own of device.calls.values()) {
		if (own !== 'alerting') return 'busy';
		state = 'ringing';
	}
	return state;
}

// othersIn returns the numbers in a call but for a device.
export function othersIn(call, number) {
	const numbers = new Set([...call.legs.keys(), call.caller, call.called, ...(call.parties ?? []).map(party => party.number)]);
	numbers.delete(number);
	numbers.delete('');
	numbers.delete(undefined);
	return [...numbers];
}
