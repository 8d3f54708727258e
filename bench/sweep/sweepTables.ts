import { formatMs, formatRatio, threeDigits } from '../../tools/format.js';
import type { Tuning } from '../../src/core/tuning.js';
import { textTable, type Column } from '../report/textTable.js';
import { sweepCellName } from './sweepCells.js';
import {
  bestOf,
  WIDE_SPREAD,
  type FailedSweep,
  type MeasuredSweep,
  type SweepCandidate,
  type SweepExercise,
  type SweepResults,
  type SweepRow,
} from './sweepResults.js';

/** All candidates of each cell, the best first; then the tuning. */
export function sweepTables({ rows, left, tuning }: Pick<SweepResults, 'rows' | 'left' | 'tuning'>): string {
  const measured = rows.filter((row): row is MeasuredSweep => row.status === 'measured');
  const failed = rows.filter((row): row is FailedSweep => row.status === 'failed');
  return [
    ...measured.map((row) => [sweepCellName(row.cell), ...candidatesTable(row)].join('\n')),
    ...failed.map(({ cell, message }) => `${sweepCellName(cell)}: FAILED: ${message}`),
    ...(left.length > 0 ? [`No time was left for ${left.map(sweepCellName).join(', ')}.`] : []),
    ...(tuning ? [tileTable(tuning)] : []),
  ].join('\n\n');
}

function candidatesTable(row: MeasuredSweep): string[] {
  const columns: Column<SweepCandidate>[] = [
    { title: '  candidate', align: 'left', cell: ({ name }) => `  ${name}` },
    ...row.exercises.flatMap((exercise, i): Column<SweepCandidate>[] => [
      { title: exercise.name, cell: ({ ms }) => formatMs(ms[i]!) },
      ...(exercise.flops > 0 ? [rateColumn(row, exercise, i)] : []),
    ]),
    { title: 'over what is in use', cell: ({ score }) => formatRatio(score) },
    { title: '', align: 'left', cell: noteOf },
  ];
  const sorted = row.candidates.toSorted(
    (a, b) => Number(a.isFarOff) - Number(b.isFarOff) || a.score - b.score,
  );
  const late = row.nLate > 0 ? [`  not compiled in time: ${row.nLate} candidates`] : [];
  return [...textTable(columns, sorted), ...row.wrong.map((name) => `  WRONG: ${name}`), ...late];
}

function rateColumn(
  { cell }: MeasuredSweep,
  { flops, bytes }: SweepExercise,
  i: number,
): Column<SweepCandidate> {
  if (cell.kind === 'prefill')
    return { title: 'TFLOP/s', cell: ({ ms }) => threeDigits(flops / ms[i]! / 1e9) };
  return { title: 'GB/s', cell: ({ ms }) => threeDigits(bytes / ms[i]! / 1e6) };
}

function noteOf({ spread, isFarOff }: SweepCandidate): string {
  if (isFarOff) return 'far off, not measured on';
  return spread > WIDE_SPREAD ? `spread ${(100 * spread).toFixed(0)} %` : '';
}

/** A tuning in TypeScript, a line for each tile. */
function tileTable({ device, rates, chunks, merge, prefill, decode }: Tuning): string {
  const line = (entry: object): string =>
    `    { ${Object.entries(entry)
      .map(
        ([name, value]) =>
          `${name}: ${typeof value === 'object' ? inBraces(value as object) : literal(value)}`,
      )
      .join(', ')} },`;
  return [
    `// ${device.description}`,
    '{',
    `  rates: ${inBraces(rates)},`,
    `  chunks: ${inBraces(chunks)},`,
    `  merge: ${inBraces(merge)},`,
    '  prefill: [',
    ...prefill.map(line),
    '  ],',
    '  decode: [',
    ...decode.map(line),
    '  ],',
    '}',
  ].join('\n');
}

function inBraces(numbers: object): string {
  return `{ ${Object.entries(numbers)
    .map(([name, value]) => `${name}: ${literal(value)}`)
    .join(', ')} }`;
}

function literal(value: unknown): string {
  if (typeof value === 'number' && value >= 1e6) return value.toExponential(2).replace('e+', 'e');
  return typeof value === 'string' ? `'${value}'` : String(value);
}

/** A cell's result in one line. */
export function sweepOutcome(row: SweepRow | null): string {
  if (!row) return 'no time was left to compile it';
  if (row.status === 'failed') return `FAILED: ${row.message}`;
  const best = bestOf(row);
  return `${best.name} ${best.ms.map(formatMs).join(', ')} (${formatRatio(best.score)} of ${row.candidates.length})`;
}
