// The sessions of clients, which can be ended.
import {Action, Component, Field, Live, Table, age, confirm, dateTime, html, toast} from '../../ui.js';
import {get, post} from '../../server.js';

async function end(session, refresh) {
	const yes = await confirm({
		title: 'End this session?', action: 'End session', danger: true,
		text: `The session of ${session.identity} from ${session.peer} ends, and its monitors with it. The client may connect again.`,
	});
	if (!yes) return;
	await post(`/admin/sessions/${encodeURIComponent(session.id)}/end`);
	toast(`The session of ${session.identity} has ended`);
	refresh();
}

const columns = refresh => [
	{key: 'identity', title: 'Identity', grow: 1.8},
	{key: 'peer', title: 'Peer', grow: 1.6, wide: true},
	{key: 'line', title: 'Line', wide: true},
	{key: 'since', title: 'Open for', grow: 1.2, cell: s => html`<span title=${dateTime(s.since)}>${age(s.since)}</span>`},
	{key: 'monitors', title: 'Monitors', end: true, grow: .8, wide: true},
	{key: 'queue', title: 'Queue', end: true, grow: .7, wide: true},
	{key: 'end', title: 'Action', fixed: true,
		cell: s => html`<${Action} class="danger" aria-label=${`End the session of ${s.identity} from ${s.peer}`} onClick=${() => end(s, refresh)}>End<//>`},
];

const fits = (session, words) => words.every(word => `${session.identity} ${session.peer} ${session.line ?? ''}`.toLowerCase().includes(word));

export class Sessions extends Component {
	state = {search: ''};

	render(_, {search}) {
		const words = search.toLowerCase().split(/\s+/).filter(Boolean);
		return html`
			<${Field} label="Search sessions" type="search" value=${search} onInput=${e => this.setState({search: e.target.value})} />
			<${Live} load=${signal => get('/admin/status', {sessions: true}, {signal})}>${({sessions = []}, {refresh}) => html`
				<${Table} label="Sessions" columns=${columns(refresh)} rows=${sessions.filter(s => fits(s, words))}
					id=${s => s.id ?? s.peer + s.since} sort=${['since']} empty=${sessions.length ? 'No session fits.' : 'No sessions.'} />`}<//>`;
	}
}
