// The ladder: what passed through the proxy, and what it decided, as it happens.
import {Action, Component, html, notice, toast} from '../ui.js';
import {download, save} from '../server.js';
import {LadderView} from './ladderview.js';
import {RecordView} from './recordview.js';
import {hashOf} from './parts.js';
import {Follower, asText, exchanges} from './records.js';

export const title = 'Ladder';

const kept = 5000; // records

const fields = [
	['device', 'Device', 'as a message or the rules have it'],
	['call', 'Call', 'callID'],
	['name', 'Service or event', 'MakeCall, Delivered'],
	['identity', 'Identity', 'of a client'],
	['session', 'Session', 'of a client'],
	['link', 'Link', 'to a switch'],
	['front', 'Front', 'sip, xml, asn1, api'],
	['peer', 'Peer', 'address, with or without port'],
];
const lanes = [['', 'every lane'], ['client', 'client'], ['proxy', 'proxy: decisions'], ['switch', 'switch']];
const spans = [['', 'all that is kept'], ['60', 'last minute'], ['300', 'last 5 minutes'], ['3600', 'last hour']];

// filterOf reads a filter from the parts of a route: device/100/failures/yes.
function filterOf(route) {
	const filter = {};
	for (let i = 0; i + 1 < route.length; i += 2) filter[route[i]] = route[i + 1];
	return filter;
}

// queryOf returns the parameters of the trace for a filter.
function queryOf({last, failures, ...filter}) {
	return {...filter, failures: Boolean(failures), since: last ? new Date(Date.now() - last * 1000).toISOString() : undefined};
}

export default class Ladder extends Component {
	state = {filter: filterOf(this.props.route), frozen: null, chosen: null};

	componentDidMount() {
		this.follow();
	}

	componentDidUpdate(before) {
		if (before.route.join('/') !== this.props.route.join('/')) this.change(filterOf(this.props.route));
	}

	componentWillUnmount() {
		this.follower.stop();
		clearTimeout(this.typing);
	}

	follow() {
		this.follower?.stop();
		this.follower = new Follower(queryOf(this.state.filter), kept, () => this.state.frozen || this.setState({}));
	}

	change(filter) {
		this.setState({filter, frozen: null, chosen: null}, () => this.follow());
	}

	// set changes one part of the filter, once typing pauses.
	set(key, value) {
		const filter = {...this.state.filter, [key]: value};
		if (!value) delete filter[key];
		this.setState({filter});
		clearTimeout(this.typing);
		this.typing = setTimeout(() => {
			history.replaceState(null, '', hashOf('ladder', ...Object.entries(filter).flat()));
			this.change(filter);
		}, 400);
	}

	pause = () => this.setState({frozen: this.state.frozen ? null : this.follower.records});

	saveText = () => save(asText(this.records()), 'ladder.txt');

	savePackets = async () => {
		const {peer, front, link, lane, last} = this.state.filter;
		await download('/admin/pcap', {...queryOf({last}), peer, front, link, lane: lane === 'proxy' ? '' : lane}, 'tr87proxy.pcap');
		toast('Saved the octets that peer, front, link, lane and time select.');
	};

	records() {
		return this.state.frozen ?? this.follower?.records ?? [];
	}

	render(_, {filter, frozen, chosen}) {
		const records = this.records();
		if (this.grouped?.of !== records) this.grouped = {of: records, groups: exchanges(records)};
		return html`<section class="page">
			${this.filters(filter)}
			<div class="row">
				<button type="button" aria-pressed=${Boolean(frozen)} onClick=${this.pause}>${frozen ? 'Go on' : 'Pause'}</button>
				<button type="button" onClick=${this.saveText}>Save as text</button>
				<${Action} onClick=${this.savePackets}>Save as pcap<//>
				<span class="faint">${records.length} records${records.length === kept ? ', the newest' : ''}${frozen ? '; paused' : ''}</span>
			</div>
			${this.follower?.failure && notice('bad', this.follower.failure)}
			${this.follower?.lost && notice('warn', 'Some records were lost: more came than the trace keeps.')}
			<div class="split">
				<${LadderView} records=${records} groups=${this.grouped.groups} chosen=${chosen} follow=${!frozen && !chosen} height="calc(100vh - 17rem)"
					onChoose=${record => this.setState({chosen: record})} />
				${chosen && html`<${RecordView} key=${chosen.number} record=${chosen} group=${this.grouped.groups.get(chosen.exchange) ?? [chosen]}
					onChoose=${record => this.setState({chosen: record})} onClose=${() => this.setState({chosen: null})} />`}
			</div>
		</section>`;
	}

	filters(filter) {
		const active = Object.keys(filter).length;
		return html`<details class="filters">
			<summary>Filter${active ? `: ${Object.entries(filter).map(pair => pair.join(' ')).join(', ')}` : ''}</summary>
			<form class="form" onSubmit=${event => event.preventDefault()}>
				${fields.map(([key, label, hint]) => html`<label class="field" key=${key}><span>${label}</span>
					<input type=${key === 'device' ? 'search' : 'text'} placeholder=${hint} value=${filter[key] ?? ''} autocomplete="off" spellcheck="false"
						onInput=${event => this.set(key, event.target.value.trim())} /></label>`)}
				${this.choice('lane', 'Lane', lanes)}
				${this.choice('last', 'Time', spans)}
				<div class="row">
					<label><input type="checkbox" checked=${Boolean(filter.failures)} onChange=${event => this.set('failures', event.target.checked ? 'yes' : '')} /> failures only</label>
					${active > 0 && html`<button type="button" onClick=${() => {
						history.replaceState(null, '', hashOf('ladder'));
						this.change({});
					}}>Show everything</button>`}
				</div>
			</form>
		</details>`;
	}

	choice(key, label, options) {
		return html`<label class="field"><span>${label}</span><select onChange=${event => this.set(key, event.target.value)}>
			${options.map(([value, text]) => html`<option value=${value} selected=${(this.state.filter[key] ?? '') === value}>${text}</option>`)}
		</select></label>`;
	}
}
