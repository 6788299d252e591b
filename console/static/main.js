// The shell: login, menu, keyboard, and the page that the hash of the address names: #/page/rest/of/route.
import {Component, Dialog, Dialogs, Toasts, createRef, html, notice, render} from './ui.js';
import {current, logOut, onSession, resume} from './server.js';
import {Login} from './login.js';

// menu has the pages in order: name, text, the key after g. Pages that are not in the menu are reached from others.
const menu = [
	['overview', 'Overview', 'o'],
	['devices', 'Devices', 'd'],
	['calls', 'Calls', 'c'],
	['ladder', 'Ladder', 'l'],
	['browser', 'Browser', 'b'],
	['policy', 'Policy', 'p'],
	['administration', 'Administration', 'a'],
];
const others = {device: 'devices', call: 'calls'}; // page: the one of the menu to which it belongs
const loaded = new Map();

// routeOf reads the hash: the page's name, and the parts after it.
function routeOf(hash) {
	const [name, ...route] = hash.replace(/^#\/?/, '').split('/').map(part => {
		try {
			return decodeURIComponent(part);
		} catch {
			return part;
		}
	});
	const known = menu.some(entry => entry[0] === name) || Object.hasOwn(others, name);
	return {name: known ? name : 'overview', route: known ? route : []};
}

// textOf returns how the menu calls a page.
const textOf = name => menu.find(entry => entry[0] === (others[name] ?? name))[1];

// load imports the module of a page, once.
async function load(name) {
	if (!loaded.has(name)) loaded.set(name, await import(`./pages/${name}.js`));
	return loaded.get(name);
}

// Page shows the page of a route. Its failures stay within it.
class Page extends Component {
	state = {module: undefined, failure: undefined};
	heading = createRef();

	componentDidMount() {
		this.open(this.props.name);
	}

	componentDidUpdate(before) {
		if (before.name !== this.props.name) this.open(this.props.name);
	}

	async open(name) {
		this.setState({module: undefined, failure: undefined});
		try {
			const module = await load(name);
			if (name !== this.props.name) return;
			document.title = module.title + ' · tr87proxy';
			this.setState({module, of: name}, () => this.props.focus && this.heading.current?.focus());
		} catch (failure) {
			console.error(failure);
			if (name === this.props.name) this.setState({failure: 'This page could not be loaded. Is the proxy still there?'});
		}
	}

	componentDidCatch(failure) {
		console.error(failure);
		this.setState({failure: 'This page has failed: ' + failure.message});
	}

	render({name, route}, {module, of, failure}) {
		if (failure) return html`<h1>${textOf(name)}</h1>${notice('bad', failure)}`;
		if (!module || of !== name) return html`<p class="loading" aria-busy="true">Loading…</p>`;
		return html`<h1 tabindex="-1" ref=${this.heading}>${module.title}</h1><${module.default} key=${name} route=${route} />`;
	}
}

const themes = {auto: 'System', light: 'Light', dark: 'Dark'};

// theme returns which colours the user has chosen: auto, light or dark.
const theme = () => {
	const chosen = localStorage.getItem('theme');
	return Object.hasOwn(themes, chosen ?? '') ? chosen : 'auto';
};

function setTheme(name) {
	localStorage.setItem('theme', name);
	document.documentElement.dataset.theme = name;
}

const Help = ({onClose}) => html`<${Dialog} title="Keyboard" onClose=${onClose}>
	<dl class="keys">
		${menu.map(([, text, key]) => html`<div><dt><kbd>g</kbd> <kbd>${key}</kbd></dt><dd>${text}</dd></div>`)}
		<div><dt><kbd>/</kbd></dt><dd>Search on this page</dd></div>
		<div><dt><kbd>↑</kbd> <kbd>↓</kbd> <kbd>PgUp</kbd> <kbd>PgDn</kbd> <kbd>Home</kbd> <kbd>End</kbd></dt><dd>Move in a table</dd></div>
		<div><dt><kbd>Enter</kbd></dt><dd>Open the row</dd></div>
		<div><dt><kbd>Esc</kbd></dt><dd>Close a dialog</dd></div>
		<div><dt><kbd>?</kbd></dt><dd>This help</dd></div>
	</dl>
<//>`;

// Shell is what stands around a page.
class Shell extends Component {
	state = {...routeOf(location.hash), help: false, moved: false, theme: theme()};
	main = createRef();

	componentDidMount() {
		addEventListener('hashchange', this.moved);
		addEventListener('keydown', this.pressed);
	}

	componentWillUnmount() {
		removeEventListener('hashchange', this.moved);
		removeEventListener('keydown', this.pressed);
	}

	moved = () => this.setState({...routeOf(location.hash), moved: true});

	pressed = event => {
		const after = this.after;
		this.after = '';
		const typing = event.target.closest('input, textarea, select, dialog');
		if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
		const entry = after === 'g' && menu.find(([, , key]) => key === event.key);
		if (entry) location.hash = '#/' + entry[0];
		else if (event.key === 'g') this.after = 'g';
		else if (event.key === '?') this.setState({help: true});
		else if (event.key === '/') {
			event.preventDefault();
			this.main.current.querySelector('input[type=search]')?.focus();
		}
	};

	choose = event => {
		setTheme(event.target.value);
		this.setState({theme: event.target.value});
	};

	skip = event => {
		event.preventDefault();
		this.main.current.focus();
	};

	render({session}, {name, route, help, moved, theme: chosen}) {
		const place = others[name] ?? name;
		return html`
			<a class="skip" href="#main" onClick=${this.skip}>Skip to the page</a>
			<header class="top">
				<strong class="brand">tr87proxy</strong>
				<nav aria-label="Pages">${menu.map(([page, text, key]) =>
					html`<a href=${'#/' + page} aria-current=${page === place ? 'page' : undefined} title=${'g ' + key}>${text}</a>`)}</nav>
				<div class="who">
					<span title="You are logged in as">${session.identity}</span>
					<select aria-label="Colours" value=${chosen} onChange=${this.choose}>
						${Object.entries(themes).map(([value, text]) => html`<option value=${value} selected=${value === chosen}>${text}</option>`)}
					</select>
					<button type="button" aria-label="Keyboard help" onClick=${() => this.setState({help: true})}>?</button>
					<button type="button" onClick=${() => logOut().catch(() => {})}>Log out</button>
				</div>
			</header>
			<main id="main" tabindex="-1" ref=${this.main}><${Page} name=${name} route=${route} focus=${moved} /></main>
			${help && html`<${Help} onClose=${() => this.setState({help: false})} />`}`;
	}
}

// Console shows the login, or the shell of the session.
class Console extends Component {
	state = {session: current(), ready: false, failure: ''};

	componentDidMount() {
		onSession((session, failure) => this.setState({session, failure}));
		resume().catch(err => this.setState({failure: err.message})).finally(() => this.setState({ready: true}));
	}

	render(_, {session, ready, failure}) {
		return html`
			${session ? html`<${Shell} session=${session} />` : ready && html`<${Login} failure=${failure} />`}
			<${Dialogs} /><${Toasts} />`;
	}
}

setTheme(theme());
render(html`<${Console} />`, document.getElementById('console'));
