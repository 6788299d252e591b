// What became of the parties of a call, from the records of the trace.
import {readEvent} from './xml.js';

// Steps reads records as they come, each once.
export class Steps {
	list = []; // [{at, call, device, state, cause, event}, ...] in the order of time
	tracks = new Map(); // by call and device: {call, device, spans: [{from, to, state}, ...]}; to is undefined of the last
	read = 0; // the number of the last record that was read
	seen = new Map(); // how often an event was reported: by each monitor, and by the one that reported it most often

	// take reads the records that it has not read yet.
	take(records) {
		for (const record of records) {
			if (record.number <= this.read) continue;
			this.read = record.number;
			if (record.lane !== 'switch' || record.kind !== 'event' || !record.message) continue;
			const event = readEvent(record.name, record.message);
			if (event && this.first(record.name, event)) for (const change of event.changes) this.change(record, event.cause, change);
		}
		return this;
	}

	// first reports whether no other monitor has reported the event: each monitor of a device in the call reports it once.
	first(name, {monitor, changes}) {
		const key = name + JSON.stringify(changes), own = monitor + key;
		const times = (this.seen.get(own) ?? 0) + 1;
		this.seen.set(own, times);
		if (times <= (this.seen.get(key) ?? 0)) return false;
		this.seen.set(key, times);
		return true;
	}

	// change applies a change.
	change(record, cause, {call, device, state}) {
		if (!device) {
			for (const track of this.tracks.values()) {
				if (track.call === call) this.enter(record, cause, track, 'null');
			}
			return;
		}
		const key = call + '\n' + device;
		let track = this.tracks.get(key);
		if (!track) this.tracks.set(key, track = {call, device, spans: []});
		this.enter(record, cause, track, state);
	}

	enter(record, cause, track, state) {
		const last = track.spans.at(-1), living = last && last.to === undefined;
		if (living ? last.state === state : state === 'null') return;
		const at = new Date(record.time).getTime();
		if (living) last.to = at;
		if (state !== 'null') track.spans.push({from: at, to: undefined, state});
		this.list.push({at: record.time, call: track.call, device: track.device, state, cause, event: record.name.replace(/Event$/, '')});
	}
}
