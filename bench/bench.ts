import type { Tell } from './measure.js';
import type { AdapterFacts, Row } from './results.js';
import type { BenchCase } from './shapes.js';

/** A place to measure in: this process, or a page in a browser. */
export interface Bench {
  /** The browser or the runtime, with its version. */
  readonly environment: string;
  readonly adapter: AdapterFacts;
  measure(benchCase: BenchCase, quick: boolean, tell: Tell): Promise<Row>;
  close(): Promise<void>;
}
