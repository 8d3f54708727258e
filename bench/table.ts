import { formatBytes, formatMs, formatRatio, threeDigits } from './format.js';
import { isMeasured, wasSkipped, type Measurement, type Row } from './results.js';
import type { BenchCase } from './shapes.js';
import type { Summary } from './statistics.js';

interface Column {
  readonly title: string;
  readonly align: 'left' | 'right';
}

const COLUMNS: readonly Column[] = [
  { title: 'shape', align: 'left' },
  { title: 'heads', align: 'right' },
  { title: 'S', align: 'right' },
  { title: 'pageflash', align: 'right' },
  { title: 'naive', align: 'right' },
  { title: 'speed-up', align: 'right' },
  { title: 'GFLOP/s', align: 'right' },
  { title: 'naive', align: 'right' },
  { title: 'extra memory', align: 'right' },
  { title: 'naive', align: 'right' },
];

/** The results as text for a terminal: medians, with the quartiles of the speed-up. */
export function table(rows: readonly Row[]): string {
  const lines = [COLUMNS.map(({ title }) => title), ...rows.filter(isMeasured).map(cells)];
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  const text = lines.map((line) =>
    line
      .map((cell, i) => (COLUMNS[i]!.align === 'left' ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
  const failures = rows.flatMap((row) =>
    row.status === 'failed' ? [`FAILED ${caseName(row.case)}: ${row.message}`] : [],
  );
  const notes = rows.flatMap((row) =>
    isMeasured(row) && wasSkipped(row.naive)
      ? [`${caseName(row.case)}: naive was not run, as ${row.naive.skipped}.`]
      : [],
  );
  return [...text, ...notes, ...failures].join('\n');
}

function cells(row: Extract<Row, { status: 'measured' }>): string[] {
  const naive = wasSkipped(row.naive) ? undefined : row.naive;
  const orDash = (format: (measured: Measurement) => string) => (naive ? format(naive) : '—');
  return [
    row.case.shape,
    headsOf(row.case),
    String(row.case.length),
    formatMs(row.pageflash.ms.median),
    orDash(({ ms }) => formatMs(ms.median)),
    row.speedup ? formatSpread(row.speedup, formatRatio) : '—',
    threeDigits(row.pageflash.gflops),
    orDash(({ gflops }) => threeDigits(gflops)),
    formatBytes(row.pageflash.memoryBytes),
    orDash(({ memoryBytes }) => formatBytes(memoryBytes)),
  ];
}

/** As `32/8×128`: query heads, kv heads, head size. */
export function headsOf({ nHeads, nKvHeads, headDim }: BenchCase): string {
  return `${nHeads}/${nKvHeads}×${headDim}`;
}

export function caseName({ shape, length }: BenchCase): string {
  return `${shape} ${length}`;
}

/** The median, and the quartiles in brackets. */
export function formatSpread({ median, q1, q3 }: Summary, format: (value: number) => string): string {
  return `${format(median)} [${format(q1)}, ${format(q3)}]`;
}
