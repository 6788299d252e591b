// Prints who calls a telephone, as soon as it rings.
//
//     node screenpop.mjs 101
//
// TR87_URL is the proxy (http://127.0.0.1:8880), TR87_TOKEN the token; without one, the proxy knows you by your address.
// The file screenpop-101.position has the last event that was handled: after a restart, calls that came meanwhile are
// printed, too. It needs Node 20 or later, and no packages.
import {existsSync, readFileSync, renameSync, writeFileSync} from 'node:fs';
import {setTimeout as pause} from 'node:timers/promises';

const url = process.env.TR87_URL || 'http://127.0.0.1:8880';
const headers = process.env.TR87_TOKEN ? {Authorization: 'Bearer ' + process.env.TR87_TOKEN} : {};
const silence = 75_000; // milliseconds; the proxy sends a heartbeat every 30 seconds

// events yields the events of a stream, until it ends.
async function* events(device, after) {
  const query = new URLSearchParams({devices: device, types: 'delivered,snapshot', snapshot: 'true', ...(after && {after})});
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(new Error('nothing was heard of the proxy')), silence);
  try {
    const response = await fetch(`${url}/v1/events?${query}`, {headers, signal: stop.signal});
    if (!response.ok) {
      const json = response.headers.get('Content-Type')?.startsWith('application/problem+json');
      const problem = json ? (await response.json()).detail : await response.text();
      if (response.status < 500 && response.status !== 429) { // it would be the same the next time
        console.error(problem);
        process.exit(1);
      }
      throw new Error(problem);
    }
    let rest = '';
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
      timer.refresh();
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith('data: ')) yield JSON.parse(line.slice(6));
      }
    }
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

const show = (call, device) => console.log(`${call.caller ?? 'somebody'} calls ${device}`);

function handle(event, device) {
  if (event.type === 'delivered' && event.state === 'alerting') {
    show(event, device);
  } else if (event.type === 'snapshot') { // the calls that there are, at the beginning and after a gap
    event.calls.filter(call => call.state === 'alerting').forEach(call => show(call, device));
  } else if (event.type === 'gap') {
    console.error('events are missing:', event.reason);
  }
}

const [device] = process.argv.slice(2);
if (!device) {
  console.error('usage: node screenpop.mjs DEVICE');
  process.exit(1);
}
const file = `screenpop-${device}.position`;
let after = existsSync(file) ? readFileSync(file, 'ascii').trim() : '';
for (;;) {
  try {
    for await (const event of events(device, after)) {
      handle(event, device);
      if (event.id !== after) { // only now: an event that was not handled comes again
        after = event.id;
        writeFileSync(file + '.new', after);
        renameSync(file + '.new', file);
      }
    }
  } catch (problem) {
    console.error('no events:', problem.message);
  }
  await pause(2000);
}
