// Dialogs that keep the focus until they close.
import {Component, createRef, h} from './vendor/preact.mjs';
import htm from './vendor/htm.module.js';

const html = htm.bind(h);

// Dialog is open while it is rendered. props: title, onClose (Escape, or the button), children, actions (buttons), wide.
export class Dialog extends Component {
	element = createRef();

	componentDidMount() {
		this.before = document.activeElement;
		this.element.current.showModal();
	}

	componentWillUnmount() {
		this.element.current.close();
		this.before?.focus?.();
	}

	cancel = event => {
		event.preventDefault();
		this.props.onClose();
	};

	render({title, children, actions, onClose, wide}) {
		return html`<dialog ref=${this.element} class=${wide ? 'wide' : ''} aria-label=${title} onCancel=${this.cancel}>
			<header><h2>${title}</h2><button type="button" class="plain" aria-label="Close" onClick=${onClose}>×</button></header>
			<div class="content">${children}</div>
			${actions && html`<footer>${actions}</footer>`}
		</dialog>`;
	}
}

const pending = {question: null, changed: () => {}};

// confirm asks before something is done, and returns a promise of whether to do it.
// options: title, text, action (the name of the button), danger (whether others notice it).
export const confirm = options => new Promise(resolve => {
	pending.question?.resolve(false);
	pending.question = {...options, resolve};
	pending.changed();
});

// Dialogs is where confirm asks: once, in the shell.
export class Dialogs extends Component {
	componentDidMount() {
		pending.changed = () => this.forceUpdate();
	}

	render() {
		const question = pending.question;
		if (!question) return null;
		const close = yes => () => {
			pending.question = null;
			this.forceUpdate();
			question.resolve(yes);
		};
		return html`<${Dialog} title=${question.title} onClose=${close(false)} actions=${[
			html`<button type="button" onClick=${close(false)}>Cancel</button>`,
			html`<button type="button" class=${question.danger ? 'danger' : 'primary'} onClick=${close(true)}>${question.action}</button>`,
		]}><p>${question.text}</p><//>`;
	}
}
