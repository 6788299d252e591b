// Reading the configuration again: what would change, and then doing it.
import {Action, Component, Live, confirm, count, dateTime, html, notice, toast} from '../../ui.js';
import {get, post} from '../../server.js';

const keys = list => list?.length ? ` (${list.join(', ')})` : '';
const signs = {opened: '+', closed: '-', reopened: '±', changed: '~', 'not opened': '!', 'not reopened': '!'};

// lines makes a list like a diff of a report: [sign, text]. + is new, - ends, ~ changes, ± closes and opens, ! fails, · waits.
export function lines(report) {
	const list = [];
	for (const key of report.changed ?? []) list.push(['~', key]);
	for (const l of report.listeners ?? []) list.push([signs[l.change] ?? '~', `listener ${l.name} ${l.protocol}/${l.transport} ${l.address}: ${l.change}${keys(l.keys)}`]);
	for (const l of report.links ?? []) list.push([signs[l.change] ?? '~', `link ${l.name}: ${l.change}${keys(l.keys)}`]);
	for (const of of report.certificates ?? []) list.push(['~', `certificates of ${of}; connections stay`]);
	for (const e of report.ended?.list ?? []) list.push(['-', `${e.kind}${e.device ? ' of ' + e.device : ''}: ${e.identity} ${e.peer}: ${e.reason}`]);
	const {sessions = 0, monitors = 0, registrations = 0, others = 0, list: ends} = report.ended ?? {};
	const more = sessions + monitors + registrations + others - (ends?.length ?? 0);
	if (more > 0) list.push(['-', `and ${more} more`]);
	for (const w of report.restart ?? []) list.push(['·', `${w.key} waits for a restart: ${w.reason}`]);
	for (const failure of report.failures ?? []) list.push(['!', failure]);
	return list;
}

const kinds = {'+': 'good', '-': 'bad', '!': 'bad', '~': 'warn', '±': 'warn', '·': 'faint'};
const words = {'+': 'opens', '-': 'ends', '!': 'fails', '~': 'changes', '±': 'is opened again', '·': 'waits'};

const Report = ({report}) => {
	const list = lines(report);
	if (list.length === 0) return notice('info', report.dry_run ? 'Nothing would change.' : 'Nothing has changed.');
	return html`<ul class="diff">${list.map(([sign, text]) => html`<li class=${kinds[sign]}><b role="img" aria-label=${words[sign]}>${sign}</b><span>${text}</span></li>`)}</ul>`;
};

const History = ({reload}) => html`<dl class="facts">
	<dt>Loaded</dt><dd>${dateTime(reload.loaded)}</dd>
	<dt>Failures</dt><dd>${reload.failures}</dd>
	${reload.failure && html`<dt>Last failure</dt><dd class="bad">${dateTime(reload.failed)}: ${reload.failure}${reload.partly && ' The rest of the configuration is in use.'}</dd>`}
</dl>`;

export class Reload extends Component {
	state = {report: undefined, failure: ''};

	ask = async dry => {
		this.setState({report: undefined, failure: ''});
		try {
			this.setState({report: await post('/admin/reload' + (dry ? '?dry-run' : ''))});
		} catch (err) {
			this.setState({failure: err.message});
			return;
		}
		if (!dry) toast('The configuration has been reloaded');
	};

	carryOut = async () => {
		const ends = this.state.report.ended?.list?.length ?? 0;
		if (ends === 0 || await confirm({title: 'Reload?', action: 'Reload', danger: true, text: `This ends what the list shows: ${count(ends, 'entry', 'entries')}.`})) await this.ask(false);
	};

	render(_, {report, failure}) {
		return html`
			<${Live} load=${signal => get('/admin/status', {}, {signal})} every=${5000}>${({reload}) => html`<${History} reload=${reload} />`}<//>
			<div class="row"><${Action} class="primary" busy="Reading…" onClick=${() => this.ask(true)}>Show what a reload would change<//>
				${report?.dry_run && html`<${Action} class="danger" busy="Reloading…" onClick=${this.carryOut}>Reload now<//>`}</div>
			${failure && notice('bad', html`<pre>${failure}</pre>`)}
			${report && html`<h3>${report.dry_run ? 'A reload would change' : 'The reload has changed'}</h3><${Report} report=${report} />`}`;
	}
}
