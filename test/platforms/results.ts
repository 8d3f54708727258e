import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { FEATURE_SETS, PLATFORMS, type FeatureSet, type Platform } from './gpuCase.js';

/** One row of the table: what a platform did with a set of features. */
export interface Row {
  readonly platform: Platform;
  readonly features: FeatureSet;
  readonly adapter: string;
  /** Whether the adapter has the features; if not, nothing ran. */
  readonly isOffered: boolean;
  readonly cases: number;
  /** Calls that they checked: many cases check several. */
  readonly cells: number;
  /** Titles of the cases that failed. */
  readonly failed: readonly string[];
  /** Variants of kernels that were compiled, and those that the compiler refused. */
  readonly variants: number;
  readonly refused: readonly string[];
  readonly seconds: number;
}

const HEADER = [
  'platform',
  'features',
  'adapter',
  'cases',
  'cells',
  'failed',
  'variants',
  'refused',
  'seconds',
];

/** The rows as a table in Markdown. */
export function table(rows: readonly Row[]): string {
  const lines = rows.map(({ platform, features, adapter, isOffered, ...ran }) => [
    platform,
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

/** The results of whole runs. A run of one platform renews its rows only. */
const FOLDER = 'test/platforms/results';

/** Write rows, beside those of the other platforms, as data and as a page. */
export async function saveRows(rows: readonly Row[]): Promise<void> {
  const file = `${FOLDER}/rows.json`;
  const before = JSON.parse(await readFile(file, 'utf8').catch(() => '[]')) as Row[];
  const key = (platform: Platform, features: FeatureSet): string => `${platform} ${features}`;
  const all = new Map([...before, ...rows].map((row) => [key(row.platform, row.features), row]));
  const sorted = PLATFORMS.flatMap((platform) =>
    FEATURE_SETS.flatMap((features) => all.get(key(platform, features)) ?? []),
  );
  await mkdir(FOLDER, { recursive: true });
  await writeFile(file, `${JSON.stringify(sorted, undefined, 2)}\n`);
  await writeFile(`${FOLDER}/README.md`, page(sorted));
}

function page(rows: readonly Row[]): string {
  return [
    '# What ran where',
    'Written by `npm run test:platforms`. Cells are the calls that the cases check; refused are the variants of kernels that a compiler did not take.',
    table(rows),
    ...rows.flatMap(({ platform, features, failed }) =>
      failed.map((name) => `- failed on ${platform} with ${features}: ${name}`),
    ),
  ]
    .join('\n\n')
    .concat('\n');
}
