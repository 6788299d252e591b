// Names that are locked after wrong passwords.
import {Action, Component, Live, Table, confirm, count, dateTime, html, toast} from '../../ui.js';
import {address, get, post} from '../../server.js';

async function unlock(params, refresh) {
	const list = await post(address('/admin/unlock', params));
	toast(`${count(list.length, 'lock')} removed`);
	refresh();
}

async function unlockAll(refresh) {
	if (await confirm({title: 'Unlock all?', action: 'Unlock all', text: 'Every name can be tried again from every address.'})) await unlock({all: true}, refresh);
}

const columns = refresh => [
	{key: 'name', title: 'Name'},
	{key: 'address', title: 'Address'},
	{key: 'of', title: 'Passwords of', wide: true},
	{key: 'until', title: 'Until', cell: l => dateTime(l.until), wide: true},
	{key: 'action', title: 'Action', fixed: true, cell: l => html`<${Action} aria-label=${`Unlock ${l.name} at ${l.address}`}
		onClick=${() => unlock({name: l.name, from: l.address.replace(/\/\d+$/, '')}, refresh)}>Unlock<//>`},
];

export class Locks extends Component {
	render() {
		return html`<${Live} load=${signal => get('/admin/locks', {}, {signal})}>${(locks, {refresh}) => html`
			<p class="row"><${Action} disabled=${locks.length === 0} onClick=${() => unlockAll(refresh)}>Unlock all<//></p>
			<${Table} label="Locks" columns=${columns(refresh)} rows=${locks} id=${l => l.of + l.name + l.address} sort=${['name']} empty="No name is locked." />`}<//>`;
	}
}
