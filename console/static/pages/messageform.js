// A form for the members of a message, made from its fields, as /admin/messages lists them.
import {Component, html, identifier} from '../ui.js';
import {book} from './book.js';

const offered = 200; // devices

// MessageForm edits a group. props: fields; value, an object; onChange, which gets another object.
export class MessageForm extends Component {
	devices = identifier();

	render({fields, value, onChange}) {
		return html`<div class="message">
			<datalist id=${this.devices}>${book.order().slice(0, offered).map(device => html`<option key=${device.device} value=${device.device}>${device.name}</option>`)}</datalist>
			${group(fields, false, value, onChange, {devices: this.devices, path: ''})}
		</div>`;
	}
}

// group edits an object: its mandatory members, those that it has, and a button for each other one.
function group(fields, choice, value, onChange, context) {
	const chosen = choice && fields.some(field => field.name in value);
	const shown = fields.filter(field => field.name in value || !field.optional);
	const others = chosen ? [] : fields.filter(field => !shown.includes(field));
	const set = (name, member) => onChange({...value, [name]: member});
	return html`${shown.map(field => html`<div key=${field.name} class="member">
			${member(field, value[field.name] ?? initial(field), one => set(field.name, one), {...context, path: context.path + '.' + field.name})}
			${field.optional && html`<button type="button" class="plain" aria-label=${'Leave out ' + field.name} onClick=${() => onChange(without(value, field.name))}>×</button>`}
		</div>`)}
		${others.length > 0 && html`<div class="others" role="group" aria-label="Optional members"><span class="faint">${choice ? 'one of' : 'add'}</span>
			${others.map(field => html`<button type="button" key=${field.name} onClick=${() => set(field.name, initial(field))}>${field.name}</button>`)}</div>`}`;
}

function member(field, value, onChange, context) {
	if (field.list) return list(field, value, onChange, context);
	if (field.type === 'group') {
		return html`<fieldset><legend>${field.name}</legend>${group(field.fields ?? [], field.choice, value, onChange, context)}</fieldset>`;
	}
	return leaf(field, value, onChange, context);
}

// list edits an array.
function list(field, value, onChange, context) {
	const item = {...field, list: false};
	return html`<fieldset><legend>${field.name}, a list</legend>
		${value.map((one, i) => html`<div key=${i} class="member">
			${member({...item, name: `${field.name} ${i + 1}`}, one, changed => onChange(value.with(i, changed)), {...context, path: `${context.path}.${i}`})}
			<button type="button" class="plain" aria-label=${`Remove ${field.name} ${i + 1}`} onClick=${() => onChange(value.toSpliced(i, 1))}>×</button></div>`)}
		<button type="button" onClick=${() => onChange([...value, initial(item)])}>Add to ${field.name}</button>
	</fieldset>`;
}

// leaf edits a single value.
function leaf(field, value, onChange, context) {
	const id = 'member' + context.path;
	const input = {id, name: context.path.slice(1), autocomplete: 'off', spellcheck: false};
	const text = event => onChange(event.target.value);
	const control = {
		boolean: () => choice(id, ['true', 'false'], String(value), one => onChange(one === '' ? '' : one === 'true')),
		mark: () => html`<span class="faint" id=${id}>yes</span>`,
		integer: () => html`<input ...${input} type="number" step="1" value=${value} onInput=${event => onChange(numberOf(event))} />`,
		number: () => html`<input ...${input} type="number" step="any" value=${value} onInput=${event => onChange(numberOf(event))} />`,
		device: () => html`<input ...${input} list=${context.devices} value=${value} onInput=${text} />`,
		text: () => field.values ? choice(id, field.values, value, onChange) : html`<input ...${input} value=${value} onInput=${text} />`,
	}[field.type];
	return html`<div class="field"><label for=${id}>${field.name}${!field.optional && ' *'}</label>${control()}</div>`;
}

const choice = (id, values, value, onChange) => html`<select id=${id} onChange=${event => onChange(event.target.value)}>
	<option value="" selected=${value === ''}></option>
	${values.map(one => html`<option key=${one} value=${one} selected=${one === value}>${one}</option>`)}
</select>`;

const numberOf = event => Number.isNaN(event.target.valueAsNumber) ? '' : event.target.valueAsNumber;

const without = (value, name) => Object.fromEntries(Object.entries(value).filter(([key]) => key !== name));

// initial returns the value of a field that has just been added.
function initial({type, list: several}) {
	if (several) return [];
	return {group: {}, mark: true}[type] ?? '';
}

// filled returns what a form has, without optional members that are empty, and with all mandatory groups.
export function filled(fields, value) {
	const out = {};
	for (const field of fields) {
		const own = value[field.name] ?? (field.optional ? undefined : initial(field));
		if (own === undefined || own === '' && (field.optional || field.type !== 'text' && field.type !== 'device')) continue;
		if (field.type !== 'group') out[field.name] = own;
		else out[field.name] = field.list ? own.map(one => filled(field.fields ?? [], one)) : filled(field.fields ?? [], own);
	}
	return out;
}
