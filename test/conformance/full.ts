import { parseArgs } from 'node:util';
import { createNodeGpu, pollSparingly } from '../../tools/nodeDevice.js';
import { FEATURE_SETS, type FeatureSet } from '../platforms/gpuCase.js';
import { GpuDevices, runCase } from '../platforms/gpuDevices.js';

import { checkCell, conformanceSuites, randomCase, type SuiteName } from './cases.js';

const NAMES = Object.keys(conformanceSuites) as SuiteName[];

const USAGE = `npm run test:full -- [OPTION...]: calls drawn at random, compared with the reference.
  --minutes 10               how long to draw
  --seed N                   of the first draw; default: the time
  --suite ${NAMES.join(',')}
  --features ${FEATURE_SETS.join('|')}   what the device may have; default all
  --cell JSON                this one only, with --suite and --seed: what a failure prints`;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    suite: { type: 'string', default: NAMES.join() },
    features: { type: 'string', default: 'all' },
    cell: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  },
});

if (values.help) console.log(USAGE);
else process.exitCode = (await main()) ? 0 : 1;

async function main(): Promise<boolean> {
  const suites = values.suite.split(',').map((name) => oneOf('suite', name, NAMES));
  const features: FeatureSet = oneOf('features', values.features, FEATURE_SETS);
  const seed = wholeNumber('seed', values.seed);
  pollSparingly();
  const devices = new GpuDevices(createNodeGpu(), features);
  if (values.cell) {
    const cell = JSON.parse(values.cell) as Readonly<Record<string, unknown>>;
    await checkCell(suites[0]!, { device: await devices.get(), cell, seed });
    console.log('passed');
    return true;
  }
  return drawFor(Number(values.minutes) * 60_000, { suites, devices, seed });
}

interface Draws {
  readonly suites: readonly SuiteName[];
  readonly devices: GpuDevices;
  readonly seed: number;
}

/** Draws until the time is over; goes on after a failure. */
async function drawFor(milliseconds: number, { suites, devices, seed }: Draws): Promise<boolean> {
  console.log(`seed ${seed}`);
  const end = performance.now() + milliseconds;
  let nCells = 0;
  let nFailed = 0;
  for (let next = seed; performance.now() < end; next++) {
    for (const suite of suites) {
      const drawn = randomCase(suite, next);
      const start = performance.now();
      const failure = await runCase(drawn, { devices, platform: 'node' }).then(
        () => undefined,
        (error: Error) => error,
      );
      nCells += drawn.cells ?? 0;
      if (failure) nFailed += 1;
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      console.log(`${failure ? 'FAILED' : 'passed'} ${seconds} s  ${suite}: ${drawn.name}`);
      if (failure) console.log(failure.message);
    }
  }
  console.log(`${nCells} cells from seed ${seed}, ${nFailed} cases failed`);
  return nFailed === 0;
}

function oneOf<T extends string>(option: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((name) => name === value);
  if (!found) throw new Error(`--${option} must be one of ${allowed.join(', ')}, not ${value}.`);
  return found;
}

function wholeNumber(option: string, value: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new Error(`--${option} must be a whole number, not ${value}.`);
  return number;
}
