import { createWriteStream } from 'node:fs';
import { parseArgs } from 'node:util';
import { FEATURE_SETS, LANES, type FeatureSet, type Lane } from './gpuCase.js';
import { driveLane } from './drivePlatform.js';
import { createHosts, type Hosts, type Programs } from './hosts.js';
import { saveRows } from './saveRows.js';
import { table, type Row } from './table.js';

const USAGE = `npm run test:lanes -- [OPTION...]: GPU cases on every WebGPU, with every set of features.
  --lane ${LANES.join(',')}                  default: all
  --features ${FEATURE_SETS.join(',')}       default: all
  --suite NAME,...                           default: those that fit into minutes on software
  --filter TEXT                              only cases with it in their title`;

/** Every value of every axis of the conformance, what must be the same, and what the runtime asks of a device. */
const SUITES = [
  'adapter',
  'runtime',
  'pages',
  'identities',
  'varlen-values',
  'kvCache-values',
  'merge-values',
];

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

// Puppeteer closes its browser at this signal, and nothing else would end.
process.once('SIGTERM', () => process.exit(143));
if (values.help) console.log(USAGE);
else process.exitCode = (await main()) ? 0 : 1;

async function main(): Promise<boolean> {
  const lanes = chosen('lane', values.lane, LANES);
  const sets = chosen('features', values.features, FEATURE_SETS);
  const isWhole = !values.suite && !values.filter;
  const hosts = await createHosts(JSON.parse(values.programs) as Programs);
  const rows: Row[] = [];
  for (const lane of lanes) {
    for (const features of sets) {
      rows.push(await run(hosts, lane, features));
      if (isWhole) await saveRows(rows);
    }
  }
  console.log(`\n${table(rows)}`);
  if (rows.every(({ cases }) => cases === 0)) throw new Error('No case was run.');
  return rows.every(({ failed }) => failed.length === 0);
}

async function run(hosts: Hosts, lane: Lane, features: FeatureSet): Promise<Row> {
  const start = performance.now();
  const suites = values.suite?.split(',') ?? SUITES;
  const log = createWriteStream(`${CASES}/${lane}-${features}.jsonl`);
  const { adapter, isOffered, cases } = await driveLane(
    hosts.of(lane),
    { lane, features, suites, filter: values.filter },
    (end) => {
      log.write(`${JSON.stringify(end)}\n`);
      if (!end.failure) return;
      const { message, stack } = end.failure;
      console.log(`FAILED ${lane} ${features}: ${end.title}\n${message}\n${hosts.script.sourceStack(stack)}`);
    },
  );
  log.end();
  const failures = cases.filter(({ failure }) => failure);
  const seconds = Math.round((performance.now() - start) / 1000);
  console.log(
    `${lane} ${features}: ${isOffered ? `${cases.length} cases, ${failures.length} failed, ${seconds} s` : 'not offered'}`,
  );
  return {
    lane,
    features,
    adapter,
    isOffered,
    cases: cases.length,
    cells: cases.reduce((sum, { cells }) => sum + cells, 0),
    failed: failures.map(({ title }) => title),
    variants: new Set(cases.flatMap(({ compiled }) => compiled)).size,
    // Some cases pass only if the compiler refuses what they give it.
    refused: [...new Set(failures.flatMap(({ refused }) => refused))],
    seconds,
  };
}

function chosen<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  return text.split(',').map((name) => {
    const found = known.find((candidate) => candidate === name);
    if (!found) throw new Error(`--${option} must be some of ${known.join(',')}, not ${name}.`);
    return found;
  });
}
