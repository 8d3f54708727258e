import { formatBytes, formatMs, formatRatio, threeDigits } from '../format.js';
import { wasSkipped, type MeasuredRow, type Measurement } from '../results.js';
import { plot, type Mark, type PlotRow } from './plot.js';
import { linearScale, logScale, type LogTicks } from './scale.js';

export function timePlot(rows: readonly MeasuredRow[]): string {
  return plot({
    title: 'Time of a call',
    axis: 'milliseconds of a call, logarithmic',
    kind: 'dots',
    rows: rows.map((row) =>
      comparison(row, ({ ms }) => ({ value: ms.median, spread: [ms.q1, ms.q3] as const })),
    ),
    scale: (args) => logScale(args, DECIMAL),
    format: formatMs,
    formatTick: threeDigits,
  });
}

export function memoryPlot(rows: readonly MeasuredRow[]): string {
  return plot({
    title: 'Extra GPU memory',
    axis: 'GPU memory besides q, k, v and out, logarithmic',
    kind: 'dots',
    rows: rows.map((row) => comparison(row, ({ memoryBytes }) => ({ value: memoryBytes }))),
    scale: (args) => logScale(args, BINARY),
    format: formatBytes,
    formatTick: formatBytes,
  });
}

export function speedupPlot(rows: readonly MeasuredRow[]): string {
  return plot({
    title: 'Speed-up over naive attention',
    axis: 'time of naive attention ÷ time of pageflash',
    kind: 'bars',
    rows: rows.map((row) => ({
      ...labels(row),
      marks: row.speedup
        ? [{ series: 'pageflash', value: row.speedup.median, spread: [row.speedup.q1, row.speedup.q3] }]
        : [],
      note: row.speedup ? undefined : NOT_RUN,
    })),
    scale: linearScale,
    format: formatRatio,
    formatTick: (ratio) => `${threeDigits(ratio)}×`,
    reference: 1,
  });
}

const DECIMAL: readonly LogTicks[] = [
  { base: 10, digits: [1, 2, 5] },
  { base: 10, digits: [1] },
  { base: 1000, digits: [1] },
];

const BINARY: readonly LogTicks[] = [2, 4, 32, 1024].map((base) => ({ base, digits: [1] }));

const NOT_RUN = 'naive was not run';

function comparison(row: MeasuredRow, value: (measured: Measurement) => Omit<Mark, 'series'>): PlotRow {
  const { pageflash, naive } = row;
  const marks: Mark[] = [{ series: 'pageflash', ...value(pageflash) }];
  if (!wasSkipped(naive)) marks.push({ series: 'naive', ...value(naive) });
  return { ...labels(row), marks, note: wasSkipped(naive) ? NOT_RUN : undefined };
}

function labels({ case: { shape, length } }: MeasuredRow): Pick<PlotRow, 'group' | 'label'> {
  return { group: shape, label: `S ${length}` };
}
