import type { FloatDType } from '../../src/core/dtype.js';
import { fewerHeads, isScaled, wantedShapes, type CaseOptions } from '../caseOptions.js';

/** The attention of a model that people run, over a prompt. */
export interface PrefillShape {
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

export const PREFILL_SHAPES: readonly PrefillShape[] = [
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

/** A shape at one of its lengths. */
export interface PrefillCase extends Omit<PrefillShape, 'name' | 'lengths'> {
  readonly kind: 'prefill';
  readonly shape: string;
  readonly length: number;
  readonly dtype: FloatDType;
  /** Whether heads and window are fewer than the model's. */
  readonly scaled: boolean;
}

export function prefillCases(options: CaseOptions): PrefillCase[] {
  const { dtype, quick } = options;
  const scaled = isScaled(options);
  return wantedShapes(PREFILL_SHAPES, QUICK_SHAPES, options).flatMap((shape) => {
    const { name, lengths, ...rest } = scaled ? scaledDown(shape) : shape;
    const wanted = quick ? [scaled ? 512 : 1024] : lengths;
    return wanted.map((length): PrefillCase =>
      Object.assign({ kind: 'prefill', shape: name, length, dtype, scaled } as const, rest),
    );
  });
}

/** On software adapters, kv heads (at least one is left) and windows are divided by this. */
export const PREFILL_SOFTWARE_DIVISOR = 8;
/** Tokens there: a call takes up to seconds, and one shape must go on to where the memory of naive attention tells. */
const SOFTWARE_LENGTHS: Readonly<Record<string, readonly number[]>> = {
  'llama-3-8b': [512, 1024],
  // From here on the window hides keys.
  'gemma-2-9b': [1024],
  'llama-3.2-1b': [512, 1024, 2048],
  'encoder-base': [512, 1024],
};
const OTHER_SOFTWARE_LENGTHS = [512];
const QUICK_SHAPES = ['llama-3-8b', 'encoder-base'];

/** The shape with fewer heads, a shorter window and shorter sequences. */
function scaledDown(shape: PrefillShape): PrefillShape {
  return {
    ...shape,
    ...fewerHeads(shape, PREFILL_SOFTWARE_DIVISOR),
    window: shape.window / PREFILL_SOFTWARE_DIVISOR,
    lengths: SOFTWARE_LENGTHS[shape.name] ?? OTHER_SOFTWARE_LENGTHS,
  };
}

/** How far to either side of its own place a query sees keys; −1: without a bound. */
export function windowOf({
  causal,
  window,
}: Pick<PrefillShape, 'causal' | 'window'>): readonly [number, number] {
  return [window > 0 ? window - 1 : -1, causal ? 0 : -1];
}
