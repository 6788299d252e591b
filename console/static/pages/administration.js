// What an administrator does with the running proxy.
import {Component, html} from '../ui.js';
import {current} from '../server.js';
import {Locks} from './administration/locks.js';
import {Reload} from './administration/reload.js';
import {Servers} from './administration/servers.js';
import {Sessions} from './administration/sessions.js';
import {Telephones} from './administration/telephones.js';
import {Webhooks} from './administration/webhooks.js';

export const title = 'Administration';

const parts = [['servers', 'Servers', Servers], ['reload', 'Reload', Reload], ['sessions', 'Sessions', Sessions],
	['locks', 'Locks', Locks], ['webhooks', 'Webhooks', Webhooks], ['telephones', 'Telephones', Telephones]];

export default class Administration extends Component {
	render({route}) {
		const shown = parts.filter(([name]) => name !== 'telephones' || current().demo);
		const [name, text, Part] = shown.find(part => part[0] === route[0]) ?? shown[0];
		return html`
			<nav class="parts" aria-label="Parts of administration">${shown.map(([part, label]) =>
				html`<a href=${'#/administration/' + part} aria-current=${part === name ? 'true' : undefined}>${label}</a>`)}</nav>
			<section class="card" aria-labelledby="part"><h2 id="part">${text}</h2><${Part} key=${name} /></section>`;
	}
}
