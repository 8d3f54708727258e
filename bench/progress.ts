import { formatDuration, formatMs, formatRatio } from './format.js';
import { wasSkipped, type Row } from './results.js';

const BAR_WIDTH = 24;

/** Shows on stderr how far the run is: in one line that changes on a terminal, else a line for each row that is done. */
export class Progress {
  readonly #nRows: number;
  readonly #start = performance.now();
  readonly #live = process.stderr.isTTY;
  #done = 0;

  constructor(nRows: number) {
    this.#nRows = nRows;
  }

  /** `share` of the row that is under way is done, and `step` comes next. */
  update(name: string, share: number, step: string): void {
    if (!this.#live) return;
    const all = (this.#done + share) / this.#nRows;
    const filled = Math.round(all * BAR_WIDTH);
    const bar = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled);
    this.#draw(`${bar} ${this.#done + 1}/${this.#nRows} ${this.#elapsed()}  ${name}: ${step}`);
  }

  finishRow(name: string, row: Row): void {
    this.#done++;
    this.#clear();
    const line = `${this.#done}/${this.#nRows} ${this.#elapsed()}  ${name}: ${outcome(row)}`;
    process.stderr.write(`${line}\n`);
  }

  #elapsed(): string {
    return formatDuration(performance.now() - this.#start);
  }

  #draw(line: string): void {
    this.#clear();
    process.stderr.write(line.slice(0, (process.stderr.columns || 80) - 1));
  }

  #clear(): void {
    if (this.#live) process.stderr.write('\r\u001B[K');
  }
}

function outcome(row: Row): string {
  if (row.status === 'failed') return `FAILED: ${row.message}`;
  const { pageflash, naive, speedup } = row;
  const own = `pageflash ${formatMs(pageflash.ms.median)}`;
  if (wasSkipped(naive)) return `${own}, naive not run: ${naive.skipped}`;
  return `${own}, naive ${formatMs(naive.ms.median)}, ${formatRatio(speedup!.median)} as fast`;
}
