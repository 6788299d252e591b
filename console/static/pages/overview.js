// How the proxy is doing, on one page.
import {Component, Live, Plot, age, badge, count, dateTime, duration, html, notice, number, octets, until} from '../ui.js';
import {get} from '../server.js';
import {Rates} from './overview/rates.js';

export const title = 'Overview';

// rates outlives the page, so that its plots do not begin anew whenever somebody comes back.
const rates = new Rates(['requests', 'events', 'calls', 'refusals']);

async function load(signal) {
	const overview = await get('/admin/overview', {}, {signal});
	rates.add(Date.now(), overview.counters);
	return overview;
}

const Card = ({name, whole, children}) => html`<section class=${'card' + (whole ? ' whole' : '')} aria-label=${name}><h2>${name}</h2>${children}</section>`;

const Tile = ({name, value, href}) => html`<div class="tile"><dt>${href ? html`<a href=${href}>${name}</a>` : name}</dt><dd>${value}</dd></div>`;

const Tiles = ({o}) => html`<dl class="tiles">
	<${Tile} name="Sessions" value=${number(o.core.sessions)} href="#/administration/sessions" />
	<${Tile} name="Monitors" value=${number(o.core.monitors)} href="#/devices" />
	<${Tile} name="Calls" value=${number(o.calls)} href="#/calls" />
	<${Tile} name="Locks" value=${number(o.locks.length)} href="#/administration/locks" />
	<${Tile} name="Memory" value=${octets(o.memory)} />
	<${Tile} name="Up for" value=${html`<span title=${dateTime(o.started)}>${age(o.started)}</span>`} />
	<${Tile} name="Version" value=${o.version || 'development'} />
</dl>`;

const Plots = () => html`<div class="plots">
	${[['requests', 'Requests'], ['events', 'Events'], ['calls', 'Calls'], ['refusals', 'Refusals']].map(([key, name]) =>
		html`<${Plot} label=${name} points=${rates.points(key)} unit="per second" />`)}
</div>`;

// down says why a link is down, and when the proxy tries again.
function down(link) {
	const next = until(link.next);
	return html`<p class="bad">${link.failure || 'no reason is known'}</p>
		${next !== undefined && html`<p class="faint">${next > 0 ? `next attempt in ${duration(Math.ceil(next))}` : 'connecting now'}</p>`}`;
}

const Link = ({link}) => html`<li>
	<div class="row between"><strong>${link.name}</strong>${badge(link.up ? 'good' : 'bad', link.up ? 'up' : 'down')}</div>
	<p class="faint">${[link.type, link.address, `${link.up ? 'up' : 'down'} for ${age(link.since)}`, link.up && link.status !== 'normal' && link.status,
		link.up && Number.isFinite(link.roundTrip) && `round trip ${duration(link.roundTrip)}`, link.up && count(link.monitors, 'monitor')].filter(Boolean).join(' · ')}</p>
	${!link.up && down(link)}
</li>`;

const Server = ({server}) => html`<li>
	<div class="row between"><strong>${server.name}</strong>${badge(server.serves ? 'good' : server.failure ? 'bad' : 'warn', server.serves ? 'listens' : server.failure ? 'failed' : 'stopped')}</div>
	<p class="faint">${server.protocol}/${server.transport} ${server.address}</p>
	${server.failure && html`<p class="bad">${server.failure}</p>`}
</li>`;

// urgency returns the colour of a certificate by the seconds that are left.
const urgency = seconds => seconds < 7 * 86400 ? 'bad' : seconds < 30 * 86400 ? 'warn' : 'good';

function Certificate({certificate}) {
	const left = until(certificate.until);
	return html`<li>
		<div class="row between"><strong>${certificate.of}</strong>${left !== undefined && badge(urgency(left), left > 0 ? duration(left) + ' left' : 'expired')}</div>
		<p class="faint">${certificate.file}</p>
		${certificate.until && html`<p class="faint">until ${dateTime(certificate.until)}</p>`}
	</li>`;
}

const Audit = ({audit}) => !audit ? html`<p class="faint">There is no audit file.</p>` : html`
	${audit.failure ? notice('bad', `The audit file cannot be written since ${dateTime(audit.since)}: ${audit.failure}. Control requests are refused.`) : html`<p>${badge('good', 'written')}</p>`}
	${audit.strangersFailure && notice('bad', `The file of strangers cannot be written since ${dateTime(audit.strangersSince)}: ${audit.strangersFailure}`)}
	<dl class="facts"><dt>Lines</dt><dd>${number(audit.lines)}</dd><dt>Not written</dt><dd>${number(audit.refused)}</dd><dt>Of strangers</dt><dd>${number(audit.strangers)}</dd></dl>`;

const Lock = ({lock}) => html`<li><strong>${lock.name}</strong> <span class="faint">at ${lock.address} (${lock.of}), until ${dateTime(lock.until)}</span></li>`;

const list = (entries, show, empty) => entries.length ? html`<ul class="list">${entries.map(show)}</ul>` : html`<p class="faint">${empty}</p>`;

// troubles returns what an administrator must know first.
const troubles = o => [
	...o.links.filter(l => !l.up).map(l => `The link ${l.name} is down.`),
	...o.servers.filter(s => s.failure).map(s => `The listener ${s.name} could not be opened.`),
	...(o.reload.failure ? [`The last reload has failed: ${o.reload.failure}`] : []),
	...(o.audit?.failure ? ['The audit file cannot be written. Control requests are refused.'] : []),
	...o.certificates.filter(c => until(c.until) < 7 * 86400).map(c => `The certificate of ${c.of} ${until(c.until) > 0 ? 'ends within a week' : 'has expired'}.`),
];

const Troubles = ({o}) => {
	const all = new Set(troubles(o));
	return all.size > 0 && html`<div role="status">${[...all].map(text => html`<div class="notice bad">${text}</div>`)}</div>`;
};

export default class Overview extends Component {
	render() {
		return html`<${Live} load=${load}>${o => html`
			<${Troubles} o=${o} />
			<${Tiles} o=${o} />
			<div class="cards">
				<${Card} name="Rates" whole><${Plots} /><//>
				<${Card} name="Links">${list(o.links, link => html`<${Link} key=${link.name} link=${link} />`, 'There are no links.')}<//>
				<${Card} name="Servers">${list(o.servers, server => html`<${Server} key=${server.name} server=${server} />`, 'There are no listeners.')}<//>
				<${Card} name="Certificates">${list(o.certificates, c => html`<${Certificate} key=${c.of + c.file} certificate=${c} />`, 'No listener and no link has a certificate.')}<//>
				<${Card} name="Audit"><${Audit} audit=${o.audit} /><//>
				<${Card} name="Locks">${list(o.locks.slice(0, 10), lock => html`<${Lock} lock=${lock} />`, 'No name is locked.')}<//>
			</div>`}<//>`;
	}
}
