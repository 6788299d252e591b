// What pages are made of. Text from the proxy is only ever text here: nothing sets innerHTML.
import {Component, Fragment, createRef, h, render} from './vendor/preact.mjs';
import htm from './vendor/htm.module.js';

export {Component, Fragment, createRef, render};
export * from './formats.js';
export {Table} from './table.js';
export {Plot} from './plot.js';
export {Dialog, Dialogs, confirm} from './dialog.js';

// html makes elements of a template: html`<p>${text}</p>`.
export const html = htm.bind(h);

let identifiers = 0;

// identifier returns an id that no other element has.
export const identifier = () => 'id' + ++identifiers;

// notice shows a text beside what it is about. kind is 'good', 'bad', 'warn' or 'info'. A bad one is announced at once.
export const notice = (kind, ...content) =>
	html`<div class=${'notice ' + kind} role=${kind === 'bad' ? 'alert' : 'status'}>${content}</div>`;

// badge shows a state in a word, with a colour of 'good', 'bad', 'warn' or 'info'.
export const badge = (kind, text) => html`<span class=${'badge ' + kind}>${text}</span>`;

// Field is a labelled input. props: label, hint, and those of the input; children replaces the input: a function of its id.
export class Field extends Component {
	id = identifier();

	render({label, hint, children, ...input}) {
		const described = hint ? this.id + '-hint' : undefined;
		return html`<div class="field">
			<label for=${this.id}>${label}</label>
			${typeof children === 'function' ? children(this.id) : html`<input id=${this.id} aria-describedby=${described} autocomplete="off" spellcheck="false" ...${input} />`}
			${hint && html`<small id=${described}>${hint}</small>`}
		</div>`;
	}
}

// Action is a button that is disabled while its promise runs, and shows its failure as a toast.
// props: onClick, which returns a promise; busy, the text meanwhile; and those of the button.
export class Action extends Component {
	state = {running: false};

	run = async event => {
		event.stopPropagation();
		this.setState({running: true});
		try {
			await this.props.onClick(event);
		} catch (err) {
			toast(err.message, 'bad');
		} finally {
			if (!this.gone) this.setState({running: false});
		}
	};

	componentWillUnmount() {
		this.gone = true;
	}

	render({onClick, busy, disabled, children, ...rest}, {running}) {
		return html`<button type="button" ...${rest} disabled=${disabled || running} aria-busy=${running} onClick=${this.run}>
			${running && busy ? busy : children}</button>`;
	}
}

// Live loads something again and again while the page can be seen. props:
//   load   a function of an AbortSignal that returns a promise of the data
//   every  the pause after each in milliseconds; 2000 by default, 0 loads once
//   children  a function (data, {refresh, failure}); it is not called before the first data
// A failure is shown above the last data.
export class Live extends Component {
	state = {data: undefined, failure: undefined};

	refresh = async () => {
		clearTimeout(this.timer);
		this.abort?.abort();
		const abort = this.abort = new AbortController();
		try {
			const data = await this.props.load(abort.signal);
			if (!abort.signal.aborted) this.setState({data, failure: undefined});
		} catch (failure) {
			if (!abort.signal.aborted) this.setState({failure});
		}
		if (!abort.signal.aborted) this.wait();
	};

	wait() {
		const every = this.props.every ?? 2000;
		if (every > 0 && !document.hidden) this.timer = setTimeout(this.refresh, every);
	}

	shown = () => {
		clearTimeout(this.timer);
		if (!document.hidden && this.props.every !== 0) this.refresh();
	};

	componentDidMount() {
		document.addEventListener('visibilitychange', this.shown);
		this.refresh();
	}

	componentWillUnmount() {
		document.removeEventListener('visibilitychange', this.shown);
		clearTimeout(this.timer);
		this.abort.abort();
	}

	render({children}, {data, failure}) {
		const show = Array.isArray(children) ? children.find(child => typeof child === 'function') : children;
		return html`<${Fragment}>
			${failure && notice('bad', failure.message)}
			${data !== undefined ? show(data, {refresh: this.refresh, failure}) : !failure && html`<p class="loading" aria-busy="true">Loading…</p>`}
		<//>`;
	}
}

const toasts = {list: [], changed: () => {}};

// toast shows a text for some seconds, and announces it. kind is 'good', 'bad' or 'info'.
export function toast(text, kind = 'good') {
	const one = {id: identifier(), text, kind};
	toasts.list = [...toasts.list.slice(-3), one];
	toasts.changed();
	setTimeout(() => dismiss(one), kind === 'bad' ? 12_000 : 5000);
}

function dismiss(one) {
	toasts.list = toasts.list.filter(other => other !== one);
	toasts.changed();
}

// Toasts is where toasts appear: once, in the shell.
export class Toasts extends Component {
	componentDidMount() {
		toasts.changed = () => this.forceUpdate();
	}

	render() {
		return html`<div class="toasts" role="log" aria-live="polite" aria-label="Messages">
			${toasts.list.map(one => html`<div key=${one.id} class=${'toast ' + one.kind}>
				<span>${one.text}</span>
				<button type="button" class="plain" aria-label="Dismiss" onClick=${() => dismiss(one)}>×</button>
			</div>`)}
		</div>`;
	}
}
