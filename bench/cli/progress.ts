import { formatDuration, formatFraction, formatMs, formatRatio, formatUs } from '../../tools/format.js';
import { hasRun, wasSkipped, type OnnxRow, type RecordingRow, type Row } from '../results.js';

const BAR_WIDTH = 24;

/** Shows progress on stderr: a bar on a terminal, and one line for each finished row. */
export class Progress {
  readonly #nRows: number;
  readonly #start = performance.now();
  readonly #live = process.stderr.isTTY;
  #finished = 0;

  constructor(nRows: number) {
    this.#nRows = nRows;
  }

  /** Shows that `done` (0 to 1) of the current row is done, and that `step` comes next. */
  update(name: string, done: number, step: string): void {
    if (!this.#live) return;
    const all = (this.#finished + done) / this.#nRows;
    const filled = Math.round(all * BAR_WIDTH);
    const bar = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled);
    this.#draw(`${bar} ${this.#finished + 1}/${this.#nRows} ${this.#elapsed()}  ${name}: ${step}`);
  }

  /** Prints the outcome of the current row. */
  finishRow(name: string, outcome: string): void {
    this.#finished++;
    this.#clear();
    const line = `${this.#finished}/${this.#nRows} ${this.#elapsed()}  ${name}: ${outcome}`;
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

/** A row's result in one line. */
export function outcomeOf(row: Row): string {
  if (row.status === 'failed') return `FAILED: ${row.message}`;
  const peers = row.peers.map((peer) =>
    wasSkipped(peer)
      ? `${peer.name} not run: ${peer.skipped}`
      : `${peer.name} ${formatMs(peer.ms.median)} (${formatRatio(peer.speedup.median)})`,
  );
  return [`pageflash ${formatMs(row.pageflash.ms.median)}`, ...peers].join(', ');
}

/** The cost of recording in one line. */
export function recordingOutcomeOf(recording: RecordingRow): string {
  if (recording.status === 'failed') return `FAILED: ${recording.message}`;
  const { layerUs, dispatchesPerLayer, dispatchUs } = recording.costs[0]!;
  return `a planned layer of ${dispatchesPerLayer} dispatches ${formatUs(layerUs.median)}, a bare dispatch ${formatUs(dispatchUs.median)}`;
}

/** A row beside onnxruntime-web in one line. */
export function onnxOutcomeOf(row: OnnxRow): string {
  if (row.status !== 'measured') return `${row.status === 'failed' ? 'FAILED' : 'not run'}: ${row.message}`;
  const modes = row.modes.map((mode) =>
    hasRun(mode)
      ? `${mode.mode} ${formatMs(mode.ms.median)}${mode.right ? '' : ' WRONG'} (${formatFraction(mode.ratio.median)})`
      : `${mode.mode} not run: ${mode.skipped}`,
  );
  return [`pageflash ${formatMs(row.pageflashMs.median)}`, ...modes].join(', ');
}
