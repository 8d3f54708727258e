import type { LaneOptions, Message } from './message.js';
import { runLane } from './runPlatform.js';

// The one program of all lanes. In a page the options stand behind the # of the address, elsewhere they are the last
// argument; what there is to tell is posted to the server of the page, or printed.

const isPage = typeof document !== 'undefined';

async function tell(message: Message): Promise<void> {
  const line = JSON.stringify(message);
  if (isPage) await fetch('message', { method: 'POST', body: line });
  else process.stdout.write(`${line}\n`);
}

try {
  const text = isPage ? decodeURIComponent(location.hash.slice(1)) : process.argv.at(-1)!;
  if (!navigator.gpu) throw new Error('There is no navigator.gpu.');
  for await (const message of runLane(navigator.gpu, JSON.parse(text) as LaneOptions)) await tell(message);
} catch (error) {
  await tell({ kind: 'broken', message: String(error) });
}
// Devices that a case has left behind would keep the process alive.
if (!isPage) process.exit(0);
