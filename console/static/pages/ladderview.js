// A ladder of records: the client at the left, the proxy in the middle, the switch at the right. It draws the rows in view only.
import {Component, createRef, html, identifier, time} from '../ui.js';
import {failed, summary, translations} from './records.js';

const size = 30; // pixels of a row, as pages.css has it
const more = 10; // rows drawn above and below those in view
const colours = 8;

// LadderView shows records. props: records; groups, the records by exchange; chosen, a record; onChoose; follow, whether new
// records scroll into view; height.
export class LadderView extends Component {
	box = createRef();
	name = identifier();
	state = {first: 0, visible: 30, tail: true};

	componentDidMount() {
		this.observer = new ResizeObserver(this.measure);
		this.observer.observe(this.box.current);
	}

	componentWillUnmount() {
		this.observer.disconnect();
	}

	// Reading the height of the box, or scrolling it, costs a layout: it is scrolled only if there are more or fewer rows.
	componentDidUpdate(before) {
		const {follow, records} = this.props;
		if (follow && this.state.tail && (before.records.length !== records.length || !before.follow)) this.box.current.scrollTop = records.length * size;
	}

	measure = () => {
		const box = this.box.current;
		const first = Math.floor(box.scrollTop / size), visible = Math.ceil(box.clientHeight / size) + 1;
		const tail = box.scrollTop + box.clientHeight >= this.props.records.length * size - size; // the user has not scrolled up
		if (first !== this.state.first || visible !== this.state.visible || tail !== this.state.tail) this.setState({first, visible, tail});
	};

	onKey = event => {
		const {records, chosen, onChoose} = this.props;
		const at = records.indexOf(chosen), page = Math.max(1, this.state.visible - 2), last = records.length - 1;
		const to = {ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: last}[event.key];
		if (to === undefined || last < 0) return;
		event.preventDefault();
		const index = Math.max(0, Math.min(last, to));
		onChoose(records[index]);
		this.reveal(index);
	};

	// reveal scrolls a row into view.
	reveal(index) {
		const box = this.box.current;
		if (index * size < box.scrollTop) box.scrollTop = index * size;
		else if ((index + 2) * size > box.scrollTop + box.clientHeight) box.scrollTop = (index + 2) * size - box.clientHeight;
	}

	render({records, groups, chosen, height, follow}, {first, visible, tail}) {
		if (follow && tail) first = records.length - visible;
		const from = Math.max(0, Math.min(first, records.length - visible) - more), to = Math.min(records.length, first + visible + more);
		const at = chosen ? records.indexOf(chosen) : -1;
		return html`<div class="ladder" style=${{height}}>
			<div class="rung lanes" aria-hidden="true"><span>Time</span><span>Client</span><span></span><span>Proxy</span><span></span><span>Switch</span></div>
			<div class="rungs" ref=${this.box} role="listbox" tabindex="0" aria-label="Records of the trace" onScroll=${this.measure} onKeyDown=${this.onKey}
				aria-activedescendant=${at >= from && at < to ? `${this.name}-${records[at].number}` : undefined}>
				<div role="presentation" style=${{height: from * size + 'px'}}></div>
				${records.slice(from, to).map((record, i) => this.rung(record, records[from + i - 1], groups))}
				<div role="presentation" style=${{height: (records.length - to) * size + 'px'}}></div>
			</div>
		</div>`;
	}

	rung(record, before, groups) {
		const {chosen, onChoose} = this.props;
		const exchange = record.exchange, same = chosen && exchange && chosen.exchange === exchange;
		const classes = ['rung', exchange ? 'x' + exchange % colours : 'none'];
		if (!before || before.exchange !== exchange || !exchange) classes.push('first');
		if (record === chosen) classes.push('chosen');
		else if (same) classes.push('same');
		if (failed(record)) classes.push('failed');
		return html`<div id=${`${this.name}-${record.number}`} role="option" aria-selected=${record === chosen} class=${classes.join(' ')}
			onClick=${() => onChoose(record)}>
			<span class="at">${time(record.time, true)}</span>
			${lanes(record, groups)}
		</div>`;
	}
}

// lanes returns the cells of a record: client, arrow, proxy, arrow, switch.
function lanes(record, groups) {
	const client = record.lane === 'client', message = record.kind !== 'decision' && record.kind !== 'state';
	const who = client ? record.identity || record.front || 'stranger' : '';
	const toTheLeft = client ? record.out : !record.out;
	const arrow = message && html`<span class=${'arrow ' + (toTheLeft ? 'left' : 'right')} title=${summary(record)}>
		<span>${summary(record)}</span></span>`;
	const text = middle(record, groups);
	return html`<span class="end" title=${who}>${who}</span>
		${client && message ? arrow : html`<span class="gap"></span>`}
		<span class="middle" title=${text}>${text}</span>
		${!client && message ? arrow : html`<span class="gap"></span>`}
		<span class="end" title=${record.link ?? ''}>${record.link ?? ''}</span>`;
}

// middle returns what the proxy's column says: the decision with the numbers that it translated, or why something failed.
function middle(record, groups) {
	if (record.kind === 'decision') {
		const changed = translations(groups.get(record.exchange) ?? []).map(([from, to]) => `${from} → ${to}`).join(', ');
		const why = [summary(record), record.reason?.replace(/^allowed /, '')].filter(Boolean).join(': ');
		return [why, changed].filter(Boolean).join('; ');
	}
	if (record.kind === 'state') return [summary(record), record.peer || record.link, record.reason].filter(Boolean).join(': ');
	if (record.kind === 'event' && record.lane === 'client') {
		return translations(groups.get(record.exchange) ?? []).map(([from, to]) => `${to} → ${from}`).join(', ');
	}
	return record.reason ?? '';
}
