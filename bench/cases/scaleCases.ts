import { bytesPerElement } from '../../src/core/dtype.js';
import {
  DECODE_SOFTWARE_DIVISOR,
  PREFILL_SOFTWARE_DIVISOR,
  type BenchCase,
  type CaseOptions,
  type DecodeCase,
  type PrefillCase,
} from './cases.js';

export interface ScaleOptions extends Omit<CaseOptions, 'shapes'> {
  /** The largest storage binding that the device allows; caches that are larger are left out. */
  readonly maxBindingBytes: number;
}

/** One model at many lengths, to show how time and memory grow: prompts, then decode steps of one sequence. */
export function scaleCases(options: ScaleOptions): BenchCase[] {
  const { software, dtype, quick, full, maxBindingBytes } = options;
  const scaled = software && !full;
  const every = (lengths: readonly number[]): readonly number[] =>
    quick ? lengths.filter((_, i) => i % 2 === 0) : lengths;
  const modelOver = (divisor: number) => {
    const { nHeads, nKvHeads } = MODEL;
    return scaled ? { ...MODEL, nHeads: nHeads / divisor, nKvHeads: nKvHeads / divisor } : MODEL;
  };
  const prefill = modelOver(PREFILL_SOFTWARE_DIVISOR);
  const decode = modelOver(DECODE_SOFTWARE_DIVISOR);
  const keyBytes = decode.nKvHeads * decode.headDim * bytesPerElement(dtype);
  return [
    ...every(scaled ? SOFTWARE_LENGTHS : LENGTHS).map((length): PrefillCase => {
      const masks = { causal: true, window: 0, softcap: 0 };
      return { kind: 'prefill', shape: 'scale', ...prefill, ...masks, length, dtype, scaled };
    }),
    ...every(KEYS)
      .filter((nKeys) => nKeys * keyBytes <= maxBindingBytes)
      .map((nKeys): DecodeCase => {
        return { kind: 'decode', shape: 'scale', ...decode, keys: [nKeys], dtype, scaled };
      }),
  ];
}

/** It takes 131072 tokens. */
const MODEL = { model: 'Llama-3.1-8B', nHeads: 32, nKvHeads: 8, headDim: 128 };

/** Tokens of prompts. */
const LENGTHS = [128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768];
const SOFTWARE_LENGTHS = [128, 256, 512, 1024, 2048];
/** Keys of decode steps. */
const KEYS = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072];
