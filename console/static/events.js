// The stream of events of the API, over a WebSocket that reconnects and resumes.
import {address, current, get} from './server.js';

const longest = 15_000; // between two attempts, in milliseconds

// openEvents opens /v1/events with params, such as {devices: '100,101', snapshot: true}, and returns {close, request}.
// onEvent gets each event, heartbeats too. onState gets 'connecting', 'open', or 'closed' with the reason.
// After an interruption the stream resumes after the last event.
export function openEvents(params, {onEvent, onState = () => {}}) {
	let socket, timer, last, attempts = 0, closed = false, number = 0;
	const outstanding = new Map();

	function connect() {
		onState('connecting');
		const url = new URL(address('/v1/events', {...params, after: last}), location.href);
		url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
		socket = new WebSocket(url, ['events']);
		socket.onopen = () => {
			attempts = 0;
			onState('open');
		};
		socket.onmessage = message => receive(JSON.parse(message.data));
		socket.onclose = event => lost(event.reason);
	}

	function receive(message) {
		const waiting = 'status' in message && outstanding.get(message.id);
		if (waiting) {
			outstanding.delete(message.id);
			waiting.resolve(message);
			return;
		}
		if (message.id) last = message.id;
		onEvent(message);
	}

	function lost(reason) {
		for (const waiting of outstanding.values()) waiting.reject(new Error('The connection was closed before the response.'));
		outstanding.clear();
		if (closed) return;
		onState('closed', reason);
		get('/session').catch(() => {}); // a session that has ended shows the login
		timer = setTimeout(() => {
			if (current()) connect();
		}, Math.min(longest, 500 * 2 ** attempts++));
	}

	connect();
	return {
		close() {
			closed = true;
			clearTimeout(timer);
			socket.close();
		},
		// request sends {method, path, body} over the socket and returns a promise of the response, {id, status, body}.
		request(what) {
			const id = 'console-' + ++number;
			return new Promise((resolve, reject) => {
				socket.send(JSON.stringify({...what, id}));
				outstanding.set(id, {resolve, reject});
			});
		},
	};
}
