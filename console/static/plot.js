// A small line over time.
import {Component, h} from './vendor/preact.mjs';
import htm from './vendor/htm.module.js';
import {number} from './formats.js';

const html = htm.bind(h);
const width = 200, height = 48;

// Plot draws values. props: label; points, [[time in milliseconds, value], ...] in order; unit, such as 'per second'.
export class Plot extends Component {
	render({label, points, unit}) {
		const last = points.at(-1)?.[1];
		const most = points.reduce((max, [, value]) => Math.max(max, value), 0);
		const text = last === undefined ? 'no data yet' : `${number(last)} ${unit}, at most ${number(most)}`;
		return html`<figure class="plot">
			<figcaption>${label}</figcaption>
			<strong>${last === undefined ? '–' : number(last)} <small>${unit}</small></strong>
			<svg viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label=${label + ': ' + text}>
				${points.length > 1 && html`<path class="area" d=${line(points, most) + `L${width} ${height}L0 ${height}Z`} />`}
				${points.length > 1 && html`<path class="line" d=${line(points, most)} />`}
			</svg>
		</figure>`;
	}
}

function line(points, most) {
	const begin = points[0][0], span = points.at(-1)[0] - begin || 1;
	return points.map(([at, value], i) => {
		const x = (at - begin) / span * width;
		const y = height - 2 - (most > 0 ? value / most : 0) * (height - 6);
		return (i ? 'L' : 'M') + x.toFixed(1) + ' ' + y.toFixed(1);
	}).join('');
}
