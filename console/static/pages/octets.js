// The octets on the wire that belong to a record of the trace, and how they read.
import {get} from '../server.js';
import {peerOf} from './records.js';

const near = 2000; // milliseconds between a record and its octets, at most

// octetsOf returns the record of octets that a message came in, or went out in; undefined if none is kept.
export async function octetsOf(record) {
	const at = new Date(record.time).getTime();
	const {records} = await get('/admin/octets', {
		lane: record.lane, front: record.front, link: record.link, peer: peerOf(record), since: new Date(at - near).toISOString(), oldest: true, after: 0,
	});
	const close = records.filter(one => one.out === record.out && Math.abs(new Date(one.time) - at) <= near);
	const named = close.filter(one => one.flow.protocol === 'asn1' || textOf(one).includes('<' + record.name) || textOf(one).includes(':' + record.name));
	const distance = one => Math.abs(new Date(one.time) - at);
	return (named.length ? named : close).reduce((best, one) => best && distance(best) <= distance(one) ? best : one, undefined);
}

// bytesOf returns the octets of a record of octets.
export const bytesOf = ({octets = ''}) => Uint8Array.from(atob(octets), character => character.charCodeAt(0));

const decoder = new TextDecoder();

// textOf returns octets as text, without the header of a frame of CSTA-XML, which is no text.
export function textOf(record) {
	const bytes = bytesOf(record);
	return decoder.decode(record.flow.protocol === 'csta-xml' && bytes.length > 8 && bytes[0] === 0 ? bytes.subarray(8) : bytes);
}

// dump returns octets in hexadecimal digits beside their text, 16 in a line.
export function dump(bytes) {
	const list = [];
	for (let at = 0; at < bytes.length; at += 16) {
		const part = [...bytes.subarray(at, at + 16)];
		const digits = part.map(octet => octet.toString(16).padStart(2, '0')).join(' ').padEnd(47);
		const text = part.map(octet => octet >= 32 && octet < 127 ? String.fromCharCode(octet) : '.').join('');
		list.push(`${at.toString(16).padStart(8, '0')}  ${digits}  ${text}`);
	}
	return list.join('\n');
}

// described returns where octets passed.
export function described({flow, out, cut}) {
	const more = cut ? `, ${cut} octets more that are not kept` : '';
	return `${flow.protocol} over ${flow.transport}, ${flow.local} ${out ? '→' : '←'} ${flow.remote}${more}`;
}
