// What each identity may do with a device.
import {Component, Field, badge, html, notice} from '../ui.js';
import {get} from '../server.js';
import {book} from './book.js';

const services = [['MonitorStart', 'see its calls'], ['AnswerCall', 'answer and hang up'], ['MakeCall', 'call']];

// Rights explains decisions about a device: for the identities that are there now, and those that somebody names.
export class Rights extends Component {
	state = {identities: [], verdicts: {}, named: '', destination: '', failure: ''};

	componentDidMount() {
		this.begin();
	}

	componentWillUnmount() {
		this.gone = true;
	}

	// begin asks about the identities that have sessions.
	async begin() {
		try {
			const {sessions = []} = await get('/admin/status', {sessions: true});
			const names = new Set(sessions.map(one => one.identity.replace(/ \([^()]*\)$/, '')).filter(name => name !== 'nobody' && !name.startsWith('proxy:')));
			for (const name of [...names].slice(0, 20)) await this.ask(name);
		} catch (err) {
			this.fail(err);
		}
	}

	fail(err) {
		if (!this.gone) this.setState({failure: err.message});
	}

	// ask has the proxy explain what it would decide.
	async ask(identity) {
		const {device} = this.props;
		const destination = this.state.destination || (book.order().find(one => one.device !== device)?.device ?? device);
		const list = await Promise.all(services.map(([service]) =>
			get('/admin/explain', {identity, service, device, destination: service === 'MakeCall' ? destination : undefined})));
		if (this.gone) return;
		this.setState(({identities, verdicts}) => ({
			failure: '', identities: [identity, ...identities.filter(one => one !== identity)], verdicts: {...verdicts, [identity]: {list, destination}},
		}));
	}

	explain = event => {
		event.preventDefault();
		const {named, identities} = this.state;
		this.ask(named.trim() || identities[0]).catch(err => this.fail(err));
	};

	render(_, {identities, verdicts, named, destination, failure}) {
		return html`<form class="form" onSubmit=${this.explain}>
				<${Field} label="Identity" hint="such as crm or sip:alice@contoso.com" value=${named} onInput=${event => this.setState({named: event.target.value})} />
				<${Field} label="Calls to" hint="a number; empty: another device" value=${destination} onInput=${event => this.setState({destination: event.target.value})} />
				<div class="row"><button type="submit" disabled=${!named.trim() && !identities.length}>Explain</button></div>
			</form>
			${failure && notice('bad', failure)}
			${identities.length > 0 && html`<div class="scrolls" tabindex="0" role="group" aria-label="Rights"><table class="plain rights">
				<thead><tr><th scope="col">Identity</th>${services.map(([service, text]) => html`<th scope="col" key=${service}>${text}</th>`)}</tr></thead>
				<tbody>${identities.map(name => html`<tr key=${name}><th scope="row">${name}</th>${verdicts[name].list.map(verdict)}</tr>`)}</tbody>
			</table></div>`}`;
	}
}

const verdict = ({service, allowed, reason, at, destinations}) => html`<td key=${service}>
	${allowed ? badge('good', 'allowed') : badge('bad', 'refused')} ${destinations?.join(', ')}<br /><small>${reason}${at && ', ' + at}</small></td>`;
