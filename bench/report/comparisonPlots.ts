import { formatBytes, formatMs, formatRatio, threeDigits } from '../../tools/format.js';
import { lengthOf } from '../cases/cases.js';
import { wasSkipped, type MeasuredRow, type Measurement, type Peer } from '../results.js';
import {
  linearScale,
  logScale,
  plot,
  type LogTicks,
  type Mark,
  type PlotArgs,
  type PlotRow,
} from './plot.js';

/** Time per call of pageflash and its peers. */
export function timePlot(rows: readonly MeasuredRow[]): string {
  return plot({
    title: 'Time per call',
    axis: 'milliseconds per call, logarithmic',
    kind: 'dots',
    rows: rows.map((row) =>
      comparison(row, ({ ms }) => ({ value: ms.median, spread: [ms.q1, ms.q3] as const })),
    ),
    ...timeScale,
  });
}

/** Extra GPU memory of pageflash and naive attention. */
export function memoryPlot(rows: readonly MeasuredRow[]): string {
  return plot({
    title: 'Extra GPU memory',
    axis: 'GPU memory besides inputs and output, logarithmic',
    kind: 'dots',
    rows: rows.map(({ peers, ...row }) => {
      // attn_prefill takes the same memory as pageflash.
      const naive = peers.filter(({ name }) => name === 'naive');
      return comparison({ ...row, peers: naive }, ({ memoryBytes }) => ({ value: memoryBytes }));
    }),
    scale: (args) => logScale(args, BINARY),
    format: formatBytes,
    formatTick: formatBytes,
  });
}

/** Speed-up over each peer of a row, as bars. */
export function speedupPlot(rows: readonly MeasuredRow[]): string {
  return plot({
    title: 'Speed-up',
    axis: 'time of the peer ÷ time of pageflash',
    kind: 'bars',
    rows: rows.flatMap((row) => row.peers.map((peer) => speedupRow(row, peer))),
    scale: linearScale,
    format: formatRatio,
    formatTick: (ratio) => `${threeDigits(ratio)}×`,
    reference: 1,
  });
}

function speedupRow(row: MeasuredRow, peer: Peer): PlotRow {
  const { group, label } = labels(row);
  const start = { group, label: row.peers.length > 1 ? peer.name : label };
  if (wasSkipped(peer)) return { ...start, marks: [], note: notRun(peer) };
  const { median, q1, q3 } = peer.speedup;
  return { ...start, marks: [{ series: 'pageflash', value: median, spread: [q1, q3] }] };
}

/** Milliseconds on a logarithmic axis. */
export const timeScale: Pick<PlotArgs, 'scale' | 'format' | 'formatTick'> = {
  scale: (args) => logScale(args, DECIMAL),
  format: formatMs,
  formatTick: threeDigits,
};

export const DECIMAL: readonly LogTicks[] = [
  { base: 10, digits: [1, 2, 5] },
  { base: 10, digits: [1] },
  { base: 1000, digits: [1] },
];

export const BINARY: readonly LogTicks[] = [2, 4, 32, 1024].map((base) => ({ base, digits: [1] }));

function notRun({ name }: Peer): string {
  return `${name} was not run`;
}

function comparison(row: MeasuredRow, value: (measured: Measurement) => Omit<Mark, 'series'>): PlotRow {
  const marks: Mark[] = [{ series: 'pageflash', ...value(row.pageflash) }];
  for (const peer of row.peers) if (!wasSkipped(peer)) marks.push({ series: peer.name, ...value(peer) });
  const note = row.peers.filter(wasSkipped).map(notRun).join(', ') || undefined;
  return { ...labels(row), marks, note };
}

function labels({ case: benchCase }: MeasuredRow): Pick<PlotRow, 'group' | 'label'> {
  if (benchCase.kind === 'feature') return { group: benchCase.family, label: benchCase.shape };
  const length = lengthOf(benchCase);
  return { group: benchCase.shape, label: benchCase.kind === 'prefill' ? `S ${length}` : length };
}
