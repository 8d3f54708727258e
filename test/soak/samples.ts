import type { ObjectCounts } from './liveObjects.js';

/** What the page knows of itself after some steps. */
export interface PageSample extends ObjectCounts {
  /** Steps so far. */
  readonly step: number;
  /** Tokens computed so far. */
  readonly tokens: number;
  /** Tokens compared with the reference so far. */
  readonly checked: number;
  readonly msPerStep: number;
  readonly runtimeBytes: number;
  readonly pagesInUse: number;
  readonly sequences: number;
  /** How often things have happened so far. */
  readonly events: Readonly<Record<string, number>>;
}

export interface Sample extends PageSample {
  /** Of the JavaScript heap, after a garbage collection. */
  readonly heapBytes: number;
  /** Resident memory of the GPU process, where the system tells. */
  readonly gpuProcessBytes?: number;
}

export interface SoakResults {
  readonly date: string;
  readonly commit: string;
  readonly environment: string;
  readonly samples: readonly Sample[];
  readonly checks: readonly Flatness[];
}

/** Whether a figure has stopped growing. */
export interface Flatness {
  readonly name: string;
  readonly unit: '' | 'bytes';
  /** Its highest values in the first and in the second half of what comes after the warm-up. */
  readonly before: number;
  readonly after: number;
  readonly isFlat: boolean;
}
