// Why a request is allowed or refused, and how a number is translated.
import {Component, Field, badge, html, notice} from '../ui.js';
import {get} from '../server.js';

export const title = 'Policy';

// Ask is a form whose answer stands below it. props: name, button (its text), fields [[key, label, hint, required]], ask(values), children(answer).
class Ask extends Component {
	state = {values: {}, answer: undefined, failure: ''};

	ask = async () => {
		this.setState({failure: ''});
		try {
			this.setState({answer: await this.props.ask(this.state.values)});
		} catch (err) {
			this.setState({answer: undefined, failure: err.message});
		}
	};

	submit = event => {
		event.preventDefault();
		this.ask();
	};

	set = key => event => this.setState(({values}) => ({values: {...values, [key]: event.target.value}}));

	render({name, button, fields, children}, {values, answer, failure}) {
		return html`<section class="card" aria-label=${name}><h2>${name}</h2>
			<form class="form" onSubmit=${this.submit}>
				${fields.map(([key, label, hint, required]) => html`<${Field} label=${label} hint=${hint} required=${required} value=${values[key] ?? ''}
					onInput=${this.set(key)} />`)}
				<div class="row"><button class="primary">${button}</button></div>
			</form>
			<div aria-live="polite">
				${failure && notice('bad', failure)}
				${answer && children(answer)}
			</div>
		</section>`;
	}
}

const Decision = ({answer}) => html`
	<p class="verdict">${badge(answer.allowed ? 'good' : 'bad', answer.allowed ? 'allowed' : 'refused')} <strong>${answer.reason}</strong></p>
	<p class="faint">${[answer.rule, answer.at].filter(Boolean).join(' · ')}</p>
	${answer.steps.length > 0 && html`<h3>Rules in order</h3><ol class="steps">
		${answer.steps.map(step => html`<li class=${step.decides ? 'decides' : ''}><code>${step.rule}</code>${step.at && html` <span class="faint">${step.at}</span>`}: ${step.why}</li>`)}
	</ol>`}`;

const Steps = ({steps, none}) => steps.length === 0 ? html`<p class="faint">${none}</p>` : html`<ol class="steps">
	${steps.map(step => html`<li class=${step.fits ? 'decides' : 'faint'}><code>${step.rule}</code>: ${step.fits ? html`fits: <code>${step.number}</code>` : 'does not fit'}</li>`)}
</ol>`;

const Translation = ({answer}) => html`<ol class="way">
	<li><span class="faint">As written</span><code>${answer.written}</code></li>
	<li><span class="faint">Canonical</span><code>${answer.canonical}</code><${Steps} steps=${answer.inward} none="No rule was tried." /></li>
	<li><span class="faint">Link</span><code>${answer.link}</code></li>
	<li><span class="faint">Sent to the switch</span><code>${answer.sent}</code><${Steps} steps=${answer.outward} none="The link has no rules for numbers." /></li>
	<li><span class="faint">Shown to clients that write tel:</span><code>${answer.shown}</code></li>
</ol>`;

const decision = [['identity', 'Identity', 'sip:alice@contoso.com, or crm', true], ['service', 'Service', 'MakeCall, or an action such as call', true],
	['device', 'Device', 'such as 100', true], ['destination', 'Destinations', 'separated by commas'], ['front', 'Front', 'such as sip, xml, asn1 or api']];
const translation = [['number', 'Number', 'as a client writes it', true], ['from', 'From', 'the link whose switch writes it; empty: a client'], ['link', 'To the link', 'empty: the one that has the number']];

export default class Policy extends Component {
	render() {
		return html`
			<${Ask} name="Explain a decision" button="Explain" fields=${decision} ask=${values => get('/admin/explain', values)}>
				${answer => html`<${Decision} answer=${answer} />`}<//>
			<${Ask} name="Translate a number" button="Translate" fields=${translation} ask=${values => get('/admin/numbers', values)}>
				${answer => html`<${Translation} answer=${answer} />`}<//>`;
	}
}
