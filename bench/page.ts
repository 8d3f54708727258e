import type { BenchCase } from './cases.js';
import { DeviceBench } from './deviceBench.js';
import type { RecordingRow } from './recording/results.js';
import type { AdapterFacts, Row } from './results.js';

// The page of the benchmark in Chrome: chromeBench.ts outside calls what is declared here but `tell`, which it offers.

declare global {
  var readAdapter: () => Promise<AdapterFacts>;
  var measureRow: (benchCase: BenchCase, quick: boolean) => Promise<Row>;
  var measureRecording: (quick: boolean) => Promise<RecordingRow>;
  var tell: (share: number, step: string) => Promise<void>;
}

const bench = new DeviceBench(navigator.gpu);

globalThis.readAdapter = () => bench.adapter();
globalThis.measureRow = (benchCase, quick) =>
  bench.measure(benchCase, quick, (share, step) => void globalThis.tell(share, step));
globalThis.measureRecording = (quick) => bench.measureRecording(quick);
