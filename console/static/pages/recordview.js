// One record of the trace: its message, its octets on the wire, and its exchange.
import {Component, count, dateTime, html, notice, time} from '../ui.js';
import {bytesOf, described, dump, octetsOf, textOf} from './octets.js';
import {callLink, copyButton, deviceLink, tabs} from './parts.js';
import {failed, summary, translations} from './records.js';
import {pretty} from './xml.js';

// RecordView shows a record. props: record; group, the records of its exchange; onChoose; onClose.
export class RecordView extends Component {
	state = {tab: 'message', octets: undefined, failure: ''};

	componentWillUnmount() {
		this.gone = true;
	}

	choose = async tab => {
		this.setState({tab});
		if (tab === 'message' || tab === 'exchange' || this.state.octets !== undefined) return;
		try {
			const octets = await octetsOf(this.props.record) ?? null;
			if (!this.gone) this.setState({octets});
		} catch (err) {
			if (!this.gone) this.setState({octets: null, failure: err.message});
		}
	};

	render({record, onClose}, {tab}) {
		return html`<aside class="card record" aria-label="The record">
			<div class="row between">
				<h2>${record.name || record.kind}</h2>
				<button type="button" class="plain" aria-label="Close the record" onClick=${onClose}>×</button>
			</div>
			<dl class="facts">${facts(record).map(([name, value]) => value && html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
			${tabs('What to show', [['message', 'XML'], ['wire', 'SIP, wire'], ['hex', 'Hex'], ['exchange', 'Exchange']], tab, this.choose)}
			<div role="tabpanel">${this[tab]()}</div>
		</aside>`;
	}

	message() {
		const {message = '', cut} = this.props.record;
		if (!message) return html`<p class="faint">It has no message: it is a ${this.props.record.kind}.</p>`;
		const text = pretty(message);
		return html`<pre tabindex="0" aria-label="The message">${text}</pre>
			${cut > 0 && notice('warn', `${count(cut, 'octet')} at its end are not kept.`)}
			<div class="row">${copyButton(text)}</div>`;
	}

	wire() {
		return this.octets(octets => octets.flow.protocol === 'asn1' ? dump(bytesOf(octets)) : textOf(octets));
	}

	hex() {
		return this.octets(octets => dump(bytesOf(octets)));
	}

	// octets shows the octets on the wire by a function that makes a text of them.
	octets(reading) {
		const {octets, failure} = this.state;
		if (failure) return notice('warn', failure);
		if (octets === undefined) return html`<p class="loading" aria-busy="true">Loading…</p>`;
		if (octets === null) return html`<p class="faint">No octets are kept that belong to this record.</p>`;
		const text = reading(octets);
		return html`<p class="faint">${described(octets)}, ${time(octets.time, true)}</p><pre tabindex="0" aria-label="The octets">${text}</pre>
			<div class="row">${copyButton(text)}</div>`;
	}

	exchange() {
		const {group, record, onChoose} = this.props;
		const changed = translations(group);
		return html`<ol class="list">${group.map(one => html`<li key=${one.number}>
			<button type="button" class=${'plain step' + (failed(one) ? ' bad' : '')} aria-current=${one === record} onClick=${() => onChoose(one)}>
				${time(one.time, true)} ${way(one)} ${summary(one)} ${one.reason ?? ''}</button></li>`)}</ol>
			${changed.map(([from, to]) => html`<p>${from} at the client is ${to} at the switch.</p>`)}`;
	}
}

// way returns which way a record went.
function way({lane, out, kind}) {
	if (kind === 'decision') return 'proxy:';
	if (kind === 'state') return lane + ':';
	return out ? `proxy → ${lane}:` : `${lane} → proxy:`;
}

// facts returns what is known of a record besides its message.
const facts = record => [
	['Time', `${dateTime(record.time)}${record.time.replace(/^[^.Z]*|Z$/g, '')}`],
	['Way', way(record).replace(/:$/, '')],
	['Identity', record.identity],
	['Front', record.front],
	['Peer', record.peer],
	['Session', record.session],
	['Link', record.link],
	['Devices', record.devices?.map(device => html`<span key=${device}>${deviceLink(device)} </span>`)],
	['Calls', record.calls?.map(call => html`<span key=${call}>${callLink(call)} </span>`)],
	['Decision', record.kind === 'decision' && summary(record)],
	['Reason', record.reason && html`<span class=${failed(record) ? 'bad' : ''}>${record.reason}</span>`],
];
