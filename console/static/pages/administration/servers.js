// The listeners, which can be stopped and started.
import {Action, Component, Live, Table, badge, confirm, html, toast} from '../../ui.js';
import {get, post} from '../../server.js';

async function change(server, refresh) {
	const start = !server.serves;
	const yes = start || await confirm({
		title: `Stop ${server.name}?`, action: 'Stop', danger: true,
		text: `The listener at ${server.address} closes, and with it the connections of its clients. If your browser is connected here, you lose the console.`,
	});
	if (!yes) return;
	await post(`/admin/servers/${encodeURIComponent(server.name)}/${start ? 'start' : 'stop'}`);
	toast(`${server.name} ${start ? 'listens' : 'is stopped'}`);
	refresh();
}

const columns = refresh => [
	{key: 'name', title: 'Name', grow: 1.5},
	{key: 'protocol', title: 'Protocol', value: s => `${s.protocol}/${s.transport}`, wide: true},
	{key: 'address', title: 'Address', grow: 1.8, wide: true},
	{key: 'serves', title: 'State', grow: 1.4, value: s => s.serves ? 'listens' : s.failure || 'stopped',
		cell: s => s.serves ? badge('good', 'listens') : html`${badge(s.failure ? 'bad' : 'warn', s.failure ? 'failed' : 'stopped')} <span class="faint">${s.failure}</span>`},
	{key: 'action', title: 'Action', fixed: true,
		cell: s => html`<${Action} class=${s.serves ? 'danger' : ''} aria-label=${`${s.serves ? 'Stop' : 'Start'} ${s.name}`} onClick=${() => change(s, refresh)}>${s.serves ? 'Stop' : 'Start'}<//>`},
];

export class Servers extends Component {
	render() {
		return html`<p class="note">A listener that you stop stays stopped until you start it, or until the proxy restarts.</p>
			<${Live} load=${signal => get('/admin/status', {}, {signal})}>${({servers}, {refresh}) =>
				html`<${Table} label="Servers" columns=${columns(refresh)} rows=${servers} id=${s => s.name} sort=${['name']} />`}<//>`;
	}
}
