// How times, durations and numbers read.

const clock = new Intl.DateTimeFormat(undefined, {hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23'});
const precise = new Intl.DateTimeFormat(undefined, {hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23'});
const whole = new Intl.NumberFormat();
const fraction = new Intl.NumberFormat(undefined, {maximumFractionDigits: 1});

// dateOf returns a Date from what JSON has; undefined from nothing, or from Go's zero time.
function dateOf(at) {
	if (!at) return undefined;
	const date = at instanceof Date ? at : new Date(at);
	return Number.isNaN(date.getTime()) || date.getUTCFullYear() <= 1 ? undefined : date;
}

// time returns 15:04:05; with millis 15:04:05.123. '' from no time.
export function time(at, millis) {
	const date = dateOf(at);
	return date ? (millis ? precise : clock).format(date) : '';
}

// day returns 2026-11-30, in local time.
export function day(at) {
	const date = dateOf(at);
	if (!date) return '';
	return [date.getFullYear(), date.getMonth() + 1, date.getDate()].map(part => String(part).padStart(2, '0')).join('-');
}

// dateTime returns 2026-11-30 15:04:05, in local time.
export const dateTime = at => dateOf(at) ? day(at) + ' ' + time(at) : '';

const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];

// duration returns seconds in at most two units: 2 d 4 h, 3 min 12 s, 45 s, 12 ms.
export function duration(seconds) {
	if (!Number.isFinite(seconds)) return '';
	if (Math.abs(seconds) < 1 && seconds !== 0) return Math.round(seconds * 1000) + ' ms';
	let rest = Math.round(Math.abs(seconds));
	const parts = [];
	for (const [unit, size] of units) {
		const count = Math.floor(rest / size);
		rest -= count * size;
		if (count > 0) parts.push(count + ' ' + unit);
		else if (parts.length) break;
		if (parts.length === 2) break;
	}
	return (seconds < 0 ? '-' : '') + (parts.join(' ') || '0 s');
}

// age returns how long ago a time was, as duration; '' from no time.
export function age(at, now = Date.now()) {
	const date = dateOf(at);
	return date ? duration(Math.max(0, Math.round((now - date) / 1000))) : '';
}

// until returns the seconds from now to a time; undefined from no time.
export function until(at, now = Date.now()) {
	const date = dateOf(at);
	return date && (date - now) / 1000;
}

// number returns 1,234, and one digit after the point below 100.
export const number = value => Number.isFinite(value) ? (Math.abs(value) < 100 ? fraction : whole).format(value) : '';

// octets returns 1.2 MiB.
export function octets(count) {
	if (!Number.isFinite(count)) return '';
	const names = ['octets', 'KiB', 'MiB', 'GiB', 'TiB'];
	let step = 0;
	for (; count >= 1024 && step < names.length - 1; step++) count /= 1024;
	return number(count) + ' ' + names[step];
}

// count returns 1 call, 2 calls. several is the plural, one + 's' by default.
export const count = (amount, one, several = one + 's') => number(amount) + ' ' + (amount === 1 ? one : several);
