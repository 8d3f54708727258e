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

/** The figures that must not grow for ever: a leak shows in one of them. */
export const FIGURES = [
  { name: 'JavaScript heap', unit: 'bytes', of: (sample) => sample.heapBytes },
  { name: 'GPU process, resident', unit: 'bytes', of: (sample) => sample.gpuProcessBytes },
  { name: "the runtime's own GPU memory", unit: 'bytes', of: (sample) => sample.runtimeBytes },
  { name: 'GPU memory of all buffers', unit: 'bytes', of: (sample) => sample.bufferBytes },
  { name: 'GPU buffers', unit: '', of: (sample) => sample.buffers },
  { name: 'bind groups', unit: '', of: (sample) => sample.bindGroups },
  { name: 'pipelines ever made', unit: '', of: (sample) => sample.pipelinesMade },
  { name: 'pages in use', unit: '', of: (sample) => sample.pagesInUse },
] as const satisfies readonly Figure[];

export interface Figure {
  readonly name: string;
  readonly unit: Flatness['unit'];
  of(sample: Sample): number | undefined;
}

/** The share of the steps after which caches are full and memory has grown to what it needs. */
export const WARM_UP = 0.3;

/** A leak of a hundredth in each tenth of the run is found. */
const MARGIN = 1.03;

/** Each figure's peaks in the two halves of what comes after the warm-up. */
export function flatness(samples: readonly Sample[]): Flatness[] {
  const steps = samples.at(-1)!.step;
  const warm = samples.filter(({ step }) => step > WARM_UP * steps);
  const half = Math.floor(warm.length / 2);
  return FIGURES.flatMap(({ name, unit, of }: Figure) => {
    const values = warm.map(of);
    if (!values.every((value) => value !== undefined)) return [];
    const [before, after] = [values.slice(0, half), values.slice(half)].map((part) => Math.max(...part)) as [
      number,
      number,
    ];
    return [{ name, unit, before, after, isFlat: after <= MARGIN * before }];
  });
}
