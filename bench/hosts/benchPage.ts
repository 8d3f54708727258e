import type { BenchCase } from '../cases/cases.js';
import { DeviceBench, type HowToMeasure } from '../device/deviceBench.js';
import type { OnnxCase } from '../onnx/onnxCases.js';
import type { AdapterFacts, Ceilings, OnnxRow, RecordingRow, Row } from '../results.js';
import type { SweepArgs } from '../sweep/measureSweep.js';
import type { SweepOutcome } from '../sweep/sweepResults.js';

// The script of the page in Chrome. chromeHost.ts provides `onProgress` and calls the other globals.

declare global {
  var readAdapter: () => Promise<AdapterFacts>;
  var measureRow: (benchCase: BenchCase, how: HowToMeasure) => Promise<Row>;
  var measureRecording: (quick: boolean) => Promise<RecordingRow>;
  var measureSweep: (args: SweepArgs) => Promise<SweepOutcome>;
  var measureCeilings: () => Promise<Ceilings>;
  var measureOnnx: (onnxCase: OnnxCase, quick: boolean) => Promise<OnnxRow>;
  var onProgress: (done: number, step: string) => Promise<void>;
}

const bench = new DeviceBench(navigator.gpu, new URL('onnxruntime/', location.href).href);
const report = (done: number, step: string): void => void globalThis.onProgress(done, step);

globalThis.readAdapter = () => bench.adapter();
globalThis.measureRow = (benchCase, how) => bench.measure(benchCase, how, report);
globalThis.measureRecording = (quick) => bench.measureRecording(quick);
globalThis.measureSweep = (args) => bench.measureSweep(args, report);
globalThis.measureCeilings = () => bench.measureCeilings();
globalThis.measureOnnx = (onnxCase, quick) => bench.measureOnnx(onnxCase, quick, report);
