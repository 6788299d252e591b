// Has a telephone call a number.
//
//     node dial.mjs 100 101
//
// TR87_URL is the proxy (http://127.0.0.1:8880), TR87_TOKEN the token; without one, the proxy knows you by your address.
// It needs Node 20 or later, and no packages.
import {randomUUID} from 'node:crypto';
import {setTimeout as pause} from 'node:timers/promises';

const url = process.env.TR87_URL || 'http://127.0.0.1:8880';

// dial returns the call. The same Idempotency-Key at each attempt: however often it is sent, one call is placed.
async function dial(device, number) {
  const request = {
    method: 'POST', body: JSON.stringify({to: number}),
    headers: {
      'Content-Type': 'application/json', 'Idempotency-Key': randomUUID(),
      ...(process.env.TR87_TOKEN && {Authorization: 'Bearer ' + process.env.TR87_TOKEN}),
    },
  };
  let problem;
  for (let attempt = 0; attempt < 4; attempt++) {
    let retry = 1;
    try {
      const response = await fetch(`${url}/v1/devices/${encodeURIComponent(device)}/calls`, {...request, signal: AbortSignal.timeout(40_000)});
      const answer = await response.json();
      if (response.status === 201) return answer.call;
      problem = new Error(answer.detail);
      if (!response.headers.has('Retry-After')) break;
      retry = Number(response.headers.get('Retry-After'));
    } catch (e) {
      problem = e;
    }
    await pause(retry * 1000);
  }
  throw problem;
}

const [device, number] = process.argv.slice(2);
if (!number) {
  console.error('usage: node dial.mjs DEVICE NUMBER');
  process.exit(1);
}
try {
  console.log('call', await dial(device, number));
} catch (problem) {
  console.error(problem.message);
  process.exit(1);
}
