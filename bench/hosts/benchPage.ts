import type { BenchCase } from '../cases/cases.js';
import { DeviceBench } from '../device/deviceBench.js';
import type { AdapterFacts, RecordingRow, Row } from '../results.js';
import type { SweepArgs } from '../sweep/measureSweep.js';
import type { SweepOutcome } from '../sweep/sweepResults.js';

// The script of the page in Chrome. chromeHost.ts provides `onProgress` and calls the other globals.

declare global {
  var readAdapter: () => Promise<AdapterFacts>;
  var measureRow: (benchCase: BenchCase, quick: boolean) => Promise<Row>;
  var measureRecording: (quick: boolean) => Promise<RecordingRow>;
  var measureSweep: (args: SweepArgs) => Promise<SweepOutcome>;
  var onProgress: (done: number, step: string) => Promise<void>;
}

const bench = new DeviceBench(navigator.gpu);

globalThis.readAdapter = () => bench.adapter();
globalThis.measureRow = (benchCase, quick) =>
  bench.measure(benchCase, quick, (done, step) => void globalThis.onProgress(done, step));
globalThis.measureRecording = (quick) => bench.measureRecording(quick);
globalThis.measureSweep = (args) =>
  bench.measureSweep(args, (done, step) => void globalThis.onProgress(done, step));
