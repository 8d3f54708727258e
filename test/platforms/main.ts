import { createWriteStream, mkdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { PlatformDriver, type Started } from './drivePlatform.js';
import { FEATURE_SETS, PLATFORMS, title, type GpuCase } from './gpuCase.js';
import { createHost, type Host, type Programs } from './hosts.js';
import type { CaseResult, ProgramOptions } from './protocol.js';
import { saveRows, table, type Row } from './results.js';
import { casesOf } from './suites.js';

const USAGE = `npm run test:platforms -- [OPTION...]: GPU cases on every WebGPU, with every set of features.
  --platform ${PLATFORMS.join(',')}      default: all
  --features ${FEATURE_SETS.join(',')}               default: all
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
  'weights-values',
  'cacheWeights-values',
];

/** Results of the last run of a platform with a set of features: a file each, with a line of JSON for every case. */
const CASES = 'node_modules/.cache/pageflash/platforms';

const { values } = parseArgs({
  options: {
    platform: { type: 'string', default: PLATFORMS.join() },
    features: { type: 'string', default: FEATURE_SETS.join() },
    suite: { type: 'string' },
    filter: { type: 'string', default: '' },
    programs: { type: 'string', default: '{}' },
    help: { type: 'boolean', short: 'h' },
  },
});

// Puppeteer closes its browser at this signal, and nothing else would end.
process.once('SIGTERM', () => process.exit(143));
if (values.help) console.log(USAGE);
else process.exitCode = (await main()) ? 0 : 1;

async function main(): Promise<boolean> {
  const platforms = chosen('platform', values.platform, PLATFORMS);
  const sets = chosen('features', values.features, FEATURE_SETS);
  const isWhole = !values.suite && !values.filter;
  const programs = JSON.parse(values.programs) as Programs;
  mkdirSync(CASES, { recursive: true });
  const rows: Row[] = [];
  for (const platform of platforms) {
    const host = await createHost(platform, programs);
    for (const features of sets) {
      rows.push(await runAll(host, { platform, features }));
      if (isWhole) await saveRows(rows);
    }
  }
  console.log(`\n${table(rows)}`);
  if (rows.every(({ cases }) => cases === 0)) throw new Error('No case was run.');
  return rows.every(({ failed }) => failed.length === 0);
}

interface Selected {
  readonly suite: string;
  readonly gpuCase: GpuCase;
}

function selected(): Selected[] {
  const suites = values.suite?.split(',') ?? SUITES;
  return suites
    .flatMap((suite) => casesOf(suite).map((gpuCase) => ({ suite, gpuCase })))
    .filter(({ suite, gpuCase }) => `${suite}: ${title(gpuCase)}`.includes(values.filter));
}

/** Run the chosen cases on a platform with a set of features. */
async function runAll(host: Host, options: ProgramOptions): Promise<Row> {
  const { platform, features } = options;
  const start = performance.now();
  const where = `${platform} ${features}`;
  const results: CaseResult[] = [];
  const driver = new PlatformDriver(host, options);
  let begun: Started = { engine: 'unknown', adapter: 'none', isOffered: true };
  const brokenDown: string[] = [];
  try {
    begun = await driver.begin();
    if (begun.isOffered) await runCases(driver, where, (result) => results.push(result));
  } catch (error) {
    brokenDown.push('the platform itself');
    console.log(`FAILED ${where}: ${(error as Error).message}`);
  } finally {
    await driver.close();
  }
  const failures = results.filter(({ failure }) => failure);
  const failed = [...failures.map(({ title: name }) => name), ...brokenDown];
  const seconds = Math.round((performance.now() - start) / 1000);
  const what = `${results.length} cases, ${failed.length} failed, ${seconds} s`;
  console.log(`${where}: ${begun.isOffered ? what : 'not offered'}`);
  return {
    platform,
    features,
    date: new Date().toISOString().slice(0, 10),
    ...begun,
    cases: results.length,
    cells: results.reduce((sum, { cells }) => sum + cells, 0),
    failed,
    variants: new Set(results.flatMap(({ compiled }) => compiled)).size,
    // Some cases pass only if the compiler refuses their code.
    refused: [...new Set(failures.flatMap(({ refused }) => refused))],
    seconds,
  };
}

async function runCases(
  driver: PlatformDriver,
  where: string,
  add: (result: CaseResult) => void,
): Promise<void> {
  const log = createWriteStream(`${CASES}/${where.replace(' ', '-')}.jsonl`);
  let suiteBefore = '';
  const begun = performance.now();
  for (const { suite, gpuCase } of selected()) {
    if (suite !== suiteBefore)
      console.log(`${where}: ${suite}, after ${Math.round((performance.now() - begun) / 1000)} s`);
    suiteBefore = suite;
    const result = await driver.run(suite, gpuCase);
    add(result);
    log.write(`${JSON.stringify(result)}\n`);
    if (result.failure) reportFailure(where, { suite, gpuCase }, result.failure);
  }
  log.end();
}

function reportFailure(
  where: string,
  { suite, gpuCase }: Selected,
  { message, stack }: NonNullable<CaseResult['failure']>,
): void {
  const [platform, features] = where.split(' ');
  const again = `npm run test:platforms -- --platform ${platform} --features ${features} --suite ${suite} --filter '${title(gpuCase)}'`;
  console.log(`FAILED ${where}: ${suite}: ${title(gpuCase)}\n${message}\n${stack}\nAgain: ${again}`);
}

function chosen<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  return text.split(',').map((name) => {
    const found = known.find((candidate) => candidate === name);
    if (!found) throw new Error(`--${option} must be some of ${known.join(',')}, not ${name}.`);
    return found;
  });
}
