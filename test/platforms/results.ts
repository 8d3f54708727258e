import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { FEATURE_SETS, PLATFORMS, type FeatureSet, type Platform } from './gpuCase.js';
import { fillSupportTable, markdownTable } from './supportTable.js';

/** One row of the table: what a platform did with a set of features. */
export interface Row {
  readonly platform: Platform;
  readonly features: FeatureSet;
  /** The day of the run, in UTC: `2026-11-27`. */
  readonly date: string;
  /** The implementation of WebGPU and what it is part of, with their versions. */
  readonly engine: string;
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
  'date',
  'engine',
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
  const lines = rows.map(({ platform, features, date, engine, adapter, isOffered, ...ran }) => [
    platform,
    features,
    date,
    engine,
    adapter,
    ...(isOffered
      ? [ran.cases, ran.cells, ran.failed.length, ran.variants, ran.refused.length, ran.seconds].map(String)
      : ['not offered', '', '', '', '', '']),
  ]);
  return markdownTable([HEADER, ...lines]);
}

/** The results of whole runs. A run of one platform renews its rows only. */
const FOLDER = 'test/platforms/results';

/** Write rows, beside those of the other platforms, as data, as a page, and into the table of the project's README. */
export async function saveRows(rows: readonly Row[]): Promise<void> {
  const all = renewed(await savedRows(), rows);
  await mkdir(FOLDER, { recursive: true });
  await writeFile(`${FOLDER}/rows.json`, `${JSON.stringify(all, undefined, 2)}\n`);
  await writeFile(`${FOLDER}/README.md`, page(all));
  await writeFile('README.md', fillSupportTable(await readFile('README.md', 'utf8'), all));
}

/** The rows of the last whole run of each platform with each set of features. */
export async function savedRows(): Promise<readonly Row[]> {
  return JSON.parse(await readFile(`${FOLDER}/rows.json`, 'utf8').catch(() => '[]')) as Row[];
}

/** The rows with those of another run in the place of their own, in the order of the platforms. */
export function renewed(before: readonly Row[], rows: readonly Row[]): readonly Row[] {
  const key = (platform: Platform, features: FeatureSet): string => `${platform} ${features}`;
  const all = new Map([...before, ...rows].map((row) => [key(row.platform, row.features), row]));
  return PLATFORMS.flatMap((platform) =>
    FEATURE_SETS.flatMap((features) => all.get(key(platform, features)) ?? []),
  );
}

/** The rows as a page of Markdown. */
export function page(rows: readonly Row[]): string {
  return [
    '# What ran where',
    'Written by `npm run test:platforms`, each row on its date. Cells are the calls that the cases check; refused are the variants of kernels that a compiler did not take.',
    table(rows),
    ...rows.flatMap(({ platform, features, failed }) =>
      failed.map((name) => `- failed on ${platform} with ${features}: ${name}`),
    ),
  ]
    .join('\n\n')
    .concat('\n');
}
