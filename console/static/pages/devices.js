// The devices: what each does at this moment, and who monitors it.
import {Component, Table, badge, html, notice} from '../ui.js';
import {get} from '../server.js';
import {book, othersIn, stateOf} from './book.js';
import {go, stateBadge} from './parts.js';

export const title = 'Devices';

const columns = [
	{key: 'device', title: 'Device', grow: 1.4, cell: row => html`<strong class="cut">${row.device}</strong>`},
	{key: 'name', title: 'Name', grow: 1.6, cell: row => html`<span class="cut">${row.name}</span>`},
	{key: 'state', title: 'State', grow: 1.2, value: stateOf, cell: row => stateBadge(stateOf(row))},
	{key: 'calls', title: 'In call with', grow: 1.8, value: row => row.calls.size, cell: partners},
	{key: 'kind', title: 'Kind', wide: true, grow: 1.4},
	{key: 'link', title: 'Link', wide: true},
	{key: 'monitors', title: 'Monitored by', wide: true, grow: 1.5, cell: row => html`<span class="cut">${row.monitors ?? ''}</span>`},
];

// partners shows with whom a device is in calls.
function partners(row) {
	const texts = [...row.calls.keys()].map(id => {
		const call = book.calls.get(id);
		return call ? othersIn(call, row.device).join(', ') || 'nobody yet' : id;
	});
	return html`<span class="cut">${texts.join('; ')}</span>`;
}

export default class Devices extends Component {
	state = {search: '', only: ''};

	componentDidMount() {
		this.unused = book.use(() => this.setState({}));
		this.monitors();
	}

	componentWillUnmount() {
		this.unused();
		clearTimeout(this.timer);
		this.gone = true;
	}

	// monitors reads who monitors the devices, again and again.
	async monitors() {
		try {
			const {devices = []} = await get('/admin/status', {devices: true});
			for (const {device, clients, identities} of devices) {
				const entry = book.devices.get(device);
				if (entry) entry.monitors = identities?.join(', ') ?? String(clients);
			}
		} catch {
			// the column stays as it is; the state of the connection is shown elsewhere
		}
		if (this.gone) return;
		this.setState({});
		this.timer = setTimeout(() => this.monitors(), 15_000);
	}

	// rows returns the devices that match the search.
	rows() {
		const {only} = this.state, wanted = this.state.search.trim().toLowerCase();
		const all = book.order();
		if (!wanted && !only) return all.slice();
		return all.filter(row => (!only || stateOf(row) === only) && (!wanted || matches(row, wanted)));
	}

	render() {
		const rows = this.rows();
		return html`<section class="page">
			<form class="filters" role="search" onSubmit=${event => event.preventDefault()}>
				<input type="search" class="search" aria-label="Search devices" placeholder="Number, name, kind or link" value=${this.state.search}
					onInput=${event => this.setState({search: event.target.value})} />
				<select aria-label="State" value=${this.state.only} onChange=${event => this.setState({only: event.target.value})}>
					<option value="">every state</option>
					${['idle', 'ringing', 'busy', 'down'].map(state => html`<option value=${state}>${state}</option>`)}
				</select>
				<span class="faint" role="status">${book.listed ? `${rows.length} of ${book.devices.size}` : `${book.devices.size} so far`}</span>
				${connectionBadge()}
			</form>
			${book.failure && notice('bad', book.failure)}
			${book.links.filter(link => !link.listed).map(link => notice('warn', link.state === 'up'
				? `Link ${link.name} lists no devices: those whose numbers you know can be used.` : `Link ${link.name} is down: its devices may be missing.`))}
			<${Table} label="Devices" columns=${columns} rows=${rows} id=${row => row.device} sort=${['device', false]} height="calc(100vh - 15rem)"
				onOpen=${row => go('device', row.device)} empty=${book.listed ? 'No device matches.' : 'Loading…'} />
		</section>`;
	}
}

const matches = (row, wanted) => [row.device, row.name, row.kind, row.link].some(text => text.toLowerCase().includes(wanted));

const connectionBadge = () => book.connection === 'open' ? badge('good', 'live') : badge('warn', book.connection === 'connecting' ? 'connecting' : 'not connected');
