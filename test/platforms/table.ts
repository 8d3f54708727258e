import type { FeatureSet, Lane } from './gpuCase.js';

/** One row of the table: what a lane did with a set of features. */
export interface Row {
  readonly lane: Lane;
  readonly features: FeatureSet;
  readonly adapter: string;
  /** Whether the adapter has the features; if not, nothing ran. */
  readonly isOffered: boolean;
  readonly cases: number;
  /** Calls that they checked: many cases check several. */
  readonly cells: number;
  readonly failed: readonly string[];
  /** Variants of kernels that were compiled, and those that the compiler refused. */
  readonly variants: number;
  readonly refused: readonly string[];
  readonly seconds: number;
}

const HEADER = ['lane', 'features', 'adapter', 'cases', 'cells', 'failed', 'variants', 'refused', 'seconds'];

/** The rows as a table in Markdown. */
export function table(rows: readonly Row[]): string {
  const lines = rows.map(({ lane, features, adapter, isOffered, ...ran }) => [
    lane,
    features,
    adapter,
    ...(isOffered
      ? [ran.cases, ran.cells, ran.failed.length, ran.variants, ran.refused.length, ran.seconds].map(String)
      : ['not offered', '', '', '', '', '']),
  ]);
  const widths = HEADER.map((name, i) => Math.max(name.length, ...lines.map((line) => line[i]!.length)));
  const print = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`;
  return [print(HEADER), print(widths.map((width) => '-'.repeat(width))), ...lines.map(print)].join('\n');
}
