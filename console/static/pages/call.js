// A call: its parties over time, its causes, and its ladder.
import {Component, Live, age, html, notice, time} from '../ui.js';
import {get} from '../server.js';
import {book} from './book.js';
import {CallPicture} from './callpicture.js';
import {Steps} from './callsteps.js';
import {LadderView} from './ladderview.js';
import {RecordView} from './recordview.js';
import {Follower, exchanges} from './records.js';
import {callLink, deviceLink, hashOf, stateBadge, wordOf} from './parts.js';

export const title = 'Call';

const kept = 2000; // records

export default ({route: [call = '']}) => html`<${Call} key=${call} call=${call} />`;

class Call extends Component {
	state = {chosen: null};
	steps = new Steps();

	componentDidMount() {
		this.unused = book.use(() => this.setState({}));
		this.follower = new Follower({call: this.props.call, oldest: true}, kept, () => {
			this.steps.take(this.follower.records);
			this.setState({});
		});
		this.timer = setInterval(() => this.setState({}), 1000); // for what lasts
	}

	componentWillUnmount() {
		this.unused();
		this.follower.stop();
		clearInterval(this.timer);
	}

	render({call}) {
		const known = book.calls.get(call) ?? book.past.find(one => one.call === call);
		const records = this.follower?.records ?? [], tracks = [...this.steps.tracks.values()];
		if (this.grouped?.of !== records) this.grouped = {of: records, groups: exchanges(records)};
		return html`<section class="page">
			<div class="cards apart">
				<div class="card"><h2>${call}</h2>${known ? about(known, this.steps.list.at(-1)?.cause) : html`<p class="faint">${book.listed ? 'The call is not there any more, or has not been seen since this page was opened.' : 'Loading…'}</p>`}</div>
				<div class="card"><h2>Parties now</h2>${known && !known.over ? this.parties(call) : html`<p class="faint">None.</p>`}</div>
			</div>
			<div class="card"><h2>Parties over time</h2>
				${tracks.length ? html`<${CallPicture} tracks=${tracks} now=${Date.now()} />` : html`<p class="faint">The trace has no events of this call.</p>`}
				${this.others(call, tracks)}
			</div>
			<div class="card"><h2>What happened</h2>${this.happened()}</div>
			${this.ladder(call, records)}
		</section>`;
	}

	parties(call) {
		return html`<${Live} every=${3000} load=${signal => get('/v1/calls/' + encodeURIComponent(call), {}, {signal})}>
			${({parties}) => html`<ul class="list">${parties.map(({number = 'unknown', state = ''}) => html`<li key=${number}>
				${deviceLink(number, book.nameOf(number))} ${state && stateBadge(state)}</li>`)}</ul>`}
		<//>`;
	}

	// others names the calls that this one came from or became.
	others(call, tracks) {
		const list = [...new Set(this.follower?.records.flatMap(record => record.lane === 'client' ? record.calls ?? [] : []) ?? [])].filter(one => one !== call);
		return tracks.length > 0 && list.length > 0 && html`<p>Calls in the same exchanges: ${list.map(one => html`<span key=${one}>${callLink(one)} </span>`)}</p>`;
	}

	happened() {
		const list = this.steps.list;
		if (!list.length) return html`<p class="faint">Nothing that the trace has.</p>`;
		return html`<div class="scrolls"><table class="plain"><thead><tr><th scope="col">Time</th><th scope="col">Party</th><th scope="col">State</th><th scope="col">Event</th><th scope="col">Cause</th></tr></thead>
			<tbody>${list.map((step, i) => html`<tr key=${i}><td>${time(step.at, true)}</td><td>${deviceLink(step.device, book.nameOf(step.device))}</td>
				<td>${wordOf(step.state)}</td><td>${step.event}</td><td>${step.cause}</td></tr>`)}</tbody></table></div>`;
	}

	ladder(call, records) {
		const {chosen} = this.state, choose = record => this.setState({chosen: record});
		return html`<h2>Ladder</h2>
			${this.follower?.failure && notice('bad', this.follower.failure)}
			<div class="split">
				<${LadderView} records=${records} groups=${this.grouped.groups} chosen=${chosen} onChoose=${choose} height=${Math.min(480, 40 + 30 * Math.max(3, records.length)) + 'px'} />
				${chosen && html`<${RecordView} key=${chosen.number} record=${chosen} group=${this.grouped.groups.get(chosen.exchange) ?? [chosen]} onChoose=${choose} onClose=${() => choose(null)} />`}
			</div>
			<p><a href=${hashOf('ladder', 'call', call)}>Filter and save this ladder</a></p>`;
	}
}

const about = (known, cause) => html`<dl class="facts">
	<dt>State</dt><dd>${known.over ? html`ended at ${time(known.over)}` : html`since ${time(known.since)}, for ${age(known.since)}`}</dd>
	<dt>Caller</dt><dd>${known.caller ? deviceLink(known.caller, book.nameOf(known.caller)) : 'not known'}</dd>
	<dt>Called</dt><dd>${known.called ? deviceLink(known.called, book.nameOf(known.called)) : 'not known'}</dd>
	<dt>Link</dt><dd>${known.link}</dd>
	<dt>Last cause</dt><dd>${cause || known.cause || 'none'}</dd>
</dl>`;
