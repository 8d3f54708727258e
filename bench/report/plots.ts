import { lengthOf } from '../cases.js';
import { formatBytes, formatMs, formatRatio, threeDigits } from '../format.js';
import { wasSkipped, type MeasuredRow, type Measurement, type Rival } from '../results.js';
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
    axis: 'GPU memory besides inputs and output, logarithmic',
    kind: 'dots',
    rows: rows.map(({ rivals, ...row }) => {
      // Our own kernels take the same memory.
      const naive = rivals.filter(({ name }) => name === 'naive');
      return comparison({ ...row, rivals: naive }, ({ memoryBytes }) => ({ value: memoryBytes }));
    }),
    scale: (args) => logScale(args, BINARY),
    format: formatBytes,
    formatTick: formatBytes,
  });
}

/** A bar for each rival of a row. */
export function speedupPlot(rows: readonly MeasuredRow[]): string {
  return plot({
    title: 'Speed-up',
    axis: 'time of the other ÷ time of pageflash',
    kind: 'bars',
    rows: rows.flatMap((row) => row.rivals.map((rival) => speedupRow(row, rival))),
    scale: linearScale,
    format: formatRatio,
    formatTick: (ratio) => `${threeDigits(ratio)}×`,
    reference: 1,
  });
}

function speedupRow(row: MeasuredRow, rival: Rival): PlotRow {
  const { group, label } = labels(row);
  const start = { group, label: row.rivals.length > 1 ? rival.name : label };
  if (wasSkipped(rival)) return { ...start, marks: [], note: notRun(rival) };
  const { median, q1, q3 } = rival.speedup;
  return { ...start, marks: [{ series: 'pageflash', value: median, spread: [q1, q3] }] };
}

const DECIMAL: readonly LogTicks[] = [
  { base: 10, digits: [1, 2, 5] },
  { base: 10, digits: [1] },
  { base: 1000, digits: [1] },
];

const BINARY: readonly LogTicks[] = [2, 4, 32, 1024].map((base) => ({ base, digits: [1] }));

function notRun({ name }: Rival): string {
  return `${name} was not run`;
}

function comparison(row: MeasuredRow, value: (measured: Measurement) => Omit<Mark, 'series'>): PlotRow {
  const marks: Mark[] = [{ series: 'pageflash', ...value(row.pageflash) }];
  for (const rival of row.rivals) if (!wasSkipped(rival)) marks.push({ series: rival.name, ...value(rival) });
  const note = row.rivals.filter(wasSkipped).map(notRun).join(', ') || undefined;
  return { ...labels(row), marks, note };
}

function labels({ case: benchCase }: MeasuredRow): Pick<PlotRow, 'group' | 'label'> {
  const length = lengthOf(benchCase);
  return { group: benchCase.shape, label: benchCase.kind === 'prefill' ? `S ${length}` : length };
}
