// The virtual telephones of the built-in switch, dialled, answered and hung up by mouse.
import {Action, Component, Field, Live, badge, html} from '../../ui.js';
import {address, get, post} from '../../server.js';

const press = (number, what, params) => post(address(`/admin/phones/${encodeURIComponent(number)}/${what}`, params));

// telephonesOf joins the stations with the calls in which they take part.
async function telephonesOf(signal) {
	const [{devices}, {calls}] = await Promise.all([get('/v1/devices', {}, {signal}), get('/v1/calls', {}, {signal})]);
	return devices.filter(d => d.kind === 'station').map(d => ({...d, calls: calls.filter(c => c.device === d.device)}));
}

const kinds = {alerting: 'warn', connected: 'good', hold: 'info', queued: 'info', failed: 'bad', initiated: 'info'};

class Telephone extends Component {
	state = {to: ''};

	dial = async refresh => {
		await press(this.props.phone.device, 'dial', {number: this.state.to});
		this.setState({to: ''});
		refresh();
	};

	render({phone, refresh}, {to}) {
		const {device, name, calls} = phone;
		const rings = calls.some(c => c.state === 'alerting' || c.state === 'initiated');
		const submit = event => {
			event.preventDefault();
			event.currentTarget.querySelector('button').click();
		};
		return html`<li class=${'card telephone' + (rings ? ' rings' : '')}>
			<h3>${device} <span class="faint">${name}</span></h3>
			${calls.length === 0 ? html`<p class="faint">on hook</p>` : calls.map(c => html`<p key=${c.call}>${badge(kinds[c.state] ?? 'info', c.state)} ${' '}
				${c.parties?.filter(p => p.number !== device).map(p => p.number).join(', ')}</p>`)}
			<div class="row">
				<${Action} disabled=${!rings} class=${rings ? 'primary' : ''} aria-label=${'Answer ' + device} onClick=${() => press(device, 'lift').then(refresh)}>Answer<//>
				<${Action} disabled=${!calls.length} class=${calls.length ? 'danger' : ''} aria-label=${'Hang up ' + device} onClick=${() => press(device, 'hang-up').then(refresh)}>Hang up<//>
			</div>
			<form class="dial" onSubmit=${submit}>
				<${Field} label=${`Number to dial at ${device}`} inputmode="tel" value=${to} onInput=${e => this.setState({to: e.target.value})} />
				<${Action} disabled=${!to.trim()} aria-label=${'Dial at ' + device} onClick=${() => this.dial(refresh)}>Dial<//>
			</form>
		</li>`;
	}
}

export class Telephones extends Component {
	state = {search: ''};

	render(_, {search}) {
		const wanted = search.trim().toLowerCase();
		return html`<p class="note">These telephones exist in the built-in switch only. Dial lifts the telephone first.</p>
			<${Field} label="Search telephones" type="search" value=${search} onInput=${e => this.setState({search: e.target.value})} />
			<${Live} load=${telephonesOf} every=${1000}>${(phones, {refresh}) => {
				const fits = phones.filter(p => `${p.device} ${p.name ?? ''}`.toLowerCase().includes(wanted));
				return html`<ul class="telephones">${fits.slice(0, 60).map(phone => html`<${Telephone} key=${phone.device} phone=${phone} refresh=${refresh} />`)}</ul>
					${fits.length > 60 && html`<p class="note">${fits.length - 60} more: search.</p>`}`;
			}}<//>`;
	}
}
