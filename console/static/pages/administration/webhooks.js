// Webhooks and their dead letters.
import {Action, Component, Dialog, Live, Table, badge, confirm, count, dateTime, html, number, toast} from '../../ui.js';
import {address, get, post} from '../../server.js';

const of = hook => ({name: hook.name, owner: hook.owner});

// pathOf is address, but with an owner that is empty: that names the configuration.
const pathOf = (path, hook, params) => {
	const full = address(path, {...of(hook), ...params});
	return hook.owner === '' ? full + '&owner=' : full;
};

const stateOf = hook => hook.disabled ? ['bad', 'disabled'] : hook.noRoom ? ['bad', 'no room'] : hook.failure ? ['warn', 'failing'] : ['good', 'delivers'];

async function act(what, hook, said, then, params) {
	await post(pathOf('/admin/webhooks/' + what, hook, params));
	toast(said);
	then();
}

async function remove(hook, then) {
	const yes = await confirm({title: `Remove ${hook.name}?`, action: 'Remove', danger: true, text: `${hook.receiver} gets no more events, and the dead letters of this webhook are deleted.`});
	if (yes) await act('remove', hook, `${hook.name} removed`, then);
}

const columns = [
	{key: 'name', title: 'Name'},
	{key: 'owner', title: 'Owner', value: h => h.owner || 'configuration', wide: true},
	{key: 'receiver', title: 'Receiver', grow: 2, wide: true},
	{key: 'state', title: 'State', value: h => stateOf(h)[1], cell: h => badge(...stateOf(h))},
	{key: 'delivered', title: 'Delivered', end: true, wide: true},
	{key: 'waiting', title: 'Waiting', end: true, wide: true},
	{key: 'letters', title: 'Dead', end: true, grow: .6},
];

const Letters = ({hook}) => html`<${Live} load=${signal => get(pathOf('/admin/webhooks/dead', hook), undefined, {signal})} every=${5000}>${(letters, {refresh}) => html`
	${letters.length === 0 && html`<p class="empty">No dead letters.</p>`}
	<ul class="list">${letters.map(letter => html`<li key=${letter.id}>
		<div class="row between"><strong>${letter.type} of ${letter.device}</strong><span class="row">
			<${Action} busy="Delivering…" onClick=${() => act('replay', hook, 'Delivered', refresh, {letter: letter.id})}>Deliver<//>
			<${Action} class="danger" onClick=${() => act('drop', hook, 'Dropped', refresh, {letter: letter.id})}>Drop<//></span></div>
		<p class="faint">${dateTime(letter.time)}, given up ${dateTime(letter.died)} after ${count(letter.attempts, 'attempt')}: ${letter.reason}</p>
		<details><summary>Event</summary><pre tabindex="0">${JSON.stringify(letter.event, null, 2)}</pre></details>
	</li>`)}</ul>`}<//>`;

const Facts = ({hook}) => html`<dl class="facts">
	<dt>Receiver</dt><dd>${hook.receiver}</dd>
	<dt>Owner</dt><dd>${hook.owner || 'the configuration'}</dd>
	<dt>State</dt><dd>${badge(...stateOf(hook))} ${hook.why || hook.failure}</dd>
	<dt>Delivered</dt><dd>${number(hook.delivered)}; ${count(hook.failed, 'attempt')} failed</dd>
	<dt>Lost</dt><dd>${number(hook.lost)}</dd>
</dl>`;

// Webhook is the dialog of one: what it does, its dead letters, and what can be done with it.
const Webhook = ({hook, onClose, refresh}) => {
	const done = () => {
		refresh();
		onClose();
	};
	return html`<${Dialog} wide title=${'Webhook ' + hook.name} onClose=${onClose} actions=${html`
		${hook.disabled && html`<${Action} onClick=${() => act('enable', hook, `${hook.name} enabled`, done)}>Enable<//>`}
		${hook.owner && html`<${Action} class="danger" onClick=${() => remove(hook, done)}>Remove<//>`}
		<button type="button" onClick=${onClose}>Close</button>`}>
		<${Facts} hook=${hook} /><h3>Dead letters</h3><${Letters} hook=${hook} />
	<//>`;
};

export class Webhooks extends Component {
	state = {open: undefined};

	render(_, {open}) {
		const close = () => this.setState({open: undefined});
		return html`<${Live} load=${signal => get('/admin/webhooks', {}, {signal})}>${(hooks, {refresh}) => html`
			<${Table} label="Webhooks" columns=${columns} rows=${hooks} onOpen=${hook => this.setState({open: hook})}
				id=${h => h.owner + '/' + h.name} sort=${['name']} empty="There are no webhooks." />
			${open && html`<${Webhook} hook=${open} onClose=${close} refresh=${refresh} />`}`}<//>`;
	}
}
