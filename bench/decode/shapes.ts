import type { FloatDType } from '../../src/core/dtype.js';
import { fewerHeads, isScaled, wantedShapes, type CaseOptions } from '../caseOptions.js';

/** The attention of a model that people run, over its cache: one new token for each sequence. */
export interface DecodeShape {
  readonly name: string;
  /** What it is taken from. */
  readonly model: string;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  /** Keys of each sequence. */
  readonly keys: readonly number[];
}

/** Tokens of a page. */
export const PAGE_SIZE = 16;

export const DECODE_SHAPES: readonly DecodeShape[] = [
  {
    name: 'decode-mha',
    model: 'LLaMA-7B, one sequence',
    nHeads: 32,
    nKvHeads: 32,
    headDim: 128,
    keys: [2048],
  },
  {
    name: 'decode-gqa',
    model: 'Qwen3-30B-A3B, two sequences',
    nHeads: 32,
    nKvHeads: 4,
    headDim: 128,
    keys: [2048, 2048],
  },
  {
    name: 'decode-ragged',
    model: 'Llama-3-8B, eight sequences as a server has them',
    nHeads: 32,
    nKvHeads: 8,
    headDim: 128,
    keys: [100, 1531, 640, 4000, 2047, 312, 3011, 1120],
  },
  {
    name: 'decode-long',
    model: 'Llama-3-70B, one of eight parts, a long sequence',
    nHeads: 8,
    nKvHeads: 1,
    headDim: 128,
    keys: [16384],
  },
  {
    name: 'decode-small',
    model: 'Llama-3.2-1B, one sequence',
    nHeads: 32,
    nKvHeads: 8,
    headDim: 64,
    keys: [2048],
  },
];

/** A step of decoding: every sequence has one query, which sees all of its keys. */
export interface DecodeCase extends Omit<DecodeShape, 'name'> {
  readonly kind: 'decode';
  readonly shape: string;
  readonly dtype: FloatDType;
  /** Whether heads are fewer than the model's. */
  readonly scaled: boolean;
}

export function decodeCases(options: CaseOptions): DecodeCase[] {
  const { dtype } = options;
  const scaled = isScaled(options);
  return wantedShapes(DECODE_SHAPES, QUICK_SHAPES, options).map((shape) => {
    const { name, ...rest } = shape;
    const heads = scaled ? fewerHeads(shape, DECODE_SOFTWARE_DIVISOR) : {};
    return Object.assign({ kind: 'decode', shape: name, dtype, scaled } as const, rest, heads);
  });
}

/** On software adapters, kv heads (at least one is left) are divided by this; sequences stay as long as they are. */
export const DECODE_SOFTWARE_DIVISOR = 4;
const QUICK_SHAPES = ['decode-small'];
