// Webhooks and their dead letters.
import {Action, Component, Dialog, Live, Table, badge, confirm, dateTime, html, toast} from '../../ui.js';
import {address, get, post} from '../../server.js';

const of = hook => ({name: hook.name, owner: hook.owner});

// pathOf is address, but with an owner that is empty: that names the configuration.
const pathOf = (path, hook, params) => {
	const full = address(path, {...of(hook), ...params});
	return hook.owner === '' ? full + '&owner=' : full;
};

const stateOf = hook => hook.disabled ? ['bad', 'disabled'] : hook.noRoom ? ['bad', 'no room'] : hook.failure ? ['warn', 'failing'] : ['good', 'delivers'];

async function act(what, hook, said, refresh, params) {
	await post(pathOf('/admin/webhooks/' + what, hook, params));
	toast(said);
	refresh();
}

async function remove(hook, refresh) {
	const yes = await confirm({title: `Remove ${hook.name}?`, action: 'Remove', danger: true, text: `${hook.receiver} gets no more events, and the dead letters of this webhook are deleted.`});
	if (yes) await act('remove', hook, `${hook.name} removed`, refresh);
}

const columns = (open, refresh) => [
	{key: 'name', title: 'Name'},
	{key: 'owner', title: 'Owner', value: h => h.owner || 'configuration', wide: true},
	{key: 'receiver', title: 'Receiver', grow: 1.5, wide: true},
	{key: 'state', title: 'State', value: h => stateOf(h)[1], cell: h => html`<span title=${h.why || h.failure}>${badge(...stateOf(h))}</span>`},
	{key: 'delivered', title: 'Delivered', end: true, wide: true},
	{key: 'waiting', title: 'Waiting', end: true, wide: true},
	{key: 'letters', title: 'Dead', end: true, grow: .6},
	{key: 'action', title: 'Action', fixed: true, grow: 1.8, cell: h => html`
		<${Action} disabled=${!h.letters} aria-label=${'Dead letters of ' + h.name} onClick=${async () => open(h)}>Letters<//>
		${h.disabled && html` <${Action} aria-label=${'Enable ' + h.name} onClick=${() => act('enable', h, `${h.name} enabled`, refresh)}>Enable<//>`}
		${h.owner && html` <${Action} class="danger" aria-label=${'Remove ' + h.name} onClick=${() => remove(h, refresh)}>Remove<//>`}`},
];

class Letters extends Component {
	render({hook, onClose}) {
		return html`<${Dialog} wide title=${'Dead letters of ' + hook.name} onClose=${onClose}>
			<${Live} load=${signal => get(pathOf('/admin/webhooks/dead', hook), undefined, {signal})} every=${5000}>${(letters, {refresh}) => html`
				${letters.length === 0 && html`<p class="empty">No dead letters.</p>`}
				<ul class="list">${letters.map(letter => html`<li key=${letter.id}>
					<div class="row between"><strong>${letter.type} of ${letter.device}</strong><span class="row">
						<${Action} busy="Delivering…" onClick=${() => act('replay', hook, 'Delivered', refresh, {letter: letter.id})}>Deliver<//>
						<${Action} class="danger" onClick=${() => act('drop', hook, 'Dropped', refresh, {letter: letter.id})}>Drop<//></span></div>
					<p class="faint">${dateTime(letter.time)}, given up ${dateTime(letter.died)} after ${letter.attempts} attempts: ${letter.reason}</p>
					<details><summary>Event</summary><pre tabindex="0">${JSON.stringify(letter.event, null, 2)}</pre></details>
				</li>`)}</ul>`}<//>
		<//>`;
	}
}

export class Webhooks extends Component {
	state = {open: undefined};

	render(_, {open}) {
		return html`
			<${Live} load=${signal => get('/admin/webhooks', {}, {signal})}>${(hooks, {refresh}) => html`
				<${Table} label="Webhooks" columns=${columns(hook => this.setState({open: hook}), refresh)} rows=${hooks}
					id=${h => h.owner + '/' + h.name} sort=${['name']} empty="There are no webhooks." />`}<//>
			${open && html`<${Letters} hook=${open} onClose=${() => this.setState({open: undefined})} />`}`;
	}
}
