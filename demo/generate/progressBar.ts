import { formatBytes } from '../engine/engineError.js';
import type { Progress } from '../engine/files/loadProgress.js';

const WIDTH = 30;
/** A terminal shows no more pictures a second than this. */
const INTERVAL_MS = 100;
/** A shorter load needs no bar. */
const QUIET_MS = 500;

/** How far a model is loaded, in one line of the terminal that is cleared at the end. */
export class ProgressBar {
  readonly #start = performance.now();
  #shown = 0;

  show({ bytes, totalBytes, secondsLeft }: Progress): void {
    const now = performance.now();
    if (!process.stderr.isTTY || now - this.#start < QUIET_MS || now - this.#shown < INTERVAL_MS) return;
    this.#shown = now;
    const filled = Math.round((WIDTH * bytes) / totalBytes);
    const left = secondsLeft === undefined ? '' : `, ${Math.ceil(secondsLeft)} s left`;
    const bar = '█'.repeat(filled) + '░'.repeat(WIDTH - filled);
    process.stderr.write(`\r\x1b[K${bar} ${formatBytes(bytes)} of ${formatBytes(totalBytes)}${left}`);
  }

  end(): void {
    if (this.#shown > 0) process.stderr.write('\r\x1b[K');
  }
}
