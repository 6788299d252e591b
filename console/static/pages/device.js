// A device: its state, telephones and settings, its calls and events as they happen, and who may do what with it.
import {Action, Component, Live, badge, count, html, time} from '../ui.js';
import {get, post} from '../server.js';
import {book, othersIn, stateOf} from './book.js';
import {Rights} from './rights.js';
import {callLink, deviceLink, hashOf, stateBadge} from './parts.js';

export const title = 'Device';

const shown = 100; // events

export default ({route: [device = '']}) => html`<${Device} key=${device} device=${device} />`;

class Device extends Component {
	componentDidMount() {
		this.unused = book.use(() => this.setState({}));
	}

	componentWillUnmount() {
		this.unused();
	}

	render({device}) {
		const path = '/v1/devices/' + encodeURIComponent(device), known = book.devices.get(device);
		return html`<section class="page">
			<div class="cards apart">
				<div class="card"><h2>${device} ${known?.name}</h2>
					<${Live} every=${5000} load=${signal => get(path, {}, {signal})}>${details => this.facts(details, known)}<//>
				</div>
				<div class="card"><h2>Calls</h2>
					<${Live} every=${2000} load=${signal => get(path + '/calls', {}, {signal})}>${({calls}, {refresh}) => callsOf(path, device, calls, refresh)}<//>
				</div>
				<div class="card"><h2>Monitored by</h2>
					<${Live} every=${10_000} load=${signal => get('/admin/status', {devices: true}, {signal})}>${({devices = []}) => monitorsOf(devices.filter(one => one.device === device))}<//>
				</div>
			</div>
			<div class="card"><h2>Events</h2>${this.events(device)}</div>
			<div class="card"><h2>Who may do what with it</h2><${Rights} device=${device} /></div>
			<p><a href=${hashOf('ladder', 'device', device)}>The ladder of this device</a></p>
		</section>`;
	}

	facts(details, known) {
		const {kind, model, link, available, forwarding = [], doNotDisturb, messageWaiting, telephones = [], agents = []} = details;
		const on = forwarding.filter(one => one.on);
		const state = available ? known && known.calls.size ? stateOf(known) : details.state : 'down';
		return html`<dl class="facts">
			<dt>State</dt><dd>${state ? stateBadge(state) : 'the switch does not say'}</dd>
			${kind && html`<dt>Kind</dt><dd>${kind}${model && ', ' + model}</dd>`}
			<dt>Link</dt><dd>${link} ${!available && badge('bad', 'down')}</dd>
			${forwarding.length > 0 && html`<dt>Forwarding</dt><dd>${on.length ? on.map(one => html`<div key=${one.type}>${one.type}${one.to && ' to '}${one.to && deviceLink(one.to)}</div>`) : 'off'}</dd>`}
			${doNotDisturb !== undefined && html`<dt>Do not disturb</dt><dd>${doNotDisturb ? badge('warn', 'on') : 'off'}</dd>`}
			${messageWaiting !== undefined && html`<dt>Message waiting</dt><dd>${messageWaiting ? badge('warn', 'yes') : 'no'}</dd>`}
			${telephones.length > 0 && html`<dt>Telephones</dt><dd>${telephones.map((one, i) => html`<div key=${i}>${one.agent || 'telephone'} ${one.reachable ? badge('good', 'reachable') : badge('bad', 'not reachable')}</div>`)}</dd>`}
			${agents.some(one => one.loggedOn) && html`<dt>Agents</dt><dd>${agents.filter(one => one.loggedOn).map(agentOf)}</dd>`}
		</dl>`;
	}

	events(device) {
		const list = book.events.filter(event => event.device === device).slice(-shown).reverse();
		if (!list.length) return html`<p class="faint">None since this console was opened. They appear here as they happen.</p>`;
		return html`<div class="scrolls tall" tabindex="0" role="group" aria-label="Events"><table class="plain">
			<thead><tr>${['Time', 'Event', 'State', 'Call', 'Caller', 'Called', 'Cause'].map(name => html`<th scope="col" key=${name}>${name}</th>`)}</tr></thead>
			<tbody>${list.map(event => html`<tr key=${event.id}><td>${time(event.time, true)}</td><td>${event.type}</td><td>${event.state && stateBadge(event.state)}</td>
				<td>${event.call && callLink(event.call)}</td><td>${event.caller}</td><td>${event.called}</td><td>${event.cause}</td></tr>`)}</tbody>
		</table></div>`;
	}
}

const agentOf = ({agent = '', groups}, i) => html`<div key=${i}>${agent || 'agent'} ${groups.map(group => `${group.group ?? ''} ${group.state ?? ''}`).join(', ')}</div>`;

// Actions on a call that need nothing else.
const simple = {answer: 'Answer', hold: 'Hold', retrieve: 'Retrieve', clear: 'Hang up'};

function callsOf(path, device, calls, refresh) {
	if (!calls.length) return html`<p class="faint">None.</p>`;
	return html`<ul class="list">${calls.map(({call, state, can = []}) => html`<li key=${call}>
		<div>${callLink(call)} ${state && stateBadge(state)} with ${book.calls.has(call) ? othersIn(book.calls.get(call), device).join(', ') || 'nobody yet' : '…'}</div>
		<div class="row">${can.filter(name => simple[name]).map(name => html`<${Action} key=${name} onClick=${async () => {
			await post(`${path}/calls/${encodeURIComponent(call)}/${name}`);
			refresh();
		}}>${simple[name]}<//>`)}</div>
	</li>`)}</ul>`;
}

function monitorsOf(list) {
	if (!list.length) return html`<p class="faint">Nobody.</p>`;
	return html`<ul class="list">${list.map((one, i) => html`<li key=${i}>${one.identities?.join(', ') || count(one.clients, 'client')}${one.call && ', call ' + one.call} ${' '}
		${one.active ? badge('good', 'started') : badge('warn', 'waits for the switch')}</li>`)}</ul>`;
}
