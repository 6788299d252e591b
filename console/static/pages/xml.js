// XML as text for people, and what the events of CSTA in it say.

// parse returns the root of a document, or null if it is none. A document is data here: nothing of it enters the page.
export function parse(text) {
	const root = new DOMParser().parseFromString(text, 'application/xml').documentElement;
	return root && root.getElementsByTagName('parsererror').length === 0 && root.localName !== 'parsererror' ? root : null;
}

// pretty returns a document with each element on a line of its own, or as it is if it cannot be read.
export function pretty(text) {
	const root = parse(text);
	return root ? lines(root, '').join('\n') : text;
}

function lines(element, indent) {
	const attributes = [...element.attributes].map(({name, value}) => ` ${name}="${escaped(value).replaceAll('"', '&quot;')}"`).join('');
	const children = [...element.children];
	const name = element.nodeName;
	if (!children.length) {
		const text = element.textContent;
		return [indent + (text ? `<${name}${attributes}>${escaped(text)}</${name}>` : `<${name}${attributes}/>`)];
	}
	return [`${indent}<${name}${attributes}>`, ...children.flatMap(child => lines(child, indent + '  ')), `${indent}</${name}>`];
}

const escaped = text => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

// child returns the first child of an element with a name, or undefined.
export const child = (element, name) => element && [...element.children].find(one => one.localName === name);

// textOf returns the text at a path of names, or ''.
export function textOf(element, ...path) {
	for (const name of path) element = child(element, name);
	return element?.textContent.trim() ?? '';
}

// The connection of each event of a call, and the state in which the event leaves it.
const changes = {
	ServiceInitiatedEvent: ['initiatedConnection', 'initiated'],
	OriginatedEvent: ['originatedConnection', 'connected'],
	DeliveredEvent: ['connection', 'alerting'],
	EstablishedEvent: ['establishedConnection', 'connected'],
	HeldEvent: ['heldConnection', 'hold'],
	RetrievedEvent: ['retrievedConnection', 'connected'],
	QueuedEvent: ['queuedConnection', 'queued'],
	FailedEvent: ['failedConnection', 'fail'],
	DivertedEvent: ['connection', 'null'],
	ConnectionClearedEvent: ['droppedConnection', 'null'],
	NetworkReachedEvent: ['outboundConnection', 'connected'],
	BridgedEvent: ['bridgedConnection', 'queued'],
	OfferedEvent: ['offeredConnection', 'alerting'],
};

const joins = new Set(['TransferedEvent', 'TransferredEvent', 'ConferencedEvent']);

// readEvent returns what an event of CSTA-XML says: {monitor, cause, changes}. changes has connections: [{call, device, state}, ...];
// one without device is about all of the call. It returns null if the message cannot be read.
export function readEvent(name, message) {
	const root = parse(message);
	return root && {monitor: textOf(root, 'monitorCrossRefID'), cause: textOf(root, 'cause'), changes: changesOf(name, root)};
}

function changesOf(name, root) {
	if (name === 'CallClearedEvent') return [{call: textOf(root, 'clearedCall', 'callID'), device: '', state: 'null'}];
	if (joins.has(name)) return joined(root);
	const [connection, state] = changes[name] ?? [];
	const id = child(root, connection);
	return id ? [{call: textOf(id, 'callID'), device: textOf(id, 'deviceID'), state}] : [];
}

// joined returns the changes of a transfer or conference: each old connection ends, and each new one is connected.
function joined(root) {
	const list = [];
	for (const old of ['primaryOldCall', 'secondaryOldCall']) {
		const call = textOf(root, old, 'callID');
		if (call) list.push({call, device: '', state: 'null'});
	}
	for (const item of root.getElementsByTagNameNS('*', 'connectionListItem')) {
		const id = child(item, 'newConnection');
		if (id) list.push({call: textOf(id, 'callID'), device: textOf(id, 'deviceID'), state: 'connected'});
	}
	return list;
}
