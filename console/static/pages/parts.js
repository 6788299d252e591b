// Parts that several pages share.
import {badge, html, toast} from '../ui.js';

// hashOf returns the address of a page of the console.
export const hashOf = (...parts) => '#/' + parts.map(encodeURIComponent).join('/');

// go opens a page of the console.
export function go(...parts) {
	location.hash = hashOf(...parts);
}

const kinds = {idle: 'info', ringing: 'warn', busy: 'good', down: 'bad', alerting: 'warn', connected: 'good', hold: 'info', queued: 'info', initiated: 'info', fail: 'bad', null: 'info'};

// stateBadge shows the state of a device or of a connection.
export const stateBadge = state => badge(kinds[state] ?? 'info', wordOf(state));

// wordOf returns the word for a state of a connection.
export const wordOf = state => ({alerting: 'rings', hold: 'on hold', initiated: 'off the hook', fail: 'failed', null: 'left'})[state] ?? state;

// deviceLink is a link to the page of a device.
export const deviceLink = (number, name = '') => html`<a href=${hashOf('device', number)}>${number}${name && ' ' + name}</a>`;

// callLink is a link to the page of a call.
export const callLink = call => html`<a href=${hashOf('call', call)}>${call}</a>`;

// copyButton copies a text.
export const copyButton = (text, label = 'Copy') => html`<button type="button" onClick=${() => copy(text)}>${label}</button>`;

async function copy(text) {
	try {
		await navigator.clipboard.writeText(text);
		toast('Copied.');
	} catch {
		toast('The browser does not let this page copy: select the text, and copy it yourself.', 'bad');
	}
}

// Tabs: tabs(label, [[key, title], ...], chosen, choose) are buttons of which one is chosen.
export const tabs = (label, list, chosen, choose) => html`<div class="tabs" role="tablist" aria-label=${label} onKeyDown=${moveTab}>
	${list.map(([key, title]) => html`<button type="button" role="tab" key=${key} aria-selected=${key === chosen} tabindex=${key === chosen ? 0 : -1}
		class=${key === chosen ? 'chosen' : ''} onClick=${() => choose(key)}>${title}</button>`)}
</div>`;

// moveTab moves among tabs by the arrow keys.
function moveTab(event) {
	const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
	if (!step) return;
	const all = [...event.currentTarget.children];
	const next = all[(all.indexOf(event.target) + step + all.length) % all.length];
	next.focus();
	next.click();
}
