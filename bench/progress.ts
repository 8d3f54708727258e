import { formatDuration, formatMs, formatRatio, formatUs } from './format.js';
import type { RecordingRow } from './recording/results.js';
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

  finishRow(name: string, outcome: string): void {
    this.#done++;
    this.#clear();
    const line = `${this.#done}/${this.#nRows} ${this.#elapsed()}  ${name}: ${outcome}`;
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

/** A row in a line. */
export function outcomeOf(row: Row): string {
  if (row.status === 'failed') return `FAILED: ${row.message}`;
  const rivals = row.rivals.map((rival) =>
    wasSkipped(rival)
      ? `${rival.name} not run: ${rival.skipped}`
      : `${rival.name} ${formatMs(rival.ms.median)} (${formatRatio(rival.speedup.median)})`,
  );
  return [`pageflash ${formatMs(row.pageflash.ms.median)}`, ...rivals].join(', ');
}

export function recordingOutcomeOf(recording: RecordingRow): string {
  if (recording.status === 'failed') return `FAILED: ${recording.message}`;
  const { layerUs, dispatchesPerLayer, dispatchUs } = recording.costs[0]!;
  return `a planned layer of ${dispatchesPerLayer} dispatches ${formatUs(layerUs.median)}, a bare dispatch ${formatUs(dispatchUs.median)}`;
}
