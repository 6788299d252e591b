// Records of the trace: following them, grouping them by exchange, and saying what they are.
import {get} from '../server.js';

const most = 1000; // records of one response

// Follower follows the trace. It keeps the newest records only.
export class Follower {
	// query has the parameters of a filter; limit is the number of records that are kept; onChange is called after changes.
	constructor(query, limit, onChange) {
		this.query = query;
		this.limit = limit;
		this.onChange = onChange;
		this.records = [];
		this.lost = false;
		this.failure = '';
		this.stopped = new AbortController();
		this.run();
	}

	stop() {
		this.stopped.abort();
	}

	async run() {
		const {signal} = this.stopped;
		let after = 0;
		while (!signal.aborted) {
			try {
				const {since, ...lasting} = this.query;
				const params = after ? {...lasting, after, wait: '20s'} : {...lasting, since};
				const answer = await get('/admin/trace', params, {signal});
				if (signal.aborted) return;
				this.lost ||= answer.lost;
				this.failure = '';
				after = Math.max(answer.last, 1);
				this.add(answer.records);
				if (answer.records.length < most) await rest(300, signal); // so that a busy trace comes in few responses
			} catch (err) {
				if (signal.aborted) return;
				this.failure = err.message;
				this.onChange();
				await rest(5000, signal);
			}
		}
	}

	add(records) {
		if (records.length) {
			const all = this.records.concat(records);
			this.records = all.length > this.limit ? all.slice(-this.limit) : all;
		}
		this.onChange();
	}
}

// rest resolves after so many milliseconds, or when signal aborts.
function rest(milliseconds, signal) {
	return new Promise(resolve => {
		const timer = setTimeout(resolve, milliseconds);
		signal.addEventListener('abort', () => {
			clearTimeout(timer);
			resolve();
		}, {once: true});
	});
}

// exchanges returns the records of each exchange, by its number.
export function exchanges(records) {
	const groups = new Map();
	for (const record of records) {
		if (!record.exchange) continue;
		const group = groups.get(record.exchange);
		if (group) group.push(record);
		else groups.set(record.exchange, [record]);
	}
	return groups;
}

// failed reports whether a record shows that something went wrong.
export function failed({kind, name, allowed}) {
	return kind === 'refusal' || kind === 'error' || kind === 'decision' && !allowed || kind === 'state' && (name === 'refused' || name === 'down');
}

// summary returns what a record is, in few words.
export function summary(record) {
	const {kind, name = '', devices = []} = record;
	const about = devices.join(' ');
	switch (kind) {
	case 'event':
		return `${name.replace(/Event$/, '')} ${about}`.trim();
	case 'response':
		return `ok ${name.replace(/(Pos)?Response$/, '')} ${about}`.trim();
	case 'error':
	case 'refusal':
		return 'refused';
	case 'decision':
		return record.allowed ? 'allowed' : 'refused';
	case 'state':
		return (record.lane === 'client' ? 'session ' : 'link ') + name;
	}
	return `${name} ${about}`.trim();
}

// translations returns which numbers of a client's message became others on the way through the proxy: [[from, to], ...].
export function translations(group) {
	const pairs = new Map();
	for (const record of group) {
		if (record.lane !== 'client' || !record.devices) continue;
		const other = group.find(one => one.lane === 'switch' && one.name === record.name && one.out !== record.out && one.devices?.length === record.devices.length);
		other?.devices.forEach((device, i) => {
			const [from, to] = record.out ? [device, record.devices[i]] : [record.devices[i], device];
			if (from !== to) pairs.set(from + '\n' + to, [from, to]);
		});
	}
	return [...pairs.values()];
}

// peerOf returns the address of a record's peer: "tcp:127.0.0.1:5062" has it behind the transport.
export const peerOf = record => (record.peer ?? '').replace(/^[^:]*:/, '');

// asText returns records as a text: a line for each, and its message.
export function asText(records) {
	return records.map(record => {
		const arrow = record.kind === 'decision' || record.kind === 'state' ? '--' : record.out ? '<-' : '->';
		const across = record.lane === 'switch' ? {'<-': '->', '->': '<-'}[arrow] ?? arrow : arrow;
		const ends = record.lane === 'client' ? `${record.identity || record.front || ''} ${record.peer ?? ''}` : record.link ?? '';
		const head = [record.time, record.exchange ? '#' + record.exchange : '', record.lane, across, ends, summary(record), record.reason ?? ''];
		return head.filter(Boolean).join(' ') + '\n' + (record.message ? '    ' + record.message + '\n' : '');
	}).join('');
}
