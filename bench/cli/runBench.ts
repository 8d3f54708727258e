import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { currentCommit, currentPlatform } from '../../tools/provenance.js';
import { benchCases, caseName, lengthOf, type BenchCase } from '../cases/cases.js';
import { scaleCases } from '../cases/scaleCases.js';
import type { BenchHost } from '../device/deviceBench.js';
import { onnxCaseName, onnxCases } from '../onnx/onnxCases.js';
import { report } from '../report/report.js';
import { resultTables } from '../report/textTable.js';
import {
  adapterName,
  type BenchResults,
  type Ceilings,
  type OnnxRow,
  type RecordingRow,
  type Row,
} from '../results.js';
import { help, parseOptions, RECORDING, UsageError, type Adapter, type BenchOptions } from './options.js';
import { onnxOutcomeOf, outcomeOf, Progress, recordingOutcomeOf } from './progress.js';
import { runSweep } from './runSweep.js';

export interface Program {
  /** How a user starts it, for the help text. */
  readonly command: string;
  /** Ways to open a host, the default first. */
  readonly hosts: Readonly<Partial<Record<Adapter, () => Promise<BenchHost>>>>;
}

/** Runs the whole program: parses the command line, measures, prints and writes the results, sets the exit code. */
export async function runBench({ command, hosts }: Program): Promise<void> {
  const adapters = Object.keys(hosts) as Adapter[];
  try {
    const options = parseOptions(process.argv.slice(2), adapters);
    if (!options) {
      process.stdout.write(help(command, adapters));
      return;
    }
    const host = await hosts[options.adapter]!();
    await (options.sweep ? runSweep(host, options) : measureAll(host, options));
  } catch (error) {
    console.error(
      error instanceof UsageError
        ? `${error.message}.\n\n${help(command, adapters)}`
        : (error as Error).message,
    );
    process.exitCode = error instanceof UsageError ? 2 : 1;
  }
}

async function measureAll(host: BenchHost, options: BenchOptions): Promise<void> {
  const { dtype, shapes, quick, full, peers, scale, out } = options;
  const settings = { dtype, shapes, quick, full };
  const { adapter, environment } = host;
  console.error(`${adapterName(adapter)} · ${environment}`);
  const caseOptions = { ...settings, software: adapter.software };
  const cases = options.rows ? benchCases(caseOptions) : [];
  const withRecording = options.rows && (shapes.length === 0 || shapes.includes(RECORDING));
  const lengths = scale ? scaleCases({ ...caseOptions, maxBindingBytes: adapter.maxBindingBytes }) : [];
  const besides = peers ? onnxCases(caseOptions) : [];
  const progress = new Progress(cases.length + (withRecording ? 1 : 0) + lengths.length + besides.length);
  const measureRow = async (benchCase: BenchCase, alone: boolean): Promise<Row> => {
    const name = alone ? `${benchCase.kind} ${lengthOf(benchCase)}` : caseName(benchCase);
    const row = await host
      .measure(benchCase, { quick, alone }, (...step) => progress.update(name, ...step))
      // If the page crashes, the rows so far are still worth keeping.
      .catch((error: Error): Row => ({ case: benchCase, status: 'failed', message: error.message }));
    progress.finishRow(name, outcomeOf(row));
    return row;
  };
  const rows: Row[] = [];
  const scaleRows: Row[] = [];
  const onnx: OnnxRow[] = [];
  let recording: RecordingRow | undefined;
  let ceilings: Ceilings | undefined;
  try {
    if (scale || !adapter.software) ceilings = await host.measureCeilings();
    for (const benchCase of cases) rows.push(await measureRow(benchCase, false));
    if (withRecording) {
      progress.update(RECORDING, 0, 'recording plans');
      recording = await host
        .measureRecording(quick)
        .catch((error: Error): RecordingRow => ({ status: 'failed', message: error.message }));
      progress.finishRow(RECORDING, recordingOutcomeOf(recording));
    }
    for (const benchCase of lengths) scaleRows.push(await measureRow(benchCase, true));
    for (const onnxCase of besides) {
      const name = onnxCaseName(onnxCase);
      const row = await host
        .measureOnnx(onnxCase, quick, (...step) => progress.update(name, ...step))
        .catch((error: Error): OnnxRow => ({ case: onnxCase, status: 'failed', message: error.message }));
      progress.finishRow(name, onnxOutcomeOf(row));
      onnx.push(row);
    }
  } finally {
    await host.close();
  }
  const results: BenchResults = {
    format: 3,
    date: new Date().toISOString(),
    commit: currentCommit(),
    environment,
    platform: currentPlatform(),
    adapter,
    options: settings,
    rows,
    ...(recording && { recording }),
    ...(ceilings && { ceilings }),
    ...(scale && { scale: scaleRows }),
    ...(peers && { onnx }),
  };
  console.log(`\n${resultTables(results)}\n`);
  console.log(`Written: ${save(out, results).join(', ')}`);
  if ([...rows, recording, ...scaleRows, ...onnx].some((row) => row?.status === 'failed')) {
    process.exitCode = 1;
  }
}

/** Writes `<out>.json` and `<out>.html`. Returns their paths. */
function save(out: string, results: BenchResults): readonly string[] {
  mkdirSync(dirname(out), { recursive: true });
  const files = {
    [`${out}.json`]: `${JSON.stringify(results, null, 2)}\n`,
    [`${out}.html`]: report(results),
  };
  for (const [path, text] of Object.entries(files)) writeFileSync(path, text);
  return Object.keys(files);
}
