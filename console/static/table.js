// A table that draws only the rows in view, so that thousands of rows scroll without stutter.
import {Component, createRef, h} from './vendor/preact.mjs';
import htm from './vendor/htm.module.js';

const html = htm.bind(h);
const more = 8; // rows drawn above and below those in view
let tables = 0;

// Table shows rows. props:
//   label    what the table has, for screen readers
//   columns  [{key, title, value, cell, end, wide, fixed, grow}]: value(row) is what sorts, row[key] by default; cell(row) is what is
//            shown, value by default; end aligns at the end; wide leaves the column out on a telephone; fixed does not sort;
//            grow is its share of the width, 1 by default
//   rows     an array; another array whenever rows differ
//   id       id(row) tells rows apart; row.id by default
//   sort     [key, descending] at first
//   onOpen   onOpen(row) for Enter, or a click at a row
//   empty    what is shown without rows
//   height   the most that the table takes, in CSS units; 70vh by default
export class Table extends Component {
	scroller = createRef();
	name = 'table' + ++tables;
	state = {first: 0, visible: 30, size: 36, sort: this.props.sort ?? [], active: 0};

	componentDidMount() {
		this.observer = new ResizeObserver(this.measure);
		this.observer.observe(this.scroller.current);
	}

	componentWillUnmount() {
		this.observer.disconnect();
	}

	measure = () => {
		const box = this.scroller.current;
		const size = box.querySelector('tbody.rows tr')?.offsetHeight || this.state.size;
		const first = Math.floor(box.scrollTop / size), visible = Math.ceil(box.clientHeight / size) + 1;
		if (first !== this.state.first || visible !== this.state.visible || size !== this.state.size) this.setState({first, visible, size});
	};

	// sorted returns the rows in order. It begins with the order of the last time: sorting what is nearly in order is quick.
	sorted() {
		const {rows, columns, id = idOf} = this.props, {sort} = this.state, last = this.cache;
		if (last?.rows === rows && last.sort === sort) return last.list;
		const [key, descending] = sort;
		const column = columns.find(c => c.key === key);
		let list = rows;
		if (column) {
			const sign = descending ? -1 : 1;
			list = inOrderOf(last?.sort === sort ? last.list : [], rows, id).map(row => [keyOf(column, row), row])
				.sort((a, b) => sign * compare(a[0], b[0])).map(pair => pair[1]);
		}
		this.cache = {rows, sort, list};
		return list;
	}

	sortBy(key) {
		const [before, descending] = this.state.sort;
		this.setState({sort: [key, before === key && !descending]});
	}

	// go makes a row the active one and scrolls it into view.
	go(index, count) {
		const active = Math.max(0, Math.min(count - 1, index));
		const box = this.scroller.current, {size} = this.state;
		const head = box.querySelector('thead').offsetHeight;
		if (active * size < box.scrollTop) box.scrollTop = active * size;
		const under = (active + 1) * size + head - box.clientHeight;
		if (under > box.scrollTop) box.scrollTop = under;
		this.setState({active});
	}

	onKey = event => {
		if (event.target !== event.currentTarget) return; // a button in the table has the focus
		const list = this.sorted(), {visible} = this.state, active = Math.min(this.state.active, list.length - 1);
		const page = Math.max(1, visible - 2);
		const to = {ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: list.length - 1}[event.key];
		if (to !== undefined) {
			event.preventDefault();
			this.go(to, list.length);
		} else if (event.key === 'Enter' && list[active] && this.props.onOpen) {
			this.props.onOpen(list[active]);
		}
	};

	render({label, columns, empty, height}, {first, visible, size, sort}) {
		const list = this.sorted();
		const from = Math.max(0, Math.min(first, list.length - visible) - more);
		const to = Math.min(list.length, first + visible + more);
		const active = Math.min(this.state.active, list.length - 1);
		const total = columns.reduce((sum, column) => sum + (column.grow ?? 1), 0);
		return html`<div class="table" ref=${this.scroller} style=${{maxHeight: height ?? '70vh'}} onScroll=${this.measure}>
			<table role="grid" aria-label=${label} aria-rowcount=${list.length + 1} tabindex="0" onKeyDown=${this.onKey}
				aria-activedescendant=${active >= from && active < to ? `${this.name}-${active}` : undefined}>
				<thead><tr aria-rowindex="1">${columns.map(column => this.head(column, sort, total))}</tr></thead>
				${space(from * size)}
				<tbody class="rows">${list.slice(from, to).map((row, i) => this.row(row, from + i, from + i === active))}</tbody>
				${space((list.length - to) * size)}
			</table>
			${list.length === 0 && html`<p class="empty">${empty ?? 'None.'}</p>`}
		</div>`;
	}

	head(column, sort, total) {
		const width = {width: 100 * (column.grow ?? 1) / total + '%'};
		if (column.fixed) return html`<th key=${column.key} scope="col" class=${classOf(column)} style=${width}>${column.title}</th>`;
		const order = sort[0] !== column.key ? 'none' : sort[1] ? 'descending' : 'ascending';
		return html`<th key=${column.key} scope="col" class=${classOf(column)} aria-sort=${order} style=${width}>
			<button type="button" class="plain" onClick=${() => this.sortBy(column.key)}>${column.title}<span aria-hidden="true">${{ascending: ' ▲', descending: ' ▼', none: ''}[order]}</span></button>
		</th>`;
	}

	row(row, index, active) {
		const {columns, onOpen, id = idOf} = this.props;
		const open = onOpen && (() => {
			this.setState({active: index});
			onOpen(row);
		});
		return html`<tr key=${id(row)} id=${`${this.name}-${index}`} aria-rowindex=${index + 2} class=${(active ? 'active ' : '') + (onOpen ? 'opens' : '')} onClick=${open}>
			${columns.map(column => html`<td key=${column.key} class=${classOf(column)}>${column.cell ? column.cell(row) : valueOf(column, row)}</td>`)}
		</tr>`;
	}
}

const valueOf = (column, row) => column.value ? column.value(row) : row[column.key];
const classOf = column => (column.end ? 'end ' : '') + (column.wide ? 'wide' : '');
const space = size => size > 0 && html`<tbody aria-hidden="true"><tr><td style=${{height: size + 'px', padding: 0}}></td></tr></tbody>`;

// inOrderOf returns rows in the order that those of the same ids have in before, then the others.
function inOrderOf(before, rows, id) {
	const places = new Map(before.map((row, i) => [id(row), i]));
	const placed = new Array(before.length), others = [];
	for (const row of rows) {
		const at = places.get(id(row));
		if (at === undefined || placed[at]) others.push(row);
		else placed[at] = row;
	}
	return placed.filter(Boolean).concat(others);
}

// keyOf returns what a row is sorted by. Numbers that are written as texts count as numbers, which are quick to compare.
function keyOf(column, row) {
	const value = valueOf(column, row);
	return typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
}

// compare orders numbers by size, then texts as people do: x9 before x10; then what is missing.
function compare(a, b) {
	if (a === b) return 0;
	if (a === undefined || a === null || a === '') return 1;
	if (b === undefined || b === null || b === '') return -1;
	const texts = (typeof a === 'string') - (typeof b === 'string');
	if (texts !== 0) return texts;
	return typeof a === 'string' ? collator.compare(a, b) : a < b ? -1 : 1;
}

const idOf = row => row.id;
const collator = new Intl.Collator(undefined, {numeric: true});
