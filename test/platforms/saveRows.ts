import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { FEATURE_SETS, LANES, type FeatureSet, type Lane } from './gpuCase.js';
import { table, type Row } from './table.js';

/** What whole runs have shown. A run of one lane renews its rows only. */
const FOLDER = 'test/platforms/results';

/** Keep rows beside those of the other lanes, as data and as a page. */
export async function saveRows(rows: readonly Row[]): Promise<void> {
  const file = `${FOLDER}/rows.json`;
  const before = JSON.parse(await readFile(file, 'utf8').catch(() => '[]')) as Row[];
  const key = (lane: Lane, features: FeatureSet): string => `${lane} ${features}`;
  const all = new Map([...before, ...rows].map((row) => [key(row.lane, row.features), row]));
  const sorted = LANES.flatMap((lane) =>
    FEATURE_SETS.flatMap((features) => all.get(key(lane, features)) ?? []),
  );
  await mkdir(FOLDER, { recursive: true });
  await writeFile(file, `${JSON.stringify(sorted, undefined, 2)}\n`);
  await writeFile(`${FOLDER}/README.md`, page(sorted));
}

function page(rows: readonly Row[]): string {
  return [
    '# What ran where',
    'Written by `npm run test:lanes`. Cells are the calls that the cases check; refused are the variants of kernels that a compiler did not take.',
    table(rows),
    ...rows.flatMap(({ lane, features, failed }) =>
      failed.map((name) => `- failed in ${lane} with ${features}: ${name}`),
    ),
  ]
    .join('\n\n')
    .concat('\n');
}
