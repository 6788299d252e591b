// Requests to the proxy that serves this page: the session, /admin, and the API under /v1.

let session = null;
const listeners = new Set();

// current returns the session, {identity, csrf, until, version, demo}, or null without one.
export const current = () => session;

// onSession calls listener with the session whenever it changes, and why it has ended. It returns a function that ends this.
export function onSession(listener) {
	listeners.add(listener);
	return () => listeners.delete(listener);
}

function setSession(value, why = '') {
	session = value;
	for (const listener of listeners) listener(value, why);
}

// Failure is the error of a request that the proxy refused, or that did not reach it (status 0).
export class Failure extends Error {
	constructor(status, message, body) {
		super(message);
		this.status = status;
		this.body = body;
	}
}

// address returns a path with a query. Parameters that are undefined, null or '' are left out; true stands alone.
export function address(path, params) {
	const query = Object.entries(params ?? {})
		.filter(([, value]) => value !== undefined && value !== null && value !== '' && value !== false)
		.map(([key, value]) => encodeURIComponent(key) + (value === true ? '' : '=' + encodeURIComponent(value)));
	return query.length ? path + '?' + query.join('&') : path;
}

let attended = true; // whether somebody has touched keyboard, mouse or screen since the last request

for (const what of ['keydown', 'pointerdown', 'wheel']) addEventListener(what, () => { attended = true; }, {capture: true, passive: true});

// send sends a request and returns the response. A 401 ends the session: the page then shows the login.
async function send(method, path, {params, body, headers, signal} = {}) {
	const init = {method, signal, headers: {Accept: 'application/json', ...headers}, credentials: 'same-origin', cache: 'no-store'};
	if (!attended) init.headers['X-Unattended'] = 'true'; // it does not have the login last longer
	attended = false;
	if (method !== 'GET' && session) init.headers['X-CSRF-Token'] = session.csrf;
	if (body !== undefined) {
		const text = typeof body === 'string';
		init.body = text ? body : JSON.stringify(body);
		init.headers['Content-Type'] ??= text ? 'text/plain' : 'application/json';
	}
	let response;
	try {
		response = await fetch(address(path, params), init);
	} catch (err) {
		if (err.name === 'AbortError') throw err;
		throw new Failure(0, 'The proxy does not respond.');
	}
	if (response.ok) return response;
	if (response.status === 401 && session) setSession(null, 'Your session has ended. Log in again.');
	throw await failureOf(response);
}

// failureOf reads why a request failed: {"error": text}, or a problem document of the API.
async function failureOf(response) {
	const text = await response.text().catch(() => '');
	let body;
	try {
		body = JSON.parse(text);
	} catch {
		body = undefined;
	}
	return new Failure(response.status, body?.error || body?.detail || body?.title || `The proxy responded ${response.status} ${response.statusText}.`, body);
}

async function decoded(response) {
	if (response.status === 204) return undefined;
	const type = response.headers.get('Content-Type') ?? '';
	return /[/+]json/.test(type) ? response.json() : response.text();
}

// get returns what a path has: decoded JSON, or else its text. options are {params, headers, signal}.
export const get = async (path, params, options) => decoded(await send('GET', path, {params, ...options}));

// post sends a body, which may be undefined, and returns what the response has.
export const post = async (path, body, options) => decoded(await send('POST', path, {body, ...options}));

// put and remove are post with these methods.
export const put = async (path, body, options) => decoded(await send('PUT', path, {body, ...options}));
export const remove = async (path, options) => decoded(await send('DELETE', path, options));

// download has the browser store what a path has as a file.
export async function download(path, params, name) {
	save(await (await send('GET', path, {params})).blob(), name);
}

// save has the browser store a blob, or text, as a file.
export function save(content, name) {
	const link = document.createElement('a');
	const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], {type: 'text/plain'}));
	link.href = url;
	link.download = name;
	link.click();
	setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// resume takes up the session of the cookie, if it has one.
export async function resume() {
	try {
		setSession(await get('/session'));
	} catch (err) {
		if (err.status !== 401) throw err;
		setSession(null);
	}
}

// logIn opens a session with {name, password} or {token}.
export async function logIn(credentials) {
	setSession(await post('/session', credentials));
}

// logOut closes the session.
export async function logOut() {
	try {
		await remove('/session');
	} finally {
		setSession(null);
	}
}
