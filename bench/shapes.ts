import type { FloatDType } from '../src/core/dtype.js';

/** The attention of a model that people run. */
export interface Shape {
  readonly name: string;
  /** What it is taken from. */
  readonly model: string;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly causal: boolean;
  /** Keys that a query sees at most, its own included; 0: all. */
  readonly window: number;
  /** 0: none */
  readonly softcap: number;
  /** Tokens of the sequences to measure. */
  readonly lengths: readonly number[];
}

const LENGTHS = [512, 1024, 2048, 4096];

export const SHAPES: readonly Shape[] = [
  {
    name: 'llama-7b',
    model: 'LLaMA-7B',
    nHeads: 32,
    nKvHeads: 32,
    headDim: 128,
    causal: true,
    window: 0,
    softcap: 0,
    lengths: LENGTHS,
  },
  {
    name: 'llama-3-8b',
    model: 'Llama-3-8B',
    nHeads: 32,
    nKvHeads: 8,
    headDim: 128,
    causal: true,
    window: 0,
    softcap: 0,
    lengths: LENGTHS,
  },
  {
    name: 'qwen2.5-7b',
    model: 'Qwen2.5-7B',
    nHeads: 28,
    nKvHeads: 4,
    headDim: 128,
    causal: true,
    window: 0,
    softcap: 0,
    lengths: LENGTHS,
  },
  {
    name: 'gemma-2-9b',
    model: 'Gemma-2-9B, a layer with a window',
    nHeads: 16,
    nKvHeads: 8,
    headDim: 256,
    causal: true,
    window: 4096,
    softcap: 50,
    // Only beyond 4096 tokens does the window hide any keys.
    lengths: [...LENGTHS, 8192],
  },
  {
    name: 'llama-3.2-1b',
    model: 'Llama-3.2-1B',
    nHeads: 32,
    nKvHeads: 8,
    headDim: 64,
    causal: true,
    window: 0,
    softcap: 0,
    lengths: LENGTHS,
  },
  {
    name: 'encoder-base',
    model: 'BERT-base and ViT-B',
    nHeads: 12,
    nKvHeads: 12,
    headDim: 64,
    causal: false,
    window: 0,
    softcap: 0,
    lengths: LENGTHS,
  },
];

/** One line of the benchmark: a shape at a length, perhaps scaled down. */
export interface BenchCase extends Omit<Shape, 'name' | 'lengths'> {
  readonly shape: string;
  readonly length: number;
  readonly dtype: FloatDType;
  /** Whether heads and window are fewer than the model's. */
  readonly scaled: boolean;
}

export interface CaseOptions {
  /** Whether shaders run on the CPU, where shapes are scaled down: see `scaledDown`. */
  readonly software: boolean;
  readonly dtype: FloatDType;
  /** Names of shapes; none means all. */
  readonly shapes: readonly string[];
  readonly quick: boolean;
  /** Never scale. */
  readonly full: boolean;
}

/** What the options ask for, in the order of `SHAPES`. */
export function benchCases({ software, dtype, shapes, quick, full }: CaseOptions): BenchCase[] {
  const scaled = software && !full;
  const names = shapes.length > 0 ? shapes : quick && scaled ? QUICK_SHAPES : SHAPES.map(({ name }) => name);
  return SHAPES.filter(({ name }) => names.includes(name)).flatMap((shape) => {
    const { name, lengths, ...rest } = scaled ? scaledDown(shape) : shape;
    const wanted = quick ? [scaled ? 512 : 1024] : lengths;
    return wanted.map((length): BenchCase => Object.assign({ shape: name, length, dtype, scaled }, rest));
  });
}

/** On software adapters, kv heads (at least one is left) and windows are divided by this. */
export const SOFTWARE_DIVISOR = 8;
/** Tokens there: a call takes up to seconds, and one shape must go on to where the memory of naive attention tells. */
const SOFTWARE_LENGTHS: Readonly<Record<string, readonly number[]>> = {
  'llama-3-8b': [512, 1024],
  // From here on the window hides keys.
  'gemma-2-9b': [1024],
  'llama-3.2-1b': [512, 1024, 2048],
  'encoder-base': [512, 1024],
};
const OTHER_SOFTWARE_LENGTHS = [512];
const QUICK_SHAPES = ['llama-3-8b', 'llama-3.2-1b', 'encoder-base'];

/** The shape with fewer kv heads, as many query heads to each as before, a shorter window and shorter sequences. */
function scaledDown(shape: Shape): Shape {
  const { name, nHeads, nKvHeads, window } = shape;
  const fewer = Math.max(1, Math.round(nKvHeads / SOFTWARE_DIVISOR));
  return {
    ...shape,
    nHeads: (nHeads / nKvHeads) * fewer,
    nKvHeads: fewer,
    window: window / SOFTWARE_DIVISOR,
    lengths: SOFTWARE_LENGTHS[name] ?? OTHER_SOFTWARE_LENGTHS,
  };
}

/** How far to either side of its own place a query sees keys; −1: without a bound. */
export function windowOf({ causal, window }: Pick<Shape, 'causal' | 'window'>): readonly [number, number] {
  return [window > 0 ? window - 1 : -1, causal ? 0 : -1];
}
