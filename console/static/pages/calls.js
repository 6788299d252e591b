// The calls at this moment, and those that have just ended.
import {Component, Table, age, duration, html, notice, time} from '../ui.js';
import {book} from './book.js';
import {go, stateBadge} from './parts.js';

export const title = 'Calls';

const lasts = row => ((row.over ? new Date(row.over) : Date.now()) - new Date(row.since)) / 1000;

const named = number => html`<span class="cut">${number} <span class="faint">${book.nameOf(number)}</span></span>`;

const parties = row => row.over ? html`<span class="faint">ended ${time(row.over)}</span>`
	: html`<span class="cut">${[...row.legs].map(([device, state]) => html`<span key=${device} class="leg">${device} ${stateBadge(state)} </span>`)}</span>`;

const columns = [
	{key: 'since', title: 'Since', cell: row => time(row.since)},
	{key: 'caller', title: 'Caller', grow: 1.5, cell: row => named(row.caller)},
	{key: 'called', title: 'Called', grow: 1.5, cell: row => named(row.called)},
	{key: 'state', title: 'Parties', grow: 2.5, value: row => row.over ? 'ended' : [...row.legs.values()].join(' '), cell: parties},
	{key: 'cause', title: 'Cause', wide: true},
	{key: 'lasts', title: 'Duration', end: true, value: row => lasts(row), cell: row => row.over ? duration(Math.round(lasts(row))) : age(row.since)},
	{key: 'link', title: 'Link', wide: true},
	{key: 'call', title: 'Call', wide: true},
];

export default class Calls extends Component {
	state = {search: '', past: false};

	componentDidMount() {
		this.unused = book.use(() => this.setState({}));
		this.timer = setInterval(() => this.setState({}), 1000); // for the durations
	}

	componentWillUnmount() {
		this.unused();
		clearInterval(this.timer);
	}

	rows() {
		const wanted = this.state.search.trim().toLowerCase();
		const all = this.state.past ? book.living().concat(book.past.toReversed()) : book.living();
		return wanted ? all.filter(row => matches(row, wanted)) : all;
	}

	render() {
		const rows = this.rows();
		rows.forEach((row, i) => row.place = i); // rows keep their elements, and get other texts: calls come and go by the hundred
		return html`<section class="page">
			<form class="filters" role="search" onSubmit=${event => event.preventDefault()}>
				<input type="search" class="search" aria-label="Search calls" placeholder="Number, name, call or link" value=${this.state.search}
					onInput=${event => this.setState({search: event.target.value})} />
				<label><input type="checkbox" checked=${this.state.past} onChange=${event => this.setState({past: event.target.checked})} /> also ended ones</label>
				<span class="faint" role="status">${rows.length} of ${book.calls.size}${this.state.past ? ` and ${book.past.length} ended` : ''}</span>
			</form>
			${book.connection === 'closed' && notice('warn', 'The console has lost the stream of events, and connects again.')}
			<${Table} label="Calls" columns=${columns} rows=${rows} id=${row => row.place} height="calc(100vh - 15rem)"
				onOpen=${row => go('call', row.call)} empty="There is no call." />
		</section>`;
	}
}

const matches = (row, wanted) => [row.call, row.link, row.caller, row.called, book.nameOf(row.caller), book.nameOf(row.called), ...row.legs.keys()]
	.some(text => text.toLowerCase().includes(wanted));
