import { adapterName } from './adapterName.js';
import type { Bench } from './bench.js';
import { benchCases, caseName } from './cases.js';
import { help, parseOptions, RECORDING, UsageError, type Adapter, type BenchOptions } from './options.js';
import { outcomeOf, Progress, recordingOutcomeOf } from './progress.js';
import type { BenchResults, Row } from './results.js';
import { currentCommit, currentPlatform, save } from './save.js';
import type { RecordingRow } from './recording/results.js';
import { table } from './table.js';

export interface Program {
  /** How a user starts it. */
  readonly command: string;
  /** Ways to open what it can measure in, the default first. */
  readonly benches: Readonly<Partial<Record<Adapter, () => Promise<Bench>>>>;
}

/** The whole program, from its arguments to its exit code. */
export async function runBench({ command, benches }: Program): Promise<void> {
  const adapters = Object.keys(benches) as Adapter[];
  try {
    const options = parseOptions(process.argv.slice(2), adapters);
    if (!options) {
      process.stdout.write(help(command, adapters));
      return;
    }
    await measureAll(await benches[options.adapter]!(), options);
  } catch (error) {
    console.error(
      error instanceof UsageError
        ? `${error.message}.\n\n${help(command, adapters)}`
        : (error as Error).message,
    );
    process.exitCode = error instanceof UsageError ? 2 : 1;
  }
}

async function measureAll(bench: Bench, options: BenchOptions): Promise<void> {
  const { dtype, shapes, quick, full, out } = options;
  const settings = { dtype, shapes, quick, full };
  const { adapter, environment } = bench;
  console.error(`${adapterName(adapter)} · ${environment}`);
  const cases = benchCases({ ...settings, software: adapter.software });
  const withRecording = shapes.length === 0 || shapes.includes(RECORDING);
  const progress = new Progress(cases.length + (withRecording ? 1 : 0));
  const rows: Row[] = [];
  let recording: RecordingRow | undefined;
  try {
    for (const benchCase of cases) {
      const name = caseName(benchCase);
      const row = await bench
        .measure(benchCase, quick, (...step) => progress.update(name, ...step))
        // As when a page crashes: what was measured so far is worth keeping.
        .catch((error: Error): Row => ({ case: benchCase, status: 'failed', message: error.message }));
      progress.finishRow(name, outcomeOf(row));
      rows.push(row);
    }
    if (withRecording) {
      progress.update(RECORDING, 0, 'recording plans');
      recording = await bench
        .measureRecording(quick)
        .catch((error: Error): RecordingRow => ({ status: 'failed', message: error.message }));
      progress.finishRow(RECORDING, recordingOutcomeOf(recording));
    }
  } finally {
    await bench.close();
  }
  const results: BenchResults = {
    format: 2,
    date: new Date().toISOString(),
    commit: currentCommit(),
    environment,
    platform: currentPlatform(),
    adapter,
    options: settings,
    rows,
    ...(recording && { recording }),
  };
  console.log(`\n${table(results)}\n`);
  console.log(`Written: ${save(out, results).join(', ')}`);
  if ([...rows, recording].some((row) => row?.status === 'failed')) process.exitCode = 1;
}
