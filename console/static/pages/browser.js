// The browser: a form for every request of CSTA, its response, and the events that follow.
import {Action, Component, Live, badge, html, notice, time} from '../ui.js';
import {get, post} from '../server.js';
import {book} from './book.js';
import {MessageForm, filled} from './messageform.js';
import {copyButton, hashOf, stateBadge, tabs} from './parts.js';

export const title = 'Browser';

const first = 'MakeCall';
const shown = 50; // events

export default ({route: [name = first]}) => html`<${Live} every=${0} load=${load}>
	${({requests, api}) => html`<${Browser} requests=${requests} api=${api} name=${requests.some(one => one.name === name) ? name : first} />`}
<//>`;

let table; // the requests, which stay the same

async function load(signal) {
	table ??= (await get('/admin/messages', {}, {signal})).requests;
	const {servers = []} = await get('/admin/status', {}, {signal});
	const api = servers.find(one => one.protocol === 'api');
	return {requests: table, api: api ? `${api.transport === 'tls' ? 'https' : 'http'}://${api.address}` : 'http://127.0.0.1:8880'};
}

class Browser extends Component {
	state = this.begin(this.props.name);

	componentDidMount() {
		this.unused = book.use(() => this.setState({}));
	}

	componentDidUpdate(before) {
		if (before.name !== this.props.name) this.setState(this.begin(this.props.name));
	}

	componentWillUnmount() {
		this.unused();
		clearTimeout(this.timer);
	}

	// begin returns the state of an untouched form: the example of the request.
	begin(name) {
		return {value: this.request(name).example[name] ?? {}, tab: 'json', xml: '', outcome: null, after: 0};
	}

	request(name = this.props.name) {
		return this.props.requests.find(one => one.name === name);
	}

	// body returns the request as JSON has it.
	body(indent) {
		const {name, fields} = this.request();
		return JSON.stringify({[name]: filled(fields, this.state.value)}, null, indent);
	}

	pick = event => {
		if (this.request(event.target.value)) location.hash = hashOf('browser', event.target.value);
	};

	edit = value => this.setState({value}, () => this.state.tab === 'xml' && this.convert());

	choose = tab => this.setState({tab}, () => tab === 'xml' && this.convert());

	// convert has the proxy write the request in XML, once typing pauses.
	convert() {
		clearTimeout(this.timer);
		this.timer = setTimeout(async () => {
			try {
				this.setState({xml: (await get('/admin/messages', {json: this.body()})).xml, failure: ''});
			} catch (err) {
				this.setState({xml: '', failure: err.message});
			}
		}, 250);
	}

	// send sends the request, and shows what comes back: a refusal, too.
	send = dryRun => async () => {
		const begin = book.events.at(-1)?.seq ?? 0, at = new Date();
		const done = outcome => this.setState({outcome: {at, dryRun, ...outcome}, after: begin});
		try {
			done({ok: true, body: await this.deliver(dryRun)});
		} catch (err) {
			if (!err.body) throw err;
			done({ok: false, status: err.status, body: err.body, detail: err.message});
		}
	};

	// deliver sends the request over HTTP, or over the WebSocket, where it may bring events.
	async deliver(dryRun) {
		if (!this.state.socket || dryRun) return post('/v1/csta' + (dryRun ? '?dryRun=true' : ''), JSON.parse(this.body()));
		const {status, body} = await book.stream.request({method: 'POST', path: '/v1/csta', body: JSON.parse(this.body())});
		if (status >= 400) throw Object.assign(new Error(body.detail ?? body.title), {status, body});
		return body;
	}

	render({requests, name}, {value, outcome, socket}) {
		const request = this.request();
		return html`<section class="page">
			<form class="filters" onSubmit=${event => event.preventDefault()}>
				<label>Request <input type="search" list="requests" value=${name} aria-label="Request" onChange=${this.pick} onFocus=${event => event.target.select()} /></label>
				<datalist id="requests">${requests.map(one => html`<option key=${one.name} value=${one.name} />`)}</datalist>
				<select aria-label="All requests" onChange=${this.pick}>${requests.map(one => html`<option key=${one.name} value=${one.name} selected=${one.name === name}>${one.name}</option>`)}</select>
			</form>
			<div class="cards apart">
				<form class="card" aria-label=${name} onSubmit=${event => event.preventDefault()}>
					<h2>${name}</h2>
					<${MessageForm} key=${name} fields=${request.fields} value=${value} onChange=${this.edit} />
					<div class="row apart">
						<${Action} class="primary" busy="Sending…" onClick=${this.send(false)}>Send<//>
						<${Action} busy="Trying…" onClick=${this.send(true)}>Dry run<//>
						<button type="button" onClick=${() => this.setState(this.begin(name))}>Example</button>
						<label><input type="checkbox" checked=${socket} onChange=${event => this.setState({socket: event.target.checked})} /> over the WebSocket, for requests that bring events</label>
					</div>
				</form>
				<div class="card"><h2>As a text</h2>${this.texts()}</div>
			</div>
			${outcome && answer(outcome)}
			${outcome && this.events()}
		</section>`;
	}

	texts() {
		const {tab, xml, failure} = this.state;
		const text = {json: () => this.body(2), xml: () => xml, curl: () => this.curl()}[tab]();
		return html`${tabs('Form', [['json', 'JSON'], ['xml', 'XML'], ['curl', 'curl']], tab, this.choose)}
			<div role="tabpanel">
				${tab === 'xml' && failure ? notice('warn', failure) : html`<pre tabindex="0" aria-label="The request">${text}</pre>`}
				<div class="row">${copyButton(text)}</div>
			</div>`;
	}

	// curl returns a command that sends the request.
	curl() {
		const quoted = this.body().replaceAll("'", "'\\''");
		return `curl --json '${quoted}' \\\n  -H "Authorization: Bearer $TOKEN" ${this.props.api}/v1/csta`;
	}

	// events shows those since the request was sent.
	events() {
		const list = book.events.filter(event => (event.seq ?? 0) > this.state.after).slice(-shown).reverse();
		return html`<div class="card"><h2>Events since then</h2>
			${list.length === 0 ? html`<p class="faint">None yet.</p>` : html`<ul class="list">${list.map((event, i) => html`<li key=${event.id ?? i}>
				<details><summary>${time(event.time, true)} ${event.device} <strong>${event.type}</strong> ${event.state && stateBadge(event.state)} ${event.cause}</summary>
				<pre tabindex="0" aria-label="The event">${JSON.stringify(event.csta ?? event, null, 2)}</pre></details></li>`)}</ul>`}
		</div>`;
	}
}

function answer({at, ok, dryRun, status, detail, body}) {
	const text = JSON.stringify(body ?? {}, null, 2);
	const allowed = dryRun && ok && (body.allowed ? badge('good', 'would be sent') : badge('bad', 'would be refused'));
	return html`<div class="card" role="status"><h2>${dryRun ? 'Dry run' : 'Response'} ${time(at)} ${ok ? allowed || badge('good', 'done') : badge('bad', String(status))}</h2>
		${(detail || body?.detail) && notice(ok ? 'warn' : 'bad', detail || body.detail)}
		<pre tabindex="0" aria-label="The response">${text}</pre><div class="row">${copyButton(text)}</div></div>`;
}
