import type { BenchCase } from './cases.js';
import type { Tell } from './measure.js';
import type { RecordingRow } from './recording/results.js';
import type { AdapterFacts, Row } from './results.js';

/** A place to measure in: this process, or a page in a browser. */
export interface Bench {
  /** The browser or the runtime, with its version. */
  readonly environment: string;
  readonly adapter: AdapterFacts;
  measure(benchCase: BenchCase, quick: boolean, tell: Tell): Promise<Row>;
  measureRecording(quick: boolean): Promise<RecordingRow>;
  close(): Promise<void>;
}
