// The login, with the name and password of an account or with a token.
import {Component, Field, html, notice} from './ui.js';
import {logIn} from './server.js';

export class Login extends Component {
	state = {way: 'account', name: '', secret: '', failure: this.props.failure, running: false};

	componentDidMount() {
		document.title = 'Log in · tr87proxy';
	}

	submit = async event => {
		event.preventDefault();
		const {way, name, secret} = this.state;
		this.setState({running: true, failure: ''});
		try {
			await logIn(way === 'account' ? {name, password: secret} : {token: secret.trim()});
		} catch (err) {
			this.setState({running: false, secret: '', failure: err.message});
		}
	};

	set = key => event => this.setState({[key]: event.target.value});

	way(value, text) {
		return html`<label class="choice"><input type="radio" name="way" value=${value} checked=${this.state.way === value}
			onChange=${() => this.setState({way: value, secret: '', failure: ''})} /> ${text}</label>`;
	}

	render(_, {way, name, secret, failure, running}) {
		const account = way === 'account';
		return html`<main class="login">
			<h1>tr87proxy</h1>
			<form onSubmit=${this.submit}>
				<fieldset><legend>Log in with</legend>${this.way('account', 'Account')}${this.way('token', 'Token')}</fieldset>
				${account && html`<${Field} label="Name" name="username" autocomplete="username" required value=${name} onInput=${this.set('name')} />`}
				<${Field} key=${way} label=${account ? 'Password' : 'Token'} type="password" name="password"
					autocomplete=${account ? 'current-password' : 'off'} required value=${secret} onInput=${this.set('secret')} />
				${failure && notice('bad', failure)}
				<button class="primary" disabled=${running}>${running ? 'Logging in…' : 'Log in'}</button>
			</form>
			<p class="note">A grant in the configuration must give you the right: <code>administer: true</code>.</p>
		</main>`;
	}
}
