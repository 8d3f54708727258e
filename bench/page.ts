import { DeviceBench } from './deviceBench.js';
import type { AdapterFacts, Row } from './results.js';
import type { BenchCase } from './shapes.js';

// The page of the benchmark in Chrome: chromeBench.ts outside calls `readAdapter` and `measureRow` and offers `tell`.

declare global {
  var readAdapter: () => Promise<AdapterFacts>;
  var measureRow: (benchCase: BenchCase, quick: boolean) => Promise<Row>;
  var tell: (share: number, step: string) => Promise<void>;
}

const bench = new DeviceBench(navigator.gpu);

globalThis.readAdapter = () => bench.adapter();
globalThis.measureRow = (benchCase, quick) =>
  bench.measure(benchCase, quick, (share, step) => void globalThis.tell(share, step));
