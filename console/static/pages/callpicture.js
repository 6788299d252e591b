// The parties of a call over time, as a picture.
import {Component, html, time} from '../ui.js';
import {book} from './book.js';
import {wordOf} from './parts.js';

const width = 800, left = 150, right = 12, lane = 34, top = 24; // in units of the picture

// CallPicture draws tracks. props: tracks, as Steps has them; now, the time up to which living parties are drawn.
export class CallPicture extends Component {
	render({tracks, now}) {
		const drawn = tracks.filter(track => track.spans.length);
		if (!drawn.length) return null;
		const begin = Math.min(...drawn.map(track => track.spans[0].from));
		const end = Math.max(begin + 1, ...drawn.flatMap(track => track.spans.map(span => span.to ?? now)));
		const x = at => left + (at - begin) / (end - begin) * (width - left - right);
		const height = top + drawn.length * lane + 4;
		return html`<div class="scrolls" tabindex="0" role="group" aria-label="The parties over time">
			<svg class="callpicture" viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${sentence(drawn)}>
				${ticks(begin, end).map(at => html`<g key=${at} class="tick"><line x1=${x(at)} x2=${x(at)} y1=${top - 6} y2=${height} />
					<text x=${x(at)} y="12" text-anchor=${anchor(x(at))}>${time(at, end - begin < 10_000)}</text></g>`)}
				${drawn.map((track, i) => trackOf(track, top + i * lane, x, now))}
			</svg>
		</div>`;
	}
}

// trackOf draws one party.
function trackOf(track, y, x, now) {
	const name = book.nameOf(track.device);
	return html`<g key=${track.call + track.device} class="track">
		<text class="who" x="0" y=${y + 14}>${clipped(track.device)}</text>
		${name && html`<text class="name" x="0" y=${y + 27}>${clipped(name)}</text>`}
		${track.spans.map(span => {
			const from = x(span.from), wide = Math.max(2, x(span.to ?? now) - from);
			return html`<g key=${span.from} class=${'span ' + span.state}>
				<title>${`${track.device} ${wordOf(span.state)} from ${time(span.from, true)}${span.to ? ' to ' + time(span.to, true) : ''}, call ${track.call}`}</title>
				<rect x=${from} y=${y + 3} width=${wide} height=${lane - 12} rx="3" />
				${wide > 60 && html`<text x=${from + 6} y=${y + 18}>${wordOf(span.state)}</text>`}
			</g>`;
		})}
	</g>`;
}

const clipped = text => text.length > 20 ? text.slice(0, 19) + '…' : text;

const anchor = at => at > width - 60 ? 'end' : 'start';

// ticks returns four times from one to another, at equal distances.
function ticks(begin, end) {
	return [0, 1, 2, 3].map(i => begin + (end - begin) * i / 3);
}

// sentence says in words what the picture shows.
const sentence = tracks => tracks.map(track => `${track.device}: ${track.spans.map(span => wordOf(span.state)).join(', then ')}`).join('. ');
