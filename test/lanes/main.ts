import { createWriteStream } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { FEATURE_SETS, LANES } from '../support/gpuCase.js';
import { driveLane } from './driveLane.js';
import { createHosts, type Programs } from './hosts.js';
import { table, type Row } from './table.js';

const USAGE = `npm run test:lanes -- [OPTION...]: GPU cases on every WebGPU, with every set of features.
  --lane ${LANES.join(',')}                  default: all
  --features ${FEATURE_SETS.join(',')}       default: all
  --suite NAME,...                           default: those that fit into minutes on software
  --filter TEXT                              only cases with it in their title`;

/** Suites of kernels whose few variants even the slowest compiler is done with in minutes. */
const SUITES = ['adapter', 'attnVarlen', 'attnWithKvCache', 'kvCache', 'mergeStates', 'pages', 'runtime'];

/** What whole runs have shown, row by row: a run of one lane renews its rows only. */
const FOLDER = 'test/lanes/results';

/** What the last run of a lane with a set of features has told: a file each, with a line of JSON for every case. */
const CASES = 'node_modules/.cache/pageflash/lanes';

const { values } = parseArgs({
  options: {
    lane: { type: 'string', default: LANES.join() },
    features: { type: 'string', default: FEATURE_SETS.join() },
    suite: { type: 'string' },
    filter: { type: 'string' },
    programs: { type: 'string', default: '{}' },
    help: { type: 'boolean', short: 'h' },
  },
});

if (values.help) console.log(USAGE);
else process.exitCode = (await main()) ? 0 : 1;

async function main(): Promise<boolean> {
  const lanes = chosen('lane', values.lane, LANES);
  const sets = chosen('features', values.features, FEATURE_SETS);
  const suites = values.suite?.split(',') ?? SUITES;
  const hosts = await createHosts(JSON.parse(values.programs) as Programs);
  const rows: Row[] = [];
  for (const lane of lanes) {
    for (const features of sets) {
      const start = performance.now();
      const host = hosts.of(lane);
      const log = createWriteStream(`${CASES}/${lane}-${features}.jsonl`);
      const run = await driveLane(host, { lane, features, suites, filter: values.filter }, (end) => {
        log.write(`${JSON.stringify(end)}\n`);
        if (!end.failure) return;
        const { message, stack } = end.failure;
        console.log(
          `FAILED ${lane} ${features}: ${end.title}\n${message}\n${hosts.script.sourceStack(stack)}`,
        );
      });
      log.end();
      rows.push({
        lane,
        features,
        adapter: run.adapter,
        isOffered: run.isOffered,
        cases: run.cases.length,
        failed: run.cases.filter(({ failure }) => failure).map(({ title }) => title),
        variants: new Set(run.cases.flatMap(({ compiled }) => compiled)).size,
        refused: [...new Set(run.cases.filter(({ failure }) => failure).flatMap(({ refused }) => refused))],
        seconds: Math.round((performance.now() - start) / 1000),
      });
      console.log(`${table(rows).split('\n').at(-1)}`);
    }
  }
  console.log(`\n${table(rows)}`);
  if (!values.suite && !values.filter) await save(rows);
  return rows.every(({ failed }) => failed.length === 0);
}

async function save(rows: readonly Row[]): Promise<void> {
  const file = `${FOLDER}/rows.json`;
  const before = JSON.parse(await readFile(file, 'utf8').catch(() => '[]')) as Row[];
  const key = ({ lane, features }: Row): string => `${lane} ${features}`;
  const all = new Map([...before, ...rows].map((row) => [key(row), row]));
  const order = LANES.flatMap((lane) => FEATURE_SETS.map((features) => `${lane} ${features}`));
  const sorted = order.flatMap((name) => all.get(name) ?? []);
  await mkdir(FOLDER, { recursive: true });
  await writeFile(file, `${JSON.stringify(sorted, undefined, 2)}\n`);
  await writeFile(
    `${FOLDER}/README.md`,
    `# What ran where\n\nWritten by \`npm run test:lanes\`.\n\n${table(sorted)}\n`,
  );
}

function chosen<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  return text.split(',').map((name) => {
    const found = known.find((candidate) => candidate === name);
    if (!found) throw new Error(`--${option} must be some of ${known.join(',')}, not ${name}.`);
    return found;
  });
}
